//! SQLite's files, by a layer of our own (a "VFS") whose locks survive what an embedded store meets.
//!
//! SQLite's own layer for Unix uses POSIX record locks, which belong to the process: a forked child inherits tables that say it holds locks it
//! does not hold, and of two copies of SQLite in one process (two modules, or the host's) each drops the other's locks when it closes a file.
//! Here every connection has descriptors of its own and locks them as open file descriptions (`F_OFD_SETLK`), so that two connections exclude
//! each other wherever they are: in one copy of the module, in two, in a child, or in another program that uses SQLite's own layer, because
//! the bytes that are locked are the same and the two kinds of lock conflict.
//!
//! In a forked child the parent's descriptors are closed at birth ([`super::process::Descriptor`]) and its mappings are not inherited
//! (`MADV_DONTFORK`), so no lock of the parent outlives it there. A child must abandon its parent's connections: not use them, not close them
//! ([`super::process::PerProcess`]).
//!
//! What is kept of SQLite's layer: names (`-wal`, `-shm`), lock bytes, the order of syncs, `fdatasync`, and the sync of the directory after a
//! file may have been made in it. What is new: after a failed sync a file takes no more writes, because the kernel may have dropped the pages and a
//! second sync would say that all is well.

mod calls;
mod file;
mod index;
pub(super) mod lock;
pub mod memory;
mod shared;

use std::ffi::{CStr, c_int};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, ffi};

use crate::sys::heirloom;
use crate::sys::process::{Descriptor, NoFork};

pub(super) use file::sync_directory_of;
pub use file::take_last_error;
pub use index::WalIndex;

#[cfg(test)]
pub use file::fault;

/// The name under which SQLite knows the layer.
const NAME: &CStr = c"hsmpool";

/// Opens a database file; `create` makes it when it is missing. The connection is for one thread at a time, the path absolute.
///
/// Whoever meets a busy database is told at once: waiting is the caller's, who does it without keeping forks from happening.
pub fn open(path: &Path, create: bool) -> rusqlite::Result<Connection> {
    let _held = NoFork::hold();
    // What is said of a failure is of this one.
    drop(take_last_error());
    let layer = if memory::Disk::of(path).is_some() { register_memory()? } else { register()? };
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if create {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    let sql = Connection::open_with_flags_and_vfs(path, flags, layer)?;
    sql.busy_timeout(Duration::ZERO)?;
    Ok(sql)
}

/// Whether any connection is open to a database with a write-ahead log: of this process or another, of ours or of SQLite's own layer, each of
/// which holds a lock for as long as it uses the log.
pub fn is_in_use(path: &Path) -> std::io::Result<bool> {
    let _alone = NoFork::hold();
    let file = Descriptor::new(OwnedFd::from(File::open(path)?))?;
    lock::is_locked(&file)
}

/// Whether the latest failure on this thread was that this process may not, or cannot, get at a file by its name, and has no other way left.
pub fn was_refused() -> bool {
    let error = std::io::Error::from_raw_os_error(file::last_error());
    heirloom::is_refusal(&error) || error.kind() == std::io::ErrorKind::ResourceBusy
}

/// Whether the name of an open database leads to another file now, or nowhere.
pub fn has_moved(sql: &Connection) -> rusqlite::Result<bool> {
    let mut moved: c_int = 0;
    // SAFETY: the handle is open and used by this thread alone; the argument is an integer, as this operation wants.
    let code = unsafe {
        let argument = (&raw mut moved).cast();
        ffi::sqlite3_file_control(sql.handle(), c"main".as_ptr(), ffi::SQLITE_FCNTL_HAS_MOVED, argument)
    };
    told(code).map(|()| moved != 0)
}

fn told(code: c_int) -> rusqlite::Result<()> {
    if code == ffi::SQLITE_OK { Ok(()) } else { Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)) }
}

/// Makes the layer of disks in memory known as well.
fn register_memory() -> rusqlite::Result<&'static CStr> {
    register()?;
    told(memory::register())?;
    Ok(memory::NAME)
}

/// Makes the layer known to SQLite, once, and names it.
fn register() -> rusqlite::Result<&'static CStr> {
    static REGISTERED: OnceLock<c_int> = OnceLock::new();
    let code = *REGISTERED.get_or_init(|| {
        // SAFETY: before SQLite starts (or refused, which does no harm): no lock around each allocation only to count bytes.
        unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, 0) };
        let layer = Box::leak(Box::new(calls::layer(NAME)));
        // SAFETY: the structure is complete and lives for ever.
        unsafe { ffi::sqlite3_vfs_register(layer, 0) }
    });
    told(code)?;
    Ok(NAME)
}

#[cfg(test)]
pub mod tests;
