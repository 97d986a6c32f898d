//! What a key's newest bins mean.

use crate::candidate::{Candidate, poisson_interval};
use crate::clock::Watched;
use crate::config::DetectConfig;
use crate::finding::{Bin, Estimate, Estimates, Evidence, FindingType, Label};
use crate::growth::{self, Growth, Series};
use crate::known::KeyState;
use crate::numbering;
use crate::population::Population;
use crate::series::{BINS, LENGTHS};
use crate::spoofed::Sources;

/// The newest bins, in which more is looked for than in the older ones.
pub(crate) const RECENT: usize = 8;
/// Bins that somebody must have watched.
const FEWEST_WATCHED: usize = 12;
/// Where a bin usually has so many, it must be known how much they scatter: from so many bins.
const MUCH_BACKGROUND: f64 = 3.0;
const FEWEST_LEARNT: u8 = 16;
/// How much the level of now differs from that of the day before, as a share.
const LEVEL_SCATTER: f64 = 0.2;
/// A share of what growth must add to the newest bin, below which nobody asks: the bin before may have half.
const NEARLY_ENOUGH: f64 = 0.4;
/// Below so many sources nobody asks whether they grow.
const FEWEST_SOURCES: u32 = 5;
/// Sources that are seen several times make chance look like growth: by this factor at most, since hosts that scan fast are, too.
const MOST_CLUMPED: f64 = 2.0;
/// What a dispersion keeps of itself from bin to bin.
const DISPERSION_KEPT: f64 = 0.95;
/// One bin counts as this many times the variance that is known at most: an event is no dispersion.
const MOST_SURPRISING: f64 = 16.0;
/// From this length on, in seconds, the day's rhythm matters.
const RHYTHMIC: i64 = 600;
/// The length of the hours that baselines are of.
const HOUR: i64 = 3600;
/// Bins of which the newest and those before them are compared.
const COMPARED: usize = 3;
/// What they must have grown at least, as a share of what the rate says.
const GROWN_SHARE: f64 = 0.5;
/// The length of bins on which a port that is seen for the first time is shown: ten minutes.
const SHOWN: usize = 2;
/// Shares from which labels are put.
const NEARLY_ALL: f64 = 0.9;
const HALF: f64 = 0.5;
/// Sources of so many doublings tell how often a host is seen again: of those before, more are background.
const RECENT_DOUBLINGS: f64 = 2.0;
/// Below so many sightings of sources that were seen before, their rate is only bounded.
const FEW_AGAIN: f64 = 3.0;
/// The share of recent sightings that may be background, for anything to be said of hosts.
const MOST_BACKGROUND: f64 = 0.1;
/// And they must be so many times what the background is expected to have: its sources stay and come again.
const BACKGROUND_AGAIN: f64 = 10.0;
/// The point of the standard normal distribution that 2.5 % lie above.
const NORMAL: f64 = 1.96;

/// A length of bins, and the newest of them.
pub(crate) struct Level<'a> {
    pub level: usize,
    pub bin: i64,
    pub watched: &'a Watched,
    /// Whether the same sensors watched during the day before.
    pub has_baseline: bool,
}

impl Level<'_> {
    pub(crate) const fn end(&self) -> i64 {
        (self.bin + 1) * LENGTHS[self.level]
    }
}

/// A key that has more than expected.
pub(crate) struct Surprise {
    series: Series,
    /// What an ordinary bin is expected to have.
    level: f64,
    /// How many standard deviations more the newest bins have.
    deviations: f64,
    recent: u64,
}

/// What was made of it.
pub(crate) struct Judged {
    /// What is to be called that is more than what is known.
    pub call: Option<Call>,
    /// Of growth that is an outbreak's.
    pub estimates: Option<Estimates>,
}

/// What is new or more.
pub(crate) struct Call {
    pub finding_type: FindingType,
    pub onset: i64,
    pub labels: Vec<Label>,
    pub evidence: Evidence,
}

/// Whose sightings these are.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub candidate: &'a Candidate,
    /// Sensors that report.
    pub sensors: usize,
    /// What looks spoofed on the port, by bin.
    pub spoofed: [u64; BINS],
    /// What has been called of the key.
    pub known: Option<FindingType>,
}

impl Seen<'_> {
    fn is_more(&self, found: FindingType) -> bool {
        self.known.is_none_or(|known| found > known)
    }
}

