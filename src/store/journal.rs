//! Ordered durable bytes: the file in which a group's member keeps its log.
//!
//! One process and one thread use a journal. Every write is on the disk when it returns, and many entries that are written together cost one
//! sync. The write-ahead log is folded back early, so that its file is written over and not grown: a growing file doubles the cost of a sync.

use std::ops::Range;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};

use super::query::unsigned;
use super::trouble::{Result as InnerResult, Trouble};
use crate::error::{Code, Result, refuse};
use crate::faults::{self, Fault};
use crate::limits::STORE_WAL_PAGES;
use crate::sys::vfs;

/// The journal's name within its directory.
pub const FILE_NAME: &str = "log.db";
/// `application_id` of the database header: "HSMl". Tells a journal from any other SQLite database.
const APPLICATION_ID: i32 = 0x4853_4d6c;
/// `user_version` of the database header.
const FORMAT: i32 = 1;
/// Bytes of the sum over each row.
const SUM_BYTES: usize = 8;

/// `entry`: the entries by their place in the log. `fact`: what is known beside them. `sum` is over number and bytes.
const TABLES: &str = "
CREATE TABLE entry (position INTEGER PRIMARY KEY, bytes BLOB NOT NULL, sum BLOB NOT NULL) STRICT;
CREATE TABLE fact (name INTEGER PRIMARY KEY, bytes BLOB NOT NULL, sum BLOB NOT NULL) STRICT;
";

/// What a journal keeps beside the entries; the numbers are in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalFact {
    /// Who has been voted for, and in which term.
    Vote = 1,
    /// The last entry that is known to be committed.
    Committed = 2,
    /// The last entry that was dropped.
    Purged = 3,
    /// Which group this is the log of.
    Group = 4,
    /// Whose log this is.
    Node = 5,
    /// When this member last knew all that its group had committed.
    Contact = 6,
    /// That the group has ended, and who said so.
    Fenced = 7,
    /// Which groups ended when this one was formed from them.
    Forebears = 8,
}

/// An open journal.
pub struct Journal {
    path: PathBuf,
    sql: Connection,
}

/// A write transaction on a journal.
pub struct JournalWrite<'a>(&'a Connection);

impl Journal {
    /// Opens or makes `log.db` in `dir`, which exists.
    ///
    /// Errors: `StoreRefused`: it is damaged, another program's or newer, or cannot be read and written. `DeviceError`: another process has it open.
    pub fn open(dir: &Path) -> Result<Self> {
        // A daemon is told where its files are as seen from where it was started.
        let path = std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf()).join(FILE_NAME);
        let sql = open(&path).map_err(|trouble| trouble.told(&path, "opening the log"))?;
        Ok(Self { path, sql })
    }

    /// Runs `work` in one transaction, durable when this returns. After an error nothing more may be written: what is on the disk is uncertain.
    pub fn write(&mut self, work: impl FnOnce(&JournalWrite<'_>) -> std::result::Result<(), Trouble>) -> Result<()> {
        let transaction = || -> InnerResult<()> {
            self.sql.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            work(&JournalWrite(&self.sql))?;
            self.sql.prepare_cached("COMMIT")?.execute([])?;
            Ok(())
        };
        transaction().map_err(|trouble| trouble.told(&self.path, "writing the log"))
    }

    /// The entries of a range, in order, from its start up to a bound of bytes: at least one if there is one.
    pub fn read(&self, range: Range<u64>, max_bytes: usize) -> Result<Vec<(u64, Vec<u8>)>> {
        read(&self.sql, range, max_bytes).map_err(|trouble| trouble.told(&self.path, "reading the log"))
    }

    /// The first and last position that there is an entry at.
    pub fn ends(&self) -> Result<Option<(u64, u64)>> {
        let ends = || -> InnerResult<_> {
            let mut select = self.sql.prepare_cached("SELECT min(position), max(position) FROM entry")?;
            let (first, last): (Option<i64>, Option<i64>) = select.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(first.zip(last).map(|(first, last)| (unsigned(first), unsigned(last))))
        };
        ends().map_err(|trouble| trouble.told(&self.path, "reading the log"))
    }

    /// A fact, if it has been written.
    pub fn fact(&self, name: JournalFact) -> Result<Option<Vec<u8>>> {
        fact(&self.sql, name).map_err(|trouble| trouble.told(&self.path, "reading the log"))
    }
}

