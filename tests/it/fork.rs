//! Forks: a child behaves as `library.reset_on_fork` says, and its parent is unharmed.

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};

use cryptoki_sys::*;

use crate::abi::{Loaded, Mechanism, Session, Template};
use crate::harness::{Jobs, LABEL, PIN, Token, child, loaded_module, our_promises, promises};
use crate::processes::{key_pair, use_pair};

promises!(a_reset_child_starts_anew);

/// A pool refuses `library.reset_on_fork = false`: parent and child would give their changes the same names.
mod embedded {
    use crate::harness::{Module, Token};

    #[test]
    fn a_child_of_ours_goes_on_where_the_parent_was() {
        super::a_child_goes_on_where_the_parent_was(&Token::initialised(Module::Ours));
    }

    #[test]
    fn a_child_of_softhsm_goes_on_where_the_parent_was() {
        super::a_child_goes_on_where_the_parent_was(&Token::initialised(Module::SoftHsm));
    }
}

our_promises!(parent_and_children_write_at_once, a_child_of_a_busy_parent_finds_no_lock_held);

pub const JOBS: Jobs = &[
    ("fork and go on", fork_and_go_on),
    ("fork and reset", fork_and_reset),
    ("fork and write", fork_and_write),
    ("fork while busy", fork_while_busy),
];

const CHILDREN: usize = 4;
const WRITES_EACH: usize = 10;
const FORKS_WHILE_BUSY: usize = 30;

fn a_child_goes_on_where_the_parent_was(token: &Token) {
    token.configure("library.reset_on_fork = false\n");
    child(token, "fork and go on").ok();
}

fn a_reset_child_starts_anew(token: &Token) {
    token.configure("library.reset_on_fork = true\n");
    child(token, "fork and reset").ok();
}

fn parent_and_children_write_at_once(token: &Token) {
    token.configure("library.reset_on_fork = true\n");
    child(token, "fork and write").ok();
}

fn a_child_of_a_busy_parent_finds_no_lock_held(token: &Token) {
    child(token, "fork while busy").ok();
}

/// Runs the closure in a forked child and returns its pid; the child's exit code says whether it panicked.
fn fork(work: impl FnOnce() + std::panic::UnwindSafe) -> c_int {
    // SAFETY: the job runs on the main thread of a process without other threads that hold locks.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "cannot fork");
    if pid == 0 {
        let code = if std::panic::catch_unwind(work).is_ok() { 0 } else { 1 };
        // SAFETY: ends the child at once: it must run neither the test harness nor the parent's exit handlers.
        unsafe { libc::_exit(code) };
    }
    pid
}

fn assert_child_succeeded(pid: c_int) {
    let mut status = 0;
    // SAFETY: the pid is of our own child, not waited for before.
    let waited = unsafe { libc::waitpid(pid, &mut status, 0) };
    assert_eq!((waited, status), (pid, 0), "the forked child failed");
}

/// With the key that was prepared before the fork, and with one looked up after it.
fn sign_both_ways(session: &Session, prepared: CK_OBJECT_HANDLE) {
    session.sign(&Mechanism::plain(CKM_ECDSA), prepared, &[7; 32]).expect("the prepared key signs");
    let template = Template::new().number(CKA_CLASS, CKO_PRIVATE_KEY).bytes(CKA_LABEL, "parent");
    let found = session.find(template).expect("a search works");
    session.sign(&Mechanism::plain(CKM_ECDSA), found[0], &[7; 32]).expect("a found key signs");
}

fn with_parent_s_key(work: impl FnOnce(&Loaded, &Session, CK_OBJECT_HANDLE, CK_OBJECT_HANDLE)) {
    let module = loaded_module();
    module.initialize().expect("initialises");
    let session = module.user_session(LABEL, PIN).expect("logs in");
    let (public, private) = key_pair(&session, "parent");
    use_pair(&session, public, private);
    work(&module, &session, public, private);
    use_pair(&session, public, private);
    drop(session);
    module.finalize().expect("the parent finalises");
}

fn fork_and_go_on() {
    with_parent_s_key(|_, session, _, private| {
        let children: Vec<_> = (0..CHILDREN)
            .map(|_| fork(std::panic::AssertUnwindSafe(|| (0..20).for_each(|_| sign_both_ways(session, private)))))
            .collect();
        (0..20).for_each(|_| sign_both_ways(session, private));
        children.into_iter().for_each(assert_child_succeeded);
    });
}

