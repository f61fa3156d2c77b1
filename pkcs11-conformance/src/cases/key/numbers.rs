//! The numbers of keys: check values, points and curves, moduli, lengths of what is derived.

use cryptoki_sys::*;

use super::{case, readable};
use crate::case::{Case, Outcome, Stop};
use crate::check;
use crate::context::{Context, Session};
use crate::crypt::{Deed, code, must};
use crate::known::Key;
use crate::known_keys::{key_bytes, rsa_private};
use crate::module::Rv;
use crate::numbers::{self, hex};
use crate::sample_keys::{P256, P384, P521, octet_string, uses};
use crate::template::{Mechanism, Template};

/// The cases about numbers.
pub const CASES: &[Case] = &[
    case!(
        "check-value-cipher",
        Must,
        "4.10 CKA_CHECK_VALUE",
        "The check value of a block cipher's key is the first three bytes of a block of zeros encrypted with it.",
        check_value_cipher
    ),
    case!(
        "check-value-generic",
        Must,
        "6.8.2 generic secret key objects, CKA_CHECK_VALUE",
        "The check value of a generic secret is the first three bytes of the SHA-1 of its value.",
        check_value_generic
    ),
    case!(
        "check-value-wrong",
        Must,
        "4.10 CKA_CHECK_VALUE, CKR_ATTRIBUTE_VALUE_INVALID",
        "A key is not made with a check value that is not its own; an empty one means that none is wanted.",
        check_value_wrong
    ),
    case!(
        "ec-point",
        Must,
        "6.3.3 elliptic curve public key objects, CKA_EC_POINT",
        "A generated public key's point is a DER OCTET STRING of the uncompressed point.",
        ec_point
    ),
    case!(
        "ec-params",
        Must,
        "6.3.3 and 6.3.4 CKA_EC_PARAMS, 6.3.9 key pair generation",
        "Both keys of a pair tell the curve that was asked for.",
        ec_params
    ),
    case!(
        "ec-params-bad",
        Must,
        "6.3.9 elliptic curve key pair generation, CKR_DOMAIN_PARAMS_INVALID, CKR_CURVE_NOT_SUPPORTED",
        "Parameters that are no DER, name no curve or end too early make no key pair.",
        ec_params_bad
    ),
    case!(
        "ec-import",
        Must,
        "6.3.3, 6.3.4 elliptic curve key objects; RFC 6979, A.2.5",
        "An imported key pair signs and verifies; a scalar that is zero or not less than the group's order makes no key.",
        ec_import
    ),
    case!(
        "rsa-generated",
        Must,
        "6.1.2, 6.1.3 RSA key objects, 6.1.4 key pair generation",
        "A generated modulus has as many bits as were asked for, in both keys the same, and the exponent is the one that was asked for.",
        rsa_generated
    ),
    case!(
        "rsa-import-short",
        Should,
        "6.1.3 RSA private key objects",
        "A private key of modulus and exponents alone works, or is refused as incomplete.",
        rsa_import_short
    ),
    case!(
        "value-length",
        Must,
        "6.8.2, 6.10.2 CKA_VALUE_LEN",
        "A secret key tells the length of its value, a sensitive one too.",
        value_length
    ),
    case!(
        "derive-length",
        Must,
        "6.3.17 elliptic curve Diffie-Hellman, 5.18.5 C_DeriveKey",
        "From a secret of 32 bytes no more than 32 are derived; a cipher's key has its cipher's length; the leading bytes are cut.",
        derive_length
    ),
];

/// The check value; a skip where the token has none.
fn check_value(session: &Session<'_>, key: CK_OBJECT_HANDLE) -> Result<Vec<u8>, Stop> {
    match session.attribute(key, CKA_CHECK_VALUE) {
        Ok(value) if !value.is_empty() => Ok(value),
        Ok(_) | Err(Rv(CKR_ATTRIBUTE_TYPE_INVALID)) => Err(Stop::Skip("the token has no CKA_CHECK_VALUE".into())),
        Err(rv) => Err(Stop::Fail(format!("reading CKA_CHECK_VALUE answered {rv}"))),
    }
}

