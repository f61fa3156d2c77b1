//! The application of the demonstration: a process of its own that loads `libhsmpool.so`, as any other would, and counts its calls.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cryptoki::context::Pkcs11;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use parking_lot::Mutex;
use serde_json::json;

use super::{REPORT_EVERY, hex, message, unhex};
use crate::cli::module;
use crate::error::{Code, Doing, Result, refuse};

/// The demonstration's token.
pub const LABEL: &str = "demo";
const SO_PIN: &str = "12345678";
pub const PIN: &str = "123456";
/// The id of the key, in hexadecimal digits as commands take it.
pub const KEY_ID: &str = "01";
/// The curve of the key, P-256, as PKCS#11 wants it: an object identifier in DER.
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// C functions that one signature takes: `C_SignInit`, `C_Sign` for the length, `C_Sign`.
const CALLS_OF_SIGNING: u64 = 3;
/// C functions that one new object takes.
const CALLS_OF_MAKING: u64 = 1;
/// C functions that the search for it takes: `C_FindObjectsInit`, `C_FindObjects` twice, `C_FindObjectsFinal`.
const CALLS_OF_SEARCHING: u64 = 4;
/// How often an object is made.
const OBJECT_EVERY: Duration = Duration::from_millis(50);
/// After a failed call.
const PAUSE: Duration = Duration::from_millis(10);

#[derive(clap::Args)]
pub struct WorkArguments {
    job: Job,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Job {
    /// Makes the token and its key, and prints the public point
    Make,
    /// Signs and makes objects until standard input ends, and prints what happened
    Work,
}

pub fn work(arguments: &WorkArguments) -> Result<()> {
    let module = module::open(&module::own()?)?;
    match arguments.job {
        Job::Make => make(&module),
        Job::Work => go_on(&module),
    }
}

fn auth(pin: &str) -> AuthPin {
    AuthPin::new(pin.to_string().into())
}

/// The C functions fail in the demonstration's own words: what was being done, and the module's code.
trait Called<T> {
    fn called(self, doing: &str) -> Result<T>;
}

impl<T> Called<T> for cryptoki::error::Result<T> {
    fn called(self, doing: &str) -> Result<T> {
        self.doing(Code::FunctionFailed, doing)
    }
}

fn session(module: &Pkcs11) -> Result<Session> {
    let slots = module.get_slots_with_initialized_token().called("listing slots")?;
    let slot = slots.first().copied().ok_or_else(|| refuse(Code::TokenNotPresent, "the module shows no token"))?;
    module.open_rw_session(slot).called("opening a session")
}

fn make(module: &Pkcs11) -> Result<()> {
    let slots = module.get_all_slots().called("listing slots")?;
    let slot = slots.first().copied().ok_or_else(|| refuse(Code::TokenNotPresent, "the module shows no slot"))?;
    module.init_token(slot, &auth(SO_PIN), LABEL).called("initialising the token")?;
    let session = session(module)?;
    session.login(UserType::So, Some(&auth(SO_PIN))).called("logging the SO in")?;
    session.init_pin(&auth(PIN)).called("setting the user's PIN")?;
    session.logout().called("logging the SO out")?;
    session.login(UserType::User, Some(&auth(PIN))).called("logging the user in")?;
    let (label, id) = (Attribute::Label(LABEL.into()), Attribute::Id(unhex(KEY_ID)));
    let public = [label.clone(), id.clone(), Attribute::Token(true), Attribute::EcParams(P256.to_vec()), Attribute::Verify(true)];
    let private =
        [label, id, Attribute::Token(true), Attribute::Private(true), Attribute::Sensitive(true), Attribute::Sign(true)];
    let (public, _) = session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).called("generating a key pair")?;
    let values = session.get_attributes(public, &[AttributeType::EcPoint]).called("reading the public key")?;
    let Some(Attribute::EcPoint(point)) = values.first() else {
        return Err(refuse(Code::FunctionFailed, "the public key has no point"));
    };
    // The point stands in an octet string (PKCS#11 2.40, section 2.3.3).
    println!("{}", json!({ "point": hex(&point[2..]) }));
    Ok(())
}

/// What happened so far.
#[derive(Default)]
struct Counts {
    calls: AtomicU64,
    failed: AtomicU64,
    signatures: AtomicU64,
    objects: AtomicU64,
    /// Objects that their maker did not find, once, right after.
    unseen: AtomicU64,
    key_use: Stall,
    change: Stall,
    newest: Mutex<Option<(u64, Vec<u8>)>>,
    error: Mutex<Option<String>>,
    ends: AtomicBool,
}

