//! The collector's stages one by one. Figures are for one count row.

#![expect(missing_docs, reason = "criterion's macros make undocumented items")]
#![expect(clippy::unwrap_used, reason = "a benchmark has nobody to tell")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use martlet_benches::batch::{START, columns, header, payload};
use martlet_benches::{Traffic, rows};
use martlet_collector::aggregate::{Arrival, Decoder, Delta, Rules, SourceCounts, SourceHash};
use martlet_collector::config::{GeoConfig, LiveConfig, MetricsConfig};
use martlet_collector::geo::Geo;
use martlet_collector::ingest::{SensorId, Share};
use martlet_collector::live::LiveStore;
use martlet_window::{DistinctSources, IpVersion};
use martlet_wire::v1::{BatchView, Columns, Limits};
use rand::{Rng, SeedableRng};

const PACKETS: u64 = 100_000;

fn hash(c: &mut Criterion) {
    let rows = rows(&Traffic::drill(PACKETS));
    let sources: Vec<u128> = rows.iter().map(|row| row.source).collect();
    let packets: Vec<u32> = rows.iter().map(|row| row.packets).collect();
    let mut group = c.benchmark_group("source");
    group.throughput(Throughput::Elements(sources.len() as u64));
    let hash = SourceHash::new([7; 16]);
    let mut hashes = Vec::new();
    group.bench_function("hash", |b| {
        b.iter(|| {
            hashes.clear();
            hashes.extend(sources.iter().map(|&source| hash.of_bits(IpVersion::V4, source)));
            black_box(hashes.len())
        });
    });
    let mut counts = SourceCounts::default();
    group.bench_function("count", |b| b.iter(|| counts.add(IpVersion::V4, &sources, &packets)));
    group.finish();
}

/// Rows of a batch of usual size.
const BATCH_ROWS: usize = 1000;

/// One batch of hashes into sets of either form.
fn distinct(c: &mut Criterion) {
    let hash = SourceHash::new([7; 16]);
    let hashes = |number: u128| -> Vec<u64> {
        (0..BATCH_ROWS as u128).map(|n| hash.of_bits(IpVersion::V4, number * 1_000_000 + n)).collect()
    };
    let mut group = c.benchmark_group("distinct sources, a batch of 1000");
    group.throughput(Throughput::Elements(BATCH_ROWS as u64));
    let batch = hashes(0);
    group.bench_function("exact, new set", |b| {
        b.iter_batched_ref(DistinctSources::default, |set| set.insert(&batch), BatchSize::SmallInput);
    });
    let mut exact = DistinctSources::default();
    exact.insert(&batch);
    assert!(exact.is_exact());
    group.bench_function("exact, known", |b| b.iter(|| exact.insert(&batch)));
    let mut registers = DistinctSources::default();
    (0..10).for_each(|number| registers.insert(&hashes(number)));
    assert!(!registers.is_exact());
    group.bench_function("registers", |b| b.iter(|| registers.insert(&batch)));
    group.finish();
}

/// `components` has the same for the wire alone; here are the batch sizes that sensors send, and the hash of the payload.
fn decode(c: &mut Criterion) {
    let rows = rows(&Traffic::drill(PACKETS));
    let mut decompressor = zstd::bulk::Decompressor::new().unwrap();
    let (mut raw, mut columns) = (Vec::new(), Columns::default());
    for count in [BATCH_ROWS, rows.len()] {
        let payload = payload(&rows[..count]);
        let mut group = c.benchmark_group(format!("decode, {count} rows"));
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function("columns", |b| {
            b.iter(|| {
                let view = BatchView::read(&payload, &Limits::default()).unwrap();
                view.columns(&mut decompressor, &mut raw, &mut columns).unwrap();
            });
        });
        let mut decoder = Decoder::new(Limits::default()).unwrap();
        group.bench_function("and hash of the payload", |b| {
            b.iter(|| {
                let decoded = decoder.decode(&payload, Share::default()).unwrap();
                decoder.keep(decoded.columns);
            });
        });
        group.finish();
    }
}

