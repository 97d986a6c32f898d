//! `martlet-sensor doctor`: what an operator would otherwise ask for help about, each with its remedy.
//!
//! `facts` looks at the machine and asks the running sensor, `checks` judges, one function a question. Nothing is changed.

mod checks;
mod facts;
mod kernel;
mod tables;

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::config::Config;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It may be meant so, or matter little.
    Warn,
    /// Counts are missing or wrong.
    Fail,
}

/// What was found out about one question.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The question.
    pub check: &'static str,
    /// How much it matters.
    pub level: Level,
    /// What was seen.
    pub message: String,
    /// What to do, unless all is well.
    pub remedy: Option<String>,
}

impl Finding {
    fn new(check: &'static str, level: Level, message: impl Into<String>, remedy: String) -> Finding {
        Finding { check, level, message: message.into(), remedy: Some(remedy) }
    }

    fn ok(check: &'static str, message: impl Into<String>) -> Finding {
        Finding { check, level: Level::Ok, message: message.into(), remedy: None }
    }
}

/// Everything that was found out.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The worst level.
    pub level: Level,
    /// One for each question.
    pub findings: Vec<Finding>,
}

/// Examines the machine and the sensor that runs with this configuration.
#[must_use]
pub fn examine(config: &Config, quiet_after: Duration) -> Report {
    let findings = checks::all(&facts::gather(config), quiet_after);
    Report { level: findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok), findings }
}

/// A report for people.
#[must_use]
pub fn described(report: &Report) -> String {
    let mut text = String::new();
    for Finding { check, level, message, remedy } in &report.findings {
        let level = match level {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        // Infallible: a String takes any text.
        let _ = writeln!(text, "{level:<5} {check:<11} {message}");
        if let Some(remedy) = remedy {
            let _ = writeln!(text, "      {:<11} -> {remedy}", "");
        }
    }
    text
}
