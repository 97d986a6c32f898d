//! What is wrong with a file, where, and what to do.

use std::path::PathBuf;

use ipnet::IpNet;
use maxminddb::MaxMindDbError;
use thiserror::Error;

use super::Part;

/// A part of the source data cannot be used.
#[derive(Debug, Error)]
#[error("geo.{}: {problem}", .part.key())]
pub struct GeoError {
    /// Which part: the key of its setting.
    pub part: Part,
    /// What is wrong.
    #[source]
    pub problem: Problem,
}

/// What is wrong with a file.
#[derive(Debug, Error)]
pub enum Problem {
    /// It cannot be read.
    #[error("cannot read {}: {source}; check the path and its permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is larger than any that is known.
    #[error("{} has more than {limit} bytes, the most that is read; is it the right file?", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is read.
        limit: u64,
    },
    /// It is no database in MaxMind's format, or damaged.
    #[error("{} is no whole database in MaxMind's format (.mmdb): {source}; fetch it again", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        source: MaxMindDbError,
    },
    /// Its tree names more networks than the address space has routes.
    #[error("{} names more than {limit} networks: its search tree is damaged; fetch it again", path.display())]
    EndlessDatabase {
        /// The file.
        path: PathBuf,
        /// Where reading was given up.
        limit: usize,
    },
    /// It is a database of something else.
    #[error("{} ({name}) says nothing of {missing}: it is a database of another kind", path.display())]
    WrongKind {
        /// The file.
        path: PathBuf,
        /// What the database calls itself.
        name: String,
        /// What it does not have.
        missing: &'static str,
    },
    /// A line of a list is no network.
    #[error("{}, line {line}: {entry}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1 on.
        line: usize,
        /// What is wrong with it.
        entry: EntryError,
    },
    /// It is no MISP warninglist.
    #[error("{} is no MISP warninglist (a JSON object with `name` and `list`): {source}", path.display())]
    Warninglist {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        source: serde_json::Error,
    },
    /// An entry of a warninglist is no network.
    #[error("{}, entry {number} of `list`: {entry}", path.display())]
    Entry {
        /// The file.
        path: PathBuf,
        /// The entry, from 1 on.
        number: usize,
        /// What is wrong with it.
        entry: EntryError,
    },
    /// A list has no name, or one that nobody could read.
    #[error("{}: a list needs a name of 1 to {limit} characters, without control characters", path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// The most characters.
        limit: usize,
    },
    /// A directory without lists.
    #[error("{} has no list: name them *.txt, *.cidr, *.netset (networks) or *.json (MISP warninglist)", path.display())]
    NoLists {
        /// The directory.
        path: PathBuf,
    },
    /// More networks than memory is meant for.
    #[error("the lists have more than {limit} networks; leave some out")]
    TooMany {
        /// The most that is held.
        limit: usize,
    },
}

impl Problem {
    /// In one word, for metrics and the API: those name no files.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Problem::Unreadable { .. } | Problem::NoLists { .. } => Reason::Unreadable,
            Problem::TooLarge { .. } | Problem::TooMany { .. } => Reason::TooLarge,
            _ => Reason::Invalid,
        }
    }
}

/// Why something is not in use, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A file is missing or cannot be read.
    Unreadable,
    /// A file is not what it should be.
    Invalid,
    /// A limit was reached.
    TooLarge,
}

impl Reason {
    /// As the API writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Reason::Unreadable => "unreadable",
            Reason::Invalid => "invalid",
            Reason::TooLarge => "too_large",
        }
    }
}

/// What is wrong with an entry of a list.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EntryError {
    /// It cannot be read.
    #[error("{0:?} is no network: write 192.0.2.0/24, 2001:db8::/32 or a single address")]
    NotANetwork(String),
    /// It would make everybody a known scanner.
    #[error("{0} is every address; leave it out")]
    Everybody(IpNet),
    /// It is not UTF-8.
    #[error("it is not UTF-8 text")]
    NotText,
}
