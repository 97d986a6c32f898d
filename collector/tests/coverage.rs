//! Loss and exposure are data: the API and the metrics say of each hour what came, what was lost, and what is not known.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{Client, Server, Spool, TEN, deliver, range, sample, tcp_scan, wait};
use martlet_window::{CountRow, Exposure, TrafficClass, WindowLength};
use martlet_wire::v1::{Message, Totals};
use serde_json::{Value, json};

const HOUR: i64 = 3600;
const NOTHING: &[CountRow] = &[];

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// Delivers windows of ten seconds from `start` on, each with these rows.
fn windows(client: &mut Client, spool: &mut Spool, start: i64, count: i64, rows: &[CountRow]) {
    let batches: Vec<_> = (0..count).map(|n| (start + 10 * n, rows.to_vec())).collect();
    for some in batches.chunks(100) {
        deliver(client, spool, some);
    }
}

/// Delivers one window in which frames were dropped.
fn dropping(client: &mut Client, spool: &mut Spool, start: i64, kernel: u64, interface: u64) {
    let mut header = spool.header(start, NOTHING);
    (header.capture.kernel_drops, header.capture.interface_drops) = (kernel, interface);
    let frame = spool.batch_of(&header, NOTHING);
    client.send_bytes(&frame);
    client.expect_acks(spool.stream, spool.next - 1, spool.next);
}

/// Says that the next batch and those behind it, `windows` in all, are lost; `totals` are of the whole stream.
fn lose(client: &mut Client, spool: &mut Spool, windows: u64, totals: Totals, first: i64, last: i64) {
    let (from, to) = (spool.next, spool.next + windows - 1);
    client.send(&Message::Lost { stream: spool.stream, from, to, totals, first_window: first, last_window: last });
    client.expect_acks(spool.stream, from, to + 1);
    spool.next = to + 1;
}

fn coverage(server: &Server, query: &str) -> Value {
    server.ok(&format!("/api/v1/coverage?{query}"))
}

/// A loss is no batch: another worker than those that count the batches may count it.
fn wait_for_loss(server: &Server, sensor: &str, windows: f64) {
    let series = format!("martlet_observed_sensor_lost_windows_total{{sensor=\"{sensor}\"}}");
    wait(|| sample(&server.metrics(), &series) == Some(windows));
}

