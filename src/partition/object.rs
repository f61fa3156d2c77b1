//! Objects: opening, creating, reading, changing, destroying.

use std::sync::Arc;

use super::Partition;
use super::hands::{Near, Source};
use super::origin::{Origin, Place, Step, made};
use super::seal::{ObjectName, ObjectSeals};
use super::state::{Facts, Known, Login, TokenState};
use crate::ck::{AttributeType, ObjectClass};
use crate::error::{Code, Error, Result, refuse};
use crate::faults::{self, Fault};
use crate::limits::OBJECT_MAX_BYTES;
use crate::mechanism::{Key, encoding};
use crate::object::policy::{self, Revealed};
use crate::object::template::{self, Context, Standing};
use crate::object::{Object, ObjectId, Template, Value, encode, index};
use crate::store::{Change, ObjectRow, Tag};
use crate::token::message::Held;
use crate::token::{Access, Reading, Reference, Role, TokenId};
use crate::world::World;

/// One request, with the facts as of its start.
pub(super) struct Call<'a> {
    pub partition: &'a Partition,
    pub state: &'a TokenState,
    pub access: &'a Access,
    /// Read before any row that this request looks at.
    pub known: Near<Known>,
    pub origin: Option<&'a Origin>,
}

impl<'a> Call<'a> {
    pub fn new(partition: &'a Partition, state: &'a TokenState, access: &'a Access, origin: Option<&'a Origin>) -> Result<Self> {
        Ok(Self { partition, state, access, known: state.known(partition)?, origin })
    }

    /// The token and its holders of PINs.
    pub fn facts(&self) -> &Facts {
        &self.known.facts
    }

    /// The login, checked; public sessions have none.
    pub fn login(&self) -> Result<Option<Arc<Login>>> {
        self.access.login.map(|_| self.state.login_of(self.access, self.facts())).transpose()
    }

    /// Who asks and under which policy, as the attribute rules want it.
    pub fn context(&self) -> Result<Context> {
        let standing = match self.login()?.map(|login| login.role) {
            None => Standing::Public,
            Some(Role::User) => Standing::User,
            Some(Role::SecurityOfficer) => Standing::SecurityOfficer,
        };
        Ok(Context { standing, write: self.access.write, policy: self.facts().policy })
    }

    /// An object that `access` may see; `otherwise` is the code for one that it may not, or that is not there.
    pub fn open(&self, id: ObjectId, otherwise: Code) -> Result<Arc<Key>> {
        let hands = &self.state.hands;
        let sources = self.sources(id);
        if let Some((key, proven)) = hands.key(id, &sources, &self.known, self.access)
            && self.is_as_held(key.object())
        {
            self.may_see(key.object(), proven, otherwise)?;
            return Ok(key);
        }
        let moment = hands.moment();
        for source in sources.into_iter().flatten() {
            let key = match source {
                Source::Session(scope) => self.state.ephemeral.get(scope, id),
                Source::Store(mark) => self.open_token_object(id, mark)?,
            };
            if let Some(key) = key {
                self.may_see(key.object(), false, otherwise)?;
                hands.keep_key(&moment, &key, source);
                return Ok(key);
            }
        }
        Err(gone(otherwise))
    }

    /// Where an object may be, in the order of looking.
    fn sources(&self, id: ObjectId) -> [Option<Source>; 2] {
        let may_be_held = self.origin.is_none_or(|origin| origin.held.iter().any(|held| held.id == id));
        [may_be_held.then_some(Source::Session(self.access.scope)), Some(Source::Store(self.known.marks.of(id)))]
    }

    /// Whether a copy of a session object is the version that the client holds: a newer one may be on its way into this partition.
    fn is_as_held(&self, object: &Object) -> bool {
        let held = Held { id: object.id, version: object.version };
        self.origin.is_none_or(|origin| object.is_token() || origin.held.contains(&held))
    }

    /// Errors: `otherwise` for a private object without the user's login; `UserNotLoggedIn` for a login that is over.
    fn may_see(&self, object: &Object, proven: bool, otherwise: Code) -> Result<()> {
        if !object.is_private() || (proven && self.access.sees_private()) {
            return Ok(());
        }
        if !self.access.sees_private() {
            return Err(gone(otherwise));
        }
        self.state.login_of(self.access, self.facts())?;
        self.state.hands.keep_login(self.access, &self.known);
        Ok(())
    }

    fn open_token_object(&self, id: ObjectId, mark: u64) -> Result<Option<Arc<Key>>> {
        let (store, token) = (&self.partition.store, self.state.id);
        self.state.ready.open(
            id,
            mark,
            || store.object_version(token, id),
            || {
                let row = store.object(token, id)?.filter(|row| !row.private || self.access.sees_private());
                row.map(|row| self.unseal(&row).map(|object| Arc::new(Key::new(object)))).transpose()
            },
        )
    }

