//! Reads files again when they change.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::file::Stamps;
use super::{Geo, GeoError, Part, Reload, Snapshot, Stale};
use crate::clock::SharedClock;
use crate::config::GeoConfig;

/// How often it is looked whether a file has changed.
pub const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The files of one part, and what is known of them.
pub(super) struct Watched {
    part: Part,
    paths: Vec<PathBuf>,
    /// As they were when they were last read, or when reading was tried.
    tried: Stamps,
    /// As they were when they were last looked at.
    seen: Stamps,
}

impl Watched {
    /// Every part that is configured.
    pub(super) fn all(config: &GeoConfig) -> Vec<Watched> {
        let parts = Part::ALL.iter().map(|&part| (part, part.paths(config))).filter(|(_, paths)| !paths.is_empty());
        let watched = parts.map(|(part, paths)| {
            let now = Stamps::take(&paths);
            Watched { part, paths, tried: now.clone(), seen: now }
        });
        watched.collect()
    }

    /// Whether the files are others than those that were tried. A file that is just being written changes from one look to
    /// the next, and would be half a file.
    fn is_due(&mut self) -> bool {
        let now = Stamps::take(&self.paths);
        let at_rest = now == self.seen;
        self.seen = now;
        if !at_rest || self.seen == self.tried {
            return false;
        }
        self.tried = self.seen.clone();
        true
    }
}

/// Looks after the files behind a [`Geo`].
pub struct Watcher {
    geo: Arc<Geo>,
    watched: Vec<Watched>,
}

impl Watcher {
    pub(super) const fn new(geo: Arc<Geo>, watched: Vec<Watched>) -> Watcher {
        Watcher { geo, watched }
    }

    /// Whether there is nothing to look after.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.watched.is_empty()
    }

    /// Looks every [`POLL_INTERVAL`] until the other end of `stop` is gone.
    pub fn run(mut self, clock: &SharedClock, stop: &Receiver<Infallible>) {
        // Reading a large database must not take the time of a thread that counts. On Linux this is of the calling thread
        // alone; where it is refused, reading merely costs more.
        let _ = rustix::process::nice(19);
        while stop.recv_timeout(POLL_INTERVAL) == Err(RecvTimeoutError::Timeout) {
            self.poll(clock.now_ms());
        }
    }

    /// Looks once, and reads again what has changed and is at rest: files that were the same at this look and the one before.
    /// What cannot be used leaves in place what is there. `now_ms`: since the Unix epoch.
    pub fn poll(&mut self, now_ms: i64) {
        for watched in &mut self.watched {
            if watched.is_due() {
                let next = next(&self.geo.snapshot(), watched.part, &watched.paths, now_ms);
                self.geo.current.store(Arc::new(next));
            }
        }
    }
}

/// The snapshot after a part was read again, or could not be.
fn next(current: &Snapshot, part: Part, paths: &[PathBuf], now_ms: i64) -> Snapshot {
    let mut next = current.clone();
    let before = next.reloads[part as usize].unwrap_or_default();
    let after = match next.read_part(part, paths) {
        Ok(()) => {
            tracing::info!("geo.{}: read again; {}", part.key(), next.describe().join("; "));
            Reload { loaded: before.loaded + 1, stale: None, ..before }
        }
        Err(problem) => {
            let reason = problem.reason();
            tracing::error!("{}; what was read before stays in use", GeoError { part, problem });
            let since_ms = before.stale.map_or(now_ms, |stale| stale.since_ms);
            Reload { failed: before.failed + 1, stale: Some(Stale { reason, since_ms }), ..before }
        }
    };
    next.reloads[part as usize] = Some(after);
    next
}
