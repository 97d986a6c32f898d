//! `/api/v1/history/exposure`: how much each sensor watched, and what of it was lost.

use serde::Serialize;
use utoipa::ToSchema;

use super::super::endpoint::About;
use super::super::format::Table;
use super::super::list::page;
use super::super::params::{Accepts, Parameter};
use super::super::validator::Validity;
use super::shapes::{ExposureShape, HistoryHead};
use super::{Based, HistoryAsked, HistoryPath, Refusal};
use crate::tokens::Scope;

/// The path.
pub(super) struct Path;

/// How much each sensor watched.
#[derive(Serialize, ToSchema)]
#[schema(as = HistoryExposure)]
pub(super) struct Answer {
    #[serde(flatten)]
    head: HistoryHead,
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
    const ABOUT: About = About {
        name: "history/exposure",
        summary: "How much each sensor watched, and what of it was lost",
        accepts: Accepts::history(&[
            Parameter::Class,
            Parameter::From,
            Parameter::To,
            Parameter::Zone,
            Parameter::Limit,
            Parameter::Cursor,
            Parameter::Format,
        ]),
        scope: Scope::Read,
        validity: Validity::Answer,
        walks: true,
    };
    type Answer = Answer;

    fn answer(asked: &HistoryAsked<'_>) -> Result<Answer, Refusal> {
        let HistoryAsked { snapshot, query, filter, span, .. } = *asked;
        let basis = snapshot.basis(&filter, span)?;
        let sensors: Vec<_> = basis.sensors.iter().collect();
        let page = page(query, sensors, |(name, _)| name.as_str());
        let entry = |(name, exposure): (&String, &crate::rollup::query::Exposure)| Entry {
            sensor: name.clone(),
            exposure: ExposureShape::from(exposure),
        };
        Ok(Answer {
            head: HistoryHead::of(asked, &basis)?,
            next_cursor: page.next,
            exposures: page.entries.into_iter().map(entry).collect(),
            exposures_left_out: page.left_out,
        })
    }
}

impl Based for Answer {
    fn head(&self) -> &HistoryHead {
        &self.head
    }
}

impl Table for Answer {
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
