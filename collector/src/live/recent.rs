//! The recent past at fine resolution: what one sees moving.

use std::collections::BTreeMap;
use std::sync::Arc;

use martlet_window::DistinctSources;

use super::bucket::Row;
use super::key::ServiceKey;
use crate::aggregate::RecentDelta;

/// Length of a step of the recent past, in seconds. A window belongs to the step in which it starts.
pub const RECENT_STEP_SECONDS: i64 = 10;
/// How many steps are kept: ten minutes.
pub const RECENT_STEPS: i64 = 60;
/// In how many of the newest steps services are told apart.
const DETAILED_STEPS: usize = 8;

/// Most services that one step tells apart.
pub const RECENT_SERVICES: usize = 1024;

/// One step of one class.
#[derive(Clone, Debug, Default)]
pub struct RecentStep {
    /// Packets.
    pub packets: u64,
    /// IP total lengths, in bytes.
    pub bytes: u64,
    /// Sources of all services.
    pub sources: DistinctSources,
    /// By service, at most [`RECENT_SERVICES`] and those beyond; empty in older steps.
    pub services: BTreeMap<ServiceKey, Row>,
}

/// Steps by their start, in seconds since the Unix epoch.
pub type RecentSteps = BTreeMap<i64, Arc<RecentStep>>;

/// Adds what a worker counted to a step; packets whose service is not told apart are returned.
pub(super) fn add(steps: &mut RecentSteps, start: i64, delta: &mut RecentDelta) -> u64 {
    let mut overflowed = 0;
    let step = Arc::make_mut(steps.entry(start).or_default());
    for (service, counts) in delta.services.drain() {
        step.packets = step.packets.saturating_add(counts.packets);
        step.bytes = step.bytes.saturating_add(counts.bytes);
        step.sources.merge(&counts.sources);
        let is_known = step.services.len() < RECENT_SERVICES || step.services.contains_key(&service);
        let service = if is_known { service } else { ServiceKey::overflow(service.ip()) };
        if service.class().is_none() {
            overflowed += counts.packets;
        }
        let row = step.services.entry(service).or_default();
        row.packets = row.packets.saturating_add(counts.packets);
        row.bytes = row.bytes.saturating_add(counts.bytes);
        row.sources.merge(&counts.sources);
    }
    overflowed
}

/// Forgets steps before the ten minutes that end with `newest_end`, and the services of all but the newest steps. Says
/// which steps it changed.
pub(super) fn forget(steps: &mut RecentSteps, newest_end: i64, mut changed: impl FnMut(i64)) {
    let oldest = newest_end.saturating_sub(RECENT_STEP_SECONDS * RECENT_STEPS);
    let kept = steps.split_off(&oldest);
    std::mem::replace(steps, kept).into_keys().for_each(&mut changed);
    let old = steps.len().saturating_sub(DETAILED_STEPS);
    for (&start, step) in steps.iter_mut().take(old) {
        if !step.services.is_empty() {
            Arc::make_mut(step).services = BTreeMap::new();
            changed(start);
        }
    }
}
