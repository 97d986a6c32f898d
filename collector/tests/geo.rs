//! Whom a source belongs to: built-in data, databases of every shape, lists, reading again, and what the API says of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::mmdb::Mmdb;
use common::{Server, Spool, TEN, deliver, http, sample, tcp_scan, wait};
use martlet_collector::config::GeoConfig;
use martlet_collector::geo::{Geo, Part, Reason, Watcher};
use martlet_window::TrafficClass;
use serde_json::{Value, json};

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn region(geo: &Geo, text: &str) -> String {
    geo.snapshot().owner(address(text)).region.to_string()
}

fn open(config: &GeoConfig) -> Result<(Arc<Geo>, Watcher), String> {
    Geo::open(config).map_err(|error| error.to_string())
}

fn countries(path: &Path) -> GeoConfig {
    GeoConfig { country_database: Some(path.to_owned()), ..GeoConfig::default() }
}

fn scanners(path: &Path) -> GeoConfig {
    GeoConfig { scanner_lists: vec![path.to_owned()], ..GeoConfig::default() }
}

fn networks(path: &Path) -> GeoConfig {
    GeoConfig { asn_database: Some(path.to_owned()), ..GeoConfig::default() }
}

/// Moves a file with this content into place, as those who update databases do.
fn put(path: &Path, content: &[u8]) {
    let beside = path.with_extension("new");
    fs::write(&beside, content).unwrap();
    fs::rename(beside, path).unwrap();
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        put(&path, content);
        path
    }
}

#[test]
fn without_a_database_regions_come_from_the_built_in_data() {
    let (geo, watcher) = open(&GeoConfig::default()).unwrap();
    assert!(watcher.is_idle());
    for (text, expected) in [
        ("2001:200::1", "JP"),
        ("202.12.30.1", "JP"),
        ("193.0.6.139", "NL"),
        ("2001:67c:2e8::1", "NL"),
        ("8.8.8.8", "US"),
        // IPv4 within IPv6 is IPv4.
        ("::ffff:202.12.30.1", "JP"),
        // Private use, documentation, this network.
        ("10.0.0.1", "ZZ"),
        ("192.0.2.1", "ZZ"),
        ("2001:db8::1", "ZZ"),
        ("fe80::1", "ZZ"),
        ("0.0.0.0", "ZZ"),
        ("::", "ZZ"),
        ("::ffff:0.0.0.0", "ZZ"),
    ] {
        assert_eq!(region(&geo, text), expected, "{text}");
    }
    let snapshot = geo.snapshot();
    assert_eq!((snapshot.asn(), snapshot.scanner_lists().len(), snapshot.country().built), (None, 0, None));
    assert_eq!(snapshot.owner(address("8.8.8.8")).asn, None);
    // The version is the data's only date.
    let lock = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock")).unwrap();
    let version = lock.split_once("name = \"iptocc\"\nversion = \"").unwrap().1.split('"').next().unwrap();
    assert_eq!(snapshot.country().name, format!("iptocc {version}"));
}

