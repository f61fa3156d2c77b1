//! The session layer over a pool: numbers of sessions and objects, a search, operations of several calls, what a logout and the end of a session take along.

use std::sync::Arc;
use std::time::Duration;

use hsmpool::ck::{AttributeType, MechanismType};
use hsmpool::error::Result;
use hsmpool::history::Action;
use hsmpool::log::raft::ground::sleep;
use hsmpool::mechanism::{Mechanism, Params};
use hsmpool::object::{ObjectId, Template};
use hsmpool::session::{Filled, Library, Output, Settings};

use super::{Application, Applications, SESSION_KEYS_MAX, aes, called, data, mechanism, pin, there, value_in};
use crate::outside::{Line, Outside};
use crate::scheduler::Owner;

/// `CKF_SERIAL_SESSION | CKF_RW_SESSION`.
const READ_WRITE: u64 = 6;
/// `CKU_USER`.
const USER: u64 = 1;
/// Longer than any result.
const ROOM: usize = 256;

/// A second program of the application, whose module has everything down to the wire: one session, logged in.
pub struct Table {
    library: Library,
    pub line: Arc<Line>,
    slot: u64,
    session: u64,
    /// Keys of the session, and what they make of a block of zeros.
    keys: Vec<(u64, [u8; 16])>,
}

impl Table {
    pub fn open(all: &Arc<Applications>, me: Owner) -> Result<Self> {
        let (admin, line) = all.module(me)?;
        let library = Library::new(Arc::new(admin), Arc::new(Outside::new(&all.world, me)), Settings::default())?;
        let slots = library.slot_list(true, true)?;
        let is_used = |slot: &u64| library.token_info(*slot).is_ok_and(|info| info.label.starts_with(b"used "));
        let slot = slots.into_iter().find(is_used).expect("both tokens were made before applications begin");
        let session = library.open_session(slot, READ_WRITE)?;
        library.login(session, USER, &pin("user"))?;
        Ok(Self { library, line, slot, session, keys: Vec::new() })
    }

    fn found(&self, template: Template) -> Result<Vec<u64>> {
        self.library.find_objects_init(self.session, template)?;
        let found = self.library.find_objects(self.session, usize::MAX);
        self.library.find_objects_final(self.session)?;
        found
    }

    fn encrypt(&self, key: u64) -> Result<[u8; 16]> {
        let mut out = [0; 16];
        self.library.encrypt_init(self.session, Some(mechanism(MechanismType::AES_ECB)), key)?;
        self.library.encrypt(self.session, &[0; 16], Output::Buffer(&mut out))?;
        Ok(out)
    }

    /// A text in parts, with pauses in which anything may happen.
    fn encrypt_in_parts(&self, key: u64, text: &[u8], pause: impl Fn() -> Duration) -> Result<Vec<u8>> {
        self.library.encrypt_init(self.session, Some(padded()), key)?;
        let (mut whole, mut out) = (Vec::new(), [0; ROOM]);
        let mut keep = |filled, out: &[u8]| match filled {
            Filled::Length(len) => whole.extend_from_slice(&out[..len]),
            Filled::TooSmall(len) => panic!("{len} bytes of {ROOM}"),
        };
        for part in text.chunks(70) {
            keep(self.library.encrypt_update(self.session, part, Output::Buffer(&mut out))?, &out);
            sleep(pause());
        }
        keep(self.library.encrypt_final(self.session, Output::Buffer(&mut out))?, &out);
        Ok(whole)
    }
}

fn padded() -> Mechanism {
    Mechanism { kind: MechanismType::AES_CBC_PAD, params: Params::Iv(vec![7; 16]) }
}

fn named(number: u64) -> Template {
    Template::from_iter([called(AttributeType::APPLICATION, &number.to_string())])
}

impl Application {
    /// Something by way of the session layer.
    pub(super) fn by_a_session(&mut self, what: u64) -> Result<()> {
        match what {
            22 => self.session_creates(),
            23 | 24 => self.with_object(Self::session_meets),
            25 => self.session_uses_a_key(),
            26 => self.session_encrypts_in_parts(),
            _ if self.roll(2) == 0 => self.session_logs_out_and_in(),
            _ => self.session_is_closed(),
        }
    }

    fn session_creates(&mut self) -> Result<()> {
        let (number, value) = (self.fresh(), self.fresh());
        let create = |table: &Table| table.library.create_object(table.session, data(number, value));
        self.seen_by_session(number, create, |_| Action::Create(value))?;
        // The others know objects by their ids, which no handle tells. A node that is cut off may not have it.
        let mut ids = Vec::new();
        while ids.is_empty() {
            let find = || self.found(&named(number));
            self.seen(number, find, |found| {
                ids = found;
                Action::Find(!ids.is_empty())
            })?;
            sleep(Duration::from_millis(20));
        }
        super::lock(&self.all.known).objects.extend(ids.into_iter().map(|id| (number, id)));
        Ok(())
    }

