//! Whether counts grow exponentially, how fast, and how sure that is.
//!
//! Counts of bins are taken as Poisson, the background's more scattered by a factor that the caller knows (quasi-likelihood). Three explanations
//! are compared: a constant level; one or two steps, which is what most new scanning looks like; and a constant level with an
//! exponential on it, `c s_i + A e_i exp(a (i - last))`. The growth rate's interval is that of its profile likelihood. At
//! the counts of small telescopes, some twenty in all, this is what a Kalman filter over Gaussian noise approximates badly:
//! the first bins have none or one.

use crate::series::BINS;

/// What is compared.
#[derive(Clone, Debug)]
pub struct Series {
    /// Counts, oldest first.
    pub counts: [u64; BINS],
    /// How much background each bin is expected to have, in units of an ordinary bin; 0 where nobody watched.
    pub background: [f64; BINS],
    /// How much of a steady scan each bin would have seen, in units of an ordinary bin; 0 where nobody watched.
    pub exposure: [f64; BINS],
    /// What an ordinary bin had before the series began, and how many bins' worth of knowledge that is.
    pub before: (f64, f64),
    /// How many times more than Poisson's the background's variance is, at least 1.
    pub dispersion: f64,
}

/// How well growth explains a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// Growth rate per bin.
    pub rate: f64,
    /// Ends of its interval of 95 %. The lower end is 0 where no growth is as good.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// By how much its log likelihood is above that of the best of a constant level and steps.
    pub over_step: f64,
    /// What growth adds to the newest bin, in counts of an ordinary bin.
    pub newest: f64,
    /// Counts that growth explains, in all bins.
    pub excess: f64,
    /// What an ordinary bin has without it.
    pub level: f64,
    /// How far the counts lie from the curve: the mean over bins of squared distance over variance, some 1 where it is right.
    pub misfit: f64,
}

/// Doubling times that are tried, in bins: from the shortest to the longest in equal ratios.
const SHORTEST: f64 = 0.4;
const LONGEST: f64 = 40.0;
const TRIED: usize = 24;
/// By how much two steps must be more likely than one.
const SECOND_STEP: f64 = 5.0;
/// Half of the 95 % point of chi-squared with one degree of freedom.
const INTERVAL: f64 = 1.92;
/// How often the range in which the level is sought is halved.
const ROUNDS: usize = 14;

/// Compares the explanations; `None` if nothing was counted.
#[must_use]
pub fn fit(series: &Series) -> Option<Growth> {
    let total: u64 = series.counts.iter().sum();
    if total == 0 {
        return None;
    }
    let ratio = (LONGEST / SHORTEST).powf(1.0 / (TRIED - 1) as f64);
    let others = constant(series).max(steps(series));
    let mut tried = [Tried::default(); TRIED];
    let mut doubling = SHORTEST;
    for fitted in &mut tried {
        *fitted = exponential(series, std::f64::consts::LN_2 / doubling);
        doubling *= ratio;
    }
    let best = (0..TRIED).max_by(|&a, &b| tried[a].log_likelihood.total_cmp(&tried[b].log_likelihood))?;
    let top = tried[best];
    // Between the tried rates the profile is taken as a parabola over log rate.
    let (peak, height) = summit(&tried, best);
    let peak = to_f64(best as u64) + peak;
    let rate_at = |place: f64| tried[0].rate * ratio.powf(-place);
    let dispersion = dispersion(series, &top);
    let floor = height - INTERVAL * dispersion;
    let high = edge(&tried, (0..best).rev(), (peak, height), floor).map_or(tried[0].rate * ratio, rate_at);
    let low = edge(&tried, best + 1..TRIED, (peak, height), floor).map_or(0.0, rate_at);
    Some(Growth {
        rate: rate_at(peak),
        low,
        high,
        over_step: (height - others) / dispersion,
        newest: top.amplitude,
        excess: top.excess,
        level: top.level,
        misfit: misfit(series, &top),
    })
}

#[derive(Clone, Copy, Debug, Default)]
struct Tried {
    rate: f64,
    log_likelihood: f64,
    level: f64,
    amplitude: f64,
    excess: f64,
}

/// How many times more than Poisson's the variance of the counts is that say how fast it grows: hosts hit at random, so that
/// only the background's share of them scatters more.
fn dispersion(series: &Series, fitted: &Tried) -> f64 {
    let (mut background, mut all, mut power) = (0.0, 1e-12, 1.0);
    for place in (0..BINS).rev() {
        let growth = power * series.exposure[place];
        let level = fitted.level * series.background[place];
        background += growth * level;
        all += growth * (level + fitted.amplitude * growth);
        power *= (-fitted.rate).exp();
    }
    1.0 + (series.dispersion - 1.0) * background / all
}

