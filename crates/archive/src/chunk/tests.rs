//! Chunks as parquet's own reader reads them.

use std::sync::Arc;

use parquet::bloom_filter::Sbbf;
use parquet::column::reader::get_typed_column_reader;
use parquet::data_type::{ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::file::metadata::ParquetMetaDataReader;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;

use super::*;

const PAGE: u32 = 1 << 14;
const _: () = assert!(PAGE as usize == PAGE_ROWS);
const PLAIN_FORM: Form = Form { bounds: Bounds::None, whole_bytes: false, bloom: false };
const PAGES_FORM: Form = Form { bounds: Bounds::Pages, ..PLAIN_FORM };

/// A file of one column.
fn file<V: Value>(declaration: &str, values: &[V], runs: &[Run], form: Form) -> Bytes {
    let schema = Arc::new(parse_message_type(&format!("message m {{ {declaration}; }}")).unwrap());
    let properties = Arc::new(WriterProperties::builder().set_compression(compression().unwrap()).build());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties).unwrap();
    let column = writer.schema_descr().column(0);
    let chunk = ChunkWriter::new().unwrap().write(&column, values, runs, form).unwrap();
    let mut group = writer.next_row_group().unwrap();
    group.append_column(&chunk.bytes, chunk.close).unwrap();
    group.close().unwrap();
    writer.into_inner().unwrap().into()
}

/// What parquet reads of it: each row's value.
fn read<T: DataType>(file: &Bytes) -> Vec<Option<T::T>> {
    let file = SerializedFileReader::new(file.clone()).unwrap();
    let group = file.get_row_group(0).unwrap();
    let is_optional = group.metadata().column(0).column_descr().max_def_level() > 0;
    let mut reader = get_typed_column_reader::<T>(group.get_column_reader(0).unwrap());
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    let levels_to = is_optional.then_some(&mut levels);
    let (rows, _, _) = reader.read_records(usize::MAX, levels_to, None, &mut values).unwrap();
    let mut values = values.into_iter();
    let read = (0..rows).map(|row| if is_optional && levels[row] == 0 { None } else { values.next() }).collect();
    assert!(values.next().is_none());
    read
}

fn expected<V: Clone>(values: &[V], runs: &[Run]) -> Vec<Option<V>> {
    let value = |number: u32| (number != ABSENT).then(|| values[number as usize].clone());
    runs.iter().flat_map(|run| std::iter::repeat_n(value(run.0), run.1 as usize)).collect()
}

/// Runs of all lengths around what is packed and what is not, until there are so many rows. A seed is a sequence.
fn runs_of(values: u32, rows: u32, absent: bool, seed: u32) -> Vec<Run> {
    let mut state = seed;
    let mut next = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        u32::try_from((u64::from(state >> 8) * u64::from(below)) >> 24).unwrap()
    };
    // The greatest number takes all bits of the width.
    let (mut runs, mut left) = (vec![(values - 1, 1)], rows - 1);
    while left > 0 {
        let length = if next(4) == 0 { 1 + next(40) } else { 1 }.min(left);
        let value = if absent && next(3) == 0 { ABSENT } else { next(values) };
        runs.push((value, length));
        left -= length;
    }
    runs
}

/// Numbers as the Parquet format says, one bit after the other. What fills up the last group comes, too.
fn unpacked(mut bytes: &[u8], width: u32) -> Vec<u32> {
    let mut numbers = Vec::new();
    while !bytes.is_empty() {
        let (mut header, mut shift) = (0u64, 0);
        loop {
            header |= u64::from(bytes[0] & 127) << shift;
            shift += 7;
            let is_last = bytes[0] < 128;
            bytes = &bytes[1..];
            if is_last {
                break;
            }
        }
        assert!(header > 1, "an empty run");
        let count = usize::try_from(header >> 1).unwrap();
        let bit = |place: usize| u32::from(bytes[place / 8] >> (place % 8) & 1);
        let length = if header & 1 == 0 {
            let number = (0..width as usize).fold(0, |number, place| number | bit(place) << place);
            numbers.extend(std::iter::repeat_n(number, count));
            width.div_ceil(8) as usize
        } else {
            for first in (0..count * 8).map(|number| number * width as usize) {
                numbers.push((0..width as usize).fold(0, |number, place| number | bit(first + place) << place));
            }
            count * width as usize
        };
        bytes = &bytes[length..];
    }
    numbers
}

