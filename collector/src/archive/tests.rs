//! The archive over a real disk, with crashes in front of every step.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use martlet_journal::{Journal, RealDisk};
use martlet_window::{
    BatchHeader, CaptureStatistics, Class, CountRow, Digest, IpVersion, Kind, Mark, Marks, Origin, Posture, Service,
    Window, WindowLength,
};
use martlet_wire::v1::{BatchEncoder, FRAME_HEADER_LENGTH};

use super::fuse::Fuse;
use super::replace::{self, Change};
use super::*;
use crate::aggregate::Arrival;
use crate::clock::Clock;
use crate::config::{ArchiveConfig, GeoConfig};
use crate::geo::Geo;
use crate::journal::State;
use crate::journal::record::{batch_prelude, sensor};
use crate::store::{Location, Store};
use martlet_window::TrafficClass;
use std::sync::Arc;

/// 2023-11-14T22:10:00Z: the days of some windows below are two.
const TEN: i64 = 1_700_000_000 - 200;

struct FixedClock(AtomicI64);

impl Clock for FixedClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Relaxed) * 1000
    }
}

/// A data directory with a journal of batches, all committed.
struct World {
    directory: tempfile::TempDir,
    journal: Journal<RealDisk>,
    clock: Arc<FixedClock>,
    geo: Arc<Geo>,
    encoder: BatchEncoder,
    sequence: u64,
}

fn class(protocol: u8, service: Service, marks: Marks) -> Class {
    Class { ip: IpVersion::V4, protocol, service, kind: Kind::Scan, marks }
}

/// Rows of every shape that a row can have.
fn sample(salt: u32) -> Vec<CountRow> {
    let icmp = Service::Icmp { icmp_type: 8, code: 0 };
    let error = Service::IcmpError { icmp_type: 3, code: 1, quoted_protocol: 17, quoted_port: 53 };
    let marks = Marks::NONE.with(Mark::Zmap).with(Mark::ZmapIpid);
    let v6 = Class { ip: IpVersion::V6, kind: Kind::Backscatter, ..class(6, Service::Port(443), Marks::NONE) };
    let row = |class: Class, source: u128, packets: u32| CountRow {
        class: class.into(),
        source,
        packets,
        targets: packets.min(2),
        bytes: u64::from(packets) * 40,
    };
    let mut rows = vec![
        row(class(6, Service::Port(23), Marks::NONE), 0x0102_0300 + u128::from(salt % 7), 1 + salt),
        row(class(6, Service::Port(23), Marks::NONE), 0x0102_0400 + u128::from(salt % 3), 2),
        row(class(6, Service::Port(65_535), marks), 0xc633_6401, 3),
        row(class(1, icmp, Marks::NONE), 0, 4),
        row(class(1, error, Marks::NONE), 0x0102_03ff, 5),
        row(class(47, Service::None, Marks::NONE), 0xffff_ffff, 6),
        row(v6, 0x2001_0200 << 96 | 1, 7),
        row(v6, 0x2001_0200 << 96 | u128::from(salt % 5) << 32 | 2, 8),
    ];
    rows.sort_by_key(CountRow::key);
    rows.dedup_by_key(|row| row.key());
    rows
}

impl World {
    fn new() -> World {
        // In memory where there is such a place: hundreds of worlds are made, and syncs would take most of the time.
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let disk = RealDisk::open(directory.path().join("journal")).unwrap();
        let (journal, _) = Journal::open(disk, martlet_journal::Settings::default(), &mut |_, _| ()).unwrap();
        let mut store = Store::open(Location::in_directory(directory.path())).unwrap();
        store.load(600, [7; 16]).unwrap();
        let (geo, _) = Geo::open(&GeoConfig::default()).unwrap();
        let clock = Arc::new(FixedClock(AtomicI64::new(TEN)));
        let mut world = World { directory, journal, clock, geo, encoder: BatchEncoder::new().unwrap(), sequence: 0 };
        world.append(&sensor(Origin([1; 16]), &"alpha".parse().unwrap()));
        world
            .sql("INSERT INTO sensors (sensor, origin, name) VALUES (0, x'01010101010101010101010101010101', 'alpha')");
        world
    }

