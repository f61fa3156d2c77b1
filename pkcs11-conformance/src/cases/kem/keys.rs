//! Key pairs for encapsulation: parameter sets, lengths, import.

use cryptoki_sys::*;

use super::{NOT_OFFERED, SECRET, SEED, SETS, case, decapsulate, encapsulate, generated, pair_templates, pairs};
use crate::case::{Case, Outcome, Stop};
use crate::check;
use crate::context::{Context, Session};
use crate::crypt::{code, must};
use crate::module::Rv;
use crate::sample_keys::{Pair, uses};

/// The cases of this family.
pub const CASES: &[Case] = &[
    case!(
        "key-pair",
        Must,
        "6.68 ML-KEM key pair generation; FIPS 203, 8",
        "A pair has the parameter set that was asked for, on both keys, keys of that set's length, and what every generated pair has.",
        key_pair
    ),
    case!(
        "parameter-set",
        Must,
        "6.68 ML-KEM public key objects, CKA_PARAMETER_SET; CKR_PARAMETER_SET_NOT_SUPPORTED",
        "A pair without a parameter set, or of one that there is not, is not made.",
        parameter_set
    ),
    case!(
        "told-sizes",
        Must,
        "6.68 ML-KEM key pair generation, ulMinKeySize and ulMaxKeySize",
        "The sizes that are told are bytes of a public key: the sets within them are there, and none beyond.",
        told_sizes
    ),
    case!(
        "import",
        Must,
        "6.68 ML-KEM public key objects, ML-KEM private key objects",
        "Keys made of a pair's numbers do what the pair does: each decapsulates what was encapsulated to the other.",
        import
    ),
    case!(
        "import-length",
        Must,
        "6.68 ML-KEM public key objects; FIPS 203, 7.2; CKR_ATTRIBUTE_VALUE_INVALID",
        "A public key a byte shorter or longer than its parameter set's, or of another set, is no key.",
        import_length
    ),
];

fn key_pair(context: &Context) -> Outcome {
    let session = context.user_session()?;
    for (set, pair) in pairs(&session)? {
        for key in [pair.public, pair.private] {
            check!(session.number(key, CKA_PARAMETER_SET)? == set.number, "a key of the pair of {} has another set", set.name);
            check!(session.number(key, CKA_KEY_TYPE)? == CKK_ML_KEM, "a key of the pair has another type");
            check!(session.flag(key, CKA_LOCAL)?, "CKA_LOCAL of a generated key is false");
            let by = session.number(key, CKA_KEY_GEN_MECHANISM)?;
            check!(by == CKM_ML_KEM_KEY_PAIR_GEN, "CKA_KEY_GEN_MECHANISM is {by:#x}");
        }
        let public = must(session.attribute(pair.public, CKA_VALUE), "reading CKA_VALUE of the public key")?;
        check!(public.len() == set.public, "the public key of {} has {} bytes, not {}", set.name, public.len(), set.public);
        let (public, private) = pair_templates(set.number);
        let private = private.flag(CKA_SENSITIVE, false).flag(CKA_EXTRACTABLE, true);
        let open = must(generated(&session, &public, &private), "C_GenerateKeyPair with a readable private key")?;
        let value = must(session.attribute(open.private, CKA_VALUE), "reading CKA_VALUE of the private key")?;
        check!(value.len() == set.private, "the private key of {} has {} bytes, not {}", set.name, value.len(), set.private);
        // FIPS 203, 7.1: a decapsulation key holds its encapsulation key, after the part of K-PKE.
        let inside = value.get(set.private - set.public - SEED..set.private - SEED).unwrap_or_default();
        let beside = must(session.attribute(open.public, CKA_VALUE), "reading CKA_VALUE of the public key")?;
        check!(inside == beside, "the private key of {} holds another public key than its pair's", set.name);
        if let Ok(seed) = session.attribute(open.private, CKA_SEED) {
            check!(seed.is_empty() || seed.len() == SEED, "CKA_SEED has {} bytes, not {SEED}", seed.len());
        }
        let shown = session.attribute(pair.private, CKA_SEED);
        let hidden = session.flag(pair.private, CKA_SENSITIVE)?;
        check!(!hidden || shown.is_err() || shown.is_ok_and(|seed| seed.is_empty()), "CKA_SEED of a sensitive key is shown");
    }
    Ok(())
}

fn parameter_set(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_ML_KEM_KEY_PAIR_GEN)?;
    let private = uses(&[CKA_DECAPSULATE]);
    let rv = code(generated(&session, &uses(&[CKA_ENCAPSULATE]), &private));
    let incomplete = [CKR_TEMPLATE_INCOMPLETE, CKR_TEMPLATE_INCONSISTENT].contains(&rv.0);
    check!(incomplete, "C_GenerateKeyPair without CKA_PARAMETER_SET answered {rv}");
    for number in [0, 4, 1 << 16, CK_ULONG::MAX] {
        let rv = code(generated(&session, &pair_templates(number).0, &private));
        check!(NOT_OFFERED.contains(&rv.0), "C_GenerateKeyPair with CKA_PARAMETER_SET {number:#x} answered {rv}");
    }
    Ok(())
}

