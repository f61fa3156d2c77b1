//! Attacks on keys through keys: wrap and decrypt, encrypt and unwrap, and keys that come back as something else.
//!
//! The standard lets an application ask for the dangerous combinations; where a module grants what was asked for, the attack is
//! a deviation with its description. Where the module adds the dangerous half by itself, it is a fail.

use cryptoki_sys::*;

use crate::case::{Case, Level, Outcome, Stop};
use crate::check;
use crate::context::{Context, Session};
use crate::crypt::{Deed, attribute_name, must};
use crate::module::Rv;
use crate::sample_keys::P256;
use crate::template::{Mechanism, Template};

/// The chapter's cases.
pub const CASES: &[Case] = &[
    Case {
        id: "security/wrap-decrypt",
        level: Level::Security,
        section: "3.1, 4.10 CKA_WRAP, CKA_DECRYPT; Clulow 2003",
        says: "A key that may both wrap and decrypt lets its user wrap a sensitive key and decrypt the blob. The standard does not \
               forbid the pair; careful modules refuse it, or refuse to wrap with such a key.",
        run: wrap_decrypt,
    },
    Case {
        id: "security/wrap-decrypt-by-default",
        level: Level::Security,
        section: "3.1, 4.10 CKA_WRAP, CKA_DECRYPT; Clulow 2003",
        says: "A key made for wrapping alone must not get CKA_DECRYPT as a default: the application that asked for nothing dangerous \
               would lose every key that it wraps.",
        run: wrap_decrypt_by_default,
    },
    Case {
        id: "security/unwrap-encrypt",
        level: Level::Security,
        section: "3.1, 4.10 CKA_UNWRAP, CKA_ENCRYPT; Delaune, Kremer, Steel 2008",
        says: "A key that may both encrypt and unwrap lets its user bring a key of known value into the token as if it had been wrapped, \
               and wrap sensitive keys under it.",
        run: unwrap_encrypt,
    },
    Case {
        id: "security/unwrap-encrypt-by-default",
        level: Level::Security,
        section: "3.1, 4.10 CKA_UNWRAP, CKA_ENCRYPT; Delaune, Kremer, Steel 2008",
        says: "A key made for unwrapping alone must not get CKA_ENCRYPT as a default.",
        run: unwrap_encrypt_by_default,
    },
    Case {
        id: "security/unwrap-twice",
        level: Level::Security,
        section: "3.1, 5.18.4 C_UnwrapKey; Delaune, Kremer, Steel 2008",
        says: "One blob unwrapped twice, once for wrapping and once for decrypting, gives the pair that one key was refused. The standard \
               offers CKA_UNWRAP_TEMPLATE against it; without one the attack works on most modules.",
        run: unwrap_twice,
    },
    Case {
        id: "security/unwrap-readable",
        level: Level::Security,
        section: "3.1, 5.18.4 C_UnwrapKey; Bortolozzo and others 2010",
        says: "A sensitive key that is wrapped and unwrapped with CKA_SENSITIVE false is readable. The standard leaves it to \
               CKA_UNWRAP_TEMPLATE and CKA_WRAP_WITH_TRUSTED to stop that.",
        run: unwrap_readable,
    },
    Case {
        id: "security/unwrapped-history",
        level: Level::Must,
        section: "3.1, 5.18.4 C_UnwrapKey",
        says: "An unwrapped key has been outside: CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE and CKA_LOCAL are false, whatever it was.",
        run: unwrapped_history,
    },
    Case {
        id: "security/unwrap-wrong-private-type",
        level: Level::Security,
        section: "3.1, 5.18.4 C_UnwrapKey, 6.7 wrapping of private keys",
        says: "A wrapped private key is PrivateKeyInfo and names its algorithm: it does not unwrap as another type of key.",
        run: unwrap_wrong_private_type,
    },
    Case {
        id: "security/unwrap-secret-as-private",
        level: Level::Security,
        section: "3.1, 5.18.4 C_UnwrapKey",
        says: "The value of a secret key is no PrivateKeyInfo: it does not unwrap as a private key.",
        run: unwrap_secret_as_private,
    },
    Case {
        id: "security/unwrap-wrong-length",
        level: Level::Security,
        section: "3.1, 5.18.4 C_UnwrapKey, 6.10 AES",
        says: "A blob of 20 bytes is no AES key and must not become one.",
        run: unwrap_wrong_length,
    },
    Case {
        id: "security/wrap-by-ecb",
        level: Level::Security,
        section: "3.1, 6.10 CKM_AES_ECB",
        says: "Wrapping in ECB shows equal blocks and lets blocks of different keys be joined. The standard allows CKF_WRAP for it.",
        run: wrap_by_ecb,
    },
    Case {
        id: "security/wrap-under-weaker",
        level: Level::Security,
        section: "3.1, 5.18.3 C_WrapKey; Clulow 2003",
        says: "A key wrapped under a weaker one is as safe as that one: an AES-256 key under single DES, or under RSA of 1024 bits. The standard \
               does not forbid it, so it is a deviation to know of.",
        run: wrap_under_weaker,
    },
    Case {
        id: "security/derive-keeps-sensitive",
        level: Level::Security,
        section: "3.1, 6.43 miscellaneous simple key derivation mechanisms",
        says: "A key derived from a sensitive one by concatenation, XOR or extraction is sensitive: else its bytes give the base key away.",
        run: derive_keeps_sensitive,
    },
];

