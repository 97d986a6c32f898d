//! Ports that a network filters before a sensor: of those it sees nothing, however many packets are sent.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::label::LabelError;

/// Name of what is said.
pub(super) const NAME: &str = "filtered";
/// What it must be.
pub(super) const EXPECTED: &str =
    "ports and ranges of them with commas between, each of TCP and UDP or of one: 25,135-139,tcp/445";
/// Most ranges of a sensor.
const MOST: usize = 64;
const PROTOCOLS: [(&str, u8); 2] = [("tcp", 6), ("udp", 17)];

/// Ports of TCP and UDP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilteredPorts(BTreeSet<Range>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Range {
    first: u16,
    last: u16,
    /// Of all if `None`.
    protocol: Option<u8>,
}

impl FilteredPorts {
    /// Whether the packets for a port of an IP protocol do not arrive.
    #[must_use]
    pub fn has(&self, protocol: u8, port: u16) -> bool {
        let is_meant = |range: &Range| range.protocol.is_none_or(|of| of == protocol);
        self.0.iter().any(|range| is_meant(range) && (range.first..=range.last).contains(&port))
    }
}

impl FromStr for FilteredPorts {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<FilteredPorts, LabelError> {
        let refused = || LabelError::Value { label: NAME, value: text.chars().take(40).collect(), expected: EXPECTED };
        let mut ranges = BTreeSet::new();
        for part in text.split(',') {
            let (protocol, ports) = match part.trim().split_once('/') {
                Some((name, ports)) => {
                    let (_, number) = PROTOCOLS.iter().find(|(known, _)| *known == name).ok_or_else(refused)?;
                    (Some(*number), ports)
                }
                None => (None, part.trim()),
            };
            let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
            let number = |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
            let (first, last) =
                number(first).zip(number(last)).filter(|(first, last)| first <= last).ok_or_else(refused)?;
            ranges.insert(Range { first, last, protocol });
        }
        if ranges.len() > MOST { Err(refused()) } else { Ok(FilteredPorts(ranges)) }
    }
}

impl fmt::Display for FilteredPorts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, Range { first, last, protocol }) in self.0.iter().enumerate() {
            if place > 0 {
                out.write_str(",")?;
            }
            if let Some((name, _)) = PROTOCOLS.iter().find(|(_, number)| Some(*number) == *protocol) {
                write!(out, "{name}/")?;
            }
            write!(out, "{first}")?;
            if last > first {
                write!(out, "-{last}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_they_are_written() {
        let ports: FilteredPorts = "445, 25,135-139,udp/1900".parse().unwrap();
        assert_eq!(ports.to_string(), "25,135-139,445,udp/1900");
        assert_eq!(ports.to_string().parse::<FilteredPorts>().unwrap(), ports);
        let (tcp, udp) = (6, 17);
        for (protocol, port, is_filtered) in [
            (tcp, 25, true),
            (udp, 25, true),
            (tcp, 137, true),
            (tcp, 140, false),
            (udp, 1900, true),
            (tcp, 1900, false),
        ] {
            assert_eq!(ports.has(protocol, port), is_filtered, "{protocol}/{port}");
        }
        for wrong in ["", "25,", "x", "70000", "-1", "+25", "139-135", "icmp/8", "tcp/", "25-", "tcp/25/26", "25;26"] {
            assert!(wrong.parse::<FilteredPorts>().is_err(), "{wrong}");
        }
        let many: Vec<String> = (1..=65).map(|port| (port * 3).to_string()).collect();
        assert!(many[..64].join(",").parse::<FilteredPorts>().is_ok());
        assert!(many.join(",").parse::<FilteredPorts>().is_err());
    }
}
