//! Writing column chunks from numbers.
//!
//! Nearly all that rows have to say is one of few values, and who makes rows knows which: so a column comes as runs of numbers
//! of its values, and is written as it is to stand in the file, without looking any value up. The encodings are those of the
//! Parquet format: a dictionary in PLAIN, pages in RLE_DICTIONARY, levels in RLE.

use bytes::Bytes;
use parquet::basic::{BoundaryOrder, Encoding};
use parquet::bloom_filter::Sbbf;
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::file::metadata::{
    ColumnChunkMetaData, ColumnChunkMetaDataBuilder, ColumnIndexBuilder, OffsetIndexBuilder, PageEncodingStats,
};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use crate::error::FileError;
use crate::schema::{BLOOM_ERROR, PAGE_ROWS, compression, compressor};

/// The number of a row without a value.
pub(crate) const ABSENT: u32 = u32::MAX;
/// Equal numbers from which on a run is shorter than packed ones.
const WORTH_A_RUN: u32 = 8;

/// What a column is of.
pub(crate) trait Value: Ord + Clone {
    /// Appends it as PLAIN.
    fn plain(&self, out: &mut Vec<u8>);
    /// As the bounds of a page have it.
    fn bound(&self) -> Vec<u8>;
    /// Least and greatest value of a chunk, and its rows without one.
    fn statistics(bounds: Option<(Self, Self)>, absent: u64) -> Statistics;
}

