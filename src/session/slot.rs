//! Slots: one for each initialised token, and a spare one, listed last, whose token waits to be initialised.
//!
//! A slot's number is cut from the serial number, so it is the same in every process (SoftHSM's rule; 31 bits, because
//! Java reads it as a signed number). A token initialised in the spare slot keeps that number until `C_Finalize`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard, RwLock};

use super::handle::{ByHandle, Counter, Handle};
use super::sessions::{Place, Session};
use crate::error::{Code, Result, refuse};
use crate::faults::{self, Fault};
use crate::token::{Access, Admin, Role, Scope, Token, TokenId};

/// One slot. A login is the slot's: all sessions of the application with the token change together.
pub(super) struct Slot {
    id: u64,
    scope: Scope,
    token: RwLock<Option<(TokenId, Arc<dyn Token>)>>,
    /// Held by a login, a logout and an initialisation for their whole length, so that two of them do not cross.
    gate: Mutex<()>,
    /// Who is logged in, as a read-write session sees it.
    login: RwLock<Access>,
    /// Raised with each change of `login`, under its lock.
    login_epoch: AtomicU64,
    members: Mutex<Members>,
}

/// The sessions with a slot.
#[derive(Default)]
struct Members {
    open: ByHandle<Session, Arc<Session>>,
    read_only: usize,
    /// The token is being initialised: no session can be opened.
    initialising: bool,
}

impl Slot {
    fn new(id: u64, scope: Scope, token: Option<(TokenId, Arc<dyn Token>)>) -> Arc<Self> {
        Arc::new(Self {
            id,
            scope,
            token: RwLock::new(token),
            gate: Mutex::default(),
            login: RwLock::new(Access::public(scope, true)),
            login_epoch: AtomicU64::new(0),
            members: Mutex::default(),
        })
    }

    pub fn id(&self) -> u64 {
        self.id
    }

    /// The token, if it is initialised.
    pub fn token(&self) -> Option<Arc<dyn Token>> {
        self.token.read().as_ref().map(|(_, token)| token.clone())
    }

    pub fn token_id(&self) -> Option<TokenId> {
        self.token.read().as_ref().map(|(id, _)| *id)
    }

