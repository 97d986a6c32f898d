//! `/api/v1/history/populations`: packets and sources, kept apart by kind, mark, confirmed tool, list of known scanners and reach.

use martlet_window::Kind;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::Schema;

use super::super::endpoint::About;
use super::super::format::Table;
use super::super::json::{Distinct, words};
use super::super::list::page;
use super::super::parameter::Parameter;
use super::groups::place;
use super::{HistoryAsked, HistoryPath, Refusal, about};
use crate::rollup::query::{PopulationBy, PopulationTotals};

/// The path.
pub(super) struct Path;

/// Populations, none of which is a part of another one's figures.
#[derive(Serialize, ToSchema)]
#[schema(as = HistoryPopulations)]
pub(super) struct Body {
    /// What asks for the next page; null on the last one.
    next_cursor: Option<String>,
    /// Populations: by what they are told apart, and then by packets, descending.
    populations: Vec<Population>,
    /// How many are behind these.
    populations_left_out: usize,
}

/// A population.
#[derive(Serialize, ToSchema)]
#[schema(as = HistoryPopulation)]
pub(super) struct Population {
    /// What it is told apart by: `kind`; `mark` of packets; `confirmed` tool of a source; `known_scanner`, a list; `reach` of a
    /// source.
    #[schema(schema_with = bys)]
    by: &'static str,
    /// Its name.
    name: String,
    /// The kind of its packets.
    #[schema(schema_with = kinds)]
    kind: &'static str,
    /// Packets: of a mark and a confirmed tool those with its mark, of others all of the kind; null where a day does not know them.
    packets: Option<u64>,
    /// Sources; null where a day does not know them.
    sources: Option<Distinct>,
    /// Whether every source of every day was told apart; if not, the figures are about right only.
    complete: bool,
}

fn bys() -> Schema {
    words(&["kind", "mark", "confirmed", "known_scanner", "reach"])
}

fn kinds() -> Schema {
    words(&Kind::ALL.map(Kind::name))
}

const fn by_name(by: PopulationBy) -> &'static str {
    match by {
        PopulationBy::Kind => "kind",
        PopulationBy::Mark => "mark",
        PopulationBy::Confirmed => "confirmed",
        PopulationBy::KnownScanner => "known_scanner",
        PopulationBy::Reach => "reach",
    }
}

impl HistoryPath for Path {
    const ABOUT: About = about(
        "history/populations",
        "Packets and sources kept apart by kind, mark, confirmed tool, list of known scanners and reach, in whole UTC days",
        &[
            Parameter::Class,
            Parameter::From,
            Parameter::To,
            Parameter::Kind,
            Parameter::Ip,
            Parameter::Limit,
            Parameter::Cursor,
            Parameter::Format,
        ],
    );
    type Body = Body;

    fn answer(asked: &HistoryAsked<'_>) -> Result<Body, Refusal> {
        let HistoryAsked { snapshot, query, filter, span, .. } = *asked;
        let page = page(query, snapshot.populations(&filter, span)?, |totals| {
            let packets = totals.known.map_or(0, |(packets, _)| packets);
            let named = place(packets, &format!("{} {}", totals.name, totals.kind.name()));
            [&[totals.by as u8][..], &named].concat()
        });
        let entry = |totals: PopulationTotals| Population {
            by: by_name(totals.by),
            name: totals.name,
            kind: totals.kind.name(),
            packets: totals.known.map(|(packets, _)| packets),
            sources: totals.known.map(|(_, sources)| Distinct::from(sources)),
            complete: totals.is_complete,
        };
        Ok(Body {
            next_cursor: page.next,
            populations: page.entries.into_iter().map(entry).collect(),
            populations_left_out: page.left_out,
        })
    }
}

impl Table for Body {
    type Row = Population;
    const COLUMNS: &'static [&'static str] =
        &["by", "name", "kind", "packets", "sources.count", "sources.exact", "sources.error", "complete"];

    fn rows(&self) -> impl Iterator<Item = impl Serialize> {
        self.populations.iter()
    }

    fn next_cursor(&self) -> Option<&str> {
        self.next_cursor.as_deref()
    }
}
