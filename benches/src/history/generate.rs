//! An archive of drill traffic.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use martlet_collector::archive::{FileWriter, Labels, Observer, Row, network_of};
use martlet_collector::config::GeoConfig;
use martlet_collector::geo::{Geo, Snapshot};
use martlet_collector::rollup::{DAY_SECONDS, mark_day};
use martlet_drill::mix::COMPONENTS;
use martlet_drill::{Drill, DrillConfig, Origin, PacketInfo};
use martlet_window::{Class, IpVersion, Kind, Mark, Marks, PackedClass, Service, TrafficClass};
use rusqlite::{Connection, params};

use super::Generate;

/// 2026-03-02, a Monday.
pub(super) const FIRST_DAY: i64 = 20_514;
/// Where the TCP or UDP source port stands in a frame of the drill.
const SOURCE_PORT: usize = 14 + 20;

pub(super) fn generate(arguments: &Generate) -> Result<()> {
    let (_, connection) = super::open(&arguments.place.directory)?;
    let (geo, _) = Geo::open(&GeoConfig::default())?;
    let geo = geo.snapshot();
    for number in 0..arguments.days {
        let day = FIRST_DAY + i64::from(number);
        let begun = Instant::now();
        let counts = Maker::new(arguments, day, &geo)?.make(&connection)?;
        let seconds = begun.elapsed().as_secs_f64();
        println!("day {day}: {counts} in {seconds:.0} s");
    }
    Ok(())
}

#[derive(Default)]
struct Counts {
    packets: u64,
    rows: u64,
    bytes: u64,
}

impl std::fmt::Display for Counts {
    #[expect(clippy::cast_precision_loss, reason = "a quotient with a few digits")]
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let per_row = self.bytes as f64 / self.rows as f64;
        write!(f, "packets {}, rows {}, archive bytes {} ({per_row:.2} a row)", self.packets, self.rows, self.bytes)
    }
}

struct Maker<'a> {
    day: i64,
    window: i64,
    sensors: u32,
    /// Bits of an address that tell addresses of a sensor apart.
    address_bits: u32,
    dark_first: u32,
    drill: Drill,
    geo: &'a Snapshot,
    labels: Labels,
    /// By source and whether it is research.
    networks: HashMap<(u32, bool), u32>,
    directory: std::path::PathBuf,
}

