//! One token of a pool: each verb becomes a request.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::call::{Call, Pool};
use super::cipher::RemoteCipher;
use super::digest::RemoteDigest;
use super::sign::{RemoteRecover, RemoteSigner, RemoteVerifier};
use super::stream::Remote;
use crate::ck::AttributeType;
use crate::error::{Code, Result, refuse};
use crate::limits::DESTROYED_UNTOLD_MAX;
use crate::mechanism::{Cipher, Digester, Mechanism, Params, Recover, Signer, Verifier, table};
use crate::object::{ObjectId, Template};
use crate::secret::Secret;
use crate::token::message::{Ask, Begun, Blob, Named, New, Reply, Use, Verb, encode};
use crate::token::{Access, Description, Permit, PermitSlot, Reading, Reference, Role, Scope, Started, Token, TokenId};

/// A token kept by a pool.
pub struct PooledToken {
    pool: Arc<Pool>,
    id: TokenId,
    destroyed: Mutex<Destroyed>,
}

/// Session objects that were destroyed at one node, and that others may still have: which of them were brought one is not noted.
#[derive(Default)]
struct Destroyed {
    untold: Vec<ObjectId>,
    /// When the nodes are told again.
    due: Duration,
}

/// How many times longer than it took to tell the nodes they are not told again, so that it costs a twentieth of the time at most.
const TELLING_PAUSE: u32 = 20;
/// Nor are they for so long while they are being told.
const TELLING_TAKES: Duration = Duration::from_secs(1);

impl PooledToken {
    pub(super) fn new(pool: Arc<Pool>, id: TokenId) -> Self {
        Self { pool, id, destroyed: Mutex::default() }
    }

    fn ask(&self, access: &Access, names: &[ObjectId], ask: Ask) -> Result<Reply> {
        self.pool.ask(Call::new(Some(self.id), access, ask, names))
    }

    fn odd<T>(&self) -> Result<T> {
        Err(self.pool.odd(0))
    }

    fn done(&self, access: &Access, names: &[ObjectId], ask: Ask) -> Result<()> {
        self.ask(access, names, ask).map(drop)
    }

    /// A request that gives so many objects.
    fn objects<const N: usize>(&self, access: &Access, names: &[ObjectId], ask: Ask) -> Result<[Reference; N]> {
        let Reply::Objects(objects) = self.ask(access, names, ask)? else { return self.odd() };
        self.kept(access, &objects)
    }

    /// The same of objects that are new.
    fn made<const N: usize>(&self, access: &Access, new: New) -> Result<[Reference; N]> {
        self.kept(access, &self.pool.make(self.id, access, new)?)
    }

    fn kept<const N: usize>(&self, access: &Access, objects: &[Named]) -> Result<[Reference; N]> {
        let scope = self.pool.scope(access)?;
        objects.iter().for_each(|named| self.pool.belongings.keep(self.id, named, scope));
        let references: Vec<Reference> = objects.iter().map(Reference::from).collect();
        references.try_into().or_else(|_| self.odd())
    }

    fn object(&self, access: &Access, names: &[ObjectId], ask: Ask) -> Result<Reference> {
        let [reference] = self.objects(access, names, ask)?;
        Ok(reference)
    }

    /// Tells the nodes, now or with others that are destroyed later, that a session object is gone: else those to which a capsule brought it would have the
    /// key until the application leaves.
    fn tell_destroyed(&self, access: &Access, id: ObjectId) {
        if self.pool.view.nodes().count() < 2 {
            return;
        }
        let begun = self.pool.world.elapsed();
        let ids = {
            let mut destroyed = self.destroyed.lock();
            destroyed.untold.push(id);
            if begun < destroyed.due && destroyed.untold.len() < DESTROYED_UNTOLD_MAX {
                return;
            }
            destroyed.due = begun + TELLING_TAKES;
            std::mem::take(&mut destroyed.untold)
        };
        self.pool.tell(self.id, &Access::public(access.scope, false), &|| Ask::Forget { ids: ids.clone() });
        let now = self.pool.world.elapsed();
        self.destroyed.lock().due = now + now.saturating_sub(begun) * TELLING_PAUSE;
    }

    /// Until this time of the pool's the nodes are not told.
    #[cfg(test)]
    pub(super) fn put_off_telling(&self, due: Duration) {
        self.destroyed.lock().due = due;
    }

    /// Asks whether the key may be used so, unless that was answered a moment ago.
    fn begin(&self, access: &Access, verb: Verb, mechanism: &Mechanism, key: ObjectId) -> Result<(Remote, Begun)> {
        let what = Use { verb, mechanism: mechanism.clone(), key, permit: Blob::default() };
        let mut name = encode(&what).expose().to_vec();
        name.extend_from_slice(&self.id.0);
        name.extend_from_slice(&access.login.map_or([0; 16], |login| login.0));
        let now = self.pool.world.elapsed();
        let begun = match self.pool.belongings.begun(&name, now) {
            Some(begun) => begun,
            None => {
                let names = &named(&what);
                let Reply::Started(begun) = self.ask(access, names, Ask::Start { what: what.clone() })? else {
                    return self.odd();
                };
                self.pool.belongings.keep_begun(name, now, begun.clone());
                begun
            }
        };
        let slot = begun.authenticate.then(PermitSlot::default);
        Ok((Remote::new(self.pool.clone(), self.id, access.clone(), what, slot), begun))
    }
}

