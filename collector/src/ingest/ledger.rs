//! Who may speak for which sensor, and where each stream goes on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use martlet_window::{Digest, Origin, SensorName};
use martlet_wire::v1::{NackReason, Stream, Totals};

use super::counters::Lost;

/// Place of a sensor in the order in which sensors were first seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SensorId(pub u16);

impl SensorId {
    /// As an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Why a stream cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedgerError {
    /// The name belongs to another origin, or the origin has another name.
    NameTaken,
    /// As many sensors as may be have names.
    Sensors,
    /// As many streams as may be are known.
    Streams,
}

/// What is decided about a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It counts now; batches below this position are taken.
    Accepted(u64),
    /// It counted before; batches below this position are taken.
    Duplicate(u64),
    /// It does not count; this sequence number is wanted.
    Refused(u64, NackReason),
}

/// What the ledger knows of a sensor.
#[derive(Clone, Debug)]
pub struct SensorRecord {
    /// Its pseudonym.
    pub name: SensorName,
    /// What it said it lost, since the start.
    pub lost: Lost,
}

/// All names and positions. Positions are kept as long as the process lives: exactness before memory, which
/// `max_streams` bounds.
#[derive(Debug)]
pub struct Ledger {
    max_sensors: usize,
    max_streams: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sensors: Vec<SensorRecord>,
    by_origin: HashMap<Origin, SensorId>,
    by_name: HashMap<SensorName, SensorId>,
    streams: HashMap<Stream, Arc<StreamCell>>,
}

/// The position of one stream, shared by all connections that carry it.
#[derive(Debug)]
pub struct StreamCell {
    /// Which stream.
    pub stream: Stream,
    /// Whose.
    pub sensor: SensorId,
    position: Mutex<Position>,
}

#[derive(Clone, Copy, Debug)]
struct Position {
    expected: u64,
    /// Hash of the batch before the expected one; unknown behind a loss.
    predecessor: Option<Digest>,
    /// What the batches below the expected one held, whether they came or were lost.
    totals: Totals,
}

/// A poisoned lock only says that another thread panicked elsewhere: every critical section here leaves whole state.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StreamCell {
    /// The sequence number that is wanted next.
    #[must_use]
    pub fn expected(&self) -> u64 {
        lock(&self.position).expected
    }

    /// The sequence number that is wanted next, and the hash of the batch before it, if that is known.
    #[must_use]
    pub fn position(&self) -> (u64, Option<Digest>) {
        let position = lock(&self.position);
        (position.expected, position.predecessor)
    }

    /// Decides about a batch, and moves the position if it is accepted. `batch` is the hash of its payload and what it
    /// holds, `None` if the payload is malformed.
    pub fn decide(&self, sequence: u64, predecessor: Digest, batch: Option<(Digest, Totals)>) -> Verdict {
        let mut position = lock(&self.position);
        let expected = position.expected;
        if sequence < expected {
            return Verdict::Duplicate(expected);
        }
        if sequence > expected {
            return Verdict::Refused(expected, NackReason::OutOfSequence);
        }
        let Some((digest, held)) = batch else {
            return Verdict::Refused(expected, NackReason::Malformed);
        };
        if position.predecessor.is_some_and(|known| known != predecessor) {
            return Verdict::Refused(expected, NackReason::BrokenChain);
        }
        // The wire refuses the sequence number u64::MAX, so there is always a next one.
        let totals = position.totals.plus(held);
        *position = Position { expected: expected.saturating_add(1), predecessor: Some(digest), totals };
        Verdict::Accepted(position.expected)
    }

    /// Closes the gap from `from` to `to`, where the stream's totals are `totals`, and says what was lost in it. A gap
    /// that was closed before is a duplicate.
    pub fn close_gap(&self, from: u64, to: u64, totals: Totals) -> (Verdict, Totals) {
        let mut position = lock(&self.position);
        let expected = position.expected;
        if to < expected {
            return (Verdict::Duplicate(expected), Totals::default());
        }
        if from != expected {
            return (Verdict::Refused(expected, NackReason::OutOfSequence), Totals::default());
        }
        let lost = totals.since(position.totals);
        let totals = position.totals.plus(lost);
        *position = Position { expected: to.saturating_add(1), predecessor: None, totals };
        (Verdict::Accepted(position.expected), lost)
    }
}

