//! The collector's stages on a simulated disk, pumped in one thread, and a sensor that keeps what is not committed.
#![allow(dead_code, reason = "each test program uses a part")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use martlet_collector::clock::Clock;
use martlet_collector::config::Config;
use martlet_collector::geo::Geo;
use martlet_collector::ingest::{self, Gate, SensorId};
use martlet_collector::journal;
use martlet_collector::live::LiveView;
use martlet_collector::pipeline::{Drive, Links, Pipeline};
use martlet_collector::signal::Once;
use martlet_collector::store::{Location, Store};
use martlet_journal::Journal;
use martlet_journal::simulated::{Crash, Disk, Machine};
use martlet_wire::v1::{FRAME_HEADER_LENGTH, FrameHeader, Limits, Message, NackReason, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// A clock that a test sets.
#[derive(Debug, Default)]
pub(crate) struct TestClock(pub(crate) AtomicI64);

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// What survives: the disk, the store, and the clock.
pub(crate) struct World {
    pub(crate) machine: Machine,
    pub(crate) config: Config,
    pub(crate) clock: Arc<TestClock>,
    geo: Arc<Geo>,
    location: Location,
    /// Keeps the store in memory while no collector runs.
    _anchor: Store,
    pub(crate) runtime: tokio::runtime::Runtime,
}

/// One life of the collector.
pub(crate) struct Life {
    pub(crate) pipeline: Pipeline<Disk>,
    pub(crate) links: Links,
    pub(crate) gate: Gate,
    pub(crate) counters: Arc<ingest::Counters>,
    stopping: Arc<Once>,
}

static STORES: AtomicU64 = AtomicU64::new(0);

impl World {
    pub(crate) fn new(seed: u64, change: impl FnOnce(&mut Config)) -> World {
        let mut config = Config::default();
        config.aggregate.workers = 2;
        config.store.segment_bytes = 1 << 16;
        config.store.reserve_bytes = 0;
        config.store.commit_interval_ms = 50;
        config.live.bucket_seconds = 60;
        change(&mut config);
        config.check().unwrap();
        let location = Location::Memory(format!("world-{}", STORES.fetch_add(1, Relaxed)));
        let mut anchor = Store::open(location.clone()).unwrap();
        // The same secret for all, so that their sketches can be compared.
        anchor.load(config.live.bucket_seconds.into(), [7; 16]).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let clock = Arc::new(TestClock(AtomicI64::new(super::TEN * 1000)));
        let (geo, _) = Geo::open(&config.geo).unwrap();
        World { machine: Machine::new(seed), config, clock, geo, location, _anchor: anchor, runtime }
    }

    /// A collector that has not replayed anything yet; `None` if the machine crashes while it starts.
    pub(crate) fn start(&self) -> Option<Life> {
        let settings = journal::journal_settings(self.config.store.segment_bytes, self.config.store.reserve_bytes);
        let journal = loop {
            match Journal::open(self.machine.disk("journal"), settings, &mut |_, _| ()) {
                Ok((journal, _)) => break journal,
                Err(_) if self.machine.is_down() => return None,
                Err(_) => {}
            }
        };
        let store = Store::open(self.location.clone()).unwrap();
        let links = Links::new(&self.config, self.clock.clone());
        let (pipeline, _) = Pipeline::new(&self.config, &links, self.geo.clone(), journal, store, Drive::Pump).ok()?;
        let counters = Arc::new(ingest::Counters::default());
        let gate = Gate::new(self.config.ingest.clone(), counters.clone(), links.behind());
        Some(Life { pipeline, links, gate, counters, stopping: Arc::default() })
    }

    /// Pumps until everything that waits is done, or the machine is down.
    pub(crate) fn settle(&self, life: &mut Life, sensors: &mut [Sensor]) {
        for _ in 0..200 {
            self.step(life, sensors, true);
        }
    }

    /// Lets sensors, connections and stages do something, and some time pass.
    pub(crate) fn step(&self, life: &mut Life, sensors: &mut [Sensor], commits: bool) {
        self.runtime.block_on(async {
            for sensor in sensors.iter_mut() {
                sensor.step(life).await;
            }
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
            tokio::time::advance(Duration::from_millis(5)).await;
            life.pipeline.turn(tokio::time::Instant::now().into_std(), commits);
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
            for sensor in sensors.iter_mut() {
                sensor.hear(life).await;
            }
        });
    }

    /// Ends a life, if it had begun, as a crash does.
    pub(crate) fn crash(&self, life: Option<Life>, sensors: &mut [Sensor], how: Crash) {
        self.machine.crash();
        drop(life);
        sensors.iter_mut().for_each(Sensor::hang_up);
        // The connections' tasks end.
        self.runtime.block_on(async {
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
        });
        self.machine.restart(how);
    }

    /// A reader of the store.
    pub(crate) fn reader(&self) -> martlet_collector::store::Reader {
        martlet_collector::store::Reader::open(&self.location).unwrap()
    }
}

/// A sensor: keeps its batches until they are committed, and never forgets one before.
pub(crate) struct Sensor {
    pub(crate) stream: Stream,
    name: String,
    pub(crate) frames: Vec<Vec<u8>>,
    connection: Option<Connection>,
    /// What was ever said to be committed: never asked for again.
    pub(crate) committed: u64,
    pub(crate) journaled: u64,
    /// How many batches it may send ahead of their answers.
    ahead: u64,
    /// Nacks, and positions below what was said to be journaled.
    pub(crate) set_back: u64,
}

struct Connection {
    stream: DuplexStream,
    task: tokio::task::JoinHandle<()>,
    received: Vec<u8>,
    /// The next batch to send, once the position is known.
    cursor: Option<u64>,
}

impl Sensor {
    pub(crate) fn new(spool: &super::Spool, frames: Vec<Vec<u8>>) -> Sensor {
        let (stream, name) = (spool.stream, spool.name.clone());
        let (connection, committed, journaled, set_back) = (None, 0, 0, 0);
        Sensor { stream, name, frames, connection, committed, journaled, ahead: 7, set_back }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.committed == self.frames.len() as u64
    }

    pub(crate) fn hang_up(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.task.abort();
        }
    }

    async fn step(&mut self, life: &Life) {
        if self.connection.as_ref().is_some_and(|connection| connection.task.is_finished()) {
            self.connection = None;
        }
        let Some(connection) = &mut self.connection else {
            let (near, far) = tokio::io::duplex(1 << 16);
            let (read, write) = tokio::io::split(far);
            let (gate, stopping) = (life.gate.clone(), life.stopping.clone());
            let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let task = tokio::spawn(async move { gate.serve(read, write, peer, &stopping).await });
            let mut connection = Connection { stream: near, task, received: Vec::new(), cursor: None };
            let name: martlet_window::SensorName = self.name.parse().unwrap();
            let mut out = Vec::new();
            Message::Hello { peer: self.stream.origin, name: name.clone() }.write(&mut out);
            Message::Open { stream: self.stream, name }.write(&mut out);
            connection.stream.write_all(&out).await.unwrap();
            self.connection = Some(connection);
            return;
        };
        while let Some(cursor) = &mut connection.cursor {
            let Some(frame) = self.frames.get(usize::try_from(*cursor).unwrap()) else { break };
            // What does not fit into the pipe waits.
            let sent = tokio::time::timeout(Duration::ZERO, connection.stream.write_all(frame)).await;
            assert!(sent.is_ok(), "a test's frames fit into its pipe");
            *cursor += 1;
            if *cursor >= self.journaled + self.ahead {
                break;
            }
        }
    }

    async fn hear(&mut self, _: &Life) {
        let Some(connection) = &mut self.connection else { return };
        let mut buffer = [0; 4096];
        while let Ok(Ok(length @ 1..)) = tokio::time::timeout(Duration::ZERO, connection.stream.read(&mut buffer)).await
        {
            connection.received.extend_from_slice(&buffer[..length]);
        }
        while let Some(head) = connection.received.first_chunk::<FRAME_HEADER_LENGTH>() {
            let header = FrameHeader::parse(head, &Limits::default()).unwrap();
            let end = FRAME_HEADER_LENGTH + header.length as usize;
            let Some(payload) = connection.received.get(FRAME_HEADER_LENGTH..end) else { break };
            let message = Message::read(header.frame_type, payload).unwrap();
            connection.received.drain(..end);
            match message {
                Message::Welcome { .. } => {}
                Message::Position { expected, .. } => {
                    assert!(expected >= self.committed, "asks for {expected}, committed was {}", self.committed);
                    self.set_back += u64::from(expected < self.journaled);
                    self.journaled = expected;
                    connection.cursor = Some(expected);
                }
                Message::Ack { journaled, committed, .. } => {
                    assert!(committed <= journaled && committed >= self.committed, "{committed} {journaled}");
                    assert!(journaled >= self.journaled && journaled <= self.frames.len() as u64);
                    self.journaled = journaled;
                    self.committed = committed;
                }
                Message::Nack { expected, reason: NackReason::OutOfSequence, .. } => {
                    assert!(expected >= self.committed);
                    self.set_back += 1;
                    connection.cursor = Some(expected);
                }
                Message::Refused { .. } => {
                    self.hang_up();
                    return;
                }
                other => unreachable!("{other:?}"),
            }
        }
    }
}

