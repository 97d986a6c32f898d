//! One worker thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, never, select};
use martlet_handover::Cut as AnyCut;
use martlet_telemetry::watchdog::Pulse;
use martlet_wire::WireError;
use martlet_wire::v1::Limits;
use tokio::sync::oneshot;

use super::decoder::{Decoded, Decoder, Encoded};
use super::delta::{Arrival, Delta, Rules};
use super::hours::Loss;
use super::owners::OwnerCounter;
use crate::config::Port;
use crate::geo::Geo;
use crate::ingest::SensorId;
use crate::journal::Checkpoint;
use crate::live::{RECENT_STEP_SECONDS, RECENT_STEPS};

/// A worker hands its tables over early when they hold so many rows.
const LARGE_DELTA: usize = 1 << 18;

/// How often a worker that waits for others, or for the merger, looks whether there is something to decode.
const LOOK: Duration = Duration::from_millis(1);

/// Where all workers meet, so that the merger sees exactly what was counted before.
pub type Cut = AnyCut<Box<Checkpoint>>;

/// What became of payloads that were decoded together, with the payloads.
pub type DecodedGroup = Vec<Result<(Decoded, Encoded), WireError>>;

/// Payloads to be decoded, and every rule checked. Acknowledgements wait for it, so that it goes before all other work.
#[derive(Debug)]
pub struct DecodeJob {
    /// At least one.
    pub payloads: Vec<Encoded>,
    /// Where to answer, in the same order, with the payloads; gone when nobody waits any more.
    pub reply: oneshot::Sender<DecodedGroup>,
}

/// What workers do with what was accepted, in the order in which it comes.
#[derive(Debug)]
pub enum Job {
    /// Count what was accepted.
    Count(Vec<Counted>),
    /// Meet the other workers.
    Cut(Arc<Cut>),
}

/// Something that was accepted and counts now.
#[derive(Debug)]
pub enum Counted {
    /// A batch.
    Batch {
        /// Whose.
        sensor: SensorId,
        /// When and how it came.
        arrival: Arrival,
        /// What.
        batch: Box<Decoded>,
    },
    /// A loss.
    Loss(Loss),
}

/// What workers pass to the merger.
#[derive(Debug)]
pub enum HandOver {
    /// What one worker counted.
    Tables(Box<Delta>),
    /// All that was counted before this point has been handed over, and nothing that comes after it.
    Cut(Box<Checkpoint>),
}

/// What all workers count about themselves.
#[derive(Debug, Default)]
pub struct Counters {
    /// Rows counted.
    pub rows: AtomicU64,
    /// Batches counted.
    pub batches: AtomicU64,
    /// Hand-overs to the merger.
    pub hand_overs: AtomicU64,
}

/// How workers work.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How rows become counts.
    pub rules: Rules,
    /// What is believed of a peer's lengths.
    pub limits: Limits,
    /// How often counts are handed over.
    pub interval: Duration,
    /// End of the newest window of each class, in seconds since the Unix epoch, as the merger knows it.
    pub newest: Arc<[AtomicI64; 3]>,
    /// What workers count about themselves.
    pub counters: Arc<Counters>,
    /// Whom sources belong to.
    pub geo: Arc<Geo>,
    /// Beats once a turn of any of them.
    pub pulse: Pulse,
    /// Ports that are counted by region, ascending.
    pub region_ports: Arc<[Port]>,
    /// Workers that have died.
    pub dead: Arc<AtomicUsize>,
}

/// The workers' queues, of which all take.
#[derive(Clone, Debug)]
pub struct WorkerQueues {
    /// What goes first.
    pub decode: Receiver<DecodeJob>,
    /// What was accepted.
    pub jobs: Receiver<Job>,
}

/// One worker: run it on a thread of its own, or pump it.
pub struct Worker {
    plan: Plan,
    queues: WorkerQueues,
    hand_over: Sender<HandOver>,
    empty: Receiver<Box<Delta>>,
    delta: Box<Delta>,
    owners: OwnerCounter,
    decoder: Decoder,
    /// The cut at which it waits for the others.
    cut: Option<Arc<Cut>>,
}

