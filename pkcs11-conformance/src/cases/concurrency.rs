//! Threads, forks, many processes, finalise and re-initialise: what happens when more than one thing happens.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};

use cryptoki_sys::*;

use crate::case::{Case, Level, Outcome, Stop};
use crate::context::{Context, Session};
use crate::crypt::{Deed, code, must};
use crate::module::Rv;
use crate::run::step;
use crate::sample_keys::known_secret;
use crate::template::{Mechanism, Template};
use crate::{answers, check, ck};

/// The chapter's cases.
pub const CASES: &[Case] = &[
    Case {
        id: "concurrency/threads-own-sessions",
        level: Level::Must,
        section: "2.40 Usage Guide, 2.6.2 Applications and threads, 5.4.1 C_Initialize",
        says: "With CKF_OS_LOCKING_OK every thread may work in a session of its own at the same time, and each gets its own right results.",
        run: threads_own_sessions,
    },
    Case {
        id: "concurrency/threads-one-session",
        level: Level::Must,
        section: "3.1, 5.4.1 C_Initialize; 2.40 Usage Guide, 2.6.2 Applications and threads",
        says: "Threads that share one session get documented answers: a digest that is right, or an operation that is active or gone. \
               Never a wrong digest of a single-part call, and no crash.",
        run: threads_one_session,
    },
    Case {
        id: "concurrency/threads-open-close",
        level: Level::Must,
        section: "3.1, 5.6.1 C_OpenSession, 5.6.2 C_CloseSession",
        says: "Sessions are opened and closed by many threads at once; every handle is given to one of them only.",
        run: threads_open_close,
    },
    Case {
        id: "concurrency/threads-objects",
        level: Level::Must,
        section: "3.1, 5.7; 2.40 Usage Guide, 2.6.2 Applications and threads",
        says: "Objects are made, found and destroyed by many threads at once; what one thread made and did not destroy is there.",
        run: threads_objects,
    },
    Case {
        id: "concurrency/close-under-use",
        level: Level::Security,
        section: "3.1, 5.6.2 C_CloseSession, 5.6.3 C_CloseAllSessions",
        says: "A session that is closed by one thread while others use it answers CKR_SESSION_HANDLE_INVALID or CKR_SESSION_CLOSED from then \
               on; memory that was freed is not touched.",
        run: close_under_use,
    },
    Case {
        id: "concurrency/application-mutexes",
        level: Level::Must,
        section: "3.1, 5.4.1 C_Initialize, 3.7 CK_C_INITIALIZE_ARGS",
        says: "With four mutex functions and no CKF_OS_LOCKING_OK the module uses them or answers CKR_CANT_LOCK; what it locks it unlocks, \
               and what it made it destroys at C_Finalize.",
        run: application_mutexes,
    },
    Case {
        id: "concurrency/some-mutexes",
        level: Level::Must,
        section: "3.1, 5.4.1 C_Initialize",
        says: "Some but not all mutex functions are CKR_ARGUMENTS_BAD.",
        run: some_mutexes,
    },
    Case {
        id: "concurrency/finalize-initialize",
        level: Level::Must,
        section: "3.1, 5.4.1 C_Initialize, 5.4.2 C_Finalize",
        says: "After C_Finalize everything answers CKR_CRYPTOKI_NOT_INITIALIZED and C_Initialize starts afresh: old sessions are unknown, \
               session objects gone, nobody logged in. Twenty times over.",
        run: finalize_initialize,
    },
    Case {
        id: "concurrency/initialize-race",
        level: Level::Must,
        section: "3.1, 5.4.1 C_Initialize",
        says: "Of several C_Initialize at once one answers CKR_OK and the others CKR_CRYPTOKI_ALREADY_INITIALIZED.",
        run: initialize_race,
    },
    Case {
        id: "concurrency/fork-child",
        level: Level::Must,
        section: "3.1, 5.4.1 C_Initialize (forks); 2.40 Usage Guide, 2.6",
        says: "A forked child has not initialised Cryptoki: it calls C_Initialize itself, which answers CKR_OK, and then works; its parent \
               notices nothing.",
        run: fork_child,
    },
    Case {
        id: "concurrency/fork-before-initialize",
        level: Level::Must,
        section: "2.40 Usage Guide, 2.6.2 Applications and threads",
        says: "A child forked before C_Initialize is an application like any other, beside its parent.",
        run: fork_before_initialize,
    },
    Case {
        id: "concurrency/fork-uninitialised-child",
        level: Level::Should,
        section: "3.1, 5.4.1 C_Initialize (forks)",
        says: "A forked child that does not call C_Initialize gets CKR_CRYPTOKI_NOT_INITIALIZED, not its parent's login. Some modules carry \
               the login over on purpose, for old applications.",
        run: fork_uninitialised_child,
    },
    Case {
        id: "concurrency/processes-share-token",
        level: Level::Must,
        section: "3.1, 5.7.1 C_CreateObject; 2.40 Usage Guide, 2.6.1 Applications and processes",
        says: "Token objects are shared by applications: what eight processes write at once is all there, once each, and what one \
               destroys is gone for the others.",
        run: processes_share_token,
    },
    Case {
        id: "concurrency/destroyed-elsewhere",
        level: Level::Must,
        section: "3.1, 5.7.3 C_DestroyObject; 2.40 Usage Guide, 2.7",
        says: "An object handle holds in all sessions of an application; destroyed through one session it is CKR_OBJECT_HANDLE_INVALID in \
               the others.",
        run: destroyed_elsewhere,
    },
    Case {
        id: "concurrency/session-objects-end",
        level: Level::Must,
        section: "3.1, 5.6.2 C_CloseSession",
        says: "A session's objects are destroyed when it closes, and other sessions of the application saw them until then.",
        run: session_objects_end,
    },
    Case {
        id: "concurrency/logout-across-sessions",
        level: Level::Security,
        section: "3.1, 5.6.10 C_Logout",
        says: "A logout in one session ends the login, and private keys' operations, in all others.",
        run: logout_across_sessions,
    },
];

