//! Whether every object of a token opens, and is found by what it says of itself.

use super::object::tags;
use super::token::LocalToken;
use crate::ck::AttributeType;
use crate::error::{Code, Result, refuse};
use crate::token::Access;

impl LocalToken {
    /// Opens every token object that `access` may see and compares its row in the blind index with its attributes. Returns how many there are.
    ///
    /// Errors: `StoreRefused` names the first object that does not open, or would not be found.
    pub fn check(&self, access: &Access) -> Result<usize> {
        let call = self.call(access)?;
        let store = &call.partition.store;
        let all = store.find(call.state.id, &[], access.sees_private())?;
        let mut opened = 0;
        for hit in all {
            // Destroyed meanwhile: not there to be checked.
            let Some(row) = store.object(call.state.id, hit.id)? else { continue };
            let object = call.unseal(&row)?;
            let mut expected = call.with_seals(row.private, |seals| tags(seals, &object.attributes))?;
            expected.sort_unstable();
            expected.dedup();
            let mut found = row.tags;
            found.sort_unstable();
            // Where many objects were made at once, the index leaves out what the id says as well.
            if found != expected {
                expected.retain(|tag| tag.attribute != AttributeType::UNIQUE_ID);
            }
            if found != expected {
                let told = format!("object {} is not indexed by the attributes that it has", hit.id);
                return Err(refuse(Code::StoreRefused, told + ": restore the store from a backup"));
            }
            opened += 1;
        }
        Ok(opened)
    }
}
