//! The detector's state as bytes: postcard, compressed. Of this version only; what another wrote is begun anew.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// What the bytes begin with: a name and the version of what follows.
const HEAD: [u8; 8] = *b"mdetect1";
/// zstd's level: what is written every few minutes must cost little.
const LEVEL: i32 = 1;

/// Why a state cannot be written or read.
#[derive(Debug, Error)]
pub enum StateError {
    /// It is not what this version writes.
    #[error("the detector's state is damaged, or of another version")]
    Damaged,
    /// It cannot be compressed or written in memory.
    #[error("the detector's state cannot be written: {0}")]
    Write(String),
}

pub(crate) fn write(state: &impl Serialize) -> Result<Vec<u8>, StateError> {
    let plain = postcard::to_allocvec(state).map_err(|error| StateError::Write(error.to_string()))?;
    let packed = zstd::bulk::compress(&plain, LEVEL).map_err(|error| StateError::Write(error.to_string()))?;
    let length = (plain.len() as u64).to_le_bytes();
    Ok([&HEAD[..], &length, &packed].concat())
}

pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StateError> {
    let damaged = |()| StateError::Damaged;
    let (head, rest) = bytes.split_first_chunk::<8>().ok_or(StateError::Damaged)?;
    let (length, packed) = rest.split_first_chunk::<8>().ok_or(StateError::Damaged)?;
    if *head != HEAD {
        return Err(StateError::Damaged);
    }
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| StateError::Damaged)?;
    let plain = zstd::bulk::decompress(packed, length).map_err(|_| damaged(()))?;
    postcard::from_bytes(&plain).map_err(|_| damaged(()))
}
