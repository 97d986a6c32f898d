//! What must have been counted, known from outside: which batches were made and what happened to them.
//!
//! It knows nothing of journals, ledgers and sequence numbers. For each batch it knows whether a spool has said that it is
//! durable, and what was done to the world since that may excuse its loss.

use std::collections::HashMap;

use martlet_wire::v1::{FRAME_HEADER_LENGTH, FrameHeader, Limits};

use super::batch::{BatchId, Identity, Made};

/// Offset in a batch's payload behind the fields that name its place in a stream, which change when it is moved to
/// another epoch (docs/wire.md).
const BODY: usize = 48;
/// First bytes of every frame.
const MAGIC: &[u8] = b"MRTL";
/// What a spool's record has in front of its frame: the journal's head and the prelude (docs/journal.md, docs/spool.md).
const RECORD_HEAD: u64 = 20 + 128;

/// What has become of a batch in a spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spooled {
    /// The machine crashed while it was taken: it may be there or not, and nobody was promised anything.
    Interrupted,
    /// The spool could not write it, and holds the loss in memory until it can.
    Refused,
    /// As refused, and then the disk was copied: what could be written of the attempt may be whole on the copy.
    RefusedAndCopied,
    /// As refused, and then the process ended: the loss may have been written down or not.
    RefusedAndForgotten,
    /// It is durable.
    Durable,
}

/// What is known of a batch.
#[derive(Clone, Debug)]
pub(super) struct Fate {
    pub(super) spooled: Spooled,
    /// A backup without it was restored: there may be no copy any more, nor anybody who knows of it.
    pub(super) is_erased: bool,
    /// A copy was damaged in a spool.
    pub(super) is_damaged: bool,
    /// A spool had to give it up for want of room.
    pub(super) is_crowded_out: bool,
    /// Something else of its epoch was damaged, which may have said what a batch that was given up had held.
    pub(super) has_no_witness: bool,
    /// The process that made it has ended: its epoch is one that is only drained.
    pub(super) is_of_earlier_life: bool,
    /// The epoch and the number that it was given first.
    pub(super) epoch: u64,
    pub(super) sequence: u64,
}

/// All batches of a world.
#[derive(Default)]
pub(super) struct Model {
    pub(super) identities: Vec<Identity>,
    pub(super) made: Vec<Made>,
    pub(super) fates: Vec<Fate>,
    /// Two machines of this identity began the same epoch. Behind a gap no predecessor is checked, so that there the batches of
    /// one can stand for those of the other: what is lost of it is not known exactly.
    pub(super) twins: Option<usize>,
    /// What the collector's disk had was changed. It asks for what it knows no more, and the other of two machines that went on
    /// with one epoch may be the one to answer.
    pub(super) is_collector_damaged: bool,
    by_body: HashMap<Vec<u8>, BatchId>,
}

impl Model {
    /// A batch is about to be given to a spool.
    pub(super) fn offer(&mut self, made: Made, frame: &[u8]) -> BatchId {
        let id = self.made.len();
        self.by_body.insert(frame[FRAME_HEADER_LENGTH + BODY..].to_vec(), id);
        self.fates.push(Fate {
            spooled: Spooled::Interrupted,
            is_erased: false,
            is_damaged: false,
            is_crowded_out: false,
            has_no_witness: false,
            is_of_earlier_life: false,
            epoch: made.header.epoch,
            sequence: made.header.sequence,
        });
        self.made.push(made);
        id
    }

