//! The C side of the layer: SQLite's method tables, and one function for each method. They translate pointers and codes; what is
//! done is in `file`, `lock` and `shared`.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::ffi;

use super::file::{self, File, Read, fault};
use super::lock::Hold;
use super::shared::{Mapping, SharedIndex};

/// What SQLite allocates for us as an open file: its own part first.
#[repr(C)]
struct Slot {
    base: ffi::sqlite3_file,
    /// From `Box::into_raw`, until `close`.
    file: *mut File,
}

/// Longest path.
const PATH_MAX_BYTES: c_int = 4096;
/// Bytes that the disk writes whole or not at all, as SQLite assumes of all modern disks.
pub const SECTOR_BYTES: c_int = 4096;

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    // 2: with the methods for the write-ahead log, without those for mapped database files.
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// The layer as SQLite wants it described.
pub fn layer(name: &'static CStr) -> ffi::sqlite3_vfs {
    ffi::sqlite3_vfs {
        iVersion: 2,
        szOsFile: size_of::<Slot>() as c_int,
        mxPathname: PATH_MAX_BYTES,
        pNext: ptr::null_mut(),
        zName: name.as_ptr(),
        pAppData: ptr::null_mut(),
        xOpen: Some(open),
        xDelete: Some(delete),
        xAccess: Some(access),
        xFullPathname: Some(full_pathname),
        xDlOpen: None,
        xDlError: None,
        xDlSym: None,
        xDlClose: None,
        xRandomness: Some(randomness),
        xSleep: Some(sleep),
        xCurrentTime: None,
        xGetLastError: Some(get_last_error),
        xCurrentTimeInt64: Some(current_time),
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    }
}

/// Our file behind SQLite's pointer.
///
/// # Safety
/// `file` comes from SQLite, between a successful `open` and `close`; SQLite uses one connection's files from one thread at a time.
unsafe fn ours<'a>(file: *mut ffi::sqlite3_file) -> &'a mut File {
    // SAFETY: the caller promises that `open` has put a box there, and that nobody else uses it meanwhile.
    unsafe { &mut *(*file.cast::<Slot>()).file }
}

/// The code for SQLite, and the system's error kept for the message.
fn told(result: io::Result<()>, code: c_int) -> c_int {
    match result {
        Ok(()) => ffi::SQLITE_OK,
        Err(error) => failed(&error, code),
    }
}

fn failed(error: &io::Error, code: c_int) -> c_int {
    file::keep_error(error);
    match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => ffi::SQLITE_FULL,
        _ => code,
    }
}

/// Turns "somebody is in the way" into the code that means it.
fn taken(result: io::Result<bool>, code: c_int) -> c_int {
    match result {
        Ok(true) => ffi::SQLITE_OK,
        Ok(false) => ffi::SQLITE_BUSY,
        Err(error) => failed(&error, code),
    }
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    slot: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let slot = slot.cast::<Slot>();
    // SAFETY: SQLite gives `szOsFile` bytes; without methods it will not call `close` after a failure.
    unsafe { (*slot).base.pMethods = ptr::null() };
    let is_log = flags & (ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL) != 0;
    // SAFETY: the name of a log or journal is the one that SQLite has for it, beside its open database, which this thread alone uses.
    let database = if is_log && !name.is_null() { unsafe { database_of(name) } } else { None };
    // SAFETY: a name that is not null ends with a null byte and outlives the call.
    let name = (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) });
    match open_file(name, flags, database) {
        Err(error) => failed(&error, ffi::SQLITE_CANTOPEN),
        Ok(opened) => {
            // SAFETY: `slot` is SQLite's memory for this file, and `out_flags` is null or an integer of SQLite's.
            unsafe {
                (*slot).file = Box::into_raw(Box::new(opened));
                (*slot).base.pMethods = &raw const METHODS;
                if !out_flags.is_null() {
                    *out_flags = flags;
                }
            }
            ffi::SQLITE_OK
        }
    }
}

