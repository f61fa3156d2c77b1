//! A store as one member's copy of what a group has agreed on: where it stands in the group's log, and the copying of a whole store.
//!
//! The log has every change on disk before it is applied here, so a member's writes need no sync of their own: after a power failure the
//! store may lack its latest changes, and they are applied again. What the log drops must be durable here first: [`Store::settle`].

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use rusqlite::{Connection, OptionalExtension, params};

use super::Store;
use super::batch::Batch;
use super::check;
use super::file::check_header;
use super::pool::{connect, run};
use super::schema::{FORMAT_MEMBER, MEMBER_TABLES, SHARED_TABLES};
use super::trouble::{Result as InnerResult, Trouble};
use crate::error::{Code, Result, refuse};
use crate::faults::{self, Fault};

/// Where a store stands in its group's log, as bytes that the log understands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The entry that was applied last; `None`: no entry yet.
    pub applied: Option<Vec<u8>>,
    /// The last membership that was applied.
    pub membership: Option<Vec<u8>>,
}

impl Store {
    /// Makes this process the group's member that this store is of; a store of its own becomes one, for good. From now on [`Store::write`] is
    /// the group log's, and a write may be lost at a power failure until [`Store::settle`] has returned.
    pub fn replicate(&self) -> Result<()> {
        self.replicating.store(true, Ordering::Release);
        self.pool.get().relax();
        let made = self.pool.get().write_for_good(
            None,
            |_| Ok(()),
            |_| Ok(()),
            |batch| {
                if !is_member(batch.sql())? {
                    batch.sql().execute_batch(&format!("{MEMBER_TABLES} PRAGMA user_version = {FORMAT_MEMBER};"))?;
                    batch.refresh()?;
                }
                Ok(())
            },
        );
        made.map_err(|trouble| trouble.told(&self.path, "making the store a member of a group"))?;
        self.member.store(true, Ordering::Release);
        Ok(())
    }

    /// Where it stands in its group's log. Errors: `StoreRefused`: it is of no group.
    pub fn place(&self) -> Result<Place> {
        self.read("reading the place in the group's log", place)
    }

    /// Returns when everything written so far is durable.
    pub fn settle(&self) -> Result<()> {
        let touched = self.pool.get().write_for_good(self.stamper.get(), |_| Ok(()), |_| Ok(()), |_| Ok(()));
        touched.map_err(|trouble| trouble.told(&self.path, "making the store durable"))
    }

    /// Writes a copy of the whole store, as of now, to a file that must not exist yet, and says where the copy stands in the group's log. Others
    /// may read and write meanwhile.
    pub fn copy_to(&self, file: &Path) -> Result<Place> {
        let copy = || -> InnerResult<Place> {
            let sql = connect(&self.path)?;
            sql.execute("VACUUM INTO ?", [file.to_string_lossy()])?;
            drop(sql);
            place(&connect(file)?)
        };
        copy().map_err(|trouble| trouble.told(&self.path, "copying the store"))
    }

    /// Replaces everything by what another member's copy holds, at once and durably: readers, and a crash, see the old or the new. Returns how
    /// many changes it stands for.
    pub fn install(&self, copy: &CheckedCopy) -> Result<u64> {
        let name = copy.file.to_string_lossy();
        let attach = |sql: &Connection| {
            sql.execute("ATTACH ? AS arrived", [&name])?;
            Ok(())
        };
        let detach = |sql: &Connection| {
            // A statement kept from the work would keep the copy in use.
            sql.flush_prepared_statement_cache();
            let attached = "SELECT 1 FROM pragma_database_list WHERE name = 'arrived'";
            if sql.query_row(attached, [], |_| Ok(())).optional()?.is_some() {
                sql.execute_batch("DETACH arrived")?;
            }
            Ok(())
        };
        let installed = self.pool.get().write_for_good(self.stamper.get(), attach, detach, |batch| {
            for table in SHARED_TABLES {
                let replace = format!("DELETE FROM main.{table}; INSERT INTO main.{table} SELECT * FROM arrived.{table};");
                batch.sql().execute_batch(&replace)?;
            }
            if faults::on(Fault::CopiesLackAnswers) {
                batch.sql().execute("DELETE FROM request", [])?;
            }
            batch.set_place(&copy.place)?;
            batch.refresh()?;
            Ok(batch.applied())
        });
        installed.map_err(|trouble| trouble.told(&self.path, "installing another member's copy"))
    }

    /// Refuses a write that would go beside the log of the group whose member this store is.
    pub(super) fn refuse_beside_group(&self) -> Result<()> {
        if self.member.load(Ordering::Acquire) && !self.replicating.load(Ordering::Acquire) {
            let told = format!("{} belongs to a member of a pool: only its node may write it", self.path.display());
            return Err(refuse(Code::StoreRefused, told + "; send the request to the node, or name another store"));
        }
        Ok(())
    }
}

/// A copy of another member's store that has been read and checked from beginning to end.
#[derive(Clone, Debug)]
pub struct CheckedCopy {
    file: PathBuf,
    place: Place,
}

impl CheckedCopy {
    /// Checks a copy, of which its sender said where it stands in the group's log. The file must stay as it is until it is installed.
    ///
    /// Errors: `StoreRefused`: the file is no whole and sound copy of a member's store, or stands elsewhere.
    pub fn of(file: &Path, stands_at: &Place) -> Result<Self> {
        check_header(file)?;
        let found = place_of_copy(file).map_err(|trouble| trouble.told(file, "checking another member's copy"))?;
        if found != *stands_at && !faults::on(Fault::CopiesAreNotChecked) {
            let told = format!("{} stands elsewhere in the group's log than its sender said; have it sent again", file.display());
            return Err(refuse(Code::StoreRefused, told));
        }
        Ok(Self { file: file.to_path_buf(), place: found })
    }

