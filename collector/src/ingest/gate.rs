//! Who is let in, and what all connections share.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::Sender;
use martlet_telemetry::counters::Labelled;
use martlet_telemetry::latency::Latency;
use martlet_wire::v1::{Message, RefusalReason};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, join};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use super::budget::Budget;
use super::connection::{self, Caller};
use super::counters::{Counters, Refusal, TlsFailure, Violation};
use super::enrolling;
use super::frames::FrameRules;
use super::lobby::Lobby;
use super::tls::{Accepted, Tls};
use crate::aggregate::DecodeJob;
use crate::config::IngestConfig;
use crate::enroll::EnrolOutcome;
use crate::journal::{Queue, State};
use crate::signal::Once;

/// After how long without one a line about peers that break rules may be written.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);
/// Certificates that are made at a time: each takes the store for some milliseconds, and strangers can ask for one.
const MAX_ENROLLING: usize = 2;
/// How long a peer that is not let in may take to be told.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(1);

/// Serves connections, whatever carries them: sockets, or a simulation's.
#[derive(Clone, Debug)]
pub struct Gate {
    pub(super) shared: Arc<Shared>,
    tls: Option<Tls>,
}

/// What a gate leads to.
#[derive(Debug)]
pub struct Behind {
    /// The workers' queue of payloads to decode.
    pub decode: Sender<DecodeJob>,
    /// The way to the journal stage.
    pub queue: Queue,
    /// What the journal stage says of itself.
    pub state: Arc<State>,
    /// Memory for batches in flight.
    pub batch_memory: Budget,
    /// How long batches wait for their Acks.
    pub acknowledgement: Arc<Latency>,
}

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: IngestConfig,
    pub(super) rules: FrameRules,
    pub(super) behind: Behind,
    pub(super) counters: Arc<Counters>,
    /// Connections since the start.
    connections: AtomicU64,
    /// Connections open from each address or /64; holds only what is open now.
    callers: Mutex<HashMap<IpAddr, usize>>,
    /// Those who have not said who they are.
    lobby: Lobby,
    complaints: Complaints,
    /// Those who may be at the store for a certificate at a time.
    pub(super) enrolling: Semaphore,
}

/// At most one line in each interval: hostile peers must not fill the disk with lines about them.
#[derive(Debug, Default)]
struct Complaints {
    next: Mutex<Option<Instant>>,
    withheld: AtomicU64,
}

impl Complaints {
    /// Whether a line may be written now, and how many were not written since the last one.
    fn turn(&self) -> Option<u64> {
        let now = Instant::now();
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if next.is_some_and(|next| now < next) {
            self.withheld.fetch_add(1, Relaxed);
            return None;
        }
        *next = Some(now + COMPLAINT_INTERVAL);
        Some(self.withheld.swap(0, Relaxed))
    }
}

impl Shared {
    /// Writes a line about somebody who got no certificate, if none was written of late.
    pub(super) fn complain_of_enrolment(&self, number: u64, outcome: EnrolOutcome) {
        if let Some(withheld) = self.complaints.turn() {
            let reason = EnrolOutcome::NAMES[outcome.index()];
            tracing::warn!(
                "connection {number} got no certificate: {reason} ({withheld} more since the last such line)"
            );
        }
    }

    /// Counts a connection that ended before it was anybody's, and writes a line about it in its turn.
    pub(super) fn end(&self, number: u64, violation: Violation, failure: Option<TlsFailure>) {
        self.counters.violations.increment(violation);
        if let Some(failure) = failure {
            self.counters.tls_failures.increment(failure);
        }
        self.complain(number, "", violation, failure.map_or(violation.advice(), TlsFailure::advice));
    }

    /// Writes a line about a peer that broke a rule, if none was written of late. Everything is counted anyway.
    pub(super) fn complain(&self, number: u64, name: &str, violation: Violation, advice: &str) {
        let Some(withheld) = self.complaints.turn() else {
            return;
        };
        let reason = Violation::NAMES[violation.index()];
        let name = if name.is_empty() { "a peer without a name" } else { name };
        tracing::warn!(
            "connection {number} of {name} ended: {reason}{advice} ({withheld} more since the last such line)"
        );
    }
}