/// What a key has in the bins that are looked at.
pub(crate) fn counts(key: &KeyState, at: &Level<'_>) -> [u64; BINS] {
    watched(key.rings[at.level].until(at.bin), at)
}

/// Counts without those of bins that others than now watched, or nobody.
fn watched(mut counts: [u64; BINS], at: &Level<'_>) -> [u64; BINS] {
    for (count, &exposure) in counts.iter_mut().zip(&at.watched.bins) {
        if exposure == 0.0 {
            *count = 0;
        }
    }
    counts
}

/// Compares the newest bins of a key with its older ones and its baseline; learns how much its counts scatter.
pub(crate) fn surprise(config: &DetectConfig, key: &mut KeyState, at: &Level<'_>) -> Option<Surprise> {
    // Most keys have nearly nothing at most times.
    let ring = &key.rings[at.level];
    if ring.newest(RECENT, at.bin) < u64::from(config.candidate_sightings) {
        return None;
    }
    let counts = ring.until(at.bin);
    let recent: u64 = counts[BINS - RECENT..].iter().sum();
    let older: u64 = counts[..BINS - RECENT].iter().sum();
    if key.positive[at.level] == 0 {
        scatter(&mut key.dispersion[at.level], &mut key.learnt[at.level], &watched(counts, at), &at.watched.bins);
    }
    // Most others are no more than before, which little arithmetic tells.
    let usual = to_f64(older) * RECENT as f64 / (BINS - RECENT) as f64;
    if to_f64(recent) <= usual + (usual + 1.0).sqrt() {
        return None;
    }
    if at.watched.bins.iter().filter(|&&share| share > 0.0).count() < FEWEST_WATCHED {
        return None;
    }
    let mut series = series(key, at, counts);
    let (level, weight) = level(&series);
    if level >= MUCH_BACKGROUND && key.learnt[at.level] < FEWEST_LEARNT {
        return None;
    }
    series.dispersion = f64::from(key.dispersion[at.level]).max(1.0);
    let newest: f64 = series.background[BINS - RECENT..].iter().sum();
    let recent: u64 = series.counts[BINS - RECENT..].iter().sum();
    let expected = level * newest;
    let variance = series.dispersion * (expected + expected * newest / weight.max(1e-9)) + 0.5;
    let deviations = (to_f64(recent) - expected) / variance.sqrt();
    if deviations < config.candidate_deviations {
        key.positive[at.level] = 0;
        return None;
    }
    Some(Surprise { series, level, deviations, recent })
}

fn series(key: &KeyState, at: &Level<'_>, counts: [u64; BINS]) -> Series {
    let exposure = at.watched.bins;
    let mut background = exposure;
    let length = LENGTHS[at.level];
    let mut rhythm = 1.0;
    if (RHYTHMIC..=6 * HOUR).contains(&length) {
        let mut rhythms = [1.0; BINS];
        for (place, rhythm) in rhythms.iter_mut().enumerate() {
            let start = (at.bin + 1 + place as i64 - BINS as i64) * length;
            *rhythm = rhythm_of(key, start, length).unwrap_or(1.0);
        }
        // In units of an ordinary bin: of those that were watched.
        let (sum, watched) = rhythms
            .iter()
            .zip(&exposure)
            .fold((0.0, 0.0), |(sum, watched), (rhythm, exposure)| (sum + rhythm * exposure, watched + exposure));
        rhythm = if watched > 0.0 { sum / watched } else { 1.0 };
        for (background, of_bin) in background.iter_mut().zip(rhythms) {
            *background *= of_bin / rhythm;
        }
    }
    let mut before = (0.0, 0.0);
    if at.has_baseline && length < HOUR {
        let (per_hour, hours) = key.baseline.level();
        let bins = (hours * to_f64((HOUR / length).unsigned_abs())).min(BINS as f64);
        let level = per_hour * rhythm / to_f64((HOUR / length).unsigned_abs());
        // The day before tells the level now within a share only: a busy port's own bins know better.
        before = (level, bins.min(1.0 / (LEVEL_SCATTER * LEVEL_SCATTER * level).max(1e-9)));
    }
    Series { counts: watched(counts, at), background, exposure, before, dispersion: 1.0 }
}

/// How a bin compares with others by the hour of the week.
fn rhythm_of(key: &KeyState, start: i64, length: i64) -> Option<f64> {
    let hours = (start.div_euclid(HOUR))..=((start + length - 1).div_euclid(HOUR));
    let (mut sum, mut number) = (0.0, 0.0);
    for hour in hours {
        sum += key.baseline.rhythm(hour)?;
        number += 1.0;
    }
    Some(sum / number)
}

