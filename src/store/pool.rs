//! The connections of one process to one database: one that writes, and as many that read as there are threads reading.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::batch::{Batch, Begun, Stamper};
use super::trouble::Result;
use super::turnstile::Turnstile;
use crate::error::{Code, Doing, refuse};
use crate::limits::{MEMBER_CACHE_PAGES, MEMBER_WAL_PAGES, STORE_BUSY_MAX_MILLISECONDS, STORE_IDLE_READERS_MAX, STORE_WAL_PAGES};
use crate::sys::process::NoFork;
use crate::sys::vfs::{self, WalIndex};

/// First pause when another process is in the way; doubled up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_micros(100);
const PAUSE_MAX: Duration = Duration::from_millis(3);
/// More statements than the store has.
const STATEMENTS_KEPT: usize = 96;

/// The connections of one process. Its locks are the standard library's: a forked child makes a new pool (`PerProcess`), and nothing
/// that other threads held at the fork can be in its way.
pub struct Pool {
    path: PathBuf,
    /// Whether a write may be lost at a power failure, because a group's log still has it (see [`super::replica`]).
    relaxed: Arc<AtomicBool>,
    writer: Turnstile<Option<Writer>>,
    readers: Mutex<Readers>,
    came_back: Condvar,
    /// Set by a write that failed on the way to the disk: what is there is uncertain until the file is opened anew.
    uncertain: AtomicBool,
    anchor: OnceLock<Anchor>,
    /// Held by who opens the anchor: where connections are few, a second one would be one too many.
    anchoring: Mutex<()>,
}

/// Connections that read.
#[derive(Default)]
struct Readers {
    idle: Vec<Connection>,
    /// How many threads use one, open one, or wait for one.
    out: usize,
    /// How many of these wait.
    waiting: usize,
}

/// The connection that writes.
struct Writer {
    sql: Connection,
    /// A transaction that was left open.
    begun: Option<Begun>,
    /// Whether others may have been told of what is not committed.
    at_stake: bool,
}

impl Writer {
    /// Whether the connection may be used again.
    fn is_at_rest(&self) -> bool {
        self.begun.is_some() || self.sql.is_autocommit() || run(&self.sql, "ROLLBACK").is_ok()
    }

    /// Commits what was left open.
    fn put_down(&mut self, stamper: Option<&Stamper>) -> Result<()> {
        let Some(begun) = self.begun.take() else { return Ok(()) };
        let _held = NoFork::hold();
        let mut batch = Batch::go_on(&self.sql, begun);
        batch.stamped_by(stamper);
        batch.finish()?;
        self.at_stake = false;
        Ok(())
    }
}

/// Counts one thread among those that are out, until it is dropped.
struct Out<'a>(&'a Pool);

impl Out<'_> {
    fn of(pool: &Pool) -> Out<'_> {
        pool.readers().out += 1;
        Out(pool)
    }

    /// Leaves the connection to the next thread.
    fn give_back(self, sql: Connection) {
        let mut readers = self.0.readers();
        if readers.idle.len() < STORE_IDLE_READERS_MAX {
            readers.idle.push(sql);
        }
    }
}

impl Drop for Out<'_> {
    fn drop(&mut self) {
        let mut readers = self.0.readers();
        readers.out -= 1;
        if readers.waiting > 0 {
            // All of them: where nobody has a connection any more, all must know.
            self.0.came_back.notify_all();
        }
    }
}

/// What a pool keeps from its first read to its end.
struct Anchor {
    index: WalIndex,
    /// Never used again, but its lock on the database keeps `index` the one that everybody uses.
    sql: Mutex<Connection>,
}

impl Pool {
    /// Connections are opened as they are needed.
    pub fn new(path: PathBuf, relaxed: Arc<AtomicBool>) -> Self {
        Self {
            path,
            relaxed,
            writer: Turnstile::new(None),
            readers: Mutex::default(),
            came_back: Condvar::new(),
            uncertain: AtomicBool::new(false),
            anchor: OnceLock::new(),
            anchoring: Mutex::default(),
        }
    }

    /// The header of the log's index, which changes with each commit of any process; `None` when only a read can tell.
    pub fn stamp(&self) -> Option<[u64; 6]> {
        self.anchor.get().and_then(|anchor| anchor.index.read())
    }

    /// Opens the connection that stays, unless another thread has done so.
    fn drop_anchor(&self) -> Result<()> {
        let _anchoring = self.anchoring.lock().unwrap_or_else(PoisonError::into_inner);
        if self.anchor.get().is_some() {
            return Ok(());
        }
        let sql = connect(&self.path)?;
        patiently(|| {
            let _held = NoFork::hold();
            in_snapshot(&sql, |sql| super::batch::state(sql).map(|_| ()))
        })?;
        let told = format!("cannot map the index of {}'s log", self.path.display());
        let index = WalIndex::of(&sql).doing(Code::DeviceError, told)?;
        let _held = NoFork::hold();
        drop(self.anchor.set(Anchor { index, sql: Mutex::new(sql) }));
        Ok(())
    }

