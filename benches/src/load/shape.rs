//! The rows of made-up sensors.
//!
//! The shares are rounded from `crates/drill` (its `mix` says where they come from). Not taken from anywhere: that half of
//! the rows are of sources by turns, so that a run has as many distinct sources as it was asked for; that one source in 200
//! has IPv6; how many packets a row has.

use clap::ValueEnum;
use martlet_window::{Class, CountRow, IpVersion, Kind, Mark, Marks, Service};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// What the rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Shape {
    /// Scanners, bots, backscatter and pings: many services, sources that come again, several rows of a source
    Background,
    /// A spoofed flood: every row has a source of its own, on four services
    Storm,
    /// The background, all of it from one sensor
    SingleGiant,
}

impl Shape {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Shape::Background => "background",
            Shape::Storm => "storm",
            Shape::SingleGiant => "single-giant",
        }
    }
}

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// The services that are probed most, the first ranks of all.
const BUSY_TCP: [u16; 22] = [
    23, 445, 22, 80, 6379, 443, 8080, 5555, 1433, 3389, 8443, 81, 8088, 37215, 2375, 5900, 3306, 5432, 139, 2222, 2376,
    2323,
];
const BUSY_UDP: [u16; 16] = [5060, 123, 53, 389, 1900, 161, 5070, 1434, 137, 5353, 5683, 1194, 111, 19, 3283, 53413];
const VICTIMS: [u16; 8] = [80, 443, 80, 443, 22, 53, 25565, 8080];

/// Makes one sensor's rows, batch after batch.
pub(super) struct Rows {
    shape: Shape,
    /// Distinct sources, at most 2^32.
    keys: u64,
    rows: u32,
    /// The next source by turns; in a storm the first of the next batch.
    next: u64,
    /// From this sensor's batch to its next one, in a storm.
    stride: u64,
    random: SmallRng,
}

