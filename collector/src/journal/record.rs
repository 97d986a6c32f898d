//! What the collector writes into its journal. docs/store.md specifies it.

use martlet_window::{Origin, SensorName};
use martlet_wire::WireError;
use martlet_wire::v1::{FRAME_HEADER_LENGTH, FrameType, Message};

use crate::aggregate::Arrival;

const SENSOR: u8 = 1;
const BATCH: u8 = 2;
const LOSS: u8 = 3;
const LIVE: u8 = 1;
/// Length of what stands in front of a batch's payload, in bytes.
pub(crate) const BATCH_PRELUDE: u32 = 10;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// An origin has a name from now on.
    Sensor {
        /// Whose.
        origin: Origin,
        /// The name.
        name: SensorName,
    },
    /// A batch that was accepted.
    Batch {
        /// When and how it came.
        arrival: Arrival,
        /// The payload, as it came.
        payload: &'a [u8],
    },
    /// A loss that was accepted: always a [`Message::Lost`].
    Loss(Message),
}

/// What stands in front of a batch's payload.
pub(crate) fn batch_prelude(arrival: Arrival) -> [u8; BATCH_PRELUDE as usize] {
    let mut prelude = [0; BATCH_PRELUDE as usize];
    prelude[0] = BATCH;
    prelude[1..9].copy_from_slice(&arrival.at_ms.to_le_bytes());
    prelude[9] = if arrival.is_live { LIVE } else { 0 };
    prelude
}

/// A sensor's record.
pub(crate) fn sensor(origin: Origin, name: &SensorName) -> Vec<u8> {
    [&[SENSOR][..], &origin.0, name.as_str().as_bytes()].concat()
}

/// A loss's record: the payload of its message.
pub(super) fn loss(message: &Message) -> Vec<u8> {
    let mut frame = Vec::new();
    message.write(&mut frame);
    frame.drain(..FRAME_HEADER_LENGTH - 1);
    frame[0] = LOSS;
    frame
}

impl<'a> Record<'a> {
    /// Reads a record.
    ///
    /// # Errors
    /// If it is none that this version knows.
    pub fn read(bytes: &'a [u8]) -> Result<Record<'a>, WireError> {
        let (&kind, rest) = bytes.split_first().ok_or(WireError::BadLength)?;
        match kind {
            SENSOR => {
                let (&origin, name) = rest.split_first_chunk().ok_or(WireError::BadLength)?;
                let name = std::str::from_utf8(name).map_err(|_| WireError::BadName)?;
                Ok(Record::Sensor { origin: Origin(origin), name: name.parse().map_err(|_| WireError::BadName)? })
            }
            BATCH => {
                let (&at_ms, rest) = rest.split_first_chunk().ok_or(WireError::BadLength)?;
                let (&flags, payload) = rest.split_first().ok_or(WireError::BadLength)?;
                if flags & !LIVE != 0 {
                    return Err(WireError::BadValue("record flags"));
                }
                let arrival = Arrival { at_ms: i64::from_le_bytes(at_ms), is_live: flags == LIVE };
                Ok(Record::Batch { arrival, payload })
            }
            LOSS => Message::read(FrameType::Lost, rest).map(Record::Loss),
            _ => Err(WireError::BadValue("record kind")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use martlet_wire::v1::{Stream, Totals};

    #[test]
    fn records_come_back() {
        let (origin, name): (_, SensorName) = (Origin([3; 16]), "alpha".parse().unwrap());
        assert_eq!(Record::read(&sensor(origin, &name)), Ok(Record::Sensor { origin, name }));
        let arrival = Arrival { at_ms: -5, is_live: true };
        let bytes = [&batch_prelude(arrival)[..], b"payload"].concat();
        assert_eq!(Record::read(&bytes), Ok(Record::Batch { arrival, payload: b"payload" }));
        let message = Message::Lost {
            stream: Stream { origin, epoch: 7 },
            from: 1,
            to: 2,
            totals: Totals { windows: 3, packets: 4, watched_ms: 5 },
            first_window: -60,
            last_window: 60,
        };
        assert_eq!(Record::read(&loss(&message)), Ok(Record::Loss(message)));
        for bad in [&[][..], &[9], &[BATCH, 0], &[SENSOR; 3], &[LOSS; 9]] {
            assert!(Record::read(bad).is_err(), "{bad:?}");
        }
    }
}
