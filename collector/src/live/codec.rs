//! How the parts of the live store are written into the store: compact, versioned, and checked when they are read.
//!
//! docs/store.md specifies the bytes. Numbers are unsigned LEB128 varints unless stated otherwise; signed ones are
//! zigzagged first. A blob is one version byte and the zstd frame of its content.

use std::sync::Arc;

use martlet_window::{DistinctSources, IpVersion, Kind, Marks, RejectReason};

use super::bucket::{Bucket, Row};
use super::key::{KindKey, RowKey, ServiceKey, ServiceKind, Source};
use super::recent::RecentStep;
use super::sorted::{Levels, SetRef, Sorted, SortedKey};
use super::top::{TopEntry, TopSources};
use crate::aggregate::SensorCounts;
use crate::ingest::SensorId;
use crate::varint;

/// Version of everything that is written here. In version 1 a bucket's rows by sensor stood in its blob; before version 3 steps of
/// the recent past did not tell kinds apart, and packets were not counted by who sent them.
const VERSION: u8 = 3;
/// The oldest version that is read.
const OLDEST: u8 = 1;
/// zstd's fastest regular level.
const LEVEL: i32 = 1;
/// Largest content that is believed of a blob, in bytes; far above what a bucket can hold.
const MOST_BYTES: usize = 1 << 30;

/// Something that is kept as a blob.
pub trait Stored: Sized {
    /// Appends it to a content.
    fn write(&self, out: &mut Writer);
    /// Takes it off a content; `None` if the content is damaged.
    fn read(from: &mut Reader<'_>) -> Option<Self>;

    /// As a blob.
    ///
    /// # Errors
    /// If the compression library fails, for want of memory.
    fn to_blob(&self) -> std::io::Result<Vec<u8>> {
        let mut writer = Writer(Vec::new());
        self.write(&mut writer);
        let mut blob = vec![VERSION];
        blob.extend_from_slice(&zstd::bulk::compress(&writer.0, LEVEL)?);
        Ok(blob)
    }

    /// From a blob; `None` if it is damaged or of a version that this program does not know.
    fn from_blob(blob: &[u8]) -> Option<Self> {
        let (&version, compressed) = blob.split_first()?;
        if !(OLDEST..=VERSION).contains(&version) {
            return None;
        }
        let content = decompress(compressed)?;
        let mut reader = Reader { rest: &content, version };
        let value = Self::read(&mut reader)?;
        reader.rest.is_empty().then_some(value)
    }
}

/// What can be written as a blob.
pub trait StoredBlob {
    /// See [`Stored::to_blob`].
    ///
    /// # Errors
    /// If the compression library fails, for want of memory.
    fn blob(&self) -> std::io::Result<Vec<u8>>;
}

impl<T: Stored> StoredBlob for T {
    fn blob(&self) -> std::io::Result<Vec<u8>> {
        self.to_blob()
    }
}

fn decompress(frame: &[u8]) -> Option<Vec<u8>> {
    zstd::stream::decode_all(std::io::Read::take(frame, MOST_BYTES as u64)).ok()
}

/// A content that is being written.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// An unsigned number.
    pub fn number(&mut self, value: u64) {
        varint::write(value, &mut self.0);
    }

    /// A signed number.
    #[expect(clippy::cast_sign_loss, reason = "zigzag is on bits")]
    pub fn signed(&mut self, value: i64) {
        self.number((value << 1 ^ (value >> 63)) as u64);
    }

    /// A text.
    pub fn text(&mut self, text: &str) {
        self.length(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    /// A length.
    pub fn length(&mut self, length: usize) {
        self.number(length as u64);
    }

    /// Whether, and what.
    pub fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Writer, T)) {
        self.number(u64::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    /// A list.
    pub fn list<T>(&mut self, list: impl ExactSizeIterator<Item = T>, mut write: impl FnMut(&mut Writer, T)) {
        self.length(list.len());
        list.for_each(|item| write(self, item));
    }
}

/// A content that is being read.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    version: u8,
}

impl Reader<'_> {
    /// The version of what is read.
    #[must_use]
    pub const fn version(&self) -> u8 {
        self.version
    }

