//! A reader of frames that shares no code with the generator, for the tests beside it.
#![allow(dead_code, reason = "each test program uses its own part")]

use martlet_drill::{Drill, DrillConfig, OutbreakConfig, PacketInfo};

/// A packet as read back from its bytes.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) time_ns: u64,
    pub(crate) frame: Vec<u8>,
    pub(crate) info: PacketInfo,
}

impl Read {
    pub(crate) fn ip(&self) -> &[u8] {
        &self.frame[14..]
    }

    pub(crate) fn l4(&self) -> &[u8] {
        &self.frame[34..]
    }

    pub(crate) fn at16(&self, offset: usize) -> u16 {
        u16::from_be_bytes([self.frame[14 + offset], self.frame[15 + offset]])
    }

    pub(crate) fn at32(&self, offset: usize) -> u32 {
        u32::from(self.at16(offset)) << 16 | u32::from(self.at16(offset + 2))
    }

    pub(crate) fn is_syn(&self) -> bool {
        self.ip()[9] == 6 && self.l4()[13] == 2
    }
}

#[expect(clippy::unwrap_used, reason = "a configuration that fails should fail the test")]
pub(crate) fn collect(config: &DrillConfig) -> Vec<Read> {
    let mut drill = Drill::new(config).unwrap();
    let mut all = Vec::new();
    while let Some(packet) = drill.next_packet() {
        all.push(Read { time_ns: packet.time_ns, frame: packet.frame.to_vec(), info: packet.info });
    }
    all
}

/// A drill of background only, with so many packets.
pub(crate) fn background(seed: u64, packets: u64) -> DrillConfig {
    DrillConfig { seed, outbreak: None, exact_packets: Some(packets), ..DrillConfig::default() }
}

/// A drill of the outbreak only.
pub(crate) fn outbreak(seed: u64, outbreak: OutbreakConfig) -> DrillConfig {
    DrillConfig { seed, outbreak: Some(outbreak), packets_per_address_day: 0.0, ..DrillConfig::default() }
}

/// One's complement sum the slow way: bytes in pairs, a carry added back each time.
pub(crate) fn sums_to_ffff(parts: &[&[u8]]) -> bool {
    let mut sum: u32 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(pair[0]) * 256 + pair.get(1).map_or(0, |&b| u32::from(b));
            if sum > 0xffff {
                sum -= 0xffff;
            }
        }
    }
    sum == 0xffff
}
