//! Durable sealed bytes on SQLite: one store, one directory, any number of processes.
//!
//! Knows: ck, error, faults, limits, object, secret, sync, sys.
//! Crates: minicbor, rusqlite, sha2.

mod apply;
mod batch;
mod change;
mod check;
mod facts;
mod file;
#[cfg(any(test, fuzzing))]
pub mod hostile;
mod journal;
mod marks;
mod pool;
mod query;
mod replica;
mod schema;
pub mod softhsm;
#[cfg(test)]
pub mod tests;
mod trouble;
mod turnstile;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

pub use batch::{Batch, Stamper};
pub use change::{Change, Committed, ObjectRow, Outcome, Proposal, RequestId, Sealed, Tag, TokenRow, UserRow};
pub use check::CheckReport;
pub use journal::{Journal, JournalFact, JournalWrite};
pub use marks::Marks;
pub use query::Found;
pub use replica::{CheckedCopy, Place};
pub use trouble::Trouble;

use crate::error::{Code, Doing, Result, refuse};
use crate::object::{ObjectId, TokenId};
use crate::secret::Secret;
use crate::sys::heirloom::Bequest;
use crate::sys::process::PerProcess;
use crate::sys::{files, user, vfs};
use pool::Pool;

/// An open store. Any number of threads and processes may use one directory at once.
///
/// A forked child may go on using the store: it notices by itself, abandons the parent's connections without touching them, and opens
/// its own.
pub struct Store {
    /// Dropped first: what is not open any more is left to nobody.
    bequest: OnceLock<Bequest>,
    path: PathBuf,
    pool: PerProcess<Pool>,
    /// Whether it is of a group's member, and whether that member is this process.
    member: AtomicBool,
    replicating: Arc<AtomicBool>,
    stamper: OnceLock<Stamper>,
    /// For a member: the highest number that was answered of each client that was heard of lately. Most that are looked for are above it.
    numbers: Mutex<HashMap<[u8; 16], u64>>,
}

impl Store {
    /// Whether there is a store in `dir`.
    pub fn is_in(dir: &Path) -> bool {
        files::find_itself(&dir.join(file::FILE_NAME)).is_ok()
    }

    /// Whether somebody has the store in `dir` open now: this process, or any other of this machine.
    ///
    /// Errors: `StoreRefused`: it cannot be read.
    pub fn is_in_use(dir: &Path) -> Result<bool> {
        let file = dir.join(file::FILE_NAME);
        vfs::is_in_use(&file).doing(Code::StoreRefused, format!("looking whether {} is in use", file.display()))
    }