    /// An object from its row.
    pub fn unseal(&self, row: &ObjectRow) -> Result<Object> {
        let name = ObjectName { token: self.state.id, id: row.id, version: row.version, private: row.private };
        let encoded = self.with_seals(row.private, |seals| seals.open(&name, &row.sealed))?;
        Ok(Object { id: row.id, version: row.version, attributes: encode::decode(encoded.expose())? })
    }

    /// The seals for private objects need the user's login; those for public ones need nothing.
    pub fn with_seals<T>(&self, private: bool, work: impl FnOnce(&ObjectSeals) -> Result<T>) -> Result<T> {
        if !private {
            return work(&self.facts().public);
        }
        let login = self.state.login_of(self.access, self.facts())?;
        if login.role != Role::User {
            return Err(refuse(Code::UserNotLoggedIn, "private objects need the user's login"));
        }
        work(&login.seals)
    }

    /// `C_CreateObject`.
    pub fn create(&self, given: Template) -> Result<Reference> {
        if let Some([before]) = self.made_before()? {
            return Ok(before);
        }
        let attributes = template::for_create(given, &self.context()?)?;
        self.put_one(attributes)
    }

    /// `C_CopyObject`.
    pub fn copy(&self, id: ObjectId, changes: Template) -> Result<Reference> {
        if let Some([before]) = self.made_before()? {
            return Ok(before);
        }
        let original = self.open(id, Code::ObjectHandleInvalid)?;
        let attributes = template::for_copy(original.object(), changes, &self.context()?)?;
        self.put_one(attributes)
    }

    /// Checks the components, names the object and keeps it.
    pub fn put_one(&self, attributes: Template) -> Result<Reference> {
        let [reference] = self.put([attributes])?;
        Ok(reference)
    }

    /// What an earlier arrival of this request made, if there was one.
    pub fn made_before<const N: usize>(&self) -> Result<Option<[Reference; N]>> {
        Ok(self.made_before_at((0..N).map(Place::Alone))?.and_then(|made| made.try_into().ok()))
    }

    /// The same of the objects at these places in the request.
    pub fn made_before_at(&self, places: impl Iterator<Item = Place>) -> Result<Option<Vec<Reference>>> {
        if !self.partition.did_for_good(self.origin, Step::CreateObjects)? {
            return Ok(None);
        }
        let Some(ids) = self.origin.map(|origin| made(origin, places)).transpose()?.flatten() else { return Ok(None) };
        // One that was destroyed since is named nevertheless: whoever uses it is told.
        let named = |id| match self.open(id, Code::ObjectHandleInvalid) {
            Ok(key) => reference(key.object()),
            Err(_) => Reference { id, token: true, private: true },
        };
        Ok(Some(ids.into_iter().map(named).collect()))
    }

    /// Keeps new objects: all of them, or none.
    pub fn put<const N: usize>(&self, new: [Template; N]) -> Result<[Reference; N]> {
        let mut objects = Vec::with_capacity(N);
        for (at, attributes) in new.into_iter().enumerate() {
            objects.push(self.checked(Place::Alone(at), attributes)?);
        }
        let references: Vec<Reference> = objects.iter().map(reference).collect();
        self.keep(objects)?;
        Ok(std::array::from_fn(|at| references[at]))
    }

    /// Checks the components and names the object by its place in the request.
    pub fn checked(&self, at: Place, mut attributes: Template) -> Result<Object> {
        // Before who is logged in: SoftHSM's order of refusals, which applications know.
        if attributes.bool(AttributeType::TOKEN) == Some(true) {
            self.may_write()?;
        }
        if is_key_or_certificate(&attributes) {
            encoding::complete(&mut attributes)?;
        }
        self.named(at, attributes)
    }

    /// Keeps all of them, or none.
    pub fn keep(&self, objects: Vec<Object>) -> Result<()> {
        let rows =
            objects.iter().filter(|object| object.is_token()).map(|object| self.row(object)).collect::<Result<Vec<_>>>()?;
        self.keep_rows(rows)?;
        for object in objects {
            let key = Arc::new(Key::new(object));
            match (key.object().is_token(), self.origin) {
                // The log may have answered with what another arrival of the request has made at another partition at the same time: the ids are
                // the same, the keys are not. The first use opens what is in the store.
                (true, Some(_)) => {}
                // The mark is from before it was committed: if somebody has changed it since, it is another one by now.
                (true, None) => {
                    let mark = self.known.marks.of(key.object().id);
                    self.state.ready.put(key, mark);
                }
                (false, _) => self.state.ephemeral.put(self.access.scope, key),
            }
        }
        Ok(())
    }

