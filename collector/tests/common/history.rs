//! An archive and a store made by hand, and what its rows come to by plain counting.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use martlet_collector::archive::{FileWriter, Labels, Network, Observer, Row};
use martlet_collector::live::ServiceKey;
use martlet_collector::rollup::query::History;
use martlet_collector::rollup::{Archive, DAY_SECONDS, Roller, Settings, Turn, mark_day};
use martlet_collector::store::{Location, Store};
use martlet_window::{Class, Kind, TrafficClass};
use rusqlite::Connection;

/// 2026-03-29.
pub(crate) const DAY: i64 = 20_541;
pub(crate) const SOURCE_KEY: [u8; 16] = *b"secret of a test";

/// A row before it has numbers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fact {
    pub(crate) sensor: &'static str,
    pub(crate) traffic: TrafficClass,
    pub(crate) class: Class,
    pub(crate) source: u128,
    /// In seconds since the Unix epoch.
    pub(crate) start: i64,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) network: Network,
}

impl Fact {
    pub(crate) fn service(&self) -> ServiceKey {
        ServiceKey::new(self.class.into())
    }

    pub(crate) fn day(&self) -> i64 {
        self.start.div_euclid(DAY_SECONDS)
    }

    /// What distinct sources are counted of.
    pub(crate) fn counted(&self) -> (u8, u128) {
        let bits = if self.class.ip == martlet_window::IpVersion::V6 { self.source >> 64 << 64 } else { self.source };
        (self.class.ip as u8, bits)
    }
}

/// A store and an archive in a directory.
pub(crate) struct Site {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) location: Location,
    pub(crate) roller: Roller,
}

