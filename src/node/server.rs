//! One request at a time: bytes in, bytes out. What is remembered between two requests can be lost at any moment; the client brings it
//! back with the next one (ticket, capsules, all parts of a stream).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::events::Events;
use super::metrics::Metrics;
use super::scopes::Scopes;
use super::streams::{Bond, StreamId, Streams};
use super::uses::{digest, hash_of, start, step, whole};
use crate::error::{Code, Error, Result, refuse};
use crate::limits::{FRAME_MAX_BYTES, IDLE_APPLICATION_SECONDS, SERVING_LEASE_MILLISECONDS};
use crate::log::{self, Log};
use crate::object::ObjectId;
use crate::partition::{LocalToken, Made, Origin, Partition};
use crate::secret::Secret;
use crate::token::message::{
    Answer, Apart, Ask, Blob, Duty, Health, Named, Refusal, Reply, Request, Verdict, Who, decode, encode,
};
use crate::token::{Access, Reference, Token, TokenId};
use crate::world::World;

/// Who sends requests over one connection, as the connection proved it.
#[derive(Clone, Debug)]
pub struct Caller {
    /// A certificate's name, or a user of this machine.
    pub name: Arc<str>,
    /// Labels or serial numbers of the tokens that it may see; `None`: all.
    pub tokens: Option<Vec<String>>,
    /// Whether it may remove tokens, for which PKCS#11 has no function and no PIN.
    pub operates: bool,
}

/// What a server says of itself.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Its number in the pool.
    pub node: u64,
    /// Its zone.
    pub zone: String,
}

/// A partition behind the wire.
pub struct Server {
    partition: Arc<Partition>,
    log: Arc<dyn Log>,
    world: Arc<dyn World>,
    standing: Standing,
    scopes: Scopes,
    streams: Streams,
    drains: AtomicBool,
    leader: Box<dyn Fn() -> Option<u64> + Send + Sync>,
    metrics: Metrics,
    events: Events,
}

/// What carrying a request out at once takes at most before it comes to the look at the lease.
const AT_ONCE: Duration = Duration::from_millis(SERVING_LEASE_MILLISECONDS / 4);

/// Why a request was not carried out.
enum Stop {
    /// The C caller is told.
    Refused(Error),
    /// Another partition may do it.
    Elsewhere(String),
    /// The client must bring these along.
    Unknown(Vec<ObjectId>),
    /// It would have to wait, and must not.
    Waits,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        match error.code() {
            // This node's own trouble (disk, quorum, a damaged row), not the caller's mistake.
            Code::DeviceError | Code::DeviceMemory | Code::StoreRefused | Code::HostMemory => Stop::Elsewhere(error.to_string()),
            _ => Stop::Refused(error),
        }
    }
}

/// What came of a request, with a new ticket if it was time for one.
type Answered = std::result::Result<Reply, Stop>;

impl Server {
    /// Puts the parts together; it serves at once.
    pub fn new(
        partition: Arc<Partition>,
        log: Arc<dyn Log>,
        world: Arc<dyn World>,
        standing: Standing,
        leader: Box<dyn Fn() -> Option<u64> + Send + Sync>,
    ) -> Self {
        let (scopes, streams, drains) = (Scopes::default(), Streams::default(), AtomicBool::new(false));
        let (metrics, events) = (Metrics::default(), Events::new(world.now()));
        Self { partition, log, world, standing, scopes, streams, drains, leader, metrics, events }
    }

    /// Answers one request. Total: any bytes get an answer.
    pub fn answer(&self, caller: &Caller, request: &[u8]) -> Secret {
        let begun = self.world.elapsed();
        match decode::<Request>(request) {
            Ok(request) => self.answer_to(caller, &request, begun, true).expect("who may wait is answered"),
            Err(error) => {
                let Refusal { code, told } = Refusal::from(&error);
                let (node, version) = (self.standing.node, env!("CARGO_PKG_VERSION"));
                let told = format!("node {node}, of version {version}: {told}");
                self.encode("undecodable", Verdict::Refused(Refusal { code, told }), None, begun)
            }
        }
    }