/// The mean of squared distances from a fit, each over its variance.
fn misfit(series: &Series, fitted: &Tried) -> f64 {
    let (mut sum, mut bins, mut power) = (0.0, 0.0, 1.0);
    for place in (0..BINS).rev() {
        let level = fitted.level * series.background[place];
        let growth = fitted.amplitude * power * series.exposure[place];
        power *= (-fitted.rate).exp();
        if series.exposure[place] > 0.0 {
            let distance = to_f64(series.counts[place]) - level - growth;
            sum += distance * distance / (series.dispersion * level + growth).max(1.0);
            bins += 1.0;
        }
    }
    sum / f64::max(bins, 1.0)
}

/// How far from the best of the tried rates the top lies, in steps of the grid towards slower growth, and its height.
fn summit(tried: &[Tried; TRIED], best: usize) -> (f64, f64) {
    let here = tried[best].log_likelihood;
    if best == 0 || best == TRIED - 1 {
        return (0.0, here);
    }
    let (before, after) = (tried[best - 1].log_likelihood, tried[best + 1].log_likelihood);
    let bend = before - 2.0 * here + after;
    if bend >= -1e-9 {
        return (0.0, here);
    }
    let at = ((before - after) / (2.0 * bend)).clamp(-0.5, 0.5);
    (at, here - (before - after) * at / 4.0)
}

/// Where the profile falls to the floor, in steps of the grid: it is taken as a parabola from its summit through the first
/// place that lies below.
fn edge(
    tried: &[Tried; TRIED],
    mut places: impl Iterator<Item = usize>,
    (summit, height): (f64, f64),
    floor: f64,
) -> Option<f64> {
    let below = places.find(|&place| tried[place].log_likelihood < floor)?;
    let share = ((height - floor) / (height - tried[below].log_likelihood)).sqrt();
    Some(summit + (to_f64(below as u64) - summit) * share)
}

fn ln_times(count: f64, mean: f64) -> f64 {
    if count > 0.0 { count * mean.max(1e-300).ln() } else { 0.0 }
}

/// Log likelihood of a constant level, without the terms that all explanations have in common.
fn constant(series: &Series) -> f64 {
    let (mut counts, mut weight) = before(series);
    for (&count, &background) in series.counts.iter().zip(&series.background) {
        counts += to_f64(count);
        weight += background;
    }
    level_likelihood(counts, weight) + shape_likelihood(series)
}

/// What the shape of the background adds to the log likelihood of any level.
fn shape_likelihood(series: &Series) -> f64 {
    let (counts, bins) = before(series);
    let of_bins = series.counts.iter().zip(&series.background).map(|(&count, &mean)| ln_times(to_f64(count), mean));
    of_bins.sum::<f64>() + ln_times(counts, bins)
}

/// Of the best one or two steps. A step within a bin looks like two, so that the second costs little.
fn steps(series: &Series) -> f64 {
    let (mut counts, mut weight) = before(series);
    let mut until = [(counts, weight); BINS + 1];
    for place in 0..BINS {
        counts += to_f64(series.counts[place]);
        weight += series.background[place];
        until[place + 1] = (counts, weight);
    }
    let between = |from: usize, to: usize| level_likelihood(until[to].0 - until[from].0, until[to].1 - until[from].1);
    let mut best = f64::NEG_INFINITY;
    for (first, &(counts, weight)) in until[..BINS].iter().enumerate() {
        let low = level_likelihood(counts, weight);
        best = best.max(low + between(first, BINS));
        for second in first + 1..BINS {
            best = best.max(low + between(first, second) + between(second, BINS) - SECOND_STEP);
        }
    }
    best + shape_likelihood(series)
}

fn before(series: &Series) -> (f64, f64) {
    let (level, bins) = series.before;
    (level * bins, bins)
}

/// Log likelihood of counts whose mean is in proportion to weights, at the best level.
fn level_likelihood(counts: f64, weight: f64) -> f64 {
    if weight > 1e-9 { ln_times(counts, counts / weight) - counts } else { 0.0 }
}

