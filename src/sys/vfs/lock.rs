//! Locks of open file descriptions, and SQLite's protocol on a database file made of them.

use std::ffi::c_int;
use std::io;
use std::os::fd::RawFd;

use rusqlite::ffi;

use crate::sys::process::Descriptor;

/// How a range of bytes is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Together with others who read.
    Shared,
    /// Alone.
    Exclusive,
    /// Not at all.
    Nothing,
}

impl Hold {
    fn kind(self) -> libc::c_short {
        (match self {
            Self::Shared => libc::F_RDLCK,
            Self::Exclusive => libc::F_WRLCK,
            Self::Nothing => libc::F_UNLCK,
        }) as libc::c_short
    }
}

/// Sets the lock on `len` bytes from `start`, without waiting. False: somebody else is in the way.
pub fn set(file: &Descriptor, hold: Hold, start: i64, len: i64) -> io::Result<bool> {
    set_raw(file.raw()?, hold, start, len)
}

fn set_raw(file: RawFd, hold: Hold, start: i64, len: i64) -> io::Result<bool> {
    let range = range(hold, start, len);
    loop {
        // SAFETY: the range is ours and lives through the call.
        if unsafe { libc::fcntl(file, libc::F_OFD_SETLK, &raw const range) } == 0 {
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::EAGAIN | libc::EACCES) => return Ok(false),
            _ => return Err(error),
        }
    }
}

/// Whether another description holds a lock that is in the way of an exclusive one.
pub fn is_held_by_another(file: &Descriptor, start: i64, len: i64) -> io::Result<bool> {
    let mut range = range(Hold::Exclusive, start, len);
    // SAFETY: the range is ours and lives through the call.
    if unsafe { libc::fcntl(file.raw()?, libc::F_OFD_GETLK, &raw mut range) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(range.l_type != libc::F_UNLCK as libc::c_short)
}

fn range(hold: Hold, start: i64, len: i64) -> libc::flock {
    // SAFETY: all-zero bytes are a valid `flock`; open-file-description locks want a process id of zero.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = hold.kind();
    range.l_whence = libc::SEEK_SET as libc::c_short;
    range.l_start = start;
    range.l_len = len;
    range
}

/// SQLite's lock bytes (fileformat2, section 1.3): the page at 2^30 is never used for data.
const PENDING: i64 = 0x4000_0000;
const RESERVED: i64 = PENDING + 1;
const SHARED: i64 = PENDING + 2;
const SHARED_BYTES: i64 = 510;

/// Held shared by each connection of ours that uses the index of the log: a byte that SQLite does not use, on the database itself, which
/// tells whether an index or a log that is not there was removed while in use.
const ATTACHED: i64 = SHARED + SHARED_BYTES;

/// Says on the database that this connection uses the index of its log, or does no more.
pub fn set_attached(database: &Descriptor, attached: bool) -> io::Result<()> {
    // Nobody takes it exclusively, so it is never refused.
    set(database, if attached { Hold::Shared } else { Hold::Nothing }, ATTACHED, 1).map(|_always| ())
}

/// Whether another connection uses an index of the log of this database.
pub fn another_is_attached(database: &Descriptor) -> io::Result<bool> {
    is_held_by_another(database, ATTACHED, 1)
}

/// Whether another description holds any of these locks.
pub fn is_locked(database: &Descriptor) -> io::Result<bool> {
    is_held_by_another(database, PENDING, ATTACHED + 1 - PENDING)
}

/// Holds SQLite's shared lock on a database, for as long as the description is open. False: it cannot be had.
pub fn share(database: RawFd) -> bool {
    set_raw(database, Hold::Shared, SHARED, SHARED_BYTES).is_ok_and(|is_held| is_held)
}

/// Lets go of all locks of a description.
pub fn release_all(file: RawFd) {
    // To let go is never refused.
    let _ = set_raw(file, Hold::Nothing, 0, 0);
}

/// The state of SQLite's lock on one database file: `SQLITE_LOCK_NONE` to `SQLITE_LOCK_EXCLUSIVE`.
pub struct DatabaseLock {
    level: c_int,
}

impl DatabaseLock {
    /// Not locked.
    pub fn new() -> Self {
        Self { level: ffi::SQLITE_LOCK_NONE }
    }

    /// What is held.
    pub fn level(&self) -> c_int {
        self.level
    }

    /// Rises to `wanted`. False: another connection is in the way (on the way to exclusive, the pending lock may have been taken).
    pub fn raise(&mut self, file: &Descriptor, wanted: c_int) -> io::Result<bool> {
        if wanted <= self.level {
            return Ok(true);
        }
        match wanted {
            ffi::SQLITE_LOCK_SHARED => self.share(file),
            ffi::SQLITE_LOCK_RESERVED => self.step(file, RESERVED, 1, wanted),
            _ => {
                // Stops new readers while the present ones finish.
                let stopped = self.level != ffi::SQLITE_LOCK_RESERVED || self.step(file, PENDING, 1, ffi::SQLITE_LOCK_PENDING)?;
                Ok(stopped && self.step(file, SHARED, SHARED_BYTES, ffi::SQLITE_LOCK_EXCLUSIVE)?)
            }
        }
    }

    /// Readers pass the pending byte first, so that they queue behind a writer who waits for them to finish.
    fn share(&mut self, file: &Descriptor) -> io::Result<bool> {
        if !set(file, Hold::Shared, PENDING, 1)? {
            return Ok(false);
        }
        let shared = set(file, Hold::Shared, SHARED, SHARED_BYTES);
        set(file, Hold::Nothing, PENDING, 1)?;
        if shared? {
            self.level = ffi::SQLITE_LOCK_SHARED;
        }
        Ok(self.level == ffi::SQLITE_LOCK_SHARED)
    }

    fn step(&mut self, file: &Descriptor, start: i64, len: i64, reached: c_int) -> io::Result<bool> {
        let taken = set(file, Hold::Exclusive, start, len)?;
        if taken {
            self.level = reached;
        }
        Ok(taken)
    }

    /// Falls to `wanted`: shared or none.
    pub fn lower(&mut self, file: &Descriptor, wanted: c_int) -> io::Result<()> {
        if wanted >= self.level {
            return Ok(());
        }
        if wanted == ffi::SQLITE_LOCK_SHARED {
            // Never fails for lack of the lock: we hold at least as much.
            set(file, Hold::Shared, SHARED, SHARED_BYTES)?;
            set(file, Hold::Nothing, PENDING, 2)?;
        } else {
            set(file, Hold::Nothing, PENDING, 2 + SHARED_BYTES)?;
        }
        self.level = wanted;
        Ok(())
    }

    /// Whether somebody, this connection included, means to write.
    pub fn is_reserved(&self, file: &Descriptor) -> io::Result<bool> {
        Ok(self.level > ffi::SQLITE_LOCK_SHARED || is_held_by_another(file, RESERVED, 1)?)
    }
}