    /// An unsigned number.
    pub fn number(&mut self) -> Option<u64> {
        varint::read(&mut self.rest)
    }

    /// A text.
    pub fn text(&mut self) -> Option<String> {
        let length = self.small()?;
        let (text, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        String::from_utf8(text.to_owned()).ok()
    }

    /// A signed number.
    #[expect(clippy::cast_possible_wrap, reason = "zigzag is on bits")]
    pub fn signed(&mut self) -> Option<i64> {
        let value = self.number()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A number of fewer bits.
    pub fn small<T: TryFrom<u64>>(&mut self) -> Option<T> {
        T::try_from(self.number()?).ok()
    }

    /// Whether, and what.
    pub fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.number()? {
            0 => Some(None),
            1 => read(self).map(Some),
            _ => None,
        }
    }

    /// A list.
    pub fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let length: usize = self.small()?;
        // Each item takes a byte at least, so a damaged length cannot ask for much memory.
        let mut list = Vec::with_capacity(length.min(self.rest.len()));
        for _ in 0..length {
            list.push(read(self)?);
        }
        Some(list)
    }
}

impl Stored for SensorId {
    fn write(&self, out: &mut Writer) {
        out.number(self.0.into());
    }

    fn read(from: &mut Reader<'_>) -> Option<SensorId> {
        from.small().map(SensorId)
    }
}

impl Stored for Row {
    fn write(&self, out: &mut Writer) {
        out.number(self.packets);
        out.number(self.bytes);
        self.sources.write(&mut out.0);
    }

    fn read(from: &mut Reader<'_>) -> Option<Row> {
        let (packets, bytes) = (from.number()?, from.number()?);
        Some(Row { packets, bytes, sources: DistinctSources::read(&mut from.rest)? })
    }
}

impl Stored for ServiceKey {
    fn write(&self, out: &mut Writer) {
        out.number(self.bits());
    }

    fn read(from: &mut Reader<'_>) -> Option<ServiceKey> {
        ServiceKey::from_bits(from.number()?)
    }
}

impl Stored for ServiceKind {
    fn write(&self, out: &mut Writer) {
        self.service.write(out);
        out.number(self.kind as u64);
    }

    fn read(from: &mut Reader<'_>) -> Option<ServiceKind> {
        Some(ServiceKind { service: ServiceKey::read(from)?, kind: Kind::from_number(from.small()?)? })
    }
}

impl Stored for RowKey {
    fn write(&self, out: &mut Writer) {
        self.service.write(out);
        out.number(self.kind as u64);
        self.sensor.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Option<RowKey> {
        let service = ServiceKey::read(from)?;
        Some(RowKey { service, kind: Kind::from_number(from.small()?)?, sensor: SensorId::read(from)? })
    }
}

fn ip(number: u64) -> Option<IpVersion> {
    [IpVersion::V4, IpVersion::V6].into_iter().find(|&ip| ip as u64 == number)
}

impl Stored for KindKey {
    fn write(&self, out: &mut Writer) {
        out.number(self.ip as u64);
        out.number(self.protocol.into());
        out.number(self.kind as u64);
    }

    fn read(from: &mut Reader<'_>) -> Option<KindKey> {
        let (ip, protocol) = (ip(from.number()?)?, from.small()?);
        Some(KindKey { ip, protocol, kind: Kind::from_number(from.small()?)? })
    }
}

impl Stored for SensorCounts {
    fn write(&self, out: &mut Writer) {
        for number in [
            self.windows,
            self.late_windows,
            self.ipv4_packets,
            self.ipv6_packets,
            self.bytes,
            self.frames,
            self.kernel_drops,
            self.interface_drops,
            self.watched_ms,
            self.ipv4_address_ms,
            self.ipv6_prefix_ms,
            u64::from(self.exposure_unknown),
        ] {
            out.number(number);
        }
        out.list(self.rejected.iter(), |out, &number| out.number(number));
    }

