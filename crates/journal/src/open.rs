//! Recovery: what of a directory is a journal.

use crate::{
    Disk, DiskFile, Journal, OpenError, Settings,
    index::{Index, Segment},
    scan::Scanner,
    v1::{DAMAGED_SUFFIX, HEADER_LENGTH, SegmentId},
};

/// How many segments that were moved aside are kept to be looked at; beyond, the oldest are removed.
const QUARANTINE_SEGMENTS: usize = 4;
const DIRECTORY: &str = "the directory";

/// What opening a journal found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Segments that are kept.
    pub segments: u64,
    /// Intact records, each of which was visited.
    pub records: u64,
    /// Numbers from `first()` to `next()`, or from the first one of a segment moved aside this time, that no intact
    /// record has.
    pub missing: u64,
    /// Intact records that do not count: a failed sync took them back.
    pub superseded: u64,
    /// Stretches of bytes that belong to no intact record and cost records.
    pub damaged_ranges: u64,
    /// Their bytes, headers of segments included.
    pub damaged_bytes: u64,
    /// Bytes behind the last record of a segment that cost no record below `next()`: what a crash left half written.
    pub torn_bytes: u64,
    /// Segments without any intact record, moved aside this time.
    pub quarantined: u64,
    /// Files that are not segments. They are left alone.
    pub foreign: u64,
}

/// A file whose name is a segment's.
struct Candidate {
    id: SegmentId,
    /// Moved aside by an earlier opening: only its name counts.
    aside: bool,
    /// Records from here on stand in later segments.
    limit: u64,
}

/// What scanning one segment found.
#[derive(Default)]
struct Scanned {
    next: u64,
    end: u64,
    bytes: u64,
    records: u64,
    superseded: u64,
    header: bool,
}

pub(crate) fn open<D: Disk>(
    disk: D,
    settings: Settings,
    visit: &mut dyn FnMut(u64, &[u8]),
) -> Result<(Journal<D>, Recovery), OpenError> {
    // What a crashed process created, removed or renamed must not change any more while it is built upon.
    disk.sync_directory().map_err(OpenError::io("sync", DIRECTORY))?;
    let mut recovery = Recovery::default();
    let candidates = candidates(&disk, &mut recovery)?;
    let mut index = Index::default();
    let mut next = 0;
    let (mut empty, mut unreadable) = (Vec::new(), Vec::new());
    let last = candidates.iter().rposition(|candidate| !candidate.aside);
    for (place, candidate) in candidates.iter().enumerate() {
        if candidate.aside {
            next = candidate.id.first;
            continue;
        }
        if candidate.id.first > candidate.limit {
            // A later segment never begins below an earlier one: somebody put this file here.
            recovery.foreign += 1;
            continue;
        }
        let is_last = Some(place) == last;
        let scanned = scan(&disk, candidate, is_last, &mut recovery, visit)?;
        next = scanned.next;
        let id = candidate.id;
        let segment = Segment { id, next, end: scanned.end, bytes: scanned.bytes };
        index.segments.push_back(segment);
        match fate(candidate, is_last, &scanned) {
            Fate::Keep => {}
            Fate::Remove => empty.push(segment),
            Fate::MoveAside => unreadable.push(segment),
        }
    }
    index.durable = next;
    remove_empty(&disk, &empty, &mut index)?;
    recovery.missing = next - index.first() - recovery.records;
    recovery.quarantined = unreadable.len() as u64;
    let before = candidates.iter().filter(|candidate| candidate.aside).map(|candidate| candidate.id).collect();
    // A name that was moved aside may be all that supersedes others: it stays while there are such.
    let keep = if recovery.superseded > 0 { usize::MAX } else { QUARANTINE_SEGMENTS };
    move_aside(&disk, &unreadable, before, keep, &mut index)?;
    recovery.segments = index.segments.len() as u64;
    let ordinal = candidates.last().map_or(0, |candidate| candidate.id.ordinal + 1);
    Ok((Journal::new(disk, settings, index, ordinal), recovery))
}

fn candidates<D: Disk>(disk: &D, recovery: &mut Recovery) -> Result<Vec<Candidate>, OpenError> {
    let mut candidates = Vec::new();
    for name in disk.list().map_err(OpenError::io("list", DIRECTORY))? {
        let (stem, aside) = match name.strip_suffix(DAMAGED_SUFFIX) {
            Some(stem) => (stem, true),
            None => (name.as_str(), false),
        };
        match SegmentId::parse(stem) {
            Some(id) => candidates.push(Candidate { id, aside, limit: u64::MAX }),
            None => recovery.foreign += 1,
        }
    }
    candidates.sort_unstable_by_key(|candidate| (candidate.id, candidate.aside));
    let mut limit = u64::MAX;
    for candidate in candidates.iter_mut().rev() {
        candidate.limit = limit;
        limit = limit.min(candidate.id.first);
    }
    Ok(candidates)
}

