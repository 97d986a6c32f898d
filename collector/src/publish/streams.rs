//! Live updates: what is sent is written once for all who listen.
//!
//! ```text
//! newest view -> Streams::run: looks often, writes an event once a second at most -> watch -> Listener (one a stream) -> body
//! ```
//!
//! The watch holds the newest event and no other: whoever reads slowly misses some, and holds nobody up. Nothing is written
//! while nobody listens, and whoever counts knows nothing of all this.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::stream::unfold;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use crate::live::LiveView;

/// How often the newest view is looked at while anybody listens.
const LOOK: Duration = Duration::from_millis(200);
/// Shortest time between two events.
const LEAST: Duration = Duration::from_secs(1);
/// Longest time between two events: without a change of the view, too, things change as time passes.
const MOST: Duration = Duration::from_secs(15);
/// Longest life of a stream; who it is that asks is found out again with the next one. It is a little shorter than that of a
/// connection, so that a stream on a fresh one ends and is not cut off. On one that was used before it may be cut: clients ask again.
const LONGEST: Duration = Duration::from_secs(570);
/// How long an event may wait for its client before the client is called too slow.
const SLOWEST: Duration = Duration::from_secs(30);
/// What a stream begins with: after how many milliseconds a client whose stream has ended should ask again.
const RETRY: &[u8] = b"retry: 5000\n";

/// All open streams.
#[derive(Debug)]
pub struct Streams {
    events: watch::Sender<Option<Event>>,
    /// A permit for each stream that may be open.
    places: Arc<Semaphore>,
    /// Whether somebody has come who needs a new event.
    wanted: Notify,
    /// True, or without a sender, when all shall end.
    ended: watch::Receiver<bool>,
}

/// What all listeners are sent.
#[derive(Clone, Debug)]
struct Event {
    generation: u64,
    written: Instant,
    bytes: Bytes,
}

/// One open stream.
#[derive(Debug)]
pub(super) struct Listener {
    events: watch::Receiver<Option<Event>>,
    ended: watch::Receiver<bool>,
    /// When it ends at the latest.
    until: Instant,
    /// When the last event was handed over to be sent.
    sent: Option<Instant>,
    _place: OwnedSemaphorePermit,
}

impl Streams {
    /// None is open. So many may be; all end when `ended` says so.
    #[must_use]
    pub fn new(most: usize, ended: watch::Receiver<bool>) -> Streams {
        let places = Arc::new(Semaphore::new(most));
        Streams { events: watch::Sender::new(None), places, wanted: Notify::new(), ended }
    }

    /// How many are open.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.events.receiver_count() as u64
    }

    /// A further one, unless there are as many as may be.
    pub(super) fn listen(&self) -> Option<Listener> {
        let place = self.places.clone().try_acquire_owned().ok()?;
        let mut events = self.events.subscribe();
        let is_fresh = events.borrow().as_ref().is_some_and(|event| event.written.elapsed() < LEAST);
        if is_fresh {
            events.mark_changed();
        } else {
            self.wanted.notify_one();
        }
        let until = Instant::now() + LONGEST;
        Some(Listener { events, ended: self.ended.clone(), until, sent: None, _place: place })
    }

    /// Writes events until all shall end; `write` puts what is said of a view on one line.
    pub(super) async fn run(&self, view: impl Fn() -> Arc<LiveView>, write: impl Fn(&LiveView) -> Option<Vec<u8>>) {
        let mut ended = self.ended.clone();
        loop {
            let is_wanted = tokio::select! {
                _ = ended.wait_for(|ended| *ended) => return,
                () = self.wanted.notified() => true,
                () = tokio::time::sleep(LOOK), if self.open() > 0 => false,
            };
            let view = view();
            let is_due = self.events.borrow().as_ref().is_none_or(|event| {
                let age = event.written.elapsed();
                age >= MOST || (age >= LEAST && (is_wanted || event.generation != view.generation))
            });
            if let Some(line) = is_due.then(|| write(&view)).flatten() {
                let generation = view.generation;
                let bytes = [format!("event: status\nid: {generation}\ndata: ").as_bytes(), &line, b"\n\n"].concat();
                self.events.send_replace(Some(Event { generation, written: Instant::now(), bytes: bytes.into() }));
            }
        }
    }
}

impl Listener {
    /// What is sent.
    pub(super) fn body(self) -> Body {
        Body::from_stream(unfold(self, |mut listener| async move {
            let event = listener.next().await?;
            Some((Ok::<_, Infallible>(event), listener))
        }))
    }

