//! The distinct sources of each segment of a day, in few bytes.
//!
//! docs/history.md specifies them. Segments whose set is exact share one ascending list of hashes, each with the segments in
//! which it was seen: most sources that come back within a day come back in another segment, and a hash cannot be compressed.
//! Of a hash its upper 40 bits are kept: two of 1,024 sources are taken for one with a probability of 5e-7, and an estimate
//! changes only if a source has 28 zeros in a row, as one in 2^28 has.

use martlet_window::{DistinctSources, IpVersion};

use super::bits::{BitReader, BitWriter};
use super::frames;
use crate::aggregate::SourceHash;
use crate::varint;

/// First byte of every sketch.
const VERSION: u8 = 1;
/// Bits of a hash that are not kept.
const DROPPED_BITS: u32 = 24;
/// Bits of a hash that are kept.
const HASH_BITS: u32 = 64 - DROPPED_BITS;
/// Most segments of a day.
pub(super) const MOST_SEGMENTS: usize = 32;
/// zstd's fastest regular level: registers have no patterns, only some values more often than others.
const LEVEL: i32 = 1;
/// Registers of a set that is not exact.
const REGISTERS: usize = 4096;
/// What [`DistinctSources::write`] puts in front of them.
const REGISTERS_FOLLOW: u8 = 1;

/// Hashes sources for sketches of history.
#[derive(Clone, Copy, Debug)]
pub struct SketchHash(SourceHash);

impl SketchHash {
    /// With the secret of the deployment.
    #[must_use]
    pub const fn new(key: [u8; 16]) -> SketchHash {
        SketchHash(SourceHash::new(key))
    }

    /// The hash of a source; of IPv6 that of its /64, since one host has as many addresses as it likes there.
    #[must_use]
    pub const fn of(&self, ip: IpVersion, source: u128) -> u64 {
        let counted = match ip {
            IpVersion::V4 => source,
            IpVersion::V6 => source >> 64 << 64,
        };
        self.0.of_bits(ip, counted) >> DROPPED_BITS << DROPPED_BITS
    }
}

/// A hash, and the segments in which it was seen, as bits.
pub(super) type Seen = (u64, u32);

/// Sorts hashes, and makes one of those that are equal.
pub(super) fn unite(seen: &mut Vec<Seen>) {
    seen.sort_unstable();
    seen.dedup_by(|next, kept| {
        let is_same = next.0 == kept.0;
        kept.1 |= if is_same { next.1 } else { 0 };
        is_same
    });
}

/// A sketch, and how many sources there are in all segments together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Sketch {
    pub(super) blob: Vec<u8>,
    pub(super) sources: u64,
    pub(super) is_exact: bool,
}

impl Sketch {
    /// Of hashes that [`unite`] has sorted, if every segment can have them exactly.
    pub(super) fn of_hashes(seen: &[Seen], segments: usize) -> Option<Sketch> {
        let most = DistinctSources::EXACT_LIMIT;
        let count = |segment: usize| seen.iter().filter(|(_, mask)| mask >> segment & 1 == 1).count();
        if seen.len() > most && (0..segments).any(|segment| count(segment) > most) {
            return None;
        }
        let mut blob = vec![VERSION];
        varint::write(segments as u64, &mut blob);
        varint::write(0, &mut blob);
        let blob = write_hashes(seen, segments, blob);
        let (sources, is_exact) = match seen.len() <= most {
            true => (seen.len() as u64, true),
            false => {
                let mut all = DistinctSources::default();
                seen.iter().for_each(|(hash, _)| all.insert(&[*hash]));
                (all.count(), all.is_exact())
            }
        };
        Some(Sketch { blob, sources, is_exact })
    }

    /// Of a set for each segment.
    ///
    /// # Errors
    /// If the compression library fails, for want of memory.
    pub(super) fn of_sets(sets: &[DistinctSources]) -> std::io::Result<Sketch> {
        let (mut seen, mut registers, mut large) = (Vec::new(), Vec::new(), 0u64);
        for (segment, set) in sets.iter().enumerate() {
            match set.hashes() {
                Some(hashes) => seen.extend(hashes.iter().map(|&hash| (hash, 1 << segment))),
                None => {
                    large |= 1 << segment;
                    let mut written = Vec::new();
                    set.write(&mut written);
                    registers.push(zstd::bulk::compress(written.get(1..).unwrap_or_default(), LEVEL)?);
                }
            }
        }
        unite(&mut seen);
        let mut blob = vec![VERSION];
        varint::write(sets.len() as u64, &mut blob);
        varint::write(large, &mut blob);
        let small = sets.len() - registers.len();
        if small > 0 {
            let masks = seen.iter().map(|&(hash, mask)| (hash, squeeze(mask, large)));
            blob = write_hashes(&masks.collect::<Vec<_>>(), small, blob);
        }
        for frame in registers {
            varint::write(frame.len() as u64, &mut blob);
            blob.extend_from_slice(&frame);
        }
        let mut all = DistinctSources::default();
        sets.iter().for_each(|set| all.merge(set));
        Ok(Sketch { blob, sources: all.count(), is_exact: all.is_exact() })
    }
}