/// The database that a log or journal belongs to; `None`: it is not of our layer.
///
/// # Safety
/// `name` is what SQLite gives for a log or journal to be opened, on the thread that uses its connection.
unsafe fn database_of<'a>(name: ffi::sqlite3_filename) -> Option<&'a File> {
    // SAFETY: the caller's promise; the database is open as long as its log.
    unsafe {
        let database = NonNull::new(ffi::sqlite3_database_file_object(name))?;
        ptr::eq(database.as_ref().pMethods, &raw const METHODS).then(|| &*ours(database.as_ptr()))
    }
}

fn open_file(name: Option<&CStr>, flags: c_int, database: Option<&File>) -> io::Result<File> {
    let Some(name) = name else { return File::scratch() };
    let with = |flag: c_int, then: c_int| if flags & flag != 0 { then } else { 0 };
    let access = if flags & ffi::SQLITE_OPEN_READWRITE != 0 { libc::O_RDWR } else { libc::O_RDONLY };
    let how = access | with(ffi::SQLITE_OPEN_CREATE, libc::O_CREAT) | with(ffi::SQLITE_OPEN_EXCLUSIVE, libc::O_EXCL);
    let mut opened = match database {
        Some(database) => File::open_log(name, how, database)?,
        None if flags & ffi::SQLITE_OPEN_MAIN_DB != 0 => File::open_database(name, how)?,
        None => File::open(name, how)?,
    };
    opened.delete_on_close = flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0;
    opened.gathers = flags & ffi::SQLITE_OPEN_WAL != 0;
    Ok(opened)
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file once, and does not use it afterwards; the box is ours since `open`.
    let closed = unsafe { Box::from_raw((*file.cast::<Slot>()).file) };
    if closed.delete_on_close {
        let _ = file::unlink(&closed.path);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, out: *mut c_void, len: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite's file, and its buffer of `len` bytes, for this call.
    let (file, out) = unsafe { (ours(file), std::slice::from_raw_parts_mut(out.cast::<u8>(), len.max(0) as usize)) };
    match file.read(out, offset) {
        Ok(Read::Whole) => ffi::SQLITE_OK,
        Ok(Read::Short) => ffi::SQLITE_IOERR_SHORT_READ,
        Err(error) => failed(&error, ffi::SQLITE_IOERR_READ),
    }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, bytes: *const c_void, len: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite's file, and its buffer of `len` bytes, for this call.
    let (file, bytes) = unsafe { (ours(file), std::slice::from_raw_parts(bytes.cast::<u8>(), len.max(0) as usize)) };
    told(file.write(bytes, offset), ffi::SQLITE_IOERR_WRITE)
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, bytes: i64) -> c_int {
    // SAFETY: SQLite's file, for this call.
    told(unsafe { ours(file) }.truncate(bytes), ffi::SQLITE_IOERR_TRUNCATE)
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: SQLite's file, for this call.
    match unsafe { ours(file) }.sync() {
        Ok(()) => ffi::SQLITE_OK,
        // Not "full", which would read as "nothing has happened".
        Err(error) => {
            file::keep_error(&error);
            ffi::SQLITE_IOERR_FSYNC
        }
    }
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, out: *mut i64) -> c_int {
    // SAFETY: SQLite's file, for this call.
    match unsafe { ours(file) }.size() {
        Ok(bytes) => {
            // SAFETY: SQLite's integer, for this call.
            unsafe { *out = bytes };
            ffi::SQLITE_OK
        }
        Err(error) => failed(&error, ffi::SQLITE_IOERR_FSTAT),
    }
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite's file, for this call.
    let file = unsafe { ours(file) };
    taken(file.lock.raise(&file.descriptor, level), ffi::SQLITE_IOERR_LOCK)
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite's file, for this call.
    let file = unsafe { ours(file) };
    told(file.lock.lower(&file.descriptor, level), ffi::SQLITE_IOERR_UNLOCK)
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: SQLite's file, for this call.
    let file = unsafe { ours(file) };
    match file.lock.is_reserved(&file.descriptor) {
        Ok(reserved) => {
            // SAFETY: SQLite's integer, for this call.
            unsafe { *out = c_int::from(reserved) };
            ffi::SQLITE_OK
        }
        Err(error) => failed(&error, ffi::SQLITE_IOERR_CHECKRESERVEDLOCK),
    }
}

unsafe extern "C" fn file_control(file: *mut ffi::sqlite3_file, operation: c_int, argument: *mut c_void) -> c_int {
    // SAFETY: SQLite's file, for this call.
    let file = unsafe { ours(file) };
    let number: *mut c_int = argument.cast();
    // SAFETY: for each of these operations the argument is an integer of SQLite's, for this call.
    unsafe {
        match operation {
            ffi::SQLITE_FCNTL_LOCKSTATE => *number = file.lock.level(),
            ffi::SQLITE_FCNTL_PERSIST_WAL if *number < 0 => *number = c_int::from(file.keep_log),
            ffi::SQLITE_FCNTL_PERSIST_WAL => file.keep_log = *number != 0,
            ffi::SQLITE_FCNTL_HAS_MOVED => match file.has_moved() {
                Ok(moved) => *number = c_int::from(moved),
                Err(error) => return failed(&error, ffi::SQLITE_IOERR_FSTAT),
            },
            _ => return ffi::SQLITE_NOTFOUND,
        }
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    SECTOR_BYTES
}

unsafe extern "C" fn device_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    bytes: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: SQLite's file, and its pointer, for this call.
    let (file, out) = unsafe {
        *out = ptr::null_mut();
        (ours(file), &mut *out)
    };
    let index = match attach(file) {
        Ok(Some(index)) => index,
        Ok(None) => return ffi::SQLITE_BUSY,
        Err(error) => return failed(&error, ffi::SQLITE_IOERR_SHMOPEN),
    };
    match index.region(region.max(0) as usize, bytes.max(1) as usize, extend != 0) {
        Ok(address) => {
            *out = address.map_or(ptr::null_mut(), |address| address.as_ptr().cast());
            ffi::SQLITE_OK
        }
        Err(error) => failed(&error, ffi::SQLITE_IOERR_SHMMAP),
    }
}

/// The index of the file's log, opened at its first use.
fn attach(file: &mut File) -> io::Result<Option<&mut SharedIndex>> {
    if file.index.is_none() {
        let path = CString::new([file.path.to_bytes(), b"-shm"].concat())?;
        file.index = SharedIndex::open(&file.descriptor, path)?;
    }
    Ok(file.index.as_mut())
}

unsafe extern "C" fn shm_lock(file: *mut ffi::sqlite3_file, first: c_int, count: c_int, flags: c_int) -> c_int {
    let hold = if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
        Hold::Nothing
    } else if flags & ffi::SQLITE_SHM_SHARED != 0 {
        Hold::Shared
    } else {
        Hold::Exclusive
    };
    // SAFETY: SQLite's file, for this call.
    match &unsafe { ours(file) }.index {
        Some(index) => taken(index.lock(hold, first, count), ffi::SQLITE_IOERR_SHMLOCK),
        None => ffi::SQLITE_IOERR_SHMLOCK,
    }
}