impl Rows {
    pub(super) fn new(shape: Shape, keys: Option<u32>, rows: u32, sensor: u16, sensors: u16, seed: u64) -> Rows {
        let keys = keys.map_or(1 << 32, u64::from);
        let (sensor, sensors) = (u64::from(sensor), u64::from(sensors));
        let (next, stride) = match shape {
            // Batch after batch over all sensors: no source comes again before all were there.
            Shape::Storm => (sensor * u64::from(rows), sensors * u64::from(rows)),
            // Spread, so that the sensors do not see the same sources at the same time.
            Shape::Background | Shape::SingleGiant => (sensor * keys / sensors, 0),
        };
        let random = SmallRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(sensor));
        Rows { shape, keys, rows, next, stride, random }
    }

    /// The rows of the next batch: sorted, unique, and exactly as many as asked for.
    pub(super) fn batch(&mut self, out: &mut Vec<CountRow>) {
        out.clear();
        let wanted = self.rows as usize;
        match self.shape {
            Shape::Storm => {
                out.extend((0..u64::from(self.rows)).map(|i| flood((self.next + i) % self.keys)));
                self.next = (self.next + self.stride) % self.keys;
                out.sort_unstable_by_key(CountRow::key);
            }
            Shape::Background | Shape::SingleGiant => {
                // What is drawn twice is one row of more packets, as in a sensor's table.
                while out.len() < wanted {
                    let missing = wanted - out.len();
                    out.extend(std::iter::repeat_with(|| self.draw()).take(missing));
                    out.sort_unstable_by_key(CountRow::key);
                    out.dedup_by(|row, kept| {
                        let same = row.key() == kept.key();
                        if same {
                            kept.merge(row);
                        }
                        same
                    });
                }
            }
        }
    }

    fn draw(&mut self) -> CountRow {
        let host = if self.random.random() { self.busy_host() } else { self.next_host() };
        let (ip, source) = address(host);
        let (class, length) = self.class(ip, host);
        // Half of the rows have one packet, a quarter two, and so on.
        let packets = 1 + self.random.random::<u32>().trailing_ones();
        let targets = packets - packets / 4;
        CountRow { class: class.into(), source, packets, bytes: u64::from(packets) * length, targets }
    }

    fn next_host(&mut self) -> u64 {
        let host = self.next;
        self.next = (self.next + 1) % self.keys;
        host
    }

    /// A host whose share of the draws falls as 1/rank.
    fn busy_host(&mut self) -> u64 {
        loop {
            let rank = zipf(&mut self.random, self.keys.ilog2());
            if rank <= self.keys {
                return rank - 1;
            }
        }
    }

    /// What a host sends, and the IP length of one packet.
    fn class(&mut self, ip: IpVersion, host: u64) -> (Class, u64) {
        let extra = if ip == IpVersion::V6 { 20 } else { 0 };
        let icmp = if ip == IpVersion::V6 { ICMPV6 } else { ICMP };
        let (protocol, service, kind, marks, length) = match self.random.random_range(0..1000) {
            0..928 => {
                let (marks, length) = tool(host);
                (TCP, Service::Port(self.tcp_port(marks)), Kind::Scan, marks, length)
            }
            928..958 => (TCP, Service::Port(self.pick(&VICTIMS)), Kind::Backscatter, Marks::NONE, 44),
            958..990 => (UDP, Service::Port(self.port(&BUSY_UDP)), Kind::Scan, Marks::NONE, 71),
            990..995 => (UDP, Service::Port(53), Kind::Backscatter, Marks::NONE, 220),
            995..999 => {
                let icmp_type = if ip == IpVersion::V6 { 128 } else { 8 };
                (icmp, Service::Icmp { icmp_type, code: 0 }, Kind::Scan, Marks::NONE, 84)
            }
            _ => {
                // Port unreachable, about a packet of ours that was never sent.
                let (icmp_type, code) = if ip == IpVersion::V6 { (1, 4) } else { (3, 3) };
                let quoted_port = self.pick(&VICTIMS);
                let service = Service::IcmpError { icmp_type, code, quoted_protocol: UDP, quoted_port };
                (icmp, service, Kind::Backscatter, Marks::NONE, 56)
            }
        };
        (Class { ip, protocol, service, kind, marks }, length + extra)
    }

    fn tcp_port(&mut self, marks: Marks) -> u16 {
        if marks.contains(Mark::Mirai) {
            return if self.random.random_range(0..10) == 0 { 2323 } else { 23 };
        }
        self.port(&BUSY_TCP)
    }

    /// Half of the time a port whose share falls as 1/rank, else any port.
    fn port(&mut self, busy: &[u16]) -> u16 {
        if self.random.random() {
            return self.random.random_range(1..=u16::MAX);
        }
        // Ranks 1 to 2^16 - 1.
        let rank = zipf(&mut self.random, 15);
        let listed = usize::try_from(rank - 1).ok().and_then(|place| busy.get(place));
        listed.copied().unwrap_or_else(|| u16::try_from(rank).unwrap_or(u16::MAX))
    }

    fn pick(&mut self, ports: &[u16]) -> u16 {
        ports[self.random.random_range(0..ports.len())]
    }
}

/// A rank from 1 to below `2^(last + 1)`: every power of two between is as likely, so that shares fall as 1/rank.
fn zipf(random: &mut SmallRng, last: u32) -> u64 {
    let first = 1u64 << random.random_range(0..=last);
    first + random.random_range(0..first)
}

/// One row of a flood: one packet to one of four services.
fn flood(number: u64) -> CountRow {
    let (protocol, port) = [(TCP, 80), (TCP, 443), (TCP, 22), (UDP, 53)][(number & 3) as usize];
    let class =
        Class { ip: IpVersion::V4, protocol, service: Service::Port(port), kind: Kind::Scan, marks: Marks::NONE };
    CountRow { class: class.into(), source: scatter(number).into(), packets: 1, bytes: 40, targets: 1 }
}

/// The tool of a host, as its marks and the length of its packets. A host keeps to one.
fn tool(host: u64) -> (Marks, u64) {
    match scatter(host ^ 0x5bd1_e995) % 1000 {
        0..180 => (Marks::NONE.with(Mark::ZmapIpid).with(Mark::Zmap), 40),
        180..360 => (Marks::NONE.with(Mark::Zmap4), 60),
        360..480 => (Marks::NONE.with(Mark::MasscanIpid).with(Mark::Masscan), 44),
        480..520 => (Marks::NONE.with(Mark::Mirai), 40),
        520..525 => (Marks::NONE.with(Mark::NmapShape), 44),
        _ => (Marks::NONE, 60),
    }
}

