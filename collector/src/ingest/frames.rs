//! Frames off a connection: bounded in length, in time and in memory.

use std::time::Duration;

use martlet_wire::WireError;
use martlet_wire::v1::{FRAME_HEADER_LENGTH, FrameHeader, FrameType, Limits};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout, timeout_at};

use super::budget::{Budget, Share};

/// What every connection may buffer of a payload without asking the shared budget. The batches of a small sensor fit,
/// so that others who fill the budget do not disturb it.
const ALLOWANCE: usize = 32 << 10;
/// First size of a payload's buffer.
const FIRST_BUFFER: usize = 2 << 10;

/// What every TLS connection begins with: a record of type handshake, of a version 3.x (RFC 8446, 5.1).
const TLS_HANDSHAKE: [u8; 2] = [22, 3];

/// Why there is no frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FrameFailure {
    /// The peer ended the connection between frames.
    Closed,
    /// The connection ended within a frame.
    Torn,
    /// Nothing came.
    Idle,
    /// A frame began and did not go on, or came too slowly.
    Slow,
    /// Others held the memory for too long.
    Memory,
    /// The bytes are TLS, behind which the protocol may be.
    Tls,
    /// The bytes are not the protocol.
    Wire(WireError),
}

/// One frame whose checksum was right.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) frame_type: FrameType,
    pub(super) payload: Vec<u8>,
    /// What the payload takes of the budget.
    pub(super) share: Share,
    /// When its first byte was read.
    pub(super) begun: Instant,
}

/// How frames are read.
#[derive(Clone, Debug)]
pub(super) struct FrameRules {
    pub(super) limits: Limits,
    /// Longest silence within a frame.
    pub(super) silence: Duration,
    /// Slowest pace, in bytes a second.
    pub(super) pace: u64,
    pub(super) budget: Budget,
}

/// Whether the next frame can be read without waiting: all of it is buffered, or enough to see that it is wrong.
pub(super) fn is_whole(buffered: &[u8], limits: &Limits) -> bool {
    buffered.split_first_chunk().is_some_and(|(head, rest)| {
        FrameHeader::parse(head, limits).map_or(true, |header| rest.len() >= header.length as usize)
    })
}

/// Reads one frame; waits for its first byte at most `patience`.
pub(super) async fn read_frame(
    reader: &mut (impl AsyncRead + Unpin),
    rules: &FrameRules,
    patience: Duration,
) -> Result<Frame, FrameFailure> {
    let mut head = [0; FRAME_HEADER_LENGTH];
    let first = timeout(patience, reader.read(&mut head)).await.map_err(|_| FrameFailure::Idle)?;
    let have = first.ok().filter(|&length| length > 0).ok_or(FrameFailure::Closed)?;
    let begun = Instant::now();
    fill(reader, &mut head[have..], rules, Instant::now() + rules.silence).await?;
    if head.starts_with(&TLS_HANDSHAKE) {
        return Err(FrameFailure::Tls);
    }
    let header = FrameHeader::parse(&head, &rules.limits).map_err(FrameFailure::Wire)?;
    let length = header.length as usize;
    let deadline = Instant::now() + rules.silence + Duration::from_secs(u64::from(header.length) / rules.pace);
    let mut payload = Vec::new();
    let mut share = Share::default();
    // The buffer follows the bytes that came, never the length that was claimed.
    while payload.len() < length {
        let have = payload.len();
        let next = length.min(FIRST_BUFFER.max(2 * have));
        if next > ALLOWANCE && !share.grow(&rules.budget, next as u64, rules.silence).await {
            return Err(FrameFailure::Memory);
        }
        payload.reserve_exact(next - have);
        payload.resize(next, 0);
        fill(reader, &mut payload[have..], rules, deadline).await?;
    }
    header.verify(&payload).map_err(FrameFailure::Wire)?;
    Ok(Frame { frame_type: header.frame_type, payload, share, begun })
}

async fn fill(
    reader: &mut (impl AsyncRead + Unpin),
    mut buffer: &mut [u8],
    rules: &FrameRules,
    deadline: Instant,
) -> Result<(), FrameFailure> {
    while !buffer.is_empty() {
        let until = deadline.min(Instant::now() + rules.silence);
        match timeout_at(until, reader.read(buffer)).await {
            Err(_) => return Err(FrameFailure::Slow),
            Ok(Ok(length)) if length > 0 => buffer = &mut buffer[length..],
            Ok(_) => return Err(FrameFailure::Torn),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use martlet_wire::v1::write_frame;
    use tokio::io::AsyncWriteExt;

    fn rules(budget: u64) -> FrameRules {
        FrameRules {
            limits: Limits::default(),
            silence: Duration::from_millis(100),
            pace: 1 << 20,
            budget: Budget::new(budget),
        }
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    #[test]
    fn a_frame_comes_through_in_pieces_and_gives_its_memory_back() {
        run(async {
            let rules = rules(1 << 20);
            let payload: Vec<u8> = (0..200_000u32).map(|n| n.to_le_bytes()[0]).collect();
            let mut bytes = Vec::new();
            write_frame(FrameType::Batch, &payload, &mut bytes).unwrap();
            let (mut near, mut far) = tokio::io::duplex(1000);
            let writing = async {
                for piece in bytes.chunks(777) {
                    far.write_all(piece).await.unwrap();
                }
            };
            let (frame, ()) = tokio::join!(read_frame(&mut near, &rules, Duration::from_secs(5)), writing);
            let frame = frame.unwrap();
            assert_eq!(frame.payload, payload);
            assert!(rules.budget.available() <= (1 << 20) - 200_000);
            drop(frame);
            assert_eq!(rules.budget.available(), 1 << 20);
        });
    }

    #[test]
    fn silence_and_ends_are_told_apart() {
        run(async {
            let rules = rules(1 << 20);
            let (mut near, mut far) = tokio::io::duplex(1000);
            let patience = Duration::from_millis(50);
            assert_eq!(read_frame(&mut near, &rules, patience).await.unwrap_err(), FrameFailure::Idle);
            far.write_all(b"MRTL").await.unwrap();
            assert_eq!(read_frame(&mut near, &rules, patience).await.unwrap_err(), FrameFailure::Slow);
            far.write_all(b"MRTL").await.unwrap();
            drop(far);
            assert_eq!(read_frame(&mut near, &rules, patience).await.unwrap_err(), FrameFailure::Torn);
            assert_eq!(read_frame(&mut near, &rules, patience).await.unwrap_err(), FrameFailure::Closed);
        });
    }

    #[test]
    fn a_claimed_length_takes_no_memory_and_an_empty_budget_ends_in_an_error() {
        run(async {
            let rules = rules(64 << 10);
            let mut bytes = Vec::new();
            write_frame(FrameType::Batch, &vec![0; 1 << 20], &mut bytes).unwrap();
            let (mut near, mut far) = tokio::io::duplex(2 << 20);
            far.write_all(&bytes[..100]).await.unwrap();
            assert_eq!(read_frame(&mut near, &rules, Duration::ZERO).await.unwrap_err(), FrameFailure::Slow);
            assert_eq!(rules.budget.available(), 64 << 10);
            far.write_all(&bytes).await.unwrap();
            assert_eq!(read_frame(&mut near, &rules, Duration::ZERO).await.unwrap_err(), FrameFailure::Memory);
            assert_eq!(rules.budget.available(), 64 << 10);
        });
    }
}
