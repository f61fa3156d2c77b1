//! Key sizes: what `C_GetMechanismInfo` tells is where the sizes end.

use cryptoki_sys::*;

use super::{claims, list};
use crate::case::{Case, Level, Outcome, Stop};
use crate::check;
use crate::context::{Context, Session};
use crate::crypt::{Deed, code, mechanism_name};
use crate::known::{Key, Known, known};
use crate::known_keys::key_bytes;
use crate::module::Rv;
use crate::sample_keys::{Curve, ED25519, P256, P384, P521, known_secret, uses};
use crate::template::{Mechanism, Template};

/// The cases about sizes.
pub const CASES: &[Case] = &[
    Case {
        id: "mechanism/size-aes",
        level: Level::Must,
        section: "3.1, 6.10.2 AES key objects, 6.10.3 AES key generation",
        says: "AES keys of the least and the greatest size are generated, and of 16, 24 and 32 bytes between them; no other size is.",
        run: size_aes,
    },
    Case {
        id: "mechanism/size-generic",
        level: Level::Must,
        section: "3.1, 6.8.3 generic secret key generation",
        says: "A generic secret of the least size is generated; one beyond the greatest, and one of no bytes, is not.",
        run: size_generic,
    },
    Case {
        id: "mechanism/size-rsa",
        level: Level::Must,
        section: "3.1, 6.1.4 PKCS #1 RSA key pair generation, ulMinKeySize and ulMaxKeySize",
        says: "An RSA key pair of the least size is generated; one a step below the least or above the greatest is not.",
        run: size_rsa,
    },
    Case {
        id: "mechanism/size-ec",
        level: Level::Must,
        section: "3.1, 6.3.9 elliptic curve key pair generation, ulMinKeySize and ulMaxKeySize",
        says: "Of the NIST curves, those outside the sizes that are told make no key pairs, and the one that is the greatest size does.",
        run: size_ec,
    },
    Case {
        id: "mechanism/size-edwards",
        level: Level::Must,
        section: "3.1, 6.3.10 Edwards key pair generation",
        says: "A token that generates Edwards key pairs of 255 or 256 bits generates one on Ed25519, which its object identifier names.",
        run: size_edwards,
    },
    Case {
        id: "mechanism/size-mac",
        level: Level::Must,
        section: "3.1, 5.13.1 C_SignInit, CKR_KEY_SIZE_RANGE; ulMinKeySize and ulMaxKeySize of the HMAC mechanisms",
        says: "A MAC takes keys of the least and the greatest size that is told, and none of a byte less or more.",
        run: size_mac,
    },
    Case {
        id: "mechanism/size-import",
        level: Level::Must,
        section: "3.1, 4.10 secret key objects; CKR_ATTRIBUTE_VALUE_INVALID",
        says: "A block cipher's key has a size of its cipher: one byte less or more makes no key.",
        run: size_import,
    },
];

/// Codes for a size that there is not.
const REFUSALS: [CK_RV; 6] = [
    CKR_KEY_SIZE_RANGE,
    CKR_ATTRIBUTE_VALUE_INVALID,
    CKR_TEMPLATE_INCONSISTENT,
    CKR_CURVE_NOT_SUPPORTED,
    CKR_DOMAIN_PARAMS_INVALID,
    CKR_TEMPLATE_INCOMPLETE,
];

/// Longest key, in bytes, that the suite makes for a trial.
const TRIED_BYTES_MAX: CK_ULONG = 1 << 16;
/// Longest RSA modulus, in bits, that the suite waits for.
const TRIED_BITS_MAX: CK_ULONG = 4096;

fn refused(rv: Rv) -> bool {
    REFUSALS.contains(&rv.0)
}

fn generate(session: &Session<'_>, kind: CK_MECHANISM_TYPE, len: CK_ULONG) -> Rv {
    code(session.generate(Mechanism::new(kind), uses(&[CKA_ENCRYPT]).ulong(CKA_VALUE_LEN, len)))
}

