//! Shapes that several answers share.

use jiff::Timestamp;
use martlet_window::{DistinctSources, IpVersion, TrafficClass};
use serde::{Serialize, Serializer};
use utoipa::openapi::schema::{ArrayBuilder, ArrayItems, KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::super::services::{protocol_name, service};
use super::params::Query;

/// A time, in seconds since the Unix epoch; written as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Time(pub(super) i64);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Window starts and parameters are bounded to what nanoseconds since 1970 can say, well within a Timestamp.
        let time = Timestamp::from_second(self.0).map_err(serde::ser::Error::custom)?;
        serializer.collect_str(&time)
    }
}

impl PartialSchema for Time {
    fn schema() -> RefOr<Schema> {
        let format = SchemaFormat::KnownFormat(KnownFormat::DateTime);
        ObjectBuilder::new().schema_type(Type::String).format(Some(format)).into()
    }
}

impl ToSchema for Time {}

/// A number of distinct sources with its error. Numbers do not add up: over ports, sensors, steps or marks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct Distinct {
    /// The number, or an estimate.
    count: u64,
    /// Whether it is the number.
    exact: bool,
    /// Relative standard error of an estimate; 0 if it is exact.
    error: f64,
}

impl Distinct {
    /// So many, counted one by one.
    pub(super) fn exactly(count: usize) -> Distinct {
        Distinct { count: u64::try_from(count).unwrap_or(u64::MAX), exact: true, error: 0.0 }
    }
}

impl From<&DistinctSources> for Distinct {
    fn from(sources: &DistinctSources) -> Distinct {
        let exact = sources.is_exact();
        let error = sources.standard_error();
        Distinct { count: sources.count(), exact, error }
    }
}

impl From<crate::rollup::query::Distinct> for Distinct {
    fn from(distinct: crate::rollup::query::Distinct) -> Distinct {
        Distinct { count: distinct.count, exact: distinct.error == 0.0, error: distinct.error }
    }
}

/// A port with its names, as a part of an entry.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NamedPort {
    /// 4 or 6.
    ip: u8,
    /// IP protocol number.
    protocol: u8,
    /// Its name in lower case, or the number as text.
    protocol_name: String,
    /// The port concerned: the destination's, or of backscatter the source's.
    port: u16,
    /// The IANA name of a port that is often scanned.
    service: Option<&'static str>,
}

impl NamedPort {
    pub(super) fn new(ip: IpVersion, protocol: u8, port: u16) -> NamedPort {
        let (protocol_name, service) = (protocol_name(protocol), service(protocol, port));
        NamedPort { ip: ip_number(ip), protocol, protocol_name, port, service }
    }
}

/// What an answer over a range begins with.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Head {
    /// `real`, `drill` or `import`.
    #[schema(schema_with = class_schema)]
    class: &'static str,
    /// Begin of the range that is counted.
    from: Time,
    /// Its end, which is not in it.
    to: Time,
    /// Range and steps are whole multiples of this.
    bucket_seconds: i64,
    /// The sensor that was asked for, if one was.
    sensor: Option<String>,
}

/// One of these words.
pub(super) fn words(words: &[&str]) -> Schema {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words.iter().copied())).into()
}

/// A list of what has a schema.
pub(super) fn list_of(schema: Schema) -> Schema {
    ArrayBuilder::new().items(ArrayItems::RefOrSchema(Box::new(schema.into()))).into()
}

pub(super) fn class_schema() -> Schema {
    words(&TrafficClass::ALL.map(TrafficClass::name))
}

impl Head {
    /// Begin of the range, in seconds since the Unix epoch.
    pub(super) const fn from(&self) -> i64 {
        self.from.0
    }

    pub(super) fn new(query: &Query) -> Head {
        Head {
            class: query.class.name(),
            from: Time(query.from),
            to: Time(query.to),
            bucket_seconds: query.bucket_seconds,
            sensor: query.sensor_name.clone(),
        }
    }
}

/// Milliseconds of either sign, as seconds.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 ms")]
pub(super) const fn signed_seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// 4 or 6.
pub(super) const fn ip_number(ip: IpVersion) -> u8 {
    match ip {
        IpVersion::V4 => 4,
        IpVersion::V6 => 6,
    }
}
