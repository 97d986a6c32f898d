//! The rows of several files as one ascending sequence, in bounded memory.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::PathBuf;

use martlet_window::PackedClass;

use crate::error::FileError;
use crate::read::FileReader;
use crate::row::{Labels, Row};
use crate::schema::VERSION_KEY;

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
    pub fn open(paths: &[PathBuf]) -> Result<Merge, FileError> {
        Merge::open_with(paths, Labels::default())
    }

    /// As [`Self::open`], with labels that other rows have already.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn open_with(paths: &[PathBuf], labels: Labels) -> Result<Merge, FileError> {
        let files = paths.iter().map(|path| FileReader::open(path)).collect::<Result<Vec<_>, _>>()?;
        let mut merge = Merge { files, next: BinaryHeap::new(), labels };
        (0..merge.files.len()).try_for_each(|file| merge.look(file))?;
        Ok(merge)
    }

    /// What the rows share. It grows while they are read.
    #[must_use]
    pub const fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The labels of the rows that were read.
    #[must_use]
    pub fn into_labels(self) -> Labels {
        self.labels
    }

    /// For rows that are changed on their way.
    pub const fn labels_mut(&mut self) -> &mut Labels {
        &mut self.labels
    }

    /// What is said about all files together: each pair of their metadata once, without their version.
    #[must_use]
    pub fn facts(&self) -> Vec<(String, String)> {
        let mut facts: Vec<(String, String)> = Vec::new();
        for (key, value) in self.files.iter().flat_map(FileReader::facts) {
            let pair = (key.to_owned(), value.to_owned());
            if key != VERSION_KEY && !facts.contains(&pair) {
                facts.push(pair);
            }
        }
        facts
    }

    /// The next row; of equal ones that of the earlier file comes first.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn next_row(&mut self) -> Result<Option<Row>, FileError> {
        let Some(Reverse((_, file))) = self.next.pop() else { return Ok(None) };
        let row = self.files[file].next(&mut self.labels)?;
        self.look(file)?;
        Ok(row)
    }

    fn look(&mut self, file: usize) -> Result<(), FileError> {
        if let Some(row) = self.files[file].peek(&mut self.labels)? {
            self.next.push(Reverse((row.key(), file)));
        }
        Ok(())
    }
}