    /// Opens or makes `hsmpool.db` in `dir`, which is made (mode 0700) when it is missing. Costs the same whatever the store holds.
    ///
    /// Errors: `Configuration`: `dir` is a file or cannot be made. `StoreRefused`: the file is damaged, truncated, another program's or newer
    /// than this version, cannot be read or written, or is on a network file system.
    pub fn open(dir: &Path) -> Result<Self> {
        // Connections are opened later too, when the working directory may be another.
        let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf());
        let path = file::prepare(&dir)?;
        let shared = path.clone();
        let replicating = Arc::new(AtomicBool::new(false));
        let relaxed = replicating.clone();
        let pool = PerProcess::new(move || Pool::new(shared.clone(), relaxed.clone()));
        let store = Self {
            path,
            pool,
            member: AtomicBool::new(false),
            replicating,
            stamper: OnceLock::new(),
            bequest: OnceLock::new(),
            numbers: Mutex::default(),
        };
        let (member, has_marks) = store.read("opening the store", |sql| {
            batch::state(sql)?;
            Ok((replica::is_member(sql)?, marks::has_marks(sql)?))
        })?;
        store.member.store(member, Ordering::Release);
        if !has_marks {
            store.add_marks()?;
        }
        Ok(store)
    }

    fn add_marks(&self) -> Result<()> {
        let add = |batch: &mut Batch<'_>| {
            batch.keep();
            marks::add_marks(batch.sql())
        };
        self.pool.get().write(None, add).map_err(|trouble| trouble.told(&self.path, "adding marks to the store"))
    }

    /// From now on every change is stamped by its owner, whose key is not in the store, and the stamp that is there is checked: a row that
    /// was dropped or put back together with its sum is noticed here.
    ///
    /// Errors: `StoreRefused` when the last change was stamped with another key, or not at all.
    pub fn authenticate(&self, stamper: Stamper) -> Result<()> {
        let (applied, sum, found) = self.read("checking the store's stamp", |sql| {
            let (applied, sum) = batch::state(sql)?;
            Ok((applied, sum, batch::stamp(sql)?))
        })?;
        let expected = stamper(&batch::message(applied, &sum))?;
        if applied > 0 && found.is_none_or(|found| !Secret::new(found).same_as(&expected)) {
            let told = "is not as its owner left it, or its key file is another one's: restore both from one backup";
            return Err(refuse(Code::StoreRefused, format!("{} {told}", self.path.display())));
        }
        // A second call changes nothing: the first owner's key holds.
        let _ = self.stamper.set(stamper);
        Ok(())
    }

    /// Has this process, if it is root's, and the children that it is to have go on with the store when they have become another user: a server that gives
    /// its rights up once it has opened what it needs. `root_key`: a file that children read anew.
    pub fn serve_on(&self, root_key: Option<&Path>) -> Result<()> {
        if !user::is_root() {
            return Ok(());
        }
        // A second call changes nothing.
        let _ = self.bequest.set(Bequest::of(&self.path, root_key));
        self.pool.get().provide().map_err(|trouble| trouble.told(&self.path, "opening the store"))
    }

    /// Where the database is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All tokens, in the order in which they were made.
    pub fn tokens(&self) -> Result<Vec<TokenRow>> {
        self.read("listing tokens", query::tokens)
    }

    /// One token.
    pub fn token(&self, id: TokenId) -> Result<Option<TokenRow>> {
        self.read("reading a token", |sql| query::token(sql, id))
    }

    /// One token with all its holders of PINs, as of one moment.
    pub fn token_and_users(&self, id: TokenId) -> Result<Option<(TokenRow, Vec<UserRow>)>> {
        self.read("reading a token", |sql| {
            let token = query::token(sql, id)?;
            token.map(|token| Ok((token, query::users(sql, id)?))).transpose()
        })
    }

    /// One object, with its tags.
    pub fn object(&self, token: TokenId, id: ObjectId) -> Result<Option<ObjectRow>> {
        self.read("reading an object", |sql| query::object(sql, token, id))
    }

    /// The version of one object: what a reader of an opened copy compares.
    pub fn object_version(&self, token: TokenId, id: ObjectId) -> Result<Option<u64>> {
        self.read("reading an object's version", |sql| query::object_version(sql, token, id))
    }

    /// Counts that tell whether copies of rows are still good: one small read, whatever has changed.
    pub fn marks(&self) -> Result<Marks> {
        self.read("reading the marks", marks::marks)
    }

    /// Objects that carry all the tags, in order of creation; without tags, all. Private ones only if `include_private`.
    ///
    /// The cost follows the number of objects that carry the rarest of the tags.
    pub fn find(&self, token: TokenId, tags: &[Tag], include_private: bool) -> Result<Vec<Found>> {
        self.read("searching objects", |sql| query::find(sql, token, tags, include_private))
    }

    /// How many objects a token holds.
    pub fn count(&self, token: TokenId) -> Result<u64> {
        self.read("counting objects", |sql| query::count(sql, token))
    }

    /// The recorded answer to a request, if it has been applied.
    pub fn answer(&self, request: RequestId) -> Result<Option<Outcome>> {
        let highest = self.numbers.try_lock().ok().and_then(|numbers| numbers.get(&request.client).copied());
        if highest.is_some_and(|highest| request.sequence > highest) {
            return Ok(None);
        }
        self.read("looking for an answer", |sql| batch::answer(sql, request))
    }

    /// How many changes have been applied, and the set hash: a hash over all facts (ids with versions, generations, attempts).
    pub fn set_hash(&self) -> Result<(u64, [u8; 32])> {
        self.read("reading the set hash", |sql| batch::state(sql).map(|(applied, sum)| (applied, sum.root())))
    }

    /// Words that are equal as long as no process has committed anything: a few loads. `None`: only a read can tell.
    pub fn stamp(&self) -> Option<[u64; 6]> {
        self.pool.get().stamp()
    }

    /// Writes a copy of the whole store, as of now, into a directory that has none yet. The root key is not part of it.
    ///
    /// Errors: `Configuration`: the directory cannot be made, or holds a store.
    pub fn copy_into(&self, dir: &Path) -> Result<()> {
        let file = file::prepare_new(dir)?;
        let copy = || -> std::result::Result<(), Trouble> {
            pool::connect(&self.path)?.execute("VACUUM INTO ?", [file.to_string_lossy()])?;
            // A copy begins without a log.
            pool::connect(&file)?.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
            Ok(())
        };
        copy().map_err(|trouble| trouble.told(&self.path, "copying the store"))
    }

    /// Reads everything and checks that it fits together. Errors: `StoreRefused` names the first thing that does not.
    pub fn check(&self) -> Result<CheckReport> {
        self.read("checking the store", check::check)
    }

    /// For a forked child: abandons the parent's connections. Each call notices a fork by itself, so this is never needed for safety.
    pub fn after_fork(&self) {
        self.pool.get();
    }

    /// One write transaction, durable when this returns: for room `log` alone, which decides what is applied.
    pub fn write<T>(&self, work: impl FnOnce(&mut Batch<'_>) -> std::result::Result<T, Trouble>) -> Result<T> {
        self.refuse_beside_group()?;
        self.pool.get().write(self.stamper.get(), work).map_err(|trouble| trouble.told(&self.path, "writing"))
    }

    fn read<T>(&self, doing: &str, work: impl Fn(&rusqlite::Connection) -> std::result::Result<T, Trouble>) -> Result<T> {
        self.pool.get().read(work).map_err(|trouble| trouble.told(&self.path, doing))
    }
}
