//! Descriptors of a store for a process that may not open it by name any more.
//!
//! A server opens its tokens as root, and its children serve as somebody else (nginx, Apache), perhaps in a directory from which no name leads to the
//! store (`chroot`). So right before a process of root's forks, the files are opened once more for the child. These descriptions are the child's alone,
//! for locks belong to descriptions, and nobody has locked them. Where the child is refused the database by its name, [`take`] lends it one instead, and
//! that connection has its log and its index from here too, whatever is found under their names. What is lent comes back, without its locks, when the
//! [`super::process::Descriptor`] is dropped.
//!
//! One more description of the database is never lent, and holds SQLite's shared lock until the child ends. As long as it does, nobody can be the last
//! one to use the database, who would remove the log that the others are open on.
//!
//! A host may close all descriptors that it does not know, and the same numbers, even the same files, may be opened by somebody else. So a description bears
//! a mark, where nobody else has set one: its position, which is of no use to us.
//!
//! Processes of other users than root leave nothing: their children regain what they give up by name only. Nor do programs that have more rights than
//! their caller. What runs around a fork is atomics and system calls, because a child must be able to use it whatever other threads were doing.

use std::ffi::{CStr, CString, c_int};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};

use super::process::NoFork;
use super::user;
use super::vfs::lock;

/// Stores that can be left to children, in the life of a process; of more, children have none.
const STORES_MAX: usize = 16;
/// Connections that such a child can have: one stays, one writes, one reads.
const CONNECTIONS: usize = 3;
/// Lower numbers are what programs print to.
const FIRST: RawFd = 3;

static ESTATES: [Estate; STORES_MAX] = [const { Estate::new() }; STORES_MAX];

/// One store.
struct Estate {
    paths: OnceLock<Paths>,
    /// How many of this process's stores at these paths are left to its children.
    holders: AtomicU32,
    /// The database as this process has opened it.
    database: Identity,
    /// Whether its log's name is on the disk: such a child cannot see to that, as whoever writes to the log must.
    is_named: AtomicBool,
    /// What this process has from its parent.
    own: Heirlooms,
    /// What its next child shall have: there for the moment of the fork.
    next: Heirlooms,
}

#[derive(Clone, PartialEq, Eq)]
struct Paths {
    directory: CString,
    database: CString,
    log: CString,
    index: CString,
    root_key: Option<CString>,
    /// What the system calls the database; links in its path are followed there. `None`: it does not say.
    seen_as: Option<PathBuf>,
}

/// Files of one store.
struct Heirlooms {
    databases: [Heirloom; CONNECTIONS],
    logs: [Heirloom; CONNECTIONS],
    indexes: [Heirloom; CONNECTIONS],
    root_key: [Heirloom; 1],
    guard: [Heirloom; 1],
}

/// One descriptor, unless it is negative.
struct Heirloom {
    raw: AtomicI32,
    identity: Identity,
    is_lent: AtomicBool,
}

/// Which file it is, among all of this machine.
struct Identity {
    device: AtomicU64,
    number: AtomicU64,
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
    // SAFETY: the caller has opened it, or has seen that it is still what was opened here.
    unsafe { libc::close(raw) };
}

/// What the system calls an open file now. `None`: it does not say, where `/proc` is not to be seen.
fn seen_as(raw: RawFd) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{raw}")).ok()
}

/// A position in a file that nobody else sets: an address of ours, which no other copy of this module has.
fn mark() -> libc::off_t {
    (std::ptr::from_ref(&ESTATES) as usize & 0xff_ffff_ffff) as libc::off_t
}

impl Heirloom {
    const fn new() -> Self {
        Self { raw: AtomicI32::new(-1), identity: Identity::new(), is_lent: AtomicBool::new(false) }
    }

    /// Opens the file; false: it cannot be.
    fn open(&self, path: &CStr, how: c_int) -> bool {
        // A pipe of that name must keep nobody waiting.
        // SAFETY: the path ends with a null byte.
        let mut raw = unsafe { libc::open(path.as_ptr(), how | libc::O_CLOEXEC | libc::O_NOCTTY | libc::O_NONBLOCK) };
        if (0..FIRST).contains(&raw) {
            // SAFETY: takes numbers only.
            let higher = unsafe { libc::fcntl(raw, libc::F_DUPFD_CLOEXEC, FIRST) };
            close(raw);
            raw = higher;
        }
        if raw < 0 {
            return false;
        }
        let found = stat_of(raw).filter(|found| found.st_mode & libc::S_IFMT == libc::S_IFREG);
        // SAFETY: takes numbers only.
        let Some(found) = found.filter(|_| unsafe { libc::lseek(raw, mark(), libc::SEEK_SET) } == mark()) else {
            close(raw);
            return false;
        };
        self.identity.set(&found);
        self.is_lent.store(false, Ordering::Relaxed);
        self.raw.store(raw, Ordering::Release);
        true
    }

