//! How numbers, times and names are written: every number of a report goes through here, with its raw value beside it.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::document::{Cell, Inline, Line};
use crate::model::{Estimate, PreviousRank, Service, Sources};
use crate::wording::{Pattern, Wording};

/// Seconds of an hour and a day.
const HOUR: f64 = 3600.0;
const DAY: f64 = 86_400.0;

impl Cell {
    pub(crate) fn text(line: Line) -> Cell {
        let raw = vec![line.plain()];
        Cell { shown: line, raw }
    }

    /// What is one of a few things: its name in all languages stands in CSV.
    pub(crate) fn named(name: &str, line: Line) -> Cell {
        Cell { shown: line, raw: vec![name.to_owned()] }
    }

    pub(crate) fn given(text: &str) -> Cell {
        Cell::text(Line::given(text))
    }

    fn data(raw: String, shown: String) -> Cell {
        Cell { shown: Line(vec![Inline::Data { raw: raw.clone(), shown }]), raw: vec![raw] }
    }

    /// Nothing at all, where nothing is to be said.
    pub(crate) fn empty(names: usize) -> Cell {
        Cell { shown: Line::default(), raw: vec![String::new(); names] }
    }
}

impl Wording {
    /// What is not known, in as many columns.
    pub(crate) fn missing(&self, names: usize) -> Cell {
        let shown = Line(vec![Inline::Missing(self.common.not_known.text().to_owned())]);
        Cell { shown, raw: vec![String::new(); names] }
    }

    /// `value` as `write` says, or that it is not known.
    pub(crate) fn known<T>(&self, value: Option<T>, write: impl Fn(&Wording, T) -> Cell) -> Cell {
        value.map_or_else(|| self.missing(1), |value| write(self, value))
    }

    pub(crate) fn count(&self, count: u64) -> Cell {
        Cell::data(count.to_string(), self.grouped(&count.to_string()))
    }

    pub(crate) fn small(&self, count: u32) -> Cell {
        self.count(count.into())
    }

    /// A number with two decimals, or two digits that say something.
    pub(crate) fn rate(&self, value: f64) -> Cell {
        Cell::data(value.to_string(), self.decimal(value, decimals(value)))
    }

    /// How much of something: whole where it is.
    pub(crate) fn amount(&self, value: f64) -> Cell {
        Cell::data(value.to_string(), self.tick(value))
    }

    /// A share, in percent.
    pub(crate) fn share(&self, percent: f64) -> Cell {
        let shown = self.number.percent.around(&self.decimal(percent, 1));
        Cell::data(percent.to_string(), shown)
    }

    /// A change, always with its sign.
    pub(crate) fn change(&self, percent: f64) -> Cell {
        let sign = if percent > 0.0 { "+" } else { "" };
        let shown = self.number.percent.around(&format!("{sign}{}", self.decimal(percent, 1)));
        Cell::data(percent.to_string(), shown)
    }

    /// Distinct sources: two columns, of which the second is their error.
    pub(crate) fn sources(&self, sources: Option<Sources>) -> Cell {
        let Some(Sources { count, error }) = sources else { return self.missing(2) };
        let is_exact = error == 0.0;
        let (count, error) = (self.count(count), self.error(error));
        let raw = [count.raw, error.raw].concat();
        let shown = if is_exact {
            count.shown
        } else {
            self.number.error.fill(&[("count", count.shown), ("error", error.shown)])
        };
        Cell { shown, raw }
    }

    /// A relative standard error, in percent.
    pub(crate) fn error(&self, error: f64) -> Cell {
        Cell::data(error.to_string(), self.number.percent.around(&self.decimal(error * 100.0, 1)))
    }

    /// A number whose meaning is not known here.
    pub(crate) fn json_number(&self, number: &serde_json::Number) -> Cell {
        match (number.as_u64(), number.as_f64()) {
            (Some(count), _) => self.count(count),
            (None, Some(value)) => self.rate(value),
            (None, None) => Cell::text(Line::text(number.to_string())),
        }
    }

    /// `23/TCP (telnet)`, `8/ICMP`; three columns: protocol, number, name.
    pub(crate) fn service(&self, service: &Service) -> Cell {
        let Service { protocol, number, name } = service;
        let place = format!("{number}/{}", protocol.to_ascii_uppercase());
        let shown = name.as_ref().map_or_else(|| place.clone(), |name| format!("{place} ({name})"));
        let raw = format!("{protocol}/{number}");
        Cell {
            shown: Line(vec![Inline::Data { raw, shown }]),
            raw: vec![protocol.clone(), number.to_string(), name.clone().unwrap_or_default()],
        }
    }

