//! One token of a partition, as the waist wants it: each verb is a [`Call`] with the facts as of its start.

use std::sync::Arc;

use super::Partition;
use super::identity::pin_state;
use super::object::Call;
use super::operate::{row, verb};
use super::origin::Origin;
use super::state::TokenState;
use crate::ck::AttributeType;
use crate::error::Result;
use crate::mechanism::{Cipher, Digester, Mechanism, Recover, Signer, Verifier};
use crate::object::{ObjectId, Template};
use crate::secret::Secret;
use crate::token::{Access, Description, Permit, Reading, Reference, Role, Scope, Started, Token};

/// A token kept on this node.
pub struct LocalToken {
    partition: Arc<Partition>,
    state: Arc<TokenState>,
    origin: Option<Origin>,
}

impl LocalToken {
    pub(super) fn new(partition: Arc<Partition>, state: Arc<TokenState>) -> Self {
        Self { partition, state, origin: None }
    }

    /// The same token, to carry out one request of a client.
    pub(super) fn on_behalf(mut self, origin: Origin) -> Self {
        self.origin = Some(origin);
        self
    }

    pub(super) fn parts(&self) -> (&Arc<Partition>, &TokenState, Option<&Origin>) {
        (&self.partition, &self.state, self.origin.as_ref())
    }

    pub(super) fn call<'a>(&'a self, access: &'a Access) -> Result<Call<'a>> {
        self.partition.on_duty()?;
        Call::new(&self.partition, &self.state, access, self.origin.as_ref())
    }
}

impl Token for LocalToken {
    fn describe(&self) -> Result<Description> {
        let facts = self.state.facts(&self.partition)?;
        Ok(Description {
            id: self.state.id,
            label: facts.row.label,
            serial: facts.row.serial,
            user_pin_set: facts.user.is_some(),
            so_pin: pin_state(facts.so.as_ref()),
            user_pin: pin_state(facts.user.as_ref()),
            policy: facts.policy,
        })
    }

    fn login(&self, scope: &Scope, role: Role, pin: &Secret) -> Result<Access> {
        self.partition.login(self.origin.as_ref(), &self.state, scope, role, pin)
    }

    fn logout(&self, access: &Access) -> Result<()> {
        self.partition.logout(self.origin.as_ref(), &self.state, access);
        Ok(())
    }

    fn authenticate(&self, access: &Access, pin: &Secret) -> Result<Permit> {
        let facts = self.state.facts(&self.partition)?;
        let login = self.state.login_of(access, &facts)?;
        self.partition.prove_pin(self.origin.as_ref(), &self.state, login.role, pin)?;
        self.partition.permit(self.state.id, access)
    }

    fn set_pin(&self, access: &Access, old: &Secret, new: &Secret) -> Result<()> {
        self.partition.set_pin(self.origin.as_ref(), &self.state, access, old, new)
    }

    fn init_pin(&self, access: &Access, new: &Secret) -> Result<()> {
        self.partition.init_pin(self.origin.as_ref(), &self.state, access, new)
    }

    fn find(&self, access: &Access, template: &Template) -> Result<Vec<Reference>> {
        self.call(access)?.find(template)
    }

    fn read(&self, access: &Access, id: ObjectId, wanted: &[AttributeType]) -> Result<Vec<Reading>> {
        self.call(access)?.read(id, wanted)
    }

    fn size(&self, access: &Access, id: ObjectId) -> Result<u64> {
        self.call(access)?.size(id)
    }

    fn create(&self, access: &Access, template: Template) -> Result<Reference> {
        self.call(access)?.create(template)
    }

    fn copy(&self, access: &Access, id: ObjectId, changes: Template) -> Result<Reference> {
        self.call(access)?.copy(id, changes)
    }

    fn update(&self, access: &Access, id: ObjectId, changes: Template) -> Result<Reference> {
        self.call(access)?.update(id, changes)
    }

    fn destroy(&self, access: &Access, id: ObjectId) -> Result<()> {
        self.call(access)?.destroy(id)
    }

    fn forget(&self, scope: &Scope, ids: &[ObjectId]) {
        for id in ids {
            self.state.ephemeral.remove(*scope, *id);
        }
        self.state.hands.let_go(ids);
    }

    fn leave(&self, scope: &Scope) {
        self.partition.leave(&self.state, *scope);
    }

    fn generate(&self, access: &Access, mechanism: &Mechanism, template: Template) -> Result<Reference> {
        self.call(access)?.generate(mechanism, template)
    }

    fn generate_pair(
        &self,
        access: &Access,
        mechanism: &Mechanism,
        public: Template,
        private: Template,
    ) -> Result<(Reference, Reference)> {
        self.call(access)?.generate_pair(mechanism, public, private)
    }

    fn wrap(&self, access: &Access, mechanism: &Mechanism, wrapping: ObjectId, key: ObjectId) -> Result<Vec<u8>> {
        self.call(access)?.wrap(mechanism, wrapping, key)
    }

    fn unwrap(
        &self,
        access: &Access,
        mechanism: &Mechanism,
        unwrapping: ObjectId,
        wrapped: &[u8],
        template: Template,
    ) -> Result<Reference> {
        self.call(access)?.unwrap(mechanism, unwrapping, wrapped, template)
    }

    fn derive(&self, access: &Access, mechanism: &Mechanism, base: ObjectId, template: Template) -> Result<Reference> {
        self.call(access)?.derive(mechanism, base, template)
    }

    fn sign(&self, access: &Access, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Signer>>> {
        self.call(access)?.sign(mechanism, key)
    }

    fn verify(&self, access: &Access, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Verifier>>> {
        self.call(access)?.verify(mechanism, key)
    }

    fn sign_recover(&self, access: &Access, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Recover>>> {
        self.call(access)?.sign_recover(mechanism, key)
    }

    fn verify_recover(&self, access: &Access, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Recover>>> {
        self.call(access)?.verify_recover(mechanism, key)
    }

    fn encrypt(&self, access: &Access, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Cipher>>> {
        self.call(access)?.encrypt(mechanism, key)
    }

    fn decrypt(&self, access: &Access, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Cipher>>> {
        self.call(access)?.decrypt(mechanism, key)
    }

    fn digest(&self, mechanism: &Mechanism) -> Result<Box<dyn Digester>> {
        verb(row(mechanism.kind)?, |verbs| verbs.digest)?(mechanism)
    }

    fn digest_key(&self, access: &Access, key: ObjectId, digest: &mut dyn Digester) -> Result<()> {
        self.call(access)?.digest_key(key, digest)
    }

    fn random(&self, out: &mut [u8]) -> Result<()> {
        self.partition.world.fill_random(out)
    }
}
