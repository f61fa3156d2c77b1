//! Keys whose numbers are wrong: points off their curve, weak moduli, parts that do not belong together.

use cryptoki_sys::*;

use crate::case::{Case, Level, Outcome, Stop};
use crate::check;
use crate::context::{Context, Session};
use crate::crypt::{Deed, attribute_name, must};
use crate::module::Rv;
use crate::sample_keys::{P256, X25519, octet_string};
use crate::template::{Mechanism, Template};

/// The chapter's cases.
pub const CASES: &[Case] = &[
    Case {
        id: "security/ecdh-invalid-point",
        level: Level::Security,
        section: "3.1, 6.3.17 ECDH; Biehl, Meyer, Müller 2000",
        says: "The other side's point is checked: off the curve, at infinity, with a coordinate beyond the field or of a wrong length it \
               is refused. Each accepted one gives away some bits of the private key.",
        run: ecdh_invalid_point,
    },
    Case {
        id: "security/x25519-small-order",
        level: Level::Security,
        section: "3.1, 6.3.17 ECDH; RFC 7748, 6.1",
        says: "A point of small order makes the all-zero secret, which anybody knows; it is refused.",
        run: x25519_small_order,
    },
    Case {
        id: "security/import-invalid-point",
        level: Level::Security,
        section: "3.1, 6.3.3 elliptic curve public key objects",
        says: "A public key off its curve is refused when it is made, or at the latest when it is used.",
        run: import_invalid_point,
    },
    Case {
        id: "security/own-generator",
        level: Level::Security,
        section: "3.1, 6.3.3 CKA_EC_PARAMS; CVE-2020-0601",
        says: "Explicit curve parameters with a generator of the caller's choice let anybody own the private key of any public one: refused.",
        run: own_generator,
    },
    Case {
        id: "security/weak-rsa-public",
        level: Level::Security,
        section: "3.1, 6.1.2 RSA public key objects",
        says: "Under exponent 1 everybody signs; an even modulus or exponent is no RSA key. Such keys are refused when made or when used.",
        run: weak_rsa_public,
    },
    Case {
        id: "security/inconsistent-rsa-private",
        level: Level::Security,
        section: "3.1, 6.1.3 RSA private key objects; Boneh, DeMillo, Lipton 1997",
        says: "A private key with one wrong part signs wrongly, and one wrong CRT signature factors the modulus: refused at import, or \
               no wrong signature leaves the token.",
        run: inconsistent_rsa_private,
    },
    Case {
        id: "security/small-rsa-generate",
        level: Level::Security,
        section: "3.1, 6.1.4 PKCS #1 RSA key pair generation",
        says: "A modulus below the mechanism's ulMinKeySize is CKR_KEY_SIZE_RANGE or CKR_ATTRIBUTE_VALUE_INVALID, not a key.",
        run: small_rsa_generate,
    },
];

fn derived(session: &Session<'_>, private: CK_OBJECT_HANDLE, point: &[u8]) -> Result<CK_OBJECT_HANDLE, Rv> {
    let secret = Template::secret_key(CKK_GENERIC_SECRET, &[CKA_EXTRACTABLE]).flag(CKA_SENSITIVE, false);
    session.derive(&Mechanism::ecdh(CKM_ECDH1_DERIVE, point), private, &secret.ulong(CKA_VALUE_LEN, 32))
}

/// Points of P-256 that are none, made from one that is.
fn bad_points(good: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut off = good.to_vec();
    if let Some(last) = off.last_mut() {
        *last ^= 1;
    }
    let mut beyond = good.to_vec();
    beyond[1..33].fill(0xff);
    let mut zero = good.to_vec();
    zero[1..].fill(0);
    vec![
        ("a point off the curve", off),
        ("a coordinate beyond the field", beyond),
        ("the point (0, 0)", zero),
        ("the point at infinity", vec![0]),
        ("a point that is too short", good[..good.len() - 1].to_vec()),
        ("an unknown form of point", [&[9], &good[1..]].concat()),
    ]
}

fn ecdh_invalid_point(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_ECDH1_DERIVE)?;
    let (own, other) = (session.ec_pair(P256, &[], &[CKA_DERIVE])?, session.ec_pair(P256, &[], &[CKA_DERIVE])?);
    let good = session.point(other.public)?;
    must(derived(&session, own.private, &good), "C_DeriveKey with a good point")?;
    for (what, point) in bad_points(&good) {
        crate::run::step(what);
        let made = derived(&session, own.private, &point);
        check!(made.is_err(), "C_DeriveKey with {what} made a secret");
        let made = derived(&session, own.private, &octet_string(&point));
        check!(made.is_err(), "C_DeriveKey with {what} in DER made a secret");
    }
    Ok(())
}

