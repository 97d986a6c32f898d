//! The kernel's tables of addresses and sockets, and nft's list of rules, as text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use serde_json::Value;

/// The table of nftables that `martlet-silent.nft` makes.
const SILENT_TABLE: &str = "martlet_silent";
/// Flag of a route to the host itself in /proc/net/ipv6_route (`RTF_LOCAL`).
const RTF_LOCAL: u32 = 0x8000_0000;
/// States of a socket in /proc/net: a TCP socket that listens, a UDP socket without a peer.
const TCP_LISTEN: &str = "0A";
const UDP_UNCONNECTED: &str = "07";

/// A socket that takes what anybody sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    /// Its protocol, `tcp` or `udp`.
    pub(super) protocol: &'static str,
    /// Where it listens.
    pub(super) local: SocketAddr,
}

/// The IPv4 networks that the kernel takes for its own, in /proc/net/fib_trie.
pub(super) fn local_ipv4(fib_trie: &str) -> Vec<IpNet> {
    let mut found = Vec::new();
    let mut last = None;
    for line in fib_trie.lines() {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if let (Some(address), Some(length)) = (last, line.strip_suffix(" host LOCAL")) {
            let length = length.strip_prefix('/').and_then(|length| length.parse().ok());
            found.extend(length.and_then(|length| IpNet::new(address.into(), length).ok()));
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// The IPv6 networks that the kernel takes for its own, in /proc/net/ipv6_route.
pub(super) fn local_ipv6(ipv6_route: &str) -> Vec<IpNet> {
    let of = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [address, length, .., flags, _interface] = fields[..] else { return None };
        let is_local = u32::from_str_radix(flags, 16).ok()? & RTF_LOCAL != 0;
        let address = Ipv6Addr::from(u128::from_str_radix(address, 16).ok()?);
        is_local.then(|| IpNet::new(address.into(), u8::from_str_radix(length, 16).ok()?).ok()).flatten()
    };
    ipv6_route.lines().filter_map(of).collect()
}

/// Sockets that take what anybody sends, in one of /proc/net/{tcp,tcp6,udp,udp6}.
pub(super) fn sockets(protocol: &'static str, table: &str) -> Vec<Socket> {
    let of = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_number, local, _remote, state, ..] = fields[..] else { return None };
        let wanted = if protocol == "tcp" { TCP_LISTEN } else { UDP_UNCONNECTED };
        (state == wanted).then(|| address(local).map(|local| Socket { protocol, local })).flatten()
    };
    table.lines().skip(1).filter_map(of).collect()
}

/// An address and port in hexadecimal; addresses are words of 32 bits in the order of this machine's bytes.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::with_capacity(16);
    for place in (0..address.len()).step_by(8) {
        let word = u32::from_str_radix(address.get(place..place + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let ip = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
    };
    Some(SocketAddr::new(ip.to_canonical(), port))
}

/// What is known of the host's packet filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rules {
    /// It cannot be asked.
    Unknown(String),
    /// There are these networks in Martlet's own table, and whether there are other rules beside it.
    Known {
        /// What Martlet's table keeps silent.
        silent: Vec<IpNet>,
        /// Whether somebody else has rules.
        others: bool,
    },
}

/// Takes the answer of `nft -j list ruleset` apart.
pub(super) fn rules(json: &str) -> Rules {
    let Ok(all) = serde_json::from_str::<Value>(json) else {
        return Rules::Unknown("nft's answer is no JSON".to_owned());
    };
    let (mut silent, mut drops, mut others) = (Vec::new(), 0, false);
    for item in all["nftables"].as_array().into_iter().flatten() {
        if let Some(set) = item.get("set").filter(|set| set["table"] == SILENT_TABLE) {
            silent.extend(set["elem"].as_array().into_iter().flatten().filter_map(element));
        }
        if let Some(rule) = item.get("rule") {
            let is_ours = rule["table"] == SILENT_TABLE;
            others |= !is_ours;
            let drop = |part: &Value| part.get("drop").is_some();
            drops += usize::from(is_ours && rule["expr"].as_array().is_some_and(|parts| parts.iter().any(drop)));
        }
    }
    // Sets alone drop nothing.
    let silent = if drops > 0 { silent } else { Vec::new() };
    Rules::Known { silent, others }
}

/// An element of a set of addresses; names of interfaces are none.
fn element(value: &Value) -> Option<IpNet> {
    let value = value.get("elem").map_or(value, |inner| &inner["val"]);
    if let Some(prefix) = value.get("prefix") {
        let length = u8::try_from(prefix["len"].as_u64()?).ok()?;
        return IpNet::new(prefix["addr"].as_str()?.parse().ok()?, length).ok();
    }
    value.as_str()?.parse::<IpAddr>().ok().map(IpNet::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_networks_are_found_in_both_tables() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n        |-- 198.18.0.0\n           \
                    /24 host LOCAL\n        |-- 192.0.2.2\n           /32 host LOCAL\n        |-- 192.0.2.255\n           \
                    /32 link BROADCAST\nLocal:\n        |-- 192.0.2.2\n           /32 host LOCAL\n";
        let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpNet>>();
        assert_eq!(local_ipv4(trie), nets(&["192.0.2.2/32", "198.18.0.0/24"]));
        let routes = "fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 \
                      00000100 00000002 00000000 00000001     eth0\n\
                      20010db8000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 \
                      00000000 00000003 00000000 80200001     eth0\n";
        assert_eq!(local_ipv6(routes), nets(&["2001:db8::1/128"]));
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn sockets_that_listen_are_found() {
        let table = "  sl  local_address rem_address   st\n   0: 0100007F:07E8 00000000:0000 0A 0\n   1: 0100007F:07E9 0100007F:0001 01 0\n";
        let socket = |text: &str| Socket { protocol: "tcp", local: text.parse().unwrap() };
        assert_eq!(sockets("tcp", table), [socket("127.0.0.1:2024")]);
        let table = "  sl\n   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 0\n";
        assert_eq!(sockets("tcp", table), [socket("[::]:22")]);
    }

    #[test]
    fn only_rules_that_drop_keep_silent() {
        let sets = r#"{"set": {"table": "martlet_silent", "name": "observed4", "elem": ["192.0.2.1", {"prefix": {"addr": "198.18.0.0", "len": 24}}]}},
                      {"set": {"table": "martlet_silent", "name": "interfaces", "elem": ["eth0"]}}"#;
        let rule = r#"{"rule": {"table": "martlet_silent", "expr": [{"match": {}}, {"drop": null}]}}"#;
        let known = |silent: &[&str], others| Rules::Known {
            silent: silent.iter().map(|net| net.parse().unwrap()).collect(),
            others,
        };
        assert_eq!(rules(&format!("{{\"nftables\": [{sets}]}}")), known(&[], false));
        assert_eq!(
            rules(&format!("{{\"nftables\": [{sets}, {rule}]}}")),
            known(&["192.0.2.1/32", "198.18.0.0/24"], false)
        );
        let other = r#"{"rule": {"table": "filter", "expr": []}}"#;
        assert_eq!(rules(&format!("{{\"nftables\": [{other}]}}")), known(&[], true));
        assert!(matches!(rules("no"), Rules::Unknown(_)));
    }
}
