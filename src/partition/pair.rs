//! Pairs of keys: both halves are kept, or neither, and they belong together.

use std::sync::Arc;

use super::key::merge;
use super::object::{Call, reference};
use super::operate::{row, verb};
use super::origin::{Place, Step};
use crate::ck::{AttributeType, ObjectClass};
use crate::error::{Code, Error, Result, refuse};
use crate::faults::{self, Fault};
use crate::mechanism::{Key, Mechanism, encoding};
use crate::object::template::{self, Context};
use crate::object::{ObjectId, Template};
use crate::token::Reference;

/// Where a pair's halves are in the request that makes it.
const PUBLIC: Place = Place::Alone(0);
const PRIVATE: Place = Place::Alone(1);

impl Call<'_> {
    /// `C_GenerateKeyPair`: both are kept, or neither.
    pub fn generate_pair(&self, mechanism: &Mechanism, public: Template, private: Template) -> Result<(Reference, Reference)> {
        let is_split = is_token(&public) != is_token(&private);
        if is_split {
            // An earlier arrival of the request may have made the one half a moment ago: another half that is made now would not belong to it.
            self.partition.log.show()?;
            if self.partition.did_for_good(self.origin, Step::CreateObjects)? {
                return self.rejoin(mechanism, public);
            }
        } else if let Some([public, private]) = self.made_before()? {
            return Ok((public, private));
        }
        let context = self.context()?;
        if faults::on(Fault::HalfAPairStays) {
            let half = public.duplicate();
            if let Err(refused) = generated_pair(mechanism, public.duplicate(), private.duplicate(), &context) {
                let [public, _] = generated_pair(mechanism, half, Template::new(), &context)?;
                self.put_one(public)?;
                return Err(refused);
            }
        }
        let wanted = (is_split && self.origin.is_some()).then(|| public.duplicate());
        let made = generated_pair(mechanism, public, private, &context)?;
        match wanted {
            Some(public) => self.put_split(mechanism, public, made),
            None => self.put(made).map(|[public, private]| (public, private)),
        }
    }

    /// Keeps a pair of which one half is a session object. The log may answer for what another arrival of the request has made at another partition at the
    /// same time: then its half is in the store, under the id of ours.
    fn put_split(&self, mechanism: &Mechanism, wanted: Template, made: [Template; 2]) -> Result<(Reference, Reference)> {
        let [public, private] = made;
        let (public, private) = (self.checked(PUBLIC, public)?, self.checked(PRIVATE, private)?);
        let references = (reference(&public), reference(&private));
        let (of_token, of_session) = if public.is_token() { (public, private) } else { (private, public) };
        let row = self.row(&of_token)?;
        let sealed = row.sealed.clone();
        self.keep_rows(vec![row])?;
        self.partition.log.show()?;
        // No two rows are sealed under one nonce.
        let stored = self.partition.store.object(self.state.id, of_token.id)?;
        if stored.is_none_or(|stored| stored.sealed != sealed) {
            return self.rejoin(mechanism, wanted);
        }
        self.state.ephemeral.put(self.access.scope, Arc::new(Key::new(of_session)));
        Ok(references)
    }

    /// The public half, as it is wanted, of the private one that an earlier arrival of the request has made: of the session's half nothing else is known here.
    ///
    /// Errors: `FunctionFailed`: what is left of the pair is a public half, or nothing.
    fn rejoin(&self, mechanism: &Mechanism, wanted: Template) -> Result<(Reference, Reference)> {
        let of_token = if is_token(&wanted) { PUBLIC } else { PRIVATE };
        let id = ObjectId(self.partition.new_id(self.origin, of_token)?);
        if is_token(&wanted) {
            return Err(parted(id));
        }
        // What is in the store may be newer than this call.
        let call = Call::new(self.partition, self.state, self.access, self.origin)?;
        let private = call.open(id, Code::ObjectHandleInvalid).map_err(|cause| parted(id).because(cause))?;
        let mut public = template::for_generate(
            ObjectClass::PUBLIC_KEY,
            row(mechanism.kind)?.keys[0],
            mechanism.kind,
            wanted,
            &self.context()?,
        )?;
        merge(&mut public, encoding::public_half(&private.object().attributes)?);
        let public = self.checked(PUBLIC, public)?;
        let references = (reference(&public), reference(private.object()));
        self.state.ephemeral.put(self.access.scope, Arc::new(Key::new(public)));
        Ok(references)
    }
}

/// The attributes of a new pair: the public key's, the private key's.
pub(super) fn generated_pair(
    mechanism: &Mechanism,
    public: Template,
    private: Template,
    context: &Context,
) -> Result<[Template; 2]> {
    let row = row(mechanism.kind)?;
    let make = verb(row, |verbs| verbs.generate_pair)?;
    let mut public = template::for_generate(ObjectClass::PUBLIC_KEY, row.keys[0], mechanism.kind, public, context)?;
    let mut private = template::for_generate(ObjectClass::PRIVATE_KEY, row.keys[0], mechanism.kind, private, context)?;
    let made = make(mechanism, &public, &private)?;
    merge(&mut public, made.public);
    merge(&mut private, made.private);
    Ok([public, private])
}

fn is_token(template: &Template) -> bool {
    template.bool(AttributeType::TOKEN) == Some(true)
}

fn parted(id: ObjectId) -> Error {
    let told = "was made by an earlier arrival of this request, whose answer was lost and the session's half with it: destroy it and make the pair again";
    refuse(Code::FunctionFailed, format!("the token's half of the pair, object {id}, {told}"))
}
