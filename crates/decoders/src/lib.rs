//! What must hold of Martlet's decoders for **any** bytes, one function for each: it panics if something does not.
//!
//! `fuzz/` calls them with bytes that libFuzzer makes; `tests/corpus.rs` calls them with those that it kept, on every ordinary
//! `cargo test`. A new decoder of bytes that others wrote gets a function here, a line in [`ALL`], and three lines in `fuzz/`.

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "panicking is how a property says that it does not hold"
)]

mod batch;
mod capture;
mod configuration;
mod enrolment;
mod frame;
mod journal;
mod packet;
#[cfg(feature = "collector")]
mod record;
mod scratch;
mod spool;

pub use batch::batch;
pub use capture::capture;
#[cfg(feature = "collector")]
pub use configuration::collector_configuration;
pub use configuration::sensor_configuration;
pub use enrolment::enrolment;
pub use frame::frame;
pub use journal::journal;
pub use packet::packet;
#[cfg(feature = "collector")]
pub use record::record;
pub use spool::spool;

/// A property of a decoder, for any bytes.
pub type Property = fn(&[u8]);

/// All of them, by the name of their target and of their corpus.
pub const ALL: &[(&str, Property)] = &[
    ("packet", packet),
    ("frame", frame),
    ("batch", batch),
    ("capture", capture),
    ("journal", journal),
    ("spool", spool),
    ("enrolment", enrolment),
    ("sensor_configuration", sensor_configuration),
    #[cfg(feature = "collector")]
    ("record", record),
    #[cfg(feature = "collector")]
    ("collector_configuration", collector_configuration),
];
