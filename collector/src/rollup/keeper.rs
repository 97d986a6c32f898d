//! The thread that keeps the days made.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::dirty;
use super::error::RollupError;
use super::retention::{forget_days, forget_sources};
use super::roller::{Roller, Turn};
use super::weeks::close_weeks;
use crate::clock::SharedClock;
use crate::config::Config;
use crate::journal::{Health, Stall, State};

/// How long it sleeps when no day is marked.
const IDLE: Duration = Duration::from_secs(1);
/// After a day was made it rests so many times as long as that took: the day that runs is marked again and again.
const REST: u32 = 10;
/// Longest rest.
const LONGEST_REST: Duration = Duration::from_secs(600);
/// How often it looks for what is too old.
const RETENTION: Duration = Duration::from_secs(3600);
/// First wait after a failure; it doubles up to the longest.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(10);
const DAY_SECONDS: i64 = 86_400;

/// What others may know of it.
#[derive(Debug)]
pub struct HistoryState {
    /// Whether days can be made.
    pub health: Health,
    /// Days that were made since the start.
    pub made_days: AtomicU64,
    /// Days whose archive has changed since they were made.
    pub marked_days: AtomicU64,
}

impl Default for HistoryState {
    fn default() -> HistoryState {
        let (made_days, marked_days) = (AtomicU64::new(0), AtomicU64::new(0));
        HistoryState { health: Health::new("making the days of history"), made_days, marked_days }
    }
}

/// Makes days when their archive has changed, and forgets what is too old.
pub struct Keeper {
    roller: Roller,
    /// Days after which rollups are deleted; 0 for never.
    keep_days: u32,
    /// Days after which only the networks of listed sources are left; 0 for never.
    source_days: u32,
    state: Arc<State>,
    clock: SharedClock,
    looked: Option<Instant>,
}

impl Keeper {
    /// Of a roller.
    #[must_use]
    pub fn new(roller: Roller, config: &Config, state: Arc<State>, clock: SharedClock) -> Keeper {
        let (keep_days, source_days) = (config.history.keep_days, config.archive.source_days);
        Keeper { roller, keep_days, source_days, state, clock, looked: None }
    }

    /// Works until `stop` is closed. Days that are still marked then are made at the next start.
    pub fn run(mut self, stop: &Receiver<Infallible>) {
        let mut retry = FIRST_RETRY;
        loop {
            let begun = Instant::now();
            let pause = match self.turn(begun) {
                Ok(true) => (begun.elapsed() * REST).min(LONGEST_REST),
                Ok(false) => IDLE,
                Err(error) => {
                    let reason = if error.is_full() { Stall::DiskFull } else { Stall::DiskFailing };
                    self.state.history.health.stall(reason, &error, self.clock.now_ms());
                    retry = (retry * 2).min(LONGEST_RETRY);
                    retry
                }
            };
            if pause == IDLE {
                retry = FIRST_RETRY;
            }
            match stop.recv_timeout(pause) {
                Err(RecvTimeoutError::Timeout) => {}
                _ => return,
            }
        }
    }

    /// Makes every marked day, without rests.
    ///
    /// # Errors
    /// If the archive or the store fails.
    pub fn make_all(&mut self) -> Result<(), RollupError> {
        while self.turn(Instant::now())? {}
        Ok(())
    }

    /// Makes the oldest marked day; `false` if there is none.
    fn turn(&mut self, now: Instant) -> Result<bool, RollupError> {
        let is_time = self.looked.is_none_or(|at| now.duration_since(at) >= RETENTION);
        if is_time {
            self.forget()?;
            self.looked = Some(now);
        }
        let turn = self.roller.turn(self.clock.now_ms())?;
        let history = &self.state.history;
        history.health.work(self.clock.now_ms());
        if matches!(turn, Turn::Made(_)) {
            history.made_days.fetch_add(1, Relaxed);
        }
        let marked = dirty::marked(self.roller.connection(), i64::MIN..i64::MAX)?.len();
        history.marked_days.store(marked as u64, Relaxed);
        if is_time || matches!(turn, Turn::Made(_)) {
            self.close_weeks()?;
        }
        Ok(turn != Turn::Idle)
    }

    fn close_weeks(&self) -> Result<(), RollupError> {
        let now_ms = self.clock.now_ms();
        let today = now_ms.div_euclid(DAY_SECONDS * 1000);
        let oldest = if self.keep_days > 0 { today - i64::from(self.keep_days) } else { i64::MIN };
        let closed = close_weeks(self.roller.connection(), self.roller.zones(), now_ms, oldest)?;
        if closed > 0 {
            tracing::info!(revisions = closed, "weeks of history were closed");
        }
        Ok(())
    }

    fn forget(&self) -> Result<(), RollupError> {
        let today = self.clock.now().div_euclid(DAY_SECONDS);
        if self.keep_days > 0 {
            forget_days(self.roller.connection(), today - i64::from(self.keep_days), true)?;
        }
        if self.source_days > 0 {
            forget_sources(self.roller.connection(), today - i64::from(self.source_days))?;
        }
        Ok(())
    }
}
