//! What a node needs of a token beyond the waist: logins proven elsewhere, session objects that their client carries, operations that
//! are looked at before they are run.

use std::sync::Arc;

use super::object::{Call, gone};
use super::operate::row;
use super::seal::{ObjectSeals, Seal};
use super::token::LocalToken;
use crate::ck::MechanismType;
use crate::error::{Code, Result, refuse};
use crate::faults::{self, Fault};
use crate::mechanism::digest::Hash;
use crate::mechanism::table::Input;
use crate::mechanism::{Key, Shape};
use crate::object::{Object, ObjectId, encode, policy};
use crate::secret::Secret;
use crate::token::message::{Begun, Blob, Capsule, Held, Use, Verb};
use crate::token::{Access, LoginId, Reference, Role, Scope};

/// The outer part of a capsule: what its seal is bound to, so that it revives nothing but its owner's object.
struct Name {
    scope: Scope,
    /// The login of a private object's owner.
    login: Option<LoginId>,
    token_generation: u64,
    held: Held,
}

impl LocalToken {
    /// Accepts a login that was proven at another partition. Returns a new ticket if it is time for one. `new_pin`: the request is to change the login's own PIN to
    /// that. Errors: `UserNotLoggedIn`.
    pub fn admit(&self, access: &Access, new_pin: Option<&Secret>) -> Result<Option<Arc<[u8]>>> {
        let (partition, state, origin) = self.parts();
        match origin {
            Some(origin) => partition.admit(state, access, origin, new_pin),
            None => Ok(None),
        }
    }

    /// A new ticket of a login that is good here; `None` where there is one partition, or no such login.
    pub fn ticket(&self, access: &Access) -> Result<Option<Arc<[u8]>>> {
        let (partition, state, _) = self.parts();
        let login = access.login.and_then(|id| state.logins.read().get(&id).cloned().map(|login| (id, login)));
        let ticket = login.map(|(id, login)| partition.ticket(state.id, id, &login)).transpose()?;
        Ok(ticket.filter(|ticket| !ticket.is_empty()))
    }

    /// Those of the client's session objects that are not known here as the client knows them.
    pub fn unknown(&self, scope: Scope, held: &[Held]) -> Vec<ObjectId> {
        let (_, state, _) = self.parts();
        let is_known = |held: &&Held| state.ephemeral.get(scope, held.id).is_some_and(|key| key.object().version == held.version);
        held.iter().filter(|held| !is_known(held)).map(|held| held.id).collect()
    }

    /// Takes session objects in again. One that does not open (another login, an emptied token, bent) stays unknown.
    pub fn revive(&self, access: &Access, capsules: &[Blob]) -> Result<()> {
        let call = self.call(access)?;
        for capsule in capsules {
            if let Some(object) = call.open_capsule(&capsule.0)? {
                let id = object.id;
                call.state.ephemeral.put(access.scope, Arc::new(Key::new(object)));
                // In place of an earlier version.
                call.state.hands.let_go(&[id]);
            }
        }
        Ok(())
    }

    /// What revives a session object at another partition; `None` for a token object.
    pub fn capsule(&self, access: &Access, reference: Reference) -> Result<Option<Capsule>> {
        if reference.token {
            return Ok(None);
        }
        let call = self.call(access)?;
        let key = call.state.ephemeral.get(access.scope, reference.id).ok_or_else(|| gone(Code::ObjectHandleInvalid))?;
        let (held, sealed) = call.seal_capsule(key.object())?;
        Ok(Some(Capsule { version: held.version, sealed: Blob(sealed) }))
    }

    /// What a caller must know before it sends input. Nothing is used up. Errors: those of the operation's start.
    pub fn begin(&self, access: &Access, what: &Use) -> Result<Begun> {
        let call = self.call(access)?;
        let (mechanism, key) = (&what.mechanism, what.key);
        let by_hash = |hash: Option<Hash>| hash.map(Hash::mechanism);
        let (authenticate, output_max, hash, shape): (bool, usize, Option<MechanismType>, Option<Shape>) = match what.verb {
            Verb::Sign => {
                let started = call.look_at_signing(mechanism, key)?;
                (started.authenticate.is_some(), started.operation.signature_len(), by_hash(started.operation.hash()), None)
            }
            Verb::Verify => {
                let started = call.verify(mechanism, key)?;
                (started.authenticate.is_some(), 0, by_hash(started.operation.hash()), None)
            }
            Verb::SignRecover => {
                let started = call.sign_recover(mechanism, key)?;
                (started.authenticate.is_some(), started.operation.output_len(0), None, None)
            }
            Verb::VerifyRecover => {
                let started = call.verify_recover(mechanism, key)?;
                (started.authenticate.is_some(), started.operation.output_len(0), None, None)
            }
            Verb::Encrypt => {
                let started = call.look_at_encrypting(mechanism, key)?;
                (started.authenticate.is_some(), 0, None, Some(started.operation.shape()))
            }
            Verb::Decrypt => {
                let started = call.decrypt(mechanism, key)?;
                (started.authenticate.is_some(), 0, None, Some(started.operation.shape()))
            }
        };
        let streams = row(mechanism.kind)?.input == Input::Stream && shape.is_none_or(|shape| !shape.collects());
        Ok(Begun { authenticate, output_max: output_max as u64, hash, streams, shape })
    }

