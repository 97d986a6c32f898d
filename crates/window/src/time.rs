//! Capture time and the windows it falls into.

use thiserror::Error;

/// Nanoseconds since the Unix epoch; covers the years 1677 to 2262. Always a packet's own time, never a clock's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Nanoseconds in a second.
    const SECOND: i64 = 1_000_000_000;

    /// From whole seconds and nanoseconds; saturates at the ends of the range instead of wrapping, since capture
    /// files carry any number a damaged clock wrote.
    #[must_use]
    pub const fn from_parts(seconds: i64, nanoseconds: u32) -> Timestamp {
        Timestamp(seconds.saturating_mul(Self::SECOND).saturating_add(nanoseconds as i64))
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(Self::SECOND)
    }
}

/// Length of a window: a number of seconds that divides a minute, so that windows stay aligned to UTC minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowLength(u8);

/// A window length that Martlet does not offer.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a window of {0} s is not offered: take a number of seconds from 1 to 60 that divides 60")]
pub struct WindowLengthError(pub u64);

impl WindowLength {
    /// Ten seconds.
    pub const DEFAULT: WindowLength = WindowLength(10);

    /// A checked length in seconds.
    ///
    /// # Errors
    /// If it is not from 1 to 60 or does not divide 60.
    pub fn from_seconds(seconds: u64) -> Result<WindowLength, WindowLengthError> {
        match u8::try_from(seconds) {
            Ok(length) if length > 0 && 60 % length == 0 => Ok(WindowLength(length)),
            _ => Err(WindowLengthError(seconds)),
        }
    }

    /// The length in seconds.
    #[must_use]
    pub const fn seconds(self) -> u8 {
        self.0
    }

    /// The window that holds this time.
    #[must_use]
    pub const fn window_at(self, time: Timestamp) -> Window {
        let seconds = time.seconds();
        Window { start: seconds - seconds.rem_euclid(self.0 as i64), length: self }
    }
}

/// A span of capture time, aligned to UTC: from `start` inclusive to `end` exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// First second, since the Unix epoch; a multiple of the length.
    pub start: i64,
    /// The length.
    pub length: WindowLength,
}

impl Window {
    /// Whether this time lies in the window.
    #[must_use]
    pub const fn contains(self, time: Timestamp) -> bool {
        let seconds = time.seconds();
        self.start <= seconds && seconds < self.end()
    }

    /// First second after the window, since the Unix epoch.
    #[must_use]
    pub const fn end(self) -> i64 {
        self.start + self.length.0 as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_aligned_on_both_sides_of_the_epoch() {
        let ten = WindowLength::DEFAULT;
        assert_eq!(ten.window_at(Timestamp::from_parts(1_599_999_999, 999_999_999)).start, 1_599_999_990);
        assert_eq!(ten.window_at(Timestamp::from_parts(-1, 0)).start, -10);
        assert_eq!(ten.window_at(Timestamp::from_parts(0, 0)).end(), 10);
    }

    #[test]
    fn only_divisors_of_a_minute_are_lengths() {
        assert_eq!(WindowLength::from_seconds(10), Ok(WindowLength::DEFAULT));
        for bad in [0, 7, 61, 120, 1 << 40] {
            assert_eq!(WindowLength::from_seconds(bad), Err(WindowLengthError(bad)));
        }
    }

    #[test]
    fn absurd_times_saturate() {
        assert_eq!(Timestamp::from_parts(i64::MAX, 5).0, i64::MAX);
    }
}
