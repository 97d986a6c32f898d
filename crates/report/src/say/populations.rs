//! Who scanned, and the groups of sensors that saw it.

use super::{Say, number, service, sources, text};
use crate::document::{Block, Cell, Table};
use crate::model::Population;
use crate::wording::{Pattern, Wording};

impl Say<'_> {
    pub(super) fn populations(&mut self) -> Vec<Block> {
        let words = &self.words.populations;
        let mut blocks = vec![Block::Table(self.population_table())];
        if self.report.populations.confirmed.is_none() {
            blocks.push(Block::Paragraph(words.no_confirmed.line()));
        }
        blocks.push(Block::Table(self.mirai()));
        blocks
    }

    fn population_table(&mut self) -> Table {
        let (words, populations) = (&self.words.populations, &self.report.populations);
        let columns = vec![
            text("which", &words.which),
            text("name", &words.name),
            number("packets", words.packets.line()),
            number("packets_percent", words.packets_share.line()),
            sources(&words.sources),
            number("sources_percent", words.sources_share.line()),
        ];
        let mut table = self.table("populations", words.table.line(), columns);
        table.notes.push(words.note.line());
        let mut row = |id: &str, which: &Pattern, name: Cell, population: &Population| {
            table.push(vec![
                Cell::named(id, which.line()),
                name,
                self.words.count(population.packets),
                self.words.known(population.packets_percent, Wording::share),
                self.words.sources(population.sources),
                self.words.known(population.sources_percent, Wording::share),
            ]);
        };
        row("all", &words.all, Cell::empty(1), &populations.all);
        let lists = [
            ("mark", &words.mark, populations.marks.as_slice()),
            ("confirmed", &words.confirmed, populations.confirmed.as_deref().unwrap_or_default()),
            ("known_scanner", &words.known_scanner, populations.known_scanners.as_slice()),
        ];
        for (id, which, list) in lists {
            for population in list {
                row(id, which, Cell::given(&population.name), population);
            }
        }
        if let Some(population) = &populations.multi_port {
            row("multi_port", &words.multi_port, Cell::empty(1), population);
        }
        table
    }

    fn mirai(&mut self) -> Table {
        let words = &self.words.populations;
        let columns = vec![
            service(&words.port),
            number("marked_packets", words.marked.line()),
            number("packets", words.packets.line()),
            number("percent", words.of_all.line()),
            sources(&words.mirai_sources),
        ];
        let mut table = self.table("mirai", words.mirai.line(), columns);
        table.notes.push(words.mirai_note.line());
        for port in &self.report.populations.mirai_ports {
            table.push(vec![
                self.words.service(&port.service),
                self.words.count(port.marked_packets),
                self.words.count(port.packets),
                self.words.known(port.percent, Wording::share),
                self.words.sources(port.sources),
            ]);
        }
        table
    }

    pub(super) fn groups(&mut self) -> Vec<Block> {
        let words = &self.words.groups;
        let mut blocks = vec![if self.report.groups.is_empty() {
            Block::Paragraph(words.no_groups.line())
        } else {
            Block::Table(self.group_table())
        }];
        if !self.report.sensor_ports.is_empty() {
            blocks.push(Block::Table(self.sensor_ports()));
        }
        blocks
    }

    fn group_table(&mut self) -> Table {
        let (words, common) = (&self.words.groups, &self.words.common);
        let packets = |name: &str, kind: &Pattern| number(name, words.packets.fill(&[("kind", kind.line())]));
        let columns = vec![
            text("group", &words.group),
            number("sensors", words.sensors.line()),
            number("address_days", words.address_days.line()),
            number("coverage_percent", words.coverage.line()),
            packets("scan", &common.scan),
            packets("backscatter", &common.backscatter),
            packets("other", &common.other),
            number("per_sensor_day", words.per_sensor_day.line()),
            number("previous_per_sensor_day", self.compared(&words.previous)),
            number("change_percent", self.compared(&words.change)),
        ];
        let mut table = self.table("groups", words.table.line(), columns);
        for group in &self.report.groups {
            table.push(vec![
                Cell::given(&group.name),
                self.words.small(group.exposure.sensors),
                self.words.known(group.exposure.address_days, Wording::amount),
                self.words.known(group.exposure.coverage_percent, Wording::share),
                self.words.count(group.packets.scan),
                self.words.count(group.packets.backscatter),
                self.words.count(group.packets.other),
                self.words.known(group.per_sensor_day, Wording::rate),
                self.words.known(group.previous_per_sensor_day, Wording::rate),
                self.words.known(group.change_percent, Wording::change),
            ]);
        }
        table
    }

    fn sensor_ports(&mut self) -> Table {
        let words = &self.words.groups;
        let columns = vec![
            number("sensor", words.sensor.line()),
            text("group", &words.group),
            number("rank", words.rank.line()),
            service(&words.port),
            number("packets", self.words.ranking.packets.line()),
        ];
        let mut table = self.table("sensor-ports", words.sensor_ports.line(), columns);
        let least = self.words.small(self.report.rules.min_sensors);
        table.notes.push(words.sensor_ports_note.fill(&[("n", least.shown)]));
        for sensor in &self.report.sensor_ports {
            for port in &sensor.ports {
                table.push(vec![
                    self.words.small(sensor.sensor),
                    sensor.group.as_deref().map_or_else(|| Cell::empty(1), Cell::given),
                    self.words.small(port.rank),
                    self.words.service(&port.service),
                    self.words.count(port.packets),
                ]);
            }
        }
        table
    }
}
