//! A certificate that does not hold now: by which clock, and by how much.

use martlet_enrol::BACKDATE_SECONDS;
use martlet_telemetry::counters::to_f64;
use rustls::CertificateError;
use rustls::pki_types::UnixTime;

use crate::status::age;

/// What our clock says to the dates of a collector's certificate, if these are what is wrong with it.
pub(crate) fn in_words(error: &CertificateError) -> Option<String> {
    let (now, limit, place) = match error {
        CertificateError::NotValidYetContext { time, not_before } => (time, not_before, "before it begins"),
        CertificateError::ExpiredContext { time, not_after } => (time, not_after, "after it ended"),
        _ => return None,
    };
    Some(format!(
        "this machine's clock says {}, which is {} {place} ({})",
        written(now),
        age(Some(to_f64(now.as_secs().abs_diff(limit.as_secs())))),
        written(limit)
    ))
}

/// By how much our clock is behind that of a collector with a CA of its own at least: it had made the certificate by its own.
pub(crate) fn behind(error: &CertificateError) -> Option<String> {
    let CertificateError::NotValidYetContext { time, not_before } = error else { return None };
    let made = not_before.as_secs().saturating_add(BACKDATE_SECONDS.unsigned_abs());
    let seconds = made.checked_sub(time.as_secs())?;
    Some(format!("at least {} behind the collector's", age(Some(to_f64(seconds)))))
}

fn written(time: &UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| "?".to_owned(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    #[test]
    fn the_clock_and_the_difference_are_named() {
        let early = CertificateError::NotValidYetContext { time: at(1_795_601_400), not_before: at(1_795_687_800) };
        assert_eq!(
            in_words(&early).unwrap(),
            "this machine's clock says 2026-11-25T10:10:00Z, which is 1 d 0 h before it begins (2026-11-26T10:10:00Z)"
        );
        assert_eq!(behind(&early).unwrap(), "at least 3 d 0 h behind the collector's");
        let late = CertificateError::ExpiredContext { time: at(1_795_687_800), not_after: at(1_795_684_200) };
        assert!(in_words(&late).unwrap().contains("which is 1 h 0 min after it ended"));
        assert_eq!((behind(&late), in_words(&CertificateError::UnknownIssuer)), (None, None));
    }
}
