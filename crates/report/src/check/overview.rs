//! What a report says of itself, and its first section.

use jiff::civil::Date;

use super::{Checker, change, per, told};
use crate::model::{Class, Exposure, Kinds, Rate, RateOf, Report, Warning};

type OfKinds = fn(&Kinds) -> u64;

impl Checker {
    pub(super) fn head(&mut self, report: &Report) {
        let (period, previous) = (&report.period, &report.previous);
        if previous.period.kind != period.kind {
            self.found("/previous/period/kind", format!("{:?}", previous.period.kind), format!("{:?}", period.kind));
        }
        if let Some(revision) = report.revision {
            self.at_least("/revision", revision, 1);
        }
        if report.revision.is_none_or(|revision| revision < 2) {
            self.equal("/changes", report.changes.len(), 0);
        }
        let overview = &report.overview;
        let is_missing = overview.days.iter().any(|day| day.packets.is_none());
        let says = report.warnings.iter().any(|warning| matches!(warning, Warning::MissingDays { .. }));
        if is_missing && !says {
            self.found("/warnings", "no missing days", "missing days");
        }
        for (place, warning) in report.warnings.iter().enumerate() {
            if let Warning::LowCoverage { coverage_percent, threshold_percent } = warning {
                let place = format!("/warnings/{place}/coverage_percent");
                self.close(place.clone(), Some(*coverage_percent), overview.exposure.coverage_percent);
                self.at_most(place, *coverage_percent, *threshold_percent);
            }
        }
    }

    pub(super) fn overview(&mut self, report: &Report) {
        let overview = &report.overview;
        self.exposure("/overview/exposure", &overview.exposure, report.class);
        if let Some(previous) = &overview.previous_exposure {
            self.exposure("/overview/previous_exposure", previous, report.class);
        }
        if !report.previous.is_known && overview.previous_packets.is_some() {
            self.found("/overview/previous_packets", "known", "not known");
        }
        let all = |kinds: &Kinds| u128::from(kinds.scan) + u128::from(kinds.backscatter) + u128::from(kinds.other);
        #[expect(clippy::cast_precision_loss, reason = "far within the tolerance")]
        let changed =
            overview.previous_packets.and_then(|before| change(all(&overview.packets) as f64, all(&before) as f64));
        self.close("/overview/change_percent", overview.change_percent, changed);
        let per_sensor_day = overview.exposure.sensor_days.and_then(|days| per(overview.packets.scan, days));
        self.close("/overview/per_sensor_day", overview.per_sensor_day, per_sensor_day);
        self.days(report);
        self.rates(report);
        if let Some(ipv6) = &overview.ipv6 {
            self.sources("/overview/ipv6/sources", ipv6.sources);
            let rate = overview.exposure.prefix_days.and_then(|days| per(ipv6.packets.scan, days));
            self.close("/overview/ipv6/per_prefix_day", ipv6.per_prefix_day, rate);
        }
    }

    pub(super) fn exposure(&mut self, place: &str, exposure: &Exposure, class: Class) {
        self.rate(format!("{place}/sensor_days"), exposure.sensor_days);
        self.rate(format!("{place}/address_days"), exposure.address_days);
        self.rate(format!("{place}/prefix_days"), exposure.prefix_days);
        self.percent(format!("{place}/coverage_percent"), exposure.coverage_percent);
        if class != Class::Real && exposure.coverage_percent.is_some() {
            self.found(format!("{place}/coverage_percent"), told(exposure.coverage_percent), "not known");
        }
    }

