//! How something went over time.

use std::collections::BTreeMap;

use martlet_window::{DistinctSources, Kind};
use rusqlite::params;

use super::groups::check;
use super::sums::{Distinct, Unknown};
use super::{Filter, Grouping, Piece, Snapshot, Span};
use crate::live::ServiceKey;
use crate::rollup::cells::Dimension;
use crate::rollup::error::RollupError;
use crate::rollup::quarters::{self, QUARTER_SECONDS, QUARTERS, Quarters};
use crate::rollup::records::number;
use crate::rollup::sketch;
use crate::rollup::zones::Zone;

/// Most figures of one answer: steps times series.
const MOST_POINTS: usize = 4_000_000;
/// The same where each has distinct sources, of 4 KiB each at most until they are counted.
const MOST_SETS: usize = 40_000;

/// What there is a series of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// One series of everything.
    Nothing,
    /// These services.
    Services(Vec<ServiceKey>),
    /// Kinds.
    Kind,
    /// The values of a dimension.
    Dimension(Dimension, Grouping),
}

/// Where one step ends and the next begins.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// So many seconds; whole quarter hours. The last step may be shorter.
    Seconds(i64),
    /// Days of a zone, whose midnights may be 23 or 25 hours apart. The first and the last may be parts of days.
    Days(Zone),
}

/// What a series is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SeriesKey {
    /// Everything.
    All,
    /// A service.
    Service(ServiceKey),
    /// A kind.
    Kind(Kind),
    /// A value of the dimension that was asked for.
    Name(String),
}

/// One series.
#[derive(Clone, Debug)]
pub struct Series {
    /// What it is of.
    pub key: SeriesKey,
    /// Packets by step.
    pub packets: Vec<u64>,
    /// Distinct sources by step, if they were asked for.
    ///
    /// # Errors
    /// Why they are not known.
    pub sources: Result<Vec<Distinct>, Unknown>,
}

/// Steps and the series over them.
#[derive(Clone, Debug)]
pub struct SeriesList {
    /// Begin of each step, in seconds since the Unix epoch.
    pub starts: Vec<i64>,
    /// The series, by their keys.
    pub series: Vec<Series>,
}

/// Adds a row to a series: the place of its quarters, in front of its sketch, and its table.
type AddRow<'a> = dyn FnMut(SeriesKey, &rusqlite::Row<'_>, usize, &'static str) -> Result<(), RollupError> + 'a;

/// What is added up for one series.
struct Sums {
    packets: Vec<u64>,
    sources: Result<Vec<DistinctSources>, Unknown>,
}

impl Snapshot<'_> {
    /// Packets, and if wanted distinct sources, over time.
    ///
    /// # Errors
    /// If they cannot be read, are not kept, or would be too many figures.
    pub fn series(
        &self,
        filter: &Filter,
        span: Span,
        step: &Step,
        group_by: &GroupBy,
        with_sources: bool,
    ) -> Result<SeriesList, RollupError> {
        let steps = Steps::new(span, step)?;
        let mut sums: BTreeMap<SeriesKey, Sums> = BTreeMap::new();
        if let GroupBy::Dimension(dimension, grouping) = group_by {
            check(filter, *dimension, *grouping)?;
        }
        let most = if with_sources { MOST_SETS } else { MOST_POINTS };
        for piece in self.pieces(span)? {
            let mut add = |key: SeriesKey, row: &rusqlite::Row<'_>, first: usize, table: &'static str| {
                if !sums.contains_key(&key) && (sums.len() + 1).saturating_mul(steps.starts.len()) > most {
                    return Err(RollupError::NotKept(
                        "the answer would have too many figures: take a longer step, a shorter time or fewer series",
                    ));
                }
                let sums = sums.entry(key).or_insert_with(|| steps.sums(with_sources));
                steps.add_row(sums, &piece, row, first, table)
            };
            match group_by {
                GroupBy::Services(services) => {
                    services.iter().try_for_each(|service| self.service_rows(filter, &piece, *service, &mut add))?;
                }
                GroupBy::Nothing => {
                    self.group_range(filter, &piece, Dimension::Protocol, Grouping::All, &mut |_, _, _, row| {
                        add(SeriesKey::All, row, 5, "rollup_groups")
                    })?;
                }
                GroupBy::Kind => {
                    self.group_range(filter, &piece, Dimension::Protocol, Grouping::All, &mut |_, kind, _, row| {
                        add(SeriesKey::Kind(kind), row, 5, "rollup_groups")
                    })?;
                }
                GroupBy::Dimension(dimension, grouping) => {
                    self.group_range(filter, &piece, *dimension, *grouping, &mut |_, _, name, row| {
                        add(SeriesKey::Name(name.to_owned()), row, 5, "rollup_groups")
                    })?;
                }
            }
        }
        let series = sums.into_iter().map(|(key, sums)| sums.into_series(key)).collect();
        Ok(SeriesList { starts: steps.starts, series })
    }

    fn service_rows(
        &self,
        filter: &Filter,
        piece: &Piece,
        service: ServiceKey,
        add: &mut AddRow<'_>,
    ) -> Result<(), RollupError> {
        let sql = "SELECT kind, quarters, sketch FROM rollup_services
             WHERE rollup = ?1 AND class = ?2 AND scope = ?3 AND service = ?4";
        let mut select = self.transaction.prepare_cached(sql)?;
        let mut rows = select.query(params![piece.rollup, filter.class as u8, filter.scope, number(service)])?;
        while let Some(row) = rows.next()? {
            let kind = Kind::from_number(row.get(0)?).ok_or_else(RollupError::damaged("rollup_services"))?;
            if filter.has_kind(kind) {
                add(SeriesKey::Service(service), row, 1, "rollup_services")?;
            }
        }
        Ok(())
    }
}

