//! One connection behind its greeting: streams are opened and sent one after the other, while answers come in.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use martlet_journal::Disk;
use martlet_window::Digest;
use martlet_wire::v1::{FRAME_HEADER_LENGTH, FrameHeader, Limits, Message, NackReason, Stream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until};

use super::{ConnectionOutcome, PATIENCE, UplinkError, UplinkSettings, UplinkState, within};
use crate::spool::{Changes, Next, Outlet, Standing};

/// Frames are written together until there are so many bytes of them: quiet windows are small.
const ENOUGH_BYTES: usize = 64 << 10;
/// What the buffer keeps after a large batch, in bytes.
const LARGE_BYTES: usize = 1 << 20;
/// Longest answer of a collector, in bytes: all are control messages.
const LONGEST_ANSWER: u32 = 512;
/// What a collector that speaks TLS answers to anything else: a record of type alert, of a version 3.x (RFC 8446, 5.1).
const TLS_ALERT: [u8; 2] = [21, 3];
/// How often a collector is asked again about an epoch that has arrived and is not committed.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// What the two halves of a connection share. Never borrowed across a wait.
struct Shared<'a, D: Disk> {
    outlet: &'a mut Outlet<D>,
    /// Whose streams they are.
    settings: &'a UplinkSettings,
    /// The epoch that is being sent.
    current: Option<u64>,
    /// The answer to Open for it: what is expected, and its predecessor.
    position: Option<(u64, Option<Digest>)>,
    /// Open was sent and not answered: refusals on their way are of the time before.
    opening: bool,
    /// What was acknowledged of the epoch that is being opened. It may be another's: the position says whose.
    early: Option<(u64, u64)>,
    /// The collector wants the stream to go on elsewhere: it must be asked where.
    lost_place: bool,
    /// A malformed batch was logged.
    complained: bool,
    /// Epochs that were opened on this connection.
    opened: BTreeSet<u64>,
    /// Those of them about which there is nothing more to ask now.
    visited: BTreeSet<u64>,
}

pub(super) async fn run<D: Disk>(
    settings: &UplinkSettings,
    outlet: &mut Outlet<D>,
    state: &UplinkState,
    mut read: impl AsyncRead + Unpin,
    write: impl AsyncWrite + Unpin,
) -> Result<(), UplinkError> {
    let changes = outlet.changes();
    let shared = RefCell::new(Shared {
        outlet,
        settings,
        current: None,
        position: None,
        opening: false,
        early: None,
        lost_place: false,
        complained: false,
        opened: BTreeSet::new(),
        visited: BTreeSet::new(),
    });
    let answers = async {
        let mut payload = Vec::new();
        loop {
            let message = receive(&mut read, &mut payload).await?;
            shared.borrow_mut().answered(&message)?;
            changes.wake();
        }
    };
    let sender = Sender { shared: &shared, changes: &changes, state, write, out: Vec::new(), cursor: 0 };
    tokio::select! {
        biased;
        ended = answers => ended,
        ended = sender.run() => ended,
    }
}

impl<D: Disk> Shared<'_, D> {
    const fn stream(&self, epoch: u64) -> Stream {
        Stream { origin: self.settings.origin, epoch }
    }

    /// Deals with an answer.
    fn answered(&mut self, message: &Message) -> Result<(), UplinkError> {
        match *message {
            Message::Ack { stream, journaled, committed }
                if self.opening && Some(self.epoch_of(stream)?) == self.current =>
            {
                self.early = Some((journaled, committed.min(journaled)));
            }
            Message::Ack { stream, journaled, committed } if self.opened.contains(&self.epoch_of(stream)?) => {
                self.outlet.acknowledge(stream.epoch, journaled, committed.min(journaled));
            }
            Message::Position { stream, expected, predecessor }
                if self.opening && Some(self.epoch_of(stream)?) == self.current =>
            {
                self.position = Some((expected, predecessor));
            }
            Message::Nack { stream, expected, reason } if self.opened.contains(&self.epoch_of(stream)?) => {
                self.refused(stream.epoch, expected, reason)?;
            }
            Message::Refused { reason } => return Err(UplinkError::Refused(reason)),
            _ => return Err(UplinkError::Unexpected),
        }
        Ok(())
    }

    fn epoch_of(&self, stream: Stream) -> Result<u64, UplinkError> {
        if stream.origin == self.settings.origin { Ok(stream.epoch) } else { Err(UplinkError::Unexpected) }
    }

    fn refused(&mut self, epoch: u64, expected: u64, reason: NackReason) -> Result<(), UplinkError> {
        if self.opening || self.lost_place || self.current != Some(epoch) {
            // All that was sent behind a refused batch is refused too.
            return Ok(());
        }
        match reason {
            NackReason::OutOfSequence => {}
            NackReason::Malformed => {
                // A collector that does so with each of a backlog must not fill the log.
                if std::mem::replace(&mut self.complained, true) {
                    tracing::debug!("batch {expected} is malformed, too");
                } else {
                    tracing::error!(
                        "the collector finds batch {expected} malformed; it is given up and counted as lost"
                    );
                }
                self.outlet.refuse(epoch, expected).map_err(UplinkError::Spool)?;
            }
            NackReason::BrokenChain => {
                if !self.outlet.fork(epoch) {
                    return Err(UplinkError::BrokenChain);
                }
                self.current = None;
                return Ok(());
            }
        }
        self.lost_place = true;
        Ok(())
    }

    /// The epoch to open now, if the present one needs nothing more.
    fn to_open(&self) -> Option<u64> {
        if self.lost_place {
            return self.current;
        }
        let is_sent = |epoch: u64| self.outlet.standing(epoch).is_none_or(|it| it.is_delivered());
        if self.current.is_some_and(|epoch| !is_sent(epoch)) {
            return None;
        }
        let mut epochs = self.outlet.epochs().into_iter();
        epochs.find(|epoch| !self.visited.contains(epoch) || (Some(*epoch) != self.current && !is_sent(*epoch)))
    }

    fn standing(&self) -> Option<Standing> {
        self.current.and_then(|epoch| self.outlet.standing(epoch))
    }
}

