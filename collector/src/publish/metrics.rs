//! What Prometheus is told: every family is read from the newest view or from a stage's counters when it asks.

mod archive;
mod certificates;
mod detect;
mod events;
mod geo;
mod hours;
mod latencies;
mod reports;
mod windows;

use std::sync::atomic::Ordering::Relaxed;

use martlet_telemetry::build;
use martlet_telemetry::catalogue::Catalogue;
use martlet_telemetry::counters::{Family, MetricKind, Samples, to_f64};
use martlet_window::TrafficClass;
use rustix::fs::StatVfs;

use super::Sources;
use super::services::protocol_name;
use crate::aggregate::{OwnerKey, SensorCounts};
use crate::journal::{Condition, Health, Stall};
use crate::labels::Label;
use crate::live::{LiveView, SensorView, mark_name};
use crate::store::Location;

/// How a number is read off something.
type Value<T> = fn(&T) -> f64;

const SENSOR: &[&str] = &["class", "sensor"];

/// Registers every family.
pub(super) fn register(catalogue: &Catalogue, sources: &Sources) -> Result<(), prometheus::Error> {
    build::register(catalogue, "collector", env!("CARGO_PKG_VERSION"))?;
    let families = Families { catalogue, sources };
    families.observed()?;
    families.windows()?;
    families.sensors()?;
    families.last_hour()?;
    families.ingest()?;
    families.durability()?;
    families.disk()?;
    families.archive()?;
    families.detect()?;
    families.stages()?;
    families.certificates()?;
    families.geo()?;
    families.events()?;
    families.reports()?;
    families.http()?;
    families.latencies()
}

struct Families<'a> {
    catalogue: &'a Catalogue,
    sources: &'a Sources,
}

