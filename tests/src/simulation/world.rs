//! One world: sensors, a network and a collector, troubled for a while and then left in peace.

use std::time::Duration;

use martlet_collector::aggregate::SourceHash;
use martlet_journal::simulated::{Crash, Faults};
use martlet_wire::v1::Message;
use tokio::time::{Instant, sleep};

use super::batch::{Identity, Maker};
use super::clock::JumpingClock;
use super::collector::{Collector, SOURCE_KEY};
use super::model::Model;
use super::network::Network;
use super::plan::{Plan, Trouble};
use super::random::Random;
use super::sensor::{Backup, Sensor};
use super::tally::{Events, Tally};
use super::verdict::{Findings, judge};

/// In peace everything must have arrived and be committed within so long.
const PATIENCE: Duration = Duration::from_secs(1200);
/// Most machines in a world, copies included.
const MOST_MACHINES: usize = 5;

pub(super) struct World {
    begun: Instant,
    events: Events,
    plan: Plan,
    random: Random,
    model: Model,
    maker: Maker,
    network: Network,
    collector: Collector,
    sensors: Vec<Sensor>,
    backups: Vec<(usize, Backup)>,
    /// When each trouble comes next.
    due: Vec<Instant>,
    /// When disks have space again, and commits are made.
    full_until: Vec<(Instant, Full)>,
    holds_commits_until: Instant,
    /// Two machines go on with one epoch.
    has_twins: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Full {
    Sensor(usize),
    Collector,
    Store,
}

impl World {
    pub(super) fn new(seed: u64, events: Events) -> World {
        let mut random = Random::new(seed);
        let plan = Plan::draw(&mut random);
        let mut model = Model::default();
        let network = Network::new(plan.weather.clone(), random.child(), events.clone());
        let clock = std::sync::Arc::new(JumpingClock::new(plan.begins_at));
        let collector = Collector::new(plan.config.clone(), clock, network.clone(), random.child());
        let maker = Maker::new(random.child(), plan.largest_rows);
        let mut sensors = Vec::new();
        for (number, sensor) in plan.sensors.iter().enumerate() {
            let name = format!("sensor-{number}").parse().unwrap();
            model.identities.push(Identity { origin: martlet_window::Origin(random.bytes()), name });
            sensors.push(Sensor::new(number, number, &model, sensor, network.clone(), random.child()));
        }
        let begun = Instant::now();
        let due = plan.troubles.iter().map(|(_, mean)| begun + random.millis(0, 2 * mean)).collect();
        events.tell(Duration::ZERO, &format!("{plan:?}"));
        World {
            begun,
            events,
            plan,
            random,
            model,
            maker,
            network,
            collector,
            sensors,
            backups: Vec::new(),
            due,
            full_until: Vec::new(),
            holds_commits_until: begun,
            has_twins: false,
        }
    }

    /// Steps so far: operations of disks, and turns of the collector.
    pub(super) fn steps(&self) -> u64 {
        let sensors: u64 = self.sensors.iter().map(|sensor| sensor.machine.steps()).sum();
        sensors + self.collector.machine.steps() + self.collector.turns
    }

    /// All faults so far.
    pub(super) fn tally(&self) -> Tally {
        let mut tally = self.events.tally();
        let machines = self.sensors.iter().map(|sensor| &sensor.machine).chain([&self.collector.machine]);
        machines.for_each(|machine| tally.add_disk(&machine.injected()));
        tally
    }

    /// Lives through all trouble, then through peace, and says whether everything was counted.
    pub(super) async fn run(&mut self) -> Result<Findings, String> {
        for sensor in &self.sensors {
            sensor.machine.set_faults(self.plan.sensor_faults);
        }
        self.collector.machine.set_faults(self.plan.collector_faults);
        while self.begun.elapsed() < self.plan.duration {
            self.trouble();
            self.turn(true).await?;
        }
        self.pacify();
        self.drain().await?;
        let findings = self.judge("at the end")?;
        // And once more from what is on the disks alone.
        self.collector.kill(Crash::Power);
        self.collector.start_soon();
        self.drain().await?;
        self.judge("after another start")?;
        Ok(findings)
    }

    async fn turn(&mut self, is_capturing: bool) -> Result<(), String> {
        let tick = self.random.millis(1, self.plan.tick_ms);
        sleep(tick).await;
        let commits = Instant::now() >= self.holds_commits_until;
        self.collector.turn(commits);
        for sensor in &mut self.sensors {
            sensor.turn(&mut self.model, &mut self.maker, is_capturing)?;
        }
        let now = Instant::now();
        let over: Vec<Full> =
            self.full_until.iter().filter(|(until, _)| *until <= now).map(|(_, what)| *what).collect();
        self.full_until.retain(|(until, _)| *until > now);
        over.into_iter().for_each(|what| self.give_space(what));
        Ok(())
    }