const THREADS: usize = 8;
const USER: CK_USER_TYPE = CKU_USER as CK_USER_TYPE;

/// The context, lent to threads: the module's functions may be called by all of them, which is what is tested.
struct Shared<'a>(&'a Context);
// SAFETY: threads use the loaded table and the settings, which do not change, and open sessions on a module that is initialised
// already, so the context's cell is not written.
unsafe impl Sync for Shared<'_> {}

impl Shared<'_> {
    fn context(&self) -> &Context {
        self.0
    }
}

/// Runs the work on threads and returns the first end that is not a pass.
fn on_threads(context: &Context, work: impl Fn(&Context, usize) -> Outcome + Sync) -> Outcome {
    let shared = Shared(context);
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let (shared, work) = (&shared, &work);
        let threads: Vec<_> = (0..THREADS).map(|at| scope.spawn(move || work(shared.context(), at))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(Stop::Fail("a thread panicked".into())))).collect()
    });
    outcomes.into_iter().collect()
}

fn threads_own_sessions(context: &Context) -> Outcome {
    let first = context.user_session()?;
    first.need(CKM_AES_CBC_PAD)?;
    let slot = context.slot()?;
    on_threads(context, |context, at| {
        let session = context.session_on(slot, true)?;
        let key = session.known_aes(&[at as u8; 16], &[CKA_ENCRYPT, CKA_DECRYPT])?;
        let cipher = Mechanism::with(CKM_AES_CBC_PAD, &[3; 16]);
        for round in 0..100 {
            let plain = vec![round as u8; 16 * at + round];
            let sealed = must(session.whole(Deed::Encrypt, &cipher, key, &plain), "C_Encrypt in a thread")?;
            let open = must(session.whole(Deed::Decrypt, &cipher, key, &sealed), "C_Decrypt in a thread")?;
            check!(open == plain, "thread {at} got another plaintext back in round {round}");
        }
        Ok(())
    })
}

fn threads_one_session(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let hash = [CKM_SHA256, CKM_SHA_1].into_iter().find(|kind| session.need(*kind).is_ok());
    let hash = Mechanism::new(hash.ok_or_else(|| Stop::Skip("the token has neither SHA-256 nor SHA-1".into()))?);
    let expected = must(session.whole(Deed::Digest, &hash, 0, b"abc"), "C_Digest")?;
    let (handle, right) = (session.handle, AtomicUsize::new(0));
    let kind = hash.kind();
    on_threads(context, |context, _| {
        let session = std::mem::ManuallyDrop::new(Session { context, handle });
        for _ in 0..200 {
            match session.whole(Deed::Digest, &Mechanism::new(kind), 0, b"abc") {
                Ok(digest) => {
                    check!(digest == expected, "a digest in a shared session is wrong: {digest:02x?}");
                    right.fetch_add(1, Ordering::Relaxed);
                }
                Err(rv) => answers!(rv, [CKR_OPERATION_ACTIVE, CKR_OPERATION_NOT_INITIALIZED], "C_Digest in a shared session"),
            }
        }
        Ok(())
    })?;
    check!(right.into_inner() > 0, "no thread got any digest out of the shared session");
    Ok(())
}

