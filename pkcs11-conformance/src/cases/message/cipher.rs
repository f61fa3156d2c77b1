//! Encryption and decryption of messages: round trips, parts, tags, lengths.

use cryptoki_sys::*;

use super::{CCM, CHACHA, Cipher, GCM, anew, as_taken, begin, case, finish, key_for, seal};
use crate::case::{Case, Outcome};
use crate::check;
use crate::context::{Context, Session};
use crate::crypt::{Deed, code, must};
use crate::known_keys::data_of;
use crate::module::Rv;
use crate::newer_calls::{MessageParameter, Way};
use crate::template::Mechanism;

/// The cases of this family.
pub const CASES: &[Case] = &[
    case!(
        "round-trip-gcm",
        Must,
        "5.9.2 C_EncryptMessage, 5.11.2 C_DecryptMessage; 6.13 AES-GCM",
        "Many messages under one Init, empty ones and such without associated data included, come back as they were.",
        |context| round_trip(context, GCM)
    ),
    case!(
        "round-trip-ccm",
        Must,
        "5.9.2 C_EncryptMessage, 5.11.2 C_DecryptMessage; 6.13 AES-CCM",
        "As message/round-trip-gcm, by AES-CCM.",
        |context| round_trip(context, CCM)
    ),
    case!(
        "round-trip-chacha",
        Must,
        "5.9.2 C_EncryptMessage, 5.11.2 C_DecryptMessage; 6.61 ChaCha20/Poly1305",
        "As message/round-trip-gcm, by ChaCha20-Poly1305, whose nonce has its length in bits.",
        |context| round_trip(context, CHACHA)
    ),
    case!(
        "equals-encrypt",
        Must,
        "5.9.2 C_EncryptMessage, 5.8.2 C_Encrypt; 6.13 AES-GCM: the tag is in pTag, or after the ciphertext",
        "C_EncryptMessage gives the ciphertext of C_Encrypt, and in pTag the bytes that C_Encrypt puts after it.",
        equals_encrypt
    ),
    case!(
        "parts-gcm",
        Must,
        "5.9.3 C_EncryptMessageBegin, 5.9.4 C_EncryptMessageNext, 5.11.3, 5.11.4",
        "A message in parts, wherever it is cut, gives what it gives in one call, its tag included, and decrypts in parts.",
        |context| parts(context, GCM)
    ),
    case!(
        "parts-ccm",
        Must,
        "5.9.3 C_EncryptMessageBegin, 5.9.4 C_EncryptMessageNext, 5.11.3, 5.11.4; 6.13 AES-CCM",
        "As message/parts-gcm, by AES-CCM.",
        |context| parts(context, CCM)
    ),
    case!(
        "parts-chacha",
        Must,
        "5.9.3 C_EncryptMessageBegin, 5.9.4 C_EncryptMessageNext, 5.11.3, 5.11.4; 6.61 ChaCha20/Poly1305",
        "As message/parts-gcm, by ChaCha20-Poly1305.",
        |context| parts(context, CHACHA)
    ),
    case!(
        "tampered-gcm",
        Security,
        "5.11.2 C_DecryptMessage, CKR_AEAD_DECRYPT_FAILED; 6.13 AES-GCM",
        "A changed tag, ciphertext, vector or associated data gives CKR_AEAD_DECRYPT_FAILED and no plaintext, in one call and in parts.",
        |context| tampered(context, GCM)
    ),
    case!(
        "tampered-ccm",
        Security,
        "5.11.2 C_DecryptMessage, CKR_AEAD_DECRYPT_FAILED; 6.13 AES-CCM",
        "As message/tampered-gcm, by AES-CCM.",
        |context| tampered(context, CCM)
    ),
    case!(
        "tampered-chacha",
        Security,
        "5.11.2 C_DecryptMessage, CKR_AEAD_DECRYPT_FAILED; 6.61 ChaCha20/Poly1305",
        "As message/tampered-gcm, by ChaCha20-Poly1305.",
        |context| tampered(context, CHACHA)
    ),
    case!(
        "short-tag",
        Security,
        "6.13 AES-GCM, ulTagBits of CK_GCM_MESSAGE_PARAMS; SP 800-38D, 5.2.1.2",
        "A message without a tag, or with one longer than 128 bits, is neither encrypted nor decrypted: without a tag nothing is authenticated.",
        short_tag
    ),
    case!(
        "error-keeps-process",
        Must,
        "5.9.2 C_EncryptMessage, 5.11.2 C_DecryptMessage: a call begins and ends a message; 5.11.5 C_MessageDecryptFinal ends them all",
        "A message that is refused ends itself and nothing else: whoever sends one forged message must not end the receiver's others.",
        error_keeps_process
    ),
    case!(
        "buffer",
        Must,
        "5.9.2 C_EncryptMessage, CKR_BUFFER_TOO_SMALL; 5.2",
        "Asking for the length and a buffer that is too small tell it and end nothing: the message can still be encrypted.",
        buffer
    ),
];

