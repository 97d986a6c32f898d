//! What the background consists of, each number with its source.
//!
//! Shares are per 10,000 packets. *Our choice* means that we found no published figure that fits and took a plausible
//! one: nothing may be concluded from it.
//!
//! | what | share used | source |
//! | --- | --- | --- |
//! | packets per address and day | 6,646 | NICTER 2024: one packet per address every 13 s (White Paper Information and Communications in Japan 2025, II-1-10) |
//! | TCP : UDP : ICMP | 95.76 : 3.73 : 0.51 % | 95.96 : 3.74 : 0.51 %, scaled to 100 %: a Spanish telescope in 2023, 4.7 billion packets ("Characterizing Internet Background Traffic from a Spain-Based Network Telescope", Computers & Security 159, 2025, abstract) |
//! | research scanning | 60.2 % | NICTER observation report 2024: 60.2 % (2023: 63.8 %). How it splits over TCP, UDP and ICMP: our choice |
//! | ZMap among TCP scan packets | 36.0 % | "over one-third of all Internet scan traffic": Durumeric et al., "Ten Years of ZMap", IMC 2024. Half with IP ID 54321, half in the shape since 4.1: our choice. That research uses it more than others do: our choice |
//! | Masscan among TCP scan packets | 12.0 % | our choice; half old shape, half the shape since 2023-11 |
//! | Nmap among TCP scan packets | 0.5 % | our choice |
//! | Mirai's mark among all packets | 3.5 % | National Police Agency of Japan, threats in cyberspace 2021: 257.3 of 7,334.9 accesses per address and day (2020: 461.7 of 6,506.5) |
//! | Mirai ports | 23 : 2323 as 9 : 1 | the published source code of Mirai (every tenth probe goes to 2323); Antonakakis et al., USENIX Security 2017 |
//! | every other TCP scan | ordinary connect stacks | what is left |
//! | TCP backscatter | 3.0 % | our choice, as is SYN-ACK : RST : stray ACK = 20 : 8 : 2; 80 leads among the victims' ports (National Police Agency of Japan, 2016), their shares are our choice |
//! | UDP answers | 0.5 % | our choice |
//! | Slammer | 0.01 % | our choice: it still arrives now and then |
//! | ICMP echo : errors and replies | 41 : 10 | our choice; errors among themselves as in the darknet capture below, without type 3 code 10 |
//! | IPv6 | none | no published proportion fits a sensor of single addresses |
//!
//! | ports of | source |
//! | --- | --- |
//! | TCP scans that are neither research nor Mirai | 23: 24.2 %, 445: 5.4 %, 22: 3.5 %, 80: 3.2 % of all packets, and the ten first ports together 49 %: NICTER observation report 2019; we take them as shares of what is not research, as NICTER's port charts leave research scans out (stated for the 2018 report). The other six of the ten and the next eleven: names from JPCERT/CC's TSUBAME reports (2021 to 2026) and our own list, shares our choice. The rest: any port |
//! | research TCP scans | that research bodies scan the entire port range: Griffioen et al., "Have you SYN me?", IMC 2024. 30 % on well-known ports, the rest on any: our choice |
//! | UDP scans, and their mean lengths | counted from a public darknet capture of one cloud address, 2020-04 to 2021-10, 247,594 inbound UDP packets. Its host answered DNS and NTP, which may have drawn more of these |
//!
//! | sources | source |
//! | --- | --- |
//! | a few hosts send most, rates fall as 1/rank | heavy tails are reported throughout (e.g. Durumeric et al., USENIX Security 2014; Anand et al., "Aggressive Internet-Wide Scanners", 2023); the exponent 1 and every limit are our choice |
//! | number of hosts per port | orders of magnitude from NICTERWEB's daily unique hosts (23: 45,403; 80: 41,863; 445: 24,996; 8080: 24,934; 2323: 10,640; 22: 9,593, one undated day); others our choice |
//! | bots of one malware send alike | our choice; they run the same code |
//!
//! Known simplifications: every source sends as a Poisson process over the whole drill, so there are no bursts, no
//! sequential sweeps, and nobody comes or goes; the shares are those of different years and telescopes put together.

use crate::template::Tool;

/// All shares are of this many.
pub const WHOLE: u32 = 10_000;

/// One component of the background.
#[derive(Clone, Copy, Debug)]
pub struct Component {
    /// Name in the ground truth.
    pub name: &'static str,
    /// Packets of this component in 10,000 of the background.
    pub per_10_000: u32,
    pub(crate) probe: Probe,
    pub(crate) ports: Ports,
    pub(crate) sources: Sources,
}

/// What a component's packets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    Syn(Tool),
    SynAck,
    Rst,
    StrayAck,
    Udp,
    Slammer,
    UdpAnswer,
    Echo,
    IcmpAnswer,
}

