//! In which format an answer is written, and writing it.
//!
//! JSON has the whole answer. CSV and NDJSON have one list of it, the table: an entry a line.

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use serde::Serialize;
use serde_json::Value;
use thiserror::Error;
use utoipa::ToSchema;

use super::super::problem::{Kind, Problem};

/// What a cell must not begin with, or spreadsheets take it for a formula (OWASP, CSV injection).
const FORMULA_STARTS: [char; 7] = ['=', '+', '-', '@', '\t', '\r', '\n'];

/// What an answer is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Csv,
    Ndjson,
}

/// The list of an answer that CSV and NDJSON have.
pub(super) trait Table {
    /// An entry.
    type Row: Serialize + ToSchema;
    /// The columns of CSV, as paths into an entry: `sources.count` is the column `sources_count`. None: there is no such list.
    const COLUMNS: &'static [&'static str];

    /// The entries.
    fn rows(&self) -> impl Iterator<Item = impl Serialize>;

    /// What asks for the next page.
    fn next_cursor(&self) -> Option<&str> {
        None
    }
}

/// Why an answer cannot be written: a defect.
#[derive(Debug, Error)]
pub(super) enum WriteError {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Csv(#[from] csv::Error),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Format {
    const ALL: [Format; 3] = [Format::Json, Format::Csv, Format::Ndjson];

    /// The format with a name, as parameters have it.
    pub(super) fn named(name: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.name() == name)
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Format::Json => "json",
            Format::Csv => "csv",
            Format::Ndjson => "ndjson",
        }
    }

    /// Its media type, without parameters.
    pub(super) const fn media_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Csv => "text/csv",
            Format::Ndjson => "application/x-ndjson",
        }
    }

    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Format::Json | Format::Ndjson => self.media_type(),
            Format::Csv => "text/csv; charset=utf-8; header=present",
        }
    }

    /// What a path can be written in.
    pub(super) const fn offered(has_table: bool) -> &'static [Format] {
        if has_table { &Format::ALL } else { &[Format::Json] }
    }

    /// The format of an answer: what the parameter says, if `Accept` does not rule it out; else what `Accept` likes best, and of
    /// several the first that is offered.
    pub(super) fn choose(
        parameter: Option<Format>,
        headers: &HeaderMap,
        offered: &'static [Format],
    ) -> Result<Format, Problem> {
        let accept = Accept::read(headers);
        let names: Vec<&str> = offered.iter().map(|format| format.media_type()).collect();
        let refused = |detail: String| {
            Problem::new(Kind::NotAcceptable, detail).expecting(format!("one of {}", names.join(", ")))
        };
        if let Some(format) = parameter {
            if !offered.contains(&format) {
                return Err(refused(format!("format: this path has no answer as {}", format.name())));
            }
            if accept.quality(format.media_type()) == 0 {
                let (name, media_type) = (format.name(), format.media_type());
                return Err(refused(format!("format={name} asks for {media_type}, which the header Accept rules out")));
            }
            return Ok(format);
        }
        // Of equally good ones the last is the maximum.
        let best = offered.iter().rev().copied().max_by_key(|format| accept.quality(format.media_type()));
        let refusal = || refused("the header Accept has none of the formats that this path has".to_owned());
        best.filter(|format| accept.quality(format.media_type()) > 0).ok_or_else(refusal)
    }

    /// Writes an answer.
    pub(super) fn write<T: Serialize + Table>(self, answer: &T) -> Result<Vec<u8>, WriteError> {
        match self {
            Format::Json => Ok(serde_json::to_vec(answer)?),
            Format::Csv => write_csv(T::COLUMNS, answer.rows()),
            Format::Ndjson => {
                let mut out = Vec::new();
                for row in answer.rows() {
                    serde_json::to_writer(&mut out, &row)?;
                    out.push(b'\n');
                }
                Ok(out)
            }
        }
    }
}

