//! `/api/v1/history/exposure`: how much each sensor watched, and what of it was lost.

use serde::Serialize;
use utoipa::ToSchema;

use super::super::endpoint::About;
use super::super::format::Table;
use super::super::list::page;
use super::super::parameter::Parameter;
use super::shapes::ExposureShape;
use super::{HistoryAsked, HistoryPath, Refusal, about};

/// The path.
pub(super) struct Path;

/// How much each sensor watched.
#[derive(Serialize, ToSchema)]
#[schema(as = HistoryExposure)]
pub(super) struct Body {
    /// What asks for the next page; null on the last one.
    next_cursor: Option<String>,
    /// Sensors by name.
    exposures: Vec<Entry>,
    /// How many are behind these.
    exposures_left_out: usize,
}

/// A sensor.
#[derive(Serialize, ToSchema)]
#[schema(as = SensorExposure)]
pub(super) struct Entry {
    /// Its pseudonym.
    sensor: String,
    #[serde(flatten)]
    exposure: ExposureShape,
}

impl HistoryPath for Path {
    const ABOUT: About = about(
        "history/exposure",
        "How much each sensor watched, and what of it was lost",
        &[
            Parameter::Class,
            Parameter::From,
            Parameter::To,
            Parameter::Group,
            Parameter::Zone,
            Parameter::Limit,
            Parameter::Cursor,
            Parameter::Format,
        ],
    );
    type Body = Body;

    fn answer(asked: &HistoryAsked<'_>) -> Result<Body, Refusal> {
        let query = asked.query;
        let sensors: Vec<_> = asked.basis.sensors.iter().collect();
        let page = page(query, sensors, |(name, _)| name.as_str());
        let entry = |(name, exposure): (&String, &crate::rollup::query::Exposure)| Entry {
            sensor: name.clone(),
            exposure: ExposureShape::from(exposure),
        };
        Ok(Body {
            next_cursor: page.next,
            exposures: page.entries.into_iter().map(entry).collect(),
            exposures_left_out: page.left_out,
        })
    }
}

impl Table for Body {
    type Row = Entry;
    const COLUMNS: &'static [&'static str] = &[
        "sensor",
        "sensor_days",
        "ipv4_address_days",
        "ipv6_prefix_days",
        "exposure_shared",
        "kernel_drops",
        "interface_drops",
        "lost_packets",
        "lost_windows",
    ];

    fn rows(&self) -> impl Iterator<Item = impl Serialize> {
        self.exposures.iter()
    }

    fn next_cursor(&self) -> Option<&str> {
        self.next_cursor.as_deref()
    }
}
