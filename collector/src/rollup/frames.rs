//! Zstandard frames within blobs.

use std::cell::RefCell;

use zstd::bulk::Decompressor;

thread_local! {
    /// A report reads tens of thousands of frames. Making the state of one asks the processor what it can do, which is slow where
    /// that is a virtual one.
    static STATE: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// The content of a frame, of so many bytes at most; `None` if it is damaged or longer.
pub(super) fn unpack(frame: &[u8], most: usize) -> Option<Vec<u8>> {
    STATE.with_borrow_mut(|state| {
        if state.is_none() {
            *state = Some(Decompressor::new().ok()?);
        }
        state.as_mut()?.decompress(frame, most).ok()
    })
}
