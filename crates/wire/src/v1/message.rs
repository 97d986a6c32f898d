//! Control messages: every frame but the batch.

use std::net::{IpAddr, Ipv6Addr};

use martlet_window::{BatchHeader, Digest, Origin, SensorName};

use super::bytes::Reader;
use super::frame::{FrameType, begin_frame, end_frame};
use crate::WireError;

/// A sequence of batches: one life of one sensor's spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stream {
    /// Whose observations.
    pub origin: Origin,
    /// Which life of the spool.
    pub epoch: u64,
}

/// What the batches of a stream held, from its first one on: a running total.
///
/// Totals are how a loss is told. Whoever counted a stream up to the gap knows what is missing from the totals behind
/// it, exactly, whatever became of the sensor's memory of what it had delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Windows: batches that are the first part of theirs.
    pub windows: u64,
    /// Packets.
    pub packets: u64,
    /// Time watched, in milliseconds.
    pub watched_ms: u64,
}

impl Totals {
    /// What one batch adds.
    #[must_use]
    pub fn of(header: &BatchHeader) -> Totals {
        Totals {
            windows: u64::from(header.part == 0),
            packets: header.capture.packets,
            watched_ms: header.exposure.map_or(0, |exposure| u64::from(exposure.watched_ms)),
        }
    }

    /// The sum; saturates, since totals are a peer's claims.
    #[must_use]
    pub const fn plus(self, more: Totals) -> Totals {
        Totals {
            windows: self.windows.saturating_add(more.windows),
            packets: self.packets.saturating_add(more.packets),
            watched_ms: self.watched_ms.saturating_add(more.watched_ms),
        }
    }

    /// What came since these earlier totals; nothing where a claim contradicts them.
    #[must_use]
    pub const fn since(self, earlier: Totals) -> Totals {
        Totals {
            windows: self.windows.saturating_sub(earlier.windows),
            packets: self.packets.saturating_sub(earlier.packets),
            watched_ms: self.watched_ms.saturating_sub(earlier.watched_ms),
        }
    }
}

/// Why a batch was not taken. A closed list, so that it can be counted by reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum NackReason {
    /// An earlier batch is missing.
    OutOfSequence = 1,
    /// The hash does not continue the chain: a cloned machine or a restored spool. Start a new epoch.
    BrokenChain = 2,
    /// The batch is malformed; sending it again will not help. Send `Lost` for it.
    Malformed = 3,
}

/// Why a connection was refused or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RefusalReason {
    /// Too many connections, peers or sensors.
    Full = 1,
    /// The bytes are not the protocol.
    Protocol = 2,
    /// The sensor is not allowed, or its name belongs to another origin.
    NotAllowed = 3,
    /// The collector is stopping; try again later.
    Stopping = 4,
    /// Nothing came for too long.
    Idle = 5,
    /// A newer connection opened a stream of this one.
    Superseded = 6,
}

/// A control message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Who is calling.
    Hello {
        /// Identity of the connection's peer; a sensor's own origin, or a forwarding collector's.
        peer: Origin,
        /// The peer's name.
        name: SensorName,
    },
    /// The call is taken.
    Welcome {
        /// The address from which the collector sees the peer: lets a sensor behind NAT learn its public address.
        your_address: IpAddr,
        /// Longest batch payload that will be taken, in bytes.
        max_batch_bytes: u32,
        /// Most rows of a batch that will be taken.
        max_rows: u32,
    },
    /// Batches of this stream will follow.
    Open {
        /// The stream.
        stream: Stream,
        /// The name under which its origin is published.
        name: SensorName,
    },
    /// Where the stream goes on.
    Position {
        /// The stream.
        stream: Stream,
        /// The sequence number that is wanted next.
        expected: u64,
        /// Hash of the batch before it; zero for the first, `None` where it is not known: behind a loss.
        predecessor: Option<Digest>,
    },
    /// Everything below these positions is safe.
    Ack {
        /// The stream.
        stream: Stream,
        /// Batches below this sequence number are journaled.
        journaled: u64,
        /// Batches below this sequence number are committed: the spool may delete them.
        committed: u64,
    },
    /// A batch was not taken.
    Nack {
        /// The stream.
        stream: Stream,
        /// The sequence number that is wanted next.
        expected: u64,
        /// Why.
        reason: NackReason,
    },
    /// Batches that will never come.
    Lost {
        /// The stream.
        stream: Stream,
        /// First lost sequence number.
        from: u64,
        /// Last lost sequence number.
        to: u64,
        /// What the stream's batches up to `to` held, those that arrived and those that did not.
        totals: Totals,
        /// Start of the first window that the loss belongs to, in seconds since the Unix epoch, as far as it is known.
        first_window: i64,
        /// Start of the last one.
        last_window: i64,
    },
    /// The connection is refused or ended.
    Refused {
        /// Why.
        reason: RefusalReason,
    },
}