    fn append(&mut self, record: &[u8]) -> u64 {
        let number = self.journal.append(&[record]).unwrap();
        self.journal.sync().unwrap();
        self.sql(&format!("UPDATE meta SET record = {}", number + 1));
        number
    }

    fn sql(&self, sql: &str) {
        self.location().connect().unwrap().execute_batch(sql).unwrap();
    }

    fn number(&self, sql: &str) -> i64 {
        self.location().connect().unwrap().query_row(sql, (), |row| row.get(0)).unwrap()
    }

    fn location(&self) -> Location {
        Location::in_directory(self.directory.path())
    }

    fn batch(&mut self, start: i64, rows: &[CountRow]) -> u64 {
        let packets = rows.iter().map(|row| u64::from(row.packets)).sum();
        let header = BatchHeader {
            origin: Origin([1; 16]),
            epoch: 1,
            sequence: self.sequence,
            predecessor: Digest::default(),
            class: TrafficClass::Real,
            posture: Posture::Silent,
            window: Window { start, length: WindowLength::DEFAULT },
            part: 0,
            exposure: None,
            unavailable: Marks::NONE,
            capture: CaptureStatistics { frames: packets, packets, ..CaptureStatistics::default() },
        };
        self.sequence += 1;
        let mut frame = Vec::new();
        self.encoder.write(&header, rows.iter().copied(), &mut frame).unwrap();
        let arrival = Arrival { at_ms: 0, is_live: true };
        self.append(&[&batch_prelude(arrival)[..], &frame[FRAME_HEADER_LENGTH..]].concat())
    }

    /// Windows of several hours over two days.
    fn batches(&mut self, windows: u32) {
        for window in 0..windows {
            self.batch(TEN + i64::from(window) * 1800, &sample(window));
        }
    }

    fn archiver(&self, config: &ArchiveConfig, fuse: &Fuse) -> Result<Archiver<RealDisk>, ArchiveError> {
        let archiver = Archiver::new(Parts {
            config: config.clone(),
            root: self.root(),
            location: self.location(),
            reader: self.journal.reader(0).unwrap(),
            geo: self.geo.clone(),
            state: Arc::new(State::default()),
            clock: self.clock.clone(),
            rests: false,
        })?;
        Ok(archiver.with_fuse(fuse.clone()))
    }

    fn root(&self) -> std::path::PathBuf {
        self.directory.path().join("archive")
    }

    /// What a reader who lists the directory finds: rows in words, and how often each.
    fn visible(&self) -> BTreeMap<String, u64> {
        let mut rows = BTreeMap::new();
        let is_day = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("date="));
        let days =
            std::fs::read_dir(self.root()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| is_day(path));
        for day in days {
            for file in std::fs::read_dir(day).unwrap() {
                let mut merge = Merge::open(&[file.unwrap().path()]).unwrap();
                let mut before = None;
                while let Some(row) = merge.next_row().unwrap() {
                    assert!(before.is_none_or(|before| before <= row.key()), "a file is not sorted");
                    before = Some(row.key());
                    *rows.entry(words(&row, merge.labels())).or_default() += 1;
                }
            }
        }
        rows
    }

    fn no_gaps(&self) {
        assert_eq!(self.number("SELECT count(*) FROM archive_gaps"), 0);
    }

    /// The catalog says what is in the directory.
    fn check_catalog(&self) {
        let catalog = Catalog::open(&self.location()).unwrap();
        assert_eq!(catalog.operations().unwrap(), []);
        let files = catalog.files(i64::MIN..i64::MAX).unwrap();
        let directory = Directory::open(&self.root()).unwrap();
        let mut rows = 0;
        for file in &files {
            let path = directory.day(file.day).unwrap().join(&file.name);
            assert_eq!(std::fs::metadata(&path).unwrap().len(), file.written.bytes);
            let mut merge = Merge::open(&[path]).unwrap();
            let mut written = Written { bytes: file.written.bytes, ..Written::default() };
            while let Some(row) = merge.next_row().unwrap() {
                assert_eq!(row.day(), file.day);
                written.count(&row);
            }
            assert_eq!(written, file.written);
            rows += written.rows;
        }
        assert_eq!(self.visible().values().sum::<u64>(), rows, "files that the catalog does not know");
        assert_eq!(std::fs::read_dir(self.root().join(".staging")).unwrap().count(), 0, "something is left");
    }
}

