//! Numbers of any number of bits, one behind the other, the highest bit first.
//!
//! Rice's code (Rice, Plaunt: "Adaptive variable-length coding for efficient compression of spacecraft television data", 1971)
//! writes a number as its quotient by 2^k in unary and its remainder in k bits: near the least there is for distances between
//! random numbers, and for counts that are about alike.

/// So many ones in front of a number mean that it follows whole.
const ESCAPE: u32 = 24;
/// Bits of a number that follows whole.
const WHOLE: u32 = 64;

/// Bits that are being written.
#[derive(Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits of the last byte that are not written yet.
    free: u32,
}

impl BitWriter {
    /// Behind what is there.
    pub(super) const fn after(bytes: Vec<u8>) -> BitWriter {
        BitWriter { bytes, free: 0 }
    }

    /// The lowest `width` bits of a number; at most 64.
    #[expect(clippy::cast_possible_truncation, reason = "at most eight bits at a time")]
    pub(super) fn bits(&mut self, value: u64, width: u32) {
        let mut left = width;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let take = left.min(self.free);
            left -= take;
            let part = value.checked_shr(left).unwrap_or(0) & ((1 << take) - 1);
            self.free -= take;
            if let Some(last) = self.bytes.last_mut() {
                *last |= (part << self.free) as u8;
            }
        }
    }

    /// A number in Rice's code; one whose quotient is large stands whole.
    pub(super) fn rice(&mut self, value: u64, k: u32) {
        let quotient = value.checked_shr(k).unwrap_or(0);
        match u32::try_from(quotient).ok().filter(|&quotient| quotient < ESCAPE) {
            Some(quotient) => {
                self.bits((1 << (quotient + 1)) - 2, quotient + 1);
                self.bits(value, k);
            }
            None => {
                self.bits(u64::MAX, ESCAPE);
                self.bits(value, WHOLE);
            }
        }
    }

    /// What was written, filled with zeros to a whole byte.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// How many bits a number takes in Rice's code.
pub(super) fn rice_bits(value: u64, k: u32) -> u64 {
    match value.checked_shr(k).unwrap_or(0) {
        quotient if quotient < ESCAPE.into() => quotient + 1 + u64::from(k),
        _ => (ESCAPE + WHOLE).into(),
    }
}

/// Bits that are being read.
#[derive(Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    /// The next bit.
    place: usize,
}

impl<'a> BitReader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> BitReader<'a> {
        BitReader { bytes, place: 0 }
    }

    /// The next `width` bits, at most 64; `None` at the end.
    pub(super) fn bits(&mut self, width: u32) -> Option<u64> {
        let (mut value, mut left) = (0, width);
        while left > 0 {
            let byte = *self.bytes.get(self.place / 8)?;
            let there = 8 - u32::try_from(self.place % 8).ok()?;
            let take = left.min(there);
            let part = u64::from(byte) >> (there - take) & ((1 << take) - 1);
            value = value << take | part;
            left -= take;
            self.place += take as usize;
        }
        Some(value)
    }

    /// A number in Rice's code.
    pub(super) fn rice(&mut self, k: u32) -> Option<u64> {
        let mut quotient = 0;
        while quotient < ESCAPE && self.bits(1)? == 1 {
            quotient += 1;
        }
        if quotient == ESCAPE {
            return self.bits(WHOLE);
        }
        let high = u64::from(quotient).checked_shl(k).filter(|high| high >> k == u64::from(quotient))?;
        Some(high | self.bits(k)?)
    }

    /// What is behind the last byte that was begun.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.place.div_ceil(8)..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back(numbers in proptest::collection::vec((any::<u64>(), 0u32..64, 0u32..64), 0..50)) {
            let mut writer = BitWriter::default();
            let mut length = 0;
            for &(value, shift, k) in &numbers {
                writer.rice(value >> shift, k);
                length += rice_bits(value >> shift, k);
            }
            let mut bytes = writer.into_bytes();
            prop_assert_eq!(bytes.len() as u64, length.div_ceil(8));
            bytes.extend_from_slice(b"rest");
            let mut reader = BitReader::new(&bytes);
            for &(value, shift, k) in &numbers {
                prop_assert_eq!(reader.rice(k), Some(value >> shift));
            }
            prop_assert_eq!(reader.rest(), b"rest");
        }

        #[test]
        fn damaged_bits_are_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40), k in 0u32..64) {
            let mut reader = BitReader::new(&bytes);
            while reader.rice(k).is_some() {}
        }
    }

    #[test]
    fn the_highest_bit_comes_first() {
        let mut writer = BitWriter::after(vec![7]);
        writer.rice(5, 2);
        writer.bits(0x1_0001, 17);
        assert_eq!(writer.into_bytes(), [7, 0b1001_1000, 0, 0b0000_1000]);
    }
}
