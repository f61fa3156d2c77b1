//! Messages: many of them under one Init, each with a parameter of its own.

mod cipher;
mod generator;
mod sign;
mod states;

use cryptoki_sys::*;

use crate::case::{Case, Stop};
use crate::context::Session;
use crate::crypt::must;
use crate::module::Rv;
use crate::newer_calls::{MessageParameter, Way};
use crate::sample_keys::known_secret;
use crate::template::Mechanism;

/// The chapter's cases.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    [cipher::CASES, generator::CASES, states::CASES, sign::CASES].into_iter().flatten()
}

/// One row of a part of the chapter.
macro_rules! case {
    ($name:literal, $level:ident, $section:literal, $says:literal, $run:expr) => {
        crate::case::Case {
            id: concat!("message/", $name),
            level: crate::case::Level::$level,
            section: concat!("3.1, ", $section),
            says: $says,
            run: $run,
        }
    };
}
use case;

/// A cipher that the standard has for messages.
#[derive(Clone, Copy, Debug)]
struct Cipher {
    kind: CK_MECHANISM_TYPE,
    key_type: CK_KEY_TYPE,
    /// Bytes of the vector or nonce.
    iv: usize,
    /// See [`MessageParameter::unit`].
    unit: CK_ULONG,
}

impl Cipher {
    /// The parameter of a message with a given vector.
    fn given(self, iv: &[u8], data_len: usize) -> MessageParameter {
        MessageParameter { unit: self.unit, ..MessageParameter::given(self.kind, iv, data_len) }
    }
}

const GCM: Cipher = Cipher { kind: CKM_AES_GCM, key_type: CKK_AES, iv: 12, unit: 8 };
const CCM: Cipher = Cipher { kind: CKM_AES_CCM, key_type: CKK_AES, iv: 12, unit: 8 };
const CHACHA: Cipher = Cipher { kind: CKM_CHACHA20_POLY1305, key_type: CKK_CHACHA20, iv: 12, unit: 8 };

/// Whether the token claims a use of the mechanism for messages; a skip where it does not.
fn need(session: &Session<'_>, kind: CK_MECHANISM_TYPE, flag: CK_FLAGS, name: &str) -> Result<(), Stop> {
    let info = session.mechanism_info(kind)?;
    let claims = info.flags & flag != 0;
    let mechanism = crate::crypt::mechanism_name(kind);
    if claims { Ok(()) } else { Err(Stop::Skip(format!("{mechanism} does not claim {name}"))) }
}

/// Skips unless messages are encrypted and decrypted by the cipher; gives a key for both.
fn key_for(session: &Session<'_>, cipher: Cipher) -> Result<CK_OBJECT_HANDLE, Stop> {
    need(session, cipher.kind, CKF_MESSAGE_ENCRYPT, "CKF_MESSAGE_ENCRYPT")?;
    need(session, cipher.kind, CKF_MESSAGE_DECRYPT, "CKF_MESSAGE_DECRYPT")?;
    let template = known_secret(cipher.key_type, &crate::known_keys::key_bytes(32), &[CKA_ENCRYPT, CKA_DECRYPT]);
    must(session.create(template), "C_CreateObject of a key for messages")
}

/// The cipher as the token takes its nonce's length: in bytes where it refuses bits (`mechanism/chacha-nonce-bits` tells).
fn as_taken(session: &Session<'_>, cipher: Cipher, key: CK_OBJECT_HANDLE) -> Cipher {
    if cipher.kind == CKM_CHACHA20_POLY1305 { Cipher { unit: session.chacha_unit(key), ..cipher } } else { cipher }
}

/// The Init function, which must succeed.
fn begin(session: &Session<'_>, way: Way, cipher: Cipher, key: CK_OBJECT_HANDLE) -> Result<(), Stop> {
    match session.message_init(way, &Mechanism::new(cipher.kind), key) {
        Rv::OK => Ok(()),
        rv => Err(Stop::Fail(format!("C_Message{way:?}Init answered {rv}"))),
    }
}

/// Init once more after an error, whether or not that ended what was running (`message/error-keeps-process` tells).
fn anew(session: &Session<'_>, way: Way, cipher: Cipher, key: CK_OBJECT_HANDLE) -> Result<(), Stop> {
    let _ = session.message_final(way);
    begin(session, way, cipher, key)
}

/// The Final function, which must succeed.
fn finish(session: &Session<'_>, way: Way) -> Result<(), Stop> {
    match session.message_final(way) {
        Rv::OK => Ok(()),
        rv => Err(Stop::Fail(format!("C_Message{way:?}Final answered {rv}"))),
    }
}

/// A message as it travels: what the receiver needs.
struct Sealed {
    parameter: MessageParameter,
    data: Vec<u8>,
}

/// `C_EncryptMessage` with a given vector.
fn seal(session: &Session<'_>, cipher: Cipher, number: u8, aad: &[u8], data: &[u8]) -> Result<Sealed, Stop> {
    let mut parameter = cipher.given(&vec![number; cipher.iv], data.len());
    let sealed = must(session.message(Way::Encrypt, &mut parameter, aad, data), "C_EncryptMessage")?;
    Ok(Sealed { parameter, data: sealed })
}
