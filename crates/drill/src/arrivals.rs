//! When packets arrive: the background with the day's rhythm, and an outbreak along its logistic curve.

use crate::config::{DrillConfig, OutbreakConfig};
use crate::random::{Purpose, Stream, exp, ln, one_minus_exp_neg};
use std::time::Duration;

/// Relative rate in each hour of the day, UTC, mean 100. Our choice: a mild rhythm with its peak at 14:00, because
/// much of the background comes from machines that never sleep and from all time zones.
const HOURS: [u8; 24] =
    [93, 92, 92, 92, 93, 94, 96, 98, 100, 102, 104, 106, 107, 108, 108, 108, 107, 106, 104, 102, 100, 98, 96, 94];

/// Arrival times of the background: a Poisson process whose rate follows [`HOURS`], or, where the number of packets is
/// fixed, that process given its number of points. Times come in order, one at a time, and nothing is stored.
pub(crate) struct BackgroundTimes {
    stream: Stream,
    /// Unit of progress: the share of all expected arrivals that lies before now, 0 to 1.
    progress: f64,
    left: Left,
    /// Expected arrivals in units of (seconds x rate in per cent), in total and up to `hour_start_s`.
    mass: f64,
    mass_before: f64,
    hour_start_s: f64,
    hour_end_s: f64,
    hour: usize,
}

enum Left {
    /// So many points are still to come.
    Exactly(u64),
    /// So many points are expected in all.
    Mean(f64),
}

impl BackgroundTimes {
    /// Times for a drill. `exactly` fixes the number of arrivals; else it is random around the configured mean.
    pub(crate) fn new(config: &DrillConfig, exactly: Option<u64>) -> Self {
        let duration_s = config.duration.as_secs_f64();
        let hour = usize::try_from(config.start_s / 3600 % 24).unwrap_or(0);
        let to_next_hour = 3600 - config.start_s % 3600;
        let (mut mass, mut begin, mut end, mut h) = (0.0, 0.0, to_next_hour as f64, hour);
        while begin < duration_s {
            mass += (end.min(duration_s) - begin) * f64::from(HOURS[h]);
            (begin, end, h) = (end, end + 3600.0, (h + 1) % 24);
        }
        // The rhythm shapes a drill of less than a day too: one at night is quieter than the daily mean.
        let per_mass = config.mean_background() / duration_s / 100.0;
        Self {
            stream: Stream::new(config.stream_seed(), Purpose::BackgroundTimes),
            progress: 0.0,
            left: exactly.map_or(Left::Mean(mass * per_mass), Left::Exactly),
            mass,
            mass_before: 0.0,
            hour_start_s: 0.0,
            hour_end_s: to_next_hour as f64,
            hour,
        }
    }

    /// The next arrival in seconds after the start, never before the one before; `None` after the last.
    pub(crate) fn next_s(&mut self) -> Option<f64> {
        match &mut self.left {
            // The least of k uniform points on (progress, 1] lies at a Beta(1, k) share of what is left.
            Left::Exactly(0) => return None,
            Left::Exactly(k) => {
                let share = one_minus_exp_neg(self.stream.exponential() / *k as f64);
                self.progress = (self.progress + (1.0 - self.progress) * share).min(1.0);
                *k -= 1;
            }
            Left::Mean(mean) => {
                self.progress += self.stream.exponential() / *mean;
                // Written so that a mean of zero, whose progress is infinite or not a number, ends too.
                if self.progress.is_nan() || self.progress >= 1.0 {
                    return None;
                }
            }
        }
        Some(self.time_at(self.progress * self.mass))
    }

    /// The time by which so much of the expected arrivals has passed; asked in ascending order only.
    fn time_at(&mut self, mass: f64) -> f64 {
        loop {
            let rate = f64::from(HOURS[self.hour]);
            let here = (self.hour_end_s - self.hour_start_s) * rate;
            if mass <= self.mass_before + here {
                return self.hour_start_s + (mass - self.mass_before) / rate;
            }
            self.mass_before += here;
            self.hour_start_s = self.hour_end_s;
            self.hour_end_s += 3600.0;
            self.hour = (self.hour + 1) % HOURS.len();
        }
    }
}