proptest! {
    #[test]
    fn numbers_of_any_width_come_back(
        width in 0u32..=32,
        runs in proptest::collection::vec((any::<u32>(), prop_oneof![Just(1u32), 1u32..20, 100u32..300]), 0..60),
    ) {
        let mask = u32::MAX.checked_shr(32 - width).unwrap_or(0);
        let (mut bytes, mut packed) = (Vec::new(), vec![7]);
        let mut hybrid = Hybrid::new(&mut bytes, &mut packed, width);
        runs.iter().for_each(|run| hybrid.push(run.0 & mask, run.1));
        hybrid.finish();
        let pushed: Vec<u32> = runs.iter().flat_map(|run| std::iter::repeat_n(run.0 & mask, run.1 as usize)).collect();
        let read = unpacked(&bytes, width);
        prop_assert_eq!(&read[..pushed.len()], &pushed);
        let filling = &read[pushed.len()..];
        prop_assert!(filling.len() < 8 && filling.iter().all(|&number| number == 0));
    }
}

#[test]
fn long_runs_are_not_packed() {
    let (mut bytes, mut packed) = (Vec::new(), Vec::new());
    let mut hybrid = Hybrid::new(&mut bytes, &mut packed, 9);
    // Three numbers, which five of the run fill up; the rest is a run of 300.
    hybrid.push(1, 3);
    hybrid.push(257, 305);
    hybrid.finish();
    assert_eq!(bytes[0], 1 << 1 | 1);
    assert_eq!(bytes[10..], [0xd8, 4, 1, 1]);
}

#[test]
fn columns_with_any_count_of_values_come_back() {
    let sizes = (0..=17).flat_map(|bits| [(1u32 << bits) - 1, 1 << bits, (1 << bits) + 1]);
    for size in sizes.filter(|&size| size > 0) {
        for whole_bytes in [false, true] {
            let form = Form { whole_bytes, ..PLAIN_FORM };
            let values: Vec<i64> = (0..size.into()).map(|value| value * 1_000_003 - 77).collect();
            let runs = runs_of(size, PAGE + 1000, false, size);
            let required = file("REQUIRED INT64 v", &values, &runs, form);
            assert!(read::<Int64Type>(&required) == expected(&values, &runs), "{size} values");
            let runs = runs_of(size, PAGE + 1000, true, size);
            let optional = file("OPTIONAL INT64 v", &values, &runs, form);
            assert!(read::<Int64Type>(&optional) == expected(&values, &runs), "{size} values or none");
        }
    }
}

#[test]
fn a_page_is_as_wide_as_its_greatest_number() {
    let widths = [0, 1, 2, 3, 4, 255, 256, 65_535, 65_536, u32::MAX].map(|greatest| width(greatest, false));
    assert_eq!(widths, [0, 1, 2, 2, 3, 8, 9, 16, 17, 32]);
    assert_eq!([0, 1, 255, 256, 65_536].map(|greatest| width(greatest, true)), [0, 8, 8, 16, 24]);
    // Each page has its own: 16,384 small numbers take two bits each, whatever comes later.
    let values: Vec<i32> = (0..40_000).collect();
    let early: Vec<Run> = (0..PAGE).map(|row| (row % 4, 1)).collect();
    let late: Vec<Run> = (0..40_000).map(|number| (number, 1)).collect();
    let raw = |runs: &[Run]| {
        let mut writer = ChunkWriter::new().unwrap();
        writer.rows(runs, false, true, false);
        (writer.raw[0], writer.raw.len())
    };
    assert_eq!((raw(&early).0, raw(&late[..PAGE as usize]).0, raw(&late).0), (2, 14, 16));
    assert!((4096..4200).contains(&raw(&early).1), "{}", raw(&early).1);
    let runs: Vec<Run> = early.into_iter().chain(late).collect();
    assert!(read::<Int32Type>(&file("REQUIRED INT32 v", &values, &runs, PLAIN_FORM)) == expected(&values, &runs));
}

