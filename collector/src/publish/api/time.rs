//! Times and lengths of time in parameters.

use jiff::Timestamp;

const MINUTE: i64 = 60;
const HOUR: i64 = 3600;
const DAY: i64 = 86_400;
/// Longest step, in digits: no sum of times can overflow then.
const STEP_DIGITS: usize = 7;
/// 1700-01-01 and 2200-12-31: what nanoseconds since 1970 can say, with a margin that no rounding leaves.
const YEARS: std::ops::Range<i64> = -8_520_336_000..7_289_654_400;

/// Where a fraction of a second goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rounding {
    Down,
    Up,
}

/// Reads an RFC 3339 time in UTC as whole seconds since the Unix epoch.
pub(super) fn read_time(text: &str, rounding: Rounding) -> Option<i64> {
    // jiff also takes forms that RFC 3339 has not.
    let plain = |b: u8| b.is_ascii_digit() || b"-:.TZtz".contains(&b);
    let has_form = text.bytes().all(plain) && text.get(10..11).is_some_and(|t| t.eq_ignore_ascii_case("t"));
    if !has_form || !text.ends_with(['Z', 'z']) || text.len() < "2026-11-21T10:20:30Z".len() {
        return None;
    }
    let time: Timestamp = text.parse().ok()?;
    let floor = time.as_second() - i64::from(time.subsec_nanosecond() < 0);
    let seconds = floor + i64::from(rounding == Rounding::Up && time.subsec_nanosecond() != 0);
    YEARS.contains(&seconds).then_some(seconds)
}

/// Whether a time can be the end of a range of whole buckets, which are a day at most.
pub(super) fn can_bound(seconds: i64) -> bool {
    (YEARS.start - DAY..=YEARS.end + DAY).contains(&seconds)
}

/// Reads the length of a step, in seconds.
pub(super) fn read_step(text: &str) -> Option<i64> {
    let unit = match text.as_bytes().last()? {
        b's' => 1,
        b'm' => MINUTE,
        b'h' => HOUR,
        b'd' => DAY,
        _ => return None,
    };
    let number = text.get(..text.len() - 1)?;
    let is_plain = number.bytes().all(|b| b.is_ascii_digit()) && !number.starts_with('0');
    let number: i64 = number.parse().ok().filter(|_| is_plain && number.len() <= STEP_DIGITS)?;
    number.checked_mul(unit)
}

/// Writes the length of a step in the largest unit that says it in whole numbers.
pub(super) fn step_text(seconds: i64) -> String {
    let unit = [(DAY, 'd'), (HOUR, 'h'), (MINUTE, 'm')].into_iter().find(|(unit, _)| seconds % unit == 0);
    let (unit, letter) = unit.unwrap_or((1, 's'));
    format!("{}{letter}", seconds / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_in_utc() {
        let ten = 1_795_255_200;
        for text in ["2026-11-21T10:00:00Z", "2026-11-21t10:00:00z", "2026-11-21T10:00:00.000Z"] {
            assert_eq!(read_time(text, Rounding::Up), Some(ten), "{text}");
        }
        assert_eq!(read_time("2026-11-21T10:00:00.5Z", Rounding::Down), Some(ten));
        assert_eq!(read_time("2026-11-21T10:00:00.5Z", Rounding::Up), Some(ten + 1));
        assert_eq!(read_time("1969-12-31T23:59:59.5Z", Rounding::Down), Some(-1));
        assert_eq!(read_time("1969-12-31T23:59:59.5Z", Rounding::Up), Some(0));
        assert_eq!(read_time("1700-01-01T00:00:00Z", Rounding::Up), Some(YEARS.start));
        assert_eq!(read_time("2200-12-31T23:59:59Z", Rounding::Down), Some(YEARS.end - 1));
        for text in [
            "1795255200",
            "2026-11-21",
            "2026-11-21T10:00Z",
            "2026-11-21 10:00:00Z",
            "2026-11-21T10:00:00",
            "2026-11-21T10:00:00+00:00",
            "2026-11-21T12:00:00+02:00",
            "2026-11-21T10:00:00Z[UTC]",
            "2026-13-21T10:00:00Z",
            "1699-12-31T23:59:59Z",
            "2201-01-01T00:00:00Z",
            "+002026-11-21T10:00:00Z",
            "",
            "Zü",
        ] {
            assert_eq!(read_time(text, Rounding::Down), None, "{text}");
        }
    }

    #[test]
    fn steps_have_a_unit() {
        for (text, seconds) in [("60s", 60), ("10m", 600), ("1h", 3600), ("7d", 604_800), ("9999999d", 863_999_913_600)]
        {
            assert_eq!(read_step(text), Some(seconds), "{text}");
        }
        for text in ["", "m", "10", "0m", "01m", "-1m", "+1m", "1.5h", "10 m", "10M", "99999999s", "1hü"] {
            assert_eq!(read_step(text), None, "{text}");
        }
        for (seconds, text) in [(60, "1m"), (600, "10m"), (7200, "2h"), (86_400, "1d"), (90, "90s")] {
            assert_eq!(step_text(seconds), text);
        }
    }
}
