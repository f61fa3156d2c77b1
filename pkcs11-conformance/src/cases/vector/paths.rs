//! Known answers for keys that came another way than by C_CreateObject: unwrapped, generated and read, generated and used.

use cryptoki_sys::*;

use super::case;
use crate::case::{Case, Outcome, Stop};
use crate::check;
use crate::context::{Context, Session};
use crate::crypt::{Deed, must};
use crate::known_keys::data_of;
use crate::module::Rv;
use crate::numbers::hex;
use crate::sample_keys::{Curve, ED25519, P256, known_secret, uses};
use crate::template::{Mechanism, Template};

/// The cases of this family.
pub const CASES: &[Case] = &[
    case!(
        "unwrapped",
        "5.18.4 C_UnwrapKey; SP 800-38A, F.1.1; SP 800-38B, D.1",
        "A key that was unwrapped encrypts and signs the samples of its value.",
        unwrapped
    ),
    case!(
        "derived",
        "6.17 CKM_AES_ECB_ENCRYPT_DATA; SP 800-38A, F.1.1",
        "A key derived by encryption has the sample's ciphertext as its value, and works as that value does.",
        derived
    ),
    case!(
        "generated-secret",
        "5.18.1 C_GenerateKey, 5.7.1 C_CreateObject",
        "A generated key does what a key made of its value does: encryption, MAC.",
        generated_secret
    ),
    case!(
        "generated-pair",
        "5.18.2 C_GenerateKeyPair, 5.7.1 C_CreateObject",
        "What a generated private key signs verifies with a public key made of the numbers of its pair, and the other way round.",
        generated_pair
    ),
];

/// SP 800-38A's key and first block, and what comes of them in ECB.
const KEY: &str = "2b7e151628aed2a6abf7158809cf4f3c";
const BLOCK: &str = "6bc1bee22e409f96e93d7e117393172a";
const SEALED: &str = "3ad77bb40d7a3660a89ecaf32466ef97";
/// SP 800-38B's CMAC of the block with the key.
const MAC: &str = "070a16b46b4d4144f79bdd9dd04a287c";

fn readable(template: Template) -> Template {
    template.flag(CKA_SENSITIVE, false).flag(CKA_EXTRACTABLE, true)
}

fn ecb(session: &Session<'_>, key: CK_OBJECT_HANDLE, block: &[u8]) -> Result<Vec<u8>, Stop> {
    must(session.whole(Deed::Encrypt, &Mechanism::new(CKM_AES_ECB), key, block), "C_Encrypt by CKM_AES_ECB")
}

fn unwrapped(context: &Context) -> Outcome {
    let session = context.user_session()?;
    for kind in [CKM_AES_KEY_WRAP, CKM_AES_ECB, CKM_AES_CMAC] {
        session.need(kind)?;
    }
    let wrap = Mechanism::new(CKM_AES_KEY_WRAP);
    let (outer, inner) = (session.known_aes(&[9; 32], &[CKA_WRAP, CKA_UNWRAP])?, session.known_aes(&hex(KEY)?, &[CKA_ENCRYPT])?);
    let wrapped = must(session.wrap(&wrap, outer, inner), "C_WrapKey")?;
    let back = session.unwrap(&wrap, outer, &wrapped, &Template::secret_key(CKK_AES, &[CKA_ENCRYPT, CKA_SIGN]));
    let back = must(back, "C_UnwrapKey")?;
    check!(ecb(&session, back, &hex(BLOCK)?)? == hex(SEALED)?, "the unwrapped key encrypts SP 800-38A's block wrongly");
    let mac = must(session.whole(Deed::Sign, &Mechanism::new(CKM_AES_CMAC), back, &hex(BLOCK)?), "C_Sign by CKM_AES_CMAC")?;
    check!(mac == hex(MAC)?, "the unwrapped key signs SP 800-38B's block wrongly");
    Ok(())
}

fn derived(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_AES_ECB_ENCRYPT_DATA)?;
    session.need(CKM_AES_ECB)?;
    let base = session.known_aes(&hex(KEY)?, &[CKA_DERIVE])?;
    let template = readable(Template::secret_key(CKK_AES, &[CKA_ENCRYPT])).ulong(CKA_VALUE_LEN, 16);
    let made = session.derive(&Mechanism::string_data(CKM_AES_ECB_ENCRYPT_DATA, &hex(BLOCK)?), base, &template);
    let made = must(made, "C_DeriveKey by CKM_AES_ECB_ENCRYPT_DATA")?;
    let value = must(session.attribute(made, CKA_VALUE), "reading CKA_VALUE of the derived key")?;
    check!(value == hex(SEALED)?, "the derived key's value is {value:02x?}");
    let same = session.known_aes(&value, &[CKA_ENCRYPT])?;
    check!(
        ecb(&session, made, &data_of(32))? == ecb(&session, same, &data_of(32))?,
        "the derived key encrypts otherwise than its value"
    );
    Ok(())
}

