//! Who a source address belongs to: its region, its network, and whether it is a known scanner.
//!
//! ```text
//! built-in country data, or a country database --\
//! a database of autonomous systems, if given -----+-> Snapshot --swapped--> Geo <- answers take one, and look up in it
//! lists of known scanners, if given -------------/       ^
//!                                                   Watcher: a thread that looks every few seconds whether a file changed
//! ```
//!
//! Everything is in memory, and a snapshot never changes: an answer that took one has its regions, its networks and the names
//! of what they come from out of the same data. Lookups are made for the sources that are shown, not for rows that are counted.
//!
//! - [`Region`], `record`: what databases say, in whichever shape.
//! - `database`: a file in MaxMind's format.
//! - `lists`, `intervals`, `scanners`: lists of networks, and the search in them.
//! - `file`, `watch`: reading with limits, and reading again.

mod database;
mod error;
mod file;
mod intervals;
mod lists;
mod record;
mod scanners;
mod watch;

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
pub use martlet_archive::Region;
use martlet_telemetry::counters::Labelled;

pub use self::database::About;
use self::database::{Database, Holds};
pub use self::error::{EntryError, GeoError, Problem, Reason};
pub use self::scanners::ListAbout;
use self::scanners::Scanners;
pub use self::watch::{POLL_INTERVAL, Watcher};
use crate::config::GeoConfig;

/// The version of the crate `iptocc` whose data is built in, which is also the only date that the data has. A test compares
/// it with Cargo.lock.
const IPTOCC_VERSION: &str = "1.4.175";

martlet_telemetry::labelled! {
    /// What can be read again on its own; named like its setting.
    pub enum Part {
        /// Regions.
        CountryDatabase = "country_database",
        /// Autonomous systems.
        AsnDatabase = "asn_database",
        /// Known scanners.
        ScannerLists = "scanner_lists",
    }
}

impl Part {
    /// The key of its setting in `[geo]`.
    #[must_use]
    pub const fn key(self) -> &'static str {
        Part::NAMES[self as usize]
    }

    /// The files that it is read from; none if it is not configured.
    fn paths(self, config: &GeoConfig) -> Vec<PathBuf> {
        match self {
            Part::CountryDatabase => config.country_database().map(PathBuf::from).into_iter().collect(),
            Part::AsnDatabase => config.asn_database().map(PathBuf::from).into_iter().collect(),
            Part::ScannerLists => config.scanner_lists.clone(),
        }
    }
}

/// How a configured part fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reload {
    /// How often it was read again since the start.
    pub loaded: u64,
    /// How often what was to be read again could not be used.
    pub failed: u64,
    /// Set while the newest files cannot be used and what was read before them is.
    pub stale: Option<Stale>,
}

/// Why and since when something old is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale {
    /// Why; the log says it in full.
    pub reason: Reason,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: i64,
}

/// Who an address belongs to, as far as is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner<'a> {
    /// Its region.
    pub region: Region,
    /// Number of the autonomous system that announces it; `None` without a database of them.
    pub asn: Option<u32>,
    /// The organisation behind that.
    pub organisation: Option<Cow<'a, str>>,
    /// Name of the list of known scanners that it is on.
    pub known_scanner: Option<&'a str>,
}

/// Everything there is to look up, at one time. Parts are shared between snapshots.
#[derive(Clone)]
pub struct Snapshot {
    country: Arc<Countries>,
    asn: Option<Arc<Database>>,
    scanners: Arc<Scanners>,
    reloads: [Option<Reload>; Part::ALL.len()],
}

/// Where regions come from.
enum Countries {
    BuiltIn(About),
    Database(Database),
}

impl Snapshot {
    /// Reads everything that is configured.
    fn read(config: &GeoConfig) -> Result<Snapshot, GeoError> {
        let mut snapshot = Snapshot {
            country: Arc::new(Countries::BuiltIn(About { name: format!("iptocc {IPTOCC_VERSION}"), built: None })),
            asn: None,
            scanners: Arc::default(),
            reloads: [None; Part::ALL.len()],
        };
        for &part in Part::ALL {
            let paths = part.paths(config);
            if !paths.is_empty() {
                snapshot.read_part(part, &paths).map_err(|problem| GeoError { part, problem })?;
                snapshot.reloads[part as usize] = Some(Reload::default());
            }
        }
        Ok(snapshot)
    }

