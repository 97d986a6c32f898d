//! How a sensor gets its certificate, and keeps one.
//!
//! ```text
//! martlet-sensor enroll: plan (interfaces, what is observed) -> exchange (TLS, one message) -> files (key, certificate, CA) -> configuration
//! martlet-sensor run:    renew, at two thirds of the certificate's life -> exchange -> files -> the next connection
//! ```
//!
//! The key is made here and stays here: key and certificate are one file, which is replaced as a whole. docs/enrolment.md tells operators.

mod command;
mod exchange;
mod files;
mod plan;
mod renew;

pub use command::{EnrollArgs, EnrollError, HELP, run};
pub use exchange::ExchangeError;
pub use renew::{CertificateState, RenewalOutcome, keep_certificate};
