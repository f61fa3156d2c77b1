//! Signatures that have variants: contexts, hashing before, hedged or deterministic; each parameter set.

use cryptoki_sys::*;

use super::claims;
use crate::case::{Case, Level, Outcome, Stop};
use crate::check;
use crate::ck_3_2;
use crate::context::{Context, Session};
use crate::crypt::{Deed, code, mechanism_name, must};
use crate::known::Key;
use crate::known_keys::{data_of, key_bytes};
use crate::module::Rv;
use crate::sample_keys::{Pair, known_secret, uses};
use crate::template::Mechanism;

macro_rules! case {
    ($name:literal, $level:ident, $section:literal, $says:literal, $run:expr) => {
        Case { id: concat!("mechanism/", $name), level: Level::$level, section: $section, says: $says, run: $run }
    };
}

/// The cases about variants.
pub const CASES: &[Case] = &[
    case!(
        "ml-dsa-sets",
        Must,
        "3.2, 6.67 ML-DSA, CKA_PARAMETER_SET; FIPS 204, table 2",
        "Each parameter set that the token has makes keys and signatures of that set's length, and no other set is made.",
        |context| sets(context, &ML_DSA)
    ),
    case!(
        "slh-dsa-sets",
        Must,
        "3.2, 6.69 SLH-DSA, CKA_PARAMETER_SET; FIPS 205, table 2",
        "As mechanism/ml-dsa-sets, by the twelve sets of SLH-DSA; of the slow ones only the keys are looked at.",
        |context| sets(context, &SLH_DSA)
    ),
    case!(
        "ml-dsa-context",
        Must,
        "3.2, 6.67 ML-DSA, CK_SIGN_ADDITIONAL_CONTEXT; FIPS 204, 5.2",
        "A signature under a context verifies under that one only; no context and an empty one are the same; one has 255 bytes at most.",
        |context| contexts(context, CKM_ML_DSA, Key::MlDsa)
    ),
    case!(
        "slh-dsa-context",
        Must,
        "3.2, 6.69 SLH-DSA, CK_SIGN_ADDITIONAL_CONTEXT; FIPS 205, 10.2",
        "As mechanism/ml-dsa-context, by SLH-DSA.",
        |context| contexts(context, CKM_SLH_DSA, Key::SlhDsa)
    ),
    case!(
        "ml-dsa-hedge",
        Must,
        "3.2, 6.67 ML-DSA, hedgeVariant",
        "Deterministic signatures of one message are the same, hedged ones differ, and all of them verify; where the token cannot, it refuses.",
        |context| hedged(context, CKM_ML_DSA, Key::MlDsa)
    ),
    case!("slh-dsa-hedge", Must, "3.2, 6.69 SLH-DSA, hedgeVariant", "As mechanism/ml-dsa-hedge, by SLH-DSA.", |context| hedged(
        context,
        CKM_SLH_DSA,
        Key::SlhDsa
    )),
    case!(
        "ml-dsa-prehash",
        Must,
        "3.2, 6.67 CKM_HASH_ML_DSA and its like; FIPS 204, 5.4",
        "What is signed as a hash is what the mechanism that hashes by itself signs; the pure form does not verify it.",
        |context| prehash(context, [CKM_HASH_ML_DSA, CKM_HASH_ML_DSA_SHA256, CKM_ML_DSA], Key::MlDsa)
    ),
    case!(
        "slh-dsa-prehash",
        Must,
        "3.2, 6.69 CKM_HASH_SLH_DSA and its like; FIPS 205, 10.2.2",
        "As mechanism/ml-dsa-prehash, by SLH-DSA.",
        |context| prehash(context, [CKM_HASH_SLH_DSA, CKM_HASH_SLH_DSA_SHA256, CKM_SLH_DSA], Key::SlhDsa)
    ),
    case!(
        "ml-dsa-parts",
        Must,
        "3.2, 6.67 ML-DSA: verification in parts by C_VerifySignatureInit; 5.15.7",
        "A signature made in parts verifies in one call; the other way round it verifies in parts when the signature comes first.",
        |context| verify_first(context, CKM_ML_DSA, Key::MlDsa)
    ),
    case!(
        "eddsa-variants",
        Must,
        "3.1, 6.3.14 EdDSA, CK_EDDSA_PARAMS; RFC 8032, 5.1",
        "Under a key whose curve is named edwards25519, Ed25519, Ed25519ctx and Ed25519ph are three: what one signs another does not \
         verify, nor does another context. (The object identifier of RFC 8410 means the pure form alone.)",
        eddsa_variants
    ),
    case!(
        "chacha-nonce-bits",
        Must,
        "3.1, 6.61 CK_SALSA20_CHACHA20_POLY1305_PARAMS, ulNonceLen",
        "A nonce of 96 bits is told as 96: callers that do as the standard says must not be refused.",
        chacha_nonce_bits
    ),
];

