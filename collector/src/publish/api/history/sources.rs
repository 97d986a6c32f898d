//! `/api/v1/history/sources`: who sent most.

use serde::Serialize;
use utoipa::ToSchema;

use martlet_window::Kind;

use super::super::endpoint::About;
use super::super::format::Table;
use super::super::list::page;
use super::super::parameter::Parameter;
use super::groups::place;
use super::{HistoryAsked, HistoryPath, Refusal, about};
use crate::rollup::query::{Filter, SourceEntry};

/// The path.
pub(super) struct Path;

/// Who sent most.
#[derive(Serialize, ToSchema)]
#[schema(as = HistorySources)]
pub(super) struct Body {
    /// What asks for the next page; null on the last one.
    next_cursor: Option<String>,
    /// Sources that were among the heaviest of a day, by the most that they can have sent, descending.
    sources: Vec<Source>,
    /// How many are behind these.
    sources_left_out: usize,
    /// A source that is on no day's list sent at most so many packets.
    packets_unlisted_bound: u64,
    /// Sources, on no list of known scanners, that scanned many ports on a day (docs/history.md): sum over days.
    multi_port_sources: u64,
    /// Their packets.
    multi_port_packets: u64,
    /// Whether every source of every day was told apart; if not, the two before are lower bounds.
    complete: bool,
}

/// A source.
#[derive(Serialize, ToSchema)]
#[schema(as = HistorySource)]
pub(super) struct Source {
    /// Its address; a /24 or /48 where only that is left.
    source: String,
    /// Packets, at least.
    packets: u64,
    /// How many more they may be.
    packets_error: u64,
    /// IP total lengths of those packets.
    bytes: u64,
    /// Ports that it scanned on the day on which they were most.
    ports: u64,
    /// Its region on the last of the days; `ZZ` if that is not known.
    region: String,
    /// Its autonomous system then.
    asn: Option<u32>,
    /// Who that is.
    organisation: Option<String>,
    /// The list of known scanners that it was on then.
    known_scanner: Option<String>,
}

impl HistoryPath for Path {
    const ABOUT: About = about(
        "history/sources",
        "Who sent most, by kind: scan if none is given",
        &[
            Parameter::Class,
            Parameter::From,
            Parameter::To,
            Parameter::Kind,
            Parameter::Limit,
            Parameter::Cursor,
            Parameter::Format,
        ],
    );
    type Body = Body;

    fn filter(filter: Filter) -> Filter {
        Filter { kind: filter.kind.or(Some(Kind::Scan)), ..filter }
    }

    fn answer(asked: &HistoryAsked<'_>) -> Result<Body, Refusal> {
        let HistoryAsked { snapshot, query, filter, span, .. } = *asked;
        let kind = filter.kind.unwrap_or(Kind::Scan);
        let list = snapshot.top_sources(query.class, kind, span, usize::MAX)?;
        let most = |entry: &SourceEntry| entry.packets.saturating_add(entry.error);
        let page = page(query, list.sources, |entry| place(most(entry), &entry.source));
        let entry = |entry: SourceEntry| Source {
            source: entry.source,
            packets: entry.packets,
            packets_error: entry.error,
            bytes: entry.bytes,
            ports: entry.ports,
            region: entry.region,
            asn: entry.asn,
            organisation: entry.organisation,
            known_scanner: entry.known_scanner,
        };
        Ok(Body {
            next_cursor: page.next,
            sources: page.entries.into_iter().map(entry).collect(),
            sources_left_out: page.left_out,
            packets_unlisted_bound: list.floor,
            multi_port_sources: list.multi_port_sources,
            multi_port_packets: list.multi_port_packets,
            complete: list.is_complete,
        })
    }
}

impl Table for Body {
    type Row = Source;
    const COLUMNS: &'static [&'static str] =
        &["source", "packets", "packets_error", "bytes", "ports", "region", "asn", "organisation", "known_scanner"];

    fn rows(&self) -> impl Iterator<Item = impl Serialize> {
        self.sources.iter()
    }

    fn next_cursor(&self) -> Option<&str> {
        self.next_cursor.as_deref()
    }
}
