//! Applications: they make, change, read and destroy objects and count attempts, ask again until they are answered, and know what they
//! were promised.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hsmpool::ck::AttributeType;
use hsmpool::error::Result;
use hsmpool::log::raft::NodeId;
use hsmpool::log::raft::ground;
use hsmpool::log::{Log, Proposal, RequestId, Standing};
use hsmpool::object::{ObjectId, TokenId};
use hsmpool::store::{Change, ObjectRow, Outcome, Sealed, Tag, TokenRow, UserRow};

use crate::cast::Cast;
use crate::run::FIRST_NODE;
use crate::scheduler::Owner;
use crate::world::{Running, World};

const TOKEN: TokenId = TokenId([0x70; 16]);
/// The role whose attempts are counted; it is never locked and never cleared.
const COUNTED: u8 = 1;
/// Destroyed objects that are looked at all the time.
const LATEST: usize = 3;
/// How long one node is waited for.
const PATIENCE: Duration = Duration::from_secs(4);

/// What an object is, as its owner was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Promised {
    /// At this version.
    There(u64),
    /// Destroyed, and no partition in contact uses it.
    Gone,
    /// A change is under way.
    InDoubt,
}

/// What all applications were promised.
#[derive(Default)]
struct Promises {
    objects: BTreeMap<u64, Promised>,
    /// The object of the promise that was given last: a node that lacks it is old.
    latest: u64,
    /// Destroyed objects in their order, and the members that are known to have applied that.
    gone: Vec<(u64, BTreeSet<NodeId>)>,
    /// The highest count of attempts that was answered, and which counts were.
    attempts: u32,
    counts: BTreeMap<u32, u64>,
    answered: u64,
}

/// Programs that propose changes to the log and look at the stores.
pub struct Clients {
    world: Arc<World>,
    promises: Mutex<Promises>,
    ends: Mutex<bool>,
    left: Mutex<usize>,
}

fn id(number: u64) -> ObjectId {
    let mut bits = [0; 16];
    bits[8..].copy_from_slice(&number.to_be_bytes());
    ObjectId(bits)
}

fn row(number: u64, version: u64) -> ObjectRow {
    let tag = |attribute, value: u64| Tag { attribute, hash: id(value.wrapping_mul(0x9e37_79b9_7f4a_7c15)).0 };
    let tags = vec![tag(AttributeType::CLASS, 3), tag(AttributeType::LABEL, number)];
    ObjectRow { id: id(number), version, private: false, sealed: Sealed::from_ciphertext(vec![version as u8; 200]), tags }
}

/// The token, and the holder whose attempts are counted.
fn beginning() -> [Change; 2] {
    let user = |role| UserRow {
        token: TOKEN,
        role,
        generation: 1,
        wrapped: Sealed::from_ciphertext(vec![role; 60]),
        attempts: 0,
        attempts_max: 0,
    };
    let token = TokenRow {
        id: TOKEN,
        serial: [1; 16],
        label: [b'L'; 32],
        policy: 1,
        generation: 1,
        public_key: vec![9; 44],
        mac: vec![8; 32],
    };
    let made = Change::InitToken { token, so: user(0), expected_generation: None };
    [made, Change::SetUser { user: user(COUNTED), expected_generation: None }]
}

impl Clients {
    /// Three of them.
    pub fn cast(world: Arc<World>) -> Arc<dyn Cast> {
        Arc::new(Self { world, promises: Mutex::default(), ends: Mutex::new(false), left: Mutex::new(0) })
    }

    fn promises(&self) -> MutexGuard<'_, Promises> {
        self.promises.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that holds its serving lease must not use an object whose destroy has returned, nor one of which it was said then that it had applied the
    /// destroy, however it stands: it may have lost power since, and be cut off.
    fn may_use(&self, node: NodeId, number: u64, uses: Option<Standing>) -> std::result::Result<(), String> {
        let Some(standing) = uses else { return Ok(()) };
        let had_it = self.promises().gone.iter().any(|(gone, reached)| *gone == number && reached.contains(&node));
        if standing == Standing::Ordinary || had_it {
            let told = format!("node {node} uses {number}, whose destroy had returned");
            return Err(format!("{told}; it is {standing:?}, and had applied the destroy: {had_it}"));
        }
        Ok(())
    }

    fn begin_one(self: Arc<Self>, me: Owner) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.world.scheduler.clone().thread(me, move || {
            let mut client = Client { all: self.clone(), me, sequence: 0, objects: Vec::new(), made: 0 };
            while !*self.ends.lock().unwrap_or_else(PoisonError::into_inner) {
                ground::sleep(Duration::from_millis(self.world.scheduler.roll(120)));
                client.act();
            }
            *self.left.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        });
    }
}

