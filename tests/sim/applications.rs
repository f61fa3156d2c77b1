//! Applications in front of a whole pool: each has a module's pool of its own, over the simulated network, and shares two tokens with the others.
//! No call may fail, whatever happens to nodes and links; what each is told is judged with what all were told.

mod pins;
mod sessions;
mod uses;

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hsmpool::ck::{AttributeType, KeyType, MechanismType, ObjectClass};
use hsmpool::error::{Code, Error, Result};
use hsmpool::history::Action;
use hsmpool::log::Standing;
use hsmpool::log::raft::NodeId;
use hsmpool::log::raft::ground::sleep;
use hsmpool::mechanism::{Mechanism, Params};
use hsmpool::node::Caller;
use hsmpool::object::{ObjectId, Template, TokenId, Value};
use hsmpool::pool::{Place, Pool, PooledAdmin, View};
use hsmpool::secret::Secret;
use hsmpool::token::{Access, Admin, Reading, Role, Scope, Token};

use crate::cast::Cast;
use crate::known::Known;
use crate::outside::{Line, Outside, Way};
use crate::run::OPERATOR;
use crate::scheduler::Owner;
use crate::world::{Running, World};
use sessions::Table;

/// Nodes in an application's view, with their zones: those that are always there.
const VIEW: [(u64, &str); 3] = [(1, "a"), (2, "b"), (3, "c")];
/// Session keys that an application has at most.
const SESSION_KEYS_MAX: usize = 4;

