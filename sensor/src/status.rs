//! `/status` of a running sensor, and `martlet-sensor status`, which shows it.
//!
//! No address is told, neither observed nor the collector's view of us: `http.listen` need not be loopback.

use std::fmt::Write as _;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use martlet_telemetry::ask;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::metrics::CaptureMetrics;
use crate::spool::SpoolFigures;
use crate::uplink::UplinkState;

/// Where it is served.
pub const PATH: &str = "/status";
/// How often it is looked whether something has changed: ages are exact to this.
const LOOK: Duration = Duration::from_secs(1);
/// How long a sensor may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a running sensor says of itself.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Status {
    /// Its program's version.
    pub version: String,
    /// Its name.
    pub name: String,
    /// Since when it runs.
    pub uptime_seconds: f64,
    /// Interfaces that it captures on.
    pub interfaces: Vec<String>,
    /// What it is confined to.
    pub sandbox: String,
    /// What it has captured.
    pub capture: CaptureStatus,
    /// What waits for the collector.
    pub spool: SpoolStatus,
    /// The way to the collector.
    pub uplink: UplinkStatus,
}

/// What a sensor has captured since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct CaptureStatus {
    /// IPv4 addresses that are observed now.
    pub ipv4_addresses: u64,
    /// IPv6 /64 prefixes that are observed now.
    pub ipv6_prefixes: u64,
    /// How many sets of observed addresses there were, with this one.
    pub address_epoch: u64,
    /// Frames taken.
    pub frames: u64,
    /// Packets counted.
    pub packets: u64,
    /// How long ago the last packet was counted; `None` if none was.
    pub last_packet_age_seconds: Option<f64>,
    /// Windows, or parts of them, that were closed.
    pub window_parts: u64,
    /// How long ago the last window was closed.
    pub last_window_age_seconds: Option<f64>,
    /// Frames that the kernel dropped.
    pub kernel_drops: u64,
    /// Frames that interfaces dropped.
    pub interface_drops: u64,
}

/// What waits for the collector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct SpoolStatus {
    /// Batches.
    pub batches: u64,
    /// Bytes on the disk.
    pub bytes: u64,
    /// Batches that were given up.
    pub dropped_batches: u64,
    /// Whether the last batch found no room on the disk.
    pub disk_full: bool,
}

/// The way to the collector.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct UplinkStatus {
    /// Host and port that are called.
    pub collector: String,
    /// Whether a stream is open.
    pub connected: bool,
    /// For how long.
    pub connected_seconds: Option<f64>,
    /// Batches that the collector has acknowledged.
    pub acknowledged_batches: u64,
    /// How long ago the last was.
    pub last_acknowledgement_age_seconds: Option<f64>,
    /// Whether the collector sees us under an address that none of the captured interfaces has; `None` if it was never reached.
    pub behind_nat: Option<bool>,
}

/// When numbers were seen to change.
#[derive(Debug, Default)]
struct Changes {
    packets: Change<u64>,
    parts: Change<u64>,
    acknowledged: Change<u64>,
    connected: Change<bool>,
}

#[derive(Debug, Default)]
struct Change<T> {
    value: T,
    at: Option<Instant>,
}

impl<T: PartialEq> Change<T> {
    fn look(&mut self, now: T) {
        if self.value != now {
            (self.value, self.at) = (now, Some(Instant::now()));
        }
    }

    fn age(&self) -> Option<f64> {
        self.at.map(|at| at.elapsed().as_secs_f64())
    }
}

/// Looks at a sensor's numbers, so that nothing that is fast has to note the time.
#[derive(Clone, Debug)]
pub struct Observer {
    capture: Arc<CaptureMetrics>,
    spool: Arc<SpoolFigures>,
    uplink: Arc<UplinkState>,
    /// What never changes.
    frame: Status,
    started: Instant,
    changes: Arc<Mutex<Changes>>,
}

impl Observer {
    /// Of a sensor that starts now.
    #[must_use]
    pub fn new(
        config: &Config,
        sandbox: String,
        capture: Arc<CaptureMetrics>,
        spool: Arc<SpoolFigures>,
        uplink: Arc<UplinkState>,
    ) -> Observer {
        let frame = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            name: config.name.to_string(),
            uptime_seconds: 0.0,
            interfaces: config.interfaces.clone(),
            sandbox,
            capture: CaptureStatus::default(),
            spool: SpoolStatus::default(),
            uplink: UplinkStatus { collector: config.collector.clone(), ..UplinkStatus::default() },
        };
        Observer { capture, spool, uplink, frame, started: Instant::now(), changes: Arc::default() }
    }

    /// Looks again and again.
    pub async fn run(&self) -> std::convert::Infallible {
        loop {
            self.look();
            tokio::time::sleep(LOOK).await;
        }
    }

    fn look(&self) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let capture = self.capture.figures();
        changes.packets.look(capture.packets);
        changes.parts.look(capture.window_parts);
        changes.acknowledged.look(self.spool.delivered.load(Relaxed));
        changes.connected.look(self.uplink.connected.load(Relaxed));
    }

    /// What there is to say now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.look();
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let connected = changes.connected.value;
        let seen = self.uplink.seen_from.lock().ok().and_then(|seen| *seen);
        Status {
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            capture: CaptureStatus {
                last_packet_age_seconds: changes.packets.age(),
                last_window_age_seconds: changes.parts.age(),
                ..self.capture.figures()
            },
            spool: SpoolStatus {
                batches: self.spool.batches.load(Relaxed),
                bytes: self.spool.bytes.load(Relaxed),
                dropped_batches: self.spool.dropped_batches.load(Relaxed),
                disk_full: self.spool.disk_full.load(Relaxed),
            },
            uplink: UplinkStatus {
                connected,
                connected_seconds: changes.connected.age().filter(|_| connected),
                acknowledged_batches: changes.acknowledged.value,
                last_acknowledgement_age_seconds: changes.acknowledged.age(),
                behind_nat: seen.map(|seen| !self.capture.has_address(seen)),
                ..self.frame.uplink.clone()
            },
            ..self.frame.clone()
        }
    }

    /// The same as JSON.
    #[must_use]
    pub fn json(&self) -> String {
        // Numbers and text only: nothing in it can be refused.
        serde_json::to_string(&self.status()).unwrap_or_default()
    }
}

