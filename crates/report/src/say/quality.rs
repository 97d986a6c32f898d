//! How good the data are, what words mean, and what a revision changes.

use serde_json::Value;

use super::{Say, number, text};
use crate::document::{Block, Cell, Line, Table};
use crate::wording::Wording;

impl Say<'_> {
    pub(super) fn quality(&mut self) -> Vec<Block> {
        let words = &self.words.quality;
        let mut blocks = vec![Block::Table(self.sensors()), Block::Table(self.facts())];
        blocks.push(Block::Heading(words.definitions.line()));
        let definitions = [
            &words.define_scan,
            &words.define_sensor_day,
            &words.define_coverage,
            &words.define_sources,
            &words.define_share,
        ];
        blocks.extend(definitions.map(|definition| Block::Paragraph(definition.line())));
        blocks
    }

    fn sensors(&mut self) -> Table {
        let words = &self.words.quality;
        let columns = vec![
            text("sensor", &words.sensor),
            text("group", &words.group),
            number("coverage_percent", words.coverage.line()),
            number("kernel_drops", words.kernel.line()),
            number("interface_drops", words.interface.line()),
            number("lost_packets", words.lost.line()),
        ];
        let mut table = self.table("sensors", words.table.line(), columns);
        for sensor in &self.report.quality.sensors {
            let place = self.words.small(sensor.sensor);
            let shown = words.numbered.fill(&[("n", place.shown)]);
            table.push(vec![
                Cell { shown, raw: place.raw },
                sensor.group.as_deref().map_or_else(|| Cell::empty(1), Cell::given),
                self.words.known(sensor.coverage_percent, Wording::share),
                self.words.count(sensor.kernel_drops),
                self.words.count(sensor.interface_drops),
                self.words.count(sensor.lost_packets),
            ]);
        }
        table
    }

    fn facts(&mut self) -> Table {
        let (words, quality) = (&self.words.quality, &self.report.quality);
        let columns = vec![text("what", &words.what), text("value", &words.value)];
        let mut table = self.table("quality", words.facts.line(), columns);
        let list = |lines: Vec<Line>| {
            Cell::text(if lines.is_empty() { self.words.common.none.line() } else { Line::list(lines) })
        };
        let regions = match quality.region_data.is_empty() {
            true => self.words.missing(1),
            false => list(quality.region_data.iter().map(Line::given).collect()),
        };
        let missing = quality.missing_days.iter().map(|day| self.words.date(day).shown).collect();
        for (name, what, value) in [
            ("missing_days", &words.missing_days, list(missing)),
            ("excluded_packets", &words.excluded, self.words.count(quality.excluded_packets)),
            ("coarse_packets", &words.coarse, self.words.count(quality.coarse_packets)),
            ("folded_services", &words.folded, self.words.count(quality.folded_services)),
            ("largest_error", &words.error, self.words.error(quality.largest_error)),
            ("region_data", &words.regions, regions),
        ] {
            table.push(vec![Cell::named(name, what.line()), value]);
        }
        table
    }

    pub(super) fn changes(&mut self) -> Vec<Block> {
        let words = &self.words.changes;
        if self.report.changes.is_empty() {
            return vec![Block::Paragraph(words.none.line())];
        }
        let columns =
            vec![text("place", &words.place), number("before", words.before.line()), number("now", words.now.line())];
        let mut table = self.table("changes", words.table.line(), columns);
        let value = |value: Option<&Value>| match value {
            None | Some(Value::Null) => self.words.missing(1),
            Some(Value::Number(number)) => self.words.json_number(number),
            Some(Value::String(text)) => Cell::given(text),
            Some(other) => Cell::given(&other.to_string()),
        };
        for changed in &self.report.changes {
            table.push(vec![Cell::given(&changed.place), value(changed.before.as_ref()), value(changed.now.as_ref())]);
        }
        vec![Block::Table(table)]
    }
}