/// The best level and amplitude for a growth rate.
fn exponential(series: &Series, rate: f64) -> Tried {
    let mut growth = [0.0; BINS];
    let factor = (-rate).exp();
    let mut power = 1.0;
    for (place, growth) in growth.iter_mut().enumerate().rev() {
        *growth = power * series.exposure[place];
        power *= factor;
    }
    // What was before the series is background: growth had only begun, and must not explain it.
    let (level_before, bins_before) = series.before;
    let counts_before = level_before * bins_before;
    let sum_background: f64 = series.background.iter().sum::<f64>() + bins_before;
    let sum_growth: f64 = growth.iter().sum::<f64>();
    let total: f64 = series.counts.iter().map(|&count| to_f64(count)).sum::<f64>() + counts_before;
    let terms = || {
        let bins = series.counts.iter().zip(&series.background).zip(&growth);
        let bins = bins.map(|((&count, &background), &growth)| (to_f64(count), background, growth));
        bins.chain(std::iter::once((counts_before, bins_before, 0.0)))
    };
    // At the best of both, the means add up to the counts: so the level gives the amplitude, and one number is left to be
    // found, where the likelihood's slope along it, which only falls, is 0.
    let amplitude_of = |level: f64| ((total - level * sum_background) / sum_growth).max(0.0);
    let (mut low, mut high) = (0.0, total / sum_background);
    for _ in 0..ROUNDS {
        let level = f64::midpoint(low, high);
        let amplitude = amplitude_of(level);
        let slope: f64 = terms()
            .filter(|term| term.0 > 0.0)
            .map(|(count, background, growth)| {
                let mean = (level * background + amplitude * growth).max(1e-300);
                count * (background - growth * sum_background / sum_growth) / mean
            })
            .sum();
        if slope > 0.0 { low = level } else { high = level }
    }
    // Half of what is left: at most total / 2^15.
    let level = if low == 0.0 { 0.0 } else { f64::midpoint(low, high) };
    let amplitude = amplitude_of(level);
    let mut log_likelihood = -level * sum_background - amplitude * sum_growth;
    let mut excess = 0.0;
    for (place, (count, background, growth)) in terms().enumerate() {
        let mean = level * background + amplitude * growth;
        log_likelihood += ln_times(count, mean);
        if place < BINS {
            excess += amplitude * growth;
        }
    }
    Tried { rate, log_likelihood, level, amplitude, excess }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
const fn to_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(count: impl Fn(i32) -> f64) -> Series {
        let last = 31;
        assert_eq!(BINS, 32);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
        let counts = std::array::from_fn(|place| count(place as i32 - last).round() as u64);
        Series { counts, background: [1.0; BINS], exposure: [1.0; BINS], before: (0.0, 32.0), dispersion: 1.0 }
    }

    #[test]
    fn growth_is_told_from_a_step_and_from_nothing() {
        for (doubling, level) in [(1.0, 0.0), (3.0, 0.0), (3.0, 20.0), (6.0, 5.0)] {
            let rate = std::f64::consts::LN_2 / doubling;
            let grown = series(|at| level + 300.0 * (rate * f64::from(at)).exp());
            let grown = fit(&Series { before: (level, 32.0), ..grown }).unwrap();
            assert!((grown.rate / rate - 1.0).abs() < 0.05, "{doubling} {grown:?}");
            assert!(grown.low > 0.5 * rate && grown.low < rate && grown.high > rate, "{grown:?}");
            assert!(grown.over_step > 20.0 && (grown.newest / 300.0 - 1.0).abs() < 0.1, "{grown:?}");
        }
        for (level, found) in [
            (0.0, series(|at| if at > -10 { 50.0 } else { 0.0 })),
            (1.0, series(|at| if at > -1 { 90.0 } else { 1.0 })),
            (30.0, series(|_| 30.0)),
            (2.0, series(|at| if at == -5 { 80.0 } else { 2.0 })),
        ] {
            let found = fit(&Series { before: (level, 32.0), ..found }).unwrap();
            assert!(found.over_step < 1.0, "{found:?}");
        }
        assert_eq!(fit(&series(|_| 0.0)), None);
    }

    #[test]
    fn a_bin_without_exposure_says_nothing() {
        let rate = 0.3;
        let mut hole = series(|at| 200.0 * (rate * f64::from(at)).exp());
        for place in [BINS - 3, BINS - 8, BINS - 9] {
            hole.counts[place] = 0;
            hole.background[place] = 0.0;
            hole.exposure[place] = 0.0;
        }
        let found = fit(&hole).unwrap();
        assert!((found.rate / rate - 1.0).abs() < 0.05 && found.over_step > 20.0, "{found:?}");
    }
}
