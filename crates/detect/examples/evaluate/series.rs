//! A real series with alert times, told to the detector and to two common methods.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;

use martlet_detect::{DetectConfig, Detector, FindingType, Key, Population, Report};
use martlet_window::IpVersion;

/// Length of a bin of the series, in seconds.
const BIN: i64 = 600;
/// Bins that the moving average is of: three hours.
const AVERAGED: usize = 18;
/// Standard deviations above it that are an alert.
const DEVIATIONS: f64 = 3.0;
/// What ChangeFinder forgets with each bin, over how many bins its scores are averaged, and the share of bins that is an alert.
const FORGETTING: f64 = 0.02;
const SMOOTHED: usize = 5;
const ALERTING: f64 = 0.05;

/// A bin: its name in the file, and its hosts.
struct Bin {
    name: String,
    hosts: f64,
}

pub(crate) fn run(directory: &Path) {
    let text = fs::read_to_string(directory.join("sensor999_count.csv")).unwrap();
    let bins: Vec<Bin> = text.lines().skip(1).filter_map(bin).collect();
    let alerts = fs::read_to_string(directory.join("sensor999_alert_date.txt")).unwrap();
    let alerts: Vec<usize> =
        alerts.lines().filter_map(|name| bins.iter().position(|bin| bin.name == name.trim())).collect();
    println!("{} bins, {} alert times that are among them: {:?}", bins.len(), alerts.len(), names(&bins, &alerts));
    let hosts: Vec<f64> = bins.iter().map(|bin| bin.hosts).collect();
    let (surges, outbreaks) = detector(&hosts);
    println!(
        "| method | alert times found | bins called | of them not within an hour of an alert | first before the first alert, in bins |"
    );
    println!("| --- | --- | --- | --- | --- |");
    for (method, called) in [
        ("detector, surges and outbreaks", [&surges[..], &outbreaks].concat()),
        ("detector, outbreaks", outbreaks),
        ("moving average and three deviations", moving_average(&hosts)),
        ("change points (ChangeFinder)", change_finder(&hosts)),
    ] {
        let found = alerts.iter().filter(|alert| called.contains(alert)).count();
        let is_near = |bin: &&usize| alerts.iter().any(|alert| alert.abs_diff(**bin) <= 6);
        let elsewhere = called.len() - called.iter().filter(is_near).count();
        let first = called.iter().filter(is_near).min().map_or("-".to_owned(), |first| {
            (i64::try_from(alerts[0]).unwrap() - i64::try_from(*first).unwrap()).to_string()
        });
        println!("| {method} | {found} of {} | {} | {elsewhere} | {first} |", alerts.len(), called.len());
    }
}

fn bin(line: &str) -> Option<Bin> {
    let mut fields = line.split(',');
    let (name, _, hosts) = (fields.next()?, fields.next()?, fields.next()?);
    Some(Bin { name: name.trim_matches('"').to_owned(), hosts: hosts.trim().parse().ok()? })
}

fn names<'a>(bins: &'a [Bin], places: &[usize]) -> Vec<&'a str> {
    places.iter().map(|&place| bins[place].name.as_str()).collect()
}

/// Bins at whose end a surge is open, and at whose end an outbreak is.
fn detector(hosts: &[f64]) -> (Vec<usize>, Vec<usize>) {
    let mut detector = Detector::new(DetectConfig::default());
    let key = Key { ip: IpVersion::V4, protocol: 6, port: 0, population: Population::None };
    let (mut surges, mut outbreaks) = (Vec::new(), Vec::new());
    for (place, &hosts) in hosts.iter().enumerate() {
        let start = i64::try_from(place).unwrap() * BIN;
        let report =
            Report { sensor: 0, window_start: start, window_seconds: 600, arrived: start + BIN, exposure: [0, 0] };
        detector.report(&report);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "hosts in ten minutes")]
        let count = hosts as u32;
        if detector.add(&report, key, count) {
            // Who they were is not told: as many as there were, none of them twice.
            let sources: Vec<u128> = (0..count.into()).map(|host| (place as u128) << 32 | host).collect();
            detector.add_sources(&report, key, &sources);
        }
        for finding in detector.advance() {
            let bin = usize::try_from(finding.last_active / BIN - 1).unwrap();
            match finding.finding_type {
                FindingType::Outbreak => outbreaks.push(bin),
                _ => surges.push(bin),
            }
        }
    }
    (surges, outbreaks)
}

fn moving_average(hosts: &[f64]) -> Vec<usize> {
    let is_alert = |place: &usize| {
        let before = &hosts[place - AVERAGED..*place];
        let mean = before.iter().sum::<f64>() / AVERAGED as f64;
        let variance = before.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / AVERAGED as f64;
        hosts[*place] > mean + DEVIATIONS * variance.sqrt()
    };
    (AVERAGED..hosts.len()).filter(is_alert).collect()
}

/// Takeuchi and Yamanishi 2006: how unlikely each value is under an autoregressive model (here of order 1) that forgets, averaged,
/// and the same once more of that.
fn change_finder(hosts: &[f64]) -> Vec<usize> {
    let scores = averaged(&unlikeliness(&averaged(&unlikeliness(hosts))));
    let mut sorted = scores.clone();
    sorted.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of some hundreds")]
    let least = sorted[((1.0 - ALERTING) * sorted.len() as f64) as usize];
    (0..scores.len()).filter(|&place| scores[place] >= least).collect()
}

fn unlikeliness(values: &[f64]) -> Vec<f64> {
    let (mut mean, mut square, mut product, mut variance) = (values[0], 1.0, 0.0, 1.0);
    let mut before = values[0];
    let score = |&value: &f64| {
        mean = (1.0 - FORGETTING) * mean + FORGETTING * value;
        square = (1.0 - FORGETTING) * square + FORGETTING * (before - mean).powi(2);
        product = (1.0 - FORGETTING) * product + FORGETTING * (value - mean) * (before - mean);
        let distance: f64 = value - mean - product / f64::max(square, 1e-9) * (before - mean);
        let score = 0.5 * (std::f64::consts::TAU * variance).ln() + distance * distance / (2.0 * variance);
        variance = f64::max((1.0 - FORGETTING) * variance + FORGETTING * distance * distance, 1e-9);
        before = value;
        score
    };
    values.iter().map(score).collect()
}

fn averaged(values: &[f64]) -> Vec<f64> {
    let mut last = VecDeque::new();
    let average = |&value: &f64| {
        last.push_back(value);
        if last.len() > SMOOTHED {
            last.pop_front();
        }
        last.iter().sum::<f64>() / last.len() as f64
    };
    values.iter().map(average).collect()
}
