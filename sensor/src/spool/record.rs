//! What a spool's record says in front of the batch frame; docs/spool.md has the same table.
//!
//! ```text
//! offset length field
//!      0      1 version, 1
//!      1      1 kind: 0 batch, 1 loss
//!      2      6 zero
//!      8      8 window: start of the batch's, or of the last one that was lost; seconds since 1970, signed
//!     16      8 newest start of a window among the epoch's records before this one, or the first
//!     24      8 oldest start of a window that records which were not acknowledged then can have
//!     32     24 what the epoch's records before this one held: windows, packets, milliseconds watched
//!     56     24 what this one holds
//!     80     24 what was held up to the acknowledged position, when this record was written
//!    104      8 the acknowledged position then
//!    112     16 digest of the batch's payload; zero for a loss
//!    128        the batch as a frame of the wire; nothing for a loss
//! ```

use martlet_window::Digest;
use martlet_wire::v1::Totals;

/// Length of what precedes the frame, in bytes.
pub const PRELUDE_LENGTH: usize = 128;
const VERSION: u8 = 1;
const BATCH: u8 = 0;
const LOSS: u8 = 1;

/// What stands for one sequence number of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A batch, whose payload has this digest.
    Batch(Digest),
    /// Something that will never come.
    Loss,
}

/// What a record says besides its frame.
///
/// The running totals make the loss in any gap a difference of two records, however long the gap and however often the
/// process was restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prelude {
    /// What the record stands for.
    pub kind: Kind,
    /// Start of the batch's window, or of the last window that was lost.
    pub window: i64,
    /// Newest start of a window among the records before this one; this one's if it is the first.
    pub newest_before: i64,
    /// Windows that start before this were acknowledged when the record was written; for a loss, the first that was
    /// lost.
    pub oldest: i64,
    /// What the records before this one held.
    pub before: Totals,
    /// What this one holds.
    pub held: Totals,
    /// What the records below `acknowledged` held.
    pub settled: Totals,
    /// Records below this number were acknowledged when this one was written.
    pub acknowledged: u64,
}

impl Prelude {
    /// What the epoch's records up to this one held.
    #[must_use]
    pub const fn after(&self) -> Totals {
        self.before.plus(self.held)
    }

    /// The bytes that precede the frame.
    #[must_use]
    pub fn write(&self) -> [u8; PRELUDE_LENGTH] {
        let mut bytes = [0; PRELUDE_LENGTH];
        let (kind, digest) = match self.kind {
            Kind::Batch(digest) => (BATCH, digest),
            Kind::Loss => (LOSS, Digest::default()),
        };
        (bytes[0], bytes[1]) = (VERSION, kind);
        let mut at = 8;
        let mut put = |field: [u8; 8]| {
            bytes[at..at + 8].copy_from_slice(&field);
            at += 8;
        };
        [self.window, self.newest_before, self.oldest].into_iter().for_each(|time| put(time.to_le_bytes()));
        for totals in [self.before, self.held, self.settled] {
            [totals.windows, totals.packets, totals.watched_ms].into_iter().for_each(|sum| put(sum.to_le_bytes()));
        }
        put(self.acknowledged.to_le_bytes());
        bytes[at..].copy_from_slice(&digest.0);
        bytes
    }

    /// Reads a record: its prelude and its frame. None if it is of another version, or none of ours.
    #[must_use]
    pub fn read(record: &[u8]) -> Option<(Prelude, &[u8])> {
        let (bytes, frame) = record.split_first_chunk::<PRELUDE_LENGTH>()?;
        let (fields, digest) = bytes.split_last_chunk::<16>()?;
        let mut fields = fields.chunks_exact(8).map(|field| <[u8; 8]>::try_from(field).unwrap_or_default());
        let [version, kind, 0, 0, 0, 0, 0, 0] = fields.next()? else { return None };
        let kind = match (version, kind) {
            (VERSION, BATCH) => Kind::Batch(Digest(*digest)),
            (VERSION, LOSS) if frame.is_empty() => Kind::Loss,
            _ => return None,
        };
        let mut time = || fields.next().map(i64::from_le_bytes);
        let (window, newest_before, oldest) = (time()?, time()?, time()?);
        let mut number = || fields.next().map(u64::from_le_bytes);
        let mut totals = || Some(Totals { windows: number()?, packets: number()?, watched_ms: number()? });
        let (before, held, settled) = (totals()?, totals()?, totals()?);
        let acknowledged = number()?;
        Some((Prelude { kind, window, newest_before, oldest, before, held, settled, acknowledged }, frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prelude(kind: Kind) -> Prelude {
        let totals = |n| Totals { windows: n, packets: n + 1, watched_ms: n + 2 };
        Prelude {
            kind,
            window: -10,
            newest_before: -20,
            oldest: -30,
            before: totals(4),
            held: totals(7),
            settled: totals(1),
            acknowledged: 13,
        }
    }

    #[test]
    fn a_record_comes_back() {
        let batch = prelude(Kind::Batch(Digest([5; 16])));
        let record = [&batch.write()[..], b"frame"].concat();
        assert_eq!(Prelude::read(&record), Some((batch, &b"frame"[..])));
        assert_eq!(batch.after(), Totals { windows: 11, packets: 13, watched_ms: 15 });
        let loss = prelude(Kind::Loss);
        assert_eq!(Prelude::read(&loss.write()), Some((loss, &[][..])));
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let good = prelude(Kind::Loss).write();
        assert_eq!(Prelude::read(&good[..PRELUDE_LENGTH - 1]), None);
        assert_eq!(Prelude::read(&[&good[..], b"x"].concat()), None);
        for (at, value) in [(0, 2), (1, 2), (2, 1), (7, 1)] {
            let mut bad = good;
            bad[at] = value;
            assert_eq!(Prelude::read(&bad), None, "{at}");
        }
    }
}
