//! Workers that use keys: signatures, ciphers in parts, a session key; and one that logs in again and again.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};

use super::super::record::{Op, Outcome, now};
use super::prepare::{CIPHER, SIGNER, aes, the_one};
use super::{READY, USER_PIN, Worker, pin};
use crate::error::{Code, Doing, Result};

/// Label of the worker's own session key.
const SESSION_KEY: &str = "chaos session key";
/// One login lasts so long.
const LOGIN_NANOSECONDS: u64 = 800_000_000;
/// How long the texts are that are encrypted in parts.
const TEXT_BYTES: usize = 6000;

/// What the worker holds over all faults.
struct Held {
    private: ObjectHandle,
    public: ObjectHandle,
    cipher: ObjectHandle,
    /// What `cipher` makes of the text.
    encrypted: Vec<u8>,
    session_key: Option<ObjectHandle>,
    /// What the session key made of a block when it was new.
    sealed: Vec<u8>,
    login: u64,
}

fn cbc() -> Mechanism<'static> {
    Mechanism::AesCbcPad([7; 16])
}

fn text() -> Vec<u8> {
    (0..TEXT_BYTES).map(|at| (at % 251) as u8).collect()
}

impl Held {
    fn find(session: &Session) -> Result<Self> {
        let cipher = the_one(session, ObjectClass::SECRET_KEY, CIPHER)?;
        Ok(Self {
            private: the_one(session, ObjectClass::PRIVATE_KEY, SIGNER)?,
            public: the_one(session, ObjectClass::PUBLIC_KEY, SIGNER)?,
            cipher,
            encrypted: session.encrypt(&cbc(), cipher, &text()).doing(Code::FunctionFailed, "encrypting before all faults")?,
            session_key: None,
            sealed: Vec::new(),
            login: now(),
        })
    }
}

/// Uses keys until it is enough, and calls nothing else: what waits for a quorum would hide how keys can be used meanwhile.
pub fn use_keys(worker: &mut Worker, session: &Session) -> Result<()> {
    let mut held = Held::find(session)?;
    println!("{READY}");
    while worker.goes_on() {
        match worker.dice.below(20) {
            0..=10 => sign(worker, session, &held)?,
            11..=14 => encrypt_in_parts(worker, session, &held)?,
            _ => use_session_key(worker, session, &mut held)?,
        }
        worker.pause();
    }
    Ok(())
}

/// Logs in again and again, and uses in between what a login gives.
pub fn log_in(worker: &mut Worker, session: &Session) -> Result<()> {
    let mut held = Held::find(session)?;
    println!("{READY}");
    while worker.goes_on() {
        match worker.dice.below(10) {
            _ if now() - held.login > LOGIN_NANOSECONDS => log_in_anew(worker, session, &mut held)?,
            0..=3 => sign(worker, session, &held)?,
            4..=6 => use_session_key(worker, session, &mut held)?,
            _ => find_session_key(worker, session, &held)?,
        }
        worker.pause();
    }
    Ok(())
}

fn sign(worker: &mut Worker, session: &Session, held: &Held) -> Result<()> {
    let mut digest = [0; 32];
    digest.fill_with(|| worker.dice.below(256) as u8);
    let sign = || session.sign(&Mechanism::Ecdsa, held.private, &digest);
    let Some(mut signature) = worker.recorder.call((Op::Sign, "", 0), sign)? else { return Ok(()) };
    let verify = |signature: &[u8]| session.verify(&Mechanism::Ecdsa, held.public, &digest, signature);
    match worker.dice.below(8) {
        0..=4 => worker.recorder.call((Op::Verify, "", 0), || verify(&signature)).map(drop),
        5 => {
            signature[40] ^= 1;
            // What must be refused is done when it is refused.
            let refused = || match verify(&signature) {
                Err(cryptoki::error::Error::Pkcs11(cryptoki::error::RvError::SignatureInvalid, _)) => Ok(true),
                other => other.map(|()| false),
            };
            let judge = |refused: &bool| match refused {
                true => (0, Outcome::Done),
                false => (0, Outcome::Wrong("a bent signature was taken".to_string())),
            };
            worker.recorder.judge((Op::Verify, "", 0), refused, judge).map(drop)
        }
        _ => Ok(()),
    }
}

