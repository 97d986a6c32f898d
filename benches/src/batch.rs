//! One batch of rows, in the forms that it takes on its way.

use martlet_window::{
    BatchHeader, CaptureStatistics, CountRow, Digest, Marks, Origin, Posture, Timestamp, TrafficClass, WindowLength,
};
use martlet_wire::v1::{BatchEncoder, Columns, FRAME_HEADER_LENGTH, Run};

/// Start of the batch's window, in seconds since the Unix epoch.
pub const START: i64 = 1_700_000_000;

/// The header of a batch of these rows.
#[must_use]
pub fn header(rows: &[CountRow]) -> BatchHeader {
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

/// Rows as they are after decoding, without the wire.
#[must_use]
pub fn columns(rows: &[CountRow]) -> Columns {
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

/// Rows as a collector reads them behind the frame's header.
///
/// # Panics
/// If the rows are not those of one batch, or the compression library cannot allocate its state.
#[must_use]
#[expect(clippy::expect_used, reason = "a benchmark has nobody to tell")]
pub fn payload(rows: &[CountRow]) -> Vec<u8> {
    let mut encoder = BatchEncoder::new().expect("the compression library");
    let mut frame = Vec::new();
    encoder.write(&header(rows), rows.iter().copied(), &mut frame).expect("rows of one batch");
    frame.split_off(FRAME_HEADER_LENGTH)
}
