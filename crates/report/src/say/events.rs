//! What was called an outbreak or a surge, and what analysts said of it.

use super::{Say, names, service, text, zone};
use crate::document::{Block, Cell, Column, Line, Table};
use crate::model::Event;
use crate::wording::{Pattern, Wording};

impl Say<'_> {
    pub(super) fn events(&mut self) -> Vec<Block> {
        let (words, events) = (&self.words.events, &self.report.events);
        let mut blocks = vec![Block::Heading(words.phenomena.line())];
        blocks.push(self.note(&self.words.common.comment, self.report.notes.phenomena.as_ref()));
        if events.assessed.is_empty() {
            blocks.push(Block::Paragraph(words.none.line()));
        } else {
            blocks.push(Block::Table(self.event_table()));
            for event in &events.assessed {
                blocks.push(Block::Heading(words.note_on.fill(&[("id", Line::given(&event.id))])));
                blocks.push(self.note(&self.words.common.comment, event.note.as_ref()));
            }
        }
        blocks.push(Block::Paragraph(words.unassessed.fill(&[("n", self.words.small(events.unassessed).shown)])));
        blocks
    }

    fn event_table(&mut self) -> Table {
        let words = &self.words.events;
        let estimate = |name: &str, heading: &Pattern| Column {
            heading: heading.line(),
            names: names(&[name, &format!("{name}_low"), &format!("{name}_high")]),
            is_number: true,
        };
        let columns = vec![
            text("event", &words.event),
            text("type", &words.what),
            service(&words.port),
            text("mark", &words.mark),
            text("severity", &words.severity),
            text("onset", &words.onset),
            text("detected", &words.detected),
            text("ended", &words.ended),
            estimate("rate_per_hour", &words.rate),
            estimate("doubling_seconds", &words.doubling),
        ];
        let mut table = self.table("events", words.table.line(), columns);
        let (zone, zone_name) = zone(&self.report.period);
        table.notes.push(words.note.fill(&[("zone", Line::given(zone_name))]));
        for event in &self.report.events.assessed {
            let ended = event.ended.as_ref();
            table.push(vec![
                Cell::given(&event.id),
                self.event_type(event),
                self.words.service(&event.service),
                if event.mark == "none" { Cell::named("none", words.no_mark.line()) } else { Cell::given(&event.mark) },
                self.severity(event),
                self.words.minute(&event.onset, &zone),
                self.words.minute(&event.detected, &zone),
                ended.map_or_else(|| Cell::named("", words.not_ended.line()), |time| self.words.minute(time, &zone)),
                self.words.estimate(event.rate_per_hour, Wording::rate),
                self.words.estimate(event.doubling_seconds, Wording::duration),
            ]);
        }
        table
    }

    fn event_type(&self, event: &Event) -> Cell {
        match event.event_type.as_str() {
            name @ "surge" => Cell::named(name, self.words.events.surge.line()),
            name @ "outbreak" => Cell::named(name, self.words.events.outbreak.line()),
            other => Cell::given(other),
        }
    }

    fn severity(&self, event: &Event) -> Cell {
        let words = &self.words.events;
        let severity = match event.severity.as_str() {
            "info" => words.info.line(),
            "low" => words.low.line(),
            "medium" => words.medium.line(),
            "high" => words.high.line(),
            "critical" => words.critical.line(),
            other => return Cell::given(other),
        };
        Cell::named(&event.severity, severity)
    }
}
