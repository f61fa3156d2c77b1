//! A child of root's that has become nobody, with what it was left.

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

/// A daemon closes what it does not know, and opens the store again, before it has workers.
#[test]
fn a_worker_of_a_daemon_that_closed_everything_has_all_of_it() {
    let (database, _sql, _bequest) = bequeathed(None);
    let close_all = || {
        // SAFETY: the test's own child, which uses no other descriptor.
        (FIRST..1000).for_each(|raw| _ = unsafe { libc::close(raw) });
    };
    let serve = || {
        let all: Vec<_> = (0..CONNECTIONS).map(|_| database.ours()).collect();
        all.iter().all(|one| insert(one).is_ok())
    };
    if !user::is_root() {
        return;
    }
    for daemons in 0..3 {
        assert!(in_child(|| {
            close_all();
            let open: Vec<_> = (0..daemons).map(|_| database.ours()).collect();
            let works = || open.iter().all(|one| insert(one).is_ok());
            works() && in_child(|| become_nobody() && serve()) && works() && in_child(|| become_nobody() && serve())
        }));
    }
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
