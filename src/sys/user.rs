//! Whose process this is.

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Longest entry of the password file that is read.
const ENTRY_MAX_BYTES: usize = 16 << 10;

/// Whether the process runs with root's rights.
pub fn is_root() -> bool {
    // SAFETY: takes nothing, always succeeds.
    unsafe { libc::geteuid() == 0 }
}

/// The process's effective user.
pub fn id() -> u32 {
    // SAFETY: takes nothing, always succeeds.
    unsafe { libc::geteuid() }
}

/// Whether the process may make files in a directory.
pub fn may_fill(directory: &Path) -> bool {
    let Ok(path) = CString::new(directory.as_os_str().as_bytes()) else { return false };
    // SAFETY: the path ends with a null byte, and lives through the call.
    unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::W_OK | libc::X_OK, libc::AT_EACCESS) == 0 }
}

/// Whether the process has more rights than whoever started it: set-user-id, set-group-id, file capabilities (`AT_SECURE`).
pub fn has_raised_rights() -> bool {
    // SAFETY: reads a number that the kernel has handed to this process; answers 0 for what it does not know.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// The home directory that the password file names for the process's user.
pub fn home_of_password_file() -> Option<PathBuf> {
    let mut entry = std::mem::MaybeUninit::<libc::passwd>::uninit();
    let mut buffer = vec![0; ENTRY_MAX_BYTES];
    let mut found = std::ptr::null_mut();
    // SAFETY: entry, buffer (with its length) and found are ours and live through the call.
    let rv = unsafe { libc::getpwuid_r(libc::geteuid(), entry.as_mut_ptr(), buffer.as_mut_ptr(), buffer.len(), &mut found) };
    if rv != 0 || found.is_null() {
        return None;
    }
    // SAFETY: the call succeeded, so the entry is filled, and its strings are terminated and stand in the buffer.
    let home = unsafe { CStr::from_ptr((*found).pw_dir) };
    Some(PathBuf::from(OsStr::from_bytes(home.to_bytes()))).filter(|home| !home.as_os_str().is_empty())
}
