//! The collector's stages one by one. Figures are for one count row.

#![expect(missing_docs, reason = "criterion's macros make undocumented items")]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use martlet_benches::{Traffic, rows};
use martlet_collector::aggregate::{Arrival, Delta, Rules, SourceCounts, SourceHash};
use martlet_collector::config::{LiveConfig, MetricsConfig};
use martlet_collector::ingest::SensorId;
use martlet_collector::live::LiveStore;
use martlet_window::{
    BatchHeader, CaptureStatistics, CountRow, Digest, IpVersion, Marks, Origin, Posture, Timestamp, TrafficClass,
    WindowLength,
};
use martlet_wire::v1::{Columns, Run};

const PACKETS: u64 = 100_000;
const START: i64 = 1_700_000_000;

/// Rows as they are after decoding, without the wire.
fn columns(rows: &[CountRow]) -> Columns {
    let mut columns = Columns::default();
    for (place, row) in (0..).zip(rows) {
        match columns.runs.last_mut() {
            Some(run) if run.class == row.class => run.end = place + 1,
            _ => columns.runs.push(Run { class: row.class, start: place, end: place + 1 }),
        }
        columns.sources.push(row.source);
        columns.packets.push(row.packets);
        columns.bytes.push(row.bytes);
        columns.targets.push(row.targets);
    }
    columns
}

fn header(rows: &[CountRow]) -> BatchHeader {
    let packets = rows.iter().map(|row| u64::from(row.packets)).sum();
    BatchHeader {
        origin: Origin([1; 16]),
        epoch: 1,
        sequence: 0,
        predecessor: Digest::default(),
        class: TrafficClass::Drill,
        posture: Posture::Silent,
        window: WindowLength::DEFAULT.window_at(Timestamp::from_parts(START, 0)),
        part: 0,
        exposure: None,
        unavailable: Marks::NONE,
        capture: CaptureStatistics { frames: packets, packets, ..CaptureStatistics::default() },
    }
}

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
    group.finish();
}

criterion_group!(benches, hash, add);
criterion_main!(benches);
