//! Which time a report is about.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, ISOWeekDate, Weekday};
use martlet_report::model;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::events::time;
use crate::rollup::query::Span;
use crate::rollup::{GRACE_SECONDS, Zone};

/// Longest time of days that are named by their first and last, in days.
const MOST_DAYS: i32 = 366;

/// A text that names no time.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct PeriodError(pub(super) String);

/// The days of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// A week of ISO 8601.
    Week(ISOWeekDate),
    /// A month, by its first day.
    Month(Date),
    /// A quarter of a year, by its first day.
    Quarter(Date),
    /// First and last day.
    Days(Date, Date),
}

/// Times that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Weeks.
    Week,
    /// Months.
    Month,
    /// Quarters of a year.
    Quarter,
}

impl Period {
    /// A week, as `2021-W10`.
    ///
    /// # Errors
    /// If it is none.
    pub fn week(text: &str) -> Result<Period, PeriodError> {
        let week = text.split_once("-W").and_then(|(year, week)| {
            let week = week.parse().ok().filter(|_| year.len() == 4 && week.len() == 2)?;
            ISOWeekDate::new(year.parse().ok()?, week, Weekday::Monday).ok()
        });
        week.map(Period::Week).ok_or_else(|| PeriodError(format!("{text:?} is no ISO week: write one as 2021-W10")))
    }

    /// A month, as `2021-03`.
    ///
    /// # Errors
    /// If it is none.
    pub fn month(text: &str) -> Result<Period, PeriodError> {
        let month = text.split_once('-').filter(|_| text.len() == 7);
        let month = month.and_then(|(year, month)| first_of(year, month.parse().ok()?));
        month.map(Period::Month).ok_or_else(|| PeriodError(format!("{text:?} is no month: write one as 2021-03")))
    }

    /// A quarter of a year, as `2021-Q1`.
    ///
    /// # Errors
    /// If it is none.
    pub fn quarter(text: &str) -> Result<Period, PeriodError> {
        let quarter = text.split_once("-Q").and_then(|(year, quarter)| {
            let quarter = quarter.parse::<i8>().ok().filter(|quarter| (1..=4).contains(quarter))?;
            first_of(year, 3 * quarter - 2)
        });
        quarter.map(Period::Quarter).ok_or_else(|| PeriodError(format!("{text:?} is no quarter: write one as 2021-Q1")))
    }

    /// The days from one to another, which belongs to them.
    ///
    /// # Errors
    /// If they are none, or too many.
    pub fn days(first: Date, last: Date) -> Result<Period, PeriodError> {
        let days = first.until(last).map_or(-1, |span| span.get_days());
        if !(0..MOST_DAYS).contains(&days) {
            return Err(PeriodError(format!("{first} to {last}: take one to {MOST_DAYS} days, the last one included")));
        }
        Ok(Period::Days(first, last))
    }

    /// The one that a day lies in, where weeks begin on a day.
    #[must_use]
    pub fn around(kind: Kind, today: Date, week_start: Weekday) -> Option<Period> {
        Some(match kind {
            Kind::Week => {
                let ahead = days(Weekday::Monday.since(week_start).into());
                Period::Week(ISOWeekDate::from(today.checked_add(ahead).ok()?))
            }
            Kind::Month => Period::Month(today.first_of_month()),
            Kind::Quarter => Period::Quarter(first_of_quarter(today)?),
        })
    }

    /// The newest one that is over on a day, where weeks begin on a day.
    #[must_use]
    pub fn last_before(kind: Kind, today: Date, week_start: Weekday) -> Option<Period> {
        Period::around(kind, today, week_start)?.before()
    }

    /// The time of the same kind before.
    #[must_use]
    pub fn before(self) -> Option<Period> {
        Some(match self {
            Period::Week(week) => Period::Week(ISOWeekDate::from(monday(week).checked_sub(days(7)).ok()?)),
            Period::Month(first) => Period::Month(first.yesterday().ok()?.first_of_month()),
            Period::Quarter(first) => Period::Quarter(first_of_quarter(first.yesterday().ok()?)?),
            Period::Days(first, last) => {
                let length = first.until(last).ok()?.get_days() + 1;
                Period::Days(first.checked_sub(days(length.into())).ok()?, first.yesterday().ok()?)
            }
        })
    }

    /// The one that lies so many before; 1 is [`Period::before`].
    #[must_use]
    pub fn back(self, times: u32) -> Option<Period> {
        (0..times).try_fold(self, |period, _| period.before())
    }

