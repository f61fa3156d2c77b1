//! The child of a fork: it names its requests by a scope of its own, so that none is taken for one of its parent's, and makes its own what it has
//! from its parent, at the first call of each token. From then on it is an application as any other.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::belongings::{Belongings, Bound};
use super::call::{Outcome, Pool};
use super::retry::CALL_DEADLINE;
use super::seen::Mark;
use crate::error::{Code, Result, refuse};
use crate::sys::process::ForkWord;
use crate::token::message::{Ask, Blob, Reply, Request, Who};
use crate::token::{Access, Scope, TokenId};
use crate::world::World;

/// Tells whether this process is the one that made it, or a child.
#[derive(Default)]
pub struct Kin {
    word: ForkWord,
    is_child: AtomicBool,
    child: RwLock<Option<Arc<Child>>>,
}

/// What a forked child has for itself.
pub struct Child {
    /// In place of the application's.
    pub scope: Scope,
    /// Tokens of which nothing public is the parent's any more.
    settled: Mutex<HashSet<TokenId>>,
    /// Held by the thread that makes something the child's own.
    turn: Mutex<()>,
}

impl Kin {
    /// The child that this process is; `None` in the process that made this. `begin` is called once in each child. Errors: `RandomNoRng`.
    pub fn child(&self, world: &dyn World, begin: impl FnOnce()) -> Result<Option<Arc<Child>>> {
        if self.word.same_process() {
            // Most processes are none, and need not meet at the lock.
            return Ok(if self.is_child.load(Ordering::Acquire) { self.child.read().clone() } else { None });
        }
        // Free in a child: it exists only if no thread was within a call when its parent forked.
        let mut child = self.child.write();
        if !self.word.same_process() {
            let mut scope = [0; 16];
            world.fill_random(&mut scope)?;
            *child = Some(Arc::new(Child { scope: Scope(scope), settled: Mutex::default(), turn: Mutex::default() }));
            begin();
            self.is_child.store(true, Ordering::Release);
            self.word.rearm();
        }
        Ok(child.clone())
    }
}

impl Pool {
    /// The child that this process is, if it is one. Errors: `RandomNoRng`.
    pub(super) fn child(&self) -> Result<Option<Arc<Child>>> {
        self.belongings.kin.child(&*self.world, || self.belongings.forget_counts())
    }

    /// By which scope this process names its requests. Errors: `RandomNoRng`.
    pub(super) fn scope(&self, access: &Access) -> Result<Scope> {
        Ok(self.child()?.map_or(access.scope, |child| child.scope))
    }

    /// Whether the login is still the parent's, who goes on with it. Errors: `RandomNoRng`.
    pub(super) fn is_parents(&self, access: &Access) -> Result<bool> {
        let child = self.child()?;
        Ok(child.is_some_and(|child| self.belongings.bound(access).is_some_and(|bound| bound.scope != child.scope)))
    }

    /// In a child: makes the token's session objects and the login its own, as far as they are the parent's. Errors: as any call.
    pub(super) fn inherit(&self, token: TokenId, access: &Access) -> Result<()> {
        let Some(child) = self.child()? else { return Ok(()) };
        if child.has_all(&self.belongings, token, access) {
            return Ok(());
        }
        // Whoever waits for a thread that reaches no node has waited as long as a call may: with a time of its own each, many would wait one after the other.
        let deadline = self.world.elapsed() + CALL_DEADLINE;
        let _turn = child.turn.try_lock_for(CALL_DEADLINE).ok_or_else(|| {
            refuse(Code::DeviceError, "another thread could not reach the pool to take over what is the parent process's")
        })?;
        if child.has_all(&self.belongings, token, access) {
            return Ok(());
        }
        if let Some(bound) = self.belongings.bound(access).filter(|bound| bound.scope != child.scope) {
            match self.take_over(&child, token, bound.scope, Some((access, bound)), deadline) {
                // Over as any other login that somebody has ended: the calls that need it say so.
                Err(error) if error.code() == Code::UserNotLoggedIn => self.belongings.lose(token, access, child.scope),
                other => other?,
            }
        }
        while let Some(scope) = self.belongings.public_scope_but(token, child.scope) {
            self.take_over(&child, token, scope, None, deadline)?;
        }
        child.settled.lock().insert(token);
        Ok(())
    }

    /// Takes over what is bound to this scope of a parent: the login, and with it what is private; without it what is public.
    fn take_over(
        &self,
        child: &Child,
        token: TokenId,
        from: Scope,
        login: Option<(&Access, Bound)>,
        deadline: Duration,
    ) -> Result<()> {
        loop {
            let (ids, capsules) = self.belongings.capsules_of(token, from, login.is_some());
            if ids.is_empty() && login.is_none() {
                return Ok(());
            }
            let who = match login {
                Some((access, bound)) => Who {
                    scope: child.scope,
                    role: access.role,
                    login: Some(bound.login),
                    ticket: Blob(self.belongings.proof(access).ticket.to_vec()),
                    write: access.write,
                },
                None => Who::from(&Access::public(child.scope, false)),
            };
            let is_last = ids.is_empty();
            let Mark { changes, epoch } = self.belongings.seen.mark();
            let ask = Ask::Inherit { from, capsules };
            let mut request = Request { epoch, ..Request::new(Some(token), who, changes, ask) };
            let mut number = self.number(&request.ask)?;
            let (who, objects) = match self.deliver_as(&mut request, &mut number, None, deadline)? {
                Outcome::Done(Reply::Inherited { who, objects }, _) => (who, objects),
                Outcome::Done(_, node) | Outcome::StreamLost(node) => return Err(self.odd(node)),
            };
            self.belongings.replace(token, &ids, &objects, child.scope);
            if let (true, Some((access, _))) = (is_last, login) {
                // The login comes last: until it is there, all of it is asked for again.
                self.belongings.rebind(access, who, child.scope);
                return Ok(());
            }
        }
    }
}

impl Child {
    fn has_all(&self, belongings: &Belongings, token: TokenId, access: &Access) -> bool {
        belongings.bound(access).is_none_or(|bound| bound.scope == self.scope) && self.settled.lock().contains(&token)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::sys::process::tests::in_child;
    use crate::world::Real;

    #[test]
    fn a_child_has_one_scope_of_its_own_and_its_maker_none() {
        let kin = Kin::default();
        let is_none = || kin.child(&Real, || panic!("nothing begins here")).unwrap().is_none();
        assert!(is_none());
        assert!(in_child(|| {
            let begun = Cell::new(0);
            let [first, second] = [0; 2].map(|_| kin.child(&Real, || begun.set(begun.get() + 1)).unwrap().unwrap().scope);
            let grandchild_s = in_child(|| kin.child(&Real, || {}).unwrap().unwrap().scope != first);
            first == second && begun.get() == 1 && grandchild_s
        }));
        assert!(is_none());
    }
}