/// Asks the running sensor of a configuration.
///
/// # Errors
/// If nobody answers, or the configuration says that nobody shall; in words.
pub fn ask(config: &Config) -> Result<Status, String> {
    let listen = config.http.ok_or("http.listen is \"\": a sensor that serves no HTTP cannot be asked")?;
    let address = ask::reachable(listen);
    let body = ask::get(address, PATH, None, PATIENCE).map_err(|error| error.to_string())?;
    serde_json::from_slice(&body)
        .map_err(|error| format!("the answer from {address} is not a sensor's of this version: {error}"))
}

/// A status for people.
#[must_use]
pub fn described(status: &Status) -> String {
    let Status { version, name, uptime_seconds, interfaces, sandbox, capture, spool, uplink } = status;
    let mut text = String::new();
    // Infallible: a String takes any text.
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<10} {value}");
    };
    line("sensor", format!("{name}, version {version}, up {}", age(Some(*uptime_seconds))));
    line("interfaces", interfaces.join(", "));
    line(
        "observes",
        format!(
            "{} IPv4 addresses and {} IPv6 /64 prefixes, address epoch {}",
            capture.ipv4_addresses, capture.ipv6_prefixes, capture.address_epoch
        ),
    );
    line(
        "capture",
        format!(
            "{} frames, {} packets counted, the last {}",
            capture.frames,
            capture.packets,
            ago(capture.last_packet_age_seconds)
        ),
    );
    line("dropped", format!("{} by the kernel, {} by interfaces", capture.kernel_drops, capture.interface_drops));
    line("windows", format!("{} closed, the last {}", capture.window_parts, ago(capture.last_window_age_seconds)));
    let full = if spool.disk_full { "; the disk is full" } else { "" };
    line(
        "spool",
        format!(
            "{} batches, {} KiB, {} batches dropped{full}",
            spool.batches,
            spool.bytes >> 10,
            spool.dropped_batches
        ),
    );
    let connected = match uplink.connected {
        true => format!("connected for {}", age(uplink.connected_seconds)),
        false => "not connected".to_owned(),
    };
    line(
        "uplink",
        format!(
            "{}: {connected}; {} batches acknowledged, the last {}",
            uplink.collector,
            uplink.acknowledged_batches,
            ago(uplink.last_acknowledgement_age_seconds)
        ),
    );
    line("sandbox", sandbox.clone());
    text
}

fn ago(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "never".to_owned(), |seconds| format!("{} ago", age(Some(seconds))))
}

/// A time in the two largest of its units.
#[must_use]
pub fn age(seconds: Option<f64>) -> String {
    let Some(seconds) = seconds else { return "an unknown time".to_owned() };
    let whole = Duration::try_from_secs_f64(seconds.max(0.0)).map_or(u64::MAX, |time| time.as_secs());
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use martlet_observe::pipeline::Outcomes;

    #[test]
    fn what_changed_is_told_with_its_age_and_survives_json() {
        let capture = Arc::new(CaptureMetrics::default());
        let uplink = Arc::new(UplinkState::default());
        let config = crate::config::tests::good();
        let observer = Observer::new(&config, "none".to_owned(), capture.clone(), Arc::default(), uplink.clone());
        let before = observer.status();
        assert_eq!(before.capture.last_packet_age_seconds, None);
        assert_eq!((before.uplink.connected, before.uplink.connected_seconds), (false, None));
        capture.publish(&Outcomes { frames: 2, packets: 1, ..Outcomes::default() }, 1);
        uplink.connected.store(true, Relaxed);
        let after = observer.status();
        assert!(after.capture.last_packet_age_seconds.unwrap() < 5.0);
        assert!(after.capture.last_window_age_seconds.is_some() && after.uplink.connected_seconds.is_some());
        assert_eq!(serde_json::from_str::<Status>(&serde_json::to_string(&after).unwrap()).unwrap(), after);
        let text = described(&after);
        assert!(text.contains("2 frames, 1 packets counted, the last 0 s ago"), "{text}");
        assert!(text.contains("connected for 0 s"), "{text}");
        uplink.connected.store(false, Relaxed);
        assert_eq!(observer.status().uplink.connected_seconds, None);
    }

    #[test]
    fn ages_have_two_units() {
        assert_eq!(age(Some(59.9)), "59 s");
        assert_eq!(age(Some(3599.0)), "59 min 59 s");
        assert_eq!(age(Some(90_000.0)), "1 d 1 h");
        assert_eq!(age(Some(f64::NAN)), "0 s");
    }
}
