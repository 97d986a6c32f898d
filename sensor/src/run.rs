//! `martlet-sensor run`: builds every stage of a live sensor, joins them, and stops them in reverse order.
//!
//! Three threads: the capture (this one), the encoder, which also waits for the spool's disk, and the edge (uplink, HTTP
//! and signals on one tokio runtime).
//! The capture opens its rings before the uplink connects, so that the sensor's own connection is seen to begin and
//! is known as solicited. Between the two the sensor gives up what it does not need any more ([`crate::sandbox`]): what
//! is opened before that is the rings and the socket of HTTP, whatever their privileges; all else is opened as who it is then.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use martlet_journal::RealDisk;
use martlet_observe::aggregate::Aggregator;
use martlet_observe::batch::{BatchIdentity, Handover, handover};
use martlet_observe::classify::Aim;
use martlet_observe::pipeline::Pipeline;
use martlet_observe::screen::{AddressSet, Own, Screen, Solicited, SolicitedSettings};
use martlet_telemetry::admin::{self, Readiness};
use martlet_telemetry::catalogue::Catalogue;
use martlet_telemetry::http::{self, HttpLimits};
use martlet_telemetry::notify::Notifier;
use martlet_telemetry::shutdown::{Hangup, Shutdown};
use martlet_telemetry::watchdog::{Pulse, Watchdog};
use martlet_window::{Origin, Timestamp, TrafficClass};
use rand::{RngCore, SeedableRng};
use tokio::sync::watch;

use crate::capture::filter::filter;
use crate::capture::live::{LiveCapture, own_addresses};
use crate::config::{Config, Observe, PublicAddress, RawConfig};
use crate::encode;
use crate::enroll;
use crate::identity;
use crate::metrics::{self, CaptureMetrics};
use crate::reload::Reload;
use crate::sandbox::Sandbox;
use crate::spool::{self, Found, Outlet, SpoolFigures, SpoolSettings, SpoolWriter};
use crate::state_dir::StateLock;
use crate::status::{self, Observer};
use crate::uplink::{self, ClientTls, TcpDial, TlsDial, UplinkSettings, UplinkState};
use crate::watch::{Watch, WatchedSink};

/// How long the capture waits for frames before it looks at the clock.
const TURN: Duration = Duration::from_millis(100);
/// How often drops are read and an interface's addresses are looked at.
const HOUSEKEEPING: Duration = Duration::from_secs(2);
/// How long a stopping sensor tries to deliver what it holds: enough for a collector that is there, and the rest is on the
/// disk.
const LAST_DELIVERY: Duration = Duration::from_secs(2);
/// Wait between attempts to open a failed interface again.
const REOPEN: Duration = Duration::from_secs(2);

/// Where the batches wait for the collector.
#[must_use]
pub fn spool_dir(config: &Config) -> PathBuf {
    spool_in(&config.state_dir)
}

/// The same, of a state directory.
#[must_use]
pub fn spool_in(state_dir: &Path) -> PathBuf {
    state_dir.join("spool")
}

