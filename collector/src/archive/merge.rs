//! The rows of several files as one ascending sequence, in bounded memory.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::PathBuf;

use martlet_window::PackedClass;

use super::error::ArchiveError;
use super::read::FileReader;
use super::row::{Labels, Row};

/// Files that are read side by side.
pub struct Merge {
    files: Vec<FileReader>,
    /// The next row of each file that has one.
    next: BinaryHeap<Reverse<(Key, usize)>>,
    labels: Labels,
}

type Key = (PackedClass, u128, i64);

impl Merge {
    /// Begins to read.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn open(paths: &[PathBuf]) -> Result<Merge, ArchiveError> {
        let files = paths.iter().map(|path| FileReader::open(path)).collect::<Result<Vec<_>, _>>()?;
        let mut merge = Merge { files, next: BinaryHeap::new(), labels: Labels::default() };
        (0..merge.files.len()).try_for_each(|file| merge.look(file))?;
        Ok(merge)
    }

    /// What the rows share. It grows while they are read.
    #[must_use]
    pub const fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The next row; of equal ones that of the earlier file comes first.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn next(&mut self) -> Result<Option<Row>, ArchiveError> {
        let Some(Reverse((_, file))) = self.next.pop() else { return Ok(None) };
        let row = self.files[file].next(&mut self.labels)?;
        self.look(file)?;
        Ok(row)
    }

    fn look(&mut self, file: usize) -> Result<(), ArchiveError> {
        if let Some(row) = self.files[file].peek(&mut self.labels)? {
            self.next.push(Reverse((row.key(), file)));
        }
        Ok(())
    }
}
