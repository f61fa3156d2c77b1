//! Using keys: each operation starts with a key that the policy has permitted.

use std::sync::Arc;

use super::object::Call;
use super::origin::Origin;
use crate::ck::{AttributeType, KeyType, MechanismType, ObjectClass};
use crate::error::{Code, Result, refuse};
use crate::faults::{self, Fault};
use crate::limits::NONCES_OF_GONE_KEYS_MAX;
use crate::mechanism::table::{self, Row};
use crate::mechanism::{Cipher, Digester, Key, Mechanism, Recover, Signer, Verbs, Verifier};
use crate::object::ObjectId;
use crate::object::policy::{self, Permitted, Policy, Use};
use crate::token::{PermitSlot, Started};
use crate::world::utc_time;

/// The row of a mechanism. Errors: `MechanismInvalid`.
pub(super) fn row(kind: MechanismType) -> Result<&'static Row> {
    table::find(kind).ok_or_else(|| refuse(Code::MechanismInvalid, format!("{kind} is not offered")))
}

/// A verb of a mechanism. Errors: `MechanismInvalid` where it has no such verb.
pub(super) fn verb<T>(row: &'static Row, pick: fn(&Verbs) -> Option<T>) -> Result<T> {
    pick(&row.verbs).ok_or_else(|| refuse(Code::MechanismInvalid, format!("{} cannot be used for this", row.kind)))
}

/// Gives a started operation for a permitted key.
type Make<U, O> = fn(&Mechanism, Permitted<U, Arc<Key>>) -> Result<Box<O>>;

impl Call<'_> {
    /// A key for one use: visible, of the right type, permitted.
    ///
    /// Errors: `otherwise` (a key handle code), `KeyTypeInconsistent`, `KeyFunctionNotPermitted`, `MechanismInvalid`.
    pub fn permitted<U: Use>(
        &self,
        row: &Row,
        id: ObjectId,
        otherwise: Code,
        types: Code,
    ) -> Result<(Permitted<U, Arc<Key>>, bool)> {
        let key = self.open(id, otherwise)?;
        let object = key.object();
        let is_key = [ObjectClass::PUBLIC_KEY, ObjectClass::PRIVATE_KEY, ObjectClass::SECRET_KEY].contains(&object.class());
        if !is_key {
            return Err(refuse(otherwise, "the object is not a key"));
        }
        let key_type = object.key_type().unwrap_or(KeyType(u64::MAX));
        if !row.keys.contains(&key_type) {
            return Err(refuse(types, format!("{} does not work with a {key_type} key", row.kind)));
        }
        let authenticate = object.flag(AttributeType::ALWAYS_AUTHENTICATE) && !faults::on(Fault::AlwaysAuthenticateIgnored);
        let permitted = policy::permit(key, row.kind, self.facts().policy, &self.today())?;
        Ok((permitted, authenticate))
    }

    /// `YYYYMMDD`, needed under the strict policy only.
    fn today(&self) -> [u8; 8] {
        match self.facts().policy {
            Policy::Strict => *utc_time(self.partition.world.now().as_secs()).first_chunk().unwrap_or(b"00000000"),
            _ => *b"00000000",
        }
    }

    fn start<U: Use, O: ?Sized>(
        &self,
        mechanism: &Mechanism,
        key: ObjectId,
        pick: fn(&Verbs) -> Option<Make<U, O>>,
    ) -> Result<Started<Box<O>>> {
        let row = row(mechanism.kind)?;
        let make = verb(row, pick)?;
        let (permitted, authenticate) = self.permitted(row, key, Code::KeyHandleInvalid, Code::KeyTypeInconsistent)?;
        Ok(Started { operation: make(mechanism, permitted)?, authenticate: authenticate.then(PermitSlot::default) })
    }

    /// Under the strict policy no key encrypts or authenticates twice under one nonce.
    fn spend_nonce(&self, mechanism: &Mechanism, key: ObjectId) -> Result<()> {
        if self.facts().policy != Policy::Strict {
            return Ok(());
        }
        let is_of_session = || self.state.ephemeral.get(self.access.scope, key).is_some();
        self.state.nonces.spend(key, is_of_session, mechanism, self.origin.and_then(Origin::numbered_use))?;
        self.forget_nonces_of_gone_keys();
        Ok(())
    }

    /// Keys were destroyed, here or elsewhere, or went with their application: what they were used with goes too, now and then. A session object that a
    /// client's capsule can bring back (after it was idle; of a forked child) keeps its nonces until those of many later keys are in the way.
    fn forget_nonces_of_gone_keys(&self) {
        let Some(mut users) = self.state.nonces.due() else { return };
        let of_sessions = self.state.ephemeral.ids();
        users.retain(|user| match user.is_of_session {
            true => !of_sessions.contains(&user.key),
            // One that cannot be looked for may be there.
            false => matches!(self.partition.store.object_version(self.state.id, user.key), Ok(None)),
        });
        let kept = if self.partition.tickets.is_some() { NONCES_OF_GONE_KEYS_MAX } else { 0 };
        self.state.nonces.forget(users, kept);
    }

    /// As [`Call::sign`], only to be looked at: no nonce is spent.
    pub fn look_at_signing(&self, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Signer>>> {
        self.start(mechanism, key, |verbs| verbs.sign)
    }

    /// As [`Call::encrypt`], only to be looked at: no nonce is spent.
    pub fn look_at_encrypting(&self, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Cipher>>> {
        self.start(mechanism, key, |verbs| verbs.encrypt)
    }

    pub fn sign(&self, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Signer>>> {
        let started = self.look_at_signing(mechanism, key)?;
        self.spend_nonce(mechanism, key)?;
        Ok(started)
    }

    pub fn verify(&self, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Verifier>>> {
        self.start(mechanism, key, |verbs| verbs.verify)
    }

    pub fn sign_recover(&self, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Recover>>> {
        self.start(mechanism, key, |verbs| verbs.sign_recover)
    }

    pub fn verify_recover(&self, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Recover>>> {
        self.start(mechanism, key, |verbs| verbs.verify_recover)
    }

    pub fn encrypt(&self, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Cipher>>> {
        let started = self.look_at_encrypting(mechanism, key)?;
        self.spend_nonce(mechanism, key)?;
        Ok(started)
    }

    pub fn decrypt(&self, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Cipher>>> {
        self.start(mechanism, key, |verbs| verbs.decrypt)
    }

    /// `C_DigestKey`.
    pub fn digest_key(&self, id: ObjectId, digest: &mut dyn Digester) -> Result<()> {
        let key = self.open(id, Code::KeyHandleInvalid)?;
        if key.object().class() != ObjectClass::SECRET_KEY {
            return Err(refuse(Code::KeyIndigestible, "only the value of a secret key can be digested"));
        }
        match key.object().secret(AttributeType::VALUE) {
            Some(value) => digest.update(value.expose()),
            None => Err(refuse(Code::KeyIndigestible, "the key has no value")),
        }
    }
}
