//! Finding the rows of one source without reading most of a file.
//!
//! ```text
//! bloom filter --may have it--> dictionary of sources --has it--> numbers of sources, page by page --> other columns of its rows
//! ```
//!
//! Of the column of sources the numbers that stand for texts of the dictionary are compared, and never made texts.

use std::fs::File;
use std::net::IpAddr;
use std::ops::Range;
use std::path::Path;

use martlet_window::{IpVersion, address_bits, address_from_bits};
use parquet::basic::Encoding;
use parquet::bloom_filter::Sbbf;
use parquet::column::page::{Page, PageReader};
use parquet::data_type::ByteArray;
use parquet::file::reader::{FileReader as _, RowGroupReader};

use crate::error::FileError;
use crate::read::{CHUNK, FileReader, Group, Names, no_meaning};
use crate::row::{COARSE_V4, COARSE_V6, Labels, Row, coarse};
use crate::schema::Column;

/// A search. What it found of names is kept from file to file.
pub struct Search {
    /// The address, and its network.
    texts: [ByteArray; 2],
    names: Names,
    /// Row groups that there were, and those that had to be read.
    pub groups: u64,
    /// See `groups`.
    pub groups_read: u64,
}

impl Search {
    /// Rows of this address, and of its network where only that is left.
    #[must_use]
    pub fn new(address: IpAddr) -> Search {
        let ip = if address.is_ipv4() { IpVersion::V4 } else { IpVersion::V6 };
        let (source, prefix) = (address_bits(address), if ip == IpVersion::V4 { COARSE_V4 } else { COARSE_V6 });
        let network = coarse(ip, source);
        let texts = [address.to_string(), format!("{}/{prefix}", address_from_bits(ip, network))];
        Search {
            texts: texts.map(|text| ByteArray::from(text.as_str())),
            names: Names::default(),
            groups: 0,
            groups_read: 0,
        }
    }

    /// Visits the rows of one file.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn file(
        &mut self,
        path: &Path,
        labels: &mut Labels,
        visit: &mut dyn FnMut(&Row, &Labels),
    ) -> Result<(), FileError> {
        let raw = File::open(path).map_err(FileError::io("open", path))?;
        let reader = FileReader::open(path)?;
        for number in 0..reader.file.num_row_groups() {
            self.groups += 1;
            let group = reader.file.get_row_group(number)?;
            let filter = Sbbf::read_from_column_chunk(group.metadata().column(Column::Source as usize), &raw)?;
            let may_have = |filter: Sbbf| self.texts.iter().any(|text| filter.check(text.data()));
            if filter.is_none_or(may_have) {
                self.groups_read += 1;
                self.group(&*group, path, labels, visit)?;
            }
        }
        Ok(())
    }

    fn group(
        &mut self,
        group: &dyn RowGroupReader,
        path: &Path,
        labels: &mut Labels,
        visit: &mut dyn FnMut(&Row, &Labels),
    ) -> Result<(), FileError> {
        let mut places = Places::of(group, &self.texts, path)?;
        let mut columns = Group::open(group)?;
        // The row of which the other columns stand.
        let mut next = 0;
        while let Some(runs) = places.page()? {
            for Run { rows, text } in runs {
                let mut skip = rows.start - next;
                for first in rows.clone().step_by(CHUNK) {
                    let rows = CHUNK.min(rows.end - first);
                    columns.read_of(&self.texts[text], std::mem::take(&mut skip), rows)?;
                    for place in 0..rows {
                        let row = columns.row(place, &mut self.names, labels).ok_or_else(|| no_meaning(path))?;
                        visit(&row, labels);
                    }
                }
                next = rows.end;
            }
        }
        Ok(())
    }
}

/// Rows that follow each other and have one of the texts.
struct Run {
    rows: Range<usize>,
    text: usize,
}

/// Where in a row group texts stand.
struct Places<'a> {
    pages: Box<dyn PageReader>,
    texts: &'a [ByteArray; 2],
    path: &'a Path,
    /// The numbers of the texts in the dictionary; none of a text that is not there.
    numbers: [Option<u32>; 2],
    /// The first row of the next page.
    row: usize,
}

