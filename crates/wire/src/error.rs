//! Everything that can be wrong with bytes from a peer.

use thiserror::Error;

/// Why bytes from a peer were refused. A closed list, so that it can be counted by reason.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum WireError {
    /// The first four bytes are not `MRTL`.
    #[error("the peer does not speak Martlet's protocol")]
    BadMagic,
    /// The version is not one this program speaks.
    #[error("protocol version {0} is not spoken here")]
    UnknownVersion(u8),
    /// The frame type has no meaning.
    #[error("unknown frame type {0}")]
    UnknownFrameType(u8),
    /// A field that must be zero is not.
    #[error("a reserved field is not zero")]
    ReservedBits,
    /// A frame is longer than the limit.
    #[error("a frame of {0} bytes is over the limit")]
    FrameTooLong(u32),
    /// The checksum does not match.
    #[error("the frame's checksum does not match")]
    BadChecksum,
    /// A payload is shorter or longer than its fields.
    #[error("the payload's length does not fit its fields")]
    BadLength,
    /// A field holds a value without a meaning.
    #[error("a field holds a value that has no meaning: {0}")]
    BadValue(&'static str),
    /// A sensor name is not one.
    #[error("the sensor name is not valid")]
    BadName,
    /// More rows or column bytes than the limit, or more rows than the bytes can hold.
    #[error("a batch claims more rows or column bytes than are allowed or than it can hold")]
    TooManyRows,
    /// The columns cannot be decompressed to the length they claim.
    #[error("the columns cannot be decompressed")]
    BadCompression,
    /// A column ends early, a number in it is too long, or bytes are left over.
    #[error("a column is malformed")]
    BadColumn,
    /// Rows are not sorted or not unique.
    #[error("the rows are not strictly ascending")]
    NotSorted,
    /// The header's totals contradict the rows or each other.
    #[error("the header's totals do not match the rows")]
    Inconsistent,
}

impl WireError {
    /// The names of all reasons, for counters.
    pub const REASONS: [&'static str; 14] = [
        "bad_magic",
        "unknown_version",
        "unknown_frame_type",
        "reserved_bits",
        "frame_too_long",
        "bad_checksum",
        "bad_length",
        "bad_value",
        "bad_name",
        "too_many_rows",
        "bad_compression",
        "bad_column",
        "not_sorted",
        "inconsistent",
    ];

    /// Place of this reason in [`Self::REASONS`].
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            WireError::BadMagic => 0,
            WireError::UnknownVersion(_) => 1,
            WireError::UnknownFrameType(_) => 2,
            WireError::ReservedBits => 3,
            WireError::FrameTooLong(_) => 4,
            WireError::BadChecksum => 5,
            WireError::BadLength => 6,
            WireError::BadValue(_) => 7,
            WireError::BadName => 8,
            WireError::TooManyRows => 9,
            WireError::BadCompression => 10,
            WireError::BadColumn => 11,
            WireError::NotSorted => 12,
            WireError::Inconsistent => 13,
        }
    }

    /// The name of this reason in metrics.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        Self::REASONS[self.index()]
    }
}
