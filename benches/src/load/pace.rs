//! When batches are sent.

use std::time::Duration;

/// Closed loop: a batch is due when there is room for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Closed {
    /// Batches of a sensor without an answer, at most.
    pub(super) in_flight: usize,
}

/// Open loop: batches are due at fixed times, the sensors by turns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Open {
    /// Batches a second of all sensors together.
    batches_per_s: f64,
    sensors: u16,
}

/// Closed or open loop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pace {
    Closed(Closed),
    Open(Open),
}

impl Open {
    pub(super) fn new(batches_per_s: f64, sensors: u16) -> Open {
        Open { batches_per_s, sensors }
    }

    /// When a sensor's batch is due, from the start of the run.
    #[expect(clippy::cast_precision_loss, reason = "2^52 batches are never sent")]
    pub(super) fn due(&self, sensor: u16, sequence: u64) -> Duration {
        let turn = sequence as f64 * f64::from(self.sensors) + f64::from(sensor);
        // Multiplied, never added up: an error in the interval must not grow with the run. A run ends long before the
        // longest duration.
        Duration::try_from_secs_f64(turn / self.batches_per_s).unwrap_or(Duration::MAX)
    }

    /// How many batches of a sensor are due before `seconds` have passed.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates; neither is negative")]
    pub(super) fn due_before(&self, sensor: u16, seconds: f64) -> u64 {
        let turns = (seconds * self.batches_per_s - f64::from(sensor)) / f64::from(self.sensors);
        turns.max(0.0).ceil() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sensors_take_turns_at_even_distances() {
        let open = Open::new(100.0, 4);
        let mut due: Vec<Duration> =
            (0..4).flat_map(|sensor| (0..25).map(move |sequence| open.due(sensor, sequence))).collect();
        due.sort();
        let expected: Vec<Duration> = (0..100).map(|turn| Duration::from_millis(turn * 10)).collect();
        assert_eq!(due, expected);
    }

    #[test]
    fn as_many_are_due_as_the_rate_says() {
        for (rate, sensors, seconds) in [(100.0, 4, 1.0), (7.0, 3, 10.0), (0.5, 16, 3.0), (12_345.6, 128, 2.5)] {
            let open = Open::new(rate, sensors);
            let counts: Vec<u64> = (0..sensors).map(|sensor| open.due_before(sensor, seconds)).collect();
            let total: u64 = counts.iter().sum();
            assert!((total as f64 - rate * seconds).abs() <= 1.0, "{total} of {rate} * {seconds}");
            for (sensor, &count) in (0..).zip(&counts) {
                assert!(open.due(sensor, count).as_secs_f64() >= seconds - 1e-9);
                assert!(count == 0 || open.due(sensor, count - 1).as_secs_f64() < seconds);
            }
        }
    }

    #[test]
    fn the_last_due_time_of_a_long_run_is_exact() {
        let open = Open::new(3.0, 1);
        assert_eq!(open.due(0, 3_000_000), Duration::from_secs(1_000_000));
    }
}
