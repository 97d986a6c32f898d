//! One epoch: a journal whose record numbers are the sequence numbers of a stream.

use std::io;

use martlet_journal::{AppendError, Disk, Item, Journal, OpenError, Recovery, Settings};
use martlet_window::Digest;
use martlet_wire::v1::Totals;

use super::directory::{EpochDisk, EpochName};
use super::record::{Kind, PRELUDE_LENGTH, Prelude};

/// What an epoch's next record follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Last {
    /// What all records so far held.
    pub(super) after: Totals,
    /// Newest start of a window.
    pub(super) newest: i64,
    /// Oldest start of a window.
    pub(super) oldest: i64,
    /// Digest of the last record's payload; zero if that is a loss.
    pub(super) digest: Digest,
}

/// What is appended: a batch with its frame, or a loss.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) kind: Kind,
    /// First and last window; the same for a batch.
    pub(super) windows: (i64, i64),
    pub(super) held: Totals,
    pub(super) frame: &'a [u8],
}

/// How far an epoch was acknowledged.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Settled {
    pub(super) below: u64,
    pub(super) totals: Totals,
    pub(super) window: Option<i64>,
}

/// Takes a record's prelude and frame, or `None` for a gap, and says whether to go on.
pub(super) type Visit<'a> = dyn FnMut(Option<(Prelude, &mut [u8])>) -> io::Result<bool> + 'a;

pub(super) struct Epoch<D: Disk> {
    pub(super) name: EpochName,
    pub(super) disk: EpochDisk<D>,
    pub(super) journal: Journal<EpochDisk<D>>,
    pub(super) last: Option<Last>,
    /// What the records below the first that is held held, as far as it is known.
    pub(super) front: Totals,
    /// How far it was acknowledged when its last record was written.
    pub(super) settled: Settled,
    /// The record that says what was dropped of an epoch that is only drained. It is never sent: a copy of this disk may
    /// have been made before, on which a batch has its number.
    pub(super) stub: Option<u64>,
    /// Up to where the journal was last told that records may be deleted.
    pub(super) released: u64,
}

impl<D: Disk> Epoch<D> {
    pub(super) fn open(disk: &D, name: EpochName, settings: Settings) -> Result<(Epoch<D>, Recovery), OpenError> {
        let disk = EpochDisk::new(disk.clone(), name);
        let mut last: Option<Last> = None;
        let mut front = None;
        let mut settled = Settled::default();
        let mut stub = None;
        let (journal, recovery) = Journal::open(disk.clone(), settings, &mut |number, record| {
            let Some((prelude, _)) = Prelude::read(record) else { return };
            // A last record of nothing is a stub, or may as well be one.
            stub = (prelude.kind == Kind::Loss && prelude.held == Totals::default()).then_some(number);
            front.get_or_insert(prelude.before);
            last = Some(follow(last, &prelude));
            // Only grows, and behind a collector's loss of memory what was once known stays the best guess.
            if prelude.acknowledged >= settled.below {
                settled = Settled { below: prelude.acknowledged, totals: prelude.settled, window: None };
            }
        })?;
        let front = front.unwrap_or_default();
        Ok((Epoch { name, disk, journal, last, front, settled, stub, released: 0 }, recovery))
    }

    /// Records below this are durable, and may be sent.
    pub(super) fn end(&self) -> u64 {
        self.stub.unwrap_or_else(|| self.journal.durable())
    }

    /// Appends a record. It is durable only after a sync.
    pub(super) fn append(&mut self, entry: &Entry<'_>, settled: &Settled) -> Result<u64, AppendError> {
        let (first, last) = entry.windows;
        let prelude = Prelude {
            kind: entry.kind,
            window: last,
            newest_before: self.last.map_or(last, |last| last.newest),
            oldest: match entry.kind {
                Kind::Loss => first,
                Kind::Batch(_) => settled.window.or(self.last.map(|last| last.oldest)).unwrap_or(first),
            },
            before: self.last.map(|last| last.after).unwrap_or_default(),
            held: entry.held,
            settled: settled.totals,
            acknowledged: settled.below,
        };
        let number = self.journal.append(&[&prelude.write(), entry.frame])?;
        self.last = Some(follow(self.last, &prelude));
        Ok(number)
    }

    /// Appends a record and makes it durable. After a failure of the disk it is tried once more: the journal has given up the
    /// segment that it could not write.
    pub(super) fn append_durably(&mut self, entry: &Entry<'_>, settled: &Settled) -> Result<u64, AppendError> {
        let mut attempt = || {
            let last = self.last;
            let appended = self.append(entry, settled).and_then(|number| {
                self.journal.sync()?;
                Ok(number)
            });
            if appended.is_err() {
                self.last = last;
            }
            appended
        };
        match attempt() {
            Err(AppendError::Io(error)) => {
                tracing::debug!("the spool could not be written: {error}; trying once more");
                attempt()
            }
            result => result,
        }
    }

    /// Calls `visit` for every record from `from` on, with its frame, and with `None` for each gap; until it says that it
    /// has seen enough.
    pub(super) fn each(&self, from: u64, visit: &mut Visit<'_>) -> io::Result<()> {
        let mut reader = self.journal.reader(from)?;
        let mut record = Vec::new();
        loop {
            let goes_on = match reader.next(&mut record)? {
                Item::Record(_) => match Prelude::read(&record).map(|(prelude, _)| prelude) {
                    Some(prelude) => visit(Some((prelude, &mut record[PRELUDE_LENGTH..])))?,
                    None => visit(None)?,
                },
                Item::Damaged(_) => visit(None)?,
                Item::End => return Ok(()),
            };
            if !goes_on {
                return Ok(());
            }
        }
    }

    /// Deletes the oldest segment, and says what the records that it held and that were not acknowledged held.
    pub(super) fn drop_oldest(&mut self, settled: &Settled) -> io::Result<Option<(u64, Totals)>> {
        let Some(dropped) = self.journal.drop_oldest()? else { return Ok(None) };
        let mut front = self.last.map(|last| last.after).unwrap_or_default();
        self.each(dropped.end, &mut |found| {
            if let Some((prelude, _)) = &found {
                front = prelude.before;
            }
            Ok(found.is_none())
        })?;
        let known = most(self.front, settled.totals);
        self.front = front;
        Ok(Some((dropped.end.saturating_sub(dropped.start.max(settled.below)), front.since(known))))
    }
}

/// What the next record follows, after one with this prelude.
fn follow(last: Option<Last>, prelude: &Prelude) -> Last {
    let newest = last.map_or(prelude.newest_before, |last| last.newest.max(prelude.newest_before));
    Last {
        after: prelude.after(),
        newest: newest.max(prelude.window),
        oldest: last.map_or(prelude.oldest, |last| last.oldest).min(prelude.window),
        digest: match prelude.kind {
            Kind::Batch(digest) => digest,
            Kind::Loss => Digest::default(),
        },
    }
}

/// The later of two running totals of one epoch.
fn most(a: Totals, b: Totals) -> Totals {
    Totals {
        windows: a.windows.max(b.windows),
        packets: a.packets.max(b.packets),
        watched_ms: a.watched_ms.max(b.watched_ms),
    }
}
