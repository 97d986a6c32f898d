//! The network between sensors and collector: delays, cuts, partitions, refusals, and connections that come twice.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use martlet_collector::ingest::Gate;
use martlet_collector::signal::Once;
use martlet_sensor::uplink::Dial;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::pipe::{Breaker, Manner, ReadEnd, WriteEnd, pipe};
use super::random::Random;
use super::tally::Events;

/// Streams of bytes that are kept to be sent again.
const MOST_RECORDS: usize = 6;

/// How bad a network is.
#[derive(Clone, Debug, Default)]
pub(super) struct Weather {
    /// Longest delay, in milliseconds.
    pub(super) slowest_ms: u64,
    /// Reads and writes that do less than they could, in a hundred.
    pub(super) short_percent: u64,
    /// Connections that break behind some bytes, in a hundred.
    pub(super) cut_percent: u64,
    /// Connections whose last bytes come late when they end, in a hundred.
    pub(super) linger_percent: u64,
    /// Connections that are refused, in a hundred.
    pub(super) refused_percent: u64,
    /// Connections whose far end vanishes without a word, in a hundred.
    pub(super) silent_percent: u64,
}

/// One sensor's line.
#[derive(Clone, Debug, Default)]
pub(super) struct Link(Rc<Cell<Option<Instant>>>);

impl Link {
    /// When it comes back, if it is down.
    pub(super) fn is_down_until(&self) -> Option<Instant> {
        self.0.get().filter(|until| *until > Instant::now())
    }

    pub(super) fn take_down(&self, until: Instant) {
        self.0.set(Some(until));
    }

    pub(super) fn heal(&self) {
        self.0.set(None);
    }
}

/// A collector that takes connections.
#[derive(Clone)]
pub(super) struct Listener {
    pub(super) gate: Gate,
    pub(super) stopping: Arc<Once>,
    pub(super) tasks: Rc<RefCell<Vec<JoinHandle<()>>>>,
}

/// All lines. A clone is another handle to the same network.
#[derive(Clone)]
pub(super) struct Network(Rc<Inner>);

struct Inner {
    begun: Instant,
    events: Events,
    weather: RefCell<Weather>,
    random: RefCell<Random>,
    listener: RefCell<Option<Listener>>,
    /// Connections that may be cut: the sensor's number, and both directions.
    connections: RefCell<Vec<(usize, Breaker, Breaker)>>,
    records: RefCell<Vec<Vec<u8>>>,
}

impl Network {
    pub(super) fn new(weather: Weather, random: Random, events: Events) -> Network {
        Network(Rc::new(Inner {
            begun: Instant::now(),
            events,
            weather: RefCell::new(weather),
            random: RefCell::new(random),
            listener: RefCell::default(),
            connections: RefCell::default(),
            records: RefCell::default(),
        }))
    }

    /// Tells that something happened.
    pub(super) fn tell(&self, line: &str) {
        self.0.events.tell(self.0.begun.elapsed(), line);
    }

    pub(super) fn listen(&self, listener: Option<Listener>) {
        *self.0.listener.borrow_mut() = listener;
    }

    /// From now on nothing goes wrong by itself.
    pub(super) fn clear_up(&self) {
        *self.0.weather.borrow_mut() = Weather { slowest_ms: 20, short_percent: 5, ..Weather::default() };
        self.0.connections.borrow().iter().for_each(|(_, there, back)| {
            there.cut();
            back.cut();
        });
    }

    /// Breaks a connection, any one. False if there is none.
    pub(super) fn cut_one(&self) -> bool {
        let mut connections = self.0.connections.borrow_mut();
        self.forget_closed(&mut connections);
        if connections.is_empty() {
            return false;
        }
        let place = self.0.random.borrow_mut().index(connections.len());
        let (_, there, back) = connections.swap_remove(place);
        drop(connections);
        there.cut();
        back.cut();
        true
    }

    fn forget_closed(&self, connections: &mut Vec<(usize, Breaker, Breaker)>) {
        let mut records = self.0.records.borrow_mut();
        connections.retain(|(_, there, back)| {
            let is_open = there.is_open() || back.is_open();
            let record = if is_open { Vec::new() } else { there.recorded() };
            if !record.is_empty() {
                if records.len() >= MOST_RECORDS {
                    records.remove(0);
                }
                records.push(record);
            }
            is_open
        });
    }

