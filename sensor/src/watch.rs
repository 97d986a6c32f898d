//! How long how many addresses were watched: the exposure that a window's part carries, where somebody watches.
//!
//! A live capture watches by the machine's clock; a drill that is sent as sensors watches by the clock of the drill.

use martlet_observe::aggregate::{Closed, Part, Sink, TableLimits, WindowTable};
use martlet_observe::batch::{Closing, Handover};
use martlet_observe::classify::Aim;
use martlet_observe::screen::AddressSet;
use martlet_window::{Exposure, Timestamp};

use crate::capture::live::Drops;

/// What a capture that somebody watches knows of its time, besides the packets.
#[derive(Debug)]
pub struct Watch {
    /// Everything before this moment has been accounted for in some part's exposure.
    accounted_ms: i64,
    ipv4_addresses: u64,
    ipv6_prefixes: u64,
    /// What was dropped since the part before.
    pub drops: Drops,
    /// The address that senders aim at.
    pub aim: Aim,
    /// Windows, or parts of them, so far.
    pub parts: u64,
}

impl Default for Watch {
    fn default() -> Watch {
        Watch {
            accounted_ms: 0,
            ipv4_addresses: 0,
            ipv6_prefixes: 0,
            drops: Drops::default(),
            aim: Aim::Unknown,
            parts: 0,
        }
    }
}

impl Watch {
    /// Nobody watches anything yet.
    #[must_use]
    pub fn new(aim: Aim) -> Watch {
        Watch { aim, ..Watch::default() }
    }

    /// From this time on somebody watches; nobody did since what was accounted for before.
    pub const fn begin(&mut self, start: Timestamp) {
        self.accounted_ms = milliseconds(start);
    }

    /// These addresses are watched from here on.
    pub fn observe(&mut self, observed: &AddressSet) {
        self.ipv4_addresses = observed.ipv4_addresses();
        self.ipv6_prefixes = observed.ipv6_prefixes();
    }

    /// The time that this part adds: what of its window lies between the last account and its close. Late parts add
    /// nothing, so that no time counts twice.
    fn exposure(&mut self, part: &Part) -> Exposure {
        let (start, end) = (part.window.start * 1000, part.window.end() * 1000);
        let until = match part.closed {
            Closed::Whole => end,
            Closed::Early(time) => milliseconds(time).clamp(start, end),
        };
        let watched = until - self.accounted_ms.max(start);
        self.accounted_ms = self.accounted_ms.max(until);
        Exposure {
            watched_ms: u32::try_from(watched).unwrap_or(0),
            ipv4_addresses: self.ipv4_addresses,
            ipv6_prefixes: self.ipv6_prefixes,
        }
    }
}

/// Hands parts over with their exposure.
#[derive(Debug)]
pub struct WatchedSink<'a> {
    /// Where parts go.
    pub handover: &'a Handover,
    /// For tables that must be made anew.
    pub limits: TableLimits,
    /// What is known of the time.
    pub watch: &'a mut Watch,
}

impl Sink for WatchedSink<'_> {
    fn table(&mut self) -> WindowTable {
        self.handover.table(self.limits)
    }

    fn part(&mut self, part: Part) {
        self.watch.parts += 1;
        let exposure = Some(self.watch.exposure(&part));
        let Drops { kernel, interface } = std::mem::take(&mut self.watch.drops);
        let unavailable = self.watch.aim.unavailable();
        self.handover.send(Closing { part, exposure, kernel_drops: kernel, interface_drops: interface, unavailable });
    }
}

const fn milliseconds(time: Timestamp) -> i64 {
    time.0.div_euclid(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use martlet_window::WindowLength;

    fn part(start: i64, closed: Closed) -> Part {
        let window = WindowLength::DEFAULT.window_at(Timestamp::from_parts(start, 0));
        Part { window, number: 0, closed, table: None, rejected: Default::default() }
    }

    #[test]
    fn every_moment_is_exposed_once() {
        let mut watch = Watch { accounted_ms: 103_500, ipv4_addresses: 256, ..Watch::default() };
        let mut watched = |part| watch.exposure(&part).watched_ms;
        // Began inside the window; closed early at 106; the rest; a late part of it; the next window.
        assert_eq!(watched(part(100, Closed::Early(Timestamp::from_parts(106, 0)))), 2_500);
        assert_eq!(watched(part(100, Closed::Whole)), 4_000);
        assert_eq!(watched(part(100, Closed::Whole)), 0);
        assert_eq!(watched(part(110, Closed::Whole)), 10_000);
        // A window in which nobody watched.
        assert_eq!(watched(part(130, Closed::Early(Timestamp::from_parts(131, 0)))), 1_000);
    }
}
