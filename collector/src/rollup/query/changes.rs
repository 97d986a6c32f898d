//! What changed from one time to another.

use std::cmp::Reverse;
use std::collections::HashMap;

use martlet_window::{Class, IpVersion, Kind, Marks, Service};

use super::ranking::{Question, Ranked};
use super::services::{ServiceTotals, Which, ZoneDays, zone_days};
use super::sums::Unknown;
use super::{Filter, Piece, Snapshot, Span};
use crate::config::{TCP, UDP};
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

/// Two times of one state of history, side by side. Both should be equally long; they are not divided by exposure.
pub struct Comparison<'s, 'c> {
    snapshot: &'s Snapshot<'c>,
    filter: Filter,
    which: Which,
    order: Order,
    now: Side,
    before: Side,
    /// What each service comes to on both sides, if that can be added up.
    sums: Option<Sums>,
}

/// Two sums of each service.
#[derive(Default)]
struct Sums {
    /// Of ports of TCP and UDP, by place: nearly all there are, of each day in another order. Empty until there is one.
    ports: Vec<[u64; 2]>,
    others: HashMap<ServiceKey, [u64; 2], foldhash::fast::RandomState>,
}

/// Ports of TCP and UDP, of IPv4 and IPv6.
const PORTS: usize = 4 << 16;

impl Sums {
    fn add(&mut self, service: ServiceKey, side: usize, value: u64) {
        let sum = match place(service) {
            Some(place) => {
                if self.ports.is_empty() {
                    self.ports = vec![[0; 2]; PORTS];
                }
                &mut self.ports[place][side]
            }
            None => &mut self.others.entry(service).or_default()[side],
        };
        *sum = sum.saturating_add(value);
    }

    fn each(&self) -> impl Iterator<Item = (ServiceKey, [u64; 2])> {
        let ports = self.ports.iter().enumerate().filter(|(_, sums)| **sums != [0; 2]);
        let ports = ports.filter_map(|(place, sums)| Some((service_at(place)?, *sums)));
        ports.chain(self.others.iter().map(|(&service, &sums)| (service, sums)))
    }
}

/// Where a port of TCP or UDP has its sums.
fn place(service: ServiceKey) -> Option<usize> {
    let (protocol, port) = service.port()?;
    let of_protocol = match protocol {
        TCP => 0,
        UDP => 1,
        _ => return None,
    };
    let of_version = usize::from(service.ip() == IpVersion::V6) << 1;
    Some((of_version | of_protocol) << 16 | usize::from(port))
}

/// The service that has its sums there.
fn service_at(place: usize) -> Option<ServiceKey> {
    let port = u16::try_from(place & 0xffff).ok()?;
    let protocol = if place & 1 << 16 == 0 { TCP } else { UDP };
    let ip = if place & 1 << 17 == 0 { IpVersion::V4 } else { IpVersion::V6 };
    let class = Class { ip, kind: Kind::Scan, protocol, service: Service::Port(port), marks: Marks::NONE };
    Some(ServiceKey::new(class.into()))
}

/// One of both times.
struct Side {
    span: Span,
    pieces: Vec<Piece>,
    days: Option<ZoneDays>,
}

impl<'c> Snapshot<'c> {
    /// Sets two times side by side, by packets, or by the distinct sources of each day of a zone added up.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn compare(
        &self,
        filter: &Filter,
        now: Span,
        before: Span,
        zone: &Zone,
        which: Which,
        order: Order,
    ) -> Result<Comparison<'_, 'c>, RollupError> {
        let side = |span| -> Result<Side, RollupError> {
            let pieces = self.pieces(span)?;
            let days = zone_days(&pieces, span, zone);
            if order == Order::Sources && days.is_none() {
                return Err(RollupError::NotKept(Unknown::CutsSegments.reason()));
            }
            Ok(Side { span, pieces, days })
        };
        let (now, before) = (side(now)?, side(before)?);
        let mut comparison = Comparison { snapshot: self, filter: *filter, which, order, now, before, sums: None };
        comparison.sums = comparison.add_up()?;
        Ok(comparison)
    }
}

impl Comparison<'_, '_> {
    /// Reading everything once takes less than looking up what might be among the first, where many are about alike.
    fn add_up(&self) -> Result<Option<Sums>, RollupError> {
        let accepts = |service| self.which.has(service);
        let mut sums = Sums::default();
        for (place, side) in [&self.now, &self.before].into_iter().enumerate() {
            let question = self.question(side, &accepts);
            if !question.is_sum() {
                return Ok(None);
            }
            self.snapshot.visit_values(&question, |service, value| sums.add(service, place, value))?;
        }
        Ok(Some(sums))
    }

    fn question<'q>(&'q self, side: &'q Side, accepts: &'q dyn Fn(ServiceKey) -> bool) -> Question<'q> {
        let days = side.days.as_deref().unwrap_or_default();
        Question { filter: &self.filter, pieces: &side.pieces, order: self.order, days, accepts }
    }

    /// The services that changed most, and by how much, the first ones first.
    ///
    /// # Errors
    /// If they cannot be read, or too many are about alike.
    pub fn first(&self, change: Change, limit: usize) -> Result<Vec<Ranked>, RollupError> {
        if let Some(sums) = &self.sums {
            let mut changes: Vec<Ranked> = sums
                .each()
                .map(|(service, [now, before])| match change {
                    Change::Up => (now.saturating_sub(before), service),
                    Change::Down => (before.saturating_sub(now), service),
                })
                .filter(|&(difference, _)| difference > 0)
                .collect();
            let order = |&(difference, service): &Ranked| (Reverse(difference), service);
            if changes.len() > limit {
                changes.select_nth_unstable_by_key(limit, order);
                changes.truncate(limit);
            }
            changes.sort_unstable_by_key(order);
            return Ok(changes);
        }
        let accepts = |service| self.which.has(service);
        // What it comes to on the side with more is never less than the difference.
        let (more, less) = match change {
            Change::Up => (&self.now, &self.before),
            Change::Down => (&self.before, &self.now),
        };
        let (more, less) = (self.question(more, &accepts), self.question(less, &accepts));
        let mut value = |service: ServiceKey| {
            let difference = self.snapshot.value(&more, service)?.saturating_sub(self.snapshot.value(&less, service)?);
            Ok(difference)
        };
        Ok(self.snapshot.rank_by(&more, limit, false, &mut value)?.services)
    }

    /// What there is of one that changed.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn mover(&self, (difference, service): Ranked) -> Result<Mover, RollupError> {
        let of = |side: &Side| {
            self.snapshot.service_of(&self.filter, side.span, &side.pieces, side.days.as_deref(), service)
        };
        Ok(Mover { now: of(&self.now)?, before: of(&self.before)?, difference })
    }
}
