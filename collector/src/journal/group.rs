//! One group: what waits is decided, made durable with one sync, and answered.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use martlet_journal::{AppendError, Disk};
use martlet_wire::v1::{Message, NackReason, Stream};

use super::ledger::{OpenError, Verdict};
use super::queue::{Answer, Answers, Entry, Submission};
use super::record;
use super::stage::Stage;
use super::state::Stall;
use crate::aggregate::{Arrival, Counted, Job, Loss};
use crate::ingest::{BatchOutcome, Lost, SensorId};

/// At most so many bytes of payloads are made durable with one sync: a bound on how long answers wait for others' batches.
const GROUP_BYTES: usize = 8 << 20;
/// Batches of several submissions go to one worker together up to this number: for small ones waking costs more than work.
const TOGETHER: usize = 32;

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
pub(super) struct Failure {
    pub(super) reason: Stall,
    pub(super) message: String,
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
    /// Decides about what waits, makes it durable with one sync, and answers.
    pub(super) fn take_group(&mut self, now: Instant) {
        // In tokio's time, as what waits was submitted in it.
        let begun = tokio::time::Instant::now();
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
            let sync_begun = tokio::time::Instant::now();
            match self.journal.sync() {
                Ok(_) => self.latencies.journal_sync.record(sync_begun.elapsed()),
                Err(error) => failure = Some(Failure { reason: Stall::of(&error), message: error.to_string() }),
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
        // Those that are decided again later go on waiting.
        group.iter().for_each(|decided| {
            self.latencies.queue_wait.record(begun.saturating_duration_since(decided.submission.since));
        });
        self.uncommitted_bytes += group.iter().map(|decided| decided.bytes as u64).sum::<u64>();
        self.publish(group);
        match failure {
            Some(failure) if !self.held.is_empty() => self.wait_for_disk(now, &failure),
            _ => self.go_on(),
        }
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
                    (Ok(_), None) => Answer::Unopened(OpenError::Streams),
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
}

fn answer(stream: Stream, verdict: Verdict) -> Answer {
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
