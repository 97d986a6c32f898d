//! What every Martlet daemon needs around its work, and none of the work itself.
//!
//! - [`config`]: a TOML file plus `MARTLET_SECTION__KEY` from the environment, unknown keys refused; where settings come from.
//! - [`preflight`]: what can be looked at before a start.
//! - [`log`]: lines on standard error.
//! - [`counters`]: counters indexed by closed enums, and metrics read from them at scrape time.
//! - [`latency`]: how long things take, as Prometheus histograms and as quantiles of the last minutes.
//! - [`build`]: which build is running.
//! - [`shutdown`] and [`notify`]: stopping or reading the configuration again on a signal, and telling the service manager when
//!   to wait for us.
//! - [`watchdog`]: telling it that every stage makes progress.
//! - [`tls`]: certificates and keys from files.
//! - [`http`] and [`admin`]: an HTTP server that slow clients cannot hold up, with `/metrics`, `/healthz`, `/readyz`.
//! - [`ask`]: the other end, for a daemon's own command line.

pub mod admin;
pub mod ask;
pub mod build;
pub mod catalogue;
pub mod config;
pub mod counters;
pub mod http;
pub mod latency;
pub mod log;
pub mod notify;
pub mod preflight;
mod refusals;
pub mod shutdown;
mod stalls;
pub mod tls;
pub mod watchdog;
