//! Each mechanism works in every way that its flags claim.

use cryptoki_sys::*;

use super::claims;
use crate::case::{Case, Level, Outcome, Stop};
use crate::check;
use crate::context::{Context, Session};
use crate::crypt::{Deed, mechanism_name, must};
use crate::known::{Input, Key, Known, Parameter, known, known_mechanisms};
use crate::known_keys::data_of;
use crate::module::Rv;
use crate::sample_keys::{P256, Pair, known_secret, uses};
use crate::template::{Mechanism, Template};

macro_rules! works_cases {
    (
        stream { $($stream:ident: $stream_key:ident, $stream_parameter:expr, $stream_input:expr, $stream_section:literal;)* }
        whole { $($whole:ident: $whole_key:ident, $whole_parameter:expr, $whole_input:expr, $whole_section:literal;)* }
    ) => {
        &[
            $(case!($stream, $stream_section),)*
            $(case!($whole, $whole_section),)*
        ]
    };
}
macro_rules! case {
    ($name:ident, $section:literal) => {
        Case {
            id: concat!("mechanism/", stringify!($name)),
            level: Level::Must,
            section: concat!($section, "; 5.5.6 C_GetMechanismInfo"),
            says: concat!(
                "Whatever the flags of ",
                stringify!($name),
                " claim can be done with it: what was encrypted decrypts, what was signed verifies and does not after a change, what \
                 was wrapped unwraps to the same key, what is derived twice is the same."
            ),
            run: works::<{ $name as CK_MECHANISM_TYPE }>,
        }
    };
}

/// One case a mechanism.
pub const CASES: &[Case] = known_mechanisms!(works_cases);

