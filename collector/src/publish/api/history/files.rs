//! What several paths ask of the archive's files.

use std::path::Path;
use std::time::Instant;

use serde::Serialize;
use utoipa::ToSchema;

use super::{HistoryAsked, Refusal};
use crate::archive::{FileError, Network};
use crate::rollup::RollupError;
use crate::rollup::query::ListedFile;

/// So often the archive's files are listed again when one was replaced meanwhile.
const MOST_LISTINGS: u32 = 8;

/// Whom an address belongs to.
#[derive(Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = HistoryOwner)]
pub(super) struct Owner {
    /// Where it is registered; `ZZ` if that is not known.
    region: String,
    /// The autonomous system that announces it.
    asn: Option<u32>,
    /// Who that is.
    organisation: Option<String>,
    /// The list of known scanners that it is on.
    known_scanner: Option<String>,
}

impl From<&Network> for Owner {
    fn from(network: &Network) -> Owner {
        Owner {
            region: network.region.to_string(),
            asn: network.asn,
            organisation: network.organisation.as_deref().map(str::to_owned),
            known_scanner: network.known_scanner.as_deref().map(str::to_owned),
        }
    }
}

/// Goes through the files of the time that is asked about. It begins anew where one was replaced meanwhile.
pub(super) fn over_files<T>(
    asked: &HistoryAsked<'_>,
    begin: impl Fn() -> T,
    mut file: impl FnMut(&mut T, &Path) -> Result<(), Refusal>,
) -> Result<T, Refusal> {
    let HistoryAsked { sources, snapshot, span, deadline, .. } = *asked;
    let mut listed = snapshot.archive_files(span)?;
    for _ in 0..MOST_LISTINGS {
        match once(asked, &listed, begin(), &mut file) {
            Err(Refusal::Rollup(RollupError::Archive(error))) if is_gone(&error) => {
                // By another with the same rows, which only a later state of the store knows.
                listed = sources.history.ask(deadline, |history| history.snapshot()?.archive_files(span))??;
            }
            outcome => return outcome,
        }
    }
    Err(RollupError::TooLong.into())
}

fn once<T>(
    asked: &HistoryAsked<'_>,
    files: &[ListedFile],
    mut found: T,
    file: &mut impl FnMut(&mut T, &Path) -> Result<(), Refusal>,
) -> Result<T, Refusal> {
    for listed in files {
        if Instant::now() > asked.deadline {
            return Err(RollupError::TooLong.into());
        }
        file(&mut found, &asked.sources.archive.directory(listed.day).join(&listed.name))?;
    }
    Ok(found)
}

fn is_gone(error: &FileError) -> bool {
    error.io_error().is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}
