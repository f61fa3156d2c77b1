//! Logins and PINs. A login is per token and application: all sessions of the slot change together.

use std::sync::Arc;

use super::slot::Slot;
use super::{Library, Session};
use crate::error::{Code, Result, refuse};
use crate::secret::Secret;
use crate::token::{Role, Token};

const CKU_SO: u64 = 0;
const CKU_USER: u64 = 1;
const CKU_CONTEXT_SPECIFIC: u64 = 2;

impl Library {
    /// `C_Login`.
    ///
    /// Errors: `UserTypeInvalid`, `UserAlreadyLoggedIn`, `UserAnotherAlreadyLoggedIn`, `SessionReadOnlyExists`, `PinIncorrect`, `PinLocked`,
    /// `UserPinNotInitialized`, `OperationNotInitialized` (context-specific, and no operation waits).
    pub fn login(&self, session: u64, user_type: u64, pin: &Secret) -> Result<()> {
        let session = self.session(session)?;
        let role = match user_type {
            CKU_SO => Role::SecurityOfficer,
            CKU_USER => Role::User,
            CKU_CONTEXT_SPECIFIC => return self.authenticate(&session, pin),
            other => return Err(refuse(Code::UserTypeInvalid, format!("there is no user type {other}"))),
        };
        let slot = &session.slot;
        let _gate = slot.login_gate.lock();
        match slot.role() {
            Some(own) if own == role => return Err(refuse(Code::UserAlreadyLoggedIn, "this user is logged in already")),
            Some(_) => return Err(refuse(Code::UserAnotherAlreadyLoggedIn, "another user is logged in: log out first")),
            None => {}
        }
        if role == Role::SecurityOfficer && self.sessions_of(slot).iter().any(|session| !session.read_write) {
            return Err(refuse(Code::SessionReadOnlyExists, "the SO cannot log in while read-only sessions are open"));
        }
        let access = session.token.login(&self.scope, role, pin)?;
        // No session is opened between this look and the login: sessions are opened and looked at under their table's lock.
        let sessions = self.sessions.write();
        let read_only = sessions.values().any(|other| Arc::ptr_eq(&other.slot, slot) && !other.read_write);
        let gone = !sessions.contains_key(&session.handle);
        if gone || (role == Role::SecurityOfficer && read_only) {
            drop(sessions);
            session.token.logout(&access)?;
            return Err(match gone {
                true => refuse(Code::SessionHandleInvalid, "the session was closed during the login"),
                false => refuse(Code::SessionReadOnlyExists, "a read-only session was opened during the login"),
            });
        }
        slot.set_login(Some(&access));
        Ok(())
    }

    /// `C_LoginUser` with an empty name is `C_Login`. Errors: `FunctionNotSupported` for named users.
    pub fn login_user(&self, session: u64, user_type: u64, pin: &Secret, username: &[u8]) -> Result<()> {
        if username.is_empty() {
            return self.login(session, user_type, pin);
        }
        self.check_session(session)?;
        Err(refuse(Code::FunctionNotSupported, "named users are not offered yet: pass an empty user name"))
    }

    /// `C_Logout`: operations with keys end, private objects lose their handles, private session objects are gone.
    pub fn logout(&self, session: u64) -> Result<()> {
        let session = self.session(session)?;
        let _gate = session.slot.login_gate.lock();
        if session.slot.role().is_none() {
            return Err(refuse(Code::UserNotLoggedIn, "nobody is logged in"));
        }
        self.end_login_gated(&session.slot, &*session.token)
    }

    /// After the last session of a slot was closed.
    pub(super) fn end_login(&self, slot: &Arc<Slot>, token: &dyn Token) -> Result<()> {
        let _gate = slot.login_gate.lock();
        // Somebody may have opened a session meanwhile; a login that it made since must stand.
        if slot.role().is_none() || !self.sessions_of(slot).is_empty() {
            return Ok(());
        }
        self.end_login_gated(slot, token)
    }

    fn end_login_gated(&self, slot: &Arc<Slot>, token: &dyn Token) -> Result<()> {
        let access = slot.access(self.scope, true);
        slot.set_login(None);
        for session in self.sessions_of(slot) {
            session.cells.lock().end_all_but_digest();
        }
        self.objects.forget_if(slot.id(), |reference| reference.private);
        token.logout(&access)
    }

    fn authenticate(&self, session: &Session, pin: &Secret) -> Result<()> {
        let mut cells = session.cells.lock();
        let waiting = cells.sign.wants_permit()
            || cells.decrypt.wants_permit()
            || cells.sign_recover.wants_permit()
            || cells.encrypt.wants_permit()
            || cells.verify.wants_permit()
            || cells.verify_recover.wants_permit();
        if !waiting {
            return Err(refuse(Code::OperationNotInitialized, "no operation waits for a context-specific login"));
        }
        let permit = session.token.authenticate(&self.access(session), pin)?;
        let cells = &mut *cells;
        // One login, one operation: the first that waits, private-key operations before others.
        if cells.sign.wants_permit() {
            cells.sign.spend(permit);
        } else if cells.decrypt.wants_permit() {
            cells.decrypt.spend(permit);
        } else if cells.sign_recover.wants_permit() {
            cells.sign_recover.spend(permit);
        } else if cells.encrypt.wants_permit() {
            cells.encrypt.spend(permit);
        } else if cells.verify.wants_permit() {
            cells.verify.spend(permit);
        } else {
            cells.verify_recover.spend(permit);
        }
        Ok(())
    }

    /// `C_InitPIN`.
    pub fn init_pin(&self, session: u64, pin: &Secret) -> Result<()> {
        let session = self.session(session)?;
        if session.slot.role() != Some(Role::SecurityOfficer) {
            return Err(refuse(Code::UserNotLoggedIn, "only the SO sets the user's PIN"));
        }
        session.token.init_pin(&self.access(&session), pin)
    }

    /// `C_SetPIN`: the logged-in role's PIN; the user's in a public session.
    pub fn set_pin(&self, session: u64, old: &Secret, new: &Secret) -> Result<()> {
        let session = self.session(session)?;
        if !session.read_write {
            return Err(refuse(Code::SessionReadOnly, "a PIN is changed in a read-write session only"));
        }
        session.token.set_pin(&self.access(&session), old, new)
    }
}
