//! Which packets count: those that others sent, unasked, to an observed address.
//!
//! Every packet leaves here with exactly one outcome. The order of the questions is the order of [`Screen::check`].

mod addresses;
mod solicited;

use std::net::IpAddr;

use ipnet::IpNet;
use martlet_packet::{Icmp, MacAddress, Packet, Sender, Transport, protocol};
use martlet_window::{IpVersion, RejectReason, Timestamp};

pub use addresses::{AddressSet, parse_network, prefixes_64};
pub use solicited::{Solicited, SolicitedSettings};

/// Traffic that is left out by configuration, such as the operator's own management connections. All conditions
/// that are given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exclusion {
    /// The other side of the traffic.
    pub network: Option<IpNet>,
    /// IP protocol.
    pub protocol: Option<u8>,
    /// Destination port.
    pub port: Option<u16>,
}

impl Exclusion {
    fn covers(&self, packet: &Packet<'_>) -> bool {
        self.network.is_none_or(|network| network.contains(&packet.source))
            && self.protocol.is_none_or(|protocol| protocol == packet.protocol)
            && self.port.is_none_or(|port| packet.transport.ports().is_some_and(|(_, to)| to == port))
    }
}

/// How the host's own packets are told from others'.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// Hardware addresses of the captured interfaces.
    pub hardware: Vec<MacAddress>,
    /// The host's addresses; they decide where the link layer does not say who sent a frame.
    pub addresses: AddressSet,
}

/// Decides which packets count.
#[derive(Debug)]
pub struct Screen {
    observe: Option<AddressSet>,
    exclusions: Vec<Exclusion>,
    own: Own,
    solicited: Option<Solicited>,
}

impl Screen {
    /// Everything counts: for reading a capture without knowing what it observed.
    #[must_use]
    pub fn everything() -> Screen {
        Screen { observe: None, exclusions: Vec::new(), own: Own::default(), solicited: None }
    }

    /// For capture files: what reaches `observe`, or every packet if that is empty. Answers to what the observed
    /// addresses sent are left out only when asked, since a capture may hold one direction only.
    #[must_use]
    pub fn offline(observe: &AddressSet, drop_solicited: bool) -> Screen {
        if observe.is_empty() {
            return Screen::everything();
        }
        let own = Own { hardware: Vec::new(), addresses: observe.clone() };
        let solicited = drop_solicited.then(|| Solicited::new(SolicitedSettings::default()));
        Screen::observing(observe.clone(), Vec::new(), own, solicited)
    }

    /// Only what reaches `observe` counts.
    #[must_use]
    pub const fn observing(
        observe: AddressSet,
        exclusions: Vec<Exclusion>,
        own: Own,
        solicited: Option<Solicited>,
    ) -> Screen {
        Screen { observe: Some(observe), exclusions, own, solicited }
    }

    /// Replaces the observed and own addresses, when those of an interface changed.
    pub fn set_addresses(&mut self, observe: AddressSet, own: Own) {
        self.observe = Some(observe);
        self.own = own;
    }

    /// Whether a packet counts.
    ///
    /// # Errors
    /// The one reason for which it does not.
    pub fn check(&mut self, packet: &Packet<'_>, time: Timestamp) -> Result<(), RejectReason> {
        let Some(observe) = &self.observe else { return Ok(()) };
        if self.own.sent(packet) {
            if let Some(solicited) = &mut self.solicited {
                solicited.sent(packet, time);
            }
            return Err(RejectReason::Outbound);
        }
        if is_link_local(packet) {
            return Err(RejectReason::LinkLocal);
        }
        if !observe.contains(packet.destination) {
            return Err(RejectReason::NotObserved);
        }
        if self.exclusions.iter().any(|exclusion| exclusion.covers(packet)) {
            return Err(RejectReason::Excluded);
        }
        match &self.solicited {
            Some(solicited) if solicited.answers(packet, time) => Err(RejectReason::Solicited),
            _ => Ok(()),
        }
    }
}

impl Own {
    /// Whether the host itself sent the packet. The link layer knows best: addresses can be forged, and a packet
    /// that claims to come from the very address it is sent to is an old attack worth counting.
    fn sent(&self, packet: &Packet<'_>) -> bool {
        match packet.sender {
            Sender::ThisHost => true,
            Sender::OtherHost => false,
            Sender::Mac(mac) if !self.hardware.is_empty() => self.hardware.contains(&mac),
            Sender::Mac(_) | Sender::Unknown => {
                self.addresses.contains(packet.source) && !self.addresses.contains(packet.destination)
            }
        }
    }
}

/// Neighbour discovery, multicast listener discovery, and everything from or to a link-local address: it says
/// something of the link, nothing of the Internet.
fn is_link_local(packet: &Packet<'_>) -> bool {
    let link_local = |address| match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let discovery = |icmp: &Icmp<'_>| packet.protocol == protocol::ICMPV6 && matches!(icmp.icmp_type, 130..=137 | 143);
    link_local(packet.source)
        || link_local(packet.destination)
        || matches!(&packet.transport, Transport::Icmp(icmp) if packet.ip() == IpVersion::V6 && discovery(icmp))
}
