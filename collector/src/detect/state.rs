//! What others may know of the detector's thread.

use std::sync::atomic::{AtomicI64, AtomicU64};

use martlet_window::TrafficClass;

use crate::journal::Health;

/// Counters of the detector's thread; those of classes by their number.
#[derive(Debug)]
pub struct DetectState {
    /// Whether it works.
    pub health: Health,
    /// Records of the journal below this one are known to the detectors.
    pub read: AtomicU64,
    /// Records that counted and could not be read.
    pub lost_records: AtomicU64,
    /// Populations on ports that are told apart.
    pub keys: [AtomicU64; TrafficClass::ALL.len()],
    /// Those whose sources are followed.
    pub candidates: [AtomicU64; TrafficClass::ALL.len()],
    /// Findings that are not over.
    pub open: [AtomicU64; TrafficClass::ALL.len()],
    /// Reports that came when their steps had been closed.
    pub late_reports: [AtomicU64; TrafficClass::ALL.len()],
    /// Reports of real traffic that ended after their arrival: that sensor's clock is ahead.
    pub early_reports: AtomicU64,
    /// Sightings for whose population and port there was no place.
    pub overflowed: [AtomicU64; TrafficClass::ALL.len()],
    /// Candidates for which there was no place.
    pub refused_candidates: [AtomicU64; TrafficClass::ALL.len()],
    /// Until when steps are closed, in seconds since the Unix epoch; 0 before the first.
    pub closed_until: [AtomicI64; TrafficClass::ALL.len()],
    /// Length of what was last saved, in bytes.
    pub saved_bytes: AtomicU64,
}

impl Default for DetectState {
    fn default() -> DetectState {
        DetectState {
            health: Health::new("looking for outbreaks"),
            read: AtomicU64::default(),
            lost_records: AtomicU64::default(),
            keys: Default::default(),
            candidates: Default::default(),
            open: Default::default(),
            late_reports: Default::default(),
            early_reports: AtomicU64::default(),
            overflowed: Default::default(),
            refused_candidates: Default::default(),
            closed_until: Default::default(),
            saved_bytes: AtomicU64::default(),
        }
    }
}
