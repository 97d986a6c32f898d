//! A report in the words of a language: one module for each group of sections.

mod events;
mod overview;
mod populations;
mod quality;
mod ranking;
mod values;

use jiff::tz::TimeZone;

use crate::document::{Banner, Block, Cell, Column, Document, Line, Note, Row, Section, Table};
use crate::model::{Class, Exposure, Period, PeriodKind, Report, Text, Warning};
use crate::wording::{Pattern, Wording};

/// Says a report in a language.
pub(crate) fn document(report: &Report, words: &Wording) -> Document {
    Say { report, words, tables: 0, figures: 0 }.document()
}

/// A report that is being said.
struct Say<'a> {
    report: &'a Report,
    words: &'a Wording,
    /// Those that have been numbered.
    tables: u32,
    figures: u32,
}

impl Say<'_> {
    fn document(mut self) -> Document {
        let blocks = [
            (&self.words.overview.title, self.overview()),
            (&self.words.ranking.ports, self.ports()),
            (&self.words.ranking.regions, self.regions()),
            (&self.words.movers.title, self.movers()),
            (&self.words.populations.title, self.populations()),
            (&self.words.ranking.backscatter, self.backscatter()),
            (&self.words.groups.title, self.groups()),
            (&self.words.events.title, self.events()),
            (&self.words.quality.title, self.quality()),
        ];
        let mut sections = blocks.to_vec();
        if self.report.revision.is_some_and(|revision| revision > 1) {
            sections.push((&self.words.changes.title, self.changes()));
        }
        let section = |(place, (title, blocks)): (u32, (&Pattern, Vec<Block>))| Section {
            title: self.numbered(&self.words.common.section, place, title.line()),
            blocks,
        };
        Document {
            language: self.words.language.clone(),
            title: self.title(),
            banner: self.banner(),
            is_provisional: self.report.revision.is_none(),
            warnings: self.warnings(),
            head: self.head(),
            sections: (1..).zip(sections).map(section).collect(),
        }
    }

    fn title(&self) -> Line {
        let head = &self.words.head;
        let mut title = head.title.fill(&[("label", Line::given(&self.report.period.label))]);
        if let Some(group) = &self.report.group {
            let group = head.of_group.fill(&[("name", Line::given(group))]);
            title = head.title_of_group.fill(&[("title", title), ("group", group)]);
        }
        head.title_with_status.fill(&[("title", title), ("status", self.status())])
    }

    fn status(&self) -> Line {
        let head = &self.words.head;
        match self.report.revision {
            None => head.provisional.line(),
            Some(n) if n < 2 => head.first_revision.fill(&[("n", self.words.small(n).shown)]),
            Some(n) => head.revision.fill(&[("n", self.words.small(n).shown)]),
        }
    }

    fn banner(&self) -> Option<Banner> {
        let head = &self.words.head;
        let (class, name, meaning) = match self.report.class {
            Class::Real => return None,
            Class::Drill => ("drill", &head.drill, &head.drill_meaning),
            Class::Import => ("import", &head.import, &head.import_meaning),
        };
        Some(Banner { class, name: name.line(), meaning: meaning.line() })
    }

    fn warnings(&self) -> Option<(Line, Vec<Line>)> {
        let words = &self.words.warnings;
        let days = |days: &[String]| Line::list(days.iter().map(|day| self.words.date(day).shown));
        let say = |warning: &Warning| match warning {
            Warning::LowCoverage { coverage_percent, threshold_percent } => words.low_coverage.fill(&[
                ("coverage", self.words.share(*coverage_percent).shown),
                ("threshold", self.words.share(*threshold_percent).shown),
            ]),
            Warning::MissingDays { days: missing } => words.missing_days.fill(&[("days", days(missing))]),
            Warning::UnsettledDays { days: unsettled } => words.unsettled_days.fill(&[("days", days(unsettled))]),
            Warning::UnknownExposure => words.unknown_exposure.line(),
        };
        let warnings: Vec<_> = self.report.warnings.iter().map(say).collect();
        (!warnings.is_empty()).then(|| (self.words.head.warnings.line(), warnings))
    }

    /// What the report is about, before anything that it says.
    fn head(&self) -> Table {
        let (head, report) = (&self.words.head, self.report);
        let before = self.span(&report.previous.period);
        let compared = match (report.previous.is_known, report.previous.revision) {
            (false, _) => head.nothing_known.fill(&[("span", before)]),
            (true, Some(n)) => head.stored.fill(&[("span", before), ("n", self.words.small(n).shown)]),
            (true, None) => head.recounted.fill(&[("span", before)]),
        };
        let status = if report.revision.is_none() { head.provisional_meaning.line() } else { self.status() };
        let class = match report.class {
            Class::Real => &head.class_real,
            Class::Drill => &head.class_drill,
            Class::Import => &head.class_import,
        };
        let sensors = match &report.group {
            Some(name) => head.of_group.fill(&[("name", Line::given(name))]),
            None => head.all_sensors.line(),
        };
        let rules = head.rules_meaning.fill(&[
            ("sensors", self.words.small(report.rules.min_sensors).shown),
            ("sources", self.words.count(report.rules.min_sources).shown),
            ("packets", self.words.count(report.rules.min_packets).shown),
        ]);
        let quality = &self.words.quality;
        let mut table =
            Table::new("report", head.facts.line(), vec![text("what", &quality.what), text("value", &quality.value)]);
        for (name, what, value) in [
            ("period", &head.period, self.span(&report.period)),
            ("compared", &head.compared, compared),
            ("status", &head.status, status),
            ("class", &head.class, class.line()),
            ("sensors", &head.sensors, sensors),
            ("rules", &head.rules, rules),
        ] {
            table.push(vec![Cell::named(name, what.line()), Cell::text(value)]);
        }
        table
    }

    fn span(&self, period: &Period) -> Line {
        self.words.head.span.fill(&[
            ("first", self.words.date(&period.first).shown),
            ("last", self.words.date(&period.last).shown),
            ("zone", Line::given(&period.zone)),
        ])
    }

    /// How much was watched: it stands beside every figure.
    fn coverage(&self, exposure: &Exposure) -> Line {
        self.words.common.coverage.fill(&[
            ("coverage", self.words.known(exposure.coverage_percent, Wording::share).shown),
            ("sensors", self.words.small(exposure.sensors).shown),
        ])
    }

    /// A text with the name of the time that is compared with.
    fn compared(&self, pattern: &Pattern) -> Line {
        let previous = match self.report.previous.period.kind {
            PeriodKind::Week => &self.words.previous.week,
            PeriodKind::Month => &self.words.previous.month,
            PeriodKind::Quarter => &self.words.previous.quarter,
            PeriodKind::Days => &self.words.previous.days,
        };
        pattern.fill(&[("previous", previous.line())])
    }

    fn numbered(&self, pattern: &Pattern, number: u32, title: Line) -> Line {
        pattern.fill(&[("n", self.words.small(number).shown), ("title", title)])
    }

    /// A table with the next number, and how much was watched below its caption.
    fn table(&mut self, id: &str, title: Line, columns: Vec<Column>) -> Table {
        self.tables += 1;
        let caption = self.numbered(&self.words.common.table, self.tables, title);
        let mut table = Table::new(id, caption, columns);
        table.notes.push(self.coverage(&self.report.overview.exposure));
        table
    }

    /// What an analyst wrote, or that nobody did.
    fn note(&self, label: &Pattern, text: Option<&Text>) -> Block {
        let own = text.and_then(|text| text.get_key_value(&self.words.language));
        // Any other is better than none: the first by name.
        let Some((language, text)) = own.or_else(|| text.and_then(|text| text.iter().next())) else {
            return Block::Note(Note { label: self.words.common.no_comment.line(), text: None });
        };
        let mut label = label.line();
        if *language != self.words.language {
            let language = Line::given(language);
            label = self.words.common.other_language.fill(&[("label", label), ("language", language)]);
        }
        Block::Note(Note { label, text: Some((language.clone(), text.clone())) })
    }
}

