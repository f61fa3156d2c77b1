//! A store as one member's copy of what a group has agreed on: where it stands in the group's log, and the copying of a whole store.
//!
//! The log has every change on disk before it is applied here, so a member's writes need no sync of their own: after a power failure the
//! store may lack its latest changes, and they are applied again. What the log drops must be durable here first: [`Store::settle`].

use std::path::{Path, PathBuf};
use std::sync::PoisonError;
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
use crate::limits::CLIENTS_NOTED_MAX;

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

    /// Whether it is of a group's member.
    pub fn is_of_member(&self) -> bool {
        self.member.load(Ordering::Acquire)
    }

    /// Where it stands in its group's log. Errors: `StoreRefused`: it is of no group.
    pub fn place(&self) -> Result<Place> {
        self.read("reading the place in the group's log", place)
    }

    /// As [`Store::write`], in a transaction that stays open until [`Store::put_down`], or until something else is written: what is written
    /// together costs less. Reads see it then; who writes sees it at once. If the process ends before, or a write fails, all that is open is gone:
    /// for a member, whose log has it.
    ///
    /// After an error nothing more is written: what was open is lost, and only the log knows what that was.
    pub fn write_on<T>(&self, work: impl FnOnce(&mut Batch<'_>) -> InnerResult<T>) -> Result<T> {
        self.refuse_beside_group()?;
        self.pool.get().write_on(work).map_err(|trouble| trouble.told(&self.path, "writing"))
    }

    /// Notes the highest number of a client that has an answer, of which nobody else may know yet.
    pub fn note_number(&self, client: [u8; 16], highest: u64) {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        if numbers.len() >= CLIENTS_NOTED_MAX && !numbers.contains_key(&client) {
            numbers.clear();
        }
        numbers.insert(client, highest);
    }

    /// Commits what [`Store::write_on`] has left open.
    pub fn put_down(&self) -> Result<()> {
        self.pool.get().put_down(self.stamper.get()).map_err(|trouble| trouble.told(&self.path, "writing"))
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
        // The copy may have higher ones.
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner).clear();
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
            batch.set_place(copy.place.clone());
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

/// Writes where the store stands within the open transaction of `sql`.
pub(super) fn write_place(sql: &Connection, place: &Place) -> InnerResult<()> {
    let update = "UPDATE raft SET applied = ?, membership = ?";
    sql.prepare_cached(update)?.execute(params![place.applied, place.membership])?;
    Ok(())
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
    use crate::store::tests::fixtures::{self, Directory, TOKEN, apply, create, filled, row, stand_at};
    use crate::store::{Outcome, RequestId, Store, Trouble};
    use crate::sys::vfs::fault::{self, Action, Operation};

    fn member(directory: &Directory, objects: u64) -> (Store, Place) {
        let store = filled(directory, objects);
        store.replicate().unwrap();
        let place = Place { applied: Some(vec![7; 3]), membership: Some(vec![8]) };
        stand_at(&store, place.clone()).unwrap();
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

    fn create_on(store: &Store, number: u64, place: u8) -> Outcome {
        fixtures::create_on(store, number, Place { applied: Some(vec![place]), membership: None }).unwrap()
    }

    #[test]
    fn what_is_written_on_is_seen_by_writers_at_once_and_by_readers_when_it_is_put_down() {
        let directory = Directory::new();
        let (store, place) = member(&directory, 1);
        let before = store.set_hash().unwrap();
        assert_eq!(create_on(&store, 10, 1), Outcome::Done);
        assert_eq!(create_on(&store, 11, 2), Outcome::Done);
        assert_eq!(create_on(&store, 11, 3), Outcome::Conflict, "it is there for who writes");
        assert_eq!((store.count(TOKEN).unwrap(), store.set_hash().unwrap()), (1, before));
        assert_eq!(store.place().unwrap(), place);
        store.put_down().unwrap();
        assert_eq!(store.count(TOKEN).unwrap(), 3);
        assert_eq!(store.place().unwrap().applied, Some(vec![3]));
        store.put_down().unwrap();
        // Whatever else is written takes along what is open, and its place.
        assert_eq!(create_on(&store, 12, 4), Outcome::Done);
        store.settle().unwrap();
        assert_eq!((store.count(TOKEN).unwrap(), store.place().unwrap().applied), (4, Some(vec![4])));
        assert_eq!(create_on(&store, 13, 5), Outcome::Done);
        store.write(|batch| batch.answer(RequestId { client: [5; 16], sequence: 13 })).unwrap().unwrap();
        assert_eq!((store.count(TOKEN).unwrap(), store.place().unwrap().applied), (5, Some(vec![5])));
        store.check().unwrap();
    }

    #[test]
    fn what_is_open_is_gone_with_its_process_and_its_place_with_it() {
        let directory = Directory::new();
        let (store, _) = member(&directory, 1);
        assert_eq!(create_on(&store, 10, 1), Outcome::Done);
        store.put_down().unwrap();
        assert_eq!(create_on(&store, 11, 2), Outcome::Done);
        drop(store);
        let again = directory.open();
        again.replicate().unwrap();
        assert_eq!((again.count(TOKEN).unwrap(), again.place().unwrap().applied), (2, Some(vec![1])));
        assert_eq!(create_on(&again, 11, 2), Outcome::Done);
        again.put_down().unwrap();
        again.check().unwrap();
    }

    #[test]
    fn a_failure_that_loses_what_is_open_is_the_last_word() {
        for spoil in [0, 1] {
            let directory = Directory::new();
            let (store, place) = member(&directory, 1);
            assert_eq!(create_on(&store, 10, 1), Outcome::Done);
            let failed = match spoil {
                0 => store.write_on(|_| Err::<(), _>(Trouble::Damaged("spoilt".into()))).unwrap_err(),
                _ => {
                    fault::arm(Action::Fail(Operation::Write, 28), 0);
                    let failed = store.put_down().unwrap_err();
                    fault::disarm();
                    failed
                }
            };
            assert!(!failed.to_string().is_empty());
            let refused = store.write_on(|batch| Ok(batch.applied())).unwrap_err();
            assert!(refused.to_string().contains("opened anew"), "{refused}");
            assert_eq!(store.place().unwrap(), place);
            drop(store);
            let again = directory.open();
            again.replicate().unwrap();
            assert_eq!(create_on(&again, 10, 1), Outcome::Done);
        }
    }

    #[test]
    fn a_failure_with_nothing_open_is_none_of_the_next_one() {
        let directory = Directory::new();
        let (store, _) = member(&directory, 1);
        assert!(store.write_on(|_| Err::<(), _>(Trouble::Damaged("spoilt".into()))).is_err());
        assert_eq!(create_on(&store, 10, 1), Outcome::Done);
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