/// The sensitive, extractable key that the attacks are after.
fn target(session: &Session<'_>) -> Result<CK_OBJECT_HANDLE, Stop> {
    session.need(CKM_AES_KEY_GEN)?;
    let template = Template::secret_key(CKK_AES, &[CKA_SENSITIVE, CKA_EXTRACTABLE]).ulong(CKA_VALUE_LEN, 16);
    must(session.generate(Mechanism::new(CKM_AES_KEY_GEN), template), "C_GenerateKey of a sensitive, extractable key")
}

/// A mechanism that wraps as well as it encrypts.
fn both(session: &Session<'_>) -> Result<Mechanism, Stop> {
    let candidates =
        [Mechanism::with(CKM_AES_CBC_PAD, &[3; 16]), Mechanism::with(CKM_AES_CBC, &[3; 16]), Mechanism::new(CKM_AES_ECB)];
    candidates
        .into_iter()
        .find(|mechanism| has(session, mechanism.kind(), CKF_WRAP | CKF_UNWRAP | CKF_DECRYPT | CKF_ENCRYPT))
        .ok_or_else(|| Stop::Skip("no mechanism of AES both wraps and encrypts".into()))
}

fn has(session: &Session<'_>, kind: CK_MECHANISM_TYPE, flags: CK_FLAGS) -> bool {
    let mut info = CK_MECHANISM_INFO::default();
    let slot = session.context.slot().unwrap_or_default();
    crate::ck!(session.context.module, C_GetMechanismInfo, slot, kind, &mut info) == Rv::OK && info.flags & flags == flags
}

/// A mechanism that wraps secret keys.
fn wrapper(session: &Session<'_>) -> Result<Mechanism, Stop> {
    let candidates =
        [Mechanism::new(CKM_AES_KEY_WRAP_KWP), Mechanism::new(CKM_AES_KEY_WRAP_PAD), Mechanism::with(CKM_AES_CBC_PAD, &[3; 16])];
    candidates
        .into_iter()
        .find(|mechanism| has(session, mechanism.kind(), CKF_WRAP | CKF_UNWRAP))
        .ok_or_else(|| Stop::Skip("no mechanism of AES wraps keys of any length".into()))
}

fn granted(what: &str) -> Outcome {
    Err(Stop::Deviation(format!("{what}: the standard leaves this to policy, and this module has none")))
}