    /// Puts what is read in the place of what was.
    fn read_part(&mut self, part: Part, paths: &[PathBuf]) -> Result<(), Problem> {
        // A database has one path.
        let database = |holds| paths.first().map(|path| Database::read(path, holds)).transpose();
        match part {
            Part::CountryDatabase => {
                if let Some(database) = database(Holds::Countries)? {
                    self.country = Arc::new(Countries::Database(database));
                }
            }
            Part::AsnDatabase => self.asn = database(Holds::Networks)?.map(Arc::new),
            Part::ScannerLists => self.scanners = Arc::new(Scanners::read(paths)?),
        }
        Ok(())
    }

    /// Who an address belongs to. IPv4 within IPv6 is IPv4; the unspecified address stands for sources that sensors masked,
    /// and belongs to nobody.
    #[must_use]
    pub fn owner(&self, address: IpAddr) -> Owner<'_> {
        let address = address.to_canonical();
        if address.is_unspecified() {
            return Owner::default();
        }
        let network = self.asn.as_ref().map(|database| database.record(address)).unwrap_or_default();
        Owner {
            region: self.region(address),
            asn: network.asn,
            organisation: network.organisation,
            known_scanner: self
                .scanners
                .list(address)
                .and_then(|list| self.scanners.lists().get(list))
                .map(|list| list.name.as_str()),
        }
    }

    /// The region of an address, and the number of the list of known scanners that it is on: [`Self::owner`] for those who count.
    #[must_use]
    pub fn region_and_list(&self, address: IpAddr) -> (Region, Option<usize>) {
        let address = address.to_canonical();
        if address.is_unspecified() {
            return (Region::UNKNOWN, None);
        }
        (self.region(address), self.scanners.list(address))
    }

    fn region(&self, address: IpAddr) -> Region {
        let region = match &*self.country {
            Countries::BuiltIn(_) => iptocc::country_code(address).and_then(Region::parse),
            Countries::Database(database) => database.record(address).region,
        };
        region.unwrap_or_default()
    }

    /// Where regions come from.
    #[must_use]
    pub fn country(&self) -> &About {
        match &*self.country {
            Countries::BuiltIn(about) => about,
            Countries::Database(database) => database.about(),
        }
    }

    /// Where autonomous systems come from.
    #[must_use]
    pub fn asn(&self) -> Option<&About> {
        self.asn.as_ref().map(|database| database.about())
    }

    /// The lists of known scanners, in the order in which they were read.
    #[must_use]
    pub fn scanner_lists(&self) -> &[ListAbout] {
        self.scanners.lists()
    }

    /// How a part fares; `None` if it is not configured.
    #[must_use]
    pub const fn reload(&self, part: Part) -> Option<&Reload> {
        self.reloads[part as usize].as_ref()
    }

    /// How often any part was read again since the start: snapshots of one process that have the same number are the same.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.reloads.iter().flatten().map(|reload| reload.loaded).sum()
    }

    /// One line for each part, for whoever checks a configuration or reads the log.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let dated = |about: &About| match about.built.and_then(|at| jiff::Timestamp::from_second(at).ok()) {
            Some(time) => format!("{}, built {time}", about.name),
            None => format!("{}, no build date", about.name),
        };
        let asn = self.asn().map_or_else(|| "none".to_owned(), dated);
        let lists = self.scanner_lists();
        let networks: u64 = lists.iter().map(|list| list.networks).sum();
        vec![
            format!("regions: {}", dated(self.country())),
            format!("autonomous systems: {asn}"),
            format!("known scanners: networks {networks}, lists {}", lists.len()),
        ]
    }
}

/// The newest snapshot, for whoever answers or counts.
pub struct Geo {
    current: ArcSwap<Snapshot>,
}

impl fmt::Debug for Geo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Geo").field(&self.snapshot().describe()).finish()
    }
}

impl Geo {
    /// Reads everything that is configured. The watcher reads it again when it changes.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn open(config: &GeoConfig) -> Result<(Arc<Geo>, Watcher), GeoError> {
        // What changes while it is read is seen as changed.
        let watched = watch::Watched::all(config);
        let geo = Arc::new(Geo { current: ArcSwap::from_pointee(Snapshot::read(config)?) });
        Ok((geo.clone(), Watcher::new(geo, watched)))
    }

    /// What there is now. Whoever makes an answer takes one and keeps it until the answer is whole.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }
}
