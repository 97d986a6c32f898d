//! A sensor's machine, and the lives of the sensor on it: the real spool and uplink, given batches.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use martlet_journal::simulated::{Crash, Disk, Image, Machine};
use martlet_observe::batch::{BatchSink, Fresh};
use martlet_sensor::spool::{self, SpoolFigures, SpoolSettings, SpoolWriter};
use martlet_sensor::uplink::{self, UplinkError, UplinkSettings, UplinkState};
use martlet_window::Origin;
use martlet_wire::v1::BatchEncoder;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::batch::{BatchId, Made, Maker};
use super::model::{Model, Spooled};
use super::network::{Link, Network, SimulatedDial};
use super::random::Random;

/// Where the spool is on its machine.
const SPOOL: &str = "spool";
/// Length of a window, in seconds.
const WINDOW: i64 = 10;
/// How long an orderly end waits for acknowledgements.
const LONGEST_STOP: Duration = Duration::from_secs(5);
/// What a spool's record takes beside its frame, at least, in bytes.
const RECORD_OVERHEAD: u64 = 148;

/// What survives every life.
pub(super) struct Sensor {
    /// Its place among the machines.
    pub(super) number: usize,
    /// Whose batches it makes. A copy of a machine has the same.
    pub(super) identity: usize,
    pub(super) machine: Machine,
    pub(super) link: Link,
    pub(super) is_alive: bool,
    settings: SpoolSettings,
    uplink: UplinkSettings,
    network: Network,
    random: Random,
    /// Where its epochs come from.
    entropy: Random,
    /// The epoch that it draws next, if another machine draws the same.
    shared_draw: Option<u64>,
    life: Option<Life>,
    restart_at: Instant,
    next_batch: Instant,
    pace_ms: u64,
    /// What its clock says: the start of the window that is closed next, and the next part of it.
    window: i64,
    part: u32,
    /// Batches that this machine's spool was given, and their bytes, in order.
    given: Vec<(BatchId, u64)>,
    /// What it has refused in this life.
    refused: Vec<BatchId>,
    /// What was pushed in this life.
    of_this_life: Vec<BatchId>,
    /// Its disk was full once.
    was_filled: bool,
    /// Batches of earlier lives that had been acknowledged and were wanted again.
    wanted_again: u64,
    pub(super) lives: u64,
}

struct Life {
    writer: SpoolWriter<Disk>,
    work: crossbeam_channel::Receiver<()>,
    figures: Arc<SpoolFigures>,
    uplink: JoinHandle<Result<(), UplinkError>>,
    encoder: BatchEncoder,
    /// Since when it ends in order.
    ends: Option<Instant>,
}

/// How a sensor is set up.
#[derive(Clone, Debug)]
pub(super) struct SensorPlan {
    pub(super) max_bytes: u64,
    pub(super) segment_bytes: u64,
    pub(super) pace_ms: u64,
    pub(super) first_window: i64,
    pub(super) max_rows: u32,
}

impl Sensor {
    pub(super) fn new(
        number: usize,
        identity: usize,
        model: &Model,
        plan: &SensorPlan,
        network: Network,
        mut random: Random,
    ) -> Sensor {
        let settings = SpoolSettings {
            max_bytes: plan.max_bytes,
            at_cap: spool::AtCap::DropOldest,
            segment_bytes: plan.segment_bytes,
            reserve_bytes: 0,
        };
        let who = &model.identities[identity];
        let uplink = UplinkSettings { name: who.name.clone(), origin: who.origin, max_rows: plan.max_rows };
        Sensor {
            number,
            identity,
            machine: Machine::new(random.next()),
            link: Link::default(),
            is_alive: true,
            settings,
            uplink,
            network,
            entropy: random.child(),
            shared_draw: None,
            random,
            life: None,
            restart_at: Instant::now(),
            next_batch: Instant::now(),
            pace_ms: plan.pace_ms,
            window: plan.first_window,
            part: 0,
            given: Vec::new(),
            refused: Vec::new(),
            of_this_life: Vec::new(),
            was_filled: false,
            wanted_again: 0,
            lives: 0,
        }
    }

    /// Another machine with a copy of this one's disk, which goes on as the same sensor. `is_twin`: both begin the same epoch,
    /// as do the copies of a machine that was copied while it ran.
    pub(super) fn copy(&mut self, number: usize, is_twin: bool, model: &mut Model) -> Sensor {
        for &id in &self.refused {
            model.fates[id].spooled = Spooled::RefusedAndCopied;
        }
        let machine = Machine::from_image(self.random.next(), &self.machine.image());
        let entropy = self.entropy.child();
        self.shared_draw = is_twin.then(|| self.random.next());
        Sensor {
            number,
            identity: self.identity,
            machine,
            link: Link::default(),
            is_alive: true,
            settings: self.settings,
            uplink: self.uplink.clone(),
            network: self.network.clone(),
            entropy,
            shared_draw: self.shared_draw,
            random: self.random.child(),
            life: None,
            restart_at: Instant::now(),
            next_batch: Instant::now(),
            pace_ms: self.pace_ms,
            window: self.window,
            part: 0,
            given: self.given.clone(),
            refused: Vec::new(),
            of_this_life: Vec::new(),
            was_filled: false,
            wanted_again: 0,
            lives: 0,
        }
    }

