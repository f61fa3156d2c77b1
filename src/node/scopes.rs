//! Which applications have been heard of, and when: what an idle one has here is put aside, and comes back by ticket and capsule.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::token::Scope;

/// When each application was last heard of, in seconds.
#[derive(Default)]
pub struct Scopes(RwLock<HashMap<Scope, AtomicU64>>);

impl Scopes {
    /// The application has sent something.
    pub fn touch(&self, scope: Scope, now: Duration) {
        if let Some(last) = self.0.read().get(&scope) {
            last.store(now.as_secs(), Ordering::Relaxed);
            return;
        }
        self.0.write().insert(scope, AtomicU64::new(now.as_secs()));
    }

    /// Those that have been silent for longer than `idle`; they are forgotten.
    pub fn take_idle(&self, now: Duration, idle: Duration) -> Vec<Scope> {
        let limit = now.saturating_sub(idle).as_secs();
        let silent = |last: &AtomicU64| last.load(Ordering::Relaxed) < limit;
        let idle: Vec<Scope> = self.0.read().iter().filter(|(_, last)| silent(last)).map(|(scope, _)| *scope).collect();
        let mut all = self.0.write();
        // One that was heard of in between stays.
        idle.into_iter().filter(|scope| all.get(scope).is_some_and(silent) && all.remove(scope).is_some()).collect()
    }

    /// How many applications are known.
    pub fn len(&self) -> usize {
        self.0.read().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_silent_are_taken() {
        let scopes = Scopes::default();
        let at = Duration::from_secs;
        scopes.touch(Scope([1; 16]), at(100));
        scopes.touch(Scope([2; 16]), at(100));
        scopes.touch(Scope([2; 16]), at(190));
        assert_eq!(scopes.take_idle(at(200), at(50)), [Scope([1; 16])]);
        assert_eq!(scopes.len(), 1);
    }
}
