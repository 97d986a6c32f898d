//! What a report says in a language, before it is written in a format.
//!
//! A [`Document`] is made once ([`crate::say`]), and each format is one way to write it down: so all of them say the same, and a
//! number is in one place. Nothing in it is markup: whoever writes it escapes all of its text.

use crate::chart::Chart;

/// A piece of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Inline {
    /// Of the wording.
    Text(String),
    /// Of whoever named a group or wrote a note: nobody knows in which direction it is read.
    Given(String),
    /// A number, or what is compared like one.
    Data { raw: String, shown: String },
    /// A time or day; `raw` as in ISO 8601.
    Time { raw: String, shown: String },
    /// What is not known, in the words for it.
    Missing(String),
}

/// A line of text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line(pub(crate) Vec<Inline>);

impl Line {
    pub(crate) fn text(text: impl Into<String>) -> Line {
        Line(vec![Inline::Text(text.into())])
    }

    pub(crate) fn given(text: impl Into<String>) -> Line {
        Line(vec![Inline::Given(text.into())])
    }

    pub(crate) fn push(&mut self, inline: Inline) {
        if inline != Inline::Text(String::new()) {
            self.0.push(inline);
        }
    }

    pub(crate) fn extend(&mut self, line: Line) {
        self.0.extend(line.0);
    }

    /// As text alone.
    pub(crate) fn plain(&self) -> String {
        self.0.iter().map(|inline| clean(inline.shown())).collect()
    }

    /// Lines with commas between them.
    pub(crate) fn list(lines: impl IntoIterator<Item = Line>) -> Line {
        let mut list = Line::default();
        for line in lines {
            if !list.0.is_empty() {
                list.push(Inline::Text(", ".to_owned()));
            }
            list.extend(line);
        }
        list
    }
}

impl Inline {
    pub(crate) fn shown(&self) -> &str {
        match self {
            Inline::Text(text) | Inline::Given(text) | Inline::Missing(text) => text,
            Inline::Data { shown, .. } | Inline::Time { shown, .. } => shown,
        }
    }
}

/// A whole report.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) language: String,
    pub(crate) title: Line,
    /// At begin and end of what is no real traffic: its name, and what that means.
    pub(crate) banner: Option<Banner>,
    /// Whether numbers may still change.
    pub(crate) is_provisional: bool,
    /// Headings of the warnings, and each of them.
    pub(crate) warnings: Option<(Line, Vec<Line>)>,
    pub(crate) head: Table,
    pub(crate) sections: Vec<Section>,
}

impl Document {
    pub(crate) fn figures(&self) -> impl Iterator<Item = &Figure> {
        self.sections.iter().flat_map(|section| &section.blocks).filter_map(|block| match block {
            Block::Figure(figure) => Some(figure.as_ref()),
            _ => None,
        })
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Banner {
    /// `drill` or `import`.
    pub(crate) class: &'static str,
    pub(crate) name: Line,
    pub(crate) meaning: Line,
}

#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) title: Line,
    pub(crate) blocks: Vec<Block>,
}

#[derive(Clone, Debug)]
pub(crate) enum Block {
    Paragraph(Line),
    /// A heading below that of the section.
    Heading(Line),
    Table(Table),
    Figure(Box<Figure>),
    Note(Note),
}

/// What an analyst wrote.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub(crate) label: Line,
    /// The language that it is in, and its text; `None` if nothing was entered, which the label says.
    pub(crate) text: Option<(String, String)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// Name of its file as CSV.
    pub(crate) id: String,
    pub(crate) caption: Line,
    /// How much was watched, and what else is to be known.
    pub(crate) notes: Vec<Line>,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Row>,
}

#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) heading: Line,
    /// Names of its columns as CSV, the same in all languages: as many as each of its cells has raw values.
    pub(crate) names: Vec<String>,
    pub(crate) is_number: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) cells: Vec<Cell>,
    /// A sum of others.
    pub(crate) is_sum: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) shown: Line,
    /// What stands in CSV: as many as the column has names, empty where nothing is known.
    pub(crate) raw: Vec<String>,
}

/// A drawing with the table of its values.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    pub(crate) id: &'static str,
    pub(crate) caption: Line,
    pub(crate) note: Line,
    pub(crate) chart: Chart,
    pub(crate) values: Table,
}

/// Text without what has no shape of its own, or changes how what is around it is read: control characters, marks of direction, and
/// tags. What ends a line becomes a space, all else a visible mark.
pub(crate) fn clean(text: &str) -> String {
    let visible = |character: char| match character {
        '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
        '\u{61c}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{206f}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => char::REPLACEMENT_CHARACTER,
        control if control.is_control() => char::REPLACEMENT_CHARACTER,
        other => other,
    };
    text.chars().map(visible).collect()
}

/// The lines of a text of several, each cleaned.
pub(crate) fn lines(text: &str) -> Vec<String> {
    let text = text.replace("\r\n", "\n").replace(['\r', '\u{2028}', '\u{2029}'], "\n");
    text.trim_matches('\n').split('\n').map(|line| clean(line).trim_end().to_owned()).collect()
}
