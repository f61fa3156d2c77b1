//! Random programs: sessions, logins, objects and operations, right and wrong.

mod operations;

use std::collections::BTreeSet;
use std::fmt;

use hsmpool::ck::{AttributeType, KeyType, MechanismType, ObjectClass};
use hsmpool::error::{Code, Result};
use hsmpool::mechanism::{Mechanism, Params};
use hsmpool::object::{Template, Value};
use hsmpool::secret::Secret;
use hsmpool::session::Library;
use hsmpool::token::Reading;

use crate::faults::Dice;
use crate::house::pin;
use crate::twins::{Origin, Twins};

/// Calls of one program.
const CALLS: usize = 250;
/// Longer than any result.
const ROOM: usize = 1024;
/// A private key of RFC 6979, A.2.5, and the curve that it is of.
const EC_VALUE: [u8; 32] = [
    0xc9, 0xaf, 0xa9, 0xd8, 0x45, 0xba, 0x75, 0x16, 0x6b, 0x5c, 0x21, 0x57, 0x67, 0xb1, 0xd6, 0x93, 0x4e, 0x50, 0xc3, 0xdb, 0x36,
    0xe8, 0x9b, 0x12, 0x7b, 0x8a, 0x62, 0x2b, 0x12, 0x0f, 0x67, 0x21,
];
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// What a caller was told.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Failed(Code),
    Nothing,
    /// An object or session was made.
    Made,
    /// Objects by their places in the program's list; how many others.
    Found(BTreeSet<usize>, usize),
    Bytes(Vec<u8>),
    Length(usize),
    TooSmall(usize),
    Read(Vec<String>),
}

impl Told {
    fn kind(&self) -> String {
        match self {
            Told::Failed(code) => format!("{code:?}"),
            Told::Nothing => "nothing".into(),
            Told::Made => "made".into(),
            Told::Found(known, _) if known.is_empty() => "found none".into(),
            Told::Found(..) => "found".into(),
            Told::Bytes(bytes) if bytes.is_empty() => "no bytes".into(),
            Told::Bytes(_) => "bytes".into(),
            Told::Length(_) => "a length".into(),
            Told::TooSmall(_) => "too small".into(),
            Told::Read(_) => "read".into(),
        }
    }
}

/// What a call does, without whom it does it to: the words before the first number, name or list.
fn verb(called: &str) -> String {
    let after =
        called.split_once(": ").map_or(called.trim_start_matches(|sign: char| sign == ' ' || sign.is_ascii_digit()), |it| it.1);
    let words = after.split_whitespace().take_while(|word| {
        !word.contains(|sign: char| sign.is_ascii_digit())
            && !["object", "nothing", "everything", "secret", "of", "with"].contains(word)
    });
    words.map(|word| word.trim_end_matches(',')).collect::<Vec<_>>().join(" ")
}

/// What came of a program.
pub struct Outcome {
    pub calls: Vec<String>,
    pub succeeded: usize,
    /// Which calls got which kinds of answers.
    pub reached: BTreeSet<String>,
    pub difference: Option<String>,
}

/// An object that both sides have.
struct Object {
    handles: [u64; 2],
    label: String,
    /// Both have the same key; otherwise each made one by chance.
    is_same: bool,
    key: Option<KeyType>,
}

struct Session {
    handles: [u64; 2],
    /// Whether what an operation gives has chance in it: for encryption, decryption, signature, verification.
    by_chance: [bool; 4],
    /// The operation that was begun last.
    begun: Option<usize>,
    /// Keys of operations that were begun, by their labels.
    keys: Vec<String>,
}

struct Program<'a> {
    twins: &'a Twins,
    dice: Dice,
    slots: [u64; 2],
    sessions: Vec<Session>,
    objects: Vec<Object>,
    made: usize,
    /// What the last encryption, signature and wrapping gave.
    text: Vec<u8>,
    signature: Vec<u8>,
    wrapped: Vec<u8>,
    calls: Vec<String>,
}