    /// First and last day, where weeks begin on a day.
    #[must_use]
    pub fn dates(self, week_start: Weekday) -> Option<(Date, Date)> {
        Some(match self {
            Period::Week(week) => {
                let first = monday(week).checked_sub(days(Weekday::Monday.since(week_start).into())).ok()?;
                (first, first.checked_add(days(6)).ok()?)
            }
            Period::Month(first) => (first, first.last_of_month()),
            Period::Quarter(first) => (first, first.checked_add(jiff::Span::new().months(2)).ok()?.last_of_month()),
            Period::Days(first, last) => (first, last),
        })
    }

    /// Which kind of time it is.
    #[must_use]
    pub const fn kind(self) -> model::PeriodKind {
        match self {
            Period::Week(_) => model::PeriodKind::Week,
            Period::Month(_) => model::PeriodKind::Month,
            Period::Quarter(_) => model::PeriodKind::Quarter,
            Period::Days(..) => model::PeriodKind::Days,
        }
    }
}

/// What [`Period`] is written as, and nothing else.
impl FromStr for Period {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Period, PeriodError> {
        let days = |(first, last): (&str, &str)| Period::days(first.parse().ok()?, last.parse().ok()?).ok();
        let named = [Period::week, Period::month, Period::quarter].into_iter().find_map(|read| read(text).ok());
        let period = named.or_else(|| text.split_once("..").and_then(days));
        period.filter(|period| period.to_string() == text).ok_or_else(|| {
            let text: String = text.chars().take(40).collect();
            let forms = "2021-W10, 2021-03, 2021-Q1 or 2021-03-08..2021-03-14";
            PeriodError(format!("{text:?} is no time of a report: write one as {forms}, of {MOST_DAYS} days at most"))
        })
    }
}

/// As in names of files.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Period::Week(week) => write!(f, "{:04}-W{:02}", week.year(), week.week()),
            Period::Month(first) => write!(f, "{:04}-{:02}", first.year(), first.month()),
            Period::Quarter(first) => write!(f, "{:04}-Q{}", first.year(), first.month() / 3 + 1),
            Period::Days(first, last) => write!(f, "{first}..{last}"),
        }
    }
}

/// A time in a zone, day by day.
#[derive(Clone, Debug)]
pub struct Placed {
    /// All of it.
    pub span: Span,
    /// Its days with their dates.
    pub days: Vec<(Date, Span)>,
    /// As it is written down.
    pub model: model::Period,
}

impl Placed {
    /// The time in a zone, with weeks that begin on a day.
    ///
    /// # Errors
    /// If it is beyond what calendars have, or days of the zone do not begin at quarter hours.
    pub fn new(period: Period, zone: &Zone, week_start: Weekday) -> Result<Placed, PeriodError> {
        let beyond = || PeriodError(format!("{period} is beyond what calendars have"));
        let span = |from, to| Span::new(from, to).map_err(|error| PeriodError(error.to_string()));
        let (first, last) = period.dates(week_start).ok_or_else(beyond)?;
        let mut days = Vec::new();
        let mut date = first;
        while date <= last {
            let day = zone.day(date).ok_or_else(beyond)?;
            days.push((date, span(day.start, day.end)?));
            date = date.tomorrow().map_err(|_| beyond())?;
        }
        let (from, to) = days.first().zip(days.last()).map(|(a, b)| (a.1.from(), b.1.to())).ok_or_else(beyond)?;
        let model = model::Period {
            kind: period.kind(),
            label: period.to_string(),
            zone: zone.name().to_owned(),
            first: first.to_string(),
            last: last.to_string(),
            from: time(from),
            to: time(to),
        };
        Ok(Placed { span: span(from, to)?, days, model })
    }

    /// From when on it is closed, in seconds since the Unix epoch: sensors had time to send what they kept.
    #[must_use]
    pub const fn closes(&self) -> i64 {
        self.span.to().saturating_add(GRACE_SECONDS)
    }
}

fn monday(week: ISOWeekDate) -> Date {
    week.first_of_week().map_or_else(|_| week.date(), |first| first.date())
}

fn days(number: i64) -> jiff::Span {
    jiff::Span::new().days(number)
}

fn first_of(year: &str, month: i8) -> Option<Date> {
    let year = year.parse().ok().filter(|_| year.len() == 4)?;
    Date::new(year, month, 1).ok()
}

