//! One judgement a function: from what was gathered to what an operator should know and do.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use martlet_telemetry::preflight::Finding as Dates;
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
        certificates(facts),
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

/// What has expired or has not begun is refused at either end, and a wrong clock looks just the same.
fn certificates(facts: &Facts) -> Finding {
    let found = |level, text: &str, remedy: &str| {
        let message = format!("{text}; this machine's clock says {}", facts.now);
        Finding::new("certificate", level, message, remedy.to_owned())
    };
    // An error comes before a warning.
    let error = facts.certificates.iter().find_map(|dates| match dates {
        Dates::Error(text) => Some(text),
        Dates::Warning(_) => None,
    });
    if let Some(text) = error {
        let remedy = "set the clock if it is wrong (`timedatectl`); if it is right, get another certificate: `martlet-sensor enroll --keep-config` with a \
                      new token, or from who signs those in uplink.tls";
        return found(Level::Fail, text, remedy);
    }
    match facts.certificates.first() {
        Some(Dates::Warning(text) | Dates::Error(text)) => {
            let remedy = "the log of a sensor with uplink.tls.renew says why it has not renewed it; without, replace the file, and systemctl reload martlet-sensor";
            found(Level::Warn, text, remedy)
        }
        None => Finding::ok("certificate", "no certificate in uplink.tls ends soon"),
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
