//! Who may speak for which sensor, and where each stream goes on: the rules by which a batch counts once.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use martlet_window::{BatchHeader, Digest, Origin, SensorName, TrafficClass};
use martlet_wire::v1::{NackReason, Stream, Totals};

use super::checkpoint::{Checkpoint, StreamPosition};
use super::session::{Session, StreamCell};
use crate::ingest::SensorId;

/// After so many batches of a stream in a row that each came after a silence, the stream is live.
const LIVE_AFTER: u8 = 3;

/// Where a stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The sequence number that is wanted next.
    pub expected: u64,
    /// Hash of the batch before the expected one; unknown behind a loss.
    pub predecessor: Option<Digest>,
    /// What the batches below the expected one held, whether they came or were lost.
    pub totals: Totals,
    /// Class of the newest batch.
    pub class: Option<TrafficClass>,
}

impl Default for Position {
    /// The first batch of an epoch has no predecessor, which is written as zero.
    fn default() -> Position {
        Position { expected: 0, predecessor: Some(Digest::default()), totals: Totals::default(), class: None }
    }
}

/// What is decided about a batch or a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It counts; batches below this position are taken.
    Accepted(u64),
    /// It counted before; batches below this position are taken.
    Duplicate(u64),
    /// It does not count; this sequence number is wanted.
    Refused(u64, NackReason),
}

/// Why a stream cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The name belongs to another origin, or the origin has another name.
    NameTaken,
    /// As many sensors as may be have names.
    Sensors,
    /// As many streams as may be are in use.
    Streams,
    /// The store cannot be read.
    Store,
}

/// What is known of a sensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SensorRecord {
    /// Its identity.
    pub origin: Origin,
    /// Its pseudonym.
    pub name: SensorName,
}

/// Where positions are that are not in memory.
pub trait Archive: Send {
    /// The committed position of a stream; `None` if nothing of it was ever committed.
    ///
    /// # Errors
    /// If it cannot be read; the reason is for the log.
    fn position(&mut self, sensor: SensorId, stream: Stream) -> Result<Option<Position>, String>;
}

/// All names, and the positions of streams that were touched of late. Changes can be taken back until they are settled.
pub struct Ledger {
    max_sensors: usize,
    max_streams: usize,
    archive: Box<dyn Archive>,
    sensors: Vec<SensorRecord>,
    by_origin: HashMap<Origin, SensorId>,
    by_name: HashMap<SensorName, SensorId>,
    streams: HashMap<Stream, Entry>,
    /// What was changed since the last settlement, to be taken back in reverse order.
    undo: Vec<Undo>,
    /// Streams that have moved since the last checkpoint, each once.
    moved: Vec<Stream>,
    /// Sensors that are in a checkpoint already.
    recorded_sensors: usize,
}

/// A stream in memory.
struct Entry {
    cell: Arc<StreamCell>,
    place: Place,
    /// The connection that carries it: the newest that opened it.
    carrier: (u64, Weak<Session>),
    /// Whether it is among `moved`.
    has_moved: bool,
}

#[derive(Clone, Copy)]
struct Place {
    position: Position,
    /// Batches in a row that each came after a silence.
    quiet: u8,
}

enum Undo {
    Moved(Stream, Place),
    Opened(Stream),
    Sensor,
}

impl Ledger {
    /// A ledger with these bounds, where `sensors` are known already.
    #[must_use]
    pub fn new(
        max_sensors: usize,
        max_streams: usize,
        sensors: Vec<SensorRecord>,
        archive: Box<dyn Archive>,
    ) -> Ledger {
        let recorded_sensors = sensors.len();
        let mut ledger = Ledger {
            // More than were allowed may be known from an earlier setting.
            max_sensors: max_sensors.min(usize::from(u16::MAX)),
            max_streams,
            archive,
            sensors: Vec::new(),
            by_origin: HashMap::new(),
            by_name: HashMap::new(),
            streams: HashMap::new(),
            undo: Vec::new(),
            moved: Vec::new(),
            recorded_sensors,
        };
        for sensor in sensors {
            ledger.add_sensor(sensor);
        }
        ledger
    }

    fn add_sensor(&mut self, sensor: SensorRecord) -> Option<SensorId> {
        let id = SensorId(u16::try_from(self.sensors.len()).ok()?);
        self.by_origin.insert(sensor.origin, id);
        self.by_name.insert(sensor.name.clone(), id);
        self.sensors.push(sensor);
        Some(id)
    }

    /// The sensors, by their number.
    #[must_use]
    pub fn sensors(&self) -> &[SensorRecord] {
        &self.sensors
    }

