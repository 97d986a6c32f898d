//! `/api/v1/history/ports`: which services were looked for.

use serde::Serialize;
use utoipa::ToSchema;

use super::super::endpoint::About;
use super::super::format::Table;
use super::super::list::{by_packets, page};
use super::super::parameter::Parameter;
use super::shapes::{HistoryPort, PORT_COLUMNS, Totals};
use super::{HistoryAsked, HistoryPath, Refusal, about};
use crate::live::ServiceKey;
use crate::rollup::query::Which;
use crate::rollup::{Order, RollupError};

/// The path.
pub(super) struct Path;

/// Which services were looked for.
#[derive(Serialize, ToSchema)]
#[schema(as = HistoryPorts)]
pub(super) struct Body {
    /// Of everything that matches, also what is no port.
    totals: Totals,
    /// What asks for the next page; null on the last one.
    next_cursor: Option<String>,
    /// Ports by packets, or by `daily_sources`, descending.
    ports: Vec<HistoryPort>,
}

impl HistoryPath for Path {
    const ABOUT: About = about(
        "history/ports",
        "Which services were looked for",
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
            Parameter::Limit,
            Parameter::Cursor,
            Parameter::Format,
        ],
    );
    type Body = Body;

    fn answer(asked: &HistoryAsked<'_>) -> Result<Body, Refusal> {
        let HistoryAsked { snapshot, query, filter, span, zone, .. } = *asked;
        let order = query.wanted.order.unwrap_or(Order::Packets);
        // One more than the page says whether there is another. Those in front of the page are ranked with it, each time twice
        // as many until it is full.
        let rank = |most| snapshot.ranked_services(&filter, span, zone, Which::Ports, order, most);
        let place =
            |(value, service): &(u64, ServiceKey)| -> [u8; 16] { by_packets(*value, service.bits().to_be_bytes()) };
        let mut most = query.limit + 1;
        let mut ranked = rank(most)?;
        if let Some(after) = &query.after {
            let behind = |ranked: &[(u64, ServiceKey)]| {
                ranked.iter().filter(|entry| place(entry).as_slice() > after.0.as_slice()).count()
            };
            while ranked.len() == most && behind(&ranked) <= query.limit {
                most *= 2;
                ranked = rank(most)?;
            }
        }
        let page = page(query, ranked, place);
        let entries = page.entries.into_iter().map(|(_, service)| snapshot.service(&filter, span, zone, service));
        let entries = entries.map(|totals| Ok(HistoryPort::of(&totals?, &asked.basis.exposure)));
        let ports = entries.filter_map(Result::transpose).collect::<Result<Vec<_>, RollupError>>()?;
        Ok(Body { totals: Totals::from(&snapshot.totals(&filter, span)?), next_cursor: page.next, ports })
    }
}

impl Table for Body {
    type Row = HistoryPort;
    const COLUMNS: &'static [&'static str] = &PORT_COLUMNS;

    fn rows(&self) -> impl Iterator<Item = impl Serialize> {
        self.ports.iter()
    }

    fn next_cursor(&self) -> Option<&str> {
        self.next_cursor.as_deref()
    }
}
