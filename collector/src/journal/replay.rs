//! At the start: what the journal has and the store has not is decided and counted again, by the same code.

use std::sync::atomic::Ordering::Relaxed;

use martlet_journal::{Disk, Item, Reader};
use martlet_wire::v1::{BatchView, Limits, Message, Stream};

use super::ledger::Verdict;
use super::record::Record;
use super::stage::Stage;
use super::state::Stall;
use crate::aggregate::{Arrival, Counted, Decoder, Loss};
use crate::ingest::{Lost, decoded_cost};

/// How many records are replayed at a time.
const STEP: usize = 64;

/// A replay that is under way.
pub(super) struct Replay<D: Disk> {
    reader: Reader<D>,
    /// The record that was read last.
    buffer: Vec<u8>,
    /// It waits for memory, or for the store.
    is_waiting: bool,
    decoder: Decoder,
}

/// What became of a record.
enum Outcome {
    Counted(Counted),
    /// A sensor's name, which is no count.
    Noted,
    /// It does not count: a record before it is damaged, or it was written twice.
    Skipped,
    /// There is no memory for it now.
    Later,
    /// The store cannot be read.
    Failed(String),
}

/// How far a step came.
pub(super) enum Progress {
    /// There are more records.
    More,
    /// There are no more.
    Done,
    /// Something cannot be read. A start without it would ask for it again in vain, so it waits.
    Failed { reason: Stall, message: String },
}

impl<D: Disk> Replay<D> {
    pub(super) fn new(reader: Reader<D>) -> std::io::Result<Replay<D>> {
        // What was accepted once is counted, whatever the limits are now.
        let decoder = Decoder::new(Limits::default())?;
        Ok(Replay { reader, buffer: Vec::new(), is_waiting: false, decoder })
    }

    /// Whether it waits for others to free memory.
    pub(super) const fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// Replays some records.
    pub(super) fn step(&mut self, stage: &mut Stage<D>, counted: &mut Vec<Counted>) -> Progress {
        for _ in 0..STEP {
            if !self.is_waiting {
                match self.reader.next(&mut self.buffer) {
                    Ok(Item::Record(_)) => {}
                    Ok(Item::Damaged(range)) => {
                        let records = range.end - range.start;
                        stage.skipped.push(range);
                        stage.state.counters.damaged_records.fetch_add(records, Relaxed);
                        tracing::error!(
                            "{records} records of the journal are damaged; sensors are asked for what they held"
                        );
                        continue;
                    }
                    Ok(Item::End) => return Progress::Done,
                    Err(error) => {
                        let message = format!("cannot read the journal: {error}");
                        return Progress::Failed { reason: Stall::of(&error), message };
                    }
                }
            }
            let outcome = self.replay(stage);
            self.is_waiting = matches!(outcome, Outcome::Later | Outcome::Failed(_));
            let counters = &stage.state.counters;
            match outcome {
                Outcome::Later => return Progress::More,
                Outcome::Failed(message) => return Progress::Failed { reason: Stall::DiskFailing, message },
                Outcome::Counted(one) => counted.push(one),
                Outcome::Noted => {}
                Outcome::Skipped => {
                    counters.skipped_records.fetch_add(1, Relaxed);
                    let behind = self.reader.position();
                    stage.skipped.push(behind - 1..behind);
                    continue;
                }
            }
            counters.replayed_records.fetch_add(1, Relaxed);
        }
        Progress::More
    }

    fn replay(&mut self, stage: &mut Stage<D>) -> Outcome {
        match Record::read(&self.buffer) {
            Ok(Record::Sensor { origin, name }) => match stage.ledger.introduce(origin, &name) {
                Ok(_) => Outcome::Noted,
                Err(_) => Outcome::Skipped,
            },
            Ok(Record::Batch { arrival, payload }) => replay_batch(&mut self.decoder, stage, arrival, payload),
            Ok(Record::Loss(message)) => replay_loss(stage, &message),
            Err(_) => Outcome::Skipped,
        }
    }
}

fn replay_batch<D: Disk>(decoder: &mut Decoder, stage: &mut Stage<D>, arrival: Arrival, payload: &[u8]) -> Outcome {
    let Ok(view) = BatchView::read(payload, &Limits::default()) else {
        return Outcome::Skipped;
    };
    let cost = decoded_cost(view.rows).min(stage.memory.total());
    let Some(memory) = stage.memory.try_take(cost) else {
        return Outcome::Later;
    };
    let stream = Stream { origin: view.header.origin, epoch: view.header.epoch };
    if let Some(outcome) = unknown(stage, stream) {
        return outcome;
    }
    let Ok(batch) = decoder.decode(payload, memory) else {
        return Outcome::Skipped;
    };
    let verdict = stage.ledger.decide(&stream, batch.header.sequence, Some((&batch.header, batch.digest)));
    match (verdict, stage.ledger.cell(&stream)) {
        (Verdict::Accepted(_), Some(cell)) => {
            Outcome::Counted(Counted::Batch { sensor: cell.sensor, arrival, batch: Box::new(batch) })
        }
        _ => Outcome::Skipped,
    }
}

fn replay_loss<D: Disk>(stage: &mut Stage<D>, message: &Message) -> Outcome {
    let &Message::Lost { stream, from, to, totals, first_window, last_window } = message else {
        return Outcome::Skipped;
    };
    if let Some(outcome) = unknown(stage, stream) {
        return outcome;
    }
    let (verdict, lost, class) = stage.ledger.close_gap(&stream, from, to, totals);
    match (verdict, stage.ledger.cell(&stream)) {
        (Verdict::Accepted(_), Some(cell)) => {
            let lost = Lost::new(from, to, lost);
            Outcome::Counted(Counted::Loss(Loss { sensor: cell.sensor, class, lost, first_window, last_window }))
        }
        _ => Outcome::Skipped,
    }
}

/// What becomes of a record whose stream cannot be brought into memory.
fn unknown<D: Disk>(stage: &mut Stage<D>, stream: Stream) -> Option<Outcome> {
    match stage.ledger.recall(stream) {
        Ok(true) => None,
        Ok(false) => Some(Outcome::Skipped),
        Err(_) => Some(Outcome::Failed("cannot read a position from the store".to_owned())),
    }
}
