//! The collector's stages one by one. Figures are for one count row.

#![expect(missing_docs, reason = "criterion's macros make undocumented items")]
#![expect(clippy::unwrap_used, reason = "a benchmark has nobody to tell")]
