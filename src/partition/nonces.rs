//! Nonces that were used: under the strict policy the same key never encrypts twice under one nonce.
//!
//! A repeated GCM nonce gives the authentication key away (NIST SP 800-38D, 8; Joux 2006). Each process remembers its own; across
//! processes only nonces that the token makes are safe.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::ck::MechanismType;
use crate::error::{Code, Result, refuse};
use crate::faults::{self, Fault};
use crate::limits::NONCES_LOOKED_THROUGH_FROM;
use crate::mechanism::{Mechanism, Params};
use crate::object::ObjectId;

/// Nonces remembered for one key; then the key has done enough in this process.
const NONCES_MAX: usize = 1 << 20;

/// What each key was used with.
#[derive(Default)]
pub(super) struct Nonces(Mutex<Remembered>);

struct Remembered {
    keys: HashMap<ObjectId, Used>,
    /// Nonces of all keys together.
    total: usize,
    /// With so many it is time to look for keys that are gone.
    look_at: usize,
    /// Nonces that were ever spent: numbers them.
    spent: u64,
}

impl Default for Remembered {
    fn default() -> Self {
        Self { keys: HashMap::new(), total: 0, look_at: NONCES_LOOKED_THROUGH_FROM, spent: 0 }
    }
}

/// Nonces of one key, and who used them.
struct Used {
    nonces: HashMap<Vec<u8>, Option<Spender>>,
    is_of_session: bool,
    /// The number of the latest.
    last: u64,
}

/// A key that has used nonces, as of one moment.
pub(super) struct User {
    pub key: ObjectId,
    /// Whether it is a session object.
    pub is_of_session: bool,
    last: u64,
}

/// The request that used a nonce: application and number. The same request again (its answer was lost) encrypts the same input.
type Spender = ([u8; 16], u64);

