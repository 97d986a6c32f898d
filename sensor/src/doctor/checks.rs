//! One judgement a function: from what was gathered to what an operator should know and do.

use std::collections::BTreeSet;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use martlet_window::Posture;

use super::facts::{Facts, Interface, Way};
use super::tables::Rules;
use super::{Finding, Level};
use crate::config::PublicAddress;
use crate::status::age;

/// A clock that may be wrong by more than this puts packets into wrong windows.
const CLOCK_ERROR: Duration = Duration::from_secs(1);
/// One frame in so many may be dropped before it is more than a warning.
const DROPS: u64 = 10_000;
/// Shared address space of carriers' NAT (RFC 6598).
const SHARED: &str = "100.64.0.0/10";

/// Judges everything. A sensor that has counted nothing for `quiet_after` is told of.
#[must_use]
pub(super) fn all(facts: &Facts, quiet_after: Duration) -> Vec<Finding> {
    let mut findings: Vec<Finding> = facts.interfaces.iter().map(interface).collect();
    findings.extend(facts.interfaces.iter().filter(|it| it.exists).map(offloads));
    findings.extend([
        filter(facts),
        on_link(facts),
        answers(facts),
        services(facts),
        nat(facts),
        collector(facts),
        clock(facts),
        traffic(facts, quiet_after),
        ring(facts),
        spool(facts),
    ]);
    findings
}

fn interface(it: &Interface) -> Finding {
    let name = &it.name;
    let fail = |message: String, remedy: String| Finding::new("interface", Level::Fail, message, remedy);
    if !it.exists {
        return fail(
            format!("there is no interface {name}"),
            "`ip link` lists them: correct capture.interfaces".to_owned(),
        );
    }
    if !it.up {
        return fail(
            format!("{name} is switched off"),
            format!("ip link set {name} up, and have the system do so at each start"),
        );
    }
    if !it.carrier {
        return fail(format!("{name} has no link"), "look at the cable, or at the other end of the tunnel".to_owned());
    }
    Finding::ok("interface", format!("{name} is up"))
}

fn offloads(it: &Interface) -> Finding {
    let name = &it.name;
    let Some(on) = it.offloads else {
        return Finding::ok("offload", format!("{name} has no offloads that can be asked for"));
    };
    let merging: Vec<&str> =
        [(on.gro, "gro"), (on.lro, "lro")].into_iter().filter(|(on, _)| *on).map(|(_, name)| name).collect();
    if merging.is_empty() {
        return Finding::ok("offload", format!("{name} merges no packets"));
    }
    let off: String = merging.iter().map(|name| format!(" {name} off")).collect();
    Finding::new(
        "offload",
        Level::Warn,
        format!("{name} merges packets of a connection before they are counted ({})", merging.join(", ")),
        format!("ethtool -K {name}{off}, and have the system do so at each start"),
    )
}

fn filter(facts: &Facts) -> Finding {
    let fail = |message: String, remedy: &str| Finding::new("filter", Level::Fail, message, remedy.to_owned());
    match &facts.passed {
        _ if facts.observed.is_empty() => fail(
            "nothing is observed: the captured interfaces have no address".to_owned(),
            "give an interface an address, or name observe.networks",
        ),
        Err(why) => {
            fail(format!("the capture's filter is refused: {why}"), "simplify observe.networks and observe.exclude")
        }
        Ok(0) => fail(
            "observe.exclude leaves nothing of what is observed: no packet passes the capture's filter".to_owned(),
            "take out the entry of observe.exclude that covers everybody; `martlet-sensor check` prints the filter",
        ),
        Ok(_) => Finding::ok(
            "filter",
            format!(
                "observes {} IPv4 addresses and {} IPv6 /64 prefixes",
                facts.observed.ipv4_addresses(),
                facts.observed.ipv6_prefixes()
            ),
        ),
    }
}

/// What two lists of networks have in common.
fn common(some: &[IpNet], others: &[IpNet]) -> Vec<IpNet> {
    let pairs = some.iter().flat_map(|one| others.iter().map(move |other| (one, other)));
    let both = pairs.filter_map(|(one, other)| {
        // The smaller of two that overlap is what they share.
        if one.contains(other) { Some(other.trunc()) } else { other.contains(one).then(|| one.trunc()) }
    });
    both.collect::<BTreeSet<IpNet>>().into_iter().collect()
}