/// The objects that a use names.
pub(super) fn named(what: &Use) -> Vec<ObjectId> {
    named_in(&what.mechanism, &[what.key])
}

/// The objects that a mechanism and a request name.
fn named_in(mechanism: &Mechanism, ids: &[ObjectId]) -> Vec<ObjectId> {
    let mut names = ids.to_vec();
    if let Params::OtherKey(other) = mechanism.params {
        names.push(other);
    }
    names
}

impl Token for PooledToken {
    fn describe(&self) -> Result<Description> {
        // The question is the same for every application.
        match self.ask(&Access::public(Scope([0; 16]), false), &[], Ask::Describe)? {
            Reply::Described(described) => Ok(described.into()),
            _ => self.odd(),
        }
    }

    fn login(&self, scope: &Scope, role: Role, pin: &Secret) -> Result<Access> {
        match self.ask(&Access::public(*scope, true), &[], Ask::Login { role, pin: pin.duplicate() })? {
            Reply::Who(who) => Ok(Access::from(&who)),
            _ => self.odd(),
        }
    }

    fn logout(&self, access: &Access) -> Result<()> {
        let answer = match self.pool.is_parents(access)? {
            // A child that has not used it leaves it to its parent.
            true => Ok(()),
            false => {
                let answer = self.done(access, &[], Ask::Logout);
                self.pool.tell(self.id, access, &|| Ask::Logout);
                answer
            }
        };
        self.pool.belongings.end_login(self.id, access);
        answer
    }

    fn authenticate(&self, access: &Access, pin: &Secret) -> Result<Permit> {
        match self.ask(access, &[], Ask::Authenticate { pin: pin.duplicate() })? {
            Reply::Permit(proof) => Ok(Permit::proven_by(Arc::from(proof.0))),
            _ => self.odd(),
        }
    }

    fn set_pin(&self, access: &Access, old: &Secret, new: &Secret) -> Result<()> {
        self.done(access, &[], Ask::SetPin { old: old.duplicate(), new: new.duplicate() })
    }

    fn init_pin(&self, access: &Access, new: &Secret) -> Result<()> {
        self.done(access, &[], Ask::InitPin { new: new.duplicate() })
    }

    fn find(&self, access: &Access, template: &Template) -> Result<Vec<Reference>> {
        match self.ask(access, &[], Ask::Find { template: template.duplicate() })? {
            // A node may have session objects that the application has not: attempts whose answer was lost, and what was destroyed elsewhere.
            Reply::Objects(objects) => {
                let is_ours = |named: &&Named| named.token || self.pool.belongings.is_held(self.id, named.id);
                Ok(objects.iter().filter(is_ours).map(Reference::from).collect())
            }
            _ => self.odd(),
        }
    }

    fn read(&self, access: &Access, id: ObjectId, wanted: &[AttributeType]) -> Result<Vec<Reading>> {
        match self.ask(access, &[id], Ask::Read { id, wanted: wanted.to_vec() })? {
            Reply::Readings(readings) if readings.len() == wanted.len() => Ok(readings.into_iter().map(Reading::from).collect()),
            _ => self.odd(),
        }
    }

    fn size(&self, access: &Access, id: ObjectId) -> Result<u64> {
        match self.ask(access, &[id], Ask::Size { id })? {
            Reply::Number(size) => Ok(size),
            _ => self.odd(),
        }
    }

    fn create(&self, access: &Access, template: Template) -> Result<Reference> {
        let [reference] = self.made(access, New::Created { template })?;
        Ok(reference)
    }

    fn copy(&self, access: &Access, id: ObjectId, changes: Template) -> Result<Reference> {
        self.object(access, &[id], Ask::Copy { id, changes })
    }

    fn update(&self, access: &Access, id: ObjectId, changes: Template) -> Result<Reference> {
        self.object(access, &[id], Ask::Update { id, changes })
    }

    fn destroy(&self, access: &Access, id: ObjectId) -> Result<()> {
        let is_ours = self.pool.belongings.is_held(self.id, id);
        self.done(access, &[id], Ask::Destroy { id })?;
        if is_ours {
            self.pool.belongings.forget(self.id, &[id]);
            self.tell_destroyed(access, id);
        }
        Ok(())
    }

    fn forget(&self, scope: &Scope, ids: &[ObjectId]) {
        self.pool.belongings.forget(self.id, ids);
        let mut all = std::mem::take(&mut self.destroyed.lock().untold);
        all.extend_from_slice(ids);
        // A node that does not hear it keeps them until the application leaves, or is idle.
        self.pool.tell(self.id, &Access::public(*scope, false), &|| Ask::Forget { ids: all.clone() });
    }

