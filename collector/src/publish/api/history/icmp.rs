//! `/api/v1/history/icmp`: ICMP and ICMPv6 messages.

use martlet_window::IpVersion;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::endpoint::About;
use super::super::format::Table;
use super::super::json::ip_number;
use super::super::list::{by_packets, page};
use super::super::parameter::Parameter;
use super::shapes::{Counts, Rates};
use super::{HistoryAsked, HistoryPath, Refusal, about};
use crate::rollup::query::Sum;

/// The path.
pub(super) struct Path;

/// ICMP and ICMPv6 messages.
#[derive(Serialize, ToSchema)]
#[schema(as = HistoryIcmp)]
pub(super) struct Body {
    /// What asks for the next page; null on the last one.
    next_cursor: Option<String>,
    /// Types and codes by packets, descending.
    icmp: Vec<Message>,
    /// How many are behind these.
    icmp_left_out: usize,
}

/// A type and code, whatever such messages quote.
#[derive(Serialize, ToSchema)]
#[schema(as = HistoryIcmpMessage)]
pub(super) struct Message {
    /// 4 or 6.
    ip: u8,
    /// The type.
    #[serde(rename = "type")]
    icmp_type: u8,
    /// The code.
    code: u8,
    #[serde(flatten)]
    counts: Counts,
    #[serde(flatten)]
    rates: Rates,
}

impl HistoryPath for Path {
    const ABOUT: About = about(
        "history/icmp",
        "ICMP and ICMPv6 messages by type and code",
        &[
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
        ],
    );
    type Body = Body;

    fn answer(asked: &HistoryAsked<'_>) -> Result<Body, Refusal> {
        let HistoryAsked { snapshot, query, filter, span, .. } = *asked;
        let messages = snapshot.icmp(&filter, span, usize::MAX)?;
        let place = |(ip, icmp_type, code, sum): &(IpVersion, u8, u8, Sum)| -> [u8; 11] {
            by_packets(sum.packets(), [ip_number(*ip), *icmp_type, *code])
        };
        let page = page(query, messages, place);
        let entry = |(ip, icmp_type, code, sum): (IpVersion, u8, u8, Sum)| Message {
            ip: ip_number(ip),
            icmp_type,
            code,
            counts: Counts::from(&sum),
            rates: Rates::new(&asked.basis.exposure, sum.packets(), Some(ip)),
        };
        Ok(Body {
            next_cursor: page.next,
            icmp: page.entries.into_iter().map(entry).collect(),
            icmp_left_out: page.left_out,
        })
    }
}

impl Table for Body {
    type Row = Message;
    const COLUMNS: &'static [&'static str] = &[
        "ip",
        "type",
        "code",
        "packets",
        "bytes",
        "sources.count",
        "sources.exact",
        "sources.error",
        "packets_per_address_day",
        "packets_per_prefix_day",
    ];

    fn rows(&self) -> impl Iterator<Item = impl Serialize> {
        self.icmp.iter()
    }

    fn next_cursor(&self) -> Option<&str> {
        self.next_cursor.as_deref()
    }
}
