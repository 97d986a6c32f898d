//! The forms of `count`'s output.

use std::collections::BTreeMap;
use std::io::{self, Write};

use clap::ValueEnum;
use jiff::Timestamp as Time;
use martlet_window::{RejectReason, Timestamp};
use serde::{Serialize, Serializer};

use super::tally::{Count, PortKey, Tally};

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people: totals and the twenty largest of each kind.
    Table,
    /// Everything, as one JSON object.
    Json,
    /// The counts by port, as comma-separated values with a header line.
    Csv,
}

impl Format {
    /// Writes the report.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub fn write(self, tally: &Tally, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Format::Table => table(tally, out),
            Format::Json => {
                serde_json::to_writer(&mut *out, &Report::new(tally))?;
                writeln!(out)
            }
            Format::Csv => csv(tally, out),
        }
    }
}

#[derive(Serialize)]
struct Report {
    frames: u64,
    rejected: BTreeMap<&'static str, u64>,
    packets: u64,
    bytes: u64,
    sources: u64,
    first: Option<String>,
    last: Option<String>,
    ports: Vec<PortRow>,
    icmp: Vec<IcmpRow>,
    kinds: Vec<KindRow>,
    marks: BTreeMap<&'static str, MarkCount>,
}

#[derive(Serialize)]
struct PortRow {
    ip: u8,
    proto: u8,
    port: Option<u16>,
    packets: u64,
    bytes: u64,
    sources: u64,
}

impl PortRow {
    const fn new((ip, proto, port): PortKey, count: Count) -> PortRow {
        let Count { packets, bytes, sources } = count;
        PortRow { ip: ip as u8, proto, port, packets, bytes, sources }
    }
}

#[derive(Serialize)]
struct IcmpRow {
    ip: u8,
    #[serde(rename = "type")]
    icmp_type: u8,
    code: u8,
    packets: u64,
}

#[derive(Serialize)]
struct KindRow {
    ip: u8,
    proto: u8,
    kind: &'static str,
    packets: u64,
    sources: u64,
}

/// A mark's count, or the word "unavailable" where the address aimed at is unknown.
struct MarkCount(Option<Count>);

impl Serialize for MarkCount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Row {
            packets: u64,
            sources: u64,
        }
        match self.0 {
            Some(count) => Row { packets: count.packets, sources: count.sources }.serialize(serializer),
            None => serializer.serialize_str("unavailable"),
        }
    }
}

impl Report {
    fn new(tally: &Tally) -> Report {
        let total = tally.total();
        Report {
            frames: tally.frames(),
            rejected: rejected(tally).into_iter().collect(),
            packets: total.packets,
            bytes: total.bytes,
            sources: total.sources,
            first: tally.times().map(|(first, _)| rfc3339(first)),
            last: tally.times().map(|(_, last)| rfc3339(last)),
            ports: tally.ports().into_iter().map(|(key, count)| PortRow::new(key, count)).collect(),
            icmp: tally
                .icmp()
                .into_iter()
                .map(|((ip, icmp_type, code), packets)| IcmpRow { ip: ip as u8, icmp_type, code, packets })
                .collect(),
            kinds: tally
                .kinds()
                .into_iter()
                .map(|((ip, proto, kind), count)| KindRow {
                    ip: ip as u8,
                    proto,
                    kind: kind.name(),
                    packets: count.packets,
                    sources: count.sources,
                })
                .collect(),
            marks: tally.marks().into_iter().map(|(mark, count)| (mark.name(), MarkCount(count))).collect(),
        }
    }
}

/// The reasons that occurred.
fn rejected(tally: &Tally) -> Vec<(&'static str, u64)> {
    let reasons = RejectReason::ALL.into_iter().map(|reason| (reason.name(), tally.rejected(reason)));
    reasons.filter(|&(_, frames)| frames > 0).collect()
}

