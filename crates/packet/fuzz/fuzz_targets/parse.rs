//! Any bytes as a frame of every link type: no panic, the same answer twice, and every accessor can be asked.
#![no_main]

use libfuzzer_sys::fuzz_target;
use martlet_packet::{LinkType, Packet, Transport, parse};

const LINK_TYPES: [LinkType; 5] =
    [LinkType::Ethernet, LinkType::Raw, LinkType::LinuxSll, LinkType::LinuxSll2, LinkType::Null];

fuzz_target!(|frame: &[u8]| {
    for link in LINK_TYPES {
        let outcome = parse(link, frame);
        // `Debug` shows every field: equal texts are equal packets.
        assert_eq!(format!("{outcome:?}"), format!("{:?}", parse(link, frame)));
        if let Ok(packet) = outcome {
            walk(&packet, frame.len());
        }
    }
});

fn walk(packet: &Packet<'_>, captured: usize) {
    assert_eq!(packet.source.is_ipv4(), packet.destination.is_ipv4());
    assert_eq!(packet.source.is_ipv4(), packet.ipv4.is_some());
    assert!(packet.length <= 65_575);
    let _ = packet.ip();
    let ports = packet.transport.ports();
    match &packet.transport {
        Transport::Tcp(tcp) => {
            assert_eq!(ports, Some((tcp.source_port, tcp.destination_port)));
            let mut size = 0;
            for option in tcp.options() {
                size += option.data.len();
            }
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
