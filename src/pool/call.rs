//! The loop that gets a request answered.

use std::sync::Arc;
use std::time::Duration;

use super::belongings::Belongings;
use super::budget::Budget;
use super::make::Makings;
use super::numbers::Number;
use super::pace::Work;
use super::race::{Entrant, Finish, Lost, Race, one_by_one};
use super::retry::{CALL_DEADLINE, may_race, patience, pause};
use super::route::candidates;
use super::view::View;
use crate::error::{Code, Error, Result, refuse};
use crate::faults::{self, Fault};
use crate::object::ObjectId;
use crate::secret::Secret;
use crate::sys::process::PerProcess;
use crate::token::message::{Answer, Ask, Blob, Health, Held, Reply, Request, Verdict, Who, decode, encode};
use crate::token::{Access, Scope, TokenId};
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
        Arc::new(Self { view, link, world, belongings, makings, budget })
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
        let name = &self.view.nodes[node].place.name;
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
        self.deliver_as(&mut request, &mut number, prefer)
    }

    /// A number for what changes something.
    pub(super) fn number(&self, ask: &Ask) -> Result<Option<Number<'_>>> {
        if !ask.changes() {
            return Ok(None);
        }
        self.belongings.numbers.take(CALL_DEADLINE).map(Some).ok_or_else(|| self.gave_up(ask, None))
    }

    /// The same under a number that it has already.
    pub(super) fn deliver_as<'n>(
        &'n self,
        request: &mut Request,
        number: &mut Option<Number<'n>>,
        prefer: Option<usize>,
    ) -> Result<Outcome> {
        request.sequence = number.as_ref().map(Number::value);
        let deadline = self.world.elapsed() + CALL_DEADLINE;
        if number.is_some() && request.since.is_none() {
            let changes = self.changes_by_now(deadline);
            request.since = Some(changes.map_err(|why| self.gave_up(&request.ask, Some(why)))?);
        }
        let mut last = None;
        for round in 0.. {
            self.probe_one();
            let mut order = candidates(&self.view, prefer, self.world.elapsed());
            let mut older = 0;
            while !order.is_empty() {
                if last.is_some() {
                    self.world.sleep(self.budget.wait(self.world.elapsed()));
                }
                let Some(left) = deadline.checked_sub(self.world.elapsed()).filter(|left| !left.is_zero()) else {
                    return Err(self.gave_up(&request.ask, last));
                };
                let patience = patience(&request.ask, round).min(left);
                request.tally = self.belongings.tally(self.world.elapsed());
                let (node, at) = match may_race(&request.ask) {
                    true => self.race(&mut order, request, patience, left),
                    false => {
                        let node = order.remove(0);
                        let patience = self.longer_if_slow(node, &request.ask, patience);
                        (node, self.at(node, request, patience))
                    }
                };
                match at {
                    At::Answered(reply) => return Ok(Outcome::Done(reply, node)),
                    At::Refused(error) => return Err(error),
                    At::StreamLost => return Ok(Outcome::StreamLost(node)),
                    At::Older(why) if older + 1 == self.view.nodes.len() => return Err(why),
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

    /// Parts of a stream are with one node: one that is slow, on a busy machine, is not left for that.
    fn longer_if_slow(&self, node: usize, ask: &Ask, patience: Duration) -> Duration {
        match ask {
            Ask::Part { .. } => patience.max(self.view.nodes[node].pace.head_start(Work::Use) * 2),
            _ => patience,
        }
    }

    /// Several nodes, each while those before are silent. Takes those out of the order that were asked.
    fn race(&self, order: &mut Vec<usize>, request: &mut Request, patience: Duration, left: Duration) -> (usize, At) {
        // Each node lacks others.
        request.capsules.clear();
        request.alone = Some(self.view.is_alone(order[0]));
        let work = Work::of(&request.ask).unwrap_or(Work::LookUp);
        let entrant = |node: &usize| Entrant { node: *node, head_start: self.view.nodes[*node].pace.head_start(work) };
        let entrants: Vec<Entrant> = order.iter().map(entrant).collect();
        let (first, begun) = (order[0], self.world.elapsed());
        // Work that takes long is not begun anew for that.
        let patience = patience.max(entrants[0].head_start * 4).min(left);
        let may_ask = || self.budget.spare(self.world.elapsed());
        let race = Race { entrants: &entrants, patience, connecting: patience / 4, may_ask: &may_ask };
        let Finish { won, lost } = self.link.race(&race, encode(request).expose());
        let mut why = refuse(Code::DeviceError, "no node answered in time");
        for (node, how) in lost {
            order.retain(|other| *other != node);
            match how {
                Lost::Failed(error) => {
                    self.failed(node);
                    why = error;
                }
                Lost::Silent(time) => self.was_silent(node, work, time, begun, won.is_some()),
            }
        }
        let Some((node, answer, asked_after)) = won else { return (first, At::Elsewhere(why)) };
        order.retain(|other| *other != node);
        self.answered(node, &request.ask, begun + asked_after);
        if node != first {
            self.belongings.helped();
        }
        match self.read(node, request, &answer) {
            Some(at) => (node, at),
            None => (node, self.again(node, request, patience)),
        }
    }

    /// A node was silent for so long; `overtaken`: until another one answered.
    fn was_silent(&self, node: usize, work: Work, time: Duration, begun: Duration, overtaken: bool) {
        let (of_view, now) = (&self.view.nodes[node], self.world.elapsed());
        let had_its_time = time >= of_view.pace.head_start(work);
        if had_its_time {
            of_view.pace.took(work, time, now);
        }
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
    fn answered(&self, node: usize, ask: &Ask, begun: Duration) {
        let (of_view, now) = (&self.view.nodes[node], self.world.elapsed());
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
            true => self.belongings.mark_of(call.names).max(proof.mark),
            false => self.belongings.mark(),
        };
        let ticket = Blob(proof.ticket.to_vec());
        let login = self.belongings.bound(call.access).map(|bound| bound.login);
        let who = Who { scope, login, ticket, ..Who::from(call.access) };
        let mark_is_enough = self.view.mark_is_enough.then_some(true);
        let use_number = call.use_number;
        Ok(Request { held, use_number, mark_is_enough, ..Request::new(call.token, who, mark, call.ask) })
    }

    /// One node.
    fn at(&self, node: usize, request: &mut Request, patience: Duration) -> At {
        // Each node lacks others.
        request.capsules.clear();
        request.alone = Some(self.view.is_alone(node));
        self.again(node, request, patience)
    }

    /// The same node, with what it lacks.
    fn again(&self, node: usize, request: &mut Request, patience: Duration) -> At {
        let given_up = self.world.elapsed() + patience;
        loop {
            let begun = self.world.elapsed();
            let Some(left) = given_up.checked_sub(begun).filter(|left| !left.is_zero()) else {
                return At::Elsewhere(refuse(Code::DeviceError, "the node took too long"));
            };
            let answer = match self.link.call(node, encode(request).expose(), left) {
                Ok(answer) => answer,
                Err(Failure(error)) => {
                    self.failed(node);
                    return At::Elsewhere(error);
                }
            };
            self.answered(node, &request.ask, begun);
            if let Some(at) = self.read(node, request, &answer) {
                return at;
            }
        }
    }

    /// What an answer means; `None`: the node is to be asked again, with what the request has now.
    fn read(&self, node: usize, request: &mut Request, answer: &Secret) -> Option<At> {
        let Answer { mark, ticket, verdict, isolated } = match decode(answer.expose()) {
            Ok(answer) => answer,
            Err(error) => {
                self.failed(node);
                return Some(At::Elsewhere(error));
            }
        };
        // The node has counted it: another one must not count it again.
        request.tally = None;
        if isolated == Some(true) {
            self.view.nodes[node].told_isolated(self.world.elapsed());
        }
        self.belongings.saw(mark);
        if let (Some(ticket), Some(login)) = (ticket, request.who.login) {
            self.belongings.keep_ticket(login, ticket);
        }
        Some(match verdict {
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
            Verdict::Unknown(ids) => match request.token.filter(|_| request.capsules.is_empty()) {
                Some(token) => {
                    request.capsules = self.belongings.capsules(token, &ids);
                    // Another thread may have destroyed some meanwhile: nobody can bring those.
                    request.held.retain(|held| !ids.contains(&held.id) || self.belongings.is_held(token, held.id));
                    return None;
                }
                None => At::Elsewhere(self.odd(node)),
            },
        })
    }

    /// Remembers what must be applied where a changed object is used.
    fn note_change(&self, ask: &Ask, reply: &Reply, mark: u64) {
        self.note_all_heard();
        if let Ask::Update { id, .. } | Ask::Destroy { id } = ask {
            self.belongings.changed(*id, mark);
            self.belongings.forget_begun();
        }
        if let (Ask::Login { .. } | Ask::SetPin { .. } | Ask::InitPin { .. }, Reply::Who(who)) = (ask, reply)
            && let Some(login) = who.login
        {
            self.belongings.keep_proof(login, &who.ticket, mark);
        }
        if let Reply::Objects(objects) = reply {
            for object in objects.iter().filter(|object| object.token) {
                self.belongings.changed(object.id, mark);
            }
        }
    }

    /// Remembers that objects were seen at this mark, so that they are used only where they are.
    fn note_found(&self, reply: &Reply, mark: u64) {
        if let Reply::Objects(objects) = reply {
            self.belongings.found(objects.iter().filter(|object| object.token).map(|object| object.id), mark);
        }
    }

    pub(super) fn failed(&self, node: usize) {
        let (now, jitter) = (self.world.elapsed(), self.dice());
        let mut health = self.view.nodes[node].health.lock();
        // Whoever comes second has found out nothing new.
        if health.is_up() {
            *health = health.failed(now, jitter);
        }
    }

    /// Looks at one node that failed, if it is time.
    fn probe_one(&self) {
        let now = self.world.elapsed();
        let due = self.view.nodes.iter().position(|node| node.health.lock().claim_probe(now));
        let Some(at) = due else { return };
        let is_well = self.health_of(at).is_ok_and(|health| health.is_useful() && health.applied >= self.belongings.mark());
        let (now, jitter) = (self.world.elapsed(), self.dice());
        let mut health = self.view.nodes[at].health.lock();
        *health = if is_well { health.probed_well(now) } else { health.failed(now, jitter) };
    }

    /// How a node is. Errors: `DeviceError` when it does not say.
    pub fn health_of(&self, node: usize) -> Result<Health> {
        self.look_at(node, patience(&Ask::Health, 0)).map(|(health, _)| health)
    }

    /// The same within so long, and how many changes it has applied.
    pub(super) fn look_at(&self, node: usize, patience: Duration) -> Result<(Health, u64)> {
        let who = Who::from(&Access::public(Scope([0; 16]), false));
        let request = Request::new(None, who, 0, Ask::Health);
        let begun = self.world.elapsed();
        let answer = self.link.call(node, encode(&request).expose(), patience).map_err(|Failure(error)| error)?;
        self.answered(node, &request.ask, begun);
        match decode::<Answer>(answer.expose())? {
            Answer { mark, verdict: Verdict::Done(Reply::Health(health)), .. } => Ok((health, mark)),
            _ => Err(self.odd(node)),
        }
    }

    /// Tells nodes something that they need not know: no answer is waited for longer than a healthy node takes, none is asked for.
    pub(super) fn tell(&self, token: TokenId, access: &Access, ask: &dyn Fn() -> Ask) {
        for node in 0..self.view.nodes.len() {
            self.tell_one(token, access, ask(), node);
        }
    }

    /// The same for one node.
    pub(super) fn tell_one(&self, token: TokenId, access: &Access, ask: Ask, node: usize) {
        if self.view.nodes[node].health.lock().is_up() {
            // Without a name of its own a child has nothing to tell.
            let Ok(mut request) = self.complete(Call::new(Some(token), access, ask, &[])) else { return };
            let patience = patience(&request.ask, 0);
            self.at(node, &mut request, patience);
        }
    }

    pub(super) fn dice(&self) -> u8 {
        let mut byte = [0];
        // Without randomness there is no jitter, which only costs evenness.
        let _ = self.world.fill_random(&mut byte);
        byte[0]
    }
}

/// What came of asking one node.
enum At {
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
    use crate::token::message::{Use, Verb};
    use crate::token::{LoginId, Role};
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
                Ask::Health => {
                    let zone = String::new();
                    Reply::Health(Health {
                        node: 0,
                        zone,
                        serves: true,
                        in_contact: true,
                        leader: None,
                        applied: mark,
                        duty: None,
                    })
                }
                _ => Reply::Nothing,
            };
            Ok(encode(&Answer { mark, ticket: Some(ticket("renewed")), verdict: Verdict::Done(reply), isolated: None }))
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
