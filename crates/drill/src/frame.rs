//! Ethernet frames with correct lengths and checksums, built in one buffer that is used again and again.

/// Length of an Ethernet header, in bytes.
pub const ETHERNET_LEN: usize = 14;
/// Source of every frame: locally administered, spelling "drill", so that such a file can be told from a capture.
pub const SOURCE_MAC: [u8; 6] = [0x02, b'd', b'r', b'i', b'l', b'l'];
/// Destination of every frame: locally administered, spelling "senso" as far as it goes.
pub const DESTINATION_MAC: [u8; 6] = [0x02, b's', b'e', b'n', b's', b'o'];

const IP: usize = ETHERNET_LEN;
const L4: usize = IP + 20;
const TCP_LEN: usize = 20;
const UDP_LEN: usize = 8;
const ICMP_LEN: usize = 8;
/// Room for the longest template: a SIP request of 437 bytes, with some to spare.
pub(crate) const CAPACITY: usize = 640;

pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;

/// The fields of an IPv4 header that differ between packets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ip {
    pub(crate) source: u32,
    pub(crate) destination: u32,
    pub(crate) id: u16,
    pub(crate) dont_fragment: bool,
    pub(crate) ttl: u8,
}

/// The fields of a TCP header that differ between packets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tcp<'a> {
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    pub(crate) sequence: u32,
    pub(crate) acknowledgment: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    /// A multiple of four bytes, at most 40.
    pub(crate) options: &'a [u8],
}

/// The frame buffer.
pub(crate) struct Frame {
    bytes: [u8; CAPACITY],
    length: usize,
}

impl Frame {
    pub(crate) fn new() -> Self {
        let mut bytes = [0; CAPACITY];
        bytes[..6].copy_from_slice(&DESTINATION_MAC);
        bytes[6..12].copy_from_slice(&SOURCE_MAC);
        bytes[12..14].copy_from_slice(&[0x08, 0x00]);
        Self { bytes, length: ETHERNET_LEN }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// IP total length of the packet in the buffer.
    pub(crate) fn total_length(&self) -> u16 {
        u16::try_from(self.length - ETHERNET_LEN).unwrap_or(u16::MAX)
    }

    /// Writes a TCP segment without payload.
    pub(crate) fn tcp(&mut self, ip: &Ip, tcp: &Tcp<'_>) {
        let length = TCP_LEN + tcp.options.len();
        self.ip(ip, 6, length);
        // Options are at most 40 bytes, so the offset fits its four bits.
        let data_offset = u8::try_from(length / 4).unwrap_or(0xf);
        let b = &mut self.bytes;
        b[L4..L4 + 2].copy_from_slice(&tcp.source_port.to_be_bytes());
        b[L4 + 2..L4 + 4].copy_from_slice(&tcp.destination_port.to_be_bytes());
        b[L4 + 4..L4 + 8].copy_from_slice(&tcp.sequence.to_be_bytes());
        b[L4 + 8..L4 + 12].copy_from_slice(&tcp.acknowledgment.to_be_bytes());
        b[L4 + 12] = data_offset << 4;
        b[L4 + 13] = tcp.flags;
        b[L4 + 14..L4 + 16].copy_from_slice(&tcp.window.to_be_bytes());
        b[L4 + 16..L4 + 20].fill(0);
        b[L4 + 20..L4 + length].copy_from_slice(tcp.options);
        let sum = checksum(&b[L4..L4 + length], pseudo_header(ip, 6, length));
        b[L4 + 16..L4 + 18].copy_from_slice(&sum.to_be_bytes());
    }

    /// Writes a UDP datagram.
    pub(crate) fn udp(&mut self, ip: &Ip, source_port: u16, destination_port: u16, payload: &[u8]) {
        let length = UDP_LEN + payload.len();
        self.ip(ip, 17, length);
        let b = &mut self.bytes;
        b[L4..L4 + 2].copy_from_slice(&source_port.to_be_bytes());
        b[L4 + 2..L4 + 4].copy_from_slice(&destination_port.to_be_bytes());
        b[L4 + 4..L4 + 6].copy_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
        b[L4 + 6..L4 + 8].fill(0);
        b[L4 + 8..L4 + length].copy_from_slice(payload);
        let sum = checksum(&b[L4..L4 + length], pseudo_header(ip, 17, length));
        // Zero means "none" in UDP; its equal in one's complement stands in (RFC 768).
        let sum = if sum == 0 { 0xffff } else { sum };
        b[L4 + 6..L4 + 8].copy_from_slice(&sum.to_be_bytes());
    }

    /// Writes an ICMP message; `rest` is the second word of its header.
    pub(crate) fn icmp(&mut self, ip: &Ip, kind: (u8, u8), rest: [u8; 4], body: &[u8]) {
        let length = ICMP_LEN + body.len();
        self.ip(ip, 1, length);
        let b = &mut self.bytes;
        b[L4] = kind.0;
        b[L4 + 1] = kind.1;
        b[L4 + 2..L4 + 4].fill(0);
        b[L4 + 4..L4 + 8].copy_from_slice(&rest);
        b[L4 + 8..L4 + length].copy_from_slice(body);
        let sum = checksum(&b[L4..L4 + length], 0);
        b[L4 + 2..L4 + 4].copy_from_slice(&sum.to_be_bytes());
    }

    fn ip(&mut self, ip: &Ip, protocol: u8, payload_length: usize) {
        self.length = L4 + payload_length;
        let header = ip_header(ip, protocol, payload_length);
        self.bytes[IP..L4].copy_from_slice(&header);
    }
}

/// An IPv4 header without options, with its checksum.
pub(crate) fn ip_header(ip: &Ip, protocol: u8, payload_length: usize) -> [u8; 20] {
    let mut h = [0; 20];
    h[0] = 0x45;
    h[2..4].copy_from_slice(&u16::try_from(20 + payload_length).unwrap_or(u16::MAX).to_be_bytes());
    h[4..6].copy_from_slice(&ip.id.to_be_bytes());
    h[6] = if ip.dont_fragment { 0x40 } else { 0 };
    h[8] = ip.ttl;
    h[9] = protocol;
    h[12..16].copy_from_slice(&ip.source.to_be_bytes());
    h[16..20].copy_from_slice(&ip.destination.to_be_bytes());
    let sum = checksum(&h, 0);
    h[10..12].copy_from_slice(&sum.to_be_bytes());
    h
}

/// Unfolded sum of the pseudo header (RFC 9293 section 3.1).
fn pseudo_header(ip: &Ip, protocol: u8, length: usize) -> u64 {
    u64::from(ip.source) + u64::from(ip.destination) + u64::from(protocol) + length as u64
}

/// The internet checksum (RFC 1071) over bytes, starting from a sum of words so far.
fn checksum(bytes: &[u8], start: u64) -> u16 {
    // Words of 32 bits sum to the same after folding, and there are half as many.
    let (words, rest) = bytes.as_chunks::<4>();
    let mut sum = words.iter().fold(start, |sum, word| sum + u64::from(u32::from_be_bytes(*word)));
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    sum += u64::from(u32::from_be_bytes(last));
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !((sum & 0xffff) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071_sums_as_printed() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(checksum(&bytes, 0), !0xddf2);
        assert_eq!(checksum(&bytes[..7], 0), !0xdcfb, "an odd last byte counts as the high half");
    }
}
