//! A simulated file: what reads show, what is on the disk, and what lies between.

use super::{
    faults::{Faults, Injected},
    random::Random,
};

/// What a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;

/// A change that is not on the disk yet.
#[derive(Clone, Debug)]
enum Change {
    Bytes { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    /// What reads show.
    pub(super) now: Vec<u8>,
    /// What a loss of power leaves for certain.
    pub(super) disk: Vec<u8>,
    pending: Vec<Change>,
}

impl Inode {
    /// A file that is on the disk as a whole.
    pub(super) fn synced(bytes: Vec<u8>) -> Inode {
        Inode { now: bytes.clone(), disk: bytes, pending: Vec::new() }
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        if !bytes.is_empty() {
            put(&mut self.now, offset, bytes, None);
            self.pending.push(Change::Bytes { offset, bytes: bytes.to_vec() });
        }
    }

    pub(super) fn set_length(&mut self, length: usize) {
        self.now.resize(length, 0);
        self.pending.push(Change::Length(length));
    }

    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            apply(&mut self.disk, &change);
        }
    }

    /// A sync that fails: each change is written, lost, or (seldom) still to be written. Reads show them all.
    pub(super) fn fail_sync(&mut self, random: &mut Random, injected: &mut Injected) {
        let mut dirty = Vec::new();
        let keeps_dirty = random.below(4) == 0;
        for change in std::mem::take(&mut self.pending) {
            if keeps_dirty {
                dirty.push(change);
            } else if random.coin() {
                apply(&mut self.disk, &change);
            } else {
                injected.lost_writes += 1;
            }
        }
        self.pending = dirty;
    }

    /// Drops what is in memory only, except for what a sync would still write.
    pub(super) fn forget(&mut self) {
        self.now.clone_from(&self.disk);
        for change in &self.pending {
            apply(&mut self.now, change);
        }
    }

    /// The power goes.
    pub(super) fn lose_power(&mut self, faults: &Faults, random: &mut Random, injected: &mut Injected) {
        let pending = std::mem::take(&mut self.pending);
        // Every file fares in its own way: everything is lost, the order was kept up to a point, or anything goes.
        let way = random.below(3);
        let kept = random.index(pending.len() + 1);
        let mut lost_before = false;
        for (place, change) in pending.into_iter().enumerate() {
            let keep = match way {
                0 => false,
                1 => place < kept,
                _ => random.coin(),
            };
            let torn = match way {
                0 => false,
                1 => place == kept && random.coin(),
                _ => !keep && random.coin(),
            };
            if !keep && !torn {
                injected.lost_writes += 1;
                lost_before = true;
                continue;
            }
            injected.reordered_writes += u64::from(lost_before);
            let Change::Bytes { offset, mut bytes } = change else {
                apply(&mut self.disk, &change);
                continue;
            };
            if random.happens(faults.flip_unsynced) {
                let place = random.index(bytes.len());
                bytes[place] ^= 1 << random.below(8);
                injected.flipped_unsynced += 1;
            }
            // Space that was given to the file but not written holds zeros, or whatever was there before.
            let filler = (random.below(4) == 0).then_some(&mut *random);
            if keep {
                put(&mut self.disk, offset, &bytes, filler);
            } else {
                injected.torn_writes += 1;
                lost_before = true;
                tear(&mut self.disk, offset, &bytes, random);
            }
        }
        self.now.clone_from(&self.disk);
    }
}

/// Writes some of the sectors of a write: those up to a point, or any.
fn tear(disk: &mut Vec<u8>, offset: usize, bytes: &[u8], random: &mut Random) {
    let until = random.coin().then(|| random.index(bytes.len() + 1));
    let mut start = 0;
    while start < bytes.len() {
        let sector_end = (offset + start) / SECTOR * SECTOR + SECTOR - offset;
        let end = sector_end.min(bytes.len());
        if until.map_or_else(|| random.coin(), |until| end <= until) {
            put(disk, offset + start, &bytes[start..end], None);
        }
        start = end;
    }
}

fn apply(target: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Bytes { offset, bytes } => put(target, *offset, bytes, None),
        Change::Length(length) => target.resize(*length, 0),
    }
}

/// Writes `bytes` at `offset`; what lies between the old end and `offset` becomes zero or random.
fn put(target: &mut Vec<u8>, offset: usize, bytes: &[u8], filler: Option<&mut Random>) {
    let end = offset + bytes.len();
    let old = target.len();
    if old < end {
        target.resize(end, 0);
    }
    if let Some(random) = filler
        && old < offset
    {
        for byte in &mut target[old..offset] {
            *byte = random.next().to_le_bytes()[0];
        }
    }
    target[offset..end].copy_from_slice(bytes);
}
