//! What a revision changes.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::model::{Changed, Report};

/// What tells rows of a list apart, where they have it.
const KEYS: [&str; 7] = ["id", "key", "service", "name", "date", "of", "sensor"];
/// What every revision has of its own.
const LEFT_OUT: [&str; 3] = ["revision", "changes", "notes"];
/// What a service is called, which may change without any figure.
const NAMED: &str = "number";
/// Sections in the order of the report; what is in none of them comes first.
const SECTIONS: [&str; 9] =
    ["overview", "ports", "regions", "movers", "populations", "backscatter", "groups", "events", "quality"];

/// Tells what stands elsewhere in `now` than in `before`, each with its place in the order of the report. Rows are compared with the
/// row of the same key, wherever that stood; their place is that of now, or of before for those that are gone.
///
/// # Errors
/// If a report cannot be written as JSON.
pub fn changes(before: &Report, now: &Report) -> Result<Vec<Changed>, serde_json::Error> {
    let (mut before, mut now) = (serde_json::to_value(before)?, serde_json::to_value(now)?);
    for report in [&mut before, &mut now] {
        if let Value::Object(fields) = report {
            LEFT_OUT.iter().for_each(|field| {
                fields.remove(*field);
            });
        }
    }
    let mut changed = Vec::new();
    compare("", Some(&before), Some(&now), &mut changed);
    changed.sort_by_key(|changed| {
        let section = changed.place.split('/').nth(1);
        SECTIONS.iter().position(|known| section == Some(*known))
    });
    Ok(changed)
}

fn compare(place: &str, before: Option<&Value>, now: Option<&Value>, changed: &mut Vec<Changed>) {
    let (before, now) = (before.filter(|value| !value.is_null()), now.filter(|value| !value.is_null()));
    if before == now {
        return;
    }
    // What appears or goes is told number by number, too.
    let both_are = |kind: fn(&Value) -> bool| before.is_none_or(kind) && now.is_none_or(kind);
    if both_are(Value::is_object) {
        let both = [before, now].map(|value| value.and_then(Value::as_object));
        let is_service = both.into_iter().flatten().any(|fields| fields.contains_key(NAMED));
        let names: BTreeSet<_> = both.into_iter().flatten().flat_map(serde_json::Map::keys).collect();
        for name in names {
            if is_service && name == "name" {
                continue;
            }
            let [before, now] = both.map(|fields| fields.and_then(|fields| fields.get(name)));
            compare(&format!("{place}/{}", escaped(name)), before, now, changed);
        }
    } else if both_are(Value::is_array) && !(is_nothing(before) && now.is_none() || before.is_none() && is_nothing(now))
    {
        let [before, now] = [before, now].map(|value| value.and_then(Value::as_array).map_or(&[][..], Vec::as_slice));
        rows(place, before, now, changed);
    } else {
        changed.push(Changed { place: place.to_owned(), before: before.cloned(), now: now.cloned() });
    }
}

/// Whether it is an empty list: beside what is not known that is a change.
fn is_nothing(value: Option<&Value>) -> bool {
    value.and_then(Value::as_array).is_some_and(Vec::is_empty)
}

/// What tells a row apart.
fn key(row: &Value, at: usize) -> Value {
    let key = KEYS.iter().find_map(|key| row.get(key)).map_or_else(|| Value::from(at), Clone::clone);
    match (key.get("protocol"), key.get(NAMED)) {
        (Some(protocol), Some(number)) => Value::from(format!("{protocol}/{number}")),
        _ => key,
    }
}

fn rows(place: &str, before: &[Value], now: &[Value], changed: &mut Vec<Changed>) {
    let keys = |rows: &[Value]| rows.iter().enumerate().map(|(at, row)| key(row, at)).collect::<Vec<_>>();
    let (keys_before, keys_now) = (keys(before), keys(now));
    for (at, row) in now.iter().enumerate() {
        let was = keys_before.iter().position(|key| *key == keys_now[at]).map(|at| &before[at]);
        compare(&format!("{place}/{at}"), was, Some(row), changed);
    }
    for (at, row) in before.iter().enumerate() {
        if !keys_now.contains(&keys_before[at]) {
            compare(&format!("{place}/{at}"), Some(row), None, changed);
        }
    }
}

/// A name in a JSON pointer (RFC 6901).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
