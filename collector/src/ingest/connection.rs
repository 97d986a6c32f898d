//! One connection: a reader that takes frames and hands batches to workers, and a writer that asks the ledger and
//! answers, both in the order of the frames.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use martlet_wire::WireError;
use martlet_wire::v1::{BatchView, FrameType, Message, NackReason, RefusalReason, Stream, batch_identity};
use std::sync::atomic::Ordering::Relaxed;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::budget::decoded_cost;
use super::counters::{BatchOutcome, FrameError, FrameOutcome, Lost, Token, Violation};
use super::frames::{Frame, FrameFailure, read_frame};
use super::ledger::{LedgerError, StreamCell, Verdict};
use super::listener::Shared;
use crate::aggregate::{Decoded, Job};

/// After the reader has ended, how long batches on their way may take to be decided and answered.
const DRAIN: Duration = Duration::from_secs(3);
/// Buffer for reading small frames, in bytes.
const READ_BUFFER: usize = 8 << 10;
/// Answers are written at the latest when so many bytes have gathered.
const WRITE_BUFFER: usize = 4 << 10;

/// What the reader leaves to the writer, in the order of the frames.
enum Pending {
    Answer(Message),
    Position(Arc<StreamCell>),
    Lost { cell: Arc<StreamCell>, from: u64, to: u64, lost: Lost },
    Batch { cell: Arc<StreamCell>, sequence: u64, token: Token, decoded: Decoding },
}

enum Decoding {
    Failed,
    Running(oneshot::Receiver<Result<Box<Decoded>, WireError>>),
}

/// Why a connection ended; what the peer is told, and what is counted.
struct End {
    violation: Option<Violation>,
    farewell: Option<RefusalReason>,
}

impl End {
    const QUIET: End = End { violation: None, farewell: None };

    const fn refused(violation: Violation, reason: RefusalReason) -> End {
        End { violation: Some(violation), farewell: Some(reason) }
    }
}

/// Serves one connection until it ends.
pub(super) async fn serve(shared: Arc<Shared>, stream: TcpStream, number: u64, mut stopping: watch::Receiver<bool>) {
    // Answers are small and awaited.
    let _ = stream.set_nodelay(true);
    let Ok(peer) = stream.peer_addr() else {
        return;
    };
    let welcome = Message::Welcome {
        your_address: peer.ip().to_canonical(),
        max_batch_bytes: shared.config.max_batch_bytes,
        max_rows: shared.config.max_rows,
    };
    let (read, write) = stream.into_split();
    let (pending, queue) = mpsc::channel(shared.config.max_batches_in_flight);
    let writing = write_answers(&shared, write, queue);
    let mut reader =
        Reader { shared: &shared, pending, open: HashMap::new(), welcome: Some(welcome), name: String::new() };
    let mut writing = std::pin::pin!(writing);
    let read = BufReader::with_capacity(READ_BUFFER, read);
    let stopped = End { violation: None, farewell: Some(RefusalReason::Stopping) };
    let end = tokio::select! {
        biased;
        _ = stopping.wait_for(|&stop| stop) => Ok(stopped),
        written = &mut writing => Err(written),
        end = reader.run(read) => Ok(end),
    };
    let written = match end {
        Ok(end) => {
            let farewell = async move { reader.finish(end, number).await };
            // The queue may be full: only when the writer goes on is there room for the farewell.
            let both = async { tokio::join!(farewell, writing).1 };
            timeout(DRAIN, both).await.unwrap_or(Ok(()))
        }
        Err(written) => written,
    };
    if let Err(Some(violation)) = written {
        shared.counters.violations.increment(violation);
    }
}

struct Reader<'a> {
    shared: &'a Arc<Shared>,
    pending: mpsc::Sender<Pending>,
    open: HashMap<Stream, Arc<StreamCell>>,
    /// The answer to Hello; gone once it was given.
    welcome: Option<Message>,
    /// The peer's name, for the log.
    name: String,
}

