//! What a sensor counted: the columns of a batch.

use martlet_window::{
    BatchHeader, CaptureStatistics, CountRow, Digest, Marks, Origin, Posture, Timestamp, TrafficClass, WindowLength,
};
use martlet_wire::WireError;
use martlet_wire::v1::{BATCH_FIXED_LENGTH, BatchEncoder, BatchView, Columns, FRAME_HEADER_LENGTH, Limits};

/// Place of the packets, the rows and the length of the columns in a batch payload (docs/wire.md).
const FRAMES: usize = 88;
const PACKETS: usize = 96;
const ROWS: usize = 120;
const RAW_LENGTH: usize = 124;

/// Any bytes as the columns of a batch, compressed here: a fuzzer would hardly get past zstd.
///
/// The first two bytes say how many rows are claimed. What is accepted obeys every rule of rows, and comes back the
/// same when it is encoded again.
pub fn batch(input: &[u8]) {
    let Some((rows, columns)) = input.split_first_chunk::<2>() else { return };
    let Ok(raw_length) = u32::try_from(columns.len()) else { return };
    let rows = u16::from_le_bytes(*rows);
    let mut payload = encode(0, &[])[..BATCH_FIXED_LENGTH].to_vec();
    payload[ROWS..ROWS + 4].copy_from_slice(&u32::from(rows).to_le_bytes());
    payload[RAW_LENGTH..RAW_LENGTH + 4].copy_from_slice(&raw_length.to_le_bytes());
    payload.extend(zstd::bulk::compress(columns, 1).expect("memory"));

    // The sum of packets is known only after reading: once to learn it, once with it.
    let mut read = Columns::default();
    let first = decode(&payload, &mut read);
    let packets: u64 = read.packets.iter().map(|&packets| u64::from(packets)).sum();
    for place in [FRAMES, PACKETS] {
        payload[place..place + 8].copy_from_slice(&packets.to_le_bytes());
    }
    let second = decode(&payload, &mut read);
    assert!(first.is_err() || packets == 0);
    if second.is_err() {
        return;
    }
    let all: Vec<CountRow> = read.rows().collect();
    assert_eq!(all.len(), usize::from(rows));
    assert!(all.is_sorted_by(|a, b| a.key() < b.key()));
    assert!(all.iter().all(|row| row.packets >= 1 && (1..=row.packets).contains(&row.targets)));
    let again = encode(packets, &all);
    let mut back = Columns::default();
    decode(&again, &mut back).expect("what was accepted can be sent on");
    assert!(back.rows().eq(all));
}

fn decode(payload: &[u8], columns: &mut Columns) -> Result<(), WireError> {
    let view = BatchView::read(payload, &Limits::default())?;
    let mut decompressor = zstd::bulk::Decompressor::new().expect("memory");
    view.columns(&mut decompressor, &mut Vec::new(), columns)
}

fn encode(packets: u64, rows: &[CountRow]) -> Vec<u8> {
    let header = BatchHeader {
        origin: Origin([1; 16]),
        epoch: 2,
        sequence: 3,
        predecessor: Digest([4; 16]),
        class: TrafficClass::Real,
        posture: Posture::Silent,
        window: WindowLength::DEFAULT.window_at(Timestamp::from_parts(1_600_000_000, 0)),
        part: 0,
        exposure: None,
        unavailable: Marks::NONE,
        capture: CaptureStatistics { frames: packets, packets, ..CaptureStatistics::default() },
    };
    let mut frame = Vec::new();
    BatchEncoder::new().expect("memory").write(&header, rows.iter().copied(), &mut frame).expect("few rows");
    frame.split_off(FRAME_HEADER_LENGTH)
}
