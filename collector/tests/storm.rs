//! A flood of spoofed sources: every count stays exact, what is estimated says so and how far it may be off, and the
//! memory stays bounded.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Server, Spool, TEN, deliver, tcp_scan};
use martlet_window::{CountRow, TrafficClass};

/// Batches of the flood.
const BATCHES: u32 = 1600;
/// Rows of each, half of them to either port.
const ROWS: u32 = 4000;
/// What somebody sends from one address in the midst of it, in each batch.
const STEADY: u32 = 50;

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

fn flood(batch: u32) -> Vec<CountRow> {
    // Different from batch to batch, and spread over all addresses.
    let source = |n: u32| (n * BATCHES + batch).wrapping_mul(0x9e37_79b1);
    let mut rows: Vec<CountRow> =
        (0..ROWS).map(|n| tcp_scan(if n % 2 == 0 { 23 } else { 445 }, source(n), 1)).collect();
    rows.push(tcp_scan(22, 7, STEADY));
    common::sorted(rows)
}

#[test]
fn counts_stay_exact_and_memory_bounded_while_every_source_is_spoofed() {
    let mut server = Server::start();
    let mut spool = Spool::new(1, 0, "alpha");
    let mut client = spool.connect(&server);
    deliver(&mut client, &mut spool, &[(TEN, vec![tcp_scan(80, 1, 1)])]);
    let before = resident();
    for batches in (0..BATCHES).collect::<Vec<_>>().chunks(20) {
        let batches: Vec<_> = batches.iter().map(|&batch| (TEN, flood(batch))).collect();
        deliver(&mut client, &mut spool, &batches);
    }
    server.wait_for_batches(TrafficClass::Real, u64::from(BATCHES) + 1);
    let grown = resident().saturating_sub(before) >> 20;
    let view = server.stop();
    let bucket = view.class(TrafficClass::Real).buckets.values().next().unwrap().clone();

    let each = BATCHES * ROWS / 2;
    let rows = bucket.merged_rows();
    for port in [23, 445] {
        let (_, row) = rows.iter().find(|(key, _)| key.service.port() == Some((6, port))).unwrap();
        let sources = row.sources.to_set();
        assert_eq!(row.packets, u64::from(each));
        assert!(!sources.is_exact());
        let error = sources.count() as f64 / f64::from(each) - 1.0;
        // Four standard errors: the secret of the hash is another one in each run.
        assert!(error.abs() < 4.0 * martlet_window::DistinctSources::STANDARD_ERROR, "{error}");
    }
    // The one that is no spoofed source is found, with all its packets, and is the heaviest.
    let heaviest = bucket.top().entries().iter().max_by_key(|entry| entry.packets).unwrap();
    assert_eq!((heaviest.source.bits(), heaviest.packets), (7, u64::from(BATCHES * STEADY)));
    assert!(bucket.top().floor() < u64::from(BATCHES * STEADY));
    // About 50 were seen. A table of all sources would be of 2^23 places at least, which is 128 MiB for an address and a count.
    assert!(grown < 80, "{grown} MiB");
}
