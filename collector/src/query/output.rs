//! Rows of an answer as text.

use std::fmt::Write as _;
use std::io::Write;

use data_encoding::HEXLOWER;
use rusqlite::Row;
use rusqlite::types::ValueRef;
use serde_json::{Map, Number, Value};

use super::session::QueryError;

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Columns for people.
    Table,
    /// RFC 4180, with a line of names. Texts that a spreadsheet would take for a formula get an apostrophe in front.
    Csv,
    /// A list of objects.
    Json,
}

/// Writes an answer row by row.
pub(super) struct Printer<'a> {
    format: Format,
    names: Vec<String>,
    out: &'a mut dyn Write,
    /// Of a table, whose columns are as wide as what stands in them.
    cells: Vec<Vec<Cell>>,
    count: u64,
}

/// A cell of a table, and whether it stands to the right.
struct Cell {
    text: String,
    is_number: bool,
}

/// An error of the output, or one of SQLite that the caller knows how to say.
type RowError = Result<QueryError, rusqlite::Error>;

impl<'a> Printer<'a> {
    pub(super) fn new(format: Format, names: Vec<String>, out: &'a mut dyn Write) -> Result<Printer<'a>, QueryError> {
        match format {
            Format::Csv => {
                let names: Vec<String> = names.iter().map(|name| csv_text(name)).collect();
                write!(out, "{}\r\n", names.join(","))?;
            }
            Format::Json => write!(out, "[")?,
            Format::Table => {}
        }
        Ok(Printer { format, names, out, cells: Vec::new(), count: 0 })
    }

    pub(super) fn row(&mut self, row: &Row<'_>) -> Result<(), RowError> {
        let values =
            (0..self.names.len()).map(|place| row.get_ref(place)).collect::<Result<Vec<_>, _>>().map_err(Err)?;
        let written = match self.format {
            Format::Table => {
                self.cells.push(values.into_iter().map(cell).collect());
                Ok(())
            }
            Format::Csv => {
                let cells: Vec<String> = values.into_iter().map(csv).collect();
                write!(self.out, "{}\r\n", cells.join(","))
            }
            Format::Json => {
                let names = self.names.iter().cloned();
                let object: Map<String, Value> = names.zip(values.into_iter().map(json)).collect();
                write!(self.out, "{}\n{}", if self.count == 0 { "" } else { "," }, Value::Object(object))
            }
        };
        self.count += 1;
        written.map_err(|error| Ok(error.into()))
    }

    pub(super) fn finish(mut self) -> Result<(), QueryError> {
        match self.format {
            Format::Table => self.table()?,
            Format::Csv => {}
            Format::Json => writeln!(self.out, "\n]")?,
        }
        Ok(self.out.flush()?)
    }

    fn table(&mut self) -> std::io::Result<()> {
        let width = |place: usize, name: &str| {
            let cells = self.cells.iter().map(|row| row[place].text.chars().count());
            cells.max().unwrap_or(0).max(name.chars().count())
        };
        let widths: Vec<usize> = self.names.iter().enumerate().map(|(place, name)| width(place, name)).collect();
        let is_number = |place: usize| self.cells.first().is_some_and(|row| row[place].is_number);
        let mut line = |cells: &mut dyn Iterator<Item = (&str, bool)>| {
            let mut text = String::new();
            for ((cell, is_number), &width) in cells.zip(&widths) {
                // Writing to a String cannot fail.
                let _ = if is_number { write!(text, "{cell:>width$}  ") } else { write!(text, "{cell:<width$}  ") };
            }
            writeln!(self.out, "{}", text.trim_end())
        };
        line(&mut self.names.iter().enumerate().map(|(place, name)| (name.as_str(), is_number(place))))?;
        let rules: Vec<String> = widths.iter().map(|&width| "-".repeat(width)).collect();
        line(&mut rules.iter().map(|rule| (rule.as_str(), false)))?;
        self.cells.iter().try_for_each(|row| line(&mut row.iter().map(|cell| (cell.text.as_str(), cell.is_number))))
    }
}

fn cell(value: ValueRef<'_>) -> Cell {
    let is_number = matches!(value, ValueRef::Integer(_) | ValueRef::Real(_));
    let text = match value {
        ValueRef::Null => String::new(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        // Nothing that stands in a store shall move a terminal's cursor.
        ValueRef::Text(text) => {
            String::from_utf8_lossy(text).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
        }
        ValueRef::Blob(blob) => format!("({} bytes)", blob.len()),
    };
    Cell { text, is_number }
}

fn csv(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => String::new(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(text) => csv_text(&String::from_utf8_lossy(text)),
        ValueRef::Blob(blob) => HEXLOWER.encode(blob),
    }
}

fn csv_text(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if is_formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

fn json(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::from(number),
        // JSON has no number for what is none.
        ValueRef::Real(number) => Number::from_f64(number).map_or(Value::Null, Value::Number),
        ValueRef::Text(text) => Value::from(String::from_utf8_lossy(text)),
        ValueRef::Blob(blob) => Value::from(HEXLOWER.encode(blob)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_cells_are_quoted_and_no_formulas() {
        assert_eq!(csv_text("plain"), "plain");
        assert_eq!(csv_text("a,b"), "\"a,b\"");
        assert_eq!(csv_text("say \"a\"\n"), "\"say \"\"a\"\"\n\"");
        for formula in ["=1+1", "+1", "-1", "@x", "\tx"] {
            assert_eq!(csv_text(formula), format!("'{formula}"));
        }
        assert_eq!((csv(ValueRef::Integer(-1)), csv(ValueRef::Null)), ("-1".to_owned(), String::new()));
        assert_eq!(csv(ValueRef::Blob(&[0, 0xab])), "00ab");
    }
}
