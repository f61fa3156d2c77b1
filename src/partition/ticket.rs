//! Proofs that a client carries from one partition of a pool to another: tickets (a login) and permits (one context-specific login).
//!
//! Both are sealed under keys beneath the pool's root key, so that a stolen disk with a stolen ticket opens nothing.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use minicbor::{Decode, Encode};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::Partition;
use super::origin::{Origin, Step};
use super::seal::{Key32, ObjectSeals, RootKey, Seal};
use super::state::{Facts, Login, TokenState};
use crate::error::{Code, Error, Result, refuse};
use crate::faults::{self, Fault};
use crate::limits::{ENDED_LOGINS_MAX, PERMIT_MAX_AGE_SECONDS, TICKET_MAX_AGE_SECONDS, TICKET_RENEWED_AFTER_SECONDS};
use crate::secret::Secret;
use crate::token::message::encode;
use crate::token::{Access, LoginId, Permit, Role, Scope, TokenId};

/// What seals and remembers proofs.
pub(super) struct Tickets {
    tickets: Seal,
    permits: Seal,
    ended: Mutex<Ended>,
    /// Permits that were spent here, and what for.
    spent: Mutex<HashMap<[u8; 16], Spent>>,
}

/// Logins that were ended here: their tickets are dead until they expire by themselves.
#[derive(Default)]
struct Ended {
    logins: HashSet<LoginId>,
    /// When each was ended, the oldest first.
    order: VecDeque<(Duration, LoginId)>,
}

impl Ended {
    fn has(&self, login: LoginId) -> bool {
        self.logins.contains(&login)
    }

    /// One more; those whose tickets have expired make room, and the oldest one if that is not enough.
    fn add(&mut self, login: LoginId, now: Duration) {
        if !self.logins.insert(login) {
            return;
        }
        self.order.push_back((now, login));
        let has_expired = |since: Duration| now.saturating_sub(since).as_secs() > TICKET_MAX_AGE_SECONDS;
        while let Some((since, oldest)) = self.order.front().copied()
            && (has_expired(since) || self.order.len() > ENDED_LOGINS_MAX)
        {
            self.order.pop_front();
            self.logins.remove(&oldest);
        }
    }
}

/// When a permit was spent, and a hash over what it was spent on.
type Spent = (Duration, [u8; 32]);

/// One login, as every partition of the pool can read it.
#[derive(Encode, Decode)]
struct Ticket {
    #[n(0)]
    scope: Scope,
    #[n(1)]
    role: Role,
    #[n(2)]
    login: LoginId,
    /// The PIN's generation that was proven.
    #[n(3)]
    generation: u64,
    #[n(4)]
    token_generation: u64,
    /// Seconds since 1970.
    #[n(5)]
    issued: u64,
    /// Who proved it.
    #[n(6)]
    client: String,
    #[cbor(n(7), with = "token_key")]
    token_key: Zeroizing<[u8; 32]>,
}

/// One context-specific login.
#[derive(Encode, Decode)]
struct Leave {
    #[cbor(n(0), with = "minicbor::bytes")]
    id: [u8; 16],
    #[n(1)]
    login: LoginId,
    #[n(2)]
    issued: u64,
}

impl Tickets {
    /// Errors: `Configuration` without a root key.
    pub fn new(root: &RootKey) -> Result<Self> {
        let root = root.key().ok_or_else(|| {
            refuse(Code::Configuration, "a pool needs a root key: set store.root_key, and give every node the same key file")
        })?;
        Ok(Self {
            tickets: Seal::new(root, b"hsmpool ticket 1")?,
            permits: Seal::new(root, b"hsmpool permit 1")?,
            ended: Mutex::default(),
            spent: Mutex::default(),
        })
    }

    /// The ticket that comes with a login, if it is one of this login.
    fn open(&self, token: TokenId, access: &Access) -> Option<Ticket> {
        let opened = self.tickets.open(&token.0, &access.ticket)?;
        let ticket: Ticket = minicbor::decode(opened.expose()).ok()?;
        (Some(ticket.login) == access.login).then_some(ticket)
    }
}

pub(super) fn dead() -> Error {
    refuse(Code::UserNotLoggedIn, "this login is over: log in again")
}

impl Partition {
    fn seconds(&self) -> u64 {
        self.world.now().as_secs()
    }

    /// The ticket of a login; empty where there is one partition.
    pub(super) fn ticket(&self, token: TokenId, login: LoginId, it: &Login) -> Result<Arc<[u8]>> {
        let Some(tickets) = &self.tickets else { return Ok(Arc::from([])) };
        let issued = self.seconds();
        it.issued.store(issued, Ordering::Relaxed);
        let ticket = Ticket {
            scope: it.scope,
            role: it.role,
            login,
            generation: it.generation.load(Ordering::Acquire),
            token_generation: it.token_generation,
            issued,
            client: it.client.to_string(),
            token_key: Zeroizing::new(*it.token_key.expose()),
        };
        let sealed = tickets.tickets.seal(&*self.world, &token.0, encode(&ticket).expose())?;
        Ok(Arc::from(sealed))
    }

