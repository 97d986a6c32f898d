//! Tokens and certificates at rest: in the collector's store, by a connection of their own.

use std::collections::HashSet;
use std::str::FromStr;

use martlet_enrol::{AuthorityError, BACKDATE_SECONDS, Facts, Fingerprint, IssuedCertificate, Refusal, Secret, Serial};
use martlet_window::SensorName;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use thiserror::Error;

use super::lives::{BySensor, Life};
use crate::labels::{LabelStoreError, Setting, set_labels};
use crate::store::{Location, SCHEMA_VERSION, StoreError};

/// How long what ended is still listed.
const KEPT_SECONDS: i64 = 400 * 86_400;

/// Why something of enrolment cannot be read or written.
#[derive(Debug, Error)]
pub enum EnrollStoreError {
    /// SQLite failed.
    #[error("the store failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A row is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store has not been brought up to date.
    #[error(
        "the store has schema version {0}, and this program needs {SCHEMA_VERSION}: start a collector of the same version once"
    )]
    OldSchema(usize),
    /// What is said of the sensor cannot be written.
    #[error(transparent)]
    Labels(#[from] LabelStoreError),
    /// The certificate cannot be made.
    #[error("the certificate cannot be made: {0}")]
    Authority(AuthorityError),
    /// There is nothing to revoke.
    #[error(
        "there is neither a certificate nor a token in use of {0}; `martlet-collector enroll list` shows those there are"
    )]
    Nothing(String),
}

/// What a new token allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The sensor that may enrol with it.
    pub sensor: SensorName,
    /// What is said of it from then on.
    pub labels: Vec<Setting>,
    /// When it ends, in seconds since the Unix epoch.
    pub expires: i64,
}

/// What became of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    /// It can be used.
    Open,
    /// It was used.
    Used,
    /// It was not used in time.
    Expired,
    /// It was revoked.
    Revoked,
}

impl TokenState {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            TokenState::Open => "open",
            TokenState::Used => "used",
            TokenState::Expired => "expired",
            TokenState::Revoked => "revoked",
        }
    }
}

/// A token as it is listed. Times are in seconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    /// Whom it is for.
    pub sensor: String,
    /// When it was made.
    pub created: i64,
    /// When it ends.
    pub expires: i64,
    /// What became of it.
    pub state: TokenState,
}

/// A certificate as it is listed. Times are in seconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRecord {
    /// Its serial number.
    pub serial: Serial,
    /// Whose it is.
    pub sensor: String,
    /// When it was issued.
    pub issued: i64,
    /// When it ends.
    pub not_after: i64,
    /// When it was revoked.
    pub revoked: Option<i64>,
}

/// A certificate that is about to be issued.
#[derive(Clone, Debug)]
pub(super) struct Fresh {
    /// Its serial number.
    pub(super) serial: Serial,
    /// The CA that signs it.
    pub(super) authority: Fingerprint,
    /// When that is, in seconds since the Unix epoch.
    pub(super) now: i64,
}

/// What a sensor is given, once it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Issued {
    /// The certificate.
    pub(super) certificate: IssuedCertificate,
    /// Whose it is.
    pub(super) sensor: SensorName,
    /// What is said of it, as `label=value`.
    pub(super) labels: Vec<String>,
}

/// Why nothing was issued.
#[derive(Debug)]
pub(super) enum Failure {
    /// For a reason that the peer may know.
    Refused(Refusal),
    /// For one that it cannot help.
    Failed(EnrollStoreError),
}

impl<E: Into<EnrollStoreError>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::Failed(error.into())
    }
}

type Signed = Result<IssuedCertificate, AuthorityError>;

/// The tables of enrolment.
#[derive(Debug)]
pub struct EnrollStore {
    connection: Connection,
}

impl EnrollStore {
    /// Opens them beside whoever else has the store open.
    ///
    /// # Errors
    /// If the store cannot be opened, or has not been brought up to date.
    pub fn open(location: &Location) -> Result<EnrollStore, EnrollStoreError> {
        let connection = location.connect_current()?.map_err(EnrollStoreError::OldSchema)?;
        // A token that was used must stay so, whatever happens to the machine.
        connection.pragma_update(None, "synchronous", "full")?;
        Ok(EnrollStore { connection })
    }