impl Message {
    /// The frame type that carries this message.
    #[must_use]
    pub const fn frame_type(&self) -> FrameType {
        match self {
            Message::Hello { .. } => FrameType::Hello,
            Message::Welcome { .. } => FrameType::Welcome,
            Message::Open { .. } => FrameType::Open,
            Message::Position { .. } => FrameType::Position,
            Message::Ack { .. } => FrameType::Ack,
            Message::Nack { .. } => FrameType::Nack,
            Message::Lost { .. } => FrameType::Lost,
            Message::Refused { .. } => FrameType::Refused,
        }
    }

    /// Appends the message as a frame.
    pub fn write(&self, out: &mut Vec<u8>) {
        let start = begin_frame(self.frame_type(), out);
        match self {
            Message::Hello { peer, name } => {
                out.extend_from_slice(&peer.0);
                put_name(out, name);
            }
            Message::Welcome { your_address, max_batch_bytes, max_rows } => {
                // IPv4 as IPv4-mapped IPv6 (RFC 4291, 2.5.5.2): one field for both.
                let mapped = match your_address {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                    IpAddr::V6(v6) => *v6,
                };
                out.extend_from_slice(&mapped.octets());
                out.extend_from_slice(&max_batch_bytes.to_le_bytes());
                out.extend_from_slice(&max_rows.to_le_bytes());
            }
            Message::Open { stream, name } => {
                put_stream(out, stream);
                put_name(out, name);
            }
            Message::Position { stream, expected, predecessor } => {
                put_stream(out, stream);
                out.extend_from_slice(&expected.to_le_bytes());
                out.extend_from_slice(&predecessor.unwrap_or_default().0);
                out.push(u8::from(predecessor.is_some()));
            }
            Message::Ack { stream, journaled, committed } => {
                put_stream(out, stream);
                out.extend_from_slice(&journaled.to_le_bytes());
                out.extend_from_slice(&committed.to_le_bytes());
            }
            Message::Nack { stream, expected, reason } => {
                put_stream(out, stream);
                out.extend_from_slice(&expected.to_le_bytes());
                out.push(*reason as u8);
            }
            Message::Lost { stream, from, to, totals, first_window, last_window } => {
                put_stream(out, stream);
                for field in [from, to, &totals.windows, &totals.packets, &totals.watched_ms] {
                    out.extend_from_slice(&field.to_le_bytes());
                }
                out.extend_from_slice(&first_window.to_le_bytes());
                out.extend_from_slice(&last_window.to_le_bytes());
            }
            Message::Refused { reason } => out.push(*reason as u8),
        }
        // The longest message is far below what a frame can say.
        let ended = end_frame(start, out);
        debug_assert!(ended.is_ok());
    }

    /// Reads the payload of a control frame.
    ///
    /// # Errors
    /// If the frame is a batch, or the payload does not fit the type.
    pub fn read(frame_type: FrameType, payload: &[u8]) -> Result<Message, WireError> {
        let mut reader = Reader::new(payload);
        let message = match frame_type {
            FrameType::Hello => Message::Hello { peer: Origin(reader.array()?), name: take_name(&mut reader)? },
            FrameType::Welcome => Message::Welcome {
                your_address: Ipv6Addr::from(reader.array::<16>()?).to_canonical(),
                max_batch_bytes: reader.u32()?,
                max_rows: reader.u32()?,
            },
            FrameType::Open => Message::Open { stream: take_stream(&mut reader)?, name: take_name(&mut reader)? },
            FrameType::Position => {
                let (stream, expected) = (take_stream(&mut reader)?, reader.u64()?);
                let predecessor = Digest(reader.array()?);
                let predecessor = match reader.u8()? {
                    1 => Some(predecessor),
                    0 if predecessor == Digest::default() => None,
                    _ => return Err(WireError::BadValue("predecessor")),
                };
                Message::Position { stream, expected, predecessor }
            }
            FrameType::Ack => {
                Message::Ack { stream: take_stream(&mut reader)?, journaled: reader.u64()?, committed: reader.u64()? }
            }
            FrameType::Nack => Message::Nack {
                stream: take_stream(&mut reader)?,
                expected: reader.u64()?,
                reason: match reader.u8()? {
                    1 => NackReason::OutOfSequence,
                    2 => NackReason::BrokenChain,
                    3 => NackReason::Malformed,
                    _ => return Err(WireError::BadValue("nack reason")),
                },
            },
            FrameType::Lost => {
                let stream = take_stream(&mut reader)?;
                let (from, to) = (reader.u64()?, reader.u64()?);
                // The position after the gap must exist too.
                if to < from || to == u64::MAX {
                    return Err(WireError::BadValue("lost range"));
                }
                let totals = Totals { windows: reader.u64()?, packets: reader.u64()?, watched_ms: reader.u64()? };
                let (first_window, last_window) = (reader.i64()?, reader.i64()?);
                if last_window < first_window {
                    return Err(WireError::BadValue("lost windows"));
                }
                Message::Lost { stream, from, to, totals, first_window, last_window }
            }
            FrameType::Refused => Message::Refused {
                reason: match reader.u8()? {
                    1 => RefusalReason::Full,
                    2 => RefusalReason::Protocol,
                    3 => RefusalReason::NotAllowed,
                    4 => RefusalReason::Stopping,
                    5 => RefusalReason::Idle,
                    6 => RefusalReason::Superseded,
                    _ => return Err(WireError::BadValue("refusal reason")),
                },
            },
            FrameType::Batch => return Err(WireError::BadValue("a batch is no control message")),
        };
        reader.finish()?;
        Ok(message)
    }
}