fn size(networks: &[IpNet]) -> u64 {
    let merged: martlet_observe::screen::AddressSet = networks.iter().copied().collect();
    merged.ipv4_addresses()
}

/// Some networks for a message.
fn some(networks: &[IpNet]) -> String {
    let shown: Vec<String> = networks.iter().take(4).map(|network| short(*network)).collect();
    let more = if networks.len() > shown.len() { ", ..." } else { "" };
    format!("{}{more}", shown.join(", "))
}

fn short(network: IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() { network.addr().to_string() } else { network.to_string() }
}

/// Observed addresses on the link that nobody has: routers ask for them by ARP, nobody answers, and no packet comes.
fn on_link(facts: &Facts) -> Finding {
    let observed = facts.observed.networks();
    for it in &facts.interfaces {
        let links: Vec<IpNet> =
            it.networks.iter().filter(|net| matches!(net, IpNet::V4(_))).map(IpNet::trunc).collect();
        let on_link = common(&observed, &links);
        let owned = common(&on_link, &facts.local);
        let unowned = size(&on_link).saturating_sub(size(&owned));
        // The network's own and the broadcast address are nobody's.
        let usual = on_link.iter().filter(|net| links.contains(net)).count() as u64 * 2;
        if unowned <= usual {
            continue;
        }
        let (name, nets) = (&it.name, some(&on_link));
        let proxied =
            if it.proxy_arp { " (proxy_arp is on, but answers only for what is routed elsewhere)" } else { "" };
        return Finding::new(
            "arp",
            Level::Fail,
            format!(
                "{unowned} observed addresses of {nets} are on the link of {name} and nobody's: no ARP is answered for them{proxied}, so that no \
                 packet for them comes"
            ),
            format!(
                "have the router route the network to this host, or take the addresses: ip route add local NETWORK dev lo \
                 (ARP is answered then); `ip neigh show proxy` lists what is answered for otherwise on {name}"
            ),
        );
    }
    Finding::ok("arp", "every observed address on a link is this host's, or is routed here")
}

/// A silent sensor must not answer, and a kernel does for every address that it has.
fn answers(facts: &Facts) -> Finding {
    if facts.posture != Posture::Silent {
        return Finding::ok("silence", "sensor.posture says that observed addresses answer");
    }
    let exposed = common(&facts.observed.networks(), &facts.local);
    let (silent, others) = match &facts.rules {
        Rules::Known { silent, others } => (silent.clone(), *others),
        Rules::Unknown(_) => (Vec::new(), false),
    };
    let loud: Vec<IpNet> =
        exposed.iter().filter(|net| !silent.iter().any(|silent| silent.contains(*net))).copied().collect();
    if exposed.is_empty() {
        return Finding::ok("silence", "observed addresses are not this host's: its kernel answers for none of them");
    }
    if loud.is_empty() {
        return Finding::ok(
            "silence",
            "nftables keeps the observed addresses of this host silent (table martlet_silent)",
        );
    }
    let remedy = "load martlet-silent.nft with these addresses (docs/sensor.md); or, if the address is this host's own, set \
                  sensor.posture = \"rst\"";
    let nets = some(&loud);
    let (level, message) = match &facts.rules {
        Rules::Unknown(why) => (
            Level::Warn,
            format!(
                "{nets} are observed and this host's own, so that its kernel answers, unless a firewall forbids it, which cannot be seen: {why}"
            ),
        ),
        Rules::Known { .. } if others => (
            Level::Warn,
            format!(
                "{nets} are observed and this host's own; there are firewall rules, but Martlet's table does not keep these addresses silent"
            ),
        ),
        Rules::Known { .. } => (
            Level::Fail,
            format!(
                "{nets} are observed and this host's own, and its kernel answers for them with RST and ICMP: not silent"
            ),
        ),
    };
    Finding::new("silence", level, message, remedy.to_owned())
}

