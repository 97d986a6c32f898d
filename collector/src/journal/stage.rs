//! The stage itself.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};
use martlet_journal::{AppendError, Disk, Journal};
use martlet_wire::v1::{Message, NackReason};
use tokio::sync::oneshot;

use super::checkpoint::Checkpoint;
use super::ledger::{Ledger, Verdict};
use super::queue::{Answer, Answers, Entry, Request, Submission};
use super::record;
use super::replay::{Progress, Replay};
use super::state::{Stall, State};
use crate::aggregate::{Arrival, Counted, Cut, Job, Loss};
use crate::clock::SharedClock;
use crate::ingest::{BatchOutcome, Budget, Lost, SensorId};

/// At most so many bytes of payloads are made durable with one sync: a bound on how long answers wait for others' batches.
const GROUP_BYTES: usize = 8 << 20;
/// Batches of several submissions go to one worker together up to this number: for small ones waking costs more than work.
const TOGETHER: usize = 32;
/// First wait before a disk that failed is tried again; it doubles up to the longest.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LONGEST_RETRY: Duration = Duration::from_secs(5);
/// How long the end waits for the last commit; what is not committed is replayed at the next start.
const LAST_COMMIT: Duration = Duration::from_secs(10);
/// How long a thread that cannot hand on its work waits before it tries again.
const PAUSE: Duration = Duration::from_millis(1);

/// How the stage works.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How often what is new is committed.
    pub commit_interval: Duration,
    /// Commits come earlier when so many bytes are new, so that a replay stays short.
    pub commit_bytes: u64,
    /// Number of workers, each of which takes one copy of a cut.
    pub workers: usize,
}

/// What the stage is made of.
pub struct Parts<D: Disk> {
    /// How it works.
    pub settings: Settings,
    /// The opened journal.
    pub journal: Journal<D>,
    /// Names and positions as of record `committed`.
    pub ledger: Ledger,
    /// The record up to which the store has everything.
    pub committed: u64,
    /// What it is asked.
    pub inbox: Receiver<Request>,
    /// The workers' queue.
    pub jobs: Sender<Job>,
    /// Memory for batches in flight, for those that are replayed.
    pub memory: Budget,
    /// What others may know.
    pub state: Arc<State>,
    /// The wall clock.
    pub clock: SharedClock,
    /// Told when everything that is replayed is visible to readers.
    pub visible: oneshot::Sender<()>,
}

/// The single place that decides.
pub struct Stage<D: Disk> {
    pub(super) settings: Settings,
    pub(super) journal: Journal<D>,
    pub(super) ledger: Ledger,
    pub(super) state: Arc<State>,
    pub(super) memory: Budget,
    clock: SharedClock,
    inbox: Receiver<Request>,
    jobs: Sender<Job>,
    replay: Option<Replay<D>>,
    visible: Option<oneshot::Sender<()>>,
    /// Taken from the inbox and not decided, or not durable yet.
    held: VecDeque<Submission>,
    /// On their way to the workers; while there are any, nothing new is decided.
    outbox: VecDeque<Job>,
    /// When a disk that failed is tried again, and how long the wait was.
    retry: Option<(Instant, Duration)>,
    /// What the newest cut was made at; everything below is in a commit, or on its way into one.
    cut: u64,
    /// Bytes made durable since.
    uncommitted_bytes: u64,
    last_cut: Option<Instant>,
    is_committing: bool,
    stopping: Option<Instant>,
}

/// A submission that has been decided and appended, but is not durable yet.
struct Decided {
    submission: Submission,
    answers: Answers,
    /// What was accepted, by the place of its entry.
    accepted: Vec<Accepted>,
    /// The journal's next record behind it.
    end: u64,
    /// The ledger's mark in front of it.
    mark: usize,
    bytes: usize,
}

struct Accepted {
    entry: usize,
    sensor: SensorId,
    what: What,
}

enum What {
    Batch(Arrival),
    Loss(Loss),
}

/// Why nothing more can be decided now.
struct Failure {
    reason: Stall,
    message: String,
}

