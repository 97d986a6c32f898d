//! What the test holds.

use std::collections::BTreeMap;

use super::{
    directory::Directory,
    disk::{Disk, Shared, Volume},
    faults::{Crash, Fault, Faults, Injected, Operation},
    inode::Inode,
    state::State,
};

/// A simulated machine's disk with a plan of what goes wrong. A clone is another handle to the same machine.
#[derive(Clone, Debug)]
pub struct Machine {
    shared: Shared,
}

/// A bit that was flipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flip {
    /// The file's directory.
    pub directory: String,
    /// The file.
    pub name: String,
    /// Offset of the byte.
    pub offset: u64,
}

/// The files of a machine at one moment: a backup, or the disk of a clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    directories: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
}

impl Machine {
    /// A machine with an empty disk of 2^40 bytes, on which nothing goes wrong until it is asked to.
    #[must_use]
    pub fn new(seed: u64) -> Machine {
        Machine { shared: Shared::new(State::new(seed)) }
    }

    /// A machine whose disk is a copy of another's.
    #[must_use]
    pub fn from_image(seed: u64, image: &Image) -> Machine {
        let machine = Machine::new(seed);
        machine.load(image);
        machine
    }

    /// The directory `path`, for the program that runs now; made, durably and without a step, if there is none.
    #[must_use]
    pub fn disk(&self, path: &str) -> Disk {
        Disk::new(self.shared.clone(), path)
    }

    /// The directories right below `path`, for the program that runs now.
    #[must_use]
    pub fn volume(&self, path: &str) -> Volume {
        Volume::new(self.shared.clone(), path)
    }

    /// From now on things go wrong by themselves as often as this says.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.lock().faults = faults;
    }

    /// The next operation of this kind fails in this way; several requests are served in order. A restart forgets them.
    pub fn request(&self, operation: Operation, fault: Fault) {
        self.shared.lock().requested.push_back((operation, fault));
    }

    /// The machine crashes at the step that comes after `steps` more: during it, so that it may or may not have
    /// happened.
    pub fn crash_after(&self, steps: u64) {
        let mut state = self.shared.lock();
        state.crash_at = Some(state.steps + 1 + steps);
    }

    /// Forgets every fault that was requested and the crash that was planned.
    pub fn forget_plans(&self) {
        let mut state = self.shared.lock();
        state.requested.clear();
        state.crash_at = None;
    }

    /// The machine crashes now: everything fails until [`Self::restart`].
    pub fn crash(&self) {
        let mut state = self.shared.lock();
        state.down = true;
        state.crash_at = None;
    }

    /// Whether it has crashed and not restarted.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.shared.lock().down
    }

    /// Starts the machine, or only the process, again, crashed or not. Handles of before stay dead.
    pub fn restart(&self, crash: Crash) {
        self.shared.lock().restart(crash);
    }

    /// Steps since the beginning.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.shared.lock().steps
    }

    /// What went wrong since the beginning.
    #[must_use]
    pub fn injected(&self) -> Injected {
        self.shared.lock().injected
    }

    /// Sets the size of the disk in bytes. It may be less than is used: then nothing can be written.
    pub fn set_capacity(&self, bytes: u64) {
        self.shared.lock().capacity = bytes;
    }

    /// Sets the size of the disk so that `bytes` are free.
    pub fn set_free(&self, bytes: u64) {
        let mut state = self.shared.lock();
        state.capacity = state.used() + bytes;
    }

    /// Bytes in use, in blocks of 4096.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.shared.lock().used()
    }

    /// Flips a random bit among all synced bytes. None if there are none.
    #[must_use = "None says that nothing was damaged"]
    pub fn flip_synced(&self) -> Option<Flip> {
        let mut state = self.shared.lock();
        let total: u64 = named(&state).map(|(_, _, inode)| inode.disk.len() as u64).sum();
        let mut place = if total == 0 { return None } else { state.random.below(total) };
        let mask = 1 << state.random.below(8);
        let (directory, name) = named(&state).find_map(|(directory, name, inode)| {
            let length = inode.disk.len() as u64;
            let here = place < length;
            place -= if here { 0 } else { length };
            here.then(|| (directory.to_owned(), name.to_owned()))
        })?;
        drop(state);
        self.damage(&directory, &name, place, mask).then_some(Flip { directory, name, offset: place })
    }

    /// Flips the bits of `mask` in one synced byte. False if there is no such byte.
    #[must_use = "false says that nothing was damaged"]
    pub fn damage(&self, directory: &str, name: &str, offset: u64, mask: u8) -> bool {
        let mut state = self.shared.lock();
        let Some(&inode) = state.directories.get(directory).and_then(|directory| directory.now.get(name)) else {
            return false;
        };
        let Some(inode) = state.inodes.get_mut(&inode) else { return false };
        let Ok(offset) = usize::try_from(offset) else { return false };
        let Some(byte) = inode.disk.get_mut(offset) else { return false };
        let was = *byte;
        *byte ^= mask;
        // What was written over it in memory is not what is damaged.
        if let Some(byte) = inode.now.get_mut(offset).filter(|byte| **byte == was) {
            *byte ^= mask;
        }
        state.injected.flipped_synced += 1;
        true
    }

    /// All files as reads show them.
    #[must_use]
    pub fn image(&self) -> Image {
        let state = self.shared.lock();
        let mut directories: BTreeMap<String, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
        for path in state.directories.keys() {
            directories.insert(path.clone(), BTreeMap::new());
        }
        for (path, name, inode) in named(&state) {
            directories.entry(path.to_owned()).or_default().insert(name.to_owned(), inode.now.clone());
        }
        Image { directories }
    }

    /// Replaces all files by those of an image, as a restored backup does. Handles of before are dead.
    pub fn load(&self, image: &Image) {
        let mut state = self.shared.lock();
        state.life += 1;
        state.directories.clear();
        state.inodes.clear();
        for (path, files) in &image.directories {
            let mut names = BTreeMap::new();
            for (name, bytes) in files {
                let inode = state.new_inode();
                state.inodes.insert(inode, Inode::synced(bytes.clone()));
                names.insert(name.clone(), inode);
            }
            state.directories.insert(path.clone(), Directory::synced(names));
        }
    }
}

impl Image {
    /// The files of one directory, by name.
    #[must_use]
    pub fn files(&self, directory: &str) -> Option<&BTreeMap<String, Vec<u8>>> {
        self.directories.get(directory)
    }

    /// The files of one directory, to be changed. Makes the directory if there is none.
    pub fn files_mut(&mut self, directory: &str) -> &mut BTreeMap<String, Vec<u8>> {
        self.directories.entry(directory.to_owned()).or_default()
    }
}

/// Every file that has a name, in the order of directories and names.
fn named(state: &State) -> impl Iterator<Item = (&str, &str, &Inode)> {
    state.directories.iter().flat_map(|(path, directory)| {
        directory
            .now
            .iter()
            .filter_map(|(name, inode)| state.inodes.get(inode).map(|inode| (path.as_str(), name.as_str(), inode)))
    })
}
