//! Answers those who want a certificate. Blocks: the store is asked and written for each.

use std::sync::Arc;

use arc_swap::ArcSwap;
use martlet_enrol::{Answer, Authority, Enrolled, Facts, Life, MessageError, Refusal, Serial, decode_request};
use martlet_telemetry::labelled;
use martlet_window::SensorName;

use super::config::EnrollConfig;
use super::store::{EnrollStore, EnrollStoreError, Failure, Fresh, Issued};
use crate::clock::SharedClock;
use crate::store::Location;

labelled! {
    /// What became of a connection that wanted a certificate.
    pub enum EnrolOutcome {
        /// A certificate for a token.
        Enrolled = "enrolled",
        /// A certificate in the place of one that was shown.
        Renewed = "renewed",
        /// A token that nobody made.
        NotValid = "not_valid",
        /// A token that was used before.
        Used = "used",
        /// A token whose time is over.
        Expired = "expired",
        /// A token that was revoked.
        Revoked = "revoked",
        /// A renewal without a certificate, or of one that is revoked.
        NotRenewable = "not_renewable",
        /// A renewal in the first half of a certificate's life.
        TooEarly = "too_early",
        /// No message of this protocol, another version, or a request that cannot be used.
        BadRequest = "bad_request",
        /// The connection ended, or was too slow, before a request had come.
        Torn = "torn",
        /// The collector could not do it; the log says why.
        Failed = "failed",
    }
}

impl From<Refusal> for EnrolOutcome {
    fn from(refusal: Refusal) -> EnrolOutcome {
        match refusal {
            Refusal::NotValid => EnrolOutcome::NotValid,
            Refusal::Used => EnrolOutcome::Used,
            Refusal::Expired => EnrolOutcome::Expired,
            Refusal::Revoked => EnrolOutcome::Revoked,
            Refusal::NotRenewable => EnrolOutcome::NotRenewable,
            Refusal::TooEarly => EnrolOutcome::TooEarly,
            Refusal::BadRequest | Refusal::Version => EnrolOutcome::BadRequest,
            Refusal::Unavailable | Refusal::Other => EnrolOutcome::Failed,
        }
    }
}

/// Issues certificates.
pub struct Enroller {
    location: Location,
    authority: Arc<ArcSwap<Authority>>,
    life: Life,
    clock: SharedClock,
}

impl std::fmt::Debug for Enroller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Enroller").field("life", &self.life).finish_non_exhaustive()
    }
}

impl Enroller {
    pub(super) fn new(
        location: Location,
        authority: Arc<ArcSwap<Authority>>,
        config: &EnrollConfig,
        clock: SharedClock,
    ) -> Enroller {
        Enroller { location, authority, life: config.sensor_life, clock }
    }

    /// The answer to a message; `shown`: the certificate with which the connection was made.
    #[must_use]
    pub fn answer(&self, message: &[u8], shown: Option<&Facts>) -> (Answer, EnrolOutcome) {
        let time = self.clock.now();
        let refused = |refusal| (Answer { time, outcome: Err(refusal) }, EnrolOutcome::from(refusal));
        match self.issue(message, shown, time) {
            Ok((enrolled, outcome)) => (Answer { time, outcome: Ok(enrolled) }, outcome),
            Err(Failure::Refused(refusal)) => refused(refusal),
            Err(Failure::Failed(error)) => {
                tracing::error!("cannot enrol a sensor: {error}");
                refused(Refusal::Unavailable)
            }
        }
    }

    fn issue(&self, message: &[u8], shown: Option<&Facts>, now: i64) -> Result<(Enrolled, EnrolOutcome), Failure> {
        let request = decode_request(message).map_err(|error| match error {
            MessageError::Version(_) => Failure::Refused(Refusal::Version),
            _ => Failure::Refused(Refusal::BadRequest),
        })?;
        let authority = self.authority.load_full();
        let fresh = Fresh { serial: Serial::new(), authority: authority.fingerprint(), now };
        let sign = |name: &SensorName| authority.issue(&request.request, name, &fresh.serial, now, self.life);
        let mut store = EnrollStore::open(&self.location)?;
        let (issued, outcome) = match (&request.secret, shown) {
            (Some(secret), _) => (store.redeem(secret, &fresh, sign)?, EnrolOutcome::Enrolled),
            (None, Some(shown)) => (store.renew(shown, &fresh, sign)?, EnrolOutcome::Renewed),
            (None, None) => return Err(Failure::Refused(Refusal::NotRenewable)),
        };
        let Issued { certificate, sensor, labels } = issued;
        let until = jiff::Timestamp::from_second(certificate.not_after).map_err(|_| invalid_time())?;
        tracing::info!("sensor {sensor} {}: certificate {} until {until}", outcome_words(outcome), fresh.serial);
        let (certificate, authorities) = (certificate.pem, authority.root_pem());
        Ok((Enrolled { certificate, authorities, name: sensor, labels }, outcome))
    }
}

fn invalid_time() -> EnrollStoreError {
    crate::store::StoreError::Damaged("sensor_certificates").into()
}

const fn outcome_words(outcome: EnrolOutcome) -> &'static str {
    match outcome {
        EnrolOutcome::Renewed => "has renewed its certificate",
        _ => "is enrolled",
    }
}
