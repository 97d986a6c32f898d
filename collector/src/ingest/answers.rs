//! One connection's writer: asks the ledger about batches and answers, in the order of the frames.

use std::sync::Arc;

use martlet_wire::WireError;
use martlet_wire::v1::{Message, NackReason, Stream, Totals};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::timeout;

use super::counters::{BatchOutcome, Lost, Token, Violation};
use super::ledger::{StreamCell, Verdict};
use super::listener::Shared;
use crate::aggregate::{Decoded, Job};

/// Answers are written at the latest when so many bytes have gathered.
const WRITE_BUFFER: usize = 4 << 10;

/// What the reader leaves to the writer, in the order of the frames.
pub(super) enum Pending {
    Answer(Message),
    Position(Arc<StreamCell>),
    Lost { cell: Arc<StreamCell>, from: u64, to: u64, totals: Totals },
    Batches(Group),
}

/// Batches that came together.
pub(super) struct Group {
    pub(super) batches: Vec<Undecided>,
    /// The columns of those that are decoded, once a worker has them; `None` if none is.
    pub(super) decoded: Option<oneshot::Receiver<Vec<Result<Decoded, WireError>>>>,
    /// What the batches take of `ingest.max_batches_in_flight`; given back when all are decided.
    pub(super) places: Option<OwnedSemaphorePermit>,
}

/// A batch about which the ledger has not been asked yet.
pub(super) struct Undecided {
    pub(super) cell: Arc<StreamCell>,
    pub(super) sequence: u64,
    pub(super) token: Token,
    /// Whether a worker decodes it: not if it is known to be a duplicate or malformed.
    pub(super) is_decoded: bool,
}

/// Why the writer ended early: a violation to count, if it is the peer's fault.
type Failure = Option<Violation>;

/// Answers everything that the reader leaves, in order; what it still holds when it fails counts as discarded.
pub(super) async fn write_answers(
    shared: &Shared,
    write: OwnedWriteHalf,
    mut queue: mpsc::Receiver<Pending>,
) -> Result<(), Failure> {
    let mut answers = Answers { shared, write, out: Vec::new(), ack: None };
    loop {
        let pending = match queue.try_recv() {
            Ok(pending) => pending,
            Err(_) => {
                answers.flush().await?;
                match queue.recv().await {
                    Some(pending) => pending,
                    None => break,
                }
            }
        };
        match pending {
            Pending::Answer(message) => answers.push(&message),
            Pending::Position(cell) => {
                let (expected, predecessor) = cell.position();
                answers.push(&Message::Position { stream: cell.stream, expected, predecessor });
            }
            Pending::Lost { cell, from, to, totals } => close_gap(&cell, from, to, totals, &mut answers),
            Pending::Batches(mut group) => {
                let decoded = answers.await_decoded(&mut group).await?;
                decide(group, decoded, &mut answers)?;
            }
        }
        if answers.out.len() >= WRITE_BUFFER {
            answers.flush().await?;
        }
    }
    // The peer may have gone already; everything was answered.
    let _ = answers.write.shutdown().await;
    Ok(())
}

/// Answers on their way to the peer.
struct Answers<'a> {
    shared: &'a Shared,
    write: OwnedWriteHalf,
    out: Vec<u8>,
    /// The newest Ack, not written yet: one for the same stream that follows at once says all that it says.
    ack: Option<(Stream, u64)>,
}