    /// The same answer, if nothing has to be waited for: the node holds its lease for a moment longer, has applied what the client has seen, and
    /// neither the log nor another member is needed. `None` otherwise.
    pub fn at_once(&self, caller: &Caller, request: &[u8]) -> Option<Secret> {
        let begun = self.world.elapsed();
        let request = decode::<Request>(request).ok()?;
        let looks_up = request.ask.looks_up();
        let waits = request.ask.changes() || (looks_up && request.mark_is_enough != Some(true));
        let mark = || if looks_up { self.log.shown() } else { self.log.mark() };
        let has_come = || request.mark_in(self.log.epoch()).is_some_and(|awaited| mark() >= awaited);
        let is_ready = || self.log.serves_for(AT_ONCE) && has_come();
        let may_begin = !waits && is_ready() && !self.drains.load(Ordering::Acquire);
        if may_begin { self.answer_to(caller, &request, begun, false) } else { None }
    }

    /// `None`: it would have to wait, and may not.
    fn answer_to(&self, caller: &Caller, request: &Request, begun: Duration, may_wait: bool) -> Option<Secret> {
        let mut ticket = None;
        let verdict = match self.carry_out(caller, request, &mut ticket, may_wait) {
            Err(Stop::Waits) => return None,
            Ok(reply) => Verdict::Done(reply),
            Err(Stop::Refused(error)) => Verdict::Refused(Refusal::from(&error)),
            Err(Stop::Elsewhere(why)) => Verdict::Elsewhere(why),
            Err(Stop::Unknown(ids)) => Verdict::Unknown(ids),
        };
        if let Some(tally) = &request.tally {
            self.metrics.told(&caller.name, tally);
        }
        Some(self.encode(request.ask.verb(), verdict, ticket, begun))
    }

    fn encode(&self, verb: &'static str, verdict: Verdict, ticket: Option<Arc<[u8]>>, begun: Duration) -> Secret {
        self.metrics.answered(verb, &verdict, self.world.elapsed().saturating_sub(begun));
        let ticket = ticket.map(|ticket: Arc<[u8]>| Blob(ticket.to_vec()));
        let isolated = matches!(self.log.standing(), log::Standing::Isolated { .. }).then_some(true);
        sendable(Answer { mark: self.log.mark(), ticket, verdict, isolated, epoch: self.log.epoch() })
    }

    /// From now on clients are sent elsewhere.
    pub fn drain(&self) {
        self.drains.store(true, Ordering::Release);
    }

    /// How the node is.
    pub fn health(&self) -> Health {
        let standing = self.log.standing();
        Health {
            node: self.standing.node,
            zone: self.standing.zone.clone(),
            serves: !self.drains.load(Ordering::Acquire),
            in_contact: standing.in_contact(),
            leader: (self.leader)(),
            applied: self.log.at_hand(),
            duty: Some(match standing {
                log::Standing::Ordinary => Duty::Ordinary,
                log::Standing::Behind => Duty::Behind,
                log::Standing::Isolated { left } => Duty::Isolated(left.as_secs()),
                log::Standing::Stopped => Duty::Stopped,
                log::Standing::Expelled => Duty::Expelled,
            }),
            changes: Some(self.log.mark()),
        }
    }

    /// What was counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What happened.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Tells that something happened.
    pub fn tell(&self, kind: &'static str, told: String) {
        self.events.add(self.world.now(), kind, told);
    }

    /// Applications heard of lately, and operations in parts.
    pub fn load(&self) -> (usize, usize) {
        (self.scopes.len(), self.streams.len())
    }

    /// Puts aside what idle applications have here. To be called now and then.
    pub fn tidy(&self) {
        let (now, idle) = (self.world.now(), Duration::from_secs(IDLE_APPLICATION_SECONDS));
        self.streams.drop_idle(now, idle);
        for scope in self.scopes.take_idle(now, idle) {
            self.partition.put_aside(scope);
        }
    }

