//! A hand-made sensor: it speaks the wire protocol and has watched whenever a test says so.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use martlet_window::{
    BatchHeader, CaptureStatistics, Class, CountRow, Digest, Exposure, IpVersion, Kind, Marks, Origin, Posture,
    Service, TrafficClass, Window, WindowLength,
};
use martlet_wire::v1::{BatchEncoder, FRAME_HEADER_LENGTH, FrameHeader, Limits, Message, Stream, Totals};

/// Windows of a minute, so that a day of them is soon made.
pub(crate) const WINDOW_SECONDS: i64 = 60;

/// Scans of a TCP port.
pub(crate) fn scan(port: u16, source: u32, packets: u32) -> CountRow {
    let class =
        Class { ip: IpVersion::V4, protocol: 6, service: Service::Port(port), kind: Kind::Scan, marks: Marks::NONE };
    CountRow { class: class.into(), source: source.into(), packets, targets: 1, bytes: 40 * u64::from(packets) }
}

/// One sensor and its connection.
pub(crate) struct Sensor {
    connection: TcpStream,
    stream: Stream,
    encoder: BatchEncoder,
    next: u64,
    last: Digest,
    totals: Totals,
    /// Windows delivered.
    pub(crate) delivered: u64,
}

impl Sensor {
    /// Connects a sensor that has 16 addresses.
    pub(crate) fn connect(collector: SocketAddr, number: u8, name: &str) -> Sensor {
        let connection = TcpStream::connect(collector).unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let stream = Stream { origin: Origin([number; 16]), epoch: 1 };
        let encoder = BatchEncoder::new().unwrap();
        let (last, totals) = Default::default();
        let mut sensor = Sensor { connection, stream, encoder, next: 0, last, totals, delivered: 0 };
        sensor.send(&Message::Hello { peer: stream.origin, name: name.parse().unwrap() });
        sensor.receive();
        sensor.send(&Message::Open { stream, name: name.parse().unwrap() });
        sensor.receive();
        sensor
    }

    /// Delivers the windows that begin in a range of time, in seconds since the Unix epoch, each with so many packets.
    pub(crate) fn watch(&mut self, from: i64, to: i64, packets: u32, kernel_drops: u64) {
        self.see(from, to, kernel_drops, |_| {
            Some(scan(23, 0x0a00_0001, packets)).filter(|_| packets > 0).into_iter().collect()
        });
    }

    /// The same, with what there was in the window that begins at a time.
    pub(crate) fn see(&mut self, from: i64, to: i64, kernel_drops: u64, rows: impl Fn(i64) -> Vec<CountRow>) {
        let starts = (from..to).filter(|start| start % WINDOW_SECONDS == 0);
        for start in starts {
            let mut rows = rows(start);
            rows.sort_by_key(|row| (row.class, row.source));
            let packets = rows.iter().map(|row| u64::from(row.packets)).sum();
            let header = self.header(start, packets, kernel_drops);
            let mut frame = Vec::new();
            self.last = self.encoder.write(&header, rows, &mut frame).unwrap();
            self.connection.write_all(&frame).unwrap();
            self.next += 1;
            self.delivered += 1;
            self.totals = self.totals.plus(Totals::of(&header));
        }
        self.await_ack();
    }

    /// Says that the windows that begin in a range of time are lost.
    pub(crate) fn lose(&mut self, from: i64, to: i64, packets: u64) {
        let windows = u64::try_from((to - from) / WINDOW_SECONDS).unwrap();
        self.totals.windows += windows;
        self.totals.packets += packets;
        self.totals.watched_ms += windows * 60_000;
        let lost = Message::Lost {
            stream: self.stream,
            from: self.next,
            to: self.next + windows - 1,
            totals: self.totals,
            first_window: from,
            last_window: to - WINDOW_SECONDS,
        };
        self.send(&lost);
        self.next += windows;
        self.await_ack();
    }

    fn header(&self, start: i64, packets: u64, kernel_drops: u64) -> BatchHeader {
        BatchHeader {
            origin: self.stream.origin,
            epoch: self.stream.epoch,
            sequence: self.next,
            predecessor: self.last,
            class: TrafficClass::Real,
            posture: Posture::Silent,
            window: Window { start, length: WindowLength::from_seconds(60).unwrap() },
            part: 0,
            exposure: Some(Exposure { watched_ms: 60_000, ipv4_addresses: 16, ipv6_prefixes: 0 }),
            unavailable: Marks::NONE,
            capture: CaptureStatistics { frames: packets, packets, kernel_drops, ..CaptureStatistics::default() },
        }
    }

    fn send(&mut self, message: &Message) {
        let mut frame = Vec::new();
        message.write(&mut frame);
        self.connection.write_all(&frame).unwrap();
    }

    fn receive(&mut self) -> Message {
        let mut head = [0; FRAME_HEADER_LENGTH];
        self.connection.read_exact(&mut head).unwrap();
        let header = FrameHeader::parse(&head, &Limits::default()).unwrap();
        let mut payload = vec![0; header.length as usize];
        self.connection.read_exact(&mut payload).unwrap();
        Message::read(header.frame_type, &payload).unwrap()
    }

    /// Waits until everything sent is acknowledged.
    fn await_ack(&mut self) {
        loop {
            match self.receive() {
                Message::Ack { journaled, .. } if journaled == self.next => return,
                Message::Ack { journaled, .. } => assert!(journaled < self.next, "{journaled} of {}", self.next),
                other => panic!("{other:?} instead of an Ack"),
            }
        }
    }
}
