//! A row of counts, such as the packets of a day's quarter hours, in few bytes.
//!
//! docs/history.md specifies the bytes. The first one says how: [`PAIRS`], or the k of Rice's code. What is shorter is taken.

use super::bits::{BitReader, BitWriter, rice_bits};
use crate::varint;

/// Quarter hours of a UTC day.
pub const QUARTERS: usize = 96;
/// Length of one, in seconds.
pub const QUARTER_SECONDS: i64 = 900;
/// Counts of a day by quarter hour.
pub type Quarters = [u64; QUARTERS];

/// First byte of counts of which only those stand there that are not 0: pairs of varints, the distance from the count before and
/// the count.
const PAIRS: u8 = 0xff;
/// Largest k.
const MOST_BITS: u32 = 63;

/// The counts as bytes.
#[must_use]
pub(super) fn encode(counts: &[u64]) -> Vec<u8> {
    let mut pairs = vec![PAIRS];
    let mut next = 0;
    for (place, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        varint::write((place - next) as u64, &mut pairs);
        varint::write(count, &mut pairs);
        next = place + 1;
    }
    // Near the logarithm of the mean; a few others, since counts are not distributed as anybody assumed.
    let mean = counts.iter().fold(0u64, |sum, &count| sum.saturating_add(count)) / (counts.len() as u64).max(1);
    let near = (64 - mean.leading_zeros()).min(MOST_BITS);
    let length = |k: u32| counts.iter().map(|&count| rice_bits(count, k)).sum::<u64>().div_ceil(8);
    let best = (near.saturating_sub(2)..=near).map(|k| (length(k), k)).min();
    let Some((_, k)) = best.filter(|(length, _)| *length < pairs.len() as u64 - 1) else {
        return pairs;
    };
    // At most 63.
    let mut writer = BitWriter::after(vec![u8::try_from(k).unwrap_or(0)]);
    counts.iter().for_each(|&count| writer.rice(count, k));
    writer.into_bytes()
}

/// Counts from bytes; `None` if they are damaged, or more than `N`.
#[must_use]
pub(super) fn decode<const N: usize>(bytes: &[u8]) -> Option<[u64; N]> {
    let mut counts = [0; N];
    decode_to(bytes, &mut counts)?;
    Some(counts)
}

/// As [`decode`], into zeros.
pub(super) fn decode_to(bytes: &[u8], counts: &mut [u64]) -> Option<()> {
    let (&form, mut rest) = bytes.split_first()?;
    if form == PAIRS {
        let mut next = 0usize;
        while !rest.is_empty() {
            let place = next.checked_add(usize::try_from(varint::read(&mut rest)?).ok()?)?;
            *counts.get_mut(place)? = varint::read(&mut rest)?;
            next = place + 1;
        }
        return Some(());
    }
    let k = u32::from(form);
    if k > MOST_BITS {
        return None;
    }
    let mut reader = BitReader::new(rest);
    for count in counts {
        *count = reader.rice(k)?;
    }
    reader.rest().is_empty().then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn counts_come_back(counts in proptest::array::uniform32((0u32..10, any::<u64>(), 0u32..64))) {
            let counts = counts.map(|(chance, count, shift)| if chance < 5 { 0 } else { count >> shift });
            let bytes = encode(&counts);
            prop_assert_eq!(decode::<32>(&bytes), Some(counts));
            // Whatever was written, one more or less is not what is read.
            prop_assert!(counts[31] == 0 || decode::<31>(&bytes).is_none());
        }

        #[test]
        fn damaged_bytes_are_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<QUARTERS>(&bytes);
        }
    }

    #[test]
    fn few_packets_take_few_bytes() {
        let mut counts = [0; QUARTERS];
        assert_eq!(encode(&counts), [PAIRS]);
        counts[3] = 1;
        assert_eq!(encode(&counts).len(), 3);
        // A count about alike in each quarter hour: about as many bits as it has, and two.
        counts = std::array::from_fn(|place| 7 + place as u64 % 3);
        assert!(encode(&counts).len() < 60, "{}", encode(&counts).len());
    }
}
