//! A token without store, seals or rules: objects are the templates that came, keys are used by the real mechanisms.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::ck::{AttributeType, KeyType, MechanismType};
use crate::error::{Code, Result, refuse};
use crate::mechanism::{Cipher, Digester, Key, Mechanism, Recover, Signer, Verbs, Verifier, Wanted, table};
use crate::object::policy::{Permitted, Policy, Use, permit};
use crate::object::{Object, ObjectId, Template, Value};
use crate::secret::Secret;
use crate::token::{
    Access, Admin, Description, LoginId, Permit, PinState, Reading, Reference, Role, Scope, Started, Token, TokenId,
};

/// The PIN of everybody.
pub const PIN: &[u8] = b"1234";
/// An object with this label cannot be made: the token panics.
pub const LABEL_THAT_PANICS: &[u8] = b"panic";
/// Most objects that it keeps, so that a long sequence of calls stays small.
const OBJECTS_MAX: usize = 64;

/// One token, in the first slot.
#[derive(Default)]
pub struct FakeAdmin(Arc<FakeToken>);

#[derive(Default)]
struct FakeToken {
    objects: Mutex<BTreeMap<ObjectId, Arc<Key>>>,
    next: AtomicU64,
}

impl Admin for FakeAdmin {
    fn tokens(&self) -> Result<Vec<Arc<dyn Token>>> {
        Ok(vec![self.0.clone()])
    }

    fn init_token(&self, _existing: Option<TokenId>, so_pin: &Secret, _label: [u8; 32]) -> Result<Arc<dyn Token>> {
        right(so_pin)?;
        self.0.objects.lock().clear();
        Ok(self.0.clone())
    }

    fn delete_token(&self, _token: TokenId) -> Result<()> {
        self.0.objects.lock().clear();
        Ok(())
    }
}

fn right(pin: &Secret) -> Result<()> {
    if pin.same_as(PIN) { Ok(()) } else { Err(refuse(Code::PinIncorrect, "the PIN is another")) }
}

/// Prime numbers take seconds to find: no test wants to wait for that.
fn quick(kind: MechanismType) -> Result<()> {
    match kind {
        MechanismType::RSA_PKCS_KEY_PAIR_GEN | MechanismType::DSA_PARAMETER_GEN | MechanismType::DH_PKCS_PARAMETER_GEN => {
            Err(refuse(Code::FunctionNotSupported, "this token does not look for prime numbers"))
        }
        _ => Ok(()),
    }
}

type Make<U, O> = fn(&Mechanism, Permitted<U, Arc<Key>>) -> Result<Box<O>>;

fn verb<T>(kind: MechanismType, pick: fn(&Verbs) -> Option<T>) -> Result<T> {
    let verb = table::find(kind).and_then(|row| pick(&row.verbs));
    verb.ok_or_else(|| refuse(Code::MechanismInvalid, format!("{kind} cannot be used for this")))
}

impl FakeToken {
    fn key(&self, id: ObjectId, otherwise: Code) -> Result<Arc<Key>> {
        self.objects.lock().get(&id).cloned().ok_or_else(|| refuse(otherwise, "there is no such object"))
    }

    fn permitted<U: Use>(&self, kind: MechanismType, id: ObjectId) -> Result<Permitted<U, Arc<Key>>> {
        let key = self.key(id, Code::KeyHandleInvalid)?;
        let fits = key.object().key_type().is_some_and(|it| table::find(kind).is_some_and(|row| row.keys.contains(&it)));
        if !fits {
            return Err(refuse(Code::KeyTypeInconsistent, format!("{kind} does not work with this key")));
        }
        permit(key, kind, Policy::Compatible, b"20260101")
    }

    fn start<U: Use, O: ?Sized>(
        &self,
        mechanism: &Mechanism,
        key: ObjectId,
        pick: fn(&Verbs) -> Option<Make<U, O>>,
    ) -> Result<Started<Box<O>>> {
        let operation = verb(mechanism.kind, pick)?(mechanism, self.permitted(mechanism.kind, key)?)?;
        Ok(Started { operation, authenticate: None })
    }