    /// Keeps other logins, logouts and initialisations out.
    pub fn close_gate(&self) -> MutexGuard<'_, ()> {
        self.gate.lock()
    }

    /// Who asks, through a session that may or may not write.
    pub fn access(&self, write: bool) -> Access {
        self.login.read().with_write(write || faults::on(Fault::ReadOnlySessionWrites))
    }

    /// The same, with the epoch that it belongs to.
    pub fn access_with_epoch(&self, write: bool) -> (u64, Access) {
        let login = self.login.read();
        (self.login_epoch(), login.with_write(write))
    }

    /// A number that changes with each login and logout.
    pub fn login_epoch(&self) -> u64 {
        self.login_epoch.load(Ordering::Acquire)
    }

    /// Who is logged in.
    pub fn role(&self) -> Option<Role> {
        self.login.read().role
    }

    fn set_login(&self, access: Access) -> Access {
        let mut login = self.login.write();
        self.login_epoch.fetch_add(1, Ordering::Release);
        std::mem::replace(&mut *login, access)
    }

    /// Nobody is logged in any more. Returns who was.
    pub fn set_public(&self) -> Access {
        self.set_login(Access::public(self.scope, true))
    }

    /// Opens a session; its handle is drawn only if nothing stands against it.
    ///
    /// Errors: `TokenNotRecognized`, `SessionReadWriteSoExists`.
    pub fn open(self: &Arc<Self>, counter: &Counter, read_write: bool, place: Place<'_>) -> Result<Handle<Session>> {
        let mut members = self.members.lock();
        if members.initialising {
            return Err(refuse(Code::TokenNotRecognized, "the slot's token is being initialised"));
        }
        let token = self.token().ok_or_else(|| refuse(Code::TokenNotRecognized, "the slot's token is not initialised"))?;
        let so_alone = self.role() == Some(Role::SecurityOfficer) && !faults::on(Fault::ReadOnlyBesideSo);
        if !read_write && so_alone {
            return Err(refuse(Code::SessionReadWriteSoExists, "no read-only session opens while the SO is logged in"));
        }
        let session = Arc::new(Session::new(counter.next(), self.clone(), token, read_write));
        members.open.insert(session.handle, session.clone());
        members.read_only += usize::from(!read_write);
        // Under the lock, so that who closes all sessions of the slot finds it in both tables.
        Ok(place.take(session))
    }

    /// A session is closed. Returns whether it was the last one.
    pub fn leave(&self, session: &Session) -> bool {
        let mut members = self.members.lock();
        if members.open.remove(&session.handle).is_some() {
            members.read_only -= usize::from(!session.read_write);
        }
        members.open.is_empty()
    }

    /// All sessions are closed. Returns them.
    pub fn leave_all(&self) -> Vec<Arc<Session>> {
        let mut members = self.members.lock();
        members.read_only = 0;
        members.open.drain().map(|(_, session)| session).collect()
    }

    pub fn sessions(&self) -> Vec<Arc<Session>> {
        self.members.lock().open.values().cloned().collect()
    }

    pub fn has_sessions(&self) -> bool {
        !self.members.lock().open.is_empty()
    }

    pub fn has_read_only_sessions(&self) -> bool {
        self.members.lock().read_only > 0
    }

    /// Logs in what a token has proven, unless the sessions have changed meanwhile. No session is opened between that look and the login.
    ///
    /// Errors: `SessionHandleInvalid` (closed by now), `SessionReadOnlyExists`.
    pub fn admit(&self, session: Handle<Session>, access: &Access) -> Result<()> {
        let members = self.members.lock();
        if !members.open.contains_key(&session) {
            return Err(refuse(Code::SessionHandleInvalid, "the session was closed during the login"));
        }
        if access.role == Some(Role::SecurityOfficer) && members.read_only > 0 {
            return Err(read_only_exists());
        }
        self.set_login(access.with_write(true));
        Ok(())
    }

    /// No session is opened until the answer is dropped. Errors: `SessionExists`.
    pub fn begin_initialisation(&self) -> Result<Initialising<'_>> {
        let mut members = self.members.lock();
        if !members.open.is_empty() && !faults::on(Fault::InitTokenUnderSessions) {
            return Err(refuse(Code::SessionExists, "close all sessions of the slot before its token is initialised"));
        }
        members.initialising = true;
        Ok(Initialising(self))
    }

    fn is_initialising(&self) -> bool {
        self.members.lock().initialising
    }
}

/// The SO and read-only sessions exclude one another.
pub(super) fn read_only_exists() -> crate::error::Error {
    refuse(Code::SessionReadOnlyExists, "the SO cannot log in while read-only sessions are open")
}

/// A token is being initialised; over when it is dropped, however that comes about.
pub(super) struct Initialising<'a>(&'a Slot);

impl Drop for Initialising<'_> {
    fn drop(&mut self) {
        self.0.members.lock().initialising = false;
    }
}

/// All slots of an application.
pub(super) struct Slots {
    scope: Scope,
    all: RwLock<Vec<Arc<Slot>>>,
}

impl Slots {
    /// Slots for the tokens that are there. Errors: what the store says.
    pub fn new(admin: &dyn Admin, scope: Scope) -> Result<Self> {
        let slots = Self { scope, all: RwLock::default() };
        slots.refresh(admin)?;
        Ok(slots)
    }

    pub fn all(&self) -> Vec<Arc<Slot>> {
        self.all.read().clone()
    }

    pub fn ids(&self) -> Vec<u64> {
        self.all.read().iter().map(|slot| slot.id).collect()
    }

