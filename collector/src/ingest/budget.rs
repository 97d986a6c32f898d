//! Memory that is promised before it is used.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The unit of a budget, in bytes: coarse, so that shares are few and cheap.
const UNIT: u64 = 1024;
/// What a batch in flight costs beside its rows: bookkeeping, and so a bound on their number.
const BATCH_OVERHEAD: u64 = 64 << 10;
/// Bytes that one decoded row takes: source, packets, bytes, targets.
const ROW_BYTES: u64 = 32;

/// Bytes that a batch of so many rows takes once it is decoded.
#[must_use]
pub const fn decoded_cost(rows: u32) -> u64 {
    BATCH_OVERHEAD + rows as u64 * ROW_BYTES
}

/// A number of bytes that all connections share.
#[derive(Clone, Debug)]
pub struct Budget {
    units: Arc<Semaphore>,
    total: u64,
}

/// A part of a budget; given back when dropped.
#[derive(Debug, Default)]
pub struct Share {
    permits: Option<OwnedSemaphorePermit>,
    bytes: u64,
}

impl Budget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(bytes: u64) -> Budget {
        let units = usize::try_from(bytes / UNIT).unwrap_or(usize::MAX).clamp(1, Semaphore::MAX_PERMITS);
        Budget { units: Arc::new(Semaphore::new(units)), total: units as u64 * UNIT }
    }

    /// All bytes, whoever holds them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// How many batches can hold a share at the same time, where each takes at least [`decoded_cost`] of no rows.
    #[must_use]
    pub fn most_batches(bytes: u64) -> usize {
        usize::try_from(bytes / BATCH_OVERHEAD).unwrap_or(usize::MAX)
    }

    /// Bytes that nobody holds.
    #[must_use]
    pub fn available(&self) -> u64 {
        self.units.available_permits() as u64 * UNIT
    }

    /// A share of at least `bytes`, if nobody else has it.
    #[must_use]
    pub fn try_take(&self, bytes: u64) -> Option<Share> {
        let units = bytes.div_ceil(UNIT);
        let permits = self.units.clone().try_acquire_many_owned(u32::try_from(units).ok()?).ok()?;
        Some(Share { permits: Some(permits), bytes: units * UNIT })
    }

    /// Waits for a share of at least `bytes`, at most so long.
    pub async fn take(&self, bytes: u64, patience: Duration) -> Option<Share> {
        let mut share = Share::default();
        share.grow(self, bytes, patience).await.then_some(share)
    }
}

impl Share {
    /// Grows to at least `bytes`; `false` if others held too much of the budget for so long.
    pub async fn grow(&mut self, budget: &Budget, bytes: u64, patience: Duration) -> bool {
        let missing = bytes.saturating_sub(self.bytes).div_ceil(UNIT);
        if missing == 0 {
            return true;
        }
        let Ok(units) = u32::try_from(missing) else {
            return false;
        };
        let taken = tokio::time::timeout(patience, budget.units.clone().acquire_many_owned(units)).await;
        let Ok(Ok(more)) = taken else {
            return false;
        };
        self.bytes += missing * UNIT;
        match &mut self.permits {
            Some(permits) => permits.merge(more),
            none => *none = Some(more),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_grows_and_is_given_back() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let budget = Budget::new(64 << 10);
            let mut share = budget.take(1, Duration::ZERO).await.unwrap();
            assert_eq!(budget.available(), 63 << 10);
            assert!(share.grow(&budget, 64 << 10, Duration::ZERO).await);
            assert_eq!(budget.available(), 0);
            assert!(budget.take(1, Duration::from_millis(10)).await.is_none());
            assert!(budget.try_take(1).is_none());
            drop(share);
            assert_eq!(budget.available(), 64 << 10);
            let share = budget.try_take(1025).unwrap();
            assert_eq!(budget.available(), 62 << 10);
            drop(share);
            assert_eq!(budget.available(), 64 << 10);
        });
    }
}