/// A service that answers on an observed address makes a sensor reactive.
fn services(facts: &Facts) -> Finding {
    let exposed = common(&facts.observed.networks(), &facts.local);
    if facts.posture == Posture::Reactive || exposed.is_empty() {
        return Finding::ok("services", "no service is expected to stay away from observed addresses");
    }
    let silent = match &facts.rules {
        Rules::Known { silent, .. } => silent.clone(),
        Rules::Unknown(_) => Vec::new(),
    };
    let loud: Vec<IpNet> =
        exposed.into_iter().filter(|net| !silent.iter().any(|silent| silent.contains(net))).collect();
    let at = |net: &IpNet, ip: std::net::IpAddr| {
        net.contains(&ip) || (ip.is_unspecified() && (ip.is_ipv6() || matches!(net, IpNet::V4(_))))
    };
    let open: BTreeSet<String> = facts
        .sockets
        .iter()
        .filter(|socket| loud.iter().any(|net| at(net, socket.local.ip())))
        .map(|socket| format!("{}/{}", socket.protocol, socket.local.port()))
        .collect();
    if open.is_empty() {
        return Finding::ok("services", "no service listens on an observed address");
    }
    let ports: Vec<String> = open.into_iter().take(8).collect();
    Finding::new(
        "services",
        Level::Fail,
        format!("services of this host answer on observed addresses: {}", ports.join(", ")),
        "bind them to another address (`ss -lnp` names them), load martlet-silent.nft, or set sensor.posture = \"reactive\"; and \
         leave your own traffic out with observe.exclude"
            .to_owned(),
    )
}

fn nat(facts: &Facts) -> Finding {
    let observed = facts.observed.networks();
    // Infallible: the text is a network.
    let shared: Vec<IpNet> = SHARED.parse::<Ipv4Net>().map(IpNet::from).into_iter().collect();
    let carrier = common(&observed, &shared);
    if !carrier.is_empty() {
        return Finding::new(
            "nat",
            Level::Fail,
            format!(
                "{} is of carriers' shared space (100.64.0.0/10): behind their NAT nothing unsolicited arrives",
                some(&carrier)
            ),
            "ask the provider for a public address, or observe another line".to_owned(),
        );
    }
    let translated = facts.status.as_ref().ok().and_then(|status| status.uplink.behind_nat);
    let is_private = facts.observed.has_private_ipv4();
    if is_private && matches!(facts.public_address, PublicAddress::Auto) && facts.observed.ipv4_addresses() != 1 {
        return Finding::new(
            "nat",
            Level::Warn,
            "several private addresses are observed: what senders aimed at cannot be known, and marks that test it are left out",
            "set observe.public_address: to \"as_seen\" in a closed network, else to the public address".to_owned(),
        );
    }
    if is_private && translated != Some(false) {
        return Finding::new(
            "nat",
            Level::Warn,
            "a private address is observed: only what a NAT in front forwards to it arrives",
            "have the NAT forward every port to this host (\"exposed host\"); in a closed network this is as it should be".to_owned(),
        );
    }
    Finding::ok("nat", "observed addresses are not behind a NAT, as far as can be seen")
}

fn collector(facts: &Facts) -> Finding {
    let collector = &facts.collector;
    let fail = |message: String, remedy: &str| Finding::new("collector", Level::Fail, message, remedy.to_owned());
    if facts.status.as_ref().is_ok_and(|status| status.uplink.connected) {
        return Finding::ok("collector", format!("the uplink to {collector} is open"));
    }
    match &facts.way {
        Way::NoName(why) => {
            fail(format!("{collector} cannot be looked up: {why}"), "correct uplink.collector, or the system's DNS")
        }
        Way::NoRoute(why) => fail(
            format!("no route leads to {collector}: {why}"),
            "`ip route` lists them: add a default gateway, or bring the interface or tunnel up that leads there",
        ),
        Way::NoAnswer(why) => fail(
            format!("{collector} does not take connections: {why}"),
            "refused: start the collector, or correct uplink.collector; no answer or not permitted: a firewall here or there drops it, \
             allow TCP to this port",
        ),
        Way::Open(_) if facts.status.is_ok() => Finding::new(
            "collector",
            Level::Warn,
            format!("{collector} takes connections, but the sensor has no stream open there"),
            "its log says why: journalctl -u martlet-sensor".to_owned(),
        ),
        Way::Open(_) => Finding::ok("collector", format!("{collector} takes connections")),
    }
}

