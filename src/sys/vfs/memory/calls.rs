//! A disk's files as the C functions that SQLite calls.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rusqlite::ffi;

use super::share::{Holder, Shared};
use super::{Dice, Disk, OpenFile};
use crate::sys::vfs::file::keep_error;

/// The name under which SQLite knows the layer.
pub const NAME: &CStr = c"hsmpool-memory";

/// The path that SQLite names.
fn path_of(name: &CStr) -> Option<(Disk, String)> {
    let name = name.to_str().ok()?;
    Disk::of(std::path::Path::new(name)).map(|disk| (disk, name.to_string()))
}

/// What SQLite allocates for a file.
#[repr(C)]
struct Slot {
    base: ffi::sqlite3_file,
    file: *mut Handle,
}

struct Handle {
    file: OpenFile,
    me: Holder,
    level: c_int,
    shared: Option<Arc<Shared>>,
    keeps_log: bool,
    deletes: bool,
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
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

/// Makes the layer known to SQLite, once.
pub fn register() -> c_int {
    static REGISTERED: OnceLock<c_int> = OnceLock::new();
    *REGISTERED.get_or_init(|| {
        let layer = Box::leak(Box::new(ffi::sqlite3_vfs {
            iVersion: 2,
            szOsFile: size_of::<Slot>() as c_int,
            mxPathname: 4096,
            pNext: ptr::null_mut(),
            zName: NAME.as_ptr(),
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
        }));
        // SAFETY: the structure is complete and lives for ever.
        unsafe { ffi::sqlite3_vfs_register(layer, 0) }
    })
}

/// Our file behind SQLite's pointer.
///
/// # Safety
/// `file` comes from SQLite, between a successful `open` and `close`; SQLite uses one connection's files from one thread at a time.
unsafe fn ours<'a>(file: *mut ffi::sqlite3_file) -> &'a mut Handle {
    // SAFETY: the caller promises that `open` has put a box there, and that nobody else uses it meanwhile.
    unsafe { &mut *(*file.cast::<Slot>()).file }
}

fn failed(error: &io::Error, code: c_int) -> c_int {
    keep_error(error);
    if error.raw_os_error() == Some(libc::ENOSPC) { ffi::SQLITE_FULL } else { code }
}

fn told(result: io::Result<()>, code: c_int) -> c_int {
    result.map_or_else(|error| failed(&error, code), |()| ffi::SQLITE_OK)
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
    // SAFETY: a name that is not null ends with a null byte and outlives the call.
    let name = (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) });
    match open_file(name, flags) {
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

fn open_file(name: Option<&CStr>, flags: c_int) -> io::Result<Handle> {
    static HOLDERS: AtomicU64 = AtomicU64::new(1);
    let has = |flag: c_int| flags & flag != 0;
    let file = match name {
        None => OpenFile::scratch()?,
        Some(name) => {
            let (disk, name) = path_of(name).ok_or_else(super::missing)?;
            disk.open(&name, has(ffi::SQLITE_OPEN_CREATE), has(ffi::SQLITE_OPEN_EXCLUSIVE))?
        }
    };
    let me = HOLDERS.fetch_add(1, Ordering::Relaxed);
    Ok(Handle { file, me, level: 0, shared: None, keeps_log: false, deletes: has(ffi::SQLITE_OPEN_DELETEONCLOSE) })
}

impl Handle {
    /// Works on the file's state, while power is on.
    fn with<T>(&self, work: impl FnOnce(&mut super::Inode) -> T) -> io::Result<T> {
        let mut state = self.file.disk.state();
        state.check(self.file.generation)?;
        state.inode(self.file.inode).map(work)
    }

    fn leave(&mut self) {
        if let Some(shared) = self.shared.take()
            && shared.leave(self.me)
        {
            // After a power failure another index is there, or none.
            let ours = |inode: &mut super::Inode| drop(inode.shared.take_if(|index| Arc::ptr_eq(index, &shared)));
            let _ = self.with(ours);
        }
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file once, and does not use it afterwards; the box is ours since `open`.
    let mut closed = unsafe { Box::from_raw((*file.cast::<Slot>()).file) };
    closed.leave();
    let me = closed.me;
    let _ = closed.with(|inode| inode.locks.lower(me, 0));
    if closed.deletes {
        let _ = closed.file.disk.remove(std::path::Path::new(&closed.file.name));
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, out: *mut c_void, len: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite's file, and its buffer of `len` bytes, for this call.
    let (handle, out) = unsafe { (ours(file), std::slice::from_raw_parts_mut(out.cast::<u8>(), len.max(0) as usize)) };
    match handle.file.read(out, offset.max(0) as u64) {
        Ok(got) if got == out.len() => ffi::SQLITE_OK,
        Ok(got) => {
            out[got..].fill(0);
            ffi::SQLITE_IOERR_SHORT_READ
        }
        Err(error) => failed(&error, ffi::SQLITE_IOERR_READ),
    }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, bytes: *const c_void, len: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite's file, and its buffer of `len` bytes, for this call.
    let (handle, bytes) = unsafe { (ours(file), std::slice::from_raw_parts(bytes.cast::<u8>(), len.max(0) as usize)) };
    told(handle.file.write(bytes, offset.max(0) as u64), ffi::SQLITE_IOERR_WRITE)
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, bytes: i64) -> c_int {
    // SAFETY: SQLite's file, for this call.
    told(unsafe { ours(file) }.file.cut(bytes.max(0) as u64), ffi::SQLITE_IOERR_TRUNCATE)
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: SQLite's file, for this call.
    told(unsafe { ours(file) }.file.sync(), ffi::SQLITE_IOERR_FSYNC)
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, out: *mut i64) -> c_int {
    // SAFETY: SQLite's file, for this call.
    match unsafe { ours(file) }.file.len() {
        Ok(bytes) => {
            // SAFETY: SQLite's integer, for this call.
            unsafe { *out = bytes.cast_signed() };
            ffi::SQLITE_OK
        }
        Err(error) => failed(&error, ffi::SQLITE_IOERR_FSTAT),
    }
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, wanted: c_int) -> c_int {
    // SAFETY: SQLite's file, for this call.
    let handle = unsafe { ours(file) };
    match handle.with(|inode| inode.locks.raise(handle.me, handle.level, wanted)) {
        Ok((level, enough)) => {
            handle.level = level;
            if enough { ffi::SQLITE_OK } else { ffi::SQLITE_BUSY }
        }
        Err(error) => failed(&error, ffi::SQLITE_IOERR_LOCK),
    }
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, wanted: c_int) -> c_int {
    // SAFETY: SQLite's file, for this call.
    let handle = unsafe { ours(file) };
    let me = handle.me;
    // Locks of before a power failure are gone already.
    let _ = handle.with(|inode| inode.locks.lower(me, wanted));
    handle.level = handle.level.min(wanted);
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: SQLite's file, for this call.
    match unsafe { ours(file) }.with(|inode| inode.locks.is_reserved()) {
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
    let handle = unsafe { ours(file) };
    let number: *mut c_int = argument.cast();
    // SAFETY: for each of these operations the argument is an integer of SQLite's, for this call.
    unsafe {
        match operation {
            ffi::SQLITE_FCNTL_LOCKSTATE => *number = handle.level,
            ffi::SQLITE_FCNTL_PERSIST_WAL if *number < 0 => *number = c_int::from(handle.keeps_log),
            ffi::SQLITE_FCNTL_PERSIST_WAL => handle.keeps_log = *number != 0,
            ffi::SQLITE_FCNTL_HAS_MOVED => match handle.file.has_moved() {
                Ok(moved) => *number = c_int::from(moved),
                Err(error) => return failed(&error, ffi::SQLITE_IOERR_FSTAT),
            },
            _ => return ffi::SQLITE_NOTFOUND,
        }
    }
    ffi::SQLITE_OK
}

/// As the layer for real files says, of which this is the twin.
unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    crate::sys::vfs::calls::SECTOR_BYTES
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
    let (handle, out) = unsafe {
        *out = ptr::null_mut();
        (ours(file), &mut *out)
    };
    if handle.shared.is_none() {
        match handle.with(|inode| inode.shared.get_or_insert_default().clone()) {
            Ok(shared) => {
                shared.join();
                handle.shared = Some(shared);
            }
            Err(error) => return failed(&error, ffi::SQLITE_IOERR_SHMOPEN),
        }
    }
    let address = handle.shared.as_ref().and_then(|it| it.region(region.max(0) as usize, bytes.max(1) as usize, extend != 0));
    *out = address.map_or(ptr::null_mut(), |address| address.as_ptr().cast());
    ffi::SQLITE_OK
}

unsafe extern "C" fn shm_lock(file: *mut ffi::sqlite3_file, first: c_int, count: c_int, flags: c_int) -> c_int {
    // SAFETY: SQLite's file, for this call.
    let handle = unsafe { ours(file) };
    let (first, count) = (first.max(0) as usize, count.max(0) as usize);
    let Some(shared) = &handle.shared else { return ffi::SQLITE_IOERR_SHMLOCK };
    if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
        shared.unlock(handle.me, first, count);
        return ffi::SQLITE_OK;
    }
    let alone = flags & ffi::SQLITE_SHM_EXCLUSIVE != 0;
    if shared.lock(handle.me, first, count, alone) { ffi::SQLITE_OK } else { ffi::SQLITE_BUSY }
}

unsafe extern "C" fn shm_barrier(_: *mut ffi::sqlite3_file) {
    fence(Ordering::SeqCst);
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: SQLite's file, for this call.
    unsafe { ours(file) }.leave();
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, name: *const c_char, sync_directory: c_int) -> c_int {
    // SAFETY: the name ends with a null byte and outlives the call.
    let Some((disk, name)) = path_of(unsafe { CStr::from_ptr(name) }) else { return ffi::SQLITE_IOERR_DELETE };
    match disk.remove(std::path::Path::new(&name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => ffi::SQLITE_IOERR_DELETE_NOENT,
        Err(error) => failed(&error, ffi::SQLITE_IOERR_DELETE),
        Ok(()) if sync_directory != 0 => told(disk.sync_names(), ffi::SQLITE_IOERR_DIR_FSYNC),
        Ok(()) => ffi::SQLITE_OK,
    }
}

unsafe extern "C" fn access(_: *mut ffi::sqlite3_vfs, name: *const c_char, flags: c_int, out: *mut c_int) -> c_int {
    // SAFETY: the name ends with a null byte and outlives the call.
    let found = path_of(unsafe { CStr::from_ptr(name) }).map(|(disk, name)| disk.look(std::path::Path::new(&name)));
    let yes = match found {
        None => false,
        Some(Ok(found)) => flags == ffi::SQLITE_ACCESS_READWRITE || found != Some(0),
        Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => false,
        Some(Err(error)) => return failed(&error, ffi::SQLITE_IOERR_ACCESS),
    };
    // SAFETY: SQLite's integer, for this call.
    unsafe { *out = c_int::from(yes) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_pathname(_: *mut ffi::sqlite3_vfs, name: *const c_char, len: c_int, out: *mut c_char) -> c_int {
    // SAFETY: the name ends with a null byte and outlives the call.
    let bytes = unsafe { CStr::from_ptr(name) }.to_bytes_with_nul();
    if bytes.len() > len.max(0) as usize {
        return ffi::SQLITE_CANTOPEN;
    }
    // SAFETY: SQLite's buffer of `len` bytes, which are enough.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), out.cast(), bytes.len()) };
    ffi::SQLITE_OK
}

/// The same bytes in each run.
unsafe extern "C" fn randomness(_: *mut ffi::sqlite3_vfs, len: c_int, out: *mut c_char) -> c_int {
    static DICE: Mutex<Option<Dice>> = Mutex::new(None);
    let mut dice = DICE.lock().unwrap_or_else(PoisonError::into_inner);
    let dice = dice.get_or_insert_with(|| Dice::new(1));
    // SAFETY: SQLite's buffer of `len` bytes.
    let out = unsafe { std::slice::from_raw_parts_mut(out.cast::<u8>(), len.max(0) as usize) };
    out.iter_mut().for_each(|byte| *byte = dice.roll(256) as u8);
    len
}

/// Time does not pass by waiting here: whoever is in the way must be let run by others.
unsafe extern "C" fn sleep(_: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    std::thread::sleep(Duration::ZERO);
    microseconds
}

/// Always the same moment: nothing of ours asks SQLite for the time.
unsafe extern "C" fn current_time(_: *mut ffi::sqlite3_vfs, out: *mut i64) -> c_int {
    // SAFETY: SQLite's integer, for this call.
    unsafe { *out = 210_866_760_000_000 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn get_last_error(_: *mut ffi::sqlite3_vfs, _: c_int, _: *mut c_char) -> c_int {
    crate::sys::vfs::file::last_error()
}

/// The index that an open main file uses, if it is one of ours and uses one, with the address of its first region.
///
/// # Safety
/// `file` is SQLite's pointer to the main file of an open connection that no other thread uses meanwhile.
pub unsafe fn header_of(file: *mut ffi::sqlite3_file) -> Option<(Arc<Shared>, NonNull<u8>)> {
    // SAFETY: the caller's promise; every open file begins with its method table.
    if file.is_null() || !ptr::eq(unsafe { (*file).pMethods }, &raw const METHODS) {
        return None;
    }
    // SAFETY: ours, as its methods say; borrowed while the caller keeps the connection to itself.
    let shared = unsafe { ours(file) }.shared.clone()?;
    let start = shared.region(0, 1, false)?;
    Some((shared, start))
}
