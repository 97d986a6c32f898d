//! What the doctor looks at: gathered first, judged afterwards ([`super::checks`]).

use std::fs;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use ipnet::IpNet;
use martlet_observe::screen::AddressSet;
use martlet_telemetry::preflight::{self, Finding as Dates};
use martlet_window::Posture;
use pcap::{Capture, Linktype};
use pnet::datalink;

use super::kernel::{self, Clock, Offloads};
use super::tables::{self, Rules, Socket};
use crate::capture::filter::filter;
use crate::capture::live::own_addresses;
use crate::check;
use crate::config::{Config, PublicAddress};
use crate::run::observed;
use crate::status::{self, Status};

/// How long the collector may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// A captured interface.
#[derive(Clone, Debug, Default)]
pub(super) struct Interface {
    /// Its name.
    pub(super) name: String,
    /// Whether there is one of this name.
    pub(super) exists: bool,
    /// Whether it is switched on.
    pub(super) up: bool,
    /// Whether there is something at the other end of the cable.
    pub(super) carrier: bool,
    /// Its addresses with the networks that are on the link.
    pub(super) networks: Vec<IpNet>,
    /// What merges packets; `None` if it cannot be asked.
    pub(super) offloads: Option<Offloads>,
    /// Whether the host answers ARP for others.
    pub(super) proxy_arp: bool,
}

/// Whether the collector can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Its name cannot be looked up.
    NoName(String),
    /// No route leads there.
    NoRoute(String),
    /// Nobody answers.
    NoAnswer(String),
    /// Somebody takes connections.
    Open(SocketAddr),
}

/// Everything that is judged.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// The captured interfaces.
    pub(super) interfaces: Vec<Interface>,
    /// What is observed now.
    pub(super) observed: AddressSet,
    /// What the kernel takes for its own, on whatever interface.
    pub(super) local: Vec<IpNet>,
    /// Sockets that take what anybody sends.
    pub(super) sockets: Vec<Socket>,
    /// The host's packet filter.
    pub(super) rules: Rules,
    /// How the sensor says that observed addresses behave.
    pub(super) posture: Posture,
    /// What it says of the address that senders aim at.
    pub(super) public_address: PublicAddress,
    /// How many of some usual packets to observed addresses the capture's filter lets through; an error if it is refused.
    pub(super) passed: Result<usize, String>,
    /// Size of a ring.
    pub(super) ring_mib: i32,
    /// What the running sensor says; an error if it does not.
    pub(super) status: Result<Status, String>,
    /// The collector, as configured.
    pub(super) collector: String,
    /// Whether it can be reached.
    pub(super) way: Way,
    /// The clock.
    pub(super) clock: Result<Clock, String>,
    /// Its time, in words.
    pub(super) now: String,
    /// What it says to the dates of certificates.
    pub(super) certificates: Vec<Dates>,
}

/// Looks at everything.
#[must_use]
pub(super) fn gather(config: &Config) -> Facts {
    let own = own_addresses(&config.interfaces);
    let observed = observed(config, &own);
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mut local = tables::local_ipv4(&read("/proc/net/fib_trie"));
    local.extend(tables::local_ipv6(&read("/proc/net/ipv6_route")));
    let tables = [("tcp", "tcp"), ("tcp", "tcp6"), ("udp", "udp"), ("udp", "udp6")];
    let sockets =
        tables.into_iter().flat_map(|(protocol, name)| tables::sockets(protocol, &read(&format!("/proc/net/{name}"))));
    let expression = filter(&observed, &own.addresses, &config.exclusions).expression;
    Facts {
        interfaces: config.interfaces.iter().map(|name| interface(name)).collect(),
        passed: passed(&expression, &observed),
        observed,
        local,
        sockets: sockets.collect(),
        rules: rules(),
        posture: config.posture,
        public_address: config.public_address,
        ring_mib: config.ring_bytes >> 20,
        status: status::ask(config),
        collector: config.collector.clone(),
        way: way(&config.collector),
        clock: kernel::clock().map_err(|error| error.to_string()),
        now: jiff::Timestamp::now().round(jiff::Unit::Second).map_or_else(|_| "?".to_owned(), |now| now.to_string()),
        certificates: check::certificates(config),
    }
}

fn interface(name: &str) -> Interface {
    let Some(found) = datalink::interfaces().into_iter().find(|known| known.name == name) else {
        return Interface { name: name.to_owned(), ..Interface::default() };
    };
    let of = |file: &str| fs::read_to_string(Path::new("/sys/class/net").join(name).join(file)).unwrap_or_default();
    let proxy = fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{name}/proxy_arp")).unwrap_or_default();
    Interface {
        name: name.to_owned(),
        exists: true,
        up: found.is_up(),
        // Of an interface that is switched off it cannot be read; tunnels say that they do not know.
        carrier: of("carrier").trim() == "1" || of("operstate").trim() == "unknown",
        networks: found.ips.iter().filter_map(|network| IpNet::new(network.ip(), network.prefix()).ok()).collect(),
        offloads: kernel::offloads(name).ok(),
        proxy_arp: proxy.trim() == "1",
    }
}