const AAD: &[u8] = b"beside the message";

fn round_trip(context: &Context, cipher: Cipher) -> Outcome {
    let session = context.user_session()?;
    let key = key_for(&session, cipher)?;
    let cipher = as_taken(&session, cipher, key);
    begin(&session, Way::Encrypt, cipher, key)?;
    begin(&session, Way::Decrypt, cipher, key)?;
    for (number, (aad, len)) in [(AAD, 37), (&[], 37), (AAD, 0), (AAD, 1), (AAD, 16), (AAD, 4096)].into_iter().enumerate() {
        let data = data_of(len);
        let mut sealed = seal(&session, cipher, number as u8, aad, &data)?;
        check!(sealed.data.len() == len, "C_EncryptMessage of {len} bytes gave {}", sealed.data.len());
        check!(sealed.parameter.tag.iter().any(|byte| *byte != 0), "C_EncryptMessage left pTag as it was");
        check!(sealed.parameter.iv == vec![number as u8; cipher.iv], "C_EncryptMessage changed a vector that was given");
        check!(len < 16 || sealed.data != data, "C_EncryptMessage left the data as they were");
        let opened = session.message(Way::Decrypt, &mut sealed.parameter, aad, &sealed.data);
        let opened = must(opened, &format!("C_DecryptMessage of {len} bytes"))?;
        check!(opened == data, "C_DecryptMessage gave other data than were encrypted ({len} bytes)");
    }
    finish(&session, Way::Encrypt)?;
    finish(&session, Way::Decrypt)
}

fn equals_encrypt(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let key = key_for(&session, GCM)?;
    begin(&session, Way::Encrypt, GCM, key)?;
    let data = data_of(37);
    let sealed = seal(&session, GCM, 7, AAD, &data)?;
    finish(&session, Way::Encrypt)?;
    let single = must(session.whole(Deed::Encrypt, &Mechanism::gcm(&[7; 12], AAD, 128), key, &data), "C_Encrypt")?;
    check!(single[..37] == sealed.data, "C_EncryptMessage and C_Encrypt give different ciphertexts");
    check!(single[37..] == sealed.parameter.tag, "pTag is not the tag that C_Encrypt puts after the ciphertext");
    Ok(())
}

/// The cuts that the parts are tried with; the last piece may be empty.
fn cuts(data: &[u8]) -> Vec<Vec<&[u8]>> {
    let (head, tail) = data.split_at(data.len().min(16));
    vec![vec![data], vec![head, tail], vec![data, &[]], vec![&[], data], data.chunks(1).collect(), data.chunks(7).collect()]
}

/// A message in parts: what came out of all calls.
fn pieces(session: &Session<'_>, way: Way, parameter: &mut MessageParameter, cut: &[&[u8]]) -> Result<Vec<u8>, Rv> {
    match session.message_begin(way, parameter, AAD) {
        Rv::OK => {}
        rv => return Err(rv),
    }
    let mut all = Vec::new();
    for (number, piece) in cut.iter().enumerate() {
        all.extend(session.message_next(way, parameter, piece, number + 1 == cut.len())?);
    }
    Ok(all)
}

