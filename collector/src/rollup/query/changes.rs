//! What changed from one time to another.

use super::ranking::Question;
use super::services::{ServiceTotals, Which, zone_days};
use super::sums::Unknown;
use super::{Filter, Snapshot, Span};
use crate::live::ServiceKey;
use crate::rollup::error::RollupError;
use crate::rollup::ranks::Order;
use crate::rollup::zones::Zone;

/// Which way something changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// More than before.
    Up,
    /// Less than before.
    Down,
}

/// A service that changed.
#[derive(Clone, Debug)]
pub struct Mover {
    /// What it comes to.
    pub now: ServiceTotals,
    /// What it came to before.
    pub before: ServiceTotals,
    /// By how much it changed, without a sign.
    pub difference: u64,
}

impl Snapshot<'_> {
    /// The services that changed most from one time to another, by packets, or by the distinct sources of each day added up. Both
    /// times should be equally long; they are not divided by exposure.
    ///
    /// # Errors
    /// If they cannot be read, or too many are about alike.
    #[expect(clippy::too_many_arguments, reason = "two times and what is asked of them")]
    pub fn movers(
        &self,
        filter: &Filter,
        now: Span,
        before: Span,
        zone: &Zone,
        which: Which,
        order: Order,
        change: Change,
        limit: usize,
    ) -> Result<Vec<Mover>, RollupError> {
        let pieces = [self.pieces(now)?, self.pieces(before)?];
        let days = [zone_days(&pieces[0], now, zone), zone_days(&pieces[1], before, zone)];
        if order == Order::Sources && days.iter().any(Option::is_none) {
            return Err(RollupError::NotKept(Unknown::CutsSegments.reason()));
        }
        let accepts = |service| which.has(service);
        let question = |side: usize| Question {
            filter,
            pieces: &pieces[side],
            order,
            days: days[side].as_deref().unwrap_or_default(),
            accepts: &accepts,
        };
        // What it comes to on the side with more is never less than the difference.
        let (more, less) = match change {
            Change::Up => (question(0), question(1)),
            Change::Down => (question(1), question(0)),
        };
        let mut value = |service: ServiceKey| {
            let difference = self.value(&more, service)?.saturating_sub(self.value(&less, service)?);
            Ok(difference)
        };
        let ranking = self.rank_by(&more, limit, false, &mut value)?;
        let of = |side: usize, service| {
            let span = [now, before][side];
            self.service_of(filter, span, &pieces[side], days[side].as_deref(), service)
        };
        ranking
            .services
            .into_iter()
            .map(|(difference, service)| Ok(Mover { now: of(0, service)?, before: of(1, service)?, difference }))
            .collect()
    }
}
