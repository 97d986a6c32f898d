//! How our values stand in SQLite's columns.

use martlet_window::{Digest, Origin};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

/// A number of 64 bits without a sign: SQLite's integers have one, so these are the same bits. Numbers below 2^63, which
/// is all that ever counts something real, look as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bits(pub(crate) u64);

impl ToSql for Bits {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.0.cast_signed()))
    }
}

impl FromSql for Bits {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Bits> {
        value.as_i64().map(|value| Bits(value.cast_unsigned()))
    }
}

/// Sixteen bytes.
pub(super) struct Bytes(pub(super) [u8; 16]);

impl FromSql for Bytes {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Bytes> {
        let bytes = value.as_blob()?;
        let wrong = || FromSqlError::InvalidBlobSize { expected_size: 16, blob_size: bytes.len() };
        bytes.try_into().map(Bytes).map_err(|_| wrong())
    }
}

impl From<Bytes> for Origin {
    fn from(bytes: Bytes) -> Origin {
        Origin(bytes.0)
    }
}

impl From<Bytes> for Digest {
    fn from(bytes: Bytes) -> Digest {
        Digest(bytes.0)
    }
}
