//! Log lines on standard error.

use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

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

/// Puts a filter in place of the running one; the subscriber's type depends on the format.
type Replace = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;
static REPLACE: OnceLock<Replace> = OnceLock::new();

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
    let parsed = parse(filter)?;
    let timestamps = match format {
        Format::Auto => !stderr_is_the_journal(),
        Format::Timestamps => true,
        Format::Plain => false,
    };
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    // The only failure is that a subscriber is installed already.
    if timestamps {
        let builder = builder.with_timer(SystemTime).with_env_filter(parsed).with_filter_reloading();
        let handle = builder.reload_handle();
        if builder.try_init().is_ok() {
            let _ = REPLACE.set(Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string())));
        }
    } else {
        let builder = builder.without_time().with_env_filter(parsed).with_filter_reloading();
        let handle = builder.reload_handle();
        if builder.try_init().is_ok() {
            let _ = REPLACE.set(Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string())));
        }
    }
    Ok(())
}

/// Puts another filter in the place of the one that [`init`] was given.
///
/// # Errors
/// If the filter cannot be read, or logging was not started by [`init`].
pub fn set_filter(filter: &str) -> Result<(), LogError> {
    let parsed = parse(filter)?;
    let failed = |message: String| LogError { filter: filter.to_owned(), message };
    let replace = REPLACE.get().ok_or_else(|| failed("the log has not been started".to_owned()))?;
    replace(parsed).map_err(failed)
}

/// Whether a filter can be read.
///
/// # Errors
/// If it cannot.
pub fn check(filter: &str) -> Result<(), LogError> {
    parse(filter).map(drop)
}

fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::try_new(filter).map_err(|error| LogError { filter: filter.to_owned(), message: error.to_string() })
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
        assert_eq!(check("martlet=loud").unwrap_err().to_string(), message);
    }

    #[test]
    fn a_filter_can_be_replaced() {
        init("info", Format::Plain).unwrap();
        let shown = || tracing::enabled!(tracing::Level::DEBUG);
        set_filter("debug").unwrap();
        assert!(shown());
        set_filter("info").unwrap();
        assert!(!shown());
        assert!(set_filter("martlet=loud").is_err());
    }
}
