//! Whose request is carried out, so that a request that arrives twice changes things once.

use std::sync::Arc;

use super::Partition;
use crate::error::Result;
use crate::limits::REQUEST_STEPS;
use crate::log::{Proposal, RequestId};
use crate::object::ObjectId;
use crate::store::{Change, Outcome};
use crate::sys::awslc::sealing::hmac_sha256;
use crate::token::message::Held;
use crate::token::{Scope, TokenId};

/// The request of a client, as it came over the wire.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The application.
    pub scope: Scope,
    /// Numbers the application's changes; none for requests that change nothing.
    pub sequence: Option<u64>,
    /// How many changes the pool had made when the request was first sent, so that it was not carried out before. `None`: it is of an older module, or
    /// changes nothing.
    pub since: Option<u64>,
    /// Names one use of a key within the application.
    pub use_number: Option<u64>,
    /// Who sent it, as the connection proved: a certificate's name, or a user of this machine.
    pub client: Arc<str>,
    /// Session objects that the client has, of those that the request names: it may have destroyed others at another partition.
    pub held: Vec<Held>,
}

/// Where in its request a token object is made.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// The request is of one call, which makes so many before it.
    Alone(usize),
    /// Among what a request makes for several calls: below 2^16.
    Among(usize),
}

/// Kinds of changes that a request can make, each at most once: so each has a number of its own under the request's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    ReserveAttempt,
    ClearAttempts,
    SetUser,
    CreateObjects,
    ReplaceObject,
    DeleteObject,
    InitToken,
    DeleteToken,
}

const _: () = assert!((Step::DeleteToken as u64) < REQUEST_STEPS);

impl Step {
    fn of(change: &Change) -> Self {
        match change {
            Change::ReserveAttempt { .. } => Step::ReserveAttempt,
            Change::ClearAttempts { .. } => Step::ClearAttempts,
            Change::SetUser { .. } => Step::SetUser,
            Change::CreateObjects { .. } => Step::CreateObjects,
            Change::ReplaceObject { .. } => Step::ReplaceObject,
            Change::DeleteObject { .. } => Step::DeleteObject,
            Change::InitToken { .. } | Change::ImportToken { .. } => Step::InitToken,
            Change::DeleteToken { .. } => Step::DeleteToken,
        }
    }
}

impl Origin {
    /// The name of one change of the request in the log.
    pub(super) fn request(&self, change: &Change) -> Option<RequestId> {
        self.numbered(Step::of(change))
    }

    /// Names one use of a key: the same request may spend the same nonce again.
    pub(super) fn numbered_use(&self) -> Option<([u8; 16], u64)> {
        self.use_number.map(|number| (self.scope.0, number))
    }

    pub(super) fn numbered(&self, step: Step) -> Option<RequestId> {
        let sequence = self.sequence?.checked_mul(REQUEST_STEPS)?.checked_add(step as u64)?;
        Some(RequestId { client: self.scope.0, sequence })
    }

    /// The id of a token object that the request makes: the same wherever and however often the request is carried out.
    pub(super) fn object_id(&self, place: Place) -> Result<Option<[u8; 16]>> {
        let Some(sequence) = self.sequence else { return Ok(None) };
        // A hash with a purpose, not a secret: ids are public. Those of several differ in their ends: in a store's index they are neighbours, on one page.
        let (purpose, counted, end) = match place {
            Place::Alone(at) => (b"hsmpool object id of a request 1", at as u32, None),
            Place::Among(at) => (b"hsmpool ids of a joint request 1", 0, Some((at as u16).to_be_bytes())),
        };
        let mut message = [0; 28];
        message[..16].copy_from_slice(&self.scope.0);
        message[16..24].copy_from_slice(&sequence.to_be_bytes());
        message[24..].copy_from_slice(&counted.to_be_bytes());
        let hash = hmac_sha256(purpose, &message)?;
        let mut id: [u8; 16] = std::array::from_fn(|at| hash[at]);
        if let Some(end) = end {
            id[14..].copy_from_slice(&end);
        }
        Ok(Some(id))
    }
}

impl Partition {
    /// Whether the request has been carried out already, here or elsewhere, as far as this partition has applied the log.
    pub(super) fn did(&self, origin: Option<&Origin>, what: Step) -> Result<bool> {
        let Some(request) = origin.and_then(|origin| origin.numbered(what)) else { return Ok(false) };
        Ok(self.store.answer(request)? == Some(Outcome::Done))
    }

    /// The same, for a request that is to be acknowledged for it: whoever carried it out may not have been answered, as one zone alone had it.
    pub(super) fn did_for_good(&self, origin: Option<&Origin>, what: Step) -> Result<bool> {
        let did = self.did(origin, what)?;
        if let Some(request) = origin.and_then(|origin| origin.numbered(what)).filter(|_| did) {
            // It has an answer already, so that what it asks for now does not matter.
            let change = Change::ClearAttempts { token: TokenId([0; 16]), role: 0, generation: 0 };
            self.log.confirm(Proposal { request, change })?;
        }
        Ok(did)
    }

    /// Whether the request has been carried out already, whatever it was.
    pub fn carried_out(&self, origin: &Origin) -> Result<bool> {
        use Step::{CreateObjects, DeleteObject, DeleteToken, InitToken, ReplaceObject, SetUser};
        for what in [CreateObjects, ReplaceObject, DeleteObject, SetUser, InitToken, DeleteToken] {
            if self.did(Some(origin), what)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The id of a new token object or token.
    pub(super) fn new_id(&self, origin: Option<&Origin>, place: Place) -> Result<[u8; 16]> {
        if let Some(id) = origin.map(|origin| origin.object_id(place)).transpose()?.flatten() {
            return Ok(id);
        }
        let mut id = [0; 16];
        self.world.fill_random(&mut id)?;
        Ok(id)
    }
}

/// The ids of token objects that a request has made, by their places in it, for an answer that was lost.
pub(super) fn made(origin: &Origin, places: impl Iterator<Item = Place>) -> Result<Option<Vec<ObjectId>>> {
    places.map(|place| Ok(origin.object_id(place)?.map(ObjectId))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(scope: u8, sequence: u64) -> Origin {
        Origin {
            scope: Scope([scope; 16]),
            sequence: Some(sequence),
            since: None,
            use_number: None,
            client: Arc::from("test"),
            held: Vec::new(),
        }
    }

    #[test]
    fn the_same_request_names_the_same_objects_and_another_one_others() {
        let places = || (0..2).map(Place::Alone).chain((0..300).map(Place::Among));
        let ids = |scope, sequence| made(&origin(scope, sequence), places()).unwrap().unwrap();
        assert_eq!(ids(1, 7), ids(1, 7));
        let all = [ids(1, 7), ids(1, 8), ids(2, 7)].concat();
        let different: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        let of_several = &ids(1, 7)[2..];
        assert!(of_several.is_sorted() && of_several.iter().all(|id| id.0[..14] == of_several[0].0[..14]), "neighbours");
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
