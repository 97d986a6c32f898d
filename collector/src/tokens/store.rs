//! Tokens at rest: in the collector's store, by a connection of their own.

use rusqlite::{Connection, OptionalExtension, Row, params};
use thiserror::Error;

use super::scope::Scope;
use super::secret::{Hash, PublicId, Secret};
use crate::store::{Location, SCHEMA_VERSION, StoreError};

const LONGEST_NAME: usize = 64;
const LONGEST_ORGANISATION: usize = 100;
/// Whose a token is if nobody says so.
const DEFAULT_ORGANISATION: &str = "default";
const DAY_SECONDS: i64 = 86_400;

/// Why a command about tokens cannot be carried out.
#[derive(Debug, Error)]
pub enum TokenError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// SQLite failed.
    #[error("the store failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The store has not been brought up to date.
    #[error(
        "the store has schema version {0}, and this program needs {SCHEMA_VERSION}: start a collector of the same version once"
    )]
    OldSchema(usize),
    /// A text that is no name of a token.
    #[error("{0:?} is no name of a token: take 1 to {LONGEST_NAME} of a-z, A-Z, 0-9, '.', '_' and '-'")]
    BadName(String),
    /// A text that is no name of an organisation.
    #[error("{0:?} is no name of an organisation: take 1 to {LONGEST_ORGANISATION} printable characters")]
    BadOrganisation(String),
    /// Another token has this name.
    #[error("there is a token {0:?} already: revoke it first, or take another name")]
    NameTaken(String),
    /// No token in use has this name.
    #[error("there is no token {0:?} in use; `martlet-collector token list` shows those there are")]
    NoSuchToken(String),
}

/// What a new token is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its name.
    pub name: String,
    /// What it allows.
    pub scope: Scope,
    /// Whose it is; made if it is not known yet.
    pub organisation: Option<String>,
    /// When it ends, in seconds since the Unix epoch.
    pub expires: Option<i64>,
}

/// A token as it is kept. Times are in seconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    /// By what it is found.
    pub public_id: PublicId,
    /// The hash of its secret.
    pub hash: Hash,
    /// Its name.
    pub name: String,
    /// What it allows.
    pub scope: Scope,
    /// Whose it is.
    pub organisation: String,
    /// When it was made.
    pub created: i64,
    /// When it ends.
    pub expires: Option<i64>,
    /// When it was revoked.
    pub revoked: Option<i64>,
    /// Start of the last day on which it was used.
    pub last_used: Option<i64>,
}

/// The tables of tokens.
#[derive(Debug)]
pub struct TokenStore {
    connection: Connection,
}

impl TokenStore {
    /// Opens them beside whoever else has the store open.
    ///
    /// # Errors
    /// If the store cannot be opened, or has not been brought up to date.
    pub fn open(location: &Location) -> Result<TokenStore, TokenError> {
        let connection = location.connect_current()?.map_err(TokenError::OldSchema)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        Ok(TokenStore { connection })
    }

    /// Makes a token. `now` in seconds since the Unix epoch.
    ///
    /// # Errors
    /// If a name cannot be one or is taken, or the store cannot be written.
    pub fn create(&mut self, grant: &Grant, now: i64) -> Result<Secret, TokenError> {
        let Grant { name, scope, organisation, expires } = grant;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
        if !(1..=LONGEST_NAME).contains(&name.len()) || !name.bytes().all(plain) {
            return Err(TokenError::BadName(name.chars().take(LONGEST_NAME).collect()));
        }
        let organisation = organisation.as_deref().unwrap_or(DEFAULT_ORGANISATION);
        let length = organisation.chars().count();
        if !(1..=LONGEST_ORGANISATION).contains(&length) || organisation.chars().any(char::is_control) {
            return Err(TokenError::BadOrganisation(organisation.chars().take(LONGEST_ORGANISATION).collect()));
        }
        let secret = Secret::new();
        let transaction = self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let taken = "SELECT 1 FROM tokens WHERE name = ?1 AND revoked IS NULL";
        if transaction.query_row(taken, [name], |_| Ok(())).optional()?.is_some() {
            return Err(TokenError::NameTaken(name.clone()));
        }
        transaction.execute("INSERT INTO organisations (name) VALUES (?1) ON CONFLICT DO NOTHING", [organisation])?;
        transaction.execute(
            "INSERT INTO tokens (public_id, hash, name, scope, organisation, created, expires)
             VALUES (?1, ?2, ?3, ?4, (SELECT id FROM organisations WHERE name = ?5), ?6, ?7)",
            params![secret.public_id(), secret.hash(), name, scope.name(), organisation, now, expires],
        )?;
        transaction.commit()?;
        Ok(secret)
    }

