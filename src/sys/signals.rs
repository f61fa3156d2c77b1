//! Signals, which are the host's: threads of ours take none.

/// While it lives, this thread takes no signal but those of its own faults, and neither do the threads that it starts, for ever: a host that waits for
/// signals in one of its threads (`sigwait`, `signalfd`), or counts on a call to be interrupted, must get them there.
pub struct Blocked {
    before: libc::sigset_t,
    /// Not `Send`: the mask is the thread's.
    _thread: std::marker::PhantomData<*const ()>,
}

/// What a thread does to itself. To block them is undefined (POSIX, `pthread_sigmask`).
const FAULTS: [libc::c_int; 6] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGABRT];

impl Blocked {
    /// From now on.
    pub fn here() -> Self {
        // SAFETY: all-zero bytes are a `sigset_t`, which the calls below fill.
        let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        // SAFETY: the sets are ours and live through the calls, which cannot fail with valid numbers.
        unsafe {
            libc::sigfillset(&raw mut all);
            for fault in FAULTS {
                libc::sigdelset(&raw mut all, fault);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, &raw mut before);
        }
        Self { before, _thread: std::marker::PhantomData }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: the set is what `here` found on this thread, and lives through the call.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut()) };
    }
}

#[cfg(test)]
mod tests {
    use super::Blocked;

    /// Whether the calling thread blocks `SIGTERM`, and whether `SIGSEGV`.
    fn blocks() -> [bool; 2] {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
        let mask = u64::from_str_radix(mask.trim(), 16).unwrap();
        [libc::SIGTERM, libc::SIGSEGV].map(|signal| mask & (1 << (signal - 1)) != 0)
    }

    #[test]
    fn threads_that_are_started_meanwhile_take_no_signals_and_this_one_does_again() {
        assert_eq!(blocks(), [false; 2]);
        let blocked = Blocked::here();
        assert_eq!(blocks(), [true, false]);
        assert_eq!(std::thread::spawn(blocks).join().unwrap(), [true, false]);
        drop(blocked);
        assert_eq!(blocks(), [false; 2]);
    }
}
