//! Padding oracles: what a module tells, by code or by time, about a ciphertext that somebody else made.

use std::collections::BTreeMap;
use std::time::Instant;

use cryptoki_sys::*;

use crate::case::{Case, Level, Outcome, Stop};
use crate::check;
use crate::context::{Context, Session};
use crate::crypt::{Deed, must};
use crate::module::Rv;
use crate::sample_keys::Pair;
use crate::template::{Mechanism, Template};

/// The chapter's cases.
pub const CASES: &[Case] = &[
    Case {
        id: "security/pkcs1-codes",
        level: Level::Security,
        section: "3.1, 6.1.6 PKCS #1 v1.5 RSA; Bleichenbacher 1998",
        says: "Every way in which PKCS #1 v1.5 padding can be wrong has the same answer: one error code, or a made-up message (implicit \
               rejection). Two codes tell the attacker how far the padding was right.",
        run: pkcs1_codes,
    },
    Case {
        id: "security/pkcs1-unwrap-codes",
        level: Level::Security,
        section: "3.1, 5.18.4 C_UnwrapKey, 6.1.6 PKCS #1 v1.5 RSA; Bardou and others 2012",
        says: "C_UnwrapKey is as good an oracle as C_Decrypt: wrong padding and a right padding around nothing usable are not told apart \
               by more than one code each.",
        run: pkcs1_unwrap_codes,
    },
    Case {
        id: "security/pkcs1-timing",
        level: Level::Security,
        section: "3.1, 6.1.6 PKCS #1 v1.5 RSA; Marvin 2023",
        says: "Right and wrong padding take the same time. Two interleaved rounds are compared by ranks; a fail needs the same sign, a \
               z-score above 8 and a median difference above 2 % in both. What stays below may still be seen by an attacker with more patience.",
        run: pkcs1_timing,
    },
    Case {
        id: "security/oaep-codes",
        level: Level::Security,
        section: "3.1, 6.1.8 PKCS #1 RSA OAEP; Manger 2001",
        says: "OAEP tells by its code only that decryption failed, not whether the first byte, the hash or the separator was wrong.",
        run: oaep_codes,
    },
    Case {
        id: "security/oaep-timing",
        level: Level::Security,
        section: "3.1, 6.1.8 PKCS #1 RSA OAEP; Manger 2001",
        says: "A wrong first byte and a wrong hash of the label, which have one code, take the same time; measured as in security/pkcs1-timing.",
        run: oaep_timing,
    },
    Case {
        id: "security/cbc-pad-codes",
        level: Level::Security,
        section: "3.1, 6.10.6 AES-CBC with PKCS padding; Vaudenay 2002",
        says: "All wrong paddings of CBC have one error code. (That an error differs from a success cannot be helped in this mechanism; \
               authenticated ones exist for that.)",
        run: cbc_pad_codes,
    },
    Case {
        id: "security/cbc-pad-checked",
        level: Level::Must,
        section: "3.1, 6.10.6 AES-CBC with PKCS padding",
        says: "Padding that no encryption makes (a count of 0 or 17, bytes that differ) is refused, not taken off.",
        run: cbc_pad_checked,
    },
    Case {
        id: "security/cbc-pad-timing",
        level: Level::Security,
        section: "3.1, 6.10.6 AES-CBC with PKCS padding; Vaudenay 2002, Lucky Thirteen 2013",
        says: "Paddings that are wrong in their last and in their first byte take the same time; measured as in security/pkcs1-timing.",
        run: cbc_pad_timing,
    },
];

const MODULUS: usize = 256;

/// A message in good PKCS #1 v1.5 padding.
fn padded(message: &[u8]) -> Vec<u8> {
    let mut block = vec![0, 2];
    block.extend((0..MODULUS - 3 - message.len()).map(|at| (at % 255) as u8 + 1));
    block.push(0);
    block.extend(message);
    block
}

