//! A token in memory with toy mechanisms, for tests of this room and of those above it.
//!
//! It keeps what the waist promises: who sees which object, who is logged in, how PINs are counted. Its cryptography is none: a
//! signature is the sum of the message's bytes, a cipher turns some bits over (see [`toys`]); digests are the real ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::ck::{AttributeType, MechanismType};
use crate::error::{Code, Result, refuse};
use crate::limits::{PIN_LEN_MAX_BYTES, PIN_LEN_MIN_BYTES};
use crate::mechanism::{Cipher, Digester, Mechanism, Params, Recover, Signer, Verifier, table};
use crate::object::policy::Policy;
use crate::object::{ObjectId, Template, Value};
use crate::secret::Secret;
use crate::token::{
    Access, Admin, Description, LoginId, Permit, PermitSlot, PinState, Reading, Reference, Role, Scope, Started, Token, TokenId,
};

pub(crate) mod toys;

/// Wrong PINs that lock the user.
pub(crate) const ATTEMPTS_MAX: u32 = 3;

/// Something that happens while a token is at work: another thread's or another process's doing.
type Event = Box<dyn FnOnce() + Send>;

/// A token.
pub(crate) struct FakeToken {
    id: TokenId,
    serial: [u8; 16],
    state: Mutex<State>,
    numbers: AtomicU64,
    event: Mutex<Option<Event>>,
}

#[derive(Default)]
struct State {
    label: [u8; 32],
    so_pin: Vec<u8>,
    user_pin: Option<Vec<u8>>,
    wrong_user_pins: u32,
    logins: BTreeMap<[u8; 16], (Scope, Role)>,
    objects: BTreeMap<ObjectId, Kept>,
}

struct Kept {
    reference: Reference,
    scope: Scope,
    attributes: Template,
}

impl FakeToken {
    /// An initialised token whose user has no PIN yet.
    pub fn new(serial: [u8; 16], so_pin: &[u8]) -> Arc<Self> {
        let state = State { label: [b' '; 32], so_pin: so_pin.to_vec(), ..State::default() };
        Arc::new(Self {
            id: TokenId(serial),
            serial,
            state: Mutex::new(state),
            numbers: AtomicU64::new(1),
            event: Mutex::default(),
        })
    }

    /// As if the SO had set it.
    pub fn set_user_pin(&self, pin: &[u8]) {
        self.state.lock().user_pin = Some(pin.to_vec());
    }

    /// How many objects it holds.
    pub fn object_count(&self) -> usize {
        self.state.lock().objects.len()
    }

    /// How many logins are good.
    pub fn login_count(&self) -> usize {
        self.state.lock().logins.len()
    }

    /// Removes every object, as another process may.
    pub fn destroy_all(&self) {
        self.state.lock().objects.clear();
    }

    /// Lets `event` happen in the middle of the next login, creation, search or initialisation.
    pub fn let_happen(&self, event: impl FnOnce() + Send + 'static) {
        *self.event.lock() = Some(Box::new(event));
    }

    fn happen(&self) {
        let event = self.event.lock().take();
        if let Some(event) = event {
            event();
        }
    }

    fn next_id(&self) -> [u8; 16] {
        let mut id = self.serial;
        id[..8].copy_from_slice(&self.numbers.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        id
    }

    fn put(&self, access: &Access, attributes: Template) -> Result<Reference> {
        let flag = |kind| attributes.bool(kind).unwrap_or(false);
        let reference =
            Reference { id: ObjectId(self.next_id()), token: flag(AttributeType::TOKEN), private: flag(AttributeType::PRIVATE) };
        let mut state = self.state.lock();
        if reference.private && !state.sees_private(access) {
            return Err(refuse(Code::UserNotLoggedIn, "private objects are the user's"));
        }
        if reference.token && !access.write {
            return Err(refuse(Code::SessionReadOnly, "the session is read-only"));
        }
        state.objects.insert(reference.id, Kept { reference, scope: access.scope, attributes });
        Ok(reference)
    }

    /// Looks at an object that `access` may see.
    fn with<T>(&self, access: &Access, id: ObjectId, code: Code, look: impl FnOnce(&mut Kept) -> Result<T>) -> Result<T> {
        let mut state = self.state.lock();
        let sees_private = state.sees_private(access);
        match state.objects.get_mut(&id) {
            Some(kept) if kept.is_visible(access, sees_private) => look(kept),
            _ => Err(refuse(code, "no such object")),
        }
    }

    fn start<O>(&self, access: &Access, key: ObjectId, operation: O) -> Result<Started<O>> {
        self.with(access, key, Code::KeyHandleInvalid, |kept| {
            let authenticate = kept.attributes.bool(AttributeType::ALWAYS_AUTHENTICATE).unwrap_or(false);
            Ok(Started { operation, authenticate: authenticate.then(PermitSlot::default) })
        })
    }

    fn value(&self, access: &Access, id: ObjectId, code: Code) -> Result<Vec<u8>> {
        self.with(access, id, code, |kept| {
            let value = kept.attributes.exposed(AttributeType::VALUE);
            value.map(<[u8]>::to_vec).ok_or_else(|| refuse(Code::KeyIndigestible, "the object has no value"))
        })
    }
}

impl State {
    fn sees_private(&self, access: &Access) -> bool {
        access.sees_private() && access.login.is_some_and(|login| self.logins.contains_key(&login.0))
    }

