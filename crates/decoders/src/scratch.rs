//! Files for readers that take a path: one for each thread, written anew each time.

use std::cell::RefCell;
use std::io::{Seek, Write};
use std::path::Path;

use tempfile::NamedTempFile;

thread_local! {
    static FILE: RefCell<NamedTempFile> = RefCell::new(NamedTempFile::new().expect("a temporary file"));
}

/// Calls `read` with the path of a file that holds `bytes`.
pub(crate) fn with_file<T>(bytes: &[u8], read: impl FnOnce(&Path) -> T) -> T {
    FILE.with_borrow_mut(|file| {
        file.rewind().expect("a temporary file can be written");
        file.write_all(bytes).expect("a temporary file can be written");
        file.as_file().set_len(bytes.len() as u64).expect("a temporary file can be cut");
        read(file.path())
    })
}
