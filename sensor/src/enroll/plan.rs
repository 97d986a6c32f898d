//! What a new sensor is to watch: this machine's interfaces, and a configuration for them.

use std::fmt::Write;
use std::fs;

use ipnet::IpNet;
use martlet_observe::screen::parse_network;
use pnet::datalink::{self, NetworkInterface};

/// An interface, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) is_up: bool,
    pub(super) is_loopback: bool,
    /// Whether this machine's way to the Internet goes out there.
    pub(super) has_default_route: bool,
    pub(super) addresses: Vec<IpNet>,
}

/// This machine's interfaces.
pub(super) fn interfaces() -> Vec<Interface> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let ways = default_routes(&read("/proc/net/route"), &read("/proc/net/ipv6_route"));
    let interface = |of: NetworkInterface| Interface {
        is_up: of.is_up(),
        is_loopback: of.is_loopback(),
        has_default_route: ways.contains(&of.name),
        addresses: of.ips.iter().filter_map(|network| IpNet::new(network.ip(), network.prefix()).ok()).collect(),
        name: of.name,
    };
    datalink::interfaces().into_iter().map(interface).collect()
}

/// Names of the interfaces with a default route, from the kernel's tables.
fn default_routes(v4: &str, v6: &str) -> Vec<String> {
    // Interface, destination, ...; the mask is the eighth.
    let v4 = v4.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let v4 = v4.filter(|fields| fields.get(1) == Some(&"00000000") && fields.get(7) == Some(&"00000000"));
    let v4 = v4.filter_map(|fields| fields.first().map(|name| (*name).to_owned()));
    // Destination, its length, ..., interface. The kernel has one over lo that refuses.
    let v6 = v6.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let is_default = |fields: &Vec<&str>| {
        fields.first().is_some_and(|to| to.bytes().all(|byte| byte == b'0')) && fields.get(1) == Some(&"00")
    };
    let v6 = v6.filter(is_default).filter_map(|fields| fields.last().map(|name| (*name).to_owned()));
    v4.chain(v6).filter(|name| name != "lo").collect()
}

/// What is to be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) interfaces: Vec<String>,
    /// Networks; `None` for the addresses of the interfaces.
    pub(super) networks: Option<Vec<String>>,
    pub(super) posture: &'static str,
    /// Why these interfaces.
    pub(super) reason: &'static str,
}

impl Plan {
    /// What was asked for; what was not is proposed.
    pub(super) fn make(
        wanted: &[String],
        observe: &[String],
        posture: Option<&'static str>,
        there: &[Interface],
    ) -> Result<Plan, String> {
        let (interfaces, reason) = choose(wanted, there)?;
        let networks = match observe {
            [] => None,
            [word] if word == "interface" => None,
            networks => {
                for network in networks {
                    parse_network(network).map_err(|error| format!("--observe: {error}"))?;
                }
                Some(networks.to_vec())
            }
        };
        // On its own addresses the kernel answers closed ports; a network that is only routed here is silent.
        let proposed = if networks.is_none() { "rst" } else { "silent" };
        Ok(Plan { interfaces, networks, posture: posture.unwrap_or(proposed), reason })
    }

    /// The table of interfaces, with those that are watched.
    pub(super) fn table(&self, there: &[Interface]) -> String {
        let width = there.iter().map(|interface| interface.name.len()).max().unwrap_or(0);
        let mut text = String::from("Interfaces of this machine:\n");
        for Interface { name, is_up, addresses, .. } in there {
            let state = if *is_up { "up  " } else { "down" };
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            let mark = if self.interfaces.contains(name) { format!("  <- {}", self.reason) } else { String::new() };
            let listed = if addresses.is_empty() { "no address".to_owned() } else { addresses.join(", ") };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {name:width$}  {state}  {listed}{mark}");
        }
        text
    }
}