    /// Accepts a login that was proven at another partition. Returns a new ticket if it is time for one. `new_pin` is what the request is to make of the PIN of
    /// its own login, as it may have done already.
    ///
    /// Errors: `UserNotLoggedIn` for a ticket that is bent, of another token, application or client, too old, or of a login or PIN that
    /// is over.
    pub(super) fn admit(
        &self,
        state: &TokenState,
        access: &Access,
        origin: &Origin,
        new_pin: Option<&Secret>,
    ) -> Result<Option<Arc<[u8]>>> {
        let (Some(tickets), Some(id)) = (&self.tickets, access.login) else { return Ok(None) };
        let facts = state.facts(self)?;
        let is_current = |login: &Arc<Login>| {
            let generation = login.generation.load(Ordering::Acquire);
            let is_kept = faults::on(Fault::TicketOutlivesPin);
            facts.holder(login.role).is_some_and(|holder| holder.generation == generation || is_kept)
        };
        // The PIN may have been changed since, at another partition, by the login itself: then its newer ticket says so.
        if let Some(login) = state.logins.read().get(&id).cloned().filter(is_current) {
            let age = self.seconds().saturating_sub(login.issued.load(Ordering::Relaxed));
            if login.client != origin.client && !faults::on(Fault::TicketForAnyone) {
                return Err(dead());
            }
            return (age > TICKET_RENEWED_AFTER_SECONDS).then(|| self.ticket(state.id, id, &login)).transpose();
        }
        let ticket = self.read_ticket(tickets, access, origin, &facts).ok_or_else(dead)?;
        let generation = self.generation_of(state, &ticket, origin, &facts, new_pin)?;
        let token_key = Key32::from_bytes(&*ticket.token_key).ok_or_else(dead)?;
        let login = Arc::new(Login {
            scope: ticket.scope,
            role: ticket.role,
            generation: AtomicU64::new(generation),
            token_generation: ticket.token_generation,
            seals: ObjectSeals::new(&token_key)?,
            token_key,
            client: origin.client.clone(),
            issued: AtomicU64::new(ticket.issued),
        });
        let age = self.seconds().saturating_sub(ticket.issued);
        self.take_in(state, id, login.clone())?;
        (age > TICKET_RENEWED_AFTER_SECONDS).then(|| self.ticket(state.id, id, &login)).transpose()
    }

    /// A ticket that is good, but for the PIN that was proven for it.
    fn read_ticket(&self, tickets: &Tickets, access: &Access, origin: &Origin, facts: &Facts) -> Option<Ticket> {
        let ticket = tickets.open(facts.row.id, access)?;
        let is_good = ticket.scope == access.scope
            && ticket.scope == origin.scope
            && Some(ticket.role) == access.role
            && ticket.token_generation == facts.row.generation
            && (*ticket.client == *origin.client || faults::on(Fault::TicketForAnyone))
            && self.seconds().saturating_sub(ticket.issued) <= TICKET_MAX_AGE_SECONDS
            && !tickets.ended.lock().has(ticket.login);
        is_good.then_some(ticket)
    }

    /// The PIN's generation that a ticket's login is good for: the ticket's, or the next one, if this request has changed the PIN and the answer was lost.
    /// That the log remembers a change of a PIN by this request does not say of which, nor that it was the last one: the new PIN does, if it is the one that
    /// holds. Whoever tries PINs so has each attempt counted.
    ///
    /// Errors: `UserNotLoggedIn`: the PIN was changed since; `PinLocked`.
    fn generation_of(
        &self,
        state: &TokenState,
        ticket: &Ticket,
        origin: &Origin,
        facts: &Facts,
        new_pin: Option<&Secret>,
    ) -> Result<u64> {
        let generation = facts.holder(ticket.role).ok_or_else(dead)?.generation;
        if ticket.generation == generation || faults::on(Fault::TicketOutlivesPin) {
            return Ok(generation);
        }
        let is_next = ticket.generation.checked_add(1) == Some(generation);
        let Some(new_pin) = new_pin.filter(|_| is_next) else { return Err(dead()) };
        if !self.did(Some(origin), Step::SetUser)? {
            return Err(dead());
        }
        self.may_change(Some(origin))?;
        // Under a name of the partition's own: the request's have their answers, so that further attempts would not count.
        match self.prove_pin(None, state, ticket.role, new_pin) {
            Ok(proven) if proven.generation == generation => Ok(generation),
            Err(error) if error.code() != Code::PinIncorrect => Err(error),
            _ => Err(dead()),
        }
    }

    /// From now on no ticket of this login is accepted here.
    pub(super) fn end_ticket(&self, login: LoginId) {
        let Some(tickets) = &self.tickets else { return };
        if faults::on(Fault::TicketOutlivesLogout) {
            return;
        }
        tickets.ended.lock().add(login, self.world.now());
    }

