//! Files of a day in the place of others: merged, with addresses masked, or with only networks left.

use std::path::PathBuf;

use ipnet::IpNet;
use martlet_archive::{FileWriter, Labels, Merge, Network, Row, Written, coarse};

use super::catalog::{ArchiveFile, Catalog};
use super::directory::{Directory, file_name};
use super::error::ArchiveError;

/// So many rows are read between two looks at whether the archive is to stop: some hundredths of a second.
const LOOKED_UP_EVERY: usize = 16_384;

/// What becomes of the rows.
pub(super) enum Change {
    /// Nothing: small files become a large one.
    Merge,
    /// These are masked.
    Mask(Masked),
    /// Of every address its network is left.
    Coarsen,
}

/// Rows of files, in order, until the archive is to stop.
struct Rows<'a> {
    directory: &'a Directory,
    merge: Merge,
    read: usize,
}

impl<'a> Rows<'a> {
    const fn new(directory: &'a Directory, merge: Merge) -> Rows<'a> {
        Rows { directory, merge, read: 0 }
    }

    fn next(&mut self) -> Result<Option<Row>, ArchiveError> {
        if self.read.is_multiple_of(LOOKED_UP_EVERY) {
            self.directory.go_on()?;
        }
        self.read += 1;
        Ok(self.merge.next_row()?)
    }
}

/// Replaces files of one day by one file.
///
/// # Errors
/// If a file cannot be read or written: then the day is as it was, or, if it is told too late that the disk fails, as it will be
/// once [`recover`] has been called.
pub(super) fn replace(
    catalog: &Catalog,
    directory: &Directory,
    day: i64,
    inputs: &[ArchiveFile],
    change: Change,
    rests: bool,
) -> Result<(), ArchiveError> {
    directory.step()?;
    let operation = catalog.begin_replace(day, inputs)?;
    directory.stage(operation)?;
    let labels = match &change {
        Change::Mask(masked) => masked.labels.clone(),
        _ => Labels::default(),
    };
    let mut rows = Rows::new(directory, Merge::open_with(&paths(directory, day, inputs)?, labels)?);
    directory.step()?;
    let count = inputs.iter().map(|input| input.written.rows).sum();
    let mut writer = FileWriter::create(&directory.staged_file(operation, day)?, count, &rows.merge.facts(), rests)?;
    match &change {
        Change::Merge => {
            while let Some(row) = rows.next()? {
                writer.push(row, rows.merge.labels())?;
            }
        }
        Change::Mask(masked) => mask(&mut rows, masked, &mut writer)?,
        Change::Coarsen => coarsen(&mut rows, &mut writer)?,
    }
    let written = writer.finish(rows.merge.labels())?;
    let names: Vec<String> = inputs.iter().map(|input| input.name.clone()).collect();
    directory.exchange(operation, day, &names, true)?;
    directory.step()?;
    let is_coarse = matches!(change, Change::Coarsen) || inputs.iter().all(|input| input.is_coarse);
    catalog.end_replace(operation, day, Some((&file_name(operation), &written, is_coarse)))?;
    directory.step()?;
    directory.discard(operation)
}

/// Deletes files of one day.
pub(super) fn delete(
    catalog: &Catalog,
    directory: &Directory,
    day: i64,
    inputs: &[ArchiveFile],
) -> Result<(), ArchiveError> {
    directory.step()?;
    let operation = catalog.begin_replace(day, inputs)?;
    directory.stage(operation)?;
    let names: Vec<String> = inputs.iter().map(|input| input.name.clone()).collect();
    directory.exchange(operation, day, &names, false)?;
    directory.step()?;
    catalog.end_replace(operation, day, None)?;
    directory.step()?;
    directory.discard(operation)
}

/// Ends a replacement that a crash has interrupted: if its inputs are gone from the day it was done, and else it never was.
pub(super) fn recover(
    catalog: &Catalog,
    directory: &Directory,
    operation: i64,
    day: i64,
    inputs: &[String],
) -> Result<(), ArchiveError> {
    let is_done = match inputs.first() {
        Some(input) => !directory.has(day, input)?,
        None => false,
    };
    if !is_done {
        return catalog.forget(operation);
    }
    let name = file_name(operation);
    if !directory.has(day, &name)? {
        return catalog.end_replace(operation, day, None);
    }
    // What the file holds is not known any more; it says so itself.
    let mut rows = Rows::new(directory, Merge::open(&[directory.day(day)?.join(&name)])?);
    let mut written = Written::default();
    let mut is_coarse = true;
    while let Some(row) = rows.next()? {
        written.count(&row);
        is_coarse &= rows.merge.labels().network(row.network).is_coarse;
    }
    let path = directory.day(day)?.join(&name);
    written.bytes = std::fs::metadata(&path).map_err(ArchiveError::io("read the length of", &path))?.len();
    catalog.end_replace(operation, day, Some((&name, &written, is_coarse && written.rows > 0)))
}

/// Whether a row's source lies in a network. Of a coarse row only the network is known: it is if that network and this one have
/// an address in common.
fn is_masked(row: &Row, labels: &Labels, network: &IpNet) -> bool {
    let address = row.address();
    if address.is_unspecified() {
        return false;
    }
    let prefix = labels.network(row.network).prefix_length(row.class.ip());
    let known = IpNet::new(address, prefix);
    known.is_ok_and(|known| {
        known.addr().is_ipv4() == network.addr().is_ipv4() && (network.contains(&known) || known.contains(network))
    })
}

/// The rows of files whose sources lie in a network, masked.
pub(super) fn masked(
    directory: &Directory,
    day: i64,
    inputs: &[ArchiveFile],
    network: &IpNet,
) -> Result<Masked, ArchiveError> {
    let mut rows = Rows::new(directory, Merge::open(&paths(directory, day, inputs)?)?);
    let mut masked = Vec::new();
    while let Some(row) = rows.next()? {
        if is_masked(&row, rows.merge.labels(), network) {
            let nobody = rows.merge.labels_mut().number_network(&Network::default());
            masked.push(Row { source: 0, network: nobody, ..row });
        }
    }
    Ok(Masked { network: *network, rows: summed(masked), labels: rows.merge.into_labels() })
}

/// Rows that were masked. Those of a class come first in it: the unspecified address is the lowest.
pub(super) struct Masked {
    network: IpNet,
    /// Ascending.
    pub(super) rows: Vec<Row>,
    labels: Labels,
}

/// Passes on every row that is not masked, and those that are where they belong.
fn mask(rows: &mut Rows<'_>, masked: &Masked, writer: &mut FileWriter) -> Result<(), ArchiveError> {
    let mut waiting = masked.rows.iter().peekable();
    while let Some(row) = rows.next()? {
        let labels = rows.merge.labels();
        while let Some(&before) = waiting.next_if(|masked| masked.key() < row.key()) {
            writer.push(before, labels)?;
        }
        if !is_masked(&row, labels, &masked.network) {
            writer.push(row, labels)?;
        }
    }
    Ok(waiting.try_for_each(|&row| writer.push(row, rows.merge.labels()))?)
}

/// Leaves only networks of sources. Rows of a class whose sources are of one network follow each other: only they are in memory.
fn coarsen(rows: &mut Rows<'_>, writer: &mut FileWriter) -> Result<(), ArchiveError> {
    let mut alike: Vec<Row> = Vec::new();
    loop {
        let row = rows.next()?.map(|mut row| {
            if !row.address().is_unspecified() {
                row.source = coarse(row.class.ip(), row.source);
                let network = Network { is_coarse: true, ..rows.merge.labels().network(row.network).clone() };
                row.network = rows.merge.labels_mut().number_network(&network);
            }
            row
        });
        let place = |row: &Row| (row.class, row.source);
        if alike.last().is_some_and(|last| Some(place(last)) != row.as_ref().map(place)) {
            for row in summed(std::mem::take(&mut alike)) {
                writer.push(row, rows.merge.labels())?;
            }
        }
        let Some(row) = row else { return Ok(()) };
        alike.push(row);
    }
}

/// Sorts rows, and adds up what is the same row since its source was changed.
fn summed(mut rows: Vec<Row>) -> Vec<Row> {
    let key = |row: &Row| (row.key(), row.observer, row.network);
    rows.sort_unstable_by_key(key);
    rows.dedup_by(|row, sum| {
        let is_same = key(row) == key(sum);
        if is_same {
            sum.packets = sum.packets.saturating_add(row.packets);
            sum.bytes = sum.bytes.saturating_add(row.bytes);
            // Two sources may have hit the same addresses; only the larger number is certain.
            sum.targets = sum.targets.max(row.targets);
        }
        is_same
    });
    rows
}

fn paths(directory: &Directory, day: i64, inputs: &[ArchiveFile]) -> Result<Vec<PathBuf>, ArchiveError> {
    let folder = directory.day(day)?;
    Ok(inputs.iter().map(|input| folder.join(&input.name)).collect())
}
