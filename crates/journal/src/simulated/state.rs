//! The machine's state, and the decision what happens to each operation.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
};

use super::{
    directory::Directory,
    faults::{Crash, Fault, Faults, Injected, Operation},
    inode::Inode,
    random::Random,
};

/// What a file takes at least, in bytes, and in what steps.
const BLOCK: u64 = 4096;

/// What happens to one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Succeeds,
    Fails(Fault),
    /// The machine stops during it.
    Crashes,
}

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) random: Random,
    pub(super) faults: Faults,
    pub(super) requested: VecDeque<(Operation, Fault)>,
    pub(super) injected: Injected,
    pub(super) steps: u64,
    pub(super) crash_at: Option<u64>,
    pub(super) down: bool,
    /// Which life of the machine this is. Handles of earlier ones are dead.
    pub(super) life: u64,
    pub(super) capacity: u64,
    pub(super) directories: BTreeMap<String, Directory>,
    pub(super) inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
}

impl State {
    pub(super) fn new(seed: u64) -> State {
        State {
            random: Random::new(seed),
            faults: Faults::default(),
            requested: VecDeque::new(),
            injected: Injected::default(),
            steps: 0,
            crash_at: None,
            down: false,
            life: 0,
            capacity: 1 << 40,
            directories: BTreeMap::new(),
            inodes: BTreeMap::new(),
            next_inode: 0,
        }
    }

    pub(super) fn check_life(&self, life: u64) -> io::Result<()> {
        if self.down || life != self.life {
            return Err(io::Error::other("the simulated machine has crashed"));
        }
        Ok(())
    }

    /// Counts a step and decides what happens to it. Counts faults, too, except for crashes.
    pub(super) fn step(&mut self, life: u64, operation: Operation) -> io::Result<Verdict> {
        self.check_life(life)?;
        self.steps += 1;
        if self.crash_at.is_some_and(|step| step <= self.steps) {
            self.crash_at = None;
            self.down = true;
            return Ok(Verdict::Crashes);
        }
        let fault = match self.requested.iter().position(|&(requested, _)| requested == operation) {
            Some(place) => self.requested.remove(place).map(|(_, fault)| fault),
            None => self.chance(operation),
        };
        let Some(fault) = fault else { return Ok(Verdict::Succeeds) };
        Ok(if self.count(operation, fault) { Verdict::Fails(fault) } else { Verdict::Succeeds })
    }

    fn chance(&mut self, operation: Operation) -> Option<Fault> {
        let Faults { read_error, short_read, write_error, short_write, no_space, sync_error, directory_error, .. } =
            self.faults;
        let chances = match operation {
            Operation::Read => [(read_error, Fault::Error), (short_read, Fault::Short), (0, Fault::NoSpace)],
            Operation::Write => [(write_error, Fault::Error), (short_write, Fault::Short), (no_space, Fault::NoSpace)],
            Operation::SetLength => [(write_error, Fault::Error), (0, Fault::Short), (0, Fault::NoSpace)],
            Operation::Sync => [(sync_error, Fault::Error), (0, Fault::Short), (0, Fault::NoSpace)],
            Operation::Create => [(directory_error, Fault::Error), (0, Fault::Short), (no_space, Fault::NoSpace)],
            Operation::List | Operation::Open | Operation::Remove | Operation::Rename | Operation::SyncDirectory => {
                [(directory_error, Fault::Error), (0, Fault::Short), (0, Fault::NoSpace)]
            }
        };
        chances.into_iter().find(|&(per_million, _)| self.random.happens(per_million)).map(|(_, fault)| fault)
    }

    /// Counts a fault; false if the operation cannot fail in this way.
    fn count(&mut self, operation: Operation, fault: Fault) -> bool {
        let injected = &mut self.injected;
        let counter = match (fault, operation) {
            (Fault::NoSpace, _) => &mut injected.no_space,
            (Fault::Short, Operation::Read) => &mut injected.short_reads,
            (Fault::Short, Operation::Write) => &mut injected.short_writes,
            (Fault::Short, _) => return false,
            (Fault::Error, Operation::Read) => &mut injected.read_errors,
            (Fault::Error, Operation::Write | Operation::SetLength) => &mut injected.write_errors,
            (Fault::Error, Operation::Sync) => &mut injected.sync_errors,
            (Fault::Error, _) => &mut injected.directory_errors,
        };
        *counter += 1;
        true
    }

    /// For an operation that happens whole or not at all: whether it happens, and what its caller hears.
    pub(super) fn whole(&mut self, life: u64, operation: Operation) -> io::Result<(bool, io::Result<()>)> {
        Ok(match self.step(life, operation)? {
            Verdict::Succeeds => (true, Ok(())),
            Verdict::Fails(fault) => (false, Err(fault.error())),
            Verdict::Crashes => (self.random.coin(), Err(io::Error::other("the simulated machine crashes"))),
        })
    }

    pub(super) const fn new_inode(&mut self) -> u64 {
        self.next_inode += 1;
        self.next_inode
    }

    /// Blocks in use, in bytes. A file without a name takes none.
    pub(super) fn used(&self) -> u64 {
        let named = self.directories.values().flat_map(|directory| directory.now.values());
        let files = named.filter_map(|inode| self.inodes.get(inode));
        files.map(|file| (file.now.len() as u64).div_ceil(BLOCK) * BLOCK).sum()
    }

    pub(super) fn free(&self) -> u64 {
        self.capacity.saturating_sub(self.used())
    }

    /// How many of `count` bytes at `offset` there is room for.
    pub(super) fn room(&self, inode: u64, offset: u64, count: usize) -> usize {
        let length = self.inodes.get(&inode).map_or(0, |file| file.now.len() as u64);
        let reach = length.div_ceil(BLOCK) * BLOCK + self.free() / BLOCK * BLOCK;
        count.min(usize::try_from(reach.saturating_sub(offset)).unwrap_or(usize::MAX))
    }

    pub(super) fn restart(&mut self, crash: Crash) {
        self.life += 1;
        self.down = false;
        self.crash_at = None;
        self.requested.clear();
        match crash {
            Crash::Process => self.injected.process_crashes += 1,
            Crash::Power => {
                self.injected.power_losses += 1;
                for inode in self.inodes.values_mut() {
                    inode.lose_power(&self.faults, &mut self.random, &mut self.injected);
                }
                for directory in self.directories.values_mut() {
                    directory.lose_power(&mut self.random, &mut self.injected);
                }
            }
        }
        let reached: BTreeSet<u64> = self.directories.values().flat_map(Directory::inodes).collect();
        self.inodes.retain(|inode, _| reached.contains(inode));
    }
}