    /// Streams in memory.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Whose an origin's batches are, and whether the name was new: then it must be recorded. The first origin that
    /// takes a name has it, and an origin has one name.
    ///
    /// # Errors
    /// If name and origin do not belong together, or there are as many sensors as may be.
    pub fn introduce(&mut self, origin: Origin, name: &SensorName) -> Result<(SensorId, bool), OpenError> {
        match (self.by_origin.get(&origin), self.by_name.get(name)) {
            (Some(mine), Some(named)) if mine == named => Ok((*mine, false)),
            (None, None) if self.sensors.len() >= self.max_sensors => Err(OpenError::Sensors),
            (None, None) => {
                let added = self.add_sensor(SensorRecord { origin, name: name.clone() });
                let id = added.ok_or(OpenError::Sensors)?;
                self.undo.push(Undo::Sensor);
                Ok((id, true))
            }
            _ => Err(OpenError::NameTaken),
        }
    }

    /// Opens a stream of a sensor for a connection. An older connection that carries it is told to end.
    ///
    /// # Errors
    /// If there is no room, or the store cannot be read.
    pub fn open(&mut self, stream: Stream, sensor: SensorId, session: &Arc<Session>) -> Result<Position, OpenError> {
        self.load(stream, sensor, self.max_streams)?;
        let entry = self.streams.get_mut(&stream).ok_or(OpenError::Streams)?;
        let (number, older) = std::mem::replace(&mut entry.carrier, (session.number, Arc::downgrade(session)));
        if let Some(older) = older.upgrade().filter(|_| number != session.number) {
            older.supersede();
        }
        entry.place.quiet = 0;
        Ok(entry.place.position)
    }

    /// What is safe of a stream in memory, for its carrier to see.
    #[must_use]
    pub fn cell(&self, stream: &Stream) -> Option<Arc<StreamCell>> {
        self.streams.get(stream).map(|entry| entry.cell.clone())
    }

    /// Whether a connection carries a stream.
    #[must_use]
    pub fn is_carrier(&self, stream: &Stream, session: &Session) -> bool {
        self.streams.get(stream).is_some_and(|entry| entry.carrier.0 == session.number)
    }

