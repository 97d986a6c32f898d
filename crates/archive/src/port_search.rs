//! Finding the rows of one port without reading most of a file: rows are sorted by IP version, protocol, kind and service, so that
//! those of one kind follow each other.
//!
//! ```text
//! bounds of protocols and ports --may have it--> the three columns that say which --> all columns of its rows
//! ```

use std::path::Path;

use martlet_window::IpVersion;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::{FileReader as _, RowGroupReader};
use parquet::file::statistics::Statistics;

use crate::error::FileError;
use crate::read::{FileReader, Group, Names, Ports, no_meaning};
use crate::row::{Labels, Row};
use crate::schema::Column;

/// A search. What it found of names is kept from file to file.
pub struct PortSearch {
    /// IP version, protocol and port, as their columns have them.
    wanted: [i32; 3],
    names: Names,
    /// Row groups that there were, and those that had to be read.
    pub groups: u64,
    /// See `groups`.
    pub groups_read: u64,
}

impl PortSearch {
    /// Rows of this port, of every kind.
    #[must_use]
    pub fn new(ip: IpVersion, protocol: u8, port: u16) -> PortSearch {
        let version = if ip == IpVersion::V4 { 4 } else { 6 };
        let wanted = [version, protocol.into(), port.into()];
        PortSearch { wanted, names: Names::default(), groups: 0, groups_read: 0 }
    }

    /// Visits the rows of one file, until it is told `false`.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn file(
        &mut self,
        path: &Path,
        labels: &mut Labels,
        visit: &mut dyn FnMut(&Row, &Labels) -> bool,
    ) -> Result<(), FileError> {
        let reader = FileReader::open(path)?;
        for number in 0..reader.file.num_row_groups() {
            self.groups += 1;
            let group = reader.file.get_row_group(number)?;
            if self.may_be_in(group.metadata()) {
                self.groups_read += 1;
                if !self.group(&*group, path, labels, visit)? {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Whether the bounds of a row group let it have the port.
    fn may_be_in(&self, group: &RowGroupMetaData) -> bool {
        let columns = [Column::IpVersion, Column::Protocol, Column::Port];
        columns.into_iter().zip(self.wanted).all(|(column, wanted)| match group.column(column as usize).statistics() {
            Some(Statistics::Int32(bounds)) => {
                bounds.min_opt().is_none_or(|&least| least <= wanted)
                    && bounds.max_opt().is_none_or(|&most| wanted <= most)
            }
            _ => true,
        })
    }

    fn group(
        &mut self,
        group: &dyn RowGroupReader,
        path: &Path,
        labels: &mut Labels,
        visit: &mut dyn FnMut(&Row, &Labels) -> bool,
    ) -> Result<bool, FileError> {
        let (mut ports, mut columns) = (Ports::open(group)?, Group::open(group)?);
        // Rows that the other columns are behind.
        let mut skip = 0;
        loop {
            let rows = ports.read()?;
            if rows == 0 {
                return Ok(true);
            }
            let mut place = 0;
            while place < rows {
                let is_it = ports.is(place, self.wanted);
                let end = (place + 1..rows).find(|&row| ports.is(row, self.wanted) != is_it).unwrap_or(rows);
                if is_it {
                    columns.read_after(std::mem::take(&mut skip), end - place)?;
                    for row in 0..end - place {
                        let row = columns.row(row, &mut self.names, labels).ok_or_else(|| no_meaning(path))?;
                        if !visit(&row, labels) {
                            return Ok(false);
                        }
                    }
                } else {
                    skip += end - place;
                }
                place = end;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use martlet_window::{Class, Kind, Marks, PackedClass, Service, TrafficClass};

    use super::*;
    use crate::{FileWriter, Network, Observer, Region};

    #[test]
    fn rows_are_those_that_reading_everything_finds() {
        let directory = std::env::temp_dir().join(format!("martlet-port-search-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("rows.parquet");
        let mut labels = Labels::default();
        let observer =
            labels.number_observer(&Observer { sensor: "one".into(), class: TrafficClass::Real, window_seconds: 10 });
        let network = labels.number_network(&Network {
            region: Region::UNKNOWN,
            asn: None,
            organisation: None,
            known_scanner: None,
            is_coarse: false,
        });
        let mut state = 7u32;
        let mut number = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % below
        };
        let mut rows = Vec::new();
        while rows.len() < 40_000 {
            let (ip, protocol) =
                [(IpVersion::V4, 6), (IpVersion::V4, 17), (IpVersion::V6, 6), (IpVersion::V4, 1)][number(4) as usize];
            // Few ports have most: their rows are more than a chunk.
            let port = u16::try_from(number(3) * number(200)).unwrap();
            let service =
                if protocol == 1 { Service::Icmp { icmp_type: 8, code: 0 } } else { Service::Port(port + 10) };
            let kind = Kind::ALL[number(3) as usize];
            let class = Class { ip, protocol, service, kind, marks: Marks::NONE };
            rows.push(Row {
                class: PackedClass::from(class),
                source: number(9000).into(),
                start: i64::from(number(360)) * 10,
                bytes: 40,
                packets: 1 + u64::from(number(9)),
                targets: 1,
                observer,
                network,
            });
        }
        // As the archive sorts them.
        rows.sort_by_key(|row: &Row| {
            let class = row.class.unpack();
            let port = if let Service::Port(port) = class.service { port } else { 0 };
            (class.ip as u8, class.protocol, class.kind as u8, port)
        });
        let mut writer = FileWriter::create(&path, rows.len() as u64, &[], false).unwrap();
        rows.iter().for_each(|row| writer.push(*row, &labels).unwrap());
        writer.finish(&labels).unwrap();
        let ports = [(IpVersion::V4, 6, 10), (IpVersion::V4, 17, 12), (IpVersion::V6, 6, 208), (IpVersion::V4, 6, 9)];
        let mut visited = 0;
        for (ip, protocol, port) in ports {
            let is_it = |row: &&Row| {
                let class = row.class.unpack();
                (class.ip, class.protocol, class.service) == (ip, protocol, Service::Port(port))
            };
            let expected: Vec<_> = rows.iter().filter(is_it).copied().collect();
            let (mut search, mut found, mut own) = (PortSearch::new(ip, protocol, port), Vec::new(), Labels::default());
            search
                .file(&path, &mut own, &mut |row, _| {
                    found.push(Row { observer, network, ..*row });
                    true
                })
                .unwrap();
            visited += found.len();
            assert!(found == expected, "{protocol}/{port}: {} and {}", found.len(), expected.len());
        }
        assert!(visited > 3000, "{visited}");
        // Outside its bounds nothing is read, and whoever has enough is told no more.
        let (mut search, mut own) = (PortSearch::new(IpVersion::V4, 6, 9), Labels::default());
        search.file(&path, &mut own, &mut |_, _| true).unwrap();
        assert_eq!((search.groups, search.groups_read), (1, 0));
        let (mut search, mut seen) = (PortSearch::new(IpVersion::V4, 6, 10), 0);
        search
            .file(&path, &mut own, &mut |_, _| {
                seen += 1;
                seen < 3
            })
            .unwrap();
        assert_eq!(seen, 3);
        std::fs::remove_dir_all(directory).unwrap();
    }
}