    fn give_space(&self, what: Full) {
        match what {
            Full::Sensor(number) => self.sensors[number].machine.set_capacity(1 << 40),
            Full::Collector => self.collector.machine.set_capacity(1 << 40),
            Full::Store => self.collector.limit_store(1 << 20),
        }
    }

    /// Everything works from now on.
    fn pacify(&mut self) {
        self.events.tell(self.begun.elapsed(), "peace");
        self.network.clear_up();
        std::mem::take(&mut self.full_until).into_iter().for_each(|(_, what)| self.give_space(what));
        self.holds_commits_until = Instant::now();
        self.collector.machine.set_faults(Faults::default());
        self.collector.machine.forget_plans();
        self.collector.start_soon();
        for sensor in &mut self.sensors {
            sensor.machine.set_faults(Faults::default());
            sensor.machine.forget_plans();
            sensor.link.heal();
            sensor.start_soon();
        }
    }

    async fn drain(&mut self) -> Result<(), String> {
        let since = Instant::now();
        let mut settled = 0;
        while since.elapsed() < PATIENCE {
            self.turn(false).await?;
            self.sensors.iter_mut().for_each(Sensor::settle);
            let is_drained = self.sensors.iter().all(Sensor::is_drained) && self.collector.is_committed();
            settled = if is_drained { settled + 1 } else { 0 };
            if settled > 20 {
                return Ok(());
            }
        }
        let standing: Vec<String> = self.sensors.iter().map(Sensor::standing).collect();
        Err(format!("after {} s of peace not everything has arrived: {}", PATIENCE.as_secs(), standing.join("; ")))
    }

    fn judge(&mut self, when: &str) -> Result<Findings, String> {
        self.sensors.iter().for_each(|sensor| sensor.excuse(&mut self.model));
        let injected = self.collector.machine.injected();
        self.model.is_collector_damaged = injected.flipped_synced + injected.flipped_unsynced > 0;
        self.judge_memory()?;
        let hours = self.collector.hours();
        let view = self.collector.view().ok_or("the collector does not run")?;
        let findings = judge(&self.model, &view, &hours, &SourceHash::new(SOURCE_KEY));
        let told = findings.as_ref().map_or_else(Clone::clone, |findings| format!("{findings:?}"));
        self.events.tell(self.begun.elapsed(), &format!("{when}: {told}"));
        findings.map_err(|what| format!("{when}: {what}"))
    }

    /// What was acknowledged is never wanted again, unless the collector's disk has changed what it was given.
    fn judge_memory(&self) -> Result<(), String> {
        let wanted: u64 = self.sensors.iter().map(Sensor::wanted_again).sum();
        if wanted == 0 || self.model.is_collector_damaged {
            return Ok(());
        }
        Err(format!("{wanted} batches were wanted again that had been acknowledged"))
    }

    fn trouble(&mut self) {
        let now = Instant::now();
        for place in 0..self.due.len() {
            if self.due[place] <= now {
                let (trouble, mean) = self.plan.troubles[place];
                self.due[place] = now + self.random.millis(mean / 2, 3 * mean / 2);
                self.cause(trouble);
            }
        }
    }

    fn fault(&self, kind: &'static str, whom: &str) {
        self.events.fault(self.begun.elapsed(), kind, whom);
    }

    fn cause(&mut self, trouble: Trouble) {
        let chosen = self.random.index(self.sensors.len());
        let how = if self.random.percent(50) { Crash::Power } else { Crash::Process };
        let steps = self.random.between(0, 60);
        let until = Instant::now() + self.random.millis(100, 30_000);
        let whom = format!("sensor {chosen}");
        let sensor = &mut self.sensors[chosen];
        match trouble {
            Trouble::KillSensor => {
                sensor.kill(how, &mut self.model);
                self.fault("sensor: killed", &whom);
            }
            Trouble::KillSensorAtStep => {
                sensor.machine.crash_after(steps);
                self.fault("sensor: killed at a step of its disk", &whom);
            }
            Trouble::StopSensor => {
                sensor.stop();
                self.fault("sensor: stopped", &whom);
            }
            Trouble::FlipAtSensor => {
                if sensor.flip(&mut self.model) {
                    self.fault("sensor: bit flipped", &whom);
                }
            }
            Trouble::FillSensor => {
                let free = self.random.between(0, 64 << 10);
                self.sensors[chosen].fill(free);
                self.full_until.push((until, Full::Sensor(chosen)));
                self.fault("sensor: disk full for a while", &whom);
            }
            Trouble::SensorClock => {
                let seconds = self.random.pick(&[-86_400, -3600, -70, 70, 3600, 86_400]);
                self.sensors[chosen].jump(seconds);
                self.fault("sensor: clock jumps", &whom);
            }
            Trouble::Partition => {
                sensor.link.take_down(until);
                self.fault("net: partition", &whom);
            }
            Trouble::BackUpOrRestore => self.back_up_or_restore(chosen),
            Trouble::CopyMachine => self.copy_machine(chosen),
            _ => self.cause_elsewhere(trouble, how, steps, until),
        }
    }

