//! The detector's thread: it follows the journal, as the archive does, and writes events of what it finds.
//!
//! ```text
//! journal -committed records-> Follower -runs of classes-> a Detector for each class -findings-> events::Recorder
//!                                  |                                                                  |
//!                                  +--------- now and then: what the detectors know, and the record --+--> martlet.db
//! ```
//!
//! Batches are read in the order in which they were accepted, with the time at which they arrived, and nothing else decides what
//! is found: after a crash the records since the last saved state are read again and lead to the same findings, which the
//! recorder knows by their numbers. `crates/detect` is the method; docs/detection.md describes it.

mod config;
mod error;
mod follower;
mod saved;
mod state;

use martlet_window::TrafficClass;

pub use config::DetectSettings;
pub use error::DetectError;
pub use follower::{Follower, Parts};
pub use state::DetectState;

use crate::events::Recorder;
use crate::store::Location;

/// Ends all events that are open and forgets what was known, for a collector that looks for nothing any more.
///
/// # Errors
/// If the store cannot be written.
pub fn retire(location: &Location, now_ms: i64) -> Result<(), DetectError> {
    let mut connection = saved::connect(location)?;
    let transaction = connection.transaction()?;
    for class in TrafficClass::ALL {
        Recorder::end_all(&transaction, class, now_ms)?;
    }
    // Nothing is kept for it to read again.
    transaction.execute("DELETE FROM detector", ())?;
    Ok(transaction.commit()?)
}
