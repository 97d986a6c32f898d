//! `/api/v1/reports`: observation reports.
//!
//! - [`list`]: which are finished.
//! - [`report`]: the report of a time, in any language and format that is built in.
//! - [`notes`]: what analysts write into it.

pub(super) mod list;
pub(super) mod notes;
pub(super) mod report;

use std::io;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;

use super::history::of_rollup;
use crate::publish::problem::{Kind, Problem};
use crate::report::{Period, ReportError, ShelfError};
use crate::rollup::RollupError;

/// What a path names.
const TIME: &str = "the time of a report: 2021-W10, 2021-03, 2021-Q1 or 2021-03-08..2021-03-14";

/// The time that a path names. What is no text at all names none.
fn period(item: Result<Path<String>, PathRejection>) -> Result<Period, Problem> {
    let Path(text) = item.map_err(|_| Problem::bad("time", "", TIME))?;
    text.parse().map_err(|_| Problem::bad("time", &text, TIME))
}

impl From<ReportError> for Problem {
    fn from(error: ReportError) -> Problem {
        match &error {
            ReportError::Period(_) => Problem::new(Kind::BadParameter, error.to_string()),
            ReportError::NoGroup(group) => {
                Problem::bad("group", group, "a group that there is: `sensors` has the labels of each")
            }
            ReportError::Nothing(..) | ReportError::FewSensors { .. } => {
                Problem::new(Kind::NoSuchReport, error.to_string())
            }
            ReportError::Zone(_) | ReportError::Languages(..) | ReportError::Disagrees { .. } => {
                Problem::new(Kind::ReportRefused, error.to_string())
            }
            ReportError::History(RollupError::TooLong) => Problem::new(
                Kind::TooWide,
                "the report takes longer than http.request_timeout_seconds: have it made by `martlet-collector report`, which waits",
            ),
            ReportError::History(error) => of_rollup(error),
            ReportError::Shelf(ShelfError::File { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                Problem::new(Kind::NoSuchReport, "there is no such revision: /api/v1/reports lists those that are kept")
            }
            ReportError::Events(_) | ReportError::Number(_) | ReportError::Shelf(_) => {
                tracing::error!("cannot make a report: {error}");
                Problem::store()
            }
        }
    }
}
