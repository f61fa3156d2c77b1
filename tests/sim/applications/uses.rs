//! Keys, session keys and operations in parts, and what must be true of each use.

use std::time::Duration;

use hsmpool::ck::{AttributeType, MechanismType};
use hsmpool::error::Result;
use hsmpool::log::raft::ground::sleep;
use hsmpool::mechanism::{Mechanism, Params};
use hsmpool::object::{ObjectId, Template};
use hsmpool::token::Role;

use super::{Application, SESSION_KEYS_MAX, VIEW, aes, called, lock, mechanism, pin, there};
use crate::known::{KnownKey, Promised};

impl Application {
    /// What a key makes of a block of zeros.
    fn encrypt(&self, key: ObjectId) -> Result<[u8; 16]> {
        let mut out = [0; 16];
        let cipher = self.used.encrypt(&self.user, &mechanism(MechanismType::AES_ECB), key)?.operation;
        cipher.single(&[0; 16], &mut out)?;
        Ok(out)
    }

    pub(super) fn generate(&mut self) -> Result<()> {
        let number = self.fresh();
        let made = self.used.generate(&self.user, &mechanism(MechanismType::AES_KEY_GEN), aes(&number.to_string(), true))?;
        let makes = self.encrypt(made.id)?;
        self.keys.push(made.id);
        lock(&self.all.known).keys.insert(made.id, KnownKey { number, makes, promised: Promised::There });
        self.note(format!("key {number} is made"));
        Ok(())
    }

    fn promised(&self, key: ObjectId) -> Option<Promised> {
        lock(&self.all.known).keys.get(&key).map(|key| key.promised)
    }

    /// Uses any key, also one that was destroyed.
    pub(super) fn use_a_key(&mut self) -> Result<()> {
        let keys: Vec<(ObjectId, KnownKey)> = lock(&self.all.known).keys.iter().map(|(id, key)| (*id, *key)).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let last_gone = lock(&self.all.known).last_gone;
        let last_gone = keys.iter().position(|(id, _)| Some(*id) == last_gone).filter(|_| self.roll(2) == 0);
        let (id, key) = keys[last_gone.unwrap_or(self.roll(keys.len() as u64) as usize)];
        self.use_key(id, key)
    }

    /// The key whose destruction has returned last is tried at once, by those who did not destroy it: each node may be the one that has not heard of it.
    pub(super) fn probe(&mut self) -> Result<()> {
        let (gone, key) = {
            let known = lock(&self.all.known);
            let gone = known.last_gone.filter(|gone| self.probed != Some(*gone));
            (gone, gone.and_then(|gone| known.keys.get(&gone).copied()))
        };
        let (Some(id), Some(key)) = (gone, key) else { return Ok(()) };
        self.probed = Some(id);
        let used = (0..VIEW.len()).try_for_each(|turn| {
            self.line.turn(turn);
            self.use_key(id, key)
        });
        self.line.turn(0);
        used
    }