    /// Runs `work` on a connection of its own. It may run again when another process was in the way, so it only reads.
    pub fn read<T>(&self, work: impl Fn(&Connection) -> Result<T>) -> Result<T> {
        if self.anchor.get().is_none() {
            self.drop_anchor()?;
        }
        let (sql, out) = self.reader()?;
        let answer = patiently(|| {
            let _held = NoFork::hold();
            in_snapshot(&sql, &work)
        });
        let _held = NoFork::hold();
        match &answer {
            Ok(_) => out.give_back(sql),
            // Closed first: who waits may need what it was open on.
            Err(_) => drop((sql, out)),
        }
        answer
    }

    fn readers(&self) -> MutexGuard<'_, Readers> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection to read with: an idle one, a new one, or, in a process that cannot open the files any more, the next one that comes back.
    fn reader(&self) -> Result<(Connection, Out<'_>)> {
        let out = Out::of(self);
        let idle = self.readers().idle.pop();
        let sql = match idle.map_or_else(|| connect(&self.path), Ok) {
            Err(trouble) if trouble.is_refused() => self.next_idle().ok_or(trouble)?,
            other => other?,
        };
        Ok((sql, out))
    }

    /// Waits for a connection. `None`: nobody has one, or it took too long.
    fn next_idle(&self) -> Option<Connection> {
        let until = Instant::now() + Duration::from_millis(STORE_BUSY_MAX_MILLISECONDS);
        let mut readers = self.readers();
        readers.waiting += 1;
        loop {
            let (idle, left) = (readers.idle.pop(), until.saturating_duration_since(Instant::now()));
            if idle.is_some() || readers.out == readers.waiting || left.is_zero() {
                readers.waiting -= 1;
                return idle;
            }
            readers = self.came_back.wait_timeout(readers, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Opens a connection of each kind ahead of its use, for a process that may not be able to open one later.
    pub fn provide(&self) -> Result<()> {
        self.with_writer(|_| Ok(()))?;
        self.read(|_| Ok(()))
    }

    /// Runs `work` in one write transaction, which is durable when this returns (unless the pool is relaxed). Threads of this process take
    /// turns; other processes are waited for. A batch that has changed nothing, and one that failed, leaves no trace.
    pub fn write<T>(&self, stamper: Option<&Stamper>, work: impl FnOnce(&mut Batch<'_>) -> Result<T>) -> Result<T> {
        self.with_writer(|writer| self.transact(writer, stamper, work))
    }

    /// The same for a relaxed pool, in a transaction that is left open, and gone on with by the next call. Whatever else is written commits it first.
    pub fn write_on<T>(&self, work: impl FnOnce(&mut Batch<'_>) -> Result<T>) -> Result<T> {
        debug_assert!(self.relaxed.load(Ordering::Acquire), "somebody else keeps what is open");
        self.with_writer(|writer| {
            let (mut batch, _held) = match writer.begun.take() {
                Some(begun) => (Batch::go_on(&writer.sql, begun), NoFork::hold()),
                None => self.begin(&writer.sql)?,
            };
            batch.leave_changes_out();
            let answer = work(&mut batch)?;
            let begun = batch.pause();
            writer.at_stake = begun.changed();
            writer.begun = Some(begun);
            Ok(answer)
        })
    }

    /// Commits what was left open.
    pub fn put_down(&self, stamper: Option<&Stamper>) -> Result<()> {
        self.with_writer(|writer| writer.put_down(stamper))
    }

    /// The same, durable even if the pool is relaxed, and all earlier writes with it. `prepare` runs on the connection before the transaction
    /// begins and `tidy` after it has ended, however it ended: what SQLite does not allow within one.
    pub fn write_for_good<T>(
        &self,
        stamper: Option<&Stamper>,
        prepare: impl FnOnce(&Connection) -> Result<()>,
        tidy: impl FnOnce(&Connection) -> Result<()>,
        work: impl FnOnce(&mut Batch<'_>) -> Result<T>,
    ) -> Result<T> {
        self.with_writer(|writer| {
            writer.put_down(stamper)?;
            writer.sql.execute_batch("PRAGMA synchronous = FULL")?;
            let durably = |batch: &mut Batch<'_>| {
                let answer = work(batch)?;
                batch.touch()?;
                Ok(answer)
            };
            let answer = prepare(&writer.sql).and_then(|()| self.transact(writer, stamper, durably));
            let sql = &writer.sql;
            if answer.is_err() && !sql.is_autocommit() {
                run(sql, "ROLLBACK")?;
            }
            let tidied = tidy(sql).and_then(|()| Ok(sql.execute_batch(&self.durability())?));
            let answer = answer?;
            tidied.map(|()| answer)
        })
    }

    /// From now on a write may be lost at a power failure, together with all later ones; never torn.
    pub fn relax(&self) {
        let mut turn = self.writer.enter();
        self.relaxed.store(true, Ordering::Release);
        let _held = NoFork::hold();
        drop(turn.take());
    }

    fn durability(&self) -> String {
        match self.relaxed.load(Ordering::Acquire) {
            true => format!(
                "PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = {MEMBER_WAL_PAGES}; PRAGMA cache_size = {MEMBER_CACHE_PAGES}"
            ),
            false => "PRAGMA synchronous = FULL".to_string(),
        }
    }

    /// Runs `work` on the connection that writes, when it is this thread's turn.
    fn with_writer<T>(&self, work: impl FnOnce(&mut Writer) -> Result<T>) -> Result<T> {
        let mut turn = self.writer.enter();
        if self.uncertain.load(Ordering::Acquire) {
            let what = "an earlier write failed on its way to the disk";
            return Err(refuse(
                Code::DeviceError,
                format!("{what}: {} takes no more until it is opened anew", self.path.display()),
            )
            .into());
        }
        // Taken out: a connection that fails, or panics, is not used again.
        let mut writer = match turn.take() {
            Some(writer) => writer,
            None => {
                let (sql, _out) = self.reader()?;
                sql.execute_batch(&self.durability())?;
                Writer { sql, begun: None, at_stake: false }
            }
        };
        // Who panics now takes along what others may have been told of.
        self.uncertain.store(writer.at_stake, Ordering::Release);
        let answer = work(&mut writer);
        match &answer {
            Err(trouble) => self.uncertain.store(writer.at_stake || trouble.is_uncertain(), Ordering::Release),
            Ok(_) => {
                self.uncertain.store(false, Ordering::Release);
                // After an error it goes, with what it may still keep of frames that were never committed (`sys::vfs`).
                *turn = writer.is_at_rest().then_some(writer);
            }
        }
        answer
    }

    fn transact<T>(
        &self,
        writer: &mut Writer,
        stamper: Option<&Stamper>,
        work: impl FnOnce(&mut Batch<'_>) -> Result<T>,
    ) -> Result<T> {
        writer.put_down(stamper)?;
        let (mut batch, _held) = self.begin(&writer.sql)?;
        batch.stamped_by(stamper);
        if self.relaxed.load(Ordering::Acquire) {
            batch.leave_changes_out();
        }
        let answer = work(&mut batch)?;
        batch.finish()?;
        Ok(answer)
    }

    /// Begins a write transaction; no fork happens while the second is held.
    fn begin<'a>(&self, sql: &'a Connection) -> Result<(Batch<'a>, NoFork)> {
        let held = patiently(|| {
            let held = NoFork::hold();
            run(sql, "BEGIN IMMEDIATE")?;
            Ok(held)
        })?;
        if vfs::has_moved(sql)? {
            return Err(self.moved().into());
        }
        Ok((Batch::begin(sql)?, held))
    }
}

impl Pool {
    fn moved(&self) -> crate::error::Error {
        let told = format!("{} was removed or replaced while it was in use", self.path.display());
        refuse(Code::StoreRefused, told + "; stop all programs that use it, and start them again")
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let _held = NoFork::hold();
        drop(self.writer.enter().take());
        self.readers().idle.clear();
        drop(self.anchor.take().map(|anchor| anchor.sql));
    }
}

/// A connection with our settings.
pub fn connect(path: &Path) -> Result<Connection> {
    let _held = NoFork::hold();
    let sql = vfs::open(path, false)?;
    sql.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    // A statement is planned by its text, once: else SQLite plans some anew whenever other values are bound.
    sql.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // Durable when COMMIT returns; the log is folded back early, so that its file stays small and is written over, not grown.
    patiently(|| Ok(sql.execute_batch(&format!("PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = {STORE_WAL_PAGES};"))?))?;
    Ok(sql)
}

/// Runs `work` in one read transaction, so that all its statements see the same state.
fn in_snapshot<T>(sql: &Connection, work: impl Fn(&Connection) -> Result<T>) -> Result<T> {
    run(sql, "BEGIN")?;
    let answer = work(sql);
    let ended = run(sql, if answer.is_ok() { "COMMIT" } else { "ROLLBACK" });
    let answer = answer?;
    ended?;
    Ok(answer)
}

/// Runs a statement without parameters or rows.
pub fn run(sql: &Connection, statement: &str) -> Result<()> {
    sql.prepare_cached(statement)?.execute([])?;
    Ok(())
}

/// Tries again while another connection is in the way, with growing pauses, up to a bound.
fn patiently<T>(mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let mut pause = PAUSE_MIN;
    loop {
        match attempt() {
            Err(trouble) if trouble.is_busy() && start.elapsed() < Duration::from_millis(STORE_BUSY_MAX_MILLISECONDS) => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(PAUSE_MAX);
            }
            answer => return answer,
        }
    }
}