struct Sender<'a, 'b, D: Disk, W> {
    shared: &'a RefCell<Shared<'b, D>>,
    changes: &'a Changes<D>,
    state: &'a UplinkState,
    write: W,
    out: Vec<u8>,
    /// What of the present epoch is sent next.
    cursor: u64,
}

impl<D: Disk, W: AsyncWrite + Unpin> Sender<'_, '_, D, W> {
    async fn run(mut self) -> Result<(), UplinkError> {
        // How far the present epoch was acknowledged, and since when.
        let mut progress = (None, Instant::now());
        let mut ask_again = Instant::now() + ASK_AGAIN;
        loop {
            if self.shared.borrow().outlet.is_done() {
                return Ok(());
            }
            let to_open = self.shared.borrow().to_open();
            if let Some(epoch) = to_open {
                self.open(epoch).await?;
                continue;
            }
            self.out.clear();
            let next = {
                let mut shared = self.shared.borrow_mut();
                match shared.current {
                    Some(_) => shared.outlet.next(self.cursor, &mut self.out, ENOUGH_BYTES),
                    None => Ok(Next::Empty),
                }
            };
            match next.map_err(UplinkError::Spool)? {
                next @ (Next::Batches { to } | Next::Lost { to, .. }) => {
                    self.put(next, self.cursor)?;
                    self.cursor = to + 1;
                    self.flush().await?;
                }
                Next::Enough | Next::Empty => {
                    let standing = self.shared.borrow().standing();
                    let reached = standing.map(|it| (it.epoch, it.journaled));
                    let waits = standing.is_some_and(|it| it.journaled < self.cursor.min(it.end));
                    if reached != progress.0 || !waits {
                        progress = (reached, Instant::now());
                    }
                    tokio::select! {
                        biased;
                        () = self.changes.wait() => {}
                        // Batches are out and no acknowledgement comes: the other side hangs.
                        () = sleep_until(progress.1 + PATIENCE), if waits => return Err(UplinkError::Silent),
                        () = sleep_until(ask_again) => {
                            ask_again = Instant::now() + ASK_AGAIN;
                            self.forget_uncommitted();
                        }
                    }
                }
            }
        }
    }

    /// Lets epochs be opened again that have arrived and may not be deleted yet.
    fn forget_uncommitted(&self) {
        let mut shared = self.shared.borrow_mut();
        let Shared { outlet, visited, .. } = &mut *shared;
        visited.retain(|&epoch| outlet.standing(epoch).is_none_or(|it| it.live || it.committed >= it.end));
    }

