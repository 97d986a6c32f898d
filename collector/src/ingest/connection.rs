//! One connection's reader: takes frames, gathers batches into groups, and hands these to workers.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use martlet_window::SensorName;
use martlet_wire::WireError;
use martlet_wire::v1::{BatchView, FRAME_HEADER_LENGTH, FrameType, Message, RefusalReason, Stream, batch_identity};
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::answers::write_answers;
use super::budget::{Share, decoded_cost};
use super::counters::{BatchOutcome, FrameError, FrameOutcome, Token, Violation};
use super::frames::{Frame, FrameFailure, is_whole, read_frame};
use super::gate::Shared;
use super::lobby::Guest;
use super::submit::{Group, Pending, Undecided, submit_all};
use crate::aggregate::{DecodeJob, Encoded};
use crate::enroll::Peer;
use crate::journal::{Entry, OpenError, Session, StreamCell};
use crate::signal::Once;

/// After the reader has ended, how long batches on their way may take to be decided and answered.
const DRAIN: Duration = Duration::from_secs(3);
/// Buffer for reading small frames, in bytes. Batches that lie in it together are handed over together.
const READ_BUFFER: usize = 16 << 10;
/// Less than this at a time, in bytes, is little: a peer that has more to send fills the buffer, and only a frame of
/// more than half of it leaves half of it unused.
const LITTLE: usize = READ_BUFFER / 2;
/// When little comes at a time and again and again, the reader rests for so long, and then takes what came meanwhile
/// together: each wake costs more than a small batch.
const REST: Duration = Duration::from_millis(2);
/// What comes within so long of what came before comes again and again. The batches of a live sensor do not.
const CLOSE: Duration = Duration::from_millis(10);

/// Why a connection ended; what the peer is told, and what is counted.
struct End {
    violation: Option<Violation>,
    farewell: Option<RefusalReason>,
}

impl End {
    const QUIET: End = End { violation: None, farewell: None };
    const STOPPING: End = End { violation: None, farewell: Some(RefusalReason::Stopping) };
    /// Half-open connections end like this, and two machines with one identity take turns.
    const SUPERSEDED: End = End::refused(Violation::Superseded, RefusalReason::Superseded);

    const CROWDED_OUT: End = End::refused(Violation::CrowdedOut, RefusalReason::Full);

    const fn refused(violation: Violation, reason: RefusalReason) -> End {
        End { violation: Some(violation), farewell: Some(reason) }
    }
}

/// Who calls.
pub(super) struct Caller<'a> {
    pub(super) address: IpAddr,
    /// Number of the connection, for the log.
    pub(super) number: u64,
    /// When Hello must have come.
    pub(super) hello_by: Instant,
    /// Who it is by its certificate, if that binds it.
    pub(super) peer: Option<Peer>,
    /// Its place among those who have not said Hello.
    pub(super) guest: Guest<'a>,
}

impl Caller<'_> {
    /// Waits until the certificate with which it came does not hold any more.
    async fn ended(&self) -> Violation {
        match self.peer.as_ref().and_then(|peer| peer.watched.as_ref()) {
            Some(watched) => watched.ended().await,
            None => std::future::pending().await,
        }
    }
}

/// Serves one connection until it ends.
pub(super) async fn serve<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    shared: &Shared,
    read: R,
    write: W,
    caller: &Caller<'_>,
    stopping: &Once,
) {
    let &Caller { address, number, hello_by, .. } = caller;
    let welcome = Message::Welcome {
        your_address: address.to_canonical(),
        max_batch_bytes: shared.config.max_batch_bytes,
        max_rows: shared.config.max_rows,
    };
    let session = Arc::new(Session::new(number));
    let (pending, left) = mpsc::channel(shared.config.max_batches_in_flight);
    let (replies, queue) = mpsc::channel(shared.config.max_batches_in_flight);
    let mut reader = Reader {
        shared,
        pending,
        places: Arc::new(Semaphore::new(shared.config.max_batches_in_flight)),
        gathered: Gathered::default(),
        came: 0,
        little: None,
        open: HashMap::new(),
        welcome: Some(welcome),
        hello_by,
        guest: &caller.guest,
        bound: caller.peer.as_ref().map(|peer| &peer.name),
        name: String::new(),
    };
    // The middle ends with the reader, and the writer with the middle.
    let answering =
        async { tokio::join!(submit_all(shared, &session, left, replies), write_answers(shared, write, queue)).1 };
    let mut answering = std::pin::pin!(answering);
    let read = BufReader::with_capacity(READ_BUFFER, read);
    let end = tokio::select! {
        biased;
        () = stopping.happened() => Ok(End::STOPPING),
        () = caller.guest.shown_out() => Ok(End::CROWDED_OUT),
        () = session.superseded() => Ok(End::SUPERSEDED),
        // Not told: the sensor calls again, and hears in the handshake what is wrong with its certificate.
        violation = caller.ended() => Ok(End { violation: Some(violation), farewell: None }),
        written = &mut answering => Err(written),
        end = reader.run(read) => Ok(end),
    };
    let written = match end {
        Ok(end) => {
            let farewell = async move { reader.finish(end, number).await };
            // The queue may be full: only when the others go on is there room for the farewell.
            let both = async { tokio::join!(farewell, answering).1 };
            timeout(DRAIN, both).await.unwrap_or(Ok(()))
        }
        Err(written) => written,
    };
    if let Err(Some(violation)) = written {
        shared.counters.violations.increment(violation);
    }
}

