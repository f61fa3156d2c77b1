//! The system's log.

use std::ffi::CString;

use crate::error::Level;

/// Hands a line to `syslog(3)`, facility `daemon`. The host's own `openlog` settings are left alone.
pub fn tell(level: Level, line: &str) {
    let priority = match level {
        Level::Error => libc::LOG_ERR,
        Level::Warning => libc::LOG_WARNING,
        Level::Info => libc::LOG_INFO,
        Level::Debug => libc::LOG_DEBUG,
    };
    let line = CString::new(line.replace('\0', "?")).unwrap_or_default();
    // SAFETY: the format takes one string, and the string is terminated and lives through the call.
    unsafe { libc::syslog(priority | libc::LOG_DAEMON, c"%s".as_ptr(), line.as_ptr()) }
}
