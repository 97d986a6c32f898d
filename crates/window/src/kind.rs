//! The closed set of packet kinds.

/// What a packet most likely is. The exact rules are in docs/fingerprints.md and in the sensor's `classify`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A probe: the sender looks for a service.
    Scan = 0,
    /// An answer to something the observed address never sent: the source is most likely a victim of spoofing.
    Backscatter = 1,
    /// Everything else: stray segments, later fragments, tunnels, protocols without ports.
    Other = 2,
}

impl Kind {
    /// Every kind, in wire order.
    pub const ALL: [Kind; 3] = [Kind::Scan, Kind::Backscatter, Kind::Other];

    /// The name used in JSON, metrics and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Scan => "scan",
            Kind::Backscatter => "backscatter",
            Kind::Other => "other",
        }
    }

    /// The kind with this wire number, if there is one.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Kind> {
        match number {
            0 => Some(Kind::Scan),
            1 => Some(Kind::Backscatter),
            2 => Some(Kind::Other),
            _ => None,
        }
    }
}
