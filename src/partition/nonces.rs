//! Nonces that were used: under the strict policy the same key never encrypts twice under one nonce.
//!
//! A repeated GCM nonce gives the authentication key away (NIST SP 800-38D, 8; Joux 2006). Each process remembers its own; across
//! processes only nonces that the token makes are safe.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::ck::MechanismType;
use crate::error::{Code, Result, refuse};
use crate::faults::{self, Fault};
use crate::mechanism::{Mechanism, Params};
use crate::object::ObjectId;

/// Nonces remembered for one key; then the key has done enough in this process.
const NONCES_MAX: usize = 1 << 20;

/// What each key was used with.
#[derive(Default)]
pub(super) struct Nonces(Mutex<HashMap<ObjectId, Used>>);

/// Nonces of one key, and who used them.
type Used = HashMap<Vec<u8>, Option<Spender>>;

/// The request that used a nonce: application and number. The same request again (its answer was lost) encrypts the same input.
type Spender = ([u8; 16], u64);

impl Nonces {
    /// Notes the nonce of an encryption that is about to start. Other mechanisms pass.
    ///
    /// Errors: `MechanismParamInvalid` for one that was used before; `KeyExhausted` when too many are remembered to note another.
    pub fn spend(&self, key: ObjectId, mechanism: &Mechanism, spender: Option<Spender>) -> Result<()> {
        let nonce = match (&mechanism.params, mechanism.kind) {
            (Params::Gcm { iv, .. }, _) | (Params::Ccm { nonce: iv, .. }, _) => iv,
            (Params::Data(iv), MechanismType::AES_GMAC) => iv,
            _ => return Ok(()),
        };
        let mut keys = self.0.lock();
        let used = keys.entry(key).or_default();
        if let Some(before) = used.get(nonce) {
            if spender.is_some() && *before == spender && !faults::on(Fault::RepeatedUsesSpendTwice) {
                return Ok(());
            }
            if faults::on(Fault::NoncesAreForgotten) {
                return Ok(());
            }
            return Err(refuse(
                Code::MechanismParamInvalid,
                "this key was used with this nonce before; the token's strict policy refuses it",
            ));
        }
        if used.len() >= NONCES_MAX {
            return Err(refuse(
                Code::KeyExhausted,
                format!("this key was used with {NONCES_MAX} nonces in this process: start with a new key"),
            ));
        }
        used.insert(nonce.clone(), spender);
        Ok(())
    }

    pub fn clear(&self) {
        self.0.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gcm(iv: &[u8]) -> Mechanism {
        Mechanism { kind: MechanismType::AES_GCM, params: Params::Gcm { iv: iv.to_vec(), aad: Vec::new(), tag_bits: 128 } }
    }

    #[test]
    fn a_nonce_is_spent_once_for_each_key() {
        let nonces = Nonces::default();
        let (one, two) = (ObjectId([1; 16]), ObjectId([2; 16]));
        nonces.spend(one, &gcm(b"nonce-1"), None).unwrap();
        nonces.spend(one, &gcm(b"nonce-2"), None).unwrap();
        nonces.spend(two, &gcm(b"nonce-1"), None).unwrap();
        assert_eq!(nonces.spend(one, &gcm(b"nonce-1"), None).unwrap_err().code(), Code::MechanismParamInvalid);
        let cbc = Mechanism { kind: MechanismType::AES_CBC, params: Params::Iv(vec![0; 16]) };
        nonces.spend(one, &cbc, None).unwrap();
        nonces.spend(one, &cbc, None).unwrap();
    }
}