fn first_of_quarter(date: Date) -> Option<Date> {
    Date::new(date.year(), (date.month() - 1) / 3 * 3 + 1, 1).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn what_is_written_is_what_is_meant() {
        let dates = |period: Result<Period, PeriodError>| period.unwrap().dates(Weekday::Monday).unwrap();
        assert_eq!(dates(Period::week("2021-W10")), (date(2021, 3, 8), date(2021, 3, 14)));
        // The first week of a year has its first Thursday.
        assert_eq!(dates(Period::week("2020-W53")), (date(2020, 12, 28), date(2021, 1, 3)));
        assert_eq!(dates(Period::month("2024-02")), (date(2024, 2, 1), date(2024, 2, 29)));
        assert_eq!(dates(Period::quarter("2021-Q4")), (date(2021, 10, 1), date(2021, 12, 31)));
        for wrong in ["2021-W54", "2021-W1", "2021-10", "W10", "2021-W53", "21-W10"] {
            assert!(Period::week(wrong).unwrap_err().to_string().contains("2021-W10"), "{wrong}");
        }
        for wrong in ["2021-13", "2021-3", "2021-W10"] {
            assert!(Period::month(wrong).is_err(), "{wrong}");
        }
        assert!(Period::quarter("2021-Q5").is_err() && Period::quarter("21-Q1").is_err());
        assert!(Period::days(date(2021, 3, 9), date(2021, 3, 8)).is_err());
    }

    #[test]
    fn what_is_printed_is_read_again_and_nothing_else() {
        for text in ["2021-W10", "2020-W53", "2021-03", "2021-Q1", "2021-03-08..2021-03-14", "0001-W02"] {
            assert_eq!(text.parse::<Period>().unwrap().to_string(), text);
        }
        for wrong in [
            "",
            "2021",
            "2021-W54",
            "2021-W+1",
            "2021-w10",
            "2021-Q01",
            "+021-03",
            "2021-03-08",
            "2021-03-08..",
            "2021-03-14..2021-03-08",
            "2020-01-01..2021-12-31",
            "../../2021-W10",
            "2021-W10/..",
            "2021-W10\0",
            "２０２１-W10",
            "20210308..20210314",
        ] {
            let error = wrong.parse::<Period>().unwrap_err().to_string();
            assert!(error.contains("2021-W10, 2021-03"), "{wrong}: {error}");
        }
        let long = "9".repeat(10_000).parse::<Period>().unwrap_err().to_string();
        assert!(long.len() < 300, "{long}");
    }

    #[test]
    fn times_follow_each_other_without_gap() {
        for period in [Period::week("2021-W01"), Period::month("2021-01"), Period::quarter("2021-Q1")] {
            let period = period.unwrap();
            let before = period.before().unwrap();
            let (first, _) = period.dates(Weekday::Sunday).unwrap();
            assert_eq!(before.dates(Weekday::Sunday).unwrap().1.tomorrow().unwrap(), first, "{period}");
        }
        let days = Period::days(date(2021, 3, 8), date(2021, 3, 10)).unwrap();
        assert_eq!(days.before().unwrap().to_string(), "2021-03-05..2021-03-07");
        assert_eq!(Period::week("2021-W02").unwrap().back(3).unwrap().to_string(), "2020-W52");
        let last = |kind, today, start| Period::last_before(kind, today, start).unwrap().to_string();
        assert_eq!(last(Kind::Quarter, date(2021, 2, 3), Weekday::Monday), "2020-Q4");
        assert_eq!(last(Kind::Week, date(2021, 3, 15), Weekday::Monday), "2021-W10");
        // On Sundays the week that began on Sunday is over.
        assert_eq!(last(Kind::Week, date(2021, 3, 14), Weekday::Monday), "2021-W09");
        assert_eq!(last(Kind::Week, date(2021, 3, 14), Weekday::Sunday), "2021-W10");
    }

    #[test]
    fn days_are_those_of_the_zone() {
        let tokyo = Zone::named("Asia/Tokyo").unwrap();
        let placed = Placed::new(Period::week("2021-W10").unwrap(), &tokyo, Weekday::Sunday).unwrap();
        assert_eq!((placed.model.first.as_str(), placed.model.from.as_str()), ("2021-03-07", "2021-03-06T15:00:00Z"));
        assert_eq!((placed.days.len(), placed.closes() - placed.span.to()), (7, 72 * 3600));
    }
}