    fn carry_out(&self, caller: &Caller, request: &Request, ticket: &mut Option<Arc<[u8]>>, may_wait: bool) -> Answered {
        if let Ask::Health = request.ask {
            return Ok(Reply::Health(self.health()));
        }
        if self.drains.load(Ordering::Acquire) {
            return Err(Stop::Elsewhere(format!("node {} is being stopped", self.standing.node)));
        }
        self.scopes.touch(request.who.scope, self.world.now());
        self.may_answer(request)?;
        self.come_to(request)?;
        let Request { sequence, since, use_number, ref held, .. } = *request;
        let (scope, client, held) = (request.who.scope, caller.name.clone(), held.clone());
        let origin = Origin { scope, sequence, since, use_number, client, held };
        let Some(id) = request.token else { return self.all_tokens(caller, &origin, &request.ask) };
        self.may_see(caller, id)?;
        let token = self.partition.token_on_behalf(id, origin.clone());
        let access = Access::from(&request.who);
        if !matches!(request.ask, Ask::Logout | Ask::Leave | Ask::Forget { .. } | Ask::Inherit { .. }) {
            let new_pin = if let Ask::SetPin { new, .. } = &request.ask { Some(new) } else { None };
            *ticket = token.admit(&access, new_pin)?;
        }
        self.session_objects(&token, &access, request)?;
        let refused = match self.run(caller, &token, &access, request) {
            Err(Stop::Refused(error)) => error,
            other => return other,
        };
        let misses_an_object = names_no_object(&refused);
        if sequence.is_none() && !misses_an_object {
            return Err(Stop::Refused(refused));
        }
        if !may_wait {
            return Err(Stop::Waits);
        }
        // What was made a moment ago is not seen by reads yet: the object that is missed, or this request's own, when it came before.
        let is_seen_since = self.log.show()?;
        // It may have been carried out in between, by another partition: then the second look finds the answer.
        if self.partition.carried_out(&origin)? {
            return self.run(caller, &token, &access, request).map_err(|second| match second {
                Stop::Refused(_) => Stop::Refused(refused),
                other => other,
            });
        }
        if !misses_an_object {
            return Err(Stop::Refused(refused));
        }
        if is_seen_since {
            match self.run(caller, &token, &access, request) {
                Err(Stop::Refused(error)) if names_no_object(&error) => {}
                other => return other,
            }
        }
        // It may have been made elsewhere: only who has everything may say that there is none.
        self.catch_up()?;
        self.run(caller, &token, &access, request)
    }

    /// A node that is cut off sends clients elsewhere with what another one does better, if they know of one.
    fn may_answer(&self, request: &Request) -> std::result::Result<(), Stop> {
        let standing = self.log.standing();
        let knows_better = request.alone == Some(false) && request.ask.looks_up();
        match standing {
            log::Standing::Ordinary | log::Standing::Behind => Ok(()),
            log::Standing::Isolated { .. } | log::Standing::Stopped if !knows_better => Ok(()),
            _ => Err(Stop::Elsewhere(format!("node {} of zone {}: {standing}", self.standing.node, self.standing.zone))),
        }
    }

    /// Has here what the request's client has seen, and what it must see.
    fn come_to(&self, request: &Request) -> Result<()> {
        // Nobody knows how much of what it has seen is in this group: it is shown all that is.
        let Some(mark) = request.mark_in(self.log.epoch()) else { return self.catch_up() };
        self.log.reach(mark)?;
        match (request.ask.looks_up(), request.mark_is_enough) {
            (false, _) => Ok(()),
            (true, Some(true)) if self.log.shown() >= mark => Ok(()),
            (true, Some(true)) => self.log.show().map(drop),
            (true, _) => self.catch_up(),
        }
    }

    /// Reads see all that was committed before now. A node that is cut off answers from what it has: where the majority is dead,
    /// nothing can have changed.
    fn catch_up(&self) -> Result<()> {
        if !self.log.standing().in_contact() {
            return self.log.show().map(drop);
        }
        self.log.barrier()
    }

    /// Errors: `TokenNotPresent` for a token that the caller may not see.
    fn may_see(&self, caller: &Caller, id: TokenId) -> Result<()> {
        if let Some(allowed) = &caller.tokens {
            let description = self.partition.token(id).describe()?;
            let label = String::from_utf8_lossy(&description.label).trim_end().to_string();
            let serial = String::from_utf8_lossy(&description.serial).into_owned();
            if !allowed.iter().any(|name| *name == label || *name == serial) {
                return Err(refuse(Code::TokenNotPresent, format!("{} may not see this token", caller.name)));
            }
        }
        Ok(())
    }

