//! Token objects that many threads make at the same time: their calls go together, in one request, which makes them by one change. A request costs a
//! node, the log and the stores of all members more than an object more in it.

use std::time::Duration;

use parking_lot::Mutex;

use super::call::{Call, Outcome, Pool};
use super::retry::{CALL_DEADLINE, is_curve, is_random, takes_no_mathematics};
use super::together::{Batch, Together, Told};
use crate::ck::AttributeType;
use crate::error::{Code, Error, Result, refuse};
use crate::limits::{MAKING_MAX_BYTES, MAKING_WAITS_MAX_MILLISECONDS};
use crate::object::{Template, Value};
use crate::token::message::{Apart, Ask, Making, Named, New, Refusal, Reply};
use crate::token::{Access, LoginId, Role, Scope, TokenId};
use crate::wire::MAKE_MINOR;

/// So long nothing goes together after a node has not answered, or speaks less still.
const NOT_INTRODUCED_FOR: Duration = Duration::from_secs(2);

/// Calls of an application that make token objects.
#[derive(Default)]
pub struct Makings {
    together: Together<Asker, New, Result<Vec<Named>>>,
    /// Held by who gets acquainted with a node: not before this moment.
    introducing: Mutex<Duration>,
}

/// Who asks, of which token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Asker {
    token: TokenId,
    scope: Scope,
    role: Option<Role>,
    login: Option<LoginId>,
    write: bool,
}

impl Asker {
    fn new(token: TokenId, access: &Access) -> Self {
        let Access { scope, role, login, write, .. } = *access;
        Self { token, scope, role, login, write }
    }
}

impl Pool {
    /// Makes what one call asks for: alone, or together with others if enough are under way.
    pub(super) fn make(&self, token: TokenId, access: &Access, new: New) -> Result<Vec<Named>> {
        if !goes_along(&new) {
            return self.make_alone(token, access, new);
        }
        let (makings, asker) = (self.makings.get(), Asker::new(token, access));
        if let Some(_turn) = makings.together.turn(asker) {
            return self.make_alone(token, access, new);
        }
        if !self.all_speak(MAKE_MINOR) {
            return self.make_alone(token, access, new);
        }
        let patience = Duration::from_millis(MAKING_WAITS_MAX_MILLISECONDS);
        let (told, _turn) = makings.together.wait(asker, new, patience);
        match told {
            Told::GoAlone(new) => self.make_alone(token, access, new),
            Told::Carry(mut batch) => {
                let carried = self.carry(token, access, &mut batch);
                let error = carried.err().unwrap_or_else(broke_off);
                batch.finish(|| Err(Error::from(Refusal::from(&error))))
            }
            Told::Done(made) => made,
            Told::BrokeOff => Err(broke_off()),
        }
    }

    fn make_alone(&self, token: TokenId, access: &Access, new: New) -> Result<Vec<Named>> {
        match self.send(Call::new(Some(token), access, new.into(), &[]))? {
            Outcome::Done(Reply::Objects(objects), _) => Ok(objects),
            Outcome::Done(_, node) | Outcome::StreamLost(node) => Err(self.odd(node)),
        }
    }

    /// Has the calls of a batch carried out, and tells each what came of it. Those that are refused are left out, and the others asked for again, under the
    /// same number: whichever arrival of the request is carried out, it made all that are still asked for.
    fn carry(&self, token: TokenId, access: &Access, batch: &mut Batch<New, Result<Vec<Named>>>) -> Result<()> {
        self.inherit(token, access)?;
        let makings = batch.take_calls().into_iter().map(|(number, what)| Making { number, what }).collect();
        let mut request = self.complete(Call::new(Some(token), access, Ask::Make { makings }, &[]))?;
        let mut number = self.number(&request.ask)?;
        let deadline = self.world.elapsed() + CALL_DEADLINE;
        loop {
            let delivered = match self.deliver_as(&mut request, &mut number, None, deadline) {
                // All nodes are of a version before, since a moment ago: none of them can have made anything.
                Err(error) if error.code() == Code::FunctionNotSupported => {
                    let Ask::Make { makings } = request.ask else { return Err(error) };
                    makings
                        .into_iter()
                        .for_each(|Making { number, what }| batch.tell(number, self.make_alone(token, access, what)));
                    return Ok(());
                }
                delivered => delivered?,
            };
            let (reply, node) = match delivered {
                Outcome::Done(reply, node) => (reply, node),
                Outcome::StreamLost(node) => return Err(self.odd(node)),
            };
            let Ask::Make { makings } = &mut request.ask else { return Err(self.odd(node)) };
            let asked = makings.len();
            match reply {
                Reply::Objects(objects) => {
                    let mut objects = objects.into_iter();
                    for making in makings.drain(..) {
                        let made: Vec<Named> = objects.by_ref().take(making.what.count()).collect();
                        let is_whole = made.len() == making.what.count();
                        batch.tell(making.number, if is_whole { Ok(made) } else { Err(self.odd(node)) });
                    }
                }
                Reply::Apart(refused) => {
                    for Apart { number, refusal } in refused {
                        makings.retain(|making| making.number != number);
                        batch.tell(number, Err(Error::from(refusal)));
                    }
                }
                _ => return Err(self.odd(node)),
            }
            let answered = asked - makings.len();
            if answered == 0 {
                return Err(self.odd(node));
            }
            self.belongings.went_along(answered - 1);
            if makings.is_empty() {
                return Ok(());
            }
        }
    }