impl From<AppendError> for Failure {
    fn from(error: AppendError) -> Failure {
        let reason = match &error {
            AppendError::Full { .. } => Stall::DiskFull,
            AppendError::Io(error) => Stall::of(error),
            // Longer than any frame that is taken: see `record::BATCH_PRELUDE` and the journal's settings.
            AppendError::TooLarge { .. } => Stall::DiskFailing,
        };
        Failure { reason, message: error.to_string() }
    }
}

impl<D: Disk> Stage<D> {
    /// A stage that replays what the store does not have, and then decides.
    ///
    /// # Errors
    /// If the journal cannot be read, or the decompression library cannot allocate its state.
    pub fn new(parts: Parts<D>) -> std::io::Result<Stage<D>> {
        let Parts { settings, mut journal, ledger, committed, inbox, jobs, memory, state, clock, visible } = parts;
        // Numbers below were used, whatever has become of the records: a new one must not look committed.
        journal.advance(committed)?;
        let replay = Some(Replay::new(journal.reader(committed)?)?);
        state.counters.committed.store(committed, Relaxed);
        state.sensors.store(Arc::new(ledger.sensors().to_vec()));
        Ok(Stage {
            settings,
            journal,
            ledger,
            state,
            memory,
            clock,
            inbox,
            jobs,
            replay,
            visible: Some(visible),
            held: VecDeque::new(),
            outbox: VecDeque::new(),
            retry: None,
            cut: committed,
            uncommitted_bytes: 0,
            last_cut: None,
            is_committing: false,
            stopping: None,
        })
    }

