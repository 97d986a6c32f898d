//! SIGHUP: what of a running daemon's configuration can change without a restart.

use std::collections::BTreeMap;

use serde::Serialize;

use super::origin::settings;
use crate::log;

/// The setting that every daemon can change.
const FILTER: &str = "log.filter";

/// What is to be logged of it. The daemon logs it under its own name, by which filters know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// As it should be.
    Info(String),
    /// Something waits for a restart.
    Warning(String),
    /// The configuration cannot be used.
    Error(String),
}

/// Knows what is in effect.
#[derive(Clone, Debug)]
pub struct Reloader {
    /// By their keys with dots.
    running: BTreeMap<String, String>,
}

impl Reloader {
    /// Of a daemon that is started with this configuration.
    ///
    /// # Errors
    /// If it cannot be written as TOML, which is a defect of its type.
    pub fn new(running: &impl Serialize) -> Result<Reloader, toml::ser::Error> {
        Ok(Reloader { running: settings(running)? })
    }

    /// Takes of a configuration that was read again what can be taken: the log's filter, and what `take` does, which says what
    /// the keys begin with that are in effect by that. Of every other change it is said that it waits for a restart. With a
    /// configuration that cannot be used all stays as it is.
    pub fn reload<T: Serialize>(
        &mut self,
        read: Result<T, String>,
        filter: impl Fn(&T) -> &str,
        take: impl FnOnce(&T) -> &'static [&'static str],
    ) -> Vec<Line> {
        let read = read.and_then(|config| {
            log::check(filter(&config)).map_err(|error| error.to_string())?;
            let settings = settings(&config).map_err(|error| error.to_string())?;
            Ok((config, settings))
        });
        let (config, new) = match read {
            Ok(read) => read,
            Err(message) => {
                let what = "the configuration cannot be used, and all stays as it is";
                return vec![Line::Error(format!("SIGHUP: {what}: {message}"))];
            }
        };
        let prefixes = take(&config);
        let (mut lines, mut taken, mut waiting) = (Vec::new(), 0, 0);
        for key in changed(&self.running, &new) {
            let is_taken = if key == FILTER {
                log::set_filter(filter(&config)).is_ok()
            } else {
                prefixes.iter().any(|prefix| key.starts_with(prefix))
            };
            if is_taken {
                taken += 1;
                lines.push(Line::Info(format!("SIGHUP: {key} has changed, and is in effect")));
                match new.get(&key) {
                    Some(value) => self.running.insert(key, value.clone()),
                    None => self.running.remove(&key),
                };
            } else {
                waiting += 1;
                lines.push(Line::Warning(format!("SIGHUP: {key} has changed, and waits for a restart")));
            }
        }
        lines.push(Line::Info(format!(
            "SIGHUP: read again; {taken} changed settings are in effect, {waiting} wait for a restart"
        )));
        lines
    }
}

/// The keys in which two configurations differ.
fn changed(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<String> {
    let keys = old.keys().chain(new.keys().filter(|key| !old.contains_key(*key)));
    keys.filter(|key| old.get(*key) != new.get(*key)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use toml::Table;

    fn table(text: &str) -> Table {
        toml::from_str(text).unwrap()
    }

    fn filter(table: &Table) -> &str {
        table.get("log").and_then(|log| log.get("filter")).and_then(toml::Value::as_str).unwrap_or("info")
    }

    #[test]
    fn changes_are_named_also_where_a_key_is_new_or_gone() {
        let settings = |text| settings(&table(text)).unwrap();
        let (old, new) = (settings("a = 1\nb = 2\n[c]\nd = 1\n"), settings("a = 1\nb = 3\n[c]\ne = 1\n"));
        assert_eq!(changed(&old, &new), ["b", "c.d", "c.e"]);
        assert!(changed(&old, &old).is_empty());
    }

    #[test]
    fn what_is_taken_is_in_effect_and_what_waits_is_said_each_time() {
        let mut reloader = Reloader::new(&table("[tls]\nkey = \"a\"\n[window]\nseconds = 60\n")).unwrap();
        let new = "[tls]\ncertificate = \"c\"\n[window]\nseconds = 30\n";
        let taken = |key: &str| Line::Info(format!("SIGHUP: {key} has changed, and is in effect"));
        let waits = |key: &str| Line::Warning(format!("SIGHUP: {key} has changed, and waits for a restart"));
        let end = |taken, waiting| {
            let counts = format!("{taken} changed settings are in effect, {waiting} wait for a restart");
            Line::Info(format!("SIGHUP: read again; {counts}"))
        };
        let mut with = |take: &'static [&'static str]| reloader.reload(Ok(table(new)), filter, |_| take);
        let all = ["tls.key", "window.seconds", "tls.certificate"].map(waits);
        assert_eq!(with(&[]), [&all[..], &[end(0, 3)]].concat());
        let seconds = waits("window.seconds");
        assert_eq!(with(&["tls."]), [taken("tls.key"), seconds.clone(), taken("tls.certificate"), end(2, 1)]);
        assert_eq!(with(&["tls."]), [seconds, end(0, 1)]);
    }

    #[test]
    fn what_cannot_be_used_changes_nothing() {
        let mut reloader = Reloader::new(&table("a = 1\n")).unwrap();
        for read in [Err("a is no number".to_owned()), Ok(table("a = 2\n[log]\nfilter = \"x=loud\"\n"))] {
            let lines = reloader.reload(read, filter, |_| panic!("nothing is taken"));
            assert!(matches!(&lines[..], [Line::Error(text)] if text.contains("all stays as it is")), "{lines:?}");
        }
        let lines = reloader.reload(Ok(table("a = 1\n")), filter, |_| &[]);
        assert_eq!(lines.len(), 1, "nothing had changed: {lines:?}");
    }
}