fn words(row: &Row, labels: &Labels) -> String {
    let (observer, network) = (labels.observer(row.observer), labels.network(row.network));
    let Row { start, packets, bytes, targets, .. } = row;
    let class = row.class.unpack();
    let coarse = if network.is_coarse { " coarse" } else { "" };
    format!(
        "{start} {} {:?} {}s {class:?} {}{coarse} {packets} {bytes} {targets} {}",
        observer.sensor,
        observer.class,
        observer.window_seconds,
        row.address(),
        network.region
    )
}

/// Runs `work` with a crash in front of each of its steps in turn. `check` looks at what the crash left; behind it `work` is done
/// again without one.
fn with_crashes(
    prepare: impl Fn() -> World,
    work: impl Fn(&World, &Fuse) -> Result<(), ArchiveError>,
    check: impl Fn(&World),
    end: impl Fn(&World),
) {
    for steps in 0.. {
        let (world, fuse) = (prepare(), Fuse::default());
        fuse.set(steps);
        let result = work(&world, &fuse);
        check(&world);
        if !fuse.has_blown() {
            result.unwrap();
            assert!(steps > 5, "only {steps} steps");
            world.no_gaps();
            end(&world);
            return;
        }
        assert!(matches!(result, Err(ArchiveError::Crash)), "{result:?}");
        work(&world, &Fuse::default()).unwrap_or_else(|error| panic!("crash before step {steps}: {error}"));
        world.no_gaps();
        end(&world);
    }
}

fn flush(world: &World, config: &ArchiveConfig, fuse: &Fuse) -> Result<(), ArchiveError> {
    world.archiver(config, fuse)?.flush()
}

#[test]
fn every_row_is_archived_once_whatever_crashes() {
    let expected = {
        let mut world = World::new();
        world.batches(9);
        flush(&world, &ArchiveConfig::default(), &Fuse::default()).unwrap();
        world.check_catalog();
        world.visible()
    };
    assert_eq!(expected.values().sum::<u64>(), (0..9).map(|salt| sample(salt).len() as u64).sum::<u64>());
    assert!(expected.keys().any(|row| row.contains(" JP")), "{expected:?}");
    // Three windows a run, so that there are several.
    let config = ArchiveConfig { run_rows: 20, ..ArchiveConfig::default() };
    with_crashes(
        || {
            let mut world = World::new();
            world.batches(9);
            world
        },
        |world, fuse| flush(world, &config, fuse),
        |world| assert!(world.visible().iter().all(|(row, times)| expected.get(row) == Some(times))),
        |world| {
            assert_eq!(world.visible(), expected);
            world.check_catalog();
        },
    );
}

#[test]
fn what_a_replay_did_not_count_is_left_out_and_what_cannot_be_read_is_a_gap() {
    let mut world = World::new();
    let skipped = world.batch(TEN, &sample(0));
    world.batch(TEN + 10, &sample(1));
    let damaged = world.append(b"\xff no record");
    world.sql(&format!("INSERT INTO archive_skips VALUES ({skipped}, {})", skipped + 1));
    flush(&world, &ArchiveConfig::default(), &Fuse::default()).unwrap();
    assert_eq!(world.visible().values().sum::<u64>(), sample(1).len() as u64);
    let gaps = Catalog::open(&world.location()).unwrap().gaps().unwrap();
    assert_eq!(gaps, [(damaged..damaged + 1, TEN * 1000)]);
    assert_eq!(world.number("SELECT count(*) FROM archive_skips"), 0);
    // Nothing more to do.
    flush(&world, &ArchiveConfig::default(), &Fuse::default()).unwrap();
    world.check_catalog();
}

#[test]
fn only_what_is_committed_is_archived() {
    let mut world = World::new();
    let first = world.batch(TEN, &sample(0));
    world.batch(TEN + 10, &sample(1));
    world.sql(&format!("UPDATE meta SET record = {}", first + 1));
    flush(&world, &ArchiveConfig::default(), &Fuse::default()).unwrap();
    assert_eq!(world.visible().values().sum::<u64>(), sample(0).len() as u64);
    assert_eq!(Catalog::open(&world.location()).unwrap().record().unwrap(), first + 1);
}