impl Ledger {
    /// An empty ledger with these bounds.
    #[must_use]
    pub fn new(max_sensors: usize, max_streams: usize) -> Ledger {
        Ledger { max_sensors: max_sensors.min(usize::from(u16::MAX)), max_streams, state: Mutex::default() }
    }

    /// Opens a stream under a name. The first origin that opens a name has it, and an origin has one name.
    ///
    /// # Errors
    /// If name and origin do not belong together, or a bound is reached.
    pub fn open(&self, stream: Stream, name: &SensorName) -> Result<Arc<StreamCell>, LedgerError> {
        let mut state = lock(&self.state);
        let sensor = match (state.by_origin.get(&stream.origin), state.by_name.get(name)) {
            (Some(mine), Some(named)) if mine == named => *mine,
            (None, None) => return state.introduce(stream, name, self),
            _ => return Err(LedgerError::NameTaken),
        };
        state.stream(stream, sensor, self.max_streams)
    }

    /// Adds to what a sensor lost.
    pub fn add_lost(&self, sensor: SensorId, lost: &Lost) {
        if let Some(record) = lock(&self.state).sensors.get_mut(sensor.index()) {
            record.lost.add(lost);
        }
    }

    /// The sensors, by [`SensorId`].
    #[must_use]
    pub fn sensors(&self) -> Vec<SensorRecord> {
        lock(&self.state).sensors.clone()
    }

    /// Number of streams known.
    #[must_use]
    pub fn streams(&self) -> usize {
        lock(&self.state).streams.len()
    }
}

impl State {
    fn introduce(
        &mut self,
        stream: Stream,
        name: &SensorName,
        bounds: &Ledger,
    ) -> Result<Arc<StreamCell>, LedgerError> {
        let id = u16::try_from(self.sensors.len()).map_err(|_| LedgerError::Sensors)?;
        if self.sensors.len() >= bounds.max_sensors {
            return Err(LedgerError::Sensors);
        }
        let sensor = SensorId(id);
        let cell = self.stream(stream, sensor, bounds.max_streams)?;
        self.sensors.push(SensorRecord { name: name.clone(), lost: Lost::default() });
        self.by_origin.insert(stream.origin, sensor);
        self.by_name.insert(name.clone(), sensor);
        Ok(cell)
    }