impl Cast for Clients {
    fn found(&self) -> Result<()> {
        let Some(first) = self.world.running(FIRST_NODE) else { return Ok(()) };
        for (sequence, change) in (0..).zip(beginning()) {
            first.group.propose(Proposal { request: RequestId { client: [50; 16], sequence }, change })?;
        }
        Ok(())
    }

    fn is_founded(&self, node: &Running) -> bool {
        node.store.tokens().is_ok_and(|tokens| tokens.len() == 1)
    }

    fn everybody(&self) -> Range<Owner> {
        101..104
    }

    fn begin(self: Arc<Self>) {
        self.everybody().for_each(|client| self.clone().begin_one(client));
    }

    fn end(&self) {
        *self.ends.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    fn left(&self) -> usize {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answered(&self) -> u64 {
        self.promises().answered
    }

    fn revoked(&self) -> u64 {
        self.promises().gone.len() as u64
    }

    fn look(&self, id: NodeId, node: &Running) -> std::result::Result<(), String> {
        let latest: Vec<u64> = self.promises().gone.iter().rev().take(LATEST).map(|(number, _)| *number).collect();
        latest.into_iter().try_for_each(|number| self.may_use(id, number, uses(node, number)))
    }

    fn check(&self, node: &Running) -> std::result::Result<(), String> {
        for (number, promised) in &self.promises().objects {
            let found = node.store.object_version(TOKEN, id(*number)).ok().flatten();
            let right = match promised {
                Promised::There(version) => found == Some(*version),
                Promised::Gone => found.is_none(),
                Promised::InDoubt => true,
            };
            if !right {
                return Err(format!("object {number} is {found:?}, promised was {promised:?}"));
            }
        }
        Ok(())
    }

    /// Each answer was judged when it came.
    fn judge(&self) -> std::result::Result<(), String> {
        Ok(())
    }
}

struct Client {
    all: Arc<Clients>,
    me: Owner,
    sequence: u64,
    /// Its own objects with their versions.
    objects: Vec<(u64, u64)>,
    made: u64,
}

impl Client {
    fn roll(&self, sides: u64) -> u64 {
        self.all.world.scheduler.roll(sides)
    }

    fn act(&mut self) {
        match self.roll(11) {
            0..=3 => self.create(),
            4 | 5 => self.replace(),
            6 => self.destroy(),
            7 => self.attempt(),
            8 | 9 => self.read(),
            _ => self.use_a_destroyed_one(),
        }
    }

    fn a_node(&self) -> NodeId {
        let nodes: Vec<NodeId> = self.all.world.net().nodes.keys().copied().collect();
        nodes[self.roll(nodes.len() as u64) as usize]
    }

    /// Asks one node after the other until one answers.
    fn ask<R: Send + 'static>(&self, work: impl Fn(&Running) -> Result<R> + Send + Sync + 'static) -> R {
        let work = Arc::new(work);
        loop {
            let (node, work) = (self.a_node(), work.clone());
            if let Some(Ok(answer)) = self.all.world.call(self.me, node, PATIENCE, move |running| work(running)) {
                return answer;
            }
            ground::sleep(Duration::from_millis(20 + self.roll(80)));
        }
    }

    /// Makes a change.
    fn change(&mut self, change: Change) -> Outcome {
        self.change_and(change, |_| Ok(())).0
    }

    /// The same, and then something else at the node that was asked.
    fn change_and<R: Send + 'static>(
        &mut self,
        change: Change,
        then: impl Fn(&Running) -> Result<R> + Send + Sync + 'static,
    ) -> (Outcome, R) {
        let mut client = [0; 16];
        client[0] = self.me as u8;
        let request = RequestId { client, sequence: self.sequence };
        self.sequence += 1;
        let outcome = self.ask(move |running| {
            let outcome = running.group.propose(Proposal { request, change: change.clone() })?;
            Ok((outcome, then(running)?))
        });
        self.all.promises().answered += 1;
        outcome
    }

    fn promise(&self, number: u64, promised: Promised) {
        let mut promises = self.all.promises();
        promises.objects.insert(number, promised);
        promises.latest = number;
    }

    fn expect(&self, what: &str, number: u64, outcome: Outcome) {
        let told = format!("client {}: {what} {number}: {outcome:?}", self.me);
        if outcome == Outcome::Done {
            self.all.world.scheduler.note(told);
        } else {
            self.all.world.fail(format!("{told}: nobody else has touched it"));
        }
    }

    fn create(&mut self) {
        let number = self.me << 32 | self.made;
        self.made += 1;
        self.all.promises().objects.insert(number, Promised::InDoubt);
        let create = Change::CreateObjects { token: TOKEN, token_generation: 1, objects: vec![row(number, 1)] };
        let outcome = self.change(create);
        self.expect("create", number, outcome);
        self.promise(number, Promised::There(1));
        self.objects.push((number, 1));
    }