#[test]
fn one_source_is_found_everywhere() {
    let world = with_files();
    let found = |address: &str| {
        let (mut search, mut labels) = (Search::new(address.parse().unwrap()), Labels::default());
        let mut rows = BTreeMap::new();
        for file in Catalog::open(&world.location()).unwrap().files(i64::MIN..i64::MAX).unwrap() {
            let path = Directory::open(&world.root()).unwrap().day(file.day).unwrap().join(&file.name);
            let mut count = |row: &Row, labels: &Labels| *rows.entry(words(row, labels)).or_default() += 1;
            search.file(&path, &mut labels, &mut count).unwrap();
        }
        (rows, search.groups_read, search.groups)
    };
    let all = world.visible();
    for address in ["1.2.3.0", "1.2.4.1", "198.51.100.1", "0.0.0.0", "2001:200::1", "255.255.255.255", "9.9.9.9"] {
        let of_it: BTreeMap<String, u64> = all
            .iter()
            .filter(|(row, _)| row.contains(&format!(" {address} ")))
            .map(|(row, &times)| (row.clone(), times))
            .collect();
        let (rows, read, groups) = found(address);
        assert_eq!(rows, of_it, "{address}");
        assert!(read <= groups && (!of_it.is_empty() || read < groups), "{address}: {read} of {groups}");
    }
    // Only the network is left of it.
    world.clock.0.store((TEN.div_euclid(86_400) + 41) * 86_400, Relaxed);
    settle(&world, &ArchiveConfig { source_days: 30, ..ArchiveConfig::default() }, &Fuse::default()).unwrap();
    let (coarse, ..) = found("1.2.3.77");
    assert!(!coarse.is_empty() && coarse.keys().all(|row| row.contains(" 1.2.3.0 coarse ")), "{coarse:?}");
}

/// A world with several files a day, the second day's beside one of somebody else.
fn with_files() -> World {
    let mut world = World::new();
    world.batches(9);
    flush(&world, &ArchiveConfig { run_rows: 8, ..ArchiveConfig::default() }, &Fuse::default()).unwrap();
    world
}

/// Turns until nothing is due.
fn settle(world: &World, config: &ArchiveConfig, fuse: &Fuse) -> Result<(), ArchiveError> {
    let mut archiver = world.archiver(config, fuse)?;
    while archiver.work()? {}
    Ok(())
}

#[test]
fn merging_changes_no_row_and_a_reader_sees_each_once_whatever_crashes() {
    let expected = with_files().visible();
    let config = ArchiveConfig { source_days: 0, ..ArchiveConfig::default() };
    with_crashes(
        || {
            let world = with_files();
            assert!(world.number("SELECT count(*) FROM archive_files") > 8);
            // Both days ended long ago.
            world.clock.0.store(TEN + 5 * 86_400, Relaxed);
            world
        },
        |world, fuse| settle(world, &config, fuse),
        |world| assert_eq!(world.visible(), expected),
        |world| {
            assert_eq!(world.visible(), expected);
            assert_eq!(world.number("SELECT count(*) FROM archive_files"), 2);
            world.check_catalog();
        },
    );
}

#[test]
fn a_merge_that_is_stopped_is_done_after_the_next_start() {
    let world = with_files();
    let (expected, files) = (world.visible(), world.number("SELECT count(*) FROM archive_files"));
    world.clock.0.store(TEN + 5 * 86_400, Relaxed);
    let config = ArchiveConfig { source_days: 0, ..ArchiveConfig::default() };
    let (running, stop) = crossbeam_channel::bounded(0);
    drop(running);
    world.archiver(&config, &Fuse::default()).unwrap().run(&stop);
    assert_eq!((world.visible(), world.number("SELECT count(*) FROM archive_files")), (expected.clone(), files));
    assert_eq!(world.number("SELECT count(*) FROM archive_operations"), 1, "it was begun");
    settle(&world, &config, &Fuse::default()).unwrap();
    assert_eq!((world.visible(), world.number("SELECT count(*) FROM archive_files")), (expected, 2));
    world.check_catalog();
}