    /// Opens an epoch's stream, and learns where it goes on.
    async fn open(&mut self, epoch: u64) -> Result<(), UplinkError> {
        let open = {
            let mut shared = self.shared.borrow_mut();
            (shared.current, shared.position) = (Some(epoch), None);
            (shared.opening, shared.lost_place, shared.early) = (true, false, None);
            shared.opened.insert(epoch);
            shared.visited.insert(epoch);
            Message::Open { stream: shared.stream(epoch), name: shared.settings.name.clone() }
        };
        send(&mut self.write, &open).await?;
        let answered = async {
            loop {
                if let Some(position) = self.shared.borrow_mut().position.take() {
                    return position;
                }
                self.changes.wait().await;
            }
        };
        let (expected, predecessor) = within(answered).await?;
        if !self.state.connected.swap(true, Relaxed) {
            self.state.outcomes.increment(ConnectionOutcome::Opened);
            tracing::info!("the uplink is open; of epoch {epoch:016x} the collector wants batch {expected}");
        }
        {
            let mut shared = self.shared.borrow_mut();
            shared.opening = false;
            let is_ours = shared.outlet.resume(epoch, expected, predecessor).map_err(UplinkError::Spool)?;
            if !is_ours {
                shared.current = None;
                return Ok(());
            }
            if let Some((journaled, committed)) = shared.early.take() {
                shared.outlet.acknowledge(epoch, journaled, committed);
            }
        }
        self.cursor = expected;
        self.ask(epoch).await
    }

    /// If all of an epoch had arrived before, nothing is sent that would be answered, and nobody says what is committed. A
    /// duplicate is.
    async fn ask(&mut self, epoch: u64) -> Result<(), UplinkError> {
        let standing = self.shared.borrow().outlet.standing(epoch);
        let Some(Standing { end, .. }) = standing.filter(|it| it.is_delivered() && !it.live && it.committed < it.end)
        else {
            return Ok(());
        };
        self.out.clear();
        let again = self.shared.borrow_mut().outlet.last_again(epoch, &mut self.out).map_err(UplinkError::Spool)?;
        let Some(again) = again else { return Ok(()) };
        self.put(again, end - 1)?;
        self.flush().await
    }

    /// Adds what must be said besides frames.
    fn put(&mut self, next: Next, from: u64) -> Result<(), UplinkError> {
        let Next::Lost { to, totals, windows: (first_window, last_window) } = next else { return Ok(()) };
        let shared = self.shared.borrow();
        let epoch = shared.current.ok_or(UplinkError::Unexpected)?;
        let stream = shared.stream(epoch);
        tracing::debug!("batches {from} to {to} of epoch {epoch:016x} will not come");
        Message::Lost { stream, from, to, totals, first_window, last_window }.write(&mut self.out);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), UplinkError> {
        write_out(&mut self.write, &self.out).await?;
        self.out.shrink_to(LARGE_BYTES);
        Ok(())
    }
}

pub(super) async fn send(write: &mut (impl AsyncWrite + Unpin), message: &Message) -> Result<(), UplinkError> {
    let mut out = Vec::new();
    message.write(&mut out);
    write_out(write, &out).await
}

/// Writes everything. TLS may hold back what the socket did not take at once, until it is flushed.
async fn write_out(write: &mut (impl AsyncWrite + Unpin), out: &[u8]) -> Result<(), UplinkError> {
    let written = async {
        write.write_all(out).await?;
        write.flush().await
    };
    Ok(within(written).await??)
}

async fn receive_head(read: &mut (impl AsyncRead + Unpin)) -> Result<[u8; FRAME_HEADER_LENGTH], UplinkError> {
    let mut head = [0; FRAME_HEADER_LENGTH];
    // An alert is shorter than a header, and nothing comes behind it.
    fill(read, &mut head[..TLS_ALERT.len()], 0).await?;
    if head.starts_with(&TLS_ALERT) {
        return Err(UplinkError::WantsTls);
    }
    fill(read, &mut head, TLS_ALERT.len()).await?;
    Ok(head)
}

/// Reads into everything behind the first `have` bytes.
async fn fill(read: &mut (impl AsyncRead + Unpin), buffer: &mut [u8], mut have: usize) -> Result<(), UplinkError> {
    while have < buffer.len() {
        match read.read(&mut buffer[have..]).await {
            Ok(more @ 1..) => have += more,
            // Whether TLS was ended properly is the same to us: what was not acknowledged is sent again.
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error.into()),
            _ => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the collector ended it").into()),
        }
    }
    Ok(())
}

pub(super) async fn receive(
    read: &mut (impl AsyncRead + Unpin),
    payload: &mut Vec<u8>,
) -> Result<Message, UplinkError> {
    let head = receive_head(read).await?;
    let header = FrameHeader::parse(&head, &Limits::default())?;
    if header.length > LONGEST_ANSWER {
        return Err(UplinkError::Unexpected);
    }
    payload.resize(header.length as usize, 0);
    fill(read, payload, 0).await?;
    header.verify(payload)?;
    match Message::read(header.frame_type, payload)? {
        Message::Refused { reason } => Err(UplinkError::Refused(reason)),
        message => Ok(message),
    }
}
