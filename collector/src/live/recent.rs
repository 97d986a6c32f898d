//! The recent past at fine resolution: what one sees moving.

use std::collections::BTreeMap;
use std::sync::Arc;

use martlet_window::DistinctSources;

use super::key::ServiceKind;
use super::sorted::{Levels, Sorted, SortedKey as _};
use crate::aggregate::RecentDelta;

/// Length of a step of the recent past, in seconds. A window belongs to the step in which it starts.
pub const RECENT_STEP_SECONDS: i64 = 10;
/// How many steps are kept: ten minutes.
pub const RECENT_STEPS: i64 = 60;
/// In how many of the newest steps services are told apart: a minute, and as much again for sensors that are behind.
const DETAILED_STEPS: usize = 12;

/// Most services by kind that one step tells apart.
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
    /// By service and kind, at most [`RECENT_SERVICES`] and those beyond; empty in older steps.
    pub services: Arc<Sorted<ServiceKind>>,
}

/// Steps by their start, in seconds since the Unix epoch.
pub type RecentSteps = BTreeMap<i64, Arc<RecentStep>>;

/// Adds what a worker counted to a step; packets whose service is not told apart are returned.
pub(super) fn add(steps: &mut RecentSteps, start: i64, delta: RecentDelta) -> u64 {
    let step = Arc::make_mut(steps.entry(start).or_default());
    step.packets = step.packets.saturating_add(delta.sums.packets);
    step.bytes = step.bytes.saturating_add(delta.sums.bytes);
    step.sources.merge(&delta.sources);
    let rest = |services: &Sorted<ServiceKind>| -> u64 {
        let rest = services.iter().rev().take_while(|(key, _)| key.is_overflow());
        rest.map(|(_, row)| row.packets).sum()
    };
    let overflowed = rest(&delta.services);
    let mut services = Levels::from(std::mem::take(&mut step.services));
    let overflowed = overflowed + services.add(delta.services, RECENT_SERVICES);
    step.services = services.merged();
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
            Arc::make_mut(step).services = Arc::default();
            changed(start);
        }
    }
}
