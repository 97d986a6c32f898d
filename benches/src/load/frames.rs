//! Batch frames, encoded before the clock runs as far as memory allows.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, bail};
use martlet_window::{
    BatchHeader, CaptureStatistics, Digest, Exposure, Marks, Origin, Posture, SensorName, Timestamp, TrafficClass,
    Window, WindowLength,
};
use martlet_wire::v1::{BatchEncoder, FRAME_HEADER_LENGTH, Stream, move_batch};

use super::options::{End, Plan};
use super::pace::Pace;
use super::shape::Rows;

/// Rows that are prepared where nobody knows how many will be sent: some seconds of preparation.
const ROWS_OF_OPEN_END: u64 = 8_000_000;

/// Offsets in a batch payload (docs/wire.md).
const PART: usize = 52;
const WINDOW_START: usize = 56;
const WATCHED_MS: usize = 64;

/// One sensor's batches.
pub(super) struct Frames {
    pub(super) stream: Stream,
    pub(super) name: SensorName,
    bytes: Vec<u8>,
    /// Where each frame ends in `bytes`.
    ends: Vec<usize>,
    /// Packets of each frame.
    packets: Vec<u64>,
    /// The digest of the last frame that was prepared or made.
    predecessor: Digest,
    places: Places,
}

/// Prepares the frames of all sensors, on all cores.
pub(super) fn prepare(plan: &Plan, stop: &AtomicBool) -> Result<Vec<Frames>> {
    let now = std::time::UNIX_EPOCH.elapsed().context("the clock is before 1970")?;
    // A stream of its own for each run: what was counted before would not be counted again.
    let epoch = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    let now = Timestamp::from_parts(i64::try_from(now.as_secs())?, 0);
    let places = Places::ending(now, plan.windows);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let sensors: Vec<u16> = (0..plan.sensors).collect();
    let share = sensors.len().div_ceil(threads);
    let prepare_one = |&sensor: &u16| Frames::prepare(plan, sensor, epoch, places, stop);
    thread::scope(|scope| {
        let running: Vec<_> = sensors
            .chunks(share)
            .map(|some| scope.spawn(move || some.iter().map(prepare_one).collect::<Result<Vec<Frames>>>()))
            .collect();
        let mut all = Vec::with_capacity(sensors.len());
        for thread in running {
            let Ok(some) = thread.join() else { bail!("a thread that prepared frames panicked") };
            all.extend(some?);
        }
        Ok(all)
    })
}

impl Frames {
    fn prepare(plan: &Plan, sensor: u16, epoch: u64, places: Places, stop: &AtomicBool) -> Result<Frames> {
        let mut origin = *b"martlet-load\0\0\0\0";
        origin[14..].copy_from_slice(&sensor.to_be_bytes());
        let stream = Stream { origin: Origin(origin), epoch };
        let name = format!("load-{sensor}").parse()?;
        let mut frames = Frames {
            stream,
            name,
            bytes: Vec::new(),
            ends: Vec::new(),
            packets: Vec::new(),
            predecessor: Digest::default(),
            places,
        };
        let mut rows = Rows::new(plan.shape, plan.keys, plan.rows, sensor, plan.sensors, plan.seed);
        let (count, memory) = (wanted(plan, sensor), plan.memory_bytes / usize::from(plan.sensors));
        let (mut encoder, mut batch) = (BatchEncoder::new()?, Vec::new());
        for sequence in 0..count {
            // One frame there must be, from which others can be made.
            if sequence > 0 && frames.bytes.len() > memory {
                break;
            }
            if stop.load(Ordering::Relaxed) {
                bail!("interrupted while frames were prepared; nothing was sent");
            }
            rows.batch(&mut batch);
            let packets = batch.iter().map(|row| u64::from(row.packets)).sum();
            let header = frames.header(sequence, packets);
            frames.predecessor = encoder.write(&header, batch.iter().copied(), &mut frames.bytes)?;
            frames.ends.push(frames.bytes.len());
            frames.packets.push(packets);
        }
        Ok(frames)
    }

    fn header(&self, sequence: u64, packets: u64) -> BatchHeader {
        let place = self.places.of(sequence);
        BatchHeader {
            origin: self.stream.origin,
            epoch: self.stream.epoch,
            sequence,
            predecessor: self.predecessor,
            class: TrafficClass::Drill,
            posture: Posture::Silent,
            window: Window { start: place.start, length: WindowLength::DEFAULT },
            part: place.part,
            exposure: Some(Exposure { watched_ms: place.watched_ms, ipv4_addresses: 256, ipv6_prefixes: 1 }),
            unavailable: Marks::NONE,
            capture: CaptureStatistics { frames: packets, packets, ..CaptureStatistics::default() },
        }
    }

    /// Bytes of the frames that are prepared.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the batch is an earlier one in a new place.
    pub(super) fn is_reused(&self, sequence: u64) -> bool {
        self.place_of(sequence).is_none()
    }

    fn place_of(&self, sequence: u64) -> Option<usize> {
        usize::try_from(sequence).ok().filter(|&place| place < self.ends.len())
    }

    /// Which prepared frame the batch is, or is made of. There is one at least.
    fn original(&self, sequence: u64) -> usize {
        // The remainder is below the number of frames.
        usize::try_from(sequence % self.ends.len() as u64).unwrap_or(0)
    }

    /// Packets of the batch.
    pub(super) fn packets(&self, sequence: u64) -> u64 {
        self.packets[self.original(sequence)]
    }

    fn frame(&self, place: usize) -> &[u8] {
        let start = if place == 0 { 0 } else { self.ends[place - 1] };
        &self.bytes[start..self.ends[place]]
    }

