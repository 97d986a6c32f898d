//! Traffic for benchmarks: a drill in memory, and the sensor's path from a frame to its window; [`load`] on a collector;
//! its [`aggregation`] core beside others; and what [`history`] takes.
//!
//! The benchmarks are in `benches/`, shell programs that measure whole processes beside it, and dated results in
//! `results/`.

pub mod aggregation;
pub mod batch;
pub mod history;
pub mod load;

use martlet_drill::{Drill, DrillConfig};
use martlet_observe::aggregate::{Aggregator, Observation, Part, Sink, TableLimits, WindowTable};
use martlet_observe::capture::Frame;
use martlet_observe::classify::{Aim, classify};
use martlet_observe::pipeline::Pipeline;
use martlet_observe::screen::{AddressSet, Screen};
use martlet_packet::{LinkType, parse};
use martlet_window::{CountRow, Timestamp, WindowLength, address_bits};

/// Frames of background radiation, one after the other in one buffer.
#[derive(Debug, Default)]
pub struct Traffic {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Traffic {
    /// This many packets of the default drill.
    ///
    /// # Panics
    /// If the default configuration were not valid.
    #[must_use]
    #[expect(clippy::expect_used, reason = "the default configuration is valid; a benchmark has nobody to tell")]
    pub fn drill(packets: u64) -> Traffic {
        let config = DrillConfig { exact_packets: Some(packets), outbreak: None, ..DrillConfig::default() };
        let mut drill = Drill::new(&config).expect("the default drill");
        let mut traffic = Traffic::default();
        while let Some(packet) = drill.next_packet() {
            traffic.bytes.extend_from_slice(packet.frame);
            traffic.ends.push(traffic.bytes.len());
        }
        traffic
    }

    /// Number of frames.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no frames.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The frames, all captured in the second `at`.
    pub fn frames(&self, at: i64) -> impl Iterator<Item = Frame<'_>> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(move |(start, &end)| Frame {
            time: Timestamp::from_parts(at, 0),
            link: Some(LinkType::Ethernet),
            bytes: &self.bytes[start..end],
        })
    }
}

/// Takes parts and gives their tables back, emptied.
#[derive(Debug, Default)]
pub struct Recycle {
    /// Rows so far.
    pub rows: usize,
    tables: Vec<WindowTable>,
}

impl Sink for Recycle {
    fn part(&mut self, part: Part) {
        if let Some(mut table) = part.table {
            self.rows += table.len();
            table.clear();
            self.tables.push(table);
        }
    }

    fn table(&mut self) -> WindowTable {
        self.tables.pop().unwrap_or_else(|| WindowTable::new(TableLimits::default()))
    }
}

/// A sensor's path from a frame to its window, observing the drill's prefix.
///
/// # Panics
/// If the default prefix were not one.
#[must_use]
pub fn pipeline(limits: TableLimits) -> Pipeline {
    let observed: AddressSet = std::iter::once(DrillConfig::default().dark.into()).collect();
    let aggregator = Aggregator::new(WindowLength::DEFAULT, limits);
    Pipeline::new(Screen::offline(&observed, true), Aim::AsSeen, observed, aggregator)
}

/// What a sensor sees of the traffic.
///
/// # Panics
/// If a frame of the drill is no packet.
#[must_use]
#[expect(clippy::expect_used, reason = "a benchmark has nobody to tell")]
pub fn observations(traffic: &Traffic) -> Vec<Observation> {
    let seen = traffic.frames(0).map(|frame| {
        let packet = parse(LinkType::Ethernet, frame.bytes).expect("a packet of the drill");
        let class = classify(&packet, Aim::AsSeen).into();
        Observation { class, source: address_bits(packet.source), target: 1, bytes: packet.length }
    });
    seen.collect()
}

/// The traffic as the rows of one window.
///
/// # Panics
/// If a window cannot hold so many rows.
#[must_use]
#[expect(clippy::expect_used, reason = "a benchmark has nobody to tell")]
pub fn rows(traffic: &Traffic) -> Vec<CountRow> {
    let mut table = WindowTable::new(TableLimits::default());
    table.add(&observations(traffic)).expect("room for the drill");
    table.sorted_rows().collect()
}
