//! Whether copies of rows are still good, for one small read: counts that rise when facts change.

use rusqlite::Connection;

use super::schema::MARKS;
use super::trouble::{Result, Trouble};
use crate::object::ObjectId;

/// Objects share so many counts.
const SLOTS: usize = 16;

/// The counts as of one moment. A copy of a row that was read later than some marks is good as long as its count is the same. New objects raise
/// nothing: nobody has a copy of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    administration: u64,
    objects: [u64; SLOTS],
}

impl Marks {
    /// The count of all tokens and holders of PINs.
    pub fn administration(&self) -> u64 {
        self.administration
    }

    /// The count of an object, which others share.
    pub fn of(&self, id: ObjectId) -> u64 {
        self.objects[usize::from(id.0[0] >> 4)]
    }
}

/// Reads the counts.
pub fn marks(sql: &Connection) -> Result<Marks> {
    let mut select = sql.prepare_cached("SELECT count FROM mark ORDER BY slot")?;
    let mut rows = select.query([])?;
    let mut next = || -> Result<u64> {
        let row = rows.next()?.ok_or_else(|| Trouble::Damaged("rows of its table of marks are missing".into()))?;
        Ok(row.get::<_, i64>(0)?.cast_unsigned())
    };
    let mut marks = Marks { administration: next()?, objects: [0; SLOTS] };
    for count in &mut marks.objects {
        *count = next()?;
    }
    Ok(marks)
}

/// Whether the store has them: those that were made before there were any do not.
pub fn has_marks(sql: &Connection) -> Result<bool> {
    Ok(sql.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'mark'")?.exists([])?)
}

/// Adds them to a store that has none, within the open transaction.
pub fn add_marks(sql: &Connection) -> Result<()> {
    if !has_marks(sql)? {
        sql.execute_batch(MARKS)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::object::ObjectId;
    use crate::store::tests::fixtures::{Directory, TOKEN, apply, create, filled, init, row};
    use crate::store::{Change, ObjectRow, Outcome, Store};

    fn done(store: &Store, change: Change) {
        assert_eq!(apply(store, change).unwrap(), Outcome::Done);
    }

    /// An object whose id begins with a digit.
    fn at(digit: u8, version: u64) -> ObjectRow {
        let mut id = [9; 16];
        id[0] = digit << 4 | 3;
        ObjectRow { id: ObjectId(id), version, ..row(1) }
    }

    #[test]
    fn a_copy_is_told_of_its_own_changes_and_hardly_of_others() {
        let directory = Directory::new();
        let store = filled(&directory, 0);
        done(&store, create(vec![at(4, 1), at(15, 1)]));
        let (four, fifteen) = (at(4, 1).id, at(15, 1).id);
        let before = store.marks().unwrap();
        done(&store, create(vec![at(7, 1)]));
        assert_eq!(store.marks().unwrap(), before, "a new object concerns nobody");
        done(&store, Change::ReplaceObject { token: TOKEN, row: at(4, 2) });
        let replaced = store.marks().unwrap();
        assert_ne!(replaced.of(four), before.of(four));
        assert_eq!(replaced.of(fifteen), before.of(fifteen));
        done(&store, Change::DeleteObject { token: TOKEN, id: fifteen, expected_version: 1 });
        let gone = store.marks().unwrap();
        assert_ne!(gone.of(fifteen), replaced.of(fifteen));
        assert_eq!(gone.of(four), replaced.of(four));
        assert_eq!(gone.administration(), before.administration());
        assert_eq!(apply(&store, Change::ReserveAttempt { token: TOKEN, role: 0 }).unwrap(), Outcome::Attempt { attempts: 1 });
        let attempted = store.marks().unwrap();
        assert_ne!(attempted.administration(), gone.administration());
        done(&store, init(TOKEN, 2, Some(1)));
        let emptied = store.marks().unwrap();
        assert_ne!(emptied.administration(), attempted.administration());
        assert_ne!(emptied.of(four), attempted.of(four));
    }

    #[test]
    fn a_store_from_before_there_were_marks_gets_them_when_it_is_opened() {
        let directory = Directory::new();
        drop(filled(&directory, 3));
        let sql = rusqlite::Connection::open(directory.path().join(crate::store::file::FILE_NAME)).unwrap();
        let triggers = [
            "object_replaced",
            "object_gone",
            "token_made",
            "token_changed",
            "token_gone",
            "user_made",
            "user_changed",
            "user_gone",
        ];
        triggers.iter().for_each(|name| sql.execute_batch(&format!("DROP TRIGGER {name}")).unwrap());
        sql.execute_batch("DROP TABLE mark").unwrap();
        drop(sql);
        let store = directory.open();
        let before = store.marks().unwrap();
        done(&store, Change::ReplaceObject { token: TOKEN, row: ObjectRow { version: 2, ..row(1) } });
        assert_ne!(store.marks().unwrap().of(row(1).id), before.of(row(1).id));
        store.check().unwrap();
    }
}