fn threads_open_close(context: &Context) -> Outcome {
    let _first = context.session(false)?;
    let (slot, held) = (context.slot()?, std::sync::Mutex::new(std::collections::BTreeSet::new()));
    let guard = || held.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    on_threads(context, |context, _| {
        for _ in 0..100 {
            let session = context.session_on(slot, false)?;
            check!(guard().insert(session.handle), "session {} was given to two threads", session.handle);
            let mut info = CK_SESSION_INFO::default();
            context.ok(ck!(context.module, C_GetSessionInfo, session.handle, &mut info), "C_GetSessionInfo in a thread")?;
            guard().remove(&session.handle);
        }
        Ok(())
    })
}

fn labelled(label: &str) -> Template {
    known_secret(CKK_GENERIC_SECRET, &[1; 16], &[]).bytes(CKA_LABEL, label.as_bytes())
}

fn search(session: &Session<'_>, label: &str) -> Result<Vec<CK_OBJECT_HANDLE>, Stop> {
    let (context, mut template) = (session.context, Template::new().bytes(CKA_LABEL, label.as_bytes()));
    let mut list = template.list();
    context.ok(ck!(context.module, C_FindObjectsInit, session.handle, list.as_mut_ptr(), 1), "C_FindObjectsInit")?;
    let (mut handles, mut count) = ([0; 256], 0);
    let rv = ck!(context.module, C_FindObjects, session.handle, handles.as_mut_ptr(), 256, &mut count);
    context.ok(ck!(context.module, C_FindObjectsFinal, session.handle), "C_FindObjectsFinal")?;
    context.ok(rv, "C_FindObjects")?;
    Ok(handles[..count as usize].to_vec())
}

fn threads_objects(context: &Context) -> Outcome {
    let _first = context.user_session()?;
    let slot = context.slot()?;
    on_threads(context, |context, at| {
        let session = context.session_on(slot, true)?;
        let label = format!("thread-{at}");
        for round in 0..20 {
            let (keep, lose) = (must(session.create(labelled(&label)), "C_CreateObject in a thread")?, {
                must(session.create(labelled(&label)), "C_CreateObject in a thread")?
            });
            answers!(session.destroy(lose), [CKR_OK], "C_DestroyObject in a thread");
            let found = search(&session, &label)?;
            check!(found.contains(&keep) && !found.contains(&lose), "thread {at} does not find what it made");
            check!(found.len() == round + 1, "thread {at} finds {} objects, expected {}", found.len(), round + 1);
        }
        Ok(())
    })
}

fn close_under_use(context: &Context) -> Outcome {
    let first = context.user_session()?;
    first.need(CKM_AES_CBC_PAD)?;
    let slot = context.slot()?;
    for round in 0..20 {
        step(&format!("round {round}"));
        let session = std::mem::ManuallyDrop::new(context.session_on(slot, true)?);
        let handle = session.handle;
        on_threads(context, |context, at| {
            let session = std::mem::ManuallyDrop::new(Session { context, handle });
            if at == 0 {
                std::thread::yield_now();
                answers!(ck!(context.module, C_CloseSession, handle), [CKR_OK], "C_CloseSession under use");
                return Ok(());
            }
            for _ in 0..50 {
                let rv = code(session.create(labelled("closing")));
                answers!(rv, [CKR_OK, CKR_SESSION_HANDLE_INVALID, CKR_SESSION_CLOSED], "C_CreateObject in a closing session");
            }
            Ok(())
        })?;
    }
    Ok(())
}

static MADE: AtomicUsize = AtomicUsize::new(0);
static DESTROYED: AtomicUsize = AtomicUsize::new(0);
static LOCKED: AtomicUsize = AtomicUsize::new(0);
static UNLOCKED: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn create_mutex(place: CK_VOID_PTR_PTR) -> CK_RV {
    let number = MADE.fetch_add(1, Ordering::SeqCst) + 1;
    // SAFETY: the module hands the place for its new mutex.
    unsafe { *place = std::ptr::without_provenance_mut(number) };
    CKR_OK
}