type Tries = fn(&Session<'_>, &Known, &CK_MECHANISM_INFO) -> Outcome;

/// What the flags may claim, and the function that tries it.
const USES: &[(u64, Tries)] = &[
    (CKF_DIGEST, digests),
    (CKF_ENCRYPT, encrypts),
    (CKF_DECRYPT, decrypts),
    (CKF_SIGN, signs),
    (CKF_VERIFY, verifies),
    (CKF_SIGN_RECOVER, recovers),
    (CKF_WRAP, wraps),
    (CKF_UNWRAP, unwraps),
    (CKF_DERIVE, derives),
    (CKF_GENERATE, generates),
    (CKF_GENERATE_KEY_PAIR, generates_pair),
    (CKF_ENCAPSULATE, encapsulates),
    (CKF_DECAPSULATE, encapsulates),
];

fn works<const KIND: CK_MECHANISM_TYPE>(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let info = session.mechanism_info(KIND)?;
    let row = known(KIND).ok_or_else(|| Stop::Skip("the suite does not know the mechanism".into()))?;
    let claimed: Vec<_> = USES.iter().filter(|(flag, _)| claims(&info, *flag)).collect();
    check!(!claimed.is_empty(), "{} is listed and claims no use", mechanism_name(KIND));
    claimed.into_iter().try_for_each(|(_, tries)| tries(&session, row, &info))
}

fn digests(session: &Session<'_>, row: &Known, _: &CK_MECHANISM_INFO) -> Outcome {
    let (mechanism, name) = (Mechanism::new(row.kind), mechanism_name(row.kind));
    let digest = must(session.whole(Deed::Digest, &mechanism, 0, b"abc"), "C_Digest")?;
    let again = must(session.whole(Deed::Digest, &mechanism, 0, b"abc"), "C_Digest")?;
    let other = must(session.whole(Deed::Digest, &mechanism, 0, b"abd"), "C_Digest")?;
    check!(digest == again, "{name} of the same data differs");
    check!(digest != other, "{name} of different data is the same");
    Ok(())
}

/// The ciphertext of the row's data.
fn sealed(session: &Session<'_>, row: &Known, keys: Pair) -> Result<(Mechanism, Vec<u8>, Vec<u8>), Stop> {
    let data = row.data();
    let mechanism = session.sample(row, data.len(), None)?;
    let sealed = must(session.whole(Deed::Encrypt, &mechanism, keys.public, &data), "C_Encrypt")?;
    Ok((mechanism, data, sealed))
}

fn encrypts(session: &Session<'_>, row: &Known, _: &CK_MECHANISM_INFO) -> Outcome {
    let (_, data, sealed) = sealed(session, row, session.keys(row.key)?)?;
    check!(sealed != data, "C_Encrypt left the data as they were");
    check!(sealed.len() >= data.len(), "C_Encrypt made {} bytes of {}", sealed.len(), data.len());
    Ok(())
}

fn decrypts(session: &Session<'_>, row: &Known, info: &CK_MECHANISM_INFO) -> Outcome {
    if !claims(info, CKF_ENCRYPT) {
        return Err(Stop::Skip("it decrypts and does not encrypt: the suite has no ciphertext for it".into()));
    }
    let keys = session.keys(row.key)?;
    let (mechanism, data, sealed) = sealed(session, row, keys)?;
    let opened = must(session.whole(Deed::Decrypt, &mechanism, keys.private, &sealed), "C_Decrypt")?;
    check!(opened == data, "C_Decrypt gave {} bytes that are not what was encrypted", opened.len());
    Ok(())
}

/// Keys, mechanism, data and their signature.
fn signed(session: &Session<'_>, row: &Known) -> Result<(Pair, Mechanism, Vec<u8>, Vec<u8>), Stop> {
    let (keys, data) = (session.keys(row.key)?, row.data());
    let mechanism = session.sample(row, data.len(), None)?;
    let signature = must(session.whole(Deed::Sign, &mechanism, keys.private, &data), "C_Sign")?;
    Ok((keys, mechanism, data, signature))
}

fn signs(session: &Session<'_>, row: &Known, _: &CK_MECHANISM_INFO) -> Outcome {
    let (.., signature) = signed(session, row)?;
    check!(!signature.is_empty(), "C_Sign made an empty signature");
    if let Parameter::Length(len) = row.parameter {
        check!(signature.len() as CK_ULONG == len, "C_Sign made {} bytes where {len} were asked for", signature.len());
    }
    Ok(())
}

fn verifies(session: &Session<'_>, row: &Known, info: &CK_MECHANISM_INFO) -> Outcome {
    if !claims(info, CKF_SIGN) {
        return Err(Stop::Skip("it verifies and does not sign: the suite has no signature for it".into()));
    }
    let (keys, mechanism, mut data, mut signature) = signed(session, row)?;
    let rv = session.verify(&mechanism, keys.public, &data, &signature);
    check!(rv == Rv::OK, "C_Verify of the module's own signature answered {rv}");
    let refused = |rv: Rv| [Rv(CKR_SIGNATURE_INVALID), Rv(CKR_SIGNATURE_LEN_RANGE)].contains(&rv);
    if let Some(byte) = data.last_mut() {
        *byte ^= 1;
    }
    let rv = session.verify(&mechanism, keys.public, &data, &signature);
    check!(refused(rv), "C_Verify of other data answered {rv}");
    if let (Some(byte), Some(first)) = (signature.last_mut(), data.last_mut()) {
        (*byte, *first) = (*byte ^ 1, *first ^ 1);
    }
    let rv = session.verify(&mechanism, keys.public, &data, &signature);
    check!(refused(rv), "C_Verify of another signature answered {rv}");
    Ok(())
}

fn recovers(session: &Session<'_>, row: &Known, _: &CK_MECHANISM_INFO) -> Outcome {
    let (keys, data) = (session.keys(row.key)?, row.data());
    let mechanism = session.sample(row, data.len(), None)?;
    let signature = must(session.sign_recover(&mechanism, keys.private, &data), "C_SignRecover")?;
    let recovered = must(session.verify_recover(&mechanism, keys.public, &signature), "C_VerifyRecover")?;
    check!(recovered == data, "C_VerifyRecover gave other data than were signed");
    Ok(())
}

/// A key that a mechanism can carry: a private key where it is for those, an AES key otherwise.
struct Carried {
    key: CK_OBJECT_HANDLE,
    /// The public key of a private one.
    public: Option<CK_OBJECT_HANDLE>,
    /// What unwraps it, so that its value can be read.
    template: Template,
}

fn carried(session: &Session<'_>, row: &Known) -> Result<Carried, Stop> {
    let readable = |template: Template| template.flag(CKA_SENSITIVE, false).flag(CKA_EXTRACTABLE, true);
    if row.parameter == Parameter::WrapOaep {
        session.need(CKM_EC_KEY_PAIR_GEN)?;
        let (public, private) = (uses(&[CKA_VERIFY]).bytes(CKA_EC_PARAMS, P256.oid), readable(uses(&[CKA_SIGN])));
        let made = session.generate_pair(&Mechanism::new(CKM_EC_KEY_PAIR_GEN), &public, &private);
        let template = readable(uses(&[CKA_SIGN])).ulong(CKA_CLASS, CKO_PRIVATE_KEY).ulong(CKA_KEY_TYPE, CKK_EC);
        let (public, key) = must(made, "C_GenerateKeyPair of a P-256 key pair")?;
        return Ok(Carried { key, public: Some(public), template });
    }
    let value = data_of(32);
    let made = session.create(known_secret(CKK_AES, &value, &[CKA_ENCRYPT]));
    let template = readable(Template::secret_key(CKK_AES, &[CKA_ENCRYPT]));
    // What comes out of a raw RSA block has no length of its own.
    let template = if row.input == Input::Exactly(256) { template.ulong(CKA_VALUE_LEN, 32) } else { template };
    Ok(Carried { key: must(made, "C_CreateObject of an AES key")?, public: None, template })
}

fn wraps(session: &Session<'_>, row: &Known, _: &CK_MECHANISM_INFO) -> Outcome {
    let keys = session.keys(row.key)?;
    let key = carried(session, row)?.key;
    let wrapped = must(session.wrap(&session.sample(row, 32, None)?, keys.public, key), "C_WrapKey")?;
    let value = must(session.attribute(key, CKA_VALUE), "reading CKA_VALUE")?;
    check!(!wrapped.windows(value.len()).any(|window| window == value), "the wrapped key holds the key's plain value");
    Ok(())
}

fn unwraps(session: &Session<'_>, row: &Known, info: &CK_MECHANISM_INFO) -> Outcome {
    if !claims(info, CKF_WRAP) {
        return Err(Stop::Skip("it unwraps and does not wrap: the suite has no wrapped key for it".into()));
    }
    let (keys, mechanism) = (session.keys(row.key)?, session.sample(row, 32, None)?);
    let carried = carried(session, row)?;
    let wrapped = must(session.wrap(&mechanism, keys.public, carried.key), "C_WrapKey")?;
    let unwrap = |template: &Template| session.unwrap(&mechanism, keys.private, &wrapped, template);
    match unwrap(&carried.template) {
        // A token may want unwrapped keys to be sensitive (5.18.4: the values of attributes that the template may give are its own matter).
        Err(Rv(CKR_TEMPLATE_INCONSISTENT | CKR_ATTRIBUTE_VALUE_INVALID)) => {
            let template = carried.template.clone().without(CKA_SENSITIVE).without(CKA_EXTRACTABLE);
            same_in_use(session, &carried, must(unwrap(&template), "C_UnwrapKey")?)
        }
        back => {
            let (value, again) =
                (session.attribute(carried.key, CKA_VALUE), session.attribute(must(back, "C_UnwrapKey")?, CKA_VALUE));
            check!(must(value, "reading CKA_VALUE")? == must(again, "reading CKA_VALUE")?, "the unwrapped key has another value");
            Ok(())
        }
    }
}

/// Whether an unwrapped key whose value cannot be read is the one that was wrapped.
fn same_in_use(session: &Session<'_>, carried: &Carried, back: CK_OBJECT_HANDLE) -> Outcome {
    let data = data_of(32);
    let Some(public) = carried.public else {
        session.need(CKM_AES_ECB)?;
        let sealed = |key| must(session.whole(Deed::Encrypt, &Mechanism::new(CKM_AES_ECB), key, &data), "CKM_AES_ECB by the key");
        check!(sealed(carried.key)? == sealed(back)?, "the unwrapped key encrypts otherwise");
        return Ok(());
    };
    session.need(CKM_ECDSA)?;
    let signature = must(session.whole(Deed::Sign, &Mechanism::new(CKM_ECDSA), back, &data), "C_Sign by the unwrapped key")?;
    let verified = session.verify(&Mechanism::new(CKM_ECDSA), public, &data, &signature);
    check!(verified == Rv::OK, "what the unwrapped key signed does not verify: {verified}");
    Ok(())
}

/// A readable generic secret of 16 bytes, as the result of a derivation.
fn derived() -> Template {
    Template::secret_key(CKK_GENERIC_SECRET, &[]).flag(CKA_SENSITIVE, false).flag(CKA_EXTRACTABLE, true).ulong(CKA_VALUE_LEN, 16)
}

fn derives(session: &Session<'_>, row: &Known, _: &CK_MECHANISM_INFO) -> Outcome {
    let (keys, others) = (session.keys(row.key)?, session.keys(row.key)?);
    let value = |mechanism: &Mechanism, key| {
        let made = must(session.derive(mechanism, key, &derived()), "C_DeriveKey")?;
        must(session.attribute(made, CKA_VALUE), "reading CKA_VALUE of the derived key")
    };
    let mechanism = session.sample(row, 16, Some(others.public))?;
    let (first, second) = (value(&mechanism, keys.private)?, value(&mechanism, keys.private)?);
    check!(first.len() == 16, "a key of {} bytes was derived where 16 were asked for", first.len());
    check!(first == second, "the same derivation gave two values");
    if row.parameter == Parameter::Peer {
        let theirs = value(&session.sample(row, 16, Some(keys.public))?, others.private)?;
        check!(first == theirs, "the two sides do not agree on the secret");
    }
    Ok(())
}

fn generates(session: &Session<'_>, row: &Known, _: &CK_MECHANISM_INFO) -> Outcome {
    let template = uses(&[]).flag(CKA_SENSITIVE, false).flag(CKA_EXTRACTABLE, true);
    let (len, sized) = match row.key {
        Key::Aes | Key::Generic | Key::ChaCha => (32, template.ulong(CKA_VALUE_LEN, 32)),
        key => (key.secret_len().unwrap_or_default(), template),
    };
    let make = || {
        let key = must(session.generate(Mechanism::new(row.kind), sized.clone()), "C_GenerateKey")?;
        must(session.attribute(key, CKA_VALUE), "reading CKA_VALUE")
    };
    let (first, second) = (make()?, make()?);
    check!(first.len() == len, "C_GenerateKey made a key of {} bytes, not {len}", first.len());
    check!(first != second, "C_GenerateKey made the same key twice");
    Ok(())
}

fn generates_pair(session: &Session<'_>, row: &Known, _: &CK_MECHANISM_INFO) -> Outcome {
    let (public, private) = session.pair_templates(row.key)?;
    let made = session.generate_pair(&Mechanism::new(row.kind), &public, &private);
    let (public, private) = must(made, "C_GenerateKeyPair")?;
    let wanted = row.key.key_type().unwrap_or_default();
    for (key, class) in [(public, CKO_PUBLIC_KEY), (private, CKO_PRIVATE_KEY)] {
        let (told, key_type) = (session.number(key, CKA_CLASS)?, session.number(key, CKA_KEY_TYPE)?);
        check!(told == class && key_type == wanted, "the pair's key of class {class} has class {told}, key type {key_type:#x}");
    }
    Ok(())
}

/// Both sides at once: neither can be shown to work without the other. The chapter `kem` has the rules.
fn encapsulates(session: &Session<'_>, row: &Known, info: &CK_MECHANISM_INFO) -> Outcome {
    if !claims(info, CKF_ENCAPSULATE) || !claims(info, CKF_DECAPSULATE) {
        return Err(Stop::Skip("it does one half of an encapsulation: the suite has no other side for it".into()));
    }
    let (keys, template) = (session.keys(row.key)?, derived().without(CKA_VALUE_LEN));
    let mechanism = session.sample(row, 32, None)?;
    let (ciphertext, ours) = must(session.encapsulate(&mechanism, keys.public, &template), "C_EncapsulateKey")?;
    let theirs = must(session.decapsulate(&mechanism, keys.private, &template, &ciphertext), "C_DecapsulateKey")?;
    let value = |key| must(session.attribute(key, CKA_VALUE), "reading CKA_VALUE of a shared secret");
    check!(value(ours)? == value(theirs)?, "the two sides do not agree on the secret");
    Ok(())
}