fn size_aes(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let info = session.mechanism_info(CKM_AES_KEY_GEN)?;
    let (least, greatest) = (info.ulMinKeySize, info.ulMaxKeySize);
    check!([16, 24, 32].contains(&least), "the least AES key has {least} bytes");
    check!([16, 24, 32].contains(&greatest), "the greatest AES key has {greatest} bytes");
    for len in [16, 24, 32].into_iter().filter(|len| (least..=greatest).contains(len)) {
        let rv = generate(&session, CKM_AES_KEY_GEN, len);
        check!(rv == Rv::OK, "C_GenerateKey of an AES key of {len} bytes answered {rv}");
    }
    for len in [0, 1, 8, 15, 17, 20, 31, 33, 64, 256, CK_ULONG::MAX] {
        let rv = generate(&session, CKM_AES_KEY_GEN, len);
        check!(refused(rv), "C_GenerateKey of an AES key of {len} bytes answered {rv}");
    }
    Ok(())
}

fn size_generic(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let info = session.mechanism_info(CKM_GENERIC_SECRET_KEY_GEN)?;
    // The standard tells these sizes in bits, and many modules in bytes: only what is right in both readings is held against one.
    let (least, greatest) = (info.ulMinKeySize.max(1), info.ulMaxKeySize);
    if least <= TRIED_BYTES_MAX && least <= greatest {
        let rv = generate(&session, CKM_GENERIC_SECRET_KEY_GEN, least);
        check!(rv == Rv::OK, "C_GenerateKey of a generic secret of {least} bytes answered {rv}");
    }
    let rv = generate(&session, CKM_GENERIC_SECRET_KEY_GEN, 0);
    check!(refused(rv), "C_GenerateKey of a generic secret of no bytes answered {rv}");
    for len in [greatest.saturating_add(1), CK_ULONG::MAX] {
        // A module that has no greatest size may try to make it, so only sizes that a machine can do without harm are tried.
        if len > greatest && (len == CK_ULONG::MAX || len <= 1 << 28) {
            let rv = generate(&session, CKM_GENERIC_SECRET_KEY_GEN, len);
            let none = refused(rv) || [CKR_HOST_MEMORY, CKR_DEVICE_MEMORY].contains(&rv.0);
            check!(none, "C_GenerateKey of a generic secret of {len} bytes answered {rv}");
        }
    }
    Ok(())
}

fn size_rsa(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let info = session.mechanism_info(CKM_RSA_PKCS_KEY_PAIR_GEN)?;
    let (least, greatest) = (info.ulMinKeySize, info.ulMaxKeySize);
    let make = |bits| {
        let public = uses(&[CKA_VERIFY]).ulong(CKA_MODULUS_BITS, bits).bytes(CKA_PUBLIC_EXPONENT, [1, 0, 1]);
        session.generate_pair(&Mechanism::new(CKM_RSA_PKCS_KEY_PAIR_GEN), &public, &uses(&[CKA_SIGN]))
    };
    for bits in [least, greatest].into_iter().filter(|bits| *bits <= TRIED_BITS_MAX) {
        match make(bits) {
            Ok((public, _)) => {
                let modulus = crate::crypt::must(session.attribute(public, CKA_MODULUS), "reading CKA_MODULUS")?;
                let told = modulus.len() as CK_ULONG * 8;
                check!(told.abs_diff(bits) < 8, "a modulus of {told} bits was made where {bits} were asked for");
            }
            Err(rv) => return Err(Stop::Fail(format!("C_GenerateKeyPair of RSA-{bits} answered {rv}"))),
        }
    }
    for bits in [least.saturating_sub(8), greatest.saturating_add(8), 0, 1, CK_ULONG::MAX] {
        if (least..=greatest).contains(&bits) {
            continue;
        }
        let rv = code(make(bits));
        check!(refused(rv), "C_GenerateKeyPair of RSA-{bits}, where {least} to {greatest} are told, answered {rv}");
    }
    Ok(())
}

const P192: Curve = Curve { name: "P-192", oid: &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 1], bytes: 24 };
const P224: Curve = Curve { name: "P-224", oid: &[6, 5, 0x2b, 0x81, 4, 0, 33], bytes: 28 };

