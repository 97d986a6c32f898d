//! The running sensor's certificate: renewed at two thirds of its life.
//!
//! Each renewal makes a new key. What a copy of an old one opens ends with the old certificate, and nobody has to notice.

use std::convert::Infallible;
use std::future::pending;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use martlet_enrol::{AuthorityError, BACKDATE_SECONDS, Enrolled, Facts, Request, request};
use martlet_telemetry::counters::{EnumCounters, to_f64};
use martlet_telemetry::labelled;
use thiserror::Error;
use tokio::time::sleep;

use super::exchange::{ExchangeError, exchange, now, time};
use super::files::replace;
use crate::uplink::{ClientTls, TlsSettingsError, UplinkState};

/// Longest sleep: clocks are set, and `enroll` may put another certificate into the file.
const LONGEST_SLEEP: Duration = Duration::from_secs(600);
/// Waits between attempts lie between these, at a thirtieth of the certificate's life.
const SHORTEST_RETRY: i64 = 1;
const LONGEST_RETRY: i64 = 3600;

labelled! {
    /// What became of an attempt to renew our certificate.
    pub enum RenewalOutcome {
        /// There is a new one.
        Renewed = "renewed",
        /// The collector gave none.
        Refused = "refused",
        /// The collector could not be asked, or the files not be written.
        Failed = "failed",
    }
}

/// How our certificate stands.
#[derive(Debug, Default)]
pub struct CertificateState {
    /// When it ends, in seconds since the Unix epoch; 0 if there is none that renews itself.
    not_after: AtomicI64,
    /// Attempts to renew it.
    pub renewals: EnumCounters<RenewalOutcome>,
}

impl CertificateState {
    /// Seconds until it ends.
    #[must_use]
    pub fn remaining_seconds(&self) -> Option<f64> {
        let not_after = Some(self.not_after.load(Relaxed)).filter(|end| *end != 0)?;
        let left = not_after.saturating_sub(now());
        let seconds = to_f64(left.unsigned_abs());
        Some(if left < 0 { -seconds } else { seconds })
    }
}

