//! `/api/v1/history/first-seen`: services that were not seen before.

use martlet_window::{Kind, Service};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::endpoint::About;
use super::super::format::Table;
use super::super::json::{ip_number, words};
use super::super::list::page;
use super::super::parameter::Parameter;
use super::shapes::Day;
use super::{HistoryAsked, HistoryPath, Refusal, about};
use crate::publish::services::{protocol_name, service};
use crate::rollup::query::FirstSeen;

/// So many are looked at; every port of both versions and all kinds of several protocols are fewer.
const MOST: usize = 2_000_000;

/// The path.
pub(super) struct Path;

/// Services that were not seen before.
#[derive(Serialize, ToSchema)]
#[schema(as = HistoryFirstSeen)]
pub(super) struct Body {
    /// What asks for the next page; null on the last one.
    next_cursor: Option<String>,
    /// Services by the UTC day on which they were seen first, as far as history goes back; the newest day first.
    services: Vec<Entry>,
    /// How many are behind these.
    services_left_out: usize,
}

/// A service.
#[derive(Serialize, ToSchema)]
#[schema(as = FirstSeenService)]
pub(super) struct Entry {
    /// The UTC day.
    date: Day,
    /// `scan`, `backscatter` or `other`.
    #[schema(schema_with = kinds)]
    kind: &'static str,
    /// 4 or 6.
    ip: u8,
    /// IP protocol number.
    protocol: u8,
    /// Its name in lower case, or the number as text.
    protocol_name: String,
    /// The port; null of what has none.
    port: Option<u16>,
    /// The IANA name of a port that is often scanned.
    service: Option<&'static str>,
    /// The type of an ICMP or ICMPv6 message.
    icmp_type: Option<u8>,
    /// Its code.
    icmp_code: Option<u8>,
}

fn kinds() -> utoipa::openapi::Schema {
    words(&Kind::ALL.map(Kind::name))
}

impl HistoryPath for Path {
    const ABOUT: About = about(
        "history/first-seen",
        "Services that were seen for the first time",
        &[
            Parameter::Class,
            Parameter::From,
            Parameter::To,
            Parameter::Kind,
            Parameter::Ip,
            Parameter::Protocol,
            Parameter::Limit,
            Parameter::Cursor,
            Parameter::Format,
        ],
    );
    type Body = Body;

    fn answer(asked: &HistoryAsked<'_>) -> Result<Body, Refusal> {
        let HistoryAsked { snapshot, query, filter, span, .. } = *asked;
        let mut found = snapshot.first_seen_in(query.class, span, MOST)?;
        found.retain(|seen| {
            let class = seen.service.class();
            filter.kind.is_none_or(|kind| kind == seen.kind)
                && filter.ip.is_none_or(|ip| ip == seen.service.ip())
                && filter.protocol.is_none_or(|protocol| class.is_some_and(|class| class.protocol == protocol))
        });
        let place = |seen: &FirstSeen| {
            let mut place = (i64::MAX - seen.day).to_be_bytes().to_vec();
            place.extend(seen.service.bits().to_be_bytes());
            place.push(seen.kind as u8);
            place
        };
        let page = page(query, found, place);
        Ok(Body {
            next_cursor: page.next,
            services: page.entries.iter().filter_map(entry).collect(),
            services_left_out: page.left_out,
        })
    }
}

fn entry(seen: &FirstSeen) -> Option<Entry> {
    let class = seen.service.class()?;
    let (port, icmp) = match class.service {
        Service::Port(port) => (Some(port), None),
        Service::Icmp { icmp_type, code } | Service::IcmpError { icmp_type, code, .. } => {
            (None, Some((icmp_type, code)))
        }
        Service::None => (None, None),
    };
    Some(Entry {
        date: Day(seen.day),
        kind: seen.kind.name(),
        ip: ip_number(class.ip),
        protocol: class.protocol,
        protocol_name: protocol_name(class.protocol),
        port,
        service: port.and_then(|port| service(class.protocol, port)),
        icmp_type: icmp.map(|(icmp_type, _)| icmp_type),
        icmp_code: icmp.map(|(_, code)| code),
    })
}

impl Table for Body {
    type Row = Entry;
    const COLUMNS: &'static [&'static str] =
        &["date", "kind", "ip", "protocol", "protocol_name", "port", "service", "icmp_type", "icmp_code"];

    fn rows(&self) -> impl Iterator<Item = impl Serialize> {
        self.services.iter()
    }

    fn next_cursor(&self) -> Option<&str> {
        self.next_cursor.as_deref()
    }
}
