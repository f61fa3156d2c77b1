//! The loop that gets a request answered.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::belongings::Belongings;
use super::budget::Budget;
use super::glance::Glances;
use super::make::Makings;
use super::numbers::Number;
use super::pace::Work;
use super::race::{Entrant, Finish, Lost, Race, one_by_one};
use super::retry::{CALL_DEADLINE, CONNECTING, CONNECTING_TO_CHANGE, SUCCESSION, connecting_patience, may_race, patience, pause};
use super::route::candidates;
use super::seen::Mark;
use super::view::{Place, View};
use crate::error::{Code, Error, Result, refuse};
use crate::faults::{self, Fault};
use crate::limits::FRAME_MAX_BYTES;
use crate::object::ObjectId;
use crate::secret::Secret;
use crate::sys::process::PerProcess;
use crate::token::message::{Answer, Ask, Blob, Held, Reply, Request, Use, Verb, Verdict, Who, decode, encode};
use crate::token::{Access, TokenId};
use crate::wire::MINOR;
use crate::world::World;

/// Why a node gave no answer. Changes are named, so it does not matter whether the request has reached it.
pub struct Failure(pub Error);

/// How bytes get to a node and back.
pub trait Link: Send + Sync {
    /// Sends a request to a node of the view (by its number there) and waits for its answer, at most so long.
    fn call(&self, node: usize, request: &[u8], patience: Duration) -> std::result::Result<Secret, Failure>;

    /// Sends a request that may be carried out by several nodes to the first, to the next when that is silent, and so on, and takes the answer
    /// that comes first. A link that can wait for one node only asks one by one.
    fn race(&self, race: &Race<'_>, request: &[u8]) -> Finish {
        one_by_one(race, |node, patience| self.call(node, request, patience))
    }

    /// All nodes that there are now, each by its number, if that has changed since it was asked last. A number is that of the same node for ever.
    fn changed(&self) -> Option<Vec<(usize, Place)>> {
        None
    }

    /// The newest set of messages that a node speaks; `None`: it is not known yet. A link without hellos is to nodes of this version.
    fn minor(&self, node: usize) -> Option<u32> {
        let _ = node;
        Some(MINOR)
    }
}

/// A pool as one application sees it.
pub struct Pool {
    pub(super) view: View,
    pub(super) link: Box<dyn Link>,
    pub(super) world: Arc<dyn World>,
    pub(super) belongings: Belongings,
    /// A forked child begins without any: those that were under way are its parent's.
    pub(super) makings: PerProcess<Makings>,
    pub(super) glances: PerProcess<Glances>,
    budget: Budget,
}

/// One call, before it is numbered and addressed.
pub(super) struct Call<'a> {
    pub token: Option<TokenId>,
    pub access: &'a Access,
    pub ask: Ask,
    /// Objects that are named in it.
    pub names: &'a [ObjectId],
    /// The node to ask first.
    pub prefer: Option<usize>,
    /// Names one use of a key, where a nonce must not be spent twice.
    pub use_number: Option<u64>,
}

impl<'a> Call<'a> {
    /// A call that may go to any node.
    pub fn new(token: Option<TokenId>, access: &'a Access, ask: Ask, names: &'a [ObjectId]) -> Self {
        Self { token, access, ask, names, prefer: None, use_number: None }
    }
}

/// What a call gave, and which node gave it.
pub(super) enum Outcome {
    Done(Reply, usize),
    /// The node does not have the stream's state.
    StreamLost(usize),
}

impl Pool {
    /// Nothing is sent yet.
    pub fn new(view: View, link: Box<dyn Link>, world: Arc<dyn World>) -> Arc<Self> {
        let mut turn = [0; 2];
        // Without randomness all applications begin with the same node of their zone.
        let _ = world.fill_random(&mut turn);
        view.take_turn(usize::from(u16::from_ne_bytes(turn)));
        let (belongings, makings, budget) = (Belongings::default(), PerProcess::new(Makings::default), Budget::default());
        Arc::new(Self { view, link, world, belongings, makings, glances: PerProcess::new(Glances::default), budget })
    }

