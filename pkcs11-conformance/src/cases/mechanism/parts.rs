//! Data in parts give what the same data give in one call, wherever they are cut.

use cryptoki_sys::*;

use super::claims;
use crate::case::{Case, Level, Outcome, Stop};
use crate::check;
use crate::context::{Context, Session};
use crate::crypt::{Deed, mechanism_name, must};
use crate::known::{Known, known, known_mechanisms};
use crate::module::Rv;
use crate::sample_keys::Pair;
use crate::template::Mechanism;

macro_rules! parts_cases {
    (
        stream { $($stream:ident: $stream_key:ident, $stream_parameter:expr, $stream_input:expr, $stream_section:literal;)* }
        whole { $($whole:ident: $whole_key:ident, $whole_parameter:expr, $whole_input:expr, $whole_section:literal;)* }
    ) => {
        &[
            $(Case {
                id: concat!("mechanism/parts-", stringify!($stream)),
                level: Level::Must,
                section: concat!($stream_section, "; 5.2, 5.8 to 5.13"),
                says: concat!(
                    "With ",
                    stringify!($stream),
                    ", Update calls with any cut of the data, empty parts included, and Final give what the single-part call gives."
                ),
                run: parts::<{ $stream as CK_MECHANISM_TYPE }>,
            }),*
        ]
    };
}

/// One case a mechanism that takes data in parts.
pub const CASES: &[Case] = known_mechanisms!(parts_cases);

/// The data cut in several ways: about a block's border, byte by byte, with empty parts at either end and in the middle.
fn cuts(data: &[u8]) -> Vec<Vec<&[u8]>> {
    let at = |places: &[usize]| {
        let mut borders: Vec<usize> = places.iter().map(|place| (*place).min(data.len())).collect();
        borders.insert(0, 0);
        borders.push(data.len());
        borders.windows(2).map(|pair| &data[pair[0]..pair[1]]).collect::<Vec<&[u8]>>()
    };
    let last = data.len().saturating_sub(1);
    let all = vec![
        at(&[]),
        at(&[0]),
        at(&[data.len()]),
        at(&[0, 1, 1, 8, 8, 16]),
        at(&[15, 16, 17]),
        at(&[16, 32]),
        at(&[last]),
        data.chunks(1).collect(),
    ];
    // Update is called at least once (5.13.1 and its like).
    all.into_iter().filter(|cut| !cut.is_empty()).collect()
}

fn lengths(cut: &[&[u8]]) -> Vec<usize> {
    cut.iter().map(|part| part.len()).collect()
}

fn parts<const KIND: CK_MECHANISM_TYPE>(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let info = session.mechanism_info(KIND)?;
    let row = known(KIND).ok_or_else(|| Stop::Skip("the suite does not know the mechanism".into()))?;
    let keys = session.keys(row.key)?;
    let whole = row.data();
    let mut tried = false;
    for data in [&whole[..], &[]] {
        let mechanism = session.sample(row, data.len(), None)?;
        if claims(&info, CKF_DIGEST) {
            digest(&session, &mechanism, data)?;
        }
        if claims(&info, CKF_ENCRYPT) {
            encrypt(&session, &mechanism, keys, data, claims(&info, CKF_DECRYPT))?;
        }
        if claims(&info, CKF_SIGN) {
            sign(&session, row, &mechanism, keys, data, claims(&info, CKF_VERIFY))?;
        }
        tried = claims(&info, CKF_DIGEST | CKF_ENCRYPT | CKF_SIGN);
    }
    if tried { Ok(()) } else { Err(Stop::Skip(format!("{} claims none of digest, encrypt and sign", mechanism_name(KIND)))) }
}

fn digest(session: &Session<'_>, mechanism: &Mechanism, data: &[u8]) -> Outcome {
    let single = must(session.whole(Deed::Digest, mechanism, 0, data), &format!("C_Digest of {} bytes", data.len()))?;
    for cut in cuts(data) {
        let lengths = lengths(&cut);
        let pieces = must(session.pieces(Deed::Digest, mechanism, 0, &cut), &format!("C_DigestUpdate in parts of {lengths:?}"))?;
        check!(pieces == single, "the digest in parts of {lengths:?} bytes differs from the single-part one");
    }
    Ok(())
}

fn encrypt(session: &Session<'_>, mechanism: &Mechanism, keys: Pair, data: &[u8], decrypts: bool) -> Outcome {
    let single = session.whole(Deed::Encrypt, mechanism, keys.public, data);
    let single = must(single, &format!("C_Encrypt of {} bytes", data.len()))?;
    for cut in cuts(data) {
        let lengths = lengths(&cut);
        let pieces = session.pieces(Deed::Encrypt, mechanism, keys.public, &cut);
        let pieces = must(pieces, &format!("C_EncryptUpdate in parts of {lengths:?}"))?;
        check!(pieces == single, "the ciphertext in parts of {lengths:?} bytes differs from the single-part one");
    }
    if !decrypts {
        return Ok(());
    }
    let opened = session.whole(Deed::Decrypt, mechanism, keys.private, &single);
    check!(must(opened, &format!("C_Decrypt of {} bytes", single.len()))? == data, "C_Decrypt gave other data");
    for cut in cuts(&single) {
        let lengths = lengths(&cut);
        let pieces = session.pieces(Deed::Decrypt, mechanism, keys.private, &cut);
        let pieces = must(pieces, &format!("C_DecryptUpdate in parts of {lengths:?}"))?;
        check!(pieces == data, "the plaintext in parts of {lengths:?} bytes differs from what was encrypted");
    }
    Ok(())
}

/// Signatures may differ each time: those made in parts are verified by the single-part call, and the other way round.
fn sign(session: &Session<'_>, row: &Known, mechanism: &Mechanism, keys: Pair, data: &[u8], verifies: bool) -> Outcome {
    let single = session.whole(Deed::Sign, mechanism, keys.private, data);
    let single = must(single, &format!("C_Sign of {} bytes", data.len()))?;
    let is_mac = row.key.secret_len().is_some();
    for cut in cuts(data) {
        let lengths = lengths(&cut);
        let pieces = session.pieces(Deed::Sign, mechanism, keys.private, &cut);
        let pieces = must(pieces, &format!("C_SignUpdate in parts of {lengths:?}"))?;
        check!(!is_mac || pieces == single, "the MAC in parts of {lengths:?} bytes differs from the single-part one");
        if !verifies {
            continue;
        }
        let rv = session.verify(mechanism, keys.public, data, &pieces);
        check!(rv == Rv::OK, "C_Verify of a signature made in parts of {lengths:?} answered {rv}");
        let rv = session.verify_pieces(mechanism, keys.public, &cut, &single);
        check!(rv == Rv::OK, "C_VerifyFinal after parts of {lengths:?} answered {rv}");
        let mut wrong = single.clone();
        if let Some(byte) = wrong.last_mut() {
            *byte ^= 1;
        }
        let rv = session.verify_pieces(mechanism, keys.public, &cut, &wrong);
        check!(rv == Rv(CKR_SIGNATURE_INVALID), "C_VerifyFinal of a wrong signature after parts of {lengths:?} answered {rv}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_is_the_whole() {
        for len in [0, 1, 16, 37] {
            let data: Vec<u8> = (0..len).collect();
            assert!(cuts(&data).iter().all(|cut| cut.concat() == data));
        }
        assert!(cuts(&[1, 2, 3]).iter().any(|cut| cut.iter().any(|part| part.is_empty())));
    }
}