macro_rules! integer {
    ($type:ty, $statistics:ident) => {
        impl Value for $type {
            fn plain(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn bound(&self) -> Vec<u8> {
                self.to_le_bytes().into()
            }

            fn statistics(bounds: Option<($type, $type)>, absent: u64) -> Statistics {
                let (least, greatest) = bounds.unzip();
                Statistics::$statistics(ValueStatistics::new(least, greatest, None, Some(absent), false))
            }
        }
    };
}
integer!(i32, Int32);
integer!(i64, Int64);

impl Value for &str {
    fn plain(&self, out: &mut Vec<u8>) {
        // A name of 4 GiB fits no frame.
        out.extend_from_slice(&u32::try_from(self.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(self.as_bytes());
    }

    fn bound(&self) -> Vec<u8> {
        self.as_bytes().into()
    }

    fn statistics(bounds: Option<(&str, &str)>, absent: u64) -> Statistics {
        let (least, greatest) = bounds.unzip();
        let (least, greatest) = (least.map(ByteArray::from), greatest.map(ByteArray::from));
        Statistics::ByteArray(ValueStatistics::new(least, greatest, None, Some(absent), false))
    }
}

/// Rows that follow each other: the number of their value, and how many they are, at least one.
pub(crate) type Run = (u32, u32);

/// Which least and greatest values are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bounds {
    /// None.
    None,
    /// Those of the chunk.
    Chunk,
    /// Those of each page, too.
    Pages,
}

/// How a column is written.
#[derive(Clone, Copy)]
pub(crate) struct Form {
    /// See [`Bounds`].
    pub(crate) bounds: Bounds,
    /// Numbers take whole bytes, so that compression finds what comes again: longer where nothing does.
    pub(crate) whole_bytes: bool,
    /// Whether a bloom filter says which values there are.
    pub(crate) bloom: bool,
}

/// A chunk as bytes, and what the file says of it.
pub(crate) struct Chunk {
    pub(crate) bytes: Bytes,
    pub(crate) close: ColumnCloseResult,
}

/// Makes chunks. Its memory is kept from one to the next.
pub(crate) struct ChunkWriter {
    compressor: zstd::bulk::Compressor<'static>,
    /// A page before it is compressed.
    raw: Vec<u8>,
    numbers: Vec<u32>,
}

impl ChunkWriter {
    pub(crate) fn new() -> Result<ChunkWriter, FileError> {
        Ok(ChunkWriter { compressor: compressor()?, raw: Vec::new(), numbers: Vec::new() })
    }

    /// A chunk of these values. A number of `runs` is the place of a value, or [`ABSENT`].
    pub(crate) fn write<V: Value>(
        &mut self,
        column: &ColumnDescPtr,
        values: &[V],
        runs: &[Run],
        form: Form,
    ) -> Result<Chunk, FileError> {
        let mut pages = Pages::default();
        // Of a column without any value there are only levels.
        let has_values = !values.is_empty();
        if has_values {
            self.dictionary(values, &mut pages)?;
        }
        let first = pages.bytes_written();
        let (mut rows, mut seen, mut offsets) = (0u64, Vec::new(), OffsetIndexBuilder::new());
        let (mut cut, mut page) = (Cut { runs, taken: 0 }, Vec::new());
        while cut.page(&mut page) {
            let of_page: u32 = page.iter().map(|run| run.1).sum();
            self.rows(&page, column.max_def_level() > 0, has_values, form.whole_bytes);
            let data = Page::DataPage {
                buf: self.compressed()?,
                num_values: of_page,
                encoding: if has_values { Encoding::RLE_DICTIONARY } else { Encoding::PLAIN },
                def_level_encoding: Encoding::RLE,
                rep_level_encoding: Encoding::RLE,
                statistics: None,
            };
            let (offset, length) = pages.put(data, self.raw.len())?;
            offsets.append_row_count(of_page.into());
            offsets.append_offset_and_size(offset, length);
            rows += u64::from(of_page);
            if form.bounds != Bounds::None {
                seen.push(Seen::of(values, &page));
            }
        }
        let (bytes, mut metadata) = pages.finish(column)?;
        metadata = metadata.set_num_values(rows.cast_signed()).set_data_page_offset(first);
        if has_values {
            metadata = metadata.set_dictionary_page_offset(Some(0));
        }
        if form.bounds != Bounds::None {
            metadata = metadata.set_statistics(statistics(&seen));
        }
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: rows,
            metadata: metadata.build()?,
            bloom_filter: form.bloom.then(|| bloom(values)).transpose()?,
            column_index: (form.bounds == Bounds::Pages).then(|| index(column, &seen)).transpose()?,
            offset_index: Some(offsets.build()),
        };
        Ok(Chunk { bytes, close })
    }

    fn dictionary<V: Value>(&mut self, values: &[V], pages: &mut Pages) -> Result<(), FileError> {
        self.raw.clear();
        values.iter().for_each(|value| value.plain(&mut self.raw));
        let page = Page::DictionaryPage {
            buf: self.compressed()?,
            num_values: number(values.len()),
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        pages.put(page, self.raw.len()).map(drop)
    }

    /// The rows of a page: which of them have a value, where some may not; then the numbers of those that have.
    fn rows(&mut self, runs: &[Run], is_optional: bool, has_values: bool, whole_bytes: bool) {
        self.raw.clear();
        if is_optional {
            self.raw.extend_from_slice(&[0; 4]);
            let mut levels = Hybrid::new(&mut self.raw, &mut self.numbers, 1);
            for runs in runs.chunk_by(|a, b| (a.0 == ABSENT) == (b.0 == ABSENT)) {
                levels.push(u32::from(runs[0].0 != ABSENT), runs.iter().map(|run| run.1).sum());
            }
            levels.finish();
            let length = number(self.raw.len() - 4);
            self.raw[..4].copy_from_slice(&length.to_le_bytes());
        }
        if has_values {
            let present = || runs.iter().filter(|run| run.0 != ABSENT);
            let width = width(present().map(|run| run.0).max().unwrap_or(0), whole_bytes);
            self.raw.push(u8::try_from(width).unwrap_or(u8::MAX));
            let mut numbers = Hybrid::new(&mut self.raw, &mut self.numbers, width);
            present().for_each(|run| numbers.push(run.0, run.1));
            numbers.finish();
        }
    }

    fn compressed(&mut self) -> Result<Bytes, FileError> {
        Ok(self.compressor.compress(&self.raw).map_err(FileError::compression)?.into())
    }
}

/// Bits of the numbers of a page, of which this is the greatest. Values have numbers as they are seen: those of early pages are small.
fn width(greatest: u32, whole_bytes: bool) -> u32 {
    let bits = greatest.checked_ilog2().map_or(0, |bits| bits + 1);
    if whole_bytes { bits.next_multiple_of(8) } else { bits }
}

/// Pages as they stand in a chunk, one behind the other.
struct Pages {
    sink: TrackedWrite<Vec<u8>>,
    /// What they would take without compression.
    raw_bytes: usize,
    /// How many there are of each sort. Without it some readers do not trust a dictionary to hold all values.
    sorts: Vec<PageEncodingStats>,
}

impl Default for Pages {
    fn default() -> Pages {
        Pages { sink: TrackedWrite::new(Vec::new()), raw_bytes: 0, sorts: Vec::new() }
    }
}

impl Pages {
    fn bytes_written(&self) -> i64 {
        signed(self.sink.bytes_written())
    }

    /// Adds a page, and says where it is and how long.
    fn put(&mut self, page: Page, raw: usize) -> Result<(i64, i32), FileError> {
        let (page_type, encoding) = (page.page_type(), page.encoding());
        match self.sorts.last_mut() {
            Some(last) if (last.page_type, last.encoding) == (page_type, encoding) => last.count += 1,
            _ => self.sorts.push(PageEncodingStats { page_type, encoding, count: 1 }),
        }
        let spec = SerializedPageWriter::new(&mut self.sink).write_page(CompressedPage::new(page, raw))?;
        self.raw_bytes += spec.uncompressed_size;
        // Longer ones are refused above.
        Ok((spec.offset.cast_signed(), i32::try_from(spec.compressed_size).unwrap_or(i32::MAX)))
    }

    /// The bytes, and what is to be said of them.
    fn finish(self, column: &ColumnDescPtr) -> Result<(Bytes, ColumnChunkMetaDataBuilder), FileError> {
        let mut encodings = vec![Encoding::RLE];
        encodings.extend(self.sorts.iter().map(|sort| sort.encoding));
        let bytes = Bytes::from(self.sink.into_inner()?);
        let metadata = ColumnChunkMetaData::builder(column.clone())
            .set_encodings(encodings)
            .set_page_encoding_stats(self.sorts)
            .set_compression(compression()?)
            .set_total_compressed_size(signed(bytes.len()))
            .set_total_uncompressed_size(signed(self.raw_bytes));
        Ok((bytes, metadata))
    }
}

/// Cuts runs into pages.
struct Cut<'a> {
    runs: &'a [Run],
    /// Rows of the first run that are in pages already.
    taken: u32,
}

impl Cut<'_> {
    /// The runs of the next page; `false` if there is none.
    fn page(&mut self, page: &mut Vec<Run>) -> bool {
        page.clear();
        let mut room = number(PAGE_ROWS);
        while room > 0
            && let Some((&(value, rows), rest)) = self.runs.split_first()
        {
            let taken = room.min(rows - self.taken);
            match page.last_mut() {
                Some(last) if last.0 == value => last.1 += taken,
                _ => page.push((value, taken)),
            }
            room -= taken;
            self.taken += taken;
            if self.taken == rows {
                (self.runs, self.taken) = (rest, 0);
            }
        }
        room < number(PAGE_ROWS)
    }
}

