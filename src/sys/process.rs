//! Forks: how a process notices that it is a forked child, and what a child must not inherit.

use std::cell::Cell;
use std::io;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Once, OnceLock};
use std::time::Duration;

use super::heirloom::{self, Lent};
use crate::faults::{self, Fault};

/// Tells a forked child from the process that made the word: a page that the kernel wipes in children (`MADV_WIPEONFORK`), so that
/// looking costs one load. Where the kernel cannot do that, the process id is compared instead.
///
/// Children that share memory (`CLONE_VM`) are not supported: they are the same process to this word.
pub struct ForkWord {
    /// In a page of its own; null where the kernel does not wipe.
    page: *const AtomicU32,
    /// The process id, for kernels that do not wipe.
    pid: AtomicU32,
}

// SAFETY: the page holds an atomic and stays mapped until the word is dropped; nothing else is shared.
unsafe impl Send for ForkWord {}
// SAFETY: as above; all access goes through atomics.
unsafe impl Sync for ForkWord {}

/// Lets a write to a closed pipe end this process quietly, as it ends C programs (Rust's start-up code ignores the signal).
/// For our own programs only: never in a host's process.
pub fn end_at_closed_pipes() {
    // SAFETY: sets a signal's default action, with valid arguments; no handler of ours is involved.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Most descriptors of the kind [`Descriptor`] in one process.
const DESCRIPTORS_MAX: usize = 4096;
/// Most sockets that children do not keep: each connection has two.
const SOCKETS_MAX: usize = 16_384;
/// What an armed word holds; a wiped one holds zero.
const ARMED: u32 = 1;

impl ForkWord {
    /// A word that is armed for this process.
    pub fn new() -> Self {
        let word = Self { page: wiped_page().map_or(ptr::null(), |page| page.as_ptr().cast_const()), pid: AtomicU32::new(0) };
        word.rearm();
        word
    }

    /// Whether this is the process that armed the word last: no system call, about a nanosecond.
    #[inline]
    pub fn same_process(&self) -> bool {
        if self.page.is_null() {
            return self.pid.load(Ordering::Relaxed) == std::process::id();
        }
        // SAFETY: not null, so it is our own page, mapped until drop.
        unsafe { &*self.page }.load(Ordering::Acquire) == ARMED
    }

    /// Makes this process the one that [`ForkWord::same_process`] means.
    pub fn rearm(&self) {
        self.pid.store(std::process::id(), Ordering::Relaxed);
        if !self.page.is_null() {
            // SAFETY: not null, so it is our own page, mapped until drop.
            unsafe { &*self.page }.store(ARMED, Ordering::Release);
        }
    }
}

impl Default for ForkWord {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for ForkWord {
    fn drop(&mut self) {
        if !self.page.is_null() {
            // SAFETY: mapped by `wiped_page` with this length, and nobody else has the address.
            unsafe { libc::munmap(self.page.cast_mut().cast(), page_bytes()) };
        }
    }
}

/// Bytes of a memory page.
pub fn page_bytes() -> usize {
    static BYTES: OnceLock<usize> = OnceLock::new();
    *BYTES.get_or_init(|| {
        // SAFETY: no pointers involved.
        let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(bytes).unwrap_or(4096)
    })
}

/// A page of zeros that children get wiped; `None` where the kernel cannot.
fn wiped_page() -> Option<NonNull<AtomicU32>> {
    // SAFETY: a fresh anonymous mapping; the address is checked before use.
    let page = unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        libc::mmap(ptr::null_mut(), page_bytes(), libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
    };
    if page == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: our own mapping, whole.
    if unsafe { libc::madvise(page, page_bytes(), libc::MADV_WIPEONFORK) } != 0 {
        // SAFETY: our own mapping, which nobody else knows.
        unsafe { libc::munmap(page, page_bytes()) };
        return None;
    }
    NonNull::new(page.cast())
}

/// A value that each process makes for itself. A forked child makes a new one at its first use; the parent's is abandoned there:
/// never used, never dropped, because its locks, descriptors and library state belong to the parent.
///
/// Threads of a child that race for the first use may each make a value; all of them get the one that is kept, and the others are dropped.
pub struct PerProcess<T> {
    /// Always from `Box::into_raw`, never freed while `self` can be borrowed.
    value: AtomicPtr<Born<T>>,
    make: Box<dyn Fn() -> T + Send + Sync>,
}

/// A value, and the process that it is of.
struct Born<T> {
    word: ForkWord,
    value: T,
}

impl<T> Born<T> {
    fn new(value: T) -> *mut Self {
        Box::into_raw(Box::new(Self { word: ForkWord::new(), value }))
    }
}

impl<T: Send + Sync> PerProcess<T> {
    /// Makes the value of this process at once; `make` is called again in children.
    pub fn new(make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        Self { value: AtomicPtr::new(Born::new(make())), make: Box::new(make) }
    }

    /// The value of this process.
    #[inline]
    pub fn get(&self) -> &T {
        // SAFETY: set from `Box::into_raw` and freed only by `drop`, which cannot run while `self` is borrowed: what is replaced is abandoned.
        let born = unsafe { &*self.value.load(Ordering::Acquire) };
        if born.word.same_process() || faults::on(Fault::ForkedStateReused) { &born.value } else { self.renewed() }
    }

    #[cold]
    fn renewed(&self) -> &T {
        close_inherited();
        loop {
            let old = self.value.load(Ordering::Acquire);
            // SAFETY: as in `get`.
            let born = unsafe { &*old };
            if born.word.same_process() {
                return &born.value;
            }
            let new = Born::new((self.make)());
            if self.value.compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                // SAFETY: from `Box::into_raw`, and nobody else has seen it.
                drop(unsafe { Box::from_raw(new) });
            }
        }
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        let born = self.value.load(Ordering::Acquire);
        // SAFETY: from `Box::into_raw`; `&mut self` proves that no borrow of the value is alive.
        if unsafe { &*born }.word.same_process() {
            // SAFETY: as above, and it is this process's own.
            drop(unsafe { Box::from_raw(born) });
        }
    }
}

/// Open descriptors that no child may keep.
static DESCRIPTORS: Table<DESCRIPTORS_MAX> = Table::new();
/// Open sockets that no child is to keep: a table of their own, so that many connections leave room for what must be in the other.
static SOCKETS: Table<SOCKETS_MAX> = Table::new();
/// Counts the forks that led to this process, as far as descriptors are concerned.
static GENERATION: AtomicU32 = AtomicU32::new(0);
/// Tells whether the descriptors are this process's own.
static DESCRIPTORS_WORD: OnceLock<ForkWord> = OnceLock::new();

/// What a process can be told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// `SIGTERM`: end, in order.
    Terminate,
    /// `SIGKILL`: end, at once.
    Kill,
    /// `SIGSTOP`: stand still.
    Pause,
    /// `SIGCONT`: go on.
    Resume,
}

