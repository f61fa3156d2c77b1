//! What a key may be used for: its usage attributes, its type, its class, its own list of mechanisms.

use cryptoki_sys::*;

use super::case;
use crate::case::{Case, Outcome, Stop};
use crate::check;
use crate::context::{Context, Session};
use crate::crypt::{Deed, code, mechanism_name};
use crate::known::{Key, known};
use crate::known_keys::{data_of, key_bytes, rsa_private};
use crate::module::Rv;
use crate::sample_keys::{known_secret, uses};
use crate::template::{Mechanism, Template};

/// The cases about uses.
pub const CASES: &[Case] = &[
    case!(
        "use-encrypt",
        Security,
        "4.10 CKA_ENCRYPT, 5.8.1 C_EncryptInit, CKR_KEY_FUNCTION_NOT_PERMITTED",
        "A key without CKA_ENCRYPT does not encrypt.",
        |context| refused(context, CKA_ENCRYPT)
    ),
    case!(
        "use-decrypt",
        Security,
        "4.10 CKA_DECRYPT, 5.10.1 C_DecryptInit, CKR_KEY_FUNCTION_NOT_PERMITTED",
        "A key without CKA_DECRYPT does not decrypt.",
        |context| refused(context, CKA_DECRYPT)
    ),
    case!(
        "use-sign",
        Security,
        "4.10 CKA_SIGN, 5.13.1 C_SignInit, CKR_KEY_FUNCTION_NOT_PERMITTED",
        "A key without CKA_SIGN does not sign.",
        |context| refused(context, CKA_SIGN)
    ),
    case!(
        "use-verify",
        Must,
        "4.10 CKA_VERIFY, 5.15.1 C_VerifyInit, CKR_KEY_FUNCTION_NOT_PERMITTED",
        "A key without CKA_VERIFY does not verify.",
        |context| refused(context, CKA_VERIFY)
    ),
    case!(
        "use-wrap",
        Security,
        "4.10 CKA_WRAP, 5.18.3 C_WrapKey, CKR_KEY_FUNCTION_NOT_PERMITTED",
        "A key without CKA_WRAP does not wrap.",
        |context| refused(context, CKA_WRAP)
    ),
    case!(
        "use-unwrap",
        Security,
        "4.10 CKA_UNWRAP, 5.18.4 C_UnwrapKey, CKR_KEY_FUNCTION_NOT_PERMITTED",
        "A key without CKA_UNWRAP does not unwrap.",
        |context| refused(context, CKA_UNWRAP)
    ),
    case!(
        "use-derive",
        Security,
        "4.7 CKA_DERIVE, 5.18.5 C_DeriveKey, CKR_KEY_FUNCTION_NOT_PERMITTED",
        "A key without CKA_DERIVE is no base for others.",
        |context| refused(context, CKA_DERIVE)
    ),
    case!(
        "type-inconsistent",
        Must,
        "5.1.6 CKR_KEY_TYPE_INCONSISTENT",
        "A key of another type than the mechanism's is refused by every operation's Init.",
        type_inconsistent
    ),
    case!(
        "class-inconsistent",
        Must,
        "5.8.1, 5.10.1, 5.13.1, 5.15.1: which half of a pair each function takes",
        "A public key neither signs nor decrypts, a private one neither verifies nor encrypts.",
        class_inconsistent
    ),
    case!(
        "no-key",
        Must,
        "5.8.1 C_EncryptInit and its like, CKR_KEY_HANDLE_INVALID",
        "An object that is no key is not used as one.",
        no_key
    ),
    case!(
        "allowed-mechanisms",
        Security,
        "4.7 CKA_ALLOWED_MECHANISMS",
        "A key that lists its mechanisms is used with no other.",
        allowed_mechanisms
    ),
];

const PERMITTED: [CK_ATTRIBUTE_TYPE; 7] = [CKA_ENCRYPT, CKA_DECRYPT, CKA_SIGN, CKA_VERIFY, CKA_WRAP, CKA_UNWRAP, CKA_DERIVE];