    /// Gets a request answered that is not a part of a stream.
    pub(super) fn ask(&self, call: Call<'_>) -> Result<Reply> {
        match self.send(call)? {
            Outcome::Done(reply, _) => Ok(reply),
            Outcome::StreamLost(node) => Err(self.odd(node)),
        }
    }

    /// A node's answer is none that the request can have.
    pub(super) fn odd(&self, node: usize) -> Error {
        let name = &self.view.node(node).place.name;
        refuse(Code::DeviceError, format!("node {name} gave an answer that the request cannot have"))
    }

    pub(super) fn send(&self, call: Call<'_>) -> Result<Outcome> {
        if let Some(token) = call.token {
            self.inherit(token, call.access)?;
        }
        let prefer = call.prefer;
        self.deliver(self.complete(call)?, prefer)
    }

    /// Gets a complete request answered; `prefer` is asked first.
    pub(super) fn deliver(&self, mut request: Request, prefer: Option<usize>) -> Result<Outcome> {
        let mut number = self.number(&request.ask)?;
        let deadline = self.world.elapsed() + CALL_DEADLINE;
        self.deliver_as(&mut request, &mut number, prefer, deadline)
    }

    /// A number for what changes something.
    pub(super) fn number(&self, ask: &Ask) -> Result<Option<Number<'_>>> {
        if !ask.changes() {
            return Ok(None);
        }
        self.belongings.numbers.take(CALL_DEADLINE).map(Some).ok_or_else(|| self.gave_up(ask, None))
    }

    /// The same under a number that it has already, by a moment of the application's clock.
    pub(super) fn deliver_as<'n>(
        &'n self,
        request: &mut Request,
        number: &mut Option<Number<'n>>,
        prefer: Option<usize>,
        deadline: Duration,
    ) -> Result<Outcome> {
        request.sequence = number.as_ref().map(Number::value);
        if number.is_some() && request.since.is_none() && !self.is_of_session_only(request) {
            let changes = self.changes_by_now(deadline);
            request.since = Some(changes.map_err(|why| self.gave_up(&request.ask, Some(why)))?);
        }
        let mut last = None;
        for round in 0.. {
            self.glance(self.world.elapsed());
            self.probe_one(&request.ask, deadline);
            let mut order = candidates(&self.view, prefer, self.world.elapsed());
            let mut older = 0;
            while !order.is_empty() {
                if last.is_some() {
                    self.world.sleep(self.budget.wait(self.world.elapsed()));
                }
                let Some(left) = deadline.checked_sub(self.world.elapsed()).filter(|left| !left.is_zero()) else {
                    return Err(self.gave_up(&request.ask, last));
                };
                request.tally = self.belongings.tally(self.world.elapsed());
                let (node, at) = match may_race(&request.ask) && !self.is_of_session(request) {
                    true => self.race(&mut order, request, round, left),
                    false => {
                        let patience = self.patience_of_one(request, round);
                        let node = order.remove(0);
                        let patience = self.longer_if_slow(node, patience).min(left);
                        (node, self.at(node, request, patience))
                    }
                };
                match at {
                    At::Answered(reply) => return Ok(Outcome::Done(reply, node)),
                    At::Refused(error) => return Err(error),
                    At::StreamLost => return Ok(Outcome::StreamLost(node)),
                    At::Older(why) if older + 1 >= self.view.nodes().count() => return Err(why),
                    At::Elsewhere(why) | At::Older(why) => {
                        older += usize::from(why.code() == Code::FunctionNotSupported);
                        self.belongings.untold(request.tally.take(), last.is_none());
                        last = Some(why);
                        if number.is_some() && faults::on(Fault::RetriesAreRenumbered) {
                            *number = self.belongings.numbers.take(CALL_DEADLINE);
                            request.sequence = number.as_ref().map(Number::value);
                        }
                    }
                }
            }
            self.world.sleep(pause(round, self.dice()));
        }
        Err(self.gave_up(&request.ask, last))
    }

    /// Several nodes, each while those before are silent. Takes those out of the order that were asked.
    fn race(&self, order: &mut Vec<usize>, request: &mut Request, round: u32, left: Duration) -> (usize, At) {
        // Each node lacks others.
        request.capsules.clear();
        request.alone = Some(self.view.are_alone(order));
        let encoded = match framed(request) {
            Ok(encoded) => encoded,
            Err(error) => return (order[0], At::Refused(error)),
        };
        let (first, begun) = (order[0], self.world.elapsed());
        let pace = |node: usize| &self.view.node(node).pace;
        let usual = patience(&request.ask, round);
        // What is not measured waits for the log: the next one is asked when a healthy node would have answered.
        let work = Work::of(&request.ask);
        let head_start = |node: usize| work.map_or(usual, |work| pace(node).head_start(work));
        let connecting = work.map_or(CONNECTING_TO_CHANGE, |_| CONNECTING);
        // Work that takes long is not begun anew for that.
        let patience = usual.max(head_start(first) * 4).min(left);
        let entrant = |node: &usize| Entrant {
            node: *node,
            head_start: head_start(*node),
            connecting: connecting_patience(round, connecting, pace(*node).reach(begun)).min(patience),
        };
        let entrants: Vec<Entrant> = order.iter().map(entrant).collect();
        let may_ask = || self.budget.spare(self.world.elapsed());
        let last = work.map_or(SUCCESSION, |_| patience);
        let race = Race { entrants: &entrants, patience, last, may_ask: &may_ask, is_final: &is_final };
        let Finish { won, lost } = self.link.race(&race, encoded.expose());
        let mut why = refuse(Code::DeviceError, "no node answered in time");
        for (node, how) in lost {
            order.retain(|other| *other != node);
            match how {
                Lost::Failed(error) => {
                    self.failed(node);
                    why = error;
                }
                Lost::Silent(time) => {
                    let had_its_time = time >= head_start(node);
                    if let Some(work) = work.filter(|_| had_its_time) {
                        pace(node).took(work, time, self.world.elapsed());
                    }
                    self.was_silent(node, had_its_time, begun, won.is_some());
                }
            }
        }
        let Some((node, answer, asked_after)) = won else { return (first, At::Elsewhere(why)) };
        order.retain(|other| *other != node);
        self.answered(node, &request.ask, begun + asked_after);
        if node != first {
            self.belongings.helped();
        }
        match self.read(node, request, &answer) {
            Ok(at) => (node, at),
            Err(lacks) => {
                let left = left.saturating_sub(self.world.elapsed().saturating_sub(begun));
                (node, self.again(node, request, work.map_or(usual, |_| patience).min(left), lacks))
            }
        }
    }

    /// A node was silent; `overtaken`: until another one answered.
    fn was_silent(&self, node: usize, had_its_time: bool, begun: Duration, overtaken: bool) {
        let (of_view, now) = (&self.view.node(node), self.world.elapsed());
        match overtaken {
            // It answered others meanwhile: it is busy with this request, not gone.
            _ if of_view.was_heard_since(begun) => {}
            false => self.failed(node),
            true if had_its_time => {
                let jitter = self.dice();
                let mut health = of_view.health.lock();
                *health = health.overtaken(now, jitter);
            }
            true => {}
        }
    }

    /// A node has answered what it was asked at `begun`.
    pub(super) fn answered(&self, node: usize, ask: &Ask, begun: Duration) {
        let (of_view, now) = (&self.view.node(node), self.world.elapsed());
        of_view.hear(now);
        self.budget.earn();
        if let Some(work) = Work::of(ask) {
            of_view.pace.took(work, now.saturating_sub(begun), now);
        }
    }

    fn gave_up(&self, ask: &Ask, last: Option<Error>) -> Error {
        self.belongings.failed(ask.calls());
        let told = format!("no node of the pool could answer within {} s", CALL_DEADLINE.as_secs());
        match last {
            Some(cause) => Error::new(Code::DeviceError, told).because(cause),
            None => Error::new(Code::DeviceError, told),
        }
    }

    /// The request, so that any node can carry it out; not numbered yet. Errors: `RandomNoRng`.
    pub(super) fn complete(&self, call: Call<'_>) -> Result<Request> {
        let held: Vec<Held> = match (call.token, &call.ask) {
            (Some(token), Ask::Find { .. }) => self.belongings.all_held(token),
            (Some(token), _) => self.belongings.held(token, call.names),
            (None, _) => Vec::new(),
        };
        let (scope, proof) = (self.scope(call.access)?, self.belongings.proof(call.access));
        let mark = match call.ask.uses_a_key() {
            true => self.belongings.seen.mark_of(call.names).or_later(proof.mark),
            false => self.belongings.seen.mark(),
        };
        let ticket = Blob(proof.ticket.to_vec());
        let login = self.belongings.bound(call.access).map(|bound| bound.login);
        let who = Who { scope, login, ticket, ..Who::from(call.access) };
        let mark_is_enough = self.view.mark_is_enough.then_some(true);
        let use_number = call.use_number;
        let Mark { changes, epoch } = mark;
        Ok(Request { held, use_number, mark_is_enough, epoch, ..Request::new(call.token, who, changes, call.ask) })
    }

    /// One node.
    fn at(&self, node: usize, request: &mut Request, patience: Duration) -> At {
        // Each node lacks others.
        request.capsules.clear();
        request.alone = Some(self.view.is_alone(node));
        match self.exchange(node, request, patience) {
            Ok(at) => at,
            Err(lacks) => self.again(node, request, patience, lacks),
        }
    }

    /// The same node, with what it lacks: in the request itself if that is little, in requests of their own before it if it is much.
    fn again(&self, node: usize, request: &mut Request, patience: Duration, mut lacks: Vec<ObjectId>) -> At {
        for is_last in [false, true] {
            let Some(token) = request.token else { return At::Elsewhere(self.odd(node)) };
            let mut pieces = self.belongings.capsules(token, &lacks);
            // Another thread may have destroyed some meanwhile: nobody can bring those.
            let lacked: HashSet<ObjectId> = lacks.into_iter().collect();
            request.held.retain(|held| !lacked.contains(&held.id) || self.belongings.is_held(token, held.id));
            // Who says after much was brought that it lacks some was started anew, or has some that do not open: the latter are gone, and the verbs say so.
            if is_last || pieces.len() <= 1 {
                request.capsules = pieces.pop().unwrap_or_default();
            }
            for capsules in pieces {
                // Nothing is asked for: objects that come along are taken in by every verb.
                let mut brought = Request::new(Some(token), request.who.clone(), request.mark, Ask::Drop { stream: [0; 16] });
                brought.capsules = capsules;
                (brought.epoch, brought.alone) = (request.epoch, request.alone);
                match self.exchange(node, &mut brought, patience) {
                    Ok(At::Answered(_)) => {}
                    Ok(at) => return at,
                    Err(_) => return At::Elsewhere(self.odd(node)),
                }
            }
            match self.exchange(node, request, patience) {
                Ok(at) => return at,
                Err(more) if request.capsules.is_empty() => lacks = more,
                Err(_) => return At::Elsewhere(self.odd(node)),
            }
        }
        At::Elsewhere(self.odd(node))
    }

    /// One request to one node, and what its answer means. Error: the objects that the node lacks.
    fn exchange(&self, node: usize, request: &mut Request, patience: Duration) -> std::result::Result<At, Vec<ObjectId>> {
        let encoded = match framed(request) {
            Ok(encoded) => encoded,
            Err(error) => return Ok(At::Refused(error)),
        };
        let begun = self.world.elapsed();
        let answer = match self.link.call(node, encoded.expose(), patience) {
            Ok(answer) => answer,
            Err(Failure(error)) => {
                // So short a silence may be work that takes longer.
                let is_silence = self.world.elapsed().saturating_sub(begun) >= patience;
                if is_silence && self.is_quick_of_session(request) {
                    self.was_silent(node, true, begun, true);
                } else {
                    self.failed(node);
                }
                return Ok(At::Elsewhere(error));
            }
        };
        self.answered(node, &request.ask, begun);
        self.read(node, request, &answer)
    }

    /// What an answer means. Error: the objects that the node lacks, to be asked again with them.
    pub(super) fn read(&self, node: usize, request: &mut Request, answer: &Secret) -> std::result::Result<At, Vec<ObjectId>> {
        let Answer { mark, ticket, verdict, isolated, epoch } = match decode(answer.expose()) {
            Ok(answer) => answer,
            Err(error) => {
                self.failed(node);
                return Ok(At::Elsewhere(error));
            }
        };
        // The node has counted it: another one must not count it again.
        request.tally = None;
        if isolated == Some(true) {
            self.view.node(node).told_isolated(self.world.elapsed());
        }
        let mark = Mark { changes: mark, epoch };
        // Who sends us elsewhere has shown us nothing, and may be of a group that was given up.
        if !matches!(verdict, Verdict::Elsewhere(_)) {
            self.belongings.seen.saw(mark);
            self.view.node(node).did(self.world.elapsed());
        }
        if let (Some(ticket), Some(login)) = (ticket, request.who.login) {
            self.belongings.keep_ticket(login, &request.who.ticket, ticket);
        }
        Ok(match verdict {
            Verdict::Done(reply) => {
                match request.ask {
                    Ask::Find { .. } => self.note_found(&reply, mark),
                    _ if request.ask.changes() => self.note_change(&request.ask, &reply, mark),
                    _ => {}
                }
                At::Answered(reply)
            }
            Verdict::Refused(refusal) => match Error::from(refusal) {
                error if error.code() == Code::FunctionNotSupported => At::Older(error),
                error => At::Refused(error),
            },
            Verdict::Elsewhere(why) => {
                self.failed(node);
                At::Elsewhere(refuse(Code::DeviceError, why))
            }
            Verdict::Unknown(ids) if ids.is_empty() => At::StreamLost,
            Verdict::Unknown(ids) => return Err(ids),
        })
    }

    /// Remembers what must be applied where a changed object is used.
    fn note_change(&self, ask: &Ask, reply: &Reply, mark: Mark) {
        if came_of_the_log(ask, reply) {
            self.note_all_heard();
        }
        if let Ask::Update { id, .. } | Ask::Destroy { id } = ask {
            self.belongings.seen.changed(*id, mark);
            self.belongings.forget_begun();
        }
        if let (Ask::Login { .. } | Ask::SetPin { .. } | Ask::InitPin { .. }, Reply::Who(who)) = (ask, reply)
            && let Some(login) = who.login
        {
            self.belongings.keep_proof(login, &who.ticket, mark);
        }
        if let Reply::Objects(objects) = reply {
            for object in objects.iter().filter(|object| object.token) {
                self.belongings.seen.changed(object.id, mark);
            }
        }
    }

    /// Remembers that objects were seen at this mark, so that they are used only where they are.
    fn note_found(&self, reply: &Reply, mark: Mark) {
        if let Reply::Objects(objects) = reply {
            self.belongings.seen.found(objects.iter().filter(|object| object.token).map(|object| object.id), mark);
        }
    }

    pub(super) fn failed(&self, node: usize) {
        let (now, jitter) = (self.world.elapsed(), self.dice());
        self.view.node(node).fail(now, jitter);
    }

    pub(super) fn dice(&self) -> u8 {
        let mut byte = [0];
        // Without randomness there is no jitter, which only costs evenness.
        let _ = self.world.fill_random(&mut byte);
        byte[0]
    }
}