impl Table {
    fn new(id: &str, caption: Line, columns: Vec<Column>) -> Table {
        Table { id: id.to_owned(), caption, notes: Vec::new(), columns, rows: Vec::new() }
    }

    fn push(&mut self, cells: Vec<Cell>) {
        self.rows.push(Row { cells, is_sum: false });
    }

    fn push_sum(&mut self, cells: Vec<Cell>) {
        self.rows.push(Row { cells, is_sum: true });
    }
}

/// A column of text.
fn text(name: &str, heading: &Pattern) -> Column {
    Column { heading: heading.line(), names: vec![name.to_owned()], is_number: false }
}

/// A column of numbers.
fn number(name: &str, heading: Line) -> Column {
    Column { heading, names: vec![name.to_owned()], is_number: true }
}

/// A column of distinct sources with their error.
fn sources(heading: &Pattern) -> Column {
    Column { heading: heading.line(), names: names(&["sources", "sources_error"]), is_number: true }
}

/// A column of services.
fn service(heading: &Pattern) -> Column {
    Column { heading: heading.line(), names: names(&["protocol", "port", "service"]), is_number: false }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The zone of a period; UTC if it is not known, which is then said.
fn zone(period: &Period) -> (TimeZone, String) {
    match TimeZone::get(&period.zone) {
        Ok(zone) => (zone, period.zone.clone()),
        Err(_) => (TimeZone::UTC, "UTC".to_owned()),
    }
}