    /// Has the rows of new token objects in the store: all of them, or none.
    pub fn keep_rows(&self, rows: Vec<ObjectRow>) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let token_generation = self.facts().row.generation;
        let mut change = Some(Change::CreateObjects { token: self.state.id, token_generation, objects: rows });
        self.partition.decide(self.origin, token_gone, || {
            // A conflict means that the token was initialised meanwhile: then its keys are others, and nothing can be kept.
            change.take().map(|change| (change, ())).ok_or_else(token_gone)
        })
    }

    fn named(&self, at: Place, mut attributes: Template) -> Result<Object> {
        // A session object is never the same one twice: another partition may still hold an earlier attempt's.
        let is_token = attributes.bool(AttributeType::TOKEN) == Some(true);
        let id = ObjectId(self.partition.new_id(self.origin.filter(|_| is_token), at)?);
        attributes.set(AttributeType::UNIQUE_ID, Value::Bytes(id.to_string().into_bytes()));
        let object = Object { id, version: 1, attributes };
        if object.is_private() && !self.access.sees_private() {
            return Err(refuse(Code::UserNotLoggedIn, "private objects can be made by the logged-in user only"));
        }
        Ok(object)
    }

    /// The row of a token object: sealed, tagged.
    pub fn row(&self, object: &Object) -> Result<ObjectRow> {
        self.with_seals(object.is_private(), |seals| sealed_row(&*self.partition.world, seals, self.state.id, object))
    }

    fn may_write(&self) -> Result<()> {
        if self.access.write {
            return Ok(());
        }
        Err(refuse(Code::SessionReadOnly, "token objects can be made, changed and destroyed in a read-write session only"))
    }

    /// `C_GetAttributeValue`.
    pub fn read(&self, id: ObjectId, wanted: &[AttributeType]) -> Result<Vec<Reading>> {
        let key = self.open(id, Code::ObjectHandleInvalid)?;
        let read = |kind: &AttributeType| match policy::reveal(key.object(), *kind) {
            Revealed::Value(value) => Reading::Value(value.duplicate()),
            Revealed::Sensitive => Reading::Sensitive,
            Revealed::Absent => Reading::Absent,
        };
        Ok(wanted.iter().map(read).collect())
    }

    /// `C_GetObjectSize`: bytes of the encoded attributes.
    pub fn size(&self, id: ObjectId) -> Result<u64> {
        let key = self.open(id, Code::ObjectHandleInvalid)?;
        let len = encode::encode(&key.object().attributes).len() as u64;
        Ok(if faults::on(Fault::SizesAreNone) { 0 } else { len })
    }

    /// `C_SetAttributeValue`.
    pub fn update(&self, id: ObjectId, changes: Template) -> Result<Reference> {
        let revokes = may_revoke(&changes);
        self.once(
            Step::ReplaceObject,
            || self.update_now(id, changes),
            || {
                self.spread_if(revokes)?;
                // If somebody has destroyed it since, the change was made nevertheless: whoever uses it next is told.
                match self.open(id, Code::ObjectHandleInvalid) {
                    Err(gone) if gone.code() == Code::ObjectHandleInvalid => Ok(Reference { id, token: true, private: true }),
                    changed => Ok(reference(changed?.object())),
                }
            },
        )
    }

    /// Carries a request out, unless an earlier arrival has: then `done` answers. That may have been while this one looked, and whoever destroyed the
    /// object then would make it seem as if there had never been one.
    fn once<T>(&self, step: Step, carry_out: impl FnOnce() -> Result<T>, done: impl Fn() -> Result<T>) -> Result<T> {
        if self.partition.did_for_good(self.origin, step)? {
            return done();
        }
        match carry_out() {
            Err(gone) if gone.code() == Code::ObjectHandleInvalid && self.partition.did_for_good(self.origin, step)? => done(),
            answer => answer,
        }
    }

    fn update_now(&self, id: ObjectId, changes: Template) -> Result<Reference> {
        let revokes = may_revoke(&changes);
        if faults::on(Fault::SetIsNotAtomic) && changes.len() > 1 {
            let mut one_by_one = changes.into_iter().rev().map(|change| self.update(id, Template::from_iter([change])));
            return one_by_one.try_fold(None, |_, changed| changed.map(Some))?.ok_or_else(|| gone(Code::ObjectHandleInvalid));
        }
        let context = self.context()?;
        let decide = |call: &Call<'_>| -> Result<(Arc<Key>, Object)> {
            let old = call.open(id, Code::ObjectHandleInvalid)?;
            if old.object().is_token() {
                call.may_write()?;
            }
            let attributes = template::for_update(old.object(), changes.duplicate(), &context)?;
            let new = Object { id, version: old.object().version + 1, attributes };
            Ok((old, new))
        };
        let (old, new) = decide(self)?;
        let reference = reference(&new);
        if !new.is_token() {
            if !self.state.ephemeral.replace(self.access.scope, &old, Arc::new(Key::new(new))) {
                return Err(gone(Code::ObjectHandleInvalid));
            }
            self.state.hands.let_go(&[id]);
            return Ok(reference);
        }
        self.partition.decide(
            self.origin,
            || gone(Code::ObjectHandleInvalid),
            || {
                let call = Call::new(self.partition, self.state, self.access, self.origin)?;
                let (_, new) = decide(&call)?;
                Ok((Change::ReplaceObject { token: self.state.id, row: call.row(&new)? }, ()))
            },
        )?;
        self.spread_if(revokes)?;
        Ok(reference)
    }

    /// What took something away holds everywhere before the caller hears of it.
    fn spread_if(&self, revokes: bool) -> Result<()> {
        if revokes { self.partition.spread(self.origin) } else { Ok(()) }
    }

    /// `C_DestroyObject`.
    pub fn destroy(&self, id: ObjectId) -> Result<()> {
        self.once(Step::DeleteObject, || self.destroy_now(id), || self.partition.spread(self.origin))
    }

    fn destroy_now(&self, id: ObjectId) -> Result<()> {
        let key = self.open(id, Code::ObjectHandleInvalid)?;
        policy::may_destroy(key.object())?;
        if !key.object().is_token() {
            let was_there = self.state.ephemeral.remove(self.access.scope, id);
            self.state.hands.let_go(&[id]);
            return if was_there { Ok(()) } else { Err(gone(Code::ObjectHandleInvalid)) };
        }
        self.may_write()?;
        self.partition.decide(
            self.origin,
            || gone(Code::ObjectHandleInvalid),
            || {
                let call = Call::new(self.partition, self.state, self.access, self.origin)?;
                let key = call.open(id, Code::ObjectHandleInvalid)?;
                policy::may_destroy(key.object())?;
                Ok((Change::DeleteObject { token: self.state.id, id, expected_version: key.object().version }, ()))
            },
        )?;
        self.state.ready.forget(id);
        self.state.hands.let_go(&[id]);
        self.partition.spread(self.origin)
    }
}

