//! A disk in memory that loses what a power failure may lose: for tests of what the store and the log promise.
//!
//! A disk is mounted under a name of its own ([`Disk::path`]), and everything under that name, SQLite's files and [`super::super::files`]
//! alike, is kept by it. Nothing but a test mounts one: without a mount, asking whether there is one costs a load. It is compiled always, and
//! not behind a feature, so that what a test proves is said of the library that is shipped.
//!
//! What it knows of a disk: a write is in the cache until the file is synced. On a power failure each sector of 512 bytes of each write that
//! was not synced is kept or lost by itself, so that an older write of a sector may be there without a newer one, and the write under way may
//! be torn within a sector. A change of length is kept or lost likewise. Names are kept up to any point of their order (as file systems
//! with a journal do), and for certain when the directory was synced. A sync that fails writes any part, and the rest is clean for the
//! cache and lost for the disk. Every change and every sync has a number, so that "power fails during the k-th" is exact.

mod calls;
mod inode;
mod share;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use inode::Inode;

pub use calls::{NAME, header_of, register};
pub use share::Shared;

/// Where disks are mounted; no machine has such a directory, and if one has, it is hidden only while a test runs.
const MOUNTS: &str = "/hsmpool-memory";

static MOUNTED: AtomicUsize = AtomicUsize::new(0);
static DISKS: Mutex<BTreeMap<u64, Weak<Inner>>> = Mutex::new(BTreeMap::new());

/// What a power failure does to what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All of it is lost.
    Everything,
    /// All of it is kept; a write under way is whole.
    Nothing,
    /// Only the latest write to each file is lost.
    Newest,
    /// Only the latest write to each file is kept, torn if it was under way.
    AllButNewest,
    /// Each sector is kept or lost by this seed.
    Some(u64),
}

/// What an operation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bytes were written.
    Write,
    /// The length was changed.
    Cut,
    /// A file was made durable.
    Sync,
    /// A directory was made durable.
    SyncNames,
    /// A name came, went or changed.
    Name,
}

/// A small generator (SplitMix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The same seed, the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    #[allow(clippy::should_implement_trait, reason = "it never ends, so it is no iterator")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.next() % sides.max(1)
    }
}

/// A change of the names that the directory's next sync makes durable.
enum Naming {
    Given(String, u64),
    Taken(String),
}

/// What is planned to go wrong.
#[derive(Default)]
struct Plan {
    /// Power fails during the operation after this one.
    last: Option<u64>,
    /// So many more syncs succeed.
    syncs: Option<u64>,
    /// The most bytes that all files together may have.
    room: Option<usize>,
}

struct State {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    naming: Vec<Naming>,
    directories: BTreeSet<String>,
    next: u64,
    /// Counts power failures; what was opened before one is dead.
    generation: u64,
    operations: u64,
    history: Option<Vec<(Kind, String)>>,
    plan: Plan,
    is_off: bool,
    /// Something has gone wrong as planned since power came.
    has_failed: bool,
    dice: Dice,
}

struct Inner {
    number: u64,
    state: Mutex<State>,
}

/// A disk; it is unmounted, and what it holds is gone, when this and everything that was opened is dropped.
#[derive(Clone)]
pub struct Disk(Arc<Inner>);

