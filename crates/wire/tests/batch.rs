//! Batches over the wire: what goes in comes out, and nothing else comes in.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use martlet_window::{
    BatchHeader, CaptureStatistics, Class, CountRow, Digest, Exposure, IpVersion, Kind, Mark, Marks, Origin, Posture,
    RejectReason, Service, TrafficClass, WindowLength,
};
use martlet_wire::WireError;
use martlet_wire::v1::{BatchEncoder, BatchView, Columns, FRAME_HEADER_LENGTH, FrameHeader, Limits};
use proptest::prelude::*;

fn header(packets: u64) -> BatchHeader {
    let mut capture = CaptureStatistics { frames: packets + 3, packets, kernel_drops: 1, ..Default::default() };
    capture.rejected[RejectReason::NotIp as usize] = 3;
    BatchHeader {
        origin: Origin([3; 16]),
        epoch: 77,
        sequence: 5,
        predecessor: Digest([9; 16]),
        class: TrafficClass::Drill,
        posture: Posture::Rst,
        window: WindowLength::DEFAULT.window_at(martlet_window::Timestamp::from_parts(1_600_000_000, 0)),
        part: 2,
        exposure: Some(Exposure { watched_ms: 9_500, ipv4_addresses: 256, ipv6_prefixes: 1 }),
        unavailable: Marks::DESTINATION_TESTS,
        capture,
    }
}

fn rows() -> impl Strategy<Value = Vec<CountRow>> {
    let service = prop_oneof![
        Just(Service::None),
        (0u16..5).prop_map(Service::Port),
        Just(Service::IcmpError { icmp_type: 3, code: 3, quoted_protocol: 17, quoted_port: 53 }),
    ];
    let class =
        (any::<bool>(), 0u8..3, service, 0u32..1 << Mark::ALL.len()).prop_map(|(v6, kind, service, marks)| Class {
            ip: if v6 { IpVersion::V6 } else { IpVersion::V4 },
            protocol: 6,
            service,
            kind: Kind::from_number(kind).unwrap(),
            marks: Marks::from_bits(marks & 5).unwrap(),
        });
    let source = prop_oneof![0u128..50, any::<u128>()];
    let row = (class, source, 1u32..100, 0u64..65_575, any::<u32>());
    proptest::collection::vec(row, 0..200).prop_map(|raw| {
        let mut rows: Vec<CountRow> = raw
            .into_iter()
            .map(|(class, source, packets, length, targets)| CountRow {
                class: class.into(),
                source: if class.ip == IpVersion::V4 { source & 0xffff_ffff } else { source },
                packets,
                targets: targets % packets + 1,
                bytes: length * u64::from(packets),
            })
            .collect();
        rows.sort_by_key(CountRow::key);
        rows.dedup_by_key(|row| row.key());
        rows
    })
}

fn decode(frame: &[u8], limits: &Limits) -> Result<(BatchHeader, Vec<CountRow>), WireError> {
    let header = FrameHeader::parse(frame.first_chunk().ok_or(WireError::BadLength)?, limits)?;
    let payload = &frame[FRAME_HEADER_LENGTH..];
    header.verify(payload)?;
    decode_payload(payload, limits)
}

fn decode_payload(payload: &[u8], limits: &Limits) -> Result<(BatchHeader, Vec<CountRow>), WireError> {
    let view = BatchView::read(payload, limits)?;
    let mut columns = Columns::default();
    let mut decompressor = zstd::bulk::Decompressor::new().unwrap();
    view.columns(&mut decompressor, &mut Vec::new(), &mut columns)?;
    Ok((view.header, columns.rows().collect()))
}

fn encode(rows: &[CountRow]) -> Vec<u8> {
    let packets = rows.iter().map(|row| u64::from(row.packets)).sum();
    let mut frame = Vec::new();
    BatchEncoder::new().unwrap().write(&header(packets), rows.iter().copied(), &mut frame).unwrap();
    frame
}

proptest! {
    #[test]
    fn batches_come_back(rows in rows()) {
        let packets = rows.iter().map(|row| u64::from(row.packets)).sum();
        prop_assert_eq!(decode(&encode(&rows), &Limits::default()), Ok((header(packets), rows)));
    }

    #[test]
    fn damaged_payloads_are_refused_or_harmless(rows in rows(), place in any::<prop::sample::Index>(), value in any::<u8>()) {
        // Past the checksum, as from a hostile sensor: every answer is allowed except a panic or broken invariants.
        let mut payload = encode(&rows)[FRAME_HEADER_LENGTH..].to_vec();
        let place = place.index(payload.len());
        payload[place] = value;
        if let Ok((header, rows)) = decode_payload(&payload, &Limits::default()) {
            prop_assert!(header.capture.balances());
            prop_assert!(rows.is_sorted_by(|a, b| a.key() < b.key()));
            prop_assert_eq!(rows.iter().map(|row| u64::from(row.packets)).sum::<u64>(), header.capture.packets);
        }
    }

    #[test]
    fn any_bytes_are_read_without_harm(payload in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = decode_payload(&payload, &Limits::default());
    }

    #[test]
    fn truncations_are_refused(rows in rows(), cut in any::<prop::sample::Index>()) {
        let frame = encode(&rows);
        let payload = &frame[FRAME_HEADER_LENGTH..];
        prop_assert!(decode_payload(&payload[..cut.index(payload.len())], &Limits::default()).is_err());
    }
}

#[test]
fn claims_over_a_limit_are_refused_before_anything_is_allocated() {
    let mut payload = encode(&[])[FRAME_HEADER_LENGTH..].to_vec();
    // Rows at 120, column bytes at 124 (docs/wire.md).
    payload[120..124].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(decode_payload(&payload, &Limits::default()).unwrap_err(), WireError::TooManyRows);
    payload[120..124].copy_from_slice(&0u32.to_le_bytes());
    payload[124..128].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(decode_payload(&payload, &Limits::default()).unwrap_err(), WireError::TooManyRows);
}

#[test]
fn a_background_mix_takes_few_bytes_a_row() {
    // 20,000 rows: random sources over a few dozen ports, one or two packets each, as background radiation has it.
    let mut state = 1u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let mut rows: Vec<CountRow> = (0..20_000)
        .map(|_| {
            let class = Class {
                ip: IpVersion::V4,
                protocol: 6,
                service: Service::Port(u16::try_from(next() % 40).unwrap()),
                kind: Kind::Scan,
                marks: Marks::NONE,
            };
            let packets = 1 + u32::from(next() % 10 == 0);
            let length = [40, 44, 60][usize::try_from(next() % 3).unwrap()];
            let source = u128::from(next() & 0xffff_ffff);
            CountRow { class: class.into(), source, packets, targets: packets, bytes: length * u64::from(packets) }
        })
        .collect();
    rows.sort_by_key(CountRow::key);
    rows.dedup_by_key(|row| row.key());
    let per_row = encode(&rows).len() as f64 / rows.len() as f64;
    assert!(per_row < 8.0, "{per_row} bytes a row");
}
