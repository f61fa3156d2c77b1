//! Forks: a child behaves as `library.reset_on_fork` says, and its parent is unharmed.

use std::ffi::c_int;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};

use cryptoki_sys::*;

use crate::abi::{Loaded, Mechanism, Session, Template};
use crate::harness::{Jobs, LABEL, Module, PIN, Token, child, loaded_module, our_promises, promises, wait_until};
use crate::processes::{key_pair, use_pair};

promises!(a_child_goes_on_where_the_parent_was, a_reset_child_starts_anew);

our_promises!(
    a_child_outlives_its_parent_s_login_and_a_grandchild_both,
    parent_and_children_write_at_once,
    a_child_of_a_busy_parent_finds_no_lock_held
);

/// A server begins as root, and its children serve as somebody who may not open the store; an ordinary user's stay what they are.
#[test]
fn a_child_that_has_given_up_root_goes_on() {
    give_up(&Token::fresh(Module::Ours), "fork and give up root");
    give_up(&Token::by_default("library.reset_on_fork = false\n"), "fork and give up root");
}

/// The same under the standard's rule, where the child initialises anew.
#[test]
fn a_child_that_has_given_up_root_begins_anew() {
    give_up(&Token::configured(Module::Ours, "library.reset_on_fork = true\n"), "fork, give up root and begin anew");
    give_up(&Token::by_default(""), "fork, give up root and begin anew");
}

fn give_up(token: &Token, job: &str) {
    token.initialise(LABEL);
    // Neither the store nor how it is configured can be seen by anybody else; then its directory can.
    for mode in [0o700, 0o755] {
        for directory in [token.directory().to_path_buf(), token.file("tokens")] {
            std::fs::set_permissions(directory, std::fs::Permissions::from_mode(mode)).expect("the test owns it");
        }
        child(token, job).ok();
    }
}

