//! Sessions, logins and running operations: everything PKCS#11 remembers between two calls.
//!
//! One method of [`Library`] for each C function. Raw handle numbers come in and go out here; inside they are references.
//!
//! Knows: ck, error, limits, mechanism, object, secret, token, world.
//! Crates: parking_lot.

mod cipher;
mod digest;
mod handle;
mod key;
mod login;
mod object;
mod operation;
mod output;
mod saved;
mod sign;
mod slot;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::ck::MechanismType;
use crate::error::{Code, Result, refuse};
use crate::limits::SESSIONS_MAX;
use crate::mechanism::{Cipher, Digester, Mechanism, Params, Recover, Signer, Verifier, table};
use crate::object::ObjectId;
use crate::token::{Access, Admin, Reference, Scope, Token};
use crate::world::World;

use handle::{Counter, ObjectHandles};
use operation::Cell;
use slot::{Slot, Slots};

pub use output::{Filled, Output};
pub use slot::{LibraryInfo, MechanismInfo, SessionInfo, SlotInfo, TokenInfo};

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
}

/// What `C_Initialize` makes.
pub struct Library {
    admin: Arc<dyn Admin>,
    world: Arc<dyn World>,
    settings: Settings,
    scope: Scope,
    counter: Counter,
    slots: Slots,
    sessions: RwLock<HashMap<u64, Arc<Session>>>,
    objects: ObjectHandles,
}

/// One session.
struct Session {
    handle: u64,
    slot: Arc<Slot>,
    token: Arc<dyn Token>,
    read_write: bool,
    cells: Mutex<Cells>,
    /// Session objects that it made: they die with it.
    made: Mutex<Vec<ObjectId>>,
}

/// The operations of one session, each kind for itself.
#[derive(Default)]
struct Cells {
    digest: Cell<Box<dyn Digester>>,
    digest_kind: Option<MechanismType>,
    sign: Cell<Box<dyn Signer>>,
    verify: Cell<Box<dyn Verifier>>,
    sign_recover: Cell<Box<dyn Recover>>,
    verify_recover: Cell<Box<dyn Recover>>,
    encrypt: Cell<Box<dyn Cipher>>,
    decrypt: Cell<Box<dyn Cipher>>,
    /// Found and not yet fetched, last first.
    find: Option<Vec<u64>>,
}

impl Cells {
    /// Logout: whatever uses a key or shows objects ends; a plain digest goes on.
    fn end_all_but_digest(&mut self) {
        let (digest, digest_kind) = (std::mem::take(&mut self.digest), self.digest_kind);
        *self = Cells { digest, digest_kind, ..Cells::default() };
    }
}

impl Library {
    /// Looks at the tokens that are there. Errors: what the store says.
    pub fn new(admin: Arc<dyn Admin>, world: Arc<dyn World>, settings: Settings) -> Result<Self> {
        let mut scope = [0; 16];
        world.fill_random(&mut scope)?;
        let slots = Slots::new(&*admin)?;
        Ok(Self {
            admin,
            world,
            settings,
            scope: Scope(scope),
            counter: Counter::new(),
            slots,
            sessions: RwLock::default(),
            objects: ObjectHandles::default(),
        })
    }

    /// `C_Finalize`: all sessions, logins and session objects are gone. Draws no randomness.
    pub fn close(&self) {
        self.sessions.write().clear();
        for slot in self.slots.all() {
            if let Some(token) = slot.token() {
                token.leave(&self.scope);
            }
        }
    }

    /// `C_OpenSession`. `flags`: `CKF_*` of the call.
    ///
    /// Errors: `SessionParallelNotSupported`, `SlotIdInvalid`, `TokenNotRecognized` (not initialised), `SessionReadWriteSoExists`, `SessionCount`.
    pub fn open_session(&self, slot: u64, flags: u64) -> Result<u64> {
        if flags & slot::SERIAL_SESSION == 0 {
            return Err(refuse(Code::SessionParallelNotSupported, "CKF_SERIAL_SESSION must be set"));
        }
        let slot = self.slots.get(slot)?;
        let token = slot.token().ok_or_else(|| refuse(Code::TokenNotRecognized, "the slot's token is not initialised"))?;
        let read_write = flags & slot::RW_SESSION != 0;
        let mut sessions = self.sessions.write();
        if sessions.len() >= SESSIONS_MAX {
            return Err(refuse(Code::SessionCount, format!("{SESSIONS_MAX} sessions are open")));
        }
        if !read_write && slot.so_is_in() {
            return Err(refuse(Code::SessionReadWriteSoExists, "no read-only session opens while the SO is logged in"));
        }
        let handle = self.counter.next();
        let session = Session { handle, slot, token, read_write, cells: Mutex::default(), made: Mutex::default() };
        sessions.insert(handle, Arc::new(session));
        Ok(handle)
    }

