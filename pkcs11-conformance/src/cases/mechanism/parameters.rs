//! Mechanism parameters: at their limits they work, beyond them they are refused.

use cryptoki_sys::*;

use super::{claims, list};
use crate::case::{Case, Level, Outcome, Stop};
use crate::check;
use crate::context::{Context, Session};
use crate::crypt::{Deed, code, mechanism_name, must};
use crate::known::{Key, Known, Parameter, known};
use crate::known_keys::key_bytes;
use crate::module::Rv;
use crate::template::{Mechanism, Template};

macro_rules! case {
    ($name:literal, $level:ident, $section:literal, $says:literal, $run:ident) => {
        Case {
            id: concat!("mechanism/", $name),
            level: Level::$level,
            section: concat!("3.1, ", $section),
            says: $says,
            run: $run,
        }
    };
}

/// The cases about parameters.
pub const CASES: &[Case] = &[
    case!(
        "parameter-missing",
        Must,
        "5.1.6 CKR_MECHANISM_PARAM_INVALID",
        "A mechanism that needs a parameter is not started without one.",
        missing
    ),
    case!(
        "parameter-length",
        Must,
        "5.1.6 CKR_MECHANISM_PARAM_INVALID",
        "A parameter of a byte less than its structure or its initialisation vector has is refused, and so is one of a byte more.",
        length
    ),
    case!(
        "gcm-iv",
        Must,
        "6.13 AES-GCM, CK_GCM_PARAMS",
        "An initialisation vector of 12 bytes works; if 1 or 256 bytes do, they decrypt again; none at all never does: with it the key \
         would be used twice with the same vector.",
        gcm_iv
    ),
    case!(
        "gcm-tag",
        Security,
        "6.13 AES-GCM, CK_GCM_PARAMS ulTagBits; SP 800-38D, 5.2.1.2",
        "A tag has at most 128 bits and as many as are asked for; without a tag nothing is authenticated.",
        gcm_tag
    ),
    case!(
        "gcm-tampered",
        Security,
        "6.13 AES-GCM, C_Decrypt; CKR_ENCRYPTED_DATA_INVALID, CKR_AEAD_DECRYPT_FAILED",
        "A changed ciphertext, tag or associated data, and a ciphertext shorter than the tag, give an error and no plaintext.",
        gcm_tampered
    ),
    case!("ctr-bits", Must, "6.11 CK_AES_CTR_PARAMS", "A counter has 1 to 128 bits: 0 and 129 are refused.", ctr_bits),
    case!(
        "ctr-wrap",
        Security,
        "6.11 AES-CTR, CKR_DATA_LEN_RANGE",
        "A counter that is too short for the data must not begin again: the keystream would repeat.",
        ctr_wrap
    ),
    case!(
        "block-length",
        Must,
        "6.10.4, 6.10.5 AES-ECB and AES-CBC, CKR_DATA_LEN_RANGE",
        "Without padding, data that are no whole blocks are refused, in one call and in parts.",
        block_length
    ),
    case!(
        "pss-salt",
        Must,
        "6.1.9 CK_RSA_PKCS_PSS_PARAMS sLen; RFC 8017, 9.1.1",
        "A salt from none to what the modulus leaves room for works; one byte more is refused.",
        pss_salt
    ),
    case!(
        "pss-hash",
        Must,
        "6.1.10 PKCS #1 RSA PSS and its like with hashing, CK_RSA_PKCS_PSS_PARAMS hashAlg",
        "The hash in the parameter is the mechanism's own: another one is refused, and so is a mask generation function that there is not.",
        pss_hash
    ),
    case!(
        "oaep-parameters",
        Must,
        "6.1.7 CK_RSA_PKCS_OAEP_PARAMS",
        "A hash that is none, a mask generation function that there is not and an unknown source are refused.",
        oaep_parameters
    ),
    case!(
        "oaep-label",
        Must,
        "6.1.7 CK_RSA_PKCS_OAEP_PARAMS pSourceData",
        "A label works or is refused; what was encrypted under one label does not decrypt under another.",
        oaep_label
    ),
    case!(
        "oaep-length",
        Must,
        "6.1.8 PKCS #1 RSA OAEP, table of lengths: k - 2 - 2 hLen",
        "Data up to what the modulus leaves room for are encrypted, the empty ones included; a byte more is CKR_DATA_LEN_RANGE.",
        oaep_length
    ),
    case!(
        "pkcs1-length",
        Must,
        "6.1.6 PKCS #1 v1.5 RSA, table of lengths: k - 11",
        "Data up to 11 bytes less than the modulus are encrypted and signed; a byte more is CKR_DATA_LEN_RANGE.",
        pkcs1_length
    ),
    case!(
        "raw-rsa-range",
        Must,
        "6.1.12 X.509 (raw) RSA, CKR_DATA_LEN_RANGE, CKR_DATA_INVALID",
        "A number that is the modulus or more, or longer than it, is refused.",
        raw_rsa_range
    ),
    case!(
        "mac-length",
        Must,
        "6.20 to 6.31 general-length HMAC and its like, CK_MAC_GENERAL_PARAMS",
        "A MAC may be cut to any length up to its own; a byte more is CKR_MECHANISM_PARAM_INVALID.",
        mac_length
    ),
    case!(
        "ecdh-public",
        Must,
        "6.3.16 CK_ECDH1_DERIVE_PARAMS pPublicData",
        "The other side's point is taken raw; one that is empty, too short or too long is refused.",
        ecdh_public
    ),
];

