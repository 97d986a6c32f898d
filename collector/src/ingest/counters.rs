//! What happened to connections, frames and batches, by closed lists of reasons.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use martlet_telemetry::counters::{EnumCounters, Labelled};
use martlet_telemetry::labelled;
use martlet_wire::WireError;
use martlet_wire::v1::Totals;

use crate::enroll::EnrolOutcome;

labelled! {
    /// What became of a batch frame. Each has exactly one.
    pub enum BatchOutcome {
        /// Counted.
        Accepted = "accepted",
        /// Counted before; acknowledged again.
        Duplicate = "duplicate",
        /// An earlier one is missing.
        OutOfSequence = "out_of_sequence",
        /// It does not continue the chain.
        BrokenChain = "broken_chain",
        /// Its header or columns break a rule.
        Malformed = "malformed",
        /// A newer connection had taken over its stream; the sensor sends it again.
        Superseded = "superseded",
        /// Its stream was not opened on its connection.
        NotOpened = "not_opened",
        /// Too short to say which stream it belongs to.
        Unreadable = "unreadable",
        /// Its connection or the collector ended before it was decided; the sensor sends it again.
        Discarded = "discarded",
    }
}

labelled! {
    /// Why a connection was not taken.
    pub enum Refusal {
        /// `ingest.max_connections` are open.
        Connections = "connections",
        /// `ingest.max_connections_per_address` are open from there.
        PerPeer = "per_peer",
        /// The system could not hand it over: out of descriptors, or the peer left at once.
        AcceptFailed = "accept_failed",
    }
}

labelled! {
    /// Why a connection was ended, or a request on it refused.
    pub enum Violation {
        /// No Hello, TLS handshake included, within `ingest.handshake_timeout_seconds`.
        HandshakeTimeout = "handshake_timeout",
        /// The TLS handshake failed; see the TLS failures.
        TlsHandshake = "tls_handshake",
        /// No Hello yet, and further callers came while `ingest.max_waiting_connections` had not said it either.
        CrowdedOut = "crowded_out",
        /// TLS, and `ingest.tls` is not set.
        UnexpectedTls = "unexpected_tls",
        /// A frame began and did not go on, or came too slowly.
        FrameTimeout = "frame_timeout",
        /// No frame within `ingest.idle_timeout_seconds`.
        IdleTimeout = "idle_timeout",
        /// The peer did not take its answers.
        WriteTimeout = "write_timeout",
        /// Others held the memory of `ingest.frame_memory_bytes` or `ingest.batch_memory_bytes` for too long.
        MemoryTimeout = "memory_timeout",
        /// The bytes are not the protocol; see the frame errors.
        BadFrame = "bad_frame",
        /// A frame that only collectors send, a second Hello, or anything but Hello first.
        UnexpectedFrame = "unexpected_frame",
        /// The connection ended within a frame.
        TornFrame = "torn_frame",
        /// The store could not be read.
        Store = "store",
        /// A newer connection opened a stream of this one.
        Superseded = "superseded",
        /// A sensor name that belongs to another origin, or an origin that has another name.
        NameTaken = "name_taken",
        /// A sensor name that is not the one in the peer's certificate.
        OtherName = "other_name",
        /// The certificate with which the connection was made was revoked.
        Revoked = "revoked",
        /// The certificate with which the connection was made ended.
        CertificateExpired = "certificate_expired",
        /// `ingest.max_sensors` have names.
        Sensors = "sensors",
        /// `ingest.max_streams` are known, or `ingest.max_streams_per_connection` are open.
        Streams = "streams",
    }
}

labelled! {
    /// Why a TLS handshake failed.
    pub enum TlsFailure {
        /// What came is no TLS, such as a sensor that is not set to speak it.
        NotTls = "not_tls",
        /// The peer knows no TLS 1.3, or nothing else that both know, such as enrolment.
        Incompatible = "incompatible",
        /// The peer showed no certificate, and `ingest.tls.client_ca` or `enroll.names` is set.
        NoCertificate = "no_certificate",
        /// The peer's certificate is not signed by one of `ingest.tls.client_ca` or by the collector's own CA, or expired.
        BadCertificate = "bad_certificate",
        /// The peer's certificate is revoked.
        Revoked = "revoked",
        /// The peer's certificate says no sensor's name, and names are bound to certificates.
        NoName = "no_name",
        /// The peer ended it: it does not take our certificate, most likely.
        Refused = "refused",
        /// The connection broke.
        Broken = "broken",
        /// Anything else that no right peer does.
        Other = "other",
    }
}

labelled! {
    /// Frames received whole, by type.
    pub enum FrameOutcome {
        /// Hello.
        Hello = "hello",
        /// Open.
        Open = "open",
        /// Batch.
        Batch = "batch",
        /// Lost.
        Lost = "lost",
        /// A type that only collectors send.
        Other = "other",
    }
}