impl Disk {
    /// An empty disk whose own choices follow the seed.
    pub fn mount(seed: u64) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let disk = Self::unmounted(NUMBER.fetch_add(1, Ordering::Relaxed), seed);
        DISKS.lock().unwrap_or_else(PoisonError::into_inner).insert(disk.0.number, Arc::downgrade(&disk.0));
        MOUNTED.fetch_add(1, Ordering::Release);
        disk
    }

    fn unmounted(number: u64, seed: u64) -> Self {
        let state = State {
            inodes: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            naming: Vec::new(),
            directories: BTreeSet::new(),
            next: 1,
            generation: 0,
            operations: 0,
            history: None,
            plan: Plan::default(),
            is_off: false,
            has_failed: false,
            dice: Dice::new(seed),
        };
        let disk = Self(Arc::new(Inner { number, state: Mutex::new(state) }));
        let root = disk.path().to_string_lossy().into_owned();
        disk.state().directories.extend([MOUNTS.to_string(), root]);
        disk
    }

    /// The directory that it is mounted at.
    pub fn path(&self) -> PathBuf {
        Path::new(MOUNTS).join(self.0.number.to_string())
    }

    /// The mounted disk that a path leads to.
    pub fn of(path: &Path) -> Option<Self> {
        if MOUNTED.load(Ordering::Acquire) == 0 {
            return None;
        }
        let number = path.strip_prefix(MOUNTS).ok()?.components().next()?.as_os_str().to_str()?.parse().ok()?;
        DISKS.lock().unwrap_or_else(PoisonError::into_inner).get(&number).and_then(Weak::upgrade).map(Self)
    }

    /// Another disk with what is durable on this one, under its own name.
    pub fn duplicate(&self, seed: u64) -> Self {
        let copy = Self::mount(seed);
        let (from, to) = (self.path().to_string_lossy().into_owned(), copy.path().to_string_lossy().into_owned());
        let moved = |name: &String| name.strip_prefix(&from).map_or_else(|| name.clone(), |rest| format!("{to}{rest}"));
        let (source, mut state) = (self.state(), copy.state());
        state.names = source.durable_names.iter().map(|(name, inode)| (moved(name), *inode)).collect();
        state.durable_names = state.names.clone();
        state.directories = source.directories.iter().map(moved).collect();
        state.inodes = source.inodes.iter().map(|(number, inode)| (*number, inode.durable_copy())).collect();
        state.next = source.next;
        drop(state);
        copy
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many writes, syncs and other changes have been begun so far.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// From now on operations are noted down.
    pub fn note(&self) {
        self.state().history = Some(Vec::new());
    }

    /// What has been noted down, in order: what was done, and to which file.
    pub fn noted(&self) -> Vec<(Kind, String)> {
        self.state().history.clone().unwrap_or_default()
    }

    /// Power will fail when so many more operations have been done, during the next one. From then on everything fails until [`Disk::crash`].
    pub fn fail_after(&self, operations: u64) {
        let mut state = self.state();
        state.plan.last = Some(state.operations + operations);
    }

    /// So many more syncs succeed; the next one fails, once.
    pub fn fail_sync_after(&self, syncs: u64) {
        self.state().plan.syncs = Some(syncs);
    }

    /// All files together may have so many bytes. `None`: as many as they like.
    pub fn limit(&self, bytes: Option<usize>) {
        self.state().plan.room = bytes;
    }

    /// Whether something that was planned has gone wrong since the last [`Disk::crash`].
    pub fn has_failed(&self) -> bool {
        self.state().has_failed
    }

    /// Bytes of all files together.
    pub fn used(&self) -> usize {
        self.state().inodes.values().map(Inode::len).sum()
    }

    /// Power fails (if it has not yet), and comes back: what was open is dead, what was not synced is kept or lost, nothing is planned any more.
    pub fn crash(&self, loss: Loss) {
        let mut state = self.state();
        state.generation += 1;
        state.is_off = false;
        state.has_failed = false;
        state.plan = Plan { room: state.plan.room, ..Plan::default() };
        let mut dice = match loss {
            Loss::Some(seed) => Dice::new(seed),
            _ => Dice::new(0),
        };
        let naming = std::mem::take(&mut state.naming);
        let kept = match loss {
            Loss::Everything | Loss::AllButNewest => 0,
            Loss::Nothing => naming.len(),
            Loss::Newest => naming.len().saturating_sub(1),
            Loss::Some(_) => dice.roll(naming.len() as u64 + 1) as usize,
        };
        let mut names = std::mem::take(&mut state.durable_names);
        naming.into_iter().take(kept).for_each(|change| change.apply(&mut names));
        state.inodes.retain(|number, _| names.values().any(|named| named == number));
        state.inodes.values_mut().for_each(|inode| inode.crash(loss, &mut dice));
        state.durable_names.clone_from(&names);
        state.names = names;
    }

    /// The names of all files.
    pub fn names(&self) -> Vec<PathBuf> {
        self.state().names.keys().map(PathBuf::from).collect()
    }

    /// What a file holds.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        let number = state.names.get(path.to_str()?)?;
        state.inodes.get(number).map(|inode| inode.bytes().to_vec())
    }

    /// Puts other bytes into a file, at once and durably: damage.
    pub fn damage(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.state();
        let number = path.to_str().and_then(|name| state.names.get(name)).copied();
        if let Some(inode) = number.and_then(|number| state.inodes.get_mut(&number)) {
            inode.damage(bytes);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.number != 0 {
            DISKS.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
            MOUNTED.fetch_sub(1, Ordering::Release);
        }
    }
}