impl Reader<'_> {
    async fn run(&mut self, mut read: BufReader<OwnedReadHalf>) -> End {
        let config = &self.shared.config;
        loop {
            let patience = if self.welcome.is_some() { config.handshake_timeout() } else { config.idle_timeout() };
            let frame = read_frame(&mut read, &self.shared.rules, patience).await;
            let taken = match frame {
                Ok(frame) => self.take(frame).await,
                Err(failure) => Err(self.judge(failure)),
            };
            if let Err(end) = taken {
                return end;
            }
        }
    }

    fn judge(&self, failure: FrameFailure) -> End {
        match failure {
            FrameFailure::Closed => End::QUIET,
            FrameFailure::Torn => End { violation: Some(Violation::TornFrame), farewell: None },
            FrameFailure::Idle if self.welcome.is_some() => {
                End::refused(Violation::HandshakeTimeout, RefusalReason::Idle)
            }
            FrameFailure::Idle => End::refused(Violation::IdleTimeout, RefusalReason::Idle),
            FrameFailure::Slow => End::refused(Violation::FrameTimeout, RefusalReason::Idle),
            FrameFailure::Memory => End::refused(Violation::MemoryTimeout, RefusalReason::Full),
            FrameFailure::Wire(error) => self.bad_frame(error),
        }
    }

    fn bad_frame(&self, error: WireError) -> End {
        self.shared.counters.frame_errors.increment(FrameError(error));
        End::refused(Violation::BadFrame, RefusalReason::Protocol)
    }

    async fn take(&mut self, frame: Frame) -> Result<(), End> {
        let counters = &self.shared.counters;
        let length = martlet_wire::v1::FRAME_HEADER_LENGTH + frame.payload.len();
        counters.bytes_received.fetch_add(length as u64, Relaxed);
        counters.frames.increment(match frame.frame_type {
            FrameType::Hello => FrameOutcome::Hello,
            FrameType::Open => FrameOutcome::Open,
            FrameType::Batch => FrameOutcome::Batch,
            FrameType::Lost => FrameOutcome::Lost,
            _ => FrameOutcome::Other,
        });
        if frame.frame_type == FrameType::Batch {
            return self.batch(frame).await;
        }
        let message = Message::read(frame.frame_type, &frame.payload).map_err(|error| self.bad_frame(error))?;
        match (self.welcome.take(), message) {
            (Some(welcome), Message::Hello { name, .. }) => {
                self.name = name.to_string();
                self.push(Pending::Answer(welcome)).await
            }
            (None, Message::Open { stream, name }) => {
                let cell = self.open(stream, &name)?;
                self.push(Pending::Position(cell)).await
            }
            (None, Message::Lost { stream, from, to, windows, packets, watched_ms }) => {
                let cell = self.cell(&stream)?;
                let lost = Lost { batches: (to - from).saturating_add(1), windows, packets, watched_ms };
                self.push(Pending::Lost { cell, from, to, lost }).await
            }
            _ => Err(End::refused(Violation::UnexpectedFrame, RefusalReason::Protocol)),
        }
    }

    fn open(&mut self, stream: Stream, name: &martlet_window::SensorName) -> Result<Arc<StreamCell>, End> {
        let room = self.open.len() < self.shared.config.max_streams_per_connection || self.open.contains_key(&stream);
        let opened = if room { self.shared.ledger.open(stream, name) } else { Err(LedgerError::Streams) };
        let cell = opened.map_err(|error| match error {
            LedgerError::NameTaken => End::refused(Violation::NameTaken, RefusalReason::NotAllowed),
            LedgerError::Sensors => End::refused(Violation::Sensors, RefusalReason::Full),
            LedgerError::Streams => End::refused(Violation::Streams, RefusalReason::Full),
        })?;
        self.open.insert(stream, cell.clone());
        Ok(cell)
    }

    fn cell(&self, stream: &Stream) -> Result<Arc<StreamCell>, End> {
        let unexpected = || End::refused(Violation::UnexpectedFrame, RefusalReason::Protocol);
        self.open.get(stream).cloned().ok_or_else(unexpected)
    }

    async fn batch(&self, frame: Frame) -> Result<(), End> {
        let token = Token::received(&self.shared.counters);
        let (stream, sequence) = match batch_identity(&frame.payload) {
            Ok(identity) => identity,
            Err(error) => {
                token.settle(BatchOutcome::Unreadable);
                return Err(self.bad_frame(error));
            }
        };
        let cell = match self.cell(&stream) {
            Ok(cell) => cell,
            Err(end) => {
                token.settle(BatchOutcome::NotOpened);
                return Err(end);
            }
        };
        let decoded = match BatchView::read(&frame.payload, &self.shared.rules.limits) {
            // Positions only grow, so this is certain; the writer's question will get the same answer.
            Ok(_) if sequence < cell.expected() => Decoding::Failed,
            Ok(view) => self.decode(view.rows, frame).await?,
            Err(error) => {
                self.shared.counters.frame_errors.increment(FrameError(error));
                Decoding::Failed
            }
        };
        self.push(Pending::Batch { cell, sequence, token, decoded }).await
    }

    /// Takes memory for the decoded batch, then gives it to a worker.
    async fn decode(&self, rows: u32, frame: Frame) -> Result<Decoding, End> {
        let shared = self.shared;
        let memory = shared.batch_budget.take(decoded_cost(rows), shared.config.frame_timeout()).await;
        let memory = memory.ok_or_else(|| self.judge(FrameFailure::Memory))?;
        let (reply, decoded) = oneshot::channel();
        // The queue has room for every batch that holds a share of the budget; it is closed only when workers died.
        let Frame { payload, share, .. } = frame;
        match shared.jobs.try_send(Job::Decode { payload, payload_memory: share, memory, reply }) {
            Ok(()) => Ok(Decoding::Running(decoded)),
            Err(_) => Err(End { violation: None, farewell: Some(RefusalReason::Stopping) }),
        }
    }

    async fn push(&self, pending: Pending) -> Result<(), End> {
        self.pending.send(pending).await.map_err(|_| End::QUIET)
    }

    /// Says farewell, and lets the writer end by dropping its queue.
    async fn finish(self, end: End, number: u64) {
        if let Some(violation) = end.violation {
            self.shared.counters.violations.increment(violation);
            self.shared.complain(number, &self.name, violation);
        }
        if let Some(reason) = end.farewell {
            let _ = self.push(Pending::Answer(Message::Refused { reason })).await;
        }
    }
}

