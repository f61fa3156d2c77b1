//! One open file of SQLite, as operations that return `io::Result`; the C side is in `calls`.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_int};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;

use super::lock::{DatabaseLock, another_is_attached};
use super::shared::{LOOK_AGAIN, LOOKS_MAX, SharedIndex};
use crate::sys::heirloom::{self, Lent};
use crate::sys::process::{self, Descriptor};

thread_local! {
    static LAST_ERROR: Cell<i32> = const { Cell::new(0) };
}

/// Keeps the system's error behind a code that SQLite passes on: the code alone does not say "permission denied".
pub fn keep_error(error: &io::Error) {
    LAST_ERROR.set(error.raw_os_error().unwrap_or(0));
}

/// The number of the kept error.
pub fn last_error() -> i32 {
    LAST_ERROR.get()
}

/// The system's error behind the latest failure on this thread, once.
pub fn take_last_error() -> Option<io::Error> {
    Some(LAST_ERROR.take()).filter(|code| *code != 0).map(io::Error::from_raw_os_error)
}

/// An open file.
pub struct File {
    /// The file itself.
    pub descriptor: Descriptor,
    /// Where it is; empty for a file without a name.
    pub path: CString,
    /// SQLite's lock on it.
    pub lock: DatabaseLock,
    /// The index of its write-ahead log, once it is used.
    pub index: Option<SharedIndex>,
    /// Whether the write-ahead log outlives the last connection.
    pub keep_log: bool,
    /// To be removed when it is closed.
    pub delete_on_close: bool,
    /// It was opened to be made if need be, so that its name may not be on the disk yet.
    sync_directory: bool,
    /// A sync has failed: nobody knows what is on the disk.
    failed: bool,
    /// It is a write-ahead log: the frames of one commit are written together.
    pub gathers: bool,
    /// Frames of a commit that is not whole yet, and where they belong.
    gathered: Vec<u8>,
    gathered_at: i64,
    /// Where the last call read, if it did.
    read_at: Option<i64>,
    /// What the system called a database when it was opened by its name.
    seen_as: Option<PathBuf>,
}

/// Bytes of a frame's header (SQLite's file format, section 4.1); nothing else of a log is as short.
const FRAME_HEADER_BYTES: usize = 24;
/// Longer ones go out in parts.
const GATHERED_MAX_BYTES: usize = 256 << 10;

/// Whether the frame is the last one of a commit: then its header says how long the database is.
fn is_commit(header: &[u8]) -> bool {
    header.get(4..8).is_some_and(|pages| pages != [0; 4])
}

/// What a read gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// All bytes.
    Whole,
    /// The file ended; the rest is zeros.
    Short,
}

impl File {
    /// Opens a database, by its name or, where that is refused, as it was left to this process.
    pub fn open_database(path: &CStr, flags: c_int) -> io::Result<Self> {
        match Self::open(path, flags) {
            Err(refused) if heirloom::is_refusal(&refused) => {
                let lent = heirloom::take(path).unwrap_or(Err(refused))?;
                Ok(Self::of(descriptor_of(lent)?, path.to_owned(), false))
            }
            opened => {
                let mut opened = opened?;
                opened.seen_as = heirloom::seen_as(opened.descriptor.raw()?);
                Ok(opened)
            }
        }
    }

    /// Opens `path` with flags of `open(2)`; a file that is made is for its user alone.
    pub fn open(path: &CStr, flags: c_int) -> io::Result<Self> {
        let descriptor = open_descriptor(path, flags, 0o600)?;
        Ok(Self::of(descriptor, path.to_owned(), flags & libc::O_CREAT != 0))
    }

    /// Opens the log or journal of a database, which is made like the database.
    ///
    /// Error: `ESTALE`: the log is missing, but others use one: it has been removed.
    pub fn open_log(path: &CStr, flags: c_int, database: &Self) -> io::Result<Self> {
        let makes = flags & libc::O_CREAT != 0;
        let database = &database.descriptor;
        if let Some(lent) = database.as_lent() {
            // There since this process's birth, and its name is on the disk.
            return Ok(Self::of(descriptor_of(lent.sibling(path)?)?, path.to_owned(), false));
        }
        let mut looks = 0..LOOKS_MAX;
        let descriptor = loop {
            match open_descriptor(path, flags & !libc::O_CREAT, 0) {
                Err(missing) if makes && missing.kind() == io::ErrorKind::NotFound => {}
                opened => break opened?,
            }
            // Others came first, and theirs will be found; or a dying process lets go of its files; or it has been removed.
            if another_is_attached(database)? {
                looks.next().ok_or_else(|| io::Error::from_raw_os_error(libc::ESTALE))?;
                std::thread::sleep(LOOK_AGAIN);
                continue;
            }
            match make_like(&stat_of(database)?, path, flags) {
                Err(found) if found.kind() == io::ErrorKind::AlreadyExists => {}
                made => break made?,
            }
        };
        // Whoever made it: another connection, which never syncs, or a process that died before it did.
        Ok(Self::of(descriptor, path.to_owned(), makes))
    }

