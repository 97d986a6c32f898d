//! From sensors' connections to the journal stage and back.
//!
//! # The hand-over
//! Batches that came together (they lie in the read buffer of their connection at the same time) are handed over as one
//! group: to a worker, which decodes them; by the connection's middle to the journal stage, which decides about them and
//! makes those that it accepts durable, with one sync for all groups of all connections that wait; and back to the
//! connection's writer, which answers. While one group is made durable the next are read, decoded and submitted. For small
//! batches waking threads and syncing would cost more than the work. These hold:
//!
//! 1. **Decode before decide.** A worker decompresses and checks every column of a batch before it is decided about. A
//!    batch whose columns are bad never moves a position.
//! 2. **One place decides.** [`journal::Stage`](crate::journal::Stage) decides about all batches, one after another: one is
//!    accepted only if its sequence number is the expected one and its predecessor is the batch that was accepted before
//!    it. A stream has one connection at a time: the newest that opened it, and older ones are ended.
//! 3. **Order.** A connection submits in the order in which frames came, and answers in that order: a Nack for
//!    each refused batch, and an Ack for each run of others of one stream, since it speaks for everything below it. So
//!    a refused batch refuses everything of its stream that was sent behind it. Beside that, an Ack tells at any time that
//!    more has been committed.
//! 4. **Acknowledged means durable and counted.** An answer about a batch, and the position that others see, come after the
//!    sync of the journal record that holds it. Then it is queued to be counted, before its answer is written; a crash in
//!    between is made good by the replay of the record.
//! 5. **Nothing is forgotten.** Each batch frame received ends in exactly one [`BatchOutcome`]: a token does the
//!    counting, and one that is dropped counts as discarded.
//! 6. **Memory is bounded.** A frame's buffer grows with the bytes that really came and takes its share of one budget
//!    as it grows, until the batch is durable; a decoded batch takes its share of a second one *before* it is decoded, until
//!    it is counted. The number of submissions is bounded, too. Nobody waits for a share of the second budget while
//!    holding another, or while others wait for it to be handed over, so the two cannot deadlock.
//! 7. **Backpressure is silence.** While the disk takes nothing, nothing is answered, so that sensors stop sending when what
//!    they may have in flight is in flight; connections that wait for answers are not ended as idle, nor those that wait for
//!    the second budget. A large frame that finds the first budget used up for too long is given back (`Refused(full)`).
//! 8. **Live or backlog.** A batch says how far its sensor's clock is off only if its stream is live: if it and the two
//!    before it each came after a silence of half a window or more, measured from the end of one frame to the first byte
//!    of the next. What comes out of a backlog comes as soon as there is room for it; one batch may be held up by the
//!    network, three in a row that keep the pace of windows are not. It decides nothing but what is shown.
//!
//! # Strangers
//! Who has not said Hello waits in the `lobby`, which has a bound of its own: where that is reached, the one that has waited longest gives way
//! to the newcomer. So a sensor gets in among any number that say nothing, and connections that said Hello are not the strangers' to take.
//!
//! # TLS
//! With `ingest.tls` a connection is let in as without, so that its handshake is limited in number and, together with Hello,
//! in time. Behind the handshake the same code serves the decrypted stream. What a certificate says binds the connection: a sensor
//! speaks for the name in it alone, and no longer than the certificate is valid. One who wants a certificate says so by the
//! application protocol, and is served by `enrolling`.
//!
//! Time is tokio's, and what carries bytes is any [`AsyncRead`](tokio::io::AsyncRead) and
//! [`AsyncWrite`](tokio::io::AsyncWrite): a simulation runs [`Gate::serve`] on connections and a clock of its own.
//!
//! Peer addresses are used to limit connections while they last, and for nothing else: a sensor that watches one
//! address may call from it. They are never logged or stored.

mod answers;
mod budget;
mod connection;
mod counters;
mod descriptors;
mod enrolling;
mod frames;
mod gate;
mod listener;
mod lobby;
mod sensor;
mod submit;
mod tls;

pub use budget::{Budget, Share, decoded_cost};
pub use counters::{BatchOutcome, Counters, FrameOutcome, Lost, Refusal, TlsFailure, Token, Violation};
pub(crate) use descriptors::fitting;
pub use gate::{Behind, Gate};
pub use listener::{Ingest, listen};
pub use sensor::SensorId;
pub(crate) use tls::server_config;
pub use tls::{Tls, TlsError};