/// A family of signature mechanisms with numbered parameter sets.
struct Family {
    generate: CK_MECHANISM_TYPE,
    sign: CK_MECHANISM_TYPE,
    /// Number, bytes of a public key, bytes of a signature, whether it signs fast enough to be tried.
    sets: &'static [(CK_ULONG, usize, usize, bool)],
}

const ML_DSA: Family = Family {
    generate: CKM_ML_DSA_KEY_PAIR_GEN,
    sign: CKM_ML_DSA,
    sets: &[(CKP_ML_DSA_44, 1312, 2420, true), (CKP_ML_DSA_65, 1952, 3309, true), (CKP_ML_DSA_87, 2592, 4627, true)],
};
const SLH_DSA: Family = Family {
    generate: CKM_SLH_DSA_KEY_PAIR_GEN,
    sign: CKM_SLH_DSA,
    sets: &[
        (CKP_SLH_DSA_SHA2_128S, 32, 7856, false),
        (CKP_SLH_DSA_SHAKE_128S, 32, 7856, false),
        (CKP_SLH_DSA_SHA2_128F, 32, 17088, true),
        (CKP_SLH_DSA_SHAKE_128F, 32, 17088, true),
        (CKP_SLH_DSA_SHA2_192S, 48, 16224, false),
        (CKP_SLH_DSA_SHAKE_192S, 48, 16224, false),
        (CKP_SLH_DSA_SHA2_192F, 48, 35664, true),
        (CKP_SLH_DSA_SHAKE_192F, 48, 35664, true),
        (CKP_SLH_DSA_SHA2_256S, 64, 29792, false),
        (CKP_SLH_DSA_SHAKE_256S, 64, 29792, false),
        (CKP_SLH_DSA_SHA2_256F, 64, 49856, true),
        (CKP_SLH_DSA_SHAKE_256F, 64, 49856, true),
    ],
};

/// Codes for a parameter set that the token does not have.
const NO_SUCH_SET: [CK_RV; 3] = [CKR_PARAMETER_SET_NOT_SUPPORTED, CKR_ATTRIBUTE_VALUE_INVALID, CKR_TEMPLATE_INCONSISTENT];