/// Codes that refuse a parameter.
const REFUSALS: [CK_RV; 2] = [CKR_MECHANISM_PARAM_INVALID, CKR_ARGUMENTS_BAD];
/// Codes that refuse data for their length or value.
const DATA: [CK_RV; 3] = [CKR_DATA_LEN_RANGE, CKR_DATA_INVALID, CKR_KEY_SIZE_RANGE];

fn refused(rv: Rv) -> bool {
    REFUSALS.contains(&rv.0)
}

/// Starts the mechanism in the first way that it claims.
fn start(session: &Session<'_>, row: &Known, mechanism: &Mechanism) -> Result<Option<Rv>, Stop> {
    let info = session.mechanism_info(row.kind)?;
    let keys = session.keys(row.key)?;
    let target = || session.known_aes(&key_bytes(16), &[CKA_ENCRYPT]);
    let derived = Template::secret_key(CKK_GENERIC_SECRET, &[]).ulong(CKA_VALUE_LEN, 16);
    Ok(Some(if claims(&info, CKF_ENCRYPT) {
        session.init(Deed::Encrypt, mechanism, keys.public)
    } else if claims(&info, CKF_SIGN) {
        session.init(Deed::Sign, mechanism, keys.private)
    } else if claims(&info, CKF_WRAP) {
        code(session.wrap(mechanism, keys.public, target()?))
    } else if claims(&info, CKF_DERIVE) {
        code(session.derive(mechanism, keys.private, &derived))
    } else {
        return Ok(None);
    }))
}

/// Tries every listed mechanism that has a parameter with the parameters that are made of its good one.
fn with_changed(context: &Context, change: fn(&Known, &Mechanism) -> Vec<Mechanism>) -> Outcome {
    let _session = context.user_session()?;
    let (mut tried, mut wrong) = (0, Vec::new());
    for row in list::listed(context)?.into_iter().filter_map(known).filter(|row| row.parameter != Parameter::None) {
        let sampling = context.user_session()?;
        let peer = sampling.keys(row.key)?.public;
        for mechanism in change(row, &sampling.sample(row, 32, Some(peer))?) {
            let session = context.user_session()?;
            let Some(rv) = start(&session, row, &mechanism)? else { continue };
            tried += 1;
            if !refused(rv) {
                wrong.push(format!("{} with {} bytes: {rv}", mechanism_name(row.kind), mechanism.parameter().len()));
            }
        }
    }
    if tried == 0 {
        return Err(Stop::Skip("the token has no mechanism with a parameter that the suite knows".into()));
    }
    check!(wrong.is_empty(), "{} of {tried} were not refused: {}", wrong.len(), wrong.join(", "));
    Ok(())
}