/// Whether the answer shows that the log has taken the change just now: those of session objects are a node's own.
fn came_of_the_log(ask: &Ask, reply: &Reply) -> bool {
    match reply {
        Reply::Objects(objects) => objects.iter().any(|object| object.token),
        Reply::Who(_) | Reply::Permit(_) | Reply::Token(_) => true,
        _ => matches!(ask, Ask::SetPin { .. } | Ask::InitPin { .. } | Ask::DeleteToken { .. }),
    }
}

/// Whether a node does not send elsewhere. What cannot be read is no answer where answers are read.
fn is_final(answer: &Secret) -> bool {
    decode::<Answer>(answer.expose()).map_or(true, |answer| !matches!(answer.verdict, Verdict::Elsewhere(_)))
}

/// The request as it is sent. Errors: it is longer than a frame, which no node takes: as the call says that its input is too long, or `PastLimit`.
pub(super) fn framed(request: &Request) -> Result<Secret> {
    let encoded = encode(request);
    if encoded.len() <= FRAME_MAX_BYTES {
        return Ok(encoded);
    }
    let code = match &request.ask {
        Ask::Run { what: Use { verb: Verb::Decrypt, .. }, .. } => Code::EncryptedDataLenRange,
        Ask::Run { .. } | Ask::Part { .. } | Ask::Digest { .. } => Code::DataLenRange,
        Ask::Unwrap { .. } => Code::WrappedKeyLenRange,
        _ => Code::PastLimit,
    };
    Err(refuse(code, format!("the request has {} bytes; at most {FRAME_MAX_BYTES} go to a node of a pool", encoded.len())))
}

