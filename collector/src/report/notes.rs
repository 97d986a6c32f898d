//! What analysts write into a report: a file of texts by language.
//!
//! ```toml
//! [comment]
//! en = "Scans of 23/tcp doubled."
//! ja = "23/tcpへのスキャンが倍増した。"
//! [phenomena]
//! en = "..."
//! [events.0a1b2c3d4e5f60718]
//! en = "A new botnet of cameras."
//! ```

use std::collections::BTreeMap;

use martlet_report::model::{self, Report, Text};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest text, in characters.
pub const LONGEST: usize = 20_000;
/// Most texts.
const MOST: usize = 1000;

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Notes {
    /// On the whole.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub comment: Text,
    /// On what was noteworthy.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub phenomena: Text,
    /// By identifier of an event.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub events: BTreeMap<String, Text>,
}

/// Notes that cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NotesError {
    /// They are no TOML of this form.
    #[error("{0}")]
    Form(String),
    /// A text is too long.
    #[error("{0} has {1} characters; take at most {LONGEST}")]
    TooLong(String, usize),
    /// There are too many.
    #[error("there are more than {MOST} texts")]
    TooMany,
    /// An event is not in the report.
    #[error(
        "events.{0}: the report has no such event; only surges and outbreaks of its time that are assessed are in it"
    )]
    NoSuchEvent(String),
}

impl Notes {
    /// Notes in the text of a file.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn read(text: &str) -> Result<Notes, NotesError> {
        toml::from_str::<Notes>(text).map_err(|error| NotesError::Form(error.to_string()))?.bounded()
    }

    /// Notes that are no more than may be kept.
    ///
    /// # Errors
    /// What is too much.
    pub fn bounded(self) -> Result<Notes, NotesError> {
        let events = self.events.iter().map(|(id, text)| (format!("events.{id}"), text));
        let texts = [("comment".to_owned(), &self.comment), ("phenomena".to_owned(), &self.phenomena)];
        let mut count = 0;
        for (name, text) in texts.into_iter().chain(events) {
            for (language, text) in text {
                count += 1;
                let length = text.chars().count();
                if length > LONGEST {
                    return Err(NotesError::TooLong(format!("{name}.{language}"), length));
                }
            }
        }
        if count > MOST { Err(NotesError::TooMany) } else { Ok(self) }
    }

    /// Whether every note is of what a report has.
    ///
    /// # Errors
    /// If one is of an event that is not in it.
    pub fn check(&self, report: &Report) -> Result<(), NotesError> {
        let has = |id: &String| report.events.assessed.iter().any(|event| event.id == *id);
        match self.events.keys().find(|id| !has(id)) {
            Some(id) => Err(NotesError::NoSuchEvent(id.clone())),
            None => Ok(()),
        }
    }

    /// Puts them into a report; those of events that are not in it are left out.
    pub fn put_into(&self, report: &mut Report) {
        // An empty text is as good as none.
        let some = |text: &Text| {
            let said = text.iter().filter(|(_, text)| !text.trim().is_empty());
            Some(said.map(|(language, text)| (language.clone(), text.clone())).collect::<Text>())
                .filter(|text| !text.is_empty())
        };
        report.notes = model::Notes { comment: some(&self.comment), phenomena: some(&self.phenomena) };
        for event in &mut report.events.assessed {
            event.note = self.events.get(&event.id).and_then(some);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said() {
        let notes = Notes::read("comment.en = \"a\"\n[events.1]\nja = \"b\"\n").unwrap();
        assert_eq!((notes.comment["en"].as_str(), notes.events["1"]["ja"].as_str()), ("a", "b"));
        assert!(Notes::read("coment.en = \"a\"").unwrap_err().to_string().contains("coment"));
        assert!(Notes::read("comment = \"a\"").unwrap_err().to_string().contains("comment"));
        let long = format!("phenomena.ja = \"{}\"", "長".repeat(LONGEST + 1));
        assert_eq!(Notes::read(&long), Err(NotesError::TooLong("phenomena.ja".to_owned(), LONGEST + 1)));
        let many: String = (0..=MOST).map(|number| format!("events.{number}.en = \"a\"\n")).collect();
        assert_eq!(Notes::read(&many), Err(NotesError::TooMany));
    }
}
