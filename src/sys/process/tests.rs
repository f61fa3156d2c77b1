//! Forks, tried. What the tests of other rooms share: work in a forked child.

#![allow(missing_docs, reason = "each is what its name says")]

use std::cell::Cell;
use std::os::fd::{AsRawFd, OwnedFd};

use super::{Descriptor, ForkWord, NoFork, PerProcess, Unshared};

/// Runs `child` in a forked child and tells whether it returned true. The child must not allocate much or take locks that other
/// test threads may hold.
pub fn in_child(child: impl FnOnce() -> bool) -> bool {
    Child::fork(child).passed()
}

/// A forked child that runs beside its parent.
pub struct Child(libc::pid_t);

impl Child {
    /// As [`in_child`].
    pub fn fork(child: impl FnOnce() -> bool) -> Self {
        // SAFETY: the child only runs the closure and leaves through `_exit`.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
        if pid == 0 {
            let passed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(false);
            // SAFETY: ends the child without running the parent's destructors.
            unsafe { libc::_exit(i32::from(!passed)) };
        }
        Self(pid)
    }

    /// Waits for its end, and tells whether it returned true.
    pub fn passed(self) -> bool {
        let mut status = 0;
        // SAFETY: waits for our own child; `status` is ours.
        assert_eq!(unsafe { libc::waitpid(self.0, &raw mut status, 0) }, self.0);
        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
    }
}

/// Has forks go through the gate. Left at once: threads that each fork from within it wait for one another for ever.
fn with_handlers() {
    drop(NoFork::hold());
}

/// Runs `child` in a forked child that outlives its parent. The child ends when it is done.
pub fn fork_for_good(child: impl FnOnce()) -> bool {
    // SAFETY: the child only runs the closure and leaves through `_exit`.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).is_err();
        // SAFETY: ends the child without running the parent's destructors.
        unsafe { libc::_exit(i32::from(failed)) };
    }
    pid > 0
}

/// Closes a number behind its owner's back, as hosts do that close all they do not know.
pub fn close(raw: std::os::fd::RawFd) {
    // SAFETY: takes a number only. Whose it is is the point of the test.
    unsafe { libc::close(raw) };
}

/// Gives root's rights up, in a child; false where there are none.
pub fn become_nobody() -> bool {
    // SAFETY: no pointers involved.
    unsafe { libc::setuid(65534) == 0 }
}

#[test]
fn a_child_is_another_process_until_it_rearms_the_word() {
    let word = ForkWord::new();
    assert!(word.same_process());
    assert!(in_child(|| {
        let born = word.same_process();
        word.rearm();
        !born && word.same_process()
    }));
    assert!(word.same_process());
}

#[test]
fn a_child_makes_its_own_value_and_the_parents_stays() {
    let ids = PerProcess::new(std::process::id);
    assert_eq!(*ids.get(), std::process::id());
    assert!(in_child(|| *ids.get() == std::process::id()));
    assert_eq!(*ids.get(), std::process::id());
}

#[test]
fn threads_of_a_child_that_come_at_once_get_one_value() {
    use std::sync::Barrier;
    for _ in 0..50 {
        let ids = PerProcess::new(std::process::id);
        assert!(in_child(|| {
            let together = Barrier::new(4);
            let address = || {
                together.wait();
                std::ptr::from_ref(ids.get()) as usize
            };
            std::thread::scope(|threads| {
                let all = [(); 4].map(|()| threads.spawn(address));
                let all = all.map(|thread| thread.join().unwrap());
                all.iter().all(|one| *one == all[0]) && *ids.get() == std::process::id()
            })
        }));
    }
}

#[test]
fn a_child_closes_the_descriptors_of_its_parent() {
    let file = std::fs::File::open("/dev/null").unwrap();
    let descriptor = Cell::new(Some(Descriptor::new(OwnedFd::from(file)).unwrap()));
    let inherited = descriptor.take().unwrap();
    let raw = inherited.raw().unwrap();
    descriptor.set(Some(inherited));
    with_handlers();
    // SAFETY: `F_GETFD` only looks.
    let is_open = |raw| unsafe { libc::fcntl(raw, libc::F_GETFD) } >= 0;
    assert!(in_child(|| {
        let inherited = descriptor.take().unwrap();
        let closed = inherited.raw().is_err() && !is_open(raw);
        // Lower numbers may be free as well, since other tests' threads close files while this one forks.
        let mut others = Vec::new();
        let again = loop {
            let again = Descriptor::new(OwnedFd::from(std::fs::File::open("/dev/null").unwrap())).unwrap();
            if again.raw().unwrap() >= raw {
                break again;
            }
            others.push(again);
        };
        // The same number, another owner: dropping the parent's must not close it.
        let same = again.raw().unwrap() == raw;
        drop(inherited);
        closed && same && is_open(raw)
    }));
    assert!(is_open(raw));
}

#[test]
fn a_number_that_is_somebody_else_s_by_now_is_not_closed() {
    with_handlers();
    assert!(in_child(|| {
        let ours = Descriptor::new(OwnedFd::from(std::fs::File::open("/dev/null").unwrap())).unwrap();
        let (near, _far) = std::os::unix::net::UnixStream::pair().unwrap();
        let socket = Unshared::new(near);
        let numbers = [ours.raw().unwrap(), socket.as_raw_fd()];
        numbers.into_iter().for_each(close);
        let mut theirs = Vec::new();
        while !numbers.iter().all(|raw| theirs.iter().any(|file: &std::fs::File| file.as_raw_fd() == *raw)) {
            theirs.push(std::fs::File::open("/dev/zero").unwrap());
        }
        let are_open = || theirs.iter().all(|file| file.metadata().is_ok());
        // Neither in a child of its own, nor here.
        let in_a_child = in_child(are_open);
        drop((ours, socket));
        in_a_child && are_open()
    }));
}

#[test]
fn a_child_has_no_copy_of_a_socket_that_is_not_shared() {
    use std::io::{Read, Write};
    let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
    let near = Cell::new(Some(Unshared::new(near)));
    with_handlers();
    let inherited = near.take().unwrap();
    let raw = inherited.as_raw_fd();
    near.set(Some(inherited));
    // SAFETY: `F_GETFD` only looks.
    assert!(in_child(|| unsafe { libc::fcntl(raw, libc::F_GETFD) } < 0));
    assert!(in_child(|| {
        drop(near.take());
        true
    }));
    let near = near.take().unwrap();
    (&*near).write_all(b"a").unwrap();
    assert_eq!(far.read(&mut [0; 9]).unwrap(), 1, "the parent has its own still");
    drop(near);
    assert_eq!(far.read(&mut [0; 9]).unwrap(), 0, "and closes it");
}

#[test]
fn a_fork_waits_until_the_gate_is_empty() {
    let inside = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for _ in 0..200 {
                let _held = NoFork::hold();
                inside.store(true, std::sync::atomic::Ordering::SeqCst);
                std::thread::yield_now();
                inside.store(false, std::sync::atomic::Ordering::SeqCst);
            }
        });
        for _ in 0..20 {
            assert!(in_child(|| {
                let _held = NoFork::hold();
                !inside.load(std::sync::atomic::Ordering::SeqCst)
            }));
        }
    });
}
