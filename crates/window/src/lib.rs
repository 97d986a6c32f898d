//! What both daemons mean by a window, a count row and a batch.
//!
//! A sensor adds each packet to the **window** of its capture time. A closed window becomes one or more
//! **batches**: a [`BatchHeader`] that says who watched what for how long, and **count rows**. A row says how many
//! packets one source sent of one [`Class`] (IP version, protocol, service, kind, marks), and how many distinct
//! observed addresses it hit, never which. Rows merge: packets and bytes add up, targets merge by maximum (they are
//! a lower bound), so that parts of a window can be merged in any order and grouping.
//!
//! Nothing here reads a clock, opens a file or touches a socket.

mod batch;
mod class;
mod distinct;
mod kind;
mod mark;
mod reject;
mod row;
mod time;

pub use batch::{
    BatchHeader, CaptureStatistics, Digest, Exposure, Origin, Posture, SensorName, SensorNameError, TrafficClass,
};
pub use class::{Class, PackedClass, Service};
pub use distinct::DistinctSources;
pub use kind::Kind;
pub use mark::{Mark, Marks};
pub use martlet_packet::IpVersion;
pub use reject::RejectReason;
pub use row::{CountRow, address_bits, address_from_bits, merge_rows};
pub use time::{Timestamp, Window, WindowLength, WindowLengthError};
