//! martlet-sensor: counts the unsolicited packets that reach observed addresses.
//!
//! ```text
//! capture (file or live) --frame--> packet --Packet--> screen --counts?--> classify --Class-->
//!     count:  tally -> table, JSON or CSV
//!     replay, run:  aggregate (windows) --closed window--> encode (batches) -> spool -> uplink -> collector
//! ```
//!
//! What lies between a frame and its batch is in `martlet_observe`, with the reading of capture files. The modules stand in
//! the order in which a packet meets them.

pub mod capture;

pub mod count;

pub mod watch;

pub mod encode;
pub mod spool;
pub mod uplink;

pub mod delivery;

pub mod check;
pub mod cli;
pub mod config;
pub mod doctor;
pub mod enroll;
pub mod identity;
pub mod metrics;
pub mod pace;
pub mod reload;
pub mod replay;
pub mod run;
pub mod sandbox;
pub mod state_dir;
pub mod status;