fn check_value_cipher(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let mut tried = false;
    for (kind, key, block) in [(CKM_AES_ECB, Key::Aes, 16), (CKM_DES3_ECB, Key::Des3, 8)] {
        match session.need(kind) {
            Err(Stop::Skip(_)) => continue,
            other => other?,
        }
        let key_handle = session.keys(key)?.private;
        let told = check_value(&session, key_handle)?;
        let zeros = must(session.whole(Deed::Encrypt, &Mechanism::new(kind), key_handle, &vec![0; block]), "C_Encrypt")?;
        check!(told == zeros[..3], "CKA_CHECK_VALUE of a key {key:?} is {told:02x?}, expected {:02x?}", &zeros[..3]);
        tried = true;
    }
    if tried { Ok(()) } else { Err(Stop::Skip("the token has neither AES nor triple DES".into())) }
}

fn check_value_generic(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_SHA_1)?;
    let key = session.secret(b"a generic secret", &[CKA_SIGN])?;
    let told = check_value(&session, key)?;
    let digest = must(session.whole(Deed::Digest, &Mechanism::new(CKM_SHA_1), 0, b"a generic secret"), "C_Digest")?;
    check!(told == digest[..3], "CKA_CHECK_VALUE is {told:02x?}, expected {:02x?}", &digest[..3]);
    Ok(())
}

fn check_value_wrong(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let template = || readable(CKK_AES).bytes(CKA_VALUE, key_bytes(16));
    let own = check_value(&session, must(session.create(template()), "C_CreateObject")?)?;
    let rv = code(session.create(template().bytes(CKA_CHECK_VALUE, own.clone())));
    check!(rv == Rv::OK, "C_CreateObject with the key's own check value answered {rv}");
    let other: Vec<u8> = own.iter().map(|byte| byte ^ 1).collect();
    let rv = code(session.create(template().bytes(CKA_CHECK_VALUE, other)));
    check!(rv == Rv(CKR_ATTRIBUTE_VALUE_INVALID), "C_CreateObject with another check value answered {rv}");
    let rv = code(session.create(template().bytes(CKA_CHECK_VALUE, [])));
    check!(rv == Rv::OK, "C_CreateObject with an empty check value answered {rv}");
    Ok(())
}

fn ec_point(context: &Context) -> Outcome {
    let session = context.user_session()?;
    for curve in [P256, P384, P521] {
        let pair = session.ec_pair(curve, &[CKA_VERIFY], &[CKA_SIGN])?;
        let der = must(session.attribute(pair.public, CKA_EC_POINT), "reading CKA_EC_POINT")?;
        let point = session.point(pair.public)?;
        check!(
            der == octet_string(&point),
            "CKA_EC_POINT on {} is no DER OCTET STRING: {:02x?}",
            curve.name,
            &der[..4.min(der.len())]
        );
        check!(point.len() == 1 + 2 * curve.bytes, "the point on {} has {} bytes", curve.name, point.len());
        check!(point.first() == Some(&4), "the point on {} is not uncompressed", curve.name);
    }
    Ok(())
}

fn ec_params(context: &Context) -> Outcome {
    let session = context.user_session()?;
    for curve in [P256, P384] {
        let pair = session.ec_pair(curve, &[CKA_VERIFY], &[CKA_SIGN])?;
        for key in [pair.public, pair.private] {
            let told = must(session.attribute(key, CKA_EC_PARAMS), "reading CKA_EC_PARAMS")?;
            check!(told == curve.oid, "CKA_EC_PARAMS of a key on {} is {told:02x?}", curve.name);
        }
    }
    Ok(())
}