/// The bits of a mask without those of the segments that are large.
fn squeeze(mask: u32, large: u64) -> u32 {
    let small = (0..MOST_SEGMENTS).filter(|segment| large >> segment & 1 == 0);
    small.enumerate().fold(0, |squeezed, (place, segment)| squeezed | (mask >> segment & 1) << place)
}

/// What [`squeeze`] was given.
fn spread(mask: u32, large: u64) -> u32 {
    let small = (0..MOST_SEGMENTS).filter(|segment| large >> segment & 1 == 0);
    small.enumerate().fold(0, |spread, (place, segment)| spread | (mask >> place & 1) << segment)
}

/// Their number, the k of their distances, the distances, and if there are several segments, those of each.
fn write_hashes(seen: &[Seen], segments: usize, mut blob: Vec<u8>) -> Vec<u8> {
    varint::write(seen.len() as u64, &mut blob);
    if seen.is_empty() {
        return blob;
    }
    let k = HASH_BITS - seen.len().ilog2().min(HASH_BITS);
    blob.push(u8::try_from(k).unwrap_or(0));
    let mut writer = BitWriter::after(blob);
    let mut next = 0;
    for (hash, _) in seen {
        let hash = hash >> DROPPED_BITS;
        // A hash of 0 stands for 1 in sets, and is 0 again here.
        writer.rice(hash.saturating_sub(next), k);
        next = hash + 1;
    }
    if let Ok(width) = u32::try_from(segments)
        && width > 1
    {
        seen.iter().for_each(|&(_, mask)| writer.bits(mask.into(), width));
    }
    writer.into_bytes()
}

/// Adds the sources of some segments, given as bits, to a set. `None` if the sketch is damaged, or has other segments.
pub(super) fn add_to(set: &mut DistinctSources, blob: &[u8], wanted: u32) -> Option<()> {
    let parts = Parts::read(blob, wanted)?;
    (u64::from(wanted) >> parts.segments == 0).then_some(())?;
    parts.add_to(set, wanted);
    Some(())
}

/// Adds the sources of all segments to a set.
pub(super) fn add_all_to(set: &mut DistinctSources, blob: &[u8]) -> Option<()> {
    Parts::read(blob, u32::MAX)?.add_to(set, u32::MAX);
    Some(())
}

/// Adds the sources of each segment to that segment's set.
pub(super) fn add_to_each(sets: &mut [DistinctSources], blob: &[u8]) -> Option<()> {
    let parts = Parts::read(blob, u32::MAX)?;
    (parts.segments == sets.len()).then_some(())?;
    for (hash, mask) in parts.seen {
        let of = sets.iter_mut().enumerate().filter(|(segment, _)| mask >> segment & 1 == 1);
        of.for_each(|(_, set)| set.insert(&[hash]));
    }
    for (segment, large) in parts.large {
        sets.get_mut(segment)?.merge(&large);
    }
    Some(())
}

/// A sketch that was read.
struct Parts {
    segments: usize,
    /// Hashes of the segments that are exact.
    seen: Vec<Seen>,
    /// Sets of those that are not, as far as they are wanted.
    large: Vec<(usize, DistinctSources)>,
}

impl Parts {
    fn read(mut blob: &[u8], wanted: u32) -> Option<Parts> {
        let (&version, rest) = blob.split_first()?;
        blob = rest;
        let segments = usize::try_from(varint::read(&mut blob)?).ok().filter(|&segments| segments <= MOST_SEGMENTS)?;
        let is_large = varint::read(&mut blob)?;
        let small = segments.checked_sub(is_large.count_ones() as usize)?;
        if version != VERSION || is_large >> segments != 0 {
            return None;
        }
        let mut parts = Parts { segments, seen: Vec::new(), large: Vec::new() };
        if small > 0 {
            parts.seen = read_hashes(&mut blob, small)?;
            parts.seen.iter_mut().for_each(|(_, mask)| *mask = spread(*mask, is_large));
        }
        for segment in (0..segments).filter(|segment| is_large >> segment & 1 == 1) {
            let length = usize::try_from(varint::read(&mut blob)?).ok()?;
            let (frame, rest) = blob.split_at_checked(length)?;
            blob = rest;
            if wanted >> segment & 1 == 1 {
                let mut written = vec![REGISTERS_FOLLOW];
                written.extend(frames::unpack(frame, REGISTERS)?);
                parts.large.push((segment, DistinctSources::read(&mut written.as_slice())?));
            }
        }
        blob.is_empty().then_some(parts)
    }

    fn add_to(&self, set: &mut DistinctSources, wanted: u32) {
        let hashes = self.seen.iter().filter(|(_, mask)| mask & wanted != 0);
        set.insert(&hashes.map(|(hash, _)| *hash).collect::<Vec<_>>());
        self.large.iter().for_each(|(_, large)| set.merge(large));
    }
}

