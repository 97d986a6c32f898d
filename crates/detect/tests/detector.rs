//! What the detector calls and does not, told windows of made-up sensors.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use martlet_detect::{DetectConfig, Detector, Finding, FindingType, Key, Label, Population, Report, STEP};
use martlet_window::IpVersion;

/// 2026-01-05T00:00:00Z.
const START: i64 = 1_767_571_200;
const HOUR: i64 = 3600;
const ADDRESSES: u64 = 65_536;

fn key(population: Population) -> Key {
    Key { ip: IpVersion::V4, protocol: 6, port: 2323, population }
}

/// A small generator (splitmix64) of numbers that look random.
fn number(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// One sensor's window, as rows by key.
#[derive(Clone)]
struct Window {
    report: Report,
    rows: Vec<(Key, Vec<u128>)>,
}

fn window(sensor: u16, step: i64, rows: Vec<(Key, Vec<u128>)>) -> Window {
    let exposure = [ADDRESSES * STEP.unsigned_abs(), 0];
    let report = Report { sensor, window_start: step, window_seconds: 10, arrived: step + 11, exposure };
    Window { report, rows }
}

fn tell(detector: &mut Detector, window: &Window) -> Vec<Finding> {
    if detector.report(&window.report) {
        for (key, sources) in &window.rows {
            if detector.add(&window.report, *key, u32::try_from(sources.len()).unwrap()) {
                detector.add_sources(&window.report, *key, sources);
            }
        }
    }
    detector.advance()
}

fn run(windows: &[Window]) -> Vec<Finding> {
    let mut detector = Detector::new(DetectConfig::default());
    windows.iter().flat_map(|window| tell(&mut detector, window)).collect()
}

fn strongest(findings: &[Finding]) -> Option<FindingType> {
    findings.iter().map(|finding| finding.finding_type).max()
}

/// Sources that grow exponentially after two hours of nothing, doubling in `doubling` seconds, for so many doublings.
fn worm(sensor: u16, population: Population, doubling: f64, doublings: f64) -> Vec<Window> {
    let begin = START + 2 * HOUR;
    let mut windows = Vec::new();
    let mut owed = 0.0;
    let mut source = 0;
    let end = begin + whole(doubling * doublings);
    for step in (START..end).step_by(10) {
        let mut sources = Vec::new();
        if step >= begin {
            let rate = std::f64::consts::LN_2 / doubling;
            owed += 0.02 * f64::exp(rate * seconds(step - begin)) * 10.0;
            while owed >= 1.0 {
                owed -= 1.0;
                source += 1;
                sources.push(u128::from(number(source) & 0xffff_ffff));
            }
            sources.sort_unstable();
            sources.dedup();
        }
        let rows = if sources.is_empty() { Vec::new() } else { vec![(key(population), sources)] };
        windows.push(window(sensor, step, rows));
    }
    windows
}

#[expect(clippy::cast_precision_loss, reason = "some hours")]
fn seconds(time: i64) -> f64 {
    time as f64
}

#[expect(clippy::cast_possible_truncation, reason = "some hours")]
fn whole(time: f64) -> i64 {
    time as i64 / 10 * 10
}

#[test]
fn a_worm_is_one_outbreak_with_its_rate() {
    for doubling in [30.0, 400.0] {
        let findings = run(&worm(0, Population::Mirai, doubling, 9.0));
        let last = findings.last().unwrap();
        assert_eq!(last.finding_type, FindingType::Outbreak, "{doubling}");
        assert!(findings.iter().all(|finding| finding.id() == last.id()), "one outbreak is one finding");
        let estimate = last.estimates.unwrap().doubling_seconds;
        assert!((estimate.value.unwrap() / doubling - 1.0).abs() < 0.2, "{doubling} {estimate:?}");
        assert!(estimate.low < doubling && doubling < estimate.high.unwrap(), "{doubling} {estimate:?}");
        assert_eq!((last.key, last.ended), (key(Population::Mirai), None));
        assert!((START + 2 * HOUR - 600..last.detected).contains(&last.onset), "{}", last.onset - START);
        assert_eq!(last.evidence.addresses, ADDRESSES);
        assert!(last.evidence.sources >= 10 && last.evidence.networks.len() == 20);
        assert_eq!(last.evidence.sensors[0].sensor, 0);
        // With one sensor it says nothing that one sensor saw it.
        assert!(last.labels.is_empty());
    }
}

#[test]
fn a_step_is_a_surge_and_no_outbreak() {
    // 300 hosts come within a minute and stay for four hours, each seen every five minutes.
    let mut windows = Vec::new();
    for step in (START..START + 6 * HOUR).step_by(10) {
        let mut sources = Vec::new();
        if step > START + 2 * HOUR {
            sources = (0..300u64)
                .filter(|host| number(host ^ step.unsigned_abs() << 20).is_multiple_of(30))
                .map(|host| u128::from(number(host) & 0xffff_ffff))
                .collect();
            sources.sort_unstable();
        }
        windows.push(window(0, step, vec![(key(Population::None), sources)]));
    }
    assert_eq!(strongest(&run(&windows)), Some(FindingType::Surge));
}

#[test]
fn one_loud_scanner_is_nothing() {
    let windows: Vec<Window> = (START..START + 6 * HOUR)
        .step_by(10)
        .map(|step| {
            let sources = if step > START + 2 * HOUR { vec![7] } else { vec![] };
            window(0, step, vec![(key(Population::None), sources)])
        })
        .collect();
    assert_eq!(strongest(&run(&windows)), None);
}

#[test]
fn what_looks_spoofed_is_no_outbreak() {
    // As a worm's, but a seventh of the sources cannot be real, as of all of IPv4.
    let mut windows = worm(0, Population::None, 400.0, 9.0);
    for window in &mut windows {
        let Some((_, sources)) = window.rows.pop() else { continue };
        let (spoofed, rest) = sources.into_iter().partition(|source| source % 7 == 0);
        window.rows = vec![(key(Population::None), rest), (key(Population::Spoofed), spoofed)];
        window.rows.retain(|(_, sources)| !sources.is_empty());
    }
    let findings = run(&windows);
    assert!(findings.iter().any(|finding| finding.key.population == Population::None), "it is not overlooked");
    for finding in findings {
        assert_eq!(finding.finding_type, FindingType::Surge);
        assert!(finding.labels.contains(&Label::SpoofedLooking));
    }
}

/// Windows of a worm's curve without a mark, of whose sources every sixth looks spoofed among the first so many.
fn ramp(doubling: f64, doublings: f64, first: usize) -> Vec<Window> {
    let mut windows = worm(0, Population::None, doubling, doublings);
    let mut place = 0;
    for window in &mut windows {
        let Some((_, sources)) = window.rows.pop() else { continue };
        let (spoofed, rest) = sources.into_iter().partition(|_| {
            place += 1;
            place <= first && place % 6 == 0
        });
        window.rows = vec![(key(Population::None), rest), (key(Population::Spoofed), spoofed)];
        window.rows.retain(|(_, sources): &(_, Vec<u128>)| !sources.is_empty());
    }
    windows
}

#[test]
fn a_forged_ramp_whose_newest_sources_look_real_is_no_outbreak() {
    // It doubles in ten minutes, so that of some 540 sources 230 come in the newest eight bins of a minute.
    assert_eq!(strongest(&run(&ramp(600.0, 5.0, 310))), Some(FindingType::Surge));
    // Hosts with the same curve are called.
    assert_eq!(strongest(&run(&ramp(600.0, 5.0, 0))), Some(FindingType::Outbreak));
}

#[test]
fn so_few_sources_that_none_need_look_spoofed_are_no_outbreak() {
    // How many sightings a /24 has when it first calls an outbreak.
    let sightings = |real_over_spoofed| {
        let mut detector = Detector::new(DetectConfig { real_over_spoofed, ..DetectConfig::default() });
        let mut windows = ramp(60.0, 6.0, 0);
        windows.iter_mut().for_each(|window| window.report.exposure = [256 * 10, 0]);
        let mut findings = windows.iter().flat_map(|window| tell(&mut detector, window));
        let outbreak = findings.find(|finding| finding.finding_type == FindingType::Outbreak).unwrap();
        outbreak.evidence.series.iter().map(|bin| bin.sightings).sum::<u32>()
    };
    // Each that looks real adds ln((127/128)/(6/7)) = 0.146: 31 of them 4.5. Fewer would do for a threshold of nearly nothing.
    assert!(sightings(0.1) < 31);
    assert!(sightings(4.5) >= 31);
    assert!(sightings(10.0) >= 69);
}

#[test]
fn a_sensor_that_joins_is_no_outbreak() {
    // 500 hosts, seen by one sensor and then by four.
    let mut detector = Detector::new(DetectConfig::default());
    let mut findings = Vec::new();
    for step in (START..START + 8 * HOUR).step_by(10) {
        for sensor in 0..4u16 {
            if sensor > 0 && step < START + 5 * HOUR {
                continue;
            }
            let seed = |host: u64| host ^ step.unsigned_abs() << 20 ^ u64::from(sensor) << 60;
            let mut sources: Vec<u128> = (0..500u64)
                .filter(|&host| number(seed(host)).is_multiple_of(30))
                .map(|host| u128::from(number(host) & 0xffff_ffff))
                .collect();
            sources.sort_unstable();
            findings.extend(tell(&mut detector, &window(sensor, step, vec![(key(Population::None), sources)])));
        }
    }
    assert_eq!(strongest(&findings), None, "{findings:?}");
}

/// Windows of three sensors, of which each sees a worm of its own population.
fn three_sensors() -> Vec<Window> {
    let populations = [Population::Mirai, Population::None, Population::Zmap4];
    let mut windows: Vec<Window> = (0u16..)
        .zip(populations)
        .flat_map(|(sensor, population)| {
            let doubling = 60.0 + 20.0 * f64::from(sensor);
            worm(sensor, population, doubling, 720.0 / doubling)
        })
        .collect();
    windows.sort_by_key(|window| (window.report.window_start, window.report.sensor));
    // As long as all report: one that falls silent is waited for, by the time at which others arrive.
    let last = |sensor| windows.iter().rev().find(|window| window.report.sensor == sensor).unwrap().report.window_start;
    let end = (0..3).map(last).min().unwrap();
    windows.retain(|window| window.report.window_start <= end);
    windows
}

#[test]
fn what_is_saved_at_any_moment_goes_on_as_if_nothing_had_been() {
    let windows = three_sensors();
    let whole = run(&windows);
    let outbreaks = whole.iter().filter(|finding| finding.finding_type == FindingType::Outbreak);
    assert_eq!(outbreaks.map(Finding::id).collect::<BTreeSet<_>>().len(), 3);
    let mut detector = Detector::new(DetectConfig::default());
    let mut findings = Vec::new();
    for (place, window) in windows.iter().enumerate() {
        if place % 37 == 0 {
            detector = Detector::restore(DetectConfig::default(), &detector.save().unwrap()).unwrap();
        }
        findings.extend(tell(&mut detector, window));
    }
    assert!(findings == whole);
    assert!(Detector::restore(DetectConfig::default(), b"something else").is_err());
    let mut saved = detector.save().unwrap();
    saved.truncate(saved.len() / 2);
    assert!(Detector::restore(DetectConfig::default(), &saved).is_err());
}

#[test]
fn who_is_told_of_first_within_a_step_changes_nothing() {
    // Whose sources are followed from which window on may differ, and nothing else.
    let said = |windows: &[Window]| {
        let findings = run(windows).into_iter();
        let said = findings.map(|it| {
            let rate = it.estimates.map(|estimates| format!("{:?}", estimates.rate_per_hour));
            (it.detected, it.last_active, it.id(), it.finding_type, it.ended, it.evidence.series.len(), rate)
        });
        said.collect::<BTreeSet<_>>()
    };
    let mut windows = three_sensors();
    let in_order = said(&windows);
    // The same steps, the sensors in another order in each.
    windows.sort_by_key(|window| {
        (
            window.report.window_start,
            number(u64::from(window.report.sensor) ^ window.report.window_start.unsigned_abs()),
        )
    });
    assert!(in_order.len() > 10);
    let shuffled = said(&windows);
    let differences: Vec<_> = in_order.symmetric_difference(&shuffled).collect();
    assert!(differences.is_empty(), "{differences:?}");
}

#[test]
fn windows_of_yesterday_are_not_taken_for_today() {
    let mut detector = Detector::new(DetectConfig::default());
    let mut findings = Vec::new();
    let quiet = |step| window(0, step, vec![]);
    (START..START + 24 * HOUR).step_by(10).for_each(|step| drop(tell(&mut detector, &quiet(step))));
    // A sensor that was cut off delivers a worm that it saw in the morning, all at once.
    let now = START + 24 * HOUR;
    for mut late in worm(1, Population::Mirai, 30.0, 9.0) {
        late.report.arrived = now;
        findings.extend(tell(&mut detector, &late));
    }
    (now..now + HOUR).step_by(10).for_each(|step| findings.extend(tell(&mut detector, &quiet(step))));
    assert_eq!(findings, []);
    assert!(detector.omitted().late_reports > 700);
}

#[test]
fn a_port_that_nobody_probed_for_weeks_is_seen_for_the_first_time() {
    let mut detector = Detector::new(DetectConfig::default());
    let mut findings = Vec::new();
    let days = 16;
    let usual = Key { port: 23, ..key(Population::None) };
    for step in (START..START + days * 24 * HOUR).step_by(10) {
        let mut rows = Vec::new();
        if step % (HOUR / 2) == 0 {
            rows.push((usual, vec![u128::from(number(step.unsigned_abs()) & 0xffff_ffff)]));
        }
        if step > START + 15 * 24 * HOUR && step % HOUR == 0 {
            rows.push((key(Population::None), vec![u128::from(number(step.unsigned_abs()) & 0xffff)]));
        }
        findings.extend(tell(&mut detector, &window(0, step, rows)));
    }
    let said: BTreeSet<_> = findings.iter().map(|it| (it.key, it.id(), it.finding_type)).collect();
    assert_eq!(Vec::from_iter(said), [(key(Population::None), findings[0].id(), FindingType::FirstSeenPort)]);
}

#[test]
fn what_has_ended_is_not_called_again_by_one_who_comes_late() {
    let mut windows = worm(0, Population::Mirai, 60.0, 9.0);
    let end = windows.last().unwrap().report.window_start;
    for step in (end + 10..end + 100 * HOUR).step_by(10) {
        let sources = if (step - end) / 10 % 5000 == 4000 { vec![5] } else { vec![] };
        windows.push(window(0, step, vec![(key(Population::Mirai), sources)]));
    }
    let findings = run(&windows);
    assert_eq!(findings.iter().map(Finding::id).collect::<BTreeSet<_>>().len(), 1);
    assert!(findings.last().unwrap().ended.is_some());
}

#[test]
fn a_busy_port_is_no_surge_when_everybody_was_out() {
    // 500 hosts, for three days, and again after a day of nothing.
    let mut detector = Detector::new(DetectConfig::default());
    let mut findings = Vec::new();
    for step in (START..START + 96 * HOUR).step_by(10).filter(|step| (step - START) / (24 * HOUR) != 2) {
        let mut sources: Vec<u128> = (0..500u64)
            .filter(|host| number(host ^ step.unsigned_abs() << 20).is_multiple_of(60))
            .map(|host| u128::from(number(host) & 0xffff_ffff))
            .collect();
        sources.sort_unstable();
        findings.extend(tell(&mut detector, &window(0, step, vec![(key(Population::None), sources)])));
    }
    assert_eq!(strongest(&findings), None, "{:?}", findings.first());
}

#[test]
fn nobody_who_lags_far_behind_is_waited_for() {
    let mut windows = worm(0, Population::Mirai, 30.0, 9.0);
    // Another reports as often, and each time half as far on.
    let lagging: Vec<Window> = windows
        .iter()
        .map(|first| {
            let mut other = window(1, START + (first.report.window_start - START) / 20 * 10, vec![]);
            other.report.arrived = first.report.arrived;
            other
        })
        .collect();
    windows.extend(lagging);
    windows.sort_by_key(|window| window.report.arrived);
    assert_eq!(strongest(&run(&windows)), Some(FindingType::Outbreak));
}

#[test]
fn a_finding_ends_when_nothing_goes_on() {
    let mut windows = worm(0, Population::Mirai, 60.0, 9.0);
    let end = windows.last().unwrap().report.window_start;
    windows.extend((end + 10..end + 60 * HOUR).step_by(10).map(|step| window(0, step, vec![])));
    let findings = run(&windows);
    let last = findings.last().unwrap();
    assert_eq!(last.finding_type, FindingType::Outbreak);
    assert_eq!(last.ended, Some(last.last_active));
    assert!(last.last_active <= end + 6 * HOUR, "{}", last.last_active - end);
}

#[test]
fn another_run_begins_anew_where_event_time_goes_back() {
    let mut windows = worm(0, Population::Mirai, 60.0, 9.0);
    let end = windows.last().unwrap().report.arrived;
    // The same again, of the month before, a quarter of an hour later by the collector's clock.
    let mut earlier = worm(0, Population::Mirai, 60.0, 9.0);
    for (window, delay) in earlier.iter_mut().zip(0..) {
        window.report.window_start -= 30 * 24 * HOUR;
        window.report.arrived = end + 900 + delay;
    }
    windows.extend(earlier);
    let run = |mut detector: Detector| -> Vec<Finding> {
        windows.iter().flat_map(|window| tell(&mut detector, window)).collect()
    };
    let outbreaks = |findings: &[Finding]| {
        let outbreaks = findings.iter().filter(|finding| finding.finding_type == FindingType::Outbreak);
        outbreaks.map(Finding::id).collect::<BTreeSet<_>>().len()
    };
    let findings = run(Detector::new(DetectConfig::default()).with_runs());
    assert_eq!(outbreaks(&findings), 2);
    // The first has ended with its run.
    let ended: Vec<_> = findings.iter().filter(|finding| finding.ended.is_some()).collect();
    assert_eq!((ended.len(), ended[0].id()), (1, findings[0].id()));
    // The second ends when nothing has come for a day.
    let mut detector = Detector::new(DetectConfig::default()).with_runs();
    windows.iter().for_each(|window| drop(tell(&mut detector, window)));
    let last = windows.last().unwrap().report.arrived;
    assert_eq!(detector.end_silent_run(last + 24 * HOUR), []);
    let ended = detector.end_silent_run(last + 24 * HOUR + 1);
    assert_eq!((ended.len(), ended[0].ended), (1, Some(ended[0].last_active)));
    assert_eq!((detector.sizes(), detector.end_silent_run(i64::MAX)), ((0, 0, 0), vec![]));
    // Real time never goes back: a sensor that says so is late.
    assert_eq!(outbreaks(&run(Detector::new(DetectConfig::default()))), 1);
}

#[test]
fn keys_of_long_ago_are_forgotten_and_others_go_on() {
    let mut detector = Detector::new(DetectConfig::default());
    let port = |port: u16| Key { port, ..key(Population::None) };
    for day in [0, 1, 2, 40, 41, 80, 200, 201] {
        for step in (0..3i64).map(|step| START + day * 24 * HOUR + step * 7 * HOUR) {
            // Some ports are probed at all times, others on one day.
            let day = u16::try_from(day).unwrap();
            let rows =
                (0..40).chain(1000 * (day % 50) + 100..1000 * (day % 50) + 150).map(|n| (port(n), vec![7, 8, 9]));
            tell(&mut detector, &window(0, step, rows.collect()));
        }
    }
    // The forty, and those of the last two days.
    assert_eq!(detector.sizes().0, 40 + 2 * 50);
}

#[test]
fn memory_is_bounded() {
    let config = DetectConfig { max_keys: 100, max_candidates: 4, ..DetectConfig::default() };
    let mut detector = Detector::new(config);
    for step in (START..START + 2 * HOUR).step_by(10) {
        let report = Report {
            sensor: 0,
            window_start: step,
            window_seconds: 10,
            arrived: step + 11,
            exposure: [ADDRESSES * 10, 0],
        };
        assert!(detector.report(&report));
        for port in 0..300 {
            let busy = Key { port, ..key(Population::None) };
            if (step > START + HOUR || port > 50) && detector.add(&report, busy, 9) {
                detector.add_sources(&report, busy, &[1, 2, 3, u128::from(number(step.unsigned_abs()) & 0xffff_ffff)]);
            }
        }
        detector.advance();
        let (keys, candidates, _) = detector.sizes();
        assert!(keys <= 100 && candidates <= 4);
    }
    let omitted = detector.omitted();
    assert!(omitted.overflowed > 0, "{omitted:?}");
}