    /// Starts it if it is time, and lets it work. An error if its uplink has given up.
    pub(super) fn turn(&mut self, model: &mut Model, maker: &mut Maker, is_capturing: bool) -> Result<(), String> {
        let now = Instant::now();
        if self.life.is_none() {
            if now < self.restart_at || !self.is_alive {
                return Ok(());
            }
            self.start();
            if self.machine.is_down() {
                self.kill(Crash::Power, model);
            }
        }
        let Some(life) = &mut self.life else { return Ok(()) };
        if life.uplink.is_finished() && life.ends.is_none() {
            return Err(format!("the uplink of sensor {} has given up", self.number));
        }
        if !life.work.is_empty() && self.random.percent(50) {
            life.writer.tend();
        }
        if is_capturing && life.ends.is_none() && now >= self.next_batch {
            self.next_batch = now + self.random.millis(self.pace_ms / 4, self.pace_ms);
            self.close_window(model, maker);
        }
        if self.machine.is_down() {
            self.kill(Crash::Power, model);
        }
        let is_over = self.life.as_ref().is_some_and(|life| {
            life.ends.is_some_and(|since| life.uplink.is_finished() || since.elapsed() > LONGEST_STOP)
        });
        if is_over && let Some(life) = self.end_life() {
            life.writer.finish();
            self.machine.crash();
            self.machine.restart(Crash::Process);
            self.forget(model);
            self.restart_at = now + self.random.millis(0, 5000);
        }
        Ok(())
    }

    fn start(&mut self) {
        self.lives += 1;
        let mut entropy = self.entropy.child();
        let figures = Arc::new(SpoolFigures::default());
        let mut shared_draw = self.shared_draw.take();
        let draw = Box::new(move || shared_draw.take().unwrap_or_else(|| entropy.next()));
        let disk = self.machine.disk(SPOOL);
        let Ok((writer, mut outlet, found)) =
            spool::open(disk, self.uplink.origin, self.settings, figures.clone(), draw)
        else {
            self.restart_at = Instant::now() + Duration::from_secs(1);
            return;
        };
        self.network.tell(&format!("sensor {} starts: {found:?}", self.number));
        let mut dial = SimulatedDial { network: self.network.clone(), link: self.link.clone(), who: self.number };
        let (settings, mut jitter) = (self.uplink.clone(), self.random.generator());
        let uplink = tokio::task::spawn_local(async move {
            let state = UplinkState::default();
            uplink::run(&settings, &mut outlet, &mut dial, &mut jitter, &state).await
        });
        let (work, encoder) = (writer.work(), BatchEncoder::new().unwrap());
        self.life = Some(Life { writer, work, figures, uplink, encoder, ends: None });
    }

    /// Closes a window, or a part of one.
    fn close_window(&mut self, model: &mut Model, maker: &mut Maker) {
        let Some(made) = maker.make(self.identity, self.window, self.part) else {
            (self.window, self.part) = (self.window + WINDOW, 0);
            return;
        };
        if self.random.percent(15) {
            self.part += 1;
        } else {
            // Now and then the machine was suspended for some windows.
            let windows = if self.random.percent(2) { self.random.between(2, 400) } else { 1 };
            (self.window, self.part) = (self.window + WINDOW * i64::try_from(windows).unwrap(), 0);
        }
        self.push(made, model);
    }

    fn push(&mut self, mut made: Made, model: &mut Model) {
        let Some(life) = &mut self.life else { return };
        let place = life.writer.place();
        made.header.origin = self.uplink.origin;
        (made.header.epoch, made.header.sequence) = (place.epoch, place.sequence);
        made.header.predecessor = place.predecessor;
        let mut frame = Vec::new();
        let digest = life.encoder.write(&made.header, made.rows.iter().copied(), &mut frame).unwrap();
        let fresh = Fresh { frame: &frame, digest, window: made.header.window.start, held: made.held() };
        let id = model.offer(made, &frame);
        self.of_this_life.push(id);
        self.given.push((id, frame.len() as u64 + RECORD_OVERHEAD));
        life.writer.push(&fresh);
        if self.machine.is_down() {
            return;
        }
        let is_refused = life.figures.disk_full.load(Relaxed);
        model.fates[id].spooled = if is_refused { Spooled::Refused } else { Spooled::Durable };
        if is_refused {
            self.refused.push(id);
        }
        let (number, epoch, sequence) = (self.number, place.epoch, place.sequence);
        let what = if is_refused { "refuses" } else { "has" };
        self.network.tell(&format!("sensor {number} {what} batch {id}: epoch {epoch:016x}, {sequence}"));
    }