/// The address of a host: one in 200 has IPv6, out of the documentation prefix 2001:db8::/32.
fn address(host: u64) -> (IpVersion, u128) {
    let bits = u128::from(scatter(host));
    if host % 200 == 199 {
        return (IpVersion::V6, 0x2001_0db8 << 96 | bits << 64 | (bits ^ 0xa5a5));
    }
    (IpVersion::V4, bits)
}

/// Another number for each number below 2^32: MurmurHash3's finaliser, in which each step can be undone.
#[expect(clippy::cast_possible_truncation, reason = "numbers of hosts are below 2^32")]
fn scatter(number: u64) -> u32 {
    // 0 would stay 0, which is how a sensor masks a source.
    let mut bits = (number as u32) ^ 0x9e37_79b9;
    bits = (bits ^ bits >> 16).wrapping_mul(0x85eb_ca6b);
    bits = (bits ^ bits >> 13).wrapping_mul(0xc2b2_ae35);
    bits ^ bits >> 16
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use super::*;

    fn batches(shape: Shape, keys: Option<u32>, rows: u32, sensors: u16, each: usize) -> Vec<Vec<CountRow>> {
        let mut all = Vec::new();
        for sensor in 0..sensors {
            let mut maker = Rows::new(shape, keys, rows, sensor, sensors, 7);
            for _ in 0..each {
                let mut batch = Vec::new();
                maker.batch(&mut batch);
                all.push(batch);
            }
        }
        all
    }

    fn sources(batches: &[Vec<CountRow>]) -> HashSet<(bool, u128)> {
        batches.iter().flatten().map(|row| (row.class.ip() == IpVersion::V6, row.source)).collect()
    }

    #[test]
    fn every_batch_is_sorted_unique_and_whole() {
        for shape in [Shape::Background, Shape::Storm, Shape::SingleGiant] {
            for batch in batches(shape, Some(5000), 2000, 1, 5) {
                assert_eq!(batch.len(), 2000);
                assert!(batch.is_sorted_by(|a, b| a.key() < b.key()), "{shape:?}");
                assert!(batch.iter().all(|row| (1..=row.packets).contains(&row.targets)));
            }
        }
    }

    #[test]
    fn there_are_as_many_distinct_sources_as_asked_for() {
        for (keys, sensors) in [(1, 1), (700, 1), (30_000, 1), (30_000, 4)] {
            let batches = batches(Shape::Background, Some(keys), 5000, sensors, 20 / usize::from(sensors));
            assert_eq!(sources(&batches).len(), keys as usize);
        }
    }

    #[test]
    fn a_storm_never_repeats_a_source() {
        assert_eq!(sources(&batches(Shape::Storm, None, 1000, 3, 10)).len(), 30_000);
        assert_eq!(sources(&batches(Shape::Storm, Some(4000), 1000, 1, 10)).len(), 4000);
        let services: HashSet<_> =
            batches(Shape::Storm, None, 1000, 1, 1).concat().iter().map(|row| row.class).collect();
        assert_eq!(services.len(), 4);
    }

    #[test]
    fn the_background_is_mixed_as_it_says() {
        let rows = batches(Shape::Background, Some(20_000), 10_000, 1, 10).concat();
        let mut protocols = BTreeMap::new();
        for row in &rows {
            *protocols.entry(row.class.unpack().protocol).or_insert(0) += 1;
        }
        let share = |protocol| f64::from(protocols[&protocol]) / rows.len() as f64;
        assert!((0.93..0.97).contains(&share(TCP)), "{protocols:?}");
        assert!((0.03..0.05).contains(&share(UDP)), "{protocols:?}");
        assert!(share(ICMP) > 0.001 && share(ICMPV6) > 0.0, "{protocols:?}");
        let v6 = rows.iter().filter(|row| row.class.ip() == IpVersion::V6).count();
        assert!((1..rows.len() / 50).contains(&v6), "{v6}");
        let hosts: HashSet<u128> = rows.iter().map(|row| row.source).collect();
        assert!(hosts.len() * 2 < rows.len(), "sources have several rows");
    }

    #[test]
    fn the_same_seed_makes_the_same_rows() {
        let make = || batches(Shape::Background, Some(100), 50, 2, 2);
        assert_eq!(make(), make());
    }
}