fn ec_params_bad(context: &Context) -> Outcome {
    const CODES: [CK_RV; 5] = [
        CKR_DOMAIN_PARAMS_INVALID,
        CKR_CURVE_NOT_SUPPORTED,
        CKR_ATTRIBUTE_VALUE_INVALID,
        CKR_TEMPLATE_INCONSISTENT,
        CKR_TEMPLATE_INCOMPLETE,
    ];
    let session = context.user_session()?;
    session.need(CKM_EC_KEY_PAIR_GEN)?;
    let long = [P256.oid, &[0]].concat();
    let trials: [(&str, &[u8]); 7] = [
        ("of no bytes", &[]),
        ("that are implicit (NULL)", &[5, 0]),
        ("that are no DER", &[0xff; 10]),
        ("that end too early", &P256.oid[..9]),
        ("of an unknown curve", &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 0x7f]),
        ("whose length is wrong", &[6, 0x7f, 0x2a, 0x86, 0x48]),
        ("with a byte after their end", &long),
    ];
    for (what, params) in trials {
        let public = uses(&[CKA_VERIFY]).bytes(CKA_EC_PARAMS, params);
        let rv = code(session.generate_pair(&Mechanism::new(CKM_EC_KEY_PAIR_GEN), &public, &uses(&[CKA_SIGN])));
        check!(CODES.contains(&rv.0), "C_GenerateKeyPair with parameters {what} answered {rv}");
    }
    Ok(())
}

const RFC6979_X: &str = "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721";
const RFC6979_POINT: &str = "04 60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6 \
     7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299";
const P256_ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

fn ec_import(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_ECDSA)?;
    let class = |kinds: &[CK_ATTRIBUTE_TYPE], class| {
        uses(kinds).ulong(CKA_CLASS, class).ulong(CKA_KEY_TYPE, CKK_EC).bytes(CKA_EC_PARAMS, P256.oid)
    };
    let public = class(&[CKA_VERIFY], CKO_PUBLIC_KEY).bytes(CKA_EC_POINT, octet_string(&hex(RFC6979_POINT)?));
    let public = must(session.create(public), "C_CreateObject of an EC public key")?;
    let private = |value: &[u8]| session.create(class(&[CKA_SIGN], CKO_PRIVATE_KEY).bytes(CKA_VALUE, value));
    let good = must(private(&hex(RFC6979_X)?), "C_CreateObject of an EC private key")?;
    let signature = must(session.whole(Deed::Sign, &Mechanism::new(CKM_ECDSA), good, &[5; 32]), "C_Sign")?;
    check!(signature.len() == 64, "an ECDSA signature on P-256 has {} bytes", signature.len());
    let rv = session.verify(&Mechanism::new(CKM_ECDSA), public, &[5; 32], &signature);
    check!(rv == Rv::OK, "C_Verify of an imported key's signature by its imported public key answered {rv}");
    for (what, value) in [("zero", vec![0; 32]), ("the group's order", hex(P256_ORDER)?), ("more than it", vec![0xff; 32])] {
        // A module that looks at the number only when it is used must refuse then.
        let rv = match private(&value) {
            Ok(key) => code(session.whole(Deed::Sign, &Mechanism::new(CKM_ECDSA), key, &[5; 32])),
            Err(rv) => rv,
        };
        check!(rv != Rv::OK, "a private key whose scalar is {what} was made and signs");
    }
    Ok(())
}

fn rsa_generated(context: &Context) -> Outcome {
    let (session, mut tried) = (context.user_session()?, false);
    for bits in [2048, 3072] {
        let info = session.mechanism_info(CKM_RSA_PKCS_KEY_PAIR_GEN)?;
        if !(info.ulMinKeySize..=info.ulMaxKeySize).contains(&bits) {
            continue;
        }
        tried = true;
        let pair = session.rsa_pair(bits, &[CKA_VERIFY], &[CKA_SIGN])?;
        let modulus = must(session.attribute(pair.public, CKA_MODULUS), "reading CKA_MODULUS")?;
        let top = modulus.first().copied().unwrap_or_default();
        check!(
            modulus.len() as CK_ULONG == bits / 8 && top >= 0x80,
            "the modulus has {} bytes, the first {top:#x}",
            modulus.len()
        );
        let told = session.number(pair.public, CKA_MODULUS_BITS)?;
        check!(told == bits, "CKA_MODULUS_BITS is {told}, expected {bits}");
        let same = must(session.attribute(pair.private, CKA_MODULUS), "reading CKA_MODULUS of the private key")?;
        check!(modulus == same, "the two keys have different moduli");
        let exponent = must(session.attribute(pair.public, CKA_PUBLIC_EXPONENT), "reading CKA_PUBLIC_EXPONENT")?;
        check!(exponent == [1, 0, 1], "CKA_PUBLIC_EXPONENT is {exponent:02x?}");
    }
    if tried { Ok(()) } else { Err(Stop::Skip("the token makes no RSA keys of 2048 or 3072 bits".into())) }
}