fn missing(context: &Context) -> Outcome {
    with_changed(context, |_, good| vec![good.resized(0)])
}

fn length(context: &Context) -> Outcome {
    with_changed(context, |row, good| {
        let len = good.parameter().len();
        match row.parameter {
            // A public key may have leading zeros or none, and GMAC's vector any length.
            Parameter::Peer if row.key == Key::Dh => Vec::new(),
            Parameter::Iv(_) if row.kind == CKM_AES_GMAC => Vec::new(),
            _ => vec![good.resized(1), good.resized(len - 1), good.resized(len + 1)],
        }
    })
}

fn gcm_iv(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_AES_GCM)?;
    for len in [12, 1, 8, 13, 16, 256] {
        let session = context.user_session()?;
        let key = session.known_aes(&key_bytes(32), &[CKA_ENCRYPT, CKA_DECRYPT])?;
        let mechanism = Mechanism::gcm(&vec![3; len], b"beside", 128);
        match session.whole(Deed::Encrypt, &mechanism, key, b"some data") {
            Ok(sealed) => {
                let opened = must(session.whole(Deed::Decrypt, &mechanism, key, &sealed), "C_Decrypt")?;
                check!(opened == b"some data", "with a vector of {len} bytes, C_Decrypt gave other data");
                let other = Mechanism::gcm(&vec![4; len], b"beside", 128);
                let rv = code(session.whole(Deed::Decrypt, &other, key, &sealed));
                check!(rv != Rv::OK, "with another vector of {len} bytes, C_Decrypt answered {rv}");
            }
            Err(rv) if len != 12 && refused(rv) => {}
            Err(rv) => return Err(Stop::Fail(format!("C_Encrypt with a vector of {len} bytes answered {rv}"))),
        }
    }
    let key = session.known_aes(&key_bytes(32), &[CKA_ENCRYPT])?;
    let rv = code(session.whole(Deed::Encrypt, &Mechanism::gcm(&[], b"", 128), key, b"some data"));
    check!(refused(rv), "C_Encrypt without a vector answered {rv}");
    Ok(())
}

fn gcm_tag(context: &Context) -> Outcome {
    let first = context.user_session()?;
    first.need(CKM_AES_GCM)?;
    for bits in [0, 1, 8, 31, 32, 64, 96, 104, 112, 120, 127, 128, 129, 136, 1024, CK_ULONG::MAX] {
        let session = context.user_session()?;
        let key = session.known_aes(&key_bytes(32), &[CKA_ENCRYPT, CKA_DECRYPT])?;
        let mechanism = Mechanism::gcm(&[3; 12], b"", bits);
        match session.whole(Deed::Encrypt, &mechanism, key, b"some data") {
            Ok(sealed) => {
                check!(bits <= 128, "C_Encrypt with a tag of {bits} bits answered CKR_OK");
                check!(bits != 0, "C_Encrypt without a tag answered CKR_OK");
                let tag = sealed.len() - b"some data".len().min(sealed.len());
                check!(tag as CK_ULONG * 8 >= bits, "a tag of {tag} bytes was made where {bits} bits were asked for");
                check!((tag as CK_ULONG) * 8 < bits + 8, "a tag of {tag} bytes was made where {bits} bits were asked for");
                let opened = must(session.whole(Deed::Decrypt, &mechanism, key, &sealed), "C_Decrypt")?;
                check!(opened == b"some data", "with a tag of {bits} bits, C_Decrypt gave other data");
            }
            Err(rv) => {
                check!(bits != 128, "C_Encrypt with a tag of 128 bits answered {rv}");
                check!(refused(rv), "C_Encrypt with a tag of {bits} bits answered {rv}");
            }
        }
    }
    Ok(())
}