#[test]
fn a_file_of_somebody_else_stays_where_it_is() {
    let world = with_files();
    world.clock.0.store(TEN + 5 * 86_400, Relaxed);
    let day = Directory::open(&world.root()).unwrap().day(TEN.div_euclid(86_400)).unwrap();
    std::fs::write(day.join("notes.txt"), "mine").unwrap();
    settle(&world, &ArchiveConfig { source_days: 0, ..ArchiveConfig::default() }, &Fuse::default()).unwrap();
    assert_eq!(std::fs::read_to_string(day.join("notes.txt")).unwrap(), "mine");
    assert_eq!(std::fs::read_dir(day).unwrap().count(), 2);
}

#[test]
fn erased_addresses_are_masked_and_their_packets_stay_whatever_crashes() {
    let before = with_files().visible();
    let network: ipnet::IpNet = "1.2.3.0/24".parse().unwrap();
    let packets = |rows: &BTreeMap<String, u64>| -> u64 {
        let packets = |row: &String| row.rsplit(' ').nth(3).unwrap().parse::<u64>().unwrap();
        rows.iter().map(|(row, times)| packets(row) * times).sum()
    };
    assert!(before.keys().any(|row| row.contains(" 1.2.3.")));
    with_crashes(
        || {
            let world = with_files();
            Catalog::open(&world.location()).unwrap().ask_erasure(&network, 0).unwrap();
            world
        },
        |world, fuse| settle(world, &ArchiveConfig::default(), fuse),
        |world| assert_eq!(packets(&world.visible()), packets(&before)),
        |world| {
            let after = world.visible();
            assert!(after.keys().all(|row| !row.contains(" 1.2.3.")), "{after:#?}");
            assert!(after.keys().any(|row| row.contains(" 1.2.4.")));
            assert_eq!(packets(&after), packets(&before));
            assert_eq!(world.number("SELECT count(*) FROM archive_erasures"), 0);
            world.check_catalog();
        },
    );
}

#[test]
fn old_sources_are_coarsened_and_older_days_deleted_whatever_crashes() {
    let config = ArchiveConfig { source_days: 30, keep_days: 40, ..ArchiveConfig::default() };
    with_crashes(
        || {
            let world = with_files();
            // The second day is 40 days ago, the first one 41.
            world.clock.0.store((TEN.div_euclid(86_400) + 41) * 86_400, Relaxed);
            world
        },
        |world, fuse| settle(world, &config, fuse),
        |world| assert!(world.visible().values().all(|&times| times <= 2)),
        |world| {
            let after = world.visible();
            assert!(!after.is_empty());
            assert!(after.keys().all(|row| row.contains(" coarse ") || row.contains(" 0.0.0.0 ")), "{after:#?}");
            assert!(after.keys().any(|row| row.contains(" 2001:200:: coarse")), "{after:#?}");
            assert_eq!(world.number("SELECT count(*) FROM archive_files WHERE is_coarse"), 1);
            assert_eq!(world.number("SELECT count(DISTINCT day) FROM archive_files"), 1);
            world.check_catalog();
        },
    );
}

#[test]
fn a_size_limit_deletes_the_oldest_day_and_never_the_newest() {
    let world = with_files();
    let config = ArchiveConfig { max_bytes: 1, source_days: 0, ..ArchiveConfig::default() };
    settle(&world, &config, &Fuse::default()).unwrap();
    assert_eq!(world.number("SELECT min(day) FROM archive_files"), TEN.div_euclid(86_400) + 1);
    world.check_catalog();
}

#[test]
fn an_archive_that_is_not_ours_is_refused() {
    let world = with_files();
    let (catalog, directory) = (Catalog::open(&world.location()).unwrap(), Directory::open(&world.root()).unwrap());
    let files = catalog.files(i64::MIN..i64::MAX).unwrap();
    let path = directory.day(files[0].day).unwrap().join(&files[0].name);
    std::fs::write(&path, b"PAR1 no such thing PAR1").unwrap();
    let error = replace::replace(&catalog, &directory, files[0].day, &files[..1], Change::Merge, false).unwrap_err();
    assert!(!error.to_string().is_empty());
    // The day is as it was.
    assert_eq!(std::fs::read(&path).unwrap(), b"PAR1 no such thing PAR1");
}