unsafe extern "C" fn destroy_mutex(_: CK_VOID_PTR) -> CK_RV {
    DESTROYED.fetch_add(1, Ordering::SeqCst);
    CKR_OK
}

unsafe extern "C" fn lock_mutex(_: CK_VOID_PTR) -> CK_RV {
    LOCKED.fetch_add(1, Ordering::SeqCst);
    CKR_OK
}

unsafe extern "C" fn unlock_mutex(_: CK_VOID_PTR) -> CK_RV {
    UNLOCKED.fetch_add(1, Ordering::SeqCst);
    CKR_OK
}

fn arguments(context: &Context, reserved: &std::ffi::CStr) -> CK_C_INITIALIZE_ARGS {
    let place = if context.settings.init_args.is_some() { reserved.as_ptr().cast_mut().cast() } else { null_mut() };
    CK_C_INITIALIZE_ARGS {
        CreateMutex: Some(create_mutex),
        DestroyMutex: Some(destroy_mutex),
        LockMutex: Some(lock_mutex),
        UnlockMutex: Some(unlock_mutex),
        flags: 0,
        pReserved: place,
    }
}

fn reserved(context: &Context) -> std::ffi::CString {
    std::ffi::CString::new(context.settings.init_args.clone().unwrap_or_default()).unwrap_or_default()
}

fn application_mutexes(context: &Context) -> Outcome {
    let reserved = reserved(context);
    let mut arguments = arguments(context, &reserved);
    let rv = ck!(context.module, C_Initialize, std::ptr::from_mut(&mut arguments).cast());
    if rv == Rv(CKR_CANT_LOCK) {
        return Ok(());
    }
    answers!(rv, [CKR_OK], "C_Initialize with four mutex functions");
    let slot = context.slot()?;
    drop(context.session_on(slot, false)?);
    answers!(context.finalize(), [CKR_OK], "C_Finalize");
    let [made, destroyed, locked, unlocked] = [&MADE, &DESTROYED, &LOCKED, &UNLOCKED].map(|count| count.load(Ordering::SeqCst));
    check!(locked == unlocked, "{locked} locks and {unlocked} unlocks by the application's functions");
    check!(made == destroyed, "{made} mutexes were made and {destroyed} destroyed by C_Finalize");
    if locked == 0 {
        return Err(Stop::Deviation(
            "the module took the application's mutex functions and locks with its own means instead".into(),
        ));
    }
    Ok(())
}

fn some_mutexes(context: &Context) -> Outcome {
    let reserved = reserved(context);
    let mut arguments = CK_C_INITIALIZE_ARGS { LockMutex: None, ..arguments(context, &reserved) };
    let rv = ck!(context.module, C_Initialize, std::ptr::from_mut(&mut arguments).cast());
    answers!(rv, [CKR_ARGUMENTS_BAD], "C_Initialize with three of four mutex functions");
    Ok(())
}

fn finalize_initialize(context: &Context) -> Outcome {
    for round in 0..20 {
        step(&format!("round {round}"));
        let session = std::mem::ManuallyDrop::new(context.user_session()?);
        let object = must(session.create(labelled("finalised")), "C_CreateObject")?;
        answers!(context.finalize(), [CKR_OK], "C_Finalize");
        let mut info = CK_SESSION_INFO::default();
        let rv = ck!(context.module, C_GetSessionInfo, session.handle, &mut info);
        answers!(rv, [CKR_CRYPTOKI_NOT_INITIALIZED], "C_GetSessionInfo after C_Finalize");
        let mut count = 0;
        let rv = ck!(context.module, C_GetSlotList, CK_FALSE, null_mut(), &mut count);
        answers!(rv, [CKR_CRYPTOKI_NOT_INITIALIZED], "C_GetSlotList after C_Finalize");
        answers!(context.initialize(), [CKR_OK], "C_Initialize after C_Finalize");
        let rv = ck!(context.module, C_GetSessionInfo, session.handle, &mut info);
        answers!(rv, [CKR_SESSION_HANDLE_INVALID], "C_GetSessionInfo of a session from before C_Finalize");
        let session = context.session(true)?;
        context.ok(ck!(context.module, C_GetSessionInfo, session.handle, &mut info), "C_GetSessionInfo")?;
        check!(info.state == CKS_RW_PUBLIC_SESSION as CK_STATE, "a session after C_Finalize is in state {}", info.state);
        answers!(session.login(USER, &context.settings.pin), [CKR_OK], "C_Login after C_Finalize");
        check!(!search(&session, "finalised")?.contains(&object), "a session object outlived C_Finalize");
    }
    Ok(())
}

