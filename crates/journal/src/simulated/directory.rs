//! A simulated directory: names now, names on the disk, and the changes between.

use std::collections::BTreeMap;

use super::{faults::Injected, random::Random};

#[derive(Clone, Debug)]
enum Change {
    Create(String, u64),
    Remove(String),
    Rename(String, String, u64),
}

/// Names and the numbers of their files.
type Names = BTreeMap<String, u64>;

#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    pub(super) now: Names,
    disk: Names,
    pending: Vec<Change>,
}

impl Directory {
    /// A directory that is on the disk as a whole.
    pub(super) fn synced(names: Names) -> Directory {
        Directory { now: names.clone(), disk: names, pending: Vec::new() }
    }

    pub(super) fn create(&mut self, name: &str, inode: u64) {
        self.now.insert(name.to_owned(), inode);
        self.pending.push(Change::Create(name.to_owned(), inode));
    }

    /// The caller has made sure that the name is there.
    pub(super) fn remove(&mut self, name: &str) {
        self.now.remove(name);
        self.pending.push(Change::Remove(name.to_owned()));
    }

    /// The caller has made sure that `from` is there.
    pub(super) fn rename(&mut self, from: &str, to: &str) {
        if let Some(inode) = self.now.remove(from) {
            self.now.insert(to.to_owned(), inode);
            self.pending.push(Change::Rename(from.to_owned(), to.to_owned(), inode));
        }
    }

    pub(super) fn sync(&mut self) {
        self.disk.clone_from(&self.now);
        self.pending.clear();
    }

    /// All files that are or may again be reached.
    pub(super) fn inodes(&self) -> impl Iterator<Item = u64> + '_ {
        // A file that was made and removed, neither durably, may come back.
        let pending = self.pending.iter().filter_map(|change| match change {
            Change::Create(_, inode) | Change::Rename(_, _, inode) => Some(*inode),
            Change::Remove(_) => None,
        });
        self.now.values().chain(self.disk.values()).copied().chain(pending)
    }

    /// The power goes: the changes up to some point survive, or any of them.
    pub(super) fn lose_power(&mut self, random: &mut Random, injected: &mut Injected) {
        let pending = std::mem::take(&mut self.pending);
        let in_order = random.coin();
        let kept = random.index(pending.len() + 1);
        for (place, change) in pending.into_iter().enumerate() {
            if !(if in_order { place < kept } else { random.coin() }) {
                injected.lost_directory_changes += 1;
                continue;
            }
            match change {
                Change::Create(name, inode) => {
                    self.disk.insert(name, inode);
                }
                Change::Remove(name) => {
                    self.disk.remove(&name);
                }
                Change::Rename(from, to, inode) => {
                    self.disk.remove(&from);
                    self.disk.insert(to, inode);
                }
            }
        }
        self.now.clone_from(&self.disk);
    }
}
