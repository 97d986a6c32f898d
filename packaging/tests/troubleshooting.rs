//! Every message that docs/troubleshooting.md quotes is one that the source says.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

/// All Rust source below a directory, with the breaks of long strings taken out.
fn sources(directory: &Path, into: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(joined(&fs::read_to_string(&path).unwrap()));
        }
    }
}

/// A string that goes on in the next line after a backslash goes on without what indents it.
fn joined(source: &str) -> String {
    let mut parts = source.split("\\\n");
    let mut whole = parts.next().unwrap_or_default().to_owned();
    parts.for_each(|part| whole.push_str(part.trim_start()));
    whole
}

/// The messages of the tables: the first cell of each row whose text is code. Backticks within are escaped.
fn messages(page: &str) -> Vec<String> {
    let cells = page.lines().filter_map(|line| line.strip_prefix("| `"));
    cells.map(|rest| rest.split_once("` |").unwrap().0.replace("\\`", "`")).collect()
}

/// Whether one place in the source has all parts of the message, in their order.
fn is_said(message: &str, source: &str) -> bool {
    let mut parts = message.split('…').filter(|part| !part.trim().is_empty());
    let first = parts.next().unwrap();
    let rest: Vec<&str> = parts.collect();
    source.match_indices(first).any(|(at, _)| {
        // A message is within a few lines.
        let mut after: String = source[at + first.len()..].chars().take(400).collect();
        rest.iter().all(|part| match after.find(part) {
            Some(place) => {
                after = after[place + part.len()..].to_owned();
                true
            }
            None => false,
        })
    })
}

#[test]
fn every_quoted_message_is_in_the_source() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut all = Vec::new();
    for directory in ["sensor/src", "collector/src", "crates"] {
        sources(&root.join(directory), &mut all);
    }
    let messages = messages(&fs::read_to_string(root.join("docs/troubleshooting.md")).unwrap());
    assert!(messages.len() > 30, "the page's tables were not understood: {messages:?}");
    // What serde says, and not we.
    let ours = messages.iter().filter(|message| *message != "unknown field");
    let missing: Vec<_> = ours.filter(|message| !all.iter().any(|source| is_said(message, source))).collect();
    assert!(missing.is_empty(), "docs/troubleshooting.md quotes what nobody says: {missing:#?}");
}

#[test]
fn a_message_that_nobody_says_is_found() {
    let source = joined("\"the disk is \\\n     full: {free} bytes are free\"");
    assert!(is_said("the disk is full: … bytes are free", &source));
    assert!(!is_said("the disk is full: … bytes are taken", &source));
    assert!(!is_said("bytes are free … the disk is full", &source));
}