fn parts(context: &Context, cipher: Cipher) -> Outcome {
    let session = context.user_session()?;
    let key = key_for(&session, cipher)?;
    let cipher = as_taken(&session, cipher, key);
    begin(&session, Way::Encrypt, cipher, key)?;
    begin(&session, Way::Decrypt, cipher, key)?;
    let data = data_of(37);
    let single = seal(&session, cipher, 7, AAD, &data)?;
    for cut in cuts(&data) {
        let lengths: Vec<usize> = cut.iter().map(|piece| piece.len()).collect();
        let mut parameter = cipher.given(&vec![7; cipher.iv], data.len());
        let sealed = pieces(&session, Way::Encrypt, &mut parameter, &cut);
        let sealed = match sealed {
            // A token may have messages in one part only.
            Err(Rv(CKR_FUNCTION_NOT_SUPPORTED)) => {
                return Err(crate::case::Stop::Skip("C_EncryptMessageBegin is not supported".into()));
            }
            other => must(other, &format!("C_EncryptMessageNext in parts of {lengths:?}"))?,
        };
        check!(sealed == single.data, "the ciphertext in parts of {lengths:?} bytes differs from the one in one call");
        check!(parameter.tag == single.parameter.tag, "the tag of parts of {lengths:?} bytes differs from the one in one call");
    }
    for cut in cuts(&single.data) {
        let lengths: Vec<usize> = cut.iter().map(|piece| piece.len()).collect();
        let mut parameter = cipher.given(&vec![7; cipher.iv], data.len());
        parameter.tag.clone_from(&single.parameter.tag);
        let opened = pieces(&session, Way::Decrypt, &mut parameter, &cut);
        let opened = must(opened, &format!("C_DecryptMessageNext in parts of {lengths:?}"))?;
        check!(opened == data, "the plaintext in parts of {lengths:?} bytes differs from what was encrypted");
    }
    finish(&session, Way::Encrypt)?;
    finish(&session, Way::Decrypt)
}

fn tampered(context: &Context, cipher: Cipher) -> Outcome {
    let session = context.user_session()?;
    let key = key_for(&session, cipher)?;
    let cipher = as_taken(&session, cipher, key);
    begin(&session, Way::Encrypt, cipher, key)?;
    begin(&session, Way::Decrypt, cipher, key)?;
    let data = data_of(37);
    let good = seal(&session, cipher, 7, AAD, &data)?;
    let whole = |parameter: &mut MessageParameter, aad: &[u8], sealed: &[u8]| {
        session.message_into(Way::Decrypt, parameter, aad, sealed, Some(sealed.len() + 64))
    };
    let mut wrong = Vec::new();
    for what in ["tag", "tag's last byte", "ciphertext", "vector", "associated data", "all but the last byte"] {
        let mut parameter = cipher.given(&good.parameter.iv, data.len());
        parameter.tag.clone_from(&good.parameter.tag);
        let (mut sealed, mut aad) = (good.data.clone(), AAD.to_vec());
        match what {
            "tag" => parameter.tag[0] ^= 1,
            "tag's last byte" => parameter.tag[15] ^= 0x80,
            "ciphertext" => sealed[5] ^= 1,
            "vector" => parameter.iv[0] ^= 1,
            "associated data" => aad[0] ^= 1,
            _ => {
                sealed.pop();
                parameter.data_len -= 1;
            }
        }
        let (rv, _, out) = whole(&mut parameter, &aad, &sealed);
        if rv != Rv(CKR_AEAD_DECRYPT_FAILED) {
            wrong.push(format!("C_DecryptMessage with another {what}: {rv}"));
        }
        anew(&session, Way::Decrypt, cipher, key)?;
        if out.windows(16).any(|window| window == &data[8..24]) {
            wrong.push(format!("C_DecryptMessage with another {what} left the plaintext in the buffer"));
        }
    }
    let mut parameter = cipher.given(&good.parameter.iv, data.len());
    parameter.tag = vec![1; 16];
    let rv = code(pieces(&session, Way::Decrypt, &mut parameter, &[&good.data[..16], &good.data[16..]]));
    // Messages in parts are no duty; where there are any, a wrong tag is one.
    if ![CKR_AEAD_DECRYPT_FAILED, CKR_FUNCTION_NOT_SUPPORTED].contains(&rv.0) {
        wrong.push(format!("C_DecryptMessageNext with another tag: {rv}"));
    }
    check!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
}

