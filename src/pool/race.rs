//! The same request to several nodes, one after the other, while those before are silent. It may be carried out by more than one of them.

use std::time::Duration;

use super::call::Failure;
use crate::error::Error;
use crate::secret::Secret;

/// A node that may be asked.
#[derive(Clone, Copy, Debug)]
pub struct Entrant {
    /// Its number in the view.
    pub node: usize,
    /// How long it may be silent before the next one is asked as well.
    pub head_start: Duration,
}

/// Who is asked, and for how long.
pub struct Race<'a> {
    /// In the order in which they are asked. The first one always is.
    pub entrants: &'a [Entrant],
    /// After this time nobody is waited for any more.
    pub patience: Duration,
    /// How long a connection to one of them may take to be made.
    pub connecting: Duration,
    /// Whether one more may be asked. Asked anew after a moment if not.
    pub may_ask: &'a dyn Fn() -> bool,
}

/// What came of a node that did not win.
pub enum Lost {
    /// It cannot answer.
    Failed(Error),
    /// It was silent for so long.
    Silent(Duration),
}

/// How a race ended.
#[derive(Default)]
pub struct Finish {
    /// Who answered what, and how long after the race's begin it was asked.
    pub won: Option<(usize, Secret, Duration)>,
    /// The others that were asked.
    pub lost: Vec<(usize, Lost)>,
}

/// A race for links that can only wait for one node at a time.
pub fn one_by_one(race: &Race<'_>, call: impl Fn(usize, Duration) -> Result<Secret, Failure>) -> Finish {
    let mut finish = Finish::default();
    for (at, Entrant { node, .. }) in race.entrants.iter().enumerate() {
        if at > 0 && !(race.may_ask)() {
            break;
        }
        match call(*node, race.patience) {
            Ok(answer) => {
                finish.won = Some((*node, answer, Duration::ZERO));
                break;
            }
            Err(Failure(error)) => finish.lost.push((*node, Lost::Failed(error))),
        }
    }
    finish
}
