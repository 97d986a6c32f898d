//! What the tests of spool and uplink share: batches, and a collector that keeps a ledger.

#![expect(dead_code, reason = "each test program uses its part")]

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use martlet_journal::{Disk, DiskFile};
use martlet_observe::batch::{BatchSink, Fresh, Place};
use martlet_sensor::spool::{self, Found, MemoryDisk, Next, Outlet, SpoolFigures, SpoolSettings, SpoolWriter};
use martlet_window::{
    BatchHeader, CaptureStatistics, Class, CountRow, Digest, Exposure, IpVersion, Kind, Marks, Origin, Posture,
    Service, TrafficClass, Window, WindowLength,
};
use martlet_wire::v1::{
    BatchEncoder, BatchView, FRAME_HEADER_LENGTH, FrameHeader, FrameType, Limits, Message, NackReason, Stream, Totals,
    digest,
};
use tokio::io::{AsyncRead, AsyncReadExt};

pub(crate) const ORIGIN: Origin = Origin([7; 16]);
pub(crate) const TEN: i64 = 1_600_000_000;

/// Epochs that differ from each other in this process, the same in each run of a test.
pub(crate) fn epochs(first: u64) -> Box<dyn FnMut() -> u64 + Send> {
    let next = AtomicU64::new(first);
    Box::new(move || next.fetch_add(1, Relaxed))
}

pub(crate) struct Opened<D: Disk> {
    pub(crate) writer: SpoolWriter<D>,
    pub(crate) outlet: Outlet<D>,
    pub(crate) found: Found,
    pub(crate) figures: Arc<SpoolFigures>,
}

pub(crate) fn open<D: Disk>(disk: &D, settings: SpoolSettings, first_epoch: u64) -> Opened<D> {
    let figures = Arc::new(SpoolFigures::default());
    let (writer, outlet, found) =
        spool::open(disk.clone(), ORIGIN, settings, figures.clone(), epochs(first_epoch)).unwrap();
    Opened { writer, outlet, found, figures }
}

/// Pushes batch number `n` of a test, which holds 10 + n packets: window n, or a late part of the one before if n is
/// a multiple of 4.
pub(crate) fn push<D: Disk>(writer: &mut SpoolWriter<D>, n: u64) -> Totals {
    push_rows(writer, n, 1)
}

/// As [`push`], with so many rows of sources that do not compress.
pub(crate) fn push_rows<D: Disk>(writer: &mut SpoolWriter<D>, n: u64, rows: u32) -> Totals {
    let (header, frame) = place_rows(writer.place(), n, rows);
    let digest = digest(&frame[FRAME_HEADER_LENGTH..]);
    let held = Totals::of(&header);
    writer.push(&Fresh { frame: &frame, digest, window: header.window.start, held });
    held
}

/// A batch for this place.
pub(crate) fn place_rows(place: Place, n: u64, rows: u32) -> (BatchHeader, Vec<u8>) {
    let late = n > 0 && n.is_multiple_of(4);
    let window = TEN + 10 * i64::try_from(n - u64::from(late)).unwrap();
    let class =
        Class { ip: IpVersion::V4, protocol: 6, service: Service::Port(23), kind: Kind::Scan, marks: Marks::NONE };
    let first = u32::try_from(10 + n).unwrap();
    let mut seed = 1;
    let rows: Vec<CountRow> = (0..rows)
        .map(|row| {
            seed += 1 + u128::from(row.wrapping_mul(2_654_435_761) >> 16);
            let packets = if row == 0 { first } else { 1 };
            CountRow { class: class.into(), source: seed, packets, targets: 1, bytes: 40 * u64::from(packets) }
        })
        .collect();
    let packets = rows.iter().map(|row| u64::from(row.packets)).sum();
    let header = BatchHeader {
        origin: ORIGIN,
        epoch: place.epoch,
        sequence: place.sequence,
        predecessor: place.predecessor,
        class: TrafficClass::Real,
        posture: Posture::Silent,
        window: Window { start: window, length: WindowLength::DEFAULT },
        part: u32::from(late),
        exposure: Some(Exposure { watched_ms: 10_000 - u32::from(late) * 3000, ipv4_addresses: 256, ipv6_prefixes: 0 }),
        unavailable: Marks::NONE,
        capture: CaptureStatistics { frames: packets, packets, ..CaptureStatistics::default() },
    };
    let mut frame = Vec::new();
    BatchEncoder::new().unwrap().write(&header, rows, &mut frame).unwrap();
    (header, frame)
}

