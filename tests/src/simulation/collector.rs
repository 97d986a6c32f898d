//! The collector's machine, and the lives of the collector on it: the real stages, pumped.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use martlet_collector::aggregate::{HourKey, SensorHour};
use martlet_collector::config::Config;
use martlet_collector::geo::Geo;
use martlet_collector::ingest::{self, Gate};
use martlet_collector::journal;
use martlet_collector::live::LiveView;
use martlet_collector::pipeline::{Drive, Links, Pipeline, Visible};
use martlet_collector::signal::Once;
use martlet_collector::store::{Location, Reader, Store};
use martlet_journal::Journal;
use martlet_journal::simulated::{Crash, Disk, Machine};
use martlet_window::TrafficClass;
use tokio::time::Instant;

use super::batch::BUCKET_SECONDS;
use super::clock::JumpingClock;
use super::network::{Listener, Network};
use super::random::Random;

/// The secret of sketches, the same in all worlds, so that they can be made again.
pub(super) const SOURCE_KEY: [u8; 16] = [7; 16];
/// Longest time that an orderly end may take: the last commit is waited for so long.
const LONGEST_STOP: Duration = Duration::from_secs(15);

static STORES: AtomicU64 = AtomicU64::new(0);

/// What survives every life.
pub(super) struct Collector {
    pub(super) machine: Machine,
    pub(super) clock: Arc<JumpingClock>,
    config: Config,
    geo: Arc<Geo>,
    location: Location,
    /// Keeps the store while no collector runs. A store in memory loses exactly what SQLite would lose: a transaction
    /// that was not committed.
    anchor: Store,
    network: Network,
    random: Random,
    life: Option<Life>,
    restart_at: Instant,
    /// Turns of all lives.
    pub(super) turns: u64,
}

struct Life {
    pipeline: Pipeline<Disk>,
    links: Links,
    stopping: Arc<Once>,
    tasks: Rc<RefCell<Vec<tokio::task::JoinHandle<()>>>>,
    counters: Arc<ingest::Counters>,
    /// Completes when what the journal had is counted again; then sensors are let in.
    visible: Option<Visible>,
    /// Since when it ends in order.
    ends: Option<Instant>,
}

impl Collector {
    pub(super) fn new(config: Config, clock: Arc<JumpingClock>, network: Network, mut random: Random) -> Collector {
        config.check().unwrap();
        let location = Location::Memory(format!("simulation-{}", STORES.fetch_add(1, Relaxed)));
        let mut anchor = Store::open(location.clone()).unwrap();
        anchor.load(BUCKET_SECONDS, SOURCE_KEY).unwrap();
        let (geo, _) = Geo::open(&config.geo).unwrap();
        let machine = Machine::new(random.next());
        let restart_at = Instant::now();
        Collector { machine, clock, config, geo, location, anchor, network, random, life: None, restart_at, turns: 0 }
    }

    pub(super) const fn is_running(&self) -> bool {
        self.life.is_some()
    }

    /// Starts it if it is time, and lets it work. `commits` as for [`Pipeline::turn`].
    pub(super) fn turn(&mut self, commits: bool) {
        let now = Instant::now();
        if self.life.is_none() {
            if now < self.restart_at {
                return;
            }
            self.life = self.start();
            if self.life.is_none() {
                // As a service manager does.
                self.restart_at = now + Duration::from_secs(1);
                if self.machine.is_down() {
                    self.machine.restart(Crash::Power);
                }
                return;
            }
        }
        let Some(life) = &mut self.life else { return };
        self.turns += 1;
        let goes_on = life.pipeline.turn(now.into_std(), commits);
        if self.machine.is_down() {
            self.kill(Crash::Power);
            return;
        }
        if life.visible.as_mut().is_some_and(|visible| visible.try_recv().is_ok()) {
            life.visible = None;
            let gate = Gate::new(self.config.ingest.clone(), life.counters.clone(), life.links.behind());
            let (stopping, tasks) = (life.stopping.clone(), life.tasks.clone());
            self.network.listen(Some(Listener { gate, stopping, tasks }));
        }
        if let Some(since) = life.ends {
            life.tasks.borrow_mut().retain(|task| !task.is_finished());
            if life.tasks.borrow().is_empty() {
                life.links.queue.stop();
            }
            if !goes_on || since.elapsed() > LONGEST_STOP {
                self.end_life();
                self.restart_at = now + self.random.millis(0, 5000);
            }
        }
    }

    fn start(&self) -> Option<Life> {
        let settings = journal::journal_settings(self.config.store.segment_bytes, self.config.store.reserve_bytes);
        let (journal, _) = Journal::open(self.machine.disk("journal"), settings, &mut |_, _| ()).ok()?;
        let store = Store::open(self.location.clone()).unwrap();
        let links = Links::new(&self.config, self.clock.clone());
        let (pipeline, visible) =
            Pipeline::new(&self.config, &links, self.geo.clone(), journal, store, Drive::Pump).ok()?;
        Some(Life {
            pipeline,
            links,
            stopping: Arc::default(),
            tasks: Rc::default(),
            counters: Arc::default(),
            visible: Some(visible),
            ends: None,
        })
    }

    /// Ends it as a crash does, now.
    pub(super) fn kill(&mut self, how: Crash) {
        self.machine.crash();
        self.end_life();
        self.machine.restart(how);
        self.restart_at = Instant::now() + self.random.millis(0, 20_000);
    }

    /// Ends it as SIGTERM does.
    pub(super) fn stop(&mut self) {
        if let Some(life) = self.life.as_mut().filter(|life| life.ends.is_none()) {
            self.network.listen(None);
            // Nobody new is let in.
            self.network.listen(None);
            life.stopping.happen();
            life.ends = Some(Instant::now());
        }
    }

    fn end_life(&mut self) {
        self.network.listen(None);
        if let Some(life) = self.life.take() {
            life.tasks.borrow().iter().for_each(tokio::task::JoinHandle::abort);
        }
    }

    pub(super) fn start_soon(&mut self) {
        self.restart_at = self.restart_at.min(Instant::now());
    }

    /// Limits the store's growth to so many pages, as a full disk would.
    pub(super) fn limit_store(&self, pages: u32) {
        self.anchor.limit_growth(pages).unwrap();
    }

    /// Publishes everything that is counted now.
    pub(super) fn view(&mut self) -> Option<Arc<LiveView>> {
        self.life.as_mut().map(|life| life.pipeline.publish())
    }

    /// Whether everything that is durable is committed.
    pub(super) fn is_committed(&self) -> bool {
        self.life.as_ref().is_some_and(|life| life.visible.is_none() && life.links.state.counters.uncommitted() == 0)
    }

    /// All hours of the store.
    pub(super) fn hours(&self) -> Vec<(HourKey, SensorHour)> {
        let reader = Reader::open(&self.location).unwrap();
        let mut hours = Vec::new();
        reader.sensor_hours(TrafficClass::Real, i64::MIN..i64::MAX, |key, hour| hours.push((key, *hour))).unwrap();
        hours
    }
}