/// What an ordinary bin had before the newest ones, and how many bins say so.
fn level(series: &Series) -> (f64, f64) {
    let (level, bins) = series.before;
    let counts: u64 = series.counts[..BINS - RECENT].iter().sum();
    let weight = bins + series.background[..BINS - RECENT].iter().sum::<f64>();
    (if weight > 0.0 { (to_f64(counts) + level * bins) / weight } else { 0.0 }, weight)
}

/// Learns how much counts scatter, from the bin before the newest ones: an outbreak that is being looked for has not reached it
/// yet, or would be taken for scatter.
fn scatter(dispersion: &mut f32, learnt: &mut u8, counts: &[u64; BINS], exposure: &[f64; BINS]) {
    const LEARNT: usize = BINS - RECENT - 1;
    let older: u64 = counts[..LEARNT].iter().sum();
    let weight: f64 = exposure[..LEARNT].iter().sum();
    if weight < FEWEST_WATCHED as f64 || exposure[LEARNT] == 0.0 {
        return;
    }
    let expected = to_f64(older) / weight * exposure[LEARNT];
    let squared = (to_f64(counts[LEARNT]) - expected).powi(2) / (expected + 1.0);
    let known = f64::from(*dispersion).max(1.0);
    let kept =
        DISPERSION_KEPT * f64::from(*dispersion) + (1.0 - DISPERSION_KEPT) * squared.min(MOST_SURPRISING * known);
    #[expect(clippy::cast_possible_truncation, reason = "a coarse number")]
    let kept = kept as f32;
    *dispersion = kept;
    *learnt = learnt.saturating_add(1);
}

/// Says what a surprising key is.
pub(crate) fn judge(
    config: &DetectConfig,
    key: &mut KeyState,
    seen: Seen<'_>,
    at: &Level<'_>,
    surprise: &Surprise,
) -> Judged {
    let candidate = seen.candidate;
    // One host or a few are no outbreak, however they scan.
    let is_worth_it = candidate.source_count() >= FEWEST_SOURCES && may_convince(config, at, surprise);
    let growth = is_worth_it.then(|| growth::fit(&surprise.series)).flatten();
    let positive = &mut key.positive[at.level];
    let grows = growth.as_ref().is_some_and(|growth| growth.low > 0.0 && growth.over_step > 1.0);
    *positive = if grows { positive.saturating_add(1) } else { 0 };
    let is_steady = u32::from(*positive) >= config.steady_bins;
    let sources = Sources::new(numbering::key(key.number), &surprise.series.counts, &seen.spoofed);
    let looks_spoofed = sources.look_spoofed(config);
    let outbreak = growth.filter(|growth| {
        is_steady
            && !looks_spoofed
            && sources.look_real(config)
            && candidate.source_count() >= config.outbreak_sources
            && is_convincing(config, growth, at, surprise, candidate.clumping())
    });
    let is_surge = surprise.deviations >= config.surge_deviations
        && surprise.recent >= config.surge_sightings.into()
        && candidate.source_count() >= config.surge_sources;
    let found = match (&outbreak, is_surge) {
        (Some(_), _) => Some(FindingType::Outbreak),
        (None, true) => Some(FindingType::Surge),
        (None, false) => None,
    };
    // What is called is kept with what it was called on; that is gathered when there is something to call.
    let call = found.filter(|found| seen.is_more(*found)).map(|finding_type| Call {
        finding_type,
        onset: onset(at, surprise),
        labels: labels(key.number, &seen, looks_spoofed),
        evidence: evidence(key.number, candidate, at, surprise, growth.map_or(0.0, |growth| growth.over_step)),
    });
    Judged { call, estimates: outbreak.map(|growth| estimates(candidate, &growth, at, seen.sensors)) }
}

/// Whether the newest bins have anything near what growth must add: a fit costs a thousand times what this does, and busy ports are
/// often a little more than expected.
fn may_convince(config: &DetectConfig, at: &Level<'_>, surprise: &Surprise) -> bool {
    let newest = surprise.series.counts[BINS - 2..].iter().copied().max().unwrap_or_default();
    let over_level = over_level(config, at) * surprise.level;
    let over_scatter = config.growth_over_scatter * (surprise.series.dispersion * surprise.level).sqrt();
    to_f64(newest) - surprise.level >= NEARLY_ENOUGH * over_level.max(over_scatter)
}

