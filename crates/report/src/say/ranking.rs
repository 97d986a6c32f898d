//! Ports, regions and backscatter: what came most, with a figure of it; and the ports that changed most.

use super::{Say, names, number, service, sources, text};
use crate::chart::{Chart, ChartLine, MOST_LINES};
use crate::document::{Block, Cell, Column, Figure, Line, Table};
use crate::model::{Cell as Counts, Mover, Ranked, Ranking, Service};
use crate::wording::{Pattern, Wording};

/// How the key of a ranking is written.
struct Key<K> {
    column: Column,
    /// Its name in the names of columns as CSV.
    name: fn(&K) -> String,
    cell: fn(&Wording, &K) -> Cell,
}

impl Say<'_> {
    fn service_key(heading: &Pattern) -> Key<Service> {
        Key {
            column: service(heading),
            name: |service| format!("{}_{}", service.protocol, service.number),
            cell: Wording::service,
        }
    }

    pub(super) fn ports(&mut self) -> Vec<Block> {
        let (words, ranking) = (&self.words.ranking, &self.report.ports);
        let key = Self::service_key(&words.port);
        let mut table = self.ranking("ports", &words.ports_table, ranking, &key, true);
        table.notes.push(words.ports_note.line());
        let mut blocks = vec![Block::Table(table)];
        blocks.extend(self.filtered().map(Block::Table));
        let figure = self.figure("figure-1", "ports-daily", [&words.ports_figure, &words.ports_packets], ranking, &key);
        blocks.push(Block::Figure(Box::new(figure)));
        blocks
    }

    /// Who watched the ports that are filtered before some sensors; none if there are none.
    fn filtered(&mut self) -> Option<Table> {
        let words = &self.words.ranking;
        let rows = self.report.ports.rows.iter();
        let filtered: Vec<_> = rows.filter_map(|row| Some((&row.key, row.watching.as_ref()?))).collect();
        if filtered.is_empty() {
            return None;
        }
        let columns = vec![
            service(&words.port),
            number("watching_sensors", words.watching_sensors.line()),
            number("watching_sensor_days", words.watching_days.line()),
        ];
        let mut table = self.table("ports-filtered", words.filtered_table.line(), columns);
        for (port, watching) in filtered {
            table.push(vec![
                self.words.service(port),
                self.words.small(watching.sensors),
                self.words.known(watching.sensor_days, Wording::rate),
            ]);
        }
        table.notes.push(words.filtered_note.line());
        Some(table)
    }

    pub(super) fn regions(&mut self) -> Vec<Block> {
        let (words, ranking) = (&self.words.ranking, &self.report.regions);
        let column = Column { heading: words.region.line(), names: names(&["region", "name"]), is_number: false };
        let key = Key { column, name: Clone::clone, cell: |words, code: &String| words.region_cell(code) };
        let mut table = self.ranking("regions", &words.regions_table, ranking, &key, true);
        table.notes.push(words.regions_note.line());
        let figure =
            self.figure("figure-2", "regions-daily", [&words.regions_figure, &words.regions_packets], ranking, &key);
        vec![Block::Table(table), Block::Figure(Box::new(figure))]
    }

    pub(super) fn backscatter(&mut self) -> Vec<Block> {
        let words = &self.words.ranking;
        let key = Self::service_key(&words.victim_port);
        let mut table = self.ranking("backscatter", &words.backscatter_table, &self.report.backscatter, &key, false);
        table.notes.push(words.backscatter_note.line());
        vec![Block::Table(table)]
    }

    fn ranking<K>(
        &mut self,
        id: &str,
        title: &Pattern,
        ranking: &Ranking<K>,
        key: &Key<K>,
        is_compared: bool,
    ) -> Table {
        let words = &self.words.ranking;
        let mut columns = vec![
            number("rank", words.rank.line()),
            key.column.clone(),
            number("packets", words.packets.line()),
            number("share_percent", words.share.line()),
            number("per_sensor_day", words.per_sensor_day.line()),
        ];
        if is_compared {
            columns.push(number("previous_rank", self.compared(&words.previous_rank)));
            columns.push(number("previous_packets", self.compared(&words.previous_packets)));
            columns.push(number("change_percent", self.compared(&words.change)));
        }
        columns.push(sources(&words.sources));
        columns.push(number("sensors", words.sensors.line()));
        let title = title.fill(&[("n", self.words.small(self.report.rules.top).shown)]);
        let mut table = self.table(id, title, columns);
        for row in &ranking.rows {
            let mut cells = vec![self.words.small(row.rank), (key.cell)(self.words, &row.key)];
            cells.extend(self.counts(&row.cell));
            if is_compared {
                cells.extend(self.comparison(row));
            }
            cells.push(self.words.sources(row.sources));
            cells.push(self.words.known(row.sensors, Wording::small));
            table.push(cells);
        }
        for (id, name, cell) in [
            ("others", &self.words.common.others, &ranking.others),
            ("total", &self.words.common.total, &ranking.total),
        ] {
            let label = Cell { shown: name.line(), ..Cell::empty(key.column.names.len()) };
            let mut cells = vec![Cell::named(id, Line::default()), label];
            cells.extend(self.counts(cell));
            cells.extend(table.columns[cells.len()..].iter().map(|column| Cell::empty(column.names.len())));
            table.push_sum(cells);
        }
        table
    }

    fn counts(&self, cell: &Counts) -> [Cell; 3] {
        [
            self.words.count(cell.packets),
            self.words.known(cell.share_percent, Wording::share),
            self.words.known(cell.per_sensor_day, Wording::rate),
        ]
    }

    fn comparison<K>(&self, row: &Ranked<K>) -> [Cell; 3] {
        [
            self.words.previous_rank(row.previous_rank, self.report.rules.previous_places),
            self.words.known(row.previous_packets, Wording::count),
            self.words.known(row.change_percent, Wording::change),
        ]
    }

    /// The daily values of the first rows, drawn and as a table: packets per sensor, or packets where nobody knows how much was
    /// watched.
    fn figure<K>(
        &mut self,
        id: &'static str,
        table: &str,
        [rates, packets]: [&Pattern; 2],
        ranking: &Ranking<K>,
        key: &Key<K>,
    ) -> Figure {
        self.figures += 1;
        let (words, days) = (&self.words.ranking, &self.report.overview.days);
        let rows = &ranking.rows[..ranking.rows.len().min(MOST_LINES)];
        let name = |row: &Ranked<K>| (key.cell)(self.words, &row.key).shown;
        let daily = |cell: &Counts, day: usize| cell.daily.get(day).copied().flatten();
        let rate = |cell: &Counts, day: usize| daily(cell, day).and_then(|daily| daily.per_sensor);
        let has_rates = rows.iter().any(|row| (0..days.len()).any(|day| rate(&row.cell, day).is_some()));
        #[expect(clippy::cast_precision_loss, reason = "the height of a line")]
        let drawn = |cell: &Counts, day: usize| match has_rates {
            true => rate(cell, day),
            false => daily(cell, day).map(|daily| daily.packets as f64),
        };
        let shown = |cell: &Counts, day: usize| match has_rates {
            true => self.words.known(rate(cell, day), Wording::rate),
            false => self.words.known(daily(cell, day).map(|daily| daily.packets), Wording::count),
        };
        let (title, axis) = if has_rates { (rates, &words.axis) } else { (packets, &words.axis_packets) };
        let period = &self.report.period;
        let description = words.drawing.fill(&[
            ("n", Line::text(self.words.count(days.len() as u64).shown.plain())),
            ("first", self.words.date(&period.first).shown),
            ("last", self.words.date(&period.last).shown),
        ]);
        let caption = self.numbered(&self.words.common.figure, self.figures, title.line());
        let chart = Chart {
            title: caption.plain(),
            description: description.plain(),
            axis: axis.text().to_owned(),
            days: days.iter().map(|day| self.words.short_date(&day.date)).collect(),
            lines: rows
                .iter()
                .map(|row| ChartLine {
                    name: name(row).plain(),
                    values: (0..days.len()).map(|day| drawn(&row.cell, day)).collect(),
                })
                .collect(),
            not_known: self.words.common.not_known.text().to_owned(),
        };
        let mut columns = vec![text("day", &words.day), number("coverage_percent", words.coverage.line())];
        columns.extend(rows.iter().map(|row| number(&(key.name)(&row.key), name(row))));
        let caption_of_values = words.values.fill(&[("n", self.words.small(self.figures).shown)]);
        let mut values = Table::new(table, caption_of_values, columns);
        for (place, day) in days.iter().enumerate() {
            let mut cells =
                vec![self.words.date(&day.date), self.words.known(day.exposure.coverage_percent, Wording::share)];
            cells.extend(rows.iter().map(|row| shown(&row.cell, place)));
            values.push(cells);
        }
        Figure { id, caption, note: self.coverage(&self.report.overview.exposure), chart, values }
    }

    pub(super) fn movers(&mut self) -> Vec<Block> {
        let (words, movers) = (&self.words.movers, &self.report.movers);
        if !self.report.previous.is_known {
            return vec![Block::Paragraph(self.compared(&words.not_compared))];
        }
        let lists = [
            ("movers-packets-up", &words.packets_up, &movers.packets_up, false),
            ("movers-packets-down", &words.packets_down, &movers.packets_down, false),
            ("movers-sources-up", &words.sources_up, &movers.sources_up, true),
            ("movers-sources-down", &words.sources_down, &movers.sources_down, true),
        ];
        let mut blocks = vec![Block::Paragraph(words.note.line())];
        for (id, title, list, by_sources) in lists {
            blocks.push(Block::Table(self.mover_table(id, title, list, by_sources)));
        }
        blocks
    }

    fn mover_table(&mut self, id: &str, title: &Pattern, movers: &[Mover], by_sources: bool) -> Table {
        let words = &self.words.movers;
        let packets = [
            number("packets", words.packets.line()),
            number("previous_packets", self.compared(&words.previous_packets)),
        ];
        let sources = [
            number("daily_sources", words.sources.line()),
            number("previous_daily_sources", self.compared(&words.previous_sources)),
        ];
        let change = number("change_percent", self.compared(&words.change));
        let mut columns = vec![service(&words.port)];
        // The change stands beside what it is of.
        if by_sources {
            columns.extend(sources.into_iter().chain([change]).chain(packets));
        } else {
            columns.extend(packets.into_iter().chain([change]).chain(sources));
        }
        let mut table = self.table(id, title.line(), columns);
        for mover in movers {
            let packets = [self.words.count(mover.packets), self.words.count(mover.previous_packets)];
            let sources = [
                self.words.known(mover.daily_sources, Wording::count),
                self.words.known(mover.previous_daily_sources, Wording::count),
            ];
            let change = self.words.known(mover.change_percent, Wording::change);
            let mut cells = vec![self.words.service(&mover.service)];
            if by_sources {
                cells.extend(sources.into_iter().chain([change]).chain(packets));
            } else {
                cells.extend(packets.into_iter().chain([change]).chain(sources));
            }
            table.push(cells);
        }
        table
    }
}