/// Batches that were read and not handed over yet. Nothing waits while it holds any.
#[derive(Default)]
struct Gathered {
    batches: Vec<Undecided>,
    /// The payloads of those that must be decoded, in the same order.
    payloads: Vec<Encoded>,
    /// One place for each batch.
    places: Option<OwnedSemaphorePermit>,
}

struct Reader<'a> {
    shared: &'a Shared,
    pending: mpsc::Sender<Pending>,
    /// Room for `ingest.max_batches_in_flight` batches between here and their decision.
    places: Arc<Semaphore>,
    gathered: Gathered,
    /// Bytes of batches that came since the read buffer held no whole frame.
    came: usize,
    /// When little came last.
    little: Option<Instant>,
    open: HashMap<Stream, OpenStream>,
    /// The answer to Hello; gone once it was given.
    welcome: Option<Message>,
    hello_by: Instant,
    guest: &'a Guest<'a>,
    /// The only name that it may speak for, if its certificate says one.
    bound: Option<&'a SensorName>,
    /// The peer's name, for the log.
    name: String,
}

/// A stream that was opened on this connection.
struct OpenStream {
    cell: Arc<StreamCell>,
    /// When its newest batch had come.
    heard: Option<Instant>,
}

impl Reader<'_> {
    async fn run<R: AsyncRead + Unpin>(&mut self, mut read: BufReader<R>) -> End {
        loop {
            if let Err(end) = self.next(&mut read).await {
                return end;
            }
        }
    }

    async fn next<R: AsyncRead + Unpin>(&mut self, read: &mut BufReader<R>) -> Result<(), End> {
        let Shared { config, rules, .. } = self.shared;
        // What has not come yet may be long in coming.
        if !is_whole(read.buffer(), &rules.limits) {
            self.hand_over().await?;
            let is_little = (1..LITTLE).contains(&std::mem::take(&mut self.came));
            if is_little && self.little.replace(Instant::now()).is_some_and(|before| before.elapsed() < CLOSE) {
                sleep(REST).await;
            }
        }
        let before_hello = || self.hello_by.saturating_duration_since(Instant::now());
        let patience = if self.welcome.is_some() { before_hello() } else { config.idle_timeout() };
        let frame = match read_frame(read, rules, patience).await {
            // A peer that waits for our answers is not idle.
            Err(FrameFailure::Idle) if self.owes_answers() => return Ok(()),
            frame => frame.map_err(|failure| self.judge(failure))?,
        };
        if frame.frame_type != FrameType::Batch {
            // Answers come in the order of the frames.
            self.hand_over().await?;
        }
        self.take(frame).await
    }

    fn owes_answers(&self) -> bool {
        self.places.available_permits() < self.shared.config.max_batches_in_flight
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
            FrameFailure::Tls => End::refused(Violation::UnexpectedTls, RefusalReason::Protocol),
            FrameFailure::Wire(error) => self.bad_frame(error),
        }
    }

    fn bad_frame(&self, error: WireError) -> End {
        self.shared.counters.frame_errors.increment(FrameError(error));
        End::refused(Violation::BadFrame, RefusalReason::Protocol)
    }

    async fn take(&mut self, frame: Frame) -> Result<(), End> {
        let counters = &self.shared.counters;
        let length = FRAME_HEADER_LENGTH + frame.payload.len();
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
                self.check_name(&name)?;
                self.guest.leave();
                self.push(Pending::Answer(welcome)).await
            }
            (None, Message::Open { stream, name }) => self.open(stream, name).await,
            (None, message @ Message::Lost { stream, .. }) => {
                self.cell(&stream)?;
                self.push(Pending::Loss(message)).await
            }
            _ => Err(End::refused(Violation::UnexpectedFrame, RefusalReason::Protocol)),
        }
    }

    /// A certificate speaks for one sensor, so that who has its key cannot count as another.
    fn check_name(&self, name: &SensorName) -> Result<(), End> {
        match self.bound {
            Some(bound) if bound != name => Err(End::refused(Violation::OtherName, RefusalReason::NotAllowed)),
            _ => Ok(()),
        }
    }

    /// Opens a stream. Nothing more is read before that is decided, which includes that a new name is durable.
    async fn open(&mut self, stream: Stream, name: SensorName) -> Result<(), End> {
        self.check_name(&name)?;
        let room = self.open.len() < self.shared.config.max_streams_per_connection || self.open.contains_key(&stream);
        if !room {
            return Err(End::refused(Violation::Streams, RefusalReason::Full));
        }
        let (opened, decision) = oneshot::channel();
        self.push(Pending::Open { entry: Entry::Open { stream, name }, opened }).await?;
        let cell = decision.await.map_err(|_| End::QUIET)?.map_err(|error| match error {
            OpenError::NameTaken => End::refused(Violation::NameTaken, RefusalReason::NotAllowed),
            OpenError::Sensors => End::refused(Violation::Sensors, RefusalReason::Full),
            OpenError::Streams => End::refused(Violation::Streams, RefusalReason::Full),
            OpenError::Store => End::refused(Violation::Store, RefusalReason::Full),
        })?;
        self.open.insert(stream, OpenStream { cell, heard: None });
        Ok(())
    }

    fn cell(&mut self, stream: &Stream) -> Result<&mut OpenStream, End> {
        let unexpected = || End::refused(Violation::UnexpectedFrame, RefusalReason::Protocol);
        self.open.get_mut(stream).ok_or_else(unexpected)
    }

    /// Adds a batch to those that are handed over next.
    async fn batch(&mut self, frame: Frame) -> Result<(), End> {
        let read_at = Instant::now();
        let token = Token::received(&self.shared.counters);
        let (stream, sequence) = match batch_identity(&frame.payload) {
            Ok(identity) => identity,
            Err(error) => {
                token.settle(BatchOutcome::Unreadable);
                return Err(self.bad_frame(error));
            }
        };
        let open = match self.cell(&stream) {
            Ok(open) => open,
            Err(end) => {
                token.settle(BatchOutcome::NotOpened);
                return Err(end);
            }
        };
        let journaled = open.cell.journaled();
        let silence = open.heard.replace(read_at).map(|before| frame.begun.saturating_duration_since(before));
        let mut is_quiet = false;
        self.take_place().await?;
        self.came += FRAME_HEADER_LENGTH + frame.payload.len();
        let is_decoded = match BatchView::read(&frame.payload, &self.shared.rules.limits) {
            // Positions that are published only grow, so this is certain; the ledger will give the same answer.
            Ok(_) if sequence < journaled => false,
            Ok(view) => {
                let half = Duration::from_secs(view.header.window.length.seconds().into()) / 2;
                is_quiet = silence.is_some_and(|silence| silence >= half);
                let memory = self.take_memory(decoded_cost(view.rows)).await?;
                let Frame { payload, share: payload_memory, .. } = frame;
                self.gathered.payloads.push(Encoded { payload, payload_memory, memory });
                true
            }
            Err(error) => {
                self.shared.counters.frame_errors.increment(FrameError(error));
                false
            }
        };
        self.gathered.batches.push(Undecided { stream, sequence, read_at, token, is_quiet, is_decoded });
        Ok(())
    }

    /// Takes a place for one more batch in flight.
    async fn take_place(&mut self) -> Result<(), End> {
        let free = self.places.clone().try_acquire_owned();
        let place = match free {
            Ok(place) => place,
            Err(_) => {
                self.hand_over().await?;
                self.places.clone().acquire_owned().await.map_err(|_| End::QUIET)?
            }
        };
        match &mut self.gathered.places {
            Some(places) => places.merge(place),
            none => *none = Some(place),
        }
        Ok(())
    }

    /// Takes memory for a decoded batch.
    async fn take_memory(&mut self, bytes: u64) -> Result<Share, End> {
        let budget = &self.shared.behind.batch_memory;
        if let Some(memory) = budget.try_take(bytes) {
            return Ok(memory);
        }
        // Whoever waits for a share must not hold others: two that did would wait for each other.
        self.hand_over().await?;
        loop {
            if let Some(memory) = budget.take(bytes, self.shared.config.frame_timeout()).await {
                return Ok(memory);
            }
            // While the disk takes nothing, nobody is to blame, and waiting is what slows sensors down.
            if !self.shared.behind.state.is_stalled() {
                return Err(self.judge(FrameFailure::Memory));
            }
        }
    }

    /// Gives what was gathered to a worker, and to the middle, which has it decided.
    async fn hand_over(&mut self) -> Result<(), End> {
        let Gathered { batches, payloads, places } = std::mem::take(&mut self.gathered);
        if batches.is_empty() {
            return Ok(());
        }
        let mut decoded = None;
        if !payloads.is_empty() {
            let (reply, running) = oneshot::channel();
            // The queue has room for every batch that holds a share of the budget; it is closed only when workers died.
            self.shared.behind.decode.try_send(DecodeJob { payloads, reply }).map_err(|_| End::STOPPING)?;
            decoded = Some(running);
        }
        self.push(Pending::Batches(Group { batches, decoded, places })).await
    }

    async fn push(&self, pending: Pending) -> Result<(), End> {
        self.pending.send(pending).await.map_err(|_| End::QUIET)
    }

    /// Says farewell, and lets the writer end by dropping its queue.
    async fn finish(mut self, end: End, number: u64) {
        // What was taken before the end is answered as it would have been without it. The writer may have ended.
        let _ = self.hand_over().await;
        if let Some(violation) = end.violation {
            self.shared.counters.violations.increment(violation);
            self.shared.complain(number, &self.name, violation, violation.advice());
        }
        if let Some(reason) = end.farewell {
            let _ = self.push(Pending::Answer(Message::Refused { reason })).await;
        }
    }
}