    /// Works until it is told to stop and everything is committed, or cannot be in time.
    pub fn run(mut self) {
        loop {
            let now = Instant::now();
            if !self.turn(now) {
                return;
            }
            if !self.outbox.is_empty() || self.replay.is_some() {
                // Workers are behind. They wait for nobody but each other.
                std::thread::sleep(PAUSE);
            } else if self.held.is_empty() || self.retry.is_some() {
                match self.inbox.recv_timeout(self.patience(now)) {
                    Ok(request) => self.receive(request, now),
                    Err(RecvTimeoutError::Timeout) => {}
                    // Those who could ask are gone without a word: the process is failing.
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        }
    }

    /// How long there is nothing to do unless somebody asks.
    fn patience(&self, now: Instant) -> Duration {
        let commit = self.last_cut.map_or(now, |at| at + self.settings.commit_interval);
        let commit = if self.is_committing || !self.is_new() { now + self.settings.commit_interval } else { commit };
        let due = self.retry.map_or(commit, |(at, _)| at.min(commit));
        let due = self.stopping.map_or(due, |stopping| due.min(stopping + LAST_COMMIT));
        due.saturating_duration_since(now).max(PAUSE)
    }

    /// Does what can be done without waiting; `false` when the stage has ended. `now` only says what is due.
    pub fn turn(&mut self, now: Instant) -> bool {
        while let Ok(request) = self.inbox.try_recv() {
            self.receive(request, now);
        }
        if !self.pass_on() {
            return true;
        }
        if self.replay.is_some() {
            if self.may_try(now) {
                self.replay_some(now);
            }
            return true;
        }
        while !self.held.is_empty() && self.may_try(now) {
            self.take_group(now);
            if !self.pass_on() {
                return true;
            }
        }
        self.commit_if_due(now);
        self.pass_on();
        !self.has_ended(now)
    }

    fn may_try(&self, now: Instant) -> bool {
        self.retry.is_none_or(|(at, _)| at <= now)
    }

    fn receive(&mut self, request: Request, now: Instant) {
        match request {
            Request::Submit(submission) => self.held.push_back(submission),
            Request::Committed(checkpoint) => self.committed(&checkpoint),
            Request::Stop => self.stopping = Some(now),
        }
    }

    /// Hands jobs to the workers; `false` if they cannot take them now.
    fn pass_on(&mut self) -> bool {
        while let Some(job) = self.outbox.pop_front() {
            if let Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) = self.jobs.try_send(job) {
                self.outbox.push_front(job);
                return false;
            }
        }
        true
    }

    /// Decides about what waits, makes it durable with one sync, and answers.
    fn take_group(&mut self, now: Instant) {
        let mut group: Vec<Decided> = Vec::new();
        let (mut bytes, mut failure) = (0, None);
        while bytes < GROUP_BYTES {
            let Some(submission) = self.held.pop_front() else { break };
            let mark = self.ledger.mark();
            match self.decide(submission, mark) {
                Ok(Some(decided)) => {
                    bytes += decided.bytes;
                    group.push(decided);
                }
                Ok(None) => {}
                Err((submission, error)) => {
                    self.ledger.take_back(mark);
                    self.held.push_front(submission);
                    failure = Some(error);
                    break;
                }
            }
        }
        if self.journal.next() > self.journal.durable() {
            self.state.counters.syncs.fetch_add(1, Relaxed);
            if let Err(error) = self.journal.sync() {
                failure = Some(Failure { reason: Stall::of(&error), message: error.to_string() });
            }
        }
        // After a failure only what was made durable before it stands; the rest is decided again later.
        let durable = self.journal.durable();
        let stands = group.partition_point(|decided| decided.end <= durable);
        let fallen = group.split_off(stands);
        if let Some(first) = fallen.first() {
            self.ledger.take_back(first.mark);
        }
        fallen.into_iter().rev().for_each(|decided| self.held.push_front(decided.submission));
        self.uncommitted_bytes += group.iter().map(|decided| decided.bytes as u64).sum::<u64>();
        self.publish(group);
        match failure {
            Some(failure) if !self.held.is_empty() => self.wait_for_disk(now, &failure),
            _ => self.go_on(),
        }
    }

    /// Something failed: it is tried again after a while, and nobody gets an answer meanwhile.
    fn wait_for_disk(&mut self, now: Instant, failure: &Failure) {
        let wait = self.retry.map_or(FIRST_RETRY, |(_, wait)| (wait * 2).min(LONGEST_RETRY));
        self.retry = Some((now + wait, wait));
        self.state.ingest.stall(failure.reason, &failure.message, self.clock.now_ms());
    }

    fn go_on(&mut self) {
        self.retry = None;
        self.state.ingest.work(self.clock.now_ms());
    }

    /// Decides about one submission and appends what is accepted. `None` if its connection has been superseded.
    fn decide(&mut self, submission: Submission, mark: usize) -> Result<Option<Decided>, (Submission, Failure)> {
        let session = &submission.session;
        let is_superseded = submission.entries.iter().any(|entry| match entry {
            Entry::Open { .. } => false,
            Entry::Batch { stream, .. } | Entry::Loss(Message::Lost { stream, .. }) => {
                !self.ledger.is_carrier(stream, session)
            }
            Entry::Loss(_) => true,
        });
        if is_superseded {
            for entry in submission.entries {
                if let Entry::Batch { token, .. } = entry {
                    token.settle(BatchOutcome::Superseded);
                }
            }
            return Ok(None);
        }
        let arrived_ms = self.clock.now_ms();
        let mut decided = Decided { answers: Vec::new(), accepted: Vec::new(), end: 0, mark, bytes: 0, submission };
        for place in 0..decided.submission.entries.len() {
            if let Err(failure) = self.decide_entry(&mut decided, place, arrived_ms) {
                return Err((decided.submission, failure));
            }
        }
        decided.end = self.journal.next();
        Ok(Some(decided))
    }

    fn decide_entry(&mut self, decided: &mut Decided, place: usize, arrived_ms: i64) -> Result<(), Failure> {
        let Decided { submission, answers, accepted, bytes, .. } = decided;
        match &submission.entries[place] {
            Entry::Open { stream, name } => {
                let mark = self.ledger.mark();
                let opened = self.ledger.introduce(stream.origin, name).and_then(|(sensor, is_new)| {
                    let position = self.ledger.open(*stream, sensor, &submission.session)?;
                    Ok((position, is_new))
                });
                if opened.is_err() {
                    // A name without a record of it would not survive.
                    self.ledger.take_back(mark);
                }
                answers.push(match (opened, self.ledger.cell(stream)) {
                    (Ok((position, is_new)), Some(cell)) => {
                        if is_new {
                            self.journal.append(&[&record::sensor(stream.origin, name)])?;
                        }
                        Answer::Opened { cell, expected: position.expected, predecessor: position.predecessor }
                    }
                    (Err(error), _) => Answer::Unopened(error),
                    (Ok(_), None) => Answer::Unopened(super::ledger::OpenError::Streams),
                });
            }
            Entry::Batch { stream, sequence, is_quiet, batch, .. } => {
                let known = batch.as_ref().map(|batch| (&batch.0.header, batch.0.digest));
                let verdict = self.ledger.decide(stream, *sequence, known);
                if let (Verdict::Accepted(_), Some(batch), Some(cell)) = (verdict, batch, self.ledger.cell(stream)) {
                    let is_live = self.ledger.hear(stream, *is_quiet) && batch.0.is_measurable();
                    let arrival = Arrival { at_ms: arrived_ms, is_live };
                    self.journal.append(&[&record::batch_prelude(arrival), &batch.1.payload])?;
                    *bytes += batch.1.payload.len();
                    accepted.push(Accepted { entry: place, sensor: cell.sensor, what: What::Batch(arrival) });
                }
                answers.push(answer(*stream, verdict));
            }
            Entry::Loss(message) => {
                if let &Message::Lost { stream, from, to, totals, first_window, last_window } = message {
                    let (verdict, lost, class) = self.ledger.close_gap(&stream, from, to, totals);
                    if let (Verdict::Accepted(_), Some(cell)) = (verdict, self.ledger.cell(&stream)) {
                        self.journal.append(&[&record::loss(message)])?;
                        let lost = Lost::new(from, to, lost);
                        let loss = Loss { sensor: cell.sensor, class, lost, first_window, last_window };
                        accepted.push(Accepted { entry: place, sensor: cell.sensor, what: What::Loss(loss) });
                    }
                    answers.push(answer(stream, verdict));
                }
            }
        }
        Ok(())
    }

    /// What is durable becomes visible: positions, then counts, then answers.
    fn publish(&mut self, group: Vec<Decided>) {
        self.settle();
        let mut counted = Vec::new();
        let mut replies = Vec::new();
        for Decided { submission, answers, accepted, .. } in group {
            let Submission { entries, reply, .. } = submission;
            let mut accepted = accepted.into_iter().peekable();
            for (place, (entry, answer)) in entries.into_iter().zip(&answers).enumerate() {
                let accepted = accepted.next_if(|accepted| accepted.entry == place);
                settle_entry(entry, answer, accepted, &mut counted);
            }
            if counted.len() >= TOGETHER {
                self.outbox.push_back(Job::Count(std::mem::take(&mut counted)));
            }
            replies.push((reply, answers));
        }
        if !counted.is_empty() {
            self.outbox.push_back(Job::Count(counted));
        }
        self.pass_on();
        for (reply, answers) in replies {
            // The connection may have ended meanwhile; the sensor asks for its position when it comes back.
            let _ = reply.send(answers);
        }
    }

    /// What the ledger and the journal have is durable.
    pub(super) fn settle(&mut self) {
        if self.ledger.settle() {
            self.state.sensors.store(Arc::new(self.ledger.sensors().to_vec()));
        }
        let counters = &self.state.counters;
        let durable = self.journal.durable();
        let before = counters.durable.swap(durable, Relaxed);
        if self.replay.is_none() {
            counters.records.fetch_add(durable.saturating_sub(before), Relaxed);
        }
        counters.bytes.store(self.journal.bytes(), Relaxed);
        counters.streams.store(self.ledger.streams() as u64, Relaxed);
    }

    fn is_new(&self) -> bool {
        self.journal.durable() > self.cut
    }

    fn commit_if_due(&mut self, now: Instant) {
        let is_due = self.last_cut.is_none_or(|at| at + self.settings.commit_interval <= now);
        // A commit frees space in the journal, and an end waits for it.
        let is_urgent = self.uncommitted_bytes >= self.settings.commit_bytes
            || self.retry.is_some()
            || self.stopping.is_some() && self.held.is_empty();
        if !self.is_committing && self.is_new() && (is_due || is_urgent) {
            self.make_cut(now);
        }
    }

    fn make_cut(&mut self, now: Instant) {
        let record = self.journal.durable();
        let mut checkpoint = Box::new(self.ledger.checkpoint(record));
        checkpoint.visible = self.visible.take();
        let cut = Arc::new(Cut::new(self.settings.workers, checkpoint));
        self.outbox.extend((0..self.settings.workers).map(|_| Job::Cut(cut.clone())));
        self.cut = record;
        self.uncommitted_bytes = 0;
        self.last_cut = Some(now);
        self.is_committing = true;
    }

    fn committed(&mut self, checkpoint: &Checkpoint) {
        self.is_committing = false;
        self.ledger.committed(checkpoint);
        if let Err(error) = self.journal.release(checkpoint.record) {
            // The next release tries again; until then the journal is longer than it must be.
            tracing::warn!("cannot delete what is committed from the journal: {error}");
        }
        let counters = &self.state.counters;
        counters.bytes.store(self.journal.bytes(), Relaxed);
        counters.committed.store(checkpoint.record, Relaxed);
        counters.commits.fetch_add(1, Relaxed);
        counters.last_commit_ms.store(self.clock.now_ms(), Relaxed);
        self.state.commits.send_replace(checkpoint.record);
        // There may be room now.
        if let Some((at, _)) = &mut self.retry {
            *at = (*at).min(self.last_cut.unwrap_or(*at));
        }
    }

    fn replay_some(&mut self, now: Instant) {
        let Some(mut replay) = self.replay.take() else {
            return;
        };
        let mut counted = Vec::new();
        let progress = replay.step(self, &mut counted);
        self.settle();
        if !counted.is_empty() {
            self.outbox.push_back(Job::Count(counted));
        }
        self.pass_on();
        match progress {
            Progress::Done => self.end_replay(now),
            Progress::More => {
                self.replay = Some(replay);
                self.go_on();
            }
            Progress::Failed { reason, message } => {
                self.replay = Some(replay);
                self.wait_for_disk(now, &Failure { reason, message });
            }
        }
    }

    fn end_replay(&mut self, now: Instant) {
        self.go_on();
        self.state.replayed.store(true, Relaxed);
        // Also without anything new: readers wait for it.
        self.make_cut(now);
    }

    fn has_ended(&self, now: Instant) -> bool {
        let is_done = self.held.is_empty() && self.outbox.is_empty() && !self.is_committing && !self.is_new();
        self.stopping.is_some_and(|since| is_done || now >= since + LAST_COMMIT)
    }
}

fn answer(stream: martlet_wire::v1::Stream, verdict: Verdict) -> Answer {
    match verdict {
        Verdict::Accepted(next) | Verdict::Duplicate(next) => Answer::Taken { stream, next },
        Verdict::Refused(expected, reason) => Answer::Refused { stream, expected, reason },
    }
}

/// Gives a batch its outcome, and hands on what was accepted.
fn settle_entry(entry: Entry, answer: &Answer, accepted: Option<Accepted>, counted: &mut Vec<Counted>) {
    match (entry, accepted) {
        (Entry::Batch { token, batch: Some(batch), .. }, Some(Accepted { sensor, what: What::Batch(arrival), .. })) => {
            token.settle(BatchOutcome::Accepted);
            counted.push(Counted::Batch { sensor, arrival, batch: Box::new(batch.0) });
        }
        (Entry::Batch { token, .. }, _) => token.settle(match answer {
            Answer::Refused { reason: NackReason::OutOfSequence, .. } => BatchOutcome::OutOfSequence,
            Answer::Refused { reason: NackReason::BrokenChain, .. } => BatchOutcome::BrokenChain,
            Answer::Refused { reason: NackReason::Malformed, .. } => BatchOutcome::Malformed,
            _ => BatchOutcome::Duplicate,
        }),
        (_, Some(Accepted { what: What::Loss(loss), .. })) => counted.push(Counted::Loss(loss)),
        _ => {}
    }
}