/// Sends a signal. Error: there is no process of that number, or it is another user's.
pub fn signal(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(|cause| io::Error::new(io::ErrorKind::InvalidInput, cause))?;
    let number = match signal {
        Signal::Terminate => libc::SIGTERM,
        Signal::Kill => libc::SIGKILL,
        Signal::Pause => libc::SIGSTOP,
        Signal::Resume => libc::SIGCONT,
    };
    // SAFETY: takes numbers only.
    if unsafe { libc::kill(pid, number) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Time since the machine started: the same clock for all its processes, and it never jumps.
pub fn machine_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to a value of ours; this clock exists on every Linux, so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// From now on a crash leaves no memory image on the disk, and other processes of the user cannot look into this one.
pub fn keep_memory_private() -> io::Result<()> {
    // SAFETY: takes numbers only.
    if unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Descriptors as `generation << 32 | descriptor + 1`, or zero for a free slot. A fixed array of atomics, because a child must be able to walk it
/// whatever other threads were doing at the fork.
struct Table<const SLOTS: usize> {
    slots: [AtomicU64; SLOTS],
    /// What each was when it came (see [`what_is`]); zero: it has only just come.
    files: [AtomicU64; SLOTS],
    /// Where the next search begins.
    next: AtomicUsize,
}

impl<const SLOTS: usize> Table<SLOTS> {
    const fn new() -> Self {
        let (slots, files) = ([const { AtomicU64::new(0) }; SLOTS], [const { AtomicU64::new(0) }; SLOTS]);
        Self { slots, files, next: AtomicUsize::new(0) }
    }

    /// `None`: it is full.
    fn take(&'static self, raw: RawFd) -> Option<Slot> {
        close_inherited();
        let mark = (u64::from(GENERATION.load(Ordering::Acquire)) << 32) | u64::from(raw.cast_unsigned() + 1);
        let is_free = |slot: &AtomicU64| slot.load(Ordering::Relaxed) == 0;
        let takes =
            |slot: &AtomicU64| is_free(slot) && slot.compare_exchange(0, mark, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        let begin = self.next.fetch_add(1, Ordering::Relaxed) % SLOTS;
        let at = (begin..SLOTS).chain(0..begin).find(|at| takes(&self.slots[*at]))?;
        let (slot, file) = (&self.slots[at], &self.files[at]);
        file.store(what_is(raw), Ordering::Release);
        Some(Slot { slot, file, mark })
    }

    /// The highest number in it, or -1.
    fn highest(&self) -> RawFd {
        let raw = |slot: &AtomicU64| (slot.load(Ordering::Acquire) & u64::from(u32::MAX)) as u32;
        self.slots.iter().map(raw).max().map_or(-1, |highest| highest.cast_signed() - 1)
    }

    /// In a child, closes what is of that generation of processes, or of one before it.
    fn close(&self, generation: u32) {
        for (slot, file) in self.slots.iter().zip(&self.files) {
            let mark = slot.load(Ordering::Acquire);
            let inherited = mark != 0 && (mark >> 32) <= u64::from(generation);
            let what = file.load(Ordering::Acquire);
            if inherited && slot.compare_exchange(mark, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                let raw = raw_of(mark);
                if what == 0 || what == what_is(raw) {
                    // SAFETY: the parent's descriptor, inherited under the same number; its owner here finds the slot freed.
                    unsafe { libc::close(raw) };
                }
            }
        }
    }
}

/// Tells which file or socket a descriptor is of, as far as that goes into a number; zero: it is not open. A host may close all descriptors that it does
/// not know, and have the same numbers for its own: those are not ours to close.
fn what_is(raw: RawFd) -> u64 {
    stat_of(raw).map_or(0, |found| (found.st_dev.rotate_left(40) ^ found.st_ino).max(1))
}

/// What the system knows about an open descriptor.
pub(super) fn stat_of(raw: RawFd) -> io::Result<libc::stat> {
    // SAFETY: all-zero bytes are a valid `stat`.
    let mut found: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `found` is ours and lives through the call.
    if unsafe { libc::fstat(raw, &raw mut found) } == 0 { Ok(found) } else { Err(io::Error::last_os_error()) }
}

/// The descriptor that a slot's mark means.
fn raw_of(mark: u64) -> RawFd {
    ((mark & u64::from(u32::MAX)) as u32 - 1).cast_signed()
}

/// A place in a table.
struct Slot {
    slot: &'static AtomicU64,
    file: &'static AtomicU64,
    mark: u64,
}

impl Slot {
    fn is_ours(&self) -> bool {
        self.slot.load(Ordering::Acquire) == self.mark
    }

    /// Whoever frees it closes the descriptor: either the owner, or a child that inherited it. False: not the caller, or it is not ours any more.
    fn free(&self) -> bool {
        let what = self.file.swap(0, Ordering::AcqRel);
        let is_freed = self.slot.compare_exchange(self.mark, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        is_freed && (what == 0 || what == what_is(raw_of(self.mark)))
    }
}

/// A file descriptor that belongs to one process: forked children close their copy at birth.
///
/// That matters for locks of open file descriptions, which last until the last copy is closed: a child that kept one would keep the
/// store locked if the parent died in mid-transaction. Closing a copy releases nothing while the parent has its own.
pub struct Descriptor {
    raw: RawFd,
    slot: Slot,
    /// Whom to tell when it is closed, unless that is in a child.
    lent: ManuallyDrop<Option<Lent>>,
}

impl Descriptor {
    /// Takes a descriptor over. Error: the process has [`DESCRIPTORS_MAX`] of them.
    pub fn new(owned: OwnedFd) -> io::Result<Self> {
        Self::lent(owned, None)
    }

    /// The same for one that is lent.
    pub fn lent(owned: OwnedFd, lent: Option<Lent>) -> io::Result<Self> {
        match DESCRIPTORS.take(owned.as_raw_fd()) {
            Some(slot) => Ok(Self { raw: owned.into_raw_fd(), slot, lent: ManuallyDrop::new(lent) }),
            None => Err(io::Error::from_raw_os_error(libc::EMFILE)),
        }
    }

    /// What it is, if it is lent.
    pub fn as_lent(&self) -> Option<&Lent> {
        self.lent.as_ref()
    }

    /// The number, for system calls. Error: this is a forked child, which has closed it.
    pub fn raw(&self) -> io::Result<RawFd> {
        if self.slot.is_ours() { Ok(self.raw) } else { Err(io::Error::from_raw_os_error(libc::EBADF)) }
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        if self.slot.free() {
            // SAFETY: ours since `new`, and nobody else has freed the slot.
            unsafe { libc::close(self.raw) };
            // SAFETY: dropped here only, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.lent) };
        }
    }
}

/// Has forked children close their copy of a descriptor that somebody else owns. To be dropped before the owner closes it, since the number may be
/// another one's afterwards.
pub struct Shield(Option<Slot>);

impl Shield {
    /// Until it is dropped.
    pub fn over(owned: &impl AsFd) -> Self {
        Self(SOCKETS.take(owned.as_fd().as_raw_fd()))
    }
}

impl Drop for Shield {
    fn drop(&mut self) {
        self.0.as_ref().map(Slot::free);
    }
}

/// Something with a descriptor, of which forked children close their copy at birth: a socket that a child kept would stay open when the parent
/// has closed it or is dead. Beyond [`SOCKETS_MAX`] of them children keep it.
pub struct Unshared<T> {
    slot: Option<Slot>,
    inner: ManuallyDrop<T>,
}

impl<T: AsFd> Unshared<T> {
    /// Takes it over.
    pub fn new(inner: T) -> Self {
        Self { slot: SOCKETS.take(inner.as_fd().as_raw_fd()), inner: ManuallyDrop::new(inner) }
    }
}

impl<T> Deref for Unshared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> Drop for Unshared<T> {
    fn drop(&mut self) {
        // First the slot: the number must not be another's while it stands there. A child that has closed it leaves the rest alone.
        if self.slot.as_ref().is_none_or(Slot::free) {
            // SAFETY: dropped here only, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.inner) };
        }
    }
}

/// In a child, closes all descriptors that belong to the parent. Walks atomics and closes: fit for a child of many threads.
fn close_inherited() {
    let generation = GENERATION.load(Ordering::Acquire);
    let word = DESCRIPTORS_WORD.get_or_init(ForkWord::new);
    let noticed = !word.same_process();
    // Of the threads that notice, one does it.
    if noticed && GENERATION.compare_exchange(generation, generation + 1, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
        word.rearm();
        DESCRIPTORS.close(generation);
        SOCKETS.close(generation);
    }
}

/// State of the gate: how many threads are inside, and whether a fork is under way.
static GATE: AtomicU32 = AtomicU32::new(0);
const FORKING: u32 = 1 << 31;
/// How long to wait before looking at the gate again.
const GATE_PAUSE: Duration = Duration::from_micros(20);

thread_local! {
    /// How often this thread is inside the gate.
    static INSIDE: Cell<u32> = const { Cell::new(0) };
}

/// While it lives, `fork` in this process waits. Hold it around calls into C libraries with process-wide state (SQLite's mutexes, a
/// lock on a file in mid-transaction), so that no child is born with half of a change; never while waiting for another process.
pub struct NoFork {
    /// Not `Send`: the count is the thread's.
    _thread: std::marker::PhantomData<*const ()>,
}

impl NoFork {
    /// Waits while another thread forks. May be nested.
    pub fn hold() -> Self {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            // SAFETY: the three handlers are `extern "C"`, never unwind, and stay loaded: the module is linked with `-z nodelete`.
            unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork_parent), Some(after_fork_child)) };
        });
        let nested = INSIDE.get();
        INSIDE.set(nested + 1);
        if nested == 0 {
            let mut seen = GATE.load(Ordering::Relaxed) & !FORKING;
            while let Err(now) = GATE.compare_exchange_weak(seen, seen + 1, Ordering::Acquire, Ordering::Relaxed) {
                if now & FORKING != 0 {
                    std::thread::sleep(GATE_PAUSE);
                }
                seen = now & !FORKING;
            }
        }
        Self { _thread: std::marker::PhantomData }
    }
}

