//! What can go wrong with the store, and the code that each becomes:
//!
//! | trouble | code | next step |
//! | --- | --- | --- |
//! | the file is not ours, damaged, truncated, newer | `StoreRefused` | put a backup back; the message names the file |
//! | the disk is full | `DeviceMemory` | make room; nothing was written |
//! | its log or index was removed while in use | `StoreRefused` | stop all programs that use it, start them again |
//! | reading or writing failed | `DeviceError` | look at the disk; the store takes no more writes until the process opens it again |
//! | another process holds the store for 30 s | `DeviceError` | find that process |

use std::path::Path;
use std::{fmt, io};

use rusqlite::ErrorCode;

use crate::error::{Code, Error, refuse};
use crate::sys::vfs;

/// `Result` inside the store.
pub type Result<T> = std::result::Result<T, Trouble>;

/// Why something failed inside the store.
#[derive(Debug)]
pub enum Trouble {
    /// SQLite says so.
    Sql(rusqlite::Error),
    /// A row that we cannot have written.
    Damaged(String),
    /// Already told in full.
    Told(Error),
}

impl From<rusqlite::Error> for Trouble {
    fn from(cause: rusqlite::Error) -> Self {
        Self::Sql(cause)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Told(error)
    }
}

impl Trouble {
    /// Whether another connection is in the way, so that trying again helps.
    pub fn is_busy(&self) -> bool {
        matches!(self.code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
    }

    /// Whether what is on the disk is uncertain now: after a failed write or fsync nothing may be written on top.
    pub fn is_uncertain(&self) -> bool {
        matches!(self.code(), Some(ErrorCode::SystemIoFailure))
    }

    /// Whether this process cannot open one more connection: it has become another user, or lives in another directory, since it opened others.
    pub fn is_refused(&self) -> bool {
        matches!(self.code(), Some(ErrorCode::CannotOpen)) && vfs::was_refused()
    }

    /// Whether a system call failed beneath SQLite.
    fn is_from_system(&self) -> bool {
        matches!(self.code(), Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::DiskFull))
    }

    fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Sql(cause) => cause.sqlite_error_code(),
            Self::Damaged(_) | Self::Told(_) => None,
        }
    }

    /// The error for callers of the store: what was being `doing`, in which file, and what to do about it.
    pub fn told(self, path: &Path, doing: &str) -> Error {
        let path = path.display();
        let system = vfs::take_last_error().filter(|_| self.is_from_system());
        let cause = match self {
            Self::Told(error) => return error,
            Self::Damaged(what) => return damaged(&path.to_string(), doing, &what),
            Self::Sql(cause) => Failure { cause, system },
        };
        if cause.lost_its_log() {
            let told = format!("{doing}: {path}-wal or {path}-shm was removed while programs use {path}");
            return refuse(Code::StoreRefused, told + "; stop them all, then start them again").because(cause);
        }
        match cause.cause.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                damaged(&path.to_string(), doing, "SQLite finds it malformed").because(cause)
            }
            Some(ErrorCode::DiskFull) => refuse(Code::DeviceMemory, format!("{doing}: disk full writing {path}")).because(cause),
            Some(ErrorCode::OutOfMemory) => refuse(Code::HostMemory, format!("{doing} in {path}: out of memory")).because(cause),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                refuse(Code::DeviceError, format!("{doing}: another process has held {path} for too long")).because(cause)
            }
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
                let todo = "it must be readable and writable by this user, on a file system mounted for writing";
                refuse(Code::StoreRefused, format!("{doing}: cannot open {path}: {todo}")).because(cause)
            }
            // A column of another type than we wrote.
            None => damaged(&path.to_string(), doing, "a row is not one of ours").because(cause),
            Some(_) => refuse(Code::DeviceError, format!("{doing} in {path}")).because(cause),
        }
    }
}

/// SQLite's error with the system's, which SQLite leaves out ("unable to open database file": permission denied).
#[derive(Debug)]
struct Failure {
    cause: rusqlite::Error,
    system: Option<io::Error>,
}

impl Failure {
    /// Whether the file layer found that others use a log or index that is not there.
    fn lost_its_log(&self) -> bool {
        self.system.as_ref().is_some_and(|system| system.kind() == io::ErrorKind::StaleNetworkFileHandle)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cause)?;
        self.system.as_ref().map_or(Ok(()), |system| write!(f, ": {system}"))
    }
}

impl std::error::Error for Failure {}

/// The refusal of a file whose contents cannot be trusted.
pub fn damaged(path: &str, doing: &str, what: &str) -> Error {
    let todo = "stop all programs that use it, then put back a backup of the whole directory";
    refuse(Code::StoreRefused, format!("{doing}: {path} is damaged ({what}); {todo}"))
}
