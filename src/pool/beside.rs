//! A node in this very process: what it can answer at once is answered without a wire. All else goes to it as to any other, with the same patience:
//! a log that hangs keeps nobody waiting.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::call::{Failure, Link};
use super::connection::Wires;
use super::race::{Finish, Race};
use super::view::Place;
use crate::secret::Secret;
use crate::wire::MINOR;

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

    fn changed(&self) -> Option<Vec<(usize, Place)>> {
        self.wires.changed()
    }

    fn minor(&self, node: usize) -> Option<u32> {
        if node == self.nearest { Some(MINOR) } else { self.wires.minor(node) }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::pool::connection::Entry;
    use crate::pool::race::{Entrant, Lost};
    use crate::wire::Address;

    /// Two nodes at whose addresses nobody listens, the first of them in this process.
    fn beside(at_once: impl Fn(&[u8]) -> Option<Secret> + Send + Sync + 'static) -> Beside {
        let addresses = vec![Address::Unix(PathBuf::from("/nowhere/node.sock"))];
        let nowhere = Entry { node: None, zone: "a".to_string(), addresses };
        Beside::new(0, Box::new(at_once), Wires::new([7; 16], vec![nowhere.clone(), nowhere], None, None))
    }

    fn race(beside: &Beside, nodes: [usize; 2]) -> (Option<usize>, usize) {
        let patience = Duration::from_secs(20);
        let entrants = nodes.map(|node| Entrant { node, head_start: Duration::ZERO, connecting: patience });
        let finish = beside
            .race(&Race { entrants: &entrants, patience, last: patience, may_ask: &|| true, is_final: &|_| true }, b"request");
        let failed = finish.lost.iter().filter(|(_, lost)| matches!(lost, Lost::Failed(_))).count();
        (finish.won.map(|(node, ..)| node), failed)
    }

    #[test]
    fn the_nearest_node_answers_without_a_wire_and_only_when_it_is_its_turn() {
        let beside = beside(|request| Some(Secret::copy_of(request)));
        let call = |node| beside.call(node, b"request", Duration::from_secs(20));
        assert_eq!(call(0).ok().expect("an answer").expose(), b"request");
        assert!(call(1).is_err(), "that one is reached by wire");
        assert_eq!(race(&beside, [0, 1]), (Some(0), 0));
        assert_eq!(race(&beside, [1, 0]), (None, 2), "the node that holds a stream is asked first, and all by wire");
    }

    #[test]
    fn what_it_cannot_answer_at_once_and_a_panic_go_the_way_of_the_wire() {
        for beside in [beside(|_| None), beside(|_| panic!("a bug that this test has made"))] {
            assert!(beside.call(0, b"request", Duration::from_secs(20)).is_err());
            assert_eq!(race(&beside, [0, 1]), (None, 2));
        }
    }
}