/// Runs a live sensor until a signal. What could not be delivered by then waits in the spool for the next start. `raw` is what the
/// configuration was made of.
///
/// # Errors
/// If it cannot start, or can never deliver.
pub fn run(raw: &RawConfig, config: &Config) -> Result<()> {
    if let Some(warning) = config.tls.as_ref().and_then(ClientTls::warning) {
        tracing::warn!("{warning}");
    }
    let sandbox = Sandbox::of(config)?;
    let reload = Reload::new(raw, config)?;
    let uplink = Arc::new(UplinkState::default());
    let capture_metrics = Arc::new(CaptureMetrics::default());
    let figures = Arc::new(SpoolFigures::default());
    let stop = Arc::new(AtomicBool::new(false));

    // First, so that its rings hold what arrives while a large spool is read.
    let mut capture = Capture::open(config, uplink.clone(), capture_metrics.clone())?;
    let http = config.http.map(listen);
    let sandboxed = confine(&sandbox)?;
    let _lock = StateLock::take(&config.state_dir)?;
    // A second sensor of the same configuration is told of the directory, not of the port.
    let http = http.transpose()?;
    let origin = identity::load_or_create(&config.state_dir).context("the sensor's identity")?;
    let catalogue = metrics::catalogue(&capture_metrics, &figures, &uplink)?;
    let observer = Observer::new(config, sandboxed, capture_metrics, figures.clone(), uplink.clone());
    let (spool, outlet) = open_spool(config, origin, figures)?;
    let identity = BatchIdentity { origin, class: TrafficClass::Real, posture: config.posture };
    let (handover, batcher) = handover(identity)?;

    let pulses = Pulses::default();
    let encoder = {
        let (stop, pulse) = (stop.clone(), pulses.encoder.clone());
        thread::Builder::new().name("encoder".into()).spawn(move || {
            let encoded = encode::run(batcher, spool, &pulse);
            // It ends before the capture only when it fails, and then nothing more would be counted.
            stop.store(true, Relaxed);
            encoded
        })?
    };
    let edge = Edge {
        config: config.clone(),
        origin,
        uplink,
        catalogue,
        observer,
        stop: stop.clone(),
        http,
        pulses: pulses.clone(),
        reload,
    };
    let (started, starting) = std::sync::mpsc::sync_channel(1);
    let edge = thread::Builder::new().name("edge".into()).spawn(move || edge.run(outlet, &started))?;
    if starting.recv().is_err() {
        // The edge ended before it was up: it knows why.
        drop(handover);
        edge.join().map_err(|_| anyhow::anyhow!("the edge thread panicked"))??;
    } else {
        let captured = capture.run(&handover, &stop, &pulses.capture);
        drop(handover);
        let ended = edge.join().map_err(|_| anyhow::anyhow!("the edge thread panicked"))?;
        encoder.join().map_err(|_| anyhow::anyhow!("the encoder panicked"))??;
        captured?;
        ended?;
    }
    Ok(())
}

/// Gives up what is not needed any more, and says what is in force.
fn confine(sandbox: &Sandbox) -> Result<String> {
    let in_force = sandbox.enter()?;
    tracing::info!("sandbox: {in_force}");
    for missing in in_force.missing() {
        tracing::warn!("sandbox: {missing}");
    }
    Ok(in_force.to_string())
}

/// The socket of metrics and health; the edge accepts on it.
fn listen(address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address)
        .with_context(|| format!("cannot listen on {address} (http.listen) for metrics and health"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Another number each time, and on each machine. The copies of a virtual machine may have the same random numbers for a while,
/// but they do not reach this at the same nanosecond in the same process.
fn draw_epoch() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut hasher = DefaultHasher::new();
    (rand::rng().next_u64(), now.as_nanos(), std::process::id()).hash(&mut hasher);
    hasher.finish()
}

fn open_spool(
    config: &Config,
    origin: Origin,
    figures: Arc<SpoolFigures>,
) -> Result<(SpoolWriter<RealDisk>, Outlet<RealDisk>)> {
    let path = spool_dir(config);
    let context = || format!("the spool in {}", path.display());
    let disk = RealDisk::open(&path).with_context(context)?;
    let settings = SpoolSettings::live(config.spool_bytes);
    let (spool, outlet, found) =
        spool::open(disk, origin, settings, figures, Box::new(draw_epoch)).with_context(context)?;
    let Found { epochs, records, bytes, damaged, damaged_bytes, torn_bytes } = found;
    if epochs > 0 {
        tracing::info!("the spool holds {records} batches of {epochs} earlier starts, {bytes} bytes");
    }
    if damaged > 0 || damaged_bytes > 0 {
        tracing::warn!(
            "of the spool {damaged} batches and {damaged_bytes} bytes are damaged; they are counted as lost"
        );
    }
    if torn_bytes > 0 {
        tracing::info!("the spool ended in {torn_bytes} bytes that were not written to their end");
    }
    Ok((spool, outlet))
}

/// The capture thread's state.
struct Capture<'a> {
    config: &'a Config,
    live: LiveCapture,
    pipeline: Pipeline,
    watch: Watch,
    uplink: Arc<UplinkState>,
    metrics: Arc<CaptureMetrics>,
    observed: AddressSet,
    own: Own,
}

