//! Targets of fuzzers: keys and certificates as DER.

use super::{certificate_parts, from_inner, private_from_pkcs8, private_to_pkcs8};
use crate::ck::{AttributeType, KeyType, ObjectClass};
use crate::secret::Secret;

/// A private key, a certificate, an unwrapped key. A private key that is taken can be written, and is the same again.
pub fn keys(bytes: &[u8]) {
    let _ = certificate_parts(bytes);
    for key_type in [KeyType::RSA, KeyType::EC, KeyType::EC_EDWARDS, KeyType::DSA, KeyType::DH] {
        let _ = from_inner(ObjectClass::PRIVATE_KEY, key_type, &Secret::copy_of(bytes));
    }
    let Ok((_, private)) = private_from_pkcs8(bytes) else { return };
    let kind = private.ulong(AttributeType::KEY_TYPE);
    match private_to_pkcs8(&private) {
        Ok(written) => {
            let again = private_from_pkcs8(written.expose());
            assert!(
                again.is_ok_and(|(_, again)| again.ulong(AttributeType::KEY_TYPE) == kind),
                "it is another key when read again"
            );
        }
        Err(error) => panic!("a private key that was taken cannot be written: {error}"),
    }
}

/// Input of the right form.
#[cfg(test)]
pub fn key_samples() -> Vec<Vec<u8>> {
    super::tests::pkcs8_samples()
}
