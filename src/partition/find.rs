//! Searching: one indexed query for each kind of seal, then every hit is opened and looked at again.

use super::object::{Call, gone, reference, tag};
use super::seal::ObjectSeals;
use crate::ck::AttributeType;
use crate::error::{Code, Result};
use crate::faults::{self, Fault};
use crate::object::{ObjectId, Template, Value, index, policy};
use crate::store::{Found, Tag};
use crate::token::Reference;

impl Call<'_> {
    /// `C_FindObjectsInit`: token objects in the order of their creation, then session objects.
    pub fn find(&self, template: &Template) -> Result<Vec<Reference>> {
        if let Some(unique_id) = template.get(AttributeType::UNIQUE_ID) {
            return self.find_one(unique_id, template);
        }
        let store = &self.partition.store;
        let mut found = Vec::new();
        if template.is_empty() {
            // Nothing to compare, so nothing is opened: listing a hundred thousand objects costs one scan.
            let shown = self.access.sees_private() || faults::on(Fault::PrivateIsListed);
            let all = store.find(self.state.id, &[], shown)?;
            found.extend(all.into_iter().map(|hit| Reference { id: hit.id, token: true, private: hit.private }));
        } else {
            let public = store.find(self.state.id, &tags(&self.facts().public, template)?, false)?;
            self.keep_matches(public, template, false, &mut found)?;
            if self.access.sees_private() {
                let private = self.with_seals(true, |seals| store.find(self.state.id, &tags(seals, template)?, true))?;
                self.keep_matches(private, template, true, &mut found)?;
            }
        }
        for key in self.state.ephemeral.all(self.access.scope) {
            let object = key.object();
            if (!object.is_private() || self.access.sees_private()) && policy::matches(object, template) {
                found.push(reference(object));
            }
        }
        Ok(found)
    }

    /// At most one object has the `CKA_UNIQUE_ID`, which is its id.
    fn find_one(&self, unique_id: &Value, template: &Template) -> Result<Vec<Reference>> {
        let Value::Bytes(digits) = unique_id else { return Ok(Vec::new()) };
        let hit = ObjectId::of_unique_id(digits).map(|id| self.open(id, Code::ObjectHandleInvalid));
        match hit {
            Some(Ok(key)) if policy::matches(key.object(), template) => Ok(vec![reference(key.object())]),
            Some(Err(error)) if error.code() != gone(Code::ObjectHandleInvalid).code() => Err(error),
            _ => Ok(Vec::new()),
        }
    }

    fn keep_matches(&self, hits: Vec<Found>, template: &Template, private: bool, found: &mut Vec<Reference>) -> Result<()> {
        for hit in hits.into_iter().filter(|hit| hit.private == private) {
            match self.open(hit.id, Code::ObjectHandleInvalid) {
                Ok(key) if policy::matches(key.object(), template) => found.push(reference(key.object())),
                // Destroyed between the query and now: as if it had been a moment earlier.
                Err(error) if error.code() != gone(Code::ObjectHandleInvalid).code() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

fn tags(seals: &ObjectSeals, template: &Template) -> Result<Vec<Tag>> {
    index::lookups(template).map(|(kind, bytes)| tag(seals, kind, &bytes)).collect()
}