fn fork_and_reset() {
    with_parent_s_key(|module, session, public, private| {
        let pid = fork(std::panic::AssertUnwindSafe(|| {
            let refused = session.info().map(|_| ()).expect_err("the child's module is not initialised");
            assert_eq!(refused.0, CKR_CRYPTOKI_NOT_INITIALIZED);
            module.initialize().expect("the child initialises");
            let own = module.user_session(LABEL, PIN).expect("the child logs in by itself");
            let (public, private) = key_pair(&own, "child");
            use_pair(&own, public, private);
            drop(own);
            module.finalize().expect("the child finalises");
        }));
        use_pair(session, public, private);
        assert_child_succeeded(pid);
        let found = session.find(Template::new().number(CKA_CLASS, CKO_PRIVATE_KEY).bytes(CKA_LABEL, "child"));
        assert_eq!(found.expect("a search works").len(), 1, "the parent sees what the child made");
    });
}

/// The parent is initialised, the children initialise again, all write, the parent goes first.
fn fork_and_write() {
    let work = |module: &Loaded, who: &str| {
        let session = module.user_session(LABEL, PIN).expect("logs in");
        for number in 0..WRITES_EACH {
            key_pair(&session, &format!("{who} {number}"));
        }
    };
    let module = loaded_module();
    module.initialize().expect("initialises");
    let children: Vec<_> = (0..CHILDREN)
        .map(|who| {
            fork(std::panic::AssertUnwindSafe(|| {
                module.initialize().expect("the child initialises");
                work(&module, &format!("child {who}"));
                module.finalize().expect("the child finalises");
            }))
        })
        .collect();
    work(&module, "parent");
    module.finalize().expect("the parent finalises while its children write");
    children.into_iter().for_each(assert_child_succeeded);
    module.initialize().expect("initialises again");
    let session = module.user_session(LABEL, PIN).expect("logs in");
    let keys = session.find(Template::new().number(CKA_CLASS, CKO_PRIVATE_KEY)).expect("a search works");
    assert_eq!(keys.len(), (CHILDREN + 1) * WRITES_EACH);
}

/// Threads sign, search, make and destroy keys all the time; children that are forked meanwhile go on, and end what all sessions do. Where a call ran too
/// long to be waited for, a child is as if not initialised. None hangs.
fn fork_while_busy() {
    with_parent_s_key(|module, session, _, private| {
        let done = Done::default();
        std::thread::scope(|scope| {
            for who in 0..3 {
                let done = &done.0;
                scope.spawn(move || {
                    let own = module.user_session(LABEL, PIN).expect("a further session is logged in too");
                    while !done.load(Ordering::Relaxed) {
                        sign_both_ways(&own, private);
                        let (public, private) = key_pair(&own, &format!("busy {who}"));
                        own.destroy(public).and_then(|()| own.destroy(private)).expect("destroys");
                    }
                });
            }
            // However this ends, the threads end too.
            let _done = done.when_dropped();
            for _ in 0..FORKS_WHILE_BUSY {
                assert_child_succeeded(fork(std::panic::AssertUnwindSafe(|| use_in_child(module, session, private))));
            }
        });
    });
}

fn use_in_child(module: &Loaded, session: &Session, private: CK_OBJECT_HANDLE) {
    // SAFETY: no handler is set: a child that waits for ever is ended, and its status says so.
    unsafe { libc::alarm(120) };
    match session.info() {
        Ok(_) => {
            sign_both_ways(session, private);
            session.logout().expect("ends the operations of all sessions");
        }
        Err(refused) => {
            assert_eq!(refused.0, CKR_CRYPTOKI_NOT_INITIALIZED);
            module.initialize().expect("the child initialises");
            let own = module.user_session(LABEL, PIN).expect("the child logs in by itself");
            let found = own.find(Template::new().number(CKA_CLASS, CKO_PRIVATE_KEY).bytes(CKA_LABEL, "parent"));
            sign_both_ways(&own, found.expect("a search works")[0]);
        }
    }
    module.finalize().expect("the child finalises");
}

/// Tells threads to end.
#[derive(Default)]
struct Done(AtomicBool);

impl Done {
    fn when_dropped(&self) -> impl Drop + '_ {
        struct Set<'a>(&'a AtomicBool);
        impl Drop for Set<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        Set(&self.0)
    }
}
