//! What SQL is given to read rollups: docs/history.md explains each function.

use martlet_window::{Class, DistinctSources, IpVersion, Kind, Marks, Service};
use rusqlite::functions::{Aggregate, Context, FunctionFlags};
use rusqlite::types::Value;
use rusqlite::{Connection, Error, Result};

use super::quarters::{self, QUARTERS};
use super::records::number;
use super::sensors::HOURS;
use super::sketch;
use crate::config::{TCP, UDP};
use crate::live::ServiceKey;

const FLAGS: FunctionFlags =
    FunctionFlags::SQLITE_UTF8.union(FunctionFlags::SQLITE_DETERMINISTIC).union(FunctionFlags::SQLITE_INNOCUOUS);

/// Makes the functions known to a connection.
///
/// # Errors
/// If SQLite refuses.
pub fn register(connection: &Connection) -> Result<()> {
    connection.create_scalar_function("quarter", 2, FLAGS, |context| {
        let quarters = decode::<QUARTERS>(context, "quarter")?;
        pick(&quarters, context, 1, "quarter")
    })?;
    connection.create_scalar_function("quarters", 3, FLAGS, |context| {
        let quarters = decode::<QUARTERS>(context, "quarters")?;
        let place = |argument: usize| usize::try_from(context.get::<i64>(argument)?).map_err(|_| wrong(BETWEEN));
        let within = quarters.get(place(1)?..place(2)?).ok_or_else(|| wrong(BETWEEN))?;
        Ok(super::records::count(within.iter().fold(0, |sum: u64, &packets| sum.saturating_add(packets))))
    })?;
    connection.create_scalar_function("hour", 2, FLAGS, |context| {
        let hours = decode::<HOURS>(context, "hour")?;
        pick(&hours, context, 1, "hour")
    })?;
    let ports = [
        ("tcp", IpVersion::V4, TCP),
        ("udp", IpVersion::V4, UDP),
        ("tcp6", IpVersion::V6, TCP),
        ("udp6", IpVersion::V6, UDP),
    ];
    for (name, ip, protocol) in ports {
        connection.create_scalar_function(name, 1, FLAGS, move |context| {
            let port =
                u16::try_from(context.get::<i64>(0)?).map_err(|_| wrong("a port is a number from 0 to 65535"))?;
            let class = Class { ip, protocol, service: Service::Port(port), kind: Kind::Scan, marks: Marks::NONE };
            Ok(number(ServiceKey::new(class.into())))
        })?;
    }
    connection.create_aggregate_function("distinct_sources", 1, FLAGS, Union(false))?;
    connection.create_aggregate_function("distinct_error", 1, FLAGS, Union(true))
}

const BETWEEN: &str = "quarters(quarters, from, to) takes two numbers from 0 to 96, the lesser first";

fn wrong(what: &str) -> Error {
    Error::UserFunctionError(what.into())
}

fn decode<const N: usize>(context: &Context<'_>, name: &str) -> Result<[u64; N]> {
    let blob = context.get_raw(0).as_blob().ok().and_then(quarters::decode::<N>);
    let column = if N == HOURS { "hours" } else { "quarters" };
    blob.ok_or_else(|| wrong(&format!("{name}() takes a column {column} as its first argument")))
}

fn pick(counts: &[u64], context: &Context<'_>, argument: usize, name: &str) -> Result<i64> {
    let place = usize::try_from(context.get::<i64>(argument)?).ok();
    let count = place.and_then(|place| counts.get(place));
    let most = counts.len() - 1;
    count
        .map(|&count| super::records::count(count))
        .ok_or_else(|| wrong(&format!("{name}() takes a number from 0 to {most}")))
}

/// Merges sketches of whole days; says how many sources there are, or the error of that.
struct Union(bool);

impl Aggregate<DistinctSources, Value> for Union {
    fn init(&self, _: &mut Context<'_>) -> Result<DistinctSources> {
        Ok(DistinctSources::default())
    }

    fn step(&self, context: &mut Context<'_>, set: &mut DistinctSources) -> Result<()> {
        let blob = context.get_raw(0).as_blob().ok();
        let added = blob.and_then(|blob| sketch::add_all_to(set, blob));
        added.ok_or_else(|| wrong("distinct_sources() and distinct_error() take a column sketch"))
    }

    fn finalize(&self, _: &mut Context<'_>, set: Option<DistinctSources>) -> Result<Value> {
        let set = set.unwrap_or_default();
        Ok(if self.0 { Value::Real(set.standard_error()) } else { Value::Integer(super::records::count(set.count())) })
    }
}
