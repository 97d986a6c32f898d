//! `/api/v1/history/changes`: which ports changed most from the time of equal length before.

use serde::Serialize;
use utoipa::ToSchema;

use super::super::endpoint::About;
use super::super::format::Table;
use super::super::json::{Time, words};
use super::super::parameter::Parameter;
use super::shapes::{BasisShape, HistoryPort};
use super::{HistoryAsked, HistoryPath, Refusal, about};
use crate::rollup::Order;
use crate::rollup::query::{Change, Which};

/// The path.
pub(super) struct Path;

/// Which ports changed most.
#[derive(Serialize, ToSchema)]
#[schema(as = HistoryChanges)]
pub(super) struct Body {
    /// Begin of the time before; it ends where this one begins.
    previous_from: Time,
    /// What stands behind the figures of the time before.
    previous_basis: BasisShape,
    /// Which changes: of what went up, or down.
    #[schema(schema_with = directions)]
    direction: &'static str,
    /// By what they are measured.
    #[schema(schema_with = orders)]
    order: &'static str,
    /// The largest first. They are not divided by what was watched: `packets_per_address_day` is.
    changes: Vec<Entry>,
}

fn directions() -> utoipa::openapi::Schema {
    words(&["up", "down"])
}

fn orders() -> utoipa::openapi::Schema {
    words(&["packets", "daily_sources"])
}

/// A port that changed.
#[derive(Serialize, ToSchema)]
#[schema(as = HistoryChange)]
pub(super) struct Entry {
    /// By how much, without a sign.
    difference: u64,
    /// What it comes to.
    now: HistoryPort,
    /// What it came to before.
    previous: HistoryPort,
}

impl HistoryPath for Path {
    const ABOUT: About = about(
        "history/changes",
        "Which ports changed most from the time before",
        &[
            Parameter::Class,
            Parameter::From,
            Parameter::To,
            Parameter::Group,
            Parameter::Kind,
            Parameter::Zone,
            Parameter::Ip,
            Parameter::Protocol,
            Parameter::Order,
            Parameter::Direction,
            Parameter::Limit,
            Parameter::Format,
        ],
    );
    type Body = Body;

    fn answer(asked: &HistoryAsked<'_>) -> Result<Body, Refusal> {
        let HistoryAsked { snapshot, query, filter, span, zone, .. } = *asked;
        let before = span.before()?;
        let order = query.wanted.order.unwrap_or(Order::Packets);
        let change = query.wanted.change.unwrap_or(Change::Up);
        let (limit, ports) = (query.limit, Which::Ports);
        let comparison = snapshot.compare(&filter, span, before, zone, ports, order)?;
        let previous = snapshot.basis(&filter, before)?;
        let mut changes = Vec::new();
        for ranked in comparison.first(change, limit)? {
            let mover = comparison.mover(ranked)?;
            let now = HistoryPort::of(&mover.now, &asked.basis.exposure);
            let before = HistoryPort::of(&mover.before, &previous.exposure);
            let both = now.zip(before);
            changes.extend(both.map(|(now, previous)| Entry { difference: mover.difference, now, previous }));
        }
        Ok(Body {
            previous_from: Time(before.from()),
            previous_basis: BasisShape::of(asked, &previous)?,
            direction: if change == Change::Up { "up" } else { "down" },
            order: if order == Order::Packets { "packets" } else { "daily_sources" },
            changes,
        })
    }
}

impl Table for Body {
    type Row = Entry;
    const COLUMNS: &'static [&'static str] = &[
        "now.ip",
        "now.protocol",
        "now.protocol_name",
        "now.port",
        "now.service",
        "difference",
        "now.packets",
        "previous.packets",
        "now.daily_sources",
        "previous.daily_sources",
        "now.packets_per_address_day",
        "previous.packets_per_address_day",
    ];

    fn rows(&self) -> impl Iterator<Item = impl Serialize> {
        self.changes.iter()
    }
}