/// A collector as far as the wire shows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) streams: BTreeMap<u64, Position>,
    /// Packets of each batch that counted, in order.
    pub(crate) counted: Vec<u64>,
    pub(crate) lost: Totals,
    pub(crate) lost_batches: u64,
    /// First and last window of each loss.
    pub(crate) lost_windows: Vec<(i64, i64)>,
    /// Batches that came again.
    pub(crate) duplicates: u64,
    /// A batch that is found malformed: epoch and number.
    pub(crate) malformed: Option<(u64, u64)>,
    /// Whether acknowledgements say that nothing is committed.
    pub(crate) holds_back: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Position {
    pub(crate) expected: u64,
    pub(crate) predecessor: Option<Digest>,
    pub(crate) totals: Totals,
}

impl Default for Position {
    fn default() -> Position {
        Position { expected: 0, predecessor: Some(Digest::default()), totals: Totals::default() }
    }
}

impl Ledger {
    pub(crate) fn position(&mut self, epoch: u64) -> Position {
        *self.streams.entry(epoch).or_default()
    }

    pub(crate) fn packets(&self) -> u64 {
        self.counted.iter().sum()
    }

    pub(crate) fn open(&mut self, stream: Stream) -> Message {
        assert_eq!(stream.origin, ORIGIN);
        let Position { expected, predecessor, .. } = self.position(stream.epoch);
        Message::Position { stream, expected, predecessor }
    }

    fn ack(&self, stream: Stream) -> Message {
        let expected = self.streams[&stream.epoch].expected;
        Message::Ack { stream, journaled: expected, committed: if self.holds_back { 0 } else { expected } }
    }

    pub(crate) fn batch(&mut self, payload: &[u8]) -> Message {
        let header = BatchView::read(payload, &Limits::default()).unwrap().header;
        assert_eq!(header.origin, ORIGIN);
        let stream = Stream { origin: ORIGIN, epoch: header.epoch };
        let position = self.position(header.epoch);
        let nack = |reason| Message::Nack { stream, expected: position.expected, reason };
        if header.sequence < position.expected {
            self.duplicates += 1;
            return self.ack(stream);
        }
        if header.sequence > position.expected {
            return nack(NackReason::OutOfSequence);
        }
        if self.malformed == Some((header.epoch, header.sequence)) {
            return nack(NackReason::Malformed);
        }
        if position.predecessor.is_some_and(|known| known != header.predecessor) {
            return nack(NackReason::BrokenChain);
        }
        self.streams.insert(
            header.epoch,
            Position {
                expected: header.sequence + 1,
                predecessor: Some(digest(payload)),
                totals: position.totals.plus(Totals::of(&header)),
            },
        );
        self.counted.push(header.capture.packets);
        self.ack(stream)
    }

    pub(crate) fn lost(&mut self, message: &Message) -> Message {
        let &Message::Lost { stream, from, to, totals, first_window, last_window } = message else {
            panic!("{message:?}")
        };
        let position = self.position(stream.epoch);
        if to < position.expected {
            return self.ack(stream);
        }
        if from != position.expected {
            return Message::Nack { stream, expected: position.expected, reason: NackReason::OutOfSequence };
        }
        let lost = totals.since(position.totals);
        // A claim below what was counted would be a defect of the sensor.
        assert_eq!(position.totals.plus(lost), totals);
        self.lost = self.lost.plus(lost);
        self.lost_batches += to + 1 - from;
        self.lost_windows.push((first_window, last_window));
        self.streams.insert(stream.epoch, Position { expected: to + 1, predecessor: None, totals });
        self.ack(stream)
    }