    /// The batch in whose record the byte at `offset` of a spool's file lies.
    pub(super) fn batch_at(&self, file: &[u8], offset: u64) -> Option<BatchId> {
        let ends = |at: usize| {
            let head = file.get(at..at + FRAME_HEADER_LENGTH)?.try_into().ok()?;
            let header = FrameHeader::parse(head, &Limits::default()).ok()?;
            let end = at + FRAME_HEADER_LENGTH + header.length as usize;
            let body = file.get(at + FRAME_HEADER_LENGTH + BODY..end)?;
            Some((*self.by_body.get(body)?, end as u64))
        };
        let starts = (0..file.len()).filter(|&at| file[at..].starts_with(MAGIC));
        let frames =
            starts.filter_map(|at| ends(at).map(|(id, end)| (id, (at as u64).saturating_sub(RECORD_HEAD)..end)));
        frames.into_iter().find(|(_, record)| record.contains(&offset)).map(|(id, _)| id)
    }

    /// A bit was flipped in a spool's file, in this batch's record or in none's. The name says which epoch's it is.
    pub(super) fn damage(&mut self, hit: Option<BatchId>, name: &str) {
        if let Some(id) = hit {
            self.fates[id].is_damaged = true;
        }
        let epoch = name.split(['-', '.']).nth(1).and_then(|epoch| u64::from_str_radix(epoch, 16).ok());
        for fate in self.fates.iter_mut().filter(|fate| Some(fate.epoch) == epoch) {
            fate.has_no_witness = true;
        }
    }

    /// Whether a batch of the same epoch that was made later is durable and undamaged: then what this one held can be
    /// told from what that one says.
    fn has_successor(&self, id: BatchId) -> bool {
        let (epoch, sequence) = (self.fates[id].epoch, self.fates[id].sequence);
        let mut later = self.fates.iter().filter(|fate| fate.epoch == epoch && fate.sequence > sequence);
        later.any(|fate| fate.spooled == Spooled::Durable && !fate.is_damaged && !fate.is_erased)
    }

    /// Whether two machines drew the same epoch, and gave the same number in it. A live epoch notices that and moves; of one
    /// that is only drained nobody can tell whether the collector has gone on with it before a backup was restored.
    fn has_twin(&self, id: BatchId) -> bool {
        let (epoch, sequence) = (self.fates[id].epoch, self.fates[id].sequence);
        let same = self.fates.iter().filter(|fate| fate.epoch == epoch && fate.sequence == sequence);
        same.count() > 1
    }

    /// Whether the batches of two machines that went on with one epoch can stand for each other: where the predecessor is not
    /// known, because the collector lost its memory, or because one machine had to tell of a gap in what it only drains.
    fn may_stand_for_another(&self, id: BatchId) -> bool {
        let fate = &self.fates[id];
        let is_uncertain = self.is_collector_damaged || fate.has_no_witness && fate.is_of_earlier_life;
        let mut same = (0..self.fates.len()).filter(|&other| self.fates[other].epoch == fate.epoch);
        self.twins.is_some() && is_uncertain && same.any(|other| self.has_twin(other))
    }

    /// What must be true of a batch in the end.
    pub(super) fn duty(&self, id: BatchId) -> Duty {
        let fate = &self.fates[id];
        match fate.spooled {
            Spooled::Interrupted | Spooled::RefusedAndForgotten => Duty::Anything,
            Spooled::Refused => Duty::Lost,
            Spooled::RefusedAndCopied => Duty::CountedOrLost,
            Spooled::Durable if fate.is_erased => Duty::Anything,
            Spooled::Durable if fate.is_of_earlier_life && self.has_twin(id) => Duty::Anything,
            Spooled::Durable if self.may_stand_for_another(id) => Duty::Anything,
            Spooled::Durable if fate.is_damaged && !self.has_successor(id) => Duty::Anything,
            Spooled::Durable if fate.is_crowded_out && fate.has_no_witness => Duty::Anything,
            Spooled::Durable if fate.is_damaged || fate.is_crowded_out => Duty::CountedOrLost,
            Spooled::Durable => Duty::Counted,
        }
    }
}

/// What must be true of a batch in the end. In no case may it count twice, or be counted and lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    /// It is counted.
    Counted,
    /// It is counted, or else it is among what is lost.
    CountedOrLost,
    /// It is among what is lost.
    Lost,
    /// It may also be gone without a trace.
    Anything,
}