/// The logistic outbreak in closed form.
///
/// With `f0 = I0/N` and `a = q eta N / 2^32`, the share infected after `t` seconds is `f0 e^(at) / G` with
/// `G = 1 - f0 + f0 e^(at)`. Hosts scan all 2^32 addresses uniformly, so `s` dark addresses see `eta I s / 2^32` packets a
/// second, and by time `t` they expect `s ln G / q`, since `eta N / 2^32 / a = 1 / q`. Both directions of that relation are
/// exact, which is why arrivals need no thinning. The curve itself is deterministic: chance is in what the dark prefix
/// sees, not in who is infected when.
#[derive(Clone, Copy, Debug)]
pub struct OutbreakModel {
    growth: f64,
    initial_share: f64,
    vulnerable: f64,
    dark_addresses: f64,
}

impl OutbreakModel {
    /// The model of an outbreak seen by `dark_addresses` addresses.
    pub fn new(outbreak: &OutbreakConfig, dark_addresses: u64) -> Self {
        Self::weighted(outbreak, dark_addresses as f64)
    }

    /// The model of an outbreak whose scans reach the dark addresses as often as uniform scans reach so many.
    pub(crate) fn weighted(outbreak: &OutbreakConfig, dark_addresses: f64) -> Self {
        let vulnerable = outbreak.vulnerable as f64;
        Self {
            growth: outbreak.scans_per_host_s * vulnerable / 4_294_967_296.0 * outbreak.infection_chance,
            initial_share: outbreak.initial_infected as f64 / vulnerable,
            vulnerable,
            dark_addresses: dark_addresses / outbreak.infection_chance,
        }
    }

    /// The rate `a` of `dI/dt = a I (1 - I/N)`, per second.
    pub fn growth_per_s(&self) -> f64 {
        self.growth
    }

    /// Time in which the infected double while they are few, `ln 2 / a`, in seconds.
    pub fn doubling_s(&self) -> f64 {
        core::f64::consts::LN_2 / self.growth
    }

    /// Hosts infected `t` seconds after the begin.
    pub fn infected(&self, t: f64) -> f64 {
        self.infected_by_sightings(self.sightings(t))
    }

    /// Share of the vulnerable hosts that is infected `t` seconds after the begin.
    pub fn infected_share(&self, t: f64) -> f64 {
        self.infected(t) / self.vulnerable
    }

    /// Seconds after the begin at which the share `f` (above the initial share, below 1) is infected.
    pub fn time_to_share_s(&self, f: f64) -> f64 {
        (ln(f / (1.0 - f)) - ln(self.initial_share / (1.0 - self.initial_share))).max(0.0) / self.growth
    }

    /// Packets that the dark addresses are expected to have seen `t` seconds after the begin.
    pub fn sightings(&self, t: f64) -> f64 {
        let at = self.growth * t;
        let ln_g = if at > 60.0 {
            // (1 - f0) / (f0 e^at) is below the last place of the sum by now.
            at + ln(self.initial_share)
        } else {
            ln(1.0 - self.initial_share + self.initial_share * exp(at))
        };
        self.dark_addresses * ln_g
    }

    /// Seconds after the begin by which so many packets are expected to have been seen: the inverse of `sightings`.
    pub fn time_of_sighting_s(&self, sightings: f64) -> f64 {
        let ln_g = sightings / self.dark_addresses;
        let at = if ln_g > 60.0 {
            ln_g - ln(self.initial_share)
        } else {
            // 1 - e^-x keeps the first sightings apart where e^x is near 1.
            let above = exp(ln_g) * one_minus_exp_neg(ln_g);
            ln(1.0 + above / self.initial_share)
        };
        at.max(0.0) / self.growth
    }

    /// Hosts infected by the time at which so many packets are expected to have been seen.
    pub fn infected_by_sightings(&self, sightings: f64) -> f64 {
        self.vulnerable * (1.0 - (1.0 - self.initial_share) * exp(-sightings / self.dark_addresses))
    }
}

