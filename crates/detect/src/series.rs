//! Counts of one key in bins of six lengths, the newest of each.

use serde::{Deserialize, Serialize};

/// Bins that are kept of each length.
pub const BINS: usize = 32;
/// The lengths, in seconds. Each sees growth that doubles in one bin to some eight: together from ten seconds to a week.
pub const LENGTHS: [i64; 6] = [10, 60, 600, 3600, 6 * 3600, 86_400];
/// How many there are.
pub const LEVELS: usize = LENGTHS.len();

/// A count in 16 bits: exact up to 2047, above that within 1 in 2048, up to 2^41.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count(u16);

const FRACTION: u32 = 11;

impl Count {
    /// The count nearest below.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "eleven bits and an exponent that is capped at five bits")]
    pub const fn new(count: u64) -> Count {
        let shift = (u64::BITS - count.leading_zeros()).saturating_sub(FRACTION);
        if shift == 0 {
            return Count(count as u16);
        }
        if shift >= 1 << (16 - FRACTION) {
            return Count(u16::MAX);
        }
        Count((shift << FRACTION) as u16 | (count >> shift) as u16 & ((1 << FRACTION) - 1))
    }

    /// As a number.
    #[must_use]
    pub const fn get(self) -> u64 {
        ((self.0 & ((1 << FRACTION) - 1)) as u64) << (self.0 >> FRACTION)
    }
}

/// One length's newest bins. The newest of all is exact, since it is added to step by step: rounding each time would lose more than
/// it holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ring {
    /// Number of the newest bin: its start divided by its length.
    newest: i64,
    /// What the newest bin has; its place in `bins` is filled when it is no longer the newest.
    open: u64,
    bins: [Count; BINS],
}

impl Ring {
    /// A ring whose newest bin is this one.
    #[must_use]
    pub const fn new(newest: i64) -> Ring {
        Ring { newest, open: 0, bins: [Count(0); BINS] }
    }

    /// Adds to a bin, which is the newest or a later one: time goes on.
    pub fn add(&mut self, bin: i64, count: u64) {
        self.advance(bin);
        self.open = self.open.saturating_add(count);
    }

    fn advance(&mut self, bin: i64) {
        if bin <= self.newest {
            return;
        }
        if bin - self.newest >= BINS as i64 {
            self.bins = [Count::default(); BINS];
        } else {
            self.bins[place(self.newest)] = Count::new(self.open);
            (self.newest + 1..=bin).for_each(|bin| self.bins[place(bin)] = Count::default());
        }
        self.open = 0;
        self.newest = bin;
    }

    /// The count of a bin; 0 for what the ring does not reach.
    #[must_use]
    pub fn get(&self, bin: i64) -> u64 {
        match self.newest - bin {
            0 => self.open,
            back if (1..BINS as i64).contains(&back) => self.bins[place(bin)].get(),
            _ => 0,
        }
    }

    /// The sum of so many bins up to this one.
    #[must_use]
    pub fn newest(&self, bins: usize, bin: i64) -> u64 {
        (0..bins as i64).map(|back| self.get(bin - back)).sum()
    }

    /// The bins up to this one, oldest first.
    #[must_use]
    pub fn until(&self, bin: i64) -> [u64; BINS] {
        std::array::from_fn(|place| self.get(bin + 1 + place as i64 - BINS as i64))
    }
}

/// Where a bin lies.
fn place(bin: i64) -> usize {
    // The remainder is below BINS.
    usize::try_from(bin.rem_euclid(BINS as i64)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn counts_come_back_nearly(count in 0..1u64 << 41) {
            let back = Count::new(count).get();
            prop_assert!(back <= count && (count - back) as f64 <= count as f64 / 1024.0);
            prop_assert_eq!(Count::new(back).get(), back);
        }
    }

    #[test]
    fn a_ring_forgets_the_oldest() {
        assert_eq!([0, 1, 2047, 2048, u64::MAX].map(|count| Count::new(count).get()), [0, 1, 2047, 2048, 2047 << 31]);
        let mut ring = Ring::new(100);
        ring.add(100, 5);
        ring.add(100, 1);
        ring.add(101, 3);
        ring.add(103, 2);
        assert_eq!(ring.until(103)[BINS - 4..], [6, 3, 0, 2]);
        ring.add(131, 1);
        assert_eq!((ring.get(100), ring.get(101)), (6, 3));
        ring.add(132, 1);
        assert_eq!((ring.get(100), ring.get(101)), (0, 3));
        assert_eq!(ring.get(133), 0);
        ring.add(1000, 1);
        assert_eq!(ring.until(1000).iter().sum::<u64>(), 1);
    }

    #[test]
    fn many_small_steps_add_up() {
        for count in [1, 3, 2_560] {
            let mut ring = Ring::new(7);
            (0..8640).for_each(|_| ring.add(7, count));
            assert_eq!(ring.get(7), 8640 * count);
            ring.add(8, 1);
            let back = ring.get(7);
            assert!(back <= 8640 * count && 8640 * count - back <= 8640 * count / 1024, "{back}");
        }
    }
}