/// Tries one use of an AES key.
fn attempt(session: &Session<'_>, key: CK_OBJECT_HANDLE, usage: CK_ATTRIBUTE_TYPE) -> Result<Rv, Stop> {
    let cbc = Mechanism::with(CKM_AES_CBC, &[7; 16]);
    let mechanism = match usage {
        CKA_ENCRYPT | CKA_DECRYPT => cbc,
        CKA_SIGN | CKA_VERIFY => Mechanism::new(CKM_AES_CMAC),
        CKA_WRAP | CKA_UNWRAP => Mechanism::new(CKM_AES_KEY_WRAP),
        _ => Mechanism::string_data(CKM_AES_ECB_ENCRYPT_DATA, &data_of(16)),
    };
    session.need(mechanism.kind())?;
    let helper = session.known_aes(&key_bytes(16), &[CKA_WRAP, CKA_SIGN])?;
    let target = session.known_aes(&key_bytes(32), &[CKA_ENCRYPT])?;
    Ok(match usage {
        CKA_ENCRYPT => session.init(Deed::Encrypt, &mechanism, key),
        CKA_DECRYPT => session.init(Deed::Decrypt, &mechanism, key),
        CKA_SIGN => session.init(Deed::Sign, &mechanism, key),
        CKA_VERIFY => session.verify_init(&mechanism, key),
        CKA_WRAP => code(session.wrap(&mechanism, key, target)),
        CKA_UNWRAP => {
            let wrapped = crate::crypt::must(session.wrap(&mechanism, helper, target), "C_WrapKey")?;
            code(session.unwrap(&mechanism, key, &wrapped, &Template::secret_key(CKK_AES, &[CKA_ENCRYPT])))
        }
        _ => code(session.derive(&mechanism, key, &Template::secret_key(CKK_GENERIC_SECRET, &[]).ulong(CKA_VALUE_LEN, 16))),
    })
}

/// With the attribute the use is permitted, without it is not, whatever else the key may do; and so on RSA keys.
fn refused(context: &Context, usage: CK_ATTRIBUTE_TYPE) -> Outcome {
    let session = context.user_session()?;
    let name = crate::crypt::attribute_name(usage);
    let key = |permitted: bool| {
        let kinds: Vec<CK_ATTRIBUTE_TYPE> = PERMITTED.into_iter().filter(|kind| *kind != usage).collect();
        let template = known_secret(CKK_AES, &key_bytes(16), &kinds).flag(usage, permitted);
        crate::crypt::must(session.create(template), "C_CreateObject of an AES key")
    };
    let rv = attempt(&session, key(false)?, usage)?;
    check!(rv == Rv(CKR_KEY_FUNCTION_NOT_PERMITTED), "the use of an AES key with {name} false answered {rv}");
    let rv = attempt(&session, key(true)?, usage)?;
    check!(rv == Rv::OK, "the use of an AES key with {name} true answered {rv}");
    let session = context.user_session()?;
    match session.need(CKM_RSA_PKCS) {
        Err(Stop::Skip(_)) => return Ok(()),
        other => other?,
    }
    let others = |kinds: &[CK_ATTRIBUTE_TYPE]| kinds.iter().copied().filter(|kind| *kind != usage).collect::<Vec<_>>();
    let deed = match usage {
        CKA_SIGN => Deed::Sign,
        CKA_DECRYPT => Deed::Decrypt,
        _ => return Ok(()),
    };
    let template = rsa_private(&others(&[CKA_SIGN, CKA_DECRYPT, CKA_UNWRAP]))?.flag(usage, false);
    let key = crate::crypt::must(session.create(template), "C_CreateObject of an RSA private key")?;
    let rv = session.init(deed, &Mechanism::new(CKM_RSA_PKCS), key);
    check!(rv == Rv(CKR_KEY_FUNCTION_NOT_PERMITTED), "the use of an RSA private key with {name} false answered {rv}");
    Ok(())
}

fn type_inconsistent(context: &Context) -> Outcome {
    let first = context.user_session()?;
    let pairs = [
        (CKM_AES_CBC, Key::Generic, Deed::Encrypt),
        (CKM_AES_CBC, Key::Rsa, Deed::Encrypt),
        (CKM_AES_GCM, Key::Des3, Deed::Encrypt),
        (CKM_DES3_CBC, Key::Aes, Deed::Encrypt),
        (CKM_RSA_PKCS, Key::Aes, Deed::Encrypt),
        (CKM_RSA_PKCS_OAEP, Key::Aes, Deed::Encrypt),
        (CKM_RSA_PKCS, Key::Ec, Deed::Sign),
        (CKM_SHA256_RSA_PKCS, Key::Ec, Deed::Sign),
        (CKM_SHA256_RSA_PKCS_PSS, Key::Ec, Deed::Sign),
        (CKM_ECDSA, Key::Rsa, Deed::Sign),
        (CKM_ECDSA, Key::Edwards, Deed::Sign),
        (CKM_EDDSA, Key::Ec, Deed::Sign),
        (CKM_SHA256_HMAC, Key::Rsa, Deed::Sign),
        (CKM_AES_CMAC, Key::Des3, Deed::Sign),
        (CKM_AES_CMAC, Key::Generic, Deed::Sign),
    ];
    let (mut tried, mut wrong) = (0, Vec::new());
    for (kind, key, deed) in pairs {
        let Some(row) = known(kind) else { continue };
        if matches!(first.need(kind), Err(Stop::Skip(_))) {
            continue;
        }
        let session = context.user_session()?;
        let keys = match session.keys(key) {
            Err(Stop::Skip(_)) => continue,
            other => other?,
        };
        tried += 1;
        let handle = if deed == Deed::Encrypt { keys.public } else { keys.private };
        let rv = session.init(deed, &session.sample(row, 32, None)?, handle);
        if rv != Rv(CKR_KEY_TYPE_INCONSISTENT) {
            wrong.push(format!("{deed:?} by {} with a key {key:?}: {rv}", mechanism_name(kind)));
        }
    }
    if tried == 0 {
        return Err(Stop::Skip("the token has none of these mechanisms".into()));
    }
    check!(wrong.is_empty(), "{} of {tried} did not answer CKR_KEY_TYPE_INCONSISTENT: {}", wrong.len(), wrong.join(", "));
    Ok(())
}