    /// Brings the stream of a record that is replayed into memory; `false` if its sensor is not known.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn recall(&mut self, stream: Stream) -> Result<bool, OpenError> {
        match self.by_origin.get(&stream.origin) {
            // What was accepted once is taken in again, whatever the bound is now.
            Some(&sensor) => self.load(stream, sensor, usize::MAX).map(|()| true),
            None => Ok(false),
        }
    }

    fn load(&mut self, stream: Stream, sensor: SensorId, max_streams: usize) -> Result<(), OpenError> {
        if self.streams.contains_key(&stream) {
            return Ok(());
        }
        if self.streams.len() >= max_streams {
            // What nobody uses and is committed can be read again.
            self.streams.retain(|_, entry| entry.is_in_use());
            if self.streams.len() >= max_streams {
                return Err(OpenError::Streams);
            }
        }
        let position = self.archive.position(sensor, stream).map_err(|error| {
            tracing::error!("cannot read a position from the store: {error}");
            OpenError::Store
        })?;
        let position = position.unwrap_or_default();
        let cell = Arc::new(StreamCell::new(stream, sensor, position.expected));
        let place = Place { position, quiet: 0 };
        self.streams.insert(stream, Entry { cell, place, carrier: (u64::MAX, Weak::new()), has_moved: false });
        self.undo.push(Undo::Opened(stream));
        Ok(())
    }

    /// Decides about a batch of a stream in memory, and moves its position if it is accepted. `batch` is its header and
    /// the hash of its payload, `None` if it is malformed.
    #[must_use]
    pub fn decide(&mut self, stream: &Stream, sequence: u64, batch: Option<(&BatchHeader, Digest)>) -> Verdict {
        let Some(entry) = self.streams.get_mut(stream) else {
            return Verdict::Refused(0, NackReason::OutOfSequence);
        };
        let before = entry.place;
        let Position { expected, predecessor, totals, .. } = before.position;
        if sequence < expected {
            return Verdict::Duplicate(expected);
        }
        if sequence > expected {
            return Verdict::Refused(expected, NackReason::OutOfSequence);
        }
        let Some((header, digest)) = batch else {
            return Verdict::Refused(expected, NackReason::Malformed);
        };
        if predecessor.is_some_and(|known| known != header.predecessor) {
            return Verdict::Refused(expected, NackReason::BrokenChain);
        }
        entry.place.position = Position {
            // The wire refuses the sequence number u64::MAX, so there is always a next one.
            expected: expected.saturating_add(1),
            predecessor: Some(digest),
            totals: totals.plus(Totals::of(header)),
            class: Some(header.class),
        };
        self.undo.push(Undo::Moved(*stream, before));
        Verdict::Accepted(expected.saturating_add(1))
    }

    /// Closes the gap from `from` to `to` in a stream in memory, where the stream's totals are `totals`, and says what
    /// was lost in it and in which class. A gap that was closed before is a duplicate.
    #[must_use]
    pub fn close_gap(
        &mut self,
        stream: &Stream,
        from: u64,
        to: u64,
        totals: Totals,
    ) -> (Verdict, Totals, TrafficClass) {
        let nothing = Totals::default();
        let Some(entry) = self.streams.get_mut(stream) else {
            return (Verdict::Refused(0, NackReason::OutOfSequence), nothing, TrafficClass::Real);
        };
        let before = entry.place;
        let position = before.position;
        // Only a live capture loses batches for good: a file can be read again.
        let class = position.class.unwrap_or(TrafficClass::Real);
        if to < position.expected {
            return (Verdict::Duplicate(position.expected), nothing, class);
        }
        if from != position.expected {
            return (Verdict::Refused(position.expected, NackReason::OutOfSequence), nothing, class);
        }
        let lost = totals.since(position.totals);
        let expected = to.saturating_add(1);
        let totals = position.totals.plus(lost);
        entry.place.position = Position { expected, predecessor: None, totals, ..position };
        self.undo.push(Undo::Moved(*stream, before));
        (Verdict::Accepted(expected), lost, class)
    }

    /// Notes whether a batch that was accepted came after a silence, and says whether its stream is live: whether this
    /// and those before it did. What comes out of a backlog comes without pause.
    pub fn hear(&mut self, stream: &Stream, is_quiet: bool) -> bool {
        self.streams.get_mut(stream).is_some_and(|entry| {
            entry.place.quiet = if is_quiet { entry.place.quiet.saturating_add(1) } else { 0 };
            entry.place.quiet >= LIVE_AFTER
        })
    }

    /// Marks this point, to take back what is changed behind it.
    #[must_use]
    pub fn mark(&self) -> usize {
        self.undo.len()
    }

    /// Takes back everything behind a mark.
    pub fn take_back(&mut self, mark: usize) {
        while self.undo.len() > mark {
            match self.undo.pop() {
                Some(Undo::Moved(stream, place)) => {
                    if let Some(entry) = self.streams.get_mut(&stream) {
                        entry.place = place;
                    }
                }
                Some(Undo::Opened(stream)) => drop(self.streams.remove(&stream)),
                Some(Undo::Sensor) => {
                    if let Some(sensor) = self.sensors.pop() {
                        self.by_origin.remove(&sensor.origin);
                        self.by_name.remove(&sensor.name);
                    }
                }
                None => {}
            }
        }
    }

    /// Everything is durable: publishes positions, and forgets what could be taken back. `true` if there are new
    /// sensors.
    pub fn settle(&mut self) -> bool {
        let mut has_new_sensors = false;
        for undo in self.undo.drain(..) {
            match undo {
                Undo::Moved(stream, _) => {
                    if let Some(entry) = self.streams.get_mut(&stream) {
                        entry.cell.publish(entry.place.position.expected);
                        if !std::mem::replace(&mut entry.has_moved, true) {
                            self.moved.push(stream);
                        }
                    }
                }
                Undo::Opened(_) => {}
                Undo::Sensor => has_new_sensors = true,
            }
        }
        has_new_sensors
    }

    /// What has changed since the checkpoint before. Nothing may be unsettled.
    pub fn checkpoint(&mut self, record: u64) -> Checkpoint {
        let streams = self.moved.drain(..).filter_map(|stream| {
            let entry = self.streams.get_mut(&stream)?;
            entry.has_moved = false;
            Some(StreamPosition { stream, sensor: entry.cell.sensor, position: entry.place.position })
        });
        let streams = streams.collect();
        let first_sensor = std::mem::replace(&mut self.recorded_sensors, self.sensors.len());
        let sensors = self.sensors[first_sensor..].to_vec();
        Checkpoint { record, sensors, first_sensor, streams, skipped: Vec::new(), visible: None }
    }

    /// A checkpoint is in the store.
    pub fn committed(&mut self, checkpoint: &Checkpoint) {
        for committed in &checkpoint.streams {
            if let Some(entry) = self.streams.get(&committed.stream) {
                entry.cell.commit(committed.position.expected);
            }
        }
    }
}