/// Each part is a call of its own; between two of them a zone may die.
fn encrypt_in_parts(worker: &mut Worker, session: &Session, held: &Held) -> Result<()> {
    let (text, mut out) = (text(), Vec::new());
    if worker.recorder.call((Op::Encrypt, "", 0), || session.encrypt_init(&cbc(), held.cipher))?.is_none() {
        return Ok(());
    }
    let mut rest = &text[..];
    while !rest.is_empty() {
        let len = rest.len().min(worker.dice.between(200, 3000) as usize);
        let (part, after) = rest.split_at(len);
        let Some(more) = worker.recorder.call((Op::Encrypt, "", 0), || session.encrypt_update(part))? else { return Ok(()) };
        (rest, out) = (after, [out, more].concat());
        if worker.dice.below(2) == 0 {
            worker.pause();
        }
    }
    let judge = |last: &Vec<u8>| match [&out[..], last].concat() == held.encrypted {
        true => (0, Outcome::Done),
        false => (0, Outcome::Wrong("an operation in parts gave another text".to_string())),
    };
    worker.recorder.judge((Op::Encrypt, "", 0), || session.encrypt_final(), judge).map(drop)
}

fn use_session_key(worker: &mut Worker, session: &Session, held: &mut Held) -> Result<()> {
    let Some(key) = held.session_key else {
        let make = || aes(session, SESSION_KEY, false);
        held.session_key = worker.recorder.call((Op::MakeSessionKey, "", 0), make)?;
        if let Some(key) = held.session_key {
            let sealed = || session.encrypt(&cbc(), key, &[5; 100]);
            held.sealed = worker.recorder.call((Op::UseSessionKey, "", 0), sealed)?.unwrap_or_default();
        }
        return Ok(());
    };
    if worker.dice.below(60) == 0 {
        worker.recorder.call((Op::DropSessionKey, "", 0), || session.destroy_object(key))?;
        held.session_key = None;
        return Ok(());
    }
    let judge = |sealed: &Vec<u8>| match *sealed == held.sealed || held.sealed.is_empty() {
        true => (0, Outcome::Done),
        false => (0, Outcome::Wrong("the session key is another one".to_string())),
    };
    let seal = || session.encrypt(&cbc(), key, &[5; 100]);
    worker.recorder.judge((Op::UseSessionKey, "", 0), seal, judge).map(drop)
}

fn find_session_key(worker: &mut Worker, session: &Session, held: &Held) -> Result<()> {
    let template = [Attribute::Token(false), Attribute::Label(SESSION_KEY.into())];
    let judge = |found: &Vec<ObjectHandle>| match (found.len(), held.session_key) {
        (1, Some(key)) if found[0] == key => (1, Outcome::Done),
        (0, None) => (0, Outcome::Done),
        (count, _) => (count as u64, Outcome::Wrong(format!("{count} session keys were found"))),
    };
    worker.recorder.judge((Op::FindSessionKey, "", 0), || session.find_objects(&template), judge).map(drop)
}

fn log_in_anew(worker: &mut Worker, session: &Session, held: &mut Held) -> Result<()> {
    worker.recorder.call((Op::Logout, "", 0), || session.logout())?;
    worker.recorder.call((Op::Login, "", 0), || session.login(UserType::User, Some(&pin(USER_PIN))))?;
    // The session key was private: it went with the login. The token's keys have other handles now, if they were private.
    held.session_key = None;
    held.login = now();
    let private = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Label(SIGNER.into())];
    let cipher = [Attribute::Class(ObjectClass::SECRET_KEY), Attribute::Token(true), Attribute::Label(CIPHER.into())];
    for (template, handle) in [(&private[..], &mut held.private), (&cipher[..], &mut held.cipher)] {
        let judge = |found: &Vec<ObjectHandle>| match found.len() {
            1 => (1, Outcome::Done),
            count => (count as u64, Outcome::Wrong(format!("{count} keys were found where one is"))),
        };
        let found = worker.recorder.judge((Op::Find, "", 0), || session.find_objects(template), judge)?;
        if let Some([one]) = found.as_deref() {
            *handle = *one;
        }
    }
    Ok(())
}