/// What is in a page.
struct Seen<'v, V> {
    /// Least and greatest value; none of rows without any.
    bounds: Option<(&'v V, &'v V)>,
    /// Rows without a value.
    absent: u64,
}

impl<'v, V: Value> Seen<'v, V> {
    fn of(values: &'v [V], runs: &[Run]) -> Seen<'v, V> {
        let present = runs.iter().filter_map(|run| values.get(run.0 as usize)).map(|value| (value, value));
        let absent = runs.iter().filter(|run| run.0 == ABSENT).map(|run| u64::from(run.1));
        Seen { bounds: present.reduce(around), absent: absent.sum() }
    }
}

fn around<'v, V: Value>(a: (&'v V, &'v V), b: (&'v V, &'v V)) -> (&'v V, &'v V) {
    (a.0.min(b.0), a.1.max(b.1))
}

/// Of a chunk, from what is in its pages.
fn statistics<V: Value>(pages: &[Seen<V>]) -> Statistics {
    let bounds = pages.iter().filter_map(|page| page.bounds).reduce(around);
    V::statistics(
        bounds.map(|(least, greatest)| (least.clone(), greatest.clone())),
        pages.iter().map(|page| page.absent).sum(),
    )
}

fn index<V: Value>(column: &ColumnDescPtr, pages: &[Seen<V>]) -> Result<ColumnIndexMetaData, FileError> {
    let mut index = ColumnIndexBuilder::new(column.physical_type());
    for page in pages {
        let (least, greatest) = page.bounds.map(|(least, greatest)| (least.bound(), greatest.bound())).unzip();
        let absent = page.absent.cast_signed();
        index.append(page.bounds.is_none(), least.unwrap_or_default(), greatest.unwrap_or_default(), absent, None);
    }
    index.set_boundary_order(order(pages));
    Ok(index.build()?)
}