fn clock(facts: &Facts) -> Finding {
    let remedy = "run one of chrony, systemd-timesyncd or ntpd; `martlet-collector status` shows the offset that the collector sees";
    match &facts.clock {
        Err(why) => Finding::new("clock", Level::Warn, format!("the clock cannot be asked: {why}"), remedy.to_owned()),
        Ok(clock) if !clock.synchronised => Finding::new(
            "clock",
            Level::Warn,
            "nobody keeps the clock right: the kernel has not been told that it is synchronised",
            remedy.to_owned(),
        ),
        Ok(clock) if clock.max_error > CLOCK_ERROR => Finding::new(
            "clock",
            Level::Fail,
            format!("the clock may be wrong by {:.1} s", clock.max_error.as_secs_f64()),
            remedy.to_owned(),
        ),
        Ok(clock) => Finding::ok("clock", format!("synchronised, at most {} ms wrong", clock.max_error.as_millis())),
    }
}

fn traffic(facts: &Facts, quiet_after: Duration) -> Finding {
    let status = match &facts.status {
        Ok(status) => status,
        Err(why) => {
            return Finding::new(
                "traffic",
                Level::Fail,
                format!("the sensor cannot be asked: {why}"),
                "systemctl start martlet-sensor; its log says why it does not run: journalctl -u martlet-sensor"
                    .to_owned(),
            );
        }
    };
    let quiet = status.capture.last_packet_age_seconds.unwrap_or(status.uptime_seconds);
    if quiet > quiet_after.as_secs_f64() {
        return Finding::new(
            "traffic",
            Level::Fail,
            format!("no packet was counted for {}", age(Some(quiet))),
            "every public address gets some within minutes: `tcpdump -ni INTERFACE dst net NETWORK` shows whether they reach this host; if not, \
             the route or a filter in front of it is wrong"
                .to_owned(),
        );
    }
    match status.capture.last_packet_age_seconds {
        Some(seconds) => Finding::ok("traffic", format!("the last packet was counted {} ago", age(Some(seconds)))),
        None => Finding::ok("traffic", format!("nothing was counted yet, in {}", age(Some(quiet)))),
    }
}

fn ring(facts: &Facts) -> Finding {
    let Ok(status) = &facts.status else {
        return Finding::new(
            "ring",
            Level::Warn,
            "not known while the sensor cannot be asked",
            "start it first".to_owned(),
        );
    };
    let capture = &status.capture;
    let (kernel, interface) = (capture.kernel_drops, capture.interface_drops);
    if kernel > 0 {
        let level = if kernel > capture.frames / DROPS { Level::Fail } else { Level::Warn };
        return Finding::new(
            "ring",
            level,
            format!("the kernel dropped {kernel} frames beside {} taken, since a ring was full", capture.frames),
            format!(
                "raise capture.ring_mib (now {}); if that does not help, the processor is too busy",
                facts.ring_mib
            ),
        );
    }
    if interface > 0 {
        return Finding::new(
            "ring",
            Level::Warn,
            format!("interfaces dropped {interface} frames"),
            "ethtool -S INTERFACE says why; `ethtool -G INTERFACE rx N` gives its own ring more room".to_owned(),
        );
    }
    Finding::ok("ring", "nothing was dropped")
}