fn over_level(config: &DetectConfig, at: &Level<'_>) -> f64 {
    if at.level == 0 { config.short_growth_over_level } else { config.growth_over_level }
}

/// Whether growth is so clear, so sure and so much that it is an outbreak.
fn is_convincing(config: &DetectConfig, growth: &Growth, at: &Level<'_>, surprise: &Surprise, clumping: f64) -> bool {
    let is_early = growth.excess < config.patience_share * at.watched.addresses;
    let enough = (config.enough_share * at.watched.addresses).max(1.0);
    let most_error = if is_early {
        config.early_rate_error
    } else {
        enough.sqrt().recip().clamp(config.late_rate_error, config.rate_error)
    };
    let error = (growth.high / growth.low).ln() / (2.0 * NORMAL);
    let doublings = growth.rate * BINS as f64 / std::f64::consts::LN_2;
    growth.over_step >= config.growth_over_step * clumping.min(MOST_CLUMPED)
        && growth.low > 0.0
        && error <= most_error
        && growth.misfit <= config.misfit
        && still_grows(growth, &surprise.series)
        && doublings >= config.doublings
        && growth.newest >= over_level(config, at) * growth.level.max(surprise.level)
        && growth.newest >= config.growth_over_scatter * (surprise.series.dispersion * growth.level).sqrt()
}

/// Whether the newest bins have grown over those before them by half of what the rate says at least: a step that a fit takes for
/// growth has stopped.
fn still_grows(growth: &Growth, series: &Series) -> bool {
    let excess = |bins: std::ops::Range<usize>| -> f64 {
        let of_bin = |place: usize| to_f64(series.counts[place]) - growth.level * series.background[place];
        bins.map(of_bin).sum::<f64>().max(0.0)
    };
    let (newest, before) = (excess(BINS - COMPARED..BINS), excess(BINS - 2 * COMPARED..BINS - COMPARED));
    let grown = (growth.rate * COMPARED as f64).exp();
    newest >= before * (1.0 + GROWN_SHARE * (grown - 1.0))
}

fn labels(number: u32, seen: &Seen<'_>, looks_spoofed: bool) -> Vec<Label> {
    let candidate = seen.candidate;
    [
        (Label::SingleSensor, seen.sensors > 1 && candidate.largest_sensor_share() >= NEARLY_ALL),
        (Label::SpoofedLooking, looks_spoofed),
        (Label::OneNetwork, candidate.largest_network_share(numbering::version(number)) >= HALF),
    ]
    .into_iter()
    .filter_map(|(label, is_so)| is_so.then_some(label))
    .collect()
}

/// Start of the first of the newest bins that is above the level.
fn onset(at: &Level<'_>, surprise: &Surprise) -> i64 {
    let newest = &surprise.series.counts[BINS - RECENT..];
    let first = newest.iter().position(|&count| to_f64(count) > surprise.level).unwrap_or_default();
    (at.bin + 1 - RECENT as i64 + first as i64) * LENGTHS[at.level]
}

fn evidence(number: u32, candidate: &Candidate, at: &Level<'_>, surprise: &Surprise, over_step: f64) -> Evidence {
    let length = LENGTHS[at.level];
    let bins = surprise.series.counts.iter().zip(&surprise.series.background).enumerate();
    #[expect(clippy::cast_possible_truncation, reason = "what is expected is shown, not reckoned with")]
    let series = bins.map(|(place, (&count, background))| Bin {
        start: (at.bin + 1 + place as i64 - BINS as i64) * length,
        sightings: u32::try_from(count).unwrap_or(u32::MAX),
        expected: (surprise.level * background) as f32,
    });
    Evidence {
        growth_over_step: over_step,
        addresses: to_count(at.watched.addresses),
        ..evidence_of(number, candidate, length, series.collect())
    }
}

/// Evidence without growth, on bins of so many seconds.
fn evidence_of(number: u32, candidate: &Candidate, length: i64, series: Vec<Bin>) -> Evidence {
    Evidence {
        bin_seconds: u32::try_from(length).unwrap_or_default(),
        series,
        growth_over_step: 0.0,
        addresses: 0,
        sources: candidate.source_count(),
        networks: candidate.networks(numbering::version(number)),
        sensors: candidate.sensors(),
    }
}

