//! What a sensor tells Prometheus about itself.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use martlet_observe::pipeline::Outcomes;
use martlet_observe::screen::AddressSet;
use martlet_telemetry::build;
use martlet_telemetry::catalogue::Catalogue;
use martlet_telemetry::counters::{Family, MetricKind, Samples, to_f64};
use martlet_window::RejectReason;

use crate::capture::live::Drops;
use crate::spool::SpoolFigures;
use crate::status::CaptureStatus;
use crate::uplink::UplinkState;

/// The capture thread's numbers, written once a turn.
#[derive(Debug, Default)]
pub struct CaptureMetrics {
    frames: AtomicU64,
    packets: AtomicU64,
    rejected: [AtomicU64; RejectReason::ALL.len()],
    kernel_drops: AtomicU64,
    interface_drops: AtomicU64,
    parts: AtomicU64,
    ipv4_addresses: AtomicU64,
    ipv6_prefixes: AtomicU64,
    address_epochs: AtomicU64,
    /// The interfaces' own addresses; they are compared, and told to nobody.
    own: Mutex<AddressSet>,
}

impl CaptureMetrics {
    /// Publishes the outcomes so far. Only the capture thread calls this.
    pub fn publish(&self, outcomes: &Outcomes, parts: u64) {
        self.frames.store(outcomes.frames, Relaxed);
        self.packets.store(outcomes.packets, Relaxed);
        for (cell, &frames) in self.rejected.iter().zip(&outcomes.rejected) {
            cell.store(frames, Relaxed);
        }
        self.parts.store(parts, Relaxed);
    }

    /// From now on these addresses are observed, and the interfaces have those.
    pub fn observes(&self, observed: &AddressSet, own: &AddressSet) {
        self.ipv4_addresses.store(observed.ipv4_addresses(), Relaxed);
        self.ipv6_prefixes.store(observed.ipv6_prefixes(), Relaxed);
        self.address_epochs.fetch_add(1, Relaxed);
        self.own.lock().unwrap_or_else(PoisonError::into_inner).clone_from(own);
    }

    /// Whether the captured interfaces have this address.
    #[must_use]
    pub fn has_address(&self, address: IpAddr) -> bool {
        self.own.lock().unwrap_or_else(PoisonError::into_inner).contains(address)
    }

    /// The numbers, as `/status` has them; ages are not known here.
    #[must_use]
    pub fn figures(&self) -> CaptureStatus {
        CaptureStatus {
            ipv4_addresses: self.ipv4_addresses.load(Relaxed),
            ipv6_prefixes: self.ipv6_prefixes.load(Relaxed),
            address_epoch: self.address_epochs.load(Relaxed),
            frames: self.frames.load(Relaxed),
            packets: self.packets.load(Relaxed),
            last_packet_age_seconds: None,
            window_parts: self.parts.load(Relaxed),
            last_window_age_seconds: None,
            kernel_drops: self.kernel_drops.load(Relaxed),
            interface_drops: self.interface_drops.load(Relaxed),
        }
    }

    /// Adds drops.
    pub fn dropped(&self, drops: Drops) {
        self.kernel_drops.fetch_add(drops.kernel, Relaxed);
        self.interface_drops.fetch_add(drops.interface, Relaxed);
    }
}

type Figure = fn(&SpoolFigures) -> u64;

