//! Asking the processor for memory ahead of its use: the one place with unsafe code, since the language has no safe
//! name for it.
#![expect(unsafe_code, reason = "prefetch instructions take a raw pointer; they read nothing and cannot fault")]

/// Begins to fetch the cache line in which an element lies. Does nothing for a place outside the slice, or on a
/// processor whose instruction is not named here.
#[inline]
pub(super) fn prefetch<T>(slice: &[T], index: usize) {
    let Some(element) = slice.get(index) else { return };
    let pointer = std::ptr::from_ref(element);
    // SAFETY: a prefetch changes no memory and no register that the program sees, and the pointer is valid besides.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(pointer.cast());
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) pointer, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = pointer;
}