impl Families<'_> {
    fn add(
        &self,
        kind: MetricKind,
        name: &str,
        help: &str,
        labels: &'static [&'static str],
        samples: impl Fn(&Sources, &LiveView) -> Samples + Send + Sync + 'static,
    ) -> Result<(), prometheus::Error> {
        let sources = self.sources.clone();
        let family = Family::new(kind, name, help, labels, move || samples(&sources, &sources.view.load()))?;
        self.catalogue.register(family)
    }

    fn counter(
        &self,
        name: &str,
        help: &str,
        value: impl Fn(&Sources, &LiveView) -> u64 + Send + Sync + 'static,
    ) -> Result<(), prometheus::Error> {
        self.add(MetricKind::Counter, name, help, &[], move |sources, view| single(to_f64(value(sources, view))))
    }

    fn gauge(
        &self,
        name: &str,
        help: &str,
        value: impl Fn(&Sources, &LiveView) -> u64 + Send + Sync + 'static,
    ) -> Result<(), prometheus::Error> {
        self.add(MetricKind::Gauge, name, help, &[], move |sources, view| single(to_f64(value(sources, view))))
    }

    fn observed(&self) -> Result<(), prometheus::Error> {
        const PORT: &[&str] = &["class", "sensor", "protocol", "port"];
        self.add(
            MetricKind::Counter,
            "martlet_observed_packets_total",
            "Packets observed, as they arrived at the collector, not per address; ports without a series of their own are `other`.",
            PORT,
            |_, view| ports(view, |sample| sample.packets),
        )?;
        self.add(
            MetricKind::Counter,
            "martlet_observed_bytes_total",
            "IP total lengths of packets observed, as they arrived at the collector, in bytes, not per address.",
            PORT,
            |_, view| ports(view, |sample| sample.bytes),
        )?;
        self.add(
            MetricKind::Counter,
            "martlet_observed_kind_packets_total",
            "Packets observed by kind, not per address.",
            &["class", "sensor", "protocol", "kind"],
            |_, view| {
                let kinds = view.observed.kinds.iter();
                let labels = kinds.map(|(&(class, sensor, protocol, kind), &packets)| {
                    let sensor = view.sensors.get(sensor.index())?;
                    Some((texts([class.name(), sensor.name.as_str(), protocol, kind.name()]), to_f64(packets)))
                });
                labels.flatten().collect()
            },
        )?;
        self.add(
            MetricKind::Counter,
            "martlet_observed_mark_packets_total",
            "Packets observed that carry a mark, not per address; a packet may carry several.",
            &["class", "mark"],
            |_, view| {
                let marks = view.observed.marks.iter();
                marks.map(|(&(class, mark), &n)| (texts([class.name(), mark_name(mark)]), to_f64(n))).collect()
            },
        )?;
        self.add(
            MetricKind::Counter,
            "martlet_observed_region_packets_total",
            "Packets observed by the region of their source (ISO 3166-1 alpha-2, ZZ unknown) and kind, not per address.",
            &["class", "kind", "region"],
            |_, view| {
                owners(view, |key| match key {
                    OwnerKey::Region(class, kind, region) => Some(texts([class.name(), kind.name(), region.as_str()])),
                    _ => None,
                })
            },
        )?;
        self.add(
            MetricKind::Counter,
            "martlet_observed_region_port_packets_total",
            "Packets that scanned the ports of metrics.ports, by the region of their source, not per address.",
            &["class", "protocol", "port", "region"],
            |_, view| {
                owners(view, |key| match key {
                    OwnerKey::Port(class, port, region) => Some(texts([
                        class.name(),
                        &protocol_name(port.protocol),
                        &port.number.to_string(),
                        region.as_str(),
                    ])),
                    _ => None,
                })
            },
        )?;
        self.add(
            MetricKind::Counter,
            "martlet_observed_scanner_packets_total",
            "Packets of scans by the list of known scanners that their source is on; `none` for all others; not per address.",
            &["class", "scanner"],
            |_, view| {
                owners(view, |key| match key {
                    OwnerKey::Scanner(class, name) => Some(texts([class.name(), name.as_deref().unwrap_or("none")])),
                    _ => None,
                })
            },
        )
    }

    fn sensors(&self) -> Result<(), prometheus::Error> {
        let totals: [(&str, &str, Value<SensorCounts>); 8] = [
            ("windows", "Windows that came.", |counts| to_f64(counts.windows)),
            ("late_windows", "Windows that came later than a sensor may be silent; of real traffic only.", |counts| {
                to_f64(counts.late_windows)
            }),
            ("watched_seconds", "Time watched.", |counts| seconds(counts.watched_ms)),
            ("ipv4_address_seconds", "IPv4 addresses times seconds watched.", |counts| seconds(counts.ipv4_address_ms)),
            ("ipv6_prefix_seconds", "IPv6 /64 prefixes times seconds watched.", |counts| {
                seconds(counts.ipv6_prefix_ms)
            }),
            ("frames", "Frames that the sensor saw.", |counts| to_f64(counts.frames)),
            ("kernel_drops", "Frames that the sensor's kernel dropped.", |counts| to_f64(counts.kernel_drops)),
            ("interface_drops", "Frames that the sensor's interface dropped.", |counts| to_f64(counts.interface_drops)),
        ];
        for (name, help, value) in totals {
            let name = format!("martlet_observed_sensor_{name}_total");
            self.add(MetricKind::Counter, &name, help, SENSOR, move |_, view| {
                each_sensor(view, |sensor, class| sensor.totals[class].as_ref().map(value))
            })?;
        }
        self.add(
            MetricKind::Gauge,
            "martlet_observed_sensor_last_window_end_timestamp_seconds",
            "End of the latest window that the sensor delivered, as a Unix time.",
            SENSOR,
            |_, view| each_sensor(view, |sensor, class| Some(signed(sensor.reports[class]?.window.end()))),
        )?;
        self.add(
            MetricKind::Gauge,
            "martlet_observed_sensor_last_report_age_seconds",
            "How long ago a batch of the sensor arrived.",
            SENSOR,
            |sources, view| {
                let now_ms = sources.clock.now_ms();
                each_sensor(view, |sensor, class| {
                    let age_ms = now_ms.saturating_sub(sensor.reports[class]?.arrived_ms).max(0);
                    Some(seconds(age_ms.unsigned_abs()))
                })
            },
        )?;
        self.add(
            MetricKind::Gauge,
            "martlet_observed_sensor_info",
            "1 for each sensor, with what operators say of it; a label that nobody has set is empty.",
            &["class", "sensor", "group", "economy", "position", "network", "addressing", "posture"],
            |sources, view| {
                let labels = sources.labels.get();
                let samples = by_class(view).filter_map(|(class, sensor)| {
                    let posture = sensor.reports[class as usize]?.posture.name();
                    let of_sensor = labels.get(sensor.name.as_str());
                    let said = |label| of_sensor.and_then(|labels| labels.get(&label)).map_or("", String::as_str);
                    let [group, economy, position, network, addressing] = Label::ALL.map(said);
                    let name = sensor.name.as_str();
                    Some((texts([class.name(), name, group, economy, position, network, addressing, posture]), 1.0))
                });
                samples.collect()
            },
        )?;
        self.add(
            MetricKind::Gauge,
            "martlet_observed_sensor_silent",
            "1 if the sensor has not reported for longer than three windows and the grace; 0 but for real traffic.",
            SENSOR,
            |sources, view| {
                let now = sources.clock.now();
                each_sensor(view, |sensor, class| {
                    sensor.reports[class]?;
                    Some(f64::from(u8::from(view.is_silent(sensor, TrafficClass::ALL[class], now))))
                })
            },
        )?;
        self.add(
            MetricKind::Gauge,
            "martlet_observed_sensor_clock_offset_seconds",
            "How far the sensor's clock is behind the collector's, as of its last live batch; it includes the delivery.",
            SENSOR,
            |_, view| {
                each_sensor(view, |sensor, class| Some(signed(sensor.reports[class]?.clock_offset_ms?) / 1000.0))
            },
        )?;
        self.add(
            MetricKind::Gauge,
            "martlet_observed_sensor_clock_wrong",
            "1 if the sensor's clock is off by more than ingest.max_clock_offset_seconds; its packets are counted.",
            SENSOR,
            |sources, view| {
                each_sensor(view, |sensor, class| {
                    let offset_ms = sensor.reports[class]?.clock_offset_ms?;
                    Some(f64::from(u8::from(sources.is_clock_wrong(Some(offset_ms)))))
                })
            },
        )?;
        let lost: [(&str, &str, Value<SensorView>); 4] = [
            ("batches", "Batches", |sensor| to_f64(sensor.lost.batches)),
            ("windows", "Windows", |sensor| to_f64(sensor.lost.windows)),
            ("packets", "Packets", |sensor| to_f64(sensor.lost.packets)),
            ("watched_seconds", "Seconds watched", |sensor| seconds(sensor.lost.watched_ms)),
        ];
        for (name, what, value) in lost {
            let help = format!("{what} that the sensor said it lost before it could deliver them.");
            let name = format!("martlet_observed_sensor_lost_{name}_total");
            self.add(MetricKind::Counter, &name, &help, &["sensor"], move |_, view| {
                view.sensors.iter().map(|sensor| (vec![sensor.name.to_string()], value(sensor))).collect()
            })?;
        }
        Ok(())
    }

    fn ingest(&self) -> Result<(), prometheus::Error> {
        let counters = &self.sources.ingest;
        let families = [
            Family::of_counters(
                "martlet_collector_ingest_connections_refused_total",
                "Connections not taken.",
                &["reason"],
                counters.refused.clone(),
            )?,
            Family::of_counters(
                "martlet_collector_ingest_violations_total",
                "Connections ended, or requests on them refused, because a rule was broken.",
                &["reason"],
                counters.violations.clone(),
            )?,
            Family::of_counters(
                "martlet_collector_ingest_tls_failures_total",
                "TLS handshakes that failed.",
                &["reason"],
                counters.tls_failures.clone(),
            )?,
            Family::of_counters(
                "martlet_collector_enrolments_total",
                "Connections that wanted a certificate, by what became of them.",
                &["outcome"],
                counters.enrolments.clone(),
            )?,
            Family::of_counters(
                "martlet_collector_ingest_frames_total",
                "Frames received whole.",
                &["type"],
                counters.frames.clone(),
            )?,
            Family::of_counters(
                "martlet_collector_ingest_frame_errors_total",
                "What was wrong with bytes from peers.",
                &["reason"],
                counters.frame_errors.clone(),
            )?,
            Family::of_counters(
                "martlet_collector_ingest_batches_total",
                "Batches by their one outcome.",
                &["outcome"],
                counters.batches.clone(),
            )?,
        ];
        for family in families {
            self.catalogue.register(family)?;
        }
        self.gauge("martlet_collector_ingest_connections", "Connections open.", |sources, _| {
            sources.ingest.open.load(Relaxed)
        })?;
        self.counter("martlet_collector_ingest_connections_accepted_total", "Connections taken.", |sources, _| {
            sources.ingest.accepted.load(Relaxed)
        })?;
        self.counter(
            "martlet_collector_ingest_batches_received_total",
            "Batch frames received: the sum of all outcomes, and those in flight.",
            |sources, _| sources.ingest.batches_received.load(Relaxed),
        )?;
        self.counter("martlet_collector_ingest_bytes_total", "Bytes of frames received whole.", |sources, _| {
            sources.ingest.bytes_received.load(Relaxed)
        })?;
        self.gauge("martlet_collector_ingest_streams", "Streams whose positions are in memory.", |sources, _| {
            sources.journal.counters.streams.load(Relaxed)
        })?;
        self.gauge("martlet_collector_ingest_sensors", "Sensors that have names.", |_, view| view.sensors.len() as u64)
    }

    fn durability(&self) -> Result<(), prometheus::Error> {
        const REASON: &[&str] = &["reason"];
        self.add(
            MetricKind::Gauge,
            "martlet_collector_ingest_stalled",
            "1 if no batch is acknowledged for this reason; it goes on by itself.",
            REASON,
            |sources, _| stalled(&sources.journal.ingest),
        )?;
        self.add(
            MetricKind::Gauge,
            "martlet_collector_store_stalled",
            "1 if nothing is committed for this reason; it goes on by itself.",
            REASON,
            |sources, _| stalled(&sources.journal.store),
        )?;
        self.counter("martlet_collector_ingest_stalls_total", "How often acknowledging stalled.", |sources, _| {
            sources.journal.ingest.stalls()
        })?;
        self.counter("martlet_collector_store_stalls_total", "How often committing stalled.", |sources, _| {
            sources.journal.store.stalls()
        })?;
        let counters: [(&str, &str, Value<Sources>); 6] = [
            ("journal_records", "Records made durable in the journal.", |sources| {
                to_f64(sources.journal.counters.records.load(Relaxed))
            }),
            ("journal_syncs", "Syncs of the journal: each makes all batches durable that waited for it.", |sources| {
                to_f64(sources.journal.counters.syncs.load(Relaxed))
            }),
            ("journal_replayed_records", "Records counted from the journal at the start.", |sources| {
                to_f64(sources.journal.counters.replayed_records.load(Relaxed))
            }),
            (
                "journal_skipped_records",
                "Records that did not count at the start: behind damage, or written twice.",
                |sources| to_f64(sources.journal.counters.skipped_records.load(Relaxed)),
            ),
            (
                "journal_damaged_records",
                "Records not committed that damage took; sensors are asked again.",
                |sources| to_f64(sources.journal.counters.damaged_records.load(Relaxed)),
            ),
            ("store_commits", "Commits to the store.", |sources| {
                to_f64(sources.journal.counters.commits.load(Relaxed))
            }),
        ];
        for (name, help, value) in counters {
            let name = format!("martlet_collector_{name}_total");
            self.add(MetricKind::Counter, &name, help, &[], move |sources, _| single(value(sources)))?;
        }
        self.gauge("martlet_collector_journal_bytes", "Bytes of the journal's segments.", |sources, _| {
            sources.journal.counters.bytes.load(Relaxed)
        })?;
        self.gauge(
            "martlet_collector_journal_uncommitted_records",
            "Records that are durable in the journal and not committed to the store.",
            |sources, _| sources.journal.counters.uncommitted(),
        )
    }

    fn disk(&self) -> Result<(), prometheus::Error> {
        let gauges: [(&str, &str, Value<StatVfs>); 2] = [
            ("free", "Bytes that are free for the collector on the disk of its data directory.", |disk| {
                to_f64(disk.f_bavail.saturating_mul(disk.f_frsize))
            }),
            ("size", "Size of the disk of the data directory, in bytes.", |disk| {
                to_f64(disk.f_blocks.saturating_mul(disk.f_frsize))
            }),
        ];
        for (name, help, value) in gauges {
            let name = format!("martlet_collector_store_{name}_bytes");
            self.add(MetricKind::Gauge, &name, help, &[], move |sources, _| {
                let Location::File(path) = &sources.store else { return Samples::new() };
                rustix::fs::statvfs(path).map_or_else(|_| Samples::new(), |disk| single(value(&disk)))
            })?;
        }
        Ok(())
    }

    fn http(&self) -> Result<(), prometheus::Error> {
        self.gauge("martlet_collector_http_streams", "Streams of live updates that are open.", |sources, _| {
            sources.streams.open()
        })
    }

    fn stages(&self) -> Result<(), prometheus::Error> {
        self.counter("martlet_collector_aggregate_batches_total", "Batches counted.", |sources, _| {
            sources.aggregate.batches.load(Relaxed)
        })?;
        self.counter("martlet_collector_aggregate_rows_total", "Count rows counted.", |sources, _| {
            sources.aggregate.rows.load(Relaxed)
        })?;
        self.counter(
            "martlet_collector_aggregate_hand_overs_total",
            "Tables that workers handed to the merger.",
            |sources, _| sources.aggregate.hand_overs.load(Relaxed),
        )?;
        self.gauge("martlet_collector_aggregate_queue_jobs", "Jobs that wait for a worker.", |sources, _| {
            (sources.queues.decode.len() + sources.queues.jobs.len()) as u64
        })?;
        self.gauge("martlet_collector_live_memory_bytes", "Memory of the history, estimated.", |_, view| {
            view.memory_bytes
        })?;
        self.gauge("martlet_collector_live_memory_limit_bytes", "Limit of the history's memory.", |_, view| {
            view.memory_limit_bytes
        })?;
        self.counter(
            "martlet_collector_live_evicted_buckets_total",
            "Buckets of history dropped to keep the memory limit.",
            |_, view| view.evicted_buckets,
        )?;
        self.counter(
            "martlet_collector_live_overflowed_packets_total",
            "Packets whose service is not told apart because their bucket had too many keys.",
            |_, view| view.overflowed_packets,
        )?;
        self.counter(
            "martlet_collector_live_sensor_overflowed_packets_total",
            "Packets whose service is told apart over all sensors only because their bucket had too many keys by sensor.",
            |_, view| view.sensor_overflowed_packets,
        )?;
        self.counter(
            "martlet_collector_live_coarsened_sets_total",
            "Sets of sources made less exact because their bucket took too much memory.",
            |_, view| view.coarsened_sets,
        )?;
        self.counter(
            "martlet_collector_live_recent_overflowed_packets_total",
            "Packets whose service is not told apart in the recent past because their step had too many.",
            |_, view| view.recent_overflowed_packets,
        )?;
        self.add(MetricKind::Gauge, "martlet_collector_live_buckets", "Buckets of history.", &["class"], |_, view| {
            let classes = TrafficClass::ALL.into_iter();
            classes.map(|class| (texts([class.name()]), to_f64(view.class(class).buckets.len() as u64))).collect()
        })
    }
}