/// All applications.
pub struct Applications {
    world: Arc<World>,
    known: Mutex<Known>,
    /// The token that is used, and the one whose PIN is guessed.
    tokens: Mutex<Option<[TokenId; 2]>>,
    ends: Mutex<bool>,
    left: Mutex<usize>,
    resting: Mutex<usize>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pin(text: &str) -> Secret {
    Secret::copy_of(text.as_bytes())
}

/// The guarded token's user PIN of this number.
fn guarded_pin(number: u64) -> Secret {
    pin(&format!("user {number}"))
}

fn mechanism(kind: MechanismType) -> Mechanism {
    Mechanism { kind, params: Params::None }
}

/// An attribute by which an object is found.
fn called(kind: AttributeType, name: &str) -> (AttributeType, Value) {
    (kind, Value::Bytes(name.as_bytes().to_vec()))
}

fn aes(name: &str, token: bool) -> Template {
    let flags = [AttributeType::PRIVATE, AttributeType::ENCRYPT, AttributeType::DECRYPT];
    Template::from_iter(flags.into_iter().map(|flag| (flag, Value::Bool(true))).chain([
        (AttributeType::CLASS, Value::Ulong(ObjectClass::SECRET_KEY.0)),
        (AttributeType::KEY_TYPE, Value::Ulong(KeyType::AES.0)),
        (AttributeType::TOKEN, Value::Bool(token)),
        (AttributeType::VALUE_LEN, Value::Ulong(32)),
        called(AttributeType::LABEL, name),
    ]))
}

/// An object of this name, with a value.
fn data(number: u64, value: u64) -> Template {
    Template::from_iter([
        (AttributeType::CLASS, Value::Ulong(ObjectClass::DATA.0)),
        (AttributeType::TOKEN, Value::Bool(true)),
        (AttributeType::PRIVATE, Value::Bool(true)),
        called(AttributeType::APPLICATION, &number.to_string()),
        called(AttributeType::LABEL, &value.to_string()),
    ])
}

/// What an object that was read has as its value.
fn value_in(readings: &[Reading]) -> Option<u64> {
    match readings.first() {
        Some(Reading::Value(Value::Bytes(text))) => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

impl Applications {
    /// Three of them, each in a zone of its own.
    pub fn cast(world: Arc<World>) -> Arc<dyn Cast> {
        Arc::new(Self {
            world,
            known: Mutex::default(),
            tokens: Mutex::default(),
            ends: Mutex::default(),
            left: Mutex::default(),
            resting: Mutex::default(),
        })
    }

    /// An application's module, as it is after `C_Initialize`.
    fn module(&self, me: Owner) -> Result<(PooledAdmin, Arc<Line>)> {
        let places = VIEW.map(|(node, zone)| Place { zone: zone.into(), name: format!("node {node}") });
        let own_zone = VIEW[me as usize % VIEW.len()].1;
        let line = Line::new();
        let way = Way {
            world: self.world.clone(),
            from: me,
            nodes: VIEW.map(|(node, _)| node).to_vec(),
            caller: Caller { name: format!("application {me}").into(), tokens: None, operates: false },
            line: line.clone(),
        };
        let pool = Pool::new(View::new(own_zone.into(), places.to_vec()), Box::new(way), Arc::new(Outside::new(&self.world, me)));
        Ok((PooledAdmin::new(pool)?, line))
    }

    fn run_one(self: Arc<Self>, me: Owner) {
        *lock(&self.left) += 1;
        // Real clocks differ by some hundred millionths.
        let rate = self.world.scheduler.roll(401) as i64 - 200;
        self.world.scheduler.ground(me, rate);
        self.world.scheduler.clone().thread(me, move || {
            match Application::begin(self.clone(), me) {
                Ok(mut application) => application.live(),
                Err(error) => self.world.fail(format!("application {me} cannot begin: {error}")),
            }
            *lock(&self.left) -= 1;
        });
    }
}

impl Cast for Applications {
    fn found(&self) -> Result<()> {
        let (admin, _) = self.module(OPERATOR)?;
        let mut ids = Vec::new();
        for (label, user_pin) in
            [(*b"used                            ", pin("user")), (*b"guarded                         ", guarded_pin(0))]
        {
            let token = admin.init_token(None, &pin("so-pin"), label)?;
            let so = token.login(&Scope([50; 16]), Role::SecurityOfficer, &pin("so-pin"))?;
            token.init_pin(&so.with_write(true), &user_pin)?;
            token.logout(&so)?;
            ids.push(token.describe()?.id);
        }
        *lock(&self.tokens) = Some([ids[0], ids[1]]);
        Ok(())
    }

    fn is_founded(&self, node: &Running) -> bool {
        lock(&self.tokens).is_some() && node.store.tokens().is_ok_and(|tokens| tokens.len() == 2)
    }

    fn everybody(&self) -> Range<Owner> {
        201..204
    }

    fn begin(self: Arc<Self>) {
        self.everybody().for_each(|me| self.clone().run_one(me));
    }

    fn end(&self) {
        *lock(&self.ends) = true;
    }

    fn left(&self) -> usize {
        *lock(&self.left)
    }

    fn answered(&self) -> u64 {
        lock(&self.known).answered
    }

    fn revoked(&self) -> u64 {
        lock(&self.known).revoked
    }

    fn look(&self, id: NodeId, node: &Running) -> std::result::Result<(), String> {
        let (Some(gone), Some([token, _])) = (lock(&self.known).last_gone, *lock(&self.tokens)) else { return Ok(()) };
        let is_ordinary = node.group.status().standing == Standing::Ordinary;
        match node.store.object_version(token, gone) {
            Ok(Some(_)) if is_ordinary => {
                Err(format!("node {id} holds its lease and has {gone}, whose destruction had returned"))
            }
            _ => Ok(()),
        }
    }

    fn check(&self, node: &Running) -> std::result::Result<(), String> {
        let Some([token, _]) = *lock(&self.tokens) else { return Ok(()) };
        let (there, gone) = lock(&self.known).expected();
        let has = |id: &ObjectId| node.store.object_version(token, *id).ok().flatten().is_some();
        if let Some(lost) = there.iter().find(|id| !has(id)) {
            return Err(format!("{lost} was acknowledged and is lost"));
        }
        match gone.iter().find(|id| has(id)) {
            Some(back) => Err(format!("{back} was destroyed and is there")),
            None => Ok(()),
        }
    }

    fn judge(&self) -> std::result::Result<(), String> {
        lock(&self.known).judge()
    }
}

/// One application.
struct Application {
    all: Arc<Applications>,
    me: Owner,
    scope: Scope,
    line: Arc<Line>,
    used: Arc<dyn Token>,
    guarded: Arc<dyn Token>,
    /// The user's login at the used token.
    user: Access,
    /// The SO's at the guarded one; the first application only has it.
    so: Option<Access>,
    /// The user's at the guarded one, and the number of the PIN that it was made with.
    entered: Option<(Access, u64)>,
    keys: Vec<ObjectId>,
    /// The destroyed key that was tried last.
    probed: Option<ObjectId>,
    session_keys: Vec<(ObjectId, [u8; 16])>,
    made: u64,
    table: Table,
}

impl Application {
    fn begin(all: Arc<Applications>, me: Owner) -> Result<Self> {
        let (admin, line) = all.module(me)?;
        let scope = Scope([me as u8; 16]);
        let mut tokens = admin.tokens()?;
        let [used, _] = lock(&all.tokens).unwrap_or([TokenId([0; 16]); 2]);
        if tokens[0].describe()?.id != used {
            tokens.reverse();
        }
        let (guarded, used) = (tokens.pop(), tokens.pop());
        let (Some(guarded), Some(used)) = (guarded, used) else { panic!("both tokens were made before applications begin") };
        let user = used.login(&scope, Role::User, &pin("user"))?.with_write(true);
        let is_first = me == all.everybody().start;
        let so = is_first.then(|| guarded.login(&scope, Role::SecurityOfficer, &pin("so-pin"))).transpose()?;
        let so = so.map(|so| so.with_write(true));
        let (keys, session_keys, table) = (Vec::new(), Vec::new(), Table::open(&all, me)?);
        Ok(Self {
            all,
            me,
            scope,
            line,
            used,
            guarded,
            user,
            so,
            entered: None,
            keys,
            probed: None,
            session_keys,
            made: 0,
            table,
        })
    }

    fn live(&mut self) {
        while !*lock(&self.all.ends) {
            sleep(Duration::from_millis(self.roll(60)));
            self.may_fail("a look at what is gone", 0, Self::probe);
            let what = self.roll(28);
            self.may_fail("something", what, |me| me.act(what));
            lock(&self.all.known).answered += 1;
        }
        self.may_fail("its end", 0, Self::rest);
    }

    /// No call may: whoever asks long enough is answered.
    fn may_fail(&mut self, doing: &str, what: u64, work: impl FnOnce(&mut Self) -> Result<()>) {
        if let Err(error) = work(self) {
            self.broken(format!("{doing} ({what}) failed: {error}"));
        }
    }

    fn act(&mut self, what: u64) -> Result<()> {
        match what {
            0 | 1 => self.create(),
            2..=4 => self.set(),
            5..=7 => self.with_object(Self::get),
            8 => self.with_object(Self::find),
            9 => self.destroy(),
            10 => self.generate(),
            11..=13 => self.use_a_key(),
            14 => self.destroy_a_key(),
            15 | 16 => self.session_key(),
            17 => self.parts(),
            18 => self.log_out_and_in(),
            19 => self.guess(),
            20 => self.enter(),
            22.. => self.by_a_session(what),
            _ if self.so.is_some() && self.roll(3) == 0 => self.set_anew(),
            _ => self.look(),
        }
    }

    fn roll(&self, sides: u64) -> u64 {
        self.all.world.scheduler.roll(sides)
    }

    fn broken(&self, told: String) {
        self.all.world.fail(format!("application {}: {told}", self.me));
    }

    fn note(&self, told: String) {
        self.all.world.scheduler.note(format!("application {}: {told}", self.me));
    }

    fn now(&self) -> u64 {
        self.all.world.scheduler.now().as_micros() as u64
    }

    /// Whether the node that answered last was in contact with its group.
    fn in_contact(&self) -> bool {
        self.line.in_contact()
    }

    /// The same call, of the session layer.
    fn seen_by_session<T>(
        &self,
        object: u64,
        call: impl FnOnce(&Table) -> Result<T>,
        act: impl FnOnce(T) -> Action,
    ) -> Result<Action> {
        self.seen_over(&self.table.line, object, || call(&self.table), act)
    }

    fn fresh(&mut self) -> u64 {
        self.made += 1;
        self.me << 32 | self.made
    }

    /// One call about an object, kept for the checker; `act` says what it did, and was told.
    fn seen<T>(&self, object: u64, call: impl FnOnce() -> Result<T>, act: impl FnOnce(T) -> Action) -> Result<Action> {
        self.seen_over(&self.line, object, call, act)
    }

    fn seen_over<T>(
        &self,
        line: &Line,
        object: u64,
        call: impl FnOnce() -> Result<T>,
        act: impl FnOnce(T) -> Action,
    ) -> Result<Action> {
        let begun = self.now();
        let action = act(call()?);
        let ended = self.now();
        let mut known = lock(&self.all.known);
        // What is looked up at a node without a quorum may be old.
        if matches!(action, Action::Get(_) | Action::Find(_)) && !line.in_contact() {
            known.spared += 1;
        } else {
            known.saw(self.me, object, action, (begun, ended));
        }
        drop(known);
        self.note(format!("object {object}: {action:?}"));
        Ok(action)
    }

    fn create(&mut self) -> Result<()> {
        let (number, value) = (self.fresh(), self.fresh());
        let template = data(number, value);
        let mut id = None;
        self.seen(
            number,
            || self.used.create(&self.user, template),
            |made| {
                id = Some(made.id);
                Action::Create(value)
            },
        )?;
        lock(&self.all.known).objects.extend(id.map(|id| (number, id)));
        Ok(())
    }

    /// Does something to any object.
    fn with_object(&mut self, work: impl FnOnce(&Self, u64, ObjectId) -> Result<()>) -> Result<()> {
        let objects: Vec<(u64, ObjectId)> = lock(&self.all.known).objects.iter().map(|(number, id)| (*number, *id)).collect();
        if objects.is_empty() {
            return Ok(());
        }
        // The newest are touched most, so that calls meet.
        let back = self.roll(objects.len() as u64).min(self.roll(objects.len() as u64)) as usize;
        let (number, id) = objects[objects.len() - 1 - back];
        work(self, number, id)
    }

    fn set(&mut self) -> Result<()> {
        let value = self.fresh();
        let changes = Template::from_iter([called(AttributeType::LABEL, &value.to_string())]);
        self.with_object(|me, number, id| {
            let set = || there(me.used.update(&me.user, id, changes));
            me.seen(number, set, |done| Action::Set { value, done: done.is_some() }).map(drop)
        })
    }

    fn get(&self, number: u64, id: ObjectId) -> Result<()> {
        let read = || there(self.used.read(&self.user, id, &[AttributeType::LABEL]));
        let action = self.seen(number, read, |read| Action::Get(read.and_then(|read| value_in(&read))))?;
        if *lock(&self.all.resting) == self.all.everybody().count() {
            lock(&self.all.known).last.insert(number, action != Action::Get(None));
        }
        Ok(())
    }

    fn find(&self, number: u64, id: ObjectId) -> Result<()> {
        let template = Template::from_iter([called(AttributeType::APPLICATION, &number.to_string())]);
        let mut odd = None;
        let look = |found: Vec<ObjectId>| {
            odd = (!found.is_empty() && found != [id]).then(|| format!("object {number} was found as {found:?}"));
            Action::Find(!found.is_empty())
        };
        self.seen(number, || self.found(&template), look)?;
        odd.into_iter().for_each(|told| self.broken(told));
        Ok(())
    }

    fn found(&self, template: &Template) -> Result<Vec<ObjectId>> {
        Ok(self.used.find(&self.user, template)?.into_iter().map(|found| found.id).collect())
    }

    fn destroy(&mut self) -> Result<()> {
        self.with_object(|me, number, id| {
            let destroy = || there(me.used.destroy(&me.user, id));
            me.seen(number, destroy, |done| Action::Destroy { done: done.is_some() }).map(drop)
        })
    }

    /// When nobody changes anything any more, all look at everything.
    fn rest(&mut self) -> Result<()> {
        *lock(&self.all.resting) += 1;
        while *lock(&self.all.resting) < self.all.everybody().count() {
            sleep(Duration::from_millis(20));
        }
        let objects = lock(&self.all.known).objects.clone();
        objects.into_iter().try_for_each(|(number, id)| self.get(number, id))?;
        let (there, _) = lock(&self.all.known).expected();
        let found = self.used.find(&self.user, &Template::new())?;
        let found: std::collections::BTreeSet<_> = found.into_iter().filter(|it| it.token).map(|it| it.id).collect();
        if found != there {
            let (lost, doubled) = (there.difference(&found).count(), found.difference(&there).count());
            self.broken(format!("of {} objects {lost} are lost, and {doubled} are there that nobody was promised", there.len()));
        }
        Ok(())
    }
}

/// What is destroyed is not there: that is an answer.
fn there<T>(answer: Result<T>) -> Result<Option<T>> {
    let is_gone = |error: &Error| matches!(error.code(), Code::ObjectHandleInvalid | Code::KeyHandleInvalid);
    match answer {
        Err(error) if is_gone(&error) => Ok(None),
        other => other.map(Some),
    }
}
