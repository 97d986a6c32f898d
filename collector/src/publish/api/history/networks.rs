//! `/api/v1/history/networks`: packets by the autonomous system of their sources.

use serde::Serialize;
use utoipa::ToSchema;

use super::super::endpoint::About;
use super::super::format::Table;
use super::super::json::Distinct;
use super::super::list::page;
use super::super::parameter::Parameter;
use super::groups::place;
use super::{HistoryAsked, HistoryPath, Refusal, about};
use crate::rollup::OTHER_ASNS;

/// The path.
pub(super) struct Path;

/// Packets by autonomous system.
#[derive(Serialize, ToSchema)]
#[schema(as = HistoryNetworks)]
pub(super) struct Body {
    /// What asks for the next page; null on the last one.
    next_cursor: Option<String>,
    /// Networks by packets, descending.
    networks: Vec<Network>,
    /// How many are behind these.
    networks_left_out: usize,
}

/// An autonomous system.
#[derive(Serialize, ToSchema)]
#[schema(as = HistoryNetwork)]
pub(super) struct Network {
    /// Its number; null of sources of which none is known, and of what came when a day had too many.
    asn: Option<i64>,
    /// Who it is; `(others)` stands for what came when a day had too many.
    organisation: Option<String>,
    /// Packets.
    packets: u64,
    /// Sources.
    sources: Distinct,
}

impl HistoryPath for Path {
    const ABOUT: About = about(
        "history/networks",
        "Packets by the autonomous system of their sources, as known when they were archived",
        &[
            Parameter::Class,
            Parameter::From,
            Parameter::To,
            Parameter::Kind,
            Parameter::Zone,
            Parameter::Ip,
            Parameter::Limit,
            Parameter::Cursor,
            Parameter::Format,
        ],
    );
    type Body = Body;

    fn answer(asked: &HistoryAsked<'_>) -> Result<Body, Refusal> {
        let HistoryAsked { snapshot, query, filter, span, .. } = *asked;
        let networks = snapshot.networks(&filter, span, usize::MAX)?;
        let page = page(query, networks, |network| {
            place(network.packets, &format!("{:020}", network.asn.unwrap_or(-1).saturating_add(2)))
        });
        let entry = |network: crate::rollup::query::NetworkTotals| {
            let is_others = network.asn == Some(OTHER_ASNS);
            Network {
                asn: network.asn.filter(|_| !is_others),
                organisation: if is_others { Some("(others)".to_owned()) } else { network.organisation },
                packets: network.packets,
                sources: Distinct::from(network.sources),
            }
        };
        Ok(Body {
            next_cursor: page.next,
            networks: page.entries.into_iter().map(entry).collect(),
            networks_left_out: page.left_out,
        })
    }
}

impl Table for Body {
    type Row = Network;
    const COLUMNS: &'static [&'static str] =
        &["asn", "organisation", "packets", "sources.count", "sources.exact", "sources.error"];

    fn rows(&self) -> impl Iterator<Item = impl Serialize> {
        self.networks.iter()
    }

    fn next_cursor(&self) -> Option<&str> {
        self.next_cursor.as_deref()
    }
}
