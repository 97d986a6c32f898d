//! Telling the service manager that work goes on, for as long as it does (`WatchdogSec=`, `sd_watchdog_enabled(3)`).
//!
//! A manager that is told from a timer alone learns that the timer runs. Here each stage has a [`Pulse`] that it beats once a
//! turn of its loop, also when there is nothing to do; the manager is told only if every stage has beaten since the last
//! time. A stage that hangs is restarted with the rest, by the manager.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::notify::Notifier;

/// How many times the manager is told within the time that it waits: one that comes late does no harm.
const TIMES: u32 = 3;

/// How often a stage has come round. A clone is the same pulse.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// One turn more.
    pub fn beat(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// Looks after the stages of a daemon.
#[derive(Debug)]
pub struct Watchdog {
    notifier: Notifier,
    patience: Option<Duration>,
    stages: Vec<Stage>,
}

#[derive(Debug)]
struct Stage {
    name: &'static str,
    pulse: Pulse,
    seen: u64,
}

impl Watchdog {
    /// For the manager that started this process, if it wants to be told.
    #[must_use]
    pub fn from_environment(notifier: Notifier) -> Watchdog {
        let variable = |name| std::env::var(name).ok();
        Watchdog::new(notifier, patience(variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"), std::process::id()))
    }

    /// For a manager that waits so long; `None` for one that does not wait.
    #[must_use]
    pub const fn new(notifier: Notifier, patience: Option<Duration>) -> Watchdog {
        Watchdog { notifier, patience, stages: Vec::new() }
    }

    /// Looks after this stage, too.
    #[must_use]
    pub fn watching(mut self, name: &'static str, pulse: &Pulse) -> Watchdog {
        self.stages.push(Stage { name, pulse: pulse.clone(), seen: 0 });
        self
    }

    /// Tells the manager until the daemon stops. Never returns; without a manager that waits it does nothing.
    pub async fn run(mut self) -> std::convert::Infallible {
        let Some(patience) = self.patience else { return std::future::pending().await };
        loop {
            tokio::time::sleep(patience / TIMES).await;
            let still = self.still();
            if still.is_empty() {
                // A manager that cannot be told ends us, which it does not do without a line in its own log.
                let _ = self.notifier.alive();
            } else {
                tracing::error!(
                    "no progress of {} in {:.1} s; the service manager is not told that we are well, and restarts us after {:.1} s",
                    still.join(", "),
                    (patience / TIMES).as_secs_f64(),
                    patience.as_secs_f64()
                );
            }
        }
    }

    /// The stages that have not come round since the last call.
    fn still(&mut self) -> Vec<&'static str> {
        let mut still = Vec::new();
        for stage in &mut self.stages {
            let now = stage.pulse.0.load(Relaxed);
            if now == stage.seen {
                still.push(stage.name);
            }
            stage.seen = now;
        }
        still
    }
}

/// How long the manager waits, in `WATCHDOG_USEC`; `WATCHDOG_PID` says for whom it is.
fn patience(usec: Option<String>, pid: Option<String>, own: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(own)) {
        return None;
    }
    usec?.parse().ok().filter(|&usec: &u64| usec > 0).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn the_environment_says_how_long_and_for_whom() {
        let of = |usec: &str, pid: Option<&str>| patience(Some(usec.to_owned()), pid.map(str::to_owned), 7);
        assert_eq!(of("2500000", None), Some(Duration::from_millis(2500)));
        assert_eq!(of("2500000", Some("7")), Some(Duration::from_millis(2500)));
        assert_eq!(of("2500000", Some("8")), None);
        assert_eq!(of("0", None), None);
        assert_eq!(of("soon", None), None);
        assert_eq!(patience(None, None, 7), None);
    }

    #[test]
    fn a_stage_is_still_until_it_comes_round() {
        let (quick, stuck) = (Pulse::default(), Pulse::default());
        let mut watchdog = Watchdog::new(Notifier::default(), None).watching("quick", &quick).watching("stuck", &stuck);
        assert_eq!(watchdog.still(), ["quick", "stuck"]);
        quick.beat();
        assert_eq!(watchdog.still(), ["stuck"]);
        quick.beat();
        stuck.beat();
        assert_eq!(watchdog.still(), [""; 0]);
        assert_eq!(watchdog.still(), ["quick", "stuck"]);
    }

    /// The kernel keeps a few messages for a manager that does not read, and blocks whoever sends more, if it may.
    #[tokio::test(start_paused = true)]
    async fn a_manager_that_does_not_read_holds_nobody_up() {
        let directory = tempfile::tempdir().unwrap();
        let _manager = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        let notifier = Notifier::to(directory.path().join("notify"));
        let watchdog = Watchdog::new(notifier, Some(Duration::from_millis(3)));
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(10)) => {}
            never = watchdog.run() => match never {},
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_manager_hears_nothing_while_a_stage_hangs() {
        let directory = tempfile::tempdir().unwrap();
        let manager = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        manager.set_nonblocking(true).unwrap();
        let notifier = Notifier::to(directory.path().join("notify"));
        let pulse = Pulse::default();
        let told = || {
            let mut buffer = [0; 100];
            let mut messages = 0;
            while let Ok(length) = manager.recv(&mut buffer) {
                assert_eq!(&buffer[..length], b"WATCHDOG=1");
                messages += 1;
            }
            messages
        };
        let beating = async {
            let mut beats = 0;
            for _ in 0..60 {
                tokio::time::sleep(Duration::from_millis(500)).await;
                pulse.beat();
                beats += told();
            }
            // Nobody comes round any more.
            tokio::time::sleep(Duration::from_secs(30)).await;
            (beats, told())
        };
        let watchdog = Watchdog::new(notifier, Some(Duration::from_secs(3))).watching("stage", &pulse);
        let (beats, after) = tokio::select! {
            counts = beating => counts,
            never = watchdog.run() => match never {},
        };
        assert!((28..=30).contains(&beats), "{beats}");
        // The last beat is between two looks.
        assert!(after <= 1, "{after}");
    }
}
