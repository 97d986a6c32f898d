//! What a batch says of itself: who watched what, when, for how long, and what was lost.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::{Marks, RejectReason, Window};

/// Whose observations a batch holds: 128 random bits that a sensor keeps for its life.
///
/// It is apart from the identity of the connection's peer, so that a collector can forward others' batches.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(pub [u8; 16]);

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({self})")
    }
}

/// First 128 bits of the SHA-256 of a batch's payload; all zero stands for "no predecessor".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(pub [u8; 16]);

/// The pseudonym under which a sensor is published: 1 to 32 of `a-z`, `0-9` and `-`, starting with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SensorName(String);

/// A text that is no sensor name.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0:?} is no sensor name: take 1 to 32 of a-z, 0-9 and '-', starting with a letter or digit")]
pub struct SensorNameError(pub String);

impl SensorName {
    /// Longest name, in bytes.
    pub const MAX_LENGTH: usize = 32;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SensorName {
    type Err = SensorNameError;

    fn from_str(text: &str) -> Result<SensorName, SensorNameError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let valid = (1..=Self::MAX_LENGTH).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('-');
        if valid {
            Ok(SensorName(text.to_owned()))
        } else {
            // An error message must stay short whatever a peer sends.
            Err(SensorNameError(text.chars().take(40).collect()))
        }
    }
}

impl fmt::Display for SensorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What kind of traffic a batch holds. Classes are never added together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum TrafficClass {
    /// Captured live.
    Real = 0,
    /// Synthetic, from an exercise.
    Drill = 1,
    /// Read from a capture file.
    Import = 2,
}

impl TrafficClass {
    /// Every class, in wire order.
    pub const ALL: [TrafficClass; 3] = [TrafficClass::Real, TrafficClass::Drill, TrafficClass::Import];

    /// The name used in JSON and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            TrafficClass::Real => "real",
            TrafficClass::Drill => "drill",
            TrafficClass::Import => "import",
        }
    }

    /// The class with this wire number, if there is one.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<TrafficClass> {
        match number {
            0 => Some(TrafficClass::Real),
            1 => Some(TrafficClass::Drill),
            2 => Some(TrafficClass::Import),
            _ => None,
        }
    }
}

/// How the observed addresses behave towards those who probe them. Postures are never averaged together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Posture {
    /// Nothing answers.
    Silent = 0,
    /// A kernel answers with RST and ICMP errors.
    Rst = 1,
    /// Something answers with a service.
    Reactive = 2,
}

impl Posture {
    /// Every posture, in wire order.
    pub const ALL: [Posture; 3] = [Posture::Silent, Posture::Rst, Posture::Reactive];

    /// The name used in configuration and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Posture::Silent => "silent",
            Posture::Rst => "rst",
            Posture::Reactive => "reactive",
        }
    }

    /// The posture with this wire number, if there is one.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Posture> {
        match number {
            0 => Some(Posture::Silent),
            1 => Some(Posture::Rst),
            2 => Some(Posture::Reactive),
            _ => None,
        }
    }
}

/// How long how many addresses were watched. Slices of one window, one per part, add up to the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exposure {
    /// Time watched since the previous part of the window (or since its start), in milliseconds.
    pub watched_ms: u32,
    /// IPv4 addresses watched.
    pub ipv4_addresses: u64,
    /// IPv6 /64 prefixes watched.
    pub ipv6_prefixes: u64,
}

impl Exposure {
    /// IPv4 address-seconds.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a rate's denominator, not a count")]
    pub fn ipv4_address_seconds(&self) -> f64 {
        f64::from(self.watched_ms) / 1000.0 * self.ipv4_addresses as f64
    }

    /// IPv6 /64-seconds.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a rate's denominator, not a count")]
    pub fn ipv6_prefix_seconds(&self) -> f64 {
        f64::from(self.watched_ms) / 1000.0 * self.ipv6_prefixes as f64
    }
}

/// What happened to every frame since the previous batch of this sensor: frames = packets + the sum of `rejected`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureStatistics {
    /// Frames taken from the ring or the file.
    pub frames: u64,
    /// Frames counted: the sum of the batch's rows.
    pub packets: u64,
    /// Frames that the kernel dropped because the ring was full; they are not among `frames`.
    pub kernel_drops: u64,
    /// Frames that the interface dropped; they are not among `frames`.
    pub interface_drops: u64,
    /// Frames not counted, by [`RejectReason`].
    pub rejected: [u64; RejectReason::ALL.len()],
}

impl CaptureStatistics {
    /// Whether every frame has exactly one outcome.
    #[must_use]
    pub fn balances(&self) -> bool {
        let rejected = self.rejected.iter().try_fold(0u64, |sum, &n| sum.checked_add(n));
        rejected.and_then(|sum| sum.checked_add(self.packets)) == Some(self.frames)
    }
}

/// The header of a batch. The wire format is specified in docs/wire.md.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Whose observations these are.
    pub origin: Origin,
    /// One life of the sensor's spool; for an import, taken from its file's hash.
    pub epoch: u64,
    /// Place in the epoch, from 0, without gaps.
    pub sequence: u64,
    /// Hash of the batch before it in the epoch; zero for the first.
    pub predecessor: Digest,
    /// Real, drill or import.
    pub class: TrafficClass,
    /// How the observed addresses behave.
    pub posture: Posture,
    /// The window.
    pub window: Window,
    /// Which part of the window, from 0.
    pub part: u32,
    /// How long how much was watched; `None` where it is unknown (capture files).
    pub exposure: Option<Exposure>,
    /// Marks that could not be decided because the address aimed at is unknown.
    pub unavailable: Marks,
    /// Outcomes of the frames.
    pub capture: CaptureStatistics,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_pseudonyms_not_prose() {
        for good in ["a", "sensor-1", "0x", "abcdefghijklmnopqrstuvwxyz012345"] {
            assert_eq!(good.parse::<SensorName>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "Sensor", "a b", "a\n", "é", "abcdefghijklmnopqrstuvwxyz0123456"] {
            assert!(bad.parse::<SensorName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_frame_has_one_outcome() {
        let mut capture = CaptureStatistics { frames: 5, packets: 3, ..Default::default() };
        assert!(!capture.balances());
        capture.rejected[RejectReason::NotIp as usize] = 2;
        assert!(capture.balances());
        capture.rejected[RejectReason::Outbound as usize] = u64::MAX;
        assert!(!capture.balances());
    }

    #[test]
    fn exposure_is_address_seconds() {
        let exposure = Exposure { watched_ms: 10_000, ipv4_addresses: 256, ipv6_prefixes: 1 };
        assert!((exposure.ipv4_address_seconds() - 2560.0).abs() < 1e-9);
        assert!((exposure.ipv6_prefix_seconds() - 10.0).abs() < 1e-9);
    }
}
