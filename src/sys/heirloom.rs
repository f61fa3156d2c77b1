//! Descriptors of a store for a process that may not open it by name any more.
//!
//! A server opens its tokens as root, and its children serve as somebody else (nginx, Apache), perhaps in a directory from which no name leads to the
//! store (`chroot`). They have what they need in memory anyhow, so nothing is given away by leaving them a way to the files: right at its birth, when it
//! is root still, such a child opens them once more. These descriptions are its alone, for locks belong to descriptions, and nobody has locked them.
//! [`take`] lends one where the name is refused; it comes back, without its locks, when the [`super::process::Descriptor`] is dropped.
//!
//! One more description of the database is never lent, and holds SQLite's shared lock until the child ends. As long as it does, nobody can be the last
//! one to use the database, who would remove the log that the others are open on.
//!
//! A host may close all descriptors that it does not know, and use their numbers for files of its own. So a number is looked at before it is used or
//! closed: it must be the file that it was.
//!
//! Children of other users than root open nothing: they can regain what they give up by name only. Nor do children of a program that has more rights
//! than its caller. All here is atomics and system calls, because a child must be able to use it whatever other threads were doing at the fork.

use std::ffi::{CStr, CString, c_int};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Once, OnceLock};

use super::process::at_birth;
use super::user;
use super::vfs::lock;

/// Stores that can be left to children, in the life of a process; of more, children have none.
const STORES_MAX: usize = 16;
/// Connections that such a child can have: one stays, one writes, one reads.
const CONNECTIONS: usize = 3;
/// Lower numbers are what programs print to.
const FIRST: RawFd = 3;

static ESTATES: [Estate; STORES_MAX] = [const { Estate::new() }; STORES_MAX];

/// One store: its files, and what this process has of them since its birth.
struct Estate {
    paths: OnceLock<Paths>,
    /// How many of this process's stores at these paths are left to its children.
    holders: AtomicU32,
    /// The database as this process has opened it.
    database: Identity,
    databases: [Heirloom; CONNECTIONS],
    logs: [Heirloom; CONNECTIONS],
    indexes: [Heirloom; CONNECTIONS],
    root_key: [Heirloom; 1],
    guard: [Heirloom; 1],
}

struct Paths {
    database: CString,
    log: CString,
    index: CString,
    root_key: Option<CString>,
}

/// Which file it is, among all of this machine.
struct Identity {
    device: AtomicU64,
    number: AtomicU64,
}

/// One descriptor, unless it is negative.
struct Heirloom {
    raw: AtomicI32,
    identity: Identity,
    is_lent: AtomicBool,
}

impl Identity {
    const fn new() -> Self {
        Self { device: AtomicU64::new(0), number: AtomicU64::new(0) }
    }

    fn set(&self, found: &libc::stat) {
        self.device.store(found.st_dev, Ordering::Relaxed);
        self.number.store(found.st_ino, Ordering::Relaxed);
    }

    fn is(&self, found: &libc::stat) -> bool {
        (self.device.load(Ordering::Relaxed), self.number.load(Ordering::Relaxed)) == (found.st_dev, found.st_ino)
    }
}

fn stat_of(raw: RawFd) -> Option<libc::stat> {
    // SAFETY: all-zero bytes are a valid `stat`.
    let mut found: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `found` is ours and lives through the call.
    (unsafe { libc::fstat(raw, &raw mut found) } == 0).then_some(found)
}

fn close(raw: RawFd) {
    // SAFETY: the caller has opened it, or has seen that it is still what this process opened.
    unsafe { libc::close(raw) };
}

impl Heirloom {
    const fn new() -> Self {
        Self { raw: AtomicI32::new(-1), identity: Identity::new(), is_lent: AtomicBool::new(false) }
    }

