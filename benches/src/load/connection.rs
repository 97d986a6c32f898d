//! One made-up sensor: what it has sent, what is answered, and how long that took.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use martlet_wire::v1::{FRAME_HEADER_LENGTH, FrameHeader, Limits, Message, RefusalReason};

use super::frames::Frames;
use super::options::{End, Plan};
use super::pace::Pace;
use super::transport::{Dialer, Transport, unless_would_block};

/// Bytes that wait for the socket: enough for large writes, and a bound where the collector does not read.
const WAITING_BYTES: usize = 1 << 20;

/// One batch that was answered. Times are from the start of the run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    /// When it was due (open loop) or written (closed loop).
    pub(super) due: Duration,
    /// From then until it was acknowledged as journaled.
    pub(super) latency: Duration,
}

/// What a sensor saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) samples: Vec<Sample>,
    /// When `committed` advanced.
    pub(super) commits: Vec<Duration>,
    /// When the last batch was acknowledged as journaled.
    pub(super) last_journaled: Duration,
    /// Batches that were sent, and the bytes of their frames.
    pub(super) sent: u64,
    pub(super) wire_bytes: u64,
    /// Batches that were earlier ones in a new place.
    pub(super) reused: u64,
    /// Packets in the batches that were sent, and in those acknowledged as journaled.
    pub(super) packets_sent: u64,
    pub(super) packets: u64,
    pub(super) refused: u64,
    pub(super) nacks: u64,
}

/// A sensor and its connection.
pub(super) struct Connection {
    number: u16,
    pace: Pace,
    end: End,
    frames: Frames,
    transport: Transport,
    /// Batches handed to the connection, acknowledged as journaled, and as committed.
    begun: u64,
    journaled: u64,
    committed: u64,
    /// When the unanswered ones were due.
    unanswered: VecDeque<Duration>,
    output: Vec<u8>,
    /// How much of `output` the socket has taken.
    written: usize,
    input: Vec<u8>,
    pub(super) seen: Seen,
}

impl Connection {
    /// Connects, and opens the sensor's stream.
    pub(super) fn open(dialer: &Dialer, plan: &Plan, number: u16, frames: Frames) -> Result<Connection> {
        let mut connection = Connection {
            number,
            pace: plan.pace,
            end: plan.end,
            frames,
            transport: dialer.dial(number)?,
            begun: 0,
            journaled: 0,
            committed: 0,
            unanswered: VecDeque::new(),
            output: Vec::new(),
            written: 0,
            input: Vec::new(),
            seen: Seen::default(),
        };
        connection.greet().with_context(|| format!("sensor {number} could not open its stream"))?;
        connection.transport.set_nonblocking()?;
        Ok(connection)
    }

    fn greet(&mut self) -> Result<()> {
        let (stream, name) = (self.frames.stream, self.frames.name.clone());
        let Message::Welcome { max_rows, .. } =
            self.ask(&Message::Hello { peer: stream.origin, name: name.clone() })?
        else {
            bail!("the collector did not say Welcome");
        };
        let Message::Position { expected: 0, .. } = self.ask(&Message::Open { stream, name })? else {
            bail!("a new stream did not begin at 0 (the collector takes up to {max_rows} rows a batch)");
        };
        Ok(())
    }

    /// Sends a message and waits for its answer. Only while the socket blocks.
    fn ask(&mut self, message: &Message) -> Result<Message> {
        let mut bytes = Vec::new();
        message.write(&mut bytes);
        self.transport.write_all(&bytes)?;
        self.transport.flush()?;
        loop {
            if let Some(answer) = take_message(&mut self.input)? {
                return if let Message::Refused { reason } = answer { Err(refusal(reason)) } else { Ok(answer) };
            }
            if !self.read_some()? {
                bail!("the collector closed the connection");
            }
        }
    }

    /// Hands over the batches that are due.
    pub(super) fn fill(&mut self, now: Duration) -> Result<()> {
        while self.output.len() - self.written < WAITING_BYTES && !self.has_begun_all(now) {
            let due = match self.pace {
                Pace::Closed(closed) if self.unanswered.len() >= closed.in_flight => break,
                Pace::Closed(_) => now,
                Pace::Open(open) => open.due(self.number, self.begun),
            };
            if due > now {
                break;
            }
            let before = self.output.len();
            self.frames.write(self.begun, &mut self.output)?;
            self.seen.sent += 1;
            self.seen.wire_bytes += (self.output.len() - before) as u64;
            self.seen.reused += u64::from(self.frames.is_reused(self.begun));
            self.seen.packets_sent += self.frames.packets(self.begun);
            self.unanswered.push_back(due);
            self.begun += 1;
        }
        Ok(())
    }

    /// Writes what the socket takes.
    pub(super) fn flush(&mut self, start: Instant) -> Result<()> {
        let written = self.try_flush();
        if written.is_err() {
            // Why the collector ended the connection may lie in what it has sent.
            self.receive(start)?;
        }
        written.context("the connection broke while a batch was sent")
    }