fn add(c: &mut Criterion) {
    let rows = rows(&Traffic::drill(PACKETS));
    let (columns, header) = (columns(&rows), header(&rows));
    let rules = Rules { source_hash: SourceHash::new([7; 16]), bucket_seconds: 600, late_grace_seconds: 30 };
    let arrival = Arrival { at_ms: START * 1000, is_live: false };
    let mut group = c.benchmark_group(format!("tables, {} rows in {} runs", rows.len(), columns.runs.len()));
    group.throughput(Throughput::Elements(rows.len() as u64));
    let mut delta = Delta::default();
    let sensor = SensorId(0);
    group.bench_function("add a batch, keys known", |b| {
        b.iter(|| delta.add(&rules, sensor, &header, &columns, 0, arrival));
    });
    let newest = Arc::new([const { AtomicI64::new(i64::MIN) }; 3]);
    let mut store = LiveStore::new(LiveConfig::default(), &MetricsConfig::default(), newest);
    group.bench_function("add a batch and merge", |b| {
        b.iter(|| {
            delta.add(&rules, sensor, &header, &columns, 0, arrival);
            store.add(&mut delta, START);
        });
    });
    group.bench_function("add a batch, merge and publish", |b| {
        b.iter(|| {
            delta.add(&rules, sensor, &header, &columns, 0, arrival);
            store.add(&mut delta, START);
            store.view(&[], START)
        });
    });
    group.bench_function("publish", |b| b.iter(|| black_box(store.view(&[], START))));
    group.finish();
}

/// Addresses that a lookup is measured over: enough that the processor cannot remember their way through the tables.
const ADDRESSES: usize = 1 << 16;

/// Whom a source belongs to. Figures are for one address; those that come from random numbers are the worst case, since
/// neighbours share cache lines. The database and the lists are the shared ones, and are left out where there are none.
fn geo(c: &mut Criterion) {
    let mut random = rand::rngs::StdRng::seed_from_u64(7);
    let ipv4: Vec<IpAddr> = (0..ADDRESSES).map(|_| Ipv4Addr::from(random.random::<u32>()).into()).collect();
    let ipv6: Vec<IpAddr> = (0..ADDRESSES)
        .map(|n| {
            let block = [0x2001u128, 0x2400, 0x2600, 0x2800, 0x2a00, 0x2c00][n % 6] << 112;
            Ipv6Addr::from(block | random.random::<u128>() >> 16).into()
        })
        .collect();
    let mut group = c.benchmark_group("geo");
    group.throughput(Throughput::Elements(ADDRESSES as u64));
    let mut measure = |name: &str, config: GeoConfig| {
        let geo = Geo::open(&config).unwrap().0;
        for (version, addresses) in [("IPv4", &ipv4), ("IPv6", &ipv6)] {
            group.bench_function(format!("{name}, {version}"), |b| {
                b.iter(|| {
                    let snapshot = geo.snapshot();
                    for &address in addresses {
                        black_box(snapshot.owner(address));
                    }
                });
            });
        }
    };
    measure("built-in regions", GeoConfig::default());
    if let Some(data) = martlet_tests::shared::data() {
        let database = data.join("geo/geo-whois-asn-country.mmdb");
        let lists = data.join("lists/internet-scanners/cidr");
        measure(
            "built-in regions and 22 k scanner networks",
            GeoConfig { scanner_lists: vec![lists.clone()], ..GeoConfig::default() },
        );
        measure(
            "regions from a database",
            GeoConfig { country_database: Some(database.clone()), ..GeoConfig::default() },
        );
        measure(
            "regions from a database and 22 k scanner networks",
            GeoConfig {
                country_database: Some(database.clone()),
                scanner_lists: vec![lists.clone()],
                asn_database: None,
            },
        );
        group.throughput(Throughput::Elements(1));
        group.sample_size(10);
        let config = GeoConfig { country_database: Some(database), ..GeoConfig::default() };
        group.bench_function("read and check a database of 8 MB", |b| b.iter(|| Geo::open(&config).unwrap()));
        let config = GeoConfig { scanner_lists: vec![lists], ..GeoConfig::default() };
        group.bench_function("read 22 k scanner networks", |b| b.iter(|| Geo::open(&config).unwrap()));
    }
    group.finish();
}

criterion_group!(benches, hash, distinct, decode, add, geo);
criterion_main!(benches);
