//! Capture files and packets made by hand: the formats' framing written down a second time, apart from the sensor's.

/// Byte order of a capture file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

impl Order {
    fn put16(self, value: u16) -> [u8; 2] {
        if self == Order::Little { value.to_le_bytes() } else { value.to_be_bytes() }
    }

    fn put32(self, value: u32) -> [u8; 4] {
        if self == Order::Little { value.to_le_bytes() } else { value.to_be_bytes() }
    }

    /// The 32-bit number at an offset.
    fn take32(self, bytes: &[u8], offset: usize) -> u32 {
        let field: [u8; 4] = bytes[offset..offset + 4].try_into().unwrap();
        if self == Order::Little { u32::from_le_bytes(field) } else { u32::from_be_bytes(field) }
    }
}

/// Second of capture time of the first frame in files made here; each frame comes a second after the one before.
pub const START: u32 = 1_600_000_000;

/// A pcap file with microseconds.
#[must_use]
pub fn pcap(order: Order, link: u16, frames: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut file = order.put32(0xa1b2_c3d4).to_vec();
    file.extend([order.put16(2), order.put16(4)].concat());
    for field in [0, 0, 262_144, u32::from(link)] {
        file.extend(order.put32(field));
    }
    for (second, frame) in (START..).zip(frames) {
        let frame = frame.as_ref();
        let length = u32::try_from(frame.len()).unwrap();
        for field in [second, 0, length, length] {
            file.extend(order.put32(field));
        }
        file.extend(frame);
    }
    file
}

/// A pcapng file: one section, one interface, one enhanced packet block a frame.
#[must_use]
pub fn pcapng(order: Order, link: u16, frames: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let block = |kind: u32, body: &[u8]| {
        let padded = body.len().next_multiple_of(4);
        let length = order.put32(u32::try_from(padded + 12).unwrap());
        let padding = vec![0; padded - body.len()];
        [&order.put32(kind)[..], &length, body, &padding, &length].concat()
    };
    let version = [order.put16(1), order.put16(0)].concat();
    let mut file = block(0x0a0d_0d0a, &[&order.put32(0x1a2b_3c4d)[..], &version, &[0xff; 8]].concat());
    file.extend(block(1, &[order.put16(link), order.put16(0), [0; 2], [0; 2]].concat()));
    for (second, frame) in (u64::from(START)..).zip(frames) {
        let frame = frame.as_ref();
        let micros = second * 1_000_000;
        let length = u32::try_from(frame.len()).unwrap();
        let fields = [0, u32::try_from(micros >> 32).unwrap(), u32::try_from(micros & 0xffff_ffff).unwrap()];
        let head: Vec<u8> = fields.into_iter().chain([length, length]).flat_map(|field| order.put32(field)).collect();
        file.extend(block(6, &[&head, frame].concat()));
    }
    file
}

/// The places at which a capture file may end: behind the file or section header and behind each record or block,
/// each with the number of frames in front of it.
///
/// # Panics
/// If the file is not whole.
#[must_use]
pub fn boundaries(file: &[u8]) -> Vec<(usize, u64)> {
    let magic = Order::Little.take32(file, 0);
    if magic == 0x0a0d_0d0a {
        let order = if Order::Little.take32(file, 8) == 0x1a2b_3c4d { Order::Little } else { Order::Big };
        let section = order.take32(file, 4) as usize;
        return walk(file, section, |offset| {
            // Enhanced (6), simple (3) and obsolete (2) packet blocks hold frames.
            let is_frame = matches!(order.take32(file, offset), 2 | 3 | 6);
            (order.take32(file, offset + 4) as usize, u64::from(is_frame))
        });
    }
    let order = if magic == 0xa1b2_c3d4 { Order::Little } else { Order::Big };
    walk(file, 24, |offset| (16 + order.take32(file, offset + 8) as usize, 1))
}

fn walk(file: &[u8], start: usize, record: impl Fn(usize) -> (usize, u64)) -> Vec<(usize, u64)> {
    let mut places = vec![(start, 0)];
    let (mut offset, mut frames) = (start, 0);
    while offset < file.len() {
        let (length, holds) = record(offset);
        offset += length;
        frames += holds;
        places.push((offset, frames));
    }
    places
}

/// An Ethernet II frame.
#[must_use]
pub fn ethernet(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &ether_type.to_be_bytes(), payload].concat()
}

/// An IPv4 packet without options, with a correct length and no checksum: Martlet checks none.
#[must_use]
pub fn ipv4(protocol: u8, source: [u8; 4], destination: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    [&[0x45, 0, length[0], length[1], 0, 7, 0, 0, 64, protocol, 0, 0][..], &source, &destination, payload].concat()
}

/// A TCP header without options.
#[must_use]
pub fn tcp(source_port: u16, destination_port: u16, sequence: u32, flags: u8) -> Vec<u8> {
    let [s0, s1, s2, s3] = sequence.to_be_bytes();
    let ports = [source_port.to_be_bytes(), destination_port.to_be_bytes()].concat();
    [&ports[..], &[s0, s1, s2, s3, 0, 0, 0, 0, 0x50, flags, 0x20, 0, 0, 0, 0, 0]].concat()
}

/// A UDP datagram.
#[must_use]
pub fn udp(source_port: u16, destination_port: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap();
    let fields = [source_port, destination_port, length, 0].map(u16::to_be_bytes).concat();
    [&fields, payload].concat()
}
