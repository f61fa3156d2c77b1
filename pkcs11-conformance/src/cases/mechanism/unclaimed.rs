//! A use that a mechanism's flags do not claim is refused.

use cryptoki_sys::*;

use super::{claims, list};
use crate::case::{Case, Level, Outcome, Stop};
use crate::check;
use crate::context::{Context, Session};
use crate::crypt::{Deed, code, mechanism_name};
use crate::known::{Key, Known, Parameter, known};
use crate::known_keys::{data_of, key_bytes};
use crate::module::Rv;
use crate::newer_calls::Way;
use crate::sample_keys::{Pair, known_secret, uses};
use crate::template::{Mechanism, Template};

macro_rules! unclaimed {
    ($name:literal, $flag:ident, $section:literal, $tries:ident) => {
        Case {
            id: concat!("mechanism/unclaimed-", $name),
            level: Level::Must,
            section: concat!("3.1, 5.5.6 C_GetMechanismInfo; ", $section),
            says: concat!("A mechanism without ", stringify!($flag), " refuses that use: what the flags say is what there is."),
            run: |context| unclaimed(context, $flag, $tries),
        }
    };
}

/// One case a use; each tries every mechanism of the token that the suite knows.
pub const CASES: &[Case] = &[
    unclaimed!("digest", CKF_DIGEST, "5.12.1 C_DigestInit", digest),
    unclaimed!("encrypt", CKF_ENCRYPT, "5.8.1 C_EncryptInit", encrypt),
    unclaimed!("decrypt", CKF_DECRYPT, "5.10.1 C_DecryptInit", decrypt),
    unclaimed!("sign", CKF_SIGN, "5.13.1 C_SignInit", sign),
    unclaimed!("verify", CKF_VERIFY, "5.15.1 C_VerifyInit", verify),
    unclaimed!("sign-recover", CKF_SIGN_RECOVER, "5.13.5 C_SignRecoverInit", sign_recover),
    unclaimed!("verify-recover", CKF_VERIFY_RECOVER, "5.15.5 C_VerifyRecoverInit", verify_recover),
    unclaimed!("wrap", CKF_WRAP, "5.18.3 C_WrapKey", wrap),
    unclaimed!("unwrap", CKF_UNWRAP, "5.18.4 C_UnwrapKey", unwrap),
    unclaimed!("derive", CKF_DERIVE, "5.18.5 C_DeriveKey", derive),
    unclaimed!("generate", CKF_GENERATE, "5.18.1 C_GenerateKey", generate),
    unclaimed!("generate-pair", CKF_GENERATE_KEY_PAIR, "5.18.2 C_GenerateKeyPair", generate_pair),
    unclaimed!("message-encrypt", CKF_MESSAGE_ENCRYPT, "5.9.1 C_MessageEncryptInit", message_encrypt),
    unclaimed!("message-decrypt", CKF_MESSAGE_DECRYPT, "5.11.1 C_MessageDecryptInit", message_decrypt),
    unclaimed!("message-sign", CKF_MESSAGE_SIGN, "5.14.1 C_MessageSignInit", message_sign),
    unclaimed!("message-verify", CKF_MESSAGE_VERIFY, "5.16.1 C_MessageVerifyInit", message_verify),
    unclaimed!("encapsulate", CKF_ENCAPSULATE, "3.2, 5.18.8 C_EncapsulateKey", encapsulate),
    unclaimed!("decapsulate", CKF_DECAPSULATE, "3.2, 5.18.9 C_DecapsulateKey", decapsulate),
];

/// Codes that refuse a use. That a function is not there at all refuses every use of it.
const REFUSALS: [CK_RV; 7] = [
    CKR_MECHANISM_INVALID,
    CKR_KEY_FUNCTION_NOT_PERMITTED,
    CKR_KEY_TYPE_INCONSISTENT,
    CKR_WRAPPING_KEY_TYPE_INCONSISTENT,
    CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT,
    CKR_FUNCTION_NOT_SUPPORTED,
    CKR_KEY_NOT_WRAPPABLE,
];

