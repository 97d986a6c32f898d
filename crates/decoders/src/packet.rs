//! Frames off the line: `martlet-packet` and the marks of `martlet-observe`.

use std::net::Ipv4Addr;

use martlet_observe::classify::{Aim, classify, destination_port};
use martlet_packet::{LinkType, Packet, Transport, parse};
use martlet_window::{Mark, PackedClass};

const LINK_TYPES: [LinkType; 5] =
    [LinkType::Ethernet, LinkType::Raw, LinkType::LinuxSll, LinkType::LinuxSll2, LinkType::Null];
const AIMS: [Aim; 3] = [Aim::AsSeen, Aim::Public(Ipv4Addr::new(192, 0, 2, 1)), Aim::Unknown];
/// The longest IPv6 packet without a jumbogram: a header of 40 bytes and a length of 16 bits.
const LONGEST: u32 = 40 + 65_535;

/// Any bytes as a frame of every link type: the same answer twice, every accessor can be asked, and every packet has a class that
/// survives being packed.
pub fn packet(frame: &[u8]) {
    for link in LINK_TYPES {
        let outcome = parse(link, frame);
        // `Debug` shows every field: equal texts are equal packets.
        assert_eq!(format!("{outcome:?}"), format!("{:?}", parse(link, frame)));
        if let Ok(packet) = outcome {
            walk(&packet, frame.len());
            AIMS.into_iter().for_each(|aim| class(&packet, aim));
        }
    }
}

fn walk(packet: &Packet<'_>, captured: usize) {
    assert_eq!(packet.source.is_ipv4(), packet.destination.is_ipv4());
    assert_eq!(packet.source.is_ipv4(), packet.ipv4.is_some());
    assert!(packet.length <= LONGEST);
    let _ = packet.ip();
    let ports = packet.transport.ports();
    match &packet.transport {
        Transport::Tcp(tcp) => {
            assert_eq!(ports, Some((tcp.source_port, tcp.destination_port)));
            let size: usize = tcp.options().map(|option| option.data.len()).sum();
            assert!(size <= tcp.options().as_bytes().len() && tcp.options().as_bytes().len() <= 40);
            assert!(tcp.payload().len() < captured);
        }
        Transport::Udp(udp) => {
            assert_eq!(ports, Some((udp.source_port, udp.destination_port)));
            assert!(udp.payload().len() < captured);
        }
        Transport::Icmp(icmp) => {
            assert!(icmp.quoted().is_none() || icmp.is_error());
            let _ = (icmp.identifier(), icmp.is_version6());
        }
        Transport::Ports { source, destination } => assert_eq!(ports, Some((*source, *destination))),
        Transport::None => assert_eq!(ports, None),
    }
}

fn class(packet: &Packet<'_>, aim: Aim) {
    let class = classify(packet, aim);
    assert_eq!(class.ip, packet.ip());
    assert_eq!(class.protocol, packet.protocol);
    let unavailable = aim.unavailable();
    assert!(
        Mark::ALL.into_iter().all(|mark| !(class.marks.contains(mark) && unavailable.contains(mark))),
        "a mark that cannot be decided was set: {class:?}"
    );
    let packed = PackedClass::from(class);
    assert_eq!(packed.unpack(), class);
    assert_eq!(PackedClass::from_bits(packed.bits()), Some(packed), "what a sensor sends, a collector takes");
    let _ = destination_port(packet);
}