/// Padding that is wrong, each in its own way.
fn wrong_blocks() -> Vec<(&'static str, Vec<u8>)> {
    let good = padded(&[7; 16]);
    let changed = |at: usize, value: u8| {
        let mut block = good.clone();
        block[at] = value;
        block
    };
    let mut no_end = good.clone();
    no_end[2..].fill(0x33);
    vec![
        ("the first byte 1", changed(0, 1)),
        ("block type 1", changed(1, 1)),
        ("block type 0", changed(1, 0)),
        ("a zero in the first byte of padding", changed(2, 0)),
        ("only 7 bytes of padding", changed(9, 0)),
        ("no end of the padding", no_end),
    ]
}

fn rsa(session: &Session<'_>, kind: CK_MECHANISM_TYPE) -> Result<Pair, Stop> {
    session.need(kind)?;
    session.need(CKM_RSA_X_509)?;
    session.rsa_pair(2048, &[CKA_ENCRYPT, CKA_WRAP], &[CKA_DECRYPT, CKA_UNWRAP])
}

fn raw(session: &Session<'_>, pair: Pair, block: &[u8]) -> Result<Vec<u8>, Stop> {
    must(session.whole(Deed::Encrypt, &Mechanism::new(CKM_RSA_X_509), pair.public, block), "C_Encrypt with CKM_RSA_X_509")
}

/// Fails where the refusals are told apart.
fn one_code(answers: &BTreeMap<&str, Rv>) -> Outcome {
    let first = answers.values().next().copied();
    check!(answers.values().all(|rv| Some(*rv) == first), "the code tells what was wrong: {answers:?}");
    Ok(())
}

fn pkcs1_codes(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let pair = rsa(&session, CKM_RSA_PKCS)?;
    let mechanism = Mechanism::new(CKM_RSA_PKCS);
    let good = raw(&session, pair, &padded(b"good"))?;
    let plain = must(session.whole(Deed::Decrypt, &mechanism, pair.private, &good), "C_Decrypt of good padding")?;
    check!(plain == b"good", "C_Decrypt of good padding gave {plain:02x?}");
    let mut answers = BTreeMap::new();
    for (what, block) in wrong_blocks() {
        let sealed = raw(&session, pair, &block)?;
        answers.insert(what, session.whole(Deed::Decrypt, &mechanism, pair.private, &sealed).err().unwrap_or(Rv::OK));
    }
    one_code(&answers)
}

fn pkcs1_unwrap_codes(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let pair = rsa(&session, CKM_RSA_PKCS)?;
    let mechanism = Mechanism::new(CKM_RSA_PKCS);
    let template = Template::secret_key(CKK_GENERIC_SECRET, &[CKA_SIGN]);
    let good = raw(&session, pair, &padded(&[7; 16]))?;
    must(session.unwrap(&mechanism, pair.private, &good, &template), "C_UnwrapKey of good padding")?;
    let mut answers = BTreeMap::new();
    for (what, block) in wrong_blocks() {
        let sealed = raw(&session, pair, &block)?;
        answers.insert(what, session.unwrap(&mechanism, pair.private, &sealed, &template).err().unwrap_or(Rv::OK));
    }
    one_code(&answers)
}