fn class_inconsistent(context: &Context) -> Outcome {
    const CODES: [CK_RV; 3] = [CKR_KEY_TYPE_INCONSISTENT, CKR_KEY_FUNCTION_NOT_PERMITTED, CKR_KEY_HANDLE_INVALID];
    context.user_session()?.need(CKM_RSA_PKCS)?;
    let mechanism = Mechanism::new(CKM_RSA_PKCS);
    let trial = |what: &str, tries: &dyn Fn(&Session<'_>) -> Result<Rv, Stop>| {
        let rv = tries(&context.user_session()?)?;
        check!(CODES.contains(&rv.0), "{what} answered {rv}");
        Ok(())
    };
    trial("C_SignInit with a public key", &|session| Ok(session.init(Deed::Sign, &mechanism, session.known_rsa()?.public)))?;
    trial("C_DecryptInit with a public key", &|session| {
        Ok(session.init(Deed::Decrypt, &mechanism, session.known_rsa()?.public))
    })?;
    trial("C_VerifyInit with a private key", &|session| Ok(session.verify_init(&mechanism, session.known_rsa()?.private)))?;
    trial("C_EncryptInit with a private key", &|session| {
        Ok(session.init(Deed::Encrypt, &mechanism, session.known_rsa()?.private))
    })
}

fn no_key(context: &Context) -> Outcome {
    const CODES: [CK_RV; 3] = [CKR_KEY_HANDLE_INVALID, CKR_OBJECT_HANDLE_INVALID, CKR_KEY_TYPE_INCONSISTENT];
    context.user_session()?.need(CKM_AES_CBC)?;
    let data = uses(&[]).ulong(CKA_CLASS, CKO_DATA).bytes(CKA_VALUE, key_bytes(16));
    for deed in [Deed::Encrypt, Deed::Decrypt] {
        let session = context.user_session()?;
        let object = crate::crypt::must(session.create(data.clone()), "C_CreateObject of a data object")?;
        let rv = session.init(deed, &Mechanism::with(CKM_AES_CBC, &[7; 16]), object);
        check!(CODES.contains(&rv.0) || rv == Rv(CKR_KEY_FUNCTION_NOT_PERMITTED), "{deed:?} with a data object answered {rv}");
    }
    Ok(())
}

fn allowed_mechanisms(context: &Context) -> Outcome {
    let first = context.user_session()?;
    first.need(CKM_AES_CBC)?;
    first.need(CKM_AES_ECB)?;
    let list: CK_MECHANISM_TYPE = CKM_AES_ECB;
    let template = known_secret(CKK_AES, &key_bytes(16), &[CKA_ENCRYPT]).bytes(CKA_ALLOWED_MECHANISMS, list.to_ne_bytes());
    let key = match first.create(template) {
        Err(Rv(CKR_ATTRIBUTE_TYPE_INVALID)) => return Err(Stop::Skip("the token has no CKA_ALLOWED_MECHANISMS".into())),
        made => crate::crypt::must(made, "C_CreateObject with CKA_ALLOWED_MECHANISMS")?,
    };
    let rv = context.user_session()?.init(Deed::Encrypt, &Mechanism::with(CKM_AES_CBC, &[7; 16]), key);
    let codes = [CKR_MECHANISM_INVALID, CKR_KEY_FUNCTION_NOT_PERMITTED];
    check!(codes.contains(&rv.0), "C_EncryptInit by CKM_AES_CBC with a key that allows CKM_AES_ECB alone answered {rv}");
    let rv = context.user_session()?.init(Deed::Encrypt, &Mechanism::new(CKM_AES_ECB), key);
    check!(rv == Rv::OK, "C_EncryptInit by CKM_AES_ECB with a key that allows it answered {rv}");
    Ok(())
}
