//! A drill onto a line: frames sent through an interface at the times of their packets.
//!
//! A live sensor on that line cannot tell them from real traffic: its batches have the class real. So nothing is sent
//! unless it is said that this is wanted, and only to addresses that nobody on the Internet has.

use std::io;

use ipnet::Ipv4Net;
use pnet::datalink::{self, Channel};

use super::Clock;
use crate::generator::Drill;

/// Networks that packets may be sent to: private use (RFC 1918), benchmarking (RFC 2544) and documentation (RFC 5737).
const HARMLESS: [Ipv4Net; 7] = [
    Ipv4Net::new_assert(std::net::Ipv4Addr::new(10, 0, 0, 0), 8),
    Ipv4Net::new_assert(std::net::Ipv4Addr::new(172, 16, 0, 0), 12),
    Ipv4Net::new_assert(std::net::Ipv4Addr::new(192, 168, 0, 0), 16),
    Ipv4Net::new_assert(std::net::Ipv4Addr::new(198, 18, 0, 0), 15),
    Ipv4Net::new_assert(std::net::Ipv4Addr::new(192, 0, 2, 0), 24),
    Ipv4Net::new_assert(std::net::Ipv4Addr::new(198, 51, 100, 0), 24),
    Ipv4Net::new_assert(std::net::Ipv4Addr::new(203, 0, 113, 0), 24),
];

/// Why a drill is not sent through an interface.
#[derive(Debug, thiserror::Error)]
pub enum InterfaceError {
    /// Somebody may have these addresses.
    #[error(
        "{0} is not sent to: only private, benchmarking (198.18.0.0/15) and documentation networks are; give such a --dark"
    )]
    Destination(Ipv4Net),
    /// There is no such interface.
    #[error("there is no interface {0}")]
    Missing(String),
    /// It has no link layer that frames could be sent on.
    #[error("{0} takes no Ethernet frames")]
    NotEthernet(String),
    /// It cannot be opened.
    #[error("cannot send on {device}: {source}{}", if source.kind() == io::ErrorKind::PermissionDenied { "; it needs root or CAP_NET_RAW" } else { "" })]
    Open {
        /// The interface.
        device: String,
        /// Why.
        source: io::Error,
    },
    /// It took no more.
    #[error("{device} took {packets} packets and then no more: {source}")]
    Send {
        /// The interface.
        device: String,
        /// Packets before.
        packets: u64,
        /// Why.
        source: io::Error,
    },
}

/// Whether nobody on the Internet has these addresses.
pub fn is_harmless(dark: Ipv4Net) -> bool {
    HARMLESS.iter().any(|harmless| harmless.contains(&dark))
}

/// Sends at most `bound` frames of a drill, each when the clock lets it, and says how many it sent.
///
/// # Errors
/// If the destination is not harmless, or the interface cannot be opened or takes no more.
pub fn send(mut drill: Drill, device: &str, bound: u64, clock: &mut dyn Clock) -> Result<u64, InterfaceError> {
    let dark = drill.config().dark;
    if !is_harmless(dark) {
        return Err(InterfaceError::Destination(dark));
    }
    let interface = datalink::interfaces().into_iter().find(|interface| interface.name == device);
    let interface = interface.ok_or_else(|| InterfaceError::Missing(device.to_owned()))?;
    // What is received is not wanted, so that nothing asks for more of it than the machine gets anyway.
    let settings = datalink::Config { promiscuous: false, ..datalink::Config::default() };
    let mut line = match datalink::channel(&interface, settings) {
        Ok(Channel::Ethernet(line, _)) => line,
        Ok(_) => return Err(InterfaceError::NotEthernet(device.to_owned())),
        Err(source) => return Err(InterfaceError::Open { device: device.to_owned(), source }),
    };
    // A clock that keeps to real time counts from the first time that it is given.
    clock.wait_for(drill.start_ns());
    let mut packets = 0;
    while packets < bound {
        let Some(packet) = drill.next_packet() else { break };
        clock.wait_for(packet.time_ns);
        // `None` would say that the buffer is too small, but the longest frame fits it six times.
        let sent = line.send_to(packet.frame, None).unwrap_or_else(|| Err(io::ErrorKind::InvalidInput.into()));
        sent.map_err(|source| InterfaceError::Send { device: device.to_owned(), packets, source })?;
        packets += 1;
    }
    Ok(packets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_has_is_sent_to() {
        for (network, harmless) in [
            ("10.9.0.0/16", true),
            ("198.18.0.0/15", true),
            ("198.16.0.0/14", false),
            ("203.0.113.128/25", true),
            ("203.0.112.0/23", false),
            ("8.8.8.0/24", false),
            ("192.168.0.0/16", true),
            ("100.64.0.0/24", false),
        ] {
            assert_eq!(is_harmless(network.parse().unwrap()), harmless, "{network}");
        }
    }
}
