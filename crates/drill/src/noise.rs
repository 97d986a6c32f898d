//! The packets of injects that do not spread: sweeps, floods, ramps, loud scanners and bots that change addresses.

use crate::addresses::feistel;
use crate::arrivals::{OutbreakTimes, SteadyTimes};
use crate::config::DrillConfig;
use crate::generator::Painter;
use crate::inject::{Inject, InjectKind};
use crate::mix::Probe;
use crate::packet::{Origin, PacketInfo};
use crate::random::{Purpose, Stream, mix};
use crate::template::Tool;
use crate::worm::Worm;
use std::time::Duration;

/// Domain separator of the keys under which the hosts of an inject are drawn.
const INJECT_HOSTS: u64 = 4 << 40;
/// SYN-ACKs among 28 answers; the others are RSTs. As in the background: our choice.
const SYN_ACKS_OF_28: u32 = 20;

/// The packets of one inject, in time order.
pub(crate) enum Player {
    /// A worm.
    Worm(Box<Worm>),
    /// Anything else.
    Noise(Box<Noise>),
}

impl Player {
    pub(crate) fn new(config: &DrillConfig, index: u32, inject: &Inject) -> Self {
        match &inject.kind {
            InjectKind::Worm { outbreak, preference } => {
                Self::Worm(Box::new(Worm::of_inject(config, (index, inject), outbreak, *preference)))
            }
            _ => Self::Noise(Box::new(Noise::new(config, index, inject))),
        }
    }

    /// The next arrival in seconds after the start of the drill.
    pub(crate) fn next_s(&mut self) -> Option<f64> {
        match self {
            Self::Worm(worm) => worm.next_s(),
            Self::Noise(noise) => noise.times.next_s(),
        }
    }

    /// Writes the packet of the arrival that was asked for last.
    pub(crate) fn paint(&mut self, painter: &mut Painter, at_s: f64) -> PacketInfo {
        match self {
            Self::Worm(worm) => worm.paint(painter),
            Self::Noise(noise) => noise.paint(painter, at_s),
        }
    }
}

/// When the packets of something that does not spread arrive.
enum Times {
    Steady(SteadyTimes),
    Ramp(OutbreakTimes),
    Sweep(SweepTimes),
}

impl Times {
    fn next_s(&mut self) -> Option<f64> {
        match self {
            Self::Steady(times) => times.next_s(),
            Self::Ramp(times) => times.next_s().map(|(at_s, _)| at_s),
            Self::Sweep(times) => times.next_s(),
        }
    }
}

/// One arrival for each address, evenly spread with a little chance: a scanner goes through all addresses of the
/// Internet in an order that looks random from here.
struct SweepTimes {
    stream: Stream,
    next: u64,
    addresses: u64,
    begin_s: f64,
    step_s: f64,
}

impl SweepTimes {
    fn next_s(&mut self) -> Option<f64> {
        if self.next == self.addresses {
            return None;
        }
        let within = f64::from(self.stream.bits32()) / 4_294_967_296.0;
        self.next += 1;
        Some(self.begin_s + ((self.next - 1) as f64 + within) * self.step_s)
    }
}

/// Packets of something that does not spread.
pub(crate) struct Noise {
    kind: InjectKind,
    times: Times,
    fields: Stream,
    key: u64,
    /// Packets so far.
    number: u64,
    addresses: u32,
    origin: Origin,
}

impl Noise {
    fn new(config: &DrillConfig, index: u32, inject: &Inject) -> Self {
        let stream = Stream::new(config.stream_seed(), Purpose::InjectTimes(index));
        let addresses = config.dark_addresses();
        let (begin, end) = (inject.begin, inject.end);
        let steady = |per_s| Times::Steady(SteadyTimes::new(stream.clone(), per_s, begin, end));
        let times = match &inject.kind {
            InjectKind::Backscatter { per_address_hour, .. } | InjectKind::LoudScanner { per_address_hour, .. } => {
                steady(per_address_hour / 3600.0 * addresses as f64)
            }
            InjectKind::Renumbering { bots, scans_per_host_s, .. } => {
                steady(f64::from(*bots) * scans_per_host_s * addresses as f64 / 4_294_967_296.0)
            }
            InjectKind::SpoofedRamp { first_per_address_hour, last_per_address_hour, doubling, .. } => {
                let ramp = Inject::ramp(*first_per_address_hour, *last_per_address_hour, *doubling, addresses);
                Times::Ramp(OutbreakTimes::new(stream, ramp, begin, end))
            }
            InjectKind::Sweep { .. } | InjectKind::Worm { .. } => Times::Sweep(SweepTimes {
                stream,
                next: 0,
                addresses,
                begin_s: begin.as_secs_f64(),
                step_s: (end - begin).as_secs_f64() / addresses as f64,
            }),
        };
        Self {
            kind: inject.kind.clone(),
            times,
            fields: Stream::new(config.stream_seed(), Purpose::InjectFields(index)),
            key: mix(config.seed, INJECT_HOSTS + u64::from(index)),
            number: 0,
            // A /8 is the largest prefix that is allowed.
            addresses: u32::try_from(addresses).unwrap_or(u32::MAX),
            origin: Origin::inject(index),
        }
    }