impl Answers<'_> {
    fn push(&mut self, message: &Message) {
        self.settle();
        message.write(&mut self.out);
    }

    /// Acknowledges everything of the stream below `next`.
    fn acknowledge(&mut self, stream: Stream, next: u64) {
        if self.ack.is_some_and(|(other, _)| other != stream) {
            self.settle();
        }
        self.ack = Some((stream, next));
    }

    fn settle(&mut self) {
        if let Some((stream, next)) = self.ack.take() {
            Message::Ack { stream, journaled: next, committed: next }.write(&mut self.out);
        }
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        self.settle();
        if self.out.is_empty() {
            return Ok(());
        }
        let written = timeout(self.shared.config.frame_timeout(), self.write.write_all(&self.out)).await;
        self.out.clear();
        match written {
            // A peer that went away is its own affair; the reader sees the same end.
            Ok(_) => Ok(()),
            Err(_) => Err(Some(Violation::WriteTimeout)),
        }
    }

    /// Waits for the worker that decodes the group. A worker that died without an answer leaves it undecided, and so
    /// discarded.
    async fn await_decoded(&mut self, group: &mut Group) -> Result<Vec<Result<Decoded, WireError>>, Failure> {
        let Some(mut running) = group.decoded.take() else {
            return Ok(Vec::new());
        };
        match running.try_recv() {
            Ok(decoded) => Ok(decoded),
            Err(TryRecvError::Closed) => Err(None),
            Err(TryRecvError::Empty) => {
                // Earlier answers do not wait for this group.
                self.flush().await?;
                running.await.map_err(|_| None)
            }
        }
    }
}

/// Asks the ledger about each batch of a group, and hands those that are accepted to the counts. Nothing is awaited
/// here: whatever becomes of the connection, a batch for which the ledger has moved a position is counted.
fn decide(group: Group, decoded: Vec<Result<Decoded, WireError>>, answers: &mut Answers<'_>) -> Result<(), Failure> {
    let mut decoded = decoded.into_iter();
    let (mut batches, mut tokens) = (Vec::new(), Vec::new());
    for Undecided { cell, sequence, token, is_decoded } in group.batches {
        let batch = if is_decoded { decoded.next().and_then(Result::ok) } else { None };
        let predecessor = batch.as_ref().map(|batch| batch.header.predecessor).unwrap_or_default();
        let held = batch.as_ref().map(|batch| (batch.digest, Totals::of(&batch.header)));
        let stream = cell.stream;
        match (cell.decide(sequence, predecessor, held), batch) {
            (Verdict::Accepted(next), Some(batch)) => {
                batches.push((cell.sensor, batch));
                tokens.push(token);
                answers.acknowledge(stream, next);
            }
            // The ledger accepts nothing that could not be decoded: the second pattern only completes the match.
            (Verdict::Duplicate(next) | Verdict::Accepted(next), _) => {
                token.settle(BatchOutcome::Duplicate);
                answers.acknowledge(stream, next);
            }
            (Verdict::Refused(expected, reason), _) => {
                token.settle(match reason {
                    NackReason::OutOfSequence => BatchOutcome::OutOfSequence,
                    NackReason::BrokenChain => BatchOutcome::BrokenChain,
                    NackReason::Malformed => BatchOutcome::Malformed,
                });
                answers.push(&Message::Nack { stream, expected, reason });
            }
        }
    }
    // Cannot fail while the workers live, and they outlive every connection: see the module's invariants.
    if !batches.is_empty() && answers.shared.jobs.try_send(Job::Count { batches }).is_err() {
        tracing::error!("accepted batches found the workers' queue closed or full: this is a defect");
        return Err(None);
    }
    tokens.into_iter().for_each(|token| token.settle(BatchOutcome::Accepted));
    drop(group.places);
    Ok(())
}

/// Asks the ledger about a gap, and counts what is lost in it.
fn close_gap(cell: &StreamCell, from: u64, to: u64, totals: Totals, answers: &mut Answers<'_>) {
    let stream = cell.stream;
    let (verdict, Totals { windows, packets, watched_ms }) = cell.close_gap(from, to, totals);
    if let Verdict::Accepted(_) = verdict {
        let lost = Lost { batches: (to - from).saturating_add(1), windows, packets, watched_ms };
        answers.shared.ledger.add_lost(cell.sensor, &lost);
    }
    match verdict {
        Verdict::Accepted(next) | Verdict::Duplicate(next) => answers.acknowledge(stream, next),
        Verdict::Refused(expected, reason) => answers.push(&Message::Nack { stream, expected, reason }),
    }
}