impl Entry {
    /// Whether it must stay in memory: a connection carries it, or the store does not have its position yet.
    fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.cell) > 1 || self.cell.committed() < self.place.position.expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use martlet_window::{CaptureStatistics, Marks, Posture, Window, WindowLength};

    const A: Origin = Origin([1; 16]);
    const B: Origin = Origin([2; 16]);

    /// A store in a map.
    #[derive(Default)]
    struct Shelf(HashMap<Stream, Position>);

    impl Archive for Shelf {
        fn position(&mut self, _: SensorId, stream: Stream) -> Result<Option<Position>, String> {
            Ok(self.0.get(&stream).copied())
        }
    }

    fn name(text: &str) -> SensorName {
        text.parse().unwrap()
    }

    fn hash(n: u8) -> Digest {
        Digest([n; 16])
    }

    fn stream(origin: Origin, epoch: u64) -> Stream {
        Stream { origin, epoch }
    }

    fn ledger(max_sensors: usize, max_streams: usize) -> Ledger {
        Ledger::new(max_sensors, max_streams, Vec::new(), Box::new(Shelf::default()))
    }

    fn open(ledger: &mut Ledger, stream: Stream, text: &str) -> Result<Position, OpenError> {
        let (sensor, _) = ledger.introduce(stream.origin, &name(text))?;
        ledger.open(stream, sensor, &Arc::new(Session::new(1)))
    }

    /// Of one window, with two packets and three milliseconds.
    fn header(predecessor: u8) -> BatchHeader {
        BatchHeader {
            origin: A,
            epoch: 0,
            sequence: 0,
            predecessor: hash(predecessor),
            class: TrafficClass::Real,
            posture: Posture::Silent,
            window: Window { start: 0, length: WindowLength::DEFAULT },
            part: 0,
            exposure: Some(martlet_window::Exposure { watched_ms: 3, ipv4_addresses: 1, ipv6_prefixes: 0 }),
            unavailable: Marks::NONE,
            capture: CaptureStatistics { frames: 2, packets: 2, ..CaptureStatistics::default() },
        }
    }

    fn decide(ledger: &mut Ledger, sequence: u64, predecessor: u8, digest: u8) -> Verdict {
        ledger.decide(&stream(A, 0), sequence, Some((&header(predecessor), hash(digest))))
    }

    #[test]
    fn a_name_belongs_to_the_first_origin_and_an_origin_has_one_name() {
        let mut ledger = ledger(2, 3);
        open(&mut ledger, stream(A, 0), "a").unwrap();
        assert_eq!(open(&mut ledger, stream(B, 0), "a"), Err(OpenError::NameTaken));
        assert_eq!(open(&mut ledger, stream(A, 1), "b"), Err(OpenError::NameTaken));
        open(&mut ledger, stream(B, 0), "b").unwrap();
        assert_eq!(open(&mut ledger, stream(Origin([3; 16]), 0), "c"), Err(OpenError::Sensors));
        assert_eq!(ledger.sensors().len(), 2);
    }

    #[test]
    fn batches_count_in_sequence_once_and_only_in_their_chain() {
        let mut ledger = ledger(1, 1);
        open(&mut ledger, stream(A, 0), "a").unwrap();
        assert_eq!(decide(&mut ledger, 1, 0, 1), Verdict::Refused(0, NackReason::OutOfSequence));
        assert_eq!(decide(&mut ledger, 0, 9, 1), Verdict::Refused(0, NackReason::BrokenChain));
        assert_eq!(ledger.decide(&stream(A, 0), 0, None), Verdict::Refused(0, NackReason::Malformed));
        assert_eq!(decide(&mut ledger, 0, 0, 1), Verdict::Accepted(1));
        assert_eq!(decide(&mut ledger, 0, 0, 1), Verdict::Duplicate(1));
        assert_eq!(decide(&mut ledger, 1, 7, 2), Verdict::Refused(1, NackReason::BrokenChain));
        assert_eq!(decide(&mut ledger, 1, 1, 2), Verdict::Accepted(2));
    }

    #[test]
    fn a_gap_is_closed_where_it_begins_and_the_chain_begins_anew_behind_it() {
        let mut ledger = ledger(1, 1);
        open(&mut ledger, stream(A, 0), "a").unwrap();
        let (four, none) = (Totals { windows: 4, packets: 8, watched_ms: 12 }, Totals::default());
        let mut gap = |from, to, totals| {
            let (verdict, lost, _) = ledger.close_gap(&stream(A, 0), from, to, totals);
            (verdict, lost)
        };
        assert_eq!(gap(1, 3, four), (Verdict::Refused(0, NackReason::OutOfSequence), none));
        assert_eq!(gap(0, 3, four), (Verdict::Accepted(4), four));
        assert_eq!(gap(0, 3, four), (Verdict::Duplicate(4), none));
        assert_eq!(gap(2, 5, four), (Verdict::Refused(4, NackReason::OutOfSequence), none));
        assert_eq!(decide(&mut ledger, 4, 99, 1), Verdict::Accepted(5));
        assert_eq!(decide(&mut ledger, 5, 99, 2), Verdict::Refused(5, NackReason::BrokenChain));
        // What came and what was lost before is known: only the rest of the totals is missing.
        let six = Totals { windows: 6, packets: 13, watched_ms: 12 };
        let lost = ledger.close_gap(&stream(A, 0), 5, 5, six).1;
        assert_eq!(lost, Totals { windows: 1, packets: 3, watched_ms: 0 });
    }

    #[test]
    fn what_is_taken_back_never_happened() {
        let mut ledger = ledger(2, 3);
        open(&mut ledger, stream(A, 0), "a").unwrap();
        assert_eq!(decide(&mut ledger, 0, 0, 1), Verdict::Accepted(1));
        ledger.settle();
        let cell = ledger.cell(&stream(A, 0)).unwrap();
        let mark = ledger.mark();
        assert_eq!(decide(&mut ledger, 1, 1, 2), Verdict::Accepted(2));
        assert_eq!(decide(&mut ledger, 2, 2, 3), Verdict::Accepted(3));
        open(&mut ledger, stream(B, 0), "b").unwrap();
        assert_eq!(cell.journaled(), 1);
        ledger.take_back(mark);
        assert_eq!((ledger.sensors().len(), ledger.streams()), (1, 1));
        assert_eq!(decide(&mut ledger, 1, 1, 2), Verdict::Accepted(2));
        ledger.settle();
        assert_eq!((cell.journaled(), cell.committed()), (2, 0));
        let checkpoint = ledger.checkpoint(77);
        assert_eq!((checkpoint.record, checkpoint.first_sensor, checkpoint.sensors.len()), (77, 0, 1));
        assert_eq!(checkpoint.streams.len(), 1);
        assert_eq!((checkpoint.streams[0].position.expected, checkpoint.streams[0].position.totals.packets), (2, 4));
        ledger.committed(&checkpoint);
        assert_eq!(cell.committed(), 2);
        assert!(ledger.checkpoint(78).streams.is_empty());
    }

    #[test]
    fn what_nobody_uses_is_read_from_the_store_again() {
        let old = Position { expected: 9, predecessor: None, ..Position::default() };
        let shelf = Shelf(HashMap::from([(stream(A, 5), old)]));
        let known = vec![SensorRecord { origin: A, name: name("a") }];
        let mut ledger = Ledger::new(1, 2, known, Box::new(shelf));
        assert_eq!(open(&mut ledger, stream(A, 5), "a"), Ok(old));
        open(&mut ledger, stream(A, 0), "a").unwrap();
        assert_eq!(decide(&mut ledger, 0, 0, 1), Verdict::Accepted(1));
        ledger.settle();
        let _used = ledger.cell(&stream(A, 5));
        // One is in use, and the other is not committed yet.
        assert_eq!(open(&mut ledger, stream(A, 6), "a"), Err(OpenError::Streams));
        let checkpoint = ledger.checkpoint(1);
        ledger.committed(&checkpoint);
        assert_eq!(open(&mut ledger, stream(A, 6), "a"), Ok(Position::default()));
        assert!(ledger.cell(&stream(A, 0)).is_none() && ledger.cell(&stream(A, 5)).is_some());
    }

    #[test]
    fn a_stream_is_live_after_three_silences_in_a_row() {
        let mut ledger = ledger(1, 1);
        open(&mut ledger, stream(A, 0), "a").unwrap();
        let heard: Vec<bool> =
            [true, true, false, true, true, true, true].map(|quiet| ledger.hear(&stream(A, 0), quiet)).into();
        assert_eq!(heard, [false, false, false, false, false, true, true]);
    }

    #[test]
    fn the_newest_connection_carries_a_stream() {
        let mut ledger = ledger(1, 1);
        let (sensor, _) = ledger.introduce(A, &name("a")).unwrap();
        let (old, new) = (Arc::new(Session::new(1)), Arc::new(Session::new(2)));
        ledger.open(stream(A, 0), sensor, &old).unwrap();
        ledger.open(stream(A, 0), sensor, &old).unwrap();
        assert!(ledger.is_carrier(&stream(A, 0), &old));
        ledger.open(stream(A, 0), sensor, &new).unwrap();
        assert!(ledger.is_carrier(&stream(A, 0), &new) && !ledger.is_carrier(&stream(A, 0), &old));
    }
}