impl Sums {
    fn into_series(self, key: SeriesKey) -> Series {
        let distinct = |set: &DistinctSources| Distinct { count: set.count(), error: set.standard_error() };
        let sources = self.sources.map(|sets| sets.iter().map(distinct).collect());
        Series { key, packets: self.packets, sources }
    }
}

/// The steps of a span.
struct Steps {
    starts: Vec<i64>,
    end: i64,
}

impl Steps {
    fn new(span: Span, step: &Step) -> Result<Steps, RollupError> {
        let mut starts = Vec::new();
        match step {
            Step::Seconds(seconds) => {
                if *seconds <= 0 || seconds % QUARTER_SECONDS != 0 {
                    return Err(RollupError::Unaligned { what: "step", time: *seconds });
                }
                let mut next = span.from();
                while next < span.to() {
                    starts.push(next);
                    next = next.saturating_add(*seconds);
                }
            }
            Step::Days(zone) => {
                let beyond = || RollupError::NotKept("the time is beyond what calendars have");
                let mut next = span.from();
                while next < span.to() {
                    starts.push(next);
                    next = zone.date(next).and_then(|date| zone.day(date)).ok_or_else(beyond)?.end;
                    if next.rem_euclid(QUARTER_SECONDS) != 0 {
                        return Err(RollupError::Unaligned { what: "a midnight of the zone", time: next });
                    }
                }
            }
        }
        Ok(Steps { starts, end: span.to() })
    }

    fn sums(&self, with_sources: bool) -> Sums {
        let sets = || vec![DistinctSources::default(); self.starts.len()];
        Sums {
            packets: vec![0; self.starts.len()],
            sources: if with_sources { Ok(sets()) } else { Err(Unknown::NotKept) },
        }
    }

    /// Adds a row whose columns from `first` on are quarters and sketch.
    fn add_row(
        &self,
        sums: &mut Sums,
        piece: &Piece,
        row: &rusqlite::Row<'_>,
        first: usize,
        table: &'static str,
    ) -> Result<(), RollupError> {
        let damaged = RollupError::damaged(table);
        let blob = |place: usize| row.get_ref(place)?.as_blob().map_err(rusqlite::Error::from);
        let quarters: Quarters = quarters::decode::<QUARTERS>(blob(first)?).ok_or_else(&damaged)?;
        let time = piece.time();
        let mut step = self.starts.partition_point(|&start| start <= time.start).saturating_sub(1);
        while let Some(&start) = self.starts.get(step).filter(|&&start| start < time.end) {
            let end = self.starts.get(step + 1).copied().unwrap_or(self.end);
            let within = piece.quarters_within(start..end);
            let packets = quarters[within].iter().fold(0, |sum: u64, &packets| sum.saturating_add(packets));
            sums.packets[step] = sums.packets[step].saturating_add(packets);
            if let Ok(sets) = &mut sums.sources {
                match piece.segments_within(start..end) {
                    Some(wanted) => sketch::add_to(&mut sets[step], blob(first + 1)?, wanted).ok_or_else(&damaged)?,
                    None => sums.sources = Err(Unknown::CutsSegments),
                }
            }
            step += 1;
        }
        Ok(())
    }
}
