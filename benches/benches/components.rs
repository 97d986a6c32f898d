//! The sensor's stages one by one, and the wire. Figures are for one packet or row.

#![expect(missing_docs, reason = "criterion's macros make undocumented items")]
#![expect(clippy::unwrap_used, reason = "a benchmark has nobody to tell")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use martlet_benches::batch::header;
use martlet_benches::{Recycle, Traffic, observations, pipeline, rows};
use martlet_observe::aggregate::{TableLimits, WindowTable};
use martlet_observe::classify::{Aim, classify};
use martlet_packet::{LinkType, parse};
use martlet_wire::v1::{BatchEncoder, BatchView, Columns, FRAME_HEADER_LENGTH, Limits};

const PACKETS: u64 = 100_000;

fn packet(c: &mut Criterion) {
    let traffic = Traffic::drill(PACKETS);
    let mut group = c.benchmark_group("packet");
    group.throughput(Throughput::Elements(PACKETS));
    group.bench_function("parse", |b| {
        b.iter(|| traffic.frames(0).filter(|frame| parse(LinkType::Ethernet, frame.bytes).is_ok()).count());
    });
    group.bench_function("parse and classify", |b| {
        b.iter(|| {
            for frame in traffic.frames(0) {
                if let Ok(packet) = parse(LinkType::Ethernet, frame.bytes) {
                    black_box(classify(&packet, Aim::AsSeen));
                }
            }
        });
    });
    group.bench_function("frame to window", |b| {
        let (mut pipeline, mut sink) = (pipeline(TableLimits::default()), Recycle::default());
        let mut at = 1_000_000_000;
        b.iter(|| {
            at += 10;
            traffic.frames(at).for_each(|frame| pipeline.take(frame, &mut sink));
        });
    });
    group.finish();
}

fn table(c: &mut Criterion) {
    let observations = observations(&Traffic::drill(PACKETS));
    let mut group = c.benchmark_group("window table");
    group.throughput(Throughput::Elements(PACKETS));
    let mut table = WindowTable::new(TableLimits::default());
    table.add(&observations).unwrap();
    group.bench_function("update", |b| b.iter(|| table.add(&observations)));
    group.bench_function("fill and sort", |b| {
        b.iter(|| {
            table.clear();
            table.add(&observations).unwrap();
            table.sorted_rows().count()
        });
    });
    group.finish();
}

fn wire(c: &mut Criterion) {
    let rows = rows(&Traffic::drill(PACKETS));
    let header = header(&rows);
    let mut encoder = BatchEncoder::new().unwrap();
    let mut frame = Vec::new();
    encoder.write(&header, rows.iter().copied(), &mut frame).unwrap();
    let mut group = c.benchmark_group(format!("wire, {:.2} bytes a row", frame.len() as f64 / rows.len() as f64));
    group.throughput(Throughput::Elements(rows.len() as u64));
    group.bench_function("encode", |b| {
        b.iter_batched_ref(
            || Vec::with_capacity(frame.len()),
            |out| encoder.write(&header, rows.iter().copied(), out).unwrap(),
            BatchSize::LargeInput,
        );
    });
    let mut decompressor = zstd::bulk::Decompressor::new().unwrap();
    let (mut raw, mut columns) = (Vec::new(), Columns::default());
    group.bench_function("decode", |b| {
        b.iter(|| {
            let view = BatchView::read(&frame[FRAME_HEADER_LENGTH..], &Limits::default()).unwrap();
            view.columns(&mut decompressor, &mut raw, &mut columns).unwrap();
        });
    });
    group.finish();
}

criterion_group!(benches, packet, table, wire);
criterion_main!(benches);