impl JournalWrite<'_> {
    /// Puts an entry at its position, in place of what was there.
    pub fn put(&self, position: u64, bytes: &[u8]) -> InnerResult<()> {
        let put = "INSERT OR REPLACE INTO entry (position, bytes, sum) VALUES (?, ?, ?)";
        let values = params![position.cast_signed(), bytes, sum(position, bytes)];
        self.0.prepare_cached(put)?.execute(values)?;
        Ok(())
    }

    /// Drops all entries from a position on.
    pub fn drop_from(&self, position: u64) -> InnerResult<()> {
        self.0.prepare_cached("DELETE FROM entry WHERE position >= ?")?.execute([position.cast_signed()])?;
        Ok(())
    }

    /// Drops entries before a position, the first ones, so many at most. Whether that was all.
    pub fn drop_before(&self, position: u64, at_most: u64) -> InnerResult<bool> {
        let drop = "DELETE FROM entry WHERE position < min(?, (SELECT min(position) FROM entry) + ?)";
        let dropped = self.0.prepare_cached(drop)?.execute([position.cast_signed(), at_most.cast_signed()])?;
        Ok((dropped as u64) < at_most)
    }

    /// Writes a fact in place of what it was.
    pub fn set(&self, name: JournalFact, bytes: &[u8]) -> InnerResult<()> {
        let number = name as u64;
        let put = "INSERT OR REPLACE INTO fact (name, bytes, sum) VALUES (?, ?, ?)";
        self.0.prepare_cached(put)?.execute(params![number.cast_signed(), bytes, sum(number, bytes)])?;
        Ok(())
    }
}

fn open(path: &Path) -> InnerResult<Connection> {
    let sql = vfs::open(path, true)?;
    // Exclusive, so that there is no index to share and a second process is kept out.
    sql.execute_batch(&format!(
        "PRAGMA page_size = 4096; PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = FULL;
         PRAGMA wal_autocheckpoint = {STORE_WAL_PAGES};"
    ))?;
    if faults::on(Fault::AcknowledgeBeforeSync) {
        sql.execute_batch("PRAGMA synchronous = OFF")?;
    }
    let mode: String = sql.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(Trouble::Damaged(format!("SQLite keeps it in mode {mode} instead of wal")));
    }
    let number = |name: &str| sql.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i32>(0));
    sql.execute_batch("BEGIN IMMEDIATE")?;
    let tables: i64 = sql.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (number("application_id")?, number("user_version")?) {
        (0, 0) if tables == 0 => {
            sql.execute_batch(&format!("{TABLES} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT};"))?
        }
        (APPLICATION_ID, FORMAT) => {}
        (APPLICATION_ID, newer) => {
            let told = format!("{} has format {newer}, this version knows {FORMAT}; use a newer hsmpool", path.display());
            return Err(refuse(Code::StoreRefused, told).into());
        }
        _ => {
            let told = format!("{} is another program's SQLite database; move it away", path.display());
            return Err(refuse(Code::StoreRefused, told).into());
        }
    }
    sql.execute_batch("COMMIT")?;
    Ok(sql)
}

fn read(sql: &Connection, range: Range<u64>, max_bytes: usize) -> InnerResult<Vec<(u64, Vec<u8>)>> {
    let select = "SELECT position, bytes, sum FROM entry WHERE position >= ? AND position < ? ORDER BY position";
    let mut select = sql.prepare_cached(select)?;
    let end = i64::try_from(range.end).unwrap_or(i64::MAX);
    let mut rows = select.query([range.start.cast_signed(), end])?;
    let (mut found, mut total): (Vec<(u64, Vec<u8>)>, _) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let (position, bytes): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let position = unsigned(position);
        // Sound rows in a bent tree: a page may be met twice, and another one not at all.
        let after = found.last().map_or(range.start, |(before, _)| before + 1);
        if position < after || (position > after && !found.is_empty()) {
            return Err(Trouble::Damaged(format!("entry {position} comes where {after} is due")));
        }
        if sum(position, &bytes) != row.get::<_, Vec<u8>>(2)?[..] {
            return Err(Trouble::Damaged(format!("entry {position} is not as it was written")));
        }
        total += bytes.len();
        if total > max_bytes && !found.is_empty() {
            break;
        }
        found.push((position, bytes));
    }
    Ok(found)
}

