//! Waking all who wait, in the order in which they began to wait.
//!
//! `tokio::sync::watch` wakes its receivers in an order that it draws at random, and a simulation could not repeat a run.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Something that happens again and again.
#[derive(Debug, Default)]
pub struct Event {
    waiting: Notify,
}

impl Event {
    /// It happens: everybody who listens is woken.
    pub fn happen(&self) {
        self.waiting.notify_waiters();
    }

    /// Listens from now on.
    pub fn listen(&self) -> Listener<'_> {
        let mut waiting = Box::pin(self.waiting.notified());
        waiting.as_mut().enable();
        Listener { event: self, waiting }
    }
}

/// Hears of an [`Event`] also what happened while nobody waited.
#[derive(Debug)]
pub struct Listener<'a> {
    event: &'a Event,
    waiting: Pin<Box<Notified<'a>>>,
}

impl Listener<'_> {
    /// Waits until it happens, or has happened since this last returned. Cancelling it misses nothing.
    pub async fn heard(&mut self) {
        self.waiting.as_mut().await;
        self.waiting.set(self.event.waiting.notified());
        self.waiting.as_mut().enable();
    }
}

/// Something that happens once.
#[derive(Debug, Default)]
pub struct Once {
    has_happened: AtomicBool,
    event: Event,
}

impl Once {
    /// It happens.
    pub fn happen(&self) {
        self.has_happened.store(true, SeqCst);
        self.event.happen();
    }

    /// Waits until it has happened.
    pub async fn happened(&self) {
        let mut listener = self.event.listen();
        if !self.has_happened.load(SeqCst) {
            listener.heard().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Duration, timeout};

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(future)
    }

    #[test]
    fn nothing_is_missed_between_waits() {
        run(async {
            let event = Event::default();
            let mut listener = event.listen();
            let soon = Duration::from_secs(1);
            assert!(timeout(soon, listener.heard()).await.is_err());
            event.happen();
            event.happen();
            assert!(timeout(soon, listener.heard()).await.is_ok());
            assert!(timeout(soon, listener.heard()).await.is_err());
        });
    }

    #[test]
    fn once_is_for_ever() {
        run(async {
            let once = Once::default();
            assert!(timeout(Duration::from_secs(1), once.happened()).await.is_err());
            once.happen();
            once.happened().await;
            once.happened().await;
        });
    }
}