fn read_hashes(blob: &mut &[u8], segments: usize) -> Option<Vec<Seen>> {
    let count = usize::try_from(varint::read(blob)?).ok()?;
    if count == 0 {
        return Some(Vec::new());
    }
    let (&k, rest) = blob.split_first()?;
    // Each takes a bit at least, so a damaged number cannot ask for much memory.
    if u32::from(k) > HASH_BITS || count > rest.len().saturating_mul(8) {
        return None;
    }
    let mut reader = BitReader::new(rest);
    let (mut seen, mut next) = (Vec::with_capacity(count), 0u64);
    for _ in 0..count {
        let hash = next.checked_add(reader.rice(k.into())?).filter(|hash| hash >> HASH_BITS == 0)?;
        seen.push((hash << DROPPED_BITS, 1));
        next = hash + 1;
    }
    let width = u32::try_from(segments).ok()?;
    if width > 1 {
        for (_, mask) in &mut seen {
            *mask = u32::try_from(reader.bits(width)?).ok()?;
        }
    }
    *blob = reader.rest();
    Some(seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hash(n: u64) -> u64 {
        SketchHash::new(*b"a secret of test").of(IpVersion::V4, n.into())
    }

    fn read(blob: &[u8], wanted: u32) -> Option<DistinctSources> {
        let mut set = DistinctSources::default();
        add_to(&mut set, blob, wanted).map(|()| set)
    }

    fn sets(seen: &[Seen], segments: usize) -> Vec<DistinctSources> {
        let mut sets = vec![DistinctSources::default(); segments];
        for &(hash, mask) in seen {
            (0..segments).filter(|segment| mask >> segment & 1 == 1).for_each(|segment| sets[segment].insert(&[hash]));
        }
        sets
    }

    proptest! {
        #[test]
        fn segments_come_back(
            sizes in proptest::collection::vec(prop_oneof![0u64..5, 0u64..1500, Just(1024), Just(1025)], 1..6),
            overlap in 0u64..1500,
        ) {
            let segments = sizes.len();
            let mut seen = Vec::new();
            for (segment, &size) in sizes.iter().enumerate() {
                let from = segment as u64 * overlap;
                seen.extend((from..from + size).map(|n| (hash(n), 1 << segment)));
            }
            unite(&mut seen);
            let sets = sets(&seen, segments);
            let written = Sketch::of_sets(&sets).unwrap();
            match Sketch::of_hashes(&seen, segments) {
                Some(sketch) => prop_assert_eq!(&sketch, &written),
                None => prop_assert!(sizes.iter().any(|&size| size > 1024)),
            }
            for wanted in 0..1u32 << segments {
                let mut expected = DistinctSources::default();
                let chosen = sets.iter().enumerate().filter(|(segment, _)| wanted >> segment & 1 == 1);
                chosen.for_each(|(_, set)| expected.merge(set));
                let back = read(&written.blob, wanted).unwrap();
                prop_assert_eq!(format!("{back:?}"), format!("{expected:?}"));
                if wanted == (1 << segments) - 1 {
                    prop_assert_eq!((written.sources, written.is_exact), (back.count(), back.is_exact()));
                }
            }
            prop_assert!(read(&written.blob, 1 << segments).is_none());
        }

        #[test]
        fn damaged_sketches_are_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = bytes;
            bytes.insert(0, VERSION);
            let _ = read(&bytes, 1);
        }
    }

    #[test]
    fn a_sketch_that_is_cut_off_is_none() {
        let mut seen: Vec<Seen> = (0..3000).map(|n| (hash(n), 1 + u32::from(n < 20))).collect();
        unite(&mut seen);
        let blob = Sketch::of_sets(&sets(&seen, 2)).unwrap().blob;
        for length in 0..blob.len() {
            assert!(read(&blob[..length], 1).is_none(), "{length}");
        }
        assert!(read(&[&blob[..], &[0]].concat(), 1).is_none());
        assert_eq!(read(&blob, 2).unwrap().count(), 20);
    }

    #[test]
    fn sources_take_few_bytes() {
        let size = |count: u64| {
            let mut seen: Vec<Seen> = (0..count).map(|n| (hash(n), 1)).collect();
            unite(&mut seen);
            Sketch::of_hashes(&seen, 1).unwrap().blob.len() as u64
        };
        // Version, segments, which are large, number, k; and about 41.5 bits less the logarithm of their number for each.
        assert!(size(1) <= 5 + 6, "{}", size(1));
        assert!(size(100) <= 5 + 100 * 36 / 8, "{}", size(100));
        assert!(size(1000) <= 6 + 1000 * 33 / 8, "{}", size(1000));
    }

    #[test]
    fn a_source_of_ipv6_is_its_network() {
        let of = |text: &str| {
            let address: std::net::Ipv6Addr = text.parse().unwrap();
            SketchHash::new([7; 16]).of(IpVersion::V6, address.to_bits())
        };
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    }
}