    fn days(&mut self, report: &Report) {
        let overview = &report.overview;
        let dates: Vec<_> = overview.days.iter().map(|day| day.date.clone()).collect();
        if let (Ok(first), Ok(last)) = (report.period.first.parse::<Date>(), report.period.last.parse::<Date>()) {
            let expected: Vec<_> = first.series(jiff::Span::new().days(1)).take_while(|day| *day <= last).collect();
            self.equal("/overview/days", dates.len(), expected.len());
            for (place, (says, should_be)) in dates.iter().zip(expected).enumerate() {
                self.equal(format!("/overview/days/{place}/date"), says.clone(), should_be.to_string());
            }
        } else {
            self.found("/period", format!("{} to {}", report.period.first, report.period.last), "two days");
        }
        for (place, day) in overview.days.iter().enumerate() {
            let place = format!("/overview/days/{place}");
            self.exposure(&format!("{place}/exposure"), &day.exposure, report.class);
            self.at_most(format!("{place}/exposure/sensors"), day.exposure.sensors, overview.exposure.sensors);
            self.sources(&format!("{place}/sources"), day.sources);
            let rate = day.packets.zip(day.exposure.sensor_days).and_then(|(kinds, days)| per(kinds.scan, days));
            self.close(format!("{place}/per_sensor_day"), day.per_sensor_day, rate);
        }
        let sum =
            |of: fn(&Exposure) -> Option<f64>| overview.days.iter().map(|day| of(&day.exposure)).sum::<Option<f64>>();
        // Where one day is not known, the whole is not, either; and the other way round.
        self.close(
            "/overview/exposure/sensor_days",
            overview.exposure.sensor_days,
            sum(|exposure| exposure.sensor_days),
        );
        self.close(
            "/overview/exposure/address_days",
            overview.exposure.address_days,
            sum(|exposure| exposure.address_days),
        );
        self.close(
            "/overview/exposure/prefix_days",
            overview.exposure.prefix_days,
            sum(|exposure| exposure.prefix_days),
        );
        if let Some(days) = overview.days.iter().map(|day| day.packets).collect::<Option<Vec<_>>>() {
            let kinds: [(&str, OfKinds); 3] = [
                ("scan", |kinds| kinds.scan),
                ("backscatter", |kinds| kinds.backscatter),
                ("other", |kinds| kinds.other),
            ];
            for (kind, of) in kinds {
                let sum = days.iter().map(|day| u128::from(of(day))).sum();
                self.equal(format!("/overview/packets/{kind}"), u128::from(of(&overview.packets)), sum);
            }
        }
        let known: Vec<_> =
            overview.days.iter().filter_map(|day| day.sources).map(|sources| super::float(sources.count)).collect();
        #[expect(clippy::cast_precision_loss, reason = "a report has fewer than 2^52 days")]
        let mean = (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64);
        self.close("/overview/mean_daily_sources", overview.mean_daily_sources, mean);
    }

    fn rates(&mut self, report: &Report) {
        let rates = &report.overview.rates;
        for (place, rate) in rates.iter().enumerate() {
            let at = format!("/overview/rates/{place}");
            self.at_most(format!("{at}/sensors"), rate.sensors, report.overview.exposure.sensors);
            if rate.of != RateOf::All {
                self.at_least(format!("{at}/sensors"), rate.sensors, report.rules.min_sensors.max(1));
            }
            self.at_most(format!("{at}/compared"), rate.compared, rate.sensors);
            self.rate(format!("{at}/mean"), Some(rate.mean));
            self.rate(format!("{at}/lower_quartile"), Some(rate.lower_quartile));
            self.at_most(format!("{at}/lower_quartile"), rate.lower_quartile, rate.median);
            self.at_least(format!("{at}/upper_quartile"), rate.upper_quartile, rate.median);
            if rate.sensors == 1 {
                self.close(format!("{at}/median"), Some(rate.median), Some(rate.mean));
            }
            let both = rate.compared_mean.zip(rate.compared_previous);
            self.close(
                format!("{at}/change_percent"),
                rate.change_percent,
                both.and_then(|(now, before)| change(now, before)),
            );
            if both.is_some() != (rate.compared > 0) {
                self.found(format!("{at}/compared"), rate.compared, if both.is_some() { "at least 1" } else { "0" });
            }
        }
        for (place, pair) in rates.windows(2).enumerate() {
            if !is_in_order(&pair[0], &pair[1]) {
                let place = format!("/overview/rates/{}/of", place + 1);
                self.found(place, format!("{:?}", pair[1].of), format!("in order after {:?}", pair[0].of));
            }
        }
    }
}

/// All, groups by name, sizes that do not overlap.
fn is_in_order(first: &Rate, second: &Rate) -> bool {
    match (&first.of, &second.of) {
        (_, RateOf::All) | (RateOf::Size { .. }, RateOf::Group { .. }) => false,
        (RateOf::All, _) | (RateOf::Group { .. }, RateOf::Size { .. }) => true,
        (RateOf::Group { name: first }, RateOf::Group { name: second }) => first < second,
        (RateOf::Size { most, .. }, RateOf::Size { least, .. }) => most.is_some_and(|most| most < *least),
    }
}
