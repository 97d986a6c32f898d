//! `/api/v1/history/port`: what one port did.

use martlet_window::Kind;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::super::problem::Problem;
use super::super::endpoint::About;
use super::super::format::Table;
use super::super::json::{Distinct, Time, words};
use super::super::parameter::Parameter;
use super::groups::Group;
use super::shapes::{Day, HistoryPort};
use super::{HistoryAsked, HistoryPath, Refusal, about, of_one_version, step};
use crate::rollup::query::{Filter, GroupBy, Grouping};
use crate::rollup::{Dimension, RollupError};

/// The path.
pub(super) struct Path;

/// What one port did.
#[derive(Serialize, ToSchema)]
#[schema(as = HistoryPortDetail)]
pub(super) struct Body {
    /// What it comes to.
    totals: HistoryPort,
    /// The same of the time of equal length before.
    previous: HistoryPort,
    /// On which UTC day it was seen first, as far as history goes back.
    first_seen: Vec<FirstSeen>,
    /// Its packets over time.
    series: Vec<Step>,
    /// Where its sources are registered: of the ports of `metrics.ports` only, else empty.
    regions: Vec<Group>,
    /// Marks of its packets: of the ports of `metrics.ports`, and of the services that had the most packets with a mark.
    marks: Vec<Group>,
}

/// A kind, and since when.
#[derive(Serialize, ToSchema)]
#[schema(as = FirstSeenKind)]
struct FirstSeen {
    /// `scan`, `backscatter` or `other`.
    #[schema(schema_with = kind_schema)]
    kind: &'static str,
    /// The UTC day.
    date: Day,
}

fn kind_schema() -> utoipa::openapi::Schema {
    words(&Kind::ALL.map(Kind::name))
}

/// One step.
#[derive(Serialize, ToSchema)]
#[schema(as = HistoryPortStep)]
pub(super) struct Step {
    /// Its start.
    start: Time,
    /// Packets.
    packets: u64,
    /// Sources; null unless `sources=yes` asks for them and steps are whole days of a configured zone.
    sources: Option<Distinct>,
}

impl HistoryPath for Path {
    const ABOUT: About = about(
        "history/port",
        "What one port did, and what before",
        &[
            Parameter::Class,
            Parameter::From,
            Parameter::To,
            Parameter::Group,
            Parameter::Step,
            Parameter::Kind,
            Parameter::Zone,
            Parameter::Ip,
            Parameter::Protocol,
            Parameter::Port,
            Parameter::Sources,
            Parameter::Limit,
            Parameter::Format,
        ],
    );
    type Body = Body;

    fn filter(filter: Filter) -> Filter {
        of_one_version(filter)
    }

    fn answer(asked: &HistoryAsked<'_>) -> Result<Body, Refusal> {
        let HistoryAsked { snapshot, query, filter, span, zone, basis, .. } = *asked;
        let service = asked.service().ok_or_else(|| Problem::unfit("port", "given, with `protocol`"))?;
        let before = span.before()?;
        let exposure_before = snapshot.basis(&filter, before)?.exposure;
        let entry = |totals, exposure| HistoryPort::of(&totals, exposure).ok_or(RollupError::NotKept("it has no port"));
        let totals = entry(snapshot.service(&filter, span, zone, service)?, &basis.exposure)?;
        let previous = entry(snapshot.service(&filter, before, zone, service)?, &exposure_before)?;
        let mut first_seen = Vec::new();
        for kind in Kind::ALL {
            let day = snapshot.first_seen(query.class, service, kind)?;
            first_seen.extend(day.map(|day| FirstSeen { kind: kind.name(), date: Day(day) }));
        }
        let with_sources = query.wanted.sources.unwrap_or(false);
        let list = snapshot.series(&filter, span, &step(asked)?, &GroupBy::Services(vec![service]), with_sources)?;
        let group = |dimension| -> Result<Vec<Group>, Refusal> {
            let filter = Filter { protocol: None, ..filter };
            let groups = snapshot.groups(&filter, span, dimension, Grouping::Service(service))?;
            Ok(groups.iter().take(query.limit).map(|group| Group::of(group, &basis.exposure, filter.ip)).collect())
        };
        let (regions, marks) = (group(Dimension::Region)?, group(Dimension::Mark)?);
        let only = list.series.first();
        let steps = list.starts.iter().enumerate().map(|(place, &start)| Step {
            start: Time(start),
            packets: only.map_or(0, |series| series.packets[place]),
            sources: match only.map(|series| &series.sources) {
                Some(Ok(sources)) => Some(Distinct::from(sources[place])),
                _ => None,
            },
        });
        Ok(Body { totals, previous, first_seen, series: steps.collect(), regions, marks })
    }
}

impl Table for Body {
    type Row = Step;
    const COLUMNS: &'static [&'static str] = &["start", "packets", "sources.count", "sources.exact", "sources.error"];

    fn rows(&self) -> impl Iterator<Item = impl Serialize> {
        self.series.iter()
    }
}
