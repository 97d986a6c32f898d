//! How threads that count hand over to the one that merges: the part where the order of steps decides whether a number is
//! right.
//!
//! It is a crate of its own so that `loom` can try all interleavings of its steps without building what lies around it:
//! `scripts/loom.sh` runs `tests/interleavings.rs`.

mod cut;

pub use cut::Cut;