pub const JOBS: Jobs = &[
    ("fork and give up root", fork_and_give_up_root),
    ("fork, give up root and begin anew", fork_give_up_root_and_begin_anew),
    ("fork and go on", fork_and_go_on),
    ("fork and part", fork_and_part),
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

fn a_child_outlives_its_parent_s_login_and_a_grandchild_both(token: &Token) {
    token.configure("library.reset_on_fork = false\n");
    child(token, "fork and part").ok();
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

/// Becomes nobody, as far as this process may, and where it `hides` too in a directory from which no name leads to the store.
fn give_up_root(hides: bool) {
    const NOBODY: u32 = 65534;
    // SAFETY: the path ends with a null byte; the rest takes numbers only.
    let gave_up = unsafe {
        let is_root = libc::geteuid() == 0;
        let is_hidden =
            !is_root || !hides || (libc::chroot(c"/proc/self/fdinfo".as_ptr()) == 0 && libc::chdir(c"/".as_ptr()) == 0);
        is_hidden && (!is_root || (libc::setgid(NOBODY) == 0 && libc::setuid(NOBODY) == 0))
    };
    assert!(gave_up, "root may become anybody");
}

/// Uses and makes keys on more threads than there are connections to go round.
fn serve(module: &Loaded) {
    std::thread::scope(|threads| {
        for number in 0..8 {
            threads.spawn(move || {
                let session = module.user_session(LABEL, PIN).expect("a session");
                for round in 0..5 {
                    let template = Template::new().number(CKA_CLASS, CKO_PRIVATE_KEY).bytes(CKA_LABEL, "parent");
                    let found = session.find(template).expect("a search works");
                    session.sign(&Mechanism::plain(CKM_ECDSA), found[0], &[7; 32]).expect("a found key signs");
                    let (public, private) = key_pair(&session, &format!("of {number} {round}"));
                    use_pair(&session, public, private);
                }
            });
        }
    });
}

fn fork_and_give_up_root() {
    with_parent_s_key(|module, session, _, private| {
        let keys = || session.find(Template::new().number(CKA_CLASS, CKO_PRIVATE_KEY)).expect("a search works").len();
        let before = keys();
        let children = (0..CHILDREN).map(|number| {
            fork(std::panic::AssertUnwindSafe(move || {
                give_up_root(number % 2 == 0);
                sign_both_ways(session, private);
                serve(module);
            }))
        });
        let children: Vec<_> = children.collect();
        sign_both_ways(session, private);
        children.into_iter().for_each(assert_child_succeeded);
        assert_eq!(keys() - before, CHILDREN * 8 * 5, "what the children made is there");
    });
}

fn fork_give_up_root_and_begin_anew() {
    with_parent_s_key(|module, session, _, private| {
        for hides in [false, true] {
            let pid = fork(std::panic::AssertUnwindSafe(|| {
                give_up_root(hides);
                for _ in 0..2 {
                    module.initialize().expect("the child initialises anew");
                    serve(module);
                    module.finalize().expect("the child finalises");
                }
            }));
            assert_child_succeeded(pid);
        }
        sign_both_ways(session, private);
    });
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

/// A secret session key that makes MACs.
fn session_key(session: &Session) -> CK_OBJECT_HANDLE {
    let template = Template::key(CKO_SECRET_KEY, CKK_AES).truth(CKA_TOKEN, false).truth(CKA_PRIVATE, true);
    let template = template.number(CKA_VALUE_LEN, 16).yes(&[CKA_SIGN, CKA_VERIFY, CKA_ENCRYPT, CKA_DECRYPT]);
    session.generate_key(CKM_AES_KEY_GEN, template).expect("a session key")
}

/// Parent and children go on with one login, one session key and one signature in parts; each makes and destroys objects of its own, and what
/// a child ends has not ended for the others.
fn fork_and_go_on() {
    with_parent_s_key(|module, session, _, private| {
        let (key, cmac) = (session_key(session), Mechanism::plain(CKM_AES_CMAC));
        let whole = session.sign(&cmac, key, b"the beginning and the end").expect("the session key signs");
        let apart = module.user_session(LABEL, PIN).expect("a further session");
        apart.begin_signing(&cmac, key).and_then(|()| apart.sign_part(b"the beginning ")).expect("begins");
        let ends = || {
            apart.sign_part(b"and the end").expect("goes on with what was begun");
            assert_eq!(apart.end_signing().expect("ends"), whole, "the same input, the same signature");
        };
        let work = |who: &str| {
            for number in 0..20 {
                sign_both_ways(session, private);
                assert_eq!(session.sign(&cmac, key, b"the beginning and the end").expect("signs"), whole);
                if number % 10 == 0 {
                    let (public, own) = key_pair(session, &format!("{who} {number}"));
                    use_pair(session, public, own);
                    session.destroy(own).and_then(|()| session.destroy(public)).expect("destroys what it made");
                }
            }
        };
        let children = (0..CHILDREN).map(|who| {
            fork(std::panic::AssertUnwindSafe(|| {
                ends();
                work(&format!("child {who}"));
                session.destroy(key).expect("its own copy of the session key");
                session.logout().expect("its own login");
            }))
        });
        let children: Vec<_> = children.collect();
        work("parent");
        children.into_iter().for_each(assert_child_succeeded);
        ends();
        work("parent again");
    });
}

/// The parent logs out and finalises; the child, which has made a call, goes on, and so does a child of its own after the child is gone.
fn fork_and_part() {
    let module = loaded_module();
    module.initialize().expect("initialises");
    let session = module.user_session(LABEL, PIN).expect("logs in");
    let (_, private) = key_pair(&session, "parent");
    let key = session_key(&session);
    let mechanism = Mechanism::with_bytes(CKM_AES_CBC_PAD, &[1; 16]);
    let expected = session.encrypt(&mechanism, key, &[5; 100]).expect("encrypts");
    let uses = || {
        assert_eq!(session.encrypt(&mechanism, key, &[5; 100]).expect("encrypts"), expected);
        session.sign(&Mechanism::plain(CKM_ECDSA), private, &[7; 32]).expect("signs");
        key_pair(&session, "of a child");
    };
    let wait_for = |file: &str| wait_until("the other process is as far", || std::path::Path::new(file).exists());
    let done = |file: &str| std::fs::write(file, "").expect("the directory is writable");
    let pid = fork(std::panic::AssertUnwindSafe(|| {
        uses();
        done("the child has begun");
        wait_for("the parent has logged out");
        uses();
        let grandchild = fork(std::panic::AssertUnwindSafe(|| {
            uses();
            done("the grandchild has begun");
            wait_for("the parent is gone");
            uses();
            session.logout().expect("logs out");
            let refused = session.encrypt(&mechanism, key, &[5; 100]).expect_err("the private session key has ended");
            assert_eq!(refused.0, CKR_KEY_HANDLE_INVALID);
            module.finalize().expect("the grandchild finalises");
        }));
        wait_for("the grandchild has begun");
        uses();
        assert_child_succeeded(grandchild);
        uses();
        module.finalize().expect("the child finalises");
    }));
    wait_for("the child has begun");
    session.logout().expect("the parent logs out");
    done("the parent has logged out");
    wait_for("the grandchild has begun");
    module.finalize().expect("the parent finalises");
    done("the parent is gone");
    assert_child_succeeded(pid);
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
