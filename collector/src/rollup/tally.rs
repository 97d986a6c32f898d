//! What one service, or a part of it, comes to in a day, while its rows go by.

use martlet_window::DistinctSources;

use super::cells::Amount;
use super::quarters::{QUARTERS, Quarters};
use super::sketch::{Seen, Sketch, unite};

/// So many sources are gathered before they are looked through for equal ones.
const GATHERED: usize = 1 << 14;

/// The sum of one service's rows.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) quarters: Quarters,
    /// Sources, not yet in a set: a list that is sorted once costs less than a table that grows.
    seen: Vec<Seen>,
    /// The source that came last, and the segments in which it did.
    last: Option<Seen>,
    /// Sets by segment, once there are too many for a list.
    sets: Option<Vec<DistinctSources>>,
    segments: usize,
    /// Sensors, as bits.
    sensors: Vec<u64>,
}

impl Tally {
    pub(super) const fn new(segments: usize) -> Tally {
        Tally {
            packets: 0,
            bytes: 0,
            quarters: [0; QUARTERS],
            seen: Vec::new(),
            last: None,
            sets: None,
            segments,
            sensors: Vec::new(),
        }
    }

    /// Counts packets and their source.
    pub(super) fn add(&mut self, amount: &Amount) {
        self.packets = self.packets.saturating_add(amount.packets);
        self.bytes = self.bytes.saturating_add(amount.bytes);
        let quarter = &mut self.quarters[amount.quarter];
        *quarter = quarter.saturating_add(amount.packets);
        match &mut self.last {
            Some(last) if last.0 == amount.hash => last.1 |= 1 << amount.segment,
            last => {
                let before = last.replace((amount.hash, 1 << amount.segment));
                self.seen.extend(before);
                if self.seen.len() >= GATHERED {
                    self.gather();
                }
            }
        }
    }

    /// Notes who saw it.
    pub(super) fn see(&mut self, sensor: usize) {
        let word = sensor / 64;
        if self.sensors.len() <= word {
            self.sensors.resize(word + 1, 0);
        }
        self.sensors[word] |= 1 << (sensor % 64);
    }

    /// How many sensors saw it.
    pub(super) fn sensors(&self) -> u64 {
        self.sensors.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Its sources. The order in which they came does not matter.
    pub(super) fn sketch(&mut self) -> std::io::Result<Sketch> {
        self.seen.extend(self.last.take());
        unite(&mut self.seen);
        if self.sets.is_none()
            && let Some(sketch) = Sketch::of_hashes(&self.seen, self.segments)
        {
            return Ok(sketch);
        }
        self.spill();
        Sketch::of_sets(self.sets.as_deref().unwrap_or_default())
    }

    /// Makes it the sum of nothing, and keeps its memory.
    pub(super) fn clear(&mut self) {
        (self.packets, self.bytes, self.quarters) = (0, 0, [0; QUARTERS]);
        self.seen.clear();
        (self.last, self.sets) = (None, None);
        self.sensors.clear();
    }

    /// Makes room in the list.
    #[cold]
    fn gather(&mut self) {
        unite(&mut self.seen);
        if self.seen.len() > GATHERED / 2 {
            self.spill();
        }
    }

    fn spill(&mut self) {
        let sets = self.sets.get_or_insert_with(|| vec![DistinctSources::default(); self.segments]);
        for (segment, set) in sets.iter_mut().enumerate() {
            let of = self.seen.iter().filter(|(_, mask)| mask >> segment & 1 == 1);
            set.insert(&of.map(|(hash, _)| *hash).collect::<Vec<_>>());
        }
        self.seen.clear();
    }
}

/// Tallies by key, for as long as one service lasts.
#[derive(Debug)]
pub(super) struct Tallies<K> {
    /// Those that are in use stand first, and the rest is for later. There are few.
    tallies: Vec<(K, Tally)>,
    used: usize,
    segments: usize,
}

impl<K: Copy + PartialEq> Tallies<K> {
    pub(super) const fn new(segments: usize) -> Tallies<K> {
        Tallies { tallies: Vec::new(), used: 0, segments }
    }

    /// The tally of a key.
    pub(super) fn of(&mut self, key: K) -> &mut Tally {
        let known = self.tallies[..self.used].iter().position(|(known, _)| *known == key);
        let place = known.unwrap_or_else(|| {
            match self.tallies.get_mut(self.used) {
                Some(old) => old.0 = key,
                None => self.tallies.push((key, Tally::new(self.segments))),
            }
            self.used += 1;
            self.used - 1
        });
        &mut self.tallies[place].1
    }

    /// Those that are in use.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut (K, Tally)> {
        self.tallies[..self.used].iter_mut()
    }

    /// Empties all, and keeps their memory.
    pub(super) fn clear(&mut self) {
        self.tallies[..self.used].iter_mut().for_each(|(_, tally)| tally.clear());
        self.used = 0;
    }
}