/// RFC 3339 in UTC with as many digits as the time has.
fn rfc3339(time: Timestamp) -> String {
    // Every i64 of nanoseconds lies within jiff's range of years -9999 to 9999.
    Time::from_nanosecond(i128::from(time.0)).map_or_else(|_| time.0.to_string(), |time| time.to_string())
}

fn protocol_name(protocol: u8) -> String {
    match protocol {
        1 => "icmp".into(),
        6 => "tcp".into(),
        17 => "udp".into(),
        33 => "dccp".into(),
        41 => "ipv6".into(),
        47 => "gre".into(),
        50 => "esp".into(),
        58 => "icmpv6".into(),
        132 => "sctp".into(),
        136 => "udplite".into(),
        other => other.to_string(),
    }
}

fn table(tally: &Tally, out: &mut dyn Write) -> io::Result<()> {
    const ROWS: usize = 20;
    let total = tally.total();
    writeln!(out, "{:<10}{:>14}", "frames", tally.frames())?;
    for (reason, frames) in rejected(tally) {
        writeln!(out, "  {reason:<22}{frames:>14} rejected")?;
    }
    writeln!(out, "{:<10}{:>14}", "packets", total.packets)?;
    writeln!(out, "{:<10}{:>14}", "bytes", total.bytes)?;
    writeln!(out, "{:<10}{:>14}", "sources", total.sources)?;
    if let Some((first, last)) = tally.times() {
        writeln!(out, "{:<10}{}\n{:<10}{}", "first", rfc3339(first), "last", rfc3339(last))?;
    }
    writeln!(out, "\n{:<8}{:<14}{:>14}{:>16}{:>12}", "", "port", "packets", "bytes", "sources")?;
    let ports = tally.ports();
    for &((ip, protocol, port), count) in ports.iter().take(ROWS) {
        let port = port.map_or_else(|| "-".to_owned(), |port| port.to_string());
        let name = format!("{port}/{}", protocol_name(protocol));
        let Count { packets, bytes, sources } = count;
        writeln!(out, "{:<8}{name:<14}{packets:>14}{bytes:>16}{sources:>12}", format!("ipv{}", ip as u8))?;
    }
    if ports.len() > ROWS {
        writeln!(out, "{:<8}and {} more; --format json or csv shows all", "", ports.len() - ROWS)?;
    }
    if total.packets > 0 {
        writeln!(out, "\n{:<8}{:<22}{:>14}{:>12}", "", "kind", "packets", "sources")?;
    }
    for ((ip, protocol, kind), count) in tally.kinds() {
        let name = format!("{} {}", protocol_name(protocol), kind.name());
        writeln!(out, "{:<8}{name:<22}{:>14}{:>12}", format!("ipv{}", ip as u8), count.packets, count.sources)?;
    }
    let marks: Vec<_> = tally.marks().into_iter().filter(|(_, count)| count.is_none_or(|c| c.packets > 0)).collect();
    if !marks.is_empty() {
        writeln!(out, "\n{:<8}{:<22}{:>14}{:>12}", "", "mark", "packets", "sources")?;
    }
    for (mark, count) in marks {
        match count {
            Some(count) => writeln!(out, "{:<8}{:<22}{:>14}{:>12}", "", mark.name(), count.packets, count.sources)?,
            None => writeln!(out, "{:<8}{:<22}{:>14}", "", mark.name(), "unavailable")?,
        }
    }
    Ok(())
}

fn csv(tally: &Tally, out: &mut dyn Write) -> io::Result<()> {
    // The header line by hand: the crate derives it from the first row, and there may be none.
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(out);
    writer.write_record(["ip", "proto", "port", "packets", "bytes", "sources"]).map_err(io_error)?;
    for (key, count) in tally.ports() {
        writer.serialize(PortRow::new(key, count)).map_err(io_error)?;
    }
    writer.flush()
}

/// The crate's own conversion hides what kind of error it was, and a closed pipe is none to complain about.
fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}