    /// The descriptor, and what is known of its file now, if it is the one that was opened here.
    fn look(&self) -> Option<(RawFd, libc::stat)> {
        let raw = Some(self.raw.load(Ordering::Acquire)).filter(|raw| *raw >= FIRST)?;
        let found = stat_of(raw).filter(|found| self.identity.is(found))?;
        // SAFETY: takes numbers only, and changes nothing.
        (unsafe { libc::lseek(raw, 0, libc::SEEK_CUR) } == mark()).then_some((raw, found))
    }

    fn close(&self) {
        if let Some((raw, _)) = self.look() {
            close(raw);
        }
        self.raw.store(-1, Ordering::Release);
        self.is_lent.store(false, Ordering::Release);
    }

    /// Takes over what another one is.
    fn inherit(&self, from: &Self) {
        self.identity.device.store(from.identity.device.load(Ordering::Relaxed), Ordering::Relaxed);
        self.identity.number.store(from.identity.number.load(Ordering::Relaxed), Ordering::Relaxed);
        self.is_lent.store(false, Ordering::Relaxed);
        self.raw.store(from.raw.swap(-1, Ordering::AcqRel), Ordering::Release);
    }

    /// A copy of the descriptor. `None`: it is lent already, or the host has closed it.
    fn lend(&'static self) -> Option<io::Result<(OwnedFd, Lent)>> {
        self.look()?;
        if self.is_lent.swap(true, Ordering::AcqRel) {
            return None;
        }
        let lent = Lent(self);
        let (raw, found) = self.look()?;
        if found.st_nlink == 0 {
            return Some(Err(io::Error::from_raw_os_error(libc::ESTALE)));
        }
        // SAFETY: takes numbers only.
        let copy = unsafe { libc::fcntl(raw, libc::F_DUPFD_CLOEXEC, FIRST) };
        if copy < 0 {
            return Some(Err(io::Error::last_os_error()));
        }
        // SAFETY: a fresh descriptor that nobody else owns.
        Some(Ok((unsafe { OwnedFd::from_raw_fd(copy) }, lent)))
    }
}

impl Heirlooms {
    const fn new() -> Self {
        Self {
            databases: [const { Heirloom::new() }; CONNECTIONS],
            logs: [const { Heirloom::new() }; CONNECTIONS],
            indexes: [const { Heirloom::new() }; CONNECTIONS],
            root_key: [const { Heirloom::new() }],
            guard: [const { Heirloom::new() }],
        }
    }

    /// All that can be lent, by their paths, and how each is opened.
    fn files<'e>(&'e self, paths: &'e Paths) -> impl Iterator<Item = (&'e CStr, c_int, &'e [Heirloom])> {
        // A link to the database would give it two names, and two logs.
        const OURS: c_int = libc::O_RDWR | libc::O_NOFOLLOW;
        let files: [(Option<&CString>, c_int, &[Heirloom]); 4] = [
            (Some(&paths.database), OURS, &self.databases),
            (Some(&paths.log), OURS, &self.logs),
            (Some(&paths.index), OURS, &self.indexes),
            (paths.root_key.as_ref(), libc::O_RDONLY, &self.root_key),
        ];
        files.into_iter().filter_map(|(path, how, each)| Some((path?.as_c_str(), how, each)))
    }

    fn all(&self) -> impl Iterator<Item = &Heirloom> {
        let all = [&self.databases[..], &self.logs, &self.indexes, &self.root_key, &self.guard];
        all.into_iter().flatten()
    }

    /// Opens everything; false: not all could be.
    fn open(&self, paths: &Paths, database: &Identity) -> bool {
        let [guard] = &self.guard;
        // First of all: from here on nobody removes the log.
        let is_guarded = guard.open(&paths.database, libc::O_RDWR | libc::O_NOFOLLOW)
            && guard.look().is_some_and(|(raw, found)| found.st_nlink > 0 && lock::share(raw));
        let open_each = |(path, how, each): (&CStr, c_int, &[Heirloom])| each.iter().all(|heirloom| heirloom.open(path, how));
        let is_it = |one: &Heirloom| one.look().is_some_and(|(_, found)| database.is(&found));
        is_guarded && self.files(paths).all(open_each) && self.databases.iter().chain(&self.guard).all(is_it)
    }
}

impl Estate {
    const fn new() -> Self {
        Self {
            paths: OnceLock::new(),
            holders: AtomicU32::new(0),
            database: Identity::new(),
            is_named: AtomicBool::new(false),
            own: Heirlooms::new(),
            next: Heirlooms::new(),
        }
    }