    /// Whether a login, good or over, is of who names it: one that is here, or one that its ticket proves. Another's must not be ended, nor one that there never
    /// was be remembered.
    pub(super) fn is_own_login(&self, state: &TokenState, access: &Access, origin: Option<&Origin>) -> bool {
        let is_of = |scope: Scope, client: &str| {
            scope == access.scope && origin.is_none_or(|origin| origin.scope == scope && *origin.client == *client)
        };
        let here = access.login.and_then(|id| state.logins.read().get(&id).cloned());
        if here.is_some_and(|login| is_of(login.scope, &login.client)) {
            return true;
        }
        let ticket = self.tickets.as_ref().and_then(|tickets| tickets.open(state.id, access));
        ticket.is_some_and(|ticket| is_of(ticket.scope, &ticket.client))
    }

    /// A login that began elsewhere is good here from now on. Errors: `UserNotLoggedIn`: it was ended here, be it just now.
    pub(super) fn take_in(&self, state: &TokenState, id: LoginId, login: Arc<Login>) -> Result<()> {
        // Whoever ends a login says so first and then takes it out, under this lock.
        let mut logins = state.logins.write();
        if self.tickets.as_ref().is_some_and(|tickets| tickets.ended.lock().has(id)) {
            return Err(dead());
        }
        logins.insert(id, login);
        Ok(())
    }

    /// Proof of a context-specific login, for whichever partition the use reaches.
    pub(super) fn permit(&self, token: TokenId, access: &Access) -> Result<Permit> {
        let (Some(tickets), Some(login)) = (&self.tickets, access.login) else { return Ok(Permit::granted()) };
        let mut id = [0; 16];
        self.world.fill_random(&mut id)?;
        let leave = Leave { id, login, issued: self.seconds() };
        let sealed = tickets.permits.seal(&*self.world, &token.0, encode(&leave).expose())?;
        Ok(Permit::proven_by(Arc::from(sealed)))
    }

    /// Spends a permit. `purpose` is a hash over what it is spent on: only the identical use may come again.
    ///
    /// Errors: `UserNotLoggedIn` for a permit that is bent, of another login or token, too old, or spent on something else.
    pub(super) fn spend(&self, token: TokenId, access: &Access, proof: &[u8], purpose: [u8; 32]) -> Result<()> {
        let Some(tickets) = &self.tickets else { return Err(no_permit()) };
        let opened = tickets.permits.open(&token.0, proof).ok_or_else(no_permit)?;
        let leave: Leave = minicbor::decode(opened.expose()).map_err(|cause| no_permit().because(cause))?;
        let now = self.world.now();
        if Some(leave.login) != access.login || now.as_secs().saturating_sub(leave.issued) > PERMIT_MAX_AGE_SECONDS {
            return Err(no_permit());
        }
        let mut spent = tickets.spent.lock();
        spent.retain(|_, (since, _)| now.saturating_sub(*since).as_secs() <= PERMIT_MAX_AGE_SECONDS);
        match spent.entry(leave.id).or_insert((now, purpose)).1 == purpose || faults::on(Fault::PermitsAreNotSpent) {
            true => Ok(()),
            false => Err(no_permit()),
        }
    }
}

fn no_permit() -> Error {
    refuse(Code::UserNotLoggedIn, "the key asks for a context-specific login before each use (CKA_ALWAYS_AUTHENTICATE)")
}

mod token_key {
    use minicbor::bytes::ByteArray;
    use minicbor::decode::{Decoder, Error as DecodeError};
    use minicbor::encode::{Encoder, Error as EncodeError, Write};
    use zeroize::Zeroizing;

    type Key = Zeroizing<[u8; 32]>;

    pub fn encode<C, W: Write>(value: &Key, out: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        out.bytes(&value[..]).map(drop)
    }

    pub fn decode<C>(input: &mut Decoder<'_>, _: &mut C) -> Result<Key, DecodeError> {
        let bytes: ByteArray<32> = input.decode()?;
        Ok(Zeroizing::new(bytes.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(number: usize) -> LoginId {
        LoginId(std::array::from_fn(|at| number.to_be_bytes().get(at).copied().unwrap_or(0)))
    }

    #[test]
    fn as_many_ended_logins_are_remembered_as_the_limit_says_and_for_as_long_as_tickets_live() {
        let mut ended = Ended::default();
        let second = Duration::from_secs;
        for number in 0..ENDED_LOGINS_MAX {
            ended.add(login(number), second(1000));
            ended.add(login(0), second(1000));
        }
        assert!(ended.has(login(0)), "at the limit");
        ended.add(login(ENDED_LOGINS_MAX), second(1001));
        assert!(!ended.has(login(0)) && ended.has(login(1)), "one past it");
        assert_eq!((ended.logins.len(), ended.order.len()), (ENDED_LOGINS_MAX, ENDED_LOGINS_MAX));
        ended.add(login(usize::MAX), second(1001 + TICKET_MAX_AGE_SECONDS));
        assert!(!ended.has(login(1)) && ended.has(login(ENDED_LOGINS_MAX)), "their tickets have expired");
        assert_eq!((ended.logins.len(), ended.order.len()), (2, 2));
        ended.add(login(5), second(0));
        assert_eq!(ended.logins.len(), 3, "a clock that goes back forgets nothing");
    }
}
