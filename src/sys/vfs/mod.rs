//! SQLite's files.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

/// Opens a database file; `create` makes it when it is missing. The connection is for one thread at a time.
pub fn open(path: &Path, create: bool) -> rusqlite::Result<Connection> {
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if create {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    Connection::open_with_flags(path, flags)
}
