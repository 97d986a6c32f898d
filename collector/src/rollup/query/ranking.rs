//! The services that come first over many days, exactly, without reading all of them.
//!
//! This is a threshold algorithm (Fagin, Lotem, Naor: "Optimal aggregation algorithms for middleware", 2001): each day has its
//! services in descending order, in pages. What a service can come to at most is what the pages that were read say of it, and for
//! each list the last value that was read of it. Services are looked up in the order of that bound until the last of those that are
//! wanted is above everything that is left. If it does not come to that, all pages are read.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use martlet_window::{DistinctSources, Kind};
use rusqlite::{OptionalExtension, Row, params};

use super::services::service_from;
use super::{Filter, Piece, Snapshot};
use crate::live::ServiceKey;
use crate::rollup::error::RollupError;
use crate::rollup::quarters::{self, QUARTERS};
use crate::rollup::ranks::{Order, read_page};
use crate::rollup::records::number;
use crate::rollup::sketch;

/// So many rows are looked up for one list.
const MOST_LOOKUPS: usize = 2_000_000;
/// How much larger an estimate of a union may come out than the sum of the estimates of its parts: more than six times their
/// standard error.
const SLACK: f64 = 1.1;

/// What services are ranked by, over which pieces.
pub(super) struct Question<'a> {
    pub(super) filter: &'a Filter,
    pub(super) pieces: &'a [Piece],
    pub(super) order: Order,
    /// For [`Order::Sources`]: days, each as places of pieces with the segments of each that are of the day.
    pub(super) days: &'a [Vec<(usize, u32)>],
    pub(super) accepts: &'a dyn Fn(ServiceKey) -> bool,
}

impl Question<'_> {
    /// Whether what a service comes to is the sum of what it is in each piece and kind.
    pub(super) fn is_sum(&self) -> bool {
        lists(self).iter().all(|list| list.weight == 1.0)
    }
}

/// A value and its service: greater is earlier.
pub type Ranked = (u64, ServiceKey);

/// Ranked services, and how many there are in all if all were read.
pub(super) struct Ranking {
    pub(super) services: Vec<Ranked>,
    pub(super) count: Option<usize>,
}

/// A list of one day and kind.
struct List {
    piece: usize,
    kind: Kind,
    page: u32,
    /// The last value that was read; 0 at the end.
    frontier: u64,
    /// What a value counts for at most.
    weight: f64,
}

