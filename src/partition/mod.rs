//! A token kept on this node: checks, computes, seals, proposes.
//!
//! [`Partition`] keeps all tokens of one store; [`LocalToken`] is one of them, as the waist wants it.
//!
//! Knows: ck, error, faults, limits, log, mechanism, object, secret, store, sync, sys, token, world.
//! Crates: argon2, minicbor, parking_lot, zeroize.

mod admin;
mod check;
mod ephemeral;
mod find;
mod hands;
mod identity;
mod import;
mod inherit;
mod key;
mod nonces;
mod object;
mod operate;
mod origin;
mod pair;
mod ready;
mod root;
mod seal;
mod serve;
mod state;
#[cfg(test)]
mod tests;
mod ticket;
mod together;
mod token;

pub use admin::LocalAdmin;
pub use import::ImportedToken;
pub use origin::Origin;
pub use root::{RootKeySource, load_root_key, make_root_key};
pub use seal::RootKey;
pub use together::Made;
pub use token::LocalToken;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use crate::error::{Code, Error, Result, refuse};
use crate::limits::CALL_DEADLINE_SECONDS;
use crate::log::{Log, Proposal, RequestId, Standing, is_remembered};
use crate::object::policy::Policy;
use crate::store::Store;
use crate::store::{Change, Outcome};
use crate::sys::process::PerProcess;
use crate::token::{Scope, TokenId};
use crate::world::World;

use state::TokenState;
use ticket::Tickets;

/// What a partition is told when it is assembled.
pub struct Settings {
    /// Wrong PINs in a row that lock the user of a new token; 0 never locks.
    pub pin_attempts_max: u32,
    /// Policy of new tokens.
    pub policy: Policy,
    /// What the store hangs on.
    pub root_key: RootKey,
    /// Whether logins give tickets that other partitions of the pool accept. Needs a root key.
    pub tickets: bool,
}

impl Settings {
    /// Of no partition: what is left where the real ones were taken out.
    pub fn none() -> Self {
        Self { pin_attempts_max: 0, policy: Policy::Strict, root_key: RootKey::new(None), tickets: false }
    }
}

/// All tokens of one store.
pub struct Partition {
    store: Arc<Store>,
    log: Arc<dyn Log>,
    world: Arc<dyn World>,
    settings: Settings,
    names: PerProcess<Names>,
    states: RwLock<HashMap<TokenId, Arc<TokenState>>>,
    stretching: PerProcess<Stretching>,
    attempts: PerProcess<Attempts>,
    /// When revocations were first waited for that clients have asked for.
    spreads: Mutex<HashMap<(Scope, u64), Duration>>,
    tickets: Option<Tickets>,
}

/// Revocations that are remembered before old ones are dropped.
const SPREADS_MAX: usize = 1024;
/// A request comes again for as long as a call may take.
const SPREAD_KEPT: Duration = Duration::from_secs(CALL_DEADLINE_SECONDS);

/// Names for changes that nobody else has named. A forked child has others than its parent: under the same name a change of the one would be taken
/// for the other's.
#[derive(Default)]
struct Names {
    client: Mutex<Option<[u8; 16]>>,
    sequence: AtomicU64,
}

impl Names {
    /// Errors: `RandomNoRng`.
    fn next(&self, world: &dyn World) -> Result<RequestId> {
        let mut known = self.client.lock();
        let client = match *known {
            Some(client) => client,
            None => {
                let mut client = [0; 16];
                world.fill_random(&mut client)?;
                *known.insert(client)
            }
        };
        Ok(RequestId { client, sequence: self.sequence.fetch_add(1, Ordering::Relaxed) })
    }
}

/// How often a change that met a newer state is decided again before we give up.
const CONFLICTS_MAX: usize = 100;

impl Partition {
    /// Puts the parts together. Reads nothing yet.
    pub fn new(store: Arc<Store>, log: Arc<dyn Log>, world: Arc<dyn World>, settings: Settings) -> Result<Arc<Self>> {
        let tickets = settings.tickets.then(|| Tickets::new(&settings.root_key)).transpose()?;
        Ok(Arc::new(Self {
            store,
            log,
            world,
            settings,
            names: PerProcess::new(Names::default),
            states: RwLock::default(),
            stretching: PerProcess::new(Stretching::default),
            attempts: PerProcess::new(Attempts::default),
            spreads: Mutex::default(),
            tickets,
        }))
    }

    /// Forgets what an application has here: it is idle or gone. Its logins and session objects come back by ticket and capsule.
    pub fn put_aside(&self, scope: Scope) {
        for state in self.states.read().values() {
            self.leave(state, scope);
        }
    }

    /// The ids of all tokens, in the order in which they were made.
    pub fn token_ids(&self) -> Result<Vec<TokenId>> {
        Ok(self.store.tokens()?.into_iter().map(|row| row.id).collect())
    }

    /// Whether keys may be used here. A partition that lacks changes of its group catches up first: one of them may be a revocation.
    ///
    /// Errors: `DeviceError`: it has been cut off for too long, or the group goes on without it.
    pub fn on_duty(&self) -> Result<()> {
        match self.log.standing() {
            Standing::Ordinary | Standing::Isolated { .. } => Ok(()),
            Standing::Behind => self.log.barrier(),
            standing => Err(refuse(Code::DeviceError, format!("this partition uses no key: {standing}"))),
        }
    }