fn scan<D: Disk>(
    disk: &D,
    candidate: &Candidate,
    is_last: bool,
    recovery: &mut Recovery,
    visit: &mut dyn FnMut(u64, &[u8]),
) -> Result<Scanned, OpenError> {
    let id = candidate.id;
    let name = id.name();
    let mut file = disk.open(&name).map_err(OpenError::io("open", &name))?;
    if is_last {
        // All others were synced before the next one was begun. Of this one, memory may show what is not on the disk:
        // not yet, or never, if a sync failed and the process ended. A sync that succeeds leaves nothing that is yet to
        // be written, and then memory can be dropped: what is read after this is on the disk. A first failure may be an
        // old one that is reported now.
        file.sync().or_else(|_| file.sync()).map_err(OpenError::io("sync", &name))?;
        file.forget().map_err(OpenError::io("read", &name))?;
    }
    let bytes = file.len().map_err(OpenError::io("measure", &name))?;
    let mut scanned = Scanned { next: id.first, end: HEADER_LENGTH as u64, bytes, ..Scanned::default() };
    let mut header = [0; HEADER_LENGTH];
    let read = crate::disk::read_full(&file, &mut header, 0).map_err(OpenError::io("read", &name))?;
    scanned.header = read == HEADER_LENGTH && header == id.header();

    let mut payload = Vec::new();
    let mut walk = Scanner::new(id);
    let mut intact = walk.intact();
    while let Some(found) = walk.next(&file, bytes, &mut payload).map_err(OpenError::io("read", &name))? {
        if found.skipped > 0 {
            recovery.damaged_ranges += 1;
            recovery.damaged_bytes += found.skipped;
        }
        intact = walk.intact();
        if found.number >= candidate.limit {
            scanned.superseded += 1;
            continue;
        }
        recovery.records += 1;
        scanned.records += 1;
        scanned.next = found.number + 1;
        scanned.end = walk.intact();
        visit(found.number, &payload);
    }
    recovery.superseded += scanned.superseded;

    let tail = bytes.saturating_sub(intact);
    // The numbers up to the next segment's first were once written here, or in a segment that is gone.
    let lost = if candidate.limit == u64::MAX { 0 } else { candidate.limit.saturating_sub(scanned.next) };
    if tail > 0 && lost > 0 {
        recovery.damaged_ranges += 1;
        recovery.damaged_bytes += tail;
    } else {
        recovery.torn_bytes += tail;
    }
    if read < HEADER_LENGTH && lost == 0 {
        recovery.torn_bytes += bytes;
    } else if !scanned.header {
        recovery.damaged_ranges += 1;
        recovery.damaged_bytes += bytes.min(HEADER_LENGTH as u64);
    }
    Ok(scanned)
}

enum Fate {
    Keep,
    Remove,
    MoveAside,
}

/// What becomes of a segment. One with a record is kept, whatever else is in it.
fn fate(candidate: &Candidate, is_last: bool, scanned: &Scanned) -> Fate {
    let empty = scanned.bytes <= HEADER_LENGTH as u64;
    // The next segment begins at the same number: nothing that was written here ever counted.
    let idle = candidate.limit == candidate.id.first;
    let keep = scanned.records > 0
        // It says at which number to go on.
        || is_last && (scanned.header || empty)
        // Numbers were skipped on purpose.
        || !idle && scanned.header && empty;
    if keep {
        Fate::Keep
    } else if idle && (scanned.header || empty) {
        Fate::Remove
    } else {
        Fate::MoveAside
    }
}

/// Removes segments that hold nothing.
fn remove_empty<D: Disk>(disk: &D, empty: &[Segment], index: &mut Index) -> Result<(), OpenError> {
    for segment in empty {
        let name = segment.id.name();
        disk.remove(&name).map_err(OpenError::io("remove", &name))?;
        index.segments.retain(|kept| kept.id != segment.id);
    }
    if empty.is_empty() { Ok(()) } else { disk.sync_directory().map_err(OpenError::io("sync", DIRECTORY)) }
}

/// Renames segments of which nothing can be read, and removes the oldest of all that were renamed, now or `before`, if
/// there are more than `keep`.
fn move_aside<D: Disk>(
    disk: &D,
    unreadable: &[Segment],
    before: Vec<SegmentId>,
    keep: usize,
    index: &mut Index,
) -> Result<(), OpenError> {
    let mut aside = before;
    for segment in unreadable {
        let name = segment.id.name();
        disk.rename(&name, &(name.clone() + DAMAGED_SUFFIX)).map_err(OpenError::io("rename", &name))?;
        index.segments.retain(|kept| kept.id != segment.id);
        aside.push(segment.id);
    }
    aside.sort_unstable();
    let surplus = aside.len().saturating_sub(keep);
    for id in &aside[..surplus] {
        let name = id.name() + DAMAGED_SUFFIX;
        disk.remove(&name).map_err(OpenError::io("remove", &name))?;
    }
    if unreadable.is_empty() && surplus == 0 {
        return Ok(());
    }
    disk.sync_directory().map_err(OpenError::io("sync", DIRECTORY))
}