impl Site {
    pub(crate) fn new(settings: Settings) -> Site {
        let directory = tempfile::tempdir().unwrap();
        let location = Location::in_directory(directory.path());
        Store::open(location.clone()).unwrap();
        let roller = Roller::open(&location, Archive(directory.path().join("archive")), settings).unwrap();
        let site = Site { directory, location, roller };
        let catalog = "CREATE TABLE IF NOT EXISTS archive_files (file INTEGER PRIMARY KEY, day INTEGER NOT NULL, name TEXT NOT NULL,
             rows INTEGER NOT NULL, packets INTEGER NOT NULL, bytes INTEGER NOT NULL, first INTEGER NOT NULL,
             last INTEGER NOT NULL, is_coarse INTEGER NOT NULL)";
        site.connection().execute_batch(catalog).unwrap();
        site
    }

    pub(crate) fn connection(&self) -> &Connection {
        self.roller.connection()
    }

    pub(crate) fn path(&self, day: i64, name: &str) -> PathBuf {
        let date = jiff::Timestamp::from_second(day * DAY_SECONDS).unwrap().strftime("%Y-%m-%d").to_string();
        self.directory.path().join("archive").join(format!("date={date}")).join(name)
    }

    /// Writes a file for each day of these rows, and marks the days.
    pub(crate) fn archive(&self, name: &str, facts: &[Fact]) {
        let mut days: BTreeMap<i64, Vec<&Fact>> = BTreeMap::new();
        facts.iter().for_each(|fact| days.entry(fact.day()).or_default().push(fact));
        for (day, facts) in days {
            let path = self.path(day, name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let (rows, labels) = rows(facts);
            let mut writer = FileWriter::create(&path, 1000, &[], false).unwrap();
            rows.into_iter().for_each(|row| writer.push(row, &labels).unwrap());
            let written = writer.finish(&labels).unwrap();
            let sql = "INSERT INTO archive_files (day, name, rows, packets, bytes, first, last, is_coarse)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0)";
            let counts = [written.rows, written.packets, written.bytes].map(u64::cast_signed);
            let values = rusqlite::params![day, name, counts[0], counts[1], counts[2], written.first, written.last];
            self.connection().execute(sql, values).unwrap();
            mark_day(self.connection(), day).unwrap();
        }
    }

    /// Takes all files out of the archive.
    pub(crate) fn empty_archive(&self) {
        self.connection().execute("DELETE FROM archive_files", ()).unwrap();
        let _ = fs::remove_dir_all(self.directory.path().join("archive"));
    }

    /// Makes all marked days.
    pub(crate) fn roll(&mut self) -> usize {
        let mut made = 0;
        loop {
            match self.roller.turn(1_000).unwrap() {
                Turn::Idle => return made,
                Turn::Made(_) => made += 1,
                Turn::Gone(_) => {}
            }
        }
    }

    pub(crate) fn history(&self) -> History {
        History::open(&self.location).unwrap()
    }

    /// Puts a file of the day after among a day's, which then cannot be made.
    pub(crate) fn roll_day_fails(&mut self, day: i64, name: &str) {
        fs::copy(self.path(day + 1, name), self.path(day, name)).unwrap();
        let sql = "UPDATE archive_files SET day = ?1 WHERE day = ?1 + 1 AND name = ?2";
        self.connection().execute(sql, rusqlite::params![day, name]).unwrap();
        self.roller.turn(0).unwrap_err();
    }

    /// All rows of all days' rollups as text, without what is said of how they were made.
    pub(crate) fn dump(&self) -> BTreeSet<String> {
        let mut dump = BTreeSet::new();
        let tables =
            ["services", "ranks", "groups", "sensor_services", "networks", "sources", "source_lists", "populations"];
        for table in tables.into_iter().chain(["days"]) {
            let sql = match table {
                "days" => "SELECT * FROM rollup_days".to_owned(),
                _ => format!("SELECT day, r.* FROM rollup_{table} AS r JOIN rollup_days USING (rollup)"),
            };
            let mut select = self.connection().prepare(&sql).unwrap();
            let names: Vec<String> = select.column_names().into_iter().map(str::to_owned).collect();
            let mut found = select.query(()).unwrap();
            while let Some(row) = found.next().unwrap() {
                let mut text = table.to_owned();
                for (place, name) in names.iter().enumerate() {
                    if !["rollup", "generation", "made_ms", "files"].contains(&name.as_str()) {
                        text.push_str(&format!(" {name}={:?}", row.get_ref(place).unwrap()));
                    }
                }
                assert!(dump.insert(text.clone()), "twice: {text}");
            }
        }
        let mut select = self.connection().prepare("SELECT class, service, kind, day FROM rollup_first_seen").unwrap();
        let found = select.query_map((), |row| {
            let (class, service, kind, day): (u8, i64, u8, i64) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            Ok(format!("first_seen {class} {service} {kind} {day}"))
        });
        dump.extend(found.unwrap().map(Result::unwrap));
        dump
    }

    /// Rows of rollups that belong to no day.
    pub(crate) fn stale_rows(&self) -> i64 {
        let tables =
            ["services", "ranks", "groups", "sensor_services", "networks", "sources", "source_lists", "populations"];
        let count = |table| {
            let sql =
                format!("SELECT count(*) FROM rollup_{table} WHERE rollup NOT IN (SELECT rollup FROM rollup_days)");
            self.connection().query_row(&sql, (), |row| row.get::<_, i64>(0)).unwrap()
        };
        tables.into_iter().map(count).sum()
    }
}

fn rows(facts: Vec<&Fact>) -> (Vec<Row>, Labels) {
    let mut labels = Labels::default();
    let mut rows: Vec<Row> = facts
        .into_iter()
        .map(|fact| Row {
            class: fact.class.into(),
            source: fact.source,
            start: fact.start,
            bytes: fact.bytes,
            packets: fact.packets,
            targets: 1,
            observer: labels.number_observer(&Observer {
                sensor: Arc::from(fact.sensor),
                class: fact.traffic,
                window_seconds: 10,
            }),
            network: labels.number_network(&fact.network),
        })
        .collect();
    rows.sort_by_key(Row::key);
    (rows, labels)
}

/// Sums of packets by whatever a fact has.
pub(crate) fn sums<'a, K: Ord>(
    facts: impl IntoIterator<Item = &'a Fact>,
    key: impl Fn(&Fact) -> Option<K>,
) -> BTreeMap<K, u64> {
    let mut sums = BTreeMap::new();
    for fact in facts {
        if let Some(key) = key(fact) {
            *sums.entry(key).or_default() += fact.packets;
        }
    }
    sums
}

/// How many distinct sources.
pub(crate) fn distinct<'a>(facts: impl IntoIterator<Item = &'a Fact>) -> u64 {
    facts.into_iter().map(Fact::counted).collect::<BTreeSet<_>>().len() as u64
}

/// The kinds of a filter.
pub(crate) fn is_kind(fact: &Fact, kind: Option<Kind>) -> bool {
    kind.is_none_or(|kind| kind == fact.class.kind)
}