    /// Opens the file; false: it cannot be.
    fn open(&self, path: &CStr, access: c_int) -> bool {
        // SAFETY: the path ends with a null byte.
        let raw = unsafe { libc::open(path.as_ptr(), access | libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NOCTTY) };
        if raw < 0 {
            return false;
        }
        match stat_of(raw).filter(|found| raw >= FIRST && found.st_mode & libc::S_IFMT == libc::S_IFREG) {
            Some(found) => {
                self.identity.set(&found);
                self.is_lent.store(false, Ordering::Relaxed);
                self.raw.store(raw, Ordering::Release);
                true
            }
            None => {
                close(raw);
                false
            }
        }
    }

    /// The descriptor, and what is known of the file now, if that is the one that was opened.
    fn look(&self) -> Option<(RawFd, libc::stat)> {
        let raw = self.raw.load(Ordering::Acquire);
        let found = stat_of(raw).filter(|found| raw >= FIRST && self.identity.is(found))?;
        Some((raw, found))
    }

    fn close(&self) {
        if let Some((raw, _)) = self.look() {
            close(raw);
        }
        self.raw.store(-1, Ordering::Release);
        self.is_lent.store(false, Ordering::Release);
    }

    fn lend(&'static self) -> Option<io::Result<(OwnedFd, Lent)>> {
        if self.raw.load(Ordering::Acquire) < 0 || self.is_lent.swap(true, Ordering::AcqRel) {
            return None;
        }
        let lent = Lent(self);
        let Some((raw, _)) = self.look().filter(|(_, found)| found.st_nlink > 0) else {
            // Removed, and what is written to it would be lost; or the host has closed it.
            return Some(Err(io::Error::from_raw_os_error(libc::ESTALE)));
        };
        // SAFETY: takes numbers only.
        let copy = unsafe { libc::fcntl(raw, libc::F_DUPFD_CLOEXEC, FIRST) };
        if copy < 0 {
            return Some(Err(io::Error::last_os_error()));
        }
        // SAFETY: a fresh descriptor that nobody else owns.
        Some(Ok((unsafe { OwnedFd::from_raw_fd(copy) }, lent)))
    }
}

impl Estate {
    const fn new() -> Self {
        Self {
            paths: OnceLock::new(),
            holders: AtomicU32::new(0),
            database: Identity::new(),
            databases: [const { Heirloom::new() }; CONNECTIONS],
            logs: [const { Heirloom::new() }; CONNECTIONS],
            indexes: [const { Heirloom::new() }; CONNECTIONS],
            root_key: [const { Heirloom::new() }],
            guard: [const { Heirloom::new() }],
        }
    }

    /// All that can be lent, by their paths, and how each is opened.
    fn files<'e>(&'e self, paths: &'e Paths) -> impl Iterator<Item = (&'e CStr, c_int, &'e [Heirloom])> {
        let files: [(Option<&CString>, c_int, &[Heirloom]); 4] = [
            (Some(&paths.database), libc::O_RDWR, &self.databases),
            (Some(&paths.log), libc::O_RDWR, &self.logs),
            (Some(&paths.index), libc::O_RDWR, &self.indexes),
            (paths.root_key.as_ref(), libc::O_RDONLY, &self.root_key),
        ];
        files.into_iter().filter_map(|(path, access, each)| Some((path?.as_c_str(), access, each)))
    }

    /// In a child that is root still: opens everything, or nothing.
    fn open(&self) {
        let Some(paths) = self.paths.get().filter(|_| self.holders.load(Ordering::Acquire) > 0) else { return };
        let [guard] = &self.guard;
        // First of all: from here on nobody removes the log.
        let is_guarded = guard.open(&paths.database, libc::O_RDWR)
            && guard.look().is_some_and(|(raw, found)| self.database.is(&found) && found.st_nlink > 0 && lock::share(raw));
        let are_open = || self.files(paths).all(|(path, access, each)| each.iter().all(|heirloom| heirloom.open(path, access)));
        if !is_guarded
            || !are_open()
            || self.databases.iter().any(|one| one.look().is_none_or(|(_, found)| !self.database.is(&found)))
        {
            self.close();
        }
    }

    fn close(&self) {
        let all = [&self.databases[..], &self.logs, &self.indexes, &self.root_key, &self.guard];
        all.into_iter().flatten().for_each(Heirloom::close);
    }
}