    fn prove(&mut self, role: Role, pin: &Secret) -> Result<()> {
        let right = match role {
            Role::SecurityOfficer => Some(&self.so_pin),
            Role::User => self.user_pin.as_ref(),
        };
        let right = right.ok_or_else(|| refuse(Code::UserPinNotInitialized, "the user has no PIN"))?;
        let is_right = pin.same_as(right);
        if role == Role::User {
            if self.wrong_user_pins >= ATTEMPTS_MAX {
                return Err(refuse(Code::PinLocked, "too many wrong PINs"));
            }
            self.wrong_user_pins = if is_right { 0 } else { self.wrong_user_pins + 1 };
        }
        match is_right {
            true => Ok(()),
            false => Err(refuse(Code::PinIncorrect, "wrong PIN")),
        }
    }
}

impl Kept {
    fn is_visible(&self, access: &Access, sees_private: bool) -> bool {
        (self.reference.token || self.scope == access.scope) && (!self.reference.private || sees_private)
    }
}

fn check_pin_len(pin: &Secret) -> Result<()> {
    match (PIN_LEN_MIN_BYTES..=PIN_LEN_MAX_BYTES).contains(&pin.len()) {
        true => Ok(()),
        false => Err(refuse(Code::PinLenRange, "a PIN of a wrong length")),
    }
}

impl Token for FakeToken {
    fn describe(&self) -> Result<Description> {
        let state = self.state.lock();
        let user_pin = match state.wrong_user_pins {
            0 => PinState::Good,
            wrong if wrong >= ATTEMPTS_MAX => PinState::Locked,
            wrong if wrong + 1 == ATTEMPTS_MAX => PinState::FinalTry,
            _ => PinState::CountLow,
        };
        Ok(Description {
            id: self.id,
            label: state.label,
            serial: self.serial,
            user_pin_set: state.user_pin.is_some(),
            so_pin: PinState::Good,
            user_pin,
            policy: Policy::Default,
        })
    }

    fn login(&self, scope: &Scope, role: Role, pin: &Secret) -> Result<Access> {
        self.state.lock().prove(role, pin)?;
        self.happen();
        let id = self.next_id();
        self.state.lock().logins.insert(id, (*scope, role));
        Ok(Access { scope: *scope, role: Some(role), login: Some(LoginId(id)), ticket: Arc::from([]), write: false })
    }

    fn logout(&self, access: &Access) -> Result<()> {
        let mut state = self.state.lock();
        let ended = access.login.and_then(|login| state.logins.remove(&login.0));
        ended.ok_or_else(|| refuse(Code::UserNotLoggedIn, "no such login"))?;
        state.objects.retain(|_, kept| kept.reference.token || !kept.reference.private || kept.scope != access.scope);
        Ok(())
    }

    fn authenticate(&self, access: &Access, pin: &Secret) -> Result<Permit> {
        let role = access.role.ok_or_else(|| refuse(Code::UserNotLoggedIn, "nobody is logged in"))?;
        self.state.lock().prove(role, pin)?;
        Ok(Permit::granted())
    }

    fn set_pin(&self, access: &Access, old: &Secret, new: &Secret) -> Result<()> {
        check_pin_len(new)?;
        let mut state = self.state.lock();
        let role = access.role.unwrap_or(Role::User);
        state.prove(role, old)?;
        match role {
            Role::SecurityOfficer => state.so_pin = new.expose().to_vec(),
            Role::User => state.user_pin = Some(new.expose().to_vec()),
        }
        Ok(())
    }

