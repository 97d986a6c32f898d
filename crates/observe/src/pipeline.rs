//! From a frame to its window.

use std::fmt;
use std::net::IpAddr;

use martlet_packet::{Packet, parse};
use martlet_window::{Class, PackedClass, RejectReason, Timestamp, address_bits};

use crate::aggregate::{Aggregator, Observation, Sink};
use crate::capture::Frame;
use crate::classify::{Aim, classify};
use crate::pairs::Pairs;
use crate::screen::{AddressSet, Screen};

/// Outcomes of all frames since the start: frames = packets + the sum of `rejected`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Frames taken.
    pub frames: u64,
    /// Frames counted.
    pub packets: u64,
    /// Frames not counted, by reason.
    pub rejected: [u64; RejectReason::ALL.len()],
}

impl Outcomes {
    /// Adds those of other frames.
    pub fn add(&mut self, other: &Outcomes) {
        self.frames += other.frames;
        self.packets += other.packets;
        for (sum, frames) in self.rejected.iter_mut().zip(other.rejected) {
            *sum += frames;
        }
    }
}

impl fmt::Display for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} frames, {} packets counted", self.frames, self.packets)?;
        let reasons = RejectReason::ALL.into_iter().zip(self.rejected).filter(|&(_, frames)| frames > 0);
        let reasons: Vec<String> = reasons.map(|(reason, frames)| format!("{frames} {}", reason.name())).collect();
        if reasons.is_empty() { Ok(()) } else { write!(f, " (rejected: {})", reasons.join(", ")) }
    }
}

/// Screens, classifies and counts frames.
pub struct Pipeline {
    screen: Screen,
    aim: Aim,
    pairs: Pairs,
    /// Sources that are masked: a packet that claims to come from an observed address would give it away.
    observed: AddressSet,
    aggregator: Aggregator,
    outcomes: Outcomes,
}

impl Pipeline {
    /// A pipeline without frames.
    #[must_use]
    pub fn new(screen: Screen, aim: Aim, observed: AddressSet, aggregator: Aggregator) -> Pipeline {
        Pipeline { screen, aim, pairs: Pairs::default(), observed, aggregator, outcomes: Outcomes::default() }
    }

    /// Takes one frame.
    pub fn take(&mut self, frame: Frame<'_>, sink: &mut dyn Sink) {
        self.outcomes.frames += 1;
        let Some(link) = frame.link else { return self.reject(RejectReason::UnsupportedLinkType) };
        // By reference: a packet is large enough that moving it costs as much as reading it.
        match &parse(link, frame.bytes) {
            Ok(packet) => match self.screen.check(packet, frame.time) {
                Ok(()) => self.count(packet, frame.time, sink),
                Err(reason) => self.reject(reason),
            },
            Err(reject) => self.reject((*reject).into()),
        }
    }

    fn count(&mut self, packet: &Packet<'_>, time: Timestamp, sink: &mut dyn Sink) {
        self.outcomes.packets += 1;
        let class = classify(packet, self.aim);
        let marks = self.pairs.complete(packet, self.aim, class.marks);
        let seen = Observation {
            class: PackedClass::from(Class { marks, ..class }),
            source: self.source(packet),
            target: target(packet.destination),
            bytes: packet.length,
        };
        self.aggregator.count(time, seen, sink);
    }

    const fn reject(&mut self, reason: RejectReason) {
        self.outcomes.rejected[reason as usize] += 1;
        self.aggregator.reject(reason);
    }

    /// The source as it is counted: observed addresses become 0.0.0.0 or ::.
    fn source(&self, packet: &Packet<'_>) -> u128 {
        if self.observed.contains(packet.source) { 0 } else { address_bits(packet.source) }
    }

    /// From this time on somebody is watching: quiet windows close too.
    pub fn watch_from(&mut self, time: Timestamp) {
        self.aggregator.watch_from(time);
    }

    /// Closes the windows that ended before the watermark.
    pub fn tick(&mut self, watermark: Timestamp, sink: &mut dyn Sink) {
        self.aggregator.tick(watermark, sink);
    }

    /// Closes everything.
    pub fn finish(&mut self, end: Timestamp, sink: &mut dyn Sink) {
        self.aggregator.finish(end, sink);
    }

    /// Replaces screen addresses and what is masked, when an interface's addresses changed.
    pub fn set_addresses(&mut self, observed: AddressSet, own: crate::screen::Own) {
        self.screen.set_addresses(observed.clone(), own);
        self.observed = observed;
    }

    /// Sets the address that senders aim at, once it is learnt.
    pub const fn set_aim(&mut self, aim: Aim) {
        self.aim = aim;
    }

    /// Outcomes of all frames so far.
    #[must_use]
    pub const fn outcomes(&self) -> &Outcomes {
        &self.outcomes
    }
}

/// An observed address as the number by which distinct targets are told apart. It never leaves the process.
#[expect(clippy::cast_possible_truncation, reason = "folding is the purpose")]
fn target(destination: IpAddr) -> u32 {
    let bits = address_bits(destination);
    match destination {
        IpAddr::V4(_) => bits as u32,
        // Folded: two of a million IPv6 targets of one row may look the same, and targets are a lower bound anyway.
        IpAddr::V6(_) => {
            let mixed = (bits as u64 ^ (bits >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (mixed >> 32) as u32
        }
    }
}