impl Naming {
    fn apply(self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Given(name, inode) => drop(names.insert(name, inode)),
            Self::Taken(name) => drop(names.remove(&name)),
        }
    }
}

/// What an operation may do.
enum Step {
    Whole,
    /// Power fails while it is under way.
    Dying,
}

fn off() -> io::Error {
    io::Error::from_raw_os_error(libc::EIO)
}

fn missing() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOENT)
}

impl State {
    fn check(&self, generation: u64) -> io::Result<()> {
        if self.is_off || generation != self.generation { Err(off()) } else { Ok(()) }
    }

    /// Begins an operation, which gets its number.
    fn step(&mut self, generation: u64, kind: Kind, name: &str) -> io::Result<Step> {
        self.check(generation)?;
        if self.plan.last.is_some_and(|last| self.operations >= last) {
            (self.is_off, self.has_failed) = (true, true);
            return Ok(Step::Dying);
        }
        self.operations += 1;
        if let Some(history) = &mut self.history {
            history.push((kind, name.to_string()));
        }
        Ok(Step::Whole)
    }

    fn inode(&mut self, number: u64) -> io::Result<&mut Inode> {
        self.inodes.get_mut(&number).ok_or_else(missing)
    }

    fn room_for(&mut self, more: usize) -> io::Result<()> {
        let used: usize = self.inodes.values().map(Inode::len).sum();
        match self.plan.room {
            Some(room) if more > 0 && used + more > room => {
                self.has_failed = true;
                Err(io::Error::from_raw_os_error(libc::ENOSPC))
            }
            _ => Ok(()),
        }
    }

    fn name(&mut self, generation: u64, changes: Vec<Naming>, of: &str) -> io::Result<()> {
        match self.step(generation, Kind::Name, of)? {
            Step::Dying => Err(off()),
            Step::Whole => {
                for change in changes {
                    match &change {
                        Naming::Given(name, inode) => drop(self.names.insert(name.clone(), *inode)),
                        Naming::Taken(name) => drop(self.names.remove(name)),
                    }
                    self.naming.push(change);
                }
                Ok(())
            }
        }
    }
}

/// Operations on names, for [`super::super::files`] and for SQLite.
impl Disk {
    fn text(path: &Path) -> io::Result<String> {
        path.to_str().map(String::from).ok_or_else(missing)
    }

    /// Whether there is a directory (`None`), or a file of so many bytes. Error: there is neither.
    pub fn look(&self, path: &Path) -> io::Result<Option<u64>> {
        let (name, state) = (Self::text(path)?, self.state());
        state.check(state.generation)?;
        if let Some(inode) = state.names.get(&name).and_then(|number| state.inodes.get(number)) {
            return Ok(Some(inode.len() as u64));
        }
        if state.directories.contains(&name) { Ok(None) } else { Err(missing()) }
    }

    /// Makes a directory and those above it; directories are durable at once.
    pub fn make_directories(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.check(state.generation)?;
        for above in path.ancestors() {
            state.directories.insert(Self::text(above)?);
        }
        Ok(())
    }