/// Everything that a view says of counts, to be compared, with sensors by name: a damaged record of a name is made good by
/// giving it again, but then its sensor has another number.
#[derive(Debug, PartialEq)]
pub(crate) struct Contents {
    totals: Vec<String>,
    sensors: BTreeMap<String, String>,
    hours: BTreeMap<String, String>,
    observed: BTreeMap<String, u64>,
    buckets: BTreeMap<String, String>,
}

pub(crate) fn contents(view: &LiveView) -> Contents {
    let name = |sensor: SensorId| view.sensors[sensor.index()].name.to_string();
    let ports = view.observed.ports.iter().map(|(series, sample)| {
        (
            format!("{} {} {} {}", series.class.name(), name(series.sensor), series.protocol, series.port_label()),
            sample.packets,
        )
    });
    let hours = view.hours.iter();
    let hours =
        hours.map(|(key, hour)| (format!("{} {:?} {}", key.hour, key.class, name(key.sensor)), format!("{hour:?}")));
    let mut buckets = BTreeMap::new();
    for (start, bucket) in view.classes.iter().flat_map(|class| class.buckets.iter()) {
        for (key, row) in bucket.merged_rows().iter() {
            buckets
                .insert(format!("{start} {:?} {:?} {}", key.service, key.kind, name(key.sensor)), format!("{row:?}"));
        }
        for (sensor, counts) in bucket.sensors() {
            buckets.insert(format!("{start} {}", name(*sensor)), format!("{counts:?}"));
        }
        let rest = (bucket.kinds(), bucket.marks(), bucket.top(), bucket.tested, bucket.untested);
        buckets.insert(start.to_string(), format!("{rest:?}"));
    }
    Contents {
        totals: view.classes.iter().map(|class| format!("{:?} {:?}", class.totals, class.first_window)).collect(),
        sensors: view.sensors.iter().map(|sensor| (sensor.name.to_string(), format!("{sensor:?}"))).collect(),
        hours: hours.collect(),
        observed: ports.collect(),
        buckets,
    }
}
