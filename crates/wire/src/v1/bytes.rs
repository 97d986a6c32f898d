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

/// The bits that say of each byte of a word that more of its number follows.
const MORE: u64 = 0x8080_8080_8080_8080;

/// As [`take_varint`] for 64 bits. A number of up to eight bytes is read with one load: a loop over its bytes would end where the
/// processor does not expect it.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "take_varint::<64> checks that 64 bits hold the value")]
pub(crate) fn take_u64(bytes: &mut &[u8]) -> Result<u64, WireError> {
    let ends = bytes.first_chunk().map(|&word| u64::from_le_bytes(word)).map(|word| (word, !word & MORE));
    let Some((word, ends)) = ends.filter(|(_, ends)| *ends != 0) else {
        return take_varint::<64>(bytes).map(|value| value as u64);
    };
    // The bits up to the first byte that ends a number.
    let length = ends.trailing_zeros() + 1;
    let own = word & (u64::MAX >> (64 - length));
    if length > 8 && own >> (length - 8) == 0 {
        return Err(WireError::BadColumn);
    }
    *bytes = &bytes[length as usize / 8..];
    Ok(join_sevens(own & !MORE))
}

/// Joins the low seven bits of each byte.
const fn join_sevens(word: u64) -> u64 {
    let word = (word & 0x007f_007f_007f_007f) | (word & 0x7f00_7f00_7f00_7f00) >> 1;
    let word = (word & 0x0000_3fff_0000_3fff) | (word & 0x3fff_0000_3fff_0000) >> 2;
    (word & 0x0000_0000_0fff_ffff) | (word & 0x0fff_ffff_0000_0000) >> 4
}

/// Takes the next eight numbers if each has one byte.
#[inline]
pub(crate) fn take_eight_small(bytes: &mut &[u8]) -> Option<[u8; 8]> {
    let (&eight, rest) = bytes.split_first_chunk()?;
    if u64::from_le_bytes(eight) & MORE != 0 {
        return None;
    }
    *bytes = rest;
    Some(eight)
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