fn generated_secret(context: &Context) -> Outcome {
    let (session, mut tried) = (context.user_session()?, 0);
    let makers = [
        (CKM_AES_KEY_GEN, CKK_AES, CKM_AES_ECB, Deed::Encrypt, CKA_ENCRYPT),
        (CKM_AES_KEY_GEN, CKK_AES, CKM_AES_CMAC, Deed::Sign, CKA_SIGN),
        (CKM_GENERIC_SECRET_KEY_GEN, CKK_GENERIC_SECRET, CKM_SHA256_HMAC, Deed::Sign, CKA_SIGN),
    ];
    for (maker, key_type, user, deed, usage) in makers {
        if session.need(maker).is_err() || session.need(user).is_err() {
            continue;
        }
        tried += 1;
        let template = readable(Template::secret_key(key_type, &[usage])).ulong(CKA_VALUE_LEN, 32);
        let key = must(session.generate(Mechanism::new(maker), template), "C_GenerateKey")?;
        let value = must(session.attribute(key, CKA_VALUE), "reading CKA_VALUE of a generated key")?;
        let twin = must(session.create(known_secret(key_type, &value, &[usage])), "C_CreateObject of its value")?;
        let done = |key| must(session.whole(deed, &Mechanism::new(user), key, &data_of(32)), &format!("{deed:?}"));
        let name = crate::crypt::mechanism_name(user);
        check!(done(key)? == done(twin)?, "a generated key and one made of its value give different results by {name}");
    }
    if tried == 0 { Err(Stop::Skip("the token generates neither AES keys nor generic secrets".into())) } else { Ok(()) }
}

/// A pair whose private key can be read, and twins made of the numbers of both.
fn twins(
    session: &Session<'_>,
    curve: Curve,
    maker: CK_MECHANISM_TYPE,
    key_type: CK_KEY_TYPE,
) -> Result<[CK_OBJECT_HANDLE; 4], Stop> {
    let (public, private) = (uses(&[CKA_VERIFY]).bytes(CKA_EC_PARAMS, curve.oid), readable(uses(&[CKA_SIGN])));
    let made = session.generate_pair(&Mechanism::new(maker), &public, &private);
    let (public, private) = must(made, &format!("C_GenerateKeyPair on {}", curve.name))?;
    let numbers = |template: Template, class| template.ulong(CKA_CLASS, class).ulong(CKA_KEY_TYPE, key_type);
    let point = must(session.attribute(public, CKA_EC_POINT), "reading CKA_EC_POINT")?;
    let value = must(session.attribute(private, CKA_VALUE), "reading CKA_VALUE of the private key")?;
    let other = numbers(uses(&[CKA_VERIFY]), CKO_PUBLIC_KEY).bytes(CKA_EC_PARAMS, curve.oid).bytes(CKA_EC_POINT, point);
    let secret = numbers(uses(&[CKA_SIGN]), CKO_PRIVATE_KEY).bytes(CKA_EC_PARAMS, curve.oid).bytes(CKA_VALUE, value);
    let other = must(session.create(other), "C_CreateObject of a public key of the pair's numbers")?;
    Ok([public, private, other, must(session.create(secret), "C_CreateObject of a private key of the pair's number")?])
}

fn generated_pair(context: &Context) -> Outcome {
    let (session, mut tried) = (context.user_session()?, 0);
    for (curve, maker, key_type, user) in
        [(P256, CKM_EC_KEY_PAIR_GEN, CKK_EC, CKM_ECDSA), (ED25519, CKM_EC_EDWARDS_KEY_PAIR_GEN, CKK_EC_EDWARDS, CKM_EDDSA)]
    {
        if session.need(maker).is_err() || session.need(user).is_err() {
            continue;
        }
        tried += 1;
        let [public, private, other, secret] = twins(&session, curve, maker, key_type)?;
        for (signer, verifier) in [(private, other), (secret, public)] {
            let signature = must(session.whole(Deed::Sign, &Mechanism::new(user), signer, &[5; 32]), "C_Sign")?;
            let rv = session.verify(&Mechanism::new(user), verifier, &[5; 32], &signature);
            check!(
                rv == Rv::OK,
                "on {}, C_Verify between a generated key and one made of its pair's numbers answered {rv}",
                curve.name
            );
        }
    }
    if tried == 0 { Err(Stop::Skip("the token generates no pairs on P-256 or Ed25519".into())) } else { Ok(()) }
}