type Tries = fn(&Session<'_>, &Known, &Mechanism, Pair) -> Rv;

fn unclaimed(context: &Context, flag: u64, tries: Tries) -> Outcome {
    let (mut tried, mut wrong) = (0, Vec::new());
    let first = context.user_session()?;
    for row in list::listed(context)?.into_iter().filter_map(known) {
        if claims(&first.mechanism_info(row.kind)?, flag) {
            continue;
        }
        // A session for each: an operation that was started against the rule must not stand in the way of the next.
        let session = context.user_session()?;
        let keys = all_round(&session, row.key)?;
        let peers = if row.parameter == Parameter::Peer { Some(session.keys(row.key)?.public) } else { Some(keys.public) };
        let rv = tries(&session, row, &session.sample(row, 32, peers)?, keys);
        tried += 1;
        if !REFUSALS.contains(&rv.0) {
            wrong.push(format!("{} {rv}", mechanism_name(row.kind)));
        }
    }
    if tried == 0 {
        return Err(Stop::Skip("every mechanism that the suite knows claims this use".into()));
    }
    check!(wrong.is_empty(), "{} of {tried} mechanisms do not refuse it: {}", wrong.len(), wrong.join(", "));
    Ok(())
}

/// A key of the mechanism's kind that permits everything; an AES key where it takes none, or none that permits this use.
fn all_round(session: &Session<'_>, key: Key) -> Result<Pair, Stop> {
    session.keys(if key == Key::None { Key::Aes } else { key })
}

fn digest(session: &Session<'_>, _: &Known, mechanism: &Mechanism, _: Pair) -> Rv {
    session.init(Deed::Digest, mechanism, 0)
}

fn encrypt(session: &Session<'_>, _: &Known, mechanism: &Mechanism, keys: Pair) -> Rv {
    session.init(Deed::Encrypt, mechanism, keys.public)
}

fn decrypt(session: &Session<'_>, _: &Known, mechanism: &Mechanism, keys: Pair) -> Rv {
    session.init(Deed::Decrypt, mechanism, keys.private)
}

fn sign(session: &Session<'_>, _: &Known, mechanism: &Mechanism, keys: Pair) -> Rv {
    session.init(Deed::Sign, mechanism, keys.private)
}

fn verify(session: &Session<'_>, _: &Known, mechanism: &Mechanism, keys: Pair) -> Rv {
    session.verify_init(mechanism, keys.public)
}

fn sign_recover(session: &Session<'_>, row: &Known, mechanism: &Mechanism, keys: Pair) -> Rv {
    code(session.sign_recover(mechanism, keys.private, &row.data()))
}

fn verify_recover(session: &Session<'_>, row: &Known, mechanism: &Mechanism, keys: Pair) -> Rv {
    code(session.verify_recover(mechanism, keys.public, &row.data()))
}

fn wrap(session: &Session<'_>, _: &Known, mechanism: &Mechanism, keys: Pair) -> Rv {
    match session.create(known_secret(CKK_AES, &key_bytes(32), &[])) {
        Ok(key) => code(session.wrap(mechanism, keys.public, key)),
        Err(rv) => rv,
    }
}

fn unwrap(session: &Session<'_>, _: &Known, mechanism: &Mechanism, keys: Pair) -> Rv {
    code(session.unwrap(mechanism, keys.private, &data_of(32), &Template::secret_key(CKK_AES, &[])))
}

fn derive(session: &Session<'_>, _: &Known, mechanism: &Mechanism, keys: Pair) -> Rv {
    let template = Template::secret_key(CKK_GENERIC_SECRET, &[]).ulong(CKA_VALUE_LEN, 16);
    code(session.derive(mechanism, keys.private, &template))
}

fn generate(session: &Session<'_>, _: &Known, mechanism: &Mechanism, _: Pair) -> Rv {
    code(session.generate(mechanism.clone(), Template::secret_key(CKK_AES, &[]).ulong(CKA_VALUE_LEN, 32)))
}

fn generate_pair(session: &Session<'_>, row: &Known, mechanism: &Mechanism, _: Pair) -> Rv {
    let (public, private) = session.pair_templates(row.key).unwrap_or((uses(&[]), uses(&[])));
    code(session.generate_pair(mechanism, &public, &private))
}

fn message_encrypt(session: &Session<'_>, _: &Known, mechanism: &Mechanism, keys: Pair) -> Rv {
    session.message_init(Way::Encrypt, mechanism, keys.public)
}

fn message_decrypt(session: &Session<'_>, _: &Known, mechanism: &Mechanism, keys: Pair) -> Rv {
    session.message_init(Way::Decrypt, mechanism, keys.private)
}

fn message_sign(session: &Session<'_>, _: &Known, mechanism: &Mechanism, keys: Pair) -> Rv {
    session.message_init(Way::Sign, mechanism, keys.private)
}

fn message_verify(session: &Session<'_>, _: &Known, mechanism: &Mechanism, keys: Pair) -> Rv {
    session.message_init(Way::Verify, mechanism, keys.public)
}

fn encapsulate(session: &Session<'_>, _: &Known, mechanism: &Mechanism, keys: Pair) -> Rv {
    code(session.encapsulate(mechanism, keys.public, &Template::secret_key(CKK_AES, &[])))
}

fn decapsulate(session: &Session<'_>, _: &Known, mechanism: &Mechanism, keys: Pair) -> Rv {
    code(session.decapsulate(mechanism, keys.private, &Template::secret_key(CKK_AES, &[]), &data_of(32)))
}
