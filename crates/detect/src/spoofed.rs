//! Whether the sources of a key are hosts, or addresses that somebody made up.
//!
//! A flood of SYNs with random sources may have a worm's curve. But of all addresses of IPv4 one in seven cannot be a source, or no host
//! is likely to have it (docs/fingerprints.md, `spoofed_looking`), while of real hosts one in 128 ends in .0 or .255.

use martlet_window::IpVersion;

use crate::config::DetectConfig;
use crate::finding::Key;
use crate::judge::RECENT;
use crate::population::Population;
use crate::series::BINS;

/// The share of all addresses of IPv4 that look spoofed...
const OF_FORGED: f64 = 1.0 / 7.0;
/// ...and of those that hosts have.
const OF_REAL: f64 = 1.0 / 128.0;

/// Sightings on a port: of the key that is looked at, and of what looks spoofed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sources {
    newest: Split,
    all: Split,
    is_spoofed: bool,
    shows_spoofed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Split {
    spoofed: f64,
    others: f64,
}

impl Split {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    fn new(spoofed: &[u64], others: &[u64]) -> Split {
        Split { spoofed: spoofed.iter().sum::<u64>() as f64, others: others.iter().sum::<u64>() as f64 }
    }

    fn share(self) -> f64 {
        self.spoofed / (self.spoofed + self.others).max(1.0)
    }

    /// Log likelihood of so many, where each looks spoofed with this probability.
    fn log_likelihood(self, of_one: f64) -> f64 {
        self.spoofed * of_one.ln() + self.others * (1.0 - of_one).ln()
    }
}

impl Sources {
    /// Of a key's counts, oldest first, and those of what looks spoofed on its port.
    pub(crate) fn new(key: Key, counts: &[u64; BINS], spoofed: &[u64; BINS]) -> Sources {
        Sources {
            newest: Split::new(&spoofed[BINS - RECENT..], &counts[BINS - RECENT..]),
            all: Split::new(spoofed, counts),
            is_spoofed: key.population == Population::Spoofed,
            // Of IPv6 no address looks spoofed, and whose mark is stronger keeps it: `Population::of`.
            shows_spoofed: key.ip == IpVersion::V4
                && !matches!(key.population, Population::Mirai | Population::Slammer),
        }
    }

    /// Whether so many cannot be real that the others may not be either, among the newest or among all: of the few newest of a slow
    /// ramp by chance none may look spoofed, and earlier ones did.
    pub(crate) fn look_spoofed(&self, config: &DetectConfig) -> bool {
        let share = self.newest.share().max(self.all.share());
        self.is_spoofed || self.shows_spoofed && share > config.spoofed_share
    }

    /// Whether there are so many, and so few of them look spoofed, that they are hosts rather than made up. Of ten made-up sources
    /// none looks spoofed once in five times, which says nothing: it takes more to be sure.
    pub(crate) fn look_real(&self, config: &DetectConfig) -> bool {
        let more_likely = self.all.log_likelihood(OF_REAL) - self.all.log_likelihood(OF_FORGED);
        !self.shows_spoofed || more_likely >= config.real_over_spoofed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key { ip: IpVersion::V4, protocol: 6, port: 2323, population: Population::None };

    /// Of the oldest bin and the newest: those that look spoofed, and the others.
    fn sources(key: Key, oldest: (u64, u64), newest: (u64, u64)) -> Sources {
        let bins = |oldest, newest| {
            let mut bins = [0; BINS];
            (bins[0], bins[BINS - 1]) = (oldest, newest);
            bins
        };
        Sources::new(key, &bins(oldest.1, newest.1), &bins(oldest.0, newest.0))
    }

    #[test]
    fn both_the_newest_and_all_must_look_real() {
        let config = DetectConfig::default();
        let look_spoofed = |oldest, newest| sources(KEY, oldest, newest).look_spoofed(&config);
        assert!(!look_spoofed((0, 0), (0, 0)));
        assert!(!look_spoofed((2, 98), (2, 98)));
        // Four of 100 are the share that is allowed.
        assert!(!look_spoofed((0, 0), (4, 96)));
        assert!(look_spoofed((0, 0), (5, 95)));
        assert!(look_spoofed((10, 50), (0, 50)), "the older ones of a ramp");
        assert!(look_spoofed((0, 5000), (10, 50)), "a ramp on a busy port");
    }

    #[test]
    fn one_that_looks_spoofed_takes_twenty_that_do_not() {
        let config = DetectConfig::default();
        let look_real = |spoofed, others| sources(KEY, (spoofed, 0), (0, others)).look_real(&config);
        // 4.5 = n ln((127/128) / (6/7)) - k ln((1/7) / (1/128)).
        for (spoofed, least) in [(0, 31), (1, 51), (2, 71), (10, 230)] {
            assert!(!look_real(spoofed, least - 1) && look_real(spoofed, least), "{spoofed} {least}");
        }
    }

    #[test]
    fn where_forged_sources_would_not_show_nobody_asks() {
        let config = DetectConfig::default();
        for key in [
            Key { population: Population::Mirai, ..KEY },
            Key { population: Population::Slammer, ..KEY },
            Key { ip: IpVersion::V6, ..KEY },
        ] {
            let sources = sources(key, (10, 0), (10, 10));
            assert!(!sources.look_spoofed(&config) && sources.look_real(&config), "{key:?}");
        }
        let spoofed = Key { population: Population::Spoofed, ..KEY };
        assert!(sources(spoofed, (0, 500), (0, 500)).look_spoofed(&config));
    }
}
