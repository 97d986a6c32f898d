//! What the end-to-end tests share: building and running the real programs, finding the shared captures, and
//! capture files made by hand.
//!
//! The tests themselves are in `tests/`; each file there is a program of its own.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

pub mod capture;
pub mod compare;
pub mod daemon;
pub mod metrics;
pub mod network;
pub mod program;
pub mod prometheus;
pub mod python;
pub mod shared;
pub mod simulation;