    /// Answers one frame of a connection.
    pub(crate) fn answer(&mut self, frame_type: FrameType, payload: &[u8]) -> Message {
        match frame_type {
            FrameType::Hello => Message::Welcome {
                your_address: "192.0.2.1".parse().unwrap(),
                max_batch_bytes: 8 << 20,
                max_rows: 1 << 19,
            },
            FrameType::Batch => self.batch(payload),
            _ => match Message::read(frame_type, payload).unwrap() {
                Message::Open { stream, .. } => self.open(stream),
                lost @ Message::Lost { .. } => self.lost(&lost),
                other => panic!("{other:?}"),
            },
        }
    }
}

/// Delivers everything of an outlet to a ledger, as an uplink would, without a network between.
pub(crate) fn drain<D: Disk>(outlet: &mut Outlet<D>, ledger: &mut Ledger) {
    try_drain(outlet, ledger, u64::MAX).unwrap();
}

/// As [`drain`], up to so many frames.
pub(crate) fn try_drain<D: Disk>(outlet: &mut Outlet<D>, ledger: &mut Ledger, mut frames: u64) -> io::Result<()> {
    for epoch in outlet.epochs() {
        let stream = Stream { origin: ORIGIN, epoch };
        let position = ledger.position(epoch);
        if !outlet.resume(epoch, position.expected, position.predecessor)? {
            continue;
        }
        let mut cursor = position.expected;
        while frames > 0 {
            frames -= 1;
            let mut out = Vec::new();
            match outlet.next(cursor, &mut out, 4000)? {
                Next::Batches { to } => {
                    let mut rest = &out[..];
                    while let Some(head) = rest.first_chunk() {
                        let header = FrameHeader::parse(head, &Limits::default()).unwrap();
                        let (frame, behind) = rest.split_at(FRAME_HEADER_LENGTH + header.length as usize);
                        take_ack(outlet, &ledger.batch(&frame[FRAME_HEADER_LENGTH..]));
                        rest = behind;
                    }
                    cursor = to + 1;
                }
                Next::Lost { to, totals, windows: (first_window, last_window) } => {
                    let lost = Message::Lost { stream, from: cursor, to, totals, first_window, last_window };
                    let ack = ledger.lost(&lost);
                    take_ack(outlet, &ack);
                    cursor = to + 1;
                }
                Next::Enough => panic!("everything was acknowledged"),
                Next::Empty => break,
            }
        }
        let ack = ledger.ack(stream);
        take_ack(outlet, &ack);
    }
    Ok(())
}

fn take_ack<D: Disk>(outlet: &mut Outlet<D>, message: &Message) {
    let &Message::Ack { stream, journaled, committed } = message else { panic!("{message:?}") };
    outlet.acknowledge(stream.epoch, journaled, committed);
}

/// The next frame that a sensor sends; `None` once the line is gone.
pub(crate) async fn next_frame(line: &mut (impl AsyncRead + Unpin)) -> Option<(FrameType, Vec<u8>)> {
    let mut head = [0; FRAME_HEADER_LENGTH];
    line.read_exact(&mut head).await.ok()?;
    let header = FrameHeader::parse(&head, &Limits::default()).unwrap();
    let mut payload = vec![0; header.length as usize];
    line.read_exact(&mut payload).await.ok()?;
    header.verify(&payload).unwrap();
    Some((header.frame_type, payload))
}

/// All files of a disk.
pub(crate) fn image(disk: &impl Disk) -> BTreeMap<String, Vec<u8>> {
    let read = |name: String| {
        let file = disk.open(&name).unwrap();
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        let read = file.read_at(&mut bytes, 0).unwrap();
        assert_eq!(read, bytes.len());
        (name, bytes)
    };
    disk.list().unwrap().into_iter().map(read).collect()
}

/// A disk with these files.
pub(crate) fn disk_of(image: &BTreeMap<String, Vec<u8>>) -> MemoryDisk {
    let disk = MemoryDisk::default();
    for (name, bytes) in image {
        disk.create(name).unwrap().write_at(bytes, 0).unwrap();
    }
    disk
}

/// What pushes held together.
pub(crate) fn sum(all: &[Totals]) -> Totals {
    all.iter().fold(Totals::default(), |sum, &held| sum.plus(held))
}
