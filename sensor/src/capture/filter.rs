//! The kernel's filter: what can be left out before it is copied.
//!
//! It lets through packets to observed addresses, and what the host itself sends, which the solicited table needs.
//! It may let through more than counts, never less: userspace looks at every packet again.

use std::fmt::Write;

use ipnet::IpNet;
use martlet_observe::screen::{AddressSet, Exclusion};

/// Above this many networks libpcap takes seconds and most of the kernel's 4,096 instructions; covering networks are
/// filtered on then, and userspace matches exactly.
pub const MAX_NETWORKS: usize = 256;

/// A filter in libpcap's language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The expression.
    pub expression: String,
    /// Whether the networks in it are the observed ones exactly.
    pub exact: bool,
}

/// The filter for what is observed, what the host has, and what is excluded.
#[must_use]
pub fn filter(observe: &AddressSet, own: &AddressSet, exclusions: &[Exclusion]) -> Filter {
    let networks = observe.covering_networks(MAX_NETWORKS);
    let exact = networks.len() == observe.networks().len();
    let to = networks.iter().map(|network| format!("dst net {network}"));
    let from = own.covering_networks(MAX_NETWORKS).into_iter().map(|network| format!("src net {network}"));
    let mut terms: Vec<String> = to.chain(from).collect();
    if terms.is_empty() {
        // Nothing is observed now; no IPv4 header begins with a zero byte.
        terms.push("ip[0] = 0".to_owned());
    }
    let mut expression = terms.join(" or ");
    let excluded: Vec<String> = exclusions.iter().take(MAX_NETWORKS).map(exclusion).collect();
    if !excluded.is_empty() {
        let wanted = std::mem::take(&mut expression);
        // Infallible: a String takes any text.
        let _ = write!(expression, "({wanted}) and not ({})", excluded.join(" or "));
    }
    Filter { expression, exact }
}

/// Excluded traffic with a named other side, in both directions: the answers to it need no solicited entry either.
fn exclusion(exclusion: &Exclusion) -> String {
    let direction = |from: &str, to: &str| {
        let network = exclusion.network.map(|network: IpNet| format!("{from} net {network}"));
        let protocol = exclusion.protocol.map(|protocol| match protocol {
            6 => "tcp".to_owned(),
            17 => "udp".to_owned(),
            other => format!("(ip proto {other} or ip6 proto {other})"),
        });
        let port = exclusion.port.map(|port| format!("{to} port {port}"));
        let terms: Vec<String> = [network, protocol, port].into_iter().flatten().collect();
        format!("({})", terms.join(" and "))
    };
    if exclusion.network.is_none() {
        // Whose port it is cannot be told here: only what goes to it is left out, as userspace does.
        return direction("src", "dst");
    }
    format!("{} or {}", direction("src", "dst"), direction("dst", "src"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(networks: &[&str]) -> AddressSet {
        networks.iter().map(|network| network.parse::<IpNet>().unwrap()).collect()
    }

    #[test]
    fn the_expression_says_what_is_wanted_and_compiles() {
        let exclusions = [
            Exclusion { network: Some("192.0.2.0/24".parse().unwrap()), protocol: Some(6), port: Some(22) },
            Exclusion { network: None, protocol: Some(58), port: None },
        ];
        let filter = filter(&set(&["198.51.100.0/25", "2001:db8::/64"]), &set(&["203.0.113.9/32"]), &exclusions);
        assert_eq!(
            filter.expression,
            "(dst net 198.51.100.0/25 or dst net 2001:db8::/64 or src net 203.0.113.9/32) and not ((src net \
             192.0.2.0/24 and tcp and dst port 22) or (dst net 192.0.2.0/24 and tcp and src port 22) or ((ip proto 58 \
             or ip6 proto 58)))"
        );
        assert!(filter.exact);
        let dead = pcap::Capture::dead(pcap::Linktype::ETHERNET).unwrap();
        dead.compile(&filter.expression, true).unwrap();
    }

    #[test]
    fn observing_nothing_is_a_filter_too() {
        let exclusions = [Exclusion { network: None, protocol: Some(6), port: Some(22) }];
        let nothing = filter(&AddressSet::default(), &AddressSet::default(), &exclusions);
        let dead = pcap::Capture::dead(pcap::Linktype::ETHERNET).unwrap();
        dead.compile(&nothing.expression, true).unwrap();
    }

    #[test]
    fn a_thousand_networks_are_covered_by_few_and_compile() {
        let many: AddressSet =
            (0..1000u32).map(|i| IpNet::from(std::net::IpAddr::from(((i * 70_001) << 4).to_be_bytes()))).collect();
        let filter = filter(&many, &set(&["203.0.113.9/32"]), &[]);
        assert!(!filter.exact);
        let dead = pcap::Capture::dead(pcap::Linktype::ETHERNET).unwrap();
        let program = dead.compile(&filter.expression, true).unwrap();
        assert!(program.get_instructions().len() < 4096);
    }
}