    fn pick(&self) -> Option<usize> {
        let count = self.objects.len();
        (count > 0).then(|| self.roll(count as u64) as usize)
    }

    fn replace(&mut self) {
        let Some(at) = self.pick() else { return };
        let (number, version) = self.objects[at];
        self.all.promises().objects.insert(number, Promised::InDoubt);
        let outcome = self.change(Change::ReplaceObject { token: TOKEN, row: row(number, version + 1) });
        self.expect("replace", number, outcome);
        self.objects[at].1 = version + 1;
        self.promise(number, Promised::There(version + 1));
    }

    fn destroy(&mut self) {
        let Some(at) = self.pick() else { return };
        let (number, version) = self.objects.swap_remove(at);
        self.all.promises().objects.insert(number, Promised::InDoubt);
        let delete = Change::DeleteObject { token: TOKEN, id: id(number), expected_version: version };
        let (outcome, reached) = self.change_and(delete, spread);
        self.expect("destroy", number, outcome);
        self.promise(number, Promised::Gone);
        self.all.promises().gone.push((number, reached));
        self.try_to_use(number);
    }

    fn attempt(&mut self) {
        let before = self.all.promises().attempts;
        let outcome = self.change(Change::ReserveAttempt { token: TOKEN, role: COUNTED });
        let Outcome::Attempt { attempts } = outcome else {
            return self.all.world.fail(format!("an attempt gave {outcome:?}"));
        };
        self.all.world.scheduler.note(format!("client {}: attempt {attempts}", self.me));
        let mut promises = self.all.promises();
        let twice = promises.counts.insert(attempts, self.me);
        promises.attempts = promises.attempts.max(attempts);
        drop(promises);
        if attempts <= before || twice.is_some() {
            self.all.world.fail(format!("attempt {attempts} was counted, but {before} had been answered before"));
        }
    }

    /// A linearizable look-up of any object.
    fn read(&mut self) {
        let known: Vec<(u64, Promised)> = self.all.promises().objects.iter().map(|(number, known)| (*number, *known)).collect();
        if known.is_empty() {
            return;
        }
        let latest = self.all.promises().latest;
        let latest = known.iter().position(|(number, _)| *number == latest).filter(|_| self.roll(3) > 0);
        let (number, before) = known[latest.unwrap_or(self.roll(known.len() as u64) as usize)];
        let version = self.ask(move |running| {
            running.group.barrier()?;
            running.store.object_version(TOKEN, id(number))
        });
        let after = self.all.promises().objects.get(&number).copied();
        if after != Some(before) {
            return;
        }
        let right = match before {
            Promised::There(expected) => version == Some(expected),
            Promised::Gone => version.is_none(),
            Promised::InDoubt => true,
        };
        if !right {
            self.all.world.fail(format!("a look-up of {number} found {version:?}; promised was {before:?}"));
        }
    }

    /// Uses a key whose destroy has returned, at any node that uses keys.
    fn use_a_destroyed_one(&mut self) {
        let gone: Vec<u64> = self.all.promises().gone.iter().map(|(number, _)| *number).collect();
        let Some(last) = gone.last() else { return };
        self.try_to_use(if self.roll(2) == 0 { *last } else { gone[self.roll(gone.len() as u64) as usize] });
    }

    /// At each node: one may be cut off from the others, and not know.
    fn try_to_use(&self, number: u64) {
        let nodes: Vec<NodeId> = self.all.world.net().nodes.keys().copied().collect();
        nodes.into_iter().for_each(|node| self.try_to_use_at(node, number));
    }

    fn try_to_use_at(&self, node: NodeId, number: u64) {
        let used = self.all.world.call(self.me, node, PATIENCE, move |running| uses(running, number));
        if let Err(told) = self.all.may_use(node, number, used.flatten()) {
            self.all.world.fail(told);
        }
    }
}

/// How a node stands that uses this object: it has it, and uses keys.
fn uses(node: &Running, number: u64) -> Option<Standing> {
    let standing = node.group.standing();
    let has_it = matches!(node.store.object_version(TOKEN, id(number)), Ok(Some(_)));
    Some(standing).filter(|standing| has_it && standing.uses_keys())
}

/// Lets a destroy come to every member. Gives those that are known to have applied it, on their disks.
fn spread(running: &Running) -> Result<BTreeSet<NodeId>> {
    let members = || -> BTreeSet<NodeId> {
        let status = running.group.status();
        status.voters.into_keys().chain(status.learners.into_keys()).collect()
    };
    // One that comes or goes meanwhile may not have been asked.
    let before = members();
    running.group.spread(Duration::ZERO)?;
    let (after, unreached) = (members(), running.group.status().unreached);
    Ok(before.intersection(&after).copied().filter(|node| !unreached.contains(node)).collect())
}
