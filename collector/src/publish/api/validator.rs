//! What the entity tag of an answer is made from.

/// What a tag is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Validity {
    /// Counts and query alone: it is known before anything is computed.
    Counts,
    /// Also the clock, or the store: the answer itself says.
    Answer,
    /// It is another at each moment, and never kept.
    Never,
}
