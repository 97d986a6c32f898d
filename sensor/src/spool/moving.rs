//! Moving an epoch's batches into a new one, when somebody else has gone on with it.

use std::io;

use martlet_journal::{AppendError, Disk};
use martlet_window::Origin;
use martlet_wire::v1::{Stream, move_batch};

use super::SpoolSettings;
use super::directory::{self, EpochName};
use super::epoch::{Entry, Epoch, Settled};
use super::record::Kind;
use super::writer::{SpoolWriter, stretch};

impl<D: Disk> SpoolWriter<D> {
    /// Moves what is not known to be counted of an epoch into a new one, and forgets the old. A crash at any moment leaves
    /// either the old one alone or a whole new one.
    pub(super) fn move_batches(&mut self, epoch: u64) -> io::Result<()> {
        let known = self.settled(epoch);
        let at = self.old.iter().position(|old| old.name.epoch == epoch);
        let source = at.map_or(&self.live, |at| &self.old[at]);
        let settled = if known.below >= source.settled.below { known } else { source.settled };
        directory::remove_made_of(&self.disk, source.name)?;
        let ordinal = self.next_ordinal;
        self.next_ordinal += 1;
        let name = EpochName { ordinal, epoch: (self.draw_epoch)(), source: Some(epoch) };
        let mark = directory::moved_to(name.epoch);
        let made = copy(source, &settled, &self.disk, name, self.origin, &self.settings);
        let marked = made.and_then(|made| {
            source.disk.create(&mark)?;
            source.disk.sync_directory()?;
            Ok(made)
        });
        let made = match marked {
            Ok(made) => made,
            Err(error) => {
                // The next attempt does it if this fails.
                let _ = directory::remove_made_of(&self.disk, source.name);
                return Err(error);
            }
        };
        // From here on the old one is gone, and the next start removes what is left of it.
        if let Err(error) = source.disk.remove_all() {
            tracing::debug!("an epoch that was moved could not be deleted: {error}");
        }
        tracing::warn!(
            "somebody else goes on with this sensor's stream (a copy of the machine?): {} batches go on in a new one",
            made.journal.durable()
        );
        let new = stretch(&made, at.is_none())?;
        match at {
            None => self.live = made,
            Some(at) => self.old[at] = made,
        }
        let mut state = self.shared.lock();
        if let Some(old) = state.stretch(epoch) {
            *old = new;
        }
        self.shared.count(&state);
        drop(state);
        self.shared.changed.notify_one();
        Ok(())
    }
}

/// Copies an epoch's records that are not settled into a new epoch, and makes it durable.
fn copy<D: Disk>(
    source: &Epoch<D>,
    settled: &Settled,
    disk: &D,
    name: EpochName,
    origin: Origin,
    settings: &SpoolSettings,
) -> io::Result<Epoch<D>> {
    let (mut made, _) = Epoch::open(disk, name, settings.journal()).map_err(io::Error::other)?;
    let stream = Stream { origin, epoch: name.epoch };
    let none = Settled::default();
    let append = |made: &mut Epoch<D>, entry: &Entry<'_>| match made.append(entry, &none) {
        Ok(_) => Ok(()),
        Err(AppendError::Io(error)) => Err(error),
        Err(other) => Err(io::Error::other(other)),
    };
    // What the source held up to here.
    let mut reached = settled.totals;
    let mut in_gap = false;
    source.each(settled.below, &mut |found| {
        let Some((prelude, frame)) = found else {
            in_gap = true;
            return Ok(true);
        };
        if std::mem::take(&mut in_gap) {
            let held = prelude.before.since(reached);
            let windows = (prelude.oldest.min(prelude.newest_before), prelude.newest_before);
            append(&mut made, &Entry { kind: Kind::Loss, windows, held, frame: &[] })?;
        }
        reached = prelude.after();
        let held = prelude.held;
        let windows = match prelude.kind {
            Kind::Loss => (prelude.oldest, prelude.window),
            Kind::Batch(_) => (prelude.window, prelude.window),
        };
        let predecessor = made.last.map(|last| last.digest).unwrap_or_default();
        let moved = move_batch(frame, stream, made.journal.next(), predecessor);
        let kind = moved.map_or(Kind::Loss, Kind::Batch);
        let frame = if moved.is_some() { &*frame } else { &[] };
        append(&mut made, &Entry { kind, windows, held, frame })?;
        Ok(true)
    })?;
    made.journal.sync()?;
    Ok(made)
}