    /// Opens what the next child shall have: everything, or nothing.
    fn prepare(&self) {
        let Some(paths) = self.paths.get().filter(|_| self.holders.load(Ordering::Acquire) > 0) else { return };
        let is_named = self.is_named.load(Ordering::Acquire) || sync_directory(&paths.directory);
        self.is_named.store(is_named, Ordering::Release);
        if !is_named || !self.next.open(paths, &self.database) {
            self.next.all().for_each(Heirloom::close);
        }
    }
}

fn sync_directory(path: &CStr) -> bool {
    // SAFETY: the path ends with a null byte.
    let raw = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC) };
    if raw < 0 {
        return false;
    }
    // SAFETY: takes a number only.
    let is_synced = unsafe { libc::fsync(raw) } == 0;
    close(raw);
    is_synced
}

/// Has the table know that what was lent is not used any more.
pub struct Lent(&'static Heirloom);

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some((raw, _)) = self.0.look() {
            lock::release_all(raw);
        }
        self.0.is_lent.store(false, Ordering::Release);
    }
}

/// While it lives, children of this process have a way to a store.
pub struct Bequest(Option<&'static Estate>);

impl Bequest {
    /// Of a store that this process has open. None where this process is not root's, has more rights than its caller, or leaves 16 others.
    pub fn of(database: &Path, root_key: Option<&Path>) -> Self {
        let may = user::is_root() && !user::has_raised_rights();
        Self(if may { Self::claim(database, root_key) } else { None })
    }

    fn claim(database: &Path, root_key: Option<&Path>) -> Option<&'static Estate> {
        let text = |path: &Path, suffix: &str| CString::new([path.as_os_str().as_bytes(), suffix.as_bytes()].concat()).ok();
        let root_key = match root_key {
            Some(path) => Some(text(path, "")?),
            None => None,
        };
        let (directory, log, index) = (text(database.parent()?, "")?, text(database, "-wal")?, text(database, "-shm")?);
        let file = std::fs::File::open(database).ok()?;
        let found = stat_of(file.as_raw_fd())?;
        let paths = Paths { directory, database: text(database, "")?, log, index, root_key, seen_as: seen_as(file.as_raw_fd()) };
        // A child must not be born while one is written.
        let _held = NoFork::hold();
        let estate = ESTATES.iter().find(|estate| *estate.paths.get_or_init(|| paths.clone()) == paths)?;
        estate.database.set(&found);
        estate.is_named.store(false, Ordering::Release);
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

/// Right before a fork, when no other thread forks.
pub fn before_fork() {
    if user::is_root() {
        ESTATES.iter().for_each(Estate::prepare);
    }
}

/// Right after it.
pub fn after_fork_in_parent() {
    // The child's stay open, with their locks.
    ESTATES.iter().flat_map(|estate| estate.next.all()).for_each(Heirloom::close);
}

/// The same in the child.
pub fn after_fork_in_child() {
    BORN.store(std::process::id(), Ordering::Release);
    for Estate { own, next, .. } in &ESTATES {
        for (own, next) in own.all().zip(next.all()) {
            // What the parent has from its own parent shares locks with the parent.
            own.close();
            own.inherit(next);
        }
    }
}

/// The store that this process has from its parent, in use or not, of which that is a file. Whoever is root still opens files by name.
fn inherited(path: &CStr) -> Option<(&'static Paths, &'static [Heirloom])> {
    if user::is_root() || BORN.load(Ordering::Acquire) != std::process::id() {
        return None;
    }
    let is_whole = |estate: &&Estate| estate.own.guard.iter().all(|guard| guard.look().is_some());
    ESTATES.iter().filter(is_whole).find_map(|estate| {
        let paths = estate.paths.get()?;
        let found = estate.own.files(paths).find(|(own, ..)| *own == path);
        found.map(|(_, _, each)| (paths, each))
    })
}

/// Whether a system call has failed because this process may not, or cannot, get at the file by its name.
pub fn is_refusal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::ENOENT | libc::ENOTDIR))
}

/// A descriptor of a file of a store, and what is to be dropped when it is closed. `None`: this process has none for it.
///
/// Errors: `EBUSY`: all are in use; `ESTALE`: the file was removed, or goes by another name now.
pub fn take(path: &CStr) -> Option<io::Result<(OwnedFd, Lent)>> {
    let (paths, each) = inherited(path)?;
    let lent = each.iter().find_map(Heirloom::lend).unwrap_or_else(|| Err(io::Error::from_raw_os_error(libc::EBUSY)));
    Some(lent.and_then(|(owned, lent)| match *paths.database == *path && is_elsewhere(paths, owned.as_raw_fd()) {
        true => Err(io::Error::from_raw_os_error(libc::ESTALE)),
        false => Ok((owned, lent)),
    }))
}

