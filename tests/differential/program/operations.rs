//! Operations with keys: begun, gone on with and ended, in any order; keys wrapped and unwrapped.

use hsmpool::ck::{AttributeType, KeyType, MechanismType, ObjectClass};
use hsmpool::error::Result;
use hsmpool::mechanism::{Mechanism, Params};
use hsmpool::object::{Template, Value};
use hsmpool::session::{Filled, Library, Output};

use super::{Program, ROOM, Told, bytes, flag, mechanism, nothing};

/// What a call that goes on or ends is given.
struct On<'a> {
    library: &'a Library,
    session: u64,
    data: &'a [u8],
    signature: &'a [u8],
    /// Of the caller's buffer; `None`: there is none, and only the length is asked for.
    room: Option<usize>,
}

impl On<'_> {
    fn fill(&self, work: impl FnOnce(Output<'_>) -> Result<Filled>) -> Result<Told> {
        let mut buffer = vec![0; self.room.unwrap_or(0)];
        let filled = work(if self.room.is_some() { Output::Buffer(&mut buffer) } else { Output::Query })?;
        Ok(match filled {
            Filled::Length(len) if self.room.is_some() => Told::Bytes(buffer[..len].to_vec()),
            Filled::Length(len) => Told::Length(len),
            Filled::TooSmall(len) => Told::TooSmall(len),
        })
    }
}

fn done(answer: Result<()>) -> Result<Told> {
    answer.map(|()| Told::Nothing)
}