    /// A file without a name, in memory: SQLite's scratch space.
    pub fn scratch() -> io::Result<Self> {
        // SAFETY: the name ends with a null byte.
        let raw = unsafe { libc::memfd_create(c"hsmpool-scratch".as_ptr(), libc::MFD_CLOEXEC) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a fresh descriptor that nobody else owns.
        let descriptor = Descriptor::new(unsafe { OwnedFd::from_raw_fd(raw) })?;
        Ok(Self::of(descriptor, CString::default(), false))
    }

    fn of(descriptor: Descriptor, path: CString, sync_directory: bool) -> Self {
        let lock = DatabaseLock::new();
        Self {
            descriptor,
            path,
            lock,
            index: None,
            keep_log: false,
            delete_on_close: false,
            sync_directory,
            failed: false,
            gathers: false,
            gathered: Vec::new(),
            gathered_at: 0,
            read_at: None,
            seen_as: None,
        }
    }

    /// Fills `out` from `offset`.
    pub fn read(&mut self, out: &mut [u8], offset: i64) -> io::Result<Read> {
        self.put_gathered()?;
        self.read_at = Some(offset);
        fault::point(fault::Operation::Read)?;
        let mut done = 0;
        while done < out.len() {
            let rest = &mut out[done..];
            // SAFETY: `rest` is ours to write, and its length is told.
            let got = unsafe { libc::pread(self.descriptor.raw()?, rest.as_mut_ptr().cast(), rest.len(), offset + done as i64) };
            match usize::try_from(got) {
                Ok(0) => {
                    rest.fill(0);
                    return Ok(Read::Short);
                }
                Ok(got) => done += got,
                Err(_negative) => interrupted()?,
            }
        }
        Ok(Read::Whole)
    }

    /// Writes all of `bytes` at `offset`. SQLite hands a log over in two pieces a page; until a commit is whole nobody reads them (others learn of
    /// a commit from the index, which SQLite writes afterwards), so they go out in one piece.
    pub fn write(&mut self, bytes: &[u8], offset: i64) -> io::Result<()> {
        // A frame that was just read gets another header (SQLite's `walRewriteChecksums`), and nothing may follow before the commit is told of. A
        // test that kills the process wants each write by itself.
        let is_rewritten = self.read_at.take() == Some(offset);
        if !self.gathers || is_rewritten || fault::is_armed() {
            self.put_gathered()?;
            return self.put(bytes, offset);
        }
        let follows = offset == self.gathered_at + self.gathered.len() as i64;
        if self.gathered.is_empty() || !follows {
            self.put_gathered()?;
            if bytes.len() != FRAME_HEADER_BYTES {
                return self.put(bytes, offset);
            }
            self.gathered_at = offset;
        }
        fault::point(fault::Operation::Write)?;
        let ends = bytes.len() != FRAME_HEADER_BYTES && {
            let header = self.gathered.len().saturating_sub(FRAME_HEADER_BYTES);
            is_commit(&self.gathered[header..]) || self.gathered.len() + bytes.len() > GATHERED_MAX_BYTES
        };
        self.gathered.extend_from_slice(bytes);
        if ends { self.put_gathered() } else { Ok(()) }
    }

    /// Writes what was gathered: before anything else is done with the file.
    pub fn put_gathered(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let gathered = std::mem::take(&mut self.gathered);
        let put = self.put(&gathered, self.gathered_at);
        self.gathered = gathered;
        self.gathered.clear();
        put
    }

    fn put(&mut self, bytes: &[u8], offset: i64) -> io::Result<()> {
        self.check_sound()?;
        let mut done = 0;
        // A process may die between two parts of a write.
        let torn = fault::is_armed().then_some(bytes.len() / 2);
        if torn.is_none() {
            fault::point(fault::Operation::Write)?;
        }
        while done < bytes.len() {
            let rest = &bytes[done..torn.filter(|half| *half > done).unwrap_or(bytes.len())];
            // SAFETY: `rest` is readable, and its length is told.
            let put = unsafe { libc::pwrite(self.descriptor.raw()?, rest.as_ptr().cast(), rest.len(), offset + done as i64) };
            match usize::try_from(put) {
                Ok(put) => done += put,
                Err(_negative) => interrupted()?,
            }
            if torn == Some(done) {
                fault::point(fault::Operation::Write)?;
            }
        }
        Ok(())
    }

    /// Cuts or extends the file to `bytes` bytes.
    pub fn truncate(&mut self, bytes: i64) -> io::Result<()> {
        self.put_gathered()?;
        self.check_sound()?;
        fault::point(fault::Operation::Truncate)?;
        // SAFETY: no pointers involved.
        while unsafe { libc::ftruncate(self.descriptor.raw()?, bytes) } != 0 {
            interrupted()?;
        }
        Ok(())
    }

    /// Makes all that was written durable, and the name of a file that may be new. A failure is final.
    pub fn sync(&mut self) -> io::Result<()> {
        self.put_gathered()?;
        self.check_sound()?;
        let synced = self.try_sync();
        self.failed = synced.is_err();
        synced
    }

    fn try_sync(&mut self) -> io::Result<()> {
        fault::point(fault::Operation::Sync)?;
        // SAFETY: no pointers involved.
        if unsafe { libc::fdatasync(self.descriptor.raw()?) } != 0 {
            return Err(io::Error::last_os_error());
        }
        if self.sync_directory {
            sync_directory_of(&self.path)?;
            self.sync_directory = false;
        }
        Ok(())
    }

    fn check_sound(&self) -> io::Result<()> {
        if self.failed { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) }
    }

