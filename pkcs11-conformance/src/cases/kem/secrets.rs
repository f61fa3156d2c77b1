//! Shared secrets: the same on both sides, another one each time, and never an error that tells something of the private key.

use cryptoki_sys::*;

use super::{SECRET, case, decapsulate, encapsulate, generated, ml_kem, one_pair, pair_templates, pairs, readable, value};
use crate::case::{Case, Outcome, Stop};
use crate::check;
use crate::context::Context;
use crate::crypt::{Deed, code, must};
use crate::template::{Mechanism, Template};

/// The cases of this family.
pub const CASES: &[Case] = &[
    case!(
        "round-trip",
        Must,
        "5.18.8 C_EncapsulateKey, 5.18.9 C_DecapsulateKey; FIPS 203, 8",
        "For each parameter set: the ciphertext has its length, and both sides get the same secret of 32 bytes.",
        round_trip
    ),
    case!(
        "fresh",
        Security,
        "5.18.8 C_EncapsulateKey; FIPS 203, 7.2",
        "Each encapsulation has a secret and a ciphertext of its own.",
        fresh
    ),
    case!(
        "key-types",
        Must,
        "5.18.8 C_EncapsulateKey, CKA_KEY_TYPE of the template",
        "The secret can be an AES key, and both sides' keys encrypt alike.",
        key_types
    ),
    case!(
        "implicit-rejection",
        Security,
        "6.68 CKM_ML_KEM; FIPS 203, 6.3",
        "A ciphertext that was changed gives another secret and no error, and the same one each time: an error would answer an attacker's \
         question about the private key.",
        implicit_rejection
    ),
    case!(
        "other-key",
        Security,
        "6.68 CKM_ML_KEM; FIPS 203, 6.3",
        "Another private key of the same parameter set gets another secret out of a ciphertext.",
        other_key
    ),
    case!(
        "ciphertext-length",
        Must,
        "5.18.9 C_DecapsulateKey, CKR_WRAPPED_KEY_LEN_RANGE; FIPS 203, 7.3",
        "A ciphertext a byte shorter or longer than its parameter set's, and an empty one, give no key.",
        ciphertext_length
    ),
];

fn round_trip(context: &Context) -> Outcome {
    let session = context.user_session()?;
    for (set, pair) in pairs(&session)? {
        let (ciphertext, secret) = encapsulate(&session, pair.public)?;
        let name = set.name;
        check!(ciphertext.len() == set.ciphertext, "a ciphertext of {name} has {} bytes", ciphertext.len());
        check!(secret.len() == SECRET, "a secret of {name} has {} bytes", secret.len());
        check!(decapsulate(&session, pair.private, &ciphertext)? == secret, "the two sides of {name} do not agree");
        check!(decapsulate(&session, pair.private, &ciphertext)? == secret, "C_DecapsulateKey once more gave another secret");
        check!(!ciphertext.windows(SECRET).any(|window| window == secret), "a ciphertext of {name} holds the plain secret");
    }
    Ok(())
}

fn fresh(context: &Context) -> Outcome {
    let session = context.user_session()?;
    for (set, pair) in pairs(&session)? {
        let (first, second) = (encapsulate(&session, pair.public)?, encapsulate(&session, pair.public)?);
        check!(first.0 != second.0, "two encapsulations with a key of {} gave the same ciphertext", set.name);
        check!(first.1 != second.1, "two encapsulations with a key of {} gave the same secret", set.name);
    }
    Ok(())
}

fn key_types(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_AES_ECB)?;
    for (_, pair) in pairs(&session)? {
        let aes = Template::secret_key(CKK_AES, &[CKA_ENCRYPT]);
        let (ciphertext, theirs) = must(session.encapsulate(&ml_kem(), pair.public, &aes), "C_EncapsulateKey of an AES key")?;
        let ours = session.decapsulate(&ml_kem(), pair.private, &aes, &ciphertext);
        let ours = must(ours, "C_DecapsulateKey of an AES key")?;
        check!(session.number(ours, CKA_KEY_TYPE)? == CKK_AES, "the key is no AES key");
        check!(session.number(ours, CKA_CLASS)? == CKO_SECRET_KEY, "the key is no secret key");
        let len = session.number(ours, CKA_VALUE_LEN)?;
        check!(len == SECRET as CK_ULONG, "CKA_VALUE_LEN of the AES key is {len}");
        let sealed = |key| must(session.whole(Deed::Encrypt, &Mechanism::new(CKM_AES_ECB), key, &[5; 32]), "C_Encrypt");
        check!(sealed(theirs)? == sealed(ours)?, "the two sides' AES keys encrypt differently");
    }
    Ok(())
}

fn implicit_rejection(context: &Context) -> Outcome {
    let session = context.user_session()?;
    for (set, pair) in pairs(&session)? {
        let (ciphertext, secret) = encapsulate(&session, pair.public)?;
        for place in [0, ciphertext.len() / 2, ciphertext.len() - 1] {
            let mut bent = ciphertext.clone();
            bent[place] ^= 1;
            let back = session.decapsulate(&ml_kem(), pair.private, &readable(), &bent);
            let back = must(back, &format!("C_DecapsulateKey of {} with byte {place} changed", set.name))?;
            let first = value(&session, back)?;
            check!(first != secret, "C_DecapsulateKey of a changed ciphertext of {} gave the true secret", set.name);
            check!(first.len() == SECRET, "C_DecapsulateKey of a changed ciphertext gave {} bytes", first.len());
            check!(
                decapsulate(&session, pair.private, &bent)? == first,
                "C_DecapsulateKey of the same changed ciphertext gave two secrets: whoever asks twice learns that it was refused"
            );
        }
    }
    Ok(())
}

fn other_key(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let (set, pair) = one_pair(&session)?;
    let (public, private) = pair_templates(set.number);
    let other = must(generated(&session, &public, &private), "C_GenerateKeyPair")?;
    let (ciphertext, secret) = encapsulate(&session, pair.public)?;
    let theirs = decapsulate(&session, other.private, &ciphertext)?;
    check!(theirs != secret, "two private keys get the same secret out of one ciphertext");
    Ok(())
}

/// Codes for a ciphertext that cannot be one by its length.
const LENGTH: [CK_RV; 4] = [CKR_WRAPPED_KEY_LEN_RANGE, CKR_WRAPPED_KEY_INVALID, CKR_ARGUMENTS_BAD, CKR_ENCRYPTED_DATA_LEN_RANGE];

fn ciphertext_length(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let mut wrong = Vec::new();
    for (set, pair) in pairs(&session)? {
        let (ciphertext, _) = encapsulate(&session, pair.public)?;
        let mut longer = ciphertext.clone();
        longer.push(0);
        for bent in [&ciphertext[..ciphertext.len() - 1], &longer, &ciphertext[..1], &[]] {
            let rv = code(session.decapsulate(&ml_kem(), pair.private, &readable(), bent));
            if !LENGTH.contains(&rv.0) {
                wrong.push(format!("{} with {} bytes: {rv}", set.name, bent.len()));
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Stop::Fail(format!("C_DecapsulateKey of {}", wrong.join("; ")))) }
}