/// Whether the database goes by another name than when this process was born, or by none: another one may stand in its place.
fn is_elsewhere(paths: &Paths, database: RawFd) -> bool {
    let is_removed = stat_of(database).is_none_or(|found| found.st_nlink == 0);
    is_removed || seen_as(database).is_some_and(|now| paths.seen_as.as_ref().is_some_and(|then| now != *then))
}

/// Whether a database that was lent does.
pub fn has_moved(path: &CStr, database: RawFd) -> bool {
    inherited(path).is_none_or(|(paths, _)| is_elsewhere(paths, database))
}

/// Whether this process has descriptors of the store of which that is a file, in use or not.
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

    /// The same with something to do before.
    fn as_nobody_after<T>(before: impl FnOnce() -> T, child: impl FnOnce(T) -> bool) {
        if user::is_root() {
            assert!(in_child(|| {
                let given = before();
                become_nobody() && child(given)
            }));
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

    /// A connection is of one store altogether, though files of another one stand under the same names.
    #[test]
    fn files_of_two_stores_are_never_mixed() {
        if !user::is_root() {
            return;
        }
        let (database, sql, _bequest) = bequeathed(None);
        let path = database.path();
        let jail = std::env::temp_dir().join(format!("hsmpool-jail-{}", std::process::id()));
        let inside = jail.join(path.strip_prefix("/").unwrap());
        std::fs::create_dir_all(inside.parent().unwrap()).unwrap();
        // A whole store with no row; then the one outside has two.
        vfs::open(&inside, true).unwrap().execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a)").unwrap();
        for made in [&inside, &inside.parent().unwrap().to_path_buf()] {
            std::os::unix::fs::chown(made, Some(65534), Some(65534)).unwrap();
        }
        insert(&sql).unwrap();
        let root = CString::new(jail.as_os_str().as_bytes()).unwrap();
        assert!(in_child(|| {
            // SAFETY: the path ends with a null byte.
            assert_eq!(unsafe { libc::chroot(root.as_ptr()) }, 0);
            assert!(become_nobody());
            let own = database.ours();
            let before = rows(&own);
            for _ in 0..2000 {
                insert(&own).unwrap();
            }
            before == 0 && rows(&own) == 2000 && !vfs::has_moved(&own).unwrap()
        }));
        assert_eq!(rows(&sql), 2);
        let sound: String = sql.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(sound, "ok");
        std::fs::remove_dir_all(&jail).unwrap();
    }

    #[test]
    fn a_store_that_was_moved_away_is_refused_though_it_is_there_still() {
        if !user::is_root() {
            return;
        }
        let (database, _sql, _bequest) = bequeathed(None);
        let (mut near, mut far) = pipe();
        let child = Child::fork(|| {
            let in_use = become_nobody().then(|| database.ours()).unwrap();
            insert(&in_use).unwrap();
            assert!(!vfs::has_moved(&in_use).unwrap());
            far.write_all(b".").and_then(|()| far.read_exact(&mut [0])).unwrap();
            vfs::has_moved(&in_use).unwrap() && is_refused(&database)
        });
        near.read_exact(&mut [0]).unwrap();
        let directory = database.path().parent().unwrap().to_path_buf();
        let moved = directory.with_extension("old");
        std::fs::rename(&directory, &moved).unwrap();
        near.write_all(b".").unwrap();
        assert!(child.passed());
        std::fs::rename(&moved, &directory).unwrap();
    }

    #[test]
    fn a_pipe_in_a_key_s_place_keeps_no_fork_waiting() {
        let key = std::env::temp_dir().join(format!("hsmpool-heirloom-pipe-{}", std::process::id()));
        let path = CString::new(key.as_os_str().as_bytes()).unwrap();
        // SAFETY: the path ends with a null byte.
        assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
        let (database, _sql, _bequest) = bequeathed(Some(&key));
        as_nobody(|| !is_left_at(&database.path()));
        std::fs::remove_file(&key).unwrap();
    }

    #[test]
    fn files_that_this_process_has_opened_again_under_the_same_numbers_are_not_lent() {
        let (database, _sql, _bequest) = bequeathed(None);
        as_nobody_after(
            || {
                // SAFETY: the test's own child, which uses no other descriptor.
                (FIRST..1000).for_each(|raw| _ = unsafe { libc::close(raw) });
                let again: Vec<_> = (0..2 * CONNECTIONS).map(|_| database.ours()).collect();
                again.iter().for_each(|one| insert(one).unwrap());
                again
            },
            |again| !is_left_at(&database.path()) && is_refused(&database) && again.iter().all(|one| insert(one).is_ok()),
        );
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
            !is_left_at(&database.path())
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
