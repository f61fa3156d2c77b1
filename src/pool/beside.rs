//! A node in this very process: what it can answer at once is answered without a wire. All else goes to it as to any other, with the same patience:
//! a log that hangs keeps nobody waiting.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::call::{Failure, Link};
use super::connection::Wires;
use super::race::{Finish, Race};
use crate::secret::Secret;

/// The answer to a request, if nothing has to be waited for.
pub type AtOnce = Box<dyn Fn(&[u8]) -> Option<Secret> + Send + Sync>;

/// The way to each node of a view, one of which is in this process.
pub struct Beside {
    nearest: usize,
    at_once: AtOnce,
    wires: Wires,
}

impl Beside {
    /// `nearest`: the number of the node that `at_once` asks; it answers nothing once that is stopped, and in a forked child.
    pub fn new(nearest: usize, at_once: AtOnce, wires: Wires) -> Self {
        Self { nearest, at_once, wires }
    }

    /// A panic there has been told, and is no other node's: the application goes on.
    fn at_once(&self, node: usize, request: &[u8]) -> Option<Secret> {
        let ask = || catch_unwind(AssertUnwindSafe(|| (self.at_once)(request)));
        if node == self.nearest { ask().unwrap_or_default() } else { None }
    }
}

impl Link for Beside {
    fn call(&self, node: usize, request: &[u8], patience: Duration) -> Result<Secret, Failure> {
        match self.at_once(node, request) {
            Some(answer) => Ok(answer),
            None => self.wires.call(node, request, patience),
        }
    }

    fn race(&self, race: &Race<'_>, request: &[u8]) -> Finish {
        let first = race.entrants.first().map(|entrant| entrant.node);
        match first.and_then(|node| Some((node, self.at_once(node, request)?, Duration::ZERO))) {
            won @ Some(_) => Finish { won, lost: Vec::new() },
            None => self.wires.race(race, request),
        }
    }
}
