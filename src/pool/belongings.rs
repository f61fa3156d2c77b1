//! What the application has in the pool, kept here so that no node is needed to remember it: tickets, capsules, what it has seen.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::inherit::Kin;
use super::numbers::Numbers;
use super::seen::{Mark, Seen};
use super::since::Moment;
use crate::limits::{BEGUN_KEPT_MILLISECONDS, CAPSULES_AT_ONCE_MAX_BYTES};
use crate::object::ObjectId;
use crate::token::message::{Begun, Blob, Capsule, Held, Named, Tally, Who};
use crate::token::{Access, LoginId, Scope, TokenId};

/// The belongings of one application.
#[derive(Default)]
pub struct Belongings {
    /// How much the application knows of the past.
    pub seen: Seen,
    /// When the mark was last known to be all that there was.
    pub(super) heard_all: Mutex<Option<Moment>>,
    /// Whether this is a forked child of who began with them.
    pub kin: Kin,
    /// Numbers changes.
    pub numbers: Numbers,
    /// Numbers uses of keys.
    uses: AtomicU64,
    /// What is newest of each login, by the name that nodes know it by.
    proofs: RwLock<HashMap<LoginId, Proof>>,
    /// Logins of a parent, and what nodes know them by in this process.
    inherited: RwLock<HashMap<LoginId, Bound>>,
    /// Session objects.
    capsules: RwLock<HashMap<(TokenId, ObjectId), Kept>>,
    calls: AtomicU64,
    failed: AtomicU64,
    retried: AtomicU64,
    /// When the tally was told last, in milliseconds.
    told: AtomicU64,
    /// What is known of uses that were started a moment ago.
    begun: Mutex<HashMap<Vec<u8>, (Duration, Begun)>>,
}

/// A session object, as it can be revived.
struct Kept {
    capsule: Capsule,
    private: bool,
    /// Whose it is: this process's, or that of the one that forked it.
    scope: Scope,
}

impl Kept {
    /// `None` for a token object.
    fn of(named: &Named, scope: Scope) -> Option<Self> {
        named.capsule.clone().map(|capsule| Self { capsule, private: named.private, scope })
    }
}

/// Proof of a login.
#[derive(Clone)]
pub struct Proof {
    /// Its newest ticket.
    pub ticket: Arc<[u8]>,
    /// The mark at which its PIN was proven or replaced by it: a node that has not applied that takes it for a login with another PIN.
    pub mark: Mark,
}

/// A login as nodes know it.
#[derive(Clone, Copy)]
pub struct Bound {
    /// Whose it is.
    pub scope: Scope,
    /// Its name.
    pub login: LoginId,
}

/// How often a module tells what its calls came to.
const TALLY_MILLISECONDS: u64 = 5000;
/// Started uses that are remembered.
const BEGUN_MAX: usize = 10_000;