/// One round: z-score of the ranks and the relative difference of the medians of two interleaved series of decryptions.
fn compare_times(session: &Session<'_>, mechanism: &Mechanism, key: CK_OBJECT_HANDLE, good: &[u8], bad: &[u8]) -> (f64, f64) {
    const EACH: usize = 600;
    let mut times: Vec<(u128, bool)> = Vec::with_capacity(2 * EACH);
    let mut coin: u32 = 0x2545_f491;
    let mut input = Vec::with_capacity(good.len().max(bad.len()));
    for _ in 0..EACH {
        // Xorshift: which one goes first must not follow the clock's own rhythm.
        coin ^= coin << 13;
        coin ^= coin >> 17;
        coin ^= coin << 5;
        let order = if coin & 1 == 0 { [(good, true), (bad, false)] } else { [(bad, false), (good, true)] };
        for (sealed, is_good) in order {
            // Both in one place: where an input lies in memory may cost more than what it says.
            input.clear();
            input.extend_from_slice(sealed);
            if session.init(Deed::Decrypt, mechanism, key) == Rv::OK {
                let started = Instant::now();
                // The answer is the other case's business; here only its time counts.
                let _ = session.finish(Deed::Decrypt, &input);
                times.push((started.elapsed().as_nanos(), is_good));
            }
        }
    }
    let median = |wanted: bool| {
        let mut own: Vec<u128> = times.iter().filter(|(_, is_good)| *is_good == wanted).map(|(time, _)| *time).collect();
        own.sort_unstable();
        own.get(own.len() / 2).copied().unwrap_or(1) as f64
    };
    let difference = (median(true) - median(false)) / median(true);
    times.sort_unstable();
    let ranks: f64 = times.iter().enumerate().filter(|(_, (_, is_good))| *is_good).map(|(at, _)| at as f64 + 1.0).sum();
    let n = times.len() as f64 / 2.0;
    let (mean, deviation) = (n * (2.0 * n + 1.0) / 2.0, (n * n * (2.0 * n + 1.0) / 12.0).sqrt());
    ((ranks - mean) / deviation, difference)
}

fn pkcs1_timing(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let pair = rsa(&session, CKM_RSA_PKCS)?;
    let good = raw(&session, pair, &padded(&[7; 16]))?;
    let mut wrong = padded(&[7; 16]);
    wrong[1] = 1;
    let bad = raw(&session, pair, &wrong)?;
    same_time(&session, &Mechanism::new(CKM_RSA_PKCS), pair.private, &good, &bad, "right and wrong padding")
}

/// Fails where two rounds agree that two ciphertexts take different times.
fn same_time(session: &Session<'_>, mechanism: &Mechanism, key: CK_OBJECT_HANDLE, a: &[u8], b: &[u8], what: &str) -> Outcome {
    let round = || compare_times(session, mechanism, key, a, b);
    let (first, second) = (round(), round());
    let seen = |(z, difference): (f64, f64)| z.abs() > 8.0 && difference.abs() > 0.02;
    check!(
        !(seen(first) && seen(second) && first.0.signum() == second.0.signum()),
        "{what} differ in time: z {:.1} and {:.1}, medians by {:.1} % and {:.1} %",
        first.0,
        second.0,
        first.1 * 100.0,
        second.1 * 100.0
    );
    Ok(())
}

/// OAEP with a hash that the module has.
fn oaep(session: &Session<'_>, pair: Pair) -> Result<Mechanism, Stop> {
    [(CKM_SHA256, CKG_MGF1_SHA256), (CKM_SHA_1, CKG_MGF1_SHA1)]
        .map(|(hash, mgf)| Mechanism::oaep(hash, mgf, &[]))
        .into_iter()
        .find(|mechanism| session.whole(Deed::Encrypt, mechanism, pair.public, b"x").is_ok())
        .ok_or_else(|| Stop::Fail("CKM_RSA_PKCS_OAEP encrypts neither with SHA-256 nor with SHA-1".into()))
}

/// A block whose first byte and whose other bytes are as told, encrypted without padding.
fn block(session: &Session<'_>, pair: Pair, first: u8, rest: u8) -> Result<Vec<u8>, Stop> {
    let mut block = vec![rest; MODULUS];
    block[0] = first;
    raw(session, pair, &block)
}

fn oaep_timing(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let pair = rsa(&session, CKM_RSA_PKCS_OAEP)?;
    let (first_byte, hash) = (block(&session, pair, 1, 0x55)?, block(&session, pair, 0, 0x55)?);
    same_time(
        &session,
        &oaep(&session, pair)?,
        pair.private,
        &first_byte,
        &hash,
        "a wrong first byte and a wrong hash of the label",
    )
}

