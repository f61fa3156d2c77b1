//! The guarded token: PINs that are guessed and set anew, and logins that must end with theirs.

use hsmpool::error::{Code, Result};
use hsmpool::object::Template;
use hsmpool::token::Role;

use super::{Application, guarded_pin, lock, pin};
use crate::known::Known;
use crate::world::PIN_ATTEMPTS_MAX;

impl Application {
    /// A wrong PIN: no more of them in a row are looked at than lock the user, whatever is lost or asked twice.
    pub(super) fn guess(&mut self) -> Result<()> {
        let before = lock(&self.all.known).guarded.clearings;
        match self.guarded.login(&self.scope, Role::User, &pin("wrong")) {
            Ok(_) => self.broken("a wrong PIN was taken".into()),
            Err(error) if error.code() == Code::PinLocked => {}
            Err(error) if error.code() == Code::PinIncorrect => {
                let wrong = lock(&self.all.known).guarded.told_wrong(before);
                self.note(format!("a wrong PIN, {wrong} in a row for certain"));
                if wrong > PIN_ATTEMPTS_MAX {
                    self.broken(format!("{wrong} wrong PINs in a row were looked at"));
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Logs in to the guarded token, unless it is locked.
    pub(super) fn enter(&mut self) -> Result<()> {
        if let Some((old, _)) = self.entered.take() {
            self.guarded.logout(&old)?;
        }
        let before = {
            let mut known = lock(&self.all.known);
            known.guarded.clearings += 1;
            (!known.guarded.changes).then_some(known.guarded.pin)
        };
        let answer = self.guarded.login(&self.scope, Role::User, &guarded_pin(before.unwrap_or_default()));
        let after = {
            let mut known = lock(&self.all.known);
            known.guarded.clearings += 1;
            (!known.guarded.changes).then_some(known.guarded.pin)
        };
        match answer {
            Ok(access) => self.entered = before.filter(|_| before == after).map(|pin| (access, pin)),
            Err(error) if error.code() == Code::PinLocked => {}
            Err(error) if error.code() == Code::PinIncorrect && (before.is_none() || before != after) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Uses the login at the guarded token: good until the PIN is set anew, and dead when that has returned.
    pub(super) fn look(&mut self) -> Result<()> {
        let Some((access, made_with)) = self.entered.clone() else { return Ok(()) };
        let is_good = |known: &Known| (!known.guarded.changes).then_some(known.guarded.pin == made_with);
        let before = is_good(&lock(&self.all.known));
        let answer = self.guarded.find(&access, &Template::new());
        let after = is_good(&lock(&self.all.known));
        match answer {
            Ok(_) if before == Some(false) && self.in_contact() => {
                self.broken(format!("a login by PIN {made_with} was good after another PIN had been set"));
            }
            Ok(_) => {}
            Err(error) if error.code() == Code::UserNotLoggedIn && after != Some(true) => self.entered = None,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The SO sets the guarded token's PIN anew: it is unlocked, and logins by the old one are over.
    pub(super) fn set_anew(&mut self) -> Result<()> {
        let Some(so) = self.so.clone() else { return Ok(()) };
        let new = {
            let mut known = lock(&self.all.known);
            known.guarded.changes = true;
            known.guarded.clearings += 1;
            known.guarded.pin + 1
        };
        self.guarded.init_pin(&so, &guarded_pin(new))?;
        self.note(format!("PIN {new} is set"));
        let mut known = lock(&self.all.known);
        known.guarded.changes = false;
        known.guarded.clearings += 1;
        known.guarded.pin = new;
        Ok(())
    }
}