fn rsa_import_short(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_RSA_PKCS)?;
    let factors = [CKA_PRIME_1, CKA_PRIME_2, CKA_EXPONENT_1, CKA_EXPONENT_2, CKA_COEFFICIENT];
    let template = factors.into_iter().fold(rsa_private(&[CKA_SIGN])?, Template::without);
    let key = match session.create(template) {
        Err(Rv(CKR_TEMPLATE_INCOMPLETE)) => return Ok(()),
        made => must(made, "C_CreateObject of an RSA private key without its primes")?,
    };
    let signature = must(session.whole(Deed::Sign, &Mechanism::new(CKM_RSA_PKCS), key, &[5; 32]), "C_Sign")?;
    let rv = session.verify(&Mechanism::new(CKM_RSA_PKCS), session.known_rsa()?.public, &[5; 32], &signature);
    check!(rv == Rv::OK, "what a key without its primes signed verifies with {rv}");
    let modulus = must(session.attribute(key, CKA_MODULUS), "reading CKA_MODULUS")?;
    check!(modulus == hex(numbers::RSA_MODULUS)?, "the key has another modulus");
    Ok(())
}

fn value_length(context: &Context) -> Outcome {
    let session = context.user_session()?;
    for (key_type, len) in [(CKK_AES, 16), (CKK_AES, 32), (CKK_GENERIC_SECRET, 33)] {
        for sensitive in [false, true] {
            let template = readable(key_type).set(CKA_SENSITIVE, [u8::from(sensitive)]).bytes(CKA_VALUE, key_bytes(len));
            let key = must(session.create(template), "C_CreateObject")?;
            let told = session.number(key, CKA_VALUE_LEN)?;
            check!(told == len as CK_ULONG, "CKA_VALUE_LEN is {told} for a value of {len} bytes, sensitive: {sensitive}");
        }
    }
    Ok(())
}

fn derive_length(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_ECDH1_DERIVE)?;
    let (ours, theirs) = (session.keys(Key::Ec)?, session.keys(Key::Ec)?);
    let mechanism = Mechanism::ecdh(CKM_ECDH1_DERIVE, &session.point(theirs.public)?);
    let derive = |key_type, len| {
        let key = session.derive(&mechanism, ours.private, &readable(key_type).ulong(CKA_VALUE_LEN, len))?;
        session.attribute(key, CKA_VALUE)
    };
    let whole = must(derive(CKK_GENERIC_SECRET, 32), "C_DeriveKey of 32 bytes")?;
    for (key_type, len) in [(CKK_GENERIC_SECRET, 1), (CKK_GENERIC_SECRET, 20), (CKK_AES, 16), (CKK_AES, 32)] {
        let value = must(derive(key_type, len), &format!("C_DeriveKey of {len} bytes"))?;
        check!(
            whole.ends_with(&value) && value.len() as CK_ULONG == len,
            "the first bytes of the secret were not those cut for {len}"
        );
    }
    for (key_type, len) in [(CKK_GENERIC_SECRET, 33), (CKK_GENERIC_SECRET, CK_ULONG::MAX), (CKK_AES, 20)] {
        let rv = code(derive(key_type, len));
        check!(rv != Rv::OK, "C_DeriveKey of {len} bytes from a secret of 32, as key type {key_type:#x}, answered CKR_OK");
        let codes = [CKR_KEY_SIZE_RANGE, CKR_ATTRIBUTE_VALUE_INVALID, CKR_TEMPLATE_INCONSISTENT];
        check!(codes.contains(&rv.0), "C_DeriveKey of {len} bytes, as key type {key_type:#x}, answered {rv}");
    }
    Ok(())
}