    fn all_tokens(&self, caller: &Caller, origin: &Origin, ask: &Ask) -> Answered {
        match ask {
            Ask::Tokens => {
                let all = self.partition.token_ids()?;
                Ok(Reply::Tokens(all.into_iter().filter(|id| self.may_see(caller, *id).is_ok()).collect()))
            }
            Ask::InitToken { existing, so_pin, label } => {
                match existing {
                    Some(id) => self.may_see(caller, *id)?,
                    None if caller.tokens.is_some() => {
                        let told = format!("{} may see named tokens only, and make none", caller.name);
                        return Err(refuse(Code::FunctionRejected, told).into());
                    }
                    None => {}
                }
                Ok(Reply::Token(self.partition.init_token_for(origin, *existing, so_pin, *label)?))
            }
            Ask::DeleteToken { .. } if !caller.operates => {
                let told = format!("{} is no operator: only one removes a token with all its keys", caller.name);
                Err(refuse(Code::FunctionRejected, told).into())
            }
            Ask::DeleteToken { token } => {
                self.may_see(caller, *token)?;
                self.partition.remove_token(Some(origin), *token)?;
                Ok(Reply::Nothing)
            }
            _ => Err(refuse(Code::ArgumentsBad, "the request names no token").into()),
        }
    }

    /// Brings the client's session objects here to where the client knows them.
    fn session_objects(&self, token: &LocalToken, access: &Access, request: &Request) -> std::result::Result<(), Stop> {
        if !request.capsules.is_empty() {
            // What does not open now never will: it is gone, and the verbs say so.
            return Ok(token.revive(access, &request.capsules)?);
        }
        let unknown = token.unknown(access.scope, &request.held);
        if unknown.is_empty() { Ok(()) } else { Err(Stop::Unknown(unknown)) }
    }

    fn run(&self, caller: &Caller, token: &LocalToken, access: &Access, request: &Request) -> Answered {
        let one = |reference: Reference| -> Answered { Ok(Reply::Objects(vec![named(token, access, reference)?])) };
        Ok(match &request.ask {
            Ask::Describe => Reply::Described(token.describe()?.into()),
            Ask::Login { role, pin } => Reply::Who(Who::from(&token.login(&access.scope, *role, pin)?)),
            Ask::Logout => {
                token.logout(access)?;
                self.streams.drop_of_login(access.scope, &caller.name, access.login);
                Reply::Nothing
            }
            Ask::Authenticate { pin } => Reply::Permit(Blob(token.authenticate(access, pin)?.proof().to_vec())),
            Ask::SetPin { old, new } => {
                token.set_pin(access, old, new)?;
                self.who_after_pin_change(token, access)?
            }
            Ask::InitPin { new } => {
                token.init_pin(access, new)?;
                self.who_after_pin_change(token, access)?
            }
            Ask::Find { template } => {
                let found = token.find(access, template)?;
                Reply::Objects(found.into_iter().map(Named::from).collect())
            }
            Ask::Read { id, wanted } => Reply::Readings(token.read(access, *id, wanted)?.into_iter().map(Into::into).collect()),
            Ask::Size { id } => Reply::Number(token.size(access, *id)?),
            Ask::Create { template } => return one(token.create(access, template.duplicate())?),
            Ask::Copy { id, changes } => return one(token.copy(access, *id, changes.duplicate())?),
            Ask::Update { id, changes } => return one(token.update(access, *id, changes.duplicate())?),
            Ask::Destroy { id } => {
                token.destroy(access, *id)?;
                Reply::Nothing
            }
            Ask::Forget { ids } => {
                token.forget(&access.scope, ids);
                Reply::Nothing
            }
            Ask::Leave => {
                self.streams.drop_of(access.scope, &caller.name);
                token.leave(&access.scope);
                Reply::Nothing
            }
            Ask::Generate { mechanism, template } => return one(token.generate(access, mechanism, template.duplicate())?),
            Ask::GeneratePair { mechanism, public, private } => {
                let (public, private) = token.generate_pair(access, mechanism, public.duplicate(), private.duplicate())?;
                Reply::Objects(vec![named(token, access, public)?, named(token, access, private)?])
            }
            Ask::Wrap { mechanism, wrapping, key } => Reply::Bytes(Secret::new(token.wrap(access, mechanism, *wrapping, *key)?)),
            Ask::Unwrap { mechanism, unwrapping, wrapped, template } => {
                return one(token.unwrap(access, mechanism, *unwrapping, wrapped, template.duplicate())?);
            }
            Ask::Derive { mechanism, base, template } => {
                return one(token.derive(access, mechanism, *base, template.duplicate())?);
            }
            Ask::Start { what } => Reply::Started(token.begin(access, what)?),
            Ask::Run { what, input, hashed, signature } => {
                Reply::Bytes(whole(token, access, what, input.expose(), *hashed, signature)?)
            }
            Ask::Part { .. } => return self.part(caller, token, access, request),
            Ask::Drop { stream } => {
                self.streams.drop_one((access.scope, *stream), &caller.name);
                Reply::Nothing
            }
            Ask::Digest { mechanism, state, parts } => Reply::Bytes(digest(token, access, mechanism, state.as_ref(), parts)?),
            Ask::Inherit { from, capsules } => token.inherit(access, *from, capsules)?,
            Ask::Make { makings } => return made(token.make(access, makings)?),
            Ask::Tokens | Ask::InitToken { .. } | Ask::DeleteToken { .. } | Ask::Health => {
                return Err(refuse(Code::ArgumentsBad, "the request is about all tokens, and names one").into());
            }
        })
    }

