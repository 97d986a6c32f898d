//! One way to read a configuration: a TOML file, then overrides from the environment.
//!
//! A variable `MARTLET_SECTION__KEY` sets `key` in `[section]`; further `__` go deeper. Its value is read as TOML
//! (`true`, `5`, `["a", "b"]`), and as plain text if it is not TOML. Variables without `__` after the prefix are
//! not ours, unless what follows is one of our sections and a single `_`: that is a mistake. Unknown keys are refused by the
//! types themselves (`#[serde(deny_unknown_fields)]`): a misspelt key that is silently ignored is a setting that silently
//! does not hold. The error names the known key that comes nearest.
//!
//! [`Origins`] says of each setting where it comes from, and [`Reloader`] which of them can change while a daemon runs.

mod nearest;
mod origin;
mod reload;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use thiserror::Error;
use toml::{Table, Value};

pub use nearest::nearest;
pub use origin::{Origin, Origins};
pub use reload::{Line, Reloader};

/// Exit status of a daemon whose configuration cannot be used: `EX_CONFIG` of sysexits.h. A service manager that knows it does
/// not start the daemon again and again.
pub const EXIT_CONFIG: u8 = 78;

/// What the names of our environment variables begin with.
pub const ENVIRONMENT_PREFIX: &str = "MARTLET_";

/// Why a configuration cannot be used; the message names the file or variable and says what to do.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {source}; check the path and its permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no TOML, or holds something the program does not understand.
    #[error("{}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Where in it, and what is wrong.
        message: String,
    },
    /// A variable of the environment holds something the program does not understand.
    #[error("environment variable {variable}: {message}; correct the variable or unset it")]
    Variable {
        /// Name of the variable.
        variable: String,
        /// What is wrong.
        message: String,
    },
    /// Without a file, something required is missing.
    #[error("the configuration is incomplete: {0}; give a configuration file")]
    Incomplete(String),
}

/// The process environment as text; variables that are not Unicode cannot be ours and are left out.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Reads the file at `path`, then applies the overrides among `env`.
///
/// # Errors
/// If the file cannot be read, or file or variables do not make a `T`.
pub fn load<T: DeserializeOwned>(path: &Path, env: impl Iterator<Item = (String, String)>) -> Result<T, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    // Straight from the text, errors say line and column; merged with overrides they cannot.
    let from_file = toml::from_str::<T>(&text).map_err(|error| invalid(path, &nearest::explained::<T>(&error)));
    let overrides = overrides::<T>(env)?;
    if overrides.is_empty() {
        return from_file;
    }
    let table: Table = toml::from_str(&text).map_err(|error| invalid(path, &error))?;
    let file_is_valid = from_file.is_ok();
    merge(table, overrides, file_is_valid).map_err(|error| match error {
        ConfigError::Incomplete(message) => from_file.err().unwrap_or_else(|| invalid(path, &message)),
        other => other,
    })
}

/// As [`load`] without a file: every setting that the environment does not give keeps its default.
///
/// # Errors
/// If the variables do not make a `T`, or a `T` requires what they do not give.
pub fn from_environment<T: DeserializeOwned>(env: impl Iterator<Item = (String, String)>) -> Result<T, ConfigError> {
    let valid = Table::new().try_into::<T>().is_ok();
    merge(Table::new(), overrides::<T>(env)?, valid)
}

fn invalid(path: &Path, message: &impl ToString) -> ConfigError {
    ConfigError::Invalid { path: path.to_owned(), message: message.to_string().trim_end().to_owned() }
}

/// One variable of ours: its name, the path of keys it sets, and the value.
struct Override {
    variable: String,
    keys: Vec<String>,
    value: Value,
}

impl Override {
    /// `None` for a variable that sets no key of ours.
    fn of((variable, text): (String, String)) -> Option<Override> {
        let keys = variable.strip_prefix(ENVIRONMENT_PREFIX)?;
        let keys: Vec<String> = keys.split("__").map(str::to_ascii_lowercase).collect();
        (keys.len() > 1).then(|| Override { keys, value: value_of(&text), variable })
    }
}

fn overrides<T: DeserializeOwned>(env: impl Iterator<Item = (String, String)>) -> Result<Vec<Override>, ConfigError> {
    let sections = nearest::known::<T>(&[]);
    let mut found = Vec::new();
    for (variable, text) in env {
        if let Some(message) = nearest::single_underscore::<T>(&variable, &sections) {
            return Err(ConfigError::Variable { variable, message });
        }
        found.extend(Override::of((variable, text)));
    }
    // The order of the environment must not decide anything.
    found.sort_by(|a, b| a.variable.cmp(&b.variable));
    Ok(found)
}

fn value_of(text: &str) -> Value {
    let parsed = toml::from_str::<Table>(&format!("value = {text}")).ok();
    let single = parsed.filter(|table| table.len() == 1).and_then(|mut table| table.remove("value"));
    single.unwrap_or_else(|| Value::String(text.to_owned()))
}

/// Applies the overrides one by one, so that an error can name the variable that brought it.
fn merge<T: DeserializeOwned>(mut table: Table, overrides: Vec<Override>, mut valid: bool) -> Result<T, ConfigError> {
    for Override { variable, keys, value } in overrides {
        if let Err(message) = set(&mut table, &keys, value) {
            return Err(ConfigError::Variable { variable, message });
        }
        match table.clone().try_into::<T>() {
            Ok(_) => valid = true,
            // Only a table that was right before shows that this variable is to blame.
            Err(error) if valid => {
                let message = one_line(&error);
                let meant = nearest::variable(&keys, &message);
                return Err(ConfigError::Variable { variable, message: message + &meant });
            }
            Err(_) => {}
        }
    }
    table.try_into::<T>().map_err(|error| ConfigError::Incomplete(nearest::explained::<T>(&one_line(&error))))
}

