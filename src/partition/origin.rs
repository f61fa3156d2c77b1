//! Whose request is carried out, so that a request that arrives twice changes things once.

use std::sync::Arc;

use super::Partition;
use crate::error::Result;
use crate::log::RequestId;
use crate::object::ObjectId;
use crate::store::{Change, Outcome};
use crate::sys::awslc::sealing::hmac_sha256;
use crate::token::Scope;

/// The request of a client, as it came over the wire.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The application.
    pub scope: Scope,
    /// Numbers the application's changes; none for requests that change nothing.
    pub sequence: Option<u64>,
    /// Who sent it, as the connection proved: a certificate's name, or a user of this machine.
    pub client: Arc<str>,
}

/// Kinds of changes that one request can make, each at most once: so each has a number of its own under the request's.
const STEPS: u64 = 16;

fn step(change: &Change) -> u64 {
    match change {
        Change::ReserveAttempt { .. } => 0,
        Change::ClearAttempts { .. } => 1,
        Change::SetUser { .. } => 2,
        Change::CreateObjects { .. } => 3,
        Change::ReplaceObject { .. } => 4,
        Change::DeleteObject { .. } => 5,
        Change::InitToken { .. } => 6,
        Change::DeleteToken { .. } => 7,
    }
}

/// What a request did when it arrived before.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Did {
    SetUser = 2,
    CreateObjects = 3,
    ReplaceObject = 4,
    DeleteObject = 5,
    InitToken = 6,
    DeleteToken = 7,
}

impl Origin {
    /// The name of one change of the request in the log.
    pub(super) fn request(&self, change: &Change) -> Option<RequestId> {
        self.numbered(step(change))
    }

    /// Names one use of a key: the same request may spend the same nonce again.
    pub(super) fn numbered_use(&self) -> Option<([u8; 16], u64)> {
        self.sequence.map(|sequence| (self.scope.0, sequence))
    }

    fn numbered(&self, step: u64) -> Option<RequestId> {
        let sequence = self.sequence?.checked_mul(STEPS)?.checked_add(step)?;
        Some(RequestId { client: self.scope.0, sequence })
    }

    /// The id of the `at`th token object that the request makes: the same wherever and however often the request is carried out.
    pub(super) fn object_id(&self, at: usize) -> Result<Option<[u8; 16]>> {
        let Some(sequence) = self.sequence else { return Ok(None) };
        let mut message = [0; 28];
        message[..16].copy_from_slice(&self.scope.0);
        message[16..24].copy_from_slice(&sequence.to_be_bytes());
        message[24..].copy_from_slice(&(at as u32).to_be_bytes());
        // A hash with a purpose, not a secret: ids are public.
        let hash = hmac_sha256(b"hsmpool object id of a request 1", &message)?;
        Ok(Some(std::array::from_fn(|at| hash[at])))
    }
}

impl Partition {
    /// Whether the request has been carried out already, here or elsewhere, as far as this partition has applied the log.
    pub(super) fn did(&self, origin: Option<&Origin>, what: Did) -> Result<bool> {
        let Some(request) = origin.and_then(|origin| origin.numbered(what as u64)) else { return Ok(false) };
        Ok(self.store.answer(request)? == Some(Outcome::Done))
    }

    /// Whether the request has been carried out already, whatever it was.
    pub fn carried_out(&self, origin: &Origin) -> Result<bool> {
        use Did::{CreateObjects, DeleteObject, DeleteToken, InitToken, ReplaceObject, SetUser};
        for what in [CreateObjects, ReplaceObject, DeleteObject, SetUser, InitToken, DeleteToken] {
            if self.did(Some(origin), what)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The id of a new token object or token.
    pub(super) fn new_id(&self, origin: Option<&Origin>, at: usize) -> Result<[u8; 16]> {
        if let Some(id) = origin.map(|origin| origin.object_id(at)).transpose()?.flatten() {
            return Ok(id);
        }
        let mut id = [0; 16];
        self.world.fill_random(&mut id)?;
        Ok(id)
    }
}

/// The ids of the token objects that a request has made, for an answer that was lost.
pub(super) fn made<const N: usize>(origin: &Origin) -> Result<Option<[ObjectId; N]>> {
    let mut ids = [ObjectId([0; 16]); N];
    for (at, id) in ids.iter_mut().enumerate() {
        match origin.object_id(at)? {
            Some(bytes) => *id = ObjectId(bytes),
            None => return Ok(None),
        }
    }
    Ok(Some(ids))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::TokenId;

    fn origin(scope: u8, sequence: u64) -> Origin {
        Origin { scope: Scope([scope; 16]), sequence: Some(sequence), client: Arc::from("test") }
    }

    #[test]
    fn the_same_request_names_the_same_objects_and_another_one_others() {
        let ids = |scope, sequence| made::<2>(&origin(scope, sequence)).unwrap().unwrap();
        assert_eq!(ids(1, 7), ids(1, 7));
        let all = [ids(1, 7), ids(1, 8), ids(2, 7)].concat();
        let different: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }

    #[test]
    fn each_change_of_a_request_has_a_number_of_its_own() {
        let token = TokenId([1; 16]);
        let id = ObjectId([1; 16]);
        let changes = [
            Change::ReserveAttempt { token, role: 1 },
            Change::ClearAttempts { token, role: 1, generation: 0 },
            Change::DeleteObject { token, id, expected_version: 1 },
            Change::DeleteToken { token },
        ];
        let numbers: std::collections::HashSet<_> =
            [1, 2].iter().flat_map(|n| changes.iter().map(|c| origin(1, *n).request(c).unwrap().sequence)).collect();
        assert_eq!(numbers.len(), 8);
        assert_eq!(origin(1, u64::MAX).request(&changes[0]), None, "beyond all bounds");
    }
}