#[test]
fn hours_of_two_sensors_tell_watched_partly_lost_and_unheard_apart() {
    let server = Server::start();
    let (mut alpha, mut beta) = (Spool::new(1, 0, "alpha"), Spool::new(2, 0, "beta"));
    let (mut to_alpha, mut to_beta) = (alpha.connect(&server), beta.connect(&server));
    // Watched; then half an hour with drops; a loss from 11:30 to 12:29:50; nothing until the last window of 14:00.
    windows(&mut to_alpha, &mut alpha, TEN, 360, &[tcp_scan(23, 1, 2)]);
    windows(&mut to_alpha, &mut alpha, TEN + HOUR, 179, &[tcp_scan(23, 1, 2)]);
    dropping(&mut to_alpha, &mut alpha, TEN + HOUR + 1790, 7, 3);
    let totals = Totals { windows: 900, packets: 2 * 539 + 361, watched_ms: 9_000_000 };
    lose(&mut to_alpha, &mut alpha, 360, totals, TEN + HOUR + 1800, TEN + 2 * HOUR + 1799);
    windows(&mut to_alpha, &mut alpha, TEN + 5 * HOUR - 10, 1, NOTHING);
    // A quiet network, watched all the time.
    windows(&mut to_beta, &mut beta, TEN, 5 * 360, NOTHING);
    server.wait_for_batches(TrafficClass::Real, 541 + 1800);
    wait_for_loss(&server, "alpha", 360.0);

    let answer = coverage(&server, &range(TEN - HOUR, TEN + 6 * HOUR));
    assert_eq!((&answer["step_seconds"], &answer["bucket_seconds"]), (&json!(3600), &json!(3600)));
    assert_eq!(answer["from"], "2024-11-21T09:00:00Z");
    let (one, two) = (&answer["sensors"][0], &answer["sensors"][1]);
    assert_eq!((&one["name"], &two["name"]), (&json!("alpha"), &json!("beta")));
    assert_eq!((&one["expected_from"], &one["window_seconds"]), (&json!("2024-11-21T10:00:00Z"), &json!(10)));
    let series = &one["series"];
    assert_eq!(series["state"], json!([null, "watched", "lost", "lost", "unheard", "partly", "unheard"]));
    assert_eq!(series["windows_expected"], json!([0, 360, 360, 360, 360, 360, 360]));
    assert_eq!(series["windows_received"], json!([0, 360, 180, 0, 0, 1, 0]));
    assert_eq!(series["windows_lost"], json!([0, 0, 180, 180, 0, 0, 0]));
    assert_eq!(series["windows_missing"], json!([0, 0, 0, 180, 360, 359, 360]));
    assert_eq!(series["lost_packets"], json!([0, 0, 180, 181, 0, 0, 0]));
    assert_eq!(series["lost_seconds"], json!([0.0, 0.0, 1800.0, 1800.0, 0.0, 0.0, 0.0]));
    // What nobody told is not 0.
    assert_eq!(series["packets"], json!([null, 720, 358, null, null, 0, null]));
    assert_eq!(series["kernel_drops"], json!([null, 0, 7, null, null, 0, null]));
    assert_eq!(series["interface_drops"], json!([null, 0, 3, null, null, 0, null]));
    assert_eq!(series["watched_seconds"], json!([null, 3600.0, 1800.0, null, null, 10.0, null]));
    assert_eq!(series["expected_seconds"], json!([0.0, 3600.0, 3600.0, 3600.0, 3600.0, 3600.0, 3600.0]));
    assert_eq!(series["ipv4_address_seconds"][1], 3600.0 * 256.0);
    assert_eq!(series["clock_wrong"][1], json!(null));
    let totals = &one["totals"];
    assert_eq!((&totals["state"], &totals["windows_expected"]), (&json!("lost"), &json!(6 * 360)));
    assert_eq!((&totals["windows_received"], &totals["windows_missing"]), (&json!(541), &json!(6 * 360 - 541 - 360)));
    assert_eq!((&totals["kernel_drops"], &totals["lost_packets"]), (&json!(7), &json!(361)));

    let quiet = &two["series"];
    assert_eq!(quiet["state"], json!([null, "watched", "watched", "watched", "watched", "watched", "unheard"]));
    assert_eq!(quiet["packets"], json!([null, 0, 0, 0, 0, 0, null]));

    // Longer steps add hours up.
    let answer = coverage(&server, &format!("{}&step=2h&sensor=alpha", range(TEN, TEN + 6 * HOUR)));
    assert_eq!((&answer["step_seconds"], answer["sensors"].as_array().unwrap().len()), (&json!(7200), 1));
    let series = &answer["sensors"][0]["series"];
    assert_eq!(series["state"], json!(["lost", "lost", "partly"]));
    assert_eq!(series["windows_missing"], json!([0, 540, 719]));
    assert_eq!(series["watched_seconds"], json!([5400.0, null, 10.0]));
}