fn aes(session: &Session<'_>, uses: &[CK_ATTRIBUTE_TYPE], not: &[CK_ATTRIBUTE_TYPE]) -> Result<CK_OBJECT_HANDLE, Rv> {
    let template = Template::secret_key(CKK_AES, uses).ulong(CKA_VALUE_LEN, 32);
    let template = not.iter().fold(template, |template, kind| template.flag(*kind, false));
    session.generate(Mechanism::new(CKM_AES_KEY_GEN), template)
}

fn wrap_decrypt(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let (secret, mechanism) = (target(&session)?, both(&session)?);
    let Ok(key) = aes(&session, &[CKA_WRAP, CKA_DECRYPT], &[]) else { return Ok(()) };
    let Ok(blob) = session.wrap(&mechanism, key, secret) else { return Ok(()) };
    match session.whole(Deed::Decrypt, &mechanism, key, &blob) {
        Ok(plain) if plain.len() >= 16 => granted("a sensitive key was wrapped and its value decrypted with the same key"),
        _ => Ok(()),
    }
}

fn by_default(context: &Context, asked: CK_ATTRIBUTE_TYPE, added: CK_ATTRIBUTE_TYPE, deed: Deed) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_AES_KEY_GEN)?;
    session.need(CKM_AES_CBC)?;
    let key = must(aes(&session, &[asked], &[]), "C_GenerateKey")?;
    check!(!session.flag(key, added)?, "a key generated with {} alone has {}", attribute_name(asked), attribute_name(added));
    let rv = session.init(deed, &Mechanism::with(CKM_AES_CBC, &[3; 16]), key);
    check!(rv != Rv::OK, "a key with {} alone starts {deed:?}", attribute_name(asked));
    Ok(())
}

fn wrap_decrypt_by_default(context: &Context) -> Outcome {
    by_default(context, CKA_WRAP, CKA_DECRYPT, Deed::Decrypt)
}

fn unwrap_encrypt_by_default(context: &Context) -> Outcome {
    by_default(context, CKA_UNWRAP, CKA_ENCRYPT, Deed::Encrypt)
}

fn unwrap_encrypt(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let (secret, mechanism) = (target(&session)?, both(&session)?);
    let Ok(key) = aes(&session, &[CKA_UNWRAP, CKA_ENCRYPT], &[]) else { return Ok(()) };
    let known = [0x42; 16];
    let Ok(blob) = session.whole(Deed::Encrypt, &mechanism, key, &known) else { return Ok(()) };
    let Ok(planted) = session.unwrap(&mechanism, key, &blob, &Template::secret_key(CKK_AES, &[CKA_WRAP])) else { return Ok(()) };
    match session.wrap(&mechanism, planted, secret) {
        Ok(_) => granted("a key of known value was planted by encrypt and unwrap, and a sensitive key was wrapped under it"),
        Err(_) => Ok(()),
    }
}

fn unwrap_twice(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let (secret, mechanism) = (target(&session)?, both(&session)?);
    let outer = must(aes(&session, &[CKA_WRAP, CKA_UNWRAP], &[CKA_DECRYPT, CKA_ENCRYPT]), "C_GenerateKey for wrapping")?;
    let blob = must(session.wrap(&mechanism, outer, secret), "C_WrapKey")?;
    let unwrapped = |uses: CK_ATTRIBUTE_TYPE, not: CK_ATTRIBUTE_TYPE| {
        let template = Template::secret_key(CKK_AES, &[uses, CKA_SENSITIVE]).flag(not, false);
        session.unwrap(&mechanism, outer, &blob, &template)
    };
    let (Ok(wraps), Ok(decrypts)) = (unwrapped(CKA_WRAP, CKA_DECRYPT), unwrapped(CKA_DECRYPT, CKA_WRAP)) else { return Ok(()) };
    let Ok(taken) = session.wrap(&mechanism, wraps, secret) else { return Ok(()) };
    match session.whole(Deed::Decrypt, &mechanism, decrypts, &taken) {
        Ok(_) => granted(
            "one blob unwrapped twice gave a wrapping and a decrypting key of the same value, and a sensitive key's value",
        ),
        Err(_) => Ok(()),
    }
}