fn gcm_tampered(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_AES_GCM)?;
    let key = session.known_aes(&key_bytes(32), &[CKA_ENCRYPT, CKA_DECRYPT])?;
    let mechanism = Mechanism::gcm(&[3; 12], b"beside", 128);
    let sealed = must(session.whole(Deed::Encrypt, &mechanism, key, b"some data"), "C_Encrypt")?;
    let changed = |at: usize| {
        let mut other = sealed.clone();
        if let Some(byte) = other.get_mut(at) {
            *byte ^= 0x80;
        }
        other
    };
    let short = [sealed[..sealed.len() - 1].to_vec(), sealed[..8].to_vec(), Vec::new()];
    let data = [changed(0), changed(sealed.len() - 1)].into_iter().chain(short);
    for sealed in data {
        let session = context.user_session()?;
        let key = session.known_aes(&key_bytes(32), &[CKA_DECRYPT])?;
        let single = code(session.whole(Deed::Decrypt, &mechanism, key, &sealed));
        check!(single != Rv::OK, "C_Decrypt of {} bytes that were changed answered CKR_OK", sealed.len());
        let codes = [CKR_ENCRYPTED_DATA_INVALID, CKR_ENCRYPTED_DATA_LEN_RANGE, CKR_AEAD_DECRYPT_FAILED];
        check!(codes.contains(&single.0), "C_Decrypt of {} bytes that were changed answered {single}", sealed.len());
        let session = context.user_session()?;
        let key = session.known_aes(&key_bytes(32), &[CKA_DECRYPT])?;
        let pieces = code(session.pieces(Deed::Decrypt, &mechanism, key, &[&sealed]));
        check!(pieces != Rv::OK, "C_DecryptFinal after {} bytes that were changed answered CKR_OK", sealed.len());
    }
    let other = Mechanism::gcm(&[3; 12], b"besides", 128);
    let rv = code(session.whole(Deed::Decrypt, &other, key, &sealed));
    check!(rv != Rv::OK, "C_Decrypt with other associated data answered CKR_OK");
    Ok(())
}

fn ctr_bits(context: &Context) -> Outcome {
    let first = context.user_session()?;
    first.need(CKM_AES_CTR)?;
    for bits in [1, 32, 64, 128, 0, 129, 256, CK_ULONG::MAX] {
        let session = context.user_session()?;
        let key = session.known_aes(&key_bytes(16), &[CKA_ENCRYPT])?;
        let rv = session.init(Deed::Encrypt, &Mechanism::ctr(bits, [0; 16]), key);
        let within = (1..=128).contains(&bits);
        check!(if within { rv == Rv::OK } else { refused(rv) }, "C_EncryptInit with a counter of {bits} bits answered {rv}");
    }
    Ok(())
}

fn ctr_wrap(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_AES_CTR)?;
    let key = session.known_aes(&key_bytes(16), &[CKA_ENCRYPT])?;
    // One bit counts two blocks. The third would be encrypted as the first was.
    let mechanism = Mechanism::ctr(1, [0; 16]);
    let two = must(session.whole(Deed::Encrypt, &mechanism, key, &[0; 32]), "C_Encrypt of two blocks by a counter of one bit")?;
    check!(two[..16] != two[16..], "two blocks have the same keystream");
    let single = session.whole(Deed::Encrypt, &mechanism, key, &[0; 48]);
    check!(single.is_err(), "C_Encrypt of three blocks by a counter of one bit answered CKR_OK");
    let session = context.user_session()?;
    let key = session.known_aes(&key_bytes(16), &[CKA_ENCRYPT])?;
    let pieces = session.pieces(Deed::Encrypt, &mechanism, key, &[&[0; 16], &[0; 16], &[0; 16]]);
    check!(pieces.is_err(), "three blocks in parts by a counter of one bit answered CKR_OK");
    Ok(())
}

