//! The contract between sensor and collector: frames, messages and batches, version 1.
//!
//! The format is specified in docs/wire.md. Every length is bounded before it is believed, every failure is one
//! [`WireError`], and nothing here opens a socket: callers bring bytes and take bytes.
//!
//! ```text
//! sensor                                  collector
//!   Hello{peer, name}            ->
//!                                <-       Welcome{your address, limits}
//!   Open{origin, epoch, name}    ->
//!                                <-       Position{origin, epoch, expected}
//!   Batch(sequence = expected)   ->
//!                                <-       Ack{origin, epoch, journaled, committed}
//!   Batch(out of sequence)       ->
//!                                <-       Nack{origin, epoch, expected, reason}
//!   Lost{origin, epoch, from, to}->       (the gap is closed; expected = to + 1)
//! ```

pub mod v1;

mod error;

pub use error::WireError;