/// All metric families of a sensor.
///
/// # Errors
/// If a name is taken twice, which a test rules out.
pub fn catalogue(
    capture: &Arc<CaptureMetrics>,
    spool: &Arc<SpoolFigures>,
    uplink: &Arc<UplinkState>,
) -> Result<Catalogue, prometheus::Error> {
    let catalogue = Catalogue::default();
    build::register(&catalogue, "sensor", env!("CARGO_PKG_VERSION"))?;
    let add = |family: Family| catalogue.register(family);
    let single = |kind, name, help, value: Box<dyn Fn() -> u64 + Send + Sync>| {
        Family::new(kind, name, help, &[], move || vec![(Vec::new(), to_f64(value()))]).and_then(add)
    };
    let of_capture = |name, help, cell: fn(&CaptureMetrics) -> &AtomicU64| {
        let capture = capture.clone();
        single(MetricKind::Counter, name, help, Box::new(move || cell(&capture).load(Relaxed)))
    };
    of_capture("martlet_sensor_capture_frames_total", "Frames taken from the capture rings.", |c| &c.frames)?;
    of_capture("martlet_sensor_capture_packets_total", "Frames that were counted.", |c| &c.packets)?;
    of_capture(
        "martlet_sensor_capture_kernel_drops_total",
        "Frames that the kernel dropped because a ring was full; not among the frames taken.",
        |c| &c.kernel_drops,
    )?;
    of_capture(
        "martlet_sensor_capture_interface_drops_total",
        "Frames that an interface dropped; not among the frames taken.",
        |c| &c.interface_drops,
    )?;
    of_capture("martlet_sensor_window_parts_total", "Windows, or parts of them, that were closed.", |c| &c.parts)?;
    of_capture(
        "martlet_sensor_capture_address_epochs_total",
        "Sets of observed addresses since the start; one more each time that addresses changed.",
        |c| &c.address_epochs,
    )?;
    let rejecting = capture.clone();
    add(Family::new(
        MetricKind::Counter,
        "martlet_sensor_capture_rejected_total",
        "Frames that were not counted, by reason.",
        &["reason"],
        move || rejected(&rejecting),
    )?)?;
    let of_spool = |kind, name, help, cell: Figure| {
        let spool = spool.clone();
        single(kind, name, help, Box::new(move || cell(&spool)))
    };
    let gauges: [(_, _, Figure); 4] = [
        (
            "martlet_sensor_spool_batches",
            "Batches that wait for the collector's acknowledgement; of earlier starts some may have arrived.",
            |spool| spool.batches.load(Relaxed),
        ),
        ("martlet_sensor_spool_bytes", "Size of the spool on the disk.", |spool| spool.bytes.load(Relaxed)),
        (
            "martlet_sensor_spool_epochs",
            "Lives of the spool of which the collector may not have committed everything.",
            |spool| spool.epochs.load(Relaxed),
        ),
        (
            "martlet_sensor_spool_disk_full",
            "1 if the last batch found no space on the disk and was lost, else 0.",
            |spool| u64::from(spool.disk_full.load(Relaxed)),
        ),
    ];
    for (name, help, cell) in gauges {
        of_spool(MetricKind::Gauge, name, help, cell)?;
    }
    let counters: [(_, _, Figure); 7] = [
        (
            "martlet_sensor_spool_dropped_batches_total",
            "Batches dropped by the quota, for want of disk space, or because the collector would not take them.",
            |spool| spool.dropped_batches.load(Relaxed),
        ),
        ("martlet_sensor_spool_dropped_windows_total", "Windows whose first part was in a dropped batch.", |spool| {
            spool.dropped_windows.load(Relaxed)
        }),
        ("martlet_sensor_spool_dropped_packets_total", "Packets that dropped batches held.", |spool| {
            spool.dropped_packets.load(Relaxed)
        }),
        (
            "martlet_sensor_spool_damaged_records_total",
            "Records that were found damaged or missing at the start.",
            |spool| spool.damaged_records.load(Relaxed),
        ),
        (
            "martlet_sensor_spool_forks_total",
            "Epochs that were left because somebody else had gone on with them: a copied machine.",
            |spool| spool.forks.load(Relaxed),
        ),
        (
            "martlet_sensor_uplink_wanted_again_batches_total",
            "Batches that the collector had acknowledged and wants again: it has lost its memory of them.",
            |spool| spool.wanted_again.load(Relaxed),
        ),
        ("martlet_sensor_uplink_acknowledged_batches_total", "Batches that the collector has acknowledged.", |spool| {
            spool.delivered.load(Relaxed)
        }),
    ];
    for (name, help, cell) in counters {
        of_spool(MetricKind::Counter, name, help, cell)?;
    }
    let watched = spool.clone();
    add(Family::new(
        MetricKind::Counter,
        "martlet_sensor_spool_dropped_watched_seconds_total",
        "Time watched in dropped batches, in seconds.",
        &[],
        move || vec![(Vec::new(), to_f64(watched.dropped_watched_ms.load(Relaxed)) / 1000.0)],
    )?)?;
    let connected = uplink.clone();
    single(
        MetricKind::Gauge,
        "martlet_sensor_uplink_connected",
        "1 while a stream is open at the collector, else 0.",
        Box::new(move || u64::from(connected.connected.load(Relaxed))),
    )?;
    let outcomes = uplink.clone();
    add(Family::new(
        MetricKind::Counter,
        "martlet_sensor_uplink_connections_total",
        "Connections to the collector, by outcome; one that opened and broke later is in both.",
        &["outcome"],
        move || outcomes.outcomes.iter().map(|(name, count)| (vec![name.to_owned()], to_f64(count))).collect(),
    )?)?;
    let certificate = uplink.clone();
    add(Family::new(
        MetricKind::Gauge,
        "martlet_sensor_certificate_remaining_seconds",
        "Seconds until our certificate ends, negative behind that; absent without a certificate that renews itself.",
        &[],
        move || certificate.certificate.remaining_seconds().map(|seconds| (Vec::new(), seconds)).into_iter().collect(),
    )?)?;
    let renewals = uplink.clone();
    add(Family::new(
        MetricKind::Counter,
        "martlet_sensor_certificate_renewals_total",
        "Attempts to renew our certificate, by outcome.",
        &["outcome"],
        move || {
            let counts = renewals.certificate.renewals.iter();
            counts.map(|(name, count)| (vec![name.to_owned()], to_f64(count))).collect()
        },
    )?)?;
    Ok(catalogue)
}

