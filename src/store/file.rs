//! The database file before SQLite sees it: made whole or not at all, and refused, with the reason, where it is not ours.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::Connection;

use super::facts::Sum;
use super::schema::{APPLICATION_ID, FORMAT, PAGE_BYTES, TABLES};
use super::trouble::{Result as InnerResult, Trouble, damaged};
use crate::error::{Code, Doing, Error, Result, refuse};
use crate::sys::process::NoFork;
use crate::sys::{filesystem, vfs};

/// The database's name within its directory.
pub const FILE_NAME: &str = "hsmpool.db";
const DOING: &str = "opening the store";
/// Bytes of SQLite's file header.
const HEADER_BYTES: usize = 100;

/// Finds or makes the database in `dir`, and looks at its header. Returns its path.
pub fn prepare(dir: &Path) -> Result<PathBuf> {
    prepare_directory(dir)?;
    let path = dir.join(FILE_NAME);
    if !path.try_exists().doing(Code::StoreRefused, format!("{DOING}: cannot look for {}", path.display()))? {
        make(dir, &path)?;
    }
    check_header(&path)?;
    Ok(path)
}

fn prepare_directory(dir: &Path) -> Result<()> {
    match fs::metadata(dir) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => {
            let told = format!("the store's directory {} is a file; name a directory", dir.display());
            return Err(refuse(Code::Configuration, told));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
            made.doing(Code::Configuration, format!("cannot make the store's directory {}", dir.display()))?;
        }
        Err(error) => {
            let told = format!("cannot reach the store's directory {}", dir.display());
            return Err(refuse(Code::Configuration, told).because(error));
        }
    }
    let network = filesystem::network_name(dir);
    match network.doing(Code::StoreRefused, format!("{DOING}: cannot tell the file system of {}", dir.display()))? {
        None => Ok(()),
        Some(name) => {
            let told = format!("{DOING}: {} is on {name}, where processes do not share locks and memory", dir.display());
            Err(refuse(Code::StoreRefused, told + "; put it on a local file system"))
        }
    }
}

/// Makes a new, empty database: under another name first, so that no process ever sees half of one.
fn make(dir: &Path, path: &Path) -> Result<()> {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let log = dir.join(format!("{FILE_NAME}-wal"));
    if fs::metadata(&log).is_ok_and(|found| found.len() > 0) {
        let told = format!("{DOING}: {} is missing, but {} is there", path.display(), log.display());
        return Err(refuse(Code::StoreRefused, told + "; put the database back, or move its log away to begin anew"));
    }
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let draft = dir.join(format!("{FILE_NAME}.new-{}-{number}", std::process::id()));
    let _ = fs::remove_file(&draft);
    let made = write_empty(&draft).map_err(|trouble| trouble.told(&draft, "making a new store"));
    let named = made.and_then(|()| match filesystem::rename_new(&draft, path) {
        // Another process was faster: its database is as good.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.doing(Code::StoreRefused, format!("cannot make {}", path.display())),
    });
    let _ = fs::remove_file(&draft);
    named?;
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.doing(Code::DeviceError, format!("cannot make {} durable", path.display()))
}

fn write_empty(draft: &Path) -> InnerResult<()> {
    let _held = NoFork::hold();
    let sql = vfs::open(draft, true)?;
    sql.execute_batch(&format!(
        "PRAGMA page_size = {PAGE_BYTES}; PRAGMA synchronous = FULL; BEGIN; {TABLES}
         PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT};"
    ))?;
    sql.execute("INSERT INTO state (one, applied, sum) VALUES (1, 0, ?)", [Sum::EMPTY.to_bytes()])?;
    sql.execute_batch("COMMIT")?;
    // Last, as it is kept in the file's header and ends the use of a rollback journal.
    let mode: String = sql.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(Trouble::Damaged(format!("SQLite keeps it in mode {mode} instead of wal")));
    }
    sql.close().map_err(|(_, cause)| cause.into())
}

/// Whether the file is a database, ours, and of a format that we know.
fn check_header(path: &Path) -> Result<()> {
    let shown = path.display().to_string();
    let open = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    let (found, mut file) =
        open.doing(Code::StoreRefused, format!("{DOING}: cannot read {shown}; it belongs to its user alone"))?;
    if !found.is_file() {
        return Err(refuse(Code::StoreRefused, format!("{DOING}: {shown} is not a file; move it away")));
    }
    let mut header = [0; HEADER_BYTES];
    if let Err(error) = file.read_exact(&mut header) {
        return Err(damaged(&shown, DOING, &format!("truncated to {} bytes", found.len())).because(error));
    }
    let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(damaged(&shown, DOING, "it does not begin as an SQLite database does"));
    }
    if number(68) != APPLICATION_ID {
        let told = format!("{DOING}: {shown} is another program's SQLite database (application id {:#x})", number(68));
        return Err(refuse(Code::StoreRefused, told + "; move it away, or name another directory"));
    }
    match number(60) {
        FORMAT => Ok(()),
        newer if newer > FORMAT => {
            let told = format!("{DOING}: {shown} has format {newer}, this version knows up to {FORMAT}; use a newer hsmpool");
            Err(refuse(Code::StoreRefused, told))
        }
        unknown => Err(damaged(&shown, DOING, &format!("format {unknown} was never used"))),
    }
}

/// Says more about a database that SQLite finds malformed, where the file's length tells it.
pub fn explain(path: &Path, error: Error) -> Error {
    let mut header = [0; HEADER_BYTES];
    let read = File::open(path).and_then(|mut file| {
        file.read_exact(&mut header)?;
        Ok(file.metadata()?.len())
    });
    let Ok(bytes) = read else { return error };
    let pages = u32::from_be_bytes([header[28], header[29], header[30], header[31]]);
    let expected = u64::from(pages) * u64::from(PAGE_BYTES);
    if error.code() != Code::StoreRefused || bytes >= expected {
        return error;
    }
    damaged(&path.display().to_string(), DOING, &format!("truncated: {bytes} bytes instead of {expected}")).because(error)
}

/// Checks the state row through an open connection.
pub fn check_state(sql: &Connection) -> InnerResult<()> {
    super::batch::state(sql).map(|_| ())
}