impl<'a> Capture<'a> {
    fn open(config: &'a Config, uplink: Arc<UplinkState>, metrics: Arc<CaptureMetrics>) -> Result<Capture<'a>> {
        let own = own_addresses(&config.interfaces);
        let observed = observed(config, &own);
        let live = open_filtered(config, &observed, &own)?;
        let solicited =
            Solicited::new(SolicitedSettings { ephemeral_ports: ephemeral_ports(), ..SolicitedSettings::default() });
        let screen = Screen::observing(observed.clone(), config.exclusions.clone(), own.clone(), Some(solicited));
        let aggregator = Aggregator::new(config.window, config.limits);
        let aim = aim(config.public_address, &observed, None);
        let pipeline = Pipeline::new(screen, aim, observed.clone(), aggregator);
        let mut watch = Watch::new(aim);
        watch.observe(&observed);
        metrics.observes(&observed, &own.addresses);
        Ok(Capture { config, live, pipeline, watch, uplink, metrics, observed, own })
    }

    fn run(&mut self, handover: &Handover, stop: &AtomicBool, pulse: &Pulse) -> Result<()> {
        tracing::info!(
            "watching {} IPv4 addresses and {} IPv6 /64 prefixes on {}",
            self.observed.ipv4_addresses(),
            self.observed.ipv6_prefixes(),
            self.config.interfaces.join(", ")
        );
        self.begin_watch();
        let mut housekeeping = Instant::now();
        let mut failed = Ok(());
        while !stop.load(Relaxed) {
            pulse.beat();
            self.live.wait(TURN);
            let (pipeline, watch) = (&mut self.pipeline, &mut self.watch);
            let mut sink = WatchedSink { handover, limits: self.config.limits, watch };
            let read = self.live.read(|frame| pipeline.take(frame, &mut sink));
            if let Err(error) = read {
                tracing::error!("{error}; trying to open the interfaces again");
                self.reopen(handover, stop, pulse);
                continue;
            }
            if housekeeping.elapsed() >= HOUSEKEEPING {
                housekeeping = Instant::now();
                failed = self.housekeeping(handover);
                if failed.is_err() {
                    break;
                }
            }
            self.tick(handover);
        }
        self.watch.drops.add(self.live.drops());
        let mut sink = WatchedSink { handover, limits: self.config.limits, watch: &mut self.watch };
        self.pipeline.finish(now(), &mut sink);
        self.metrics.publish(self.pipeline.outcomes(), self.watch.parts);
        // Whatever happened, the capture does not end alone.
        stop.store(true, Relaxed);
        failed
    }

    fn tick(&mut self, handover: &Handover) {
        let mut sink = WatchedSink { handover, limits: self.config.limits, watch: &mut self.watch };
        self.pipeline.tick(now(), &mut sink);
        self.metrics.publish(self.pipeline.outcomes(), self.watch.parts);
    }

    fn begin_watch(&mut self) {
        let start = now();
        self.watch.begin(start);
        self.pipeline.watch_from(start);
    }

    /// Reads the drop counters, follows changing addresses, and learns the public address.
    fn housekeeping(&mut self, handover: &Handover) -> Result<()> {
        let drops = self.live.drops();
        self.metrics.dropped(drops);
        self.watch.drops.add(drops);
        let own = own_addresses(&self.config.interfaces);
        let observed = observed(self.config, &own);
        if observed != self.observed || own.addresses != self.own.addresses || own.hardware != self.own.hardware {
            self.begin_address_epoch(observed, own, handover)?;
        }
        let seen_from = self.uplink.seen_from.lock().ok().and_then(|seen| *seen);
        let aim = aim(self.config.public_address, &self.observed, seen_from);
        if aim != self.watch.aim {
            self.pipeline.set_aim(aim);
            self.watch.aim = aim;
        }
        Ok(())
    }

    /// Observed addresses changed, as those of a line with changing addresses do: a new address epoch. What was counted
    /// until now ends in parts of their own, so that the exposure of each part is of the addresses that were observed in it.
    fn begin_address_epoch(&mut self, observed: AddressSet, own: Own, handover: &Handover) -> Result<()> {
        self.live.set_filter(&filter(&observed, &own.addresses, &self.config.exclusions).expression)?;
        if observed != self.observed {
            let mut sink = WatchedSink { handover, limits: self.config.limits, watch: &mut self.watch };
            self.pipeline.finish(now(), &mut sink);
        }
        self.pipeline.set_addresses(observed.clone(), own.clone());
        self.watch.observe(&observed);
        self.metrics.observes(&observed, &own.addresses);
        if observed != self.observed {
            self.begin_watch();
        }
        (self.observed, self.own) = (observed, own);
        tracing::info!(
            "the interfaces' addresses changed: address epoch {}, watching {} IPv4 addresses and {} IPv6 /64 prefixes",
            self.metrics.figures().address_epoch,
            self.observed.ipv4_addresses(),
            self.observed.ipv6_prefixes()
        );
        Ok(())
    }

    /// After an interface failed: nobody watches until it is open again, and the exposure says so.
    fn reopen(&mut self, handover: &Handover, stop: &AtomicBool, pulse: &Pulse) {
        let mut sink = WatchedSink { handover, limits: self.config.limits, watch: &mut self.watch };
        self.pipeline.finish(now(), &mut sink);
        let mut known = String::new();
        while !stop.load(Relaxed) {
            // Waiting for an interface is what it should do: a restart would not bring it.
            pulse.beat();
            thread::sleep(REOPEN);
            match open_filtered(self.config, &self.observed, &self.own) {
                Ok(live) => {
                    tracing::info!("capturing again");
                    self.live = live;
                    self.begin_watch();
                    return;
                }
                Err(error) => {
                    // Another reason than before is news; the same one every two seconds is not.
                    let error = error.to_string();
                    if error == known {
                        tracing::debug!("still failing: {error}");
                    } else {
                        tracing::warn!("{error}; trying again");
                        known = error;
                    }
                }
            }
        }
    }
}

fn open_filtered(config: &Config, observed: &AddressSet, own: &Own) -> Result<LiveCapture> {
    let mut live = LiveCapture::open(config)?;
    let filter = filter(observed, &own.addresses, &config.exclusions);
    live.set_filter(&filter.expression)?;
    if !filter.exact {
        tracing::info!("more networks than a kernel filter takes: it covers them with larger ones");
    }
    Ok(live)
}

/// What is observed now.
#[must_use]
pub fn observed(config: &Config, own: &Own) -> AddressSet {
    match &config.observe {
        Observe::Networks(networks) => networks.clone(),
        Observe::Interface => own.addresses.clone(),
    }
}

/// The address that senders aim at.
fn aim(public: PublicAddress, observed: &AddressSet, seen_from: Option<std::net::IpAddr>) -> Aim {
    match public {
        PublicAddress::AsSeen => Aim::AsSeen,
        PublicAddress::Unknown => Aim::Unknown,
        PublicAddress::Known(address) => Aim::Public(address),
        PublicAddress::Auto if !observed.has_private_ipv4() => Aim::AsSeen,
        PublicAddress::Auto => match seen_from {
            // A private address in front of the collector is another hop of NAT, or a lab: it tells nothing.
            Some(seen @ std::net::IpAddr::V4(v4)) if observed.ipv4_addresses() == 1 && is_public(seen) => {
                Aim::Public(v4)
            }
            _ => Aim::Unknown,
        },
    }
}

fn is_public(address: std::net::IpAddr) -> bool {
    !address.is_loopback() && !AddressSet::from_iter([address.into()]).has_private_ipv4()
}

/// The range from which this host's own questions come; Linux's default where it cannot be read.
fn ephemeral_ports() -> RangeInclusive<u16> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ports = text.split_whitespace().map_while(|port| port.parse().ok());
    match (ports.next(), ports.next()) {
        (Some(first), Some(last)) => first..=last,
        _ => SolicitedSettings::default().ephemeral_ports,
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_parts(i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos())
}

/// What the watchdog looks at besides the edge, on which it runs itself.
#[derive(Clone, Debug, Default)]
struct Pulses {
    capture: Pulse,
    encoder: Pulse,
}

/// The edge thread: everything that speaks to the network.
struct Edge {
    config: Config,
    origin: Origin,
    uplink: Arc<UplinkState>,
    catalogue: Catalogue,
    observer: Observer,
    stop: Arc<AtomicBool>,
    http: Option<TcpListener>,
    pulses: Pulses,
    reload: Option<Reload>,
}

impl Edge {
    fn run(mut self, outlet: Outlet<RealDisk>, started: &std::sync::mpsc::SyncSender<()>) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let result = runtime.block_on(self.serve(outlet, started));
        // Whatever happened here, the capture must not go on alone.
        self.stop.store(true, Relaxed);
        result
    }

