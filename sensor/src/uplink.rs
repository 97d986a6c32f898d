//! The connection to the collector: sends what the spool holds, in order, until it is acknowledged.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use martlet_window::SensorName;
use martlet_wire::WireError;
use martlet_wire::v1::{FRAME_HEADER_LENGTH, FrameHeader, Limits, Message, NackReason, RefusalReason, Stream};
use rand::Rng;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use martlet_telemetry::counters::EnumCounters;
use martlet_telemetry::labelled;

use crate::spool::{Next, Spool};

/// How long a connection, a greeting or an acknowledgement may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of frames that are written together: quiet windows are small.
const MAX_WRITE: usize = 64 << 10;
/// First wait after a failed connection; doubles up to the longest.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

labelled! {
    /// What became of a connection to the collector.
    pub enum ConnectionOutcome {
        /// The collector took the stream.
        Opened = "opened",
        /// Nobody listens, or the network is down.
        Unreachable = "unreachable",
        /// The collector refused us.
        Refused = "refused",
        /// The connection broke or fell silent.
        Broken = "broken",
        /// The collector spoke something else than our protocol.
        Protocol = "protocol",
    }
}

/// Why a connection ended.
#[derive(Debug, Error)]
pub enum UplinkError {
    /// Nobody listens at the collector's address, or the network is down.
    #[error("cannot connect: {0}")]
    Unreachable(std::io::Error),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] std::io::Error),
    /// Nothing came for too long.
    #[error("the collector does not answer")]
    Silent,
    /// The collector refused the connection.
    #[error("the collector refused the connection: {0:?}")]
    Refused(RefusalReason),
    /// The collector sent something that is not our protocol.
    #[error("the collector's bytes are not the protocol: {0}")]
    Wire(#[from] WireError),
    /// The collector sent a message that has no place here.
    #[error("the collector sent an unexpected message")]
    Unexpected,
    /// Our batches may be larger than what the collector takes.
    #[error("the collector takes at most {theirs} rows a batch; set window.max_rows from {ours} to that or less")]
    TooManyRows {
        /// Our cap.
        ours: u32,
        /// The collector's.
        theirs: u32,
    },
    /// The collector knows another history of this stream: sending on would count wrongly.
    #[error("the collector knows another history of this stream (a cloned sensor?); restart to begin a new epoch")]
    BrokenChain,
}

impl UplinkError {
    const fn outcome(&self) -> ConnectionOutcome {
        match self {
            UplinkError::Unreachable(_) => ConnectionOutcome::Unreachable,
            UplinkError::Broken(_) | UplinkError::Silent => ConnectionOutcome::Broken,
            UplinkError::Refused(_) | UplinkError::TooManyRows { .. } => ConnectionOutcome::Refused,
            UplinkError::Wire(_) | UplinkError::Unexpected | UplinkError::BrokenChain => ConnectionOutcome::Protocol,
        }
    }

    /// Whether trying again cannot help.
    const fn is_final(&self) -> bool {
        matches!(
            self,
            UplinkError::BrokenChain
                | UplinkError::TooManyRows { .. }
                | UplinkError::Refused(RefusalReason::NotAllowed)
        )
    }
}

/// What the uplink tells the rest of the sensor.
#[derive(Debug, Default)]
pub struct UplinkState {
    /// Whether a stream is open at the collector now.
    pub connected: AtomicBool,
    /// Connections by outcome.
    pub outcomes: EnumCounters<ConnectionOutcome>,
    /// Batches acknowledged.
    pub acknowledged: AtomicU64,
    /// The address from which the collector sees us, kept in memory only.
    pub seen_from: std::sync::Mutex<Option<IpAddr>>,
}

/// Whom to tell what.
#[derive(Clone, Debug)]
pub struct UplinkSettings {
    /// Host and port of the collector.
    pub collector: String,
    /// Name under which the sensor is published.
    pub name: SensorName,
    /// The stream.
    pub stream: Stream,
    /// Most rows that a batch of ours has.
    pub max_rows: u32,
}