/// A port that was not seen for as long as is remembered.
pub(crate) fn new_port(key: &KeyState, seen: Seen<'_>, now: i64, onset: i64) -> Judged {
    let call = seen.is_more(FindingType::FirstSeenPort).then(|| {
        let length = LENGTHS[SHOWN];
        let last = now.div_euclid(length);
        let bins = key.rings[SHOWN].until(last).into_iter().enumerate().map(|(place, count)| Bin {
            start: (last + 1 + place as i64 - BINS as i64) * length,
            sightings: u32::try_from(count).unwrap_or(u32::MAX),
            expected: 0.0,
        });
        Call {
            finding_type: FindingType::FirstSeenPort,
            onset,
            labels: labels(key.number, &seen, numbering::key(key.number).population == Population::Spoofed),
            evidence: evidence_of(key.number, seen.candidate, length, bins.collect()),
        }
    });
    Judged { call, estimates: None }
}

fn estimates(candidate: &Candidate, growth: &Growth, at: &Level<'_>, sensors: usize) -> Estimates {
    let length = to_f64(LENGTHS[at.level].unsigned_abs());
    let per_hour = 3600.0 / length;
    let rate_per_hour = Estimate {
        value: Some(growth.rate * per_hour),
        low: growth.low * per_hour,
        high: Some(growth.high * per_hour),
    };
    let doubling = |rate: f64| std::f64::consts::LN_2 * length / rate;
    let doubling_seconds = Estimate {
        value: Some(doubling(growth.rate)),
        low: doubling(growth.high),
        high: (growth.low > 0.0).then(|| doubling(growth.low)),
    };
    let mut estimates = Estimates { rate_per_hour, doubling_seconds, infected: None, susceptible: None };
    // Sightings a second at the end of the newest bin, of which the fit knows the mean.
    let now = growth.newest / length * growth.rate / (1.0 - (-growth.rate).exp());
    let error = 1.0 / growth.excess.max(1.0).sqrt();
    // Who came in the last doublings is infected rather than background, if growth brought most of them: else sources that have
    // gone would make the rate of the others too low.
    let seconds = RECENT_DOUBLINGS * doubling(growth.rate);
    let again = candidate.again(at.end(), seconds);
    let background = growth.level / length * seconds;
    let recent = growth.newest / growth.rate * (1.0 - (-RECENT_DOUBLINGS * std::f64::consts::LN_2).exp());
    if background > MOST_BACKGROUND * recent {
        return estimates;
    }
    let is_infected = again.sightings >= FEW_AGAIN && again.sightings >= BACKGROUND_AGAIN * background;
    let (_, high) = poisson_interval(again.sightings);
    let (seen_again, most_again) = (again.sightings / again.seconds, high / again.seconds);
    let errors = |error: f64| (error * error + 1.0 / again.sightings.max(1.0)).sqrt();
    estimates.infected = Some(if is_infected {
        around(now / seen_again, errors(error))
    } else {
        Estimate { value: None, low: now * (-NORMAL * error).exp() / most_again, high: None }
    });
    if at.watched.addresses > 0.0 {
        // N = a s / lambda: the hosts of a susceptible population of N are each reached a / N times a second by each host that
        // scans, and each of the s addresses is reached lambda / s times a second.
        let rate_error = (growth.high / growth.low).ln() / (2.0 * NORMAL);
        let hosts = |rate: f64, again: f64| rate / length * at.watched.addresses / hits(again, sensors);
        estimates.susceptible = Some(if is_infected {
            around(hosts(growth.rate, seen_again), errors(rate_error))
        } else {
            Estimate { value: None, low: hosts(growth.low, most_again), high: None }
        });
    }
    estimates
}

/// Hits a second of which so many are seen: of several in one window of one sensor one is.
fn hits(seen: f64, sensors: usize) -> f64 {
    let sensors = to_f64(sensors.max(1) as u64);
    let share = (seen * WINDOW / sensors).min(0.99);
    -(1.0 - share).ln() * sensors / WINDOW
}

/// The window that sightings are of, in seconds. Where sensors have others, hits are estimated a little wrong, and only where a
/// host hits a sensor nearly once a window.
const WINDOW: f64 = 10.0;

/// An estimate whose logarithm has this standard error.
fn around(value: f64, error: f64) -> Estimate {
    let factor = (NORMAL * error).exp();
    Estimate { value: Some(value), low: value / factor, high: Some(value * factor) }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "addresses are below 2^53 and not negative"
)]
fn to_count(value: f64) -> u64 {
    value.round() as u64
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
const fn to_f64(count: u64) -> f64 {
    count as f64
}