fn sets(context: &Context, family: &Family) -> Outcome {
    let session = context.user_session()?;
    session.need(family.generate)?;
    let info = session.mechanism_info(family.sign)?;
    let pair = |number: CK_ULONG| {
        let public = uses(&[CKA_VERIFY]).ulong(CKA_PARAMETER_SET, number);
        session.generate_pair(&Mechanism::new(family.generate), &public, &uses(&[CKA_SIGN]))
    };
    let mut made = 0;
    for (number, public_len, signature_len, fast) in family.sets {
        let (public, private) = match pair(*number) {
            Err(rv) if NO_SUCH_SET.contains(&rv.0) => continue,
            other => must(other, &format!("C_GenerateKeyPair of parameter set {number}"))?,
        };
        made += 1;
        let value = must(session.attribute(public, CKA_VALUE), "reading CKA_VALUE of the public key")?;
        check!(value.len() == *public_len, "a public key of parameter set {number} has {} bytes", value.len());
        let within = (info.ulMinKeySize..=info.ulMaxKeySize).contains(&(*public_len as CK_ULONG));
        check!(within, "keys of {public_len} bytes, where {} to {} are told", info.ulMinKeySize, info.ulMaxKeySize);
        for key in [public, private] {
            check!(session.number(key, CKA_PARAMETER_SET)? == *number, "a key of set {number} tells another set");
        }
        if *fast {
            let mechanism = Mechanism::new(family.sign);
            let signature = must(session.whole(Deed::Sign, &mechanism, private, b"message"), "C_Sign")?;
            check!(signature.len() == *signature_len, "a signature of set {number} has {} bytes", signature.len());
            let rv = session.verify(&mechanism, public, b"message", &signature);
            check!(rv == Rv::OK, "C_Verify of a signature of set {number} answered {rv}");
        }
    }
    check!(made > 0, "the token lists {} and has none of its parameter sets", mechanism_name(family.generate));
    for number in [0, 13, CK_ULONG::MAX] {
        let rv = code(pair(number));
        check!(NO_SUCH_SET.contains(&rv.0), "C_GenerateKeyPair of parameter set {number:#x} answered {rv}");
    }
    Ok(())
}

/// Keys for a mechanism that signs and verifies; a skip where it does not.
fn signing(session: &Session<'_>, kind: CK_MECHANISM_TYPE, key: Key) -> Result<Pair, Stop> {
    let info = session.mechanism_info(kind)?;
    if !claims(&info, CKF_SIGN) || !claims(&info, CKF_VERIFY) {
        return Err(Stop::Skip(format!("{} does not claim both sides", mechanism_name(kind))));
    }
    session.keys(key)
}

fn contexts(context: &Context, kind: CK_MECHANISM_TYPE, key: Key) -> Outcome {
    let session = context.user_session()?;
    let keys = signing(&session, kind, key)?;
    let with = |text: &[u8]| Mechanism::context(kind, CKH_HEDGE_PREFERRED, text);
    let sign = |mechanism: &Mechanism| session.whole(Deed::Sign, mechanism, keys.private, b"message");
    let verify = |mechanism: &Mechanism, signature: &[u8]| session.verify(mechanism, keys.public, b"message", signature);
    let longest = [5; 255];
    let all = [Mechanism::new(kind), with(b"one"), with(b"two"), with(&longest)];
    for (at, mechanism) in all.iter().enumerate() {
        let signature = must(sign(mechanism), &format!("C_Sign under context {at}"))?;
        for (other, verifier) in all.iter().enumerate() {
            let rv = verify(verifier, &signature);
            let good = if at == other { rv == Rv::OK } else { rv == Rv(CKR_SIGNATURE_INVALID) };
            check!(good, "a signature under context {at} verified under context {other} answers {rv}");
        }
        if at == 0 {
            let rv = verify(&with(b""), &signature);
            check!(rv == Rv::OK, "a signature without a context verified under an empty one answers {rv}");
        }
    }
    let rv = code(sign(&with(&[5; 256])));
    let refused = [CKR_MECHANISM_PARAM_INVALID, CKR_ARGUMENTS_BAD].contains(&rv.0);
    check!(refused, "C_Sign under a context of 256 bytes answered {rv}");
    Ok(())
}

