//! What was probably meant by a key that does not exist.
//!
//! Only the types know their keys, and they tell them when they refuse one: "unknown field `limt`, expected one of `limit`,
//! `names`". So a key that no type has makes them list what they have, wherever it is put.

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::{ENVIRONMENT_PREFIX, set};

/// A key that no type has.
const PROBE: &str = "\u{0}";
/// Less alike than this (1 is the same, 0 has nothing in common) is no misspelling.
const ALIKE: f64 = 0.6;

/// The candidate that is most like a word, if any is like it.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let alike = |candidate: &'a str| (strsim::normalized_damerau_levenshtein(word, candidate), candidate);
    let best = candidates.into_iter().map(alike).max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(likeness, _)| *likeness >= ALIKE).map(|(_, candidate)| candidate)
}

/// The keys that `T` has in a section; the sections themselves for the empty path. None where there is no section.
pub(super) fn known<T: DeserializeOwned>(path: &[&str]) -> Vec<String> {
    let keys: Vec<String> = path.iter().chain(&[PROBE]).map(|&key| key.to_owned()).collect();
    let mut table = Table::new();
    if set(&mut table, &keys, Value::Boolean(true)).is_err() {
        return Vec::new();
    }
    let refused = table.try_into::<T>().err().map(|error| error.to_string());
    let unknown = refused.as_deref().and_then(unknown).filter(|unknown| unknown.word == PROBE);
    unknown.map(|unknown| unknown.known.into_iter().map(str::to_owned).collect()).unwrap_or_default()
}

/// A refused word, and those in whose place it stands.
struct Unknown<'a> {
    word: &'a str,
    known: Vec<&'a str>,
}

/// Takes serde's message apart.
fn unknown(message: &str) -> Option<Unknown<'_>> {
    let (_, rest) = message.split_once("unknown field `").or_else(|| message.split_once("unknown variant `"))?;
    let (word, rest) = rest.split_once('`')?;
    let (_, rest) = rest.split_once("expected ")?;
    // Every other piece between the marks is a name; what is behind the list is on a line of its own, or says where.
    let list = rest.split(['\n']).next().unwrap_or_default().split(" in `").next().unwrap_or_default();
    Some(Unknown { word, known: list.split('`').skip(1).step_by(2).collect() })
}

/// An error of `T`, with what was probably meant where that can be said.
pub(super) fn explained<T: DeserializeOwned>(error: &impl ToString) -> String {
    let message = error.to_string().trim_end().to_owned();
    let Some(Unknown { word, known: here }) = unknown(&message) else { return message };
    let meant = match nearest(word, here) {
        Some(meant) => Some(format!("; did you mean `{meant}`?")),
        None => elsewhere::<T>(word).map(|section| format!("; `{word}` is a key of [{section}]")),
    };
    meant.map(|meant| format!("{message}{meant}")).unwrap_or(message)
}

/// The section that has this key.
fn elsewhere<T: DeserializeOwned>(word: &str) -> Option<String> {
    known::<T>(&[]).into_iter().find(|section| known::<T>(&[section]).iter().any(|key| key == word))
}

/// What was probably meant by a variable that sets these keys and was refused with this message; empty if nobody knows.
pub(super) fn variable(keys: &[String], message: &str) -> String {
    let Some(Unknown { word, known }) = unknown(message) else { return String::new() };
    let Some(meant) = nearest(word, known) else { return String::new() };
    let keys = keys.iter().map(|key| if key == word { meant } else { key });
    format!("; did you mean {}?", name(keys))
}

fn name<'a>(keys: impl Iterator<Item = &'a str>) -> String {
    let keys: Vec<String> = keys.map(str::to_ascii_uppercase).collect();
    format!("{ENVIRONMENT_PREFIX}{}", keys.join("__"))
}

/// What is wrong with a variable that has one of our sections and a single `_` behind it: it would be ignored.
pub(super) fn single_underscore<T: DeserializeOwned>(variable: &str, sections: &[String]) -> Option<String> {
    let rest = variable.strip_prefix(ENVIRONMENT_PREFIX).filter(|rest| !rest.contains("__"))?.to_ascii_lowercase();
    let of =
        |section: &String| Some((section.clone(), rest.strip_prefix(section.as_str())?.strip_prefix('_')?.to_owned()));
    let (section, key) = sections.iter().find_map(of)?;
    let keys = known::<T>(&[&section]);
    let key = nearest(&key, keys.iter().map(String::as_str)).unwrap_or(&key);
    Some(format!("two _ stand between section and key; did you mean {}?", name([section.as_str(), key].into_iter())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its keys are asked for")]
    struct Whole {
        required: u32,
        #[serde(default)]
        part: Option<Part>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    #[derive(Default)]
    struct Part {
        one: u32,
    }

    #[test]
    fn types_tell_their_keys_also_where_others_are_required() {
        assert_eq!(known::<Whole>(&[]), ["required", "part"]);
        assert_eq!(known::<Whole>(&["part"]), ["one"]);
        assert_eq!(known::<Whole>(&["required"]), Vec::<String>::new());
    }

    #[test]
    fn only_what_is_alike_is_meant() {
        assert_eq!(nearest("limt", ["listen", "limit"]), Some("limit"));
        assert_eq!(nearest("zzzz", ["listen", "limit"]), None);
        assert_eq!(nearest("x", []), None);
    }
}