/// Which of a few media types a client likes best, and of several the first; `None` if it takes none of them.
pub(super) fn liked_best(headers: &HeaderMap, media_types: &[&'static str]) -> Option<&'static str> {
    let accept = Accept::read(headers);
    // Of equally good ones the last is the maximum.
    let best = media_types.iter().rev().copied().max_by_key(|media_type| accept.quality(media_type));
    best.filter(|media_type| accept.quality(media_type) > 0)
}

/// Refuses a client that does not take the one media type that a path has.
pub(super) fn must_accept(headers: &HeaderMap, media_type: &str) -> Result<(), Problem> {
    if Accept::read(headers).quality(media_type) > 0 {
        return Ok(());
    }
    let detail = "the header Accept rules out what this path has";
    Err(Problem::new(Kind::NotAcceptable, detail).expecting(media_type))
}

/// RFC 4180, with a header.
fn write_csv(columns: &[&str], rows: impl Iterator<Item = impl Serialize>) -> Result<Vec<u8>, WriteError> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    writer.write_record(columns.iter().map(|path| path.replace('.', "_")))?;
    for row in rows {
        let row = serde_json::to_value(&row)?;
        for path in columns {
            let value = path.split('.').try_fold(&row, |value, name| value.get(name));
            writer.write_field(cell(value.unwrap_or(&Value::Null)))?;
        }
        writer.write_record(None::<&[u8]>)?;
    }
    writer.into_inner().map_err(|error| WriteError::Io(error.into_error()))
}

/// Numbers are numbers; nothing that is not one can be taken for a formula.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if text.starts_with(FORMULA_STARTS) => format!("'{text}"),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What a header `Accept` says (RFC 9110, section 12.5.1).
struct Accept(Vec<Range>);

struct Range {
    main: String,
    sub: String,
    /// From 0 to 1000.
    quality: u16,
}

impl Accept {
    /// What cannot be read accepts nothing. No header accepts everything.
    fn read(headers: &HeaderMap) -> Accept {
        let mut values = headers.get_all(ACCEPT).iter().peekable();
        if values.peek().is_none() {
            return Accept(vec![Range { main: "*".to_owned(), sub: "*".to_owned(), quality: 1000 }]);
        }
        let ranges = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
        Accept(ranges.filter_map(Range::read).collect())
    }

    /// What the most specific range says of a media type, from 0 to 1000.
    fn quality(&self, media_type: &str) -> u16 {
        let fitting = self.0.iter().filter_map(|range| Some((range.specificity(media_type)?, range.quality)));
        fitting.max().map_or(0, |(_, quality)| quality)
    }
}

impl Range {
    fn read(text: &str) -> Option<Range> {
        let mut parts = text.split(';').map(str::trim);
        let (main, sub) = parts.next()?.split_once('/')?;
        let quality = parts.find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
        });
        let quality = quality.map_or(Some(1000), thousandths)?;
        Some(Range { main: main.trim().to_ascii_lowercase(), sub: sub.trim().to_ascii_lowercase(), quality })
    }

    fn specificity(&self, media_type: &str) -> Option<u8> {
        let (main, sub) = media_type.split_once('/')?;
        match (self.main.as_str(), self.sub.as_str()) {
            ("*", "*") => Some(0),
            (own, "*") if own == main => Some(1),
            (own, name) if own == main && name == sub => Some(2),
            _ => None,
        }
    }
}

/// A number from 0 to 1 with up to three decimals.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let is_plain = decimals.len() <= 3 && decimals.bytes().all(|b| b.is_ascii_digit());
    let decimals: u16 = format!("{decimals:0<3}").parse().ok().filter(|_| is_plain)?;
    match (whole, decimals) {
        ("0", _) => Some(decimals),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use serde_json::json;

    fn choose(parameter: Option<Format>, accept: &str) -> Option<Format> {
        let mut headers = HeaderMap::new();
        if !accept.is_empty() {
            headers.insert(ACCEPT, HeaderValue::from_str(accept).unwrap());
        }
        Format::choose(parameter, &headers, Format::offered(true)).ok()
    }

    #[test]
    fn accept_is_read_as_rfc_9110_says() {
        for (accept, format) in [
            ("", Some(Format::Json)),
            ("*/*", Some(Format::Json)),
            ("text/csv", Some(Format::Csv)),
            ("TEXT/CSV; header=absent", Some(Format::Csv)),
            ("text/*;q=0.5, application/x-ndjson ; q=0.7", Some(Format::Ndjson)),
            ("application/json;q=0.1, text/csv;q=0.2", Some(Format::Csv)),
            ("*/*;q=0.1, application/json;q=0", Some(Format::Csv)),
            ("application/*;q=0, */*", Some(Format::Csv)),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Some(Format::Json)),
            ("text/html", None),
            ("application/json;q=0", None),
            ("application/json;q=2", None),
            ("nonsense", None),
        ] {
            assert_eq!(choose(None, accept), format, "{accept}");
        }
    }

    #[test]
    fn the_parameter_wins_unless_accept_rules_it_out() {
        assert_eq!(choose(Some(Format::Csv), "application/json, */*;q=0.1"), Some(Format::Csv));
        assert_eq!(choose(Some(Format::Csv), "application/json"), None);
        assert_eq!(choose(Some(Format::Csv), ""), Some(Format::Csv));
        let only_json = Format::choose(Some(Format::Csv), &HeaderMap::new(), Format::offered(false));
        assert!(only_json.is_err());
        let mut headers = HeaderMap::new();
        assert!(must_accept(&headers, "text/event-stream").is_ok());
        headers.insert(ACCEPT, HeaderValue::from_static("text/*;q=0.1"));
        assert!(must_accept(&headers, "text/event-stream").is_ok());
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        assert!(must_accept(&headers, "text/event-stream").is_err());
    }

    #[test]
    fn cells_that_would_be_formulas_are_text() {
        let rows = [
            json!({"name": "=1+1", "n": {"value": -5}, "rate": 0.5}),
            json!({"name": "a \"b\", c", "n": {"value": 5}, "rate": null}),
            json!({"name": "@x\r\ny", "n": {}, "rate": 1e300, "ignored": []}),
            json!({"name": "+", "n": {"value": u64::MAX}, "rate": 0.0}),
            json!({"name": "plain-", "n": {"value": true}, "rate": -0.25}),
        ];
        let text = write_csv(&["name", "n.value", "rate"], rows.iter()).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(
            text,
            "name,n_value,rate\r\n'=1+1,-5,0.5\r\n\"a \"\"b\"\", c\",5,\r\n\"'@x\r\ny\",,1e+300\r\n\
             '+,18446744073709551615,0.0\r\nplain-,true,-0.25\r\n"
        );
    }
}
