//! The child of a fork makes its own what it has from its parent: a login, and session objects. From then on neither notices what becomes of the
//! other's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::origin::Origin;
use super::seal::{Key32, ObjectSeals};
use super::state::Login;
use super::token::LocalToken;
use crate::error::Result;
use crate::sys::awslc::sealing::hmac_sha256;
use crate::token::message::{Blob, Capsule, Named, Reply, Who};
use crate::token::{Access, LoginId, Scope};

impl LocalToken {
    /// The child's login in place of the parent's, if `access` names one, and the parent's session objects in capsules of the child's. `access`: the
    /// child's scope with the parent's login and ticket; `from`: the parent's scope. Asked again, anywhere, the login is the same one.
    ///
    /// Errors: `UserNotLoggedIn`: the parent's login is over, or not of this client.
    pub fn inherit(&self, access: &Access, from: Scope, capsules: &[Blob]) -> Result<Reply> {
        let (partition, state, origin) = self.parts();
        let parent = Access { scope: from, ..access.clone() };
        if let Some(origin) = origin {
            let of_parent = Origin { scope: from, sequence: None, since: None, held: Vec::new(), ..origin.clone() };
            partition.admit(state, &parent, &of_parent, None)?;
        }
        let own = parent.login.map(|login| self.inherit_login(&parent, login, access.scope)).transpose()?;
        let child = own.clone().unwrap_or_else(|| Access::public(access.scope, access.write));
        let (of_parent, of_child) = (self.call(&parent)?, self.call(&child)?);
        let mut objects = Vec::new();
        for capsule in capsules {
            // What does not open is gone.
            let Some(object) = of_parent.open_capsule(&capsule.0)? else { continue };
            let (held, sealed) = of_child.seal_capsule(&object)?;
            let capsule = Some(Capsule { version: held.version, sealed: Blob(sealed) });
            objects.push(Named { id: object.id, token: false, private: object.is_private(), capsule });
        }
        Ok(Reply::Inherited { who: own.as_ref().map(Who::from), objects })
    }

    fn inherit_login(&self, parent: &Access, login: LoginId, heir: Scope) -> Result<Access> {
        let (partition, state, _) = self.parts();
        let it = state.login_of(parent, &*state.facts(partition)?)?;
        let id = inherited_id(&it.token_key, login, heir)?;
        let token_key = it.token_key.duplicate();
        let own = Login {
            scope: heir,
            role: it.role,
            generation: AtomicU64::new(it.generation.load(Ordering::Acquire)),
            token_generation: it.token_generation,
            seals: ObjectSeals::new(&token_key)?,
            token_key,
            client: it.client.clone(),
            issued: AtomicU64::new(0),
        };
        let ticket = partition.ticket(state.id, id, &own)?;
        partition.take_in(state, id, Arc::new(own))?;
        Ok(Access { scope: heir, login: Some(id), ticket, ..parent.clone() })
    }
}

/// The same at every partition, and known to nobody who has not the login.
fn inherited_id(token_key: &Key32, login: LoginId, heir: Scope) -> Result<LoginId> {
    let hash = hmac_sha256(token_key.derive(b"hsmpool inherited login 1")?.expose(), &[login.0, heir.0].concat())?;
    Ok(LoginId(std::array::from_fn(|at| hash[at])))
}