fn one_line(error: &toml::de::Error) -> String {
    error.to_string().lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

fn set(table: &mut Table, keys: &[String], value: Value) -> Result<(), String> {
    let Some((last, parents)) = keys.split_last() else {
        return Err("it names no key".to_owned());
    };
    let mut place = table;
    for key in parents {
        let next = place.entry(key.clone()).or_insert_with(|| Value::Table(Table::new()));
        place = next.as_table_mut().ok_or_else(|| format!("`{key}` is a value, not a section"))?;
    }
    place.insert(last.clone(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default, deny_unknown_fields)]
    struct Example {
        ingest: Ingest,
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default, deny_unknown_fields)]
    struct Ingest {
        listen: String,
        limit: u32,
        names: Vec<String>,
    }

    fn env(pairs: &[(&str, &str)]) -> std::vec::IntoIter<(String, String)> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Vec<_>>().into_iter()
    }

    fn load_text(text: &str, pairs: &[(&str, &str)]) -> Result<Example, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("example.toml");
        std::fs::write(&path, text).unwrap();
        load(&path, env(pairs))
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let text = "[ingest]\nlisten = \"a\"\nlimit = 1\n";
        let pairs = [
            ("MARTLET_INGEST__LIMIT", "7"),
            ("MARTLET_INGEST__NAMES", "[\"x\", \"y\"]"),
            ("MARTLET_INGEST__LISTEN", "[::1]:7460"),
            ("MARTLET_OTHER", "not ours"),
            ("PATH", "/bin"),
        ];
        let example = load_text(text, &pairs).unwrap();
        let names = vec!["x".to_owned(), "y".to_owned()];
        assert_eq!(example.ingest, Ingest { listen: "[::1]:7460".to_owned(), limit: 7, names });
    }

    #[test]
    fn unknown_keys_are_named_with_file_and_line() {
        let message = load_text("[ingest]\nlimt = 1\n", &[]).unwrap_err().to_string();
        assert!(
            message.contains("example.toml") && message.contains("limt") && message.contains("line 2"),
            "{message}"
        );
        // The same with an innocent override beside it.
        let message = load_text("[ingest]\nlimt = 1\n", &[("MARTLET_INGEST__LIMIT", "1")]).unwrap_err().to_string();
        assert!(message.contains("example.toml") && message.contains("limt"), "{message}");
    }

    #[test]
    fn the_nearest_known_key_is_named() {
        let message = load_text("[ingest]\nlimt = 1\n", &[]).unwrap_err().to_string();
        assert!(message.ends_with("; did you mean `limit`?"), "{message}");
        let message = load_text("[ingets]\nlimit = 1\n", &[]).unwrap_err().to_string();
        assert!(message.ends_with("; did you mean `ingest`?"), "{message}");
        // A key that stands in the wrong place.
        let message = load_text("listen = \"a\"\n", &[]).unwrap_err().to_string();
        assert!(message.ends_with("; `listen` is a key of [ingest]"), "{message}");
        let message = load_text("[ingest]\nzzzz = 1\n", &[]).unwrap_err().to_string();
        assert!(message.ends_with("`names`"), "nothing is near: {message}");
    }

    #[test]
    fn the_nearest_known_variable_is_named() {
        let wrong = |name: &str| load_text("", &[(name, "1")]).unwrap_err().to_string();
        for (name, meant) in [
            ("MARTLET_INGEST__LIMT", "MARTLET_INGEST__LIMIT"),
            ("MARTLET_INGETS__LIMIT", "MARTLET_INGEST__LIMIT"),
            ("MARTLET_INGEST_LIMIT", "MARTLET_INGEST__LIMIT"),
            ("MARTLET_INGEST_LIMT", "MARTLET_INGEST__LIMIT"),
        ] {
            let message = wrong(name);
            assert!(message.contains(name) && message.contains(&format!("did you mean {meant}?")), "{message}");
        }
        assert!(load_text("", &[("MARTLET_INGESTION", "1"), ("MARTLET_PROGRAMS_X", "1")]).is_ok());
    }

    #[test]
    fn a_wrong_variable_is_named() {
        for (name, value) in [("MARTLET_INGEST__LIMT", "1"), ("MARTLET_INGEST__LIMIT", "many")] {
            let message = load_text("", &[("MARTLET_INGEST__LISTEN", "ok"), (name, value)]).unwrap_err().to_string();
            assert!(message.contains(name), "{message}");
        }
        // Applied in the order of the names: the key is a number by then.
        let both = [("MARTLET_INGEST__LIMIT__X", "1"), ("MARTLET_INGEST__LIMIT", "1")];
        let message = load_text("", &both).unwrap_err().to_string();
        assert!(message.contains("MARTLET_INGEST__LIMIT__X") && message.contains("not a section"), "{message}");
    }

    #[test]
    fn a_missing_file_says_so_and_none_is_needed() {
        let error = load::<Example>(Path::new("/nonexistent/x.toml"), env(&[])).unwrap_err();
        assert!(matches!(error, ConfigError::Unreadable { .. }));
        assert!(error.to_string().contains("/nonexistent/x.toml"));
        assert_eq!(from_environment::<Example>(env(&[])).unwrap(), Example::default());
    }
}