fn spool(facts: &Facts) -> Finding {
    let Ok(status) = &facts.status else {
        return Finding::new(
            "spool",
            Level::Warn,
            "not known while the sensor cannot be asked",
            "start it first".to_owned(),
        );
    };
    let spool = &status.spool;
    if spool.disk_full {
        return Finding::new(
            "spool",
            Level::Fail,
            "the last batch found no room on the disk and was lost",
            "make room on the disk of sensor.state_dir".to_owned(),
        );
    }
    if spool.dropped_batches > 0 {
        return Finding::new(
            "spool",
            Level::Warn,
            format!("{} batches were given up", spool.dropped_batches),
            "the collector was away for longer than uplink.spool_mib holds: raise it".to_owned(),
        );
    }
    Finding::ok("spool", format!("{} batches wait, {} KiB", spool.batches, spool.bytes >> 10))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::kernel::{Clock, Offloads};
    use crate::doctor::tables::Socket;
    use crate::status::{CaptureStatus, SpoolStatus, Status, UplinkStatus};

    const HOUR: Duration = Duration::from_secs(3600);

    fn nets(list: &[&str]) -> Vec<IpNet> {
        list.iter().map(|net| net.parse().unwrap()).collect()
    }

    /// A sensor with which nothing is wrong: a dark prefix is routed to it.
    fn healthy() -> Facts {
        let interface = Interface {
            name: "eth0".to_owned(),
            exists: true,
            up: true,
            carrier: true,
            networks: nets(&["198.51.100.2/24"]),
            offloads: Some(Offloads::default()),
            proxy_arp: false,
        };
        let capture = CaptureStatus {
            frames: 1000,
            packets: 900,
            last_packet_age_seconds: Some(2.0),
            ..CaptureStatus::default()
        };
        let status = Status {
            version: String::new(),
            name: "s".to_owned(),
            uptime_seconds: 9e9,
            interfaces: vec!["eth0".to_owned()],
            sandbox: String::new(),
            capture,
            spool: SpoolStatus::default(),
            uplink: UplinkStatus { connected: true, ..UplinkStatus::default() },
        };
        Facts {
            interfaces: vec![interface],
            observed: nets(&["192.0.2.0/24"]).into_iter().collect(),
            local: nets(&["127.0.0.0/8", "198.51.100.2/32"]),
            sockets: vec![Socket { protocol: "tcp", local: "0.0.0.0:22".parse().unwrap() }],
            rules: Rules::Known { silent: Vec::new(), others: false },
            posture: Posture::Silent,
            public_address: PublicAddress::Auto,
            passed: Ok(12),
            ring_mib: 16,
            status: Ok(status),
            collector: "collector:7460".to_owned(),
            way: Way::Open("192.0.2.9:7460".parse().unwrap()),
            clock: Ok(Clock { synchronised: true, max_error: Duration::from_millis(3) }),
        }
    }

    /// What is not in order, with its level.
    fn wrong(facts: &Facts) -> Vec<(&'static str, Level)> {
        let findings = all(facts, HOUR).into_iter().filter(|finding| finding.level != Level::Ok);
        findings
            .inspect(|finding| assert!(finding.remedy.is_some()))
            .map(|finding| (finding.check, finding.level))
            .collect()
    }

    fn with(change: impl FnOnce(&mut Facts)) -> Vec<(&'static str, Level)> {
        let mut facts = healthy();
        change(&mut facts);
        wrong(&facts)
    }

    fn status(facts: &mut Facts) -> &mut Status {
        facts.status.as_mut().unwrap()
    }

    #[test]
    fn nothing_is_said_of_a_healthy_sensor() {
        assert_eq!(with(|_| ()), []);
    }

    #[test]
    fn each_fault_is_found_and_no_other() {
        use Level::{Fail, Warn};
        assert_eq!(with(|f| f.interfaces[0].exists = false), [("interface", Fail)]);
        assert_eq!(with(|f| f.interfaces[0].up = false), [("interface", Fail)]);
        assert_eq!(with(|f| f.interfaces[0].carrier = false), [("interface", Fail)]);
        assert_eq!(with(|f| f.interfaces[0].offloads = Some(Offloads { gro: true, lro: true })), [("offload", Warn)]);
        assert_eq!(with(|f| f.passed = Ok(0)), [("filter", Fail)]);
        assert_eq!(with(|f| f.passed = Err("no".to_owned())), [("filter", Fail)]);
        assert_eq!(with(|f| f.observed = nets(&[]).into_iter().collect()), [("filter", Fail)]);
        assert_eq!(with(|f| f.clock = Ok(Clock { synchronised: false, max_error: HOUR })), [("clock", Warn)]);
        assert_eq!(with(|f| f.clock = Ok(Clock { synchronised: true, max_error: HOUR })), [("clock", Fail)]);
        assert_eq!(with(|f| status(f).capture.last_packet_age_seconds = Some(3601.0)), [("traffic", Fail)]);
        assert_eq!(with(|f| status(f).capture.last_packet_age_seconds = None), [("traffic", Fail)]);
        assert_eq!(with(|f| status(f).capture.kernel_drops = 1), [("ring", Fail)]);
        assert_eq!(
            with(|f| (status(f).capture.kernel_drops, status(f).capture.frames) = (1, 1_000_000)),
            [("ring", Warn)]
        );
        assert_eq!(with(|f| status(f).capture.interface_drops = 1), [("ring", Warn)]);
        assert_eq!(with(|f| status(f).spool.disk_full = true), [("spool", Fail)]);
        assert_eq!(with(|f| f.status = Err("no".to_owned())), [("traffic", Fail), ("ring", Warn), ("spool", Warn)]);
        for way in [Way::NoName(String::new()), Way::NoRoute(String::new()), Way::NoAnswer(String::new())] {
            let found = with(|f| {
                status(f).uplink.connected = false;
                f.way = way;
            });
            assert_eq!(found, [("collector", Fail)]);
        }
        assert_eq!(with(|f| status(f).uplink.connected = false), [("collector", Warn)]);
    }

    #[test]
    fn addresses_that_nobody_has_are_found_on_the_link_only() {
        let on_link = |f: &mut Facts| f.interfaces[0].networks = nets(&["192.0.2.1/24"]);
        assert_eq!(with(on_link), [("arp", Level::Fail)]);
        // Taken as local, ARP is answered, and so is everything else.
        let found = with(|f| {
            on_link(f);
            f.local.push("192.0.2.0/24".parse().unwrap());
            f.rules = Rules::Known { silent: nets(&["192.0.2.0/24"]), others: false };
        });
        assert_eq!(found, []);
    }

    #[test]
    fn a_host_that_answers_is_found_unless_it_may_or_cannot() {
        let owned = |f: &mut Facts| {
            f.local.push("192.0.2.7/32".parse().unwrap());
            f.sockets.clear();
        };
        assert_eq!(with(owned), [("silence", Level::Fail)]);
        let under = |rules: Rules| {
            with(|f| {
                owned(f);
                f.rules = rules;
            })
        };
        assert_eq!(under(Rules::Known { silent: nets(&["192.0.2.0/24"]), others: true }), []);
        assert_eq!(under(Rules::Known { silent: nets(&["192.0.2.8/32"]), others: false }), [("silence", Level::Fail)]);
        assert_eq!(under(Rules::Known { silent: Vec::new(), others: true }), [("silence", Level::Warn)]);
        assert_eq!(under(Rules::Unknown("no nft".to_owned())), [("silence", Level::Warn)]);
        let found = with(|f| {
            owned(f);
            f.posture = Posture::Rst;
        });
        assert_eq!(found, []);
    }

    #[test]
    fn a_service_on_an_observed_address_is_found() {
        let listening = |at: &str, posture| {
            with(|f| {
                f.local.push("192.0.2.7/32".parse().unwrap());
                f.sockets = vec![Socket { protocol: "tcp", local: at.parse().unwrap() }];
                f.posture = posture;
            })
        };
        assert_eq!(listening("0.0.0.0:22", Posture::Rst), [("services", Level::Fail)]);
        assert_eq!(listening("[::]:22", Posture::Rst), [("services", Level::Fail)]);
        assert_eq!(listening("192.0.2.7:22", Posture::Rst), [("services", Level::Fail)]);
        assert_eq!(listening("127.0.0.1:22", Posture::Rst), []);
        assert_eq!(listening("0.0.0.0:22", Posture::Reactive), []);
    }

    #[test]
    fn translated_addresses_are_found() {
        let observing = |net: &str| with(|f| f.observed = nets(&[net]).into_iter().collect());
        assert_eq!(observing("100.64.3.4/32"), [("nat", Level::Fail)]);
        assert_eq!(observing("10.0.0.0/24"), [("nat", Level::Warn)]);
        assert_eq!(observing("192.168.1.7/32"), [("nat", Level::Warn)]);
        assert_eq!(observing("203.0.113.7/32"), []);
    }
}