    /// Trouble that comes to no sensor.
    fn cause_elsewhere(&mut self, trouble: Trouble, how: Crash, steps: u64, until: Instant) {
        match trouble {
            Trouble::KillCollector if self.collector.is_running() => {
                self.collector.kill(how);
                self.fault("collector: killed", "");
            }
            Trouble::KillCollectorAtStep => {
                self.collector.machine.crash_after(steps);
                self.fault("collector: killed at a step of its disk", "");
            }
            Trouble::StopCollector => {
                self.collector.stop();
                self.fault("collector: stopped", "");
            }
            Trouble::FlipAtCollector if self.collector.machine.flip_synced().is_some() => {
                self.fault("collector: bit flipped", "")
            }
            Trouble::FillCollector => {
                let free = self.random.between(0, 64 << 10);
                self.collector.machine.set_free(free);
                self.full_until.push((until, Full::Collector));
                self.fault("collector: disk full for a while", "");
            }
            Trouble::FillStore => {
                let pages = u32::try_from(self.random.between(0, 4)).unwrap();
                self.collector.limit_store(pages);
                self.full_until.push((until, Full::Store));
                self.fault("collector: store full for a while", "");
            }
            Trouble::HoldCommits => {
                self.holds_commits_until = until;
                self.fault("collector: commits take long", "");
            }
            Trouble::CollectorClock => {
                let seconds = self.random.pick(&[-86_400, -3600, -1, 1, 3600, 86_400]);
                self.collector.clock.jump(1000 * seconds);
                self.fault("collector: clock jumps", "");
            }
            Trouble::CutConnection if self.network.cut_one() => self.fault("net: connection cut", ""),
            Trouble::SendAgain if self.network.send_again() => self.fault("net: all of a connection comes again", ""),
            Trouble::Stranger => self.stranger(),
            _ => {}
        }
    }

    /// Somebody who speaks something else, or half of the protocol.
    fn stranger(&mut self) {
        let mut bytes = Vec::new();
        let name = "stranger".parse().unwrap();
        let origin = self.sensors[0].origin();
        if self.random.percent(70) {
            Message::Hello { peer: origin, name }.write(&mut bytes);
        }
        let noise: [u8; 64] = self.random.bytes();
        bytes.extend_from_slice(&noise[..self.random.index(64)]);
        if self.network.send(bytes) {
            self.fault("net: a stranger calls", "");
        }
    }

    fn back_up_or_restore(&mut self, chosen: usize) {
        let backup = self.backups.iter().position(|(whose, _)| *whose == chosen);
        match backup {
            Some(place) if !self.has_twins && self.random.percent(60) => {
                let (_, backup) = self.backups.swap_remove(place);
                self.sensors[chosen].restore(&backup, &mut self.model);
                self.fault("sensor: an old backup restored", &format!("sensor {chosen}"));
            }
            _ => {
                self.backups.retain(|(whose, _)| *whose != chosen);
                self.backups.push((chosen, self.sensors[chosen].back_up()));
            }
        }
    }

    fn copy_machine(&mut self, chosen: usize) {
        let number = self.sensors.len();
        // Each twin moves what it holds to an epoch of its own, and so would a copy of it: nobody could tell that it is the
        // same.
        if number >= MOST_MACHINES || self.has_twins {
            return;
        }
        let is_first = self.backups.is_empty() && number == self.plan.sensors.len();
        let is_twin = is_first && self.random.percent(30);
        let copy = self.sensors[chosen].copy(number, is_twin, &mut self.model);
        if is_twin {
            // It begins the same epoch when it starts again.
            self.has_twins = true;
            self.model.twins = Some(copy.identity);
            self.sensors[chosen].kill(Crash::Process, &mut self.model);
        }
        copy.machine.set_faults(self.plan.sensor_faults);
        self.sensors.push(copy);
        let kind = if is_twin { "sensor: machine copied with its epoch" } else { "sensor: machine copied" };
        self.fault(kind, &format!("sensor {chosen} to {number}"));
    }
}