/// What came of asking one node.
pub(super) enum At {
    Answered(Reply),
    Refused(Error),
    StreamLost,
    Elsewhere(Error),
    /// The node does not know what is asked for; one that has been upgraded may.
    Older(Error),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ck::MechanismType;
    use crate::mechanism::{Mechanism, Params};
    use crate::pool::view::Place;
    use crate::token::message::{Health, Use, Verb};
    use crate::token::{LoginId, Role, Scope};
    use crate::world::Real;

    /// A node that has applied so many changes, renews a ticket with each answer, and keeps what it was asked last: the mark and the ticket.
    #[derive(Default)]
    struct Node(parking_lot::Mutex<(u64, u64, Vec<u8>)>);

    impl Link for Arc<Node> {
        fn call(&self, _node: usize, request: &[u8], _patience: Duration) -> std::result::Result<Secret, Failure> {
            let request: Request = decode(request).unwrap();
            let mut it = self.0.lock();
            let mark = it.0;
            (it.1, it.2) = (request.mark, request.who.ticket.0.clone());
            let ticket = |what: &str| Blob(format!("{what} {mark}").into_bytes());
            let who = Who { login: Some(LoginId([5; 16])), role: Some(Role::User), ticket: ticket("proven"), ..request.who };
            let reply = match request.ask {
                Ask::Login { .. } | Ask::SetPin { .. } => Reply::Who(who),
                Ask::Health => Reply::Health(Health {
                    node: 0,
                    zone: String::new(),
                    serves: true,
                    in_contact: true,
                    leader: None,
                    applied: mark,
                    duty: None,
                    changes: None,
                }),
                _ => Reply::Nothing,
            };
            Ok(encode(&Answer {
                mark,
                ticket: Some(ticket("renewed")),
                verdict: Verdict::Done(reply),
                isolated: None,
                epoch: None,
            }))
        }
    }