    fn keep(&self, attributes: Template) -> Result<Reference> {
        // A fuzzer takes every panic for a find, even a caught one.
        let panics = cfg!(test) && attributes.exposed(AttributeType::LABEL) == Some(LABEL_THAT_PANICS);
        assert!(!panics, "a label told the token to panic");
        let mut objects = self.objects.lock();
        if objects.len() >= OBJECTS_MAX {
            return Err(refuse(Code::DeviceMemory, "the token is full"));
        }
        let id = ObjectId(u128::from(self.next.fetch_add(1, Ordering::Relaxed)).to_be_bytes());
        objects.insert(id, Arc::new(Key::new(Object { id, version: 1, attributes })));
        Ok(Reference { id, token: true, private: false })
    }

    fn keep_with(&self, mut attributes: Template, made: Template) -> Result<Reference> {
        for (kind, value) in made {
            attributes.set(kind, value);
        }
        self.keep(attributes)
    }
}

impl Token for FakeToken {
    fn describe(&self) -> Result<Description> {
        Ok(Description {
            id: TokenId([7; 16]),
            label: [b' '; 32],
            serial: *b"0000000000000007",
            user_pin_set: true,
            so_pin: PinState::Good,
            user_pin: PinState::Good,
            policy: Policy::Compatible,
        })
    }

    fn login(&self, scope: &Scope, role: Role, pin: &Secret) -> Result<Access> {
        right(pin)?;
        Ok(Access { role: Some(role), login: Some(LoginId([1; 16])), ..Access::public(*scope, true) })
    }

    fn logout(&self, _access: &Access) -> Result<()> {
        Ok(())
    }

    fn authenticate(&self, _access: &Access, pin: &Secret) -> Result<Permit> {
        right(pin).map(|()| Permit::granted())
    }

    fn set_pin(&self, _access: &Access, old: &Secret, _new: &Secret) -> Result<()> {
        right(old)
    }

    fn init_pin(&self, _access: &Access, _new: &Secret) -> Result<()> {
        Ok(())
    }

    fn find(&self, _access: &Access, template: &Template) -> Result<Vec<Reference>> {
        let matches = |key: &Key| {
            template.iter().all(|(kind, value)| key.object().attributes.get(kind).is_some_and(|it| it.same_as(value)))
        };
        let objects = self.objects.lock();
        let found = objects.iter().filter(|(_, key)| matches(key));
        Ok(found.map(|(id, _)| Reference { id: *id, token: true, private: false }).collect())
    }

    fn read(&self, _access: &Access, id: ObjectId, wanted: &[AttributeType]) -> Result<Vec<Reading>> {
        let key = self.key(id, Code::ObjectHandleInvalid)?;
        let sensitive = key.object().flag(AttributeType::SENSITIVE);
        let reading = |kind: &AttributeType| match key.object().attributes.get(*kind) {
            Some(Value::Secret(_)) if sensitive => Reading::Sensitive,
            Some(value) => Reading::Value(value.duplicate()),
            None => Reading::Absent,
        };
        Ok(wanted.iter().map(reading).collect())
    }

    fn size(&self, _access: &Access, id: ObjectId) -> Result<u64> {
        self.key(id, Code::ObjectHandleInvalid).map(|key| key.object().attributes.len() as u64)
    }

    fn create(&self, _access: &Access, template: Template) -> Result<Reference> {
        self.keep(template)
    }

    fn copy(&self, _access: &Access, id: ObjectId, changes: Template) -> Result<Reference> {
        let original = self.key(id, Code::ObjectHandleInvalid)?;
        self.keep_with(original.object().attributes.duplicate(), changes)
    }

    fn update(&self, _access: &Access, id: ObjectId, changes: Template) -> Result<Reference> {
        let original = self.key(id, Code::ObjectHandleInvalid)?;
        let mut attributes = original.object().attributes.duplicate();
        for (kind, value) in changes {
            attributes.set(kind, value);
        }
        self.objects.lock().insert(id, Arc::new(Key::new(Object { id, version: 2, attributes })));
        Ok(Reference { id, token: true, private: false })
    }

    fn destroy(&self, _access: &Access, id: ObjectId) -> Result<()> {
        let gone = self.objects.lock().remove(&id);
        gone.map(drop).ok_or_else(|| refuse(Code::ObjectHandleInvalid, "there is no such object"))
    }

