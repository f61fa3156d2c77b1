//! Vectors that the token makes: of each kind of generator, none twice, the fixed bits kept.

use std::collections::BTreeSet;

use cryptoki_sys::*;

use super::{CCM, Cipher, GCM, anew, begin, case, finish, key_for};
use crate::case::{Case, Outcome, Stop};
use crate::check;
use crate::context::Context;
use crate::crypt::must;
use crate::known_keys::data_of;
use crate::module::Rv;
use crate::newer_calls::{MessageParameter, Way};

/// The cases of this family.
pub const CASES: &[Case] = &[
    case!(
        "generate-gcm",
        Must,
        "6.13 AES-GCM, CKG_GENERATE: modules must implement it",
        "A token that encrypts messages makes their vectors by CKG_GENERATE, tells each in pIv, and makes none twice.",
        |context| generates(context, GCM, CKG_GENERATE, 0)
    ),
    case!(
        "generate-ccm",
        Must,
        "6.13 AES-CCM, CKG_GENERATE: modules must implement it",
        "As message/generate-gcm, by AES-CCM.",
        |context| generates(context, CCM, CKG_GENERATE, 0)
    ),
    case!(
        "generate-random",
        Must,
        "6.13 AES-GCM, CKG_GENERATE_RANDOM",
        "As message/generate-gcm, for vectors of random bits.",
        |context| generates(context, GCM, CKG_GENERATE_RANDOM, 0)
    ),
    case!(
        "generate-counter",
        Must,
        "6.13 AES-GCM, CKG_GENERATE_COUNTER",
        "Vectors by a counter begin with zero and go up by one, and none comes twice.",
        |context| generates(context, GCM, CKG_GENERATE_COUNTER, 32)
    ),
    case!(
        "generate-counter-xor",
        Must,
        "6.13 AES-GCM, CKG_GENERATE_COUNTER_XOR",
        "A counter over what the caller gave begins with zero, which leaves the caller's vector as it is, and none comes twice.",
        |context| generates(context, GCM, CKG_GENERATE_COUNTER_XOR, 32)
    ),
    case!(
        "generate-fixed",
        Must,
        "6.13 AES-GCM, ulIvFixedBits",
        "The first bits that the caller fixes stay as they are in every vector that is made.",
        |context| generates(context, GCM, CKG_GENERATE, 32)
    ),
    case!(
        "generator-unknown",
        Must,
        "6.13 AES-GCM, ivGenerator; CKR_MECHANISM_PARAM_INVALID",
        "A generator that there is not, and more fixed bits than the vector has, are refused.",
        generator_unknown
    ),
];

/// Messages for which vectors are made.
const MESSAGES: usize = 20;

fn generates(context: &Context, cipher: Cipher, generator: CK_GENERATOR_FUNCTION, fixed_bits: CK_ULONG) -> Outcome {
    let session = context.user_session()?;
    let key = key_for(&session, cipher)?;
    begin(&session, Way::Encrypt, cipher, key)?;
    begin(&session, Way::Decrypt, cipher, key)?;
    let (mut seen, data) = (BTreeSet::new(), data_of(37));
    let mut all = Vec::new();
    for _ in 0..MESSAGES {
        let mut parameter = MessageParameter::given(cipher.kind, &vec![0x5a; cipher.iv], data.len());
        (parameter.generator, parameter.fixed_bits) = (generator, fixed_bits);
        let sealed = match session.message(Way::Encrypt, &mut parameter, b"beside", &data) {
            // Only CKG_GENERATE without fixed bits is a duty.
            Err(rv @ Rv(CKR_MECHANISM_PARAM_INVALID)) if generator != CKG_GENERATE || fixed_bits != 0 => {
                return Err(Stop::Skip(format!("the token has no such generator: {rv}")));
            }
            other => must(other, "C_EncryptMessage with a vector that the token makes")?,
        };
        let kept = fixed_bits as usize / 8;
        check!(parameter.iv[..kept] == vec![0x5a; kept], "the fixed bits were changed: {:02x?}", parameter.iv);
        check!(seen.insert(parameter.iv.clone()), "the vector {:02x?} was made twice for one key", parameter.iv);
        all.push(parameter.iv.clone());
        parameter.generator = CKG_NO_GENERATE;
        let opened = must(session.message(Way::Decrypt, &mut parameter, b"beside", &sealed), "C_DecryptMessage")?;
        check!(opened == data, "what was encrypted under a vector of the token's does not decrypt");
    }
    finish(&session, Way::Encrypt)?;
    finish(&session, Way::Decrypt)?;
    let counts = [CKG_GENERATE_COUNTER, CKG_GENERATE_COUNTER_XOR].contains(&generator);
    for (at, iv) in all.iter().enumerate().filter(|_| counts) {
        let given = if generator == CKG_GENERATE_COUNTER_XOR { 0x5a } else { 0 };
        let tail = iv[fixed_bits as usize / 8..].iter();
        let counted = tail.fold(0u64, |number, byte| number << 8 | u64::from(byte ^ given));
        check!(counted == at as u64, "the counter of vector {at} is {counted}: {iv:02x?}");
    }
    Ok(())
}

fn generator_unknown(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let key = key_for(&session, GCM)?;
    begin(&session, Way::Encrypt, GCM, key)?;
    for (generator, fixed_bits) in [(99, 0), (CK_ULONG::MAX, 0), (CKG_GENERATE, 97), (CKG_GENERATE, CK_ULONG::MAX)] {
        let mut parameter = MessageParameter::given(CKM_AES_GCM, &[7; 12], 37);
        (parameter.generator, parameter.fixed_bits) = (generator, fixed_bits);
        let rv = crate::crypt::code(session.message(Way::Encrypt, &mut parameter, b"", &data_of(37)));
        anew(&session, Way::Encrypt, GCM, key)?;
        let refused = [CKR_MECHANISM_PARAM_INVALID, CKR_ARGUMENTS_BAD].contains(&rv.0);
        check!(refused, "C_EncryptMessage with generator {generator:#x} and {fixed_bits} fixed bits answered {rv}");
    }
    Ok(())
}
