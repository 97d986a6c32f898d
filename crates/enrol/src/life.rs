//! How long something is valid, as operators write it: `90d`, `12h`, `30m`, `20s`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];
/// A hundred years, which no certificate of ours needs.
const LONGEST_SECONDS: u64 = 36_500 * 86_400;

/// A whole number of seconds, above 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Life {
    seconds: u64,
}

/// A text that is no time.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no time: write a number above 0 with its unit, such as 90d, 12h, 30m or 20s (100 years at most)")]
pub struct LifeError(String);

impl Life {
    /// So many days.
    #[must_use]
    pub const fn of_days(days: u64) -> Life {
        Life { seconds: days * 86_400 }
    }

    /// In seconds.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        // At most LONGEST_SECONDS.
        self.seconds.cast_signed()
    }
}

impl FromStr for Life {
    type Err = LifeError;

    fn from_str(text: &str) -> Result<Life, LifeError> {
        let wrong = || LifeError(text.chars().take(40).collect());
        let (_, unit) = UNITS.iter().find(|(letter, _)| text.ends_with(*letter)).ok_or_else(wrong)?;
        let digits = &text[..text.len() - 1];
        let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u64>().ok()).flatten();
        let seconds = number.and_then(|number| number.checked_mul(*unit));
        let seconds = seconds.filter(|seconds| (1..=LONGEST_SECONDS).contains(seconds)).ok_or_else(wrong)?;
        Ok(Life { seconds })
    }
}

impl fmt::Display for Life {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS.iter().find(|(_, unit)| self.seconds.is_multiple_of(*unit)).unwrap_or(&('s', 1));
        write!(out, "{}{}", self.seconds / whole.1, whole.0)
    }
}

impl TryFrom<String> for Life {
    type Error = LifeError;

    fn try_from(text: String) -> Result<Life, LifeError> {
        text.parse()
    }
}

impl From<Life> for String {
    fn from(life: Life) -> String {
        life.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_are_read_as_they_are_written() {
        for (text, seconds) in [("90d", 7_776_000), ("12h", 43_200), ("30m", 1800), ("20s", 20)] {
            let life: Life = text.parse().unwrap();
            assert_eq!((life.seconds(), life.to_string().as_str()), (seconds, text));
        }
        assert_eq!("24h".parse::<Life>().unwrap(), Life::of_days(1));
        for wrong in ["", "d", "0s", "1", "-1d", "+1d", "1 d", "1w", "99999999999999999999d", "36501d", "1é", "é"] {
            assert!(wrong.parse::<Life>().is_err(), "{wrong}");
        }
    }
}