fn initialize_race(context: &Context) -> Outcome {
    let won = AtomicUsize::new(0);
    let reserved = reserved(context);
    on_threads(context, |context, _| {
        let mut arguments = CK_C_INITIALIZE_ARGS {
            CreateMutex: None,
            DestroyMutex: None,
            LockMutex: None,
            UnlockMutex: None,
            flags: CKF_OS_LOCKING_OK as CK_FLAGS,
            pReserved: arguments(context, &reserved).pReserved,
        };
        let rv = ck!(context.module, C_Initialize, std::ptr::from_mut(&mut arguments).cast());
        answers!(rv, [CKR_OK, CKR_CRYPTOKI_ALREADY_INITIALIZED], "C_Initialize in a race");
        won.fetch_add(usize::from(rv == Rv::OK), Ordering::SeqCst);
        Ok(())
    })?;
    let won = won.into_inner();
    check!(won == 1, "C_Initialize answered CKR_OK to {won} of {THREADS} threads");
    Ok(())
}

/// Runs the work in a forked child; its outcome comes back through the exit code and, in words, a pipe.
fn forked(work: impl FnOnce() -> Outcome) -> Result<Child, Stop> {
    let mut ends = [0; 2];
    // SAFETY: plain system call with room for two descriptors.
    check!(unsafe { libc::pipe(ends.as_mut_ptr()) } == 0, "no pipe could be made");
    // SAFETY: this process has one thread, so the child may do anything that it could.
    let pid = unsafe { libc::fork() };
    check!(pid >= 0, "the process could not fork");
    if pid > 0 {
        // SAFETY: the child has its own copy of the end that it writes to.
        unsafe { libc::close(ends[1]) };
        return Ok(Child { pid, pipe: ends[0] });
    }
    let text = match work() {
        Ok(()) => String::from("pass"),
        Err(Stop::Fail(reason)) => format!("fail{reason}"),
        Err(Stop::Skip(reason)) => format!("skip{reason}"),
        Err(Stop::Deviation(reason)) => format!("devi{reason}"),
    };
    // SAFETY: writes from memory that is ours and leaves without the parent's exit handlers.
    unsafe {
        libc::write(ends[1], text.as_ptr().cast(), text.len());
        libc::_exit(0)
    }
}

struct Child {
    pid: libc::pid_t,
    pipe: libc::c_int,
}

impl Child {
    fn outcome(self) -> Outcome {
        let mut text = [0_u8; 2048];
        // SAFETY: reads into memory that is ours; the pipe is closed once.
        let len = unsafe { libc::read(self.pipe, text.as_mut_ptr().cast(), text.len()) };
        let mut status = 0;
        // SAFETY: the child is ours and not reaped yet.
        unsafe {
            libc::close(self.pipe);
            libc::waitpid(self.pid, &mut status, 0);
        }
        let text = String::from_utf8_lossy(&text[..len.max(0) as usize]).into_owned();
        match (text.get(..4), text.get(4..).unwrap_or_default().to_owned()) {
            (Some("pass"), _) => Ok(()),
            (Some("skip"), reason) => Err(Stop::Skip(reason)),
            (Some("devi"), reason) => Err(Stop::Deviation(reason)),
            (Some("fail"), reason) => Err(Stop::Fail(format!("in the forked child: {reason}"))),
            _ => Err(Stop::Fail(format!("the forked child died (status {status:#x})"))),
        }
    }
}

fn work_a_little(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let object = must(session.create(labelled("forked")), "C_CreateObject")?;
    check!(session.attribute(object, CKA_LABEL) == Ok(b"forked".to_vec()), "an object's label is not the one that was set");
    Ok(())
}

fn fork_child(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let child = forked(|| {
        answers!(context.initialize(), [CKR_OK], "C_Initialize in a forked child");
        work_a_little(context)?;
        answers!(context.finalize(), [CKR_OK], "C_Finalize in a forked child");
        Ok(())
    })?;
    child.outcome()?;
    let object = must(session.create(labelled("parent")), "C_CreateObject in the parent after its child's end")?;
    answers!(session.destroy(object), [CKR_OK], "C_DestroyObject in the parent");
    Ok(())
}

