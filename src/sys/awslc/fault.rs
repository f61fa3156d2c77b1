//! The library's thread-local error queue, turned into the cause of one error of ours.

use std::ffi::CStr;

use aws_lc_sys as lc;

use crate::error::{Code, Error, refuse};

/// An error of ours with the library's reason as its cause. Empties the queue, so that no later call sees it.
pub(super) fn fault(code: Code, doing: &str) -> Error {
    // SAFETY: both calls touch this thread's own queue only; the reason is a static string of the library, or NULL.
    let reason = unsafe {
        let packed = lc::ERR_get_error();
        lc::ERR_clear_error();
        let text = lc::ERR_reason_error_string(packed);
        (packed != 0 && !text.is_null()).then(|| CStr::from_ptr(text))
    };
    match reason {
        Some(reason) => refuse(code, doing).because(reason.to_string_lossy().into_owned()),
        None => refuse(code, doing),
    }
}

/// Empties the queue without a word: for failures whose reason must not leave the room (padding).
pub(super) fn forget() {
    // SAFETY: touches this thread's own queue only.
    unsafe { lc::ERR_clear_error() };
}
