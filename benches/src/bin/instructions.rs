//! `instructions STAGE TIMES`: does the fixed work of one stage so many times, and prints the rows of one time.
//! `benches/instructions.sh` counts its instructions.

#![expect(clippy::expect_used, reason = "whoever calls it wrongly may see it panic")]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use martlet_benches::batch::{START, columns, header, payload};
use martlet_benches::{Traffic, rows};
use martlet_collector::aggregate::{Arrival, Delta, Rules, SourceHash};
use martlet_collector::config::{LiveConfig, MetricsConfig};
use martlet_collector::ingest::SensorId;
use martlet_collector::live::LiveStore;
use martlet_window::CountRow;
use martlet_wire::v1::{BatchEncoder, BatchView, Columns, Limits};

/// Packets of the drill that the rows are made of.
const PACKETS: u64 = 20_000;

#[expect(clippy::print_stdout, clippy::panic, reason = "this is the program's own output and complaint")]
fn main() {
    let mut arguments = std::env::args().skip(1);
    let stage = arguments.next().expect("a stage");
    let times: u32 = arguments.next().and_then(|times| times.parse().ok()).expect("a number of times");
    let rows = rows(&Traffic::drill(PACKETS));
    match stage.as_str() {
        "encode" => encode(&rows, times),
        "decode" => decode(&rows, times),
        "add" => add(&rows, times, |_| ()),
        "add_and_merge" => {
            let newest = Arc::new([const { AtomicI64::new(i64::MIN) }; 3]);
            let mut store = LiveStore::new(LiveConfig::default(), &MetricsConfig::default(), newest);
            add(&rows, times, |delta| store.add(delta, START));
        }
        _ => panic!("no such stage: {stage}"),
    }
    println!("{}", rows.len());
}

fn encode(rows: &[CountRow], times: u32) {
    let (mut encoder, header) = (BatchEncoder::new().expect("the compression library"), header(rows));
    let mut out = Vec::with_capacity(1 << 20);
    for _ in 0..times {
        out.clear();
        encoder.write(&header, rows.iter().copied(), &mut out).expect("rows of one batch");
        black_box(&out);
    }
}

/// Without the hash of the payload, for which each processor has its own instructions.
fn decode(rows: &[CountRow], times: u32) {
    let payload = payload(rows);
    let mut decompressor = zstd::bulk::Decompressor::new().expect("the compression library");
    let (mut raw, mut columns) = (Vec::new(), Columns::default());
    for _ in 0..times {
        let view = BatchView::read(black_box(&payload), &Limits::default()).expect("a batch");
        view.columns(&mut decompressor, &mut raw, &mut columns).expect("columns");
    }
}

fn add(rows: &[CountRow], times: u32, mut merge: impl FnMut(&mut Delta)) {
    let (columns, header) = (columns(rows), header(rows));
    let rules = Rules { source_hash: SourceHash::new([7; 16]), bucket_seconds: 600, late_grace_seconds: 30 };
    let arrival = Arrival { at_ms: START * 1000, is_live: false };
    let mut delta = Delta::default();
    for _ in 0..times {
        delta.add(&rules, SensorId(0), &header, black_box(&columns), 0, arrival);
        merge(&mut delta);
    }
}
