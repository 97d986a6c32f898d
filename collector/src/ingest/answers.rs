//! One connection's writer: answers in the order of the frames, and tells what has been committed.

use std::collections::HashMap;
use std::sync::Arc;

use martlet_wire::v1::{Message, Stream};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::counters::Violation;
use super::gate::Shared;
use crate::journal::{Answer, Answers, OpenError, StreamCell};
use crate::signal::Listener;

/// Answers are written at the latest when so many bytes have gathered.
const WRITE_BUFFER: usize = 4 << 10;
/// And when so many batches wait for their Acks to be written, since runs of batches share an Ack of a few bytes.
const MOST_UNWRITTEN: usize = 1024;

/// What the writer is given, in the order of the frames.
pub(super) enum Reply {
    /// An answer that needs no decision.
    Now(Message),
    /// Answers that the journal stage will give.
    Later {
        answers: oneshot::Receiver<Answers>,
        /// When the frames of the batches had been read, in the same order; empty if it is about no batch.
        read_at: Vec<Instant>,
        /// What the batches take of `ingest.max_batches_in_flight`; given back when they are answered.
        places: Option<OwnedSemaphorePermit>,
        /// Who waits for a stream to be open.
        opened: Option<oneshot::Sender<Result<Arc<StreamCell>, OpenError>>>,
    },
}

/// Why the writer ended early: a violation to count, if it is the peer's fault.
pub(super) type Failure = Option<Violation>;

/// Writes everything that it is given, in order.
pub(super) async fn write_answers<W: AsyncWrite + Unpin>(
    shared: &Shared,
    write: W,
    mut queue: mpsc::Receiver<Reply>,
) -> Result<(), Failure> {
    let mut commits = shared.behind.state.commits.listen();
    let mut writer = Writer { shared, write, out: Vec::new(), ack: None, said: HashMap::new(), unwritten: Vec::new() };
    loop {
        let reply = match queue.try_recv() {
            Ok(reply) => reply,
            Err(_) => {
                writer.flush().await?;
                tokio::select! {
                    biased;
                    reply = queue.recv() => match reply {
                        Some(reply) => reply,
                        None => break,
                    },
                    () = commits.heard() => {
                        writer.tell_committed();
                        continue;
                    }
                }
            }
        };
        match reply {
            Reply::Now(message) => writer.push(&message),
            Reply::Later { mut answers, read_at, places, opened } => {
                let answers = match answers.try_recv() {
                    Ok(answers) => answers,
                    Err(TryRecvError::Closed) => return Err(None),
                    Err(TryRecvError::Empty) => writer.await_answers(answers, &mut commits).await?,
                };
                drop(places);
                writer.note_read(&answers, &read_at);
                writer.answer_all(answers, opened);
            }
        }
        if writer.out.len() >= WRITE_BUFFER || writer.unwritten.len() >= MOST_UNWRITTEN {
            writer.flush().await?;
        }
    }
    // The peer may have gone already; everything was answered.
    let _ = writer.write.shutdown().await;
    Ok(())
}

/// What the peer has been told of a stream.
struct Said {
    cell: Arc<StreamCell>,
    journaled: u64,
    committed: u64,
}

/// Answers on their way to the peer.
struct Writer<'a, W> {
    shared: &'a Shared,
    write: W,
    out: Vec<u8>,
    /// Of which stream the newest Ack is, not written yet: one for the same stream that follows at once says all that it
    /// says.
    ack: Option<Stream>,
    /// By stream that was opened here.
    said: HashMap<Stream, Said>,
    /// When the frames of batches were read whose Acks are not written yet.
    unwritten: Vec<Instant>,
}

impl<W: AsyncWrite + Unpin> Writer<'_, W> {
    /// Waits for the journal stage. Earlier answers do not wait with it, nor does what is committed meanwhile.
    async fn await_answers(
        &mut self,
        mut answers: oneshot::Receiver<Answers>,
        commits: &mut Listener<'_>,
    ) -> Result<Answers, Failure> {
        loop {
            self.flush().await?;
            tokio::select! {
                biased;
                answers = &mut answers => return answers.map_err(|_| None),
                () = commits.heard() => self.tell_committed(),
            }
        }
    }

    /// Notes when the batches came that are about to be acknowledged.
    fn note_read(&mut self, answers: &[Answer], read_at: &[Instant]) {
        let taken = answers.iter().zip(read_at).filter(|(answer, _)| matches!(answer, Answer::Taken { .. }));
        self.unwritten.extend(taken.map(|(_, &read_at)| read_at));
    }

    fn answer_all(
        &mut self,
        answers: Answers,
        mut opened: Option<oneshot::Sender<Result<Arc<StreamCell>, OpenError>>>,
    ) {
        for answer in answers {
            match answer {
                Answer::Opened { cell, expected, predecessor } => {
                    let stream = cell.stream;
                    self.push(&Message::Position { stream, expected, predecessor });
                    self.said.insert(stream, Said { cell: cell.clone(), journaled: expected, committed: 0 });
                    // The spool may still hold what was committed while nobody was connected.
                    self.tell_committed();
                    if let Some(opened) = opened.take() {
                        let _ = opened.send(Ok(cell));
                    }
                }
                Answer::Unopened(error) => {
                    if let Some(opened) = opened.take() {
                        let _ = opened.send(Err(error));
                    }
                }
                Answer::Taken { stream, next } => self.acknowledge(stream, next),
                Answer::Refused { stream, expected, reason } => {
                    self.push(&Message::Nack { stream, expected, reason });
                }
            }
        }
    }

    fn push(&mut self, message: &Message) {
        self.settle();
        message.write(&mut self.out);
    }

    /// Acknowledges everything of the stream below `next`.
    fn acknowledge(&mut self, stream: Stream, next: u64) {
        if self.ack.is_some_and(|other| other != stream) {
            self.settle();
        }
        if let Some(said) = self.said.get_mut(&stream) {
            said.journaled = next;
            self.ack = Some(stream);
        }
    }

    fn settle(&mut self) {
        if let Some(stream) = self.ack.take()
            && let Some(said) = self.said.get_mut(&stream)
        {
            // Later batches may be committed whose answers have not had their turn yet.
            said.committed = said.cell.committed().min(said.journaled);
            let (journaled, committed) = (said.journaled, said.committed);
            Message::Ack { stream, journaled, committed }.write(&mut self.out);
        }
    }

    /// An Ack for each stream of which more is committed than the peer knows, although nothing of it came.
    fn tell_committed(&mut self) {
        self.settle();
        for (&stream, said) in &mut self.said {
            let committed = said.cell.committed().min(said.journaled);
            if committed > said.committed {
                said.committed = committed;
                Message::Ack { stream, journaled: said.journaled, committed }.write(&mut self.out);
            }
        }
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        self.settle();
        if self.out.is_empty() {
            return Ok(());
        }
        // TLS may hold back what the socket did not take at once, until it is flushed.
        let write = async {
            self.write.write_all(&self.out).await?;
            self.write.flush().await
        };
        let written = timeout(self.shared.config.frame_timeout(), write).await;
        self.out.clear();
        if matches!(written, Ok(Ok(()))) {
            let now = Instant::now();
            let latency = &self.shared.behind.acknowledgement;
            self.unwritten.iter().for_each(|&read_at| latency.record(now.saturating_duration_since(read_at)));
        }
        self.unwritten.clear();
        match written {
            // A peer that went away is its own affair; the reader sees the same end.
            Ok(_) => Ok(()),
            Err(_) => Err(Some(Violation::WriteTimeout)),
        }
    }
}
