//! Several journals in one directory: each epoch's files begin with the epoch's name.

use std::io;

use martlet_journal::Disk;

/// What the name of the file begins with that says that an epoch's batches live in another one now.
const MOVED: &str = "moved-";
/// What the names of segments end in that the journal has moved aside.
const DAMAGED: &str = ".damaged";
/// Damaged segments of all epochs that are kept to be looked at.
const KEPT_DAMAGED: usize = 8;

/// Which life of the spool, and its place among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EpochName {
    /// Place in the order in which epochs began.
    pub(super) ordinal: u32,
    /// The epoch of the stream.
    pub(super) epoch: u64,
    /// The epoch whose batches were moved into this one, if it began so.
    pub(super) source: Option<u64>,
}

impl EpochName {
    /// What its files' names begin with.
    pub(super) fn prefix(self) -> String {
        match self.source {
            None => format!("{:08}-{:016x}.", self.ordinal, self.epoch),
            Some(source) => format!("{:08}-{:016x}-{source:016x}.", self.ordinal, self.epoch),
        }
    }

    /// The epoch that a file belongs to. None if it is not one of ours.
    pub(super) fn of(file: &str) -> Option<EpochName> {
        let (name, _) = file.split_once('.')?;
        let mut parts = name.split('-');
        let ordinal = parts.next()?.parse().ok()?;
        let mut number = || parts.next().map(|hex| u64::from_str_radix(hex, 16));
        let (epoch, source) = (number()?.ok()?, number().transpose().ok()?);
        let name = EpochName { ordinal, epoch, source };
        // Spelt exactly as we spell it, so that each epoch has one name.
        file.starts_with(&name.prefix()).then_some(name)
    }
}

/// The name of the file, among an epoch's, that says that its batches live in epoch `new` now.
pub(super) fn moved_to(new: u64) -> String {
    format!("{MOVED}{new:016x}")
}

/// Ends what a crash left half done of moving batches to a new epoch: of an epoch and what was made of it, one stays.
pub(super) fn finish_moves(disk: &impl Disk) -> io::Result<()> {
    let present = epochs(disk)?;
    for source in &present {
        let files = EpochDisk::new(disk.clone(), *source);
        let marks: Vec<String> = files.list()?.into_iter().filter(|file| file.starts_with(MOVED)).collect();
        let made = present.iter().filter(|it| it.source == Some(source.epoch));
        // Whoever is marked was complete before the mark was made. The others were never sent.
        let valid = made.clone().rfind(|it| marks.contains(&moved_to(it.epoch)));
        for name in made.filter(|&it| Some(it) != valid) {
            EpochDisk::new(disk.clone(), *name).remove_all()?;
        }
        if !marks.is_empty() {
            files.remove_all()?;
        }
    }
    Ok(())
}

