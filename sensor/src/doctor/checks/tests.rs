//! Each judgement, of facts that are right but for one thing.

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
    let capture =
        CaptureStatus { frames: 1000, packets: 900, last_packet_age_seconds: Some(2.0), ..CaptureStatus::default() };
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
        now: "2026-11-28T10:00:00Z".to_owned(),
        certificates: Vec::new(),
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
    let warning = || Dates::Warning("c expires".to_owned());
    assert_eq!(with(|f| f.certificates = vec![warning()]), [("certificate", Warn)]);
    let error = || Dates::Error("c expired".to_owned());
    assert_eq!(with(|f| f.certificates = vec![warning(), error()]), [("certificate", Fail)]);
    assert_eq!(with(|f| status(f).capture.last_packet_age_seconds = Some(3601.0)), [("traffic", Fail)]);
    assert_eq!(with(|f| status(f).capture.last_packet_age_seconds = None), [("traffic", Fail)]);
    assert_eq!(with(|f| status(f).capture.kernel_drops = 1), [("ring", Fail)]);
    assert_eq!(with(|f| (status(f).capture.kernel_drops, status(f).capture.frames) = (1, 1_000_000)), [("ring", Warn)]);
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