/// The longest that a call has taken, the one that runs now included.
#[derive(Default)]
struct Stall {
    longest_micros: AtomicU64,
    runs_since: Mutex<Option<Instant>>,
}

impl Stall {
    fn micros(&self) -> u64 {
        let runs = self.runs_since.lock().map_or(0, |since| since.elapsed().as_micros() as u64);
        runs.max(self.longest_micros.load(Ordering::Relaxed))
    }
}

impl Counts {
    /// Makes calls, and counts them, how long they took and whether they failed.
    fn count<T>(&self, stall: &Stall, calls: u64, work: impl FnOnce() -> Result<T>) -> Option<T> {
        let begun = Instant::now();
        *stall.runs_since.lock() = Some(begun);
        let done = work();
        stall.longest_micros.fetch_max(begun.elapsed().as_micros() as u64, Ordering::Relaxed);
        *stall.runs_since.lock() = None;
        self.calls.fetch_add(calls, Ordering::Relaxed);
        match done {
            Ok(done) => Some(done),
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                *self.error.lock() = Some(error.to_string());
                std::thread::sleep(PAUSE);
                None
            }
        }
    }

    fn report(&self, found: Option<u64>) {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let sample = self.newest.lock().take();
        let line = json!({
            "calls": get(&self.calls), "failed": get(&self.failed), "signatures": get(&self.signatures),
            "objects": get(&self.objects), "unseen": get(&self.unseen), "found": found,
            "key_use_micros": self.key_use.micros(), "change_micros": self.change.micros(),
            "sample": sample.map(|(number, signature)| json!({ "number": number, "signature": hex(&signature) })),
            "error": *self.error.lock(),
        });
        // Whoever does not read any more has ended, and standard input ends with it.
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}

fn go_on(module: &Pkcs11) -> Result<()> {
    let (first, second, last) = (session(module)?, session(module)?, session(module)?);
    first.login(UserType::User, Some(&auth(PIN))).called("logging in")?;
    let keys = first.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).called("searching the key")?;
    let key = keys.first().copied().ok_or_else(|| refuse(Code::KeyHandleInvalid, "the token has no key"))?;
    let counts = &Counts::default();
    std::thread::scope(|scope| {
        scope.spawn(move || sign(&first, key, counts));
        scope.spawn(move || make_objects(&second, counts));
        scope.spawn(|| {
            while !counts.ends.load(Ordering::Acquire) {
                std::thread::sleep(REPORT_EVERY);
                counts.report(None);
            }
        });
        // It ends with whoever started this, however that ends.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        counts.ends.store(true, Ordering::Release);
    });
    let found = counts.count(&counts.change, CALLS_OF_SEARCHING, || {
        last.find_objects(&[Attribute::Class(ObjectClass::DATA)]).called("searching all objects")
    });
    counts.report(found.map(|found| found.len() as u64));
    Ok(())
}

fn sign(session: &Session, key: ObjectHandle, counts: &Counts) {
    for number in 1.. {
        if counts.ends.load(Ordering::Acquire) {
            break;
        }
        let signed = counts.count(&counts.key_use, CALLS_OF_SIGNING, || {
            session.sign(&Mechanism::EcdsaSha256, key, message(number).as_bytes()).called("signing")
        });
        if let Some(signature) = signed {
            counts.signatures.fetch_add(1, Ordering::Relaxed);
            *counts.newest.lock() = Some((number, signature));
        }
    }
}

fn make_objects(session: &Session, counts: &Counts) {
    while !counts.ends.load(Ordering::Acquire) {
        let label = Attribute::Label(format!("object {}", counts.objects.load(Ordering::Relaxed) + 1).into());
        let template = [Attribute::Class(ObjectClass::DATA), Attribute::Token(true), Attribute::Private(false), label.clone()];
        let made = counts
            .count(&counts.change, CALLS_OF_MAKING, || session.create_object(&template).called("making an object"))
            .is_some();
        if made {
            counts.objects.fetch_add(1, Ordering::Relaxed);
            let found = counts.count(&counts.change, CALLS_OF_SEARCHING, || {
                session.find_objects(&[Attribute::Class(ObjectClass::DATA), label]).called("searching an object")
            });
            counts.unseen.fetch_add(u64::from(found.is_some_and(|found| found.len() != 1)), Ordering::Relaxed);
        }
        std::thread::sleep(OBJECT_EVERY);
    }
}
