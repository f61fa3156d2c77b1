//! The layer against SQLite's own, and against itself.

#![allow(missing_docs, reason = "each is what its name says")]

use std::ffi::CString;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

use super::{WalIndex, file, lock, open};
use crate::sys::process::Descriptor;
use crate::sys::process::tests::in_child;

/// A database with a table, in a directory of its own that goes with it.
pub struct Database(std::path::PathBuf);

impl Database {
    #[allow(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("hsmpool-vfs-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let database = Self(directory);
        open(&database.path(), true).unwrap().execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a)").unwrap();
        database
    }

    pub fn path(&self) -> std::path::PathBuf {
        self.0.join("test.db")
    }

    pub fn ours(&self) -> Connection {
        open(&self.path(), false).unwrap()
    }

    /// Through SQLite's own layer, as another program would.
    fn theirs(&self) -> Connection {
        let sql = Connection::open(self.path()).unwrap();
        sql.busy_timeout(Duration::ZERO).unwrap();
        sql
    }

    pub fn has(&self, suffix: &str) -> bool {
        self.0.join(format!("test.db{suffix}")).exists()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn rows(sql: &Connection) -> i64 {
    sql.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
}

pub fn insert(sql: &Connection) -> Result<(), ErrorCode> {
    sql.execute("INSERT INTO t VALUES (1)", []).map(|_| ()).map_err(|error| error.sqlite_error_code().unwrap())
}

#[test]
fn connections_of_one_process_exclude_each_other() {
    let database = Database::new();
    let (one, other) = (database.ours(), database.ours());
    one.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(insert(&other), Err(ErrorCode::DatabaseBusy));
    insert(&one).unwrap();
    assert_eq!(rows(&other), 0);
    one.execute_batch("COMMIT").unwrap();
    insert(&other).unwrap();
    assert_eq!(rows(&one), 2);
}

#[test]
fn sqlites_own_layer_and_ours_exclude_each_other() {
    let database = Database::new();
    let (ours, theirs) = (database.ours(), database.theirs());
    ours.execute_batch("BEGIN IMMEDIATE").unwrap();
    insert(&ours).unwrap();
    assert_eq!(insert(&theirs), Err(ErrorCode::DatabaseBusy));
    assert_eq!(rows(&theirs), 0);
    ours.execute_batch("COMMIT").unwrap();
    theirs.execute_batch("BEGIN IMMEDIATE").unwrap();
    insert(&theirs).unwrap();
    assert_eq!(insert(&ours), Err(ErrorCode::DatabaseBusy));
    theirs.execute_batch("COMMIT").unwrap();
    assert_eq!((rows(&ours), rows(&theirs)), (2, 2));
    // Closing theirs drops every POSIX lock of this process on the files; ours are not of that kind.
    ours.execute_batch("BEGIN IMMEDIATE").unwrap();
    drop(theirs);
    assert_eq!(insert(&database.theirs()), Err(ErrorCode::DatabaseBusy));
    ours.execute_batch("COMMIT").unwrap();
}

#[test]
fn rollback_journals_work_too() {
    let database = Database::new();
    let (one, other) = (database.ours(), database.theirs());
    drop(other);
    one.execute_batch("PRAGMA journal_mode = DELETE; PRAGMA locking_mode = NORMAL").unwrap();
    assert!(!database.has("-wal") && !database.has("-shm"));
    let other = database.theirs();
    one.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (1)").unwrap();
    assert_eq!(rows(&other), 0);
    assert_eq!(insert(&other), Err(ErrorCode::DatabaseBusy));
    other.execute_batch("BEGIN; SELECT * FROM t").unwrap();
    let committed = one.execute_batch("COMMIT").map_err(|error| error.sqlite_error_code().unwrap());
    assert_eq!(committed, Err(ErrorCode::DatabaseBusy), "a reader is in the way");
    other.execute_batch("COMMIT").unwrap();
    one.execute_batch("COMMIT").unwrap();
    assert_eq!(rows(&other), 1);
    one.execute_batch("BEGIN; INSERT INTO t VALUES (2); ROLLBACK").unwrap();
    assert_eq!(rows(&other), 1);
}

#[test]
fn the_last_connection_removes_the_log_and_only_the_last() {
    let database = Database::new();
    let (one, other) = (database.ours(), database.ours());
    insert(&one).unwrap();
    assert_eq!(rows(&other), 1);
    drop(one);
    assert!(database.has("-wal") && database.has("-shm"));
    drop(database.theirs());
    assert!(database.has("-wal") && database.has("-shm"), "other programs see that we are there");
    drop(other);
    assert!(!database.has("-wal") && !database.has("-shm"));
}

#[test]
fn a_large_log_maps_further_regions_of_its_index() {
    let database = Database::new();
    let (one, other) = (database.ours(), database.ours());
    one.execute_batch("PRAGMA wal_autocheckpoint = 0; PRAGMA synchronous = OFF").unwrap();
    // One region indexes some 4,000 pages.
    for _ in 0..5000 {
        insert(&one).unwrap();
    }
    assert_eq!(rows(&other), 5000);
    let integrity: String = other.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(integrity, "ok");
}

#[test]
fn the_index_changes_with_each_commit_and_with_nothing_else() {
    let database = Database::new();
    let (one, other) = (database.ours(), database.theirs());
    assert_eq!(rows(&one), 0);
    let index = WalIndex::of(&one).unwrap();
    let mut last = index.read().expect("a connection has read");
    for round in 0..50 {
        rows(&one);
        rows(&other);
        assert_eq!(index.read(), Some(last), "reading changes nothing");
        other.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (1); ROLLBACK").unwrap();
        assert_eq!(index.read(), Some(last), "nor does what is rolled back");
        insert(if round % 2 == 0 { &one } else { &other }).unwrap();
        let now = index.read().unwrap();
        assert_ne!(now, last);
        last = now;
        if round % 10 == 9 {
            one.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
            last = index.read().unwrap();
        }
    }
}

#[test]
fn a_child_takes_nothing_from_its_parent() {
    let database = Database::new();
    let parents = database.ours();
    parents.execute_batch("BEGIN IMMEDIATE").unwrap();
    insert(&parents).unwrap();
    assert!(in_child(|| {
        let own = database.ours();
        insert(&own) == Err(ErrorCode::DatabaseBusy) && rows(&own) == 0
    }));
    parents.execute_batch("COMMIT").unwrap();
    assert!(in_child(|| insert(&database.ours()).is_ok()));
    assert_eq!(rows(&parents), 2);

    // A parent that dies in mid-transaction leaves no lock behind in a child that lives on.
    let (mut told, tell) = std::io::pipe().unwrap();
    let between = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sys::vfs::tests::dies_in_mid_transaction", "--nocapture"])
        .env(DIES_WITH, database.path())
        .stdout(tell)
        .status()
        .unwrap();
    assert!(!between.success());
    let mut line = Vec::new();
    while !line.ends_with(b"born\n") {
        let mut byte = [0];
        told.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    insert(&parents).unwrap();
    assert_eq!(rows(&parents), 3);
}

const DIES_WITH: &str = "HSMPOOL_TEST_DIES_WITH";

/// Not a test by itself: forks, then begins a transaction and dies of it, while the child lives on for a while.
#[test]
fn dies_in_mid_transaction() {
    let Some(path) = std::env::var_os(DIES_WITH) else { return };
    let sql = open(std::path::Path::new(&path), false).unwrap();
    assert_eq!(rows(&sql), 2);
    // SAFETY: the child only waits and leaves.
    if unsafe { libc::fork() } == 0 {
        std::io::stdout().write_all(b"born\n").unwrap();
        std::thread::sleep(Duration::from_secs(3));
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) };
    }
    sql.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (9)").unwrap();
    // SAFETY: ends this very process.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
}