    fn leave(&self, scope: &Scope) {
        self.pool.tell(self.id, &Access::public(*scope, false), &|| Ask::Leave);
    }

    fn generate(&self, access: &Access, mechanism: &Mechanism, template: Template) -> Result<Reference> {
        let [reference] = self.made(access, New::Generated { mechanism: mechanism.clone(), template })?;
        Ok(reference)
    }

    fn generate_pair(
        &self,
        access: &Access,
        mechanism: &Mechanism,
        public: Template,
        private: Template,
    ) -> Result<(Reference, Reference)> {
        let [public, private] = self.made(access, New::Pair { mechanism: mechanism.clone(), public, private })?;
        Ok((public, private))
    }

    fn wrap(&self, access: &Access, mechanism: &Mechanism, wrapping: ObjectId, key: ObjectId) -> Result<Vec<u8>> {
        let names = named_in(mechanism, &[wrapping, key]);
        match self.ask(access, &names, Ask::Wrap { mechanism: mechanism.clone(), wrapping, key })? {
            Reply::Bytes(wrapped) => Ok(wrapped.expose().to_vec()),
            _ => self.odd(),
        }
    }

    fn unwrap(
        &self,
        access: &Access,
        mechanism: &Mechanism,
        unwrapping: ObjectId,
        wrapped: &[u8],
        template: Template,
    ) -> Result<Reference> {
        let (mechanism, wrapped) = (mechanism.clone(), wrapped.to_vec());
        let names = named_in(&mechanism, &[unwrapping]);
        self.object(access, &names, Ask::Unwrap { mechanism, unwrapping, wrapped, template })
    }

    fn derive(&self, access: &Access, mechanism: &Mechanism, base: ObjectId, template: Template) -> Result<Reference> {
        let names = named_in(mechanism, &[base]);
        self.object(access, &names, Ask::Derive { mechanism: mechanism.clone(), base, template })
    }

    fn sign(&self, access: &Access, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Signer>>> {
        let (remote, begun) = self.begin(access, Verb::Sign, mechanism, key)?;
        let authenticate = remote.slot();
        Ok(Started { operation: Box::new(RemoteSigner::new(remote, &begun)?), authenticate })
    }

    fn verify(&self, access: &Access, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Verifier>>> {
        let (remote, begun) = self.begin(access, Verb::Verify, mechanism, key)?;
        let authenticate = remote.slot();
        Ok(Started { operation: Box::new(RemoteVerifier::new(remote, &begun)?), authenticate })
    }

    fn sign_recover(&self, access: &Access, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Recover>>> {
        let (remote, begun) = self.begin(access, Verb::SignRecover, mechanism, key)?;
        let authenticate = remote.slot();
        Ok(Started { operation: Box::new(RemoteRecover::new(remote, &begun)), authenticate })
    }

    fn verify_recover(&self, access: &Access, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Recover>>> {
        let (remote, begun) = self.begin(access, Verb::VerifyRecover, mechanism, key)?;
        let authenticate = remote.slot();
        Ok(Started { operation: Box::new(RemoteRecover::new(remote, &begun)), authenticate })
    }

    fn encrypt(&self, access: &Access, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Cipher>>> {
        let (remote, begun) = self.begin(access, Verb::Encrypt, mechanism, key)?;
        let authenticate = remote.slot();
        let Some(shape) = begun.shape else { return self.odd() };
        Ok(Started { operation: Box::new(RemoteCipher::new(remote, shape)), authenticate })
    }

    fn decrypt(&self, access: &Access, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Cipher>>> {
        let (remote, begun) = self.begin(access, Verb::Decrypt, mechanism, key)?;
        let authenticate = remote.slot();
        let Some(shape) = begun.shape else { return self.odd() };
        Ok(Started { operation: Box::new(RemoteCipher::new(remote, shape)), authenticate })
    }

    fn digest(&self, mechanism: &Mechanism) -> Result<Box<dyn Digester>> {
        let row = table::find(mechanism.kind);
        let make = row
            .and_then(|row| row.verbs.digest)
            .ok_or_else(|| refuse(Code::MechanismInvalid, format!("{} is no digest that is offered", mechanism.kind)))?;
        Ok(Box::new(RemoteDigest::new(self.pool.clone(), self.id, mechanism.clone(), make(mechanism)?)))
    }

    fn digest_key(&self, access: &Access, key: ObjectId, digest: &mut dyn Digester) -> Result<()> {
        let remote = digest.as_any().and_then(|any| any.downcast_mut::<RemoteDigest>());
        let remote = remote
            .ok_or_else(|| refuse(Code::KeyIndigestible, "the digest was restored from a saved state, which takes no key"))?;
        remote.take_key(access, key)
    }

    fn random(&self, out: &mut [u8]) -> Result<()> {
        // This machine's own generator: as good as a node's, and no node is needed.
        self.pool.world.fill_random(out)
    }
}