/// Runs the program of a seed, up to the first difference.
pub fn run(origin: &Origin, seed: u64, shows: bool) -> Outcome {
    let twins = Twins::new(origin, seed);
    let slots = twins.both(|library, _| Ok(library.slot_list(true, true)?[0])).map(Result::unwrap);
    let (dice, empty) = (Dice::new(seed ^ 0xd1ff), Vec::new());
    let (text, signature, wrapped) = (empty.clone(), empty.clone(), empty);
    let mut program = Program {
        twins: &twins,
        dice,
        slots,
        sessions: Vec::new(),
        objects: Vec::new(),
        made: 0,
        text,
        signature,
        wrapped,
        calls: Vec::new(),
    };
    let (mut succeeded, mut reached, mut difference) = (0, BTreeSet::new(), None);
    // Most programs begin as most applications do.
    let beginning: [fn(&mut Program<'_>) -> [Told; 2]; 2] = [|it| it.open(6), |it| it.log_in(1, "user-pin")];
    for at in 0..=CALLS {
        program.disturb();
        let [embedded, pooled] = match beginning.get(at) {
            Some(begin) => begin(&mut program),
            None if at == CALLS => program.find_all(),
            None => program.step(),
        };
        let called = program.calls.last().cloned().unwrap_or_default();
        if shows {
            println!("{called}: {}", short(&embedded));
        }
        reached.insert(format!("{}: {}", verb(&called), embedded.kind()));
        if embedded != pooled {
            difference = Some(format!("{called}: embedded {}, pool {}", short(&embedded), short(&pooled)));
            break;
        }
        succeeded += usize::from(!matches!(embedded, Told::Failed(_)));
    }
    Outcome { calls: program.calls, succeeded, reached, difference }
}

fn short(told: &Told) -> String {
    let whole = format!("{told:?}");
    match whole.char_indices().nth(200) {
        Some((at, _)) => format!("{}…", &whole[..at]),
        None => whole,
    }
}

fn mechanism(kind: MechanismType, params: Params) -> Mechanism {
    Mechanism { kind, params }
}

fn flag(kind: AttributeType, value: bool) -> (AttributeType, Value) {
    (kind, Value::Bool(value))
}

fn bytes(kind: AttributeType, value: &[u8]) -> (AttributeType, Value) {
    (kind, Value::Bytes(value.to_vec()))
}

fn nothing<T>(answers: [Result<T>; 2]) -> [Told; 2] {
    answers.map(|answer| answer.map_or_else(|error| Told::Failed(error.code()), |_| Told::Nothing))
}

impl Program<'_> {
    fn roll(&self, sides: usize) -> usize {
        self.dice.roll(sides as u64) as usize
    }

    fn chance(&self, of_hundred: usize) -> bool {
        self.roll(100) < of_hundred
    }

    fn note(&mut self, call: impl fmt::Display) {
        self.calls.push(format!("{:3} {call}", self.calls.len()));
    }

    /// The pool's network and nodes get better or worse; the embedded token has none.
    fn disturb(&self) {
        let network = &self.twins.house.network;
        match self.roll(24) {
            0 => network.lose(self.dice.roll(20), self.dice.roll(20)),
            1 => network.lose(0, 0),
            2 => network.kill_only(self.roll(3)),
            3 => network.kill_only(usize::MAX),
            _ => {}
        }
    }

    fn step(&mut self) -> [Told; 2] {
        match self.roll(100) {
            0..=2 => {
                let flags = [6, 6, 6, 4, 2][self.roll(5)];
                self.open(flags)
            }
            3 => self.close(),
            4..=6 => {
                let (user, pin) = [
                    (1, "user-pin"),
                    (1, "user-pin"),
                    (0, "so-pin"),
                    (1, "user-pin"),
                    (1, "user-pin"),
                    (1, "wrong"),
                    (7, "user-pin"),
                    (2, "user-pin"),
                ][self.roll(8)];
                self.log_in(user, pin)
            }
            7 => self.on_session("log out", |library, session| library.logout(session)),
            8..=17 => self.create(),
            18..=20 => self.generate(),
            21..=23 => self.copy(),
            24..=27 => self.set(),
            28..=33 => self.read(),
            34..=36 => self.destroy(),
            37..=41 => self.find(),
            42..=47 => self.begin(),
            48..=90 if self.sessions.iter().any(|session| session.begun.is_some()) || self.chance(10) => self.go_on(),
            48..=90 => self.begin(),
            91..=94 => self.wrap(),
            95..=97 => self.unwrap(),
            _ => self.on_session("cancel", |library, session| library.session_cancel(session, 0xffff)),
        }
    }

    /// Mostly one that is open.
    fn session(&self) -> (usize, [u64; 2]) {
        match self.sessions.is_empty() || self.chance(2) {
            true => (usize::MAX, [0xdead; 2]),
            false => {
                let at = self.roll(self.sessions.len());
                (at, self.sessions[at].handles)
            }
        }
    }

    /// Mostly one that was made.
    fn object(&self) -> Option<&Object> {
        let is_there = !self.objects.is_empty() && !self.chance(3);
        is_there.then(|| &self.objects[self.objects.len() - 1 - self.roll(self.objects.len().min(12))])
    }

    fn handles(object: Option<&Object>) -> [u64; 2] {
        object.map_or([0xbeef; 2], |object| object.handles)
    }

    fn on_session(&mut self, what: &str, call: impl Fn(&Library, u64) -> Result<()>) -> [Told; 2] {
        let (at, session) = self.session();
        self.note(format_args!("session {at}: {what}"));
        nothing(self.twins.both(|library, side| call(library, session[side])))
    }

    fn open(&mut self, flags: u64) -> [Told; 2] {
        self.note(format_args!("open a session with flags {flags}"));
        let made = self.twins.both(|library, side| library.open_session(self.slots[side], flags));
        if let [Ok(embedded), Ok(pooled)] = &made {
            self.sessions.push(Session { handles: [*embedded, *pooled], by_chance: [false; 4], begun: None, keys: Vec::new() });
        }
        nothing(made)
    }

    fn close(&mut self) -> [Told; 2] {
        let (at, session) = self.session();
        self.note(format_args!("close session {at}"));
        if at < self.sessions.len() {
            self.sessions.remove(at);
            // Its session objects go with it.
            self.end_operations_with(|_| true);
        }
        nothing(self.twins.both(|library, side| library.close_session(session[side])))
    }

    fn log_in(&mut self, user: u64, text: &str) -> [Told; 2] {
        self.on_session(&format!("log in {user} by {text}"), |library, session| library.login(session, user, &pin(text)))
    }

    /// A name that no other object has.
    fn label(&mut self) -> String {
        self.made += 1;
        format!("object {}", self.made)
    }

    fn template(&mut self, label: &str) -> (Template, Option<KeyType>) {
        let mut template = Template::from_iter([
            bytes(AttributeType::LABEL, label.as_bytes()),
            flag(AttributeType::TOKEN, self.chance(60)),
            flag(AttributeType::PRIVATE, self.chance(70)),
        ]);
        let usages = [
            AttributeType::ENCRYPT,
            AttributeType::DECRYPT,
            AttributeType::SIGN,
            AttributeType::VERIFY,
            AttributeType::WRAP,
            AttributeType::UNWRAP,
            AttributeType::EXTRACTABLE,
            AttributeType::SENSITIVE,
        ];
        let (class, key, value) = match self.roll(8) {
            0..=3 => (ObjectClass::SECRET_KEY, Some(KeyType::AES), vec![self.roll(7) as u8; [16, 32, 32, 17][self.roll(4)]]),
            4 | 5 => (ObjectClass::SECRET_KEY, Some(KeyType::GENERIC_SECRET), vec![self.roll(7) as u8; 32]),
            6 => (ObjectClass::PRIVATE_KEY, Some(KeyType::EC), EC_VALUE.to_vec()),
            _ => (ObjectClass::DATA, None, vec![9; self.roll(60)]),
        };
        template.set(AttributeType::CLASS, Value::Ulong(class.0));
        if let Some(key) = key {
            template.set(AttributeType::KEY_TYPE, Value::Ulong(key.0));
            template.set(AttributeType::VALUE, Value::Secret(Secret::new(value)));
            let is_public = key != KeyType::EC;
            for usage in usages.into_iter().filter(|usage| {
                is_public || !matches!(*usage, AttributeType::ENCRYPT | AttributeType::VERIFY | AttributeType::WRAP)
            }) {
                if self.chance(80) {
                    template.set(usage, Value::Bool(self.chance(85)));
                }
            }
        } else {
            template.set(AttributeType::VALUE, Value::Bytes(value));
        }
        if key == Some(KeyType::EC) {
            template.set(AttributeType::EC_PARAMS, Value::Bytes(P256.to_vec()));
        }
        // Something that is missing, or has no place here.
        match self.roll(14) {
            0 => drop(template.remove(AttributeType::CLASS)),
            1 => drop(template.remove(AttributeType::VALUE)),
            2 => drop(template.set(AttributeType::MODULUS_BITS, Value::Ulong(2048))),
            3 => drop(template.set(AttributeType::LOCAL, Value::Bool(true))),
            _ => {}
        }
        (template, key)
    }

    fn keep(&mut self, made: [Result<u64>; 2], label: String, is_same: bool, key: Option<KeyType>) -> [Told; 2] {
        if let [Ok(embedded), Ok(pooled)] = &made {
            self.objects.push(Object { handles: [*embedded, *pooled], label, is_same, key });
        }
        made.map(|made| made.map_or_else(|error| Told::Failed(error.code()), |_| Told::Made))
    }

    fn create(&mut self) -> [Told; 2] {
        let label = self.label();
        let ((at, session), (template, key)) = (self.session(), self.template(&label));
        self.note(format_args!("session {at}: create {label}, {key:?}"));
        let made = self.twins.both(|library, side| library.create_object(session[side], template.duplicate()));
        self.keep(made, label, true, key)
    }

    fn generate(&mut self) -> [Told; 2] {
        let (label, (at, session)) = (self.label(), self.session());
        let (kind, len) =
            [(MechanismType::AES_KEY_GEN, 32), (MechanismType::GENERIC_SECRET_KEY_GEN, 20), (MechanismType::AES_KEY_GEN, 5)]
                [self.roll(3)];
        let template = Template::from_iter([
            bytes(AttributeType::LABEL, label.as_bytes()),
            flag(AttributeType::TOKEN, self.chance(50)),
            flag(AttributeType::ENCRYPT, true),
            flag(AttributeType::SIGN, true),
            (AttributeType::VALUE_LEN, Value::Ulong(len)),
        ]);
        self.note(format_args!("session {at}: generate {label} by {kind}, {len} bytes"));
        let make = |library: &Library, side: usize| {
            library.generate_key(session[side], mechanism(kind, Params::None), template.duplicate())
        };
        let made = self.twins.both(make);
        let key = if kind == MechanismType::AES_KEY_GEN { KeyType::AES } else { KeyType::GENERIC_SECRET };
        self.keep(made, label, false, Some(key))
    }

    fn copy(&mut self) -> [Told; 2] {
        let (label, (at, session)) = (self.label(), self.session());
        let object = self.object();
        let (handles, is_same, key) = (Self::handles(object), object.is_some_and(|it| it.is_same), object.and_then(|it| it.key));
        let from = object.map_or("nothing".into(), |object| object.label.clone());
        let mut changes = Template::from_iter([bytes(AttributeType::LABEL, label.as_bytes())]);
        if self.chance(50) {
            changes.set(AttributeType::TOKEN, Value::Bool(self.chance(50)));
        }
        if self.chance(20) {
            changes.set(AttributeType::EXTRACTABLE, Value::Bool(self.chance(50)));
        }
        self.note(format_args!("session {at}: copy {from} to {label}"));
        let made = self.twins.both(|library, side| library.copy_object(session[side], handles[side], changes.duplicate()));
        self.keep(made, label, is_same, key)
    }

    fn set(&mut self) -> [Told; 2] {
        let ((at, session), object) = (self.session(), self.object());
        let (handles, name) = (Self::handles(object), object.map_or("nothing".into(), |object| object.label.clone()));
        let kinds = [
            AttributeType::ENCRYPT,
            AttributeType::SIGN,
            AttributeType::SENSITIVE,
            AttributeType::EXTRACTABLE,
            AttributeType::TOKEN,
        ];
        let (kind, value) = (kinds[self.roll(5)], self.chance(60));
        self.note(format_args!("session {at}: set {kind} of {name} to {value}"));
        let changes = Template::from_iter([flag(kind, value)]);
        self.end_operations_with(|key| *key == name);
        nothing(self.twins.both(|library, side| library.set_attributes(session[side], handles[side], changes.duplicate())))
    }

    fn read(&mut self) -> [Told; 2] {
        const KINDS: [AttributeType; 12] = [
            AttributeType::CLASS,
            AttributeType::LABEL,
            AttributeType::TOKEN,
            AttributeType::PRIVATE,
            AttributeType::KEY_TYPE,
            AttributeType::ENCRYPT,
            AttributeType::SENSITIVE,
            AttributeType::ALWAYS_SENSITIVE,
            AttributeType::NEVER_EXTRACTABLE,
            AttributeType::LOCAL,
            AttributeType::VALUE_LEN,
            AttributeType::VALUE,
        ];
        let ((at, session), object) = (self.session(), self.object());
        let (handles, name) = (Self::handles(object), object.map_or("nothing".into(), |object| object.label.clone()));
        let is_same = object.is_some_and(|object| object.is_same);
        let wanted: Vec<AttributeType> =
            KINDS.into_iter().filter(|kind| self.chance(50) && (is_same || *kind != AttributeType::VALUE)).collect();
        self.note(format_args!("session {at}: read {} attributes of {name}", wanted.len()));
        let show = |reading: Reading| match reading {
            Reading::Value(Value::Secret(secret)) => format!("secret {:02x?}", secret.expose()),
            Reading::Value(Value::Bytes(value)) => format!("{value:02x?}"),
            Reading::Value(Value::Ulong(value)) => value.to_string(),
            Reading::Value(Value::Bool(value)) => value.to_string(),
            Reading::Value(_) => "another value".into(),
            Reading::Sensitive => "sensitive".into(),
            Reading::Absent => "absent".into(),
        };
        let read = self.twins.both(|library, side| library.read_attributes(session[side], handles[side], &wanted));
        read.map(|read| {
            read.map_or_else(|error| Told::Failed(error.code()), |read| Told::Read(read.into_iter().map(show).collect()))
        })
    }

    fn destroy(&mut self) -> [Told; 2] {
        let ((at, session), object) = (self.session(), self.object());
        let (handles, name) = (Self::handles(object), object.map_or("nothing".into(), |object| object.label.clone()));
        self.note(format_args!("session {at}: destroy {name}"));
        self.end_operations_with(|key| *key == name);
        let destroyed = self.twins.both(|library, side| library.destroy_object(session[side], handles[side]));
        // Now and then it is tried again.
        if destroyed[0].is_ok() && self.chance(80) {
            self.objects.retain(|object| object.label != name);
        }
        nothing(destroyed)
    }

    /// An operation whose key is changed or destroyed goes on in an embedded token, and ends in a pool: the standard leaves it open, and so do we.
    fn end_operations_with(&mut self, is_meant: impl Fn(&String) -> bool) {
        for session in &mut self.sessions {
            if session.keys.iter().any(&is_meant) {
                session.keys.clear();
                // It may be closed, or have no operation: then there is nothing to end.
                let _ = self.twins.both(|library, side| library.session_cancel(session.handles[side], u64::MAX));
            }
        }
    }

    /// What a program leaves, as the user sees it: what was made twice is seen here at the latest.
    fn find_all(&mut self) -> [Told; 2] {
        let opened = self.open(6);
        let Some((at, session)) = self.sessions.last().map(|last| (self.sessions.len() - 1, last.handles)) else { return opened };
        // Whoever was logged in, or nobody.
        let _ = self.twins.both(|library, side| library.logout(session[side]));
        self.note(format_args!("session {at}: log in 1 by user-pin"));
        let [embedded, pooled] = nothing(self.twins.both(|library, side| library.login(session[side], 1, &pin("user-pin"))));
        match embedded == pooled {
            true => self.find_by(at, session, "everything", &Template::new()),
            false => [embedded, pooled],
        }
    }

    fn find(&mut self) -> [Told; 2] {
        let (at, session) = self.session();
        let label = self.object().map(|object| object.label.clone()).unwrap_or_default();
        let (what, template) = match self.roll(3) {
            0 => ("everything".into(), Template::new()),
            1 => ("secret keys".into(), Template::from_iter([(AttributeType::CLASS, Value::Ulong(ObjectClass::SECRET_KEY.0))])),
            _ => (label.clone(), Template::from_iter([bytes(AttributeType::LABEL, label.as_bytes())])),
        };
        self.find_by(at, session, &what, &template)
    }

    /// What is found has a name by which both sides' handles are told apart; handles that died are given anew.
    fn find_by(&mut self, at: usize, session: [u64; 2], what: &str, template: &Template) -> [Told; 2] {
        self.note(format_args!("session {at}: find {what}"));
        let found = self.twins.both(|library, side| {
            let session = session[side];
            library.find_objects_init(session, template.duplicate())?;
            let found = library.find_objects(session, 10_000);
            library.find_objects_final(session)?;
            let name = |handle: u64| -> Result<(u64, String)> {
                let read = library.read_attributes(session, handle, &[AttributeType::LABEL])?;
                let label = match read.into_iter().next() {
                    Some(Reading::Value(Value::Bytes(label))) => String::from_utf8_lossy(&label).into_owned(),
                    _ => String::new(),
                };
                Ok((handle, label))
            };
            found?.into_iter().map(name).collect::<Result<Vec<_>>>()
        });
        let mut told = Vec::new();
        for (side, found) in found.into_iter().enumerate() {
            told.push(match found {
                Err(error) => Told::Failed(error.code()),
                Ok(found) => {
                    let (mut known, all) = (BTreeSet::new(), found.len());
                    for (handle, label) in found {
                        if let Some(at) = self.objects.iter().position(|object| object.label == label) {
                            self.objects[at].handles[side] = handle;
                            known.insert(at);
                        }
                    }
                    let others = all - known.len();
                    Told::Found(known, others)
                }
            });
        }
        told.try_into().unwrap_or_else(|_| unreachable!("there are two sides"))
    }
}
