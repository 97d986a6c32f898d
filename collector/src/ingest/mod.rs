//! From sensors' connections to batches that count exactly once.
//!
//! # The hand-over
//! Batches that came together (they lie in the read buffer of their connection at the same time) are handed over as one
//! group: to a worker, which decodes them; back to the connection, which asks the ledger about each; and those that are
//! accepted to a worker again, which counts them. For small batches waking threads would cost more than the work. These
//! hold:
//!
//! 1. **Decode before decide.** A worker decompresses and checks every column of a batch before the ledger is asked. A
//!    batch whose columns are bad never moves a position.
//! 2. **One place decides.** [`Ledger`] decides about a batch under the lock of its stream: it is accepted only if its
//!    sequence number is the expected one and its predecessor is the batch that was accepted before it, and then the
//!    position moves in the same critical section. However many connections carry a stream, each (origin, epoch,
//!    sequence) is accepted once.
//! 3. **Order.** A connection asks the ledger in the order in which frames came, and answers in that order: a Nack for
//!    each refused batch, and an Ack for each run of others of one stream, since it speaks for everything below it. So
//!    a refused batch refuses everything of its stream that was sent behind it.
//! 4. **Accepted means counted.** A group is decided and handed to the counts without waiting in between, and before its
//!    answers are written. The queue never drops, has room for all batches that can be in flight, and is emptied before
//!    the workers stop.
//! 5. **Nothing is forgotten.** Each batch frame received ends in exactly one [`BatchOutcome`]: a token does the
//!    counting, and one that is dropped counts as discarded.
//! 6. **Memory is bounded.** A frame's buffer grows with the bytes that really came and takes its share of one budget
//!    as it grows; a decoded batch takes its share of a second one *before* it is decoded. Nobody waits for a share of the
//!    second budget while holding another, or while others wait for it to be handed over, so the two cannot deadlock.
//!
//! Peer addresses are used to limit connections while they last, and for nothing else: a sensor that watches one
//! address may call from it. They are never logged or stored.

mod answers;
mod budget;
mod connection;
mod counters;
mod frames;
mod gate;
mod listener;
mod sensor;
mod submit;

pub use budget::{Budget, Share, decoded_cost};
pub use counters::{BatchOutcome, Counters, FrameOutcome, Lost, Refusal, Token, Violation};
pub use gate::{Behind, Gate};
pub use listener::{Ingest, listen};
pub use sensor::SensorId;