/// How the bounds of pages follow each other. Pages without a value do not count.
fn order<V: Value>(pages: &[Seen<V>]) -> BoundaryOrder {
    let follow = |in_order: fn(&V, &V) -> bool| {
        let bounds = pages.iter().filter_map(|page| page.bounds);
        bounds.is_sorted_by(|a, b| in_order(a.0, b.0) && in_order(a.1, b.1))
    };
    if follow(|a, b| a <= b) {
        BoundaryOrder::ASCENDING
    } else if follow(|a, b| a >= b) {
        BoundaryOrder::DESCENDING
    } else {
        BoundaryOrder::UNORDERED
    }
}

fn bloom<V: Value>(values: &[V]) -> Result<Sbbf, FileError> {
    let mut filter = Sbbf::new_with_ndv_fpp(values.len().max(1) as u64, BLOOM_ERROR)?;
    values.iter().for_each(|value| filter.insert(value.bound().as_slice()));
    Ok(filter)
}

/// Writes numbers in runs of either one number or of packed ones.
struct Hybrid<'a> {
    out: &'a mut Vec<u8>,
    /// Numbers that are to be packed.
    packed: &'a mut Vec<u32>,
    width: u32,
}

impl<'a> Hybrid<'a> {
    fn new(out: &'a mut Vec<u8>, packed: &'a mut Vec<u32>, width: u32) -> Hybrid<'a> {
        packed.clear();
        Hybrid { out, packed, width }
    }

    fn push(&mut self, value: u32, mut rows: u32) {
        // Packed numbers come in eights.
        let missing = number(self.packed.len().next_multiple_of(8) - self.packed.len());
        let filling = missing.min(rows);
        self.packed.extend(std::iter::repeat_n(value, filling as usize));
        rows -= filling;
        if rows < WORTH_A_RUN {
            self.packed.extend(std::iter::repeat_n(value, rows as usize));
            return;
        }
        self.pack();
        self.varint(u64::from(rows) << 1);
        let bytes = self.width.div_ceil(8) as usize;
        self.out.extend_from_slice(&value.to_le_bytes()[..bytes]);
    }

    fn pack(&mut self) {
        if self.packed.is_empty() {
            return;
        }
        self.packed.resize(self.packed.len().next_multiple_of(8), 0);
        self.varint((self.packed.len() as u64 / 8) << 1 | 1);
        let (mut word, mut bits) = (0u64, 0);
        for &value in &*self.packed {
            word |= u64::from(value) << bits;
            bits += self.width;
            while bits >= 8 {
                // The lowest byte.
                self.out.push(word.to_le_bytes()[0]);
                word >>= 8;
                bits -= 8;
            }
        }
        self.packed.clear();
    }

    fn finish(mut self) {
        self.pack();
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 128 {
            self.out.push(number.to_le_bytes()[0] | 128);
            number >>= 7;
        }
        self.out.push(number.to_le_bytes()[0]);
    }
}

/// Rows, pages and dictionaries have far fewer than 2^32 of anything.
pub(crate) fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn signed(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