fn block_length(context: &Context) -> Outcome {
    let first = context.user_session()?;
    first.need(CKM_AES_CBC)?;
    first.need(CKM_AES_ECB)?;
    for mechanism in [Mechanism::new(CKM_AES_ECB), Mechanism::with(CKM_AES_CBC, &[7; 16])] {
        for len in [1, 15, 17, 31] {
            let name = mechanism_name(mechanism.kind());
            let tried = |deed, pieces: bool| {
                let session = context.user_session()?;
                let key = session.known_aes(&key_bytes(16), &[CKA_ENCRYPT, CKA_DECRYPT])?;
                let data = vec![1; len];
                let done = if pieces {
                    session.pieces(deed, &mechanism, key, &[&data])
                } else {
                    session.whole(deed, &mechanism, key, &data)
                };
                Ok::<Rv, Stop>(code(done))
            };
            for pieces in [false, true] {
                let rv = tried(Deed::Encrypt, pieces)?;
                check!(rv == Rv(CKR_DATA_LEN_RANGE), "encryption of {len} bytes by {name}, in parts: {pieces}, answered {rv}");
                let rv = tried(Deed::Decrypt, pieces)?;
                let wanted = [CKR_ENCRYPTED_DATA_LEN_RANGE, CKR_ENCRYPTED_DATA_INVALID];
                check!(wanted.contains(&rv.0), "decryption of {len} bytes by {name}, in parts: {pieces}, answered {rv}");
            }
        }
    }
    Ok(())
}

fn pss_salt(context: &Context) -> Outcome {
    let first = context.user_session()?;
    first.need(CKM_SHA256_RSA_PKCS_PSS)?;
    // 2048 bits less the hash and two bytes.
    const ROOM: CK_ULONG = 256 - 32 - 2;
    for salt in [0, 1, 32, ROOM, ROOM + 1, 256, 1 << 20, CK_ULONG::MAX] {
        let session = context.user_session()?;
        let keys = session.known_rsa()?;
        let mechanism = Mechanism::pss(CKM_SHA256_RSA_PKCS_PSS, CKM_SHA256, CKG_MGF1_SHA256, salt);
        let done = session.whole(Deed::Sign, &mechanism, keys.private, b"some data");
        match done {
            Ok(signature) if salt <= ROOM => {
                let rv = session.verify(&mechanism, keys.public, b"some data", &signature);
                check!(rv == Rv::OK, "C_Verify with a salt of {salt} bytes answered {rv}");
            }
            Ok(_) => return Err(Stop::Fail(format!("C_Sign with a salt of {salt} bytes answered CKR_OK"))),
            // Some standards forbid a salt longer than the hash, and modules may keep to them.
            Err(rv) if salt > 32 => {
                let wanted = refused(rv) || DATA.contains(&rv.0);
                check!(wanted, "C_Sign with a salt of {salt} bytes answered {rv}");
            }
            Err(rv) => return Err(Stop::Fail(format!("C_Sign with a salt of {salt} bytes answered {rv}"))),
        }
    }
    Ok(())
}

fn pss_hash(context: &Context) -> Outcome {
    let first = context.user_session()?;
    first.need(CKM_SHA256_RSA_PKCS_PSS)?;
    let wrong = [
        ("another hash", CKM_SHA384, CKG_MGF1_SHA384),
        ("SHA-1", CKM_SHA_1, CKG_MGF1_SHA1),
        ("a hash that is none", CKM_AES_CBC, CKG_MGF1_SHA256),
        ("no mask generation function", CKM_SHA256, 0),
        ("an unknown mask generation function", CKM_SHA256, 0x7fff),
    ];
    for (what, hash, mgf) in wrong {
        let session = context.user_session()?;
        let keys = session.known_rsa()?;
        let mechanism = Mechanism::pss(CKM_SHA256_RSA_PKCS_PSS, hash, mgf, 32);
        let rv = code(session.whole(Deed::Sign, &mechanism, keys.private, b"some data"));
        check!(refused(rv), "C_Sign by CKM_SHA256_RSA_PKCS_PSS with {what} answered {rv}");
        let session = context.user_session()?;
        let keys = session.known_rsa()?;
        let rv = session.verify_init(&mechanism, keys.public);
        check!(refused(rv), "C_VerifyInit by CKM_SHA256_RSA_PKCS_PSS with {what} answered {rv}");
    }
    Ok(())
}