/// Has the table of what is lent know that a descriptor is not used any more.
pub struct Lent(&'static Heirloom);

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some((raw, _)) = self.0.look() {
            lock::release_all(raw);
        }
        self.0.is_lent.store(false, Ordering::Release);
    }
}

/// While it lives, children of this process that are born as root's keep a way to a store.
pub struct Bequest(Option<&'static Estate>);

impl Bequest {
    /// Of a store that this process has open. None where this process is not root's, or its rights are not its caller's.
    pub fn of(database: &Path, root_key: Option<&Path>) -> Self {
        static ONCE: Once = Once::new();
        if !user::is_root() || user::has_raised_rights() {
            return Self(None);
        }
        ONCE.call_once(|| at_birth(in_child));
        Self(Self::claim(database, root_key))
    }

    fn claim(database: &Path, root_key: Option<&Path>) -> Option<&'static Estate> {
        let with = |suffix: &str| CString::new([database.as_os_str().as_bytes(), suffix.as_bytes()].concat()).ok();
        let root_key = match root_key {
            Some(path) => Some(CString::new(path.as_os_str().as_bytes()).ok()?),
            None => None,
        };
        let (database, log, index) = (with("")?, with("-wal")?, with("-shm")?);
        // SAFETY: all-zero bytes are a valid `stat`.
        let mut found: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: the path ends with a null byte, and `found` is ours.
        if unsafe { libc::stat(database.as_ptr(), &raw mut found) } != 0 {
            return None;
        }
        let is_it = |paths: &Paths| paths.database == database && paths.root_key == root_key;
        let new = || Paths { database: database.clone(), log: log.clone(), index: index.clone(), root_key: root_key.clone() };
        let estate = ESTATES.iter().find(|estate| is_it(estate.paths.get_or_init(new)))?;
        estate.database.set(&found);
        estate.holders.fetch_add(1, Ordering::AcqRel);
        Some(estate)
    }
}

impl Drop for Bequest {
    fn drop(&mut self) {
        if let Some(estate) = self.0 {
            estate.holders.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// The process that was born by the latest fork of which we have heard. One that was made without `fork` shares its parent's descriptions.
static BORN: AtomicU32 = AtomicU32::new(0);

extern "C" fn in_child() {
    let is_root = user::is_root();
    BORN.store(std::process::id(), Ordering::Release);
    for estate in &ESTATES {
        // What the parent has since its birth shares locks with the parent.
        estate.close();
        if is_root {
            estate.open();
        }
    }
}

/// Where this process has its files from its birth, in use or not. Whoever is root still opens files by name.
fn inherited(path: &CStr) -> Option<&'static [Heirloom]> {
    if user::is_root() || BORN.load(Ordering::Acquire) != std::process::id() {
        return None;
    }
    let has = |estate: &&Estate| estate.guard.iter().any(|guard| guard.raw.load(Ordering::Acquire) >= 0);
    ESTATES.iter().filter(has).find_map(|estate| {
        let found = estate.files(estate.paths.get()?).find(|(own, ..)| *own == path);
        found.map(|(_, _, each)| each)
    })
}

/// Whether a system call has failed because this process may not, or cannot, get at the file by its name.
pub fn is_refusal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::ENOENT | libc::ENOTDIR))
}

/// A descriptor for a file that was refused by its name, and what is to be dropped when it is closed. `None`: this process has none for it.
///
/// Errors: `EBUSY`: all are in use; `ESTALE`: the file was removed, or the host has closed the descriptor.
pub fn take(path: &CStr) -> Option<io::Result<(OwnedFd, Lent)>> {
    let each = inherited(path)?;
    Some(each.iter().find_map(Heirloom::lend).unwrap_or_else(|| Err(io::Error::from_raw_os_error(libc::EBUSY))))
}

/// Whether this process has a descriptor for the file, in use or not.
pub fn is_left(path: &CStr) -> bool {
    inherited(path).is_some()
}