fn x25519_small_order(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_ECDH1_DERIVE)?;
    let own = session.ec_pair(X25519, &[], &[CKA_DERIVE])?;
    let mut one = [0; 32];
    one[0] = 1;
    for (what, point) in [("the point 0", [0; 32]), ("the point 1", one)] {
        check!(
            derived(&session, own.private, &point).is_err(),
            "C_DeriveKey with {what}, which has a small order, made a secret"
        );
    }
    Ok(())
}

fn public_key(params: &[u8], point: &[u8]) -> Template {
    let template = Template::new().ulong(CKA_CLASS, CKO_PUBLIC_KEY).ulong(CKA_KEY_TYPE, CKK_EC).flag(CKA_TOKEN, false);
    template.flag(CKA_VERIFY, true).bytes(CKA_EC_PARAMS, params).bytes(CKA_EC_POINT, octet_string(point))
}

fn import_invalid_point(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_ECDSA)?;
    let pair = session.ec_pair(P256, &[CKA_VERIFY], &[CKA_SIGN])?;
    let good = session.point(pair.public)?;
    must(session.create(public_key(P256.oid, &good)), "C_CreateObject of a good public key")?;
    for (what, point) in bad_points(&good) {
        crate::run::step(what);
        if let Ok(key) = session.create(public_key(P256.oid, &point)) {
            let rv = session.verify(&Mechanism::new(CKM_ECDSA), key, &[1; 32], &[1; 64]);
            let told = rv != Rv::OK && rv != Rv(CKR_SIGNATURE_INVALID);
            check!(told, "a public key with {what} was made, and C_Verify with it answered {rv}");
        }
    }
    Ok(())
}

/// DER with a length of one or two bytes.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut whole = vec![tag];
    match content.len() {
        short @ ..0x80 => whole.push(short as u8),
        middle @ 0x80..0x100 => whole.extend([0x81, middle as u8]),
        long => whole.extend([0x82, (long >> 8) as u8, long as u8]),
    }
    whole.extend(content);
    whole
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).filter_map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()).collect()
}

/// P-256 in explicit parameters, with a generator that is told.
fn explicit(generator: &[u8]) -> Vec<u8> {
    let prime = hex("00ffffffff00000001000000000000000000000000ffffffffffffffffffffffff");
    let a = hex("ffffffff00000001000000000000000000000000fffffffffffffffffffffffc");
    let b = hex("5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b");
    let order = hex("00ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    let field = der(0x30, &[hex("06072a8648ce3d0101"), der(2, &prime)].concat());
    let curve = der(0x30, &[der(4, &a), der(4, &b)].concat());
    der(0x30, &[der(2, &[1]), field, curve, der(4, generator), der(2, &order), der(2, &[1])].concat())
}

fn own_generator(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_ECDSA)?;
    let pair = session.ec_pair(P256, &[CKA_VERIFY], &[CKA_SIGN])?;
    let point = session.point(pair.public)?;
    // With the victim's public key as the generator, the private key is 1.
    if let Ok(key) = session.create(public_key(&explicit(&point), &point)) {
        let rv = session.verify_init(&Mechanism::new(CKM_ECDSA), key);
        check!(rv != Rv::OK, "a curve with a generator of the caller's choice was accepted and verifies signatures");
    }
    Ok(())
}

