//! Where a list goes on: opaque to whoever asks, since what is in it may change.
//!
//! Hexadecimal digits of: version, check of the query, range of the first page, place of the last entry, and a sum over all that.
//! The range is in it because the end of a range that nobody gave moves on with the data; the place is that of an entry in
//! the list's order, not a number of entries, so that entries which come in front of it meanwhile repeat nothing.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::list::Place;
use super::time::can_bound;

const VERSION: u8 = 1;
const CHECK_BYTES: usize = 8;
const SUM_BYTES: usize = 8;

/// What all queries of one list have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Check([u8; CHECK_BYTES]);

impl Check {
    /// From a hash of a query.
    pub(super) fn of(hash: &[u8]) -> Check {
        Check(std::array::from_fn(|i| hash.get(i).copied().unwrap_or(0)))
    }
}

/// A place in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The range of the first page, in seconds since the Unix epoch.
    pub(super) from: i64,
    pub(super) to: i64,
    /// The last entry that was shown.
    pub(super) place: Place,
}

/// Why a text is no cursor here.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum CursorError {
    #[error("it is damaged, or was never given out")]
    Damaged,
    #[error("it belongs to another query: all parameters but `limit` and `format` must be as they were")]
    OtherQuery,
}

impl Cursor {
    pub(super) fn write(&self, check: &Check) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend(check.0);
        bytes.extend(self.from.to_be_bytes());
        bytes.extend(self.to.to_be_bytes());
        bytes.extend(&self.place.0);
        let sum = sum(&bytes);
        bytes.extend(sum);
        HEXLOWER.encode(&bytes)
    }

    pub(super) fn read(text: &str, check: &Check) -> Result<Cursor, CursorError> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| CursorError::Damaged)?;
        let (content, found) = bytes.split_last_chunk::<SUM_BYTES>().ok_or(CursorError::Damaged)?;
        if sum(content) != *found {
            return Err(CursorError::Damaged);
        }
        let (&[VERSION], rest) = content.split_first_chunk::<1>().ok_or(CursorError::Damaged)? else {
            return Err(CursorError::Damaged);
        };
        let (of, rest) = rest.split_first_chunk::<CHECK_BYTES>().ok_or(CursorError::Damaged)?;
        let (from, rest) = rest.split_first_chunk().ok_or(CursorError::Damaged)?;
        let (to, place) = rest.split_first_chunk().ok_or(CursorError::Damaged)?;
        if *of != check.0 {
            return Err(CursorError::OtherQuery);
        }
        let (from, to) = (i64::from_be_bytes(*from), i64::from_be_bytes(*to));
        if !can_bound(from) || !can_bound(to) {
            return Err(CursorError::Damaged);
        }
        Ok(Cursor { from, to, place: Place(place.to_vec()) })
    }
}

fn sum(bytes: &[u8]) -> [u8; SUM_BYTES] {
    let hash = Sha256::digest(bytes);
    std::array::from_fn(|i| hash[i])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_and_damage_shows() {
        let (check, other) = (Check::of(&[1; 32]), Check::of(&[2; 32]));
        let cursor = Cursor { from: -600, to: 1200, place: Place(b"alpha".to_vec()) };
        let text = cursor.write(&check);
        assert_eq!(Cursor::read(&text, &check), Ok(cursor));
        assert_eq!(Cursor::read(&text, &other), Err(CursorError::OtherQuery));
        for place in 0..text.len() {
            let mut damaged = text.clone().into_bytes();
            damaged[place] = if damaged[place] == b'0' { b'1' } else { b'0' };
            let damaged = String::from_utf8(damaged).unwrap();
            assert_eq!(Cursor::read(&damaged, &check), Err(CursorError::Damaged), "{damaged}");
            assert_eq!(Cursor::read(&text[..place], &check), Err(CursorError::Damaged));
        }
        for text in ["", "zz", "0", "ü", &format!("{text}00")] {
            assert_eq!(Cursor::read(text, &check), Err(CursorError::Damaged), "{text}");
        }
    }
}
