//! A directory of the operating system.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::Advice;

use crate::{Disk, DiskFile, Volume};

/// Segments are for the daemon and its group only.
const MODE: u32 = 0o640;

/// One directory of a real file system.
#[derive(Clone, Debug)]
pub struct RealDisk {
    directory: Arc<Open>,
}

#[derive(Debug)]
struct Open {
    path: PathBuf,
    handle: File,
}

impl RealDisk {
    /// Opens the directory `path`; makes it, durably, if there is none.
    ///
    /// # Errors
    /// If it cannot be made, or is no directory.
    pub fn open(path: impl AsRef<Path>) -> io::Result<RealDisk> {
        let path = path.as_ref();
        make_directory(path)?;
        let handle = File::open(path)?;
        if !handle.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(RealDisk { directory: Arc::new(Open { path: path.to_owned(), handle }) })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.directory.path
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path.join(name)
    }
}

/// Makes `path` and what is missing above it, each synced into its parent.
fn make_directory(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if path.exists() {
        // A process that was killed between making and syncing it left this to do. A parent that this user may not even
        // read was made by somebody else.
        let _ = File::open(parent).and_then(|parent| parent.sync_all());
        return Ok(());
    }
    make_directory(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => File::open(parent)?.sync_all(),
    }
}

impl Disk for RealDisk {
    type File = RealFile;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory.path)? {
            let entry = entry?;
            // A name that is no UTF-8 is not one of ours.
            if let (true, Ok(name)) = (entry.file_type()?.is_file(), entry.file_name().into_string()) {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<RealFile> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(MODE).open(self.file(name))?;
        Ok(RealFile { file })
    }

    fn open(&self, name: &str) -> io::Result<RealFile> {
        let file = OpenOptions::new().read(true).write(true).open(self.file(name))?;
        Ok(RealFile { file })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.file(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.file(from), self.file(to))
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.directory.handle.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let status = rustix::fs::fstatvfs(&self.directory.handle)?;
        Ok(status.f_bavail.saturating_mul(status.f_frsize))
    }
}

/// A file of a real file system.
#[derive(Debug)]
pub struct RealFile {
    file: File,
}

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        // fdatasync(2) writes the length too, since without it the new bytes could not be read.
        self.file.sync_data()
    }

    fn set_len(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn forget(&mut self) -> io::Result<()> {
        rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed)?;
        Ok(())
    }
}

/// A directory of directories on a real file system.
#[derive(Clone, Debug)]
pub struct RealVolume {
    disk: RealDisk,
}

impl RealVolume {
    /// Opens the directory `path`; makes it, durably, if there is none.
    ///
    /// # Errors
    /// If it cannot be made, or is no directory.
    pub fn open(path: impl AsRef<Path>) -> io::Result<RealVolume> {
        Ok(RealVolume { disk: RealDisk::open(path)? })
    }
}

impl Volume for RealVolume {
    type Disk = RealDisk;

    fn directories(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.disk.path())? {
            let entry = entry?;
            if let (true, Ok(name)) = (entry.file_type()?.is_dir(), entry.file_name().into_string()) {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn directory(&self, name: &str) -> io::Result<RealDisk> {
        RealDisk::open(self.disk.file(name))
    }

    fn remove_directory(&self, name: &str) -> io::Result<()> {
        fs::remove_dir_all(self.disk.file(name))?;
        self.disk.sync_directory()
    }
}