    fn try_flush(&mut self) -> std::io::Result<()> {
        while self.written < self.output.len() {
            match self.transport.write(&self.output[self.written..]) {
                Ok(taken) => self.written += taken,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return unless_would_block(error),
            }
        }
        self.output.clear();
        self.written = 0;
        self.transport.flush().or_else(unless_would_block)
    }

    /// Reads and counts all answers that are there.
    pub(super) fn receive(&mut self, start: Instant) -> Result<()> {
        loop {
            let open = match self.read_some() {
                Ok(open) => open,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(anyhow!(error).context("the connection broke")),
            };
            let now = start.elapsed();
            while let Some(message) = take_message(&mut self.input)? {
                self.take(message, now)?;
            }
            if !open {
                bail!("the collector closed the connection; {} batches were unanswered", self.unanswered.len());
            }
        }
    }

    /// Whether the connection is still open. Waits only while the socket blocks.
    fn read_some(&mut self) -> std::io::Result<bool> {
        let mut buffer = [0; 16 << 10];
        loop {
            match self.transport.read(&mut buffer) {
                Ok(length) => {
                    self.input.extend_from_slice(&buffer[..length]);
                    return Ok(length > 0);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self, message: Message, now: Duration) -> Result<()> {
        match message {
            Message::Ack { journaled, committed, .. } => {
                if journaled > self.begun || committed > journaled {
                    bail!("the collector acknowledged what was not sent");
                }
                for sequence in self.journaled..journaled {
                    let Some(due) = self.unanswered.pop_front() else { break };
                    self.seen.packets += self.frames.packets(sequence);
                    self.seen.samples.push(Sample { due, latency: now.saturating_sub(due) });
                    self.seen.last_journaled = now;
                }
                self.journaled = self.journaled.max(journaled);
                if committed > self.committed {
                    self.seen.commits.push(now);
                    self.committed = committed;
                }
                Ok(())
            }
            Message::Nack { expected, reason, .. } => {
                self.seen.nacks += 1;
                bail!("Nack: the collector expects batch {expected} ({reason:?})")
            }
            Message::Refused { reason } => {
                self.seen.refused += 1;
                Err(refusal(reason))
            }
            other => bail!("{:?} instead of an acknowledgement", other.frame_type()),
        }
    }

    fn has_begun_all(&self, now: Duration) -> bool {
        match (self.end, self.pace) {
            (End::Batches(batches), _) => self.begun >= batches,
            (End::Seconds(seconds), Pace::Open(open)) => self.begun >= open.due_before(self.number, seconds),
            (End::Seconds(seconds), Pace::Closed(_)) => now.as_secs_f64() >= seconds,
        }
    }

    /// Whether all was sent, and acknowledged as committed.
    pub(super) fn is_done(&self, now: Duration) -> bool {
        self.has_begun_all(now) && self.committed == self.begun
    }

    /// When the next batch is due by the clock and not by an answer.
    pub(super) fn next_due(&self, now: Duration) -> Option<Duration> {
        match self.pace {
            Pace::Open(open) if !self.has_begun_all(now) => Some(open.due(self.number, self.begun)),
            _ => None,
        }
    }

    /// Whether the socket must take more before anything else can be handed over.
    pub(super) fn wants_write(&self) -> bool {
        self.written < self.output.len() || self.transport.is_pending()
    }

    /// Batches acknowledged as journaled and as committed: whether there is progress shows in their change.
    pub(super) fn answered(&self) -> (u64, u64) {
        (self.journaled, self.committed)
    }

    pub(super) fn number(&self) -> u16 {
        self.number
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.transport.as_fd()
    }
}

/// Takes the first message out of the input, if it is there as a whole.
fn take_message(input: &mut Vec<u8>) -> Result<Option<Message>> {
    let Some(head) = input.first_chunk::<FRAME_HEADER_LENGTH>() else { return Ok(None) };
    let header = FrameHeader::parse(head, &Limits::default()).context("the collector does not speak the protocol")?;
    let end = FRAME_HEADER_LENGTH + header.length as usize;
    let Some(payload) = input.get(FRAME_HEADER_LENGTH..end) else { return Ok(None) };
    header.verify(payload)?;
    let message = Message::read(header.frame_type, payload)?;
    input.drain(..end);
    Ok(Some(message))
}

fn refusal(reason: RefusalReason) -> anyhow::Error {
    match reason {
        RefusalReason::Full => {
            anyhow!(
                "refused: full; ingest.max_connections_per_address and ingest.max_sensors bound the sensors of a run"
            )
        }
        RefusalReason::NotAllowed => anyhow!("refused: not allowed; the name belongs to another sensor"),
        RefusalReason::Superseded => anyhow!("refused: superseded; another load opened the same stream"),
        other => anyhow!("refused: {other:?}"),
    }
}