impl Worker {
    /// A worker that takes from `queues`, hands over to `hand_over` and gets its emptied tables back from `empty`.
    ///
    /// # Errors
    /// If the decompression library cannot allocate its state.
    pub fn new(
        plan: Plan,
        queues: WorkerQueues,
        hand_over: Sender<HandOver>,
        empty: Receiver<Box<Delta>>,
    ) -> std::io::Result<Worker> {
        let decoder = Decoder::new(plan.limits)?;
        let owners = OwnerCounter::new(plan.geo.clone(), plan.region_ports.clone());
        Ok(Worker { plan, queues, hand_over, empty, delta: Box::default(), owners, decoder, cut: None })
    }

    /// Works until nobody can send jobs any more and all are done, then hands over what is left.
    pub fn run(mut self) {
        let mut due = Instant::now() + self.plan.interval;
        // A queue that nobody can send to any more is replaced by one that stays silent.
        let (mut is_decoding, mut is_counting) = (true, true);
        while is_decoding || is_counting {
            self.plan.pulse.beat();
            decode_waiting(&mut self.decoder, &self.queues.decode);
            select! {
                recv(self.queues.decode) -> job => match job {
                    Ok(job) => decode(&mut self.decoder, job),
                    Err(_) => (is_decoding, self.queues.decode) = (false, never()),
                },
                recv(self.queues.jobs) -> job => match job {
                    Ok(job) => self.work(job),
                    Err(_) => (is_counting, self.queues.jobs) = (false, never()),
                },
                default(due.saturating_duration_since(Instant::now())) => {}
            }
            if let Some(cut) = self.cut.take() {
                let meanwhile = || decode_waiting(&mut self.decoder, &self.queues.decode);
                cut.wait(LOOK, || self.plan.dead.load(Relaxed) == 0, meanwhile);
            }
            let now = Instant::now();
            if now >= due {
                self.hand_over();
                due = now + self.plan.interval;
            }
        }
        self.hand_over();
    }

    /// Does one job that waits, if it may; `false` if there was nothing to do. For pumping without a thread.
    pub fn turn(&mut self) -> bool {
        if self.cut.as_ref().is_some_and(|cut| !cut.is_complete()) {
            return false;
        }
        self.cut = None;
        if let Ok(job) = self.queues.decode.try_recv() {
            decode(&mut self.decoder, job);
            return true;
        }
        let Ok(job) = self.queues.jobs.try_recv() else {
            return false;
        };
        self.work(job);
        true
    }

    fn work(&mut self, job: Job) {
        match job {
            Job::Count(counted) => {
                for counted in counted {
                    self.count(counted);
                    decode_waiting(&mut self.decoder, &self.queues.decode);
                }
            }
            Job::Cut(cut) => {
                self.hand_over();
                cut.arrive(|checkpoint| self.pass(HandOver::Cut(checkpoint)));
                self.cut = Some(cut);
            }
        }
    }

    fn count(&mut self, counted: Counted) {
        match counted {
            Counted::Batch { sensor, arrival, batch } => self.count_batch(sensor, arrival, *batch),
            Counted::Loss(loss) => self.delta.lose(&loss),
        }
        if self.delta.size() >= LARGE_DELTA {
            self.hand_over();
        }
    }

    fn count_batch(&mut self, sensor: SensorId, arrival: Arrival, batch: Decoded) {
        let Decoded { header, columns, memory, .. } = batch;
        let newest = self.plan.newest[header.class as usize].load(Relaxed);
        let recent_from = newest.saturating_sub(RECENT_STEP_SECONDS * RECENT_STEPS);
        self.delta.add(&self.plan.rules, sensor, &header, &columns, recent_from, arrival);
        self.owners.add(header.class, &columns);
        self.plan.counters.rows.fetch_add(columns.len() as u64, Relaxed);
        self.plan.counters.batches.fetch_add(1, Relaxed);
        self.decoder.keep(columns);
        drop(memory);
    }