impl Belongings {
    /// Counts one call; gives what there is to tell, if it is time.
    pub fn tally(&self, now: Duration) -> Option<Tally> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let (now, told) = (now.as_millis() as u64, self.told.load(Ordering::Relaxed));
        let is_time = now.saturating_sub(told) >= TALLY_MILLISECONDS;
        if !is_time || self.told.compare_exchange(told, now, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return None;
        }
        Some(self.take_tally())
    }

    fn take_tally(&self) -> Tally {
        // Between two tries of a call its count may be below nothing: that is left to balance.
        let some = |count: u64| (count.cast_signed() > 0).then_some(0);
        let take = |count: &AtomicU64| count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, some).unwrap_or(0);
        Tally { calls: take(&self.calls), failed: take(&self.failed), retried: take(&self.retried) }
    }

    /// What is left to tell when the application leaves, if anything is.
    pub fn last_tally(&self) -> Option<Tally> {
        Some(self.take_tally()).filter(|tally| *tally != Tally::default())
    }

    /// The node that was to be told did not answer: another one may.
    pub fn not_told(&self, tally: Tally) {
        self.calls.fetch_add(tally.calls, Ordering::Relaxed);
        self.failed.fetch_add(tally.failed, Ordering::Relaxed);
        self.retried.fetch_add(tally.retried, Ordering::Relaxed);
    }

    /// A node did not answer: the same call goes on elsewhere, and what it was to tell is told later.
    pub fn untold(&self, tally: Option<Tally>, first: bool) {
        let Tally { calls, failed, retried } = tally.unwrap_or_default();
        // The next try counts the call again.
        self.calls.fetch_add(calls.wrapping_sub(1), Ordering::Relaxed);
        self.failed.fetch_add(failed, Ordering::Relaxed);
        self.retried.fetch_add(retried + u64::from(first), Ordering::Relaxed);
    }

    /// A call was answered by another node than the one that was asked first.
    pub fn helped(&self) {
        self.retried.fetch_add(1, Ordering::Relaxed);
    }

    /// So many calls went along with one that was counted.
    pub fn went_along(&self, calls: usize) {
        self.calls.fetch_add(calls as u64, Ordering::Relaxed);
    }

    /// Calls that went together failed for good.
    pub fn failed(&self, calls: u64) {
        self.calls.fetch_add(calls, Ordering::Relaxed);
        self.failed.fetch_add(calls, Ordering::Relaxed);
    }

    /// What was counted is its parent's to tell.
    pub fn forget_counts(&self) {
        [&self.calls, &self.failed, &self.retried].iter().for_each(|count| count.store(0, Ordering::Relaxed));
    }

    /// The number of the next use of a key.
    pub fn next_use(&self) -> u64 {
        self.uses.fetch_add(1, Ordering::Relaxed)
    }

    /// All that was seen was all that there was, at this moment.
    pub fn hear_all(&self, at: Moment) {
        *self.heard_all.lock() = Some(at);
    }

    /// When it was so last.
    pub fn heard_all(&self) -> Option<Moment> {
        *self.heard_all.lock()
    }

    /// The login as nodes know it.
    pub fn bound(&self, access: &Access) -> Option<Bound> {
        let login = access.login?;
        let inherited = self.inherited.read().get(&login).copied();
        Some(inherited.unwrap_or(Bound { scope: access.scope, login }))
    }

    /// What proves a login; by the ticket that came with it if nothing newer is known.
    pub fn proof(&self, access: &Access) -> Proof {
        let newest = self.bound(access).and_then(|bound| self.proofs.read().get(&bound.login).cloned());
        newest.unwrap_or_else(|| Proof { ticket: access.ticket.clone(), mark: Mark::default() })
    }

    /// A login, by the name that nodes know it by, has a new ticket in place of the one that was sent. Another thread may have a newer one by now, of another PIN,
    /// or have ended the login: then it is too late.
    pub fn keep_ticket(&self, login: LoginId, sent: &Blob, ticket: Blob) {
        if let Some(proof) = self.proofs.write().get_mut(&login).filter(|proof| *proof.ticket == *sent.0) {
            proof.ticket = Arc::from(ticket.0);
        }
    }

    /// A login has one that is good where this mark is applied: its PIN was proven or replaced then.
    pub fn keep_proof(&self, login: LoginId, ticket: &Blob, mark: Mark) {
        self.proofs.write().insert(login, Proof { ticket: Arc::from(ticket.0.as_slice()), mark });
    }

    /// A login is over.
    pub fn end_login(&self, token: TokenId, access: &Access) {
        if let (Some(bound), Some(login)) = (self.bound(access), access.login) {
            self.proofs.write().remove(&bound.login);
            self.inherited.write().remove(&login);
        }
        self.forget_private(token);
    }

    fn forget_private(&self, token: TokenId) {
        self.capsules.write().retain(|(of, _), kept| *of != token || !kept.private);
        self.forget_begun();
    }

    /// A login of a parent is this process's own now.
    pub fn rebind(&self, access: &Access, who: Option<Who>, own: Scope) {
        if let (Some(login), Some(Who { login: Some(now), ticket, .. })) = (access.login, who) {
            let mark = self.proof(access).mark;
            self.keep_proof(now, &ticket, mark);
            self.inherited.write().insert(login, Bound { scope: own, login: now });
        }
    }

    /// A login of a parent is over: it stays what it is, so that whoever goes by it is told.
    pub fn lose(&self, token: TokenId, access: &Access, own: Scope) {
        if let (Some(login), Some(bound)) = (access.login, self.bound(access)) {
            self.inherited.write().insert(login, Bound { scope: own, ..bound });
        }
        self.forget_private(token);
    }

    /// A session object of `scope` that is new, or was changed.
    pub fn keep(&self, token: TokenId, named: &Named, scope: Scope) {
        if let Some(kept) = Kept::of(named, scope) {
            self.capsules.write().insert((token, named.id), kept);
        }
    }

    /// Another scope than this one that public session objects of the token are of.
    pub fn public_scope_but(&self, token: TokenId, own: Scope) -> Option<Scope> {
        let capsules = self.capsules.read();
        let mut others = capsules.iter().filter(|((of, _), kept)| *of == token && !kept.private && kept.scope != own);
        others.next().map(|(_, kept)| kept.scope)
    }

    /// Session objects of a scope, as many as go into one request.
    pub fn capsules_of(&self, token: TokenId, scope: Scope, with_private: bool) -> (Vec<ObjectId>, Vec<Blob>) {
        let capsules = self.capsules.read();
        let its = |kept: &Kept| kept.scope == scope && (with_private || !kept.private);
        let all = capsules.iter().filter(|((of, _), kept)| *of == token && its(kept));
        let mut bytes = 0;
        let some = all.take_while(|(_, kept)| {
            let is_first = bytes == 0;
            bytes += kept.capsule.sealed.0.len();
            is_first || bytes <= CAPSULES_AT_ONCE_MAX_BYTES
        });
        some.map(|((_, id), kept)| (*id, kept.capsule.sealed.clone())).unzip()
    }

    /// Session objects have other capsules, of another scope; those without any are gone.
    pub fn replace(&self, token: TokenId, ids: &[ObjectId], objects: &[Named], scope: Scope) {
        let mut capsules = self.capsules.write();
        for id in ids {
            let now = objects.iter().find(|named| named.id == *id).and_then(|named| Kept::of(named, scope));
            match now {
                Some(kept) => capsules.insert((token, *id), kept),
                None => capsules.remove(&(token, *id)),
            };
        }
    }

    /// Session objects that are gone.
    pub fn forget(&self, token: TokenId, ids: &[ObjectId]) {
        let mut capsules = self.capsules.write();
        for id in ids {
            capsules.remove(&(token, *id));
        }
        self.forget_begun();
    }

    /// Those of the objects that are session objects, as the application knows them.
    pub fn held(&self, token: TokenId, ids: &[ObjectId]) -> Vec<Held> {
        let capsules = self.capsules.read();
        let held = |id: &ObjectId| capsules.get(&(token, *id)).map(|kept| Held { id: *id, version: kept.capsule.version });
        ids.iter().filter_map(held).collect()
    }

    /// All session objects of a token.
    pub fn all_held(&self, token: TokenId) -> Vec<Held> {
        let capsules = self.capsules.read();
        let own = capsules.iter().filter(|((of, _), _)| *of == token);
        own.map(|((_, id), kept)| Held { id: *id, version: kept.capsule.version }).collect()
    }

    /// Whether it is a session object of ours.
    pub fn is_held(&self, token: TokenId, id: ObjectId) -> bool {
        self.capsules.read().contains_key(&(token, id))
    }

    /// What revives session objects, in pieces of which each goes into one request.
    pub fn capsules(&self, token: TokenId, ids: &[ObjectId]) -> Vec<Vec<Blob>> {
        let capsules = self.capsules.read();
        let sealed = ids.iter().filter_map(|id| capsules.get(&(token, *id))).map(|kept| kept.capsule.sealed.clone());
        let (mut pieces, mut bytes) = (Vec::<Vec<Blob>>::new(), 0);
        for capsule in sealed {
            bytes += capsule.0.len();
            match pieces.last_mut().filter(|_| bytes <= CAPSULES_AT_ONCE_MAX_BYTES) {
                Some(piece) => piece.push(capsule),
                None => {
                    bytes = capsule.0.len();
                    pieces.push(vec![capsule]);
                }
            }
        }
        pieces
    }

    /// What a node said lately of the same use.
    pub fn begun(&self, what: &[u8], now: Duration) -> Option<Begun> {
        let begun = self.begun.lock();
        begun.get(what).filter(|(until, _)| now < *until).map(|(_, begun)| begun.clone())
    }

    /// Remembers it for a moment: the node looks again when the use is run.
    pub fn keep_begun(&self, what: Vec<u8>, now: Duration, it: Begun) {
        let mut begun = self.begun.lock();
        if begun.len() >= BEGUN_MAX {
            begun.clear();
        }
        begun.insert(what, (now + Duration::from_millis(BEGUN_KEPT_MILLISECONDS), it));
    }

    /// Something has changed that the answers may depend on.
    pub fn forget_begun(&self) {
        self.begun.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewed_ticket_takes_the_place_of_the_one_that_was_sent_and_of_no_newer_one() {
        let belongings = Belongings::default();
        let (login, ticket) = (LoginId([5; 16]), |text: &str| Blob(text.as_bytes().to_vec()));
        let at = |changes| Mark { changes, epoch: Some(1) };
        let access = Access { login: Some(login), ..Access::public(Scope([7; 16]), false) };
        let known = || {
            let Proof { ticket, mark } = belongings.proof(&access);
            (String::from_utf8(ticket.to_vec()).unwrap(), mark.changes)
        };
        belongings.keep_proof(login, &ticket("first"), at(3));
        belongings.keep_ticket(login, &ticket("first"), ticket("renewed"));
        assert_eq!(known(), ("renewed".to_string(), 3));
        // One thread was told of a renewal, and another one has changed the PIN before it could take that down.
        belongings.keep_proof(login, &ticket("of the new PIN"), at(9));
        belongings.keep_ticket(login, &ticket("renewed"), ticket("renewed again"));
        assert_eq!(known(), ("of the new PIN".to_string(), 9));
        belongings.end_login(TokenId([1; 16]), &access);
        belongings.keep_ticket(login, &ticket("of the new PIN"), ticket("too late"));
        assert!(belongings.proofs.read().is_empty(), "the login is over");
    }

    #[test]
    fn what_was_not_told_in_time_is_left_for_the_farewell_and_told_once() {
        let belongings = Belongings::default();
        let of = |calls, failed| Tally { calls, failed, ..Tally::default() };
        let at = Duration::from_millis;
        assert_eq!(belongings.tally(at(TALLY_MILLISECONDS)), Some(of(1, 0)));
        assert_eq!(belongings.tally(at(TALLY_MILLISECONDS + 1)), None, "told a moment ago");
        belongings.failed(1);
        assert_eq!(belongings.last_tally(), Some(of(2, 1)));
        assert_eq!(belongings.last_tally(), None);
        belongings.not_told(of(2, 1));
        assert_eq!(belongings.last_tally(), Some(of(2, 1)), "another node is told");
    }
}