fn hedged(context: &Context, kind: CK_MECHANISM_TYPE, key: Key) -> Outcome {
    let session = context.user_session()?;
    let keys = signing(&session, kind, key)?;
    for (hedge, same) in [(CKH_DETERMINISTIC_REQUIRED, true), (CKH_HEDGE_REQUIRED, false)] {
        let mechanism = Mechanism::context(kind, hedge, b"");
        let sign = || session.whole(Deed::Sign, &mechanism, keys.private, b"message");
        // The token must do it or fail.
        let Ok(first) = sign() else { continue };
        let second = must(sign(), "C_Sign once more")?;
        check!((first == second) == same, "two signatures with hedge variant {hedge} are the same: {}", first == second);
        for signature in [first, second] {
            let rv = session.verify(&mechanism, keys.public, b"message", &signature);
            check!(rv == Rv::OK, "C_Verify of a signature with hedge variant {hedge} answered {rv}");
            let rv = session.verify(&Mechanism::new(kind), keys.public, b"message", &signature);
            check!(rv == Rv::OK, "C_Verify without a parameter, of a signature with hedge variant {hedge}, answered {rv}");
        }
    }
    let rv = code(session.whole(Deed::Sign, &Mechanism::context(kind, 99, b""), keys.private, b"message"));
    check!(rv != Rv::OK, "C_Sign with a hedge variant that there is not answered CKR_OK");
    Ok(())
}

fn prehash(context: &Context, [of_hash, hashing, pure]: [CK_MECHANISM_TYPE; 3], key: Key) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_SHA256)?;
    signing(&session, hashing, key)?;
    let keys = signing(&session, of_hash, key)?;
    let hash = must(session.whole(Deed::Digest, &Mechanism::new(CKM_SHA256), 0, b"message"), "C_Digest")?;
    let of_hash = Mechanism::hash_context(of_hash, CKM_SHA256, b"");
    let (by_hash, by_message) = (
        must(session.whole(Deed::Sign, &of_hash, keys.private, &hash), "C_Sign of a hash")?,
        must(session.whole(Deed::Sign, &Mechanism::new(hashing), keys.private, b"message"), "C_Sign of a message")?,
    );
    let rv = session.verify(&Mechanism::new(hashing), keys.public, b"message", &by_hash);
    check!(rv == Rv::OK, "the signature of a hash, verified by the message, answers {rv}");
    let rv = session.verify(&of_hash, keys.public, &hash, &by_message);
    check!(rv == Rv::OK, "the signature of a message, verified by its hash, answers {rv}");
    for data in [&hash[..], b"message"] {
        let rv = session.verify(&Mechanism::new(pure), keys.public, data, &by_hash);
        check!(rv == Rv(CKR_SIGNATURE_INVALID), "the pure form verifies a signature of the other: {rv}");
    }
    for wrong in [&hash[1..], &[]] {
        let rv = code(session.whole(Deed::Sign, &of_hash, keys.private, wrong));
        check!([CKR_DATA_LEN_RANGE, CKR_DATA_INVALID].contains(&rv.0), "C_Sign of a hash of {} bytes answered {rv}", wrong.len());
    }
    Ok(())
}

fn verify_first(context: &Context, kind: CK_MECHANISM_TYPE, key: Key) -> Outcome {
    let session = context.user_session()?;
    let (keys, mut mechanism) = (signing(&session, kind, key)?, Mechanism::new(kind));
    let pieces: [&[u8]; 3] = [b"a message", b" in ", b"parts"];
    let whole = pieces.concat();
    let single = must(session.whole(Deed::Sign, &mechanism, keys.private, &whole), "C_Sign")?;
    match session.pieces(Deed::Sign, &mechanism, keys.private, &pieces) {
        Ok(signature) => {
            let rv = session.verify(&mechanism, keys.public, &whole, &signature);
            check!(rv == Rv::OK, "C_Verify of a signature made in parts answered {rv}");
        }
        Err(rv) => return Err(Stop::Fail(format!("C_SignUpdate answered {rv}"))),
    }
    let (module, at) = (&context.module, session.handle);
    for (signature, expected) in [(&single, Rv::OK), (&vec![5; single.len()], Rv(CKR_SIGNATURE_INVALID))] {
        let (mut signature, mut raw) = (signature.clone(), mechanism.raw());
        let (place, len) = (signature.as_mut_ptr(), signature.len() as CK_ULONG);
        let begun = ck_3_2!(module, C_VerifySignatureInit, at, &mut raw, keys.public, place, len);
        match begun {
            None | Some(Rv(CKR_FUNCTION_NOT_SUPPORTED)) => {
                return Err(Stop::Skip("the module has no C_VerifySignatureInit".into()));
            }
            Some(rv) => check!(rv == Rv::OK, "C_VerifySignatureInit answered {rv}"),
        }
        for piece in pieces {
            let (mut piece, len) = (piece.to_vec(), piece.len() as CK_ULONG);
            let rv = ck_3_2!(module, C_VerifySignatureUpdate, at, piece.as_mut_ptr(), len).unwrap_or(Rv::OK);
            check!(rv == Rv::OK, "C_VerifySignatureUpdate answered {rv}");
        }
        let rv = ck_3_2!(module, C_VerifySignatureFinal, at).unwrap_or(Rv::OK);
        check!(rv == expected, "C_VerifySignatureFinal answered {rv}, expected {expected}");
    }
    Ok(())
}