/// The parameter with one field replaced; its place is counted in machine words. It must not point to anything.
fn word(good: &Mechanism, place: usize, value: CK_ULONG) -> Mechanism {
    let mut parameter = good.parameter().to_vec();
    let at = place * size_of::<CK_ULONG>();
    parameter.splice(at..at + size_of::<CK_ULONG>(), value.to_ne_bytes());
    Mechanism::with(good.kind(), &parameter)
}

fn oaep_parameters(context: &Context) -> Outcome {
    let first = context.user_session()?;
    first.need(CKM_RSA_PKCS_OAEP)?;
    let good = Mechanism::oaep(CKM_SHA_1, CKG_MGF1_SHA1, b"");
    let wrong = [
        ("a hash that is none", Mechanism::oaep(CKM_AES_CBC, CKG_MGF1_SHA1, b"")),
        ("no hash", Mechanism::oaep(CK_ULONG::MAX, CKG_MGF1_SHA1, b"")),
        ("no mask generation function", Mechanism::oaep(CKM_SHA_1, 0, b"")),
        ("an unknown mask generation function", Mechanism::oaep(CKM_SHA_1, 0x7fff, b"")),
        ("an unknown source", word(&good, 2, 77)),
        ("a label of 16 bytes at NULL", word(&good, 4, 16)),
    ];
    for (what, mechanism) in wrong {
        crate::run::step(&format!("C_EncryptInit with {what}"));
        let session = context.user_session()?;
        let keys = session.known_rsa()?;
        let rv = code(session.whole(Deed::Encrypt, &mechanism, keys.public, b"some data"));
        check!(refused(rv), "C_Encrypt with {what} answered {rv}");
    }
    Ok(())
}

fn oaep_label(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_RSA_PKCS_OAEP)?;
    let keys = session.known_rsa()?;
    let labelled = |label: &[u8]| Mechanism::oaep(CKM_SHA_1, CKG_MGF1_SHA1, label);
    for label in [&b"a label"[..], &[0; 1], &[9; 1000]] {
        let session = context.user_session()?;
        let len = label.len();
        match session.whole(Deed::Encrypt, &labelled(label), keys.public, b"some data") {
            Ok(sealed) => {
                let opened = must(session.whole(Deed::Decrypt, &labelled(label), keys.private, &sealed), "C_Decrypt")?;
                check!(opened == b"some data", "with a label of {len} bytes, C_Decrypt gave other data");
                let other = code(session.whole(Deed::Decrypt, &labelled(b""), keys.private, &sealed));
                check!(other != Rv::OK, "what was encrypted under a label of {len} bytes decrypts under none");
            }
            Err(rv) => check!(refused(rv), "C_Encrypt with a label of {len} bytes answered {rv}"),
        }
    }
    Ok(())
}

/// Encrypts (or signs) data of lengths within and beyond a limit.
fn lengths(context: &Context, deed: Deed, mechanism: &Mechanism, most: usize) -> Outcome {
    for len in [0, 1, most - 1, most, most + 1, 256, 257, 5000] {
        let session = context.user_session()?;
        let keys = session.known_rsa()?;
        let key = if deed == Deed::Encrypt { keys.public } else { keys.private };
        let name = mechanism_name(mechanism.kind());
        match session.whole(deed, mechanism, key, &vec![1; len]) {
            Ok(sealed) => {
                check!(len <= most, "{deed:?} of {len} bytes by {name} answered CKR_OK, where {most} are the most");
                check!(sealed.len() == 256, "{deed:?} by RSA-2048 made {} bytes", sealed.len());
                if deed == Deed::Encrypt {
                    let opened = must(session.whole(Deed::Decrypt, mechanism, keys.private, &sealed), "C_Decrypt")?;
                    check!(opened == vec![1; len], "C_Decrypt of what were {len} bytes gave other data");
                }
            }
            Err(rv) if len > most => check!(rv == Rv(CKR_DATA_LEN_RANGE), "{deed:?} of {len} bytes by {name} answered {rv}"),
            Err(rv) => return Err(Stop::Fail(format!("{deed:?} of {len} bytes by {name} answered {rv}"))),
        }
    }
    Ok(())
}