/// The epochs that have files in a directory, oldest first.
pub(super) fn epochs(disk: &impl Disk) -> io::Result<Vec<EpochName>> {
    let files = disk.list()?;
    let present = files.iter().filter(|file| !file.ends_with(DAMAGED));
    let mut names: Vec<EpochName> = present.filter_map(|file| EpochName::of(file)).collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Removes all but the newest of the damaged segments.
pub(super) fn prune_damaged(disk: &impl Disk) -> io::Result<()> {
    let mut damaged = disk.list()?;
    damaged.retain(|file| file.ends_with(DAMAGED) && EpochName::of(file).is_some());
    damaged.sort_unstable();
    let surplus = damaged.len().saturating_sub(KEPT_DAMAGED);
    damaged[..surplus].iter().try_for_each(|file| disk.remove(file))
}

/// One epoch's files as a directory of their own.
#[derive(Clone, Debug)]
pub(super) struct EpochDisk<D> {
    disk: D,
    prefix: String,
}

impl<D: Disk> EpochDisk<D> {
    pub(super) fn new(disk: D, name: EpochName) -> EpochDisk<D> {
        EpochDisk { disk, prefix: name.prefix() }
    }

    /// Removes the epoch: its segments, then the mark that it is moved. A crash half way leaves what can be removed again.
    pub(super) fn remove_all(&self) -> io::Result<()> {
        let mut files = self.list()?;
        files.retain(|file| !file.ends_with(DAMAGED));
        files.sort_unstable();
        let (marks, segments): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| file.starts_with(MOVED));
        for files in [segments, marks] {
            for file in &files {
                self.remove(file)?;
            }
            if !files.is_empty() {
                self.sync_directory()?;
            }
        }
        Ok(())
    }

    fn file(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

impl<D: Disk> Disk for EpochDisk<D> {
    type File = D::File;

    fn list(&self) -> io::Result<Vec<String>> {
        let files = self.disk.list()?;
        Ok(files.iter().filter_map(|file| file.strip_prefix(&self.prefix)).map(str::to_owned).collect())
    }

    fn create(&self, name: &str) -> io::Result<D::File> {
        self.disk.create(&self.file(name))
    }

    fn open(&self, name: &str) -> io::Result<D::File> {
        self.disk.open(&self.file(name))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(&self.file(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(&self.file(from), &self.file(to))
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.disk.sync_directory()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemoryDisk;
    use super::*;

    #[test]
    fn a_name_comes_back_and_nothing_else_is_one() {
        let plain = EpochName { ordinal: 7, epoch: 0xabc, source: None };
        let moved = EpochName { source: Some(3), ..plain };
        for name in [plain, moved] {
            assert_eq!(EpochName::of(&format!("{}x.segment", name.prefix())), Some(name));
        }
        for file in ["", "lost+found", "7-abc.x", "00000007-0000000000000ABC.x", "00000007-0000000000000abc", "x-y-z.w"]
        {
            assert_eq!(EpochName::of(file), None, "{file}");
        }
    }

    #[test]
    fn a_move_is_finished_or_undone() {
        let name = |ordinal, epoch, source| EpochName { ordinal, epoch, source };
        let (old, first, second) = (name(1, 1, None), name(2, 2, Some(1)), name(3, 3, Some(1)));
        let run = |marks: &[u64]| {
            let disk = MemoryDisk::default();
            for name in [old, first, second] {
                EpochDisk::new(disk.clone(), name).create("segment").unwrap();
            }
            for &mark in marks {
                EpochDisk::new(disk.clone(), old).create(&moved_to(mark)).unwrap();
            }
            finish_moves(&disk).unwrap();
            epochs(&disk).unwrap()
        };
        assert_eq!(run(&[]), [old]);
        assert_eq!(run(&[2]), [first]);
        assert_eq!(run(&[3, 2]), [second]);
        // What was made was sent and deleted meanwhile.
        assert_eq!(run(&[9]), []);
    }

    #[test]
    fn epochs_do_not_see_each_other() {
        let disk = MemoryDisk::default();
        let names = [1, 2].map(|ordinal| EpochName { ordinal, epoch: 9, source: None });
        let [a, b] = names.map(|name| EpochDisk::new(disk.clone(), name));
        for file in ["1", &moved_to(9), "2.damaged"] {
            a.create(file).unwrap();
        }
        b.create("1").unwrap();
        assert_eq!((a.list().unwrap().len(), b.list().unwrap()), (3, vec!["1".to_owned()]));
        assert_eq!(epochs(&disk).unwrap(), names);
        a.remove_all().unwrap();
        assert_eq!((a.list().unwrap(), epochs(&disk).unwrap()), (vec!["2.damaged".to_owned()], names[1..].to_vec()));
        for n in 0..20 {
            b.create(&format!("{n:02}.damaged")).unwrap();
        }
        prune_damaged(&disk).unwrap();
        assert_eq!(a.list().unwrap(), [""; 0]);
        assert_eq!(b.list().unwrap().len(), 1 + KEPT_DAMAGED);
    }
}
