//! The connection to the collector: sends what the spool holds, in order, until it is acknowledged.
//!
//! The epochs of earlier starts come first, oldest first, each as a stream of its own; then the live one. Time is tokio's
//! alone, connections come from a [`Dial`] and jitter from the caller, so that the whole can be run in a simulation.

pub(crate) mod clock;
mod dial;
mod session;
pub(crate) mod tls;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use martlet_journal::Disk;
use martlet_telemetry::counters::EnumCounters;
use martlet_telemetry::labelled;
use martlet_window::{Origin, SensorName};
use martlet_wire::WireError;
use martlet_wire::v1::{Message, RefusalReason};
use rand::Rng;
use thiserror::Error;
use tokio::time::{sleep, timeout};

pub use dial::{Dial, TcpDial};
pub use tls::{AnyRead, AnyWrite, ClientTls, TlsDial, TlsSettings, TlsSettingsError};

use crate::enroll::CertificateState;
use crate::spool::Outlet;

/// How long a connection, a greeting or an acknowledgement may take.
const PATIENCE: Duration = Duration::from_secs(30);
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
        /// Certificates do not fit, or only one side speaks TLS.
        Tls = "tls",
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
    Broken(std::io::Error),
    /// TLS failed.
    #[error("{}", tls::in_words(.0))]
    Tls(rustls::Error),
    /// The collector speaks TLS, and we did not.
    #[error("the collector speaks TLS; set uplink.tls here, or leave out ingest.tls there")]
    WantsTls,
    /// Nothing came for too long.
    #[error("the collector does not answer")]
    Silent,
    /// The collector refused the connection.
    #[error("the collector refused the connection: {0:?}{hint}", hint = hint(*.0))]
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
    /// The collector knows another history of an import: sending on would count wrongly.
    #[error("the collector knows other batches of this file under this name; import it under another name")]
    BrokenChain,
    /// What is to be sent cannot be read.
    #[error("the spool cannot be read: {0}")]
    Spool(std::io::Error),
}

const fn hint(reason: RefusalReason) -> &'static str {
    match reason {
        RefusalReason::NotAllowed => {
            "; sensor.name belongs to another sensor there, or is not the name in our certificate (uplink.tls.certificate)"
        }
        _ => "",
    }
}

impl From<std::io::Error> for UplinkError {
    /// Of a connection that was made. With TLS 1.3 the collector looks at our certificate only then.
    fn from(error: std::io::Error) -> UplinkError {
        match tls::cause(&error) {
            Some(cause) => UplinkError::Tls(cause.clone()),
            None => UplinkError::Broken(error),
        }
    }
}

impl UplinkError {
    /// Of a connection that could not be made.
    fn of_dialling(error: std::io::Error) -> UplinkError {
        match UplinkError::from(error) {
            UplinkError::Broken(error) => UplinkError::Unreachable(error),
            other => other,
        }
    }

    const fn outcome(&self) -> ConnectionOutcome {
        match self {
            UplinkError::Unreachable(_) => ConnectionOutcome::Unreachable,
            UplinkError::Tls(_) | UplinkError::WantsTls => ConnectionOutcome::Tls,
            UplinkError::Broken(_) | UplinkError::Silent | UplinkError::Spool(_) => ConnectionOutcome::Broken,
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
    /// The address from which the collector sees us, kept in memory only.
    pub seen_from: std::sync::Mutex<Option<IpAddr>>,
    /// How our certificate stands.
    pub certificate: CertificateState,
}

/// Whom to tell what.
#[derive(Clone, Debug)]
pub struct UplinkSettings {
    /// Name under which the sensor is published.
    pub name: SensorName,
    /// Whose batches are sent.
    pub origin: Origin,
    /// Most rows that a batch of ours has.
    pub max_rows: u32,
}

/// Sends the spool until it has ended and everything is acknowledged.
///
/// # Errors
/// Only if trying again cannot help; everything else is tried again, with a growing wait.
pub async fn run<D: Disk, C: Dial>(
    settings: &UplinkSettings,
    outlet: &mut Outlet<D>,
    dial: &mut C,
    jitter: &mut impl Rng,
    state: &UplinkState,
) -> Result<(), UplinkError> {
    let mut backoff = FIRST_BACKOFF;
    loop {
        let opened_before = state.outcomes.get(ConnectionOutcome::Opened);
        let ended = converse(settings, outlet, dial, state).await;
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
        let wait = backoff.mul_f64(jitter.random_range(0.5..1.0));
        tracing::warn!("uplink: {error}; trying again in {:.1} s", wait.as_secs_f64());
        sleep(wait).await;
        backoff = (backoff * 2).min(LONGEST_BACKOFF);
    }
}

/// One connection: until the spool is done or something fails.
async fn converse<D: Disk, C: Dial>(
    settings: &UplinkSettings,
    outlet: &mut Outlet<D>,
    dial: &mut C,
    state: &UplinkState,
) -> Result<(), UplinkError> {
    if outlet.is_done() {
        return Ok(());
    }
    let (mut read, mut write) = within(dial.dial()).await?.map_err(UplinkError::of_dialling)?;
    let hello = Message::Hello { peer: settings.origin, name: settings.name.clone() };
    session::send(&mut write, &hello).await?;
    let welcome = within(session::receive(&mut read, &mut Vec::new())).await??;
    let Message::Welcome { your_address, max_rows, max_batch_bytes } = welcome else {
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
    session::run(settings, outlet, state, read, write).await
}

async fn within<T>(work: impl Future<Output = T>) -> Result<T, UplinkError> {
    timeout(PATIENCE, work).await.map_err(|_| UplinkError::Silent)
}