impl Snapshot<'_> {
    /// The first services, descending.
    pub(super) fn rank(&self, question: &Question<'_>, limit: usize) -> Result<Ranking, RollupError> {
        let is_whole = question.order == Order::Sources || question.pieces.iter().all(Piece::is_whole);
        self.rank_by(question, limit, is_whole && question.is_sum(), &mut |service| self.value(question, service))
    }

    /// As [`Self::rank`], by another value that is never above that of the question. `is_sum` says that it is the sum of what
    /// stands in the lists.
    pub(super) fn rank_by(
        &self,
        question: &Question<'_>,
        limit: usize,
        is_sum: bool,
        value: &mut dyn FnMut(ServiceKey) -> Result<u64, RollupError>,
    ) -> Result<Ranking, RollupError> {
        let mut lists = lists(question);
        let mut bounds: HashMap<ServiceKey, u64, foldhash::fast::RandomState> = HashMap::default();
        let mut known: HashMap<ServiceKey, u64, foldhash::fast::RandomState> = HashMap::default();
        loop {
            for list in lists.iter_mut().filter(|list| list.frontier > 0) {
                self.read(question, list, &mut bounds)?;
            }
            let rest = lists.iter().fold(0, |sum: u64, list| sum.saturating_add(weighted(list.frontier, list.weight)));
            let mut order: Vec<Ranked> = bounds.iter().map(|(service, bound)| (*bound, *service)).collect();
            order.sort_unstable_by_key(|&(bound, service)| (Reverse(bound), service));
            // While what is not read yet could be among the first, more pages tell more than looking up does.
            if rest > 0 && order.get(limit).is_none_or(|&(bound, _)| bound / 2 < rest) {
                continue;
            }
            let mut best: BTreeSet<(Reverse<u64>, ServiceKey)> = BTreeSet::new();
            for (bound, service) in order {
                let most = bound.saturating_add(rest);
                if best.len() >= limit && best.last().is_none_or(|last| *last < (Reverse(most), service)) {
                    break;
                }
                let value = match known.get(&service) {
                    Some(&value) => value,
                    None if is_sum && rest == 0 => bound,
                    None => {
                        if known.len().saturating_mul(lists.len()) >= MOST_LOOKUPS {
                            return Err(RollupError::NotKept(
                                "too many services are about alike for such a list: take a shorter time, a smaller limit, or one kind",
                            ));
                        }
                        let value = value(service)?;
                        known.insert(service, value);
                        value
                    }
                };
                if value > 0 {
                    best.insert((Reverse(value), service));
                }
                if best.len() > limit {
                    best.pop_last();
                }
            }
            if rest == 0 || best.len() >= limit && best.last().is_none_or(|last| last.0.0 > rest) {
                let count = (rest == 0).then_some(bounds.len());
                let services = best.into_iter().map(|(Reverse(value), service)| (value, service)).collect();
                return Ok(Ranking { services, count });
            }
        }
    }

    /// Reads the next page of a list.
    fn read(
        &self,
        question: &Question<'_>,
        list: &mut List,
        bounds: &mut HashMap<ServiceKey, u64, foldhash::fast::RandomState>,
    ) -> Result<(), RollupError> {
        let sql = "SELECT entries FROM rollup_ranks
             WHERE rollup = ?1 AND class = ?2 AND scope = ?3 AND kind = ?4 AND ordering = ?5 AND page = ?6";
        let mut select = self.transaction.prepare_cached(sql)?;
        let (filter, rollup) = (question.filter, question.pieces[list.piece].rollup);
        let (class, scope, ordering) = (filter.class as u8, filter.scope, question.order as u8);
        let page: Option<Vec<u8>> = select
            .query_row(params![rollup, class, scope, list.kind as u8, ordering, list.page], |row| row.get(0))
            .optional()?;
        list.page += 1;
        list.frontier = 0;
        let Some(page) = page else { return Ok(()) };
        let entries = read_page(&page).ok_or_else(RollupError::damaged("rollup_ranks"))?;
        list.frontier = entries.last().map_or(0, |entry| entry.0);
        for (value, service) in entries {
            if question.filter.has(service) && (question.accepts)(service) {
                let bound = bounds.entry(service).or_default();
                *bound = bound.saturating_add(weighted(value, list.weight));
            }
        }
        Ok(())
    }

    /// Visits every service with what it is in each piece and kind, where [`Question::is_sum`].
    pub(super) fn visit_values(
        &self,
        question: &Question<'_>,
        mut visit: impl FnMut(ServiceKey, u64),
    ) -> Result<(), RollupError> {
        let filter = question.filter;
        let is_asked = |service: ServiceKey| filter.has(service) && (question.accepts)(service);
        let sql = "SELECT entries FROM rollup_ranks
             WHERE rollup = ?1 AND class = ?2 AND scope = ?3 AND kind = ?4 AND ordering = ?5 ORDER BY page";
        let mut select = self.transaction.prepare_cached(sql)?;
        for piece in question.pieces {
            if question.order == Order::Packets && !piece.is_whole() {
                self.visit_quarters(filter, piece, |service, packets| {
                    if is_asked(service) {
                        visit(service, packets);
                    }
                })?;
                continue;
            }
            for kind in filter.kinds() {
                let (class, ordering) = (filter.class as u8, question.order as u8);
                let mut rows = select.query(params![piece.rollup, class, filter.scope, kind as u8, ordering])?;
                while let Some(row) = rows.next()? {
                    let page = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
                    let entries = read_page(page).ok_or_else(RollupError::damaged("rollup_ranks"))?;
                    entries
                        .into_iter()
                        .filter(|&(_, service)| is_asked(service))
                        .for_each(|(value, service)| visit(service, value));
                }
            }
        }
        Ok(())
    }

    /// Visits the services of a part of a day, with their packets in it.
    fn visit_quarters(
        &self,
        filter: &Filter,
        piece: &Piece,
        mut visit: impl FnMut(ServiceKey, u64),
    ) -> Result<(), RollupError> {
        let sql = "SELECT service, kind, quarters FROM rollup_services WHERE rollup = ?1 AND class = ?2 AND scope = ?3";
        let mut select = self.transaction.prepare_cached(sql)?;
        let mut rows = select.query(params![piece.rollup, filter.class as u8, filter.scope])?;
        while let Some(row) = rows.next()? {
            if filter.kinds().iter().any(|kind| Ok(*kind as u8) == row.get(1)) {
                let service = service_from(row.get(0)?).ok_or_else(RollupError::damaged("rollup_services"))?;
                visit(service, quarters_of(row, 2, piece)?);
            }
        }
        Ok(())
    }

    /// What a service comes to.
    pub(super) fn value(&self, question: &Question<'_>, service: ServiceKey) -> Result<u64, RollupError> {
        match question.order {
            Order::Packets => question
                .pieces
                .iter()
                .try_fold(0u64, |sum, piece| Ok(sum.saturating_add(self.packets(question.filter, piece, service)?))),
            Order::Sources => question
                .days
                .iter()
                .try_fold(0u64, |sum, day| Ok(sum.saturating_add(self.sources(question, day, service)?))),
        }
    }

    /// Packets of a service in a piece.
    fn packets(&self, filter: &Filter, piece: &Piece, service: ServiceKey) -> Result<u64, RollupError> {
        let columns = if piece.is_whole() { "kind, packets" } else { "kind, quarters" };
        let sql = format!(
            "SELECT {columns} FROM rollup_services WHERE rollup = ?1 AND class = ?2 AND scope = ?3 AND service = ?4"
        );
        let mut select = self.transaction.prepare_cached(&sql)?;
        let mut rows = select.query(params![piece.rollup, filter.class as u8, filter.scope, number(service)])?;
        let mut sum = 0u64;
        while let Some(row) = rows.next()? {
            if !filter.kinds().iter().any(|kind| Ok(*kind as u8) == row.get(0)) {
                continue;
            }
            let packets =
                if piece.is_whole() { row.get::<_, i64>(1)?.unsigned_abs() } else { quarters_of(row, 1, piece)? };
            sum = sum.saturating_add(packets);
        }
        Ok(sum)
    }

    /// Distinct sources of a service in a day.
    fn sources(&self, question: &Question<'_>, day: &[(usize, u32)], service: ServiceKey) -> Result<u64, RollupError> {
        let (filter, mut set) = (question.filter, DistinctSources::default());
        let sql =
            "SELECT kind, sketch FROM rollup_services WHERE rollup = ?1 AND class = ?2 AND scope = ?3 AND service = ?4";
        let mut select = self.transaction.prepare_cached(sql)?;
        for &(piece, segments) in day {
            let rollup = question.pieces[piece].rollup;
            let mut rows = select.query(params![rollup, filter.class as u8, filter.scope, number(service)])?;
            while let Some(row) = rows.next()? {
                if filter.kinds().iter().any(|kind| Ok(*kind as u8) == row.get(0)) {
                    let blob = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
                    sketch::add_to(&mut set, blob, segments).ok_or_else(RollupError::damaged("rollup_services"))?;
                }
            }
        }
        Ok(set.count())
    }
}