impl<'a> Maker<'a> {
    fn new(arguments: &Generate, day: i64, geo: &'a Snapshot) -> Result<Maker<'a>> {
        ensure!(arguments.addresses.is_power_of_two(), "--addresses is to be a power of two");
        let length = 32 - (arguments.sensors * arguments.addresses).next_power_of_two().ilog2();
        let dark = ipnet::Ipv4Net::new(Ipv4Addr::new(198, 18, 0, 0), u8::try_from(length)?)?;
        let config = DrillConfig {
            seed: arguments.seed + u64::try_from(day)?,
            start_s: u64::try_from(day * DAY_SECONDS)?,
            duration: Duration::from_secs(86_400),
            dark,
            outbreak: None,
            ..DrillConfig::default()
        };
        let mut labels = Labels::default();
        for sensor in 0..arguments.sensors {
            let sensor: Arc<str> = format!("sensor-{sensor}").into();
            let window_seconds = u8::try_from(arguments.window).unwrap_or(u8::MAX);
            labels.number_observer(&Observer { sensor, class: TrafficClass::Real, window_seconds });
        }
        Ok(Maker {
            day,
            window: arguments.window,
            sensors: arguments.sensors,
            address_bits: arguments.addresses.ilog2(),
            dark_first: u32::from(dark.network()),
            drill: Drill::new(&config)?,
            geo,
            labels,
            networks: HashMap::new(),
            directory: arguments.place.directory.clone(),
        })
    }

    fn make(mut self, connection: &Connection) -> Result<Counts> {
        let mut counts = Counts::default();
        let (mut rows, mut hour) = (Vec::new(), 0);
        while let Some((row, of)) = self.next()? {
            if of != hour {
                self.write(connection, hour, &mut rows, &mut counts)?;
                hour = of;
            }
            rows.push(row);
        }
        self.write(connection, hour, &mut rows, &mut counts)?;
        mark_day(connection, self.day)?;
        Ok(counts)
    }

    /// The next packet as a row, and its hour.
    fn next(&mut self) -> Result<Option<(Row, i64)>> {
        loop {
            let Some(packet) = self.drill.next_packet() else { return Ok(None) };
            let observer = (u32::from(packet.info.destination) - self.dark_first) >> self.address_bits;
            if observer >= self.sensors {
                continue;
            }
            let second = i64::try_from(packet.time_ns / 1_000_000_000)?;
            let class = class(&packet.info, packet.frame);
            let (source, bytes, info) = (packet.info.source, packet.info.total_length, packet.info);
            let row = Row {
                class: PackedClass::from(class),
                source: u32::from(source).into(),
                start: second - second.rem_euclid(self.window),
                bytes: bytes.into(),
                packets: 1,
                targets: 1,
                observer,
                network: self.network(source, &info),
            };
            return Ok(Some((row, second.rem_euclid(DAY_SECONDS) / 3600)));
        }
    }

    fn network(&mut self, source: Ipv4Addr, info: &PacketInfo) -> u32 {
        let is_research = matches!(info.origin, Origin::Background(n) if COMPONENTS[n].name.starts_with("research"));
        let bits = u32::from(source);
        if let Some(&number) = self.networks.get(&(bits, is_research)) {
            return number;
        }
        let mut network = network_of(&self.geo.owner(source.into()));
        // A few thousand of unequal size, and one research source in two is on a list.
        let asn = (bits >> 16).wrapping_mul(2_654_435_761) >> 16;
        let asn = 1 + asn % (1 + asn % 20_000);
        network.asn = Some(asn);
        network.organisation = Some(format!("Network {asn}").into());
        network.known_scanner = (is_research && bits % 2 == 0).then(|| format!("research-{}", bits / 2 % 40).into());
        let number = self.labels.number_network(&network);
        self.networks.insert((bits, is_research), number);
        number
    }

    fn write(&mut self, connection: &Connection, hour: i64, rows: &mut Vec<Row>, counts: &mut Counts) -> Result<()> {
        rows.sort_unstable_by_key(|row| (row.key(), row.observer));
        rows.dedup_by(|next, kept| {
            let is_same = (next.key(), next.observer) == (kept.key(), kept.observer);
            if is_same {
                kept.packets += next.packets;
                kept.bytes += next.bytes;
            }
            is_same
        });
        let name = format!("{hour:02}.parquet");
        let path = path(&self.directory, self.day, &name)?;
        let mut writer = FileWriter::create(&path, u64::try_from(rows.len())?, &[], false)?;
        for row in rows.drain(..) {
            writer.push(row, &self.labels)?;
        }
        let written = writer.finish(&self.labels)?;
        connection.execute(
            "INSERT INTO archive_files (day, name, rows, packets, bytes, first, last, is_coarse)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0)",
            params![
                self.day,
                name,
                written.rows.cast_signed(),
                written.packets.cast_signed(),
                written.bytes.cast_signed(),
                written.first,
                written.last
            ],
        )?;
        counts.packets += written.packets;
        counts.rows += written.rows;
        counts.bytes += written.bytes;
        Ok(())
    }
}

fn path(directory: &Path, day: i64, name: &str) -> Result<std::path::PathBuf> {
    let output = martlet_collector::rollup::date_text(day);
    let directory = directory.join("archive").join(format!("date={output}"));
    std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    Ok(directory.join(name))
}

/// What a sensor would count a packet of the drill as.
fn class(info: &PacketInfo, frame: &[u8]) -> Class {
    let kind = match info.kind {
        martlet_drill::Kind::Scan => Kind::Scan,
        martlet_drill::Kind::Backscatter => Kind::Backscatter,
        martlet_drill::Kind::Other => Kind::Other,
    };
    let source_port = || frame.get(SOURCE_PORT..SOURCE_PORT + 2).map(|port| u16::from_be_bytes([port[0], port[1]]));
    let service = match (info.icmp, kind) {
        (Some((icmp_type, code)), _) => Service::Icmp { icmp_type, code },
        (None, Kind::Backscatter) => source_port().map_or(Service::None, Service::Port),
        (None, _) => info.destination_port.map_or(Service::None, Service::Port),
    };
    let found = info.marks();
    let marks = Marks::NONE
        .with_if(Mark::Mirai, found.mirai)
        .with_if(Mark::ZmapIpid, found.zmap_ipid)
        .with_if(Mark::MasscanIpid, found.masscan_ipid)
        .with_if(Mark::Slammer, found.slammer);
    Class { ip: IpVersion::V4, protocol: info.protocol, service, kind, marks }
}
