//! pcapng (draft-ietf-opsawg-pcapng): sections, interfaces, and the three blocks that hold packets.

use martlet_window::Timestamp;

use super::source::Source;
use super::{Damage, MAX_RECORD, Order, Record};

/// A palindrome: the same in both byte orders.
pub(super) const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

mod block {
    pub(super) const INTERFACE: u32 = 1;
    /// Obsolete, but still in old files.
    pub(super) const PACKET: u32 = 2;
    pub(super) const SIMPLE_PACKET: u32 = 3;
    pub(super) const ENHANCED_PACKET: u32 = 6;

    pub(super) const LENGTH: usize = 4;
    pub(super) const BODY: usize = 8;
    /// Type, length, and the length again at the end.
    pub(super) const OVERHEAD: usize = 12;
}

mod interface {
    pub(super) const LINK: usize = 0;
    pub(super) const SNAPLEN: usize = 4;
    pub(super) const OPTIONS: usize = 8;
    pub(super) const OPTION_TSRESOL: u16 = 9;
    pub(super) const OPTION_TSOFFSET: u16 = 14;
}

mod packet {
    pub(super) const INTERFACE: usize = 0;
    pub(super) const TIME_HIGH: usize = 4;
    pub(super) const TIME_LOW: usize = 8;
    pub(super) const CAPTURED: usize = 12;
    pub(super) const DATA: usize = 20;
    /// A simple packet has only the original length in front of its data.
    pub(super) const SIMPLE_DATA: usize = 4;
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    link: i32,
    snaplen: u32,
    /// Units of its time stamps in a second.
    units: u64,
    /// Seconds to add to its time stamps.
    offset: i64,
}

/// A section of no interfaces takes none; a file that declares more than this is damaged or hostile.
const MAX_INTERFACES: usize = 65_536;

#[derive(Default)]
pub(super) struct Pcapng {
    order: Order,
    interfaces: Vec<Interface>,
    /// Time of the packet before: simple packets have none of their own.
    last_time: Option<Timestamp>,
}

impl Pcapng {
    /// The next packet. Damage inside a block whose framing is intact is remembered in `skipped`, and reading goes
    /// on behind it.
    pub(super) fn next(&mut self, source: &mut Source, skipped: &mut Option<Damage>) -> Result<Option<Record>, Damage> {
        loop {
            let Some((kind, length)) = self.frame(source)? else { return Ok(None) };
            let offset = source.offset();
            let range = source.take(length);
            let body = range.start + block::BODY..range.end - 4;
            let bytes = source.bytes(body.clone());
            let found = match kind {
                u32::MAX => Ok(None),
                block::INTERFACE => self.interface(bytes).map(|()| None),
                block::ENHANCED_PACKET | block::PACKET => self.packet(kind, bytes).map(Some),
                block::SIMPLE_PACKET => self.simple_packet(bytes).map(Some),
                _ => Ok(None),
            };
            match found {
                Ok(Some(mut record)) => {
                    self.last_time = Some(record.time);
                    record.bytes = body.start + record.bytes.start..body.start + record.bytes.end;
                    return Ok(Some(record));
                }
                Ok(None) => {}
                Err(what) => {
                    skipped.get_or_insert(Damage { offset, what: what.to_owned() });
                }
            }
        }
    }

    /// Type and length of the next block, all of whose bytes are there; a section header is dealt with here and
    /// reported as type `u32::MAX`, which is no block's.
    fn frame(&mut self, source: &mut Source) -> Result<Option<(u32, usize)>, Damage> {
        let Some(head) = source.peek(block::OVERHEAD)? else {
            return match source.available() {
                0 => Ok(None),
                left => Err(source.damage(format!("the file ends inside a block header, after {left} bytes"))),
            };
        };
        let section = head.starts_with(&SECTION_HEADER);
        if section {
            self.order =
                match u32::from_le_bytes(head.get(8..).and_then(|m| m.first_chunk()).copied().unwrap_or_default()) {
                    BYTE_ORDER_MAGIC => Order::Little,
                    swapped if swapped == BYTE_ORDER_MAGIC.swap_bytes() => Order::Big,
                    _ => return Err(source.damage("a section header without its byte-order mark")),
                };
            self.interfaces.clear();
        }
        let kind = if section { u32::MAX } else { self.order.u32(head, 0) };
        let claimed = self.order.u32(head, block::LENGTH);
        // The specification pads blocks to four bytes; some writers forgot to count the padding.
        let length = usize::try_from(claimed).ok().filter(|&l| (block::OVERHEAD..=MAX_RECORD).contains(&l));
        let Some(length) = length else {
            return Err(source.damage(format!("a block claims {claimed} bytes: the file is damaged here")));
        };
        let Some(bytes) = source.peek(length)? else {
            let left = source.available();
            return Err(source.damage(format!("the file ends inside a block: {left} of {length} bytes are there")));
        };
        let again = self.order.u32(bytes, length - 4);
        if again != claimed {
            return Err(source.damage(format!("a block of {claimed} bytes ends with length {again}: damaged here")));
        }
        Ok(Some((kind, length)))
    }

