//! Populations: each scan packet belongs to exactly one, by the strongest mark that it carries.

use martlet_window::{Mark, Marks};

/// Whose packets look alike. The number is stored and never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Population {
    /// No mark that tells tools apart.
    None = 0,
    /// Sources that look spoofed: kept apart so that they move no other population.
    Spoofed = 1,
    /// Mirai and its variants.
    Mirai = 2,
    /// Masscan: the relation and a shape.
    Masscan = 3,
    /// ZMap before 4.1.
    Zmap = 4,
    /// What looks like ZMap 4.1 and later.
    Zmap4 = 5,
    /// What looks like nmap's raw SYN.
    Nmap = 6,
    /// SQL Slammer.
    Slammer = 7,
    /// FIN, no flags, or FIN+PSH+URG.
    Stealth = 8,
    /// SYN with payload.
    SynData = 9,
}

impl Population {
    /// Every population, by number.
    pub const ALL: [Population; 10] = [
        Population::None,
        Population::Spoofed,
        Population::Mirai,
        Population::Masscan,
        Population::Zmap,
        Population::Zmap4,
        Population::Nmap,
        Population::Slammer,
        Population::Stealth,
        Population::SynData,
    ];

    /// The name used in JSON and metrics: that of the mark, or `none`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Population::None => "none",
            Population::Spoofed => "spoofed_looking",
            Population::Mirai => "mirai",
            Population::Masscan => "masscan",
            Population::Zmap => "zmap",
            Population::Zmap4 => "zmap_4",
            Population::Nmap => "nmap_shape",
            Population::Slammer => "slammer",
            Population::Stealth => "stealth",
            Population::SynData => "syn_data",
        }
    }

    /// The population with this number, if there is one.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Population> {
        Population::ALL.get(usize::from(number)).copied()
    }

    /// The population of a scan packet with these marks. A bot's mark says more than that a source looks spoofed: of the
    /// real hosts that a worm infects some end in .0 or .255, too.
    #[must_use]
    pub const fn of(marks: Marks) -> Population {
        /// The strongest first.
        const ORDER: [(Mark, Population); 9] = [
            (Mark::Mirai, Population::Mirai),
            (Mark::Slammer, Population::Slammer),
            (Mark::SpoofedLooking, Population::Spoofed),
            (Mark::Masscan, Population::Masscan),
            (Mark::Zmap, Population::Zmap),
            (Mark::Zmap4, Population::Zmap4),
            (Mark::NmapShape, Population::Nmap),
            (Mark::Stealth, Population::Stealth),
            (Mark::SynData, Population::SynData),
        ];
        let mut place = 0;
        while place < ORDER.len() {
            if marks.contains(ORDER[place].0) {
                return ORDER[place].1;
            }
            place += 1;
        }
        Population::None
    }
}
