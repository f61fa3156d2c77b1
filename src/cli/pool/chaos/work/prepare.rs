//! Before and after the work: the token with its keys, and the count of what was acknowledged.

use cryptoki::context::Pkcs11;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::{Session, UserType};

use super::super::record::{Op, Outcome};
use super::changes::{find_register, get_register};
use super::{SO_PIN, USER_PIN, Worker, pin};
use crate::error::{Code, Doing, Result, refuse};

/// Labels of the keys that workers use.
pub const SIGNER: &str = "chaos signer";
pub const CIPHER: &str = "chaos cipher";
/// P-256, as its object identifier in DER.
pub const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// The client that looks at everything last.
pub const REGISTER_LOOKERS_CLIENT: u32 = 9999;

/// Makes the token and its keys.
pub fn prepare(pkcs11: &Pkcs11, label: &str) -> Result<()> {
    const DOING: &str = "making the rehearsal's token";
    let slots = pkcs11.get_all_slots().doing(Code::FunctionFailed, DOING)?;
    let free = slots.into_iter().rev().find(|slot| pkcs11.get_token_info(*slot).is_ok_and(|token| !token.token_initialized()));
    let slot = free.ok_or_else(|| refuse(Code::TokenNotPresent, "the pool offers no slot for a new token"))?;
    pkcs11.init_token(slot, &pin(SO_PIN), label).doing(Code::FunctionFailed, DOING)?;
    let session = pkcs11.open_rw_session(slot).doing(Code::FunctionFailed, DOING)?;
    session.login(UserType::So, Some(&pin(SO_PIN))).doing(Code::FunctionFailed, DOING)?;
    session.init_pin(&pin(USER_PIN)).doing(Code::FunctionFailed, DOING)?;
    session.logout().doing(Code::FunctionFailed, DOING)?;
    session.login(UserType::User, Some(&pin(USER_PIN))).doing(Code::FunctionFailed, DOING)?;
    pair(&session, SIGNER).doing(Code::FunctionFailed, DOING)?;
    aes(&session, CIPHER, true).doing(Code::FunctionFailed, DOING)?;
    Ok(())
}

/// A key pair on the token.
pub fn pair(session: &Session, label: &str) -> cryptoki::error::Result<()> {
    let name = || Attribute::Label(label.into());
    let public = [name(), Attribute::Token(true), Attribute::Verify(true), Attribute::EcParams(P256.to_vec())];
    let private = [name(), Attribute::Token(true), Attribute::Private(true), Attribute::Sensitive(true), Attribute::Sign(true)];
    session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).map(drop)
}

/// An AES key, of the token or of the session.
pub fn aes(session: &Session, label: &str, token: bool) -> cryptoki::error::Result<cryptoki::object::ObjectHandle> {
    let template = [
        Attribute::Label(label.into()),
        Attribute::Token(token),
        Attribute::ValueLen(32.into()),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
    ];
    session.generate_key(&Mechanism::AesKeyGen, &template)
}

/// The one object of that class and label. Errors: `FunctionFailed`.
pub fn the_one(session: &Session, class: ObjectClass, label: &str) -> Result<cryptoki::object::ObjectHandle> {
    let template = [Attribute::Class(class), Attribute::Token(true), Attribute::Label(label.into())];
    let found = session.find_objects(&template).doing(Code::FunctionFailed, format!("looking for {label}"))?;
    match found[..] {
        [one] => Ok(one),
        _ => Err(refuse(Code::FunctionFailed, format!("{} objects are called {label}", found.len()))),
    }
}

/// Counts the objects that the file names, and looks at registers, which have no bounds.
pub fn check(worker: &mut Worker, session: &Session) -> Result<()> {
    let Some(file) = worker.arguments.expected.clone() else { return Ok(()) };
    let text = std::fs::read_to_string(&file).doing(Code::Configuration, format!("reading {}", file.display()))?;
    for line in text.lines() {
        let mut fields = line.split('\t');
        let (name, least, most) = (fields.next().unwrap_or_default(), fields.next(), fields.next());
        let bound = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok());
        let (Some(least), Some(most)) = (bound(least), bound(most)) else {
            if let Some(handle) = find_register(worker, session, name)? {
                get_register(worker, session, name, handle)?;
            }
            continue;
        };
        let find = || session.find_objects(&[Attribute::Token(true), Attribute::Label(name.into())]);
        worker.recorder.judge((Op::Count, name, 0), find, |found| {
            let count = found.len() as u64;
            let outcome = match count {
                _ if count < least => Outcome::Wrong(format!("lost: {count} of {least} are there")),
                _ if count > most && most == 0 => Outcome::Wrong(format!("{count} are there after their destruction")),
                _ if count > most => Outcome::Wrong(format!("doubled: {count} are there, {most} were made")),
                _ => Outcome::Done,
            };
            (count, outcome)
        })?;
    }
    Ok(())
}