    /// Whether all nodes speak a set of messages: a request that one of them has carried out may have to go to any other. One that this process has not
    /// connected to yet, or not since it was upgraded, is asked how it is.
    fn all_speak(&self, minor: u32) -> bool {
        self.view.nodes().all(|(node, _)| self.speaks(node, minor))
    }

    fn speaks(&self, node: usize, minor: u32) -> bool {
        let is_known = || self.link.minor(node).is_some_and(|spoken| spoken >= minor);
        if is_known() || !self.view.node(node).health.lock().is_up() {
            return is_known();
        }
        let makings = self.makings.get();
        let Some(mut not_before) = makings.introducing.try_lock().filter(|moment| self.world.elapsed() >= **moment) else {
            return false;
        };
        // What it answers does not matter, as connecting tells what it speaks; and one that is silent may only be far: whether it is gone shows when it is needed.
        let _ = self.health_of(node);
        if !is_known() {
            *not_before = self.world.elapsed() + NOT_INTRODUCED_FOR;
        }
        is_known()
    }
}

fn broke_off() -> Error {
    refuse(Code::FunctionFailed, "the call that was to carry this one broke off: whether the object was made is not known")
}

/// Whether a call may go together with others: what it makes is small, and takes a node microseconds.
fn goes_along(new: &New) -> bool {
    let is_small = |template: &Template| template.bool(AttributeType::TOKEN) == Some(true) && bytes(template) <= MAKING_MAX_BYTES;
    match new {
        New::Created { template } => is_small(template) && takes_no_mathematics(template),
        New::Generated { mechanism, template } => is_small(template) && is_random(mechanism.kind),
        New::Pair { mechanism, public, private } => is_small(public) && is_small(private) && is_curve(mechanism.kind),
    }
}

/// Of a template's values.
fn bytes(template: &Template) -> usize {
    let bytes = |value: &Value| match value {
        Value::Bytes(bytes) => bytes.len(),
        Value::Secret(secret) => secret.len(),
        Value::Mechanisms(kinds) => size_of_val(kinds.as_slice()),
        Value::Template(inner) => bytes(inner),
        _ => size_of::<u64>(),
    };
    template.iter().map(|(_, value)| bytes(value)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ck::{MechanismType, ObjectClass};
    use crate::mechanism::{Mechanism, Params};

    fn template(class: ObjectClass, is_token: bool, len: usize) -> Template {
        Template::from_iter([
            (AttributeType::CLASS, Value::Ulong(class.0)),
            (AttributeType::TOKEN, Value::Bool(is_token)),
            (AttributeType::VALUE, Value::Bytes(vec![0; len])),
        ])
    }

    fn generated(kind: MechanismType) -> New {
        let mechanism = Mechanism { kind, params: Params::None };
        New::Generated { mechanism, template: template(ObjectClass::SECRET_KEY, true, 0) }
    }

    fn pair(kind: MechanismType, is_token: [bool; 2]) -> New {
        let mechanism = Mechanism { kind, params: Params::None };
        let [public, private] = is_token.map(|is_token| template(ObjectClass::PRIVATE_KEY, is_token, 0));
        New::Pair { mechanism, public, private }
    }

    #[test]
    fn what_is_small_and_quick_goes_along_and_nothing_else() {
        let created = |class, is_token, len| New::Created { template: template(class, is_token, len) };
        let small = MAKING_MAX_BYTES - 2 * size_of::<u64>();
        for (new, goes) in [
            (created(ObjectClass::DATA, true, small), true),
            (created(ObjectClass::DATA, true, small + 1), false),
            (created(ObjectClass::CERTIFICATE, true, 9), true),
            (created(ObjectClass::SECRET_KEY, true, 32), true),
            (created(ObjectClass::SECRET_KEY, false, 32), false),
            (created(ObjectClass::PRIVATE_KEY, true, 32), false),
            (New::Created { template: Template::new() }, false),
            (generated(MechanismType::AES_KEY_GEN), true),
            (generated(MechanismType::PKCS5_PBKD2), false),
            (generated(MechanismType::DSA_PARAMETER_GEN), false),
            (pair(MechanismType::EC_KEY_PAIR_GEN, [true, true]), true),
            (pair(MechanismType::EC_KEY_PAIR_GEN, [false, true]), false),
            (pair(MechanismType::RSA_PKCS_KEY_PAIR_GEN, [true, true]), false),
        ] {
            assert_eq!(goes_along(&new), goes, "{} objects", new.count());
        }
    }
}
