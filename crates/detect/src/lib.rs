//! What a detector says of the populations that scan a port: findings, from the weakest to the strongest.

#![forbid(unsafe_code)]

mod finding;
mod population;

pub use finding::{Bin, Estimate, Estimates, Evidence, Finding, FindingType, Key, Label, SeenBy, SeenNetwork};
pub use population::Population;