    fn read(from: &mut Reader<'_>) -> Option<SensorCounts> {
        Some(SensorCounts {
            windows: from.number()?,
            late_windows: from.number()?,
            ipv4_packets: from.number()?,
            ipv6_packets: from.number()?,
            bytes: from.number()?,
            frames: from.number()?,
            kernel_drops: from.number()?,
            interface_drops: from.number()?,
            watched_ms: from.number()?,
            ipv4_address_ms: from.number()?,
            ipv6_prefix_ms: from.number()?,
            exposure_unknown: from.number()? != 0,
            rejected: rejected(&from.list(Reader::number)?)?,
        })
    }
}

/// Reasons that did not exist yet when this was written counted nothing.
fn rejected(list: &[u64]) -> Option<[u64; RejectReason::ALL.len()]> {
    let mut rejected = [0; RejectReason::ALL.len()];
    rejected.get_mut(..list.len())?.copy_from_slice(list);
    Some(rejected)
}

impl Stored for TopSources {
    fn write(&self, out: &mut Writer) {
        out.number(self.floor);
        out.list(self.entries.iter(), |out, entry| {
            out.number(entry.source.ip as u64);
            out.0.extend_from_slice(&entry.source.bits().to_be_bytes());
            out.number(entry.packets);
            out.number(entry.error);
        });
    }

    fn read(from: &mut Reader<'_>) -> Option<TopSources> {
        let floor = from.number()?;
        let entries = from.list(|from| {
            let ip = ip(from.number()?)?;
            let (&bits, rest) = from.rest.split_first_chunk()?;
            from.rest = rest;
            let source = Source::new(ip, u128::from_be_bytes(bits));
            Some(TopEntry { source, packets: from.number()?, error: from.number()? })
        })?;
        entries.is_sorted_by(|a, b| a.source < b.source).then_some(TopSources { entries, floor })
    }
}

/// In a step a list stands as it is. As a blob its hashes stand behind the rest as they are, since nothing compresses them: a
/// version byte, the length of the compressed frame as four bytes, the frame of all but the hashes, and the hashes.
impl<K: SortedKey + Stored> Stored for Sorted<K> {
    fn to_blob(&self) -> std::io::Result<Vec<u8>> {
        let mut writer = Writer(Vec::with_capacity(self.len() * 8));
        let mut hashes = Vec::new();
        writer.list(self.iter(), |out, (key, row)| {
            key.write(out);
            out.number(row.packets);
            out.number(row.bytes);
            match row.sources {
                SetRef::Hashes(few) => {
                    out.length(few.len() + 1);
                    hashes.extend_from_slice(few);
                }
                SetRef::Set(set) => {
                    out.number(0);
                    set.write(&mut out.0);
                }
            }
        });
        let frame = zstd::bulk::compress(&writer.0, LEVEL)?;
        let mut blob = Vec::with_capacity(5 + frame.len() + hashes.len() * size_of::<u64>());
        blob.push(VERSION);
        let length = u32::try_from(frame.len()).map_err(std::io::Error::other)?;
        blob.extend_from_slice(&length.to_le_bytes());
        blob.extend_from_slice(&frame);
        hashes.iter().for_each(|hash| blob.extend_from_slice(&hash.to_le_bytes()));
        Ok(blob)
    }

    fn from_blob(blob: &[u8]) -> Option<Sorted<K>> {
        let (&[version, a, b, c, d], rest) = blob.split_first_chunk()?;
        let (frame, hashes) = rest.split_at_checked(u32::from_le_bytes([a, b, c, d]) as usize)?;
        let (hashes, []) = hashes.as_chunks() else {
            return None;
        };
        let mut hashes = hashes.iter().map(|&hash| u64::from_le_bytes(hash));
        // In version 1 there were no such blobs.
        let content = (2..=VERSION).contains(&version).then(|| decompress(frame)).flatten()?;
        let mut from = Reader { rest: &content, version };
        let list = read_rows(&mut from, |from| {
            let Some(few) = from.small::<usize>()?.checked_sub(1) else {
                return DistinctSources::read(&mut from.rest);
            };
            let few: Option<Vec<u64>> = (0..few.min(DistinctSources::EXACT_LIMIT + 1)).map(|_| hashes.next()).collect();
            DistinctSources::from_hashes(&few?)
        })?;
        (from.rest.is_empty() && hashes.next().is_none()).then_some(list)
    }

