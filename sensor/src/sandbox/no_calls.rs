//! On processors that seccompiler has no filters for, system calls are not filtered.

use super::SandboxError;

#[expect(clippy::unnecessary_wraps, reason = "as where there is a filter")]
pub(super) fn filter(_names: bool) -> Result<Option<String>, SandboxError> {
    Ok(Some(format!("there is no list of calls for {}", std::env::consts::ARCH)))
}

pub(super) fn offered() -> &'static str {
    "no filter of system calls for this processor"
}
