//! The packets of a self-spreading outbreak, and which of its hosts are near the telescope.
//!
//! Hosts that prefer targets near themselves reach a telescope in their own /8 or /16 far more often. With vulnerable
//! hosts spread evenly, every scan still meets one with the same chance, so the outbreak grows as a uniform one does
//! (Zou, Towsley, Gong, "On the performance of Internet worm scanning strategies", Performance Evaluation 63, 2006), and
//! every network has the same share infected. What changes is who is seen.

use crate::addresses::SourceSpace;
use crate::arrivals::OutbreakTimes;
use crate::config::{DrillConfig, OutbreakConfig, OutbreakMark, Transport};
use crate::generator::{OUTBREAK_HOSTS, Painter};
use crate::inject::{Inject, Preference};
use crate::mix::Probe;
use crate::packet::{Origin, PacketInfo};
use crate::random::{Purpose, Stream, mix, scale, to_u64};
use crate::template::Tool;
use ipnet::Ipv4Net;

/// Hosts at one distance from the telescope.
pub(crate) struct Group {
    /// Where they are.
    space: SourceSpace,
    /// Vulnerable hosts among them.
    vulnerable: u64,
    /// Dark addresses that scan uniformly what one of them scans: how often it is seen.
    weight: f64,
}

/// The hosts of a worm by their distance from the telescope; just one group where nobody prefers anything.
pub(crate) struct Neighbourhood {
    groups: Vec<Group>,
    vulnerable: f64,
}

impl Neighbourhood {
    pub(crate) fn new(config: &DrillConfig, outbreak: &OutbreakConfig, preference: Option<Preference>) -> Self {
        let (dark, addresses, n) = (config.all_dark(), config.dark_addresses() as f64, outbreak.vulnerable);
        let everywhere = SourceSpace::new(&dark);
        let Some(Preference { same_16, same_8 }) = preference else {
            let groups = vec![Group { space: everywhere, vulnerable: n, weight: addresses }];
            return Self { groups, vulnerable: n as f64 };
        };
        let around = |length| Ipv4Net::new_assert(config.dark.network(), length).trunc();
        let with = |network: Ipv4Net| [&dark[..], &[network]].concat();
        let near_16 = SourceSpace::of_network(&dark, around(16));
        let near_8 = SourceSpace::of_network(&with(around(16)), around(8));
        let far = SourceSpace::new(&with(around(8)));
        let share = |space: &SourceSpace| {
            // To the nearest whole host.
            to_u64(n as f64 * f64::from(space.size()) / f64::from(everywhere.size()) + 0.5)
        };
        let uniform = (1.0 - same_16 - same_8) * addresses;
        let in_8 = uniform + same_8 * addresses * 256.0;
        let in_16 = in_8 + same_16 * addresses * 65_536.0;
        let (n_16, n_8) = (share(&near_16), share(&near_8));
        let mut groups = vec![Group { space: far, vulnerable: n.saturating_sub(n_16 + n_8), weight: uniform }];
        groups.push(Group { space: near_8, vulnerable: n_8, weight: in_8 });
        groups.push(Group { space: near_16, vulnerable: n_16, weight: in_16 });
        groups.retain(|group| group.vulnerable > 0 && group.space.size() > 0);
        Self { groups, vulnerable: n as f64 }
    }

    /// Dark addresses that would see as many packets of uniformly scanning hosts.
    pub(crate) fn seen_as_addresses(&self) -> f64 {
        let seen: f64 = self.groups.iter().map(|group| group.weight * group.vulnerable as f64).sum();
        seen / self.vulnerable
    }

    /// Vulnerable hosts elsewhere in the telescope's own /8, and in its own /16.
    pub(crate) fn near(&self) -> (u64, u64) {
        let hosts = |at: usize| self.groups.get(at).map_or(0, |group| group.vulnerable);
        (hosts(1), hosts(2))
    }