    fn paint(&mut self, painter: &mut Painter, at_s: f64) -> PacketInfo {
        let number = self.number;
        self.number += 1;
        let (key, fields) = (self.key, &mut self.fields);
        let info = match self.kind {
            InjectKind::Sweep { port, sources } => {
                // Hosts side by side in one /24; which sends what is chance.
                let network = painter.space.hashed(key, 0) & !0xff;
                let source = network + 1 + fields.below(sources.min(254));
                let destination = permuted_offset(key, number, self.addresses);
                painter.probe_to(fields, Probe::Syn(Tool::Zmap4), source, destination, port)
            }
            InjectKind::Backscatter { port, victims, .. } => {
                let source = painter.space.hashed(key, u64::from(fields.below(victims)));
                let probe = if fields.below(28) < SYN_ACKS_OF_28 { Probe::SynAck } else { Probe::Rst };
                painter.probe(fields, probe, source, port)
            }
            InjectKind::SpoofedRamp { port, .. } => {
                let source = fields.bits32();
                painter.probe(fields, Probe::Syn(Tool::Linux), source, port)
            }
            InjectKind::LoudScanner { port, .. } => {
                let source = painter.space.hashed(key, 0);
                painter.probe(fields, Probe::Syn(Tool::Masscan2023), source, port)
            }
            InjectKind::Renumbering { port, bots, lease, .. } => {
                let bot = u64::from(fields.below(bots));
                let source = painter.space.hashed(mix(key, bot), lease_number(key, bot, lease, at_s));
                painter.probe(fields, Probe::Syn(Tool::Mirai), source, port)
            }
            // Worms are not noise: `Player::new` gives them to `Worm`.
            InjectKind::Worm { .. } => painter.probe(fields, Probe::Syn(Tool::Linux), 0, 0),
        };
        PacketInfo { origin: self.origin, ..info }
    }
}

/// The how-manieth address a bot has at this time: leases begin at a moment of each bot's own.
fn lease_number(key: u64, bot: u64, lease: Duration, at_s: f64) -> u64 {
    let lease_s = lease.as_secs().max(1);
    let phase_s = mix(key ^ 1, bot) % lease_s;
    (crate::random::to_u64(at_s) + phase_s) / lease_s
}

/// The offset that comes in this place of a keyed order of all offsets below `size`, a power of two: each comes once.
fn permuted_offset(key: u64, place: u64, size: u32) -> u32 {
    // Only the low bits of a permutation of 32 bits would not be one, so the cycle is walked until it is back inside a
    // domain of at least the same size, in which walking is short.
    let bits = size.trailing_zeros().max(2).next_multiple_of(2);
    let mut at = (place & 0xffff_ffff) as u32;
    loop {
        at = feistel(key, at, bits);
        if at < size {
            return at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_offset_comes_once() {
        for size in [1_u32, 2, 8, 256, 512, 65_536] {
            let mut seen: Vec<u32> = (0..u64::from(size)).map(|place| permuted_offset(9, place, size)).collect();
            let order = seen.clone();
            seen.sort_unstable();
            assert_eq!(seen, (0..size).collect::<Vec<_>>());
            assert!(size < 8 || order != seen, "not in order: {size}");
        }
    }

    #[test]
    fn leases_end_daily_at_differing_hours() {
        let day = Duration::from_secs(86_400);
        let changes: Vec<u64> = (0..200)
            .map(|bot| {
                (0..86_400)
                    .find(|&s| lease_number(5, bot, day, s as f64) > lease_number(5, bot, day, 0.0))
                    .unwrap_or(86_400)
            })
            .collect();
        assert!((0..24).all(|hour| changes.iter().any(|s| s / 3600 == hour)));
        assert_eq!(lease_number(5, 1, day, 7.0 * 86_400.0), lease_number(5, 1, day, 0.0) + 7);
    }
}
