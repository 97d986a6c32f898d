//! Adding up rows of rollups.

use martlet_window::DistinctSources;
use rusqlite::Row;

use super::{Piece, Span};
use crate::rollup::error::RollupError;
use crate::rollup::quarters::{self, QUARTERS};
use crate::rollup::sketch;
use crate::rollup::zones::DAY_SECONDS;

/// Why a figure is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Bytes are kept of whole UTC days.
    CutsDays,
    /// Distinct sources are kept of whole days of `history.report_zones`.
    CutsSegments,
    /// Distinct sources are not kept of this.
    NotKept,
}

impl Unknown {
    /// In words.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Unknown::CutsDays => "bytes are kept of whole UTC days: take from and to at 00:00 UTC, or ask the archive",
            Unknown::CutsSegments => {
                "distinct sources are kept of whole days of the zones in history.report_zones: take from and to at midnight of one \
                 of them, or ask the archive"
            }
            Unknown::NotKept => "distinct sources of this are not kept: ask the archive",
        }
    }
}

/// A number of distinct sources, of IPv6 of /64 networks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distinct {
    /// How many.
    pub count: u64,
    /// Relative standard error; 0 if it is exact.
    pub error: f64,
}

/// A sum over pieces of days.
#[derive(Clone, Debug)]
pub struct Sum {
    packets: u64,
    bytes: Result<u64, Unknown>,
    sources: Result<DistinctSources, Unknown>,
}

impl Default for Sum {
    fn default() -> Sum {
        Sum { packets: 0, bytes: Ok(0), sources: Ok(DistinctSources::default()) }
    }
}

impl Sum {
    /// Nothing yet of a time: it says what will not be known, also where there is nothing to be added.
    pub(super) fn of(span: Span, pieces: &[Piece]) -> Sum {
        let is_whole = [span.from(), span.to()].iter().all(|time| time.rem_euclid(DAY_SECONDS) == 0);
        let is_cut = pieces.iter().any(|piece| piece.segments.is_none());
        Sum {
            packets: 0,
            bytes: if is_whole { Ok(0) } else { Err(Unknown::CutsDays) },
            sources: if is_cut { Err(Unknown::CutsSegments) } else { Ok(DistinctSources::default()) },
        }
    }

    /// Packets.
    #[must_use]
    pub const fn packets(&self) -> u64 {
        self.packets
    }

    /// Bytes of IP packets, as their headers say.
    ///
    /// # Errors
    /// Why they are not known.
    pub const fn bytes(&self) -> Result<u64, Unknown> {
        self.bytes
    }

    /// Distinct sources.
    ///
    /// # Errors
    /// Why they are not known.
    pub fn sources(&self) -> Result<Distinct, Unknown> {
        let set = self.sources.as_ref().map_err(|unknown| *unknown)?;
        Ok(Distinct { count: set.count(), error: set.standard_error() })
    }

    /// Adds another.
    pub(super) fn add(&mut self, other: &Sum) {
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.and_then(|mine| other.bytes.map(|theirs| mine.saturating_add(theirs)));
        match (&mut self.sources, &other.sources) {
            (Ok(mine), Ok(theirs)) => mine.merge(theirs),
            (mine @ Ok(_), Err(unknown)) => *mine = Err(*unknown),
            (Err(_), _) => {}
        }
    }

    /// Adds a row whose columns from `first` on are packets, bytes, quarters and sketch.
    pub(super) fn add_row(
        &mut self,
        piece: &Piece,
        row: &Row<'_>,
        first: usize,
        table: &'static str,
    ) -> Result<(), RollupError> {
        let damaged = RollupError::damaged(table);
        let blob = |place: usize| row.get_ref(place)?.as_blob().map_err(rusqlite::Error::from);
        if piece.is_whole() {
            let (packets, bytes): (i64, i64) = (row.get(first)?, row.get(first + 1)?);
            self.packets = self.packets.saturating_add(packets.unsigned_abs());
            self.bytes = self.bytes.map(|sum| sum.saturating_add(bytes.unsigned_abs()));
        } else {
            let quarters = quarters::decode::<QUARTERS>(blob(first + 2)?).ok_or_else(&damaged)?;
            let packets = quarters[piece.quarters.clone()].iter();
            self.packets = packets.fold(self.packets, |sum, &packets| sum.saturating_add(packets));
            self.bytes = Err(Unknown::CutsDays);
        }
        match (&mut self.sources, piece.segments) {
            (Ok(set), Some(wanted)) => sketch::add_to(set, blob(first + 3)?, wanted).ok_or_else(damaged)?,
            (sources @ Ok(_), None) => *sources = Err(Unknown::CutsSegments),
            (Err(_), _) => {}
        }
        Ok(())
    }
}