/// Which port mix a component draws from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ports {
    /// Research: every source scans many ports.
    Research,
    /// Everybody else: a source keeps to one port of the list, or to a few of the rest.
    Single,
    /// 23 and 2323 as 9 : 1, from the same hosts.
    Mirai,
    /// UDP services.
    Udp,
    /// Ports of victims whose answers come back.
    Victims,
    /// The protocol has none, or the probe knows its own.
    Own,
}

/// How many hosts send, and how unevenly. Ranks run from `2^first` to `2^last`; every power of two between them has the
/// same number of packets, so a host's rate falls as 1/rank: the first `2^first` hosts are equal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sources {
    pub(crate) first: u32,
    pub(crate) last: u32,
}

const RESEARCH: Sources = Sources { first: 4, last: 11 };
const CROWD: Sources = Sources { first: 5, last: 13 };
const BOTS: Sources = Sources { first: 13, last: 16 };
const VICTIMS: Sources = Sources { first: 3, last: 12 };

const fn part(name: &'static str, per_10_000: u32, probe: Probe, ports: Ports, sources: Sources) -> Component {
    Component { name, per_10_000, probe, ports, sources }
}

/// The background, component by component. The module's table says where the numbers come from.
pub const COMPONENTS: [Component; 22] = [
    part("research_zmap_ipid", 1350, Probe::Syn(Tool::ZmapIpId), Ports::Research, RESEARCH),
    part("research_zmap_4", 1350, Probe::Syn(Tool::Zmap4), Ports::Research, RESEARCH),
    part("research_masscan_old", 300, Probe::Syn(Tool::MasscanOld), Ports::Research, RESEARCH),
    part("research_masscan_2023", 300, Probe::Syn(Tool::Masscan2023), Ports::Research, RESEARCH),
    part("research_connect", 2500, Probe::Syn(Tool::Linux), Ports::Research, RESEARCH),
    part("zmap_ipid", 320, Probe::Syn(Tool::ZmapIpId), Ports::Single, CROWD),
    part("zmap_4", 320, Probe::Syn(Tool::Zmap4), Ports::Single, CROWD),
    part("masscan_old", 256, Probe::Syn(Tool::MasscanOld), Ports::Single, CROWD),
    part("masscan_2023", 256, Probe::Syn(Tool::Masscan2023), Ports::Single, CROWD),
    part("nmap", 46, Probe::Syn(Tool::Nmap), Ports::Single, CROWD),
    part("connect", 1928, Probe::Syn(Tool::Linux), Ports::Single, CROWD),
    part("mirai", 350, Probe::Syn(Tool::Mirai), Ports::Mirai, BOTS),
    part("backscatter_syn_ack", 200, Probe::SynAck, Ports::Victims, VICTIMS),
    part("backscatter_rst", 80, Probe::Rst, Ports::Victims, VICTIMS),
    part("stray_ack", 20, Probe::StrayAck, Ports::Victims, VICTIMS),
    part("research_udp", 200, Probe::Udp, Ports::Udp, RESEARCH),
    part("udp", 122, Probe::Udp, Ports::Udp, CROWD),
    part("slammer", 1, Probe::Slammer, Ports::Own, CROWD),
    part("udp_answer", 50, Probe::UdpAnswer, Ports::Own, VICTIMS),
    part("research_echo", 20, Probe::Echo, Ports::Own, RESEARCH),
    part("echo", 21, Probe::Echo, Ports::Own, CROWD),
    part("icmp_answer", 10, Probe::IcmpAnswer, Ports::Own, VICTIMS),
];

/// Stands for "any port" in the port lists.
pub(crate) const ANY: u16 = 0;

/// Ports of TCP scans that are neither research nor Mirai, per 10,000 of them.
///
/// NICTER's 24.2 % for 23/TCP is of all that is not research, 3,980 in 10,000 packets: 963. Mirai's 9 in 10 give 315,
/// so 648 of these 3,126 remain for port 23; 445, 22 and 80 likewise.
const SINGLE: [(u16, u32); 22] = [
    (23, 2073),
    (445, 688),
    (22, 445),
    (80, 406),
    (6379, 384),
    (443, 320),
    (8080, 272),
    (5555, 240),
    (1433, 208),
    (3389, 192),
    (81, 100),
    (8088, 100),
    (37215, 100),
    (2375, 80),
    (8443, 80),
    (5900, 80),
    (3306, 60),
    (5432, 60),
    (139, 60),
    (2222, 60),
    (2376, 50),
    (ANY, 3942),
];

/// Ports of research scans over TCP.
const RESEARCH_TCP: [(u16, u32); 21] = [
    (443, 350),
    (80, 350),
    (22, 250),
    (8080, 200),
    (8443, 200),
    (21, 150),
    (25, 150),
    (3389, 150),
    (23, 150),
    (445, 100),
    (5432, 100),
    (3306, 100),
    (6379, 100),
    (9200, 100),
    (27017, 100),
    (5060, 100),
    (8888, 100),
    (993, 100),
    (5900, 100),
    (502, 50),
    (ANY, 7000),
];

