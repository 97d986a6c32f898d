//! The thread that tells receivers: it makes deliveries of what has happened, sends what is due, and repeats open alerts.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use axum::http::{HeaderName, HeaderValue, Uri};
use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};
use martlet_telemetry::counters::EnumCounters;
use thiserror::Error;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::alertmanager;
use super::book::Book;
use super::client::{Client, ClientError};
use super::config::{ALERTMANAGER, AlertmanagerConfig, EventsConfig, WebhookConfig};
use super::error::EventError;
use super::outbox::{self, Due, Rule};
use super::retention::{self, MOST_EVENTS};
use super::webhook;
use crate::clock::SharedClock;
use crate::store::Location;

/// How often it looks whether something has happened or is due.
const POLL: Duration = Duration::from_secs(1);
/// After how long it leaves the rest of what is due to the next turn: alerts must be repeated in time.
const LONGEST_TURN: Duration = Duration::from_secs(20);
/// How often it looks for what is too old.
const RETENTION: Duration = Duration::from_secs(3600);
/// For how long nothing is sent when the store could not be written.
const HELD: Duration = Duration::from_secs(30);
/// Most open events that are told again: the most severe.
const MOST_REPEATED: usize = 500;

/// Why nobody can be told.
#[derive(Debug, Error)]
pub enum TellError {
    /// TLS cannot be set up.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A webhook's secret cannot be used.
    #[error("the secret in {} cannot be used: {reason}", path.display())]
    Secret {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] EventError),
    /// The thread's runtime cannot be made.
    #[error("cannot make a runtime: {0}")]
    Runtime(#[from] std::io::Error),
}

martlet_telemetry::labelled! {
    /// What became of an attempt to tell a target.
    pub enum Outcome {
        /// A change was taken.
        Delivered = "delivered",
        /// An attempt failed, and there will be another.
        Failed = "failed",
        /// A change was given up after days.
        GivenUp = "given_up",
        /// Open alerts were taken once more.
        Repeated = "repeated",
        /// Open alerts were to be told once more, and were not taken.
        RepeatFailed = "repeat_failed",
    }
}

/// What is counted of a target.
pub struct TargetCounters {
    /// Its name.
    pub name: String,
    /// What became of attempts.
    pub outcomes: EnumCounters<Outcome>,
    /// Deliveries that are open.
    pub pending: AtomicU64,
}

impl TargetCounters {
    /// Of every target of a configuration.
    #[must_use]
    pub fn of(config: &EventsConfig) -> Arc<[TargetCounters]> {
        let names = rules(config).into_iter().map(|rule| rule.target);
        let counters =
            names.map(|name| TargetCounters { name, outcomes: EnumCounters::new(), pending: AtomicU64::new(0) });
        counters.collect()
    }
}

/// What every target is told of, in the order of the counters.
fn rules(config: &EventsConfig) -> Vec<Rule> {
    let alertmanager = config.alertmanager().map(|alertmanager| Rule {
        target: ALERTMANAGER.to_owned(),
        min_severity: alertmanager.min_severity,
        classes: alertmanager.classes.clone(),
    });
    let webhooks = config.webhook.iter().map(|webhook| Rule {
        target: webhook.name.clone(),
        min_severity: webhook.min_severity,
        classes: webhook.classes.clone(),
    });
    alertmanager.into_iter().chain(webhooks).collect()
}

/// Who is told, and how.
enum Target {
    Alertmanager(AlertmanagerConfig),
    Webhook(WebhookConfig),
}

/// A request that is ready to be sent.
struct Message {
    uri: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Vec<u8>,
}

/// Tells receivers of events.
pub struct Courier {
    book: Book,
    config: EventsConfig,
    rules: Vec<Rule>,
    targets: Vec<Target>,
    /// Whether the last attempt of each failed: said once, and not every time.
    failing: Vec<bool>,
    counters: Arc<[TargetCounters]>,
    client: Client,
    runtime: Runtime,
    clock: SharedClock,
    repeated: Option<Instant>,
    looked: Option<Instant>,
    /// Until when nothing is sent, since the store does not take what becomes of it.
    held: Option<Instant>,
    is_store_failing: bool,
}

