//! Shapes that several answers share.

use jiff::Timestamp;
use martlet_window::{DistinctSources, IpVersion};
use serde::{Serialize, Serializer};

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

/// A number of distinct sources with its error.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Distinct {
    count: u64,
    exact: bool,
    error: f64,
}

impl From<&DistinctSources> for Distinct {
    fn from(sources: &DistinctSources) -> Distinct {
        let exact = sources.is_exact();
        let error = sources.standard_error();
        Distinct { count: sources.count(), exact, error }
    }
}

/// A port with its names, as a part of an entry.
#[derive(Debug, Serialize)]
pub(super) struct NamedPort {
    ip: u8,
    protocol: u8,
    protocol_name: String,
    port: u16,
    service: Option<&'static str>,
}

impl NamedPort {
    pub(super) fn new(ip: IpVersion, protocol: u8, port: u16) -> NamedPort {
        let (protocol_name, service) = (protocol_name(protocol), service(protocol, port));
        NamedPort { ip: ip_number(ip), protocol, protocol_name, port, service }
    }
}

/// What an answer over a range begins with.
#[derive(Debug, Serialize)]
pub(super) struct Head {
    class: &'static str,
    from: Time,
    to: Time,
    bucket_seconds: i64,
    sensor: Option<String>,
}

impl Head {
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
