//! One count row of the archive in memory, and what many rows share.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use martlet_window::{IpVersion, PackedClass, TrafficClass, address_from_bits};

use crate::region::Region;

/// How many packets of one class one source sent to one sensor within one window.
///
/// Its size decides how many rows a run holds: what many rows share stands in [`Labels`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The class of the packets.
    pub class: PackedClass,
    /// The source: for IPv4 its 32 bits, for IPv6 all 128. Of a coarse row the address of its network.
    pub source: u128,
    /// Start of the window, in seconds since the Unix epoch.
    pub start: i64,
    /// Bytes.
    pub bytes: u64,
    /// Packets, at least 1.
    pub packets: u64,
    /// Distinct observed addresses that were hit: a lower bound.
    pub targets: u32,
    /// Who observed it: a number of [`Labels::observer`].
    pub observer: u32,
    /// Whom the source belongs to: a number of [`Labels::network`].
    pub network: u32,
}

impl Row {
    /// What rows are sorted by. Rows of the same class lie together, in them those of a source, in them by time.
    #[must_use]
    #[inline]
    pub const fn key(&self) -> (PackedClass, u128, i64) {
        (self.class, self.source, self.start)
    }

    /// The source as an address.
    #[must_use]
    #[inline]
    pub fn address(&self) -> IpAddr {
        address_from_bits(self.class.ip(), self.source)
    }

    /// The UTC day of the window, in days since the Unix epoch. Windows divide a minute, so none lies in two.
    #[must_use]
    #[inline]
    pub const fn day(&self) -> i64 {
        self.start.div_euclid(86_400)
    }
}

/// Which sensor saw a row, and how it counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Observer {
    /// The sensor's name, a pseudonym.
    pub sensor: Arc<str>,
    /// Real, drill or import.
    pub class: TrafficClass,
    /// Length of the window, in seconds.
    pub window_seconds: u8,
}

/// What was known of a source when its row was archived.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    /// Where it is registered or said to be used.
    pub region: Region,
    /// The autonomous system that announces it.
    pub asn: Option<u32>,
    /// Who that is.
    pub organisation: Option<Arc<str>>,
    /// The list of known scanners that it is on.
    pub known_scanner: Option<Arc<str>>,
    /// Only the network of the source is left: /24 of IPv4, /48 of IPv6.
    pub is_coarse: bool,
}

impl Network {
    /// How many bits of the source are known.
    #[must_use]
    #[inline]
    pub const fn prefix_length(&self, ip: IpVersion) -> u8 {
        match (ip, self.is_coarse) {
            (IpVersion::V4, false) => 32,
            (IpVersion::V4, true) => COARSE_V4,
            (IpVersion::V6, false) => 128,
            (IpVersion::V6, true) => COARSE_V6,
        }
    }
}

/// Length of the network that is left of an IPv4 source, in bits.
pub const COARSE_V4: u8 = 24;
/// Length of the network that is left of an IPv6 source, in bits.
pub const COARSE_V6: u8 = 48;

/// The network of a source, as the address that it begins with.
#[must_use]
pub const fn coarse(ip: IpVersion, source: u128) -> u128 {
    let host_bits = match ip {
        IpVersion::V4 => 32 - COARSE_V4,
        IpVersion::V6 => 128 - COARSE_V6,
    };
    source >> host_bits << host_bits
}

/// Values that have numbers.
#[derive(Clone, Debug)]
struct Numbered<T> {
    values: Vec<T>,
    numbers: HashMap<T, u32, foldhash::fast::RandomState>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Numbered<T> {
        Numbered { values: Vec::new(), numbers: HashMap::default() }
    }
}

impl<T: Clone + Eq + Hash> Numbered<T> {
    fn number(&mut self, value: &T) -> u32 {
        if let Some(&number) = self.numbers.get(value) {
            return number;
        }
        // A value takes far more than a byte: memory ends before the numbers do.
        let number = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        self.values.push(value.clone());
        self.numbers.insert(value.clone(), number);
        number
    }
}

/// What rows share. Rows of different files can be merged if they were read with the same labels.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    observers: Numbered<Observer>,
    networks: Numbered<Network>,
}

impl Labels {
    /// The number of an observer.
    pub fn number_observer(&mut self, observer: &Observer) -> u32 {
        self.observers.number(observer)
    }

    /// The number of a network.
    pub fn number_network(&mut self, network: &Network) -> u32 {
        self.networks.number(network)
    }

    /// The observer with a number that came from here.
    #[must_use]
    #[inline]
    pub fn observer(&self, number: u32) -> &Observer {
        &self.observers.values[number as usize]
    }

    /// The network with a number that came from here.
    #[must_use]
    #[inline]
    pub fn network(&self, number: u32) -> &Network {
        &self.networks.values[number as usize]
    }

    /// All observers, by their numbers.
    #[must_use]
    pub fn observers(&self) -> &[Observer] {
        &self.observers.values
    }

    /// All networks, by their numbers.
    #[must_use]
    pub fn networks(&self) -> &[Network] {
        &self.networks.values
    }
}