    /// Hands the tables over, if anything was counted. A pumped worker is told when.
    pub fn hand_over(&mut self) {
        self.decoder.trim();
        if self.delta.is_empty() {
            return;
        }
        self.delta.sort(&mut || decode_waiting(&mut self.decoder, &self.queues.decode));
        self.owners.drain(|key, packets| self.delta.owners.push((key, packets)));
        let empty = self.empty.try_recv().unwrap_or_default();
        let full = std::mem::replace(&mut self.delta, empty);
        self.plan.counters.hand_overs.fetch_add(1, Relaxed);
        self.pass(HandOver::Tables(full));
    }

    /// To the merger, which may be behind.
    fn pass(&mut self, mut handed_over: HandOver) {
        // The merger outlives the workers; if it is gone the process is failing and says so elsewhere.
        while let Err(SendTimeoutError::Timeout(back)) = self.hand_over.send_timeout(handed_over, LOOK) {
            handed_over = back;
            decode_waiting(&mut self.decoder, &self.queues.decode);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // What it had counted is gone: others must not wait for it at a cut, and no cut completes without it.
        if std::thread::panicking() {
            self.plan.dead.fetch_add(1, Relaxed);
        }
    }
}

fn decode_waiting(decoder: &mut Decoder, queue: &Receiver<DecodeJob>) {
    queue.try_iter().for_each(|job| decode(decoder, job));
}

fn decode(decoder: &mut Decoder, DecodeJob { payloads, reply }: DecodeJob) {
    let decoded = payloads.into_iter().map(|mut encoded| {
        let memory = std::mem::take(&mut encoded.memory);
        let decoded = decoder.decode(&encoded.payload, memory)?;
        Ok((decoded, encoded))
    });
    // Nobody waits when the connection ended meanwhile; the batches are not counted then.
    let _ = reply.send(decoded.collect());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::SourceHash;
    use crate::ingest::{Lost, Share};
    use crossbeam_channel::{bounded, unbounded};
    use martlet_window::TrafficClass;

    fn loss(batches: u64) -> Job {
        let lost = Lost { batches, ..Lost::default() };
        let (sensor, class) = (SensorId(0), TrafficClass::Real);
        Job::Count(vec![Counted::Loss(Loss { sensor, class, lost, first_window: 0, last_window: 0 })])
    }

    fn plan() -> Plan {
        let rules = Rules { source_hash: SourceHash::new([0; 16]), bucket_seconds: 600, late_grace_seconds: 0 };
        Plan {
            rules,
            limits: Default::default(),
            interval: Duration::from_secs(1000),
            newest: Arc::default(),
            counters: Arc::default(),
            geo: Geo::open(&Default::default()).unwrap().0,
            pulse: Pulse::default(),
            region_ports: Arc::default(),
            dead: Arc::default(),
        }
    }

    /// Batches lost before the cut, and behind it.
    fn around(handed_over: &Receiver<HandOver>) -> (u64, u64) {
        let (mut sums, mut side) = ([0, 0], 0);
        for handed_over in handed_over.try_iter() {
            match handed_over {
                HandOver::Tables(delta) => sums[side] += delta.lost[&SensorId(0)].batches,
                HandOver::Cut(_) => side += 1,
            }
        }
        assert_eq!(side, 1);
        sums.into()
    }

    #[test]
    fn a_pumped_worker_takes_nothing_behind_a_cut_before_the_others_have_met_it() {
        let ((jobs, queue), (hand_over, handed_over), (_back, empty)) = (unbounded(), unbounded(), unbounded());
        let queues = WorkerQueues { decode: never(), jobs: queue };
        let worker = || Worker::new(plan(), queues.clone(), hand_over.clone(), empty.clone()).unwrap();
        let (mut fast, mut slow) = (worker(), worker());
        let cut = Arc::new(Cut::new(2, Box::default()));
        for job in [loss(1), loss(2), Job::Cut(cut.clone()), Job::Cut(cut), loss(4)] {
            jobs.send(job).unwrap();
        }
        assert!(slow.turn());
        assert!(fast.turn() && fast.turn());
        // The slow one still has what it counted before the cut.
        assert!(!fast.turn());
        assert!(slow.turn() && fast.turn());
        fast.hand_over();
        assert_eq!(around(&handed_over), (3, 4));
    }

    #[test]
    fn payloads_are_decoded_before_all_else_and_counts_keep_their_order() {
        let ((payloads, decode_queue), (jobs, job_queue)) = (unbounded(), unbounded());
        let ((hand_over, handed_over), (_back, empty)) = (unbounded(), unbounded());
        let queues = WorkerQueues { decode: decode_queue, jobs: job_queue };
        let mut worker = Worker::new(plan(), queues.clone(), hand_over.clone(), empty.clone()).unwrap();
        (0..3).for_each(|_| jobs.send(loss(1)).unwrap());
        let send = || {
            let (reply, mut replied) = oneshot::channel();
            let encoded = Encoded { payload: vec![1], payload_memory: Share::default(), memory: Share::default() };
            payloads.send(DecodeJob { payloads: vec![encoded], reply }).unwrap();
            move || replied.try_recv().ok().map(|decoded| decoded[0].is_err())
        };
        let mut first = send();
        assert!(worker.turn());
        // It is no batch, and nothing was counted yet.
        assert_eq!((first(), queues.jobs.len()), (Some(true), 3));
        // Between two things that are counted, too.
        let Job::Count(one) = loss(1) else { unreachable!() };
        let Job::Count(other) = loss(2) else { unreachable!() };
        let mut second = send();
        worker.work(Job::Count(one.into_iter().chain(other).collect()));
        assert_eq!(second(), Some(true));
        // A thread ends when nobody can send to either queue any more.
        let mut third = send();
        drop((payloads, jobs));
        std::thread::spawn(move || worker.run()).join().unwrap();
        assert_eq!(third(), Some(true));
        let lost: u64 = handed_over
            .try_iter()
            .map(|tables| match tables {
                HandOver::Tables(delta) => delta.lost[&SensorId(0)].batches,
                HandOver::Cut(_) => 0,
            })
            .sum();
        assert_eq!(lost, 6);
    }

    #[test]
    fn a_worker_that_waits_for_the_merger_decodes_and_ends_with_it() {
        let ((payloads, decode_queue), (hand_over, handed_over)) = (unbounded(), bounded(1));
        let queues = WorkerQueues { decode: decode_queue, jobs: never() };
        let mut worker = Worker::new(plan(), queues, hand_over, unbounded().1).unwrap();
        worker.work(loss(1));
        worker.hand_over();
        worker.work(loss(2));
        let waiting = std::thread::spawn(move || worker.hand_over());
        let (reply, replied) = oneshot::channel();
        let encoded = Encoded { payload: vec![1], payload_memory: Share::default(), memory: Share::default() };
        payloads.send(DecodeJob { payloads: vec![encoded], reply }).unwrap();
        assert!(replied.blocking_recv().unwrap()[0].is_err());
        // The one place is taken.
        assert_eq!((waiting.is_finished(), handed_over.len()), (false, 1));
        drop(handed_over);
        waiting.join().unwrap();
    }

    #[test]
    fn threads_meet_at_a_cut() {
        for round in 0..50 {
            let ((jobs, queue), (hand_over, handed_over), (_back, empty)) = (unbounded(), unbounded(), unbounded());
            let cut = Arc::new(Cut::new(3, Box::default()));
            (0..500).for_each(|_| jobs.send(loss(1)).unwrap());
            (0..3).for_each(|_| jobs.send(Job::Cut(cut.clone())).unwrap());
            (0..500).for_each(|_| jobs.send(loss(1)).unwrap());
            drop(jobs);
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    let queues = WorkerQueues { decode: unbounded().1, jobs: queue.clone() };
                    let worker = Worker::new(plan(), queues, hand_over.clone(), empty.clone()).unwrap();
                    scope.spawn(move || worker.run());
                }
            });
            assert_eq!(around(&handed_over), (500, 500), "round {round}");
        }
    }

    #[test]
    fn an_arrival_says_how_far_the_clock_is_off_only_if_it_is_live() {
        let window = martlet_window::Window { start: 100, length: martlet_window::WindowLength::DEFAULT };
        let offset = |at_ms, is_live| Arrival { at_ms, is_live }.clock_offset_ms(window);
        assert_eq!(offset(111_500, true), Some(1500));
        assert_eq!(offset(50_000, true), Some(-60_000));
        assert_eq!(offset(50_000, false), None);
    }
}