/// A sensitive key wrapped under a key that also unwraps.
fn wrapped(session: &Session<'_>) -> Result<(CK_OBJECT_HANDLE, Mechanism, Vec<u8>), Stop> {
    let (secret, mechanism) = (target(session)?, wrapper(session)?);
    let outer = must(aes(session, &[CKA_WRAP, CKA_UNWRAP], &[CKA_DECRYPT, CKA_ENCRYPT]), "C_GenerateKey for wrapping")?;
    let blob = must(session.wrap(&mechanism, outer, secret), "C_WrapKey")?;
    Ok((outer, mechanism, blob))
}

fn unwrap_readable(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let (outer, mechanism, blob) = wrapped(&session)?;
    let open = Template::secret_key(CKK_AES, &[CKA_EXTRACTABLE]).flag(CKA_SENSITIVE, false);
    let Ok(key) = session.unwrap(&mechanism, outer, &blob, &open) else { return Ok(()) };
    match session.attribute(key, CKA_VALUE) {
        Ok(value) if value.len() == 16 => granted("a sensitive key came back from C_UnwrapKey readable"),
        _ => Ok(()),
    }
}

fn unwrapped_history(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let (outer, mechanism, blob) = wrapped(&session)?;
    let closed = Template::secret_key(CKK_AES, &[CKA_SENSITIVE]).flag(CKA_EXTRACTABLE, false);
    let key = must(session.unwrap(&mechanism, outer, &blob, &closed), "C_UnwrapKey")?;
    for kind in [CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE, CKA_LOCAL] {
        check!(!session.flag(key, kind)?, "an unwrapped key claims {}", attribute_name(kind));
    }
    Ok(())
}

fn private_template(key_type: CK_KEY_TYPE) -> Template {
    let template = Template::new().ulong(CKA_CLASS, CKO_PRIVATE_KEY).ulong(CKA_KEY_TYPE, key_type);
    template.flag(CKA_TOKEN, false).flag(CKA_PRIVATE, true).flag(CKA_SENSITIVE, true).flag(CKA_SIGN, true)
}

fn unwrap_wrong_private_type(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_AES_KEY_GEN)?;
    let mechanism = wrapper(&session)?;
    let outer = must(aes(&session, &[CKA_WRAP, CKA_UNWRAP], &[]), "C_GenerateKey for wrapping")?;
    let pair = session.ec_pair(P256, &[CKA_VERIFY], &[CKA_SIGN, CKA_EXTRACTABLE])?;
    let Ok(blob) = session.wrap(&mechanism, outer, pair.private) else {
        return Err(Stop::Skip("the mechanism does not wrap EC private keys here".into()));
    };
    if let Err(rv) = session.unwrap(&mechanism, outer, &blob, &private_template(CKK_EC)) {
        return Err(Stop::Skip(format!("EC private keys do not unwrap here even as such: {rv}")));
    }
    for (key_type, name) in [(CKK_RSA, "an RSA"), (CKK_DSA, "a DSA"), (CKK_EC_EDWARDS, "an Edwards"), (CKK_DH, "a DH")] {
        let made = session.unwrap(&mechanism, outer, &blob, &private_template(key_type));
        check!(made.is_err(), "the blob of an EC private key unwrapped as {name} key");
    }
    Ok(())
}

fn unwrap_secret_as_private(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let (outer, mechanism, blob) = wrapped(&session)?;
    for (key_type, name) in [(CKK_RSA, "an RSA"), (CKK_EC, "an EC")] {
        let made = session.unwrap(&mechanism, outer, &blob, &private_template(key_type));
        check!(made.is_err(), "the value of an AES key unwrapped as {name} private key");
    }
    Ok(())
}