    /// Where it stands in the group's log.
    pub fn place(&self) -> &Place {
        &self.place
    }
}

impl Batch<'_> {
    /// Records where the store stands in the group's log once this batch is written.
    pub fn set_place(&mut self, place: &Place) -> InnerResult<()> {
        let update = "UPDATE raft SET applied = ?, membership = ?";
        self.sql().prepare_cached(update)?.execute(params![place.applied, place.membership])?;
        self.keep();
        Ok(())
    }
}

/// Whether the store is of a group's member.
pub fn is_member(sql: &Connection) -> InnerResult<bool> {
    let format: u32 = sql.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    Ok(format >= FORMAT_MEMBER)
}

fn place(sql: &Connection) -> InnerResult<Place> {
    let mut select = sql.prepare_cached("SELECT applied, membership FROM raft WHERE one = 1")?;
    let found = select.query_row([], |row| Ok(Place { applied: row.get(0)?, membership: row.get(1)? })).optional()?;
    found.ok_or_else(|| Trouble::Damaged("its row of the group's log is missing".into()))
}

/// Reads and checks a copy from beginning to end.
pub(super) fn place_of_copy(file: &Path) -> InnerResult<Place> {
    let sql = connect(file)?;
    run(&sql, "BEGIN")?;
    if !is_member(&sql)? {
        return Err(Trouble::Damaged("it is of no group's member".into()));
    }
    if !faults::on(Fault::CopiesAreNotChecked) {
        check::check(&sql)?;
    }
    place(&sql)
}

#[cfg(test)]
mod tests {
    use super::{CheckedCopy, Place};
    use crate::error::Code;
    use crate::store::tests::fixtures::{Directory, TOKEN, apply, create, filled, row};
    use crate::store::{Outcome, RequestId, Store};

    fn member(directory: &Directory, objects: u64) -> (Store, Place) {
        let store = filled(directory, objects);
        store.replicate().unwrap();
        let place = Place { applied: Some(vec![7; 3]), membership: Some(vec![8]) };
        store.write(|batch| batch.set_place(&place)).unwrap();
        (store, place)
    }

    #[test]
    fn only_the_group_s_log_writes_a_member_s_store() {
        let directory = Directory::new();
        let (store, place) = member(&directory, 1);
        assert_eq!(apply(&store, create(vec![row(1)])).unwrap(), Outcome::Done);
        store.settle().unwrap();
        let kept = |has: &str| -> i64 {
            let sql = rusqlite::Connection::open(directory.database()).unwrap();
            sql.query_row(&format!("SELECT count(*) FROM log WHERE change IS {has}"), [], |row| row.get(0)).unwrap()
        };
        assert_eq!((kept("NOT NULL"), kept("NULL")), (2, 1), "the group's log has what came since");
        let other = directory.open();
        let error = apply(&other, create(vec![row(2)])).unwrap_err();
        assert_eq!(error.code(), Code::StoreRefused);
        assert_eq!(other.count(TOKEN).unwrap(), 2);
        drop(store);
        let again = directory.open();
        again.replicate().unwrap();
        assert_eq!(again.place().unwrap(), place);
        again.check().unwrap();
    }

    #[test]
    fn a_copy_replaces_everything_and_keeps_the_stamp() {
        let (from, to) = (Directory::new(), Directory::new());
        let (source, place) = member(&from, 300);
        let target = filled(&to, 20);
        target.replicate().unwrap();
        let file = to.path().join("copy");
        source.copy_to(&file).unwrap();
        assert!(source.copy_to(&file).is_err(), "it exists");
        let other = Place::default();
        assert_eq!(CheckedCopy::of(&file, &other).unwrap_err().code(), Code::StoreRefused);
        assert_eq!(target.count(TOKEN).unwrap(), 20);
        let before = target.stamp();
        let copy = CheckedCopy::of(&file, &place).unwrap();
        let applied = target.install(&copy).unwrap();
        assert_eq!(applied, source.set_hash().unwrap().0);
        assert_ne!(target.stamp(), before);
        assert_eq!(target.set_hash().unwrap(), source.set_hash().unwrap());
        assert_eq!(target.check().unwrap(), source.check().unwrap());
        assert_eq!(target.place().unwrap(), place);
        // What was asked for there, and answered, is not done once more here.
        let request = RequestId { client: [0xaa; 16], sequence: applied };
        assert_eq!(target.write(|batch| batch.answer(request)).unwrap(), Some(Outcome::Done));
        assert_eq!(apply(&target, create(vec![row(900)])).unwrap(), Outcome::Done);
        target.install(&copy).unwrap();
        assert_eq!(target.set_hash().unwrap(), source.set_hash().unwrap());
    }

    #[test]
    fn a_damaged_copy_changes_nothing() {
        let (from, to) = (Directory::new(), Directory::new());
        let (source, place) = member(&from, 50);
        let target = filled(&to, 5);
        target.replicate().unwrap();
        let before = target.set_hash().unwrap();
        let file = to.path().join("copy");
        source.copy_to(&file).unwrap();
        let whole = std::fs::read(&file).unwrap();
        let cut = whole.len() / 2;
        std::fs::write(&file, &whole[..cut]).unwrap();
        assert_eq!(CheckedCopy::of(&file, &place).unwrap_err().code(), Code::StoreRefused);
        std::fs::write(&file, &whole).unwrap();
        let sql = rusqlite::Connection::open(&file).unwrap();
        sql.execute("DELETE FROM object WHERE number = 3", []).unwrap();
        drop(sql);
        assert_eq!(CheckedCopy::of(&file, &place).unwrap_err().code(), Code::StoreRefused);
        assert_eq!(target.set_hash().unwrap(), before);
    }
}