/// Arrival times of an outbreak's packets at the dark prefix: a Poisson process with the model's rate.
#[derive(Clone)]
pub(crate) struct OutbreakTimes {
    stream: Stream,
    model: OutbreakModel,
    sightings: f64,
    start_s: f64,
    duration_s: f64,
}

impl OutbreakTimes {
    pub(crate) fn new(stream: Stream, model: OutbreakModel, begin: Duration, end: Duration) -> Self {
        Self { stream, model, sightings: 0.0, start_s: begin.as_secs_f64(), duration_s: end.as_secs_f64() }
    }

    /// The next arrival in seconds after the start of the drill, with the number of infected hosts at that moment;
    /// `None` after the drill's end.
    pub(crate) fn next_s(&mut self) -> Option<(f64, f64)> {
        self.sightings += self.stream.exponential();
        let at = self.start_s + self.model.time_of_sighting_s(self.sightings);
        (at < self.duration_s).then(|| (at, self.model.infected_by_sightings(self.sightings)))
    }
}

/// Arrival times at a constant rate: a Poisson process.
#[derive(Clone)]
pub(crate) struct SteadyTimes {
    stream: Stream,
    per_s: f64,
    at_s: f64,
    end_s: f64,
}

impl SteadyTimes {
    /// Times from `begin` to `end`, so many a second.
    pub(crate) fn new(stream: Stream, per_s: f64, begin: Duration, end: Duration) -> Self {
        Self { stream, per_s, at_s: begin.as_secs_f64(), end_s: end.as_secs_f64() }
    }

    /// The next arrival in seconds after the start of the drill; `None` after the end.
    pub(crate) fn next_s(&mut self) -> Option<f64> {
        self.at_s += self.stream.exponential() / self.per_s;
        (self.at_s < self.end_s).then_some(self.at_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_has_mean_one_hundred() {
        assert_eq!(HOURS.iter().map(|&h| u32::from(h)).sum::<u32>(), 2400);
    }

    #[test]
    fn sightings_and_time_are_inverse_and_match_integration() {
        for (rate, initial, vulnerable) in [(160.0, 10, 10_000), (4_000.0, 1, 75_000), (1.0, 5, 5)] {
            let outbreak = OutbreakConfig {
                scans_per_host_s: rate,
                initial_infected: initial,
                vulnerable,
                ..OutbreakConfig::default()
            };
            let model = OutbreakModel::new(&outbreak, 256);
            // Heun's method on dI/dt = a I (1 - I/N), with the sightings beside it.
            let step = 0.02 / model.growth_per_s();
            let (mut infected, mut seen) = (initial as f64, 0.0);
            for i in 1..=1500_u32 {
                let slope = |x: f64| model.growth_per_s() * x * (1.0 - x / vulnerable as f64);
                let next = infected + step * slope(infected);
                let better = infected + step * (slope(infected) + slope(next)) / 2.0;
                seen += step * rate * (infected + better) / 2.0 * 256.0 / 4_294_967_296.0;
                infected = better;
                let t = step * f64::from(i);
                assert!((model.infected(t) / infected - 1.0).abs() < 5e-3, "{rate} {t}");
                assert!((model.sightings(t) / seen - 1.0).abs() < 5e-3, "{rate} {t}");
                assert!((model.time_of_sighting_s(model.sightings(t)) / t - 1.0).abs() < 1e-9, "{rate} {t}");
            }
        }
    }

    #[test]
    fn the_long_run_is_finite() {
        let outbreak = OutbreakConfig { scans_per_host_s: 4_000.0, vulnerable: 75_000, ..OutbreakConfig::default() };
        let model = OutbreakModel::new(&outbreak, 256);
        for t in [850.0, 900.0, 1e5, 3e8] {
            let seen = model.sightings(t);
            assert!(seen.is_finite() && (model.time_of_sighting_s(seen) / t - 1.0).abs() < 1e-9, "{t}");
            assert!((model.infected(t) - 75_000.0).abs() < 1.0);
        }
    }
}
