//! What the program under test holds.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    directory::Directory,
    faults::{Fault, Operation},
    inode::Inode,
    state::{State, Verdict},
};
use crate::DiskFile;

/// The state as all handles share it.
#[derive(Clone, Debug)]
pub(super) struct Shared(Arc<Mutex<State>>);

impl Shared {
    pub(super) fn new(state: State) -> Shared {
        Shared(Arc::new(Mutex::new(state)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A test that panics elsewhere should fail with its own message.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn crashed() -> io::Error {
    io::Error::other("the simulated machine crashes")
}

/// A directory of directories on a simulated machine.
#[derive(Clone, Debug)]
pub struct Volume {
    shared: Shared,
    life: u64,
    prefix: String,
}

impl Volume {
    pub(super) fn new(shared: Shared, path: &str) -> Volume {
        let life = shared.lock().life;
        Volume { shared, life, prefix: format!("{path}/") }
    }
}

impl crate::Volume for Volume {
    type Disk = Disk;

    fn directories(&self) -> io::Result<Vec<String>> {
        let mut state = self.shared.lock();
        state.whole(self.life, Operation::List)?.1?;
        let names = state.directories.keys().filter_map(|path| path.strip_prefix(&self.prefix));
        Ok(names.filter(|name| !name.contains('/')).map(str::to_owned).collect())
    }

    fn directory(&self, name: &str) -> io::Result<Disk> {
        let mut state = self.shared.lock();
        let path = format!("{}{name}", self.prefix);
        let there = state.directories.contains_key(&path);
        let (happens, answer) = state.whole(self.life, if there { Operation::Open } else { Operation::Create })?;
        if happens {
            state.directories.entry(path.clone()).or_default();
        }
        answer?;
        Ok(Disk { shared: self.shared.clone(), life: self.life, path })
    }

    fn remove_directory(&self, name: &str) -> io::Result<()> {
        let mut state = self.shared.lock();
        let path = format!("{}{name}", self.prefix);
        if !state.directories.contains_key(&path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let (happens, answer) = state.whole(self.life, Operation::Remove)?;
        if happens {
            state.directories.remove(&path);
        } else if state.random.coin() {
            // It stopped half way: some files are gone.
            let names: Vec<String> = state.directories[&path].now.keys().cloned().collect();
            let gone = state.random.index(names.len() + 1);
            if let Some(directory) = state.directories.get_mut(&path) {
                names[..gone].iter().for_each(|name| directory.remove(name));
            }
        }
        answer
    }
}

/// One directory of a simulated machine.
#[derive(Clone, Debug)]
pub struct Disk {
    shared: Shared,
    life: u64,
    path: String,
}

impl Disk {
    /// Opens `path` without a step; makes it if there is none.
    pub(super) fn new(shared: Shared, path: &str) -> Disk {
        let mut state = shared.lock();
        state.directories.entry(path.to_owned()).or_default();
        let life = state.life;
        drop(state);
        Disk { shared, life, path: path.to_owned() }
    }

    fn directory<'a>(&self, state: &'a mut State) -> io::Result<&'a mut Directory> {
        state.check_life(self.life)?;
        state.directories.get_mut(&self.path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn file(&self, inode: u64) -> File {
        File { shared: self.shared.clone(), life: self.life, inode }
    }
}

impl crate::Disk for Disk {
    type File = File;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut state = self.shared.lock();
        self.directory(&mut state)?;
        state.whole(self.life, Operation::List)?.1?;
        let mut names: Vec<String> = self.directory(&mut state)?.now.keys().cloned().collect();
        // No file system promises an order.
        for place in (1..names.len()).rev() {
            let other = state.random.index(place + 1);
            names.swap(place, other);
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<File> {
        let mut state = self.shared.lock();
        if self.directory(&mut state)?.now.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let (happens, answer) = state.whole(self.life, Operation::Create)?;
        let inode = state.new_inode();
        if happens {
            state.inodes.insert(inode, Inode::default());
            if let Some(directory) = state.directories.get_mut(&self.path) {
                directory.create(name, inode);
            }
        }
        answer?;
        Ok(self.file(inode))
    }

    fn open(&self, name: &str) -> io::Result<File> {
        let mut state = self.shared.lock();
        let inode = self.directory(&mut state)?.now.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        state.whole(self.life, Operation::Open)?.1?;
        Ok(self.file(inode))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.shared.lock();
        if !self.directory(&mut state)?.now.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let (happens, answer) = state.whole(self.life, Operation::Remove)?;
        if happens && let Some(directory) = state.directories.get_mut(&self.path) {
            directory.remove(name);
        }
        answer
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.shared.lock();
        if !self.directory(&mut state)?.now.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let (happens, answer) = state.whole(self.life, Operation::Rename)?;
        if happens && let Some(directory) = state.directories.get_mut(&self.path) {
            directory.rename(from, to);
        }
        answer
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut state = self.shared.lock();
        self.directory(&mut state)?;
        let (happens, answer) = state.whole(self.life, Operation::SyncDirectory)?;
        if happens && let Some(directory) = state.directories.get_mut(&self.path) {
            directory.sync();
        }
        answer
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let state = self.shared.lock();
        state.check_life(self.life)?;
        Ok(state.free())
    }
}

/// An open file of a simulated machine.
#[derive(Debug)]
pub struct File {
    shared: Shared,
    life: u64,
    inode: u64,
}

impl File {
    fn inode<'a>(&self, state: &'a mut State) -> io::Result<&'a mut Inode> {
        state.inodes.get_mut(&self.inode).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn position(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

impl DiskFile for File {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.shared.lock();
        state.check_life(self.life)?;
        Ok(self.inode(&mut state)?.now.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.shared.lock();
        let verdict = state.step(self.life, Operation::Read)?;
        let left = self.inode(&mut state)?.now.len().saturating_sub(position(offset));
        let mut count = left.min(buffer.len());
        match verdict {
            Verdict::Succeeds => {}
            Verdict::Fails(Fault::Short) => count = count.min(1 + state.random.index(count)),
            Verdict::Fails(fault) => return Err(fault.error()),
            Verdict::Crashes => return Err(crashed()),
        }
        if count > 0 {
            let start = position(offset);
            buffer[..count].copy_from_slice(&self.inode(&mut state)?.now[start..start + count]);
        }
        Ok(count)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut state = self.shared.lock();
        let verdict = state.step(self.life, Operation::Write)?;
        let room = state.room(self.inode, offset, bytes.len());
        let some = state.random.index(bytes.len() + 1);
        let (count, answer) = match verdict {
            Verdict::Succeeds if room == 0 && !bytes.is_empty() => {
                state.injected.no_space += 1;
                (0, Err(Fault::NoSpace.error()))
            }
            Verdict::Succeeds => {
                state.injected.short_writes += u64::from(room < bytes.len());
                (room, Ok(room))
            }
            Verdict::Fails(Fault::Short) => (some.max(1).min(room), Ok(some.max(1).min(room))),
            Verdict::Fails(Fault::NoSpace) => (0, Err(Fault::NoSpace.error())),
            Verdict::Fails(Fault::Error) => (some.min(room), Err(Fault::Error.error())),
            Verdict::Crashes => (some.min(room), Err(crashed())),
        };
        self.inode(&mut state)?.write(position(offset), &bytes[..count]);
        answer
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.shared.lock();
        let (happens, answer) = state.whole(self.life, Operation::Sync)?;
        let State { random, injected, inodes, down, .. } = &mut *state;
        if let Some(inode) = inodes.get_mut(&self.inode) {
            if happens {
                inode.sync();
            } else if !*down {
                inode.fail_sync(random, injected);
            }
        }
        answer
    }

    fn set_len(&mut self, length: u64) -> io::Result<()> {
        let mut state = self.shared.lock();
        let (happens, answer) = state.whole(self.life, Operation::SetLength)?;
        if happens {
            self.inode(&mut state)?.set_length(position(length));
        }
        answer
    }

    fn forget(&mut self) -> io::Result<()> {
        let mut state = self.shared.lock();
        state.check_life(self.life)?;
        self.inode(&mut state)?.forget();
        Ok(())
    }
}