    /// Its code, shown with its name; two columns.
    pub(crate) fn region_cell(&self, code: &str) -> Cell {
        let name = self.region(code).to_owned();
        let raw = vec![code.to_owned(), name.clone()];
        Cell { shown: Line(vec![Inline::Data { raw: code.to_owned(), shown: name }]), raw }
    }

    pub(crate) fn previous_rank(&self, rank: PreviousRank, places: u32) -> Cell {
        match rank {
            PreviousRank::Place { rank } => self.small(rank),
            PreviousRank::Outside => {
                let shown = self.ranking.outside.fill(&[("n", self.small(places).shown)]);
                Cell { shown, raw: vec!["outside".to_owned()] }
            }
            PreviousRank::Unknown => self.missing(1),
        }
    }

    /// A day, from `2021-03-08`.
    pub(crate) fn date(&self, date: &str) -> Cell {
        let shown = date.parse::<Date>().ok().and_then(|day| jiff::fmt::strtime::format(&self.time.date, day).ok());
        time(date, shown)
    }

    /// A day where there is little room.
    pub(crate) fn short_date(&self, date: &str) -> String {
        let day = date.parse::<Date>().ok();
        day.and_then(|day| jiff::fmt::strtime::format(&self.time.day, day).ok()).unwrap_or_else(|| date.to_owned())
    }

    /// A time, from RFC 3339, as the clocks of `zone` showed it.
    pub(crate) fn minute(&self, stamp: &str, zone: &TimeZone) -> Cell {
        let shown = stamp.parse::<jiff::Timestamp>().ok().map(|stamp| stamp.to_zoned(zone.clone()));
        let shown = shown.and_then(|zoned| jiff::fmt::strtime::format(&self.time.minute, &zoned).ok());
        time(stamp, shown)
    }

    /// An estimate with its interval: three columns.
    pub(crate) fn estimate(&self, estimate: Option<Estimate>, write: impl Fn(&Wording, f64) -> Cell) -> Cell {
        let Some(Estimate { value, low, high }) = estimate else { return self.missing(3) };
        let raw = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
        let number = &self.number;
        let pattern: &Pattern = match (value, high) {
            (Some(_), Some(_)) => &number.interval,
            (Some(_), None) => &number.interval_open,
            (None, Some(_)) => &number.range,
            (None, None) => &number.range_open,
        };
        let mut values = vec![("low", write(self, low).shown)];
        values.extend(value.map(|value| ("value", write(self, value).shown)));
        values.extend(high.map(|high| ("high", write(self, high).shown)));
        Cell { shown: pattern.fill(&values), raw: vec![raw(value), raw(Some(low)), raw(high)] }
    }

    /// A length of time in the unit in which it is read most easily.
    pub(crate) fn duration(&self, seconds: f64) -> Cell {
        let (length, unit) = match seconds {
            s if s < 120.0 => (1.0, &self.number.seconds),
            s if s < 2.0 * HOUR => (60.0, &self.number.minutes),
            s if s < 2.0 * DAY => (HOUR, &self.number.hours),
            _ => (DAY, &self.number.days),
        };
        let value = seconds / length;
        Cell::data(seconds.to_string(), unit.around(&self.decimal(value, decimals(value))))
    }

    /// A number on an axis.
    pub(crate) fn tick(&self, value: f64) -> String {
        let decimals = if value.fract() == 0.0 { 0 } else { decimals(value) };
        self.decimal(value, decimals)
    }

    /// With as many decimals.
    pub(crate) fn decimal(&self, value: f64, decimals: usize) -> String {
        let text = format!("{value:.decimals$}");
        // What is rounded to nothing has no sign.
        let text =
            if text.trim_start_matches(['-', '0', '.']).is_empty() { text.trim_start_matches('-') } else { &text };
        match text.split_once('.') {
            Some((whole, fraction)) => format!("{}{}{fraction}", self.grouped(whole), self.number.decimal.text()),
            None => self.grouped(text),
        }
    }

    /// A whole number with its thousands apart.
    fn grouped(&self, digits: &str) -> String {
        let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
        let mut text = sign.to_owned();
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                text.push_str(self.number.group.text());
            }
            text.push(digit);
        }
        text
    }
}

/// Decimals that show two digits of a small number, six at most.
pub(crate) fn decimals(value: f64) -> usize {
    match value.abs() {
        0.0 => 0,
        v if v >= 0.1 => 2,
        v if v >= 0.01 => 3,
        v if v >= 0.001 => 4,
        v if v >= 0.000_1 => 5,
        _ => 6,
    }
}

fn time(raw: &str, shown: Option<String>) -> Cell {
    let shown = shown.unwrap_or_else(|| raw.to_owned());
    Cell { shown: Line(vec![Inline::Time { raw: raw.to_owned(), shown }]), raw: vec![raw.to_owned()] }
}