/// Answers everything that the reader leaves, in order; what it still holds when it fails counts as discarded.
async fn write_answers(
    shared: &Arc<Shared>,
    mut write: OwnedWriteHalf,
    mut queue: mpsc::Receiver<Pending>,
) -> Result<(), Option<Violation>> {
    let mut out = Vec::new();
    loop {
        let pending = match queue.try_recv() {
            Ok(pending) => pending,
            Err(_) => {
                flush(shared, &mut write, &mut out).await?;
                match queue.recv().await {
                    Some(pending) => pending,
                    None => break,
                }
            }
        };
        match pending {
            Pending::Answer(message) => message.write(&mut out),
            Pending::Position(cell) => {
                Message::Position { stream: cell.stream, expected: cell.expected() }.write(&mut out);
            }
            Pending::Lost { cell, from, to, lost } => close_gap(shared, &cell, from, to, &lost).write(&mut out),
            Pending::Batch { cell, sequence, token, decoded } => {
                let decoded = match decoded {
                    Decoding::Failed => Err(WireError::BadLength),
                    Decoding::Running(mut running) => {
                        // Others' answers do not wait for this one.
                        if let Ok(decoded) = running.try_recv() {
                            decoded
                        } else {
                            flush(shared, &mut write, &mut out).await?;
                            // A worker that died without an answer leaves the batch undecided, and so discarded.
                            running.await.map_err(|_| None)?
                        }
                    }
                };
                decide(shared, &cell, sequence, token, decoded).write(&mut out);
            }
        }
        if out.len() >= WRITE_BUFFER {
            flush(shared, &mut write, &mut out).await?;
        }
    }
    let _ = write.shutdown().await;
    Ok(())
}

async fn flush(shared: &Shared, write: &mut OwnedWriteHalf, out: &mut Vec<u8>) -> Result<(), Option<Violation>> {
    if out.is_empty() {
        return Ok(());
    }
    let written = timeout(shared.config.frame_timeout(), write.write_all(out)).await;
    out.clear();
    match written {
        // A peer that went away is its own affair; the reader sees the same end.
        Ok(_) => Ok(()),
        Err(_) => Err(Some(Violation::WriteTimeout)),
    }
}

/// Asks the ledger about a batch, settles it, and hands it to the counts if it is accepted.
fn decide(
    shared: &Shared,
    cell: &StreamCell,
    sequence: u64,
    token: Token,
    decoded: Result<Box<Decoded>, WireError>,
) -> Message {
    let stream = cell.stream;
    let (predecessor, digest) = match &decoded {
        Ok(batch) => (batch.header.predecessor, Some(batch.digest)),
        Err(_) => Default::default(),
    };
    match (cell.decide(sequence, predecessor, digest), decoded) {
        (Verdict::Accepted(next), Ok(batch)) => {
            // Cannot fail while the workers live, and they outlive every connection: see the module's invariants.
            if shared.jobs.try_send(Job::Count { batch, sensor: cell.sensor }).is_err() {
                tracing::error!("an accepted batch found the workers' queue closed or full: this is a defect");
                return Message::Refused { reason: RefusalReason::Stopping };
            }
            token.settle(BatchOutcome::Accepted);
            Message::Ack { stream, journaled: next, committed: next }
        }
        // The ledger accepts nothing that could not be decoded: the second pattern only completes the match.
        (Verdict::Duplicate(next) | Verdict::Accepted(next), _) => {
            token.settle(BatchOutcome::Duplicate);
            Message::Ack { stream, journaled: next, committed: next }
        }
        (Verdict::Refused(expected, reason), _) => {
            token.settle(match reason {
                NackReason::OutOfSequence => BatchOutcome::OutOfSequence,
                NackReason::BrokenChain => BatchOutcome::BrokenChain,
                NackReason::Malformed => BatchOutcome::Malformed,
            });
            Message::Nack { stream, expected, reason }
        }
    }
}

fn close_gap(shared: &Shared, cell: &StreamCell, from: u64, to: u64, lost: &Lost) -> Message {
    let stream = cell.stream;
    match cell.close_gap(from, to) {
        Verdict::Accepted(next) => {
            shared.ledger.add_lost(cell.sensor, lost);
            Message::Ack { stream, journaled: next, committed: next }
        }
        Verdict::Duplicate(next) => Message::Ack { stream, journaled: next, committed: next },
        Verdict::Refused(expected, reason) => Message::Nack { stream, expected, reason },
    }
}