    fn init_pin(&self, access: &Access, new: &Secret) -> Result<()> {
        check_pin_len(new)?;
        if access.role != Some(Role::SecurityOfficer) {
            return Err(refuse(Code::UserNotLoggedIn, "only the SO may"));
        }
        let mut state = self.state.lock();
        state.user_pin = Some(new.expose().to_vec());
        state.wrong_user_pins = 0;
        Ok(())
    }

    fn find(&self, access: &Access, template: &Template) -> Result<Vec<Reference>> {
        self.happen();
        let state = self.state.lock();
        let sees_private = state.sees_private(access);
        let matches = |kept: &&Kept| {
            let same = |(kind, wanted): (_, &Value)| kept.attributes.get(kind).is_some_and(|value| value.same_as(wanted));
            kept.is_visible(access, sees_private) && template.iter().all(same)
        };
        Ok(state.objects.values().filter(matches).map(|kept| kept.reference).collect())
    }

    fn read(&self, access: &Access, id: ObjectId, wanted: &[AttributeType]) -> Result<Vec<Reading>> {
        self.with(access, id, Code::ObjectHandleInvalid, |kept| {
            let read = |kind: &AttributeType| match kept.attributes.get(*kind) {
                Some(value) => Reading::Value(value.duplicate()),
                None => Reading::Absent,
            };
            Ok(wanted.iter().map(read).collect())
        })
    }

    fn size(&self, access: &Access, id: ObjectId) -> Result<u64> {
        self.with(access, id, Code::ObjectHandleInvalid, |kept| Ok(kept.attributes.len() as u64))
    }

    fn create(&self, access: &Access, template: Template) -> Result<Reference> {
        self.happen();
        self.put(access, template)
    }

    fn copy(&self, access: &Access, id: ObjectId, changes: Template) -> Result<Reference> {
        let mut attributes = self.with(access, id, Code::ObjectHandleInvalid, |kept| Ok(kept.attributes.duplicate()))?;
        for (kind, value) in changes {
            attributes.set(kind, value);
        }
        self.put(access, attributes)
    }

    fn update(&self, access: &Access, id: ObjectId, changes: Template) -> Result<Reference> {
        self.with(access, id, Code::ObjectHandleInvalid, |kept| {
            if kept.reference.token && !access.write {
                return Err(refuse(Code::SessionReadOnly, "the session is read-only"));
            }
            for (kind, value) in changes {
                kept.attributes.set(kind, value);
            }
            Ok(kept.reference)
        })
    }

    fn destroy(&self, access: &Access, id: ObjectId) -> Result<()> {
        self.with(access, id, Code::ObjectHandleInvalid, |kept| match kept.reference.token && !access.write {
            true => Err(refuse(Code::SessionReadOnly, "the session is read-only")),
            false => Ok(()),
        })?;
        self.state.lock().objects.remove(&id);
        Ok(())
    }

    fn forget(&self, _scope: &Scope, ids: &[ObjectId]) {
        let ids: BTreeSet<_> = ids.iter().collect();
        self.state.lock().objects.retain(|id, kept| kept.reference.token || !ids.contains(id));
    }

    fn leave(&self, scope: &Scope) {
        let mut state = self.state.lock();
        state.logins.retain(|_, (owner, _)| owner != scope);
        state.objects.retain(|_, kept| kept.reference.token || kept.scope != *scope);
    }

    fn generate(&self, access: &Access, _mechanism: &Mechanism, template: Template) -> Result<Reference> {
        self.put(access, template)
    }

    fn generate_pair(
        &self,
        access: &Access,
        _mechanism: &Mechanism,
        public: Template,
        private: Template,
    ) -> Result<(Reference, Reference)> {
        Ok((self.put(access, public)?, self.put(access, private)?))
    }

    fn wrap(&self, access: &Access, _mechanism: &Mechanism, wrapping: ObjectId, key: ObjectId) -> Result<Vec<u8>> {
        self.with(access, wrapping, Code::WrappingKeyHandleInvalid, |_| Ok(()))?;
        Ok(toys::turned(&self.value(access, key, Code::KeyHandleInvalid)?))
    }