    /// Notes which batches a spool may have given up for want of room: only the oldest, and only as many as newer ones
    /// need.
    pub(super) fn excuse(&self, model: &mut Model) {
        // A disk that is full leaves less than the quota.
        let is_full = self.was_filled || self.machine.injected().no_space > 0;
        let slack = 3 * self.settings.segment_bytes + 4096;
        let room = if is_full { 0 } else { self.settings.max_bytes.saturating_sub(slack) };
        let mut newer = 0;
        for &(id, bytes) in self.given.iter().rev() {
            newer += bytes;
            if newer > room {
                model.fates[id].is_crowded_out = true;
            }
        }
    }

    /// Ends it as a crash does, now.
    pub(super) fn kill(&mut self, how: Crash, model: &mut Model) {
        self.machine.crash();
        self.end_life();
        self.machine.restart(how);
        self.forget(model);
        self.restart_at = Instant::now() + self.random.millis(0, 20_000);
    }

    fn end_life(&mut self) -> Option<Life> {
        let life = self.life.take()?;
        life.uplink.abort();
        self.wanted_again += life.figures.wanted_again.load(Relaxed);
        Some(life)
    }

    fn forget(&mut self, model: &mut Model) {
        for id in self.refused.drain(..) {
            model.fates[id].spooled = Spooled::RefusedAndForgotten;
        }
        for id in self.of_this_life.drain(..) {
            model.fates[id].is_of_earlier_life = true;
        }
    }

    /// Ends it as SIGTERM does.
    pub(super) fn stop(&mut self) {
        if let Some(life) = self.life.as_mut().filter(|life| life.ends.is_none()) {
            life.writer.close();
            life.ends = Some(Instant::now());
        }
    }

    /// Puts back a backup of its disk. What was spooled since is gone, if the collector has not got it.
    pub(super) fn restore(&mut self, backup: &Backup, model: &mut Model) {
        self.kill(Crash::Process, model);
        self.machine.load(&backup.image);
        for &(id, _) in &self.given[backup.given..] {
            model.fates[id].is_erased = true;
        }
    }

    /// Leaves so many bytes free on its disk.
    pub(super) fn fill(&mut self, free: u64) {
        self.was_filled = true;
        self.machine.set_free(free);
    }

    pub(super) fn back_up(&self) -> Backup {
        Backup { image: self.machine.image(), given: self.given.len() }
    }

    /// Flips a bit on its disk. False if there is none.
    pub(super) fn flip(&self, model: &mut Model) -> bool {
        let before = self.machine.image();
        let Some(flip) = self.machine.flip_synced() else { return false };
        let file = before.files(&flip.directory).and_then(|files| files.get(&flip.name));
        let hit = file.and_then(|file| model.batch_at(file, flip.offset));
        model.damage(hit, &flip.name);
        self.network
            .tell(&format!("sensor {}: byte {} of {} is damaged, batch {hit:?}", self.number, flip.offset, flip.name));
        true
    }

    pub(super) fn jump(&mut self, seconds: i64) {
        (self.window, self.part) = (self.window + seconds / WINDOW * WINDOW, 0);
    }

    pub(super) fn start_soon(&mut self) {
        self.restart_at = self.restart_at.min(Instant::now());
    }

    /// Lets the spool tell of what it could not write.
    pub(super) fn settle(&mut self) {
        if let Some(life) = &mut self.life {
            life.writer.place();
            life.writer.tend();
        }
    }

    /// Whether everything that it holds is acknowledged for good.
    pub(super) fn is_drained(&self) -> bool {
        self.life
            .as_ref()
            .is_some_and(|life| life.figures.batches.load(Relaxed) == 0 && life.figures.epochs.load(Relaxed) == 0)
    }

    /// Batches that the collector had acknowledged and wanted again.
    pub(super) fn wanted_again(&self) -> u64 {
        self.wanted_again + self.life.as_ref().map_or(0, |life| life.figures.wanted_again.load(Relaxed))
    }

    /// What it waits for, to be told.
    pub(super) fn standing(&self) -> String {
        self.life.as_ref().map_or_else(
            || format!("sensor {}: not running", self.number),
            |life| format!("sensor {}: {:?}", self.number, life.figures),
        )
    }

    pub(super) const fn origin(&self) -> Origin {
        self.uplink.origin
    }
}

/// A backup of a sensor's disk.
pub(super) struct Backup {
    image: Image,
    given: usize,
}