    fn use_key(&self, id: ObjectId, key: KnownKey) -> Result<()> {
        // Another application's key is looked for first: nothing else says that it is there.
        if key.promised == Promised::There && !self.keys.contains(&id) {
            let found = self.found(&Template::from_iter([called(AttributeType::LABEL, &key.number.to_string())]))?;
            let is_certain = self.promised(id) == Some(Promised::There) && self.in_contact();
            match found.contains(&id) {
                false if is_certain => self.broken(format!("key {} was not found", key.number)),
                false => return Ok(()),
                true => {}
            }
        }
        match (there(self.encrypt(id))?, key.promised, self.promised(id)) {
            (Some(made), _, _) if made != key.makes => self.broken(format!("key {} made something else", key.number)),
            (Some(_), Promised::Gone, _) if self.in_contact() || self.all.world.isolated_use.is_zero() => {
                self.broken(format!("key {} was used after its destruction had returned", key.number));
            }
            (Some(_), _, _) if self.line.is_over() => {
                self.broken(format!("key {} was used at a node that was cut off for longer than it may use keys", key.number));
            }
            (None, Promised::There, Some(Promised::There)) => self.broken(format!("key {} is not there", key.number)),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn destroy_a_key(&mut self) -> Result<()> {
        if self.keys.is_empty() {
            return Ok(());
        }
        let id = self.keys.swap_remove(self.roll(self.keys.len() as u64) as usize);
        let promise = |promised| {
            let mut known = lock(&self.all.known);
            known.keys.get_mut(&id).map(|key| {
                key.promised = promised;
                *key
            })
        };
        promise(Promised::InDoubt);
        self.used.destroy(&self.user, id)?;
        let Some(key) = promise(Promised::Gone) else { return Ok(()) };
        {
            let mut known = lock(&self.all.known);
            known.last_gone = Some(id);
            known.revoked += 1;
        }
        self.note(format!("key {} is destroyed", key.number));
        self.probed = Some(id);
        self.use_key(id, key)
    }

    /// Makes, uses or destroys a session key; none is ever lost, or another one.
    pub(super) fn session_key(&mut self) -> Result<()> {
        let label = format!("session {}", self.me);
        if self.session_keys.is_empty() || (self.session_keys.len() < SESSION_KEYS_MAX && self.roll(3) == 0) {
            let made = self.used.generate(&self.user, &mechanism(MechanismType::AES_KEY_GEN), aes(&label, false))?;
            self.session_keys.push((made.id, self.encrypt(made.id)?));
        }
        let at = self.roll(self.session_keys.len() as u64) as usize;
        let (id, makes) = self.session_keys[at];
        if self.encrypt(id)? != makes {
            self.broken("a session key makes something else".into());
        }
        if self.roll(4) == 0 {
            self.session_keys.swap_remove(at);
            self.used.destroy(&self.user, id)?;
            if there(self.encrypt(id))?.is_some() {
                self.broken("a session key was used after its destruction".into());
            }
        }
        let found = self.found(&Template::from_iter([called(AttributeType::LABEL, &label)]))?;
        if found.len() != self.session_keys.len() {
            self.broken(format!("{} session keys were found, there are {}", found.len(), self.session_keys.len()));
        }
        Ok(())
    }

    /// The same text at once and in parts, with pauses in which anything may happen to the node that has begun.
    pub(super) fn parts(&mut self) -> Result<()> {
        let Some(key) = self.session_keys.first().map(|(id, _)| *id).or(self.keys.first().copied()) else { return Ok(()) };
        let mechanism = Mechanism { kind: MechanismType::AES_CBC_PAD, params: Params::Iv(vec![7; 16]) };
        let text: Vec<u8> = (0..200).collect();
        let mut whole = vec![0; 256];
        let len = self.used.encrypt(&self.user, &mechanism, key)?.operation.single(&text, &mut whole)?;
        let (mut parts, mut cipher) = (Vec::new(), self.used.encrypt(&self.user, &mechanism, key)?.operation);
        for part in text.chunks(70) {
            let mut out = vec![0; cipher.update_len(part.len())];
            let len = cipher.update(part, &mut out)?;
            parts.extend_from_slice(&out[..len]);
            sleep(Duration::from_millis(self.roll(1500)));
        }
        let mut out = vec![0; cipher.finish_len()];
        let end = cipher.finish(&mut out)?;
        parts.extend_from_slice(&out[..end]);
        if parts != whole[..len] {
            self.broken("an operation in parts made something else than at once".into());
        }
        Ok(())
    }

    pub(super) fn log_out_and_in(&mut self) -> Result<()> {
        self.used.logout(&self.user)?;
        self.session_keys.clear();
        self.user = self.used.login(&self.scope, Role::User, &pin("user"))?.with_write(true);
        let found = self.found(&Template::from_iter([called(AttributeType::LABEL, &format!("session {}", self.me))]))?;
        if !found.is_empty() {
            self.broken(format!("{} private session keys outlived their logout", found.len()));
        }
        Ok(())
    }
}