    async fn serve(&mut self, mut outlet: Outlet<RealDisk>, started: &std::sync::mpsc::SyncSender<()>) -> Result<()> {
        let shutdown = Shutdown::install()?;
        let hangup = Hangup::install()?;
        let notifier = Notifier::from_environment();
        let readiness = Readiness::new();
        let (stopping, stopped) = watch::channel(false);
        let http = self.serve_http(readiness.clone(), stopped)?;
        let settings = UplinkSettings {
            name: self.config.name.clone(),
            origin: self.origin,
            max_rows: self.config.limits.max_rows,
        };
        let under = TcpDial { collector: self.config.collector.clone() };
        let mut dial = TlsDial { under, tls: self.config.tls.clone() };
        let renewing = enroll::keep_certificate(self.config.tls.clone(), &self.config.collector, &self.uplink);
        let mut jitter = rand::rngs::StdRng::from_os_rng();
        let figures = outlet.figures();
        let reloading = async {
            match &mut self.reload {
                Some(reload) => reload.run(hangup).await,
                None => std::future::pending().await,
            }
        };
        let _ = started.send(());
        readiness.set_ready();
        // A manager that cannot be told waits for its own time limit; that is no reason to stop watching.
        let _ = notifier.ready();

        let watchdog = Watchdog::from_environment(notifier.clone())
            .watching("the capture", &self.pulses.capture)
            .watching("the encoder or its disk", &self.pulses.encoder);
        let ended = {
            let sending = uplink::run(&settings, &mut outlet, &mut dial, &mut jitter, &self.uplink);
            let mut sending = std::pin::pin!(sending);
            tokio::select! {
                biased;
                ended = &mut sending => {
                    self.stop.store(true, Relaxed);
                    ended
                }
                why = async {
                    tokio::select! {
                        biased;
                        signal = shutdown.requested() => signal,
                        () = stopped_by_itself(&self.stop) => "the capture ended",
                        never = watchdog.run() => match never {},
                        never = renewing => match never {},
                        never = reloading => match never {},
                        never = self.observer.run() => match never {},
                    }
                } => {
                    tracing::info!("{why}: closing the open windows and delivering them");
                    readiness.set_stopping();
                    let _ = notifier.stopping();
                    self.stop.store(true, Relaxed);
                    let delivered = tokio::time::timeout(LAST_DELIVERY, &mut sending).await;
                    delivered.unwrap_or_else(|_| {
                        let waiting = figures.batches.load(Relaxed);
                        tracing::info!("{waiting} batches stay in the spool and are delivered after the next start");
                        Ok(())
                    })
                }
            }
        };
        let _ = stopping.send(true);
        if let Some(http) = http {
            let _ = http.await;
        }
        Ok(ended?)
    }