/// Why there is no new certificate.
#[derive(Debug, Error)]
enum RenewalError {
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    #[error("cannot make a key: {0}")]
    Key(#[from] AuthorityError),
    #[error("cannot write uplink.tls.certificate or ca: {0}")]
    Write(#[from] std::io::Error),
    #[error("what the collector gave cannot be used: {0}")]
    Unusable(#[from] TlsSettingsError),
}

/// Renews the certificate again and again, if it is one that the sensor renews by itself.
pub async fn keep_certificate(tls: Option<ClientTls>, collector: &str, state: &UplinkState) -> Infallible {
    let Some(tls) = tls.filter(|tls| tls.settings().renew) else {
        return pending().await;
    };
    let mut has_complained = false;
    loop {
        // Another may have been put there by `enroll`. What cannot be read now was read before.
        let _ = tls.reload();
        let Some(own) = tls.own() else { return pending().await };
        state.certificate.not_after.store(own.not_after, Relaxed);
        let now = now();
        let due = due(&own);
        if now < due {
            let left = Duration::from_secs(due.saturating_sub(now).unsigned_abs());
            sleep(left.min(LONGEST_SLEEP)).await;
            continue;
        }
        if now > own.not_after {
            // The collector would not take it, not even to renew it.
            if !std::mem::replace(&mut has_complained, true) {
                tracing::error!(
                    "our certificate has expired on {}: get another with a new token and `martlet-sensor enroll --keep-config`",
                    time(own.not_after)
                );
            }
            sleep(retry(&own)).await;
            continue;
        }
        let renewed = renew(&tls, collector).await;
        // Before the wait: who looks at the counter shall see at once that something is wrong.
        state.certificate.renewals.increment(outcome(renewed.as_ref()));
        match renewed {
            Ok(()) => {
                has_complained = false;
                let until = tls.own().map_or(0, |own| own.not_after);
                tracing::info!("our certificate is renewed, until {}", time(until));
            }
            Err(error) => {
                let wait = retry(&own);
                tracing::warn!(
                    "our certificate cannot be renewed: {error}; it ends on {}, trying again in {} s",
                    time(own.not_after),
                    wait.as_secs()
                );
                sleep(wait).await;
            }
        }
    }
}

fn outcome(renewed: Result<&(), &RenewalError>) -> RenewalOutcome {
    match renewed {
        Ok(()) => RenewalOutcome::Renewed,
        Err(RenewalError::Exchange(ExchangeError::Refused(_))) => RenewalOutcome::Refused,
        Err(_) => RenewalOutcome::Failed,
    }
}

/// When two thirds of a certificate's life are over.
fn due(own: &Facts) -> i64 {
    let issued = own.not_before.saturating_add(BACKDATE_SECONDS);
    issued.saturating_add(life(own) / 3 * 2 + life(own) % 3 * 2 / 3)
}

fn life(own: &Facts) -> i64 {
    own.not_after.saturating_sub(own.not_before.saturating_add(BACKDATE_SECONDS)).max(0)
}

fn retry(own: &Facts) -> Duration {
    Duration::from_secs((life(own) / 30).clamp(SHORTEST_RETRY, LONGEST_RETRY).unsigned_abs())
}

async fn renew(tls: &ClientTls, collector: &str) -> Result<(), RenewalError> {
    let made = request()?;
    let (config, name) = tls.for_renewal();
    let request = Request { secret: None, request: made.request };
    let answer = exchange(collector, config, name, &request).await?;
    let Enrolled { certificate, authorities, .. } = answer.outcome.map_err(ExchangeError::Refused)?;
    let settings = tls.settings();
    // The authorities first: with the new certificate and the old ones nothing would be lost, either.
    replace(&settings.ca, &authorities, 0o600, None)?;
    if let Some(identity) = &settings.certificate {
        replace(identity, &format!("{}{certificate}", made.key), 0o600, None)?;
    }
    Ok(tls.reload()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uplink::TlsSettings;
    use martlet_enrol::Serial;

    fn facts(issued: i64, not_after: i64) -> Facts {
        let not_before = issued - BACKDATE_SECONDS;
        Facts { serial: Serial::new(), name: None, host_names: Vec::new(), not_before, not_after, is_root: false }
    }

    #[test]
    fn it_is_due_at_two_thirds_and_tried_again_the_sooner_the_shorter_it_lasts() {
        let quarter = facts(1_000_000, 1_000_000 + 90 * 86_400);
        assert_eq!(due(&quarter), 1_000_000 + 60 * 86_400);
        assert_eq!(retry(&quarter), Duration::from_secs(3600));
        assert_eq!((due(&facts(100, 120)), retry(&facts(100, 120))), (113, Duration::from_secs(1)));
        // One of another CA may begin when it was made, or be shorter than the time by which ours begin earlier.
        assert_eq!(due(&facts(100, 50)), 100);
    }

    #[test]
    fn a_failed_renewal_is_counted_before_the_wait() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sensor.pem");
        let mut parameters = rcgen::CertificateParams::new(["sensor".to_owned()]).unwrap();
        // Ten days of a year are left, so that the next attempt comes in an hour.
        let at = |seconds: i64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds.unsigned_abs());
        (parameters.not_before, parameters.not_after) = (at(now() - 355 * 86_400), at(now() + 10 * 86_400));
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        std::fs::write(&path, format!("{}{}", key.serialize_pem(), certificate.pem())).unwrap();
        // Nobody listens there any more.
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let files = Some(path.clone());
        let settings = TlsSettings { ca: path, certificate: files.clone(), key: files, renew: true, server_name: None };
        let tls = ClientTls::load(&settings, &gone).unwrap();
        let state = UplinkState::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let failed = || state.certificate.renewals.get(RenewalOutcome::Failed);
        runtime.block_on(async {
            let counted = async {
                while failed() == 0 {
                    sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::select! {
                _ = keep_certificate(Some(tls), &gone, &state) => {}
                () = counted => {}
                () = sleep(Duration::from_secs(60)) => panic!("it is not counted"),
            }
        });
        assert_eq!(failed(), 1);
    }

    #[test]
    fn what_is_left_is_known_only_of_a_certificate() {
        let state = CertificateState::default();
        assert_eq!(state.remaining_seconds(), None);
        state.not_after.store(now() + 1000, Relaxed);
        assert!((990.0..=1000.0).contains(&state.remaining_seconds().unwrap()));
        state.not_after.store(now() - 1000, Relaxed);
        assert!((-1010.0..=-1000.0).contains(&state.remaining_seconds().unwrap()));
    }
}
