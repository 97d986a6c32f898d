//! After start-up the packet path allocates nothing.

use martlet_benches::{Recycle, Traffic, pipeline};
use martlet_observe::aggregate::TableLimits;

#[test]
fn the_packet_path_allocates_nothing() {
    let traffic = Traffic::drill(50_000);
    let (mut pipeline, mut sink) = (pipeline(TableLimits::default()), Recycle::default());
    let mut window = |at| {
        traffic.frames(at).for_each(|frame| pipeline.take(frame, &mut sink));
        pipeline.tick(martlet_window::Timestamp::from_parts(at + 20, 0), &mut sink);
    };
    // Start-up: both tables see the traffic once, and number its classes.
    window(1_000_000_000);
    window(1_000_000_010);
    let measured = allocation_counter::measure(|| window(1_000_000_020));
    assert_eq!(measured.count_total, 0, "{measured:?}");
    assert!(sink.rows > 100_000, "{} rows", sink.rows);
}