    fn unwrap(
        &self,
        access: &Access,
        _mechanism: &Mechanism,
        unwrapping: ObjectId,
        wrapped: &[u8],
        mut template: Template,
    ) -> Result<Reference> {
        self.with(access, unwrapping, Code::UnwrappingKeyHandleInvalid, |_| Ok(()))?;
        template.set(AttributeType::VALUE, Value::Bytes(toys::turned(wrapped)));
        self.put(access, template)
    }

    fn derive(&self, access: &Access, mechanism: &Mechanism, base: ObjectId, mut template: Template) -> Result<Reference> {
        let mut value = self.value(access, base, Code::KeyHandleInvalid)?;
        if let Params::OtherKey(other) = mechanism.params {
            value.extend(self.value(access, other, Code::KeyHandleInvalid)?);
        }
        template.set(AttributeType::VALUE, Value::Bytes(value));
        self.put(access, template)
    }

    fn sign(&self, access: &Access, _mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Signer>>> {
        self.start(access, key, Box::new(toys::Sum::default()))
    }

    fn verify(&self, access: &Access, _mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Verifier>>> {
        self.start(access, key, Box::new(toys::Sum::default()))
    }

    fn sign_recover(&self, access: &Access, _mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Recover>>> {
        self.start(access, key, Box::new(toys::Turn))
    }

    fn verify_recover(&self, access: &Access, _mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Recover>>> {
        self.start(access, key, Box::new(toys::Turn))
    }

    fn encrypt(&self, access: &Access, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Cipher>>> {
        let cipher = toys::Blocks::encrypting(mechanism.kind == MechanismType::AES_CBC_PAD);
        self.start(access, key, Box::new(cipher))
    }

    fn decrypt(&self, access: &Access, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Cipher>>> {
        let cipher = toys::Blocks::decrypting(mechanism.kind == MechanismType::AES_CBC_PAD);
        self.start(access, key, Box::new(cipher))
    }

    fn digest(&self, mechanism: &Mechanism) -> Result<Box<dyn Digester>> {
        let start = table::find(mechanism.kind).and_then(|row| row.verbs.digest);
        start.ok_or_else(|| refuse(Code::MechanismInvalid, "no digest"))?(mechanism)
    }

    fn digest_key(&self, access: &Access, key: ObjectId, digest: &mut dyn Digester) -> Result<()> {
        digest.update(&self.value(access, key, Code::KeyHandleInvalid)?)
    }

    fn random(&self, out: &mut [u8]) -> Result<()> {
        out.fill(4);
        Ok(())
    }
}

/// Tokens in memory.
#[derive(Default)]
pub(crate) struct FakeAdmin {
    tokens: Mutex<Vec<Arc<FakeToken>>>,
    event: Mutex<Option<Event>>,
}

impl FakeAdmin {
    /// Adds a token, as another process may.
    pub fn add(&self, token: Arc<FakeToken>) {
        self.tokens.lock().push(token);
    }

    /// Lets `event` happen in the middle of the next initialisation.
    pub fn let_happen(&self, event: impl FnOnce() + Send + 'static) {
        *self.event.lock() = Some(Box::new(event));
    }
}

impl Admin for FakeAdmin {
    fn tokens(&self) -> Result<Vec<Arc<dyn Token>>> {
        Ok(self.tokens.lock().iter().map(|token| token.clone() as Arc<dyn Token>).collect())
    }

    fn init_token(&self, existing: Option<TokenId>, so_pin: &Secret, label: [u8; 32]) -> Result<Arc<dyn Token>> {
        check_pin_len(so_pin)?;
        let known = existing.and_then(|id| self.tokens.lock().iter().find(|token| token.id == id).cloned());
        let token = match known {
            Some(token) => {
                token.state.lock().prove(Role::SecurityOfficer, so_pin)?;
                token
            }
            None => {
                let mut serial = *b"00000000000000f0";
                serial[15] += self.tokens.lock().len() as u8;
                let token = FakeToken::new(serial, so_pin.expose());
                self.add(token.clone());
                token
            }
        };
        let event = self.event.lock().take();
        if let Some(event) = event {
            event();
        }
        *token.state.lock() = State { label, so_pin: so_pin.expose().to_vec(), ..State::default() };
        Ok(token)
    }

    fn delete_token(&self, token: TokenId) -> Result<()> {
        let mut tokens = self.tokens.lock();
        let at = tokens.iter().position(|it| it.id == token);
        let at = at.ok_or_else(|| refuse(Code::TokenNotPresent, "no such token"))?;
        tokens.remove(at);
        Ok(())
    }
}
