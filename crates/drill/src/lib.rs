//! Drills: seeded synthetic background radiation, with outbreaks and with what must not be taken for them.
//!
//! A drill looks, in its proportions, like what a small darknet sees, with something in it of which everything is known:
//! an outbreak, or a scenario. It becomes a capture file, the batches of several sensors at a collector, or frames on a
//! line; docs/drills.md is the guide to all of it. It feeds demonstrations, tests and benchmarks. **Nothing in it is real**: source addresses are
//! random numbers and stand for nobody, payloads are harmless requests or filler, the Ethernet source of every frame
//! spells "drill", and the dark prefix defaults to benchmarking space.
//!
//! The data flow: [`DrillConfig`] is checked by [`Drill::new`]; arrival times ([`arrivals`]) of the background and the
//! outbreak are merged in time order; for each, a component of the [`mix`] (whose tables name the published source of
//! every share, or say "our choice"), a source and a destination are drawn, and a tool's template fills one reused frame
//! buffer; [`Truth`] may watch the packets go by, and [`PcapWriter`] writes them, or [`send`] brings them to a collector or
//! onto a line. [`inject`]s are what happens besides, [`scenarios`] are named sets of them with the source of every number,
//! and an [`exercise`] is one drill of which several participants see their shares.
//!
//! **Deterministic:** the same configuration and seed give the same bytes on every machine. Only ChaCha8, integers and
//! the basic operations of IEEE 754 decide, never the platform's mathematics library, a hash map's order or a clock. The
//! outbreak does not depend on the background, nor the background on the outbreak (unless an exact number of packets is
//! asked for).
//!
//! ```
//! use martlet_drill::{Drill, DrillConfig};
//!
//! let config = DrillConfig { seed: 7, exact_packets: Some(10_000), ..DrillConfig::default() };
//! let mut drill = Drill::new(&config)?;
//! let mut bytes = 0;
//! while let Some(packet) = drill.next_packet() {
//!     bytes += packet.frame.len();
//! }
//! assert!(bytes > 540_000);
//! # Ok::<(), martlet_drill::ConfigError>(())
//! ```

pub mod addresses;
pub mod arrivals;
pub mod cli;
pub mod config;
pub mod exercise;
pub mod frame;
mod generator;
pub mod inject;
pub mod mix;
mod noise;
pub mod packet;
pub mod pcap;
mod random;
pub mod scenarios;
pub mod send;
mod template;
pub mod truth;
mod worm;

pub use arrivals::OutbreakModel;
pub use config::{ConfigError, DrillConfig, OutbreakConfig, OutbreakMark, Transport};
pub use generator::Drill;
pub use inject::{Call, Expectation, Inject, InjectKind, Outage, Preference};
pub use packet::{Kind, Marks, Origin, Packet, PacketInfo};
pub use pcap::{PcapWriter, Resolution};
pub use scenarios::Scenario;
pub use truth::Truth;