fn short_tag(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let key = key_for(&session, GCM)?;
    begin(&session, Way::Encrypt, GCM, key)?;
    begin(&session, Way::Decrypt, GCM, key)?;
    let good = seal(&session, GCM, 7, AAD, &data_of(37))?;
    for len in [0, 17] {
        let mut parameter = MessageParameter::given(CKM_AES_GCM, &[8; 12], 37);
        parameter.tag = vec![0; len];
        let rv = code(session.message(Way::Encrypt, &mut parameter, AAD, &data_of(37)));
        check!(refused(rv), "C_EncryptMessage with a tag of {} bits answered {rv}", len * 8);
        let mut parameter = MessageParameter::given(CKM_AES_GCM, &good.parameter.iv, 37);
        parameter.tag = good.parameter.tag.iter().copied().chain([0]).take(len).collect();
        let rv = code(session.message(Way::Decrypt, &mut parameter, AAD, &good.data));
        anew(&session, Way::Encrypt, GCM, key)?;
        anew(&session, Way::Decrypt, GCM, key)?;
        check!(rv != Rv::OK, "C_DecryptMessage with a tag of {} bits answered CKR_OK", len * 8);
    }
    Ok(())
}

fn error_keeps_process(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let key = key_for(&session, GCM)?;
    begin(&session, Way::Encrypt, GCM, key)?;
    begin(&session, Way::Decrypt, GCM, key)?;
    let good = seal(&session, GCM, 7, AAD, &data_of(37))?;
    let mut forged = GCM.given(&good.parameter.iv, 37);
    forged.tag = vec![1; 16];
    let rv = code(session.message(Way::Decrypt, &mut forged, AAD, &good.data));
    check!(rv != Rv::OK, "C_DecryptMessage of a forged message answered CKR_OK");
    forged.tag.clone_from(&good.parameter.tag);
    let opened = session.message(Way::Decrypt, &mut forged, AAD, &good.data);
    let opened = must(opened, "C_DecryptMessage of a good message after a forged one")?;
    check!(opened == data_of(37), "C_DecryptMessage of a good message after a forged one gave other data");
    finish(&session, Way::Encrypt)?;
    finish(&session, Way::Decrypt)
}

fn refused(rv: Rv) -> bool {
    [CKR_MECHANISM_PARAM_INVALID, CKR_ARGUMENTS_BAD].contains(&rv.0)
}

fn buffer(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let key = key_for(&session, GCM)?;
    begin(&session, Way::Encrypt, GCM, key)?;
    begin(&session, Way::Decrypt, GCM, key)?;
    let data = data_of(37);
    let mut parameter = MessageParameter::given(CKM_AES_GCM, &[7; 12], 37);
    for (way, input) in [(Way::Encrypt, None), (Way::Decrypt, Some(&data))] {
        let sealed = seal(&session, GCM, 7, AAD, &data)?;
        if input.is_some() {
            parameter.tag.clone_from(&sealed.parameter.tag);
        }
        let input = if input.is_some() { &sealed.data } else { &data };
        let (rv, len, _) = session.message_into(way, &mut parameter, AAD, input, None);
        check!(rv == Rv::OK, "C_{way:?}Message for the length answered {rv}");
        check!((37..=53).contains(&len), "C_{way:?}Message tells {len} bytes for 37");
        for room in [0, 36] {
            let (rv, len, out) = session.message_into(way, &mut parameter, AAD, input, Some(room));
            check!(rv == Rv(CKR_BUFFER_TOO_SMALL), "C_{way:?}Message with room for {room} bytes answered {rv}");
            check!((37..=53).contains(&len), "C_{way:?}Message with room for {room} bytes tells {len}");
            check!(out.iter().all(|byte| *byte == 0xa5), "C_{way:?}Message wrote into a buffer that was too small");
        }
        let done = must(session.message(way, &mut parameter, AAD, input), &format!("C_{way:?}Message after the length"))?;
        check!(done == if way == Way::Encrypt { sealed.data } else { data.clone() }, "C_{way:?}Message gave other data");
    }
    finish(&session, Way::Encrypt)?;
    finish(&session, Way::Decrypt)
}