fn single(value: f64) -> Samples {
    vec![(Vec::new(), value)]
}

fn stalled(health: &Health) -> Samples {
    let condition = health.condition();
    let samples = [Stall::DiskFull, Stall::DiskFailing].map(|stall| {
        let is_so = matches!(condition, Condition::Stalled { reason, .. } if reason == stall);
        (texts([stall.name()]), f64::from(u8::from(is_so)))
    });
    samples.into()
}

fn texts<const N: usize>(values: [&str; N]) -> Vec<String> {
    values.map(str::to_owned).into()
}

fn seconds(milliseconds: u64) -> f64 {
    to_f64(milliseconds) / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "window ends lie within 2^34")]
const fn signed(seconds: i64) -> f64 {
    seconds as f64
}

fn ports(view: &LiveView, value: fn(&crate::live::ObservedSample) -> u64) -> Samples {
    let series = view.observed.ports.iter().map(|(series, sample)| {
        let sensor = view.sensors.get(series.sensor.index())?;
        let port = series.port_label();
        let labels = texts([series.class.name(), sensor.name.as_str(), series.protocol, &port]);
        Some((labels, to_f64(value(sample))))
    });
    series.flatten().collect()
}

fn owners(view: &LiveView, labels: impl Fn(&OwnerKey) -> Option<Vec<String>>) -> Samples {
    view.observed.owners.iter().filter_map(|(key, &packets)| Some((labels(key)?, to_f64(packets)))).collect()
}

/// Every sensor in every class.
fn by_class(view: &LiveView) -> impl Iterator<Item = (TrafficClass, &SensorView)> {
    TrafficClass::ALL.into_iter().flat_map(|class| view.sensors.iter().map(move |sensor| (class, sensor)))
}

fn each_sensor(view: &LiveView, value: impl Fn(&SensorView, usize) -> Option<f64>) -> Samples {
    let samples = by_class(view).filter_map(|(class, sensor)| {
        Some((texts([class.name(), sensor.name.as_str()]), value(sensor, class as usize)?))
    });
    samples.collect()
}