    /// Length in bytes.
    pub fn size(&mut self) -> io::Result<i64> {
        self.put_gathered()?;
        stat_of(&self.descriptor).map(|found| found.st_size)
    }

    /// Whether the name leads to another file now, or nowhere.
    pub fn has_moved(&self) -> io::Result<bool> {
        if let Some(lent) = self.descriptor.as_lent() {
            return Ok(lent.has_moved());
        }
        let own = stat_of(&self.descriptor)?;
        match stat_named(&self.path) {
            Ok(named) => Ok((named.st_dev, named.st_ino) != (own.st_dev, own.st_ino)),
            // A process that gave up its rights asks what the system calls it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Ok(own.st_nlink == 0 || heirloom::seen_as(self.descriptor.raw()?) != self.seen_as)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// Goes on after an interrupted system call; any other error is returned.
fn interrupted() -> io::Result<()> {
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) }
}

/// What the system knows about an open file.
pub fn stat_of(file: &Descriptor) -> io::Result<libc::stat> {
    process::stat_of(file.raw()?)
}

fn stat_named(path: &CStr) -> io::Result<libc::stat> {
    // SAFETY: all-zero bytes are a valid `stat`.
    let mut found: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with a null byte, and `found` is ours.
    if unsafe { libc::stat(path.as_ptr(), &raw mut found) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(found)
}

fn descriptor_of((owned, lent): (OwnedFd, Lent)) -> io::Result<Descriptor> {
    Descriptor::lent(owned, Some(lent))
}

/// Opens the index of a database's log, made if need be.
pub fn open_index(database: &Descriptor, path: &CStr) -> io::Result<Descriptor> {
    match database.as_lent() {
        Some(lent) => descriptor_of(lent.sibling(path)?),
        None => open_like(&stat_of(database)?, path, libc::O_RDWR),
    }
}

/// Opens a file that stands beside another one, made if need be.
fn open_like(like: &libc::stat, path: &CStr, flags: c_int) -> io::Result<Descriptor> {
    loop {
        match open_descriptor(path, flags, 0) {
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        match make_like(like, path, flags) {
            Err(found) if found.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made,
        }
    }
}

/// Makes a file with the mode, and from root the owner, of the file that it stands beside, so that all who may use one may use the other. Error:
/// `AlreadyExists`: of all who make it at once, one has made it.
fn make_like(like: &libc::stat, path: &CStr, flags: c_int) -> io::Result<Descriptor> {
    let mode = like.st_mode & 0o777;
    let made = open_descriptor(path, flags | libc::O_CREAT | libc::O_EXCL, mode)?;
    let raw = made.raw()?;
    // SAFETY: no pointers involved. Only root may give files away.
    let given =
        unsafe { libc::fchmod(raw, mode) == 0 && (libc::geteuid() != 0 || libc::fchown(raw, like.st_uid, like.st_gid) == 0) };
    if given { Ok(made) } else { Err(io::Error::last_os_error()) }
}

fn open_descriptor(path: &CStr, flags: c_int, mode: libc::mode_t) -> io::Result<Descriptor> {
    // Links are not followed: a store under two names would have two logs.
    let flags = flags | libc::O_CLOEXEC | libc::O_NOFOLLOW;
    loop {
        // SAFETY: the path ends with a null byte.
        let raw = unsafe { libc::open(path.as_ptr(), flags, libc::c_uint::from(mode)) };
        if raw < 0 {
            interrupted()?;
            continue;
        }
        // SAFETY: a fresh descriptor that nobody else owns.
        let owned = unsafe { OwnedFd::from_raw_fd(raw) };
        if raw > 2 {
            return Descriptor::new(owned);
        }
        // The host has closed a standard descriptor: what it prints must not end up in a database.
        occupy(owned)?;
    }
}

/// Fills the number of a standard descriptor with one that discards.
fn occupy(standard: OwnedFd) -> io::Result<()> {
    drop(standard);
    // SAFETY: the path ends with a null byte; the descriptor is left open on purpose.
    if unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether `path` can be accessed so (`F_OK`, `R_OK | W_OK`).
pub fn access(path: &CStr, mode: c_int) -> io::Result<bool> {
    // SAFETY: the path ends with a null byte.
    if unsafe { libc::access(path.as_ptr(), mode) } == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::EACCES | libc::EROFS | libc::ENOTDIR) => Ok(false),
        _ => Err(error),
    }
}

/// Whether there is such a file, and it is not empty: an empty log or journal is as good as none.
pub fn exists_with_content(path: &CStr) -> io::Result<bool> {
    match stat_named(path) {
        Ok(found) => Ok(found.st_mode & libc::S_IFMT != libc::S_IFREG || found.st_size > 0),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(false),
        // A log that was left to us is found when it is opened; a journal our databases never have.
        Err(error) if heirloom::is_refusal(&error) && database_of(path).is_some_and(|path| heirloom::is_left(&path)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The database that a log or journal belongs to: its name less the suffix.
fn database_of(name: &CStr) -> Option<CString> {
    let bytes = name.to_bytes();
    let end = bytes.iter().rposition(|byte| *byte == b'-')?;
    CString::new(&bytes[..end]).ok()
}

/// Removes a file.
pub fn unlink(path: &CStr) -> io::Result<()> {
    fault::point(fault::Operation::Unlink)?;
    // SAFETY: the path ends with a null byte.
    if unsafe { libc::unlink(path.as_ptr()) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes the names in the directory of `path` durable.
pub fn sync_directory_of(path: &CStr) -> io::Result<()> {
    let bytes = path.to_bytes();
    let end = bytes.iter().rposition(|byte| *byte == b'/').unwrap_or(0).max(1);
    let directory = CString::new(bytes.get(..end).unwrap_or(b"."))?;
    // SAFETY: the path ends with a null byte.
    let raw = unsafe { libc::open(directory.as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a fresh descriptor that nobody else owns.
    let directory = unsafe { OwnedFd::from_raw_fd(raw) };
    // SAFETY: no pointers involved.
    if unsafe { libc::fsync(directory.as_raw_fd()) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Without tests nothing fails on purpose.
#[cfg(not(test))]
pub mod fault {
    /// Where a fault can be injected.
    pub enum Operation {
        /// Reading from a file.
        Read,
        /// Writing to a file.
        Write,
        /// Changing its length.
        Truncate,
        /// Making it durable.
        Sync,
        /// Removing it.
        Unlink,
        /// Locking part of the index.
        Lock,
        /// Between the two copies of the index's header, among others.
        Barrier,
    }

    /// Nothing happens here.
    #[inline]
    #[allow(clippy::unnecessary_wraps, reason = "its twin in tests fails on purpose")]
    pub fn point(_: Operation) -> std::io::Result<()> {
        Ok(())
    }

    /// Never.
    #[inline]
    pub fn is_armed() -> bool {
        false
    }
}

/// Faults on purpose: the n-th operation from now fails, or ends the process as `kill -9` does.
#[cfg(test)]
#[allow(missing_docs, reason = "each is what its name says")]
pub mod fault {
    use std::cell::Cell;
    use std::io;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Operation {
        Read,
        Write,
        Truncate,
        Sync,
        Unlink,
        Lock,
        Barrier,
    }

    #[derive(Clone, Copy)]
    pub enum Action {
        /// The process dies, at whatever operation.
        Kill,
        /// This kind of operation fails with this error number; others pass and are not counted.
        Fail(Operation, i32),
    }

    thread_local! {
        static PLAN: Cell<Option<(Action, u32)>> = const { Cell::new(None) };
    }

    /// On this thread, `after` more operations pass, then the action happens (a failure happens from then on).
    pub fn arm(action: Action, after: u32) {
        PLAN.set(Some((action, after)));
    }

    pub fn disarm() {
        PLAN.set(None);
    }

    /// Whether this thread is going to be killed: then writes are torn.
    pub fn is_armed() -> bool {
        matches!(PLAN.get(), Some((Action::Kill, _)))
    }

    pub fn point(operation: Operation) -> io::Result<()> {
        let Some((action, after)) = PLAN.get() else { return Ok(()) };
        if let Action::Fail(kind, _) = action
            && kind != operation
        {
            return Ok(());
        }
        if after > 0 {
            PLAN.set(Some((action, after - 1)));
            return Ok(());
        }
        match action {
            Action::Fail(_, code) => Err(io::Error::from_raw_os_error(code)),
            Action::Kill => {
                // SAFETY: ends this very process.
                unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
                Ok(())
            }
        }
    }
}