fn choose(wanted: &[String], there: &[Interface]) -> Result<(Vec<String>, &'static str), String> {
    let names = |of: &[&Interface]| of.iter().map(|interface| interface.name.clone()).collect::<Vec<_>>().join(", ");
    if !wanted.is_empty() {
        let missing = wanted.iter().find(|name| !there.iter().any(|interface| interface.name == **name));
        let all: Vec<&Interface> = there.iter().collect();
        return match missing {
            Some(name) => Err(format!("--interface: there is no {name} on this machine, only {}", names(&all))),
            None => Ok((wanted.to_vec(), "watched, as asked for")),
        };
    }
    let routed: Vec<&Interface> = there.iter().filter(|interface| interface.has_default_route).collect();
    if let [only] = routed[..] {
        return Ok((vec![only.name.clone()], "watched: the default route goes out here"));
    }
    let usable = |interface: &&Interface| interface.is_up && !interface.is_loopback && !interface.addresses.is_empty();
    match there.iter().filter(usable).collect::<Vec<_>>()[..] {
        [only] => Ok((vec![only.name.clone()], "watched: the only one that is up and has addresses")),
        [] => Err("no interface is up and has addresses: name the one to watch with --interface".to_owned()),
        ref several => {
            Err(format!("several interfaces could be watched ({}): name one with --interface", names(several)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, has_default_route: bool) -> Interface {
        let addresses = vec!["192.0.2.7/24".parse().unwrap()];
        Interface { name: name.to_owned(), is_up: true, is_loopback: name == "lo", has_default_route, addresses }
    }

    #[test]
    fn default_routes_are_read_from_the_kernels_tables() {
        let v4 = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
                  eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                  tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n\
                  eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let zeros = "0".repeat(32);
        let v6 = format!(
            "{zeros} 00 {zeros} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth1\n\
             {zeros} 00 {zeros} 00 {zeros} ffffffff 00000001 00000000 00200200 lo\n"
        );
        assert_eq!(default_routes(v4, &v6), ["eth0", "eth1"]);
        assert!(default_routes("", "").is_empty());
    }

    #[test]
    fn the_interface_with_the_default_route_is_proposed_or_the_only_one() {
        let plan = |wanted: &[&str], there: &[Interface]| {
            let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
            Plan::make(&wanted, &[], None, there)
        };
        let there = [interface("lo", false), interface("eth0", true), interface("wg0", false)];
        let proposed = plan(&[], &there).unwrap();
        assert_eq!((proposed.interfaces.clone(), proposed.networks.clone()), (vec!["eth0".to_owned()], None));
        assert_eq!(proposed.posture, "rst");
        let table = proposed.table(&there);
        assert!(table.contains("  eth0  up    192.0.2.7/24  <- watched: the default route"), "{table}");
        assert_eq!(plan(&["wg0"], &there).unwrap().interfaces, ["wg0"]);
        assert!(plan(&["wg1"], &there).unwrap_err().contains("only lo, eth0, wg0"));
        assert_eq!(plan(&[], &[interface("lo", false), interface("a", false)]).unwrap().interfaces, ["a"]);
        let several = [interface("a", false), interface("b", false)];
        assert!(plan(&[], &several).unwrap_err().contains("(a, b)"));
        assert!(plan(&[], &[interface("lo", false)]).unwrap_err().contains("--interface"));
    }

    #[test]
    fn networks_are_checked_and_taken_for_silent() {
        let there = [interface("eth0", true)];
        let make = |observe: &[&str], posture| {
            let observe: Vec<String> = observe.iter().map(|network| (*network).to_owned()).collect();
            Plan::make(&[], &observe, posture, &there)
        };
        let plan = make(&["198.18.0.0/24", "2001:db8::/64"], None).unwrap();
        assert_eq!((plan.networks.unwrap().len(), plan.posture), (2, "silent"));
        assert_eq!(make(&["interface"], Some("reactive")).unwrap().posture, "reactive");
        assert!(make(&["198.18.0.0/33"], None).unwrap_err().contains("--observe"));
    }
}
