//! Logins and PINs. A login is per token and application: all sessions of the slot change together.

use super::Library;
use super::sessions::{Inside, Session};
use super::slot::{Slot, read_only_exists};
use crate::error::{Code, Error, Result, refuse};
use crate::faults::{self, Fault};
use crate::secret::Secret;
use crate::token::{Role, Token};

const CKU_SO: u64 = 0;
const CKU_USER: u64 = 1;
const CKU_CONTEXT_SPECIFIC: u64 = 2;

impl Library {
    /// `C_Login`.
    ///
    /// Errors: `UserTypeInvalid`, `SessionReadOnlyExists`, `UserAlreadyLoggedIn`, `UserAnotherAlreadyLoggedIn`, `PinIncorrect`,
    /// `PinLocked`, `UserPinNotInitialized`; `OperationNotInitialized` for a context-specific login that no operation waits for.
    pub fn login(&self, session: u64, user_type: u64, pin: &Secret) -> Result<()> {
        let session = self.session(session)?;
        let role = match user_type {
            CKU_SO => Role::SecurityOfficer,
            CKU_USER => Role::User,
            CKU_CONTEXT_SPECIFIC => return self.authenticate(&session, pin),
            _ if faults::on(Fault::AnyUserTypeIsUser) => Role::User,
            other => return Err(refuse(Code::UserTypeInvalid, format!("there is no user type {other}"))),
        };
        let slot = &session.slot;
        let _gate = slot.close_gate();
        if role == Role::SecurityOfficer && slot.has_read_only_sessions() {
            return Err(read_only_exists());
        }
        match slot.role() {
            Some(own) if own == role && faults::on(Fault::SecondLoginIsOk) => return Ok(()),
            Some(own) if own == role => return Err(refuse(Code::UserAlreadyLoggedIn, "this user is logged in already")),
            Some(_) => return Err(refuse(Code::UserAnotherAlreadyLoggedIn, "another user is logged in: log out first")),
            None => {}
        }
        let access = session.token.login(&self.scope, role, pin)?;
        if let Err(refusal) = slot.admit(session.handle, &access) {
            session.token.logout(&access)?;
            return Err(refusal);
        }
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
    ///
    /// Errors: `UserNotLoggedIn`, unless SoftHSM's codes are asked for: it has nothing against logging out twice.
    pub fn logout(&self, session: u64) -> Result<()> {
        let session = self.session(session)?;
        let _gate = session.slot.close_gate();
        if session.slot.role().is_some() {
            return self.end_login(&session.slot, &*session.token);
        }
        match self.settings.softhsm_codes {
            true => Ok(()),
            false => Err(refuse(Code::UserNotLoggedIn, "nobody is logged in")),
        }
    }

    /// After the last session of a slot was closed.
    pub(super) fn end_login_without_sessions(&self, slot: &Slot, token: &dyn Token) -> Result<()> {
        let _gate = slot.close_gate();
        // Somebody may have opened a session meanwhile: that counts as if it had been opened before the last one was closed.
        if slot.role().is_none() || slot.has_sessions() {
            return Ok(());
        }
        self.end_login(slot, token)
    }

    /// Ends the login of a slot whose gate is closed.
    fn end_login(&self, slot: &Slot, token: &dyn Token) -> Result<()> {
        let access = slot.set_public();
        // A call in progress may have begun as the user: wait for it, then end what it started.
        for session in slot.sessions() {
            if !faults::on(Fault::LogoutKeepsOperations) {
                session.lock().cells.end_at_logout();
            }
        }
        self.objects.forget_if(slot.id(), |reference| reference.private && !faults::on(Fault::LogoutKeepsPrivateObjects));
        token.logout(&access)
    }

    /// A context-specific login: one use of the key of the operation that waits for it (PKCS#11 3.1, 4.9, `CKA_ALWAYS_AUTHENTICATE`).
    ///
    /// A wrong PIN leaves the operation waiting; a PIN that is locked logs the user out.
    fn authenticate(&self, session: &Session, pin: &Secret) -> Result<()> {
        let answer = {
            let Inside { cells, memo } = &mut *session.lock();
            let Some(cell) = cells.waiting() else {
                return Err(refuse(Code::OperationNotInitialized, "no operation waits for a context-specific login"));
            };
            let proven = session.token.authenticate(memo.access(session), pin);
            proven.map(|permit| cell.permit(permit))
        };
        if answer.as_ref().err().map(Error::code) == Some(Code::PinLocked) {
            let _gate = session.slot.close_gate();
            if session.slot.role().is_some() {
                self.end_login(&session.slot, &*session.token)?;
            }
        }
        answer
    }

    /// `C_InitPIN`. Errors: `UserNotLoggedIn` unless the SO is logged in; `PinLenRange`.
    pub fn init_pin(&self, session: u64, pin: &Secret) -> Result<()> {
        let session = self.session(session)?;
        if session.slot.role() != Some(Role::SecurityOfficer) && !faults::on(Fault::UserInitsPin) {
            return Err(refuse(Code::UserNotLoggedIn, "only the SO sets the user's PIN"));
        }
        session.token.init_pin(&session.access(), pin)
    }

    /// `C_SetPIN`: the logged-in role's PIN; the user's in a public session.
    ///
    /// Errors: `SessionReadOnly`, `PinIncorrect`, `PinLenRange`, `PinLocked`.
    pub fn set_pin(&self, session: u64, old: &Secret, new: &Secret) -> Result<()> {
        let session = self.session(session)?;
        if !session.read_write && !faults::on(Fault::ReadOnlySessionSetsPin) {
            return Err(refuse(Code::SessionReadOnly, "a PIN is changed in a read-write session only"));
        }
        session.token.set_pin(&session.access(), old, new)
    }
}