/// Sends the spool until it has ended and everything is acknowledged.
///
/// # Errors
/// Only if trying again cannot help; everything else is tried again, with a growing wait.
pub async fn run(settings: &UplinkSettings, spool: &Spool, state: &Arc<UplinkState>) -> Result<(), UplinkError> {
    let mut backoff = FIRST_BACKOFF;
    loop {
        let opened_before = state.outcomes.get(ConnectionOutcome::Opened);
        let ended = converse(settings, spool, state).await;
        state.connected.store(false, Relaxed);
        let error = match ended {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        state.outcomes.increment(error.outcome());
        if error.is_final() {
            return Err(error);
        }
        if state.outcomes.get(ConnectionOutcome::Opened) > opened_before {
            backoff = FIRST_BACKOFF;
        }
        // Jitter, so that many sensors do not return to a restarted collector at the same moment.
        let wait = backoff.mul_f64(rand::rng().random_range(0.5..1.0));
        tracing::warn!("uplink to {}: {error}; trying again in {:.1} s", settings.collector, wait.as_secs_f64());
        sleep(wait).await;
        backoff = (backoff * 2).min(LONGEST_BACKOFF);
    }
}

/// One connection: until the spool is done or something fails.
async fn converse(settings: &UplinkSettings, spool: &Spool, state: &UplinkState) -> Result<(), UplinkError> {
    if spool.is_done() {
        return Ok(());
    }
    let stream = within(TcpStream::connect(&settings.collector)).await?.map_err(UplinkError::Unreachable)?;
    stream.set_nodelay(true)?;
    let (read, write) = stream.into_split();
    let mut connection = Connection { read, write, payload: Vec::new(), out: Vec::new() };
    let (name, stream) = (settings.name.clone(), settings.stream);
    connection.send(&Message::Hello { peer: stream.origin, name: name.clone() }).await?;
    let Message::Welcome { your_address, max_rows, max_batch_bytes } = connection.receive().await? else {
        return Err(UplinkError::Unexpected);
    };
    // The least compressible row, one packet of a random IPv6 source, takes 20 bytes.
    let max_rows = max_rows.min(max_batch_bytes / 20);
    if max_rows < settings.max_rows {
        return Err(UplinkError::TooManyRows { ours: settings.max_rows, theirs: max_rows });
    }
    if let Ok(mut seen_from) = state.seen_from.lock() {
        *seen_from = Some(your_address);
    }
    connection.send(&Message::Open { stream, name }).await?;
    let expected = match connection.receive().await? {
        Message::Position { stream: answered, expected, .. } if answered == stream => expected,
        _ => return Err(UplinkError::Unexpected),
    };
    state.outcomes.increment(ConnectionOutcome::Opened);
    state.connected.store(true, Relaxed);
    tracing::info!("uplink to {} is open; the collector wants batch {expected}", settings.collector);
    spool.resume(expected);
    connection.stream(stream, expected, spool, state).await
}

struct Connection {
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    payload: Vec<u8>,
    out: Vec<u8>,
}

impl Connection {
    async fn send(&mut self, message: &Message) -> Result<(), UplinkError> {
        self.out.clear();
        message.write(&mut self.out);
        within(self.write.write_all(&self.out)).await??;
        Ok(())
    }

    async fn receive(&mut self) -> Result<Message, UplinkError> {
        within(receive(&mut self.read, &mut self.payload)).await?
    }

    /// Sends batches from `cursor` on while acknowledgements come in.
    async fn stream(self, stream: Stream, cursor: u64, spool: &Spool, state: &UplinkState) -> Result<(), UplinkError> {
        let Connection { mut read, mut write, mut payload, mut out } = self;
        // Where the collector wants us to go on after a refusal.
        let (rewind, rewound) = tokio::sync::watch::channel(None);
        let answers = async {
            loop {
                let message = receive(&mut read, &mut payload).await?;
                answered(&message, stream, spool, state, &rewind)?;
                if spool.is_done() {
                    return Ok(());
                }
            }
        };
        let batches = send_batches(&mut write, &mut out, stream, cursor, spool, rewound);
        tokio::select! {
            ended = answers => ended,
            ended = batches => ended,
        }
    }
}

async fn send_batches(
    write: &mut OwnedWriteHalf,
    out: &mut Vec<u8>,
    stream: Stream,
    mut cursor: u64,
    spool: &Spool,
    mut rewound: tokio::sync::watch::Receiver<Option<u64>>,
) -> Result<(), UplinkError> {
    // The last acknowledged position, and when it was reached.
    let mut progress = (spool.acknowledged(), Instant::now());
    loop {
        // Once for each refusal: the position stays in the channel after it has been followed.
        if rewound.has_changed().unwrap_or(false)
            && let Some(position) = *rewound.borrow_and_update()
        {
            cursor = position;
        }
        out.clear();
        match spool.next(cursor, out, MAX_WRITE) {
            Next::Batches { to } => {
                within(write.write_all(out)).await??;
                cursor = to + 1;
            }
            Next::Gap { to, loss, totals, windows: (first_window, last_window) } => {
                tracing::warn!("batches {cursor} to {to} are lost: {} windows, {} packets", loss.windows, loss.packets);
                Message::Lost { stream, from: cursor, to, totals, first_window, last_window }.write(out);
                within(write.write_all(out)).await??;
                cursor = to + 1;
            }
            Next::End if spool.is_done() => return Ok(()),
            Next::Empty | Next::End => {
                let position = spool.acknowledged();
                if spool.is_empty() || position != progress.0 {
                    progress = (position, Instant::now());
                }
                tokio::select! {
                    () = spool.changed() => {}
                    // Batches are out and no acknowledgement comes: the other side hangs.
                    () = sleep_until(progress.1 + PATIENCE), if !spool.is_empty() => return Err(UplinkError::Silent),
                }
            }
        }
    }
}

/// Deals with an answer to batches.
fn answered(
    message: &Message,
    stream: Stream,
    spool: &Spool,
    state: &UplinkState,
    rewind: &tokio::sync::watch::Sender<Option<u64>>,
) -> Result<(), UplinkError> {
    match *message {
        Message::Ack { stream: about, committed, .. } if about == stream => {
            spool.acknowledge(committed);
            state.acknowledged.fetch_max(committed, Relaxed);
            Ok(())
        }
        Message::Nack { stream: about, expected, reason } if about == stream => match reason {
            NackReason::OutOfSequence => {
                rewind.send_replace(Some(expected));
                spool.wake();
                Ok(())
            }
            NackReason::Malformed => {
                tracing::error!("the collector finds batch {expected} malformed; it is given up and counted as lost");
                spool.discard(expected);
                rewind.send_replace(Some(expected));
                spool.wake();
                Ok(())
            }
            NackReason::BrokenChain => Err(UplinkError::BrokenChain),
        },
        Message::Refused { reason } => Err(UplinkError::Refused(reason)),
        _ => Err(UplinkError::Unexpected),
    }
}

async fn receive(read: &mut OwnedReadHalf, payload: &mut Vec<u8>) -> Result<Message, UplinkError> {
    let mut head = [0; FRAME_HEADER_LENGTH];
    read.read_exact(&mut head).await?;
    let header = FrameHeader::parse(&head, &Limits::default())?;
    // A control message has at most 512 bytes; a batch has no place here.
    if header.length > 512 {
        return Err(UplinkError::Unexpected);
    }
    payload.resize(header.length as usize, 0);
    read.read_exact(payload).await?;
    header.verify(payload)?;
    match Message::read(header.frame_type, payload)? {
        Message::Refused { reason } => Err(UplinkError::Refused(reason)),
        message => Ok(message),
    }
}

async fn within<T>(work: impl Future<Output = T>) -> Result<T, UplinkError> {
    timeout(PATIENCE, work).await.map_err(|_| UplinkError::Silent)
}