unsafe extern "C" fn shm_barrier(_: *mut ffi::sqlite3_file) {
    fence(Ordering::SeqCst);
    // A fault here is the death of the process; it has no way to fail.
    let _ = fault::point(fault::Operation::Barrier);
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, delete: c_int) -> c_int {
    // SAFETY: SQLite's file, for this call.
    let file = unsafe { ours(file) };
    if let Some(index) = file.index.take() {
        index.close(&file.descriptor, delete != 0);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, name: *const c_char, sync_directory: c_int) -> c_int {
    // SAFETY: the name ends with a null byte and outlives the call.
    let name = unsafe { CStr::from_ptr(name) };
    match file::unlink(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => ffi::SQLITE_IOERR_DELETE_NOENT,
        Err(error) => failed(&error, ffi::SQLITE_IOERR_DELETE),
        Ok(()) if sync_directory != 0 => told(file::sync_directory_of(name), ffi::SQLITE_IOERR_DIR_FSYNC),
        Ok(()) => ffi::SQLITE_OK,
    }
}

unsafe extern "C" fn access(_: *mut ffi::sqlite3_vfs, name: *const c_char, flags: c_int, out: *mut c_int) -> c_int {
    // SAFETY: the name ends with a null byte and outlives the call.
    let name = unsafe { CStr::from_ptr(name) };
    let answer = if flags == ffi::SQLITE_ACCESS_READWRITE {
        file::access(name, libc::R_OK | libc::W_OK)
    } else {
        file::exists_with_content(name)
    };
    match answer {
        Ok(yes) => {
            // SAFETY: SQLite's integer, for this call.
            unsafe { *out = c_int::from(yes) };
            ffi::SQLITE_OK
        }
        Err(error) => failed(&error, ffi::SQLITE_IOERR_ACCESS),
    }
}

/// Paths are absolute already; links are refused when the file is opened.
unsafe extern "C" fn full_pathname(_: *mut ffi::sqlite3_vfs, name: *const c_char, len: c_int, out: *mut c_char) -> c_int {
    // SAFETY: the name ends with a null byte and outlives the call.
    let bytes = unsafe { CStr::from_ptr(name) }.to_bytes_with_nul();
    if bytes.first() != Some(&b'/') || bytes.len() > len.max(0) as usize {
        return ffi::SQLITE_CANTOPEN;
    }
    // SAFETY: SQLite's buffer of `len` bytes, which are enough.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), out.cast(), bytes.len()) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn randomness(_: *mut ffi::sqlite3_vfs, len: c_int, out: *mut c_char) -> c_int {
    // SAFETY: SQLite's buffer of `len` bytes.
    let got = unsafe { libc::getrandom(out.cast(), len.max(0) as usize, 0) };
    got.max(0) as c_int
}

unsafe extern "C" fn sleep(_: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    std::thread::sleep(Duration::from_micros(microseconds.max(0) as u64));
    microseconds
}

/// Milliseconds since noon on 24 November 4714 BC (Julian day 0), as SQLite counts.
unsafe extern "C" fn current_time(_: *mut ffi::sqlite3_vfs, out: *mut i64) -> c_int {
    const EPOCH_MILLISECONDS: i64 = 210_866_760_000_000;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // SAFETY: SQLite's integer, for this call.
    unsafe { *out = EPOCH_MILLISECONDS + now.as_millis() as i64 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn get_last_error(_: *mut ffi::sqlite3_vfs, _: c_int, _: *mut c_char) -> c_int {
    file::last_error()
}

/// A mapping of its own of the header of the log's index.
///
/// # Safety
/// `file` is SQLite's pointer to the main file of an open connection that no other thread uses meanwhile.
pub unsafe fn map_header(file: *mut ffi::sqlite3_file) -> io::Result<Mapping> {
    let file = NonNull::new(file).ok_or_else(|| io::Error::other("the connection has no file"))?;
    // SAFETY: the caller's promise; every open file begins with its method table.
    if !ptr::eq(unsafe { file.as_ref() }.pMethods, &raw const METHODS) {
        return Err(io::Error::other("the connection does not use our layer"));
    }
    // SAFETY: ours, as its methods say; borrowed while the caller keeps the connection to itself.
    match unsafe { &ours(file.as_ptr()).index } {
        Some(index) => index.map_header(),
        None => Err(io::Error::other("the connection has not read yet")),
    }
}