#[test]
fn texts_come_back_and_are_found_in_the_filter() {
    let texts: Vec<String> = (0..5000).map(|number| "ä".repeat(number % 40) + &number.to_string()).collect();
    let values: Vec<&str> = texts.iter().map(String::as_str).collect();
    let runs = runs_of(5000, 40_000, true, 3);
    let bytes = file("OPTIONAL BYTE_ARRAY v (STRING)", &values, &runs, Form { bloom: true, ..PLAIN_FORM });
    let read: Vec<_> = read::<ByteArrayType>(&bytes);
    let read: Vec<Option<&str>> = read.iter().map(|text| text.as_ref().map(|text| text.as_utf8().unwrap())).collect();
    assert!(read == expected(&values, &runs));
    let file = SerializedFileReader::new(bytes.clone()).unwrap();
    let filter = Sbbf::read_from_column_chunk(file.metadata().row_group(0).column(0), &bytes).unwrap().unwrap();
    assert!(texts.iter().all(|text| filter.check(text.as_str())));
    let wrong = (0..10_000).filter(|number| filter.check(format!("not {number}").as_str())).count();
    // One in a hundred is promised, and the length of a filter is rounded up.
    assert!(wrong < 200, "{wrong}");
}

/// What the footer says of the pages of a chunk of `i32`.
struct Footer {
    chunk: ColumnChunkMetaData,
    /// First row of each page.
    rows: Vec<i64>,
    bounds: Vec<Option<(i32, i32)>>,
    absent: Vec<Option<i64>>,
    order: Option<BoundaryOrder>,
}

fn footer(file: &Bytes) -> Footer {
    let policy = parquet::file::metadata::PageIndexPolicy::Required;
    let metadata = ParquetMetaDataReader::new().with_page_index_policy(policy).parse_and_finish(file).unwrap();
    let chunk = metadata.row_group(0).column(0).clone();
    let index = metadata.page_index_for_row_group(0);
    let locations = index.offset_index(0).unwrap().page_locations().clone();
    let first = chunk.data_page_offset();
    assert_eq!(locations[0].offset, first);
    for pages in locations.windows(2) {
        assert_eq!(pages[0].offset + i64::from(pages[0].compressed_page_size), pages[1].offset);
    }
    let (start, length) = chunk.byte_range();
    let last = locations.last().unwrap();
    assert_eq!(last.offset.cast_unsigned() + u64::from(last.compressed_page_size.cast_unsigned()), start + length);
    let order = index.column_index(0).unwrap().get_boundary_order();
    let Some(ColumnIndexMetaData::INT32(index)) = index.column_index(0) else { panic!("no index") };
    let bounds = index.min_values_iter().zip(index.max_values_iter());
    Footer {
        bounds: bounds.map(|(least, greatest)| least.copied().zip(greatest.copied())).collect(),
        absent: (0..locations.len()).map(|page| index.null_count(page)).collect(),
        order,
        rows: locations.iter().map(|page| page.first_row_index).collect(),
        chunk,
    }
}

#[test]
fn pages_are_full_but_the_last() {
    for (rows, pages) in [(1, 1), (PAGE - 1, 1), (PAGE, 1), (PAGE + 1, 2), (2 * PAGE, 2), (3 * PAGE + 5, 4)] {
        let one = [(0, rows)];
        let many: Vec<Run> = (0..rows).map(|row| (row % 3, 1)).collect();
        for (values, runs) in [(&[4][..], &one[..]), (&[4, 5, 6], &many)] {
            let file = file("REQUIRED INT32 v", values, runs, PAGES_FORM);
            assert!(read::<Int32Type>(&file) == expected(values, runs), "{rows}");
            let footer = footer(&file);
            assert_eq!(footer.rows, (0..pages).map(|page| page * i64::from(PAGE)).collect::<Vec<_>>());
            assert_eq!(footer.chunk.num_values(), i64::from(rows));
        }
    }
    // A run is cut where a page ends, and its parts are told from the next run of the same number.
    let mut page = Vec::new();
    let mut cut = Cut { runs: &[(1, PAGE - 2), (2, PAGE), (2, 1), (ABSENT, 3)], taken: 0 };
    assert!(cut.page(&mut page));
    assert_eq!(page, [(1, PAGE - 2), (2, 2)]);
    assert!(cut.page(&mut page));
    assert_eq!(page, [(2, PAGE - 1), (ABSENT, 1)]);
    assert!(cut.page(&mut page));
    assert_eq!(page, [(ABSENT, 2)]);
    assert!(!cut.page(&mut page));
}