fn fact(sql: &Connection, name: JournalFact) -> InnerResult<Option<Vec<u8>>> {
    let number = name as u64;
    let mut select = sql.prepare_cached("SELECT bytes, sum FROM fact WHERE name = ?")?;
    let found: Option<(Vec<u8>, Vec<u8>)> =
        select.query_row([number.cast_signed()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    match found {
        Some((bytes, kept)) if kept == sum(number, &bytes) => Ok(Some(bytes)),
        Some(_) => Err(Trouble::Damaged(format!("fact {name:?} is not as it was written"))),
        None => Ok(None),
    }
}

/// Notices what a disk returns wrongly; it has no key.
fn sum(number: u64, bytes: &[u8]) -> [u8; SUM_BYTES] {
    let hash = Sha256::new().chain_update(number.to_be_bytes()).chain_update(bytes).finalize();
    *hash.first_chunk().expect("a hash of 32 bytes begins with 8")
}

#[cfg(test)]
mod tests {
    use super::{FILE_NAME, Journal, JournalFact};
    use crate::error::Code;
    use crate::store::tests::fixtures::Directory;

    #[test]
    fn entries_and_facts_come_back_in_order() {
        let directory = Directory::new();
        let mut journal = Journal::open(directory.path()).unwrap();
        assert_eq!(journal.ends().unwrap(), None);
        journal
            .write(|write| {
                (3..10).try_for_each(|at| write.put(at, &[at as u8; 100]))?;
                write.set(JournalFact::Vote, b"vote")
            })
            .unwrap();
        journal
            .write(|write| {
                assert!(write.drop_before(4, 2)?, "there was one");
                write.drop_from(9)
            })
            .unwrap();
        drop(journal);
        let journal = Journal::open(directory.path()).unwrap();
        assert_eq!(journal.ends().unwrap(), Some((4, 8)));
        assert_eq!(journal.fact(JournalFact::Vote).unwrap().unwrap(), b"vote");
        assert_eq!(journal.fact(JournalFact::Group).unwrap(), None);
        let positions = |max| journal.read(5..100, max).unwrap().into_iter().map(|(at, _)| at).collect::<Vec<_>>();
        assert_eq!(positions(usize::MAX), [5, 6, 7, 8]);
        assert_eq!(positions(200), [5, 6]);
        assert_eq!(positions(1), [5]);
        let mut journal = journal;
        journal
            .write(|write| {
                assert!(!write.drop_before(8, 2)?, "there may be more");
                Ok(())
            })
            .unwrap();
        assert_eq!(journal.ends().unwrap(), Some((6, 8)));
    }

    #[test]
    fn a_journal_is_opened_by_a_relative_path() {
        let directory = Directory::new();
        let here = std::env::current_dir().unwrap();
        // As many steps up as lead to the root, and down from there.
        let up: std::path::PathBuf = here.components().skip(1).map(|_| "..").collect();
        let relative = up.join(directory.path().strip_prefix("/").unwrap());
        assert!(relative.is_relative(), "{}", relative.display());
        Journal::open(&relative).unwrap().write(|write| write.put(1, b"one")).unwrap();
        assert_eq!(Journal::open(directory.path()).unwrap().ends().unwrap(), Some((1, 1)));
    }

    #[test]
    fn a_second_process_and_a_changed_row_are_refused() {
        let directory = Directory::new();
        let mut journal = Journal::open(directory.path()).unwrap();
        journal.write(|write| write.put(1, b"one")).unwrap();
        assert_eq!(Journal::open(directory.path()).map(|_| ()).unwrap_err().code(), Code::DeviceError);
        drop(journal);
        let sql = rusqlite::Connection::open(directory.path().join(FILE_NAME)).unwrap();
        sql.execute("UPDATE entry SET bytes = x'00'", []).unwrap();
        drop(sql);
        let journal = Journal::open(directory.path()).unwrap();
        let error = journal.read(0..10, usize::MAX).unwrap_err();
        assert_eq!(error.code(), Code::StoreRefused);
        assert!(error.to_string().contains("entry 1"), "{error}");
    }
}
