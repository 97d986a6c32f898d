//! What a seed decides before a world begins: how large it is, and what goes wrong in it how often.

use std::time::Duration;

use martlet_collector::config::Config;
use martlet_journal::simulated::Faults;

use super::batch::BUCKET_SECONDS;
use super::network::Weather;
use super::random::Random;
use super::sensor::SensorPlan;

/// Something that happens to a world again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    KillSensor,
    KillSensorAtStep,
    StopSensor,
    KillCollector,
    KillCollectorAtStep,
    StopCollector,
    FlipAtSensor,
    FlipAtCollector,
    FillSensor,
    FillCollector,
    FillStore,
    HoldCommits,
    CutConnection,
    Partition,
    SendAgain,
    Stranger,
    SensorClock,
    CollectorClock,
    BackUpOrRestore,
    CopyMachine,
}

impl Trouble {
    const ALL: [Trouble; 20] = [
        Trouble::KillSensor,
        Trouble::KillSensorAtStep,
        Trouble::StopSensor,
        Trouble::KillCollector,
        Trouble::KillCollectorAtStep,
        Trouble::StopCollector,
        Trouble::FlipAtSensor,
        Trouble::FlipAtCollector,
        Trouble::FillSensor,
        Trouble::FillCollector,
        Trouble::FillStore,
        Trouble::HoldCommits,
        Trouble::CutConnection,
        Trouble::Partition,
        Trouble::SendAgain,
        Trouble::Stranger,
        Trouble::SensorClock,
        Trouble::CollectorClock,
        Trouble::BackUpOrRestore,
        Trouble::CopyMachine,
    ];
}

/// One world.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) sensors: Vec<SensorPlan>,
    pub(super) config: Config,
    /// How long batches are made and things go wrong.
    pub(super) duration: Duration,
    /// What goes wrong, and the mean time between two times, in milliseconds.
    pub(super) troubles: Vec<(Trouble, u64)>,
    pub(super) sensor_faults: Faults,
    pub(super) collector_faults: Faults,
    pub(super) weather: Weather,
    /// Longest time between two looks at the world, in milliseconds.
    pub(super) tick_ms: u64,
    pub(super) largest_rows: u64,
    pub(super) begins_at: i64,
}

impl Plan {
    pub(super) fn draw(random: &mut Random) -> Plan {
        let duration = random.millis(30_000, 150_000);
        let largest_rows = random.between(120, 900);
        // Near the end of an hour, so that some worlds cross it.
        let begins_at = 1_700_000_000 / 3600 * 3600 + i64::try_from(random.between(0, 3590)).unwrap() / 10 * 10;
        let max_rows = u32::try_from(largest_rows).unwrap();
        let is_tight = random.percent(25);
        let sensors = (0..random.between(1, 3)).map(|_| SensorPlan {
            max_bytes: if is_tight { random.between(6, 40) << 10 } else { 64 << 20 },
            segment_bytes: random.between(2, 16) << 10,
            pace_ms: random.between(500, 6000),
            first_window: begins_at,
            max_rows,
        });
        let sensors = sensors.collect();
        // A calm world shows what chaos would hide, so that many kinds of trouble are rarely all there.
        let share = random.pick(&[0, 10, 25, 25, 50, 50, 80]);
        let mut troubles = Vec::new();
        for trouble in Trouble::ALL {
            if random.percent(share) {
                troubles.push((trouble, random.between(3_000, 40_000)));
            }
        }
        let weather = Weather {
            slowest_ms: random.pick(&[2, 50, 400, 3000]),
            short_percent: random.pick(&[0, 20, 60]),
            cut_percent: random.pick(&[0, 10, 40]),
            linger_percent: random.pick(&[0, 10, 50]),
            refused_percent: random.pick(&[0, 10, 40]),
            silent_percent: random.pick(&[0, 5, 20]),
        };
        let weather = if random.percent(share) { weather } else { Weather { slowest_ms: 20, ..Weather::default() } };
        Plan {
            sensors,
            config: config(random, max_rows),
            duration,
            troubles,
            sensor_faults: faults(random, share),
            collector_faults: faults(random, share),
            weather,
            tick_ms: random.pick(&[20, 60, 200]),
            largest_rows,
            begins_at,
        }
    }
}

/// The collector's settings: as small as is allowed, so that every limit is met.
fn config(random: &mut Random, max_rows: u32) -> Config {
    let mut config = Config::default();
    config.aggregate.workers = usize::try_from(random.between(1, 3)).unwrap();
    config.store.segment_bytes = 1 << 16;
    config.store.reserve_bytes = 0;
    config.store.commit_interval_ms = random.between(200, 8000);
    config.store.commit_bytes = random.pick(&[1 << 16, 1 << 20]);
    config.live.bucket_seconds = u32::try_from(BUCKET_SECONDS).unwrap();
    config.ingest.max_rows = max_rows;
    config.ingest.max_batches_in_flight = usize::try_from(random.pick(&[1, 4, 64])).unwrap();
    config.ingest.max_batch_bytes = 64 << 10;
    config.ingest.frame_memory_bytes = random.pick(&[64 << 10, 1 << 20]);
    config.ingest.batch_memory_bytes = random.pick(&[256 << 10, 4 << 20]);
    config.ingest.max_streams = random.pick(&[64, 1024]);
    config
}

/// How often a disk fails by itself.
fn faults(random: &mut Random, share: u64) -> Faults {
    let mut rate = |rates: [u32; 3]| if random.percent(share) { random.pick(&rates) } else { 0 };
    Faults {
        read_error: rate([200, 2_000, 10_000]),
        short_read: rate([10_000, 50_000, 300_000]),
        write_error: rate([1_000, 5_000, 30_000]),
        short_write: rate([10_000, 50_000, 300_000]),
        no_space: rate([1_000, 5_000, 30_000]),
        sync_error: rate([1_000, 10_000, 50_000]),
        directory_error: rate([1_000, 5_000, 30_000]),
        flip_unsynced: rate([10_000, 100_000, 500_000]),
    }
}
