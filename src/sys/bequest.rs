//! Descriptors for children that may not open a file by its name.
//!
//! A server opens the store as root, and its children serve as somebody else (nginx, Apache), who may not open it. They have what they need in memory
//! anyhow, so nothing is given away by leaving them a way to the files: right before a process of root forks, the files are opened a few times
//! more. These descriptions are the child's alone, nobody has locked them; it takes one where the name is refused, and puts it back instead of
//! closing it. Other processes can regain what they gave up only by their names, so they bequeath nothing.
//!
//! Everything here is atomics and system calls, because a child must be able to use it whatever other threads were doing at the fork.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::sync::{Once, OnceLock};
use std::time::Duration;

use super::process::at_fork_everywhere;
use super::user;

/// Files that can be bequeathed at once; more are not.
const WILLS_MAX: usize = 32;
/// Descriptors of one file: as many connections as a child may have that cannot open their files by name.
const COPIES_MAX: usize = 4;

static WILLS: [Will; WILLS_MAX] = [const { Will::new() }; WILLS_MAX];

/// One file, and its descriptors.
struct Will {
    path: OnceLock<CString>,
    holders: AtomicU32,
    copies: AtomicU32,
    /// What this process has from its parent.
    own: [Place; COPIES_MAX],
    /// What its next child shall have: filled for the moment of the fork.
    next: [Place; COPIES_MAX],
}

/// A descriptor plus one; negative while it is in use; zero: none.
struct Place(AtomicI32);

impl Place {
    const fn new() -> Self {
        Self(AtomicI32::new(0))
    }

    fn put(&self, raw: RawFd) {
        self.0.store(raw + 1, Ordering::Release);
    }

    /// Takes the descriptor out for good, unless it is in use.
    fn empty(&self) -> Option<RawFd> {
        let marked = self.0.load(Ordering::Acquire);
        let free = marked > 0 && self.0.compare_exchange(marked, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        free.then_some(marked - 1)
    }

    fn lend(&self) -> Option<RawFd> {
        let marked = self.0.load(Ordering::Acquire);
        let free = marked > 0 && self.0.compare_exchange(marked, -marked, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        free.then_some(marked - 1)
    }

    fn is_lent(&self, raw: RawFd) -> bool {
        self.0.load(Ordering::Acquire) == -(raw + 1)
    }
}

impl Will {
    const fn new() -> Self {
        Self {
            path: OnceLock::new(),
            holders: AtomicU32::new(0),
            copies: AtomicU32::new(0),
            own: [const { Place::new() }; COPIES_MAX],
            next: [const { Place::new() }; COPIES_MAX],
        }
    }

    fn of(path: &CStr) -> Option<&'static Self> {
        WILLS.iter().find(|will| will.path.get().is_some_and(|own| own.as_c_str() == path))
    }

    /// The file's place, or a free one; `None`: all are taken.
    fn claim(path: &CStr) -> Option<&'static Self> {
        WILLS.iter().find(|will| will.path.get_or_init(|| path.to_owned()).as_c_str() == path)
    }
}

/// While it lives, children of this process inherit descriptors of the files.
pub struct Bequest(Vec<&'static Will>);

impl Bequest {
    /// Bequeaths each file so many times.
    pub fn of(files: &[(&Path, u32)]) -> Self {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| at_fork_everywhere(before_fork, after_fork_parent, after_fork_child));
        let claim = |(path, copies): &(&Path, u32)| {
            let will = Will::claim(&CString::new(path.as_os_str().as_bytes()).ok()?)?;
            will.copies.store((*copies).min(COPIES_MAX as u32), Ordering::Release);
            will.holders.fetch_add(1, Ordering::AcqRel);
            Some(will)
        };
        Self(files.iter().filter_map(claim).collect())
    }
}

impl Drop for Bequest {
    fn drop(&mut self) {
        for will in &self.0 {
            will.holders.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Whether a thread forks: what is filled for its child is not for another's.
static FORKING: AtomicBool = AtomicBool::new(false);
/// How long to wait before looking again whether another thread still forks.
const FORKING_PAUSE: Duration = Duration::from_micros(20);

extern "C" fn before_fork() {
    while FORKING.swap(true, Ordering::Acquire) {
        std::thread::sleep(FORKING_PAUSE);
    }
    if !user::is_root() {
        return;
    }
    for will in WILLS.iter().filter(|will| will.holders.load(Ordering::Acquire) > 0) {
        let Some(path) = will.path.get() else { continue };
        for place in will.next.iter().take(will.copies.load(Ordering::Acquire) as usize) {
            // SAFETY: the path ends with a null byte.
            let raw = unsafe { libc::open(path.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC | libc::O_NOFOLLOW) };
            match raw {
                // The number of a standard descriptor that the host has closed: what is printed must not end up in the file.
                0..=2 => close(raw),
                3.. => place.put(raw),
                _ => break,
            }
        }
    }
}

extern "C" fn after_fork_parent() {
    WILLS.iter().flat_map(|will| &will.next).filter_map(Place::empty).for_each(close);
    FORKING.store(false, Ordering::Release);
}

extern "C" fn after_fork_child() {
    for will in &WILLS {
        for (own, next) in will.own.iter().zip(&will.next) {
            // The parent may use these; those that it uses already are closed with its other descriptors.
            own.empty().into_iter().for_each(close);
            own.0.store(next.0.swap(0, Ordering::AcqRel), Ordering::Release);
        }
    }
    FORKING.store(false, Ordering::Release);
}

fn close(raw: RawFd) {
    // SAFETY: taken out of its place, so nobody else knows it.
    unsafe { libc::close(raw) };
}

/// A descriptor that the parent left for this file, to be given back by [`give_back`]. Only for one who was refused.
pub fn take(path: &CStr) -> Option<OwnedFd> {
    let raw = Will::of(path)?.own.iter().find_map(Place::lend)?;
    // SAFETY: its place says that it is in use now, so nobody else has it.
    Some(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Whether the descriptor was taken here.
pub fn is_lent(path: &CStr, raw: RawFd) -> bool {
    Will::of(path).is_some_and(|will| will.own.iter().any(|place| place.is_lent(raw)))
}

/// Keeps a descriptor that was taken here, and is not locked any more, for the next one.
pub fn give_back(path: &CStr, owned: OwnedFd) {
    use std::os::fd::{AsRawFd, IntoRawFd};
    let raw = owned.as_raw_fd();
    let place = Will::of(path).and_then(|will| will.own.iter().find(|place| place.is_lent(raw)));
    if let Some(place) = place {
        place.put(owned.into_raw_fd());
    }
}

/// Whether this process was left a way to the file, in use or not.
pub fn is_heir(path: &Path) -> bool {
    let is_left =
        |path: &CStr| Will::of(path).is_some_and(|will| will.own.iter().any(|place| place.0.load(Ordering::Acquire) != 0));
    CString::new(path.as_os_str().as_bytes()).is_ok_and(|path| is_left(&path))
}

/// The whole of a short file that this process may not open by its name, into `out`; how many bytes. `None`: it was not left.
pub fn read_whole(path: &Path, out: &mut [u8]) -> Option<io::Result<usize>> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    let owned = take(&path)?;
    // SAFETY: `out` is ours to write, and its length is told.
    let got = unsafe { libc::pread(std::os::fd::AsRawFd::as_raw_fd(&owned), out.as_mut_ptr().cast(), out.len(), 0) };
    let answer = usize::try_from(got).map_err(|_| io::Error::last_os_error());
    give_back(&path, owned);
    Some(answer)
}
