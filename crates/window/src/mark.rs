//! Marks: bits that one packet carries about the tool, bot or oddity it looks like.

/// One mark. The number is the bit on the wire and never changes its meaning.
///
/// The rule, version date and chance of each per random packet stand beside the code that sets it
/// (`classify::marks` of the sensor for marks of one packet, `pairs` for those of several) and in docs/fingerprints.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Mark {
    /// TCP with FIN only, no flags at all, or FIN+PSH+URG.
    Stealth = 0,
    /// TCP SYN with payload and without the Fast Open option.
    SynData = 1,
    /// TCP PSH+ACK with payload.
    TcpData = 2,
    /// TCP SYN whose sequence number is the destination IPv4 address.
    Mirai = 3,
    /// TCP SYN with IP ID 54321: the raw rule.
    ZmapIpid = 4,
    /// `ZmapIpid` and window 65535.
    Zmap = 5,
    /// The TCP SYN template of ZMap 4.1 and later with its default probe profile; a candidate only.
    Zmap4 = 6,
    /// TCP SYN whose IP ID is the low 16 bits of destination ^ destination port ^ sequence number: the raw rule.
    MasscanIpid = 7,
    /// `MasscanIpid` together with one of masscan's three packet shapes.
    Masscan = 8,
    /// TCP SYN with window 1024 and the single option MSS 1460: nmap's raw SYN template, shape only.
    NmapShape = 9,
    /// UDP to port 1434, IP length 404, first payload byte 4.
    Slammer = 10,
    /// IP in IP, IPv6 in IP or GRE.
    Tunnel = 11,
    /// Source .0 or .255, source equal to destination, port 0, reserved flag bit, or special-use source; a hint only.
    SpoofedLooking = 12,
    /// Called backscatter by source port alone, because no payload test exists for the service.
    WeakBackscatter = 13,
    /// `NmapShape`, and the sequence number is that of an earlier packet of the source but for what nmap writes into both
    /// of its halves.
    Nmap = 14,
    /// TCP SYN whose sequence number hides the same key behind its addresses and ports as that of an earlier packet of
    /// the source: unicornscan.
    Unicornscan = 15,
}

impl Mark {
    /// Every mark, in wire order.
    pub const ALL: [Mark; 16] = [
        Mark::Stealth,
        Mark::SynData,
        Mark::TcpData,
        Mark::Mirai,
        Mark::ZmapIpid,
        Mark::Zmap,
        Mark::Zmap4,
        Mark::MasscanIpid,
        Mark::Masscan,
        Mark::NmapShape,
        Mark::Slammer,
        Mark::Tunnel,
        Mark::SpoofedLooking,
        Mark::WeakBackscatter,
        Mark::Nmap,
        Mark::Unicornscan,
    ];

    /// The name used in JSON, metrics and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Mark::Stealth => "stealth",
            Mark::SynData => "syn_data",
            Mark::TcpData => "tcp_data",
            Mark::Mirai => "mirai",
            Mark::ZmapIpid => "zmap_ipid",
            Mark::Zmap => "zmap",
            Mark::Zmap4 => "zmap_4",
            Mark::MasscanIpid => "masscan_ipid",
            Mark::Masscan => "masscan",
            Mark::NmapShape => "nmap_shape",
            Mark::Slammer => "slammer",
            Mark::Tunnel => "tunnel",
            Mark::SpoofedLooking => "spoofed_looking",
            Mark::WeakBackscatter => "weak_backscatter",
            Mark::Nmap => "nmap",
            Mark::Unicornscan => "unicornscan",
        }
    }

    const fn bit(self) -> u32 {
        1 << self as u8
    }
}

/// A set of marks. Bits that this version does not know are refused on the wire, never dropped silently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Marks(u32);

impl Marks {
    /// No mark.
    pub const NONE: Marks = Marks(0);
    /// The marks whose rule tests the destination address; behind an unknown NAT they are unavailable, not absent.
    pub const DESTINATION_TESTS: Marks =
        Marks(Mark::Mirai.bit() | Mark::MasscanIpid.bit() | Mark::Masscan.bit() | Mark::Unicornscan.bit());
    /// All bits that have a meaning.
    const KNOWN: u32 = (1 << Mark::ALL.len()) - 1;

    /// This set with `mark` added.
    #[must_use]
    pub const fn with(self, mark: Mark) -> Marks {
        Marks(self.0 | mark.bit())
    }

    /// This set, with `mark` added when `condition` holds.
    #[must_use]
    pub const fn with_if(self, mark: Mark, condition: bool) -> Marks {
        if condition { self.with(mark) } else { self }
    }

    /// The marks in either set.
    #[must_use]
    pub const fn union(self, other: Marks) -> Marks {
        Marks(self.0 | other.0)
    }

    /// Whether `mark` is in the set.
    #[must_use]
    pub const fn contains(self, mark: Mark) -> bool {
        self.0 & mark.bit() != 0
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The set as wire bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The set with these wire bits, or `None` if a bit has no meaning in this version.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Option<Marks> {
        if bits & !Self::KNOWN == 0 { Some(Marks(bits)) } else { None }
    }

    /// The marks of the set in wire order.
    pub fn iter(self) -> impl Iterator<Item = Mark> {
        let mut bits = self.0;
        std::iter::from_fn(move || {
            // The lowest bit, which is taken away; no bit is at a place that no mark has.
            let mark = Mark::ALL.get(bits.trailing_zeros() as usize)?;
            bits &= bits - 1;
            Some(*mark)
        })
    }
}