    fn forget(&self, _scope: &Scope, ids: &[ObjectId]) {
        self.objects.lock().retain(|id, _| !ids.contains(id));
    }

    fn leave(&self, _scope: &Scope) {}

    fn generate(&self, _access: &Access, mechanism: &Mechanism, template: Template) -> Result<Reference> {
        quick(mechanism.kind)?;
        let made = verb(mechanism.kind, |verbs| verbs.generate)?(mechanism, &template)?;
        self.keep_with(template, made)
    }

    fn generate_pair(
        &self,
        _access: &Access,
        mechanism: &Mechanism,
        public: Template,
        private: Template,
    ) -> Result<(Reference, Reference)> {
        quick(mechanism.kind)?;
        let made = verb(mechanism.kind, |verbs| verbs.generate_pair)?(mechanism, &public, &private)?;
        Ok((self.keep_with(public, made.public)?, self.keep_with(private, made.private)?))
    }

    fn wrap(&self, _access: &Access, mechanism: &Mechanism, wrapping: ObjectId, key: ObjectId) -> Result<Vec<u8>> {
        let key = self.key(key, Code::KeyHandleInvalid)?;
        let value = key.object().attributes.exposed(AttributeType::VALUE).unwrap_or_default();
        let wrap = verb(mechanism.kind, |verbs| verbs.wrap)?;
        wrap(mechanism, self.permitted(mechanism.kind, wrapping)?, &Secret::copy_of(value))
    }

    fn unwrap(
        &self,
        _access: &Access,
        mechanism: &Mechanism,
        unwrapping: ObjectId,
        wrapped: &[u8],
        mut template: Template,
    ) -> Result<Reference> {
        let unwrap = verb(mechanism.kind, |verbs| verbs.unwrap)?;
        let value = unwrap(mechanism, self.permitted(mechanism.kind, unwrapping)?, wrapped)?;
        template.set(AttributeType::VALUE, Value::Secret(value));
        self.keep(template)
    }

    fn derive(&self, _access: &Access, mechanism: &Mechanism, base: ObjectId, mut template: Template) -> Result<Reference> {
        let derive = verb(mechanism.kind, |verbs| verbs.derive)?;
        let value_len = template.ulong(AttributeType::VALUE_LEN).map(|len| len.min(1 << 16) as usize);
        let key_type = KeyType(template.ulong(AttributeType::KEY_TYPE).unwrap_or(KeyType::GENERIC_SECRET.0));
        let wanted = Wanted { key_type, value_len, other: None };
        let value = derive(mechanism, self.permitted(mechanism.kind, base)?, &wanted)?;
        template.set(AttributeType::VALUE, Value::Secret(value));
        self.keep(template)
    }

    fn sign(&self, _access: &Access, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Signer>>> {
        self.start(mechanism, key, |verbs| verbs.sign)
    }

    fn verify(&self, _access: &Access, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Verifier>>> {
        self.start(mechanism, key, |verbs| verbs.verify)
    }

    fn sign_recover(&self, _access: &Access, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Recover>>> {
        self.start(mechanism, key, |verbs| verbs.sign_recover)
    }

    fn verify_recover(&self, _access: &Access, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Recover>>> {
        self.start(mechanism, key, |verbs| verbs.verify_recover)
    }

    fn encrypt(&self, _access: &Access, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Cipher>>> {
        self.start(mechanism, key, |verbs| verbs.encrypt)
    }

    fn decrypt(&self, _access: &Access, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Cipher>>> {
        self.start(mechanism, key, |verbs| verbs.decrypt)
    }

    fn digest(&self, mechanism: &Mechanism) -> Result<Box<dyn Digester>> {
        verb(mechanism.kind, |verbs| verbs.digest)?(mechanism)
    }

    fn digest_key(&self, _access: &Access, key: ObjectId, digest: &mut dyn Digester) -> Result<()> {
        let key = self.key(key, Code::KeyHandleInvalid)?;
        digest.update(key.object().attributes.exposed(AttributeType::VALUE).unwrap_or_default())
    }

    fn random(&self, out: &mut [u8]) -> Result<()> {
        out.fill(4);
        Ok(())
    }
}