    /// Removes a file's name.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        let (name, mut state) = (Self::text(path)?, self.state());
        state.check(state.generation)?;
        if !state.names.contains_key(&name) {
            return Err(missing());
        }
        let generation = state.generation;
        state.name(generation, vec![Naming::Taken(name.clone())], &name)
    }

    /// Gives a file another name, which must be free.
    pub fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (old, new, mut state) = (Self::text(from)?, Self::text(to)?, self.state());
        state.check(state.generation)?;
        if state.names.contains_key(&new) {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        let number = *state.names.get(&old).ok_or_else(missing)?;
        let generation = state.generation;
        state.name(generation, vec![Naming::Given(new, number), Naming::Taken(old.clone())], &old)
    }

    /// Makes all names durable.
    pub fn sync_names(&self) -> io::Result<()> {
        let generation = self.state().generation;
        self.sync_names_of(generation)
    }

    fn sync_names_of(&self, generation: u64) -> io::Result<()> {
        let mut state = self.state();
        match state.step(generation, Kind::SyncNames, "")? {
            Step::Dying => Err(off()),
            Step::Whole => {
                state.naming.clear();
                let names = state.names.clone();
                state.durable_names = names;
                Ok(())
            }
        }
    }

    /// Opens a file, or makes it.
    fn open(&self, name: &str, create: bool, exclusive: bool) -> io::Result<OpenFile> {
        let mut state = self.state();
        state.check(state.generation)?;
        let generation = state.generation;
        let number = match state.names.get(name).copied() {
            Some(_) if exclusive => return Err(io::Error::from_raw_os_error(libc::EEXIST)),
            Some(number) => number,
            None if !create => return Err(missing()),
            None => {
                let number = state.next;
                state.next += 1;
                state.inodes.insert(number, Inode::default());
                state.name(generation, vec![Naming::Given(name.to_string(), number)], name)?;
                number
            }
        };
        Ok(OpenFile {
            disk: self.clone(),
            name: name.to_string(),
            inode: number,
            generation,
            sync_names: create,
            has_failed: false,
        })
    }

    /// Opens a file for reading from its start; or makes a new one for writing.
    pub fn plain(&self, path: &Path, new: bool) -> io::Result<Plain> {
        Ok(Plain { file: self.open(&Self::text(path)?, new, new)?, at: 0 })
    }
}

/// A file that SQLite, or a test, has open.
struct OpenFile {
    disk: Disk,
    name: String,
    inode: u64,
    generation: u64,
    sync_names: bool,
    has_failed: bool,
}

impl OpenFile {
    /// A file without a name, on a disk of its own.
    fn scratch() -> io::Result<Self> {
        Disk::unmounted(0, 0).open("scratch", true, false)
    }

    fn read(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.check(self.generation)?;
        Ok(state.inode(self.inode)?.read(out, offset))
    }

    fn sound(&self) -> io::Result<()> {
        if self.has_failed { Err(off()) } else { Ok(()) }
    }

    fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.sound()?;
        let mut state = self.disk.state();
        state.check(self.generation)?;
        let more = (offset as usize + bytes.len()).saturating_sub(state.inode(self.inode)?.len());
        state.room_for(more)?;
        match state.step(self.generation, Kind::Write, &self.name)? {
            Step::Whole => state.inode(self.inode)?.write(bytes, offset),
            Step::Dying => {
                let torn = state.dice.roll(bytes.len() as u64 + 1) as usize;
                state.inode(self.inode)?.write_torn(bytes, offset, torn);
                return Err(off());
            }
        }
        Ok(())
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.sound()?;
        let mut state = self.disk.state();
        let step = state.step(self.generation, Kind::Cut, &self.name)?;
        state.inode(self.inode)?.cut(bytes);
        if matches!(step, Step::Dying) { Err(off()) } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sound()?;
        let synced = self.try_sync();
        self.has_failed = synced.is_err();
        synced?;
        if self.sync_names {
            self.disk.sync_names_of(self.generation)?;
            self.sync_names = false;
        }
        Ok(())
    }

    fn try_sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        if matches!(state.step(self.generation, Kind::Sync, &self.name)?, Step::Dying) {
            return Err(off());
        }
        let fails = match &mut state.plan.syncs {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        };
        if !fails {
            state.inode(self.inode)?.sync();
            return Ok(());
        }
        state.plan.syncs = None;
        state.has_failed = true;
        let mut dice = Dice::new(state.dice.next());
        state.inode(self.inode)?.fail_sync(&mut dice);
        Err(off())
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.state();
        state.check(self.generation)?;
        Ok(state.inode(self.inode)?.len() as u64)
    }

    fn has_moved(&self) -> io::Result<bool> {
        let state = self.disk.state();
        state.check(self.generation)?;
        Ok(state.names.get(&self.name) != Some(&self.inode))
    }
}

/// An open file that is read or written from its start on.
pub struct Plain {
    file: OpenFile,
    at: u64,
}

impl io::Read for Plain {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let got = self.file.read(out, self.at)?;
        self.at += got as u64;
        Ok(got)
    }
}

impl io::Write for Plain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
