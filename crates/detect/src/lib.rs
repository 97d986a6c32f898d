//! Whether a worm spreads: from who was seen in each window to findings.
//!
//! A detector is told, window by window and sensor by sensor, how many sources of each population probed each port. It reads
//! no clock and no socket: time is that of the windows ([`clock`]), complete when every sensor that still reports has passed
//! it. What it counts is a *sighting*: one source seen by one sensor in one window. A host that scans loudly is one sighting a
//! window; addresses that a provider gives out anew every day make no more of them; and under random scanning their rate is in
//! proportion to the number of hosts that scan.
//!
//! Each key, a [`Population`] on a port, has its counts in bins of six lengths, from ten seconds to a day ([`series`]), and what
//! its hours usually have ([`baseline`]). When the newest bins are more than the older ones explain, the key becomes a
//! candidate, whose sources are followed ([`candidate`]), and each further bin asks whether its counts grow exponentially
//! ([`growth`]). `judge` calls a surge or an outbreak; [`detector`] makes findings of that, one for each key and onset.
//!
//! docs/detection.md has the method, its limits and what it was evaluated on.

#![forbid(unsafe_code)]

pub mod baseline;
pub mod candidate;
pub mod clock;
mod config;
pub mod detector;
mod finding;
mod followed;
pub mod growth;
mod judge;
mod known;
mod numbering;
mod population;
pub mod series;
mod spoofed;
mod state;

pub use clock::Report;
pub use config::DetectConfig;
pub use detector::{Detector, STEP};
pub use finding::{Bin, Estimate, Estimates, Evidence, Finding, FindingType, Key, Label, SeenBy, SeenNetwork};
pub use known::Omitted;
pub use population::Population;
pub use state::StateError;