    /// Whether a use in parts that was begun may go on: its key is still there and permits it. Errors: those of the operation's start.
    pub fn goes_on(&self, access: &Access, what: &Use) -> Result<()> {
        let call = self.call(access)?;
        match what.verb {
            Verb::Sign => call.still_permits::<policy::Sign>(what),
            Verb::Verify => call.still_permits::<policy::Verify>(what),
            Verb::SignRecover => call.still_permits::<policy::SignRecover>(what),
            Verb::VerifyRecover => call.still_permits::<policy::VerifyRecover>(what),
            Verb::Encrypt => call.still_permits::<policy::Encrypt>(what),
            Verb::Decrypt => call.still_permits::<policy::Decrypt>(what),
        }
    }

    /// Spends the permit of a use whose key asks for one. `purpose` is a hash over the whole use.
    ///
    /// Errors: `UserNotLoggedIn` without a good permit.
    pub fn spend(&self, access: &Access, what: &Use, purpose: [u8; 32]) -> Result<()> {
        let (partition, state, _) = self.parts();
        partition.spend(state.id, access, &what.permit.0, purpose)
    }
}

impl Call<'_> {
    fn still_permits<U: policy::Use>(&self, what: &Use) -> Result<()> {
        self.permitted::<U>(row(what.mechanism.kind)?, what.key, Code::KeyHandleInvalid, Code::KeyTypeInconsistent).map(drop)
    }

    fn name(&self, private: bool, held: Held) -> Name {
        let (scope, login) = match faults::on(Fault::CapsuleForAnyone) {
            true => (Scope([0; 16]), None),
            false => (self.access.scope, self.access.login.filter(|_| private)),
        };
        Name { scope, login, token_generation: self.facts().row.generation, held }
    }

    fn with_capsule_seal<T>(&self, private: bool, work: impl FnOnce(&Seal) -> Result<T>) -> Result<T> {
        self.with_seals(private, |seals: &ObjectSeals| work(seals.capsule()))
    }

    /// id | version | private | sealed attributes.
    pub(super) fn seal_capsule(&self, object: &Object) -> Result<(Held, Vec<u8>)> {
        let held = Held { id: object.id, version: object.version };
        let private = object.is_private();
        let aad = self.name(private, held).aad(&self.state.id.0);
        let encoded = encode::encode(&object.attributes);
        let sealed = self.with_capsule_seal(private, |seal| seal.seal(&*self.partition.world, &aad, encoded.expose()))?;
        let mut capsule = Vec::with_capacity(25 + sealed.len());
        capsule.extend_from_slice(&held.id.0);
        capsule.extend_from_slice(&held.version.to_be_bytes());
        capsule.push(private.into());
        capsule.extend_from_slice(&sealed);
        Ok((held, capsule))
    }

    pub(super) fn open_capsule(&self, capsule: &[u8]) -> Result<Option<Object>> {
        let Some((id, rest)) = capsule.split_first_chunk::<16>() else { return Ok(None) };
        let Some((version, rest)) = rest.split_first_chunk::<8>() else { return Ok(None) };
        let Some((&private, sealed)) = rest.split_first() else { return Ok(None) };
        let held = Held { id: ObjectId(*id), version: u64::from_be_bytes(*version) };
        let private = private != 0;
        if private && self.access.role != Some(Role::User) {
            return Ok(None);
        }
        let aad = self.name(private, held).aad(&self.state.id.0);
        let opened: Option<Secret> = self.with_capsule_seal(private, |seal| Ok(seal.open(&aad, sealed)))?;
        let Some(encoded) = opened else { return Ok(None) };
        let object = Object { id: held.id, version: held.version, attributes: encode::decode(encoded.expose())? };
        if object.is_token() || object.is_private() != private {
            return Err(refuse(Code::DeviceError, "a capsule holds what no partition would have sealed in it"));
        }
        Ok(Some(object))
    }
}

impl Name {
    fn aad(&self, token: &[u8; 16]) -> Vec<u8> {
        let mut aad = Vec::with_capacity(96);
        aad.extend_from_slice(token);
        aad.extend_from_slice(&self.scope.0);
        aad.extend_from_slice(&self.login.map_or([0; 16], |login| login.0));
        aad.extend_from_slice(&self.token_generation.to_be_bytes());
        aad.extend_from_slice(&self.held.id.0);
        aad.extend_from_slice(&self.held.version.to_be_bytes());
        aad
    }
}
