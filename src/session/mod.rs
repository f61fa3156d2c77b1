//! Sessions, logins and running operations: everything PKCS#11 remembers between two calls.
//!
//! One method of [`Library`] for each C function. Handles come in and go out as the numbers that the caller sees; inside they are typed.
//!
//! Locks, in the order in which they may be held together: a slot's gate · the list of slots · a slot's members · the table of
//! sessions · one session · the table of objects · a slot's login and token. Only the gate and the one session are held while a token
//! works, and a `C_InitToken` holds back no other slot.
//!
//! Knows: ck, error, faults, limits, mechanism, object, secret, sync, token, world.
//! Crates: parking_lot.

mod cipher;
mod digest;
#[cfg(test)]
pub(crate) mod fake;
mod find;
mod handle;
mod info;
mod key;
mod login;
mod object;
mod operation;
mod output;
mod saved;
mod sessions;
mod sign;
mod slot;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::ck::MechanismType;
use crate::error::{Code, Result, refuse};
use crate::faults::{self, Fault};
use crate::mechanism::table::{self, Row};
use crate::mechanism::{Mechanism, Params};
use crate::token::{Admin, Reference, Scope};
use crate::world::World;

use handle::{Counter, Handle, ObjectHandles};
use sessions::{Cells, Memo, Session, Sessions};
use slot::Slots;

pub use info::{LibraryInfo, MechanismInfo, SessionInfo, SlotInfo, TokenInfo};
pub use output::{Filled, Output};

/// What the module calls itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// hsmpool.
    #[default]
    Hsmpool,
    /// SoftHSM's strings, for applications that look for them.
    SoftHsm,
}

/// Which mechanisms are offered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum MechanismFilter {
    /// Every one that we have.
    #[default]
    All,
    /// These only.
    Only(Vec<MechanismType>),
    /// All but these.
    Except(Vec<MechanismType>),
}

impl MechanismFilter {
    /// Whether a mechanism is offered.
    pub fn allows(&self, kind: MechanismType) -> bool {
        match self {
            MechanismFilter::All => true,
            MechanismFilter::Only(kinds) => kinds.contains(&kind),
            MechanismFilter::Except(kinds) => !kinds.contains(&kind),
        }
    }
}

/// What a library is told when it is assembled.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// What it calls itself.
    pub identity: Identity,
    /// Whether slots carry `CKF_REMOVABLE_DEVICE`.
    pub removable: bool,
    /// Which mechanisms it offers.
    pub mechanisms: MechanismFilter,
    /// Whether it answers as SoftHSM where that differs from the standard (`C_Logout` when nobody is logged in).
    pub softhsm_codes: bool,
}

/// What `C_Initialize` makes.
pub struct Library {
    admin: Arc<dyn Admin>,
    world: Arc<dyn World>,
    settings: Settings,
    scope: Scope,
    counter: Counter,
    slots: Slots,
    sessions: Sessions,
    objects: ObjectHandles,
}

/// `CKF_FIND_OBJECTS`, which `C_SessionCancel` names a search with (PKCS#11 3.0, 5.6.11).
const FIND_OBJECTS: u64 = 0x40;

impl Library {
    /// Looks at the tokens that are there. Errors: what the store says; `RandomNoRng`.
    pub fn new(admin: Arc<dyn Admin>, world: Arc<dyn World>, settings: Settings) -> Result<Self> {
        let mut scope = [0; 16];
        world.fill_random(&mut scope)?;
        let scope = Scope(scope);
        let slots = Slots::new(&*admin, scope)?;
        let (counter, sessions, objects) = (Counter::new(), Sessions::new(), ObjectHandles::default());
        Ok(Self { admin, world, settings, scope, counter, slots, sessions, objects })
    }

    /// `C_Finalize`: all sessions, logins and session objects are gone. Draws no randomness.
    pub fn close(&self) {
        for session in self.sessions.take_all() {
            // Its slot may be gone from the list, with a token that somebody deleted.
            session.mark_closed();
            session.slot.leave_all();
        }
        for slot in self.slots.all() {
            slot.set_public();
            if let Some(token) = slot.token() {
                token.leave(&self.scope);
            }
        }
    }

    /// `C_OpenSession`. `flags`: `CKF_*` of the call.
    ///
    /// Errors: `SessionParallelNotSupported`, `SlotIdInvalid`, `TokenNotRecognized` (not initialised), `SessionReadWriteSoExists`, `SessionCount`.
    pub fn open_session(&self, slot: u64, flags: u64) -> Result<u64> {
        if flags & info::SERIAL_SESSION == 0 && !faults::on(Fault::ParallelSessions) {
            return Err(refuse(Code::SessionParallelNotSupported, "CKF_SERIAL_SESSION must be set"));
        }
        let slot = self.slots.get(slot)?;
        let place = self.sessions.reserve()?;
        slot.open(&self.counter, flags & info::RW_SESSION != 0, place).map(Handle::number)
    }