    /// The host that sends a packet when so many of all are infected; `None` where the group it was drawn from has no
    /// infected host yet. Groups are drawn by what they send on average, so a group of which the average says a part of
    /// a host sends nothing until it is one.
    fn draw(&self, infected: f64, key: u64, fields: &mut Stream) -> Option<u32> {
        let total: f64 = self.groups.iter().map(|group| group.weight * group.vulnerable as f64).sum();
        let mut at = f64::from(fields.bits32()) / 4_294_967_296.0 * total;
        let mut groups = (0_u64..).zip(&self.groups);
        let (number, group) = groups.find(|(_, group)| {
            at -= group.weight * group.vulnerable as f64;
            at < 0.0
        })?;
        let mean = infected / self.vulnerable * group.vulnerable as f64;
        let index = to_u64(f64::from(fields.bits32()) / 4_294_967_296.0 * mean);
        // Of `mean` hosts' packets, those of the part above a whole number are dropped.
        (index < to_u64(mean)).then(|| group.space.hashed(mix(key, number), index))
    }
}

/// A worm's packets in time order.
pub(crate) struct Worm {
    config: OutbreakConfig,
    times: OutbreakTimes,
    fields: Stream,
    host_key: u64,
    origin: Origin,
    /// Only where its hosts prefer something.
    near: Option<Neighbourhood>,
    /// Infected hosts at the next arrival, and the sender's address where it was drawn with it.
    next: (f64, Option<u32>),
}

impl Worm {
    /// The drill's own outbreak.
    pub(crate) fn of_drill(config: &DrillConfig, outbreak: &OutbreakConfig) -> Self {
        let model = crate::OutbreakModel::new(outbreak, config.dark_addresses());
        let times = Stream::new(config.stream_seed(), Purpose::OutbreakTimes);
        Self {
            times: OutbreakTimes::new(times, model, outbreak.start, config.duration),
            fields: Stream::new(config.stream_seed(), Purpose::OutbreakFields),
            config: *outbreak,
            host_key: mix(config.seed, OUTBREAK_HOSTS),
            origin: Origin::Outbreak,
            near: None,
            next: (0.0, None),
        }
    }

    /// An inject's.
    pub(crate) fn of_inject(
        config: &DrillConfig,
        (index, inject): (u32, &Inject),
        outbreak: &OutbreakConfig,
        preference: Option<Preference>,
    ) -> Self {
        let near = Neighbourhood::new(config, outbreak, preference);
        let model = crate::OutbreakModel::weighted(outbreak, near.seen_as_addresses());
        let times = Stream::new(config.stream_seed(), Purpose::InjectTimes(index));
        Self {
            times: OutbreakTimes::new(times, model, inject.begin, inject.end),
            fields: Stream::new(config.stream_seed(), Purpose::InjectFields(index)),
            config: *outbreak,
            host_key: mix(config.seed, OUTBREAK_HOSTS + 1 + u64::from(index)),
            origin: Origin::inject(index),
            near: preference.map(|_| near),
            next: (0.0, None),
        }
    }

    /// A count of all that are to come.
    pub(crate) fn count(&self) -> u64 {
        let mut dry = self.times.clone();
        std::iter::from_fn(|| dry.next_s()).fold(0, |n, _| n + 1)
    }

    /// The next arrival in seconds after the start of the drill.
    pub(crate) fn next_s(&mut self) -> Option<f64> {
        loop {
            let (at_s, infected) = self.times.next_s()?;
            let source = match &self.near {
                None => None,
                Some(near) => match near.draw(infected, self.host_key, &mut self.fields) {
                    None => continue,
                    drawn => drawn,
                },
            };
            self.next = (infected, source);
            return Some(at_s);
        }
    }

    /// Writes the packet of the arrival that was asked for last.
    pub(crate) fn paint(&mut self, painter: &mut Painter) -> PacketInfo {
        let (infected, drawn) = self.next;
        let address = drawn.unwrap_or_else(|| {
            let infected = to_u64(infected).clamp(self.config.initial_infected, self.config.vulnerable);
            let index = scale(self.fields.bits32(), u32::try_from(infected).unwrap_or(u32::MAX));
            painter.space.permuted(self.host_key, index)
        });
        let probe = match (self.config.mark, self.config.transport) {
            (OutbreakMark::Mirai, _) => Probe::Syn(Tool::Mirai),
            (OutbreakMark::Slammer, _) => Probe::Slammer,
            (OutbreakMark::None, Transport::Tcp) => Probe::Syn(Tool::Linux),
            (OutbreakMark::None, Transport::Udp) => Probe::Udp,
        };
        let info = painter.probe(&mut self.fields, probe, address, self.config.port);
        PacketInfo { origin: self.origin, ..info }
    }
}