    /// The next event, or `None` when the stream ends.
    async fn next(&mut self) -> Option<Bytes> {
        // The next one is asked for when the last one is on its way.
        if self.sent.is_some_and(|sent| sent.elapsed() > SLOWEST) {
            return None;
        }
        tokio::select! {
            biased;
            _ = self.ended.wait_for(|ended| *ended) => return None,
            () = tokio::time::sleep_until(self.until) => return None,
            changed = self.events.changed() => changed.ok()?,
        }
        let bytes = self.events.borrow_and_update().as_ref()?.bytes.clone();
        let is_first = self.sent.replace(Instant::now()).is_none();
        Some(if is_first { [RETRY, &bytes].concat().into() } else { bytes })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use super::*;
    use crate::clock::SystemClock;
    use crate::config::Config;
    use crate::pipeline::Links;

    /// A clock that a test moves; streams whose view has the generation that the test says; how often was written.
    struct World {
        streams: Arc<Streams>,
        generation: Arc<AtomicU64>,
        written: Arc<AtomicU64>,
        end: watch::Sender<bool>,
    }

    fn world(most: usize) -> World {
        let (end, ended) = watch::channel(false);
        let streams = Arc::new(Streams::new(most, ended));
        let [generation, written] = [0, 0].map(|n| Arc::new(AtomicU64::new(n)));
        let empty = Links::new(&Config::default(), Arc::new(SystemClock)).view.load_full();
        let (running, now, count) = (streams.clone(), generation.clone(), written.clone());
        tokio::spawn(async move {
            let view = || Arc::new(LiveView { generation: now.load(Relaxed), ..LiveView::clone(&empty) });
            let write = |view: &LiveView| {
                count.fetch_add(1, Relaxed);
                Some(format!("{{\"generation\":{}}}", view.generation).into_bytes())
            };
            running.run(view, write).await;
        });
        World { streams, generation, written, end }
    }

    async fn text(listener: &mut Listener) -> Option<String> {
        let event = listener.next().await?;
        Some(String::from_utf8(event.to_vec()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn one_event_comes_at_once_and_further_ones_with_changes() {
        let World { streams, generation, written, end: _end } = world(2);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(written.load(Relaxed), 0, "nobody listens");
        generation.store(7, Relaxed);
        let begun = Instant::now();
        let mut listener = streams.listen().unwrap();
        let first = "retry: 5000\nevent: status\nid: 7\ndata: {\"generation\":7}\n\n";
        assert_eq!(text(&mut listener).await.as_deref(), Some(first));
        assert!(begun.elapsed() < Duration::from_millis(10), "{:?}", begun.elapsed());
        // A change within the second waits for its end.
        generation.store(8, Relaxed);
        assert_eq!(text(&mut listener).await.as_deref(), Some("event: status\nid: 8\ndata: {\"generation\":8}\n\n"));
        let age = begun.elapsed();
        assert!(age >= LEAST && age <= LEAST + 2 * LOOK, "{age:?}");
        // Without a change one comes all the same.
        assert!(text(&mut listener).await.unwrap().contains("id: 8\n"));
        let age = begun.elapsed() - age;
        assert!(age >= MOST && age <= MOST + 2 * LOOK, "{age:?}");
        // Whoever comes later begins with what the others have, if it is fresh.
        let mut other = streams.listen().unwrap();
        assert!(text(&mut other).await.unwrap().starts_with("retry: 5000\nevent: status\nid: 8\n"));
        assert_eq!((written.load(Relaxed), streams.open()), (3, 2));
        // And else with a new one, which the others have, too.
        drop(other);
        tokio::time::sleep(5 * LEAST).await;
        let mut other = streams.listen().unwrap();
        let both = [text(&mut other).await, text(&mut listener).await];
        assert!(both.iter().flatten().all(|event| event.contains("id: 8\n")), "{both:?}");
        assert_eq!(written.load(Relaxed), 4);
        drop((other, listener));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!((written.load(Relaxed), streams.open()), (4, 0), "nobody listens any more");
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_limited_and_given_back() {
        let World { streams, end: _end, .. } = world(2);
        let (one, two) = (streams.listen().unwrap(), streams.listen().unwrap());
        assert!(streams.listen().is_none());
        drop(one.body());
        let three = streams.listen().unwrap();
        assert!(streams.listen().is_none());
        drop((two, three));
        assert_eq!(streams.open(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_slowly_misses_events_and_is_given_up() {
        let World { streams, generation, end: _end, .. } = world(2);
        let mut slow = streams.listen().unwrap();
        assert!(text(&mut slow).await.is_some());
        for change in 1..=20 {
            generation.store(change, Relaxed);
            tokio::time::sleep(LEAST).await;
        }
        // The newest wins, and no other is kept.
        let next = text(&mut slow).await.unwrap();
        assert!(next.contains("id: 20\n") || next.contains("id: 19\n"), "{next}");
        tokio::time::sleep(SLOWEST + LEAST).await;
        assert_eq!(text(&mut slow).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_after_its_time_or_with_the_collector() {
        let World { streams, end, .. } = world(4);
        let mut listener = streams.listen().unwrap();
        let begun = Instant::now();
        let mut events = 0;
        while text(&mut listener).await.is_some() {
            events += 1;
        }
        assert_eq!(begun.elapsed(), LONGEST);
        assert!((LONGEST.as_secs() / (MOST.as_secs() + 1)..=LONGEST.as_secs() / MOST.as_secs() + 1).contains(&events));
        let mut listener = streams.listen().unwrap();
        assert!(text(&mut listener).await.is_some());
        end.send(true).unwrap();
        assert_eq!(text(&mut listener).await, None);
        // So does one that is opened then, and one of a collector that is gone without having said so.
        assert_eq!(text(&mut streams.listen().unwrap()).await, None);
        drop(end);
        assert_eq!(text(&mut streams.listen().unwrap()).await, None);
    }
}