#[test]
fn databases_of_every_shape_and_width_are_read() {
    let folder = Folder::new();
    for record_size in [24, 28, 32] {
        for ip_version in [4, 6] {
            let mut made = Mmdb::new("Test-Country")
                .with("192.0.2.0/24", json!({"country_code": "JP", "country": "Japan", "anycast": false}))
                .with("198.51.100.0/25", json!({"country": "KR", "country_name": "South Korea"}))
                .with(
                    "198.51.100.128/25",
                    json!({"country": {"iso_code": "TW", "geoname_id": 1, "names": {"en": "x"}}}),
                )
                .with("203.0.113.0/24", json!({"continent": {"code": "EU"}, "registered_country": {"iso_code": "DE"}}))
                .with("203.0.113.8/29", json!({"country_code": "-", "location": {"latitude": 1.5, "radius": [1, -2]}}))
                .with("0.0.0.0/8", json!({"country_code": "XX"}));
            (made.record_size, made.ip_version) = (record_size, ip_version);
            if ip_version == 6 {
                made = made.with("2001:db8::/32", json!({"country": {"iso_code": "FR"}}));
            }
            let path = folder.file("country.mmdb", &made.bytes());
            let (geo, _) = open(&countries(&path)).unwrap();
            for (text, expected) in [
                ("192.0.2.255", "JP"),
                ("::ffff:192.0.2.255", "JP"),
                ("198.51.100.127", "KR"),
                ("198.51.100.128", "TW"),
                ("203.0.113.7", "DE"),
                ("203.0.113.8", "ZZ"),
                ("203.0.113.16", "DE"),
                ("192.0.3.0", "ZZ"),
                ("8.8.8.8", "ZZ"),
                ("2001:db8::1", if ip_version == 6 { "FR" } else { "ZZ" }),
                ("2001:200::1", "ZZ"),
                // Whatever a database says of it, it is not an address.
                ("0.0.0.0", "ZZ"),
                ("0.0.0.1", "XX"),
            ] {
                assert_eq!(region(&geo, text), expected, "{text} {record_size} {ip_version}");
            }
            let about = geo.snapshot().country().clone();
            assert_eq!((about.name.as_str(), about.built), ("Test-Country", Some(1_781_654_400)));
        }
    }
}

#[test]
fn a_build_date_that_no_calendar_has_is_unknown() {
    let folder = Folder::new();
    let mut made = Mmdb::new("Test-Country").with("192.0.2.0/24", json!({"country_code": "JP"}));
    for build_epoch in [1 << 40, 1 << 62] {
        made.build_epoch = build_epoch;
        let (geo, _) = open(&countries(&folder.file("c.mmdb", &made.bytes()))).unwrap();
        assert_eq!(geo.snapshot().country().built, None);
    }
}

#[test]
fn numbers_and_organisations_come_from_their_own_database() {
    let folder = Folder::new();
    let made = Mmdb::new("Test-ASN")
        .with("192.0.2.0/24", json!({"autonomous_system_number": 174, "autonomous_system_organization": "Example One"}))
        .with("198.51.100.0/24", json!({"asn": "AS64500", "name": "Example Two", "domain": "example.org"}))
        .with("203.0.113.0/24", json!({"asn": 64501, "as_name": "Example Three", "country_code": "JP"}))
        .with("2001:db8::/32", json!({"asn": "none", "org": "Example Four"}));
    let path = folder.file("asn.mmdb", &made.bytes());
    let (geo, _) = open(&networks(&path)).unwrap();
    let snapshot = geo.snapshot();
    for (text, asn, organisation) in [
        ("192.0.2.1", Some(174), Some("Example One")),
        ("::ffff:192.0.2.1", Some(174), Some("Example One")),
        ("198.51.100.1", Some(64_500), Some("Example Two")),
        ("203.0.113.1", Some(64_501), Some("Example Three")),
        ("2001:db8::1", None, Some("Example Four")),
        ("8.8.8.8", None, None),
    ] {
        let owner = snapshot.owner(address(text));
        assert_eq!((owner.asn, owner.organisation.as_deref()), (asn, organisation), "{text}");
    }
    // One database may be both; regions still come from the one that is configured for them.
    assert_eq!(region(&geo, "203.0.113.1"), "ZZ");
    let both = GeoConfig { country_database: Some(path.clone()), ..networks(&path) };
    let (geo, _) = open(&both).unwrap();
    assert_eq!(region(&geo, "203.0.113.1"), "JP");
}