    #[test]
    fn a_key_is_used_where_the_login_is_known_to_be_good_and_waits_for_nothing_else() {
        let node = Arc::new(Node::default());
        let view = View::new("a".to_string(), vec![Place { zone: "a".to_string(), name: String::new() }]);
        let pool = Pool::new(view, Box::new(node.clone()), Arc::new(Real));
        let (token, key) = (TokenId([1; 16]), ObjectId([2; 16]));
        let ask = |access: &Access, mark: u64, ask: Ask| {
            node.0.lock().0 = mark;
            pool.ask(Call::new(Some(token), access, ask, &[key])).unwrap()
        };
        let pin = Secret::default;
        let public = Access::public(Scope([7; 16]), false);
        let Reply::Who(who) = ask(&public, 700, Ask::Login { role: Role::User, pin: pin() }) else { panic!("a login") };
        let user = Access::from(&who);
        let sign = || Use {
            verb: Verb::Sign,
            mechanism: Mechanism { kind: MechanismType::ECDSA, params: Params::None },
            key,
            permit: Blob::default(),
        };
        let used = |access: &Access, now| {
            ask(access, now, Ask::Start { what: sign() });
            let (_, mark, ticket) = node.0.lock().clone();
            (mark, String::from_utf8(ticket).unwrap())
        };
        assert_eq!(used(&user, 800), (700, "proven 700".to_string()));
        assert_eq!(used(&user, 900), (700, "renewed 800".to_string()), "a renewal is no change");
        ask(&user, 1000, Ask::SetPin { old: pin(), new: pin() });
        assert_eq!(used(&user, 1100), (1000, "proven 1000".to_string()));
        assert_eq!(used(&public, 1200).0, 0, "without a login");
        pool.belongings.end_login(token, &user);
        assert_eq!(used(&user, 1300).0, 0, "nothing is kept of a login that is over");
    }
}
