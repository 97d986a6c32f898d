//! CSV (RFC 4180): a file for each table, and one for what stands between them.

use crate::document::{Block, Document, Line, Note, Section, Table, clean, lines};
use crate::{File, RenderError};

/// Writes a report as CSV. Names of files and columns are the same in all languages.
///
/// # Errors
/// None that is known of: it is written into memory.
pub(crate) fn write(document: &Document) -> Result<Vec<File>, RenderError> {
    let mut files = vec![texts(document)?, table(&document.head)?];
    for block in document.sections.iter().flat_map(|section| &section.blocks) {
        match block {
            Block::Table(rows) => files.push(table(rows)?),
            Block::Figure(figure) => files.push(table(&figure.values)?),
            Block::Paragraph(_) | Block::Heading(_) | Block::Note(_) => {}
        }
    }
    Ok(files)
}

/// A cell that no spreadsheet takes for a formula (OWASP, CSV injection).
fn text_cell(text: &str) -> String {
    let text = clean(text);
    if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) { format!("'{text}") } else { text }
}

/// A number stays one, also below zero.
fn cell(text: &str) -> String {
    if text.parse::<f64>().is_ok_and(f64::is_finite) { text.to_owned() } else { text_cell(text) }
}

fn file(name: &str, rows: impl IntoIterator<Item = Vec<String>>) -> Result<File, RenderError> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.write_record(&row)?;
    }
    let bytes = writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))?;
    Ok(File { name: format!("{name}.csv"), bytes })
}

fn table(table: &Table) -> Result<File, RenderError> {
    let names = table.columns.iter().flat_map(|column| &column.names).map(|name| text_cell(name)).collect();
    let rows = table.rows.iter().map(|row| row.cells.iter().flat_map(|part| &part.raw).map(|raw| cell(raw)).collect());
    file(&table.id, std::iter::once(names).chain(rows))
}

/// Title, banner, warnings, paragraphs and notes, in order.
fn texts(document: &Document) -> Result<File, RenderError> {
    let mut rows = vec![vec!["section".to_owned(), "text".to_owned()]];
    let mut push = |section: &Line, text: &str| rows.push(vec![text_cell(&section.plain()), text_cell(text)]);
    let nothing = Line::default();
    let banner: Vec<_> =
        document.banner.iter().flat_map(|banner| [&banner.name, &banner.meaning]).map(Line::plain).collect();
    banner.iter().for_each(|text| push(&nothing, text));
    push(&nothing, &document.title.plain());
    if let Some((heading, warnings)) = &document.warnings {
        warnings.iter().for_each(|warning| push(heading, &warning.plain()));
    }
    for Section { title, blocks } in &document.sections {
        for block in blocks {
            match block {
                Block::Paragraph(line) | Block::Heading(line) => push(title, &line.plain()),
                Block::Note(Note { label, text }) => {
                    push(title, &label.plain());
                    let text = text.iter().flat_map(|(_, text)| lines(text));
                    text.for_each(|line| push(title, &line));
                }
                Block::Table(table) => {
                    push(title, &table.caption.plain());
                    table.notes.iter().for_each(|note| push(title, &note.plain()));
                }
                Block::Figure(figure) => push(title, &figure.caption.plain()),
            }
        }
    }
    banner.iter().for_each(|text| push(&nothing, text));
    file("texts", rows)
}