fn told_sizes(context: &Context) -> Outcome {
    let session = context.user_session()?;
    for kind in [CKM_ML_KEM_KEY_PAIR_GEN, CKM_ML_KEM] {
        let info = session.mechanism_info(kind)?;
        let sizes = info.ulMinKeySize..=info.ulMaxKeySize;
        for set in SETS {
            let (public, private) = pair_templates(set.number);
            let made = generated(&session, &public, &private);
            let within = sizes.contains(&(set.public as CK_ULONG));
            let told = format!("where keys from {} to {} bytes are told", info.ulMinKeySize, info.ulMaxKeySize);
            check!(within || made.is_err(), "C_GenerateKeyPair made a pair of {}, {told}", set.name);
            // A set between the two ends may be missing; the ends are what the token says that it has.
            let end = [info.ulMinKeySize, info.ulMaxKeySize].contains(&(set.public as CK_ULONG));
            check!(!end || made.is_ok(), "C_GenerateKeyPair of {}, {told}, answered {}", set.name, code(made));
        }
        check!(SETS.iter().any(|set| sizes.contains(&(set.public as CK_ULONG))), "no ML-KEM public key has a size that is told");
    }
    Ok(())
}

/// Twins of a readable pair, made of its numbers.
fn twins(session: &Session<'_>, pair: Pair, set: CK_ULONG) -> Result<Pair, Stop> {
    let of = |class: CK_ULONG, usage| {
        uses(&[usage]).ulong(CKA_CLASS, class).ulong(CKA_KEY_TYPE, CKK_ML_KEM).ulong(CKA_PARAMETER_SET, set)
    };
    let number = |key, kind, what: &str| must(session.attribute(key, kind), &format!("reading {what}"));
    let public = of(CKO_PUBLIC_KEY, CKA_ENCAPSULATE).bytes(CKA_VALUE, number(pair.public, CKA_VALUE, "the public key")?);
    let private = of(CKO_PRIVATE_KEY, CKA_DECAPSULATE).bytes(CKA_VALUE, number(pair.private, CKA_VALUE, "the private key")?);
    // For the highest compatibility, the standard says, both are given.
    let private = match session.attribute(pair.private, CKA_SEED) {
        Ok(seed) if !seed.is_empty() => private.bytes(CKA_SEED, seed),
        _ => private,
    };
    let public = must(session.create(public), "C_CreateObject of an ML-KEM public key")?;
    Ok(Pair { public, private: must(session.create(private), "C_CreateObject of an ML-KEM private key")? })
}

fn import(context: &Context) -> Outcome {
    let session = context.user_session()?;
    for (set, _) in pairs(&session)? {
        let (public, private) = pair_templates(set.number);
        let private = private.flag(CKA_SENSITIVE, false).flag(CKA_EXTRACTABLE, true);
        let own = must(generated(&session, &public, &private), "C_GenerateKeyPair with a readable private key")?;
        let twin = twins(&session, own, set.number)?;
        for (to, by) in [(own.public, twin.private), (twin.public, own.private), (twin.public, twin.private)] {
            let (ciphertext, secret) = encapsulate(&session, to)?;
            check!(secret.len() == SECRET, "the shared secret has {} bytes", secret.len());
            check!(decapsulate(&session, by, &ciphertext)? == secret, "a key of {} and its import do not agree", set.name);
        }
        check!(!session.flag(twin.private, CKA_LOCAL)?, "CKA_LOCAL of an imported key is true");
    }
    Ok(())
}

fn import_length(context: &Context) -> Outcome {
    let session = context.user_session()?;
    for (set, pair) in pairs(&session)? {
        let good = must(session.attribute(pair.public, CKA_VALUE), "reading CKA_VALUE of the public key")?;
        let mut longer = good.clone();
        longer.push(0);
        let try_with = |value: &[u8], number: CK_ULONG| {
            let template = uses(&[CKA_ENCAPSULATE]).ulong(CKA_CLASS, CKO_PUBLIC_KEY).ulong(CKA_KEY_TYPE, CKK_ML_KEM);
            session.create(template.ulong(CKA_PARAMETER_SET, number).bytes(CKA_VALUE, value))
        };
        check!(try_with(&good, set.number).is_ok(), "C_CreateObject of a public key of {} was refused", set.name);
        let another = if set.number == CKP_ML_KEM_512 { CKP_ML_KEM_768 } else { CKP_ML_KEM_512 };
        let wrong = [(&good[1..], set.number), (&longer[..], set.number), (&[][..], set.number), (&good[..], another)];
        for (value, number) in wrong {
            // Some tokens look at a key when it is used: then it must not be usable.
            let used = try_with(value, number).and_then(|key| session.encapsulate(&super::ml_kem(), key, &super::readable()));
            let rv = code(used);
            check!(
                rv != Rv::OK && rv != Rv(CKR_FUNCTION_NOT_SUPPORTED),
                "a public key of {} bytes as one of parameter set {number} encapsulates: {rv}",
                value.len()
            );
        }
    }
    Ok(())
}
