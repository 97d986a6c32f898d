//! The past of Prometheus: what the recording rules of `dashboards/prometheus` would have recorded, had they run.
//!
//! Recorded series have no label of a scrape, so that those of the past and those of today are the same series. Rates are those of
//! the hour before a sample, and samples stand at quarter hours.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::io::Write;
use std::sync::Arc;

use martlet_window::{Kind, Mark, Service, TrafficClass};

use super::export::{Export, ExportError, Exported};
use super::{Labels, Row};
use crate::aggregate::HOUR_SECONDS;
use crate::config::{Port, TCP, UDP};
use crate::geo::Region;
use crate::live::protocol_label;
use crate::rollup::{DAY_SECONDS, QUARTER_SECONDS};

/// Families in the order in which they are written, with what they say. The rules of `dashboards/prometheus` have the same names.
const FAMILIES: [(&str, &str); 8] = [
    ("martlet:port_packets:rate1h", "Packets a second over the last hour, by port; `other` for ports without series."),
    ("martlet:kind_packets:rate1h", "Packets a second over the last hour, by kind."),
    ("martlet:region_packets:rate1h", "Packets of scans a second over the last hour, by region of their source."),
    ("martlet:mark_packets:rate1h", "Packets a second over the last hour that carry a mark."),
    ("martlet:scanner_packets:rate1h", "Packets of scans a second over the last hour, by list of known scanners."),
    ("martlet:port_sources:1h", "Distinct sources that scanned a port in the last whole hour."),
    ("martlet:port_sources:1d", "Distinct sources that scanned a port in the last whole UTC day."),
    ("martlet:ipv4_addresses:rate1h", "IPv4 addresses watched, on average over the last hour."),
];
const PORTS: usize = 0;
const KINDS: usize = 1;
const REGIONS: usize = 2;
const MARKS: usize = 3;
const SCANNERS: usize = 4;
const SOURCES_BY_HOUR: usize = 5;
const SOURCES_BY_DAY: usize = 6;
const ADDRESSES: usize = 7;

/// The labels of a series but for its class.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Of {
    All,
    /// Protocol and, if it has a series, port.
    Port(&'static str, Option<u16>),
    Kind(Kind),
    Region(Region),
    Mark(Mark),
    Scanner(Option<Arc<str>>),
}

impl fmt::Display for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Of::All => Ok(()),
            Of::Port(protocol, Some(port)) => write!(f, ",protocol=\"{protocol}\",port=\"{port}\""),
            // An empty label is none.
            Of::Port(protocol @ ("tcp" | "udp"), None) => write!(f, ",protocol=\"{protocol}\",port=\"other\""),
            Of::Port(protocol, None) => write!(f, ",protocol=\"{protocol}\""),
            Of::Kind(kind) => write!(f, ",kind=\"{}\"", kind.name()),
            Of::Region(region) => write!(f, ",region=\"{region}\""),
            Of::Mark(mark) => write!(f, ",mark=\"{}\"", mark.name()),
            Of::Scanner(name) => {
                let name = name.as_deref().unwrap_or("none");
                let name = name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                write!(f, ",scanner=\"{name}\"")
            }
        }
    }
}

/// Numbers by the start of a quarter hour, an hour or a day, in seconds since the Unix epoch.
type Numbers = BTreeMap<i64, u64>;

/// What is added up while rows are read.
#[derive(Default)]
struct Sums {
    series: [HashMap<(TrafficClass, Of), Numbers>; FAMILIES.len()],
    /// Quarter hours of which there is anything.
    heard: BTreeSet<(TrafficClass, i64)>,
    /// Sources of the service that is being read, by class and hour, and by class and day.
    hours: HashSet<(TrafficClass, i64, u128)>,
    days: HashSet<(TrafficClass, i64, u128)>,
    service: Option<Port>,
}

impl Sums {
    fn add(&mut self, family: usize, class: TrafficClass, of: Of, time: i64, number: u64) {
        *self.series[family].entry((class, of)).or_default().entry(time).or_default() += number;
    }

    fn count(&mut self, row: &Row, labels: &Labels, has_series: &HashSet<(TrafficClass, Port)>) {
        let (class, network) = (labels.observer(row.observer).class, labels.network(row.network));
        let quarter = floor(row.start, QUARTER_SECONDS);
        self.heard.insert((class, quarter));
        let unpacked = row.class.unpack();
        let port = port_of(&unpacked).filter(|&port| has_series.contains(&(class, port)));
        let label = protocol_label(unpacked.protocol);
        self.add(PORTS, class, Of::Port(label, port.map(|port| port.number)), quarter, row.packets);
        self.add(KINDS, class, Of::Kind(unpacked.kind), quarter, row.packets);
        for mark in unpacked.marks.iter() {
            self.add(MARKS, class, Of::Mark(mark), quarter, row.packets);
        }
        if unpacked.kind != Kind::Scan {
            return;
        }
        self.add(REGIONS, class, Of::Region(network.region), quarter, row.packets);
        self.add(SCANNERS, class, Of::Scanner(network.known_scanner.clone()), quarter, row.packets);
        if self.service != port {
            self.end_service();
            self.service = port;
        }
        if port.is_some() {
            self.hours.insert((class, floor(row.start, HOUR_SECONDS), row.source));
            self.days.insert((class, floor(row.start, DAY_SECONDS), row.source));
        }
    }