impl Gate {
    /// A gate that lets in what the configuration allows.
    #[must_use]
    pub fn new(config: IngestConfig, counters: Arc<Counters>, behind: Behind) -> Gate {
        // However they are configured, strangers leave half of all connections to those who said Hello.
        let lobby = Lobby::new(config.max_waiting_connections.min(config.max_connections / 2));
        let rules = FrameRules {
            limits: config.limits(),
            silence: config.frame_timeout(),
            pace: config.min_bytes_per_second,
            budget: Budget::new(config.frame_memory_bytes),
        };
        let shared = Shared {
            config,
            rules,
            behind,
            counters,
            connections: AtomicU64::new(0),
            callers: Mutex::default(),
            lobby,
            complaints: Complaints::default(),
            enrolling: Semaphore::new(MAX_ENROLLING),
        };
        Gate { shared: Arc::new(shared), tls: None }
    }

    /// The same gate behind TLS, if there is any.
    #[must_use]
    pub fn behind_tls(self, tls: Option<Tls>) -> Gate {
        Gate { tls, ..self }
    }

    /// Serves one connection from `peer` until it ends, or until it has answered what it had taken when `stopping`
    /// happened. One too many is told so; with TLS it is only ended, since telling would take a handshake.
    pub async fn serve<R, W>(&self, read: R, mut write: W, peer: IpAddr, stopping: &Once)
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        match Visit::admit(&self.shared, peer) {
            Ok(_visit) => {
                let number = self.shared.connections.fetch_add(1, Relaxed) + 1;
                let caller = Caller {
                    address: peer,
                    number,
                    hello_by: Instant::now() + self.shared.config.handshake_timeout(),
                    peer: None,
                    guest: self.shared.lobby.enter(number),
                };
                match &self.tls {
                    None => connection::serve(&self.shared, read, write, &caller, stopping).await,
                    Some(tls) => self.serve_tls(tls, join(read, write), caller, stopping).await,
                }
            }
            Err(refusal) => {
                self.shared.counters.refused.increment(refusal);
                if self.tls.is_none() {
                    let mut out = Vec::new();
                    Message::Refused { reason: RefusalReason::Full }.write(&mut out);
                    let _ = timeout(REFUSAL_PATIENCE, write.write_all(&out)).await;
                }
            }
        }
    }

    /// As [`connection::serve`], behind a handshake.
    async fn serve_tls<IO>(&self, tls: &Tls, line: IO, caller: Caller<'_>, stopping: &Once)
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let accepted = tokio::select! {
            biased;
            () = stopping.happened() => return,
            () = caller.guest.shown_out() => return self.shared.end(caller.number, Violation::CrowdedOut, None),
            accepted = timeout_at(caller.hello_by, tls.accept(line)) => accepted,
        };
        match accepted {
            Ok(Ok(Some(Accepted::Sensor((read, write), peer)))) => {
                connection::serve(&self.shared, read, write, &Caller { peer, ..caller }, stopping).await;
            }
            Ok(Ok(Some(Accepted::Enrolling(line, shown, enroller)))) => {
                enrolling::serve(&self.shared, *line, shown, enroller, &caller).await;
            }
            Ok(Ok(None)) => {}
            Ok(Err(failure)) => self.shared.end(caller.number, Violation::TlsHandshake, Some(failure)),
            Err(_) => self.shared.end(caller.number, Violation::HandshakeTimeout, None),
        }
    }

    /// Counts a connection that the system could not hand over.
    pub(super) fn accept_failed(&self, error: &std::io::Error) {
        self.shared.counters.refused.increment(Refusal::AcceptFailed);
        if let Some(withheld) = self.shared.complaints.turn() {
            tracing::warn!("cannot accept connections: {error} ({withheld} more since the last such line)");
        }
    }
}

/// A connection that is being served; leaving is counted when it is dropped.
struct Visit<'a> {
    shared: &'a Shared,
    caller: IpAddr,
}

impl Visit<'_> {
    fn admit(shared: &Shared, peer: IpAddr) -> Result<Visit<'_>, Refusal> {
        let caller = caller(peer);
        let mut callers = shared.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.counters.open.load(Relaxed) >= shared.config.max_connections as u64 {
            return Err(Refusal::Connections);
        }
        let here = callers.entry(caller).or_default();
        if *here >= shared.config.max_connections_per_address {
            return Err(Refusal::PerPeer);
        }
        *here += 1;
        shared.counters.open.fetch_add(1, Relaxed);
        shared.counters.accepted.fetch_add(1, Relaxed);
        Ok(Visit { shared, caller })
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        let mut callers = self.shared.callers.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.counters.open.fetch_sub(1, Relaxed);
        if let Some(here) = callers.get_mut(&self.caller) {
            *here -= 1;
            if *here == 0 {
                callers.remove(&self.caller);
            }
        }
    }
}

/// Whom connections are counted against: an IPv4 address, or an IPv6 /64, which is what one subscriber gets.
fn caller(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}
