//! Evaluates the detector on simulated outbreaks, on months without one, and on a real series.
//!
//! `cargo run --release -p martlet-detect --example evaluate -- outbreaks|ramps|months|series [...]`; each prints a table.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a table is what it is for, and failing is saying so")]

mod months;
mod outbreak;
mod ramps;
mod random;
mod series;

use std::env;
use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use martlet_detect::DetectConfig;
use outbreak::{Background, Outcome, Telescope, Worm};

/// Published figures where there are: Slammer's 75,000 hosts at 4,000 scans a second (Moore et al. 2003); Code Red's 359,000 hosts,
/// and the rate at which they grew, 1.8 an hour (Moore, Shannon, Brown 2002). The others are the drill's.
const WORMS: [Worm; 4] = [
    Worm { name: "slammer", scans: 4000.0, hosts: 75_000.0 },
    Worm { name: "code-red", scans: 6.0, hosts: 359_000.0 },
    Worm { name: "mirai-like", scans: 160.0, hosts: 10_000.0 },
    Worm { name: "slow", scans: 0.5, hosts: 200_000.0 },
];
const TELESCOPES: [Telescope; 3] = [
    Telescope { name: "60 addresses", addresses: 60, sensors: 6 },
    Telescope { name: "/24", addresses: 256, sensors: 1 },
    Telescope { name: "/16", addresses: 65_536, sensors: 1 },
];
/// Sightings per address and day. NICTER saw 6,646 packets at each address and day in 2024, of which 40 % were not research, and
/// of those 24 % went to port 23 (2019): 640. A port that nobody means has a share of the rest by chance.
const BACKGROUNDS: [Background; 3] = [
    Background { name: "quiet", per_address_day: 0.1 },
    Background { name: "busy", per_address_day: 50.0 },
    Background { name: "very busy", per_address_day: 640.0 },
];

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["outbreaks", first, seeds, ref only @ ..] => outbreaks(first.parse().unwrap(), seeds.parse().unwrap(), only),
        ["months", first, seeds, days] => {
            quiet_months(first.parse().unwrap(), seeds.parse().unwrap(), days.parse().unwrap());
        }
        ["ramps", first, seeds] => forged_ramps(first.parse().unwrap(), seeds.parse().unwrap()),
        ["series", directory] => series::run(Path::new(directory)),
        _ => println!(
            "outbreaks FIRST_SEED SEEDS [WORM|TELESCOPE|BACKGROUND]...\nramps FIRST_SEED SEEDS\nmonths FIRST_SEED SEEDS DAYS\nseries DIRECTORY"
        ),
    }
}

fn outbreaks(first: u64, seeds: u64, only: &[&str]) {
    let config = DetectConfig::default();
    println!("seeds {first} to {}", first + seeds - 1);
    println!(
        "| worm | telescope | background | called | median share | 95 % share | doublings | rate error median | within 20 % | rate held | infected held | infected/true | N held | N/true | false |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    let is_asked = |name: &str, names: &[&str]| {
        let asked: Vec<&&str> = only.iter().filter(|asked| names.contains(asked)).collect();
        asked.is_empty() || asked.contains(&&name)
    };
    for worm in WORMS.iter().filter(|worm| is_asked(worm.name, &WORMS.map(|worm| worm.name))) {
        for telescope in TELESCOPES.iter().filter(|it| is_asked(it.name, &TELESCOPES.map(|it| it.name))) {
            for background in BACKGROUNDS.iter().filter(|it| is_asked(it.name, &BACKGROUNDS.map(|it| it.name))) {
                let outcomes = of_seeds(first, seeds, |seed| outbreak::run(&config, worm, telescope, background, seed));
                row(worm, telescope, background, &outcomes);
            }
        }
    }
}