    /// Rows of a day come sorted by IP version and service, and sources of two versions are two.
    fn end_service(&mut self) {
        let Some(port) = self.service.take() else { return };
        let of = Of::Port(protocol_label(port.protocol), Some(port.number));
        for (class, hour, _) in std::mem::take(&mut self.hours) {
            self.add(SOURCES_BY_HOUR, class, of.clone(), hour, 1);
        }
        for (class, day, _) in std::mem::take(&mut self.days) {
            self.add(SOURCES_BY_DAY, class, of.clone(), day, 1);
        }
    }

    /// Whether anything is known of so many seconds before a time.
    fn is_heard(&self, class: TrafficClass, time: i64, seconds: i64) -> bool {
        self.heard.range((class, time - seconds)..(class, time)).next().is_some()
    }
}

fn floor(time: i64, step: i64) -> i64 {
    time - time.rem_euclid(step)
}

fn port_of(class: &martlet_window::Class) -> Option<Port> {
    match class.service {
        Service::Port(number) if matches!(class.protocol, TCP | UDP) => Some(Port { protocol: class.protocol, number }),
        _ => None,
    }
}

/// Two passes: one for which ports have most packets, one for everything.
pub(super) fn write(export: &mut Export<'_>, out: &mut dyn Write) -> Result<Exported, ExportError> {
    // A Prometheus that finds samples of later than now takes none of its own until then.
    export.selection.to = export.selection.to.min(jiff::Timestamp::now().as_second());
    let has_series = ports(export)?;
    let mut sums = Sums::default();
    let mut exported = export.rows(&mut |row, labels| {
        sums.count(row, labels, &has_series);
        Ok(())
    })?;
    sums.end_service();
    for (class, hour, milliseconds) in export.catalog.ipv4_address_ms(export.selection.from..export.selection.to)? {
        if export.selection.class.is_none_or(|only| only == class) {
            sums.add(ADDRESSES, class, Of::All, hour, milliseconds);
        }
    }
    exported.rows = 0;
    for (family, (name, help)) in FAMILIES.iter().enumerate() {
        writeln!(out, "# TYPE {name} gauge\n# HELP {name} {help}")?;
        let sorted: BTreeMap<_, _> = sums.series[family].iter().collect();
        for ((class, of), numbers) in sorted {
            for (time, value) in samples(export, &sums, family, *class, numbers) {
                writeln!(out, "{name}{{class=\"{}\"{of}}} {value} {time}", class.name())?;
                exported.rows += 1;
            }
        }
    }
    writeln!(out, "# EOF")?;
    Ok(exported)
}

/// The ports that have series of their own: those of the configuration, and those with most packets of each class.
fn ports(export: &mut Export<'_>) -> Result<HashSet<(TrafficClass, Port)>, ExportError> {
    let mut totals: HashMap<(TrafficClass, Port), u64> = HashMap::new();
    export.rows(&mut |row, labels| {
        if let Some(port) = port_of(&row.class.unpack()) {
            *totals.entry((labels.observer(row.observer).class, port)).or_default() += row.packets;
        }
        Ok(())
    })?;
    let configured = |port: &Port| export.selection.ports.contains(port);
    let mut ranked: Vec<_> = totals.iter().filter(|((_, port), _)| !configured(port)).collect();
    ranked.sort_by_key(|&(&key, &packets)| (std::cmp::Reverse(packets), key));
    let of_class = |class| ranked.iter().filter(move |((of, _), _)| *of == class).take(export.selection.top);
    let promoted = TrafficClass::ALL.into_iter().flat_map(of_class).map(|&(&key, _)| key);
    Ok(totals.keys().filter(|(_, port)| configured(port)).copied().chain(promoted).collect())
}

/// Samples of a series at the quarter hours of the selection of which something is known.
fn samples<'a>(
    export: &'a Export<'_>,
    sums: &'a Sums,
    family: usize,
    class: TrafficClass,
    numbers: &'a Numbers,
) -> impl Iterator<Item = (i64, f64)> + 'a {
    let (from, to) = (export.selection.from, export.selection.to);
    let first = numbers.first_key_value().map_or(to, |(&first, _)| first);
    // Before a rate there is an hour of it.
    let first = floor(first.max(from), QUARTER_SECONDS) + QUARTER_SECONDS;
    let last = sums.heard.range(..=(class, i64::MAX)).next_back().map_or(from, |(_, quarter)| *quarter + DAY_SECONDS);
    let times = (first..=last.min(to)).step_by(usize::try_from(QUARTER_SECONDS).unwrap_or(1));
    times.filter_map(move |time| {
        // Of the last whole hour or day, of which somebody has told something.
        let of_last = |seconds| {
            let end = floor(time, seconds);
            sums.is_heard(class, end, seconds).then(|| f64_of(numbers.get(&(end - seconds)).copied().unwrap_or(0)))
        };
        let value = match family {
            SOURCES_BY_HOUR => of_last(HOUR_SECONDS)?,
            SOURCES_BY_DAY => of_last(DAY_SECONDS)?,
            // Of the last whole hour; milliseconds of all addresses over those of the hour.
            ADDRESSES => f64_of(*numbers.get(&(floor(time, HOUR_SECONDS) - HOUR_SECONDS))?) / f64_of(1000 * HOUR),
            _ if time - HOUR_SECONDS < from || !sums.is_heard(class, time, HOUR_SECONDS) => return None,
            _ => f64_of(numbers.range(time - HOUR_SECONDS..time).map(|(_, number)| number).sum()) / f64_of(HOUR),
        };
        Some((time, value))
    })
}

const HOUR: u64 = HOUR_SECONDS.unsigned_abs();

const fn f64_of(number: u64) -> f64 {
    martlet_telemetry::counters::to_f64(number)
}
