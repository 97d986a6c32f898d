//! The data that regions, networks and known scanners come from: how old it is, and whether new files could be used.

use martlet_telemetry::counters::{MetricKind, Samples, to_f64};

use super::{Families, signed, single, texts};
use crate::geo::{About, Part, Reload, Snapshot};

const PART: &[&str] = &["part"];

impl Families<'_> {
    pub(super) fn geo(&self) -> Result<(), prometheus::Error> {
        self.add(
            MetricKind::Gauge,
            "martlet_collector_geo_stale",
            "1 if the newest files of this setting cannot be used and older data is; absent if it is not configured.",
            PART,
            |sources, _| {
                let stale = |reload: &Reload| f64::from(u8::from(reload.stale.is_some()));
                each_part(&sources.geo.snapshot(), stale)
            },
        )?;
        self.add(
            MetricKind::Counter,
            "martlet_collector_geo_reloads_total",
            "Files that changed and were read again (loaded), or could not be used (failed).",
            &["part", "outcome"],
            |sources, _| {
                let snapshot = sources.geo.snapshot();
                let reloads = Part::ALL.iter().filter_map(|&part| Some((part, *snapshot.reload(part)?)));
                let samples = reloads.flat_map(|(part, reload)| {
                    [("loaded", reload.loaded), ("failed", reload.failed)]
                        .map(|(outcome, count)| (texts([part.key(), outcome]), to_f64(count)))
                });
                samples.collect()
            },
        )?;
        self.add(
            MetricKind::Gauge,
            "martlet_collector_geo_database_built_timestamp_seconds",
            "When the database in use was built, as a Unix time; absent where nothing says it.",
            PART,
            |sources, _| {
                let snapshot = sources.geo.snapshot();
                let databases =
                    [(Part::CountryDatabase, Some(snapshot.country())), (Part::AsnDatabase, snapshot.asn())];
                let built = |about: Option<&About>| about.and_then(|about| about.built).map(signed);
                databases.into_iter().filter_map(|(part, about)| Some((texts([part.key()]), built(about)?))).collect()
            },
        )?;
        self.add(
            MetricKind::Gauge,
            "martlet_collector_geo_scanner_networks",
            "Networks of known scanners, over all lists.",
            &[],
            |sources, _| {
                let snapshot = sources.geo.snapshot();
                single(to_f64(snapshot.scanner_lists().iter().map(|list| list.networks).sum()))
            },
        )
    }
}

/// A sample for every part that is configured.
fn each_part(snapshot: &Snapshot, value: impl Fn(&Reload) -> f64) -> Samples {
    let parts = Part::ALL.iter().filter_map(|&part| Some((texts([part.key()]), value(snapshot.reload(part)?))));
    parts.collect()
}