    fn serve_http(
        &mut self,
        readiness: Readiness,
        mut stopped: watch::Receiver<bool>,
    ) -> Result<Option<tokio::task::JoinHandle<()>>> {
        let Some(listener) = self.http.take() else { return Ok(None) };
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let router = admin::router(self.catalogue.registry().clone(), readiness);
        let observer = self.observer.clone();
        let router = admin::with_json(router, status::PATH, move || observer.json());
        let stop = async move {
            let _ = stopped.wait_for(|&stopping| stopping).await;
        };
        let serve = http::serve(listener, router, HttpLimits::default(), stop, Duration::from_secs(1));
        Ok(Some(tokio::spawn(serve)))
    }
}

/// Waits until another thread has ended the work.
async fn stopped_by_itself(stop: &AtomicBool) {
    while !stop.load(Relaxed) {
        tokio::time::sleep(TURN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_aimed_at_is_known_or_said_to_be_unknown() {
        let set =
            |text: &str| std::iter::once(martlet_observe::screen::parse_network(text).unwrap()).collect::<AddressSet>();
        let (public, private) = (set("192.0.2.0/24"), set("192.168.1.7"));
        let learnt = Some("198.51.100.9".parse().unwrap());
        assert_eq!(aim(PublicAddress::Auto, &public, learnt), Aim::AsSeen);
        assert_eq!(aim(PublicAddress::Auto, &private, None), Aim::Unknown);
        assert_eq!(aim(PublicAddress::Auto, &private, learnt), Aim::Public("198.51.100.9".parse().unwrap()));
        assert_eq!(aim(PublicAddress::Auto, &set("192.168.1.0/24"), learnt), Aim::Unknown);
        assert_eq!(aim(PublicAddress::Auto, &private, Some("10.0.0.1".parse().unwrap())), Aim::Unknown);
        assert_eq!(aim(PublicAddress::Auto, &private, Some("100.64.0.1".parse().unwrap())), Aim::Unknown);
        assert_eq!(aim(PublicAddress::AsSeen, &private, None), Aim::AsSeen);
    }
}