    /// Errors: `SlotIdInvalid`.
    pub fn get(&self, id: u64) -> Result<Arc<Slot>> {
        let all = self.all.read();
        all.iter().find(|slot| slot.id == id).cloned().ok_or_else(|| refuse(Code::SlotIdInvalid, format!("{id} is no slot")))
    }

    /// Tokens that were made elsewhere get slots, those that were deleted lose theirs, and there is a spare slot at the end.
    pub fn refresh(&self, admin: &dyn Admin) -> Result<()> {
        // Only what had a slot before the look can be missing from it: anything else may have been made since.
        let before: Vec<TokenId> = self.all.read().iter().filter_map(|slot| slot.token_id()).collect();
        let mut tokens = Vec::new();
        for token in admin.tokens()? {
            match token.describe() {
                Ok(description) => tokens.push((description, token)),
                // Deleted since it was listed.
                Err(error) if error.code() == Code::TokenNotPresent => {}
                Err(error) => return Err(error),
            }
        }
        let mut all = self.all.write();
        let is_listed = |id| tokens.iter().any(|(description, _)| description.id == id);
        all.retain(|slot| slot.token_id().is_none_or(|id| is_listed(id) || !before.contains(&id)));
        // A token that is being made in a slot of ours must not get a second one: new tokens wait for the next look.
        let making = all.iter().any(|slot| slot.token_id().is_none() && slot.is_initialising());
        let spare = all.iter().position(|slot| slot.token_id().is_none()).map(|at| all.remove(at));
        for (description, token) in tokens {
            if !making && !all.iter().any(|slot| slot.token_id() == Some(description.id)) {
                let id = free_from(slot_number(&description.serial), &all);
                all.push(Slot::new(id, self.scope, Some((description.id, token))));
            }
        }
        let spare = spare.filter(|spare| !is_taken(spare.id, &all));
        let spare = spare.unwrap_or_else(|| Slot::new(free_from(all.len() as u64, &all), self.scope, None));
        all.push(spare);
        Ok(())
    }

    /// The slot's token is initialised. Nobody sees the slots change while this happens.
    pub fn settle(&self, slot: &Slot, initialising: Initialising<'_>, id: TokenId, token: Arc<dyn Token>) {
        let _all = self.all.write();
        *slot.token.write() = Some((id, token));
        drop(initialising);
    }
}

/// The last 8 hexadecimal digits of the serial number, without the highest bit. Other serials (imported ones) are hashed to 31 bits.
fn slot_number(serial: &[u8; 16]) -> u64 {
    let digits = std::str::from_utf8(&serial[8..]).ok().and_then(|text| u64::from_str_radix(text, 16).ok());
    let number = digits.unwrap_or_else(|| serial.iter().fold(5381, |hash: u64, byte| hash.wrapping_mul(33) ^ u64::from(*byte)));
    number & 0x7fff_ffff
}

fn is_taken(id: u64, slots: &[Arc<Slot>]) -> bool {
    slots.iter().any(|slot| slot.id == id)
}

/// The first number from there on that no slot has.
fn free_from(first: u64, slots: &[Arc<Slot>]) -> u64 {
    (first..).find(|id| !is_taken(*id, slots)).unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::slot_number;

    #[test]
    fn numbers_come_from_the_serial_and_have_31_bits() {
        let cases: [(&[u8; 16], u64); 4] = [
            (b"0123456789abcdef", 0x09ab_cdef),
            (b"0123456700000001", 1),
            (b"00000000ffffffff", 0x7fff_ffff),
            (b"A1B2C3D41234ABCD", 0x1234_abcd),
        ];
        for (serial, expected) in cases {
            assert_eq!(slot_number(serial), expected, "{}", String::from_utf8_lossy(serial));
        }
        let odd = slot_number(b"imported no. 007");
        assert_eq!(odd, slot_number(b"imported no. 007"));
        assert!(odd <= 0x7fff_ffff);
    }
}
