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
//! their caller. What runs in the child is atomics and system calls, because it must be able to use it whatever other threads were doing.

use std::ffi::{CStr, CString, c_int};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering};

use super::process::{self, NoFork};
use super::user;
use super::vfs::{lock, sync_directory_of};

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
    database: CString,
    log: CString,
    index: CString,
    root_key: Option<CString>,
    /// What the system calls the database; links in its path are followed there. `None`: it does not say.
    seen_as: Option<PathBuf>,
    /// The root directory from which it is called so.
    root: Option<(u64, u64)>,
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
    mark: AtomicI64,
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
    process::stat_of(raw).ok()
}

fn close(raw: RawFd) {
    // SAFETY: the caller has opened it, or has seen that it is still what was opened here.
    unsafe { libc::close(raw) };
}

/// What the system calls an open file now. `None`: it does not say, where `/proc` is not to be seen.
pub fn seen_as(raw: RawFd) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{raw}")).ok()
}

fn root() -> Option<(u64, u64)> {
    std::fs::metadata("/").ok().map(|found| (found.dev(), found.ino()))
}

/// A position in a file that nobody else sets, for each description another one: in it is an address of ours, which no other copy of this module has.
fn new_mark() -> i64 {
    static COUNTER: AtomicU32 = AtomicU32::new(1);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed) & 0xffff;
    (std::ptr::from_ref(&ESTATES) as usize & 0x7fff_0000) as i64 | i64::from(number)
}

impl Heirloom {
    const fn new() -> Self {
        let (raw, mark, is_lent) = (AtomicI32::new(-1), AtomicI64::new(0), AtomicBool::new(false));
        Self { raw, mark, identity: Identity::new(), is_lent }
    }

    /// Opens the file, under a number that is no lower than `least`; false: it cannot be.
    fn open(&self, path: &CStr, how: c_int, least: RawFd) -> bool {
        // A pipe of that name must keep nobody waiting.
        // SAFETY: the path ends with a null byte.
        let mut raw = unsafe { libc::open(path.as_ptr(), how | libc::O_CLOEXEC | libc::O_NOCTTY | libc::O_NONBLOCK) };
        if (0..least).contains(&raw) {
            // SAFETY: takes numbers only.
            let higher = unsafe { libc::fcntl(raw, libc::F_DUPFD_CLOEXEC, least) };
            close(raw);
            raw = higher;
        }
        if raw < 0 {
            return false;
        }
        let (found, mark) = (stat_of(raw).filter(|found| found.st_mode & libc::S_IFMT == libc::S_IFREG), new_mark());
        // SAFETY: takes numbers only.
        let Some(found) = found.filter(|_| unsafe { libc::lseek(raw, mark, libc::SEEK_SET) } == mark) else {
            close(raw);
            return false;
        };
        self.identity.set(&found);
        self.mark.store(mark, Ordering::Relaxed);
        self.is_lent.store(false, Ordering::Relaxed);
        self.raw.store(raw, Ordering::Release);
        true
    }

    /// The descriptor, and what is known of its file now, if it is the one that was opened here.
    fn look(&self) -> Option<(RawFd, libc::stat)> {
        let raw = Some(self.raw.load(Ordering::Acquire)).filter(|raw| *raw >= FIRST)?;
        let found = stat_of(raw).filter(|found| self.identity.is(found))?;
        // SAFETY: takes numbers only, and changes nothing.
        (unsafe { libc::lseek(raw, 0, libc::SEEK_CUR) } == self.mark.load(Ordering::Relaxed)).then_some((raw, found))
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
        self.mark.store(from.mark.load(Ordering::Relaxed), Ordering::Relaxed);
        self.identity.device.store(from.identity.device.load(Ordering::Relaxed), Ordering::Relaxed);
        self.identity.number.store(from.identity.number.load(Ordering::Relaxed), Ordering::Relaxed);
        self.is_lent.store(false, Ordering::Relaxed);
        self.raw.store(from.raw.swap(-1, Ordering::AcqRel), Ordering::Release);
    }