impl Courier {
    /// Reads what it needs of files. `counters` are [`TargetCounters::of`] the configuration.
    ///
    /// # Errors
    /// If a secret or the certificates cannot be read, or the store cannot be used.
    pub fn open(
        config: &EventsConfig,
        location: Location,
        counters: Arc<[TargetCounters]>,
        clock: SharedClock,
    ) -> Result<Courier, TellError> {
        let client = Client::new(config.uses_tls().then_some(config.ca_file.as_path()))?;
        config.webhook.iter().try_for_each(|webhook| webhook::secret(&webhook.secret_file).map(drop))?;
        let rules = rules(config);
        let alertmanager = config.alertmanager().cloned().map(Target::Alertmanager);
        let targets: Vec<_> =
            alertmanager.into_iter().chain(config.webhook.iter().cloned().map(Target::Webhook)).collect();
        let book = Book::new(location);
        book.with(|connection| outbox::retire(connection, &rules, clock.now_ms()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Courier {
            book,
            config: config.clone(),
            failing: vec![false; rules.len()],
            rules,
            targets,
            counters,
            client,
            runtime,
            clock,
            repeated: None,
            looked: None,
            held: None,
            is_store_failing: false,
        })
    }

    /// Works until the other end of `stop` is gone. What is not delivered then is after the next start.
    pub fn run(mut self, stop: &Receiver<Infallible>) {
        loop {
            match self.turn(Instant::now(), stop) {
                Ok(()) => self.is_store_failing = false,
                Err(error) if !self.is_store_failing => {
                    self.is_store_failing = true;
                    tracing::error!("cannot tell of events: {error}; it is tried again");
                }
                Err(_) => {}
            }
            if stop.recv_timeout(POLL) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    /// Does what is due now: repeats what is open, makes deliveries, sends some of each target, forgets. What the store refuses keeps
    /// nothing else from being done; the first refusal is told.
    fn turn(&mut self, now: Instant, stop: &Receiver<Infallible>) -> Result<(), EventError> {
        // First, for it only reads, and what Alertmanager does not hear of is over there.
        let steps = [self.repeat(now), self.tell_changes(now, stop), self.count_pending(), self.forget(now)];
        steps.into_iter().collect()
    }

    fn tell_changes(&mut self, now: Instant, stop: &Receiver<Infallible>) -> Result<(), EventError> {
        // A store that did not take what became of a message would have it sent again at once.
        if self.held.is_some_and(|until| now < until) {
            return Ok(());
        }
        let (rules, now_ms) = (&self.rules, self.clock.now_ms());
        while self.book.with(|connection| outbox::fill(connection, rules, now_ms))? {}
        // One that failed waits for the next turn, so that a backlog to a receiver that hangs holds up neither others nor what is
        // repeated; and receivers that take their time must not keep a collector that is to stop.
        let mut has_failed = vec![false; self.rules.len()];
        loop {
            let delivered = self.deliver(&mut has_failed);
            self.held = delivered.is_err().then(|| now + HELD);
            if !delivered? || now.elapsed() >= LONGEST_TURN || stop.try_recv() != Err(TryRecvError::Empty) {
                return Ok(());
            }
        }
    }

    fn count_pending(&self) -> Result<(), EventError> {
        for (rule, counters) in self.rules.iter().zip(&*self.counters) {
            let pending = self.book.with(|connection| outbox::pending(connection, &rule.target))?;
            counters.pending.store(pending, Relaxed);
        }
        Ok(())
    }

    fn forget(&mut self, now: Instant) -> Result<(), EventError> {
        if self.looked.is_some_and(|at| now.duration_since(at) < RETENTION) {
            return Ok(());
        }
        self.looked = Some(now);
        let (keep_days, now_ms) = (self.config.keep_days, self.clock.now_ms());
        let gone = self.book.with(|connection| {
            outbox::forget(connection, now_ms)?;
            retention::forget(connection, keep_days, MOST_EVENTS, now_ms)
        })?;
        if gone > 0 {
            tracing::info!(events = gone, "old events were forgotten");
        }
        Ok(())
    }

    /// Sends what has waited longest, one of each target at a time, so that a slow one holds others up for one timeout at most;
    /// `false` if nothing was due.
    fn deliver(&mut self, has_failed: &mut [bool]) -> Result<bool, EventError> {
        let now_ms = self.clock.now_ms();
        let mut sent = Vec::new();
        for (place, rule) in self.rules.iter().enumerate() {
            if has_failed.get(place) == Some(&true) {
                continue;
            }
            let due = self.book.with(|connection| outbox::due(connection, &rule.target, now_ms))?;
            sent.extend(due.map(|due| (place, due)));
        }
        if sent.is_empty() {
            return Ok(false);
        }
        let messages = sent.iter().map(|(place, due)| self.message(*place, due, now_ms)).collect();
        let outcomes = self.send(messages);
        for ((place, due), outcome) in sent.into_iter().zip(outcomes) {
            if let Some(failed) = has_failed.get_mut(place) {
                *failed = outcome.is_err();
            }
            self.settle(place, &due, outcome)?;
        }
        Ok(true)
    }

    fn message(&self, place: usize, due: &Due, now_ms: i64) -> Result<Message, String> {
        let (now, link) = (now_ms.div_euclid(1000), self.config.external_url.as_deref());
        match self.targets.get(place) {
            Some(Target::Alertmanager(config)) => alerts(config, &[alertmanager::alert(&due.event, config, link, now)]),
            Some(Target::Webhook(config)) => {
                // Read each time: a secret may be exchanged while the collector runs.
                let secret = webhook::secret(&config.secret_file).map_err(|error| error.to_string())?;
                let body = webhook::body(due, link);
                let headers = webhook::headers(due, &secret, now, &body);
                Ok(Message { uri: address(&config.url)?, headers, body })
            }
            None => Err("the target is gone".to_owned()),
        }
    }

    /// Sends messages at once, and waits for all answers.
    fn send(&self, messages: Vec<Result<Message, String>>) -> Vec<Result<(), String>> {
        let mut outcomes: Vec<_> = messages.iter().map(|_| Err("it was not sent".to_owned())).collect();
        self.runtime.block_on(async {
            let mut sending = JoinSet::new();
            for (place, message) in messages.into_iter().enumerate() {
                let client = self.client.clone();
                sending.spawn(async move {
                    let outcome = match message {
                        Ok(Message { uri, headers, body }) => {
                            client.post(&uri, headers, body).await.map_err(|error| error.to_string())
                        }
                        Err(error) => Err(error),
                    };
                    (place, outcome)
                });
            }
            while let Some(done) = sending.join_next().await {
                if let Ok((place, outcome)) = done
                    && let Some(cell) = outcomes.get_mut(place)
                {
                    *cell = outcome;
                }
            }
        });
        outcomes
    }

    fn settle(&mut self, place: usize, due: &Due, outcome: Result<(), String>) -> Result<(), EventError> {
        let now_ms = self.clock.now_ms();
        let Some(counters) = self.counters.get(place) else { return Ok(()) };
        let settled = match &outcome {
            Ok(()) => {
                self.book.with(|connection| outbox::delivered(connection, due, now_ms))?;
                Outcome::Delivered
            }
            Err(error) => match self.book.with(|connection| outbox::failed(connection, due, error, now_ms))? {
                true => Outcome::GivenUp,
                false => Outcome::Failed,
            },
        };
        counters.outcomes.increment(settled);
        if settled == Outcome::GivenUp {
            let (name, id, days) = (&counters.name, due.event.id, outbox::GIVE_UP_DAYS);
            tracing::error!("{name} was not told of event {id}: given up after {days} days");
        }
        self.tell_condition(place, outcome.as_ref().err());
        Ok(())
    }

    /// Says once that a target fails, and once that it does not any more.
    fn tell_condition(&mut self, place: usize, error: Option<&String>) {
        let (Some(failing), Some(counters)) = (self.failing.get_mut(place), self.counters.get(place)) else { return };
        match error {
            Some(error) if !*failing => {
                tracing::warn!("{} cannot be told of events: {error}; it is tried again", counters.name);
            }
            None if *failing => tracing::info!("{} is told of events again", counters.name),
            _ => {}
        }
        *failing = error.is_some();
    }

    /// Tells Alertmanager of everything that is open, again and again: it forgets what it does not hear of.
    fn repeat(&mut self, now: Instant) -> Result<(), EventError> {
        let pause = Duration::from_secs(alertmanager::REPEAT_SECONDS.unsigned_abs());
        let (Some(Target::Alertmanager(config)), Some(rule)) = (self.targets.first(), self.rules.first()) else {
            return Ok(());
        };
        if self.repeated.is_some_and(|at| now.duration_since(at) < pause) {
            return Ok(());
        }
        self.repeated = Some(now);
        let open = self.book.open_events(MOST_REPEATED)?;
        let (link, seconds) = (self.config.external_url.as_deref(), self.clock.now_ms().div_euclid(1000));
        let told = open.iter().filter(|event| rule.wants(event.id.class, event.severity));
        let alerts_now: Vec<_> = told.map(|event| alertmanager::alert(event, config, link, seconds)).collect();
        if alerts_now.is_empty() {
            return Ok(());
        }
        let outcome = self.send(vec![alerts(config, &alerts_now)]).pop().unwrap_or(Ok(()));
        if let Some(counters) = self.counters.first() {
            counters.outcomes.increment(if outcome.is_ok() { Outcome::Repeated } else { Outcome::RepeatFailed });
        }
        self.tell_condition(0, outcome.as_ref().err());
        Ok(())
    }
}

fn alerts(config: &AlertmanagerConfig, alerts: &[alertmanager::Alert]) -> Result<Message, String> {
    let uri = address(&format!("{}{}", config.url.trim_end_matches('/'), alertmanager::PATH))?;
    let body = serde_json::to_vec(alerts).map_err(|error| error.to_string())?;
    Ok(Message { uri, headers: Vec::new(), body })
}

fn address(url: &str) -> Result<Uri, String> {
    url.parse().map_err(|_| "the address cannot be called".to_owned())
}