#[test]
fn hours_that_are_not_in_memory_come_from_the_store() {
    let mut server = Server::start();
    let mut spool = Spool::new(1, 0, "alpha");
    let mut client = spool.connect(&server);
    windows(&mut client, &mut spool, TEN, 360, NOTHING);
    // Four days later, and one window from a clock that is years ahead.
    windows(&mut client, &mut spool, TEN + 96 * HOUR, 90, NOTHING);
    let far = 4_000_000_000 - 4_000_000_000 % HOUR;
    windows(&mut client, &mut spool, far, 1, &[tcp_scan(23, 1, 5)]);
    server.wait_for_batches(TrafficClass::Real, 451);
    server.stop();
    let server = Server::in_directory(server.directory.clone(), |_| {});
    let answer = coverage(&server, &format!("{}&step=1h", range(TEN, TEN + 97 * HOUR)));
    let series = &answer["sensors"][0]["series"];
    let received: Vec<_> = series["windows_received"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
    assert_eq!((received.len(), received[0], received[96], received.iter().sum::<u64>()), (97, 360, 90, 450));
    assert_eq!((&series["state"][0], &series["state"][50]), (&json!("watched"), &json!("unheard")));
    let answer = coverage(&server, &range(far, far + HOUR));
    assert_eq!(answer["sensors"][0]["series"]["packets"], json!([5]));
}

#[test]
fn late_windows_and_the_last_hour_are_told_by_api_and_metrics() {
    // Again if an hour ended meanwhile.
    while !try_the_last_hour() {}
}

fn try_the_last_hour() -> bool {
    // Three windows and 30 s of grace: then a window should have come.
    let last_hour = || (now() - 60).div_euclid(HOUR) * HOUR - HOUR;
    let server = Server::start();
    let hour = last_hour();
    let (mut alpha, mut dead) = (Spool::new(1, 0, "alpha"), Spool::new(2, 0, "dead"));
    let (mut lossy, mut new) = (Spool::new(3, 0, "lossy"), Spool::new(4, 0, "new"));
    let (mut to_alpha, mut to_dead) = (alpha.connect(&server), dead.connect(&server));
    let (mut to_lossy, mut to_new) = (lossy.connect(&server), new.connect(&server));
    windows(&mut to_alpha, &mut alpha, hour, 359, NOTHING);
    dropping(&mut to_alpha, &mut alpha, hour + 3590, 3, 0);
    let recent = now() - now() % 10 - 10;
    windows(&mut to_new, &mut new, recent, 1, NOTHING);
    windows(&mut to_dead, &mut dead, hour - 2 * HOUR, 1, NOTHING);
    windows(&mut to_lossy, &mut lossy, hour, 1, NOTHING);
    let totals = Totals { windows: 101, packets: 50, watched_ms: 1_010_000 };
    lose(&mut to_lossy, &mut lossy, 100, totals, hour + 10, hour + 1000);
    server.wait_for_batches(TrafficClass::Real, 363);
    wait_for_loss(&server, "lossy", 100.0);

    let metrics = server.metrics();
    let value = |name: &str, sensor: &str| {
        sample(&metrics, &format!("martlet_observed_sensor_{name}{{class=\"real\",sensor=\"{sensor}\"}}"))
    };
    let last = |name: &str, sensor: &str| value(&format!("last_hour_{name}"), sensor);
    if hour != last_hour() {
        return false;
    }
    #[expect(clippy::cast_precision_loss, reason = "exact")]
    let start = Some(hour as f64);
    assert_eq!(last("start_timestamp_seconds", "alpha"), start);
    for (name, of_alpha, of_dead, of_lossy) in [
        ("windows_expected", Some(360.0), Some(360.0), Some(360.0)),
        ("windows_received", Some(360.0), Some(0.0), Some(1.0)),
        ("windows_missing", Some(0.0), Some(360.0), Some(259.0)),
        ("windows_lost", Some(0.0), Some(0.0), Some(100.0)),
        ("lost_packets", Some(0.0), Some(0.0), Some(50.0)),
        ("lost_seconds", Some(0.0), Some(0.0), Some(1000.0)),
        ("watched_seconds", Some(3600.0), None, Some(10.0)),
        ("ipv4_address_seconds", Some(921_600.0), None, Some(2560.0)),
        ("ipv6_prefix_seconds", Some(3600.0), None, Some(10.0)),
        ("kernel_drops", Some(3.0), None, Some(0.0)),
        ("interface_drops", Some(0.0), None, Some(0.0)),
    ] {
        let found = ["alpha", "dead", "lossy", "new"].map(|sensor| last(name, sensor));
        // Of a sensor that is new nothing was expected in that hour.
        assert_eq!(found, [of_alpha, of_dead, of_lossy, None], "{name}");
    }
    // All windows but the newest came late.
    assert_eq!((value("windows_total", "alpha"), value("late_windows_total", "alpha")), (Some(360.0), Some(360.0)));
    assert_eq!((value("windows_total", "new"), value("late_windows_total", "new")), (Some(1.0), Some(0.0)));

    // The default range is the day that ends with the hour that runs.
    let answer = coverage(&server, "");
    assert_eq!(answer["sensors"][0]["series"]["state"].as_array().unwrap().len(), 24);
    let late: Vec<_> =
        answer["sensors"].as_array().unwrap().iter().map(|s| s["totals"]["windows_late"].clone()).collect();
    assert_eq!(late, [json!(360), json!(1), json!(1), json!(0)]);
    // Of the newest window nothing is missing yet.
    assert_eq!(answer["sensors"][3]["totals"]["windows_expected"], 1);
    assert_eq!(answer["sensors"][3]["totals"]["windows_missing"], 0);
    let sensor = &server.ok("/api/v1/sensors?sensor=alpha")["sensors"][0];
    assert_eq!((&sensor["windows"], &sensor["late_windows"]), (&json!(360), &json!(360)));
    true
}

#[test]
fn a_wrong_clock_is_flagged_and_its_windows_are_counted() {
    let server = Server::start();
    let mut spool = Spool::new(1, 0, "alpha");
    let mut client = spool.connect(&server);
    // What comes live comes window by window: four short ones, from a clock that is an hour behind.
    let start = now() - HOUR;
    for n in 0..4 {
        if n > 0 {
            std::thread::sleep(Duration::from_millis(600));
        }
        let mut header = spool.header(start + n, NOTHING);
        header.window.length = WindowLength::from_seconds(1).unwrap();
        header.exposure = Some(Exposure { watched_ms: 1000, ipv4_addresses: 1, ipv6_prefixes: 0 });
        let frame = spool.batch_of(&header, NOTHING);
        client.send_bytes(&frame);
        client.expect_acks(spool.stream, spool.next - 1, spool.next);
    }
    server.wait_for_batches(TrafficClass::Real, 4);
    let totals = &coverage(&server, "")["sensors"][0]["totals"];
    assert_eq!((&totals["clock_wrong"], &totals["windows_received"]), (&json!(true), &json!(4)));
    let offset = totals["clock_offset_seconds"].as_f64().unwrap();
    assert!((3590.0..3620.0).contains(&offset), "{offset}");
    let sensor = &server.ok("/api/v1/sensors")["sensors"][0];
    assert_eq!(sensor["clock_wrong"], true);
    let flag = sample(&server.metrics(), "martlet_observed_sensor_clock_wrong{class=\"real\",sensor=\"alpha\"}");
    assert_eq!(flag, Some(1.0));
}

#[test]
fn of_files_and_drills_nothing_is_expected_and_what_is_not_known_is_null() {
    let server = Server::start();
    let mut spool = Spool::new(1, 0, "file");
    spool.class = TrafficClass::Import;
    let mut client = spool.connect(&server);
    let rows = [tcp_scan(23, 1, 4)];
    let mut header = spool.header(TEN, &rows);
    header.exposure = None;
    client.send_bytes(&spool.batch_of(&header, &rows));
    client.expect_acks(spool.stream, 0, 1);
    // It has a name, and nothing yet.
    let waiting = Spool::new(2, 0, "waiting");
    let _waits = waiting.connect(&server);
    server.wait_for_batches(TrafficClass::Import, 1);
    let answer = coverage(&server, "class=import");
    assert_eq!(answer["to"], "2024-11-21T11:00:00Z");
    let totals = &answer["sensors"][0]["totals"];
    for unknown in ["state", "windows_expected", "windows_missing", "watched_seconds", "ipv4_address_seconds"] {
        assert_eq!(totals[unknown], json!(null), "{unknown}");
    }
    assert_eq!((&totals["windows_received"], &totals["packets"]), (&json!(1), &json!(4)));
    let real = coverage(&server, "class=real");
    assert_eq!(real["sensors"].as_array().unwrap().len(), 1);
    let waiting = &real["sensors"][0];
    assert_eq!((&waiting["name"], &waiting["expected_from"]), (&json!("waiting"), &json!(null)));
    assert_eq!((&waiting["totals"]["state"], &waiting["totals"]["windows_expected"]), (&json!(null), &json!(0)));
}

#[test]
fn ranges_and_answers_are_bounded() {
    let server = Server::start();
    for (query, parameter) in [
        (range(0, 31_630_000).as_str(), "from"),
        (&format!("step=5h&limit=1000&{}", range(0, 31_000_000)), "step"),
        (&format!("step=1h&limit=1&{}", range(0, 31_000_000)), "step"),
        ("step=90m", "step"),
        ("kind=scan", "kind"),
        ("step=0h", "step"),
    ] {
        let (status, body) = server.get(&format!("/api/v1/coverage?{query}"));
        assert_eq!((status, &body["parameter"]), (400, &json!(parameter)), "{query}");
    }
    assert_eq!(coverage(&server, &format!("{}&step=5h", range(0, 31_000_000)))["sensors"], json!([]));
}

#[test]
fn rates_are_by_address_and_day_of_real_exposure() {
    let server = Server::start();
    let (mut one, mut two) = (Spool::new(1, 0, "alpha"), Spool::new(2, 0, "beta"));
    let (mut to_one, mut to_two) = (one.connect(&server), two.connect(&server));
    // 128 packets to 256 addresses in 10 s, and nothing to as many in the same time; then nothing to anybody.
    windows(&mut to_one, &mut one, TEN, 1, &[tcp_scan(23, 1, 128)]);
    windows(&mut to_two, &mut two, TEN, 1, NOTHING);
    server.wait_for_batches(TrafficClass::Real, 2);
    let range = format!("/api/v1/summary?{}", range(TEN, TEN + 1200));
    let summary = server.ok(&range);
    assert_eq!(summary["exposure"]["ipv4_address_seconds"], 5120.0);
    let rate = json!({"ipv4_packets_per_address_day": 2160.0, "ipv6_packets_per_prefix_day": 0.0});
    assert_eq!(summary["rate"], rate);
    assert_eq!(summary["series"]["ipv4_packets_per_address_day"], json!([2160.0, null]));
    let one = server.ok(&format!("{range}&sensor=alpha"));
    assert_eq!(one["rate"]["ipv4_packets_per_address_day"], 4320.0);
    assert_eq!(server.ok(&format!("{range}&sensor=nobody"))["rate"]["ipv4_packets_per_address_day"], json!(null));
}