fn eddsa_variants(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_EDDSA)?;
    session.need(CKM_EC_EDWARDS_KEY_PAIR_GEN)?;
    let public = uses(&[CKA_VERIFY]).bytes(CKA_EC_PARAMS, *b"\x13\x0cedwards25519");
    let made = session.generate_pair(&Mechanism::new(CKM_EC_EDWARDS_KEY_PAIR_GEN), &public, &uses(&[CKA_SIGN]));
    let keys = match made {
        Ok((public, private)) => Pair { public, private },
        Err(rv) => return Err(Stop::Skip(format!("the token has no curve by the name of edwards25519: {rv}"))),
    };
    let all = [
        ("Ed25519", Mechanism::new(CKM_EDDSA)),
        ("Ed25519ctx of one", Mechanism::eddsa(false, b"one")),
        ("Ed25519ctx of two", Mechanism::eddsa(false, b"two")),
        ("Ed25519ph", Mechanism::eddsa(true, b"")),
        ("Ed25519ph of one", Mechanism::eddsa(true, b"one")),
    ];
    let mut signatures = Vec::new();
    for (name, mechanism) in &all {
        match session.whole(Deed::Sign, mechanism, keys.private, &data_of(37)) {
            Ok(signature) => signatures.push((*name, mechanism, signature)),
            Err(Rv(CKR_MECHANISM_PARAM_INVALID | CKR_ARGUMENTS_BAD)) => {}
            Err(rv) => return Err(Stop::Fail(format!("C_Sign by {name} answered {rv}"))),
        }
    }
    if signatures.len() < 2 {
        return Err(Stop::Skip("the token has no variant of Ed25519 beside the pure one".into()));
    }
    for (name, _, signature) in &signatures {
        for (other, mechanism, _) in &signatures {
            let rv = session.verify(mechanism, keys.public, &data_of(37), signature);
            let good = if name == other { rv == Rv::OK } else { rv == Rv(CKR_SIGNATURE_INVALID) };
            check!(good, "a signature by {name}, verified by {other}, answers {rv}");
        }
    }
    Ok(())
}

fn chacha_nonce_bits(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_CHACHA20_POLY1305)?;
    let key = must(session.create(known_secret(CKK_CHACHA20, &key_bytes(32), &[CKA_ENCRYPT])), "C_CreateObject")?;
    let (bits, bytes) = (Mechanism::chacha_poly(&[7; 12], b"", 8), Mechanism::chacha_poly(&[7; 12], b"", 1));
    let rv = code(session.whole(Deed::Encrypt, &bits, key, b"message"));
    let as_bytes = code(session.whole(Deed::Encrypt, &bytes, key, b"message"));
    check!(rv == Rv::OK, "C_EncryptInit with a nonce of 96 bits told as 96 answered {rv}; told as 12 (bytes): {as_bytes}");
    Ok(())
}
