//! Once warm, the collector's path allocates nothing for a row: nothing at all, or as much for ten times as many rows.

use martlet_benches::batch::{START, columns, header, payload};
use martlet_benches::{Traffic, rows};
use martlet_collector::aggregate::{Arrival, Decoder, Delta, Rules, SourceHash};
use martlet_collector::ingest::{SensorId, Share};
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
fn counting_known_keys_allocates_nothing() {
    let rules = Rules { source_hash: SourceHash::new([7; 16]), bucket_seconds: 600, late_grace_seconds: 30 };
    let arrival = Arrival { at_ms: START * 1000, is_live: false };
    for rows in few_and_many() {
        let (header, columns) = (header(&rows), columns(&rows));
        let mut delta = Delta::default();
        let mut add = || delta.add(&rules, SensorId(0), &header, &columns, 0, arrival);
        add();
        let measured = allocation_counter::measure(add);
        assert_eq!(measured.count_total, 0, "{} rows: {measured:?}", rows.len());
    }
}
