//! How many connections the system lets a process have.
//!
//! A journal, a store or an archive that cannot open its next file is worse than a connection that is refused. So connections get what is
//! left when everything else has its descriptors.

use rustix::process::{Resource, getrlimit};

/// Descriptors for everything that is no connection: files of the journal, the store and the archive, which are a few dozen.
const FILES: usize = 128;

/// How many of `wanted` connections fit into the process's limit of descriptors, beside so many of HTTP. Warns if not all do.
pub(crate) fn fitting(wanted: usize, http: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let fits = fit(limit, http).min(wanted);
    if fits < wanted {
        tracing::warn!(
            "ingest.max_connections = {wanted} does not fit into the limit of {limit} open files: at most {fits} sensors can be \
             connected; raise the limit (LimitNOFILE= of the unit, ulimit -n)"
        );
    }
    fits
}

/// What is left of a limit; an eighth of it if that is nothing, since a collector without connections is of no use.
fn fit(limit: usize, http: usize) -> usize {
    limit.saturating_sub(FILES.saturating_add(http)).max(limit / 8).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_get_what_files_and_http_leave() {
        for (limit, http, expected) in
            [(usize::MAX, 256, usize::MAX - 384), (65_536, 256, 65_152), (1024, 256, 640), (256, 256, 32), (4, 9, 1)]
        {
            assert_eq!(fit(limit, http), expected, "{limit}");
        }
        assert_eq!(fitting(1, 1), 1);
    }
}