impl<'a> Places<'a> {
    fn of(group: &dyn RowGroupReader, texts: &'a [ByteArray; 2], path: &'a Path) -> Result<Places<'a>, FileError> {
        let pages = group.get_column_page_reader(Column::Source as usize)?;
        Ok(Places { pages, texts, path, numbers: [None; 2], row: 0 })
    }

    /// Where they stand in the next page; `None` at the end.
    fn page(&mut self) -> Result<Option<Vec<Run>>, FileError> {
        let Some(page) = self.pages.get_next_page()? else { return Ok(None) };
        let damaged = |what| FileError::Damaged { path: self.path.to_owned(), what: format!("its sources: {what}") };
        let mut runs = Runs { runs: Vec::new(), row: self.row };
        match page {
            Page::DictionaryPage { buf, num_values, .. } => {
                for (number, text) in (0..num_values).zip(Plain(&buf)) {
                    let text = text.ok_or_else(|| damaged("a text ends too soon"))?;
                    if let Some(place) = self.texts.iter().position(|wanted| wanted.data() == text) {
                        self.numbers[place] = Some(number);
                    }
                }
            }
            // No row is without a source, so that the values are all that there is.
            Page::DataPage {
                buf, num_values, encoding: Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY, ..
            } => {
                let rows = num_values as usize;
                if self.numbers == [None; 2] {
                    self.row += rows;
                    return Ok(Some(Vec::new()));
                }
                runs.numbers(&buf, rows, self.numbers).ok_or_else(|| damaged("numbers end too soon"))?;
            }
            Page::DataPage { buf, num_values, encoding: Encoding::PLAIN, .. } => {
                let mut plain = Plain(&buf);
                for _ in 0..num_values {
                    let text = plain.next().flatten().ok_or_else(|| damaged("a text ends too soon"))?;
                    runs.push(self.texts.iter().position(|wanted| wanted.data() == text), 1);
                }
            }
            Page::DataPage { encoding, .. } | Page::DataPageV2 { encoding, .. } => {
                return Err(damaged(&format!("pages of the encoding {encoding}")));
            }
        }
        self.row = runs.row;
        Ok(Some(runs.runs))
    }
}

/// Runs of a page as they are found.
struct Runs {
    runs: Vec<Run>,
    /// The next row.
    row: usize,
}

impl Runs {
    fn push(&mut self, text: Option<usize>, rows: usize) {
        let next = self.row + rows;
        if let Some(text) = text {
            match self.runs.last_mut() {
                Some(run) if run.text == text && run.rows.end == self.row => run.rows.end = next,
                _ => self.runs.push(Run { rows: self.row..next, text }),
            }
        }
        self.row = next;
    }

    /// Looks through numbers of a dictionary, as RLE_DICTIONARY of the Parquet format: the width of a number in bits, then runs
    /// of either one number or of packed ones. `None` if there are fewer than `rows`.
    fn numbers(&mut self, page: &[u8], rows: usize, wanted: [Option<u32>; 2]) -> Option<()> {
        let (&width, mut rest) = page.split_first()?;
        let width = usize::from(width);
        // Wider than any number, so that one who is not there is never found.
        let wanted = wanted.map(|number| number.map_or(u64::MAX, u64::from));
        let of = |number: u64| wanted.iter().position(|&wanted| wanted == number);
        if width > 32 {
            return None;
        }
        let end = self.row + rows;
        while self.row < end {
            let header = varint(&mut rest)?;
            let left = end - self.row;
            if header & 1 == 0 {
                let (number, after) = rest.split_at_checked(width.div_ceil(8))?;
                rest = after;
                self.push(of(little_endian(number)), usize::try_from(header >> 1).ok()?.min(left));
            } else {
                let groups = usize::try_from(header >> 1).ok()?;
                // The last group is filled up, and what fills it may be left out.
                let bytes = groups.checked_mul(width)?.min(rest.len());
                let (packed, after) = rest.split_at(bytes);
                rest = after;
                let rows = groups.checked_mul(8)?.min(left);
                if packed.len() * 8 < rows * width {
                    return None;
                }
                self.packed(packed, width, rows, of);
            }
            if header >> 1 == 0 {
                return None;
            }
        }
        Some(())
    }

    fn packed(&mut self, packed: &[u8], width: usize, rows: usize, of: impl Fn(u64) -> Option<usize>) {
        let (first, mask) = (self.row, (1u64 << width) - 1);
        for row in 0..rows {
            let bit = row * width;
            let bytes = &packed[bit / 8..];
            let word = bytes.first_chunk().map_or_else(|| little_endian(bytes), |word| u64::from_le_bytes(*word));
            if let Some(text) = of(word >> (bit % 8) & mask) {
                self.row = first + row;
                self.push(Some(text), 1);
            }
        }
        self.row = first + rows;
    }
}

/// Up to eight bytes as a number.
fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 127) << shift;
        if byte < 128 {
            return Some(number);
        }
    }
    None
}

/// Texts as PLAIN of the Parquet format: each after its length. One that ends too soon is `None`.
struct Plain<'a>(&'a [u8]);

impl<'a> Iterator for Plain<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Option<&'a [u8]>> {
        let text = self.0.split_first_chunk().and_then(|(length, rest)| {
            let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            self.0 = rest;
            Some(text)
        });
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use martlet_window::{Class, Kind, Marks, PackedClass, Service, TrafficClass};

    use super::*;
    use crate::{FileWriter, Network, Observer, Region};

