//! The collector: takes batches from sensors, adds them up, and publishes what they say.
//!
//! ```text
//! sensors --TCP--> ingest::connection --payloads-> aggregate::worker   decode: decompress, check every rule
//!                        |    ^-------------------------/
//!                        | in order
//!                        v
//!       ingest::answers, ingest::ledger  position, chain: each (origin, epoch, sequence) counts exactly once
//!                        | accepted
//!                        v
//!                  aggregate::worker     private delta tables, one set a worker; no lock
//!                        | once a second
//!                        v
//!                  live::merger -> live::Store -> Arc<live::LiveView>
//!                                                      | readers swap pointers, never block
//!                                                      v
//!                                      publish::{metrics, api, page}
//! ```
//!
//! - [`config`]: one checked configuration.
//! - [`ingest`]: connections, frames, limits, and the ledger that makes duplicates harmless.
//! - [`aggregate`]: worker threads that decode and count.
//! - [`live`]: what is held in memory, by class and bucket of event time.
//! - [`publish`]: Prometheus metrics, the HTTP API of docs/api.md, the page.
//! - [`run`]: builds the stages, joins them, stops them in reverse order.
//!
//! In this release all state is in memory: a restart begins anew. A journal goes between ledger and aggregation, a
//! store behind the merger.

pub mod aggregate;
pub mod cli;
pub mod config;
pub mod ingest;
pub mod live;
pub mod publish;
pub mod run;