    /// `C_CloseSession`: the last one of a slot logs out. Errors: `SessionHandleInvalid`.
    pub fn close_session(&self, session: u64) -> Result<()> {
        let session = self.sessions.remove(Handle::of(session))?;
        let last = session.slot.leave(&session);
        self.bury(&session);
        match last && !faults::on(Fault::LastCloseKeepsLogin) {
            true => self.end_login_without_sessions(&session.slot, &*session.token),
            false => Ok(()),
        }
    }

    /// `C_CloseAllSessions`. Errors: `SlotIdInvalid`.
    pub fn close_all_sessions(&self, slot: u64) -> Result<()> {
        let slot = self.slots.get(slot)?;
        for session in slot.leave_all() {
            // One that is being closed by somebody else is left to them.
            if self.sessions.remove(session.handle).is_ok() {
                self.bury(&session);
            }
        }
        match slot.token() {
            Some(token) => self.end_login_without_sessions(&slot, &*token),
            None => Ok(()),
        }
    }

    /// Ends the operations and session objects of a session that nobody finds any more.
    fn bury(&self, session: &Session) {
        session.mark_closed();
        session.lock().cells = Cells::default();
        if faults::on(Fault::SessionObjectsStay) {
            return;
        }
        let made = self.objects.take_made(session.handle);
        if !made.is_empty() {
            session.token.forget(&self.scope, &made);
        }
    }

    /// `C_GetSessionInfo`. Errors: `SessionHandleInvalid`.
    pub fn session_info(&self, session: u64) -> Result<SessionInfo> {
        Ok(SessionInfo::of(&*self.session(session)?))
    }

    /// Errors: `SessionHandleInvalid`.
    pub fn check_session(&self, session: u64) -> Result<()> {
        self.session(session).map(drop)
    }

    /// `C_SessionCancel`: ends the operations that `flags` (`CKF_*` of mechanisms, `CKF_FIND_OBJECTS`) names; one that does not run
    /// counts as ended.
    pub fn session_cancel(&self, session: u64, flags: u64) -> Result<()> {
        let session = self.session(session)?;
        let cells = &mut session.lock().cells;
        for (flag, cell) in cells.all() {
            if flags & flag != 0 && !faults::on(Fault::CancelDoesNothing) {
                cell.cancel();
            }
        }
        if flags & FIND_OBJECTS != 0 {
            cells.find = None;
        }
        Ok(())
    }

    fn session(&self, number: u64) -> Result<Arc<Session>> {
        self.sessions.get(Handle::of(number))
    }

    /// The object behind a handle. `code` is what a wrong one answers.
    fn object(&self, session: &Session, number: u64, code: Code) -> Result<Reference> {
        self.objects.get(session.slot.id(), Handle::of(number)).ok_or_else(|| no_object(number, code))
    }

    /// The same for the hot path: the session remembers the last one.
    fn object_in(&self, memo: &mut Memo, session: &Session, handle: Handle<Reference>, code: Code) -> Result<Reference> {
        memo.object(session, &self.objects, handle).ok_or_else(|| no_object(handle.number(), code))
    }

    /// A new object's handle. A session object dies with the session that made it.
    ///
    /// Errors: `SessionClosed` for a session object whose session was closed meanwhile.
    fn adopt(&self, session: &Session, reference: Reference) -> Result<u64> {
        if let Some(handle) = self.objects.adopt(session, reference, &self.counter) {
            return Ok(handle.number());
        }
        session.token.forget(&self.scope, &[reference.id]);
        Err(refuse(Code::SessionClosed, "the session was closed while it made a session object"))
    }

    /// The row of a mechanism that is offered. Errors: `MechanismInvalid`.
    fn row(&self, kind: MechanismType) -> Result<&'static Row> {
        let row = table::find(kind).filter(|_| self.settings.mechanisms.allows(kind));
        row.ok_or_else(|| refuse(Code::MechanismInvalid, format!("{kind} is not offered")))
    }

    /// A mechanism that is offered, with handles in its parameter resolved.
    ///
    /// Errors: `MechanismInvalid`, `KeyHandleInvalid`.
    fn offered(&self, session: &Session, mut mechanism: Mechanism) -> Result<Mechanism> {
        self.row(mechanism.kind)?;
        if let Params::OtherHandle(handle) = mechanism.params {
            mechanism.params = Params::OtherKey(self.object(session, handle, Code::KeyHandleInvalid)?.id);
        }
        Ok(mechanism)
    }
}

fn no_object(number: u64, code: Code) -> crate::error::Error {
    refuse(code, format!("{number} is the handle of no object"))
}