    /// A copy of the descriptor. `None`: it is lent already, or the host has closed it.
    fn lend(&'static self, estate: &'static Estate) -> Option<io::Result<(OwnedFd, Lent)>> {
        self.look()?;
        if self.is_lent.swap(true, Ordering::AcqRel) {
            return None;
        }
        let lent = Lent { heirloom: self, estate };
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
    fn open(&self, paths: &Paths, database: &Identity, least: RawFd) -> bool {
        let [guard] = &self.guard;
        // First of all: from here on nobody removes the log.
        let is_guarded = guard.open(&paths.database, libc::O_RDWR | libc::O_NOFOLLOW, least)
            && guard.look().is_some_and(|(raw, found)| found.st_nlink > 0 && lock::share(raw));
        let open_each =
            |(path, how, each): (&CStr, c_int, &[Heirloom])| each.iter().all(|heirloom| heirloom.open(path, how, least));
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
    fn prepare(&self, least: RawFd) {
        let Some(paths) = self.paths.get().filter(|_| self.holders.load(Ordering::Acquire) > 0) else { return };
        let is_named = self.is_named.load(Ordering::Acquire) || sync_directory_of(&paths.database).is_ok();
        self.is_named.store(is_named, Ordering::Release);
        if !is_named || !self.next.open(paths, &self.database, least) {
            self.next.all().for_each(Heirloom::close);
        }
    }

    /// Those of a file of it.
    fn named(&'static self, path: &CStr) -> Option<&'static [Heirloom]> {
        self.own.files(self.paths.get()?).find(|(own, ..)| *own == path).map(|(_, _, each)| each)
    }

    fn lend(&'static self, each: &'static [Heirloom]) -> io::Result<(OwnedFd, Lent)> {
        let busy = || Err(io::Error::from_raw_os_error(libc::EBUSY));
        each.iter().find_map(|heirloom| heirloom.lend(self)).unwrap_or_else(busy)
    }

    /// Whether the system calls the database otherwise by now. Seen from another root directory it may, and says nothing.
    fn is_elsewhere(&self, database: RawFd) -> bool {
        let Some(Paths { seen_as: Some(then), root: from, .. }) = self.paths.get() else { return false };
        *from == root() && seen_as(database).is_some_and(|now| now != *then)
    }
}

/// What was lent: its place in the table, and of which store it is.
pub struct Lent {
    heirloom: &'static Heirloom,
    estate: &'static Estate,
}

impl Lent {
    /// Whether the database goes by another name than when this process was born, or by none: another one may stand in its place.
    pub fn has_moved(&self) -> bool {
        self.heirloom.look().is_none_or(|(raw, found)| found.st_nlink == 0 || self.estate.is_elsewhere(raw))
    }

    /// Another file of the same store, the log or the index of a database that was lent. Errors: as [`take`], and `ENOENT`: there is no such file.
    pub fn sibling(&self, path: &CStr) -> io::Result<(OwnedFd, Lent)> {
        let each = self.estate.named(path).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        self.estate.lend(each)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some((raw, _)) = self.heirloom.look() {
            lock::release_all(raw);
        }
        self.heirloom.is_lent.store(false, Ordering::Release);
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
        let (log, index) = (text(database, "-wal")?, text(database, "-shm")?);
        let file = std::fs::File::open(database).ok()?;
        let found = stat_of(file.as_raw_fd())?;
        let paths =
            Paths { database: text(database, "")?, log, index, root_key, seen_as: seen_as(file.as_raw_fd()), root: root() };
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

/// Right before a fork, when no other thread forks. Numbers below `least` are in tables of what children close.
pub fn before_fork(least: RawFd) {
    if user::is_root() {
        ESTATES.iter().for_each(|estate| estate.prepare(least.max(FIRST)));
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
    // First all of what the parent has from its own parent, which shares locks with the parent: then no number is looked at under two names.
    ESTATES.iter().flat_map(|estate| estate.own.all()).for_each(Heirloom::close);
    for Estate { own, next, .. } in &ESTATES {
        own.all().zip(next.all()).for_each(|(own, next)| own.inherit(next));
    }
}

/// The store that this process has from its parent, in use or not, of which that is a file. Whoever is root still opens files by name.
fn inherited(path: &CStr) -> Option<(&'static Estate, &'static [Heirloom])> {
    if user::is_root() || BORN.load(Ordering::Acquire) != std::process::id() {
        return None;
    }
    let is_whole = |estate: &&Estate| estate.own.guard.iter().all(|guard| guard.look().is_some());
    ESTATES.iter().filter(is_whole).find_map(|estate| Some((estate, estate.named(path)?)))
}

/// Whether a system call has failed because this process may not, or cannot, get at the file by its name.
pub fn is_refusal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::ENOENT | libc::ENOTDIR))
}

/// A descriptor of a file of a store, and what is to be dropped when it is closed. `None`: this process has none for it.
///
/// Errors: `EBUSY`: all are in use; `ESTALE`: the file was removed, or goes by another name now.
pub fn take(path: &CStr) -> Option<io::Result<(OwnedFd, Lent)>> {
    let (estate, each) = inherited(path)?;
    let is_database = estate.paths.get().is_some_and(|paths| *paths.database == *path);
    Some(estate.lend(each).and_then(|(owned, lent)| match is_database && lent.has_moved() {
        true => Err(io::Error::from_raw_os_error(libc::ESTALE)),
        false => Ok((owned, lent)),
    }))
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
        match usize::try_from(got) {
            Ok(bytes) => Ok(bytes),
            Err(_negative) => Err(io::Error::last_os_error()),
        }
    };
    Some(take(&path)?.and_then(read))
}

#[cfg(test)]
mod tests;
