//! Every threshold of the detector. The evaluation (benches/results) justifies the defaults.

use serde::{Deserialize, Serialize};

/// Thresholds and limits; `[detect]` of the collector's configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DetectConfig {
    /// Populations on ports that are told apart at most; some 700 bytes each. When all places are taken, one that was not seen for
    /// an hour makes room; what finds none is counted (`martlet_collector_detect_overflowed_sightings_total`) and not looked at.
    pub max_keys: u32,
    /// Populations whose sources are followed at a time at most.
    pub max_candidates: u32,
    /// Sources of a candidate that are remembered at most.
    pub max_sources: u32,
    /// How long a step waits for a sensor that reports late, in seconds. What comes later is not looked at (and counted).
    pub wait_seconds: u32,
    /// A candidate is opened when the last eight bins of a length exceed what is expected by so many standard deviations...
    pub candidate_deviations: f64,
    /// ...and are at least so many sightings.
    pub candidate_sightings: u32,
    /// A surge has so many standard deviations...
    pub surge_deviations: f64,
    /// ...at least so many sightings...
    pub surge_sightings: u32,
    /// ...of at least so many sources.
    pub surge_sources: u32,
    /// Growth must explain an outbreak's series better than a step does by this difference of log likelihoods.
    pub growth_over_step: f64,
    /// For so many bins in a row the interval of the growth rate must have been positive, and growth better than a step.
    pub steady_bins: u32,
    /// An outbreak has at least so many sources.
    pub outbreak_sources: u32,
    /// How sure the rate must be, as the standard error of its logarithm. A large telescope can wait for a good estimate, a small
    /// one cannot: until it has seen what it sees by the time that `patience_share` of the susceptible hosts are
    /// infected, so many sightings for each of its addresses, the error is at most this.
    pub early_rate_error: f64,
    /// See `early_rate_error`.
    pub patience_share: f64,
    /// Later it is at most that of so many sightings for each address...
    pub enough_share: f64,
    /// ...but never asked to be below this...
    pub late_rate_error: f64,
    /// ...nor allowed above this.
    pub rate_error: f64,
    /// At least so many doublings must lie within the series.
    pub doublings: f64,
    /// The newest bin must have so many times the level without growth on top of it: in bins of a minute and longer, in which a
    /// level wanders by as much as a third for no reason...
    pub growth_over_level: f64,
    /// ...and in bins of ten seconds.
    pub short_growth_over_level: f64,
    /// And so many times the standard deviation of a bin of that level.
    pub growth_over_scatter: f64,
    /// The mean over bins of squared distances from the curve of growth, each over its variance, is at most this.
    pub misfit: f64,
    /// Above this share of sightings that look spoofed, in the newest eight bins or in all 32, a population on the port is not
    /// believed.
    pub spoofed_share: f64,
    /// That sources are real hosts must explain how few of them look spoofed, in all 32 bins, better than that they are drawn from all
    /// of IPv4, by this difference of log likelihoods.
    pub real_over_spoofed: f64,
    /// A port is seen for the first time if nobody probed it for so many days, and so long was watched.
    pub first_seen_days: u32,
    /// Sources in a day that a port seen for the first time has at least.
    pub first_seen_sources: u32,
    /// A finding is over when its candidate has been no more than expected for so long, in hours (a day at least of a slow one).
    pub quiet_hours: u32,
}

impl Default for DetectConfig {
    fn default() -> DetectConfig {
        DetectConfig {
            max_keys: 300_000,
            max_candidates: 1024,
            max_sources: 1024,
            wait_seconds: 300,
            candidate_deviations: 3.0,
            candidate_sightings: 5,
            surge_deviations: 8.0,
            surge_sightings: 30,
            surge_sources: 10,
            growth_over_step: 4.5,
            steady_bins: 2,
            outbreak_sources: 10,
            rate_error: 0.28,
            late_rate_error: 0.17,
            enough_share: 0.05,
            patience_share: 0.004,
            early_rate_error: 0.1,
            doublings: 3.0,
            growth_over_level: 2.0,
            short_growth_over_level: 0.3,
            growth_over_scatter: 5.0,
            misfit: 2.5,
            spoofed_share: 0.04,
            real_over_spoofed: 4.5,
            first_seen_days: 14,
            first_seen_sources: 3,
            quiet_hours: 24,
        }
    }
}

impl DetectConfig {
    /// What is wrong with it, if anything.
    ///
    /// # Errors
    /// The name of the first field whose value makes no sense, and what would.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let positive = [
            ("candidate_deviations", self.candidate_deviations),
            ("surge_deviations", self.surge_deviations),
            ("growth_over_step", self.growth_over_step),
            ("rate_error", self.rate_error),
            ("patience_share", self.patience_share),
            ("early_rate_error", self.early_rate_error),
            ("enough_share", self.enough_share),
            ("late_rate_error", self.late_rate_error),
            ("doublings", self.doublings),
            ("growth_over_level", self.growth_over_level),
            ("short_growth_over_level", self.short_growth_over_level),
            ("growth_over_scatter", self.growth_over_scatter),
            ("misfit", self.misfit),
            ("spoofed_share", self.spoofed_share),
            ("real_over_spoofed", self.real_over_spoofed),
        ];
        if let Some((name, _)) = positive.into_iter().find(|(_, value)| !(value.is_finite() && *value > 0.0)) {
            return Err((name, "must be above 0"));
        }
        if self.late_rate_error > self.rate_error {
            return Err(("late_rate_error", "must be at most rate_error"));
        }
        let counts = [
            ("max_keys", self.max_keys, 1, 4_000_000),
            ("max_candidates", self.max_candidates, 1, 65_536),
            ("max_sources", self.max_sources, 1, 1 << 20),
            ("wait_seconds", self.wait_seconds, 10, 3600),
            ("steady_bins", self.steady_bins, 1, 32),
            ("first_seen_days", self.first_seen_days, 1, 3650),
            ("quiet_hours", self.quiet_hours, 1, 24 * 30),
        ];
        let is_off = |&(_, value, least, most): &(_, u32, u32, u32)| value < least || value > most;
        match counts.into_iter().find(is_off) {
            Some((name, ..)) => Err((name, "is out of range (docs/detection.md)")),
            None => Ok(()),
        }
    }
}