    fn stream(&mut self, stream: Stream, sensor: SensorId, max_streams: usize) -> Result<Arc<StreamCell>, LedgerError> {
        if let Some(cell) = self.streams.get(&stream) {
            return Ok(cell.clone());
        }
        if self.streams.len() >= max_streams {
            return Err(LedgerError::Streams);
        }
        // The first batch of an epoch has no predecessor, which is written as zero.
        let position =
            Mutex::new(Position { expected: 0, predecessor: Some(Digest::default()), totals: Totals::default() });
        let cell = Arc::new(StreamCell { stream, sensor, position });
        self.streams.insert(stream, cell.clone());
        Ok(cell)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Origin = Origin([1; 16]);
    const B: Origin = Origin([2; 16]);
    const ONE: Totals = Totals { windows: 1, packets: 2, watched_ms: 3 };

    fn name(text: &str) -> SensorName {
        text.parse().unwrap()
    }

    fn hash(n: u8) -> Digest {
        Digest([n; 16])
    }

    fn stream(origin: Origin, epoch: u64) -> Stream {
        Stream { origin, epoch }
    }

    #[test]
    fn a_name_belongs_to_the_first_origin_and_an_origin_has_one_name() {
        let ledger = Ledger::new(2, 3);
        ledger.open(stream(A, 0), &name("a")).unwrap();
        assert_eq!(ledger.open(stream(B, 0), &name("a")).unwrap_err(), LedgerError::NameTaken);
        assert_eq!(ledger.open(stream(A, 1), &name("b")).unwrap_err(), LedgerError::NameTaken);
        ledger.open(stream(A, 1), &name("a")).unwrap();
        ledger.open(stream(B, 0), &name("b")).unwrap();
        assert_eq!(ledger.open(stream(Origin([3; 16]), 0), &name("c")).unwrap_err(), LedgerError::Sensors);
        assert_eq!(ledger.open(stream(B, 1), &name("b")).unwrap_err(), LedgerError::Streams);
        // What is known already stays open to its owner.
        ledger.open(stream(B, 0), &name("b")).unwrap();
        assert_eq!((ledger.sensors().len(), ledger.streams()), (2, 3));
    }

    #[test]
    fn batches_count_in_sequence_once_and_only_in_their_chain() {
        let ledger = Ledger::new(1, 1);
        let cell = ledger.open(stream(A, 0), &name("a")).unwrap();
        assert_eq!(cell.decide(1, hash(0), Some((hash(1), ONE))), Verdict::Refused(0, NackReason::OutOfSequence));
        assert_eq!(cell.decide(0, hash(9), Some((hash(1), ONE))), Verdict::Refused(0, NackReason::BrokenChain));
        assert_eq!(cell.decide(0, hash(0), None), Verdict::Refused(0, NackReason::Malformed));
        assert_eq!(cell.decide(0, hash(0), Some((hash(1), ONE))), Verdict::Accepted(1));
        assert_eq!(cell.decide(0, hash(0), Some((hash(1), ONE))), Verdict::Duplicate(1));
        assert_eq!(cell.decide(1, hash(7), Some((hash(2), ONE))), Verdict::Refused(1, NackReason::BrokenChain));
        assert_eq!(cell.decide(1, hash(1), Some((hash(2), ONE))), Verdict::Accepted(2));
    }

    #[test]
    fn a_gap_is_closed_where_it_begins_and_the_chain_begins_anew_behind_it() {
        let ledger = Ledger::new(1, 1);
        let cell = ledger.open(stream(A, 0), &name("a")).unwrap();
        let four = Totals { windows: 4, packets: 8, watched_ms: 12 };
        let none = Totals::default();
        assert_eq!(cell.close_gap(1, 3, four), (Verdict::Refused(0, NackReason::OutOfSequence), none));
        assert_eq!(cell.close_gap(0, 3, four), (Verdict::Accepted(4), four));
        assert_eq!(cell.close_gap(0, 3, four), (Verdict::Duplicate(4), none));
        assert_eq!(cell.close_gap(2, 5, four), (Verdict::Refused(4, NackReason::OutOfSequence), none));
        assert_eq!(cell.position(), (4, None));
        assert_eq!(cell.decide(4, hash(99), Some((hash(1), ONE))), Verdict::Accepted(5));
        assert_eq!(cell.decide(5, hash(99), Some((hash(2), ONE))), Verdict::Refused(5, NackReason::BrokenChain));
        // What came and what was lost before is known: only the rest of the totals is missing.
        let six = Totals { windows: 6, packets: 13, watched_ms: 12 };
        assert_eq!(cell.close_gap(5, 5, six).1, Totals { windows: 1, packets: 3, watched_ms: 0 });
    }

    #[test]
    fn two_carriers_of_one_stream_count_each_batch_once() {
        let ledger = Ledger::new(1, 1);
        let cell = ledger.open(stream(A, 0), &name("a")).unwrap();
        let accepted: u64 = std::thread::scope(|scope| {
            let carriers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mut accepted = 0;
                        let mut sequence = 0;
                        while sequence < 5000 {
                            let digest = |n: u64| Digest(u128::from(n).to_le_bytes());
                            match cell.decide(sequence, digest(sequence), Some((digest(sequence + 1), ONE))) {
                                Verdict::Accepted(next) => {
                                    accepted += 1;
                                    sequence = next;
                                }
                                Verdict::Duplicate(next) => sequence = next,
                                Verdict::Refused(..) => panic!("a carrier that follows the position is never refused"),
                            }
                        }
                        accepted
                    })
                })
                .collect();
            carriers.into_iter().map(|carrier| carrier.join().unwrap()).sum()
        });
        assert_eq!((accepted, cell.expected()), (5000, 5000));
    }
}
