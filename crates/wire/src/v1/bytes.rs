//! Little-endian fields and variable-length integers (LEB128), with one typed failure.

use crate::WireError;

/// Reads fixed fields of a payload in order.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (array, rest) = self.0.split_first_chunk().ok_or(WireError::BadLength)?;
        self.0 = rest;
        Ok(*array)
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(WireError::BadLength)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, WireError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, WireError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Checks that nothing is left over.
    pub(crate) const fn finish(self) -> Result<(), WireError> {
        if self.0.is_empty() { Ok(()) } else { Err(WireError::BadLength) }
    }
}

/// Appends an unsigned number, seven bits a byte, least significant first.
#[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u128) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes an unsigned number of at most `BITS` bits off the front; other spellings than the shortest are refused.
pub(crate) fn take_varint<const BITS: u32>(bytes: &mut &[u8]) -> Result<u128, WireError> {
    let mut value = 0u128;
    let mut shift = 0u32;
    loop {
        let (&byte, rest) = bytes.split_first().ok_or(WireError::BadColumn)?;
        *bytes = rest;
        let low = u128::from(byte & 0x7f);
        let fits = shift < BITS && (shift + 7 <= BITS || low >> (BITS - shift) == 0);
        if !fits {
            return Err(WireError::BadColumn);
        }
        value |= low << shift;
        if byte & 0x80 == 0 {
            let overlong = byte == 0 && shift > 0;
            return if overlong { Err(WireError::BadColumn) } else { Ok(value) };
        }
        shift += 7;
    }
}

/// As [`take_varint`] for 64 bits, with the one-byte case first: it is what columns mostly hold.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "take_varint::<64> checks that 64 bits hold the value")]
pub(crate) fn take_u64(bytes: &mut &[u8]) -> Result<u64, WireError> {
    match bytes.split_first() {
        Some((&byte, rest)) if byte < 0x80 => {
            *bytes = rest;
            Ok(u64::from(byte))
        }
        _ => take_varint::<64>(bytes).map(|value| value as u64),
    }
}

/// Maps small numbers of either sign to small unsigned ones.
#[expect(clippy::cast_sign_loss, reason = "the mapping is on bits")]
pub(crate) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`zigzag`].
#[expect(clippy::cast_possible_wrap, reason = "the mapping is on bits")]
pub(crate) const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_come_back(value in any::<u128>(), shift in 0u32..128) {
            let value = value >> shift;
            let mut out = Vec::new();
            put_varint(&mut out, value);
            let mut rest = out.as_slice();
            prop_assert_eq!(take_varint::<128>(&mut rest), Ok(value));
            prop_assert!(rest.is_empty());
            let mut rest = out.as_slice();
            prop_assert_eq!(take_u64(&mut rest).ok().map(u128::from), u64::try_from(value).ok().map(u128::from));
        }

        #[test]
        fn zigzag_comes_back(value in any::<i64>()) {
            prop_assert_eq!(unzigzag(zigzag(value)), value);
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for bad in [&[0x80u8, 0x00][..], &[0xff], &[], &[0xff; 20]] {
            assert_eq!(take_varint::<64>(&mut &*bad), Err(WireError::BadColumn), "{bad:?}");
        }
    }
}