fn oaep_length(context: &Context) -> Outcome {
    context.user_session()?.need(CKM_RSA_PKCS_OAEP)?;
    lengths(context, Deed::Encrypt, &Mechanism::oaep(CKM_SHA_1, CKG_MGF1_SHA1, b""), 256 - 2 - 40)
}

fn pkcs1_length(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let info = session.mechanism_info(CKM_RSA_PKCS)?;
    for (flag, deed) in [(CKF_ENCRYPT, Deed::Encrypt), (CKF_SIGN, Deed::Sign)] {
        if claims(&info, flag) {
            lengths(context, deed, &Mechanism::new(CKM_RSA_PKCS), 256 - 11)?;
        }
    }
    Ok(())
}

fn raw_rsa_range(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let info = session.mechanism_info(CKM_RSA_X_509)?;
    let modulus = crate::numbers::hex(crate::numbers::RSA_MODULUS)?;
    for (flag, deed) in [(CKF_ENCRYPT, Deed::Encrypt), (CKF_SIGN, Deed::Sign)] {
        for (what, data) in [("the modulus", modulus.clone()), ("more than it", vec![0xff; 256]), ("257 bytes", vec![1; 257])] {
            if !claims(&info, flag) {
                continue;
            }
            let session = context.user_session()?;
            let keys = session.known_rsa()?;
            let key = if deed == Deed::Encrypt { keys.public } else { keys.private };
            let rv = code(session.whole(deed, &Mechanism::new(CKM_RSA_X_509), key, &data));
            check!(DATA.contains(&rv.0), "{deed:?} of {what} by CKM_RSA_X_509 answered {rv}");
        }
    }
    Ok(())
}

fn mac_length(context: &Context) -> Outcome {
    let _session = context.user_session()?;
    let mut tried = false;
    for row in list::listed(context)?.into_iter().filter_map(known) {
        let Parameter::Length(good) = row.parameter else { continue };
        tried = true;
        let (name, made) = (mechanism_name(row.kind), |len: CK_ULONG| {
            let session = context.user_session()?;
            let key = session.keys(row.key)?.private;
            Ok::<_, Stop>(session.whole(Deed::Sign, &Mechanism::number(row.kind, len), key, b"some data"))
        });
        let long = must(made(good)?, "C_Sign")?;
        for len in 1..good {
            match made(len)? {
                Ok(mac) => check!(mac == long[..len as usize], "{name} of {len} bytes is not the beginning of one of {good}"),
                Err(rv) => check!(refused(rv), "C_Sign by {name} of {len} bytes answered {rv}"),
            }
        }
        for len in [65, 1 << 20, CK_ULONG::MAX] {
            let rv = code(made(len)?);
            check!(refused(rv), "C_Sign by {name} of {len} bytes answered {rv}");
        }
    }
    if tried { Ok(()) } else { Err(Stop::Skip("the token has no MAC of a general length".into())) }
}

fn ecdh_public(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_ECDH1_DERIVE)?;
    let (ours, theirs) = (session.keys(Key::Ec)?, session.keys(Key::Ec)?);
    let point = session.point(theirs.public)?;
    let template = Template::secret_key(CKK_GENERIC_SECRET, &[]).ulong(CKA_VALUE_LEN, 16);
    let derive = |point: &[u8]| code(session.derive(&Mechanism::ecdh(CKM_ECDH1_DERIVE, point), ours.private, &template));
    let rv = derive(&point);
    check!(rv == Rv::OK, "C_DeriveKey with the other side's point answered {rv}");
    let long = [&point[..], &[0]].concat();
    let wrong =
        [("no point", &[][..]), ("one byte", &point[..1]), ("a byte less", &point[..point.len() - 1]), ("a byte more", &long)];
    for (what, point) in wrong {
        let rv = derive(point);
        check!(refused(rv) || rv == Rv(CKR_PUBLIC_KEY_INVALID), "C_DeriveKey with {what} answered {rv}");
    }
    Ok(())
}