fn way(collector: &str) -> Way {
    let addresses = match collector.to_socket_addrs() {
        Ok(addresses) => addresses.collect::<Vec<_>>(),
        Err(error) => return Way::NoName(error.to_string()),
    };
    let routed = |address: &SocketAddr| -> io::Result<()> {
        let any: SocketAddr = if address.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
        // Nothing is sent: the kernel looks for a route, and says if there is none.
        UdpSocket::bind(any)?.connect(address)
    };
    let mut why = "the name has no address".to_owned();
    if !addresses.iter().any(|address| routed(address).inspect_err(|error| why = error.to_string()).is_ok()) {
        return Way::NoRoute(why);
    }
    match preflight::reach(collector, PATIENCE) {
        Ok(address) => Way::Open(address),
        Err(why) => Way::NoAnswer(why),
    }
}

fn rules() -> Rules {
    let asked = Command::new("nft").args(["-j", "list", "ruleset"]).stdin(Stdio::null()).output();
    match asked {
        Ok(answer) if answer.status.success() => tables::rules(&String::from_utf8_lossy(&answer.stdout)),
        Ok(answer) => {
            let said = String::from_utf8_lossy(&answer.stderr);
            Rules::Unknown(format!("nft says: {}", said.lines().next().unwrap_or("nothing").trim()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Rules::Unknown("there is no program nft".to_owned()),
        Err(error) => Rules::Unknown(format!("nft cannot be run: {error}")),
    }
}

/// How many of some usual packets, from far places to the first addresses of observed networks, pass the filter.
fn passed(expression: &str, observed: &AddressSet) -> Result<usize, String> {
    let dead = Capture::dead(Linktype::ETHERNET).map_err(|error| error.to_string())?;
    let program = match dead.compile(expression, true) {
        Ok(program) => program,
        // libpcap sees by itself what no packet can pass.
        Err(error) if error.to_string().contains("rejects all packets") => return Ok(0),
        Err(error) => return Err(error.to_string()),
    };
    let frames = observed.networks().into_iter().take(8).flat_map(|network| frames(network.addr()));
    Ok(frames.filter(|frame| program.filter(frame)).count())
}

/// Probes of several kinds from several sources to an address, as Ethernet frames.
fn frames(to: std::net::IpAddr) -> Vec<Vec<u8>> {
    /// Protocol, and ports or type and code in front of zeros.
    const PROBES: [(u8, [u8; 4]); 3] = [(6, [0x9c, 0x40, 0, 23]), (17, [0x9c, 0x40, 0, 53]), (1, [8, 0, 0, 0])];
    /// First bytes of sources: two IPv4 blocks of each half of the space, and global IPv6.
    const FROM: [u8; 4] = [1, 45, 141, 203];
    let mut frames = Vec::new();
    for (protocol, ports) in PROBES {
        for first in FROM {
            let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
            match to {
                std::net::IpAddr::V4(to) => {
                    frame.extend([8, 0, 0x45, 0, 0, 40, 0, 7, 0, 0, 64, protocol, 0, 0, first, 99, 7, 9]);
                    frame.extend(to.octets());
                }
                std::net::IpAddr::V6(to) => {
                    let protocol = if protocol == 1 { 58 } else { protocol };
                    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, protocol, 64, 0x26, first]);
                    frame.extend([0; 14]);
                    frame.extend(to.octets());
                }
            }
            frame.extend(ports);
            frame.extend([0; 8]);
            frame.extend([0x50, 2, 0x20, 0, 0, 0, 0, 0]);
            frames.push(frame);
        }
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;
    use martlet_observe::screen::Exclusion;

    fn passing(observe: &str, exclusions: &[Exclusion]) -> usize {
        let observed: AddressSet = std::iter::once(observe.parse::<IpNet>().unwrap()).collect();
        passed(&filter(&observed, &AddressSet::default(), exclusions).expression, &observed).unwrap()
    }

    #[test]
    fn a_filter_that_excludes_everything_lets_nothing_through() {
        let excluded =
            |network: &str| Exclusion { network: Some(network.parse().unwrap()), protocol: None, port: None };
        assert_eq!(passing("192.0.2.0/24", &[]), 12);
        assert_eq!(passing("2001:db8::/64", &[]), 12);
        assert_eq!(passing("192.0.2.0/24", &[excluded("0.0.0.0/1")]), 6);
        assert_eq!(passing("192.0.2.0/24", &[excluded("0.0.0.0/0")]), 0);
    }
}