    fn write(&self, out: &mut Writer) {
        out.list(self.iter(), |out, (key, row)| {
            key.write(out);
            out.number(row.packets);
            out.number(row.bytes);
            match row.sources {
                SetRef::Hashes(hashes) => DistinctSources::write_hashes(hashes, &mut out.0),
                SetRef::Set(set) => set.write(&mut out.0),
            }
        });
    }

    fn read(from: &mut Reader<'_>) -> Option<Sorted<K>> {
        read_rows(from, |from| DistinctSources::read(&mut from.rest))
    }
}

fn read_rows<K: SortedKey + Stored>(
    from: &mut Reader<'_>,
    mut set: impl FnMut(&mut Reader<'_>) -> Option<DistinctSources>,
) -> Option<Sorted<K>> {
    let mut list = Sorted::default();
    let mut last = None;
    for _ in 0..from.small::<usize>()? {
        let key = K::read(from)?;
        // What is searched by bisection must not be out of order.
        if last.replace(key).is_some_and(|last| last >= key) {
            return None;
        }
        let (packets, bytes) = (from.number()?, from.number()?);
        list.push_set(key, packets, bytes, set(from)?);
    }
    list.trim();
    Some(list)
}

fn keyed<K: Stored + Copy, V: Stored>(out: &mut Writer, list: &[(K, V)]) {
    out.list(list.iter(), |out, (key, value)| {
        key.write(out);
        value.write(out);
    });
}

/// A list sorted by key: what is looked up by bisection must not be out of order.
fn sorted<K: Ord, V>(
    from: &mut Reader<'_>,
    key: fn(&mut Reader<'_>) -> Option<K>,
    value: fn(&mut Reader<'_>) -> Option<V>,
) -> Option<Vec<(K, V)>> {
    let list = from.list(|from| Some((key(from)?, value(from)?)))?;
    list.is_sorted_by(|a, b| a.0 < b.0).then_some(list)
}

fn marks(from: &mut Reader<'_>) -> Option<Marks> {
    Marks::from_bits(from.small()?)
}

impl Stored for Bucket {
    fn write(&self, out: &mut Writer) {
        out.number(self.services.is_some().into());
        keyed(out, &self.kinds);
        out.list(self.marks.iter(), |out, (mark, row)| {
            out.number((*mark).into());
            row.write(out);
        });
        keyed(out, &self.sensors);
        self.top.write(out);
        out.number(self.tested.bits().into());
        out.number(self.untested.bits().into());
    }

    fn read(from: &mut Reader<'_>) -> Option<Bucket> {
        let (rows, services) = match from.version {
            1 => (Arc::new(Sorted::<RowKey>::read(from)?).into(), None),
            // They come by lists of their own.
            _ => (Levels::default(), from.option(|_| Some(Levels::default()))?),
        };
        let mut bucket = Bucket {
            rows,
            services,
            kinds: sorted(from, KindKey::read, Row::read)?,
            marks: sorted(from, |from| from.small(), Row::read)?,
            sensors: sorted(from, SensorId::read, SensorCounts::read)?,
            top: TopSources::read(from)?,
            tested: marks(from)?,
            untested: marks(from)?,
            ..Bucket::default()
        };
        bucket.update_memory();
        Some(bucket)
    }
}

impl Stored for RecentStep {
    fn write(&self, out: &mut Writer) {
        out.number(self.packets);
        out.number(self.bytes);
        self.sources.write(&mut out.0);
        self.services.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Option<RecentStep> {
        let (packets, bytes) = (from.number()?, from.number()?);
        let sources = DistinctSources::read(&mut from.rest)?;
        if from.version() < 3 {
            // Of what kind its services are is not known; the next minutes are.
            let _: Sorted<ServiceKey> = Sorted::read(from)?;
            return Some(RecentStep { packets, bytes, sources, services: Arc::default() });
        }
        Some(RecentStep { packets, bytes, sources, services: Arc::new(Sorted::read(from)?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::RowRef;
    use martlet_window::{Class, Service};

    /// As a bucket was written before schema version 2.
    #[test]
    fn a_bucket_of_version_1_brings_its_rows() {
        let class =
            Class { ip: IpVersion::V4, protocol: 6, service: Service::Port(23), kind: Kind::Scan, marks: Marks::NONE };
        let key = RowKey { service: ServiceKey::new(class.into()), kind: Kind::Backscatter, sensor: SensorId(7) };
        let mut rows = Sorted::default();
        rows.push(key, 5, 200, &mut vec![9, 3]);
        let mut content = Writer::default();
        rows.write(&mut content);
        // No kinds, marks, sensors; no heaviest sources; and no marks that could be tested, or not.
        [0, 0, 0, 0, 0, 0, 0].iter().for_each(|&number| content.number(number));
        let mut blob = vec![1];
        blob.extend_from_slice(&zstd::bulk::compress(&content.0, LEVEL).unwrap());
        let bucket = Bucket::from_blob(&blob).unwrap();
        let shown = |rows: Vec<(RowKey, RowRef<'_>)>| format!("{rows:?}");
        assert_eq!(shown(bucket.rows().collect()), shown(rows.iter().collect()));
        // Version 2 has something else there.
        blob[0] = 2;
        assert!(Bucket::from_blob(&blob).is_none());
    }

    #[test]
    fn a_damaged_list_is_none() {
        let mut rows = Sorted::default();
        let service = |port| {
            let (ip, protocol, service) = (IpVersion::V4, 6, Service::Port(port));
            ServiceKey::new(Class { ip, protocol, service, kind: Kind::Scan, marks: Marks::NONE }.into())
        };
        rows.push(service(1), 5, 200, &mut vec![9, 3]);
        rows.push(service(2), 5, 200, &mut (0..3000).map(|n| n << 50 | n).collect());
        rows.push(service(3), 1, 40, &mut vec![4]);
        let blob = rows.to_blob().unwrap();
        let back = Sorted::<ServiceKey>::from_blob(&blob).unwrap();
        assert_eq!(format!("{:?}", back.iter().collect::<Vec<_>>()), format!("{:?}", rows.iter().collect::<Vec<_>>()));
        for length in 0..blob.len() {
            assert!(Sorted::<ServiceKey>::from_blob(&blob[..length]).is_none(), "{length}");
        }
        // Hashes that do not ascend, one too many, and an older version.
        let last = blob.len() - 24;
        let mut swapped = blob.clone();
        swapped[last..last + 16].rotate_left(8);
        let longer = [&blob[..], &[0; 8]].concat();
        let older = [&[1], &blob[1..]].concat();
        for damaged in [swapped, longer, older] {
            assert!(Sorted::<ServiceKey>::from_blob(&damaged).is_none());
        }
    }

    #[test]
    fn numbers_come_back() {
        let mut out = Writer::default();
        let numbers = [0, 1, 127, 128, 1 << 35, u64::MAX];
        numbers.iter().for_each(|&n| out.number(n));
        let signed = [0, -1, 1, i64::MIN, i64::MAX];
        signed.iter().for_each(|&n| out.signed(n));
        let mut reader = Reader { rest: &out.0, version: VERSION };
        for n in numbers {
            assert_eq!(reader.number(), Some(n));
        }
        for n in signed {
            assert_eq!(reader.signed(), Some(n));
        }
        assert_eq!(reader.number(), None);
    }
}