    /// Refuses a client's change at once where no quorum is heard of: the client tries other nodes, and waits for the quorum by itself. One without
    /// a client waits here. Refuses one, too, that may have been made so long ago that its answer is forgotten: its client waits no more.
    fn may_change(&self, origin: Option<&Origin>) -> Result<()> {
        let Some(origin) = origin else { return Ok(()) };
        match self.log.standing() {
            // One that was asleep knows neither how old the request is nor which PINs are good.
            Standing::Behind => self.log.barrier()?,
            standing if !standing.in_contact() => {
                return Err(refuse(Code::DeviceError, format!("this partition takes no change: {standing}")));
            }
            _ => {}
        }
        if origin.since.is_some_and(|since| !is_remembered(since, self.log.mark())) {
            return Err(refuse(Code::DeviceError, "the request is too old to tell whether it was carried out"));
        }
        Ok(())
    }

    /// What took something away, and is applied here, holds everywhere when this returns. A request that comes again waits for the rest only.
    fn spread(&self, origin: Option<&Origin>) -> Result<()> {
        let now = self.world.elapsed();
        let name = origin.and_then(|origin| Some((origin.scope, origin.sequence?)));
        let first = name.map_or(now, |name| {
            let mut spreads = self.spreads.lock();
            if spreads.len() >= SPREADS_MAX {
                spreads.retain(|_, begun| now.saturating_sub(*begun) < SPREAD_KEPT);
            }
            *spreads.entry(name).or_insert(now)
        });
        self.log.spread(now.saturating_sub(first))
    }

    /// Proposes a change that this partition decided on by itself.
    fn propose(&self, change: Change) -> Result<Outcome> {
        self.propose_for(None, change)
    }

    /// Proposes a change that carries out somebody's request: proposed again, it is answered, not applied again.
    fn propose_for(&self, origin: Option<&Origin>, change: Change) -> Result<Outcome> {
        self.may_change(origin)?;
        self.propose_as(origin, origin.and_then(|origin| origin.request(&change)), change)
    }

    /// Proposes under that name, or under one of the partition's own.
    fn propose_as(&self, origin: Option<&Origin>, request: Option<RequestId>, change: Change) -> Result<Outcome> {
        let request = match request {
            Some(request) => request,
            None => self.names.get().next(&*self.world)?,
        };
        let proposal = Proposal { request, change };
        match origin.and_then(|origin| origin.since) {
            Some(since) => self.log.propose_since(proposal, since),
            None => self.log.propose(proposal),
        }
    }

    /// Decides, proposes, and decides again when the facts had changed meanwhile.
    ///
    /// `decide` reads the newest facts and returns the change with what the caller gets once it is done;
    /// `gone` is the error for something that has been destroyed meanwhile.
    fn decide<T>(
        &self,
        origin: Option<&Origin>,
        gone: impl Fn() -> Error,
        mut decide: impl FnMut() -> Result<(Change, T)>,
    ) -> Result<T> {
        for _ in 0..CONFLICTS_MAX {
            let (change, answer) = decide()?;
            match self.propose_for(origin, change)? {
                Outcome::Done => return Ok(answer),
                Outcome::Gone => return Err(gone()),
                _ => continue,
            }
        }
        Err(refuse(Code::FunctionFailed, "the object or token keeps being changed by others: try again"))
    }
}

/// Places for so many at once. Whoever waits asks again every now and then, so that a child of a fork finds no lock held, and a simulation nobody blocked.
struct Admission<const MAX: usize>(AtomicUsize);

/// PINs that are stretched: each takes 19 MiB and a core. Two cover a login that waits behind a slow one; more would let a guesser fill the memory.
type Stretching = Admission<2>;
/// Attempts that count and are not decided: of three partitions together fewer than lock a PIN by default.
type Attempts = Admission<3>;
/// Attempts with the SO's PIN that are delayed. One: in parallel the delay would be none.
type SoTurns = Admission<1>;

/// How often to ask.
const ADMISSION_PAUSE: Duration = Duration::from_millis(1);

impl<const MAX: usize> Default for Admission<MAX> {
    fn default() -> Self {
        Self(AtomicUsize::new(0))
    }
}

impl<const MAX: usize> Admission<MAX> {
    /// Waits for a place, which is taken until what this returns is dropped. Errors: `DeviceError`: there was none for as long as a call may take.
    fn enter(&self, world: &dyn World) -> Result<Place<'_>> {
        self.enter_within(world, Duration::from_secs(CALL_DEADLINE_SECONDS), ADMISSION_PAUSE)
    }

    /// The same for as long as `patience`, asking after each `pause`.
    fn enter_within(&self, world: &dyn World, patience: Duration, pause: Duration) -> Result<Place<'_>> {
        let free = |taken: usize| (taken < MAX).then_some(taken + 1);
        let begun = world.elapsed();
        while self.0.fetch_update(Ordering::AcqRel, Ordering::Relaxed, free).is_err() {
            if world.elapsed().saturating_sub(begun) > patience {
                return Err(refuse(Code::DeviceError, "other logins that cannot be decided now are in the way: try again later"));
            }
            world.sleep(pause);
        }
        Ok(Place(&self.0))
    }
}

/// Gives the place back, also where the work panics.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
