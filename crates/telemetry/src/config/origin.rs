//! Where each setting comes from, for whoever wonders why a daemon does not do what its file says.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::{ConfigError, Override, invalid};

/// Where a setting comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody has set it.
    Default,
    /// The configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line of its key, from 1.
        line: usize,
    },
    /// A variable of the environment.
    Variable(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Variable(name) => f.write_str(name),
            Origin::Flag(flag) => f.write_str(flag),
        }
    }
}

/// Where settings come from, by their keys with dots (`ingest.tls.key`, `events.webhook[0].url`). What is not here is a default.
#[derive(Clone, Debug, Default)]
pub struct Origins(BTreeMap<String, Origin>);

impl Origins {
    /// Of a file, if there is one, and the overrides among `env`, in the order in which [`super::load`] takes them.
    ///
    /// # Errors
    /// If the file cannot be read, or is no TOML.
    pub fn read(file: Option<&Path>, env: impl Iterator<Item = (String, String)>) -> Result<Origins, ConfigError> {
        let mut origins = Origins::default();
        if let Some(path) = file {
            let text = std::fs::read_to_string(path)
                .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
            let table = DeTable::parse(&text).map_err(|error| invalid(path, &error))?;
            for Leaf { key, begins, .. } in leaves(table.get_ref()) {
                origins.0.insert(key, Origin::File { path: path.to_owned(), line: line_of(&text, begins) });
            }
        }
        let mut overrides: Vec<Override> = env.filter_map(Override::of).collect();
        overrides.sort_by(|a, b| a.variable.cmp(&b.variable));
        for Override { variable, keys, value } in overrides {
            let key = keys.join(".");
            let below = |other: &String| {
                other.strip_prefix(&key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            };
            origins.0.retain(|other, _| !below(other));
            set_all(&value, key, &Origin::Variable(variable), &mut origins.0);
        }
        Ok(origins)
    }

    /// A flag has set this key.
    pub fn flag(&mut self, key: &str, flag: &'static str) {
        self.0.insert(key.to_owned(), Origin::Flag(flag));
    }

    /// Where a setting comes from.
    #[must_use]
    pub fn of(&self, key: &str) -> Origin {
        self.0.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// A configuration as TOML, with the origin of each setting in a comment behind it. Text that is no TOML stays as it is.
    #[must_use]
    pub fn annotate(&self, effective: &str) -> String {
        let Ok(table) = DeTable::parse(effective) else { return effective.to_owned() };
        let mut by_line: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for Leaf { key, ends, .. } in leaves(table.get_ref()) {
            let origins = by_line.entry(line_of(effective, ends)).or_default();
            let origin = self.of(&key).to_string();
            if !origins.contains(&origin) {
                origins.push(origin);
            }
        }
        let line = |(number, line): (usize, &str)| match by_line.get(&number) {
            Some(origins) => format!("{line} # {}\n", origins.join(", ")),
            None => format!("{line}\n"),
        };
        (1..).zip(effective.lines()).map(line).collect()
    }
}

/// The settings of a configuration by their keys with dots, each as TOML.
pub(super) fn settings(config: &impl Serialize) -> Result<BTreeMap<String, String>, toml::ser::Error> {
    let mut settings = BTreeMap::new();
    for (key, value) in Table::try_from(config)? {
        flatten(&value, key, &mut |key, value| drop(settings.insert(key, value.to_string())));
    }
    Ok(settings)
}

fn set_all(value: &Value, key: String, origin: &Origin, into: &mut BTreeMap<String, Origin>) {
    flatten(value, key, &mut |key, _| drop(into.insert(key, origin.clone())));
}

/// Hands out every setting in a value: tables are gone through, and arrays of tables.
fn flatten(value: &Value, key: String, take: &mut impl FnMut(String, &Value)) {
    match value {
        Value::Table(table) => {
            for (name, value) in table {
                flatten(value, format!("{key}.{name}"), take);
            }
        }
        Value::Array(items) if !items.is_empty() && items.iter().all(Value::is_table) => {
            for (place, item) in items.iter().enumerate() {
                flatten(item, format!("{key}[{place}]"), take);
            }
        }
        _ => take(key, value),
    }
}

/// A setting in a text: its key, and the offsets at which the key begins and the value ends.
struct Leaf {
    key: String,
    begins: usize,
    ends: usize,
}

fn leaves(table: &DeTable<'_>) -> Vec<Leaf> {
    let mut found = Vec::new();
    walk(table, "", &mut found);
    found
}

fn walk(table: &DeTable<'_>, above: &str, found: &mut Vec<Leaf>) {
    for (name, value) in table {
        let key = if above.is_empty() { name.get_ref().to_string() } else { format!("{above}.{}", name.get_ref()) };
        match value.get_ref() {
            DeValue::Table(below) => walk(below, &key, found),
            DeValue::Array(items) if !items.is_empty() && items.iter().all(|item| item.get_ref().is_table()) => {
                for (place, item) in items.iter().enumerate() {
                    if let DeValue::Table(below) = item.get_ref() {
                        walk(below, &format!("{key}[{place}]"), found);
                    }
                }
            }
            _ => found.push(Leaf { key, begins: name.span().start, ends: value.span().end }),
        }
    }
}

/// The line, from 1, in which an offset of a text is.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&byte| byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(text: &str, env: &[(&str, &str)]) -> Origins {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.toml");
        std::fs::write(&path, text).unwrap();
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut origins = Origins::read(Some(&path), env).unwrap();
        // The name of the directory is another each time.
        for origin in origins.0.values_mut() {
            if let Origin::File { path, .. } = origin {
                *path = PathBuf::from("x.toml");
            }
        }
        origins
    }

    #[test]
    fn every_setting_says_where_it_comes_from() {
        let text = "[a]\nx = 1\nlist = [\n 1,\n 2 ]\n[[a.hook]]\nurl = \"u\"\n";
        let mut origins = origins(text, &[("MARTLET_A__Y", "2"), ("MARTLET_A__X", "7")]);
        origins.flag("a.z", "--z");
        let effective = "[a]\nx = 7\ny = 2\nz = 3\nlist = [1, 2]\nother = \"\"\n\n[[a.hook]]\nurl = \"u\"\nlevel = 1\n";
        assert_eq!(
            origins.annotate(effective),
            "[a]\nx = 7 # MARTLET_A__X\ny = 2 # MARTLET_A__Y\nz = 3 # --z\nlist = [1, 2] # x.toml:3\nother = \"\" # default\n\n\
             [[a.hook]]\nurl = \"u\" # x.toml:7\nlevel = 1 # default\n"
        );
    }

    #[test]
    fn a_variable_for_a_whole_table_takes_the_place_of_all_below() {
        let origins = origins("[a.b]\nx = 1\n[a.bb]\nx = 1\n", &[("MARTLET_A__B", "{ y = 1 }")]);
        assert_eq!(origins.of("a.b.x"), Origin::Default);
        assert_eq!(origins.of("a.b.y"), Origin::Variable("MARTLET_A__B".to_owned()));
        assert_eq!(origins.of("a.bb.x"), Origin::File { path: "x.toml".into(), line: 4 });
    }
}
