//! `martlet-collector query`: SQL on what the store has of history, read-only and with limits.
//!
//! - [`Arguments`]: the command line.
//! - [`Session`]: a connection that can read history and nothing else.
//! - [`Format`]: a table for people, CSV and JSON for programs.

mod command;
mod output;
mod session;

pub use command::Arguments;
pub use output::Format;
pub use session::{Limits, QueryError, Session};
