//! The database file before SQLite sees it: made whole or not at all, and refused, with the reason, where it is not ours.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::facts::Sum;
use super::schema::{APPLICATION_ID, FORMAT, FORMAT_ALONE, MARKS, PAGE_BYTES, TABLES};
use super::trouble::{Result as InnerResult, Trouble, damaged};
use crate::error::{Code, Doing, Result, refuse};
use crate::sys::files::{self, Found};
use crate::sys::process::NoFork;
use crate::sys::{filesystem, heirloom, vfs};

/// The database's name within its directory.
pub const FILE_NAME: &str = "hsmpool.db";
const DOING: &str = "opening the store";
/// Bytes of SQLite's file header (fileformat2, section 1.3).
const HEADER_BYTES: usize = 100;
/// How often a file that seems too short is looked at, and the pause in between.
const LOOKS_MAX: u32 = 3;
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Finds or makes the database in `dir`, and looks at its header. Returns its path.
pub fn prepare(dir: &Path) -> Result<PathBuf> {
    let path = dir.join(FILE_NAME);
    // The parent has looked, and it is the same file.
    if heirloom::is_left_at(&path) && files::open(&path).is_err_and(|error| heirloom::is_refusal(&error)) {
        return Ok(path);
    }
    prepare_directory(dir)?;
    if !exists(&path).doing(Code::StoreRefused, format!("{DOING}: cannot look for {}", path.display()))? {
        make(dir, &path)?;
    }
    check_header(&path)?;
    Ok(path)
}

/// The path of a database that is not there yet, in a directory that is made if it is missing. Errors: `Configuration`.
pub fn prepare_new(dir: &Path) -> Result<PathBuf> {
    prepare_directory(dir)?;
    let path = dir.join(FILE_NAME);
    if exists(&path).doing(Code::Configuration, format!("cannot look for {}", path.display()))? {
        return Err(refuse(Code::Configuration, format!("{} is there already: name another directory", path.display())));
    }
    Ok(path)
}

fn exists(path: &Path) -> io::Result<bool> {
    match files::find(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn prepare_directory(dir: &Path) -> Result<()> {
    match files::find(dir) {
        Ok(Found::Directory) => {}
        Ok(_) => {
            let told = format!("the store's directory {} is a file; name a directory", dir.display());
            return Err(refuse(Code::Configuration, told));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = files::make_directories(dir, 0o700);
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
    if files::has_content(&log) {
        let told = format!("{DOING}: {} is missing, but {} is there", path.display(), log.display());
        return Err(refuse(Code::StoreRefused, told + "; put the database back, or move its log away to begin anew"));
    }
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let draft = dir.join(format!("{FILE_NAME}.new-{}-{number}", std::process::id()));
    let _ = files::remove(&draft);
    let made = write_empty(&draft).map_err(|trouble| trouble.told(&draft, "making a new store"));
    let named = made.and_then(|()| match filesystem::rename_new(&draft, path) {
        // Another process was faster: its database is as good.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.doing(Code::StoreRefused, format!("cannot make {}", path.display())),
    });
    let _ = files::remove(&draft);
    named?;
    let synced = files::sync_directory(dir);
    synced.doing(Code::DeviceError, format!("cannot make {} durable", path.display()))
}

fn write_empty(draft: &Path) -> InnerResult<()> {
    let _held = NoFork::hold();
    let sql = vfs::open(draft, true)?;
    sql.execute_batch(&format!(
        "PRAGMA page_size = {PAGE_BYTES}; PRAGMA synchronous = FULL; BEGIN; {TABLES} {MARKS}
         PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT_ALONE};"
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

/// Whether the file is a database, ours, whole, and of a format that we know.
pub fn check_header(path: &Path) -> Result<()> {
    let shown = path.display().to_string();
    let cannot = format!("{DOING}: cannot read {shown}; it must be readable and writable by this user");
    // A link is refused as well: a database with two names would have two logs.
    if !matches!(files::find_itself(path).doing(Code::StoreRefused, cannot.clone())?, Found::File(_)) {
        return Err(refuse(Code::StoreRefused, format!("{DOING}: {shown} is not a file; move it away")));
    }
    let header = match whole_header(path).doing(Code::StoreRefused, cannot)? {
        Length::Whole(header) => header,
        Length::Cut { bytes, expected } => {
            return Err(damaged(&shown, DOING, &format!("truncated to {bytes} bytes, at least {expected} are expected")));
        }
    };
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(damaged(&shown, DOING, "it does not begin as an SQLite database does"));
    }
    if number(&header, 68) != APPLICATION_ID {
        let told = format!("{DOING}: {shown} is another program's SQLite database (application id {:#x})", number(&header, 68));
        return Err(refuse(Code::StoreRefused, told + "; move it away, or name another directory"));
    }
    match number(&header, 60) {
        FORMAT_ALONE..=FORMAT => Ok(()),
        newer if newer > FORMAT => {
            let told = format!("{DOING}: {shown} has format {newer}, this version knows up to {FORMAT}; use a newer hsmpool");
            Err(refuse(Code::StoreRefused, told))
        }
        unknown => Err(damaged(&shown, DOING, &format!("format {unknown} was never used"))),
    }
}

/// A big-endian number of the header.
fn number(header: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

enum Length {
    Whole([u8; HEADER_BYTES]),
    Cut { bytes: u64, expected: u64 },
}

/// Reads the header and compares the file's length with it. While there is a write-ahead log, another process may be folding it back, and the
/// length may be anything; so only a file that stays too short without one is cut.
fn whole_header(path: &Path) -> io::Result<Length> {
    let log = path.with_file_name(format!("{FILE_NAME}-wal"));
    let mut looks = 0;
    loop {
        let mut file = files::open(path)?;
        let (mut header, mut read) = ([0; HEADER_BYTES], 0);
        while read < HEADER_BYTES {
            match file.read(&mut header[read..])? {
                0 => break,
                more => read += more,
            }
        }
        let Found::File(bytes) = files::find(path)? else { return Err(io::ErrorKind::IsADirectory.into()) };
        let pages = u64::from(number(&header, 28)) * u64::from(PAGE_BYTES);
        let ours = number(&header, 68) == APPLICATION_ID;
        let expected = if ours { pages } else { HEADER_BYTES as u64 };
        let whole = bytes >= expected && (!ours || bytes.is_multiple_of(u64::from(PAGE_BYTES)));
        let has_log = files::has_content(&log);
        if read == HEADER_BYTES && (whole || has_log) {
            return Ok(Length::Whole(header));
        }
        looks += 1;
        if looks == LOOKS_MAX {
            return Ok(Length::Cut { bytes, expected: expected.max(HEADER_BYTES as u64) });
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}