    fn found(page: &[u8], rows: usize, wanted: [Option<u32>; 2]) -> Option<Vec<(Range<usize>, usize)>> {
        let mut runs = Runs { runs: Vec::new(), row: 100 };
        runs.numbers(page, rows, wanted)?;
        assert_eq!(runs.row, 100 + rows);
        Some(runs.runs.into_iter().map(|run| (run.rows, run.text)).collect())
    }

    #[test]
    fn numbers_are_found_in_runs_and_in_what_is_packed() {
        // The example of the Parquet format: 0 to 7 with three bits each. Then 5, nine times, and 7 where a group is filled up.
        let page = [3, 3, 0x88, 0xc6, 0xfa, 18, 5, 3, 0xff, 0xff, 0xff];
        let wanted = [Some(5), Some(7)];
        assert_eq!(found(&page, 19, wanted).unwrap(), [(105..106, 0), (107..108, 1), (108..117, 0), (117..119, 1)]);
        assert_eq!(found(&page, 8, [Some(0), None]).unwrap(), [(100..101, 0)]);
        assert_eq!(found(&page, 8, [None, None]).unwrap(), []);
        // A dictionary of one has numbers of no bits.
        assert_eq!(found(&[0, 16], 8, [None, Some(0)]).unwrap(), [(100..108, 1)]);
        assert_eq!(found(&[0, 3], 8, [None, Some(0)]).unwrap(), [(100..108, 1)]);
        for (page, rows) in
            [(&page[..], 26), (&page[..4], 8), (&[], 1), (&[33, 2, 0], 1), (&[3, 0, 0], 1), (&[3, 255], 1)]
        {
            assert_eq!(found(page, rows, wanted), None, "{page:?}");
        }
    }

    #[test]
    fn rows_are_those_that_reading_everything_finds() {
        let directory = std::env::temp_dir().join(format!("martlet-search-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("rows.parquet");
        let mut labels = Labels::default();
        let sensor = |number: usize| Observer {
            sensor: format!("sensor-{number}").as_str().into(),
            class: TrafficClass::Real,
            window_seconds: 10,
        };
        let observers: Vec<u32> = (0..3).map(|number| labels.number_observer(&sensor(number))).collect();
        let network = |is_coarse| Network {
            region: Region::UNKNOWN,
            asn: None,
            organisation: None,
            known_scanner: None,
            is_coarse,
        };
        let (fine, of_network) = (labels.number_network(&network(false)), labels.number_network(&network(true)));
        // Some sources have thousands of rows that follow each other, most have one here and there.
        let mut state = 7u32;
        let mut number = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % below
        };
        let mut rows = Vec::new();
        while rows.len() < 60_000 {
            let source = 0x0a00_0000 + number(300) * number(3).pow(2);
            let is_coarse = number(50) == 0;
            let times = if number(200) == 0 { 5000 } else { 1 + number(3) };
            for _ in 0..times {
                let port = u16::try_from(number(1000)).unwrap();
                let class = Class {
                    ip: IpVersion::V4,
                    protocol: 6,
                    service: Service::Port(port),
                    kind: Kind::Scan,
                    marks: Marks::NONE,
                };
                rows.push(Row {
                    class: PackedClass::from(class),
                    source: if is_coarse { source & !255 } else { source }.into(),
                    start: i64::from(number(360)) * 10,
                    bytes: number(1500).into(),
                    packets: 1 + u64::from(number(9)),
                    targets: 1,
                    observer: observers[number(3) as usize],
                    network: if is_coarse { of_network } else { fine },
                });
            }
        }
        let mut writer = FileWriter::create(&path, rows.len() as u64, &[], false).unwrap();
        rows.iter().for_each(|row| writer.push(*row, &labels).unwrap());
        writer.finish(&labels).unwrap();
        let mut visited = 0;
        for address in ["10.0.0.0", "10.0.0.7", "10.0.0.200", "10.0.1.24", "10.0.2.0", "192.0.2.1"] {
            let bits = address_bits(address.parse().unwrap());
            let is_it = |row: &&Row| row.source == if row.network == of_network { bits & !255 } else { bits };
            let expected: Vec<_> = rows.iter().filter(is_it).copied().collect();
            let (mut search, mut found, mut own) =
                (Search::new(address.parse().unwrap()), Vec::new(), Labels::default());
            search
                .file(&path, &mut own, &mut |row, own| {
                    let observer = labels.number_observer(own.observer(row.observer));
                    found.push(Row { observer, network: labels.number_network(own.network(row.network)), ..*row });
                })
                .unwrap();
            visited += found.len();
            assert!(found == expected, "{address}: {} and {}", found.len(), expected.len());
        }
        assert!(visited > 10_000, "{visited}");
        std::fs::remove_dir_all(directory).unwrap();
    }
}
