//! The first section: how much was watched, and what came in all.

use super::{Say, names, number, sources, text};
use crate::document::{Block, Cell, Column, Line, Table};
use crate::model::{Exposure, Ipv6, Kinds, Rate, RateOf};
use crate::wording::{Pattern, Wording};

type OfExposure = fn(&Exposure) -> Option<f64>;
type OfKinds = fn(&Kinds) -> u64;

impl Say<'_> {
    pub(super) fn overview(&mut self) -> Vec<Block> {
        let mut blocks = vec![
            self.note(&self.words.common.comment, self.report.notes.comment.as_ref()),
            Block::Table(self.exposure()),
        ];
        if !self.report.overview.rates.is_empty() {
            blocks.push(Block::Table(self.rates()));
        }
        blocks.push(Block::Table(self.days()));
        if let Some(ipv6) = self.report.overview.ipv6 {
            blocks.push(Block::Table(self.ipv6(&ipv6)));
        }
        blocks
    }

    fn exposure(&self) -> Table {
        let (words, overview) = (&self.words.overview, &self.report.overview);
        let columns = vec![
            text("what", &words.what),
            number("now", words.now.line()),
            number("before", self.compared(&words.before)),
            number("change_percent", self.compared(&words.change)),
        ];
        let mut table = Table::new("overview", words.exposure.line(), columns);
        let before = overview.previous_exposure.as_ref();
        let mut row = |name: &str, what: Line, now: Option<Cell>, before: Option<Cell>, change: Cell| {
            let known = |cell: Option<Cell>| cell.unwrap_or_else(|| self.words.missing(1));
            table.push(vec![Cell::named(name, what), known(now), known(before), change]);
        };
        let rate = |value: Option<f64>| value.map(|value| self.words.rate(value));
        let amount = |value: Option<f64>| value.map(|value| self.words.amount(value));
        let nothing = || Cell::empty(1);
        let measures: [(&str, &Pattern, OfExposure); 3] = [
            ("sensor_days", &words.sensor_days, |exposure| exposure.sensor_days),
            ("address_days", &words.address_days, |exposure| exposure.address_days),
            ("prefix_days", &words.prefix_days, |exposure| exposure.prefix_days),
        ];
        let sensors = |exposure: &Exposure| self.words.small(exposure.sensors);
        row("sensors", words.sensors.line(), Some(sensors(&overview.exposure)), before.map(sensors), nothing());
        for (name, what, of) in measures {
            row(name, what.line(), amount(of(&overview.exposure)), amount(before.and_then(of)), nothing());
        }
        let coverage = |exposure: &Exposure| exposure.coverage_percent.map(|percent| self.words.share(percent));
        let (now, then) = (coverage(&overview.exposure), before.and_then(coverage));
        row("coverage_percent", words.coverage.line(), now, then, nothing());
        for (name, what, of) in self.kinds() {
            let count = |kinds: &Kinds| self.words.count(of(kinds));
            let change = match name {
                "all_kinds" => self.words.known(overview.change_percent, Wording::change),
                _ => nothing(),
            };
            row(name, what, Some(count(&overview.packets)), overview.previous_packets.as_ref().map(count), change);
        }
        let (per_sensor_day, sources) = (rate(overview.per_sensor_day), amount(overview.mean_daily_sources));
        row("per_sensor_day", words.per_sensor_day.line(), per_sensor_day, Some(nothing()), nothing());
        row("mean_daily_sources", words.mean_daily_sources.line(), sources, Some(nothing()), nothing());
        table
    }

    /// Packets by kind, and of all kinds.
    fn kinds(&self) -> [(&'static str, Line, OfKinds); 4] {
        let common = &self.words.common;
        let kinds: [(&str, &Pattern, OfKinds); 4] = [
            ("scan", &common.scan, |kinds| kinds.scan),
            ("backscatter", &common.backscatter, |kinds| kinds.backscatter),
            ("other", &common.other, |kinds| kinds.other),
            ("all_kinds", &common.all_kinds, |kinds| {
                kinds.scan.saturating_add(kinds.backscatter).saturating_add(kinds.other)
            }),
        ];
        kinds.map(|(name, kind, of)| (name, self.words.overview.packets.fill(&[("kind", kind.line())]), of))
    }

    fn rates(&mut self) -> Table {
        let words = &self.words.overview;
        let columns = vec![
            Column {
                heading: words.of.line(),
                names: names(&["of", "group", "least_addresses", "most_addresses"]),
                is_number: false,
            },
            number("sensors", words.count.line()),
            number("mean", words.mean.line()),
            number("lower_quartile", words.lower_quartile.line()),
            number("median", words.median.line()),
            number("upper_quartile", words.upper_quartile.line()),
            number("compared", words.compared.line()),
            number("compared_mean", words.compared_mean.line()),
            number("compared_previous", self.compared(&words.compared_previous)),
            number("change_percent", self.compared(&words.change)),
        ];
        let mut table = self.table("rates", words.rates.line(), columns);
        let least = self.words.share(self.report.quality.least_coverage_percent);
        table.notes.push(words.rates_note.fill(&[("least", least.shown)]));
        for rate in &self.report.overview.rates {
            table.push(vec![
                self.rate_of(rate),
                self.words.small(rate.sensors),
                self.words.rate(rate.mean),
                self.words.rate(rate.lower_quartile),
                self.words.rate(rate.median),
                self.words.rate(rate.upper_quartile),
                self.words.small(rate.compared),
                self.words.known(rate.compared_mean, Wording::rate),
                self.words.known(rate.compared_previous, Wording::rate),
                self.words.known(rate.change_percent, Wording::change),
            ]);
        }
        table
    }

    /// Which sensors a rate is of; four columns: what they have in common, the group, and bounds of their size.
    fn rate_of(&self, rate: &Rate) -> Cell {
        let words = &self.words.overview;
        let count = |count: u64| self.words.count(count).shown;
        let raw = |of: &str, group: &str, least: Option<u64>, most: Option<u64>| {
            let [least, most] = [least, most].map(|bound| bound.map(|bound| bound.to_string()).unwrap_or_default());
            vec![of.to_owned(), group.to_owned(), least, most]
        };
        let (shown, raw) = match &rate.of {
            RateOf::All => (words.of_all.line(), raw("all", "", None, None)),
            RateOf::Group { name } => {
                (words.of_group.fill(&[("name", Line::given(name))]), raw("group", name, None, None))
            }
            RateOf::Size { least, most } => {
                let shown = match (*least, *most) {
                    (least, None) => words.size_open.fill(&[("least", count(least))]),
                    (1, Some(1)) => words.size_one.fill(&[("least", count(1))]),
                    (least, Some(most)) => words.size.fill(&[("least", count(least)), ("most", count(most))]),
                };
                (shown, raw("size", "", Some(*least), *most))
            }
        };
        Cell { shown, raw }
    }

    fn days(&mut self) -> Table {
        let words = &self.words.overview;
        let [scan, backscatter, other, _] = self.kinds();
        let columns = vec![
            text("day", &words.day),
            number("coverage_percent", words.coverage.line()),
            number("sensors", words.sensors.line()),
            number(scan.0, scan.1),
            number(backscatter.0, backscatter.1),
            number(other.0, other.1),
            number("per_sensor", words.day_per_sensor.line()),
            sources(&words.sources),
        ];
        let mut table = self.table("days", words.days.line(), columns);
        table.notes.push(words.sources_note.line());
        for day in &self.report.overview.days {
            table.push(vec![
                self.words.date(&day.date),
                self.words.known(day.exposure.coverage_percent, Wording::share),
                self.words.small(day.exposure.sensors),
                self.words.known(day.packets.as_ref().map(scan.2), Wording::count),
                self.words.known(day.packets.as_ref().map(backscatter.2), Wording::count),
                self.words.known(day.packets.as_ref().map(other.2), Wording::count),
                self.words.known(day.per_sensor_day, Wording::rate),
                self.words.sources(day.sources),
            ]);
        }
        table
    }

    fn ipv6(&mut self, ipv6: &Ipv6) -> Table {
        let words = &self.words.overview;
        let columns = vec![text("what", &words.what), number("value", words.now.line())];
        let mut table = self.table("ipv6", words.ipv6.line(), columns);
        for (name, what, of) in self.kinds() {
            table.push(vec![Cell::named(name, what), self.words.count(of(&ipv6.packets))]);
        }
        let mut sources = self.words.sources(ipv6.sources);
        // There is one column for it and its error.
        sources.raw.truncate(1);
        table.push(vec![Cell::named("sources", words.ipv6_sources.line()), sources]);
        table.push(vec![
            Cell::named("per_prefix_day", words.per_prefix_day.line()),
            self.words.known(ipv6.per_prefix_day, Wording::rate),
        ]);
        table
    }
}
