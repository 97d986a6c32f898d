//! What can be given with a query: names, what values must be, and words that are values.

use crate::rollup::Dimension;

/// What can be given with a query. The order is the one in which they are documented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Parameter {
    Class,
    From,
    To,
    Step,
    Sensor,
    Group,
    Kind,
    Zone,
    Ip,
    Protocol,
    Port,
    Address,
    Order,
    GroupBy,
    Direction,
    Sources,
    Type,
    State,
    Since,
    Until,
    Lang,
    Tlp,
    Revision,
    Compare,
    Limit,
    Cursor,
    Format,
    /// The same of a report, which comes in other formats than lists.
    ReportFormat,
}

impl Parameter {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Parameter::Class => "class",
            Parameter::From => "from",
            Parameter::To => "to",
            Parameter::Step => "step",
            Parameter::Sensor => "sensor",
            Parameter::Group => "group",
            Parameter::Kind => "kind",
            Parameter::Zone => "zone",
            Parameter::Ip => "ip",
            Parameter::Protocol => "protocol",
            Parameter::Port => "port",
            Parameter::Address => "address",
            Parameter::Order => "order",
            Parameter::GroupBy => "group_by",
            Parameter::Direction => "direction",
            Parameter::Sources => "sources",
            Parameter::Type => "type",
            Parameter::State => "state",
            Parameter::Since => "since",
            Parameter::Until => "until",
            Parameter::Lang => "lang",
            Parameter::Tlp => "tlp",
            Parameter::Revision => "revision",
            Parameter::Compare => "compare",
            Parameter::Limit => "limit",
            Parameter::Cursor => "cursor",
            Parameter::Format | Parameter::ReportFormat => "format",
        }
    }

    /// What a value must be.
    pub(super) const fn expected(self) -> &'static str {
        match self {
            Parameter::Class => "one of real, drill, import",
            Parameter::From | Parameter::To | Parameter::Since | Parameter::Until => {
                "a time in UTC such as 2026-11-21T10:20:30Z (RFC 3339), in the years from 1700 to 2200"
            }
            Parameter::Step => "a whole number with s, m, h or d behind it, such as 10m",
            Parameter::Sensor => "the name of a sensor: 1 to 32 of a-z, 0-9 and '-', not beginning with '-'",
            Parameter::Group => {
                "a group of sensors: its name, or another label and its value, such as position:overseas"
            }
            Parameter::Kind => "one of scan, backscatter, other",
            Parameter::Zone => "the name of a time zone of the IANA database, such as Asia/Tokyo or UTC",
            Parameter::Ip => "4 or 6",
            Parameter::Protocol => "the name of an IP protocol in lower case, such as tcp, or its number",
            Parameter::Port => "a port, a whole number from 0 to 65535",
            Parameter::Address => "an IPv4 or IPv6 address",
            Parameter::Order => "packets or daily_sources",
            Parameter::GroupBy => "one of none, port, kind, protocol, region, known_scanner, mark, sensor",
            Parameter::Direction => "up or down",
            Parameter::Sources => "yes or no",
            Parameter::Type => "one of first_seen_port, surge, outbreak",
            Parameter::State => "one of detected, acknowledged, assessed, resolved",
            Parameter::Lang => "en or ja",
            Parameter::Tlp => "one of clear, green, amber, amber+strict, red",
            Parameter::Revision => "a whole number from 1 on",
            Parameter::Compare => "a whole number from 1 to 520",
            Parameter::Limit => "a whole number from 1 to 1000",
            Parameter::Cursor => "next_cursor of an answer to the same query, unchanged",
            Parameter::Format => "one of json, csv, ndjson",
            Parameter::ReportFormat => "one of html, md, csv, json",
        }
    }
}

/// What there is a series of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GroupBy {
    None,
    Port,
    Kind,
    Dimension(Dimension),
}

impl GroupBy {
    pub(super) const ALL: [GroupBy; 8] = [
        GroupBy::None,
        GroupBy::Port,
        GroupBy::Kind,
        GroupBy::Dimension(Dimension::Protocol),
        GroupBy::Dimension(Dimension::Region),
        GroupBy::Dimension(Dimension::Scanner),
        GroupBy::Dimension(Dimension::Mark),
        GroupBy::Dimension(Dimension::Sensor),
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            GroupBy::None => "none",
            GroupBy::Port => "port",
            GroupBy::Kind => "kind",
            GroupBy::Dimension(Dimension::Protocol) => "protocol",
            GroupBy::Dimension(Dimension::Region) => "region",
            GroupBy::Dimension(Dimension::Scanner) => "known_scanner",
            GroupBy::Dimension(Dimension::Mark) => "mark",
            GroupBy::Dimension(Dimension::Sensor) => "sensor",
        }
    }

    pub(super) fn named(name: &str) -> Option<GroupBy> {
        GroupBy::ALL.into_iter().find(|group_by| group_by.name() == name)
    }
}
