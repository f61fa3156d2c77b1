//! The index of the write-ahead log: a file that every connection maps, and eight locks on it (walformat, section 2).

use std::ffi::{CString, c_int};
use std::io;
use std::ptr::{self, NonNull};
use std::time::Duration;

use super::file::{fault, open_index, stat_of, unlink};
use super::lock::{self, Hold};
use crate::sys::process::{Descriptor, page_bytes};

/// Where the eight locks begin in the `-shm` file.
const LOCKS_AT: i64 = 120;
/// Held shared by everyone who has the file open, so that the first one can tell that it is alone ("dead man's switch").
const SWITCH_AT: i64 = LOCKS_AT + 8;
/// Bytes that the first one leaves: too few for a header, so that everybody builds it anew.
const FRESH_BYTES: i64 = 3;

/// How often to look whether others are still there, and the pause in between.
pub const LOOKS_MAX: u32 = 50;
pub const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Part of a file, mapped for sharing. Not inherited by children, who would otherwise keep the description and its locks alive.
pub struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to this value; what others do to the shared bytes is the readers' concern.
unsafe impl Send for Mapping {}
// SAFETY: as above: there is no method that writes.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes from `offset`, both whole pages and within the file.
    pub fn new(file: &Descriptor, offset: i64, len: usize) -> io::Result<Self> {
        // SAFETY: a fresh mapping; the address is checked before use.
        let start = unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(ptr::null_mut(), len, access, libc::MAP_SHARED, file.raw()?, offset)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let mapping = Self { start, len };
        // SAFETY: our own mapping, whole.
        if unsafe { libc::madvise(mapping.start.as_ptr().cast(), len, libc::MADV_DONTFORK) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(mapping)
    }

    /// The first byte.
    pub fn start(&self) -> NonNull<u8> {
        self.start
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: our own mapping, whole; a child, which has not inherited it, never drops what belongs to its parent.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// One connection's view of the index.
pub struct SharedIndex {
    path: CString,
    file: Descriptor,
    maps: Vec<Mapping>,
}

impl SharedIndex {
    /// Opens the index of `database`, made if need be; the first one to come empties it. `None`: somebody is just doing that, try again.
    ///
    /// Error: `ESTALE`: others use an index that has been removed. A second one beside it would have locks of its own.
    pub fn open(database: &Descriptor, path: CString) -> io::Result<Option<Self>> {
        let file = open_index(database, &path)?;
        if lock::set(&file, Hold::Exclusive, SWITCH_AT, 1)? {
            if stays_attached(database)? {
                return Err(io::Error::from_raw_os_error(libc::ESTALE));
            }
            // SAFETY: no pointers involved.
            if unsafe { libc::ftruncate(file.raw()?, FRESH_BYTES) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        if !lock::set(&file, Hold::Shared, SWITCH_AT, 1)? {
            return Ok(None);
        }
        lock::set_attached(database, true)?;
        Ok(Some(Self { path, file, maps: Vec::new() }))
    }

    /// The address of the `region`-th part of `bytes` bytes; `None` when the file does not reach so far and `extend` is not set.
    pub fn region(&mut self, region: usize, bytes: usize, extend: bool) -> io::Result<Option<NonNull<u8>>> {
        // With large pages, one mapping holds several regions.
        let mapped = bytes.max(page_bytes());
        let regions_each = mapped / bytes;
        while self.maps.len() <= region / regions_each {
            let start = self.maps.len() * mapped;
            if !self.reaches(start + mapped, extend)? {
                return Ok(None);
            }
            self.maps.push(Mapping::new(&self.file, start as i64, mapped)?);
        }
        let start = self.maps[region / regions_each].start();
        // SAFETY: within the mapping, which holds `regions_each` regions.
        Ok(Some(unsafe { start.add((region % regions_each) * bytes) }))
    }

    /// Whether the file has `bytes` bytes. `extend` makes it so, with real blocks: a hole could not be filled on a full disk, and writing to it
    /// would end the process.
    fn reaches(&self, bytes: usize, extend: bool) -> io::Result<bool> {
        if stat_of(&self.file)?.st_size >= bytes as i64 {
            return Ok(true);
        }
        if !extend {
            return Ok(false);
        }
        // SAFETY: no pointers involved.
        match unsafe { libc::posix_fallocate(self.file.raw()?, 0, bytes as i64) } {
            0 => Ok(true),
            code => Err(io::Error::from_raw_os_error(code)),
        }
    }

    /// Sets `count` of the eight locks from `first`. False: another connection is in the way.
    pub fn lock(&self, hold: Hold, first: c_int, count: c_int) -> io::Result<bool> {
        fault::point(fault::Operation::Lock)?;
        lock::set(&self.file, hold, LOCKS_AT + i64::from(first), i64::from(count))
    }

    /// A mapping of the first page that lives on its own.
    pub fn map_header(&self) -> io::Result<Mapping> {
        Mapping::new(&self.file, 0, page_bytes())
    }

    /// Closes it; `delete`: nobody uses it any more, the file may go.
    pub fn close(self, database: &Descriptor, delete: bool) {
        // Before the switch is let go: who finds that off must not find this on. Where it fails, closing the database does it.
        let _ = lock::set_attached(database, false);
        if delete {
            // A file that stays does no harm: the next one to come empties it.
            let _ = unlink(&self.path);
        }
    }
}

/// Whether others use an index or log of this database, and not just for the moment that a dying process needs to let go of its files.
fn stays_attached(database: &Descriptor) -> io::Result<bool> {
    for _ in 0..LOOKS_MAX {
        if !lock::another_is_attached(database)? {
            return Ok(false);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(true)
}
