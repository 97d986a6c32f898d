//! How long a collector takes to acknowledge batches, and how many it takes a second, fsync included.
//!
//! Sensors made up here send batches over loopback, each with at most so many unanswered. The time of a batch runs from
//! its write to the arrival of an Ack whose `journaled` is beyond it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use hdrhistogram::Histogram;
use martlet_window::{
    BatchHeader, CaptureStatistics, Class, CountRow, Digest, Exposure, IpVersion, Kind, Marks, Origin, Posture,
    Service, TrafficClass, Window, WindowLength,
};
use martlet_wire::v1::{BatchEncoder, FRAME_HEADER_LENGTH, FrameHeader, Limits, Message, Stream};

/// 2024-11-21T10:00:00Z, where the windows begin.
const START: i64 = 1_732_183_200;

/// Measure acknowledgement latency and batches a second of a running collector.
#[derive(Debug, Parser)]
struct Options {
    /// Where the collector takes batches; it is filled with drill data
    #[arg(long, default_value = "127.0.0.1:7460")]
    collector: SocketAddr,
    /// Sensors that send side by side
    #[arg(long, default_value_t = 1)]
    sensors: u8,
    /// Batches of each sensor
    #[arg(long, default_value_t = 2000)]
    batches: u64,
    /// Rows of each batch
    #[arg(long, default_value_t = 100)]
    rows: u32,
    /// Batches of a sensor without an answer, at most
    #[arg(long, default_value_t = 1)]
    in_flight: usize,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let streams = (0..options.sensors).map(|number| prepare(&options, number)).collect::<Result<Vec<_>>>()?;
    let begin = Instant::now();
    let histograms: Vec<Result<Histogram<u64>>> = std::thread::scope(|scope| {
        let running: Vec<_> = streams.iter().map(|prepared| scope.spawn(|| prepared.run(&options))).collect();
        running.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("a sender panicked"))).collect()
    });
    let elapsed = begin.elapsed();
    // Three digits, up to a minute in microseconds.
    let mut all = Histogram::new_with_max(60_000_000, 3)?;
    for histogram in histograms {
        all.add(histogram?)?;
    }
    let batches = options.batches * u64::from(options.sensors);
    let rate = batches as f64 / elapsed.as_secs_f64();
    let milliseconds = |microseconds: u64| microseconds as f64 / 1000.0;
    writeln!(
        std::io::stdout(),
        "{:>3} sensors  {:>3} in flight  {:>6} rows  {:>6} batches  {rate:>8.0} batches/s  {:>9.0} rows/s  \
         p50 {:>7.2} ms  p99 {:>7.2} ms  max {:>7.2} ms",
        options.sensors,
        options.in_flight,
        options.rows,
        batches,
        rate * f64::from(options.rows),
        milliseconds(all.value_at_quantile(0.5)),
        milliseconds(all.value_at_quantile(0.99)),
        milliseconds(all.max()),
    )?;
    Ok(())
}

/// One sensor's batches, made before the clock runs.
struct Prepared {
    stream: Stream,
    name: String,
    frames: Vec<Vec<u8>>,
}

fn prepare(options: &Options, number: u8) -> Result<Prepared> {
    // A stream of its own for each run: what was counted before would not be written again.
    let epoch = u64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_nanos()).unwrap_or(0);
    let stream = Stream { origin: Origin([number + 1; 16]), epoch };
    let mut encoder = BatchEncoder::new()?;
    let mut predecessor = Digest::default();
    let mut frames = Vec::new();
    for sequence in 0..options.batches {
        let mut frame = Vec::new();
        let header = header(stream, sequence, predecessor, options.rows);
        predecessor = encoder.write(&header, rows(options.rows, sequence), &mut frame)?;
        frames.push(frame);
    }
    Ok(Prepared { stream, name: format!("load-{number}"), frames })
}

fn header(stream: Stream, sequence: u64, predecessor: Digest, rows: u32) -> BatchHeader {
    let length = WindowLength::DEFAULT;
    // A week of windows, over and over: history is bounded, and so is what the collector holds.
    let place = i64::try_from(sequence % 60_480).unwrap_or(0);
    BatchHeader {
        origin: stream.origin,
        epoch: stream.epoch,
        sequence,
        predecessor,
        class: TrafficClass::Drill,
        posture: Posture::Silent,
        window: Window { start: START + place * i64::from(length.seconds()), length },
        part: 0,
        exposure: Some(Exposure {
            watched_ms: u32::from(length.seconds()) * 1000,
            ipv4_addresses: 256,
            ipv6_prefixes: 0,
        }),
        unavailable: Marks::NONE,
        capture: CaptureStatistics {
            frames: rows.into(),
            packets: rows.into(),
            kernel_drops: 0,
            interface_drops: 0,
            rejected: Default::default(),
        },
    }
}

/// Rows in their order: a hundred ports, and sources that change from batch to batch.
fn rows(count: u32, sequence: u64) -> impl Iterator<Item = CountRow> {
    let ports = count.clamp(1, 100);
    (0..ports).flat_map(move |port| {
        let service = Service::Port(u16::try_from(port + 1).unwrap_or(1));
        let class = Class { ip: IpVersion::V4, protocol: 6, service, kind: Kind::Scan, marks: Marks::NONE };
        (port..count).step_by(ports as usize).map(move |number| {
            let source = u128::from(number) * 40_000 + u128::from(sequence % 40_000);
            CountRow { class: class.into(), source, packets: 1, bytes: 40, targets: 1 }
        })
    })
}

impl Prepared {
    fn run(&self, options: &Options) -> Result<Histogram<u64>> {
        let mut connection = TcpStream::connect(options.collector).context("cannot connect to the collector")?;
        connection.set_nodelay(true)?;
        connection.set_read_timeout(Some(Duration::from_secs(60)))?;
        let name: martlet_window::SensorName = self.name.parse()?;
        send(&mut connection, &Message::Hello { peer: self.stream.origin, name: name.clone() })?;
        receive(&mut connection)?;
        send(&mut connection, &Message::Open { stream: self.stream, name })?;
        let Message::Position { .. } = receive(&mut connection)? else { bail!("the stream was not opened") };

        let mut histogram = Histogram::new_with_max(60_000_000, 3)?;
        let mut sent = Vec::with_capacity(self.frames.len());
        let mut answered = 0;
        while answered < self.frames.len() {
            while sent.len() < self.frames.len() && sent.len() - answered < options.in_flight {
                sent.push(Instant::now());
                connection.write_all(&self.frames[sent.len() - 1])?;
            }
            match receive(&mut connection)? {
                Message::Ack { journaled, .. } => {
                    let journaled = usize::try_from(journaled)?;
                    for at in sent.get(answered..journaled).unwrap_or_default() {
                        histogram.record(u64::try_from(at.elapsed().as_micros())?)?;
                    }
                    answered = answered.max(journaled);
                }
                other => bail!("{other:?} instead of an acknowledgement"),
            }
        }
        Ok(histogram)
    }
}

fn send(connection: &mut TcpStream, message: &Message) -> Result<()> {
    let mut bytes = Vec::new();
    message.write(&mut bytes);
    Ok(connection.write_all(&bytes)?)
}

fn receive(connection: &mut TcpStream) -> Result<Message> {
    let mut head = [0; FRAME_HEADER_LENGTH];
    connection.read_exact(&mut head)?;
    let header = FrameHeader::parse(&head, &Limits::default())?;
    let mut payload = vec![0; header.length as usize];
    connection.read_exact(&mut payload)?;
    header.verify(&payload)?;
    Ok(Message::read(header.frame_type, &payload)?)
}