/// Packets of a row in the quarter hours of a piece.
fn quarters_of(row: &Row<'_>, column: usize, piece: &Piece) -> Result<u64, RollupError> {
    let blob = row.get_ref(column)?.as_blob().map_err(rusqlite::Error::from)?;
    let quarters = quarters::decode::<QUARTERS>(blob).ok_or_else(RollupError::damaged("rollup_services"))?;
    Ok(quarters[piece.quarters.clone()].iter().fold(0, |sum: u64, &packets| sum.saturating_add(packets)))
}

fn lists(question: &Question<'_>) -> Vec<List> {
    let kinds = question.filter.kinds();
    let weight = |piece: usize| match question.order {
        Order::Packets => 1.0,
        Order::Sources => {
            let days = question.days.iter().flatten().filter(|(of, _)| *of == piece).count();
            // A whole day of one kind is what the list is of. A day of another zone has a part of one only, where the other is missing.
            let is_whole = question.pieces[piece].is_whole() && question.days.iter().all(|day| day.len() == 1);
            let is_same = days == 1 && kinds.len() == 1 && is_whole;
            let days = f64::from(u32::try_from(days).unwrap_or(u32::MAX));
            if is_same { 1.0 } else { days * SLACK }
        }
    };
    let of = |piece: usize| {
        let weight = weight(piece);
        kinds.iter().map(move |&kind| List { piece, kind, page: 0, frontier: u64::MAX, weight })
    };
    (0..question.pieces.len()).flat_map(of).collect()
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a bound that is rounded up; a cast of a float saturates"
)]
fn weighted(value: u64, weight: f64) -> u64 {
    if weight == 1.0 { value } else { (value as f64 * weight).ceil() as u64 }
}