    /// Makes a token. `now` in seconds since the Unix epoch.
    ///
    /// # Errors
    /// If its labels cannot be had, or the store cannot be written.
    pub fn create(&mut self, grant: &Grant, now: i64) -> Result<Secret, EnrollStoreError> {
        let secret = Secret::new();
        let transaction = self.begin()?;
        // Whether there is room for the labels shall be said now, not to the sensor.
        transaction.execute_batch("SAVEPOINT labels")?;
        set_labels(&transaction, &grant.sensor, &grant.labels)?;
        transaction.execute_batch("ROLLBACK TO labels")?;
        prune(&transaction, now)?;
        let labels: Vec<String> = grant.labels.iter().map(Setting::to_string).collect();
        transaction.execute(
            "INSERT INTO enrolment_tokens (hash, sensor, labels, created, expires) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![secret.hash(), grant.sensor.as_str(), labels.join("\n"), now, grant.expires],
        )?;
        transaction.commit()?;
        Ok(secret)
    }

    /// Uses a token up for a certificate. Earlier certificates of its sensor are revoked: one sensor has one key.
    pub(super) fn redeem(
        &mut self,
        secret: &Secret,
        fresh: &Fresh,
        sign: impl FnOnce(&SensorName) -> Signed,
    ) -> Result<Issued, Failure> {
        let now = fresh.now;
        let transaction = self.begin()?;
        let found = transaction
            .query_row(
                "SELECT sensor, labels, expires, used, revoked FROM enrolment_tokens WHERE hash = ?1",
                [secret.hash()],
                |row| {
                    let state = state(row.get(2)?, row.get(3)?, row.get(4)?, now);
                    Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, state))
                },
            )
            .optional()?;
        let Some((sensor, labels, state)) = found else {
            return Err(Failure::Refused(Refusal::NotValid));
        };
        match state {
            TokenState::Open => {}
            TokenState::Used => return Err(Failure::Refused(Refusal::Used)),
            TokenState::Expired => return Err(Failure::Refused(Refusal::Expired)),
            TokenState::Revoked => return Err(Failure::Refused(Refusal::Revoked)),
        }
        let damaged = || StoreError::Damaged("enrolment_tokens");
        let sensor = SensorName::from_str(&sensor).map_err(|_| damaged())?;
        let settings: Result<Vec<Setting>, _> = labels.lines().map(Setting::from_str).collect();
        let settings = settings.map_err(|_| damaged())?;
        let certificate = signed(sign(&sensor))?;
        transaction.execute("UPDATE enrolment_tokens SET used = ?2 WHERE hash = ?1", params![secret.hash(), now])?;
        let earlier = "UPDATE sensor_certificates SET revoked = ?2 WHERE sensor = ?1 AND revoked IS NULL";
        transaction.execute(earlier, params![sensor.as_str(), now])?;
        insert(&transaction, fresh, &sensor, certificate.not_after)?;
        set_labels(&transaction, &sensor, &settings)?;
        prune(&transaction, now)?;
        transaction.commit()?;
        Ok(Issued { certificate, sensor, labels: labels.lines().map(str::to_owned).collect() })
    }

    /// Issues a certificate in the place of one that was shown and is valid; that one stays valid for its time, since the answer may
    /// be lost.
    pub(super) fn renew(
        &mut self,
        shown: &Facts,
        fresh: &Fresh,
        sign: impl FnOnce(&SensorName) -> Signed,
    ) -> Result<Issued, Failure> {
        let now = fresh.now;
        let sensor = shown.name.clone().ok_or(Failure::Refused(Refusal::NotRenewable))?;
        let transaction = self.begin()?;
        let revoked = transaction
            .query_row("SELECT revoked FROM sensor_certificates WHERE serial = ?1", [shown.serial.bytes()], |row| {
                row.get::<_, Option<i64>>(0)
            })
            .optional()?;
        // One that is not known was issued after the backup that this store comes from; our CA has signed it all the same.
        if revoked.flatten().is_some() || shown.not_after < now {
            return Err(Failure::Refused(Refusal::NotRenewable));
        }
        let issued = shown.not_before.saturating_add(BACKDATE_SECONDS);
        // Nobody makes the table long by renewing again and again.
        if now.saturating_sub(issued) < shown.not_after.saturating_sub(issued) / 2 {
            return Err(Failure::Refused(Refusal::TooEarly));
        }
        let certificate = signed(sign(&sensor))?;
        insert(&transaction, fresh, &sensor, certificate.not_after)?;
        prune(&transaction, now)?;
        transaction.commit()?;
        Ok(Issued { certificate, sensor, labels: Vec::new() })
    }

    /// Ends every certificate of a sensor, and its tokens; says how many of each.
    ///
    /// # Errors
    /// If there are none, or the store cannot be written.
    pub fn revoke(&mut self, sensor: &SensorName, now: i64) -> Result<(usize, usize), EnrollStoreError> {
        let transaction = self.begin()?;
        let certificates = transaction.execute(
            "UPDATE sensor_certificates SET revoked = ?2 WHERE sensor = ?1 AND revoked IS NULL AND not_after >= ?2",
            params![sensor.as_str(), now],
        )?;
        let tokens = transaction.execute(
            "UPDATE enrolment_tokens SET revoked = ?2
             WHERE sensor = ?1 AND revoked IS NULL AND used IS NULL AND expires > ?2",
            params![sensor.as_str(), now],
        )?;
        transaction.commit()?;
        if certificates + tokens == 0 {
            Err(EnrollStoreError::Nothing(sensor.to_string()))
        } else {
            Ok((certificates, tokens))
        }
    }

    /// Ends one certificate.
    ///
    /// # Errors
    /// If there is none in use with this number, or the store cannot be written.
    pub fn revoke_serial(&mut self, serial: &Serial, now: i64) -> Result<(), EnrollStoreError> {
        let update = "UPDATE sensor_certificates SET revoked = ?2 WHERE serial = ?1 AND revoked IS NULL";
        match self.connection.execute(update, params![serial.bytes(), now])? {
            0 => Err(EnrollStoreError::Nothing(serial.to_string())),
            _ => Ok(()),
        }
    }

    /// Every token of the last months, newest first.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn tokens(&self, now: i64) -> Result<Vec<TokenRecord>, EnrollStoreError> {
        let mut select = self.connection.prepare_cached(
            "SELECT sensor, created, expires, used, revoked FROM enrolment_tokens ORDER BY created DESC, sensor, hash",
        )?;
        let rows = select.query_map((), |row| {
            let state = state(row.get(2)?, row.get(3)?, row.get(4)?, now);
            Ok(TokenRecord { sensor: row.get(0)?, created: row.get(1)?, expires: row.get(2)?, state })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Every certificate of the last months, by sensor, newest first.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn certificates(&self) -> Result<Vec<CertificateRecord>, EnrollStoreError> {
        let mut select = self.connection.prepare_cached(
            "SELECT serial, sensor, issued, not_after, revoked FROM sensor_certificates ORDER BY sensor, issued DESC, serial",
        )?;
        let rows = select.query_map((), |row| {
            let serial = Serial::of_bytes(&row.get::<_, Vec<u8>>(0)?);
            Ok(CertificateRecord {
                serial,
                sensor: row.get(1)?,
                issued: row.get(2)?,
                not_after: row.get(3)?,
                revoked: row.get(4)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Which certificates are revoked that would be valid otherwise, which CAs have signed those that are not, and how long these
    /// hold.
    pub(super) fn standing(&self, now: i64) -> Result<Standing, EnrollStoreError> {
        let mut standing = Standing::default();
        let mut select = self.connection.prepare_cached(
            "SELECT serial, authority, revoked IS NOT NULL, sensor, issued, not_after FROM sensor_certificates
             WHERE not_after >= ?1 ORDER BY not_after",
        )?;
        let mut rows = select.query([now])?;
        while let Some(row) = rows.next()? {
            if row.get(2)? {
                standing.revoked.insert(Serial::of_bytes(&row.get::<_, Vec<u8>>(0)?));
            } else {
                standing.in_use.insert(Fingerprint(row.get(1)?));
                // The last to come holds longest.
                standing.lives.insert(row.get(3)?, Life { issued: row.get(4)?, not_after: row.get(5)? });
            }
        }
        Ok(standing)
    }

    fn begin(&mut self) -> rusqlite::Result<Transaction<'_>> {
        self.connection.transaction_with_behavior(TransactionBehavior::Immediate)
    }
}

/// How certificates stand.
#[derive(Debug, Default)]
pub(super) struct Standing {
    pub(super) revoked: HashSet<Serial>,
    pub(super) in_use: HashSet<Fingerprint>,
    pub(super) lives: BySensor,
}

fn signed(outcome: Signed) -> Result<IssuedCertificate, Failure> {
    outcome.map_err(|error| match error {
        AuthorityError::BadRequest => Failure::Refused(Refusal::BadRequest),
        error => Failure::Failed(EnrollStoreError::Authority(error)),
    })
}

fn insert(
    transaction: &Transaction<'_>,
    fresh: &Fresh,
    sensor: &SensorName,
    not_after: i64,
) -> rusqlite::Result<usize> {
    transaction.execute(
        "INSERT INTO sensor_certificates (serial, sensor, authority, issued, not_after) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![fresh.serial.bytes(), sensor.as_str(), fresh.authority.0, fresh.now, not_after],
    )
}

/// Forgets what ended long ago.
fn prune(transaction: &Transaction<'_>, now: i64) -> rusqlite::Result<()> {
    let before = now.saturating_sub(KEPT_SECONDS);
    transaction.execute("DELETE FROM enrolment_tokens WHERE expires < ?1", [before])?;
    transaction.execute("DELETE FROM sensor_certificates WHERE not_after < ?1", [before])?;
    Ok(())
}

fn state(expires: i64, used: Option<i64>, revoked: Option<i64>, now: i64) -> TokenState {
    match (used, revoked) {
        (Some(_), _) => TokenState::Used,
        (None, Some(_)) => TokenState::Revoked,
        (None, None) if now >= expires => TokenState::Expired,
        (None, None) => TokenState::Open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::LabelStore;
    use crate::store::Store;
    use data_encoding::HEXLOWER;

    struct Bench {
        _folder: tempfile::TempDir,
        _collector: Store,
        location: Location,
        store: EnrollStore,
    }

    fn bench() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::in_directory(folder.path());
        assert!(matches!(EnrollStore::open(&location), Err(EnrollStoreError::OldSchema(0))));
        let collector = Store::open(location.clone()).unwrap();
        let store = EnrollStore::open(&location).unwrap();
        Bench { _folder: folder, _collector: collector, location, store }
    }

    fn name(text: &str) -> SensorName {
        text.parse().unwrap()
    }

    fn grant(sensor: &str) -> Grant {
        Grant { sensor: name(sensor), labels: vec!["group=tokyo".parse().unwrap()], expires: 1000 }
    }

    fn fresh(now: i64) -> Fresh {
        Fresh { serial: Serial::new(), authority: Fingerprint([7; 32]), now }
    }

    fn sign(_: &SensorName) -> Signed {
        Ok(IssuedCertificate { pem: "PEM".to_owned(), not_after: 2000 })
    }

    fn refusal<T: std::fmt::Debug>(outcome: Result<T, Failure>) -> Refusal {
        match outcome.unwrap_err() {
            Failure::Refused(refusal) => refusal,
            Failure::Failed(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_token_works_once_in_its_time_and_brings_its_labels() {
        let mut bench = bench();
        let secret = bench.store.create(&grant("a"), 100).unwrap();
        let labels = LabelStore::open(&bench.location).unwrap();
        assert!(labels.list().unwrap().is_empty());
        assert_eq!(refusal(bench.store.redeem(&Secret::new(), &fresh(200), sign)), Refusal::NotValid);
        // A request that cannot be used does not use it up.
        let bad = |_: &SensorName| Err(AuthorityError::BadRequest);
        assert_eq!(refusal(bench.store.redeem(&secret, &fresh(200), bad)), Refusal::BadRequest);
        let issued = bench.store.redeem(&secret, &fresh(200), sign).unwrap();
        assert_eq!((issued.sensor, issued.labels), (name("a"), vec!["group=tokyo".to_owned()]));
        assert_eq!(labels.list().unwrap()["a"].labels.len(), 1);
        assert_eq!(refusal(bench.store.redeem(&secret, &fresh(201), sign)), Refusal::Used);
        let late = bench.store.create(&grant("b"), 100).unwrap();
        assert_eq!(refusal(bench.store.redeem(&late, &fresh(1000), sign)), Refusal::Expired);
        assert_eq!(bench.store.revoke(&name("b"), 500).unwrap(), (0, 1));
        assert_eq!(refusal(bench.store.redeem(&late, &fresh(501), sign)), Refusal::Revoked);
        let states: Vec<_> =
            bench.store.tokens(600).unwrap().iter().map(|token| (token.sensor.clone(), token.state)).collect();
        assert_eq!(states, [("a".to_owned(), TokenState::Used), ("b".to_owned(), TokenState::Revoked)]);
    }

    #[test]
    fn of_two_who_come_with_one_token_one_is_served() {
        let mut bench = bench();
        let secret = bench.store.create(&grant("a"), 100).unwrap();
        let outcomes: Vec<bool> = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..4)
                .map(|_| {
                    let (secret, location) = (&secret, &bench.location);
                    scope.spawn(move || {
                        let mut store = EnrollStore::open(location).unwrap();
                        store.redeem(secret, &fresh(200), sign).is_ok()
                    })
                })
                .collect();
            tries.into_iter().map(|attempt| attempt.join().unwrap()).collect()
        });
        assert_eq!(outcomes.iter().filter(|served| **served).count(), 1);
        assert_eq!(bench.store.certificates().unwrap().len(), 1);
    }

    #[test]
    fn certificates_end_by_name_by_number_and_by_a_new_enrolment() {
        let mut bench = bench();
        let mut enrol = |sensor: &str, now| {
            let secret = bench.store.create(&grant(sensor), now).unwrap();
            let fresh = fresh(now);
            bench.store.redeem(&secret, &fresh, sign).unwrap();
            fresh.serial
        };
        let (first, second, other) = (enrol("a", 10), enrol("a", 20), enrol("b", 30));
        let store = &mut bench.store;
        let revoked = |store: &EnrollStore| store.standing(40).unwrap().revoked;
        assert_eq!(revoked(store), HashSet::from([first.clone()]));
        assert_eq!(store.standing(40).unwrap().in_use, HashSet::from([Fingerprint([7; 32])]));
        let life = |issued| Life { issued, not_after: 2000 };
        let lives = [("a".to_owned(), life(20)), ("b".to_owned(), life(30))];
        assert_eq!(store.standing(40).unwrap().lives, BySensor::from(lives));
        store.revoke_serial(&other, 50).unwrap();
        assert!(matches!(store.revoke_serial(&other, 50), Err(EnrollStoreError::Nothing(_))));
        assert_eq!(store.revoke(&name("a"), 60).unwrap(), (1, 0));
        assert!(matches!(store.revoke(&name("a"), 60), Err(EnrollStoreError::Nothing(_))));
        assert_eq!(revoked(store), HashSet::from([first, second, other]));
        // What is over by itself need not be known as revoked.
        let standing = store.standing(2001).unwrap();
        assert!(standing.revoked.is_empty() && standing.in_use.is_empty() && standing.lives.is_empty());
        let times: Vec<_> = store.certificates().unwrap().iter().map(|of| (of.issued, of.revoked)).collect();
        assert_eq!(times, [(20, Some(60)), (10, Some(20)), (30, Some(50))]);
    }

    #[test]
    fn a_renewal_comes_in_the_second_half_and_not_after_a_revocation() {
        let mut bench = bench();
        let store = &mut bench.store;
        let mut shown = Facts {
            serial: Serial::new(),
            name: Some(name("a")),
            host_names: Vec::new(),
            not_before: 1000 - BACKDATE_SECONDS,
            not_after: 2000,
            is_root: false,
        };
        assert_eq!(refusal(store.renew(&shown, &fresh(1499), sign)), Refusal::TooEarly);
        assert_eq!(refusal(store.renew(&shown, &fresh(2001), sign)), Refusal::NotRenewable);
        // Its answer may be lost: the old one can be renewed once more.
        for now in [1500, 1600] {
            let longer = |_: &SensorName| Ok(IssuedCertificate { pem: String::new(), not_after: now + 1000 });
            assert_eq!(store.renew(&shown, &fresh(now), longer).unwrap().sensor, name("a"));
        }
        // Both are valid, and the sensor is not without one before the later ends.
        let life = Life { issued: 1600, not_after: 2600 };
        assert_eq!(store.standing(1650).unwrap().lives, BySensor::from([("a".to_owned(), life)]));
        assert_eq!(store.revoke(&name("a"), 1700).unwrap(), (2, 0));
        shown.serial = store.certificates().unwrap()[0].serial.clone();
        assert_eq!(refusal(store.renew(&shown, &fresh(1800), sign)), Refusal::NotRenewable);
        shown.name = None;
        assert_eq!(refusal(store.renew(&shown, &fresh(1800), sign)), Refusal::NotRenewable);
    }

    #[test]
    fn what_ended_long_ago_is_forgotten_and_nothing_kept_is_the_secret() {
        let mut bench = bench();
        let secret = bench.store.create(&grant("a"), 100).unwrap();
        let Location::File(path) = &bench.location else { panic!("no file") };
        let wal = std::fs::read(path.with_extension("db-wal")).unwrap();
        let token = martlet_enrol::Token { secret, authority: Fingerprint([0; 32]) }.reveal();
        let digits = &token[5..69];
        let bytes = HEXLOWER.decode(digits.as_bytes()).unwrap();
        assert!([digits.as_bytes(), &bytes].iter().all(|part| !wal.windows(part.len()).any(|window| window == *part)));
        bench.store.create(&Grant { expires: KEPT_SECONDS + 2000, ..grant("b") }, KEPT_SECONDS + 1001).unwrap();
        assert_eq!(bench.store.tokens(0).unwrap().len(), 1);
    }
}
