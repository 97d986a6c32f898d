//! `/api/v1/history/ports`: which services were looked for.

use serde::Serialize;
use utoipa::ToSchema;

use super::super::endpoint::About;
use super::super::format::Table;
use super::super::list::{by_packets, page};
use super::super::params::{Accepts, Parameter};
use super::super::validator::Validity;
use super::shapes::{HistoryHead, HistoryPort, PORT_COLUMNS, Totals};
use super::{Based, HistoryAsked, HistoryPath, Refusal};
use crate::live::ServiceKey;
use crate::rollup::Order;
use crate::rollup::query::{ServiceTotals, Which};
use crate::tokens::Scope;

/// The path.
pub(super) struct Path;

/// Which services were looked for.
#[derive(Serialize, ToSchema)]
#[schema(as = HistoryPorts)]
pub(super) struct Answer {
    #[serde(flatten)]
    head: HistoryHead,
    /// Of everything that matches, also what is no port.
    totals: Totals,
    /// What asks for the next page; null on the last one.
    next_cursor: Option<String>,
    /// Ports by packets, or by `daily_sources`, descending.
    ports: Vec<HistoryPort>,
}

impl HistoryPath for Path {
    const ABOUT: About = About {
        name: "history/ports",
        summary: "Which services were looked for",
        accepts: Accepts::history(&[
            Parameter::Class,
            Parameter::From,
            Parameter::To,
            Parameter::Kind,
            Parameter::Zone,
            Parameter::Ip,
            Parameter::Protocol,
            Parameter::Order,
            Parameter::Limit,
            Parameter::Cursor,
            Parameter::Format,
        ]),
        scope: Scope::Read,
        validity: Validity::Answer,
        walks: true,
    };
    type Answer = Answer;

    fn answer(asked: &HistoryAsked<'_>) -> Result<Answer, Refusal> {
        let HistoryAsked { snapshot, query, filter, span, zone, .. } = *asked;
        let order = query.wanted.order.unwrap_or(Order::Packets);
        // One more than the page says whether there is another. Those in front of the page are ranked with it, again and again
        // twice as many until it is full.
        let (mut most, mut list) =
            (query.limit + 1, snapshot.services(&filter, span, zone, Which::Ports, order, query.limit + 1)?);
        let place = |entry: &ServiceTotals| -> [u8; 16] {
            let value = match order {
                Order::Packets => entry.sum.packets(),
                Order::Sources => entry.daily_sources.unwrap_or(0),
            };
            by_packets(value, number(entry.service))
        };
        if let Some(after) = &query.after {
            let behind = |list: &[ServiceTotals]| {
                list.iter().filter(|entry| place(entry).as_slice() > after.0.as_slice()).count()
            };
            while list.services.len() == most && behind(&list.services) <= query.limit {
                most *= 2;
                list = snapshot.services(&filter, span, zone, Which::Ports, order, most)?;
            }
        }
        let basis = snapshot.basis(&filter, span)?;
        let ports = page(query, list.services, place);
        let entries = ports.entries.iter().filter_map(|entry| HistoryPort::of(entry, &basis.exposure));
        Ok(Answer {
            head: HistoryHead::of(asked, &basis)?,
            totals: Totals::from(&list.totals),
            next_cursor: ports.next,
            ports: entries.collect(),
        })
    }
}

fn number(service: ServiceKey) -> [u8; 8] {
    service.bits().to_be_bytes()
}

impl Based for Answer {
    fn head(&self) -> &HistoryHead {
        &self.head
    }
}

impl Table for Answer {
    type Row = HistoryPort;
    const COLUMNS: &'static [&'static str] = &PORT_COLUMNS;

    fn rows(&self) -> impl Iterator<Item = impl Serialize> {
        self.ports.iter()
    }

    fn next_cursor(&self) -> Option<&str> {
        self.next_cursor.as_deref()
    }
}