    fn interface(&mut self, body: &[u8]) -> Result<(), &'static str> {
        if body.len() < interface::OPTIONS {
            return Err("an interface description is too short");
        }
        if self.interfaces.len() >= MAX_INTERFACES {
            return Err("a section declares more than 65,536 interfaces");
        }
        let mut description = Interface {
            link: i32::from(self.order.u16(body, interface::LINK)),
            snaplen: self.order.u32(body, interface::SNAPLEN),
            units: 1_000_000,
            offset: 0,
        };
        let mut options = &body[interface::OPTIONS..];
        while options.len() >= 4 {
            let code = self.order.u16(options, 0);
            let length = usize::from(self.order.u16(options, 2));
            let Some(value) = options.get(4..4 + length) else { break };
            match (code, value) {
                (0, _) => break,
                (interface::OPTION_TSRESOL, &[resolution, ..]) => {
                    description.units = units(resolution).ok_or("a time resolution that no clock has")?;
                }
                (interface::OPTION_TSOFFSET, value) if value.len() >= 8 => {
                    description.offset = self.order.i64(value, 0);
                }
                _ => {}
            }
            options = options.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
        }
        self.interfaces.push(description);
        Ok(())
    }

    fn packet(&self, kind: u32, body: &[u8]) -> Result<Record, &'static str> {
        if body.len() < packet::DATA {
            return Err("a packet block is too short");
        }
        // The obsolete block has 16 bits of interface and 16 of drops.
        let index = if kind == block::PACKET {
            usize::from(self.order.u16(body, packet::INTERFACE))
        } else {
            usize::try_from(self.order.u32(body, packet::INTERFACE)).unwrap_or(usize::MAX)
        };
        let interface = self.interfaces.get(index).ok_or("a packet of an interface that was not described")?;
        let captured = usize::try_from(self.order.u32(body, packet::CAPTURED)).unwrap_or(usize::MAX);
        let end = packet::DATA.checked_add(captured).filter(|&end| end <= body.len());
        let end = end.ok_or("a packet claims more bytes than its block has")?;
        let high = u64::from(self.order.u32(body, packet::TIME_HIGH));
        let low = u64::from(self.order.u32(body, packet::TIME_LOW));
        let time = timestamp(high << 32 | low, interface);
        Ok(Record { time, link: interface.link, bytes: packet::DATA..end })
    }

    fn simple_packet(&self, body: &[u8]) -> Result<Record, &'static str> {
        let interface = self.interfaces.first().ok_or("a packet of an interface that was not described")?;
        if body.len() < packet::SIMPLE_DATA {
            return Err("a packet block is too short");
        }
        let original = self.order.u32(body, 0);
        let captured = if interface.snaplen == 0 { original } else { original.min(interface.snaplen) };
        let captured = usize::try_from(captured).unwrap_or(usize::MAX);
        let end = packet::SIMPLE_DATA.saturating_add(captured).min(body.len());
        // A simple packet has no time: that of the packet before is the nearest known.
        let time = self.last_time.unwrap_or(Timestamp(0));
        Ok(Record { time, link: interface.link, bytes: packet::SIMPLE_DATA..end })
    }
}

/// Units a second of an `if_tsresol`: a power of 10, or of 2 if the highest bit is set.
fn units(resolution: u8) -> Option<u64> {
    let exponent = u32::from(resolution & 0x7f);
    if resolution & 0x80 == 0 { 10u64.checked_pow(exponent) } else { 1u64.checked_shl(exponent) }
}

#[expect(clippy::cast_possible_truncation, reason = "a remainder of less than a second has at most 30 bits")]
fn timestamp(count: u64, interface: &Interface) -> Timestamp {
    let seconds = i64::try_from(count / interface.units).unwrap_or(i64::MAX).saturating_add(interface.offset);
    let rest = u128::from(count % interface.units) * 1_000_000_000 / u128::from(interface.units);
    Timestamp::from_parts(seconds, rest as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stamps_in_every_resolution() {
        let at = |units, offset, count| timestamp(count, &Interface { link: 1, snaplen: 0, units, offset }).0;
        assert_eq!(at(1_000_000, 0, 1_500_000), 1_500_000_000);
        assert_eq!(at(1_000_000_000, 0, 1_500_000_001), 1_500_000_001);
        assert_eq!(at(1, 5, 2), 7_000_000_000);
        assert_eq!(at(1 << 32, 0, 3 << 31), 1_500_000_000);
        assert_eq!(units(0x86), Some(64));
        assert_eq!(units(20), None);
        assert_eq!(units(0xff), None);
    }
}