    /// Looks for an object and does something to what was found.
    fn session_meets(&self, number: u64, _: ObjectId) -> Result<()> {
        let mut handles = Vec::new();
        self.seen_by_session(
            number,
            |table| table.found(named(number)),
            |found| {
                handles = found;
                Action::Find(!handles.is_empty())
            },
        )?;
        if handles.len() > 1 {
            self.broken(format!("object {number} was found {} times", handles.len()));
        }
        let Some(handle) = handles.first().copied() else { return Ok(()) };
        match self.roll(6) {
            0 => {
                let destroy = |table: &Table| there(table.library.destroy_object(table.session, handle));
                self.seen_by_session(number, destroy, |done| Action::Destroy { done: done.is_some() })?;
            }
            1 | 2 => {
                let value = self.all.world.scheduler.roll(u64::MAX >> 1);
                let changes = || Template::from_iter([called(AttributeType::LABEL, &value.to_string())]);
                let set = |table: &Table| there(table.library.set_attributes(table.session, handle, changes()));
                self.seen_by_session(number, set, |done| Action::Set { value, done: done.is_some() })?;
            }
            _ => {
                let read = |table: &Table| there(table.library.read_attributes(table.session, handle, &[AttributeType::LABEL]));
                self.seen_by_session(number, read, |read| Action::Get(read.and_then(|read| value_in(&read))))?;
            }
        }
        Ok(())
    }

    /// Makes, uses or destroys a key of the session.
    fn session_uses_a_key(&mut self) -> Result<()> {
        let label = format!("of a session {}", self.me);
        if self.table.keys.is_empty() || (self.table.keys.len() < SESSION_KEYS_MAX && self.roll(3) == 0) {
            let generate = mechanism(MechanismType::AES_KEY_GEN);
            let key = self.table.library.generate_key(self.table.session, generate, aes(&label, false))?;
            let makes = self.table.encrypt(key)?;
            self.table.keys.push((key, makes));
        }
        let at = self.roll(self.table.keys.len() as u64) as usize;
        let (key, makes) = self.table.keys[at];
        if self.table.encrypt(key)? != makes {
            self.broken("a key of a session makes something else".into());
        }
        if self.roll(4) == 0 {
            self.table.keys.swap_remove(at);
            self.table.library.destroy_object(self.table.session, key)?;
            if there(self.table.encrypt(key))?.is_some() {
                self.broken("a key of a session was used after its destruction".into());
            }
        }
        self.session_has_its_keys(&label)
    }

    fn session_has_its_keys(&self, label: &str) -> Result<()> {
        let mut found = self.table.found(Template::from_iter([called(AttributeType::LABEL, label)]))?;
        let mut keys: Vec<u64> = self.table.keys.iter().map(|(key, _)| *key).collect();
        found.sort_unstable();
        keys.sort_unstable();
        if found != keys {
            self.broken(format!("a session has the keys {keys:?}, and finds {found:?}"));
        }
        Ok(())
    }

    fn session_encrypts_in_parts(&mut self) -> Result<()> {
        let Some((key, _)) = self.table.keys.first().copied() else { return self.session_uses_a_key() };
        let text: Vec<u8> = (0..200).collect();
        let parts = self.table.encrypt_in_parts(key, &text, || Duration::from_millis(self.roll(1500)))?;
        let mut whole = [0; ROOM];
        self.table.library.encrypt_init(self.table.session, Some(padded()), key)?;
        let filled = self.table.library.encrypt(self.table.session, &text, Output::Buffer(&mut whole))?;
        if filled != Filled::Length(parts.len()) || whole[..parts.len()] != parts {
            self.broken("a session's operation in parts made something else than at once".into());
        }
        Ok(())
    }

    fn session_logs_out_and_in(&mut self) -> Result<()> {
        self.table.library.logout(self.table.session)?;
        let old = std::mem::take(&mut self.table.keys);
        self.table.library.login(self.table.session, USER, &pin("user"))?;
        self.are_dead(&old, "a logout")
    }

    fn session_is_closed(&mut self) -> Result<()> {
        let before = self.table.session;
        self.table.session = self.table.library.open_session(self.table.slot, READ_WRITE)?;
        self.table.library.close_session(before)?;
        let old = std::mem::take(&mut self.table.keys);
        if self.table.library.check_session(before).is_ok() {
            self.broken("a closed session is there".into());
        }
        self.are_dead(&old, "the end of their session")
    }

    fn are_dead(&self, keys: &[(u64, [u8; 16])], what: &str) -> Result<()> {
        for (key, _) in keys {
            if there(self.table.encrypt(*key))?.is_some() {
                self.broken(format!("a key outlived {what}"));
            }
        }
        self.session_has_its_keys(&format!("of a session {}", self.me))
    }
}