const MIRAI: [(u16, u32); 2] = [(23, 9000), (2323, 1000)];

/// UDP ports per 10,000 scans; the counted capture's first thirty that are no answers to its own host.
const UDP: [(u16, u32); 29] = [
    (5060, 1828),
    (123, 697),
    (53, 474),
    (389, 422),
    (1900, 338),
    (161, 279),
    (5070, 205),
    (1434, 145),
    (137, 142),
    (5353, 135),
    (5683, 119),
    (1194, 111),
    (111, 96),
    (19, 92),
    (3283, 91),
    (53413, 85),
    (3702, 84),
    (6881, 84),
    (5632, 74),
    (17, 73),
    (69, 71),
    (623, 70),
    (5351, 70),
    (47808, 67),
    (500, 64),
    (10001, 64),
    (37810, 58),
    (443, 49),
    (ANY, 3913),
];

const VICTIM_PORTS: [(u16, u32); 8] =
    [(80, 3500), (443, 3000), (22, 800), (53, 500), (25565, 500), (8080, 400), (3389, 300), (ANY, 1000)];

/// A draw from a list with shares that sum to [`WHOLE`], by one look-up.
pub(crate) struct Lookup(Box<[u16]>);

impl Lookup {
    fn new(entries: impl Iterator<Item = (u16, u32)>) -> Self {
        let mut table = Vec::with_capacity(usize::try_from(WHOLE).unwrap_or(0));
        for (value, share) in entries {
            table.extend(std::iter::repeat_n(value, usize::try_from(share).unwrap_or(0)));
        }
        Self(table.into())
    }

    /// The entry for a random number.
    pub(crate) fn pick(&self, bits: u32) -> u16 {
        // The table has 10,000 entries, which fits 32 bits; a draw below its length is always inside.
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        usize::try_from(crate::random::scale(bits, length)).ok().and_then(|i| self.0.get(i)).copied().unwrap_or(ANY)
    }
}

/// Every list of this module, ready to draw from.
pub(crate) struct Lookups {
    pub(crate) components: Lookup,
    pub(crate) research: Lookup,
    pub(crate) single: Lookup,
    pub(crate) mirai: Lookup,
    pub(crate) udp: Lookup,
    pub(crate) victims: Lookup,
}

impl Lookups {
    pub(crate) fn new() -> Self {
        Self {
            components: Lookup::new((0..).zip(COMPONENTS).map(|(i, c)| (i, c.per_10_000))),
            research: Lookup::new(RESEARCH_TCP.into_iter()),
            single: Lookup::new(SINGLE.into_iter()),
            mirai: Lookup::new(MIRAI.into_iter()),
            udp: Lookup::new(UDP.into_iter()),
            victims: Lookup::new(VICTIM_PORTS.into_iter()),
        }
    }
}

/// The hosts that send to one port, where a source keeps to one.
pub(crate) fn single_port_sources(port: u16, otherwise: Sources) -> Sources {
    let last = match port {
        23 | 80 => 15,
        445 | 8080 => 14,
        22 => 13,
        ANY => 13,
        _ => 11,
    };
    Sources { last, ..otherwise }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(pick: impl Fn(&Component) -> bool) -> u32 {
        COMPONENTS.iter().filter(|c| pick(c)).map(|c| c.per_10_000).sum()
    }

    #[test]
    fn every_list_is_whole() {
        assert_eq!(share(|_| true), WHOLE);
        for list in [&SINGLE[..], &RESEARCH_TCP, &MIRAI, &UDP, &VICTIM_PORTS] {
            assert_eq!(list.iter().map(|&(_, share)| share).sum::<u32>(), WHOLE, "{:?}", list[0]);
        }
    }

    #[test]
    fn the_table_says_what_is_used() {
        let udp = share(|c| matches!(c.probe, Probe::Udp | Probe::Slammer | Probe::UdpAnswer));
        let icmp = share(|c| matches!(c.probe, Probe::Echo | Probe::IcmpAnswer));
        assert_eq!((WHOLE - udp - icmp, udp, icmp), (9576, 373, 51));
        assert_eq!(share(|c| c.name.starts_with("research")), 6020);
        let scans = share(|c| matches!(c.probe, Probe::Syn(_)));
        let zmap = share(|c| matches!(c.probe, Probe::Syn(Tool::ZmapIpId | Tool::Zmap4)));
        let masscan = share(|c| matches!(c.probe, Probe::Syn(Tool::MasscanOld | Tool::Masscan2023)));
        assert_eq!((scans, zmap * 1000 / scans, masscan * 1000 / scans), (9276, 360, 119));
        assert_eq!(share(|c| c.ports == Ports::Single), 3126);
        // 23/TCP among what is not research: (648 + 315) / 3980.
        assert_eq!((3126 * 2073 / WHOLE + 350 * 9 / 10) * 1000 / 3980, 241);
    }
}