    /// Appends the batch to `out`. Batches are asked for in order.
    pub(super) fn write(&mut self, sequence: u64, out: &mut Vec<u8>) -> Result<()> {
        if let Some(place) = self.place_of(sequence) {
            out.extend_from_slice(self.frame(place));
            return Ok(());
        }
        let place = self.original(sequence);
        let start = out.len();
        out.extend_from_slice(self.frame(place));
        let frame = &mut out[start..];
        self.places.of(sequence).put(frame);
        let moved = move_batch(frame, self.stream, sequence, self.predecessor);
        self.predecessor = moved.context("a prepared frame is no batch")?;
        Ok(())
    }
}

/// How many batches of a sensor are worth preparing.
fn wanted(plan: &Plan, sensor: u16) -> u64 {
    match (plan.end, plan.pace) {
        (End::Batches(batches), _) => batches,
        (End::Seconds(seconds), Pace::Open(open)) => open.due_before(sensor, seconds),
        (End::Seconds(_), Pace::Closed(_)) => {
            (ROWS_OF_OPEN_END / u64::from(plan.rows) / u64::from(plan.sensors)).max(2)
        }
    }
}

/// Which part of which window each batch is: the same windows over and over, as ever new parts of them.
#[derive(Clone, Copy, Debug)]
struct Places {
    first_start: i64,
    windows: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Place {
    start: i64,
    part: u32,
    watched_ms: u32,
}

impl Places {
    /// So many windows, the last of which ended by now.
    fn ending(now: Timestamp, windows: u32) -> Places {
        let length = i64::from(WindowLength::DEFAULT.seconds());
        let end = WindowLength::DEFAULT.window_at(now).start;
        Places { first_start: end - i64::from(windows) * length, windows: windows.into() }
    }

    fn of(self, sequence: u64) -> Place {
        let seconds = u32::from(WindowLength::DEFAULT.seconds());
        // Below the number of windows, which has 32 bits; no run has 2^32 parts.
        let window = i64::try_from(sequence % self.windows).unwrap_or(0);
        let part = u32::try_from(sequence / self.windows).unwrap_or(u32::MAX);
        let start = self.first_start + window * i64::from(seconds);
        // The slices of a window add up to it, and the first part has it all.
        Place { start, part, watched_ms: if part == 0 { seconds * 1000 } else { 0 } }
    }
}

impl Place {
    /// Writes the place into a batch frame; its checksum is for the caller to mend.
    fn put(self, frame: &mut [u8]) {
        let mut put = |at: usize, bytes: &[u8]| {
            frame[FRAME_HEADER_LENGTH + at..][..bytes.len()].copy_from_slice(bytes);
        };
        put(PART, &self.part.to_le_bytes());
        put(WINDOW_START, &self.start.to_le_bytes());
        put(WATCHED_MS, &self.watched_ms.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use martlet_wire::v1::{BatchView, FrameHeader, Limits, digest};

    use super::super::pace::Closed;
    use super::super::shape::Shape;
    use super::*;

    fn plan(memory_bytes: usize) -> Plan {
        Plan {
            shape: Shape::Background,
            sensors: 2,
            rows: 50,
            keys: Some(1000),
            windows: 6,
            seed: 1,
            memory_bytes,
            pace: Pace::Closed(Closed { in_flight: 1 }),
            end: End::Batches(20),
            tls: false,
        }
    }

    /// The stream, read as the collector does: checksums, headers, the chain.
    fn headers(frames: &mut Frames, count: u64) -> Vec<BatchHeader> {
        let mut predecessor = Digest::default();
        let mut all = Vec::new();
        for sequence in 0..count {
            let mut frame = Vec::new();
            frames.write(sequence, &mut frame).unwrap();
            let payload = &frame[FRAME_HEADER_LENGTH..];
            FrameHeader::parse(frame.first_chunk().unwrap(), &Limits::default()).unwrap().verify(payload).unwrap();
            let view = BatchView::read(payload, &Limits::default()).unwrap();
            assert_eq!((view.header.sequence, view.header.predecessor, view.rows), (sequence, predecessor, 50));
            predecessor = digest(payload);
            all.push(view.header);
        }
        all
    }

    #[test]
    fn a_stream_is_the_same_chain_whether_it_is_prepared_or_made_of_few_frames() {
        let stop = AtomicBool::new(false);
        for (memory, reused) in [(1 << 20, false), (0, true)] {
            for mut frames in prepare(&plan(memory), &stop).unwrap() {
                assert_eq!(frames.is_reused(19), reused);
                let headers = headers(&mut frames, 30);
                assert!(headers.iter().all(|header| header.origin == frames.stream.origin));
                let parts: Vec<u32> = headers.iter().map(|header| header.part).collect();
                assert_eq!(parts, (0..30).map(|sequence| sequence / 6).collect::<Vec<u32>>());
                let watched: u64 = headers.iter().map(|it| u64::from(it.exposure.unwrap().watched_ms)).sum();
                assert_eq!(watched, 60_000, "six windows of ten seconds, each once");
                for (header, earlier) in headers[6..].iter().zip(&headers) {
                    assert_eq!(header.window, earlier.window);
                }
            }
        }
    }

    #[test]
    fn windows_have_ended() {
        let places = Places::ending(Timestamp::from_parts(1_000_000_005, 0), 3);
        let starts: Vec<i64> = (0..4).map(|sequence| places.of(sequence).start).collect();
        assert_eq!(starts, [999_999_970, 999_999_980, 999_999_990, 999_999_970]);
    }
}
