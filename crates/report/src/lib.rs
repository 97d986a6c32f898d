//! An observation report: what a [`Report`] is, whether its numbers agree, and how it is written out.
//!
//! Whoever makes a report fills in a [`model::Report`] from history. [`check`] works out again everything in it that is derived, and
//! names what disagrees. [`render`] says it in the words of a language ([`Wording`]) once, as a document of typed pieces, and writes
//! that in a [`Format`]: so a number is the same in all formats, and [`same_numbers`] holds that it is in all languages. [`bundle`]
//! makes one file of several, [`pdf::print`] prints the page, and [`changes`] tells what a revision changes.
//!
//! The same report gives the same bytes on any machine: nothing here reads a clock, a locale or a font.

#![forbid(unsafe_code)]

mod bundle;
mod changes;
mod chart;
mod check;
mod document;
mod html;
mod markdown;
pub mod model;
mod numbers;
pub mod pdf;
mod say;
mod spreadsheet;
mod wording;

pub use bundle::bundle;
pub use changes::changes;
pub use check::{Disagreement, check};
pub use html::STYLE_HASH;
pub use model::Report;
pub use numbers::{Difference, same_numbers};
pub use wording::{Wording, WordingError};

/// A way to write a report down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One page, `report.html`.
    Html,
    /// `report.md`, with figures beside it.
    Markdown,
    /// A file for each table, `texts.csv` for what is between them.
    Csv,
    /// The model, `report.json`: the same in all languages.
    Json,
}

/// A file of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name, without folders.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// Why a report is not written.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// Its numbers disagree.
    #[error("the report disagrees with itself: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Disagrees(Vec<Disagreement>),
    /// It cannot be written as CSV.
    #[error("CSV: {0}")]
    Csv(#[from] csv::Error),
    /// It cannot be written as JSON.
    #[error("JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Writes a report in a language and a format.
///
/// # Errors
/// If its numbers disagree with each other: nobody is to read it then.
pub fn render(report: &Report, words: &Wording, format: Format) -> Result<Vec<File>, RenderError> {
    check(report, None).map_err(RenderError::Disagrees)?;
    let file = |name: &str, text: String| File { name: name.to_owned(), bytes: text.into_bytes() };
    let document = || say::document(report, words);
    Ok(match format {
        Format::Html => vec![file("report.html", html::write(&document(), words))],
        Format::Csv => spreadsheet::write(&document())?,
        Format::Json => vec![file("report.json", format!("{}\n", serde_json::to_string_pretty(report)?))],
        Format::Markdown => {
            let document = document();
            let mut files = vec![file("report.md", markdown::write(&document, words))];
            for figure in document.figures() {
                let svg = figure.chart.file(figure.id, html::STYLE, |value| words.tick(value));
                files.push(file(&format!("{}.svg", figure.id), svg));
            }
            files
        }
    })
}
