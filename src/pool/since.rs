//! From when a change is: how many changes the pool had made when it was first sent. A node that comes to it when the answers of that time may be
//! forgotten does not carry it out, as it may have been carried out before. So who begins one has to know the number of now, not of an hour ago.

use std::time::Duration;

use super::call::Pool;
use super::retry::{patience, pause};
use super::route::candidates;
use crate::error::{Code, Result, refuse};
use crate::limits::SERVING_LEASE_MILLISECONDS;
use crate::token::message::{Ask, Duty, Health};

/// What was heard within this time is of now: a node may be as far behind while it serves.
const OF_NOW: Duration = Duration::from_millis(SERVING_LEASE_MILLISECONDS);

/// A moment, on the clock that never jumps and on the wall's: the first may have stood still while the machine slept.
#[derive(Clone, Copy)]
pub struct Moment {
    elapsed: Duration,
    wall: Duration,
}

impl Moment {
    /// Whether it is of now.
    fn is_of_now(self, now: Self) -> bool {
        now.elapsed.abs_diff(self.elapsed) < OF_NOW && now.wall.abs_diff(self.wall) < OF_NOW
    }
}

/// What a connection to a far node and its answer may take.
const FIRST_LOOK: Duration = Duration::from_millis(500);

impl Pool {
    /// How many changes the pool has made at least. An application that has heard nothing reliable lately asks a node, so that its change is not taken for an
    /// old one should the first node that gets it be silent. Errors: why no node has answered by the deadline.
    pub(super) fn changes_by_now(&self, deadline: Duration) -> Result<u64> {
        if self.belongings.heard_all().is_some_and(|heard| heard.is_of_now(self.moment())) {
            return Ok(self.belongings.seen.mark().changes);
        }
        let mut round = 0;
        loop {
            let why = match self.look_around(round, deadline) {
                Ok(changes) => return Ok(changes.max(self.belongings.seen.mark().changes)),
                Err(why) => why,
            };
            if self.world.elapsed() >= deadline {
                return Err(why);
            }
            self.world.sleep(pause(round, self.dice()));
            round += 1;
        }
    }

    /// What the first node says that knows all, or the most of what the others say: without a quorum there is no more.
    fn look_around(&self, round: u32, deadline: Duration) -> Result<u64> {
        self.glance(self.world.elapsed());
        let mut most = Err(refuse(Code::DeviceError, "the pool has no node"));
        for node in candidates(&self.view, None, self.world.elapsed()) {
            let now = self.world.elapsed();
            let Some(left) = deadline.checked_sub(now).filter(|left| !left.is_zero()) else { break };
            // One of which nothing is known may be far.
            let least = if self.view.node(node).pace.reach(now).is_none() { FIRST_LOOK } else { Duration::ZERO };
            match self.look_within(node, patience(&Ask::Health, round).max(least), left) {
                Ok((Health { duty: None | Some(Duty::Ordinary), .. }, mark)) => return Ok(mark.changes.max(most.unwrap_or(0))),
                Ok((_, mark)) => most = Ok(mark.changes.max(most.unwrap_or(0))),
                Err(why) if most.is_err() => most = Err(why),
                Err(_) => {}
            }
        }
        most
    }

    /// A node has carried out a change for us: what it had applied then is all that there was.
    pub(super) fn note_all_heard(&self) {
        self.belongings.hear_all(self.moment());
    }

    fn moment(&self) -> Moment {
        Moment { elapsed: self.world.elapsed(), wall: self.world.now() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;
    use crate::pool::call::{Call, Failure, Link};
    use crate::pool::view::{Place, View};
    use crate::secret::Secret;
    use crate::token::message::{Answer, Reply, Request, Verdict, decode, encode};
    use crate::token::{Access, Scope, TokenId};
    use crate::world::Real;

    /// Nodes by what they say they may do, if they answer, and how many changes they have applied; and from when the changes were that they got.
    #[derive(Default)]
    struct Nodes {
        said: Mutex<Vec<Option<(Duty, u64)>>>,
        looks: Mutex<usize>,
        got: Mutex<Vec<Option<u64>>>,
    }

    impl Link for Arc<Nodes> {
        fn call(&self, node: usize, request: &[u8], _patience: Duration) -> std::result::Result<Secret, Failure> {
            let silent = || Failure(refuse(Code::DeviceError, "silent"));
            let (duty, mark) = self.said.lock()[node].ok_or_else(silent)?;
            let request: Request = decode(request).unwrap();
            let reply = match request.ask {
                Ask::Health => {
                    *self.looks.lock() += 1;
                    let (in_contact, leader, zone) = (true, None, String::new());
                    let duty = Some(duty);
                    Reply::Health(Health { node: 0, zone, serves: true, in_contact, leader, applied: mark, duty, changes: None })
                }
                _ => {
                    self.got.lock().push(request.since);
                    Reply::Token(TokenId([1; 16]))
                }
            };
            Ok(encode(&Answer { mark, ticket: None, verdict: Verdict::Done(reply), isolated: None, epoch: None }))
        }
    }

    #[test]
    fn a_change_is_of_now_however_long_the_application_was_idle() {
        let nodes = Arc::new(Nodes::default());
        let place = || Place { zone: "a".to_string(), name: String::new() };
        let view = View::new("a".to_string(), vec![place(), place(), place()]);
        let pool = Pool::new(view, Box::new(nodes.clone()), Arc::new(Real));
        let change = || {
            let ask = Ask::InitToken { existing: None, so_pin: Secret::default(), label: [b' '; 32] };
            let made = pool.ask(Call::new(None, &Access::public(Scope([7; 16]), true), ask, &[])).map(drop);
            made.unwrap();
            *nodes.got.lock().last().expect("a change")
        };
        let forget = || *pool.belongings.heard_all.lock() = None;
        let isolated = Duty::Isolated(9);
        // What the nodes say, and from when a change is then.
        for (said, since) in [
            ([Some((Duty::Ordinary, 900)), None, None], 900),
            ([None, None, Some((Duty::Ordinary, 1000))], 1000),
            ([Some((Duty::Behind, 3)), None, None], 1000),
            ([Some((Duty::Behind, 3)), Some((Duty::Ordinary, 1100)), None], 1100),
            ([Some((isolated, 1200)), None, Some((isolated, 1300))], 1300),
        ] {
            forget();
            *nodes.said.lock() = said.to_vec();
            assert_eq!(change(), Some(since), "{said:?}");
        }
        *nodes.said.lock() = vec![Some((Duty::Ordinary, 2000)); 3];
        forget();
        change();
        let looks = *nodes.looks.lock();
        assert_eq!((change(), *nodes.looks.lock()), (Some(2000), looks), "nobody is asked for what was heard a moment ago");
    }

    #[test]
    fn what_was_heard_is_of_now_on_both_clocks_only() {
        let at = |elapsed, wall| Moment { elapsed: Duration::from_millis(elapsed), wall: Duration::from_millis(wall) };
        let heard = at(50_000, 90_000);
        let lease = SERVING_LEASE_MILLISECONDS;
        assert!(heard.is_of_now(at(50_000 + lease - 1, 90_000 + lease - 1)));
        assert!(!heard.is_of_now(at(50_000 + lease, 90_000)));
        assert!(!heard.is_of_now(at(50_000, 90_000 + lease)), "the machine slept");
        assert!(!heard.is_of_now(at(50_000, 90_000 - lease)), "the clock was set back");
    }
}