fn weak_rsa_public(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_RSA_PKCS)?;
    let pair = session.rsa_pair(2048, &[CKA_VERIFY], &[CKA_SIGN])?;
    let modulus = must(session.attribute(pair.public, CKA_MODULUS), "reading CKA_MODULUS")?;
    let mut even = modulus.clone();
    if let Some(last) = even.last_mut() {
        *last &= 0xfe;
    }
    let keys: [(&str, &[u8], &[u8]); 5] = [
        ("exponent 1", &modulus, &[1]),
        ("exponent 0", &modulus, &[0]),
        ("an even exponent", &modulus, &[2]),
        ("an even modulus", &even, &[1, 0, 1]),
        ("a modulus of 8 bits", &[0xc5], &[3]),
    ];
    for (what, modulus, exponent) in keys {
        crate::run::step(what);
        let template = Template::new().ulong(CKA_CLASS, CKO_PUBLIC_KEY).ulong(CKA_KEY_TYPE, CKK_RSA).flag(CKA_TOKEN, false);
        let template = template.flag(CKA_VERIFY, true).bytes(CKA_MODULUS, modulus).bytes(CKA_PUBLIC_EXPONENT, exponent);
        let Ok(key) = session.create(template) else { continue };
        let rv = session.verify(&Mechanism::new(CKM_RSA_PKCS), key, &[1; 20], &vec![1; modulus.len()]);
        let told = rv != Rv::OK && rv != Rv(CKR_SIGNATURE_INVALID);
        check!(told, "a public RSA key with {what} was made, and C_Verify with it answered {rv}");
    }
    Ok(())
}

const RSA_PARTS: [CK_ATTRIBUTE_TYPE; 8] = [
    CKA_MODULUS,
    CKA_PUBLIC_EXPONENT,
    CKA_PRIVATE_EXPONENT,
    CKA_PRIME_1,
    CKA_PRIME_2,
    CKA_EXPONENT_1,
    CKA_EXPONENT_2,
    CKA_COEFFICIENT,
];

fn inconsistent_rsa_private(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_RSA_PKCS)?;
    let public = crate::sample_keys::uses(&[CKA_VERIFY]).ulong(CKA_MODULUS_BITS, 2048).bytes(CKA_PUBLIC_EXPONENT, [1, 0, 1]);
    let private = crate::sample_keys::uses(&[CKA_SIGN, CKA_EXTRACTABLE]).flag(CKA_SENSITIVE, false);
    let pair = session.generate_pair(&Mechanism::new(CKM_RSA_PKCS_KEY_PAIR_GEN), &public, &private);
    let (public, private) = must(pair, "C_GenerateKeyPair of a readable RSA key")?;
    let mut template = Template::new().ulong(CKA_CLASS, CKO_PRIVATE_KEY).ulong(CKA_KEY_TYPE, CKK_RSA).flag(CKA_TOKEN, false);
    template = template.flag(CKA_PRIVATE, true).flag(CKA_SIGN, true);
    for kind in RSA_PARTS {
        let Ok(part) = session.attribute(private, kind) else {
            return Err(Stop::Skip(format!("{} of a readable key cannot be read", attribute_name(kind))));
        };
        template = template.bytes(kind, part);
    }
    must(session.create(template.clone()), "C_CreateObject of a good private key")?;
    let mechanism = Mechanism::new(CKM_RSA_PKCS);
    for kind in [CKA_COEFFICIENT, CKA_EXPONENT_1, CKA_PRIME_2] {
        let mut part = must(session.attribute(private, kind), "reading a part")?;
        let middle = part.len() / 2;
        part[middle] ^= 0x10;
        crate::run::step(&attribute_name(kind));
        let Ok(key) = session.create(template.clone().set(kind, part)) else { continue };
        let Ok(signature) = session.whole(Deed::Sign, &mechanism, key, &[6; 32]) else { continue };
        let rv = session.verify(&mechanism, public, &[6; 32], &signature);
        check!(rv == Rv::OK, "a private key with a wrong {} was made and gave a wrong signature", attribute_name(kind));
    }
    Ok(())
}

fn small_rsa_generate(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_RSA_PKCS_KEY_PAIR_GEN)?;
    let mut info = CK_MECHANISM_INFO::default();
    let rv = crate::ck!(context.module, C_GetMechanismInfo, context.slot()?, CKM_RSA_PKCS_KEY_PAIR_GEN, &mut info);
    context.ok(rv, "C_GetMechanismInfo")?;
    let bits = info.ulMinKeySize.saturating_sub(64);
    for bits in [bits, 8, 1, 0] {
        let public = crate::sample_keys::uses(&[CKA_VERIFY]).ulong(CKA_MODULUS_BITS, bits).bytes(CKA_PUBLIC_EXPONENT, [1, 0, 1]);
        let private = crate::sample_keys::uses(&[CKA_SIGN]);
        let made = session.generate_pair(&Mechanism::new(CKM_RSA_PKCS_KEY_PAIR_GEN), &public, &private);
        check!(made.is_err(), "a key of {bits} bits was made where the least is {}", info.ulMinKeySize);
    }
    Ok(())
}