fn oaep_codes(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let pair = rsa(&session, CKM_RSA_PKCS_OAEP)?;
    let mechanism = oaep(&session, pair)?;
    let blocks = [("the first byte not 0", 1, 0x55), ("a wrong hash of the label", 0, 0x55), ("all zeroes", 0, 0)];
    let mut answers = BTreeMap::new();
    for (what, first, rest) in blocks {
        let sealed = block(&session, pair, first, rest)?;
        answers.insert(what, session.whole(Deed::Decrypt, &mechanism, pair.private, &sealed).err().unwrap_or(Rv::OK));
    }
    check!(!answers.values().any(|rv| *rv == Rv::OK), "OAEP accepted what nobody encrypted: {answers:?}");
    one_code(&answers)
}

fn cbc_answers(session: &Session<'_>) -> Result<BTreeMap<&'static str, Rv>, Stop> {
    session.need(CKM_AES_CBC_PAD)?;
    session.need(CKM_AES_CBC)?;
    let key = session.known_aes(&[0x31; 16], &[CKA_ENCRYPT, CKA_DECRYPT])?;
    let (plain, pad) = (Mechanism::with(CKM_AES_CBC, &[0; 16]), Mechanism::with(CKM_AES_CBC_PAD, &[0; 16]));
    let mut good = [0x41; 32];
    good[28..].fill(4);
    let sealed = must(session.whole(Deed::Encrypt, &plain, key, &good), "C_Encrypt with CKM_AES_CBC")?;
    let open = must(session.whole(Deed::Decrypt, &pad, key, &sealed), "C_Decrypt of good padding")?;
    check_len(&open, 28)?;
    let mut answers = BTreeMap::new();
    let ends = [("a count of 0", 31, 0), ("a count of 17", 31, 17), ("a count of 255", 31, 255), ("bytes that differ", 29, 9)];
    for (what, at, value) in ends {
        let mut block = good;
        block[at] = value;
        let sealed = must(session.whole(Deed::Encrypt, &plain, key, &block), "C_Encrypt with CKM_AES_CBC")?;
        answers.insert(what, session.whole(Deed::Decrypt, &pad, key, &sealed).err().unwrap_or(Rv::OK));
    }
    Ok(answers)
}

fn check_len(open: &[u8], expected: usize) -> Outcome {
    check!(open.len() == expected, "C_Decrypt of good padding gave {} bytes, expected {expected}", open.len());
    Ok(())
}

fn cbc_pad_codes(context: &Context) -> Outcome {
    let answers = cbc_answers(&context.user_session()?)?;
    let refused: BTreeMap<_, _> = answers.into_iter().filter(|(_, rv)| *rv != Rv::OK).collect();
    one_code(&refused)
}

fn cbc_pad_checked(context: &Context) -> Outcome {
    let answers = cbc_answers(&context.user_session()?)?;
    check!(!answers.values().any(|rv| *rv == Rv::OK), "wrong padding was taken off: {answers:?}");
    Ok(())
}

fn cbc_pad_timing(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_AES_CBC_PAD)?;
    session.need(CKM_AES_CBC)?;
    let key = session.known_aes(&[0x31; 16], &[CKA_ENCRYPT, CKA_DECRYPT])?;
    let (plain, pad) = (Mechanism::with(CKM_AES_CBC, &[0; 16]), Mechanism::with(CKM_AES_CBC_PAD, &[0; 16]));
    // A whole block of padding, of which one byte is wrong.
    let wrong_at = |at: usize| {
        let mut block = [0x41; 4096];
        block[4080..].fill(16);
        block[at] = 9;
        must(session.whole(Deed::Encrypt, &plain, key, &block), "C_Encrypt with CKM_AES_CBC")
    };
    same_time(&session, &pad, key, &wrong_at(4080)?, &wrong_at(4094)?, "padding that is wrong in its first and in its last bytes")
}