    fn manner(&self) -> Manner {
        let weather = self.0.weather.borrow();
        let random = &mut *self.0.random.borrow_mut();
        let slowest = random.between(0, weather.slowest_ms);
        let lingers = if random.percent(weather.linger_percent) { random.millis(0, 90_000) } else { Duration::ZERO };
        Manner {
            latency_ms: (slowest / 4, slowest),
            short_percent: weather.short_percent,
            cut_after: random.percent(weather.cut_percent).then(|| random.between(1, 12_000)),
            lingers,
            is_silent: random.percent(weather.silent_percent),
        }
    }

    /// Makes a connection, if somebody listens.
    fn connect(&self, who: usize, link: &Link) -> io::Result<(ReadEnd, WriteEnd)> {
        let listener = self.0.listener.borrow().clone().ok_or(io::ErrorKind::ConnectionRefused)?;
        let (there, back) = (self.manner(), self.manner());
        for (kind, happens) in [
            ("net: cut inside a frame", there.cut_after.is_some() || back.cut_after.is_some()),
            ("net: last bytes come late", !there.lingers.is_zero()),
            ("net: end vanishes silently", there.is_silent),
        ] {
            if happens {
                self.0.events.fault(self.0.begun.elapsed(), kind, &format!("line {who}"));
            }
        }
        let mut random = self.0.random.borrow_mut();
        let (near_write, far_read) = pipe(there, link.clone(), random.child(), true);
        let (far_write, near_read) = pipe(back, link.clone(), random.child(), false);
        drop(random);
        let mut connections = self.0.connections.borrow_mut();
        self.forget_closed(&mut connections);
        connections.push((who, near_write.breaker(), far_write.breaker()));
        let peer = IpAddr::V4(Ipv4Addr::new(192, 0, 2, u8::try_from(who % 250).unwrap_or(0)));
        let (gate, stopping) = (listener.gate, listener.stopping);
        let task = tokio::task::spawn_local(async move { gate.serve(far_read, far_write, peer, &stopping).await });
        listener.tasks.borrow_mut().push(task);
        Ok((near_read, near_write))
    }

    /// Sends once more, on a connection of its own, what a sensor sent on one that has ended. False if there is nothing.
    pub(super) fn send_again(&self) -> bool {
        self.forget_closed(&mut self.0.connections.borrow_mut());
        let bytes = {
            let records = self.0.records.borrow();
            if records.is_empty() {
                return false;
            }
            records[self.0.random.borrow_mut().index(records.len())].clone()
        };
        self.send(bytes)
    }

    /// Somebody who is no sensor sends bytes.
    pub(super) fn send(&self, bytes: Vec<u8>) -> bool {
        let Ok((mut read, mut write)) = self.connect(200, &Link::default()) else { return false };
        tokio::task::spawn_local(async move {
            let answers = async {
                let mut buffer = [0; 1024];
                while let Ok(1..) = read.read(&mut buffer).await {}
            };
            let sending = async {
                let _ = write.write_all(&bytes).await;
                sleep(Duration::from_secs(5)).await;
            };
            let _ = timeout(Duration::from_secs(20), async { tokio::join!(answers, sending) }).await;
        });
        true
    }
}

/// How a simulated uplink reaches the collector.
pub(super) struct SimulatedDial {
    pub(super) network: Network,
    pub(super) link: Link,
    pub(super) who: usize,
}

impl Dial for SimulatedDial {
    type Read = ReadEnd;
    type Write = WriteEnd;

    async fn dial(&mut self) -> io::Result<(ReadEnd, WriteEnd)> {
        let inner = &self.network.0;
        let (wait, is_refused) = {
            let weather = inner.weather.borrow();
            let mut random = inner.random.borrow_mut();
            (random.millis(0, weather.slowest_ms), random.percent(weather.refused_percent))
        };
        sleep(wait).await;
        while let Some(until) = self.link.is_down_until() {
            sleep_until(until).await;
        }
        if is_refused {
            inner.events.fault(inner.begun.elapsed(), "net: connection refused", &format!("line {}", self.who));
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        self.network.connect(self.who, &self.link)
    }
}