fn quiet_months(first: u64, seeds: u64, days: i64) {
    println!(
        "| seed | days | sightings | outbreaks | surges | first seen | most keys | most candidates | saved bytes |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    // A row is printed when its seed is done: what is interrupted has told of those before.
    of_seeds(first, seeds, |seed| {
        let called = months::run(&DetectConfig::default(), seed, days);
        println!(
            "| {seed} | {days} | {} | {} | {} | {} | {} | {} | {} |",
            called.sightings,
            called.outbreaks.len(),
            called.surges,
            called.first_seen,
            called.most_keys,
            called.most_candidates,
            called.saved_bytes
        );
        for finding in &called.outbreaks {
            let series: Vec<u32> = finding.evidence.series.iter().map(|bin| bin.sightings).collect();
            println!(
                "outbreak called: {:?} at {} bins of {} s {series:?} {:.1}",
                finding.key, finding.detected, finding.evidence.bin_seconds, finding.evidence.growth_over_step
            );
        }
    });
}

/// Forged ramps, seen by the telescope that months are of.
fn forged_ramps(first: u64, seeds: u64) {
    let config = DetectConfig::default();
    println!("seeds {first} to {}", first + seeds - 1);
    println!("| telescope | background | ramps called an outbreak | SYNs at the call, median |");
    println!("| --- | --- | --- | --- |");
    let telescope = Telescope { name: "/24, 4 sensors", addresses: 256, sensors: 4 };
    for background in &BACKGROUNDS[..2] {
        let called = of_seeds(first, seeds, |seed| ramps::run(&config, &telescope, background, seed));
        let mut called: Vec<usize> = called.into_iter().flatten().collect();
        called.sort_unstable();
        let median = called.get(called.len() / 2).map_or("-".to_owned(), ToString::to_string);
        println!("| {} | {} | {}/{seeds} | {median} |", telescope.name, background.name, called.len());
    }
}

/// What comes of each seed, on as many threads as there are processors for this process.
fn of_seeds<T: Send>(first: u64, seeds: u64, run: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let next = AtomicU64::new(first);
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let of_thread = || {
        let next = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&seed| seed < first + seeds);
        std::iter::from_fn(next).map(|seed| (seed, run(seed))).collect::<Vec<_>>()
    };
    let mut outcomes: Vec<(u64, T)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(of_thread)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    outcomes.sort_unstable_by_key(|outcome| outcome.0);
    outcomes.into_iter().map(|outcome| outcome.1).collect()
}

fn row(worm: &Worm, telescope: &Telescope, background: &Background, outcomes: &[Outcome]) {
    let all = outcomes.len();
    let called: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.share.is_some()).collect();
    let quantile = |mut values: Vec<f64>, at: usize| -> String {
        values.resize(values.len().max(at + 1), f64::INFINITY);
        values.sort_by(f64::total_cmp);
        if values[at].is_finite() { format!("{:.3}", values[at]) } else { "-".to_owned() }
    };
    let shares: Vec<f64> = outcomes.iter().map(|outcome| outcome.share.unwrap_or(f64::INFINITY)).collect();
    let fine = |values: &Vec<f64>, at: usize| {
        let mut values = values.clone();
        values.sort_by(f64::total_cmp);
        if values[at].is_finite() { format!("{:.3} %", values[at] * 100.0) } else { "-".to_owned() }
    };
    let errors: Vec<f64> = called.iter().filter_map(|outcome| outcome.rate).map(|rate| (rate - 1.0).abs()).collect();
    let within = errors.iter().filter(|error| **error <= 0.2).count();
    let half = |number: usize| number / 2;
    let held = |held: &dyn Fn(&Outcome) -> Option<bool>| {
        let told: Vec<bool> = called.iter().filter_map(|outcome| held(outcome)).collect();
        format!("{}/{}", told.iter().filter(|held| **held).count(), told.len())
    };
    let median = |value: &dyn Fn(&Outcome) -> Option<f64>| {
        let values: Vec<f64> = called.iter().filter_map(|outcome| value(outcome)).collect();
        let middle = half(values.len());
        quantile(values, middle)
    };
    println!(
        "| {} | {} | {} | {}/{all} | {} | {} | {} | {} | {within}/{} | {} | {} | {} | {} | {} | {} |",
        worm.name,
        telescope.name,
        background.name,
        called.len(),
        fine(&shares, half(all)),
        fine(&shares, all * 95 / 100),
        median(&|outcome| Some(outcome.doublings)),
        quantile(errors.clone(), half(errors.len())),
        called.len(),
        held(&|outcome| Some(outcome.rate_held)),
        held(&|outcome| outcome.infected_held),
        median(&|outcome| outcome.infected),
        held(&|outcome| outcome.susceptible_held),
        median(&|outcome| outcome.susceptible),
        outcomes.iter().map(|outcome| outcome.false_alarms).sum::<u32>(),
    );
}
