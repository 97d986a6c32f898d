//! Which certificates are revoked, as of a moment ago: for each handshake, and for connections that are open.

use std::collections::HashSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use martlet_enrol::{Facts, Serial};
use martlet_window::SensorName;
use tokio::time::{Instant, sleep_until};

use crate::ingest::Violation;
use crate::signal::Event;

/// The certificates that are revoked.
#[derive(Debug, Default)]
pub struct Peers {
    revoked: ArcSwap<HashSet<Serial>>,
    changed: Event,
}

impl Peers {
    /// Whether a certificate is revoked.
    #[must_use]
    pub fn is_revoked(&self, serial: &Serial) -> bool {
        self.revoked.load().contains(serial)
    }

    /// Takes what was read in place of what is there; says whether that is another.
    pub fn replace(&self, revoked: HashSet<Serial>) -> bool {
        let is_new = **self.revoked.load() != revoked;
        if is_new {
            self.revoked.store(Arc::new(revoked));
            self.changed.happen();
        }
        is_new
    }
}

/// Who made a connection, by its certificate.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The only name that it may speak for.
    pub name: SensorName,
    /// When its certificate ends, and among which it may be revoked; `None` if that is looked at only in the handshake.
    pub watched: Option<Watched>,
}

impl Peer {
    /// The sensor in a certificate of our own CA. `now` in seconds since the Unix epoch.
    pub(crate) fn of_own(shown: &Facts, peers: Arc<Peers>, now: i64) -> Option<Peer> {
        Some(Peer { name: shown.name.clone()?, watched: Some(Watched::new(shown, peers, now)) })
    }
}

/// A certificate of our CA.
#[derive(Clone, Debug)]
pub struct Watched {
    serial: Serial,
    ends: Instant,
    peers: Arc<Peers>,
}

impl Watched {
    /// A certificate that was shown. `now` in seconds since the Unix epoch.
    fn new(facts: &Facts, peers: Arc<Peers>, now: i64) -> Watched {
        let left = u64::try_from(facts.not_after.saturating_sub(now)).unwrap_or(0);
        // Tokio's clock does not reach as far as certificates may.
        let left = std::time::Duration::from_secs(left.min(100 * 365 * 86_400));
        Watched { serial: facts.serial.clone(), ends: Instant::now() + left, peers }
    }

    /// Waits until the certificate ends, one way or the other.
    pub async fn ended(&self) -> Violation {
        let mut changes = self.peers.changed.listen();
        loop {
            if self.peers.is_revoked(&self.serial) {
                return Violation::Revoked;
            }
            tokio::select! {
                biased;
                () = changes.heard() => {}
                () = sleep_until(self.ends) => return Violation::CertificateExpired,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    fn facts(serial: &Serial) -> Facts {
        let (name, host_names) = (None, Vec::new());
        Facts { serial: serial.clone(), name, host_names, not_before: 0, not_after: 1060, is_root: false }
    }

    #[test]
    fn an_open_connection_hears_of_its_revocation_and_of_its_end() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (peers, serial, other) = (Arc::new(Peers::default()), Serial::new(), Serial::new());
            let watched = Watched::new(&facts(&serial), peers.clone(), 1000);
            let waiting = tokio::spawn({
                let watched = watched.clone();
                async move { watched.ended().await }
            });
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(peers.replace(HashSet::from([other.clone()])));
            assert!(!peers.replace(HashSet::from([other])));
            assert!(timeout(Duration::from_secs(1), watched.ended()).await.is_err());
            let begun = Instant::now();
            assert!(peers.replace(HashSet::from([serial.clone()])));
            assert_eq!(waiting.await.unwrap(), Violation::Revoked);
            assert_eq!(begun.elapsed(), Duration::ZERO);
            let watched = Watched::new(&facts(&Serial::new()), peers, 1000);
            assert_eq!(watched.ended().await, Violation::CertificateExpired);
            assert_eq!(begun.elapsed(), Duration::from_secs(60));
        });
    }
}
