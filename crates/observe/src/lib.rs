//! From a frame to a batch: what a live sensor, a replay and an import into the collector have in common.
//!
//! ```text
//! capture --frame--> packet --Packet--> screen --counts?--> classify --Class--> pairs --more marks-->
//!     aggregate (windows) --closed part--> batch --frame of the wire--> whoever takes batches
//! ```
//!
//! The modules stand in the order in which a packet meets them; [`pipeline`] puts those of a frame together.
//! [`import`] is how a capture file goes through all of them, so that it is the same stream of batches whoever reads it;
//! [`flags`] and [`progress`] are what programs that read capture files show of it.
//!
//! Nothing here knows where batches go: neither a network nor a disk to write to.

pub mod capture;
pub mod screen;

pub mod classify;
pub mod pairs;

pub mod aggregate;
pub mod pipeline;

pub mod batch;

pub mod flags;
pub mod import;
pub mod progress;
