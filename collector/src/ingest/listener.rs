//! Taking connections, within limits.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use martlet_telemetry::counters::Labelled;
use martlet_wire::v1::{Message, RefusalReason};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::budget::Budget;
use super::connection;
use super::counters::{Counters, Refusal, Violation};
use super::frames::FrameRules;
use super::ledger::Ledger;
use crate::aggregate::Job;
use crate::config::IngestConfig;

/// After how long without one a line about peers that break rules may be written.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);
/// Pause after a failed accept: out of descriptors, most likely, and trying at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: IngestConfig,
    pub(super) rules: FrameRules,
    pub(super) batch_budget: Budget,
    pub(super) ledger: Arc<Ledger>,
    pub(super) counters: Arc<Counters>,
    pub(super) jobs: Sender<Job>,
    /// Connections open from each address or /64; holds only what is open now.
    callers: Mutex<HashMap<IpAddr, usize>>,
    complaints: Complaints,
}

/// At most one line in each interval: hostile peers must not fill the disk with lines about them.
#[derive(Debug)]
struct Complaints {
    epoch: Instant,
    /// Seconds after the epoch from which on a line may be written.
    next: AtomicU64,
    withheld: AtomicU64,
}

impl Complaints {
    /// Whether a line may be written now, and how many were not written since the last one.
    fn turn(&self) -> Option<u64> {
        let now = self.epoch.elapsed().as_secs();
        let next = self.next.load(Relaxed);
        let after = now + COMPLAINT_INTERVAL.as_secs();
        let is_first = now >= next && self.next.compare_exchange(next, after, Relaxed, Relaxed).is_ok();
        if !is_first {
            self.withheld.fetch_add(1, Relaxed);
        }
        is_first.then(|| self.withheld.swap(0, Relaxed))
    }
}

impl Shared {
    /// Writes a line about a peer that broke a rule, if none was written of late. Everything is counted anyway.
    pub(super) fn complain(&self, number: u64, name: &str, violation: Violation) {
        let Some(withheld) = self.complaints.turn() else {
            return;
        };
        let reason = Violation::NAMES[violation.index()];
        let name = if name.is_empty() { "a peer without a name" } else { name };
        tracing::warn!("connection {number} of {name} ended: {reason} ({withheld} more since the last such line)");
    }
}

/// The running listener.
#[derive(Debug)]
pub struct Ingest {
    stop: watch::Sender<bool>,
    accepting: tokio::task::JoinHandle<()>,
}

/// Starts to take connections. `guard` is dropped when that ends, for whatever reason.
#[must_use]
pub fn listen(
    listener: TcpListener,
    config: IngestConfig,
    ledger: Arc<Ledger>,
    counters: Arc<Counters>,
    jobs: Sender<Job>,
    guard: impl Send + 'static,
) -> Ingest {
    let rules = FrameRules {
        limits: config.limits(),
        silence: config.frame_timeout(),
        pace: config.min_bytes_per_second,
        budget: Budget::new(config.frame_memory_bytes),
    };
    let shared = Arc::new(Shared {
        rules,
        batch_budget: Budget::new(config.batch_memory_bytes),
        ledger,
        counters,
        jobs,
        callers: Mutex::default(),
        complaints: Complaints { epoch: Instant::now(), next: AtomicU64::new(0), withheld: AtomicU64::new(0) },
        config,
    });
    let (stop, stopping) = watch::channel(false);
    let accepting = tokio::spawn(async move {
        accept(listener, shared, stopping).await;
        drop(guard);
    });
    Ingest { stop, accepting }
}

impl Ingest {
    /// Stops accepting, lets connections finish what they have taken, and waits for them.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        if self.accepting.await.is_err() {
            tracing::error!("the listener for sensors did not end cleanly");
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stopping: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let mut number = 0u64;
    let stopped = stopping.clone();
    loop {
        let accepted = tokio::select! {
            _ = stopping.wait_for(|&stop| stop) => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                shared.counters.refused.increment(Refusal::AcceptFailed);
                if let Some(withheld) = shared.complaints.turn() {
                    tracing::warn!("cannot accept connections: {error} ({withheld} more since the last such line)");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match Visit::admit(&shared, peer.ip()) {
            Ok(visit) => {
                number += 1;
                let (shared, stopped) = (shared.clone(), stopped.clone());
                connections.spawn(async move {
                    connection::serve(shared, stream, number, stopped).await;
                    drop(visit);
                });
            }
            Err(refusal) => refuse(&shared, &stream, refusal),
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

fn refuse(shared: &Shared, stream: &TcpStream, refusal: Refusal) {
    shared.counters.refused.increment(refusal);
    let mut out = Vec::new();
    Message::Refused { reason: RefusalReason::Full }.write(&mut out);
    // A new connection's send buffer has room; one that has not is not waited for.
    let _ = stream.try_write(&out);
}

/// A connection that is being served; leaving is counted when it is dropped.
struct Visit {
    shared: Arc<Shared>,
    caller: IpAddr,
}

impl Visit {
    fn admit(shared: &Arc<Shared>, peer: IpAddr) -> Result<Visit, Refusal> {
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
        Ok(Visit { shared: shared.clone(), caller })
    }
}

impl Drop for Visit {
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