impl Violation {
    /// What a line about it says besides its name.
    pub(super) const fn advice(self) -> &'static str {
        match self {
            Violation::OtherName => ": it named another sensor than its certificate does",
            Violation::CrowdedOut => {
                ": it had waited longest of ingest.max_waiting_connections that had not said Hello"
            }
            Violation::UnexpectedTls => ": a sensor with [uplink.tls] calls, and [ingest.tls] is not set",
            _ => "",
        }
    }
}

impl TlsFailure {
    /// What a line about it says.
    pub(super) const fn advice(self) -> &'static str {
        match self {
            TlsFailure::NotTls => ": what came is no TLS, perhaps from a sensor without [uplink.tls]",
            TlsFailure::Incompatible => {
                ": the peer does not know TLS 1.3, or wants to enrol and enroll.names is not set"
            }
            TlsFailure::NoCertificate => {
                ": the peer showed no certificate, and sensors must; one that is new enrols first"
            }
            TlsFailure::BadCertificate => {
                ": the peer's certificate is not signed by a CA that is trusted for sensors, or is expired"
            }
            TlsFailure::Revoked => ": the peer's certificate is revoked (martlet-collector enroll list)",
            TlsFailure::NoName => ": the peer's certificate says no sensor's name, and ingest.tls.bind_names is set",
            TlsFailure::Refused => ": the peer refused, perhaps because it does not trust our certificate",
            TlsFailure::Broken => ": the connection broke",
            TlsFailure::Other => ": the peer breaks the rules of TLS",
        }
    }
}

/// A [`WireError`] without its details.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameError(pub WireError);

impl Labelled for FrameError {
    const NAMES: &'static [&'static str] = &WireError::REASONS;

    fn index(self) -> usize {
        self.0.index()
    }
}

/// What sensors said they lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Batches.
    pub batches: u64,
    /// Windows, in whole or in part.
    pub windows: u64,
    /// Packets.
    pub packets: u64,
    /// Time watched, in milliseconds.
    pub watched_ms: u64,
}

impl Lost {
    /// The batches `from` to `to`, which held so much.
    #[must_use]
    pub const fn new(from: u64, to: u64, held: Totals) -> Lost {
        let Totals { windows, packets, watched_ms } = held;
        Lost { batches: to.saturating_sub(from).saturating_add(1), windows, packets, watched_ms }
    }

    /// Adds another loss; saturates, since these are a peer's claims.
    pub fn add(&mut self, other: &Lost) {
        self.batches = self.batches.saturating_add(other.batches);
        self.windows = self.windows.saturating_add(other.windows);
        self.packets = self.packets.saturating_add(other.packets);
        self.watched_ms = self.watched_ms.saturating_add(other.watched_ms);
    }

    /// The part `of` / `whole` of it, rounded down; `whole` is not 0.
    pub(crate) fn fraction(&self, of: u64, whole: u64) -> Lost {
        let part = |n: u64| u64::try_from(u128::from(n) * u128::from(of) / u128::from(whole)).unwrap_or(n);
        Lost {
            batches: part(self.batches),
            windows: part(self.windows),
            packets: part(self.packets),
            watched_ms: part(self.watched_ms),
        }
    }

    /// What is left without a part of it.
    pub(crate) const fn without(&self, part: &Lost) -> Lost {
        Lost {
            batches: self.batches.saturating_sub(part.batches),
            windows: self.windows.saturating_sub(part.windows),
            packets: self.packets.saturating_sub(part.packets),
            watched_ms: self.watched_ms.saturating_sub(part.watched_ms),
        }
    }
}

/// Everything that ingest counts.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections open now.
    pub open: AtomicU64,
    /// Connections taken.
    pub accepted: AtomicU64,
    /// Connections not taken.
    pub refused: Arc<EnumCounters<Refusal>>,
    /// Why connections ended or requests were refused.
    pub violations: Arc<EnumCounters<Violation>>,
    /// Why TLS handshakes failed.
    pub tls_failures: Arc<EnumCounters<TlsFailure>>,
    /// What became of those who wanted certificates.
    pub enrolments: Arc<EnumCounters<EnrolOutcome>>,
    /// Frames received whole.
    pub frames: Arc<EnumCounters<FrameOutcome>>,
    /// What was wrong with frames.
    pub frame_errors: Arc<EnumCounters<FrameError>>,
    /// Batch frames received.
    pub batches_received: AtomicU64,
    /// What became of them.
    pub batches: Arc<EnumCounters<BatchOutcome>>,
    /// Bytes of frames received whole, headers included.
    pub bytes_received: AtomicU64,
}

/// One received batch that has no outcome yet. It gets exactly one; a dropped token is a discarded batch.
#[derive(Debug)]
pub struct Token {
    counters: Arc<Counters>,
    outcome: BatchOutcome,
}

impl Token {
    /// Counts a batch as received.
    #[must_use]
    pub fn received(counters: &Arc<Counters>) -> Token {
        counters.batches_received.fetch_add(1, Relaxed);
        Token { counters: counters.clone(), outcome: BatchOutcome::Discarded }
    }

    /// Gives the batch its outcome.
    pub fn settle(mut self, outcome: BatchOutcome) {
        self.outcome = outcome;
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.counters.batches.increment(self.outcome);
    }
}