#[test]
fn bounds_are_those_of_the_rows_and_their_order_is_told() {
    let values = [-5, 300, -70_000, 0];
    let orders = [
        (vec![(2, PAGE), (0, PAGE), (ABSENT, PAGE), (1, 9)], BoundaryOrder::ASCENDING),
        (vec![(1, PAGE), (ABSENT, PAGE), (3, PAGE - 1), (0, 5)], BoundaryOrder::DESCENDING),
        (vec![(1, PAGE), (2, PAGE), (1, 1)], BoundaryOrder::UNORDERED),
        // Greatest values ascend, least values do not.
        (vec![(0, PAGE), (2, 1), (1, PAGE - 1)], BoundaryOrder::UNORDERED),
        (runs_of(4, 3 * PAGE, true, 5), BoundaryOrder::ASCENDING),
    ];
    for (runs, order) in orders {
        let file = file("OPTIONAL INT32 v", &values, &runs, PAGES_FORM);
        let rows = read::<Int32Type>(&file);
        assert!(rows == expected(&values, &runs));
        let bounds = |rows: &[Option<i32>]| {
            let present = || rows.iter().flatten().copied();
            present().min().zip(present().max())
        };
        let absent = |rows: &[Option<i32>]| rows.iter().filter(|row| row.is_none()).count();
        let footer = footer(&file);
        assert_eq!(footer.bounds, rows.chunks(PAGE_ROWS).map(bounds).collect::<Vec<_>>());
        let by_page: Vec<_> = rows.chunks(PAGE_ROWS).map(|rows| Some(i64::try_from(absent(rows)).unwrap())).collect();
        assert_eq!(footer.absent, by_page);
        assert_eq!(footer.order, Some(order));
        let Some(Statistics::Int32(whole)) = footer.chunk.statistics() else { panic!("no bounds") };
        assert_eq!(whole.min_opt().copied().zip(whole.max_opt().copied()), bounds(&rows));
        assert_eq!(whole.null_count_opt(), Some(absent(&rows) as u64));
    }
}

#[test]
fn a_column_without_any_value_is_only_levels() {
    let runs = [(ABSENT, 2 * PAGE + 1)];
    let file = file::<i32>("OPTIONAL INT32 v", &[], &runs, PAGES_FORM);
    assert_eq!(read::<Int32Type>(&file), vec![None; runs[0].1 as usize]);
    let footer = footer(&file);
    assert_eq!((footer.rows.len(), footer.bounds), (3, vec![None; 3]));
    assert_eq!(footer.chunk.dictionary_page_offset(), None);
    let Some(Statistics::Int32(whole)) = footer.chunk.statistics() else { panic!("no count") };
    assert_eq!((whole.min_opt(), whole.max_opt(), whole.null_count_opt()), (None, None, Some(runs[0].1.into())));
}

#[test]
fn the_footer_says_which_pages_there_are() {
    let sorts = |file: &Bytes| -> Vec<(parquet::basic::PageType, Encoding, i32)> {
        let options = parquet::file::metadata::ParquetMetaDataOptions::new().with_encoding_stats_as_mask(false);
        let reader = ParquetMetaDataReader::new().with_metadata_options(Some(options));
        let metadata = reader.parse_and_finish(file).unwrap();
        let stats = metadata.row_group(0).column(0).page_encoding_stats().unwrap().iter();
        stats.map(|sort| (sort.page_type, sort.encoding, sort.count)).collect()
    };
    use parquet::basic::PageType::{DATA_PAGE, DICTIONARY_PAGE};
    let with = file("OPTIONAL INT32 v", &[1], &[(0, PAGE), (ABSENT, 1)], PAGES_FORM);
    assert_eq!(sorts(&with), [(DICTIONARY_PAGE, Encoding::PLAIN, 1), (DATA_PAGE, Encoding::RLE_DICTIONARY, 2)]);
    let without = file::<i32>("OPTIONAL INT32 v", &[], &[(ABSENT, PAGE + 1)], PAGES_FORM);
    assert_eq!(sorts(&without), [(DATA_PAGE, Encoding::PLAIN, 2)]);
    let encodings = |file| footer(file).chunk.encodings().collect::<Vec<_>>();
    assert_eq!(encodings(&with), [Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY]);
    assert_eq!(encodings(&without), [Encoding::PLAIN, Encoding::RLE]);
}
