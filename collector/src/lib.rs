//! The collector: takes batches from sensors, counts each exactly once, and publishes what they say.
//!
//! ```text
//! sensors --TCP--> ingest::Gate --payloads-> aggregate::Worker     decode: decompress, check every rule
//!                     |    ^-----------------------/
//!                     | in order, bounded
//!                     v
//!              journal::Stage             decide: (origin, epoch, sequence, chain); append; one fsync for all that waited
//!                     | durable: now it counts, and is acknowledged
//!                     v
//!              aggregate::Worker          private delta tables, one set a worker; no lock
//!                     | once a second, and at every cut
//!                     v
//!              live::Merger -> live::LiveStore -> Arc<live::LiveView>
//!                     | at every cut                     | readers swap pointers, never block
//!                     v                                  v
//!              store::Committer           publish::{metrics, api, page}
//!                     one transaction: counts, positions, and the journal's record up to which they are
//! ```
//!
//! - [`config`]: one checked configuration.
//! - [`ingest`]: connections, frames, limits.
//! - [`journal`]: the single place that decides, and the journal behind it.
//! - [`aggregate`]: worker threads that decode and count.
//! - [`live`]: what is held in memory, by class and bucket of event time.
//! - [`store`]: what survives, in SQLite.
//! - [`rollup`]: what the archive's days come to, in SQLite; [`query`]: SQL on it, from the command line.
//! - [`events`]: what the detector calls, what analysts say of it, and who is told.
//! - [`geo`]: whom a source address belongs to; looked up for sources that are shown.
//! - [`labels`]: what operators say of sensors: groups, economies, networks.
//! - [`tokens`]: who may ask what over HTTP.
//! - [`enroll`]: certificates for sensors, from the collector's own CA.
//! - [`publish`]: Prometheus metrics, the HTTP API of docs/api.md, the page.
//! - [`pipeline`]: the stages behind the gate, put together.
//! - [`signal`]: waking those who wait.
//! - [`latencies`]: how long all that takes.
//! - [`clock`]: the wall clock, which decides nothing.
//! - [`import`]: capture files instead of sensors.
//! - [`backup`]: a copy of everything that is kept, as of one moment.
//! - [`run`]: builds the stages, joins them, stops them in reverse order.
//!
//! Every stage can be pumped without its thread, so that a simulation can run all of them in one.

pub mod aggregate;
pub mod archive;
pub mod backup;
pub mod cli;
pub mod clock;
pub mod config;
pub mod detect;
pub mod enroll;
pub mod events;
pub mod geo;
pub mod import;
pub mod ingest;
pub mod journal;
pub mod labels;
pub mod latencies;
pub mod live;
pub mod pipeline;
pub mod publish;
pub mod query;
pub mod report;
pub mod rollup;
pub mod run;
pub mod signal;
pub mod store;
pub mod tokens;
mod varint;