    /// `C_CloseSession`.
    pub fn close_session(&self, session: u64) -> Result<()> {
        let mut sessions = self.sessions.write();
        let closed = sessions.remove(&session).ok_or_else(|| no_session(session))?;
        let last = !sessions.values().any(|other| Arc::ptr_eq(&other.slot, &closed.slot));
        drop(sessions);
        self.bury(&closed);
        if last {
            self.end_login(&closed.slot, &*closed.token)?;
        }
        Ok(())
    }

    /// `C_CloseAllSessions`.
    pub fn close_all_sessions(&self, slot: u64) -> Result<()> {
        let slot = self.slots.get(slot)?;
        let closed: Vec<Arc<Session>> = {
            let mut sessions = self.sessions.write();
            let closed: Vec<_> = sessions.values().filter(|session| Arc::ptr_eq(&session.slot, &slot)).cloned().collect();
            for session in &closed {
                sessions.remove(&session.handle);
            }
            closed
        };
        for session in &closed {
            self.bury(session);
        }
        match slot.token() {
            Some(token) => self.end_login(&slot, &*token),
            None => Ok(()),
        }
    }

    /// The session objects and operations of a session that nobody finds any more.
    fn bury(&self, session: &Session) {
        *session.cells.lock() = Cells::default();
        let made = std::mem::take(&mut *session.made.lock());
        if made.is_empty() {
            return;
        }
        session.token.forget(&self.scope, &made);
        self.objects.forget_if(session.slot.id(), |reference| made.contains(&reference.id));
    }

    /// `C_GetSessionInfo`.
    pub fn session_info(&self, session: u64) -> Result<SessionInfo> {
        let session = self.session(session)?;
        Ok(session.slot.session_info(session.read_write))
    }

    /// Errors: `SessionHandleInvalid`.
    pub fn check_session(&self, session: u64) -> Result<()> {
        self.session(session).map(drop)
    }

    /// `C_SessionCancel`: ends the operations that `flags` (`CKF_*` of mechanisms, `CKF_FIND_OBJECTS`) names.
    pub fn session_cancel(&self, session: u64, flags: u64) -> Result<()> {
        use crate::ck::flags as f;
        let session = self.session(session)?;
        let mut cells = session.cells.lock();
        let cells = &mut *cells;
        let named = |flag: u64| flags & flag != 0;
        if named(f::DIGEST) {
            cells.digest.cancel();
        }
        if named(f::SIGN) {
            cells.sign.cancel();
        }
        if named(f::VERIFY) {
            cells.verify.cancel();
        }
        if named(f::SIGN_RECOVER) {
            cells.sign_recover.cancel();
        }
        if named(f::VERIFY_RECOVER) {
            cells.verify_recover.cancel();
        }
        if named(f::ENCRYPT) {
            cells.encrypt.cancel();
        }
        if named(f::DECRYPT) {
            cells.decrypt.cancel();
        }
        if named(slot::FIND_OBJECTS) {
            cells.find = None;
        }
        Ok(())
    }

    fn session(&self, handle: u64) -> Result<Arc<Session>> {
        self.sessions.read().get(&handle).cloned().ok_or_else(|| no_session(handle))
    }

    fn sessions_of(&self, slot: &Arc<Slot>) -> Vec<Arc<Session>> {
        self.sessions.read().values().filter(|session| Arc::ptr_eq(&session.slot, slot)).cloned().collect()
    }

    fn access(&self, session: &Session) -> Arc<Access> {
        session.slot.access(self.scope, session.read_write)
    }

    /// The object behind a handle. `code` is what a wrong one answers.
    fn object(&self, session: &Session, handle: u64, code: Code) -> Result<Reference> {
        self.objects.get(session.slot.id(), handle).ok_or_else(|| refuse(code, format!("{handle} is the handle of no object")))
    }

    /// A new object's handle; session objects are noted, so that they die with the session.
    fn adopt(&self, session: &Session, reference: Reference) -> u64 {
        if !reference.token {
            session.made.lock().push(reference.id);
        }
        self.objects.handle(session.slot.id(), reference, &self.counter)
    }

    /// A mechanism that is offered, with handles in its parameter resolved.
    ///
    /// Errors: `MechanismInvalid`, `KeyHandleInvalid`.
    fn offered(&self, session: &Session, mut mechanism: Mechanism) -> Result<Mechanism> {
        if table::find(mechanism.kind).is_none() || !self.settings.mechanisms.allows(mechanism.kind) {
            return Err(refuse(Code::MechanismInvalid, format!("{} is not offered", mechanism.kind)));
        }
        if let Params::OtherHandle(handle) = mechanism.params {
            mechanism.params = Params::OtherKey(self.object(session, handle, Code::KeyHandleInvalid)?.id);
        }
        Ok(mechanism)
    }
}

fn no_session(handle: u64) -> crate::error::Error {
    refuse(Code::SessionHandleInvalid, format!("{handle} is no open session"))
}