fn size_ec(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let info = session.mechanism_info(CKM_EC_KEY_PAIR_GEN)?;
    let (least, greatest) = (info.ulMinKeySize, info.ulMaxKeySize);
    for (curve, bits) in [(P192, 192), (P224, 224), (P256, 256), (P384, 384), (P521, 521)] {
        let public = uses(&[CKA_VERIFY]).bytes(CKA_EC_PARAMS, curve.oid);
        let rv = code(session.generate_pair(&Mechanism::new(CKM_EC_KEY_PAIR_GEN), &public, &uses(&[CKA_SIGN])));
        let name = curve.name;
        if !(least..=greatest).contains(&bits) {
            check!(refused(rv), "C_GenerateKeyPair on {name}, where {least} to {greatest} bits are told, answered {rv}");
        } else if bits == greatest || curve.name == P256.name {
            check!(rv == Rv::OK, "C_GenerateKeyPair on {name}, where {least} to {greatest} bits are told, answered {rv}");
        } else {
            check!(rv == Rv::OK || refused(rv), "C_GenerateKeyPair on {name} answered {rv}");
        }
    }
    Ok(())
}

fn size_edwards(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let info = session.mechanism_info(CKM_EC_EDWARDS_KEY_PAIR_GEN)?;
    let sizes = info.ulMinKeySize..=info.ulMaxKeySize;
    if !sizes.contains(&255) && !sizes.contains(&256) {
        return Err(Stop::Skip(format!("the token's Edwards keys have {sizes:?} bits")));
    }
    session.ec_pair(ED25519, &[CKA_VERIFY], &[CKA_SIGN]).map(|_| ())
}

/// Whether a key of a length can be made and signs.
fn signs_with(session: &Session<'_>, row: &Known, len: CK_ULONG) -> Result<Rv, Stop> {
    let key_type = row.key.key_type().unwrap_or_default();
    let made = session.create(known_secret(key_type, &key_bytes(len as usize), &[CKA_SIGN]));
    let mechanism = session.sample(row, 0, None)?;
    Ok(made.map_or_else(|rv| rv, |key| code(session.whole(Deed::Sign, &mechanism, key, b"abc"))))
}

fn size_mac(context: &Context) -> Outcome {
    let first = context.user_session()?;
    let (mut tried, mut wrong) = (0, Vec::new());
    for row in list::listed(context)?.into_iter().filter_map(known).filter(|row| row.key == Key::Generic) {
        let info = first.mechanism_info(row.kind)?;
        let (least, greatest) = (info.ulMinKeySize, info.ulMaxKeySize);
        if !claims(&info, CKF_SIGN) || greatest == 0 {
            continue;
        }
        tried += 1;
        let session = context.user_session()?;
        for len in [least, greatest, least.saturating_sub(1), greatest.saturating_add(1)] {
            let within = (least..=greatest).contains(&len);
            if len > TRIED_BYTES_MAX {
                continue;
            }
            let rv = signs_with(&session, row, len)?;
            if within != (rv == Rv::OK) || !within && !refused(rv) {
                wrong.push(format!("{} with {len} bytes, where {least} to {greatest} are told: {rv}", mechanism_name(row.kind)));
            }
        }
    }
    if tried == 0 {
        return Err(Stop::Skip("the token has no MAC that tells the sizes of its keys".into()));
    }
    check!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
}

fn size_import(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let ciphers =
        [(CKM_AES_CBC, CKK_AES, 16), (CKM_AES_CBC, CKK_AES, 32), (CKM_DES3_CBC, CKK_DES3, 24), (CKM_DES_CBC, CKK_DES, 8)];
    let mut tried = false;
    for (kind, key_type, len) in ciphers {
        match session.need(kind) {
            Err(Stop::Skip(_)) => continue,
            other => other?,
        }
        tried = true;
        for wrong in [0, len - 1, len + 1, 1000] {
            let rv = code(session.create(known_secret(key_type, &key_bytes(wrong), &[CKA_ENCRYPT])));
            check!(refused(rv), "C_CreateObject of a key of type {key_type:#x} and {wrong} bytes answered {rv}");
        }
        let template: Template = known_secret(key_type, &key_bytes(len), &[CKA_ENCRYPT]);
        let rv = code(session.create(template));
        check!(rv == Rv::OK, "C_CreateObject of a key of type {key_type:#x} and {len} bytes answered {rv}");
    }
    if tried { Ok(()) } else { Err(Stop::Skip("the token has neither AES nor DES".into())) }
}
