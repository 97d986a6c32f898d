//! Populations that are kept apart: kinds, marks, tools that are confirmed, lists of known scanners, sources of many ports and of
//! several sensors.

use std::collections::BTreeMap;

use martlet_window::{DistinctSources, IpVersion, Kind};
use rusqlite::params;

use super::groups::Grouping;
use super::sums::{Distinct, Unknown};
use super::{Filter, Piece, Snapshot, Span};
use crate::rollup::cells::Dimension;
use crate::rollup::error::RollupError;
use crate::rollup::populations::Population;
use crate::rollup::settings::ALL_SENSORS;
use crate::rollup::sketch;

/// What a population is told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PopulationBy {
    /// All packets of the kind.
    Kind,
    /// Packets with a mark.
    Mark,
    /// Sources of which a tool is confirmed, and their packets with its mark.
    Confirmed,
    /// Sources on a list of known scanners.
    KnownScanner,
    /// Sources by what they reached, and all of their packets.
    Reach,
}

/// What a population comes to, of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct PopulationTotals {
    /// What it is told apart by.
    pub by: PopulationBy,
    /// Its name.
    pub name: String,
    /// The kind of its packets: kinds are never added up.
    pub kind: Kind,
    /// Packets and distinct sources; `None` where a day does not know them, because it was made by a program that did not ask.
    pub known: Option<(u64, Distinct)>,
    /// Whether all sources of every day were told apart. If not, whoever came back after it was forgotten was judged in parts.
    pub is_complete: bool,
}

/// A sum over days.
#[derive(Default)]
struct Sum {
    packets: u64,
    sources: DistinctSources,
    is_part: bool,
}

impl Snapshot<'_> {
    /// The populations of whole UTC days over all sensors. Those by kind, confirmed tool and reach are there if they have no source,
    /// too; of marks and lists of known scanners only those that have packets.
    ///
    /// # Errors
    /// If they cannot be read, or the time cuts a UTC day.
    pub fn populations(&self, filter: &Filter, span: Span) -> Result<Vec<PopulationTotals>, RollupError> {
        if filter.scope != ALL_SENSORS {
            return Err(RollupError::NotKept("populations are kept over all sensors only: leave the group out"));
        }
        let pieces = self.pieces(span)?;
        if !pieces.iter().all(Piece::is_whole) {
            return Err(RollupError::NotKept(
                "populations are kept of whole UTC days: take from and to at 00:00 UTC, or ask for series of marks and kinds",
            ));
        }
        let not_known = |unknown: Unknown| RollupError::NotKept(unknown.reason());
        let mut totals = Vec::new();
        for kind in filter.kinds() {
            let filter = Filter { kind: Some(kind), ..*filter };
            let mut add = |by, name: String, sum: &super::Sum| -> Result<(), RollupError> {
                let known = Some((sum.packets(), sum.sources().map_err(not_known)?));
                totals.push(PopulationTotals { by, name, kind, known, is_complete: true });
                Ok(())
            };
            add(PopulationBy::Kind, kind.name().to_owned(), &self.totals(&filter, span)?)?;
            for (by, dimension) in
                [(PopulationBy::Mark, Dimension::Mark), (PopulationBy::KnownScanner, Dimension::Scanner)]
            {
                for group in self.groups(&filter, span, dimension, Grouping::All)? {
                    add(by, group.name, &group.sum)?;
                }
            }
        }
        self.add_kept(filter, &pieces, &mut totals)?;
        Ok(totals)
    }

    /// Adds what the table of populations has.
    fn add_kept(
        &self,
        filter: &Filter,
        pieces: &[Piece],
        totals: &mut Vec<PopulationTotals>,
    ) -> Result<(), RollupError> {
        let mut sums: BTreeMap<(Population, Kind), Sum> = BTreeMap::new();
        let mut is_known = true;
        for piece in pieces {
            is_known &= self.knows_populations(filter, piece)?;
            self.add_piece(filter, piece, &mut sums)?;
        }
        for population in Population::ALL {
            for kind in filter.kinds().into_iter().filter(|&kind| population.has_kind(kind)) {
                let Sum { packets, sources, is_part } = sums.remove(&(population, kind)).unwrap_or_default();
                let distinct = Distinct { count: sources.count(), error: sources.standard_error() };
                totals.push(PopulationTotals {
                    by: if population.is_tool() { PopulationBy::Confirmed } else { PopulationBy::Reach },
                    name: population.name().to_owned(),
                    kind,
                    known: is_known.then_some((packets, distinct)),
                    is_complete: !is_part,
                });
            }
        }
        Ok(())
    }

    /// Whether a day was made by a program that looked for populations, or has nobody who could belong to one.
    fn knows_populations(&self, filter: &Filter, piece: &Piece) -> Result<bool, RollupError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM rollup_populations WHERE rollup = ?1 AND class = ?2)
             OR NOT EXISTS (SELECT 1 FROM rollup_source_lists WHERE rollup = ?1 AND class = ?2)";
        let mut select = self.transaction.prepare_cached(sql)?;
        Ok(select.query_row(params![piece.rollup, filter.class as u8], |row| row.get(0))?)
    }

    fn add_piece(
        &self,
        filter: &Filter,
        piece: &Piece,
        sums: &mut BTreeMap<(Population, Kind), Sum>,
    ) -> Result<(), RollupError> {
        let sql = "SELECT ip_version, kind, population, packets, is_complete, sketch FROM rollup_populations
             WHERE rollup = ?1 AND class = ?2";
        let mut select = self.transaction.prepare_cached(sql)?;
        let mut rows = select.query(params![piece.rollup, filter.class as u8])?;
        let damaged = RollupError::damaged("rollup_populations");
        // A whole day is all of its segments.
        let wanted = piece.segments.unwrap_or(u32::MAX);
        while let Some(row) = rows.next()? {
            let ip = [IpVersion::V4, IpVersion::V6].into_iter().find(|&ip| row.get(0) == Ok(ip as u8));
            let kind = Kind::from_number(row.get(1)?).ok_or_else(&damaged)?;
            let number: u8 = row.get(2)?;
            let population = Population::ALL.into_iter().find(|population| *population as u8 == number);
            let (ip, population) = ip.zip(population).ok_or_else(&damaged)?;
            if !filter.has_ip(ip) || !filter.has_kind(kind) {
                continue;
            }
            let sum = sums.entry((population, kind)).or_default();
            sum.packets = sum.packets.saturating_add(row.get::<_, i64>(3)?.unsigned_abs());
            sum.is_part |= !row.get::<_, bool>(4)?;
            let blob = row.get_ref(5)?.as_blob().map_err(rusqlite::Error::from)?;
            sketch::add_to(&mut sum.sources, blob, wanted).ok_or_else(&damaged)?;
        }
        Ok(())
    }
}
