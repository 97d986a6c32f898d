//! What comes over a connection: the frames and messages of `martlet-wire`.

use martlet_wire::v1::{
    BatchView, Columns, FRAME_HEADER_LENGTH, FrameHeader, FrameType, Limits, Message, batch_identity,
};

/// Small enough that a claim of the limit costs nothing.
const LIMITS: Limits = Limits { max_batch_bytes: 1 << 16, max_rows: 1 << 12, max_column_bytes: 1 << 18 };
/// Where a frame header's own fields end and its checksum begins (docs/wire.md).
const CHECKSUM: usize = 12;

/// Any bytes as a connection's stream: frames are cut off and read one by one, as a receiver does.
///
/// Checksums are corrected before they are verified: a fuzzer cannot guess them, and a hostile sensor can compute them.
pub fn frame(stream: &[u8]) {
    let mut stream = stream.to_vec();
    let mut rest = stream.as_mut_slice();
    while let Some((head, after)) = rest.split_first_chunk_mut::<FRAME_HEADER_LENGTH>() {
        let Ok(claimed) = FrameHeader::parse(head, &LIMITS) else { return };
        let Some((payload, after)) = after.split_at_mut_checked(claimed.length as usize) else { return };
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&head[..CHECKSUM]), payload);
        head[CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
        let header = FrameHeader::parse(head, &LIMITS).expect("the checksum is no part of the header's checks");
        assert_eq!(header.verify(payload), Ok(()));
        read(header.frame_type, payload);
        rest = after;
    }
}

fn read(frame_type: FrameType, payload: &[u8]) {
    if frame_type == FrameType::Batch {
        let identity = batch_identity(payload);
        if let Ok(view) = BatchView::read(payload, &LIMITS) {
            let (stream, sequence) = identity.expect("the identity is the beginning of the header");
            assert_eq!((stream.origin, stream.epoch), (view.header.origin, view.header.epoch));
            assert_eq!(sequence, view.header.sequence);
            let mut decompressor = zstd::bulk::Decompressor::new().expect("memory");
            let _ = view.columns(&mut decompressor, &mut Vec::new(), &mut Columns::default());
        }
    } else if let Ok(message) = Message::read(frame_type, payload) {
        // What was read is written back as the same bytes: there is one spelling of each message.
        let mut again = Vec::new();
        message.write(&mut again);
        assert_eq!(message.frame_type(), frame_type);
        assert_eq!(&again[FRAME_HEADER_LENGTH..], payload);
    }
}
