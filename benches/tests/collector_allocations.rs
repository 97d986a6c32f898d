//! Once warm, the collector's path allocates nothing for a row: nothing at all, or as much for ten times as many rows.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use martlet_benches::batch::{START, columns, header, payload};
use martlet_benches::{Traffic, rows};
use martlet_collector::aggregate::{Arrival, Decoder, Delta, Rules, SourceHash};
use martlet_collector::config::{LiveConfig, MetricsConfig};
use martlet_collector::ingest::{SensorId, Share};
use martlet_collector::live::LiveStore;
use martlet_window::CountRow;
use martlet_wire::v1::Limits;

/// Rows of the drill: some thousands, and some ten thousands.
fn few_and_many() -> [Vec<CountRow>; 2] {
    [5_000, 50_000].map(|packets| rows(&Traffic::drill(packets)))
}

#[test]
fn decoding_allocates_nothing() {
    for rows in few_and_many() {
        let payload = payload(&rows);
        let mut decoder = Decoder::new(Limits::default()).unwrap();
        let mut decode = || {
            let decoded = decoder.decode(&payload, Share::default()).unwrap();
            assert_eq!(decoded.columns.len(), rows.len());
            decoder.keep(decoded.columns);
        };
        // The buffers grow.
        decode();
        let measured = allocation_counter::measure(decode);
        assert_eq!(measured.count_total, 0, "{} rows: {measured:?}", rows.len());
    }
}

#[test]
fn counting_allocates_nothing_and_handing_over_for_large_sets_only() {
    let rules = Rules { source_hash: SourceHash::new([7; 16]), bucket_seconds: 600, late_grace_seconds: 30 };
    let arrival = Arrival { at_ms: START * 1000, is_live: false };
    for rows in few_and_many() {
        let (header, columns) = (header(&rows), columns(&rows));
        let newest = Arc::new([const { AtomicI64::new(i64::MIN) }; 3]);
        let mut store = LiveStore::new(LiveConfig::default(), &MetricsConfig::default(), newest);
        let mut delta = Delta::default();
        // The buffers grow, and come back from the merger.
        delta.add(&rules, SensorId(0), &header, &columns, 0, arrival);
        store.add(&mut delta, START);
        let measured = allocation_counter::measure(|| delta.add(&rules, SensorId(0), &header, &columns, 0, arrival));
        // A set for each kind and mark, which the merger has kept.
        assert!(measured.count_total <= 64, "{} rows: {measured:?}", rows.len());
        let again = allocation_counter::measure(|| delta.add(&rules, SensorId(0), &header, &columns, 0, arrival));
        // The log of a second batch grows, by doubling.
        assert!(again.count_total <= 4, "{} rows: {again:?}", rows.len());
        // Lists are new, and so are sets of more than a few sources; rows are not allocated one by one.
        let merged = allocation_counter::measure(|| store.add(&mut delta, START));
        assert!(merged.count_total <= 1500, "{} rows: {merged:?}", rows.len());
        println!("{} rows: {}, {}, {}", rows.len(), measured.count_total, again.count_total, merged.count_total);
    }
}
