//! Where a live sensor's frames come from.

pub mod filter;
pub mod live;