impl Nonces {
    /// Notes the nonce of an encryption that is about to start. Other mechanisms pass.
    ///
    /// Errors: `MechanismParamInvalid` for one that was used before; `KeyExhausted` when too many are remembered to note another.
    pub fn spend(
        &self,
        key: ObjectId,
        is_of_session: impl FnOnce() -> bool,
        mechanism: &Mechanism,
        spender: Option<Spender>,
    ) -> Result<()> {
        let nonce = match (&mechanism.params, mechanism.kind) {
            (Params::Gcm { iv, .. }, _) | (Params::Ccm { nonce: iv, .. }, _) => iv,
            (Params::Data(iv), MechanismType::AES_GMAC) => iv,
            _ => return Ok(()),
        };
        let mut all = self.0.lock();
        let Remembered { keys, total, spent, .. } = &mut *all;
        let new = || Used { nonces: HashMap::new(), is_of_session: is_of_session(), last: 0 };
        let used = keys.entry(key).or_insert_with(new);
        if let Some(before) = used.nonces.get(nonce) {
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
        if used.nonces.len() >= NONCES_MAX {
            return Err(refuse(
                Code::KeyExhausted,
                format!("this key was used with {NONCES_MAX} nonces in this process: start with a new key"),
            ));
        }
        used.nonces.insert(nonce.clone(), spender);
        (*total, *spent) = (*total + 1, *spent + 1);
        used.last = *spent;
        Ok(())
    }

    /// The keys, when there are so many nonces that those of keys which are gone must go. Each time twice as many as were left the time before: so it costs
    /// each use next to nothing, and no way in which a key goes is missed, another member's change included.
    pub fn due(&self) -> Option<Vec<User>> {
        let mut all = self.0.lock();
        if all.total < all.look_at {
            return None;
        }
        // One looks; others go on.
        all.look_at = 2 * all.total;
        let user = |(key, used): (&ObjectId, &Used)| User { key: *key, is_of_session: used.is_of_session, last: used.last };
        Some(all.keys.iter().map(user).collect())
    }

    /// Forgets what these keys were used with, but so many nonces, the latest: of keys that may come back. One that was used since it was looked for has
    /// come back.
    pub fn forget(&self, mut gone: Vec<User>, kept_nonces: usize) {
        gone.sort_by_key(|user| std::cmp::Reverse(user.last));
        let mut all = self.0.lock();
        let mut kept = 0;
        for user in gone {
            let Some(used) = all.keys.get(&user.key).filter(|used| used.last == user.last) else { continue };
            let len = used.nonces.len();
            kept += len;
            if kept > kept_nonces {
                all.keys.remove(&user.key);
                all.total -= len;
            }
        }
        all.look_at = NONCES_LOOKED_THROUGH_FROM.max(2 * all.total);
    }

    #[cfg(test)]
    pub fn total(&self) -> usize {
        self.0.lock().total
    }

    pub fn clear(&self) {
        *self.0.lock() = Remembered::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::NONCES_OF_GONE_KEYS_MAX;

    fn spend(nonces: &Nonces, key: ObjectId, mechanism: &Mechanism) -> Result<()> {
        nonces.spend(key, || true, mechanism, None)
    }

    fn key(number: usize) -> ObjectId {
        ObjectId(std::array::from_fn(|at| number.to_be_bytes().get(at).copied().unwrap_or(0)))
    }

    fn gcm(iv: &[u8]) -> Mechanism {
        Mechanism { kind: MechanismType::AES_GCM, params: Params::Gcm { iv: iv.to_vec(), aad: Vec::new(), tag_bits: 128 } }
    }

    #[test]
    fn a_nonce_is_spent_once_for_each_key() {
        let nonces = Nonces::default();
        let (one, two) = (ObjectId([1; 16]), ObjectId([2; 16]));
        spend(&nonces, one, &gcm(b"nonce-1")).unwrap();
        spend(&nonces, one, &gcm(b"nonce-2")).unwrap();
        spend(&nonces, two, &gcm(b"nonce-1")).unwrap();
        assert_eq!(spend(&nonces, one, &gcm(b"nonce-1")).unwrap_err().code(), Code::MechanismParamInvalid);
        let cbc = Mechanism { kind: MechanismType::AES_CBC, params: Params::Iv(vec![0; 16]) };
        spend(&nonces, one, &cbc).unwrap();
        spend(&nonces, one, &cbc).unwrap();
    }

    #[test]
    fn keys_that_are_gone_leave_no_nonces_behind_and_others_keep_theirs() {
        for may_come_back in [false, true] {
            let (nonces, living) = (Nonces::default(), key(usize::MAX));
            let kept = if may_come_back { NONCES_OF_GONE_KEYS_MAX } else { 0 };
            spend(&nonces, living, &gcm(b"nonce-1")).unwrap();
            for number in 0..5 * NONCES_LOOKED_THROUGH_FROM {
                spend(&nonces, key(number), &gcm(b"nonce-1")).unwrap();
                if let Some(users) = nonces.due() {
                    assert!(nonces.due().is_none(), "one looks");
                    nonces.forget(users.into_iter().filter(|user| user.key != living).collect(), kept);
                    assert_eq!(nonces.0.lock().keys.len(), kept + 1);
                    assert_eq!(
                        spend(&nonces, key(number), &gcm(b"nonce-1")).is_err(),
                        may_come_back,
                        "the latest comes back first"
                    );
                }
            }
            assert!(nonces.0.lock().total <= NONCES_LOOKED_THROUGH_FROM);
            assert_eq!(spend(&nonces, living, &gcm(b"nonce-1")).unwrap_err().code(), Code::MechanismParamInvalid);
        }
    }

    #[test]
    fn a_key_that_was_used_since_it_was_looked_for_keeps_its_nonces() {
        let nonces = Nonces::default();
        for number in 0..NONCES_LOOKED_THROUGH_FROM {
            spend(&nonces, key(number), &gcm(b"nonce-1")).unwrap();
        }
        let users = nonces.due().unwrap();
        spend(&nonces, key(7), &gcm(b"nonce-2")).unwrap();
        nonces.forget(users, 0);
        assert_eq!(nonces.0.lock().total, 2);
        for nonce in [b"nonce-1", b"nonce-2"] {
            assert_eq!(spend(&nonces, key(7), &gcm(nonce)).unwrap_err().code(), Code::MechanismParamInvalid);
        }
        spend(&nonces, key(8), &gcm(b"nonce-1")).unwrap();
    }
}
