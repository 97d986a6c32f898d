//! Tokens: who may ask what over HTTP.
//!
//! ```text
//! operator --`token create|list|revoke`--> TokenStore: tables tokens and organisations of the store
//!                                              ^ days of use   | every two seconds
//!                                              \--- Keeper ----/---> Tokens: in memory <- looked up by each request
//! ```
//!
//! A token is `martlet_`, 16 digits by which it is found, `_`, and 64 digits that are the secret: 256 random bits. The store has
//! the SHA-256 of the secret. A slow hash protects what people choose and a dictionary has; against 256 random bits nobody
//! guesses, with however fast a hash, and each request would have to pay for a slow one. The digits by which a token is found
//! are no secret; what is looked up by them is compared in constant time.
//!
//! Commands open the store beside a collector that runs: SQLite lets one write after the other. No request touches the store.

mod keeper;
mod known;
mod scope;
mod secret;
mod store;

pub use keeper::{Keeper, POLL_INTERVAL};
pub use known::{Known, Tokens};
pub use scope::{LoopbackScope, Scope};
pub use secret::{Hash, PublicId, Secret};
pub use store::{Grant, TokenError, TokenRecord, TokenStore};
