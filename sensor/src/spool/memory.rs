//! A disk in memory: where a replay keeps its batches, since the capture file is their durable copy.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use martlet_journal::{Disk, DiskFile};

type Bytes = Arc<Mutex<Vec<u8>>>;

/// A directory whose files end with the process. A clone is another handle to the same.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<BTreeMap<String, Bytes>>>);

/// A file of a [`MemoryDisk`].
#[derive(Debug)]
pub struct MemoryFile(Bytes);

/// Every change leaves whole state, so that a panic elsewhere does not matter.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk for MemoryDisk {
    type File = MemoryFile;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(lock(&self.0).keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<MemoryFile> {
        let mut files = lock(&self.0);
        if files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = files.entry(name.to_owned()).or_default();
        Ok(MemoryFile(file.clone()))
    }

    fn open(&self, name: &str) -> io::Result<MemoryFile> {
        let file = lock(&self.0).get(name).cloned();
        file.map(MemoryFile).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let file = lock(&self.0).remove(name);
        file.map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = lock(&self.0);
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        // The spool's own cap is what bounds it.
        Ok(u64::MAX)
    }
}

impl DiskFile for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.0).len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = lock(&self.0);
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let count = buffer.len().min(bytes.len() - from);
        buffer[..count].copy_from_slice(&bytes[from..from + count]);
        Ok(count)
    }

    fn write_at(&mut self, new: &[u8], offset: u64) -> io::Result<usize> {
        let from = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut bytes = lock(&self.0);
        let end = from.checked_add(new.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[from..end].copy_from_slice(new);
        Ok(new.len())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&mut self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).map_err(|_| io::ErrorKind::FileTooLarge)?;
        lock(&self.0).resize(length, 0);
        Ok(())
    }

    fn forget(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_what_a_directory_does() {
        let disk = MemoryDisk::default();
        let mut file = disk.create("a").unwrap();
        assert_eq!(disk.create("a").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        file.write_at(b"hello", 2).unwrap();
        disk.clone().rename("a", "b").unwrap();
        assert_eq!(disk.list().unwrap(), ["b"]);
        let mut buffer = [9; 4];
        assert_eq!(disk.open("b").unwrap().read_at(&mut buffer, 1).unwrap(), 4);
        assert_eq!(&buffer, b"\0hel");
        file.set_len(3).unwrap();
        assert_eq!(file.read_at(&mut buffer, 2).unwrap(), 1);
        assert_eq!(file.read_at(&mut buffer, 9).unwrap(), 0);
        disk.remove("b").unwrap();
        assert_eq!(disk.open("b").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