#[test]
fn what_cannot_be_used_at_the_start_is_named() {
    let folder = Folder::new();
    let numbers = Mmdb::new("Test-ASN").with("192.0.2.0/24", json!({"asn": 7})).bytes();
    let asn = folder.file("asn.mmdb", &numbers);
    let text = folder.file("list.txt", b"192.0.2.0/24\n192.0.2.0/33\n");
    let cut = folder.file("cut.mmdb", &numbers[..numbers.len() - 40]);
    let nowhere = folder.0.path().join("nowhere");
    for (config, said) in [
        (countries(&nowhere), vec!["geo.country_database: cannot read", "nowhere", "permissions"]),
        (countries(folder.0.path()), vec!["geo.country_database: cannot read"]),
        (countries(&text), vec!["geo.country_database:", "list.txt is no whole database in MaxMind's format"]),
        (networks(&cut), vec!["geo.asn_database:", "cut.mmdb is no whole database"]),
        (countries(&asn), vec!["asn.mmdb (Test-ASN) says nothing of countries"]),
        (scanners(&nowhere), vec!["geo.scanner_lists: cannot read", "nowhere"]),
        (scanners(&text), vec!["geo.scanner_lists:", "list.txt, line 2:", "192.0.2.0/33"]),
    ] {
        let message = open(&config).err().unwrap();
        assert!(said.iter().all(|part| message.contains(part)), "{message}");
    }
    // An empty path is one that was not given.
    assert!(open(&countries(Path::new(""))).is_ok());
}

/// Whatever is in a file, reading it ends with a database or an error, and looking up in it never fails.
#[test]
fn damage_is_an_error_or_harmless() {
    let folder = Folder::new();
    let whole = Mmdb::new("Test-Country")
        .with("192.0.2.0/24", json!({"country": {"iso_code": "JP"}, "asn": "AS7", "name": "Example"}))
        .with("2001:db8::/40", json!({"country_code": "FR"}))
        .bytes();
    let mut refused = 0;
    let mut read = |bytes: &[u8]| match open(&countries(&folder.file("c.mmdb", bytes))) {
        Ok((geo, _)) => {
            let snapshot = geo.snapshot();
            for text in ["192.0.2.1", "192.0.3.1", "255.255.255.255", "2001:db8::1", "::1", "ffff::"] {
                let _ = snapshot.owner(address(text));
            }
        }
        Err(_) => refused += 1,
    };
    for length in 0..whole.len() {
        read(&whole[..length]);
    }
    for at in 0..whole.len() {
        for bit in [0, 3, 5, 7] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            read(&bytes);
        }
    }
    assert!(refused >= whole.len(), "every shorter file is refused: {refused} of {}", whole.len());
}

#[test]
fn a_changed_file_is_read_again_once_it_rests() {
    let folder = Folder::new();
    let made = |code: &str| Mmdb::new("Test-Country").with("192.0.2.0/24", json!({"country_code": code})).bytes();
    let path = folder.file("country.mmdb", &made("JP"));
    let (geo, mut watcher) = open(&countries(&path)).unwrap();
    assert!(!watcher.is_idle());
    let reload = || *geo.snapshot().reload(Part::CountryDatabase).unwrap();
    watcher.poll(1);
    watcher.poll(2);
    assert_eq!((region(&geo, "192.0.2.1").as_str(), reload().loaded), ("JP", 0), "nothing has changed");

    // Of the same length: told by its inode, if not by its time.
    put(&path, &made("KR"));
    let before = geo.snapshot();
    watcher.poll(3);
    assert_eq!(region(&geo, "192.0.2.1"), "JP", "it may still be written");
    watcher.poll(4);
    assert_eq!((region(&geo, "192.0.2.1").as_str(), reload().loaded), ("KR", 1));
    assert_eq!(before.owner(address("192.0.2.1")).region.to_string(), "JP", "who took a snapshot keeps it");

    // Half a file, written in place.
    let half = made("TW");
    fs::write(&path, &half[..half.len() / 2]).unwrap();
    for now in 5..9 {
        watcher.poll(now);
    }
    assert_eq!(region(&geo, "192.0.2.1"), "KR", "the old one stays");
    let stale = reload().stale.unwrap();
    assert_eq!((reload().loaded, reload().failed), (1, 1), "a file is tried once, not at every look");
    assert_eq!((stale.reason, stale.since_ms), (Reason::Invalid, 6));
    // It vanishes: still stale, since the first trouble.
    fs::remove_file(&path).unwrap();
    watcher.poll(9);
    watcher.poll(10);
    let stale = reload().stale.unwrap();
    assert_eq!((stale.reason, stale.since_ms, reload().failed), (Reason::Unreadable, 6, 2));
    assert_eq!(region(&geo, "192.0.2.1"), "KR");
    // The other half.
    put(&path, &half);
    watcher.poll(11);
    watcher.poll(12);
    assert_eq!((region(&geo, "192.0.2.1").as_str(), reload().stale, reload().loaded), ("TW", None, 2));
}

