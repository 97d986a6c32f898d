//! `/api/v1/history/protocols`, `regions`, `marks`, `scanners` and `sensors`: packets by what they have in common.

use std::marker::PhantomData;

use martlet_window::IpVersion;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::endpoint::About;
use super::super::format::Table;
use super::super::list::page;
use super::super::parameter::Parameter;
use super::shapes::{Counts, Kinds, Rates, Totals};
use super::{HistoryAsked, HistoryPath, Refusal, about};
use crate::publish::services::protocol_name;
use crate::rollup::Dimension;
use crate::rollup::query::{Exposure, GroupTotals, Grouping};

/// A path for each dimension.
pub(super) struct By<G>(PhantomData<G>);

/// A dimension, and its path.
pub(super) trait Grouped: 'static {
    const DIMENSION: Dimension;
    const NAME: &'static str;
    const SUMMARY: &'static str;
    const PARAMETERS: &'static [Parameter];
}

/// IP protocols.
pub(super) struct Protocols;
/// Source regions.
pub(super) struct Regions;
/// Marks.
pub(super) struct Marks;
/// Lists of known scanners.
pub(super) struct Scanners;
/// Sensors.
pub(super) struct Sensors;

/// Of what is told apart by service, too.
const WITH_SERVICE: &[Parameter] = &[
    Parameter::Class,
    Parameter::From,
    Parameter::To,
    Parameter::Group,
    Parameter::Kind,
    Parameter::Zone,
    Parameter::Ip,
    Parameter::Protocol,
    Parameter::Port,
    Parameter::Limit,
    Parameter::Cursor,
    Parameter::Format,
];
const WITHOUT_SERVICE: &[Parameter] = &[
    Parameter::Class,
    Parameter::From,
    Parameter::To,
    Parameter::Group,
    Parameter::Kind,
    Parameter::Zone,
    Parameter::Ip,
    Parameter::Limit,
    Parameter::Cursor,
    Parameter::Format,
];

impl Grouped for Protocols {
    const DIMENSION: Dimension = Dimension::Protocol;
    const NAME: &'static str = "history/protocols";
    const SUMMARY: &'static str = "Packets by IP protocol";
    const PARAMETERS: &'static [Parameter] = WITHOUT_SERVICE;
}

impl Grouped for Regions {
    const DIMENSION: Dimension = Dimension::Region;
    const NAME: &'static str = "history/regions";
    const SUMMARY: &'static str = "Packets by the region where their sources are registered";
    const PARAMETERS: &'static [Parameter] = WITH_SERVICE;
}

impl Grouped for Marks {
    const DIMENSION: Dimension = Dimension::Mark;
    const NAME: &'static str = "history/marks";
    const SUMMARY: &'static str = "Packets by the mark of the tool that sent them";
    const PARAMETERS: &'static [Parameter] = WITH_SERVICE;
}

impl Grouped for Scanners {
    const DIMENSION: Dimension = Dimension::Scanner;
    const NAME: &'static str = "history/scanners";
    const SUMMARY: &'static str = "Packets by the list of known scanners that their sources are on";
    const PARAMETERS: &'static [Parameter] = WITHOUT_SERVICE;
}

impl Grouped for Sensors {
    const DIMENSION: Dimension = Dimension::Sensor;
    const NAME: &'static str = "history/sensors";
    const SUMMARY: &'static str = "Packets by the sensor that saw them";
    const PARAMETERS: &'static [Parameter] = WITHOUT_SERVICE;
}

/// Packets by what they have in common.
#[derive(Serialize, ToSchema)]
#[schema(as = HistoryGroups)]
pub(super) struct Body {
    /// The port that was asked for, if one was.
    port: Option<u16>,
    /// Of everything in the time; groups need not add up to it: a packet has no mark, or several.
    totals: Totals,
    /// What asks for the next page; null on the last one.
    next_cursor: Option<String>,
    /// Groups by packets, descending.
    groups: Vec<Group>,
    /// How many are behind these.
    groups_left_out: usize,
}

/// A group.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HistoryGroup)]
pub(super) struct Group {
    /// Its name: of a region ISO 3166-1 alpha-2, `ZZ` if that is not known.
    name: String,
    #[serde(flatten)]
    counts: Counts,
    /// Packets by kind.
    kinds: Kinds,
    #[serde(flatten)]
    rates: Rates,
}

impl Group {
    pub(super) fn of(group: &GroupTotals, exposure: &Exposure, ip: Option<IpVersion>) -> Group {
        Group {
            name: group.name.clone(),
            counts: Counts::from(&group.sum),
            kinds: Kinds::from(group.kinds),
            rates: Rates::new(exposure, group.sum.packets(), ip),
        }
    }
}

impl<G: Grouped> HistoryPath for By<G> {
    const ABOUT: About = about(G::NAME, G::SUMMARY, G::PARAMETERS);
    type Body = Body;

    fn answer(asked: &HistoryAsked<'_>) -> Result<Body, Refusal> {
        let HistoryAsked { snapshot, query, span, .. } = *asked;
        let grouping = asked.service().map_or(Grouping::All, Grouping::Service);
        let filter = if grouping == Grouping::All { asked.filter } else { asked.without_protocol() };
        let basis = asked.basis;
        let groups = snapshot.groups(&filter, span, G::DIMENSION, grouping)?;
        let totals = snapshot.totals(&asked.filter, span)?;
        let page = page(query, groups, |group| place(group.sum.packets(), &group.name));
        let entry = |group: &GroupTotals| {
            // What one sensor saw is to be divided by what it watched.
            let own = basis.sensors.get(&group.name).filter(|_| G::DIMENSION == Dimension::Sensor);
            let mut entry = Group::of(group, own.unwrap_or(&basis.exposure), filter.ip);
            if let (Dimension::Protocol, Ok(number)) = (G::DIMENSION, entry.name.parse()) {
                entry.name = protocol_name(number);
            }
            entry
        };
        Ok(Body {
            port: query.wanted.port,
            totals: Totals::from(&totals),
            next_cursor: page.next,
            groups: page.entries.iter().map(entry).collect(),
            groups_left_out: page.left_out,
        })
    }
}

/// A place in a list by packets, descending, and then by name.
pub(super) fn place(packets: u64, name: &str) -> Vec<u8> {
    let mut place = (u64::MAX - packets).to_be_bytes().to_vec();
    place.extend(name.as_bytes());
    place
}

impl Table for Body {
    type Row = Group;
    const COLUMNS: &'static [&'static str] = &[
        "name",
        "packets",
        "bytes",
        "sources.count",
        "sources.exact",
        "sources.error",
        "kinds.scan",
        "kinds.backscatter",
        "kinds.other",
        "packets_per_address_day",
        "packets_per_prefix_day",
    ];

    fn rows(&self) -> impl Iterator<Item = impl Serialize> {
        self.groups.iter()
    }

    fn next_cursor(&self) -> Option<&str> {
        self.next_cursor.as_deref()
    }
}
