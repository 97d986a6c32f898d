//! pcap (draft-ietf-opsawg-pcap), with microseconds or nanoseconds, in both byte orders, and the "modified" form of
//! old Linux kernels.

use martlet_window::Timestamp;

use super::source::Source;
use super::{Damage, MAX_RECORD, Order, Record};

const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
/// Kuznetzov's patched libpcap: eight more bytes in each record header.
const MODIFIED: u32 = 0xa1b2_cd34;

const FILE_HEADER: usize = 24;
const VERSION_MAJOR: usize = 4;
const NETWORK: usize = 20;

const SECONDS: usize = 0;
const FRACTION: usize = 4;
const CAPTURED: usize = 8;
const RECORD_HEADER: usize = 16;
const MODIFIED_RECORD_HEADER: usize = 24;

pub(super) struct Pcap {
    order: Order,
    nanoseconds: bool,
    record_header: usize,
    link: i32,
}

impl Pcap {
    pub(super) fn open(source: &mut Source, magic: [u8; 4]) -> Result<Pcap, Damage> {
        let known = |number| matches!(number, MICROSECONDS | NANOSECONDS | MODIFIED);
        let (order, magic) = match (u32::from_le_bytes(magic), u32::from_be_bytes(magic)) {
            (little, _) if known(little) => (Order::Little, little),
            (_, big) if known(big) => (Order::Big, big),
            _ => return Err(source.damage("not a pcap or pcapng capture")),
        };
        let Some(header) = source.peek(FILE_HEADER)? else {
            return Err(source.damage("the pcap file header is cut off"));
        };
        let major = order.u16(header, VERSION_MAJOR);
        // The upper bits say whether frames end with a checksum, which no reader of IP looks at.
        let link = i32::from(order.u16(header, if order == Order::Little { NETWORK } else { NETWORK + 2 }));
        if major != 2 {
            return Err(source.damage(format!("pcap version {major} is not known (2 is)")));
        }
        source.take(FILE_HEADER);
        let record_header = if magic == MODIFIED { MODIFIED_RECORD_HEADER } else { RECORD_HEADER };
        Ok(Pcap { order, nanoseconds: magic == NANOSECONDS, record_header, link })
    }

    pub(super) fn next(&mut self, source: &mut Source) -> Result<Option<Record>, Damage> {
        let Some(header) = source.peek(self.record_header)? else {
            return match source.available() {
                0 => Ok(None),
                left => Err(source.damage(format!("the file ends inside a record header, after {left} bytes"))),
            };
        };
        let seconds = self.order.u32(header, SECONDS);
        let fraction = self.order.u32(header, FRACTION);
        let captured = self.order.u32(header, CAPTURED);
        let length = usize::try_from(captured).ok().filter(|&length| length <= MAX_RECORD);
        let Some(length) = length else {
            return Err(source.damage(format!("a record claims {captured} bytes: the file is damaged here")));
        };
        if source.peek(self.record_header + length)?.is_none() {
            let left = source.available() - self.record_header;
            return Err(source.damage(format!("the file ends inside a record: {left} of {length} bytes are there")));
        }
        source.take(self.record_header);
        // A fraction of a second or more is a damaged clock's; it is kept as it is.
        let nanoseconds = if self.nanoseconds { fraction } else { fraction.saturating_mul(1000) };
        let time = Timestamp::from_parts(i64::from(seconds), nanoseconds);
        Ok(Some(Record { time, link: self.link, bytes: source.take(length) }))
    }
}
