//! A database in MaxMind's format, held in memory.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::Path;

use maxminddb::{MaxMindDbError, Reader};

use super::error::Problem;
use super::file;
use super::record::Record;

/// Largest file that is read: several times the largest databases of country, city or network that are sold.
pub(super) const MAX_DATABASE_BYTES: u64 = 512 << 20;
/// Most networks of one database: the routing tables of both versions together have under two million, and databases
/// that go down to single addresses some tens of millions.
const MAX_NETWORKS: usize = 1 << 27;

/// Longest name that is shown of a database.
const MAX_NAME: usize = 100;

/// What a database calls itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its type, or the name and version of what is built in.
    pub name: String,
    /// When it was built, in seconds since the Unix epoch; `None` where nothing says it.
    pub built: Option<i64>,
}

/// What a database must have to be of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    Countries,
    Networks,
}

impl Holds {
    const fn name(self) -> &'static str {
        match self {
            Holds::Countries => "countries",
            Holds::Networks => "autonomous systems",
        }
    }

    const fn is_in(self, record: &Record<'_>) -> bool {
        match self {
            Holds::Countries => record.region.is_some(),
            Holds::Networks => record.asn.is_some(),
        }
    }
}

/// A database, every record of which has been read once.
pub(super) struct Database {
    reader: Reader<Vec<u8>>,
    about: About,
}

impl Database {
    pub(super) fn read(path: &Path, holds: Holds) -> Result<Database, Problem> {
        let bytes = file::read(path, MAX_DATABASE_BYTES)?;
        let damaged = |source| Problem::Database { path: path.to_owned(), source };
        let reader = Reader::from_source(bytes).map_err(damaged)?;
        let metadata = reader.metadata();
        let about = About {
            // It is shown on terminals and pages.
            name: metadata.database_type.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect(),
            // A time that no calendar has is one that is not known.
            built: i64::try_from(metadata.build_epoch).ok().filter(|&at| jiff::Timestamp::from_second(at).is_ok()),
        };
        let database = Database { reader, about };
        match database.walk(holds).map_err(damaged)? {
            Walk::Useful => Ok(database),
            Walk::Useless => {
                let (path, name) = (path.to_owned(), database.about.name);
                Err(Problem::WrongKind { path, name, missing: holds.name() })
            }
            Walk::Endless => Err(Problem::EndlessDatabase { path: path.to_owned(), limit: MAX_NETWORKS }),
        }
    }

    /// Reads the whole tree and every record once, so that no lookup meets what cannot be read. The reader's own
    /// verification also refuses databases that are in order but for a missing description, as some free ones are.
    fn walk(&self, holds: Holds) -> Result<Walk, MaxMindDbError> {
        let mut seen = HashSet::new();
        let mut outcome = Walk::Useless;
        for (number, network) in self.reader.networks(maxminddb::WithinOptions::default())?.enumerate() {
            if number >= MAX_NETWORKS {
                return Ok(Walk::Endless);
            }
            let network = network?;
            // Many networks share a record.
            if network.offset().is_some_and(|offset| seen.insert(offset))
                && network.decode::<Record<'_>>()?.is_some_and(|record| holds.is_in(&record))
            {
                outcome = Walk::Useful;
            }
        }
        Ok(outcome)
    }

    /// What the database calls itself.
    pub(super) const fn about(&self) -> &About {
        &self.about
    }

    /// What it says of an address, which must not be an IPv4 address within IPv6.
    pub(super) fn record(&self, address: IpAddr) -> Record<'_> {
        // An IPv6 address in a database of IPv4 is an error to the reader; to us nothing is known of it. Records have
        // been read when the database was, so no other error comes.
        self.reader.lookup(address).ok().and_then(|found| found.decode().ok().flatten()).unwrap_or_default()
    }
}

/// What reading everything came to.
enum Walk {
    Useful,
    Useless,
    Endless,
}