fn fork_before_initialize(context: &Context) -> Outcome {
    let child = forked(|| work_a_little(context))?;
    let own = work_a_little(context);
    child.outcome()?;
    own
}

fn fork_uninitialised_child(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let child = forked(|| {
        let mut info = CK_SESSION_INFO::default();
        let rv = ck!(context.module, C_GetSessionInfo, session.handle, &mut info);
        if rv == Rv::OK {
            return Err(Stop::Deviation(format!("a forked child goes on in its parent's session, in state {}", info.state)));
        }
        answers!(rv, [CKR_CRYPTOKI_NOT_INITIALIZED], "C_GetSessionInfo in a forked child");
        Ok(())
    })?;
    child.outcome()
}

fn processes_share_token(context: &Context) -> Outcome {
    const EACH: usize = 5;
    let label = format!("shared-{}", std::process::id());
    let children: Vec<Child> = (0..THREADS)
        .map(|_| {
            forked(|| {
                let session = context.user_session()?;
                for _ in 0..EACH {
                    let template = labelled(&label).set(CKA_TOKEN, [1]);
                    must(session.create(template), "C_CreateObject of a token object")?;
                }
                Ok(())
            })
        })
        .collect::<Result<_, _>>()?;
    let ends: Vec<Outcome> = children.into_iter().map(Child::outcome).collect();
    ends.into_iter().collect::<Outcome>()?;
    let reader = forked(|| {
        let session = context.user_session()?;
        let found = search(&session, &label)?;
        check!(found.len() == THREADS * EACH, "{} of {} objects are there after all wrote", found.len(), THREADS * EACH);
        found.into_iter().try_for_each(|object| {
            answers!(session.destroy(object), [CKR_OK], "C_DestroyObject of another process's object");
            Ok(())
        })
    })?;
    reader.outcome()?;
    let left = search(&context.user_session()?, &label)?;
    check!(left.is_empty(), "{} objects that another process destroyed are still found", left.len());
    Ok(())
}

fn destroyed_elsewhere(context: &Context) -> Outcome {
    let (first, second) = (context.user_session()?, context.session(true)?);
    let object = must(first.create(labelled("elsewhere")), "C_CreateObject")?;
    check!(second.attribute(object, CKA_LABEL).is_ok(), "a handle does not hold in another session of the application");
    answers!(second.destroy(object), [CKR_OK], "C_DestroyObject through another session");
    answers!(code(first.attribute(object, CKA_LABEL)), [CKR_OBJECT_HANDLE_INVALID], "C_GetAttributeValue of a destroyed object");
    answers!(first.destroy(object), [CKR_OBJECT_HANDLE_INVALID], "C_DestroyObject of a destroyed object");
    Ok(())
}

fn session_objects_end(context: &Context) -> Outcome {
    let (first, second) = (context.user_session()?, context.session(true)?);
    let object = must(first.create(labelled("ending")), "C_CreateObject")?;
    check!(search(&second, "ending")?.contains(&object), "another session of the application does not find a session object");
    drop(first);
    let rv = code(second.attribute(object, CKA_LABEL));
    answers!(rv, [CKR_OBJECT_HANDLE_INVALID], "C_GetAttributeValue after the object's session was closed");
    check!(search(&second, "ending")?.is_empty(), "a session object outlived its session");
    Ok(())
}

fn logout_across_sessions(context: &Context) -> Outcome {
    let (first, second) = (context.user_session()?, context.session(true)?);
    first.need(CKM_AES_CBC_PAD)?;
    let key = first.known_aes(&[2; 16], &[CKA_ENCRYPT])?;
    let cipher = Mechanism::with(CKM_AES_CBC_PAD, &[3; 16]);
    context.ok(second.init(Deed::Encrypt, &cipher, key), "C_EncryptInit in the second session")?;
    answers!(first.logout(), [CKR_OK], "C_Logout in the first session");
    let rv = code(second.finish(Deed::Encrypt, b"still here"));
    check!(rv != Rv::OK, "an operation with a private key went on in another session after C_Logout");
    let rv = second.init(Deed::Encrypt, &cipher, key);
    check!(rv != Rv::OK, "a private key starts an operation in another session after C_Logout");
    Ok(())
}