#[test]
fn lists_are_watched_with_their_directory() {
    let folder = Folder::new();
    folder.file("one_v4.txt", b"192.0.2.0/24\n192.0.2.128/25\n");
    folder.file("one_v6.txt", b"2001:db8::/32\n");
    let two = folder.file("two.txt", b"192.0.2.0/24\n192.0.2.7\n");
    let (geo, mut watcher) = open(&scanners(folder.0.path())).unwrap();
    let mut look = |now| {
        watcher.poll(now);
        watcher.poll(now);
    };
    let name = |text: &str| geo.snapshot().owner(address(text)).known_scanner.map(str::to_owned);
    let lists = || -> Vec<(String, u64)> {
        geo.snapshot().scanner_lists().iter().map(|list| (list.name.clone(), list.networks)).collect()
    };
    assert_eq!(lists(), [("one".to_owned(), 3), ("two".to_owned(), 2)]);
    // The longest prefix wins; the same network belongs to the list that is read first.
    for (text, expected) in [
        ("192.0.2.1", Some("one")),
        ("192.0.2.7", Some("two")),
        ("192.0.2.200", Some("one")),
        ("::ffff:192.0.2.7", Some("two")),
        ("2001:db8::7", Some("one")),
        ("192.0.3.0", None),
        ("2001:db9::", None),
    ] {
        assert_eq!(name(text).as_deref(), expected, "{text}");
    }
    // A new list.
    folder.file("three.json", br#"{"name": "Three", "list": ["198.51.100.0/24"]}"#);
    look(1);
    assert_eq!(name("198.51.100.1").as_deref(), Some("Three"));
    // A broken one leaves all as they were.
    put(&two, b"192.0.2.0/24\nno network\n");
    look(2);
    let reload = *geo.snapshot().reload(Part::ScannerLists).unwrap();
    assert_eq!((reload.loaded, reload.failed, reload.stale.unwrap().reason), (1, 1, Reason::Invalid));
    assert_eq!((name("192.0.2.7").as_deref(), name("198.51.100.1").as_deref()), (Some("two"), Some("Three")));
    // Its removal mends it.
    fs::remove_file(&two).unwrap();
    look(3);
    let reload = *geo.snapshot().reload(Part::ScannerLists).unwrap();
    assert_eq!((reload.loaded, reload.stale), (2, None));
    assert_eq!(name("192.0.2.7").as_deref(), Some("one"));
}

#[test]
fn answers_say_whom_sources_belong_to_and_from_which_data() {
    let folder = Folder::new();
    let made = Mmdb::new("Test-Country").with("192.0.2.0/24", json!({"country_code": "JP"})).bytes();
    let country = folder.file("country.mmdb", &made);
    let mut numbers = Mmdb::new("Test-ASN").with("192.0.2.0/24", json!({"asn": "AS64500", "name": "Example"}));
    numbers.build_epoch = 1_700_000_000;
    let asn = folder.file("asn.mmdb", &numbers.bytes());
    let list = folder.file("Probers.txt", b"192.0.2.8/29\n");
    let server = Server::with(|config| {
        config.geo =
            GeoConfig { country_database: Some(country.clone()), asn_database: Some(asn), scanner_lists: vec![list] };
    });
    let mut spool = Spool::new(1, 0, "alpha");
    let mut client = spool.connect(&server);
    let base = 0xc000_0200; // 192.0.2.0
    let rows =
        vec![tcp_scan(23, 0, 7), tcp_scan(23, base + 1, 9), tcp_scan(23, base + 9, 5), tcp_scan(23, base + 256, 1)];
    deliver(&mut client, &mut spool, &[(TEN, rows)]);
    server.wait_for_batches(TrafficClass::Real, 1);

    let used = json!({
        "country": {"name": "Test-Country", "built": "2026-06-17T00:00:00Z"},
        "asn": {"name": "Test-ASN", "built": "2023-11-14T22:13:20Z"},
        "scanner_lists": [{"name": "Probers", "networks": 1}],
    });
    let answer = server.ok("/api/v1/sources");
    assert_eq!(answer["geo"], used);
    let owners = |answer: &Value| -> Vec<Value> {
        let fields = ["address", "region", "asn", "organisation", "known_scanner"];
        let of = |source: &Value| fields.iter().map(|&field| source[field].clone()).collect::<Value>();
        answer["sources"].as_array().unwrap().iter().map(of).collect()
    };
    let expected = [
        json!(["192.0.2.1", "JP", 64_500, "Example", null]),
        // What a sensor masked belongs to nobody.
        json!(["0.0.0.0", "ZZ", null, null, null]),
        json!(["192.0.2.9", "JP", 64_500, "Example", "Probers"]),
        json!(["192.0.3.0", "ZZ", null, null, null]),
    ];
    assert_eq!(owners(&answer), expected);
    let status = &server.ok("/api/v1/status")["geo"];
    let current = json!({"state": "current", "reason": null, "stale_seconds": null, "loaded": 0, "failed": 0});
    let mut expected_status = used.clone();
    expected_status["reload"] = json!({"country_database": current, "asn_database": current, "scanner_lists": current});
    assert_eq!(*status, expected_status);
    let metrics = server.metrics();
    let built = "martlet_collector_geo_database_built_timestamp_seconds{part=\"asn_database\"}";
    assert_eq!(sample(&metrics, built), Some(1_700_000_000.0));
    assert_eq!(sample(&metrics, "martlet_collector_geo_scanner_networks"), Some(1.0));
    let stale = "martlet_collector_geo_stale{part=\"country_database\"}";
    assert_eq!(sample(&metrics, stale), Some(0.0));

    // A running collector notices by itself that a new file is broken, says so, and goes on with the old one.
    put(&country, &made[..made.len() / 2]);
    wait(|| server.ok("/api/v1/status")["geo"]["reload"]["country_database"]["state"] == "stale");
    let reload = &server.ok("/api/v1/status")["geo"]["reload"]["country_database"];
    assert_eq!((&reload["reason"], &reload["failed"]), (&json!("invalid"), &json!(1)));
    assert!(reload["stale_seconds"].as_f64().unwrap() < 20.0);
    let metrics = server.metrics();
    assert_eq!(sample(&metrics, stale), Some(1.0));
    let failed = "martlet_collector_geo_reloads_total{part=\"country_database\",outcome=\"failed\"}";
    assert_eq!(sample(&metrics, failed), Some(1.0));
    let answer = server.ok("/api/v1/sources");
    assert_eq!((&answer["geo"], owners(&answer).as_slice()), (&used, expected.as_slice()));
    // And with the next good one.
    let next = Mmdb::new("Next-Country").with("192.0.2.0/24", json!({"country_code": "KR"})).bytes();
    put(&country, &next);
    wait(|| server.ok("/api/v1/sources")["geo"]["country"]["name"] == "Next-Country");
    assert_eq!(server.ok("/api/v1/sources")["sources"][0]["region"], "KR");
}

#[test]
fn without_configuration_the_answer_names_the_built_in_data() {
    let server = Server::start();
    let geo = &server.ok("/api/v1/sources")["geo"];
    assert!(geo["country"]["name"].as_str().unwrap().starts_with("iptocc "), "{geo}");
    let rest = (&geo["country"]["built"], &geo["asn"], &geo["scanner_lists"]);
    assert_eq!(rest, (&json!(null), &json!(null), &json!([])));
    let reload = json!({"country_database": null, "asn_database": null, "scanner_lists": null});
    assert_eq!(server.ok("/api/v1/status")["geo"]["reload"], reload);
    let (_, _, metrics) = http(server.http, "GET", "/metrics");
    assert!(!metrics.contains("martlet_collector_geo_stale{"), "{metrics}");
}
