//! A number that changes with each commit of any process, read from memory.
//!
//! SQLite's write-ahead log has an index in shared memory (the `-shm` file), whose first 48 bytes, the header, say which part of the log
//! is valid: commit counter, last frame, sizes, salts, and checksums (walformat, section 2.1). A commit is visible to others from the moment when its writer, holding the
//! write lock, has put a new header there; and SQLite itself decides by comparing these 48 bytes whether the pages that a connection has cached
//! are still true. So the header *is* a change counter, and a better one than any that we could keep beside the database:
//!
//! - **No commit is missed when its writer is killed.** There is nothing to raise before or after a commit: the header makes the commit.
//!   Before the header is written, the commit is visible to nobody. The header is stored twice, the second copy first; a writer that dies
//!   between the two leaves copies that differ, which reads as "unsettled" here, until the next connection to read (through SQL, as whoever finds it
//!   unsettled does) takes the lock and rebuilds the index from the log.
//! - **Checkpoints and restarts of the log** leave the header alone, or change its salts: a version may change without a commit, which costs a look,
//!   never the other way round. Within one run of the log (one pair of salts) the last valid frame only grows; so a header that is rebuilt after a
//!   crash equals an older one only if it describes the same frames. An empty log has no salts; it exists only until the first commit, as nothing of ours
//!   truncates the log while it is in use.
//! - **Readers are never on the wrong file.** The file is unlinked only by a connection that holds the database exclusively, and the pool keeps one connection
//!   (which holds the database shared) for as long as it keeps this mapping.
//!
//! What the argument needs of memory is what SQLite needs: that mappings of one file are coherent, which is why network file systems
//! are refused.

use std::io;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use rusqlite::{Connection, ffi};

use super::shared::Mapping;
use super::{calls, memory};

/// 64-bit words of one copy of the header.
const WORDS: usize = 6;
/// Where a copy says that it is valid.
const IS_INIT: (usize, usize) = (1, 4);

/// The header of a write-ahead log's index.
pub struct WalIndex {
    start: NonNull<u8>,
    _kept: Kept,
}

/// What the header is part of.
#[allow(dead_code, reason = "kept so that the header stays where it is")]
enum Kept {
    Mapped(Mapping),
    Memory(Arc<memory::Shared>),
}

// SAFETY: the header lives as long as what is kept beside it; others change it, and it is read by atomics alone.
unsafe impl Send for WalIndex {}
// SAFETY: as above.
unsafe impl Sync for WalIndex {}

impl WalIndex {
    /// Maps the header of the database that `sql` has read from. That connection must stay open as long as the index is used.
    pub fn of(sql: &Connection) -> io::Result<Self> {
        let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
        // SAFETY: the handle is open and used by this thread alone; SQLite stores the pointer where we say.
        let code = unsafe {
            ffi::sqlite3_file_control(sql.handle(), c"main".as_ptr(), ffi::SQLITE_FCNTL_FILE_POINTER, (&raw mut file).cast())
        };
        if code != ffi::SQLITE_OK {
            return Err(io::Error::other(ffi::Error::new(code)));
        }
        // SAFETY: SQLite's own pointer to the open file of this connection, which lives as long as the borrow of `sql`.
        if let Some((shared, start)) = unsafe { memory::header_of(file) } {
            return Ok(Self { start, _kept: Kept::Memory(shared) });
        }
        // SAFETY: as above.
        let mapping = unsafe { calls::map_header(file) }?;
        Ok(Self { start: mapping.start(), _kept: Kept::Mapped(mapping) })
    }

    /// What the header says: equal words mean that nothing has been committed in between. `None`: the index is being changed, or was left
    /// half changed, and only a read through SQL can tell. About five nanoseconds.
    #[inline]
    pub fn read(&self) -> Option<[u64; WORDS]> {
        let first = self.copy(0);
        // Copies are written second first: if the first is new, so is the second.
        fence(Ordering::Acquire);
        let second = self.copy(WORDS);
        let valid = first[IS_INIT.0].to_ne_bytes()[IS_INIT.1] != 0;
        (valid && first == second).then_some(first)
    }

    #[inline]
    fn copy(&self, from: usize) -> [u64; WORDS] {
        let words: *const AtomicU64 = self.start.as_ptr().cast_const().cast();
        // SAFETY: a whole page at least, and aligned to words, so twelve words fit; others change them, hence atomics.
        std::array::from_fn(|at| unsafe { &*words.add(from + at) }.load(Ordering::Relaxed))
    }
}
