//! What a journal needs of storage, and nothing more.

use std::io;

/// One directory of files. A clone is another handle to the same directory.
pub trait Disk: Clone + Send + 'static {
    /// An open file of this directory.
    type File: DiskFile;

    /// The names of all regular files, in any order.
    ///
    /// # Errors
    /// If the directory cannot be read.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a new, empty file, open for reading and writing. It survives a crash only after [`Self::sync_directory`].
    ///
    /// # Errors
    /// If the name is taken, there is no space, or the disk fails.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// If there is none of this name ([`io::ErrorKind::NotFound`]), or the disk fails.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Removes a file. Handles that are open go on reading it. A crash may bring it back until
    /// [`Self::sync_directory`].
    ///
    /// # Errors
    /// If there is none of this name, or the disk fails.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Gives a file another name.
    ///
    /// # Errors
    /// If there is no file `from`, or the disk fails.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes creations, removals and renames durable.
    ///
    /// # Errors
    /// If the disk fails; then nothing is known about what is durable.
    fn sync_directory(&self) -> io::Result<()>;

    /// Bytes that can still be written, for this process's user.
    ///
    /// # Errors
    /// If the disk cannot say.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// One open file.
pub trait DiskFile: Send {
    /// Length in bytes.
    ///
    /// # Errors
    /// If the disk fails.
    fn len(&self) -> io::Result<u64>;

    /// Whether there is nothing in the file.
    ///
    /// # Errors
    /// If the disk fails.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads some bytes at `offset` and says how many; 0 only at the end of the file or for an empty buffer.
    ///
    /// # Errors
    /// If the disk fails.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes some bytes at `offset` and says how many.
    ///
    /// # Errors
    /// If there is no space, or the disk fails.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Makes the file's bytes and length durable.
    ///
    /// # Errors
    /// If the disk fails. Then what was written since the last success may be lost although it can still be read, and
    /// although a repetition succeeds.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts the file, or extends it by zeros.
    ///
    /// # Errors
    /// If the disk fails.
    fn set_len(&mut self, length: u64) -> io::Result<()>;

    /// Drops what the system keeps of the file in memory, so that the next reads show what is on the disk. Called after
    /// [`Self::sync`]: what is not synced stays.
    ///
    /// # Errors
    /// If the system refuses.
    fn forget(&mut self) -> io::Result<()>;
}

/// Fills `buffer` from `offset` on as far as the file goes, and says how far.
pub(crate) fn read_full(file: &impl DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Writes all of `bytes` at `offset`, however many writes it takes.
pub(crate) fn write_full(file: &mut impl DiskFile, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match file.write_at(&bytes[done..], offset + done as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