/// The same for a path that is not C's.
pub fn is_left_at(path: &Path) -> bool {
    CString::new(path.as_os_str().as_bytes()).is_ok_and(|path| is_left(&path))
}

/// The beginning of a short file that this process cannot open by its name, into `out`; how many bytes it was. `None`: this process has none of that name.
pub fn read(path: &Path, out: &mut [u8]) -> Option<io::Result<usize>> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    let read = |(owned, _lent): (OwnedFd, Lent)| {
        // SAFETY: `out` is ours to write, and its length is told.
        let got = unsafe { libc::pread(owned.as_raw_fd(), out.as_mut_ptr().cast(), out.len(), 0) };
        usize::try_from(got).map_err(|_negative| io::Error::last_os_error())
    };
    Some(take(&path)?.and_then(read))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixStream;

    use rusqlite::Connection;

    use super::*;
    use crate::sys::process::tests::{Child, become_nobody, in_child};
    use crate::sys::vfs;
    use crate::sys::vfs::tests::{Database, insert, rows};

    /// A child of root that has become nobody. Only root can do that: for others there is nothing to test.
    fn as_nobody(child: impl FnOnce() -> bool) {
        if user::is_root() {
            assert!(in_child(|| become_nobody() && child()));
        }
    }

    /// Two ends, of which one does not wait for ever for a child that has failed.
    fn pipe() -> (UnixStream, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        near.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
        (near, far)
    }

    /// A database with one row, in use, and left to children.
    fn bequeathed(root_key: Option<&Path>) -> (Database, Connection, Bequest) {
        let database = Database::new();
        let sql = database.ours();
        insert(&sql).unwrap();
        let bequest = Bequest::of(&database.path(), root_key);
        (database, sql, bequest)
    }

    fn is_refused(database: &Database) -> bool {
        vfs::open(&database.path(), false).is_err()
    }

    #[test]
    fn a_child_that_was_root_s_goes_on_with_what_its_parent_left_it() {
        let (database, sql, bequest) = bequeathed(None);
        as_nobody(|| {
            let all: Vec<_> = (0..CONNECTIONS).map(|_| database.ours()).collect();
            all.iter().for_each(|one| insert(one).unwrap());
            let seen = all.iter().all(|one| rows(one) == 1 + CONNECTIONS as i64);
            let is_one_too_many = is_refused(&database) && vfs::was_refused();
            drop(all);
            // What was given back has no locks.
            let again = database.ours();
            insert(&again).unwrap();
            seen && is_one_too_many && !vfs::has_moved(&again).unwrap()
        });
        if user::is_root() {
            assert_eq!(rows(&sql), 2 + CONNECTIONS as i64);
        }
        // Its own children share its descriptions, so they have none.
        as_nobody(|| in_child(|| is_refused(&database)));
        drop(bequest);
        as_nobody(|| is_refused(&database));
    }

    #[test]
    fn a_connection_that_others_lock_out_waits_as_any() {
        let (database, sql, _bequest) = bequeathed(None);
        sql.execute_batch("BEGIN IMMEDIATE").unwrap();
        as_nobody(|| {
            let own = database.ours();
            let is_busy = insert(&own) == Err(rusqlite::ErrorCode::DatabaseBusy);
            let (first, second) = (database.ours(), own);
            first.execute_batch("BEGIN").unwrap();
            is_busy && rows(&first) == 1 && rows(&second) == 1
        });
        insert(&sql).unwrap();
        sql.execute_batch("COMMIT").unwrap();
        as_nobody(|| {
            let (first, second) = (database.ours(), database.ours());
            first.execute_batch("BEGIN IMMEDIATE").unwrap();
            insert(&second) == Err(rusqlite::ErrorCode::DatabaseBusy)
        });
    }

    /// While such a child lives, the last one to go leaves the log, whether the child has a connection or not.
    #[test]
    fn the_log_stays_while_a_child_may_write_to_it() {
        if !user::is_root() {
            return;
        }
        let (database, sql, bequest) = bequeathed(None);
        let (mut near, mut far) = pipe();
        let mut step = move || far.write_all(b".").and_then(|()| far.read_exact(&mut [0])).unwrap();
        let child = Child::fork(|| {
            assert!(become_nobody());
            step();
            let own = database.ours();
            insert(&own).unwrap();
            drop(own);
            step();
            let own = database.ours();
            insert(&own).unwrap();
            rows(&own) == 5
        });
        let mut next = || near.read_exact(&mut [0]).unwrap();
        next();
        drop((sql, bequest));
        assert!(database.has("-wal"));
        let sql = database.ours();
        insert(&sql).unwrap();
        drop(sql);
        near.write_all(b".").unwrap();
        let mut next = || near.read_exact(&mut [0]).unwrap();
        next();
        let sql = database.ours();
        assert_eq!(rows(&sql), 3);
        insert(&sql).unwrap();
        drop(sql);
        near.write_all(b".").unwrap();
        assert!(child.passed());
        let sql = database.ours();
        assert_eq!(rows(&sql), 5);
        drop(sql);
        assert!(!database.has("-wal"), "nobody is left, so the last one folds it back");
    }

    #[test]
    fn a_database_that_was_removed_or_replaced_is_refused() {
        let (database, _sql, _bequest) = bequeathed(None);
        let (mut near, mut far) = pipe();
        if !user::is_root() {
            return;
        }
        let child = Child::fork(|| {
            let in_use = become_nobody().then(|| database.ours()).unwrap();
            insert(&in_use).unwrap();
            far.write_all(b".").and_then(|()| far.read_exact(&mut [0])).unwrap();
            vfs::has_moved(&in_use).unwrap() && is_refused(&database)
        });
        near.read_exact(&mut [0]).unwrap();
        std::fs::remove_file(database.path()).unwrap();
        near.write_all(b".").unwrap();
        assert!(child.passed());
        // Another one of that name is not what the parent has open.
        std::fs::write(database.path(), "another").unwrap();
        as_nobody(|| is_refused(&database) && !is_left_at(&database.path()));
        std::fs::remove_file(database.path()).unwrap();
        symlink("/etc/passwd", database.path()).unwrap();
        as_nobody(|| is_refused(&database) && !is_left_at(&database.path()));
    }

    #[test]
    fn numbers_that_the_host_has_taken_are_left_alone() {
        let (database, _sql, _bequest) = bequeathed(None);
        as_nobody(|| {
            // SAFETY: the test's own child, which uses no other descriptor.
            (FIRST..1000).for_each(|raw| _ = unsafe { libc::close(raw) });
            // SAFETY: the path ends with a null byte. The descriptors are the child's to keep.
            let theirs = (0..100).map(|_| unsafe { libc::open(c"/dev/zero".as_ptr(), libc::O_RDONLY) });
            let theirs: Vec<RawFd> = theirs.collect();
            let is_zero = |raw: &RawFd| stat_of(*raw).is_some_and(|found| found.st_mode & libc::S_IFMT == libc::S_IFCHR);
            is_left_at(&database.path())
                && is_refused(&database)
                && theirs.iter().all(is_zero)
                && in_child(|| theirs.iter().all(is_zero))
        });
    }

    #[test]
    fn a_short_file_is_read_whole_by_who_may_not_open_it() {
        let key = std::env::temp_dir().join(format!("hsmpool-heirloom-{}", std::process::id()));
        std::fs::write(&key, "secret").unwrap();
        let (_database, _sql, _bequest) = bequeathed(Some(&key));
        let mut text = [0; 9];
        assert!(read(&key, &mut text).is_none(), "its owner opens it by name");
        as_nobody(|| {
            let twice = [(); 2].map(|()| read(&key, &mut text).unwrap().unwrap());
            twice == [6, 6] && text.starts_with(b"secret") && read(&key.with_extension("other"), &mut text).is_none()
        });
        std::fs::remove_file(&key).unwrap();
    }
}