fn rejected(capture: &CaptureMetrics) -> Samples {
    let cells = RejectReason::ALL.iter().zip(&capture.rejected);
    cells.map(|(reason, cell)| (vec![reason.name().to_owned()], to_f64(cell.load(Relaxed)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_shows_with_one_outcome() {
        let capture = Arc::new(CaptureMetrics::default());
        let mut outcomes = Outcomes { frames: 10, packets: 7, ..Outcomes::default() };
        outcomes.rejected[RejectReason::NotIp as usize] = 3;
        capture.publish(&outcomes, 2);
        capture.dropped(Drops { kernel: 4, interface: 1 });
        capture.observes(&AddressSet::default(), &AddressSet::default());
        let spool = Arc::new(SpoolFigures::default());
        spool.disk_full.store(true, Relaxed);
        spool.dropped_watched_ms.store(1500, Relaxed);
        let catalogue = catalogue(&capture, &spool, &Arc::default()).unwrap();
        let text = prometheus::TextEncoder::new().encode_to_string(&catalogue.registry().gather()).unwrap();
        for line in [
            "martlet_sensor_capture_frames_total 10",
            "martlet_sensor_capture_packets_total 7",
            "martlet_sensor_capture_rejected_total{reason=\"not_ip\"} 3",
            "martlet_sensor_capture_rejected_total{reason=\"solicited\"} 0",
            "martlet_sensor_capture_kernel_drops_total 4",
            "martlet_sensor_capture_interface_drops_total 1",
            "martlet_sensor_window_parts_total 2",
            "martlet_sensor_capture_address_epochs_total 1",
            "martlet_sensor_uplink_connected 0",
            "martlet_sensor_spool_disk_full 1",
            "martlet_sensor_spool_dropped_watched_seconds_total 1.5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} not in\n{text}");
        }
    }
}