    /// The client's own login outlives its change of the PIN: with a ticket of the new generation.
    fn who_after_pin_change(&self, token: &LocalToken, access: &Access) -> Result<Reply> {
        Ok(match token.ticket(access)? {
            Some(ticket) => Reply::Who(Who { ticket: Blob(ticket.to_vec()), ..Who::from(access) }),
            None => Reply::Nothing,
        })
    }

    /// One part of an operation whose state is here.
    fn part(&self, caller: &Caller, token: &LocalToken, access: &Access, request: &Request) -> Answered {
        let Request { token: Some(of), ask: Ask::Part { what, stream, after, input, ends, signature }, .. } = request else {
            return Ok(Reply::Nothing);
        };
        let id: StreamId = (access.scope, *stream);
        let bond = Bond { client: caller.name.clone(), token: *of, login: access.login, what: hash_of(what, &[]) };
        let running = match *after {
            0 => start(token, access, what, stream, input.expose())?,
            after => {
                // What was begun before may be revoked now, or the node have been cut off for too long.
                token.goes_on(access, what)?;
                self.streams.take(id, after, &bond).ok_or(Stop::Unknown(Vec::new()))?
            }
        };
        let (running, output) = step(running, input.expose(), *ends, signature)?;
        if let Some(running) = running {
            self.streams.keep(id, bond, running, after + 1, self.world.now())?;
        }
        Ok(Reply::Bytes(output))
    }
}

/// The answer as bytes. One that no frame takes would end the connection, here and at every other node: it is refused in its place.
fn sendable(answer: Answer) -> Secret {
    let encoded = encode(&answer);
    if encoded.len() <= FRAME_MAX_BYTES {
        return encoded;
    }
    let told = format!("the answer has {} bytes; at most {FRAME_MAX_BYTES} come from a node of a pool", encoded.len());
    let refused = Refusal::from(&refuse(Code::PastLimit, told));
    encode(&Answer { verdict: Verdict::Refused(refused), ..answer })
}

/// What several calls are told: those that are refused, if any are. A node's own trouble is nobody's refusal.
fn made(made: Made) -> Answered {
    let refused = match made {
        Made::All(references) => return Ok(Reply::Objects(references.into_iter().map(Named::from).collect())),
        Made::Refused(refused) => refused,
    };
    let told = refused.into_iter().map(|(number, error)| match Stop::from(error) {
        Stop::Refused(error) => Ok(Apart { number, refusal: Refusal::from(&error) }),
        stop => Err(stop),
    });
    Ok(Reply::Apart(told.collect::<std::result::Result<_, _>>()?))
}

/// Whether an object was asked for that is not there.
fn names_no_object(error: &Error) -> bool {
    matches!(
        error.code(),
        Code::ObjectHandleInvalid | Code::KeyHandleInvalid | Code::WrappingKeyHandleInvalid | Code::UnwrappingKeyHandleInvalid
    )
}

fn named(token: &LocalToken, access: &Access, reference: Reference) -> Result<Named> {
    Ok(Named { capsule: token.capsule(access, reference)?, ..Named::from(reference) })
}