fn put_stream(out: &mut Vec<u8>, stream: &Stream) {
    out.extend_from_slice(&stream.origin.0);
    out.extend_from_slice(&stream.epoch.to_le_bytes());
}

fn take_stream(reader: &mut Reader<'_>) -> Result<Stream, WireError> {
    Ok(Stream { origin: Origin(reader.array()?), epoch: reader.u64()? })
}

fn put_name(out: &mut Vec<u8>, name: &SensorName) {
    let name = name.as_str().as_bytes();
    // A SensorName has at most 32 bytes.
    out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(name);
}

fn take_name(reader: &mut Reader<'_>) -> Result<SensorName, WireError> {
    let length = usize::from(reader.u8()?);
    let text = std::str::from_utf8(reader.bytes(length)?).map_err(|_| WireError::BadName)?;
    text.parse().map_err(|_| WireError::BadName)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{FRAME_HEADER_LENGTH, FrameHeader, Limits};
    use proptest::prelude::*;

    const TOTALS: Totals = Totals { windows: 3, packets: 4, watched_ms: 5 };

    fn messages() -> Vec<Message> {
        let stream = Stream { origin: Origin([7; 16]), epoch: 3 };
        let name: SensorName = "sensor-1".parse().unwrap();
        vec![
            Message::Hello { peer: Origin([1; 16]), name: name.clone() },
            Message::Welcome { your_address: "192.0.2.7".parse().unwrap(), max_batch_bytes: 1, max_rows: 2 },
            Message::Welcome { your_address: "2001:db8::1".parse().unwrap(), max_batch_bytes: 1, max_rows: 2 },
            Message::Open { stream, name },
            Message::Position { stream, expected: 9, predecessor: None },
            Message::Position { stream, expected: 0, predecessor: Some(Digest::default()) },
            Message::Position { stream, expected: 9, predecessor: Some(Digest([5; 16])) },
            Message::Ack { stream, journaled: 10, committed: 8 },
            Message::Nack { stream, expected: 4, reason: NackReason::BrokenChain },
            Message::Lost { stream, from: 1, to: 2, totals: TOTALS, first_window: -10, last_window: 0 },
            Message::Refused { reason: RefusalReason::Idle },
        ]
    }

    #[test]
    fn every_message_comes_back() {
        for message in messages() {
            let mut out = Vec::new();
            message.write(&mut out);
            let header = FrameHeader::parse(out.first_chunk().unwrap(), &Limits::default()).unwrap();
            let payload = &out[FRAME_HEADER_LENGTH..];
            header.verify(payload).unwrap();
            assert_eq!(Message::read(header.frame_type, payload), Ok(message));
        }
    }

    #[test]
    fn shortened_or_lengthened_messages_are_refused() {
        for message in messages() {
            let mut out = Vec::new();
            message.write(&mut out);
            let payload = &out[FRAME_HEADER_LENGTH..];
            for length in 0..payload.len() {
                assert!(Message::read(message.frame_type(), &payload[..length]).is_err());
            }
            let longer = [payload, &[0]].concat();
            assert!(Message::read(message.frame_type(), &longer).is_err());
        }
    }

    #[test]
    fn a_loss_is_what_the_totals_have_more() {
        let counted = Totals { windows: 1, packets: 4, watched_ms: 7 };
        assert_eq!(TOTALS.since(counted), Totals { windows: 2, packets: 0, watched_ms: 0 });
        assert_eq!(counted.plus(TOTALS.since(counted)).windows, TOTALS.windows);
        let huge = Totals { windows: u64::MAX, packets: u64::MAX, watched_ms: u64::MAX };
        assert_eq!(huge.plus(TOTALS), huge);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(kind in 0usize..9, payload in proptest::collection::vec(any::<u8>(), 0..100)) {
            let types = [FrameType::Hello, FrameType::Welcome, FrameType::Open, FrameType::Position, FrameType::Batch,
                FrameType::Ack, FrameType::Nack, FrameType::Lost, FrameType::Refused];
            let _ = Message::read(types[kind], &payload);
        }
    }
}