type Verb = fn(&On<'_>) -> Result<Told>;

/// Three of each operation, in the order in which [`Program::begin`] numbers them.
const VERBS: [(&str, Verb); 14] = [
    ("encrypt", |on| on.fill(|out| on.library.encrypt(on.session, on.data, out))),
    ("encrypt a part", |on| on.fill(|out| on.library.encrypt_update(on.session, on.data, out))),
    ("end the encryption", |on| on.fill(|out| on.library.encrypt_final(on.session, out))),
    ("decrypt", |on| on.fill(|out| on.library.decrypt(on.session, on.data, out))),
    ("decrypt a part", |on| on.fill(|out| on.library.decrypt_update(on.session, on.data, out))),
    ("end the decryption", |on| on.fill(|out| on.library.decrypt_final(on.session, out))),
    ("sign", |on| on.fill(|out| on.library.sign(on.session, on.data, out))),
    ("sign a part", |on| done(on.library.sign_update(on.session, on.data))),
    ("end the signature", |on| on.fill(|out| on.library.sign_final(on.session, out))),
    ("verify", |on| done(on.library.verify(on.session, on.data, on.signature))),
    ("verify a part", |on| done(on.library.verify_update(on.session, on.data))),
    ("end the verification", |on| done(on.library.verify_final(on.session, on.signature))),
    ("digest a part", |on| done(on.library.digest_update(on.session, on.data))),
    ("end the digest", |on| on.fill(|out| on.library.digest_final(on.session, out))),
];

impl Program<'_> {
    /// A mechanism for keys of this type, mostly right.
    fn a_mechanism(&self, key: Option<KeyType>) -> Mechanism {
        let iv = Params::Iv(vec![3; [16, 16, 16, 15][self.roll(4)]]);
        let gcm = Params::Gcm { iv: vec![4; 12], aad: vec![5; self.roll(20)], tag_bits: 128 };
        let ctr = Params::Ctr { counter_bits: 64, block: [6; 16] };
        let key = if self.chance(6) { None } else { key };
        let (kind, params) = match (key, self.roll(6)) {
            (Some(KeyType::AES), 0) => (MechanismType::AES_ECB, Params::None),
            (Some(KeyType::AES), 1) => (MechanismType::AES_CBC, iv),
            (Some(KeyType::AES), 2) => (MechanismType::AES_CBC_PAD, iv),
            (Some(KeyType::AES), 3) => (MechanismType::AES_CTR, ctr),
            (Some(KeyType::AES), 4) => (MechanismType::AES_GCM, gcm),
            (Some(KeyType::AES), _) => (MechanismType::AES_CMAC, Params::None),
            (Some(KeyType::GENERIC_SECRET), 0..=3) => (MechanismType::SHA256_HMAC, Params::None),
            (Some(KeyType::GENERIC_SECRET), _) => (MechanismType::SHA512_HMAC, Params::None),
            (Some(KeyType::EC), 0..=2) => (MechanismType::ECDSA, Params::None),
            (Some(KeyType::EC), _) => (MechanismType::ECDSA_SHA256, Params::None),
            (_, 0) => (MechanismType::RSA_PKCS, Params::None),
            (_, 1) => (MechanismType::AES_KEY_GEN, Params::None),
            (_, 2) => (MechanismType::AES_CBC, Params::None),
            _ => (MechanismType::SHA256, Params::None),
        };
        mechanism(kind, params)
    }

    pub(super) fn begin(&mut self) -> [Told; 2] {
        let key = (0..4).map(|_| self.object()).find(|object| object.is_some_and(|object| object.key.is_some())).flatten();
        let ((at, session), object) = (self.session(), if self.chance(90) { key } else { self.object() });
        let (handles, name) = (Self::handles(object), object.map_or("nothing".into(), |object| object.label.clone()));
        let (key, is_same) = (object.and_then(|object| object.key), object.is_some_and(|object| object.is_same));
        let mechanism = self.a_mechanism(key);
        // Where each side has a key of its own, what one has made the other one cannot undo.
        let verb = if is_same { self.roll(5) } else { [0, 2, 4][self.roll(3)] };
        let mac = matches!(mechanism.kind, MechanismType::AES_CMAC | MechanismType::SHA256_HMAC | MechanismType::SHA512_HMAC);
        let verb = if (mac || key == Some(KeyType::EC)) && verb < 2 && self.chance(80) { verb + 2 } else { verb };
        let word = ["encrypt", "decrypt", "sign", "verify", "digest"][verb];
        self.note(format_args!("session {at}: begin to {word} by {} with {name}", mechanism.kind));
        let begun = self.twins.both(|library, side| {
            let (session, key, by) = (session[side], handles[side], Some(mechanism.clone()));
            match verb {
                0 => library.encrypt_init(session, by, key),
                1 => library.decrypt_init(session, by, key),
                2 => library.sign_init(session, by, key),
                3 => library.verify_init(session, by, key),
                _ => library.digest_init(session, by),
            }
        });
        if let (Some(session), true) = (self.sessions.get_mut(at), begun[0].is_ok()) {
            if let Some(by_chance) = session.by_chance.get_mut(verb) {
                *by_chance = !is_same || key == Some(KeyType::EC);
            }
            session.keys.push(name);
            session.begun = Some(verb);
        }
        nothing(begun)
    }

    /// Whatever may come after a beginning, or not.
    pub(super) fn go_on(&mut self) -> [Told; 2] {
        let busy = self.sessions.iter().position(|session| session.begun.is_some()).filter(|_| self.chance(90));
        let (at, session) = busy.map_or_else(|| self.session(), |at| (at, self.sessions[at].handles));
        let begun = self.sessions.get(at).and_then(|session| session.begun).filter(|_| self.chance(80));
        let verb = begun.map_or(self.roll(VERBS.len()), |begun| (3 * begun + self.roll(3)).min(VERBS.len() - 1));
        let data: Vec<u8> = match self.roll(4) {
            0 if matches!(verb, 3..=5) => self.text.clone(),
            _ => vec![self.roll(200) as u8; [0, 1, 15, 16, 32, 48, 100][self.roll(7)]],
        };
        let signature = if self.chance(80) { self.signature.clone() } else { vec![1; self.roll(70)] };
        let room = [None, Some(self.roll(20)), Some(ROOM), Some(ROOM), Some(ROOM), Some(ROOM)][self.roll(6)];
        self.note(format_args!("session {at}: {}, {} bytes, room {room:?}", VERBS[verb].0, data.len()));
        let told = self.twins.both(|library, side| {
            VERBS[verb].1(&On { library, session: session[side], data: &data, signature: &signature, room })
        });
        let told = told.map(|told| told.unwrap_or_else(|error| Told::Failed(error.code())));
        let goes_on = matches!(told[0], Told::Length(_) | Told::TooSmall(_)) || matches!(verb, 1 | 4 | 7 | 10 | 12);
        if let Some(session) = self.sessions.get_mut(at).filter(|_| !goes_on || matches!(told[0], Told::Failed(_))) {
            session.begun = None;
        }
        if let Told::Bytes(made) = &told[0] {
            match verb {
                0 => self.text.clone_from(made),
                6 | 8 => self.signature.clone_from(made),
                _ => {}
            }
        }
        let by_chance =
            self.sessions.get(at).and_then(|session| session.by_chance.get(verb / 3)).is_some_and(|by_chance| *by_chance);
        match told {
            [Told::Bytes(one), Told::Bytes(other)] if by_chance => [Told::Length(one.len()), Told::Length(other.len())],
            told => told,
        }
    }

    pub(super) fn wrap(&mut self) -> [Told; 2] {
        let ((at, session), by, what) = (self.session(), self.object(), self.object());
        let ((by_handles, what_handles), room) =
            ((Self::handles(by), Self::handles(what)), if self.chance(80) { ROOM } else { 7 });
        let is_same = by.is_some_and(|by| by.is_same) && what.is_some_and(|what| what.is_same);
        let names = [by, what].map(|object| object.map_or("nothing".into(), |object| object.label.clone()));
        self.note(format_args!("session {at}: wrap {} under {}, room {room}", names[1], names[0]));
        let told = self.twins.both(|library, side| {
            let (mut buffer, by) = (vec![0; room], mechanism(MechanismType::AES_KEY_WRAP_KWP, Params::None));
            let filled =
                library.wrap_key(session[side], by, by_handles[side], what_handles[side], Output::Buffer(&mut buffer))?;
            Ok(match filled {
                Filled::Length(len) => Told::Bytes(buffer[..len].to_vec()),
                Filled::TooSmall(len) => Told::TooSmall(len),
            })
        });
        let told = told.map(|told| told.unwrap_or_else(|error| Told::Failed(error.code())));
        match told {
            [Told::Bytes(one), Told::Bytes(other)] if !is_same => [Told::Length(one.len()), Told::Length(other.len())],
            [Told::Bytes(one), other] => {
                self.wrapped.clone_from(&one);
                [Told::Bytes(one), other]
            }
            told => told,
        }
    }

    pub(super) fn unwrap(&mut self) -> [Told; 2] {
        let ((at, session), label) = (self.session(), self.label());
        let by = self.objects.iter().rfind(|object| object.is_same && object.key == Some(KeyType::AES));
        let (handles, name) = (Self::handles(by), by.map_or("nothing".into(), |object| object.label.clone()));
        let key = [KeyType::AES, KeyType::GENERIC_SECRET][self.roll(2)];
        let template = Template::from_iter([
            bytes(AttributeType::LABEL, label.as_bytes()),
            (AttributeType::CLASS, Value::Ulong(ObjectClass::SECRET_KEY.0)),
            (AttributeType::KEY_TYPE, Value::Ulong(key.0)),
            flag(AttributeType::TOKEN, self.chance(50)),
            flag(AttributeType::ENCRYPT, true),
        ]);
        self.note(format_args!("session {at}: unwrap {label} with {name}"));
        let made = self.twins.both(|library, side| {
            let by = mechanism(MechanismType::AES_KEY_WRAP_KWP, Params::None);
            library.unwrap_key(session[side], by, handles[side], &self.wrapped, template.duplicate())
        });
        self.keep(made, label, true, Some(key))
    }
}
