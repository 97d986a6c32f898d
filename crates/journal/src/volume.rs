//! Several journals below one directory.

use std::io;

use crate::Disk;

/// A directory whose subdirectories are [`Disk`]s. A clone is another handle to the same directory.
pub trait Volume: Clone + Send + 'static {
    /// A subdirectory.
    type Disk: Disk;

    /// The names of all subdirectories, in any order.
    ///
    /// # Errors
    /// If the directory cannot be read.
    fn directories(&self) -> io::Result<Vec<String>>;

    /// Opens a subdirectory; makes it if there is none, durably when this returns.
    ///
    /// # Errors
    /// If it cannot be made, or the disk fails.
    fn directory(&self, name: &str) -> io::Result<Self::Disk>;

    /// Removes a subdirectory and the files in it, durably when this returns. After an error, or a crash meanwhile, it
    /// is there, perhaps with fewer files.
    ///
    /// # Errors
    /// If there is none, or the disk fails.
    fn remove_directory(&self, name: &str) -> io::Result<()>;
}