/// What a session keeps of an object.
pub(super) fn reference(object: &Object) -> Reference {
    Reference { id: object.id, token: object.is_token(), private: object.is_private() }
}

/// Whether a change of these attributes may forbid what was allowed: all but names may.
fn may_revoke(changes: &Template) -> bool {
    let is_name = |kind: AttributeType| {
        matches!(
            kind,
            AttributeType::LABEL
                | AttributeType::ID
                | AttributeType::SUBJECT
                | AttributeType::ISSUER
                | AttributeType::SERIAL_NUMBER
                | AttributeType::APPLICATION
                | AttributeType::OBJECT_ID
                | AttributeType::URL
                | AttributeType::VALUE
        )
    };
    changes.iter().any(|(kind, _)| !is_name(kind))
}

/// The error for what is not there, or not to be seen.
pub(super) fn gone(code: Code) -> Error {
    refuse(code, "no such object, or it is not visible to this session")
}

fn token_gone() -> Error {
    refuse(Code::TokenNotPresent, "the token has been deleted or initialised again")
}

fn is_key_or_certificate(attributes: &Template) -> bool {
    let class = attributes.ulong(AttributeType::CLASS).map(ObjectClass);
    class.is_some_and(|class| class != ObjectClass::DATA)
}

/// The row of a token object: sealed, tagged.
///
/// Errors: `PastLimit` for more than [`OBJECT_MAX_BYTES`].
pub(super) fn sealed_row(world: &dyn World, seals: &ObjectSeals, token: TokenId, object: &Object) -> Result<ObjectRow> {
    let encoded = encode::encode(&object.attributes);
    if encoded.len() > OBJECT_MAX_BYTES {
        return Err(refuse(
            Code::PastLimit,
            format!("the object has {} bytes; at most {OBJECT_MAX_BYTES} are kept", encoded.len()),
        ));
    }
    let (id, version, private) = (object.id, object.version, object.is_private());
    let name = ObjectName { token, id, version, private };
    let sealed = seals.seal(world, &name, &encoded)?;
    Ok(ObjectRow { id, version, private, sealed, tags: tags(seals, &object.attributes)? })
}

/// The blind index of an object: one tag for each indexed attribute that it has.
pub(super) fn tags(seals: &ObjectSeals, attributes: &Template) -> Result<Vec<Tag>> {
    index::entries(attributes).map(|(kind, bytes)| tag(seals, kind, &bytes)).collect()
}

/// The tag of one attribute's bytes.
pub(super) fn tag(seals: &ObjectSeals, kind: AttributeType, bytes: &[u8]) -> Result<Tag> {
    Ok(Tag { attribute: kind, hash: seals.tag(kind, bytes)? })
}
