//! The disk in memory loses what a power failure may lose, and nothing that was synced.

use std::io::{Read, Write};

use rusqlite::Connection;

use super::{Disk, Kind, Loss};
use crate::sys::files;
use crate::sys::vfs::open;

const LOSSES: [Loss; 6] = [Loss::Everything, Loss::Nothing, Loss::Newest, Loss::AllButNewest, Loss::Some(1), Loss::Some(2)];

fn database(disk: &Disk, settings: &str) -> Connection {
    let sql = open(&disk.path().join("t.db"), true).unwrap();
    sql.execute_batch(&format!("{settings}; CREATE TABLE IF NOT EXISTS t (a)")).unwrap();
    sql
}

fn rows(sql: &Connection) -> i64 {
    sql.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
}

#[test]
fn connections_share_a_database_and_exclude_each_other() {
    let disk = Disk::mount(1);
    let one = database(&disk, "PRAGMA journal_mode = WAL");
    let other = database(&disk, "");
    one.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (1)").unwrap();
    assert!(other.execute_batch("INSERT INTO t VALUES (2)").is_err());
    assert_eq!(rows(&other), 0);
    one.execute_batch("COMMIT").unwrap();
    assert_eq!(rows(&other), 1);
    drop(one);
    other.execute_batch("INSERT INTO t VALUES (2)").unwrap();
    drop(other);
    assert_eq!(disk.names(), [disk.path().join("t.db")], "the last connection removes the log");
    let integrity: String = database(&disk, "").query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(integrity, "ok");
}

#[test]
fn what_was_synced_survives_each_loss_at_each_operation() {
    // The deletion of a journal is durable with "EXTRA" alone, as SQLite says.
    for (mode, level) in [("WAL", "FULL"), ("TRUNCATE", "FULL"), ("DELETE", "EXTRA")] {
        for loss in LOSSES {
            let mut after = 0;
            loop {
                let disk = Disk::mount(after);
                drop(database(&disk, &format!("PRAGMA journal_mode = {mode}; PRAGMA synchronous = {level}")));
                disk.sync_names().unwrap();
                let sql = database(&disk, &format!("PRAGMA journal_mode = {mode}; PRAGMA synchronous = {level}"));
                disk.fail_after(after);
                let written =
                    (0..3).take_while(|_| sql.execute("INSERT INTO t VALUES (zeroblob(3000))", []).is_ok()).count() as i64;
                disk.crash(loss);
                drop(sql);
                let found = rows(&database(&disk, ""));
                assert!(found == written || found == written + 1, "{mode} {loss:?} {after}: {written} written, {found} found");
                if written == 3 {
                    assert!(after > 3);
                    break;
                }
                after += 1;
            }
        }
    }
}

#[test]
fn what_was_not_synced_can_be_lost() {
    let lost = |synchronous: &str| {
        let disk = Disk::mount(1);
        drop(database(&disk, "PRAGMA journal_mode = WAL"));
        disk.sync_names().unwrap();
        let sql = database(&disk, &format!("PRAGMA synchronous = {synchronous}"));
        sql.execute("INSERT INTO t VALUES (1)", []).unwrap();
        disk.crash(Loss::Everything);
        assert!(sql.execute("INSERT INTO t VALUES (2)", []).is_err(), "what was open is dead");
        rows(&database(&disk, "")) == 0
    };
    assert!(lost("NORMAL"));
    assert!(!lost("FULL"));
}

#[test]
fn a_failed_sync_is_final_and_what_it_was_for_is_lost() {
    let disk = Disk::mount(3);
    drop(database(&disk, "PRAGMA journal_mode = WAL"));
    let sql = database(&disk, "PRAGMA synchronous = FULL");
    disk.fail_sync_after(0);
    assert!(sql.execute("INSERT INTO t VALUES (zeroblob(9000))", []).is_err());
    assert!(sql.execute("INSERT INTO t VALUES (1)", []).is_err(), "no write after a failed sync");
}

#[test]
fn a_full_disk_refuses_and_takes_again_when_there_is_room() {
    let disk = Disk::mount(4);
    let sql = database(&disk, "PRAGMA journal_mode = WAL");
    disk.limit(Some(disk.used() + 2000));
    let error = sql.execute("INSERT INTO t VALUES (zeroblob(90000))", []).unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DiskFull));
    disk.limit(None);
    sql.execute("INSERT INTO t VALUES (zeroblob(90000))", []).unwrap();
    assert_eq!(rows(&sql), 1);
}

#[test]
fn names_are_lost_up_to_a_point_of_their_order() {
    let disk = Disk::mount(5);
    let (one, two) = (disk.path().join("one"), disk.path().join("two"));
    files::create_new(&one).unwrap().write_all(b"text").unwrap();
    assert!(files::create_new(&one).is_err());
    disk.sync_names().unwrap();
    disk.rename_new(&one, &two).unwrap();
    let mut text = String::new();
    files::open(&two).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "text");
    disk.note();
    files::remove(&two).unwrap();
    assert_eq!(disk.noted(), [(Kind::Name, two.to_string_lossy().into_owned())]);
    disk.crash(Loss::Everything);
    assert_eq!(files::find(&one).unwrap(), files::Found::File(0), "the name was synced, its bytes were not");
    assert!(files::find(&two).is_err());
}
