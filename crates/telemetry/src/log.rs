//! Log lines on standard error.

use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;

use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// With a time of day, unless standard error is the journal, which keeps its own.
    #[default]
    Auto,
    /// Always with a time of day (UTC, RFC 3339).
    Timestamps,
    /// Never with a time of day.
    Plain,
}

/// A log filter that cannot be read.
#[derive(Debug, Error)]
#[error(
    "log filter {filter:?} is not valid: {message}; take a level such as \"info\" or a list such as \"info,martlet_collector=debug\""
)]
pub struct LogError {
    filter: String,
    message: String,
}

/// Starts logging with this filter (a level, or `target=level` pairs as of `RUST_LOG`). A second call has no effect:
/// tests start several daemons in one process.
///
/// # Errors
/// If the filter cannot be read.
pub fn init(filter: &str, format: Format) -> Result<(), LogError> {
    let parsed = EnvFilter::try_new(filter)
        .map_err(|error| LogError { filter: filter.to_owned(), message: error.to_string() })?;
    let timestamps = match format {
        Format::Auto => !stderr_is_the_journal(),
        Format::Timestamps => true,
        Format::Plain => false,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    // The only failure is that a subscriber is installed already.
    let _ = if timestamps { builder.with_timer(SystemTime).try_init() } else { builder.without_time().try_init() };
    Ok(())
}

/// Whether `JOURNAL_STREAM` names the file behind standard error; the variable alone is inherited by everything that
/// a service starts, also by what writes elsewhere (systemd.exec(5)).
fn stderr_is_the_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    std::fs::metadata("/proc/self/fd/2").is_ok_and(|file| stream == format!("{}:{}", file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_checked() {
        assert!(init("info,martlet=debug", Format::Auto).is_ok());
        let message = init("martlet=loud", Format::Auto).unwrap_err().to_string();
        assert!(message.contains("martlet=loud"), "{message}");
    }
}