    /// Every token there ever was, by name and time.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn list(&self) -> Result<Vec<TokenRecord>, TokenError> {
        let mut select = self.connection.prepare_cached(
            "SELECT public_id, hash, tokens.name, scope, organisations.name, created, expires, revoked, last_used_day
             FROM tokens JOIN organisations ON organisations.id = tokens.organisation
             ORDER BY tokens.name, created, tokens.id",
        )?;
        let mut rows = select.query(())?;
        let mut tokens = Vec::new();
        while let Some(row) = rows.next()? {
            tokens.push(read(row)?);
        }
        Ok(tokens)
    }

    /// Ends the token in use that has this name. `now` in seconds since the Unix epoch.
    ///
    /// # Errors
    /// If there is none, or the store cannot be written.
    pub fn revoke(&mut self, name: &str, now: i64) -> Result<(), TokenError> {
        let update = "UPDATE tokens SET revoked = ?2 WHERE name = ?1 AND revoked IS NULL";
        match self.connection.execute(update, params![name, now])? {
            0 => Err(TokenError::NoSuchToken(name.chars().take(LONGEST_NAME).collect())),
            _ => Ok(()),
        }
    }

    /// Notes that tokens were used on a day, which is counted from the Unix epoch.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn note_use(&mut self, tokens: &[PublicId], day: i64) -> Result<(), TokenError> {
        let transaction = self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        for public_id in tokens {
            let update = "UPDATE tokens SET last_used_day = max(?2, coalesce(last_used_day, ?2)) WHERE public_id = ?1";
            transaction.execute(update, params![public_id, day])?;
        }
        transaction.commit()?;
        Ok(())
    }
}

fn read(row: &Row<'_>) -> Result<TokenRecord, TokenError> {
    let scope = Scope::named(&row.get::<_, String>(3)?).ok_or(StoreError::Damaged("tokens"))?;
    Ok(TokenRecord {
        public_id: row.get(0)?,
        hash: row.get(1)?,
        name: row.get(2)?,
        scope,
        organisation: row.get(4)?,
        created: row.get(5)?,
        expires: row.get(6)?,
        revoked: row.get(7)?,
        last_used: row.get::<_, Option<i64>>(8)?.map(|day| day.saturating_mul(DAY_SECONDS)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use data_encoding::HEXLOWER;

    fn grant(name: &str, organisation: Option<&str>) -> Grant {
        Grant {
            name: name.to_owned(),
            scope: Scope::Read,
            organisation: organisation.map(str::to_owned),
            expires: None,
        }
    }

    #[test]
    fn tokens_are_made_listed_and_revoked_beside_an_open_store() {
        let directory = tempfile::tempdir().unwrap();
        let location = Location::in_directory(directory.path());
        assert!(matches!(TokenStore::open(&location), Err(TokenError::OldSchema(0))));
        let _collector = Store::open(location.clone()).unwrap();
        let mut tokens = TokenStore::open(&location).unwrap();
        let secret = tokens.create(&grant("grafana", None), 100).unwrap();
        tokens.create(&Grant { expires: Some(900), ..grant("csirt", Some("Example CSIRT")) }, 200).unwrap();
        assert!(matches!(tokens.create(&grant("grafana", None), 300), Err(TokenError::NameTaken(_))));
        for name in ["", "a b", "ü", &"x".repeat(65)] {
            assert!(matches!(tokens.create(&grant(name, None), 0), Err(TokenError::BadName(_))), "{name}");
        }
        for organisation in ["", "a\nb", &"x".repeat(101)] {
            let refused = tokens.create(&grant("x", Some(organisation)), 0);
            assert!(matches!(refused, Err(TokenError::BadOrganisation(_))), "{organisation}");
        }
        let listed = tokens.list().unwrap();
        assert_eq!(listed.len(), 2);
        assert_eq!((listed[0].name.as_str(), listed[0].organisation.as_str()), ("csirt", "Example CSIRT"));
        assert_eq!((listed[1].organisation.as_str(), listed[1].hash), ("default", secret.hash()));
        assert_eq!(listed[0].expires, Some(900));

        tokens.note_use(&[secret.public_id()], 20_000).unwrap();
        tokens.note_use(&[secret.public_id()], 19_999).unwrap();
        tokens.revoke("grafana", 400).unwrap();
        assert!(matches!(tokens.revoke("grafana", 500), Err(TokenError::NoSuchToken(_))));
        // The name is free again, and the old token stays on record.
        tokens.create(&grant("grafana", None), 600).unwrap();
        let listed = tokens.list().unwrap();
        let old = listed.iter().find(|token| token.hash == secret.hash()).unwrap();
        assert_eq!((old.revoked, old.last_used), (Some(400), Some(20_000 * DAY_SECONDS)));
        assert_eq!(listed.iter().filter(|token| token.name == "grafana").count(), 2);
        // Nothing in the file is the secret.
        let bytes = std::fs::read(directory.path().join("martlet.db-wal")).unwrap();
        let text = secret.reveal();
        let parts = [text.as_bytes().to_vec(), HEXLOWER.decode(&text.as_bytes()[25..]).unwrap()];
        assert!(parts.iter().all(|part| !bytes.windows(part.len()).any(|window| window == part)));
    }
}