impl Drop for NoFork {
    fn drop(&mut self) {
        let nested = INSIDE.get() - 1;
        INSIDE.set(nested);
        if nested == 0 {
            GATE.fetch_sub(1, Ordering::Release);
        }
    }
}

/// Closes the gate and waits until nobody is inside (but this thread itself, which then forks from within: its own affair).
extern "C" fn before_fork() {
    let own = u32::from(INSIDE.get() > 0);
    while GATE.fetch_or(FORKING, Ordering::Acquire) & FORKING != 0 {
        std::thread::sleep(GATE_PAUSE);
    }
    while GATE.load(Ordering::Acquire) & !FORKING > own {
        std::thread::sleep(GATE_PAUSE);
    }
    heirloom::before_fork(DESCRIPTORS.highest().max(SOCKETS.highest()) + 1);
}

extern "C" fn after_fork_parent() {
    heirloom::after_fork_in_parent();
    GATE.fetch_and(!FORKING, Ordering::Release);
}

extern "C" fn after_fork_child() {
    if DESCRIPTORS_WORD.get().is_some() {
        close_inherited();
    }
    heirloom::after_fork_in_child();
    GATE.fetch_and(!FORKING, Ordering::Release);
}

/// Has `before` run right before each later fork of this process, ahead of the waiting for [`NoFork`], and `after` right after it in the parent.
/// Neither may unwind.
pub fn at_fork(before: extern "C" fn(), after: extern "C" fn()) {
    // What is registered later runs earlier: who waits for calls to end must not keep them waiting for the fork.
    drop(NoFork::hold());
    // SAFETY: both handlers are `extern "C"` and stay loaded: the module is linked with `-z nodelete`.
    unsafe { libc::pthread_atfork(Some(before), Some(after), None) };
}

#[cfg(test)]
pub mod tests;