#[test]
fn scratch_files_are_in_memory() {
    let database = Database::new();
    let sql = database.ours();
    sql.execute_batch("PRAGMA temp_store = FILE; PRAGMA cache_size = 10; CREATE TEMP TABLE s AS
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT i, hex(randomblob(50)) AS h FROM n").unwrap();
    let sorted: i64 = sql.query_row("SELECT count(*) FROM (SELECT * FROM s ORDER BY h)", [], |row| row.get(0)).unwrap();
    assert_eq!(sorted, 20_000);
    let names = std::fs::read_dir(&database.0).unwrap().count();
    assert!(names <= 3, "{names} files");
}

/// Of several that come at once one makes the log, and is attached before the others have opened it: theirs is no log that was removed.
#[test]
fn a_log_that_another_one_is_just_making_is_used_and_stays() {
    let database = Database::new();
    let log = database.0.join("test.db-wal");
    let name = |path: &std::path::Path| CString::new(path.as_os_str().as_bytes()).unwrap();
    let other = Descriptor::new(std::fs::File::open(database.path()).unwrap().into()).unwrap();
    lock::set_attached(&other, true).unwrap();
    let opened = file::File::open(&name(&database.path()), libc::O_RDWR).unwrap();
    assert!(!database.has("-wal"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(20));
            std::fs::write(&log, "theirs").unwrap();
        });
        let found = file::File::open_log(&name(&log), libc::O_RDWR | libc::O_CREAT, &opened);
        found.map(drop).unwrap();
    });
    assert_eq!(std::fs::read(&log).unwrap(), b"theirs");
    std::fs::remove_file(&log).unwrap();
    let removed = file::File::open_log(&name(&log), libc::O_RDWR | libc::O_CREAT, &opened);
    assert_eq!(removed.err().and_then(|error| error.raw_os_error()), Some(libc::ESTALE));
    assert!(!database.has("-wal"), "nothing is made in its place");
}

/// A transaction that is larger than the cache writes pages into the log before its end, and some of them again, with headers anew: all of that is in
/// the file, not in our memory, when the commit is told of, synced or not.
#[test]
fn what_is_committed_is_in_the_file_even_where_frames_were_written_twice() {
    let database = Database::new();
    let mut sql = database.ours();
    sql.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = 5").unwrap();
    for round in 0..3 {
        let transaction = sql.transaction().unwrap();
        for number in 0..200 {
            transaction.execute("INSERT INTO t VALUES (zeroblob(1000))", []).unwrap();
            transaction.execute("UPDATE t SET a = randomblob(1000) WHERE rowid % 50 = ?", [number % 50]).unwrap();
        }
        transaction.commit().unwrap();
        // As after `kill -9`: the files as they are, without the index that memory shares.
        let copy = Database::new();
        let _ = std::fs::remove_file(copy.0.join("test.db-shm"));
        for suffix in ["", "-wal"] {
            std::fs::copy(database.0.join(format!("test.db{suffix}")), copy.0.join(format!("test.db{suffix}"))).unwrap();
        }
        let sum = |sql: &Connection| -> (i64, Vec<u8>) {
            let last = "SELECT count(*), (SELECT a FROM t ORDER BY rowid DESC LIMIT 1) FROM t";
            sql.query_row(last, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
        };
        assert_eq!(sum(&copy.theirs()), sum(&sql), "after round {round}");
        assert_eq!(rows(&copy.theirs()), 200 * (round + 1));
    }
}