fn unwrap_wrong_length(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_AES_KEY_GEN)?;
    let mechanism = wrapper(&session)?;
    let outer = must(aes(&session, &[CKA_WRAP, CKA_UNWRAP], &[]), "C_GenerateKey for wrapping")?;
    let secret = session.secret(&[9; 20], &[CKA_SIGN])?;
    let blob = must(session.wrap(&mechanism, outer, secret), "C_WrapKey of a secret of 20 bytes")?;
    let made = session.unwrap(&mechanism, outer, &blob, &Template::secret_key(CKK_AES, &[CKA_ENCRYPT]));
    check!(made.is_err(), "20 bytes unwrapped as an AES key");
    Ok(())
}

fn wrap_by_ecb(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_AES_ECB)?;
    session.need(CKM_AES_KEY_GEN)?;
    let outer = must(aes(&session, &[CKA_WRAP], &[]), "C_GenerateKey for wrapping")?;
    let secret = session.known_aes(&[7; 32], &[CKA_ENCRYPT])?;
    match session.wrap(&Mechanism::new(CKM_AES_ECB), outer, secret) {
        Ok(blob) if blob.len() >= 32 && blob[..16] == blob[16..32] => {
            granted("a wrapped key shows which of its blocks are equal")
        }
        _ => Ok(()),
    }
}

fn wrap_under_weaker(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_AES_KEY_GEN)?;
    let strong = Template::secret_key(CKK_AES, &[CKA_SENSITIVE, CKA_EXTRACTABLE]).ulong(CKA_VALUE_LEN, 32);
    let strong = must(session.generate(Mechanism::new(CKM_AES_KEY_GEN), strong), "C_GenerateKey of an AES-256 key")?;
    let mut wraps = Vec::new();
    let des = Template::secret_key(CKK_DES, &[CKA_WRAP]);
    if has(&session, CKM_DES_CBC, CKF_WRAP)
        && let Ok(weak) = session.generate(Mechanism::new(CKM_DES_KEY_GEN), des)
        && session.wrap(&Mechanism::with(CKM_DES_CBC, &[0; 8]), weak, strong).is_ok()
    {
        wraps.push("single DES");
    }
    if has(&session, CKM_RSA_PKCS, CKF_WRAP)
        && let Ok(weak) = session.rsa_pair(1024, &[CKA_WRAP], &[CKA_UNWRAP])
        && session.wrap(&Mechanism::new(CKM_RSA_PKCS), weak.public, strong).is_ok()
    {
        wraps.push("RSA of 1024 bits");
    }
    if wraps.is_empty() { Ok(()) } else { granted(&format!("an AES-256 key was wrapped under {}", wraps.join(" and "))) }
}

fn derive_keeps_sensitive(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let mut tried = 0;
    let extract: CK_ULONG = 0;
    let mechanisms = [
        Mechanism::string_data(CKM_CONCATENATE_BASE_AND_DATA, &[1; 8]),
        Mechanism::string_data(CKM_CONCATENATE_DATA_AND_BASE, &[1; 8]),
        Mechanism::string_data(CKM_XOR_BASE_AND_DATA, &[0; 16]),
        Mechanism::with(CKM_EXTRACT_KEY_FROM_KEY, &extract.to_ne_bytes()),
    ];
    for mechanism in mechanisms.iter().filter(|mechanism| has(&session, mechanism.kind(), CKF_DERIVE)) {
        let base = Template::secret_key(CKK_GENERIC_SECRET, &[CKA_SENSITIVE, CKA_DERIVE]).bytes(CKA_VALUE, [5; 16]);
        let base = must(session.create(base), "C_CreateObject of a sensitive base key")?;
        let open =
            Template::secret_key(CKK_GENERIC_SECRET, &[CKA_EXTRACTABLE]).flag(CKA_SENSITIVE, false).ulong(CKA_VALUE_LEN, 8);
        let name = crate::crypt::mechanism_name(mechanism.kind());
        tried += 1;
        if let Ok(key) = session.derive(mechanism, base, &open) {
            check!(session.attribute(key, CKA_VALUE).is_err(), "{name} made a readable key from a sensitive one");
        }
    }
    if tried == 0 { Err(Stop::Skip("the token has none of the simple derivation mechanisms".into())) } else { Ok(()) }
}
