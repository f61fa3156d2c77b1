//! What a module asks nodes and tells them beside its calls.

use std::time::Duration;

use super::call::{Call, Failure, Pool, framed};
use super::health::Health as Believed;
use super::retry::{patience, probe_most, probe_patience, telling_patience};
use super::seen::Mark;
use crate::error::Result;
use crate::token::message::{Answer, Ask, Health, Reply, Request, Verdict, Who, decode, encode};
use crate::token::{Access, Scope, TokenId};

impl Pool {
    /// Looks at one node that failed, if it is time. The call that asks for something waits for that.
    pub(super) fn probe_one(&self, ask: &Ask, deadline: Duration) {
        let now = self.world.elapsed();
        let due = self.view.nodes().find(|(_, node)| node.health.lock().claim_probe(now));
        let Some((at, _)) = due else { return };
        // However long ago it was measured: since it failed nothing is.
        let most = probe_most(ask, self.view.node(at).pace.reach_since(Duration::ZERO));
        let most = most.min(deadline.saturating_sub(now));
        let is_well = self.look_within(at, patience(&Ask::Health, 0), most).is_ok_and(|(health, Mark { epoch, .. })| {
            health.is_useful() && self.belongings.seen.is_reached_by(Mark { changes: health.applied, epoch })
        });
        let (now, jitter) = (self.world.elapsed(), self.dice());
        let mut health = self.view.node(at).health.lock();
        *health = if is_well { health.probed_well(now) } else { health.failed(now, jitter) };
    }

    /// How a node is. Errors: `DeviceError` when it does not say.
    pub fn health_of(&self, node: usize) -> Result<Health> {
        self.look_at(node, patience(&Ask::Health, 0)).map(|(health, _)| health)
    }

    /// The same within so long, and how many changes it has applied, of which group.
    pub(super) fn look_at(&self, node: usize, patience: Duration) -> Result<(Health, Mark)> {
        self.look_within(node, patience, Duration::MAX)
    }

    /// The same, in no case for longer than `most`.
    pub(super) fn look_within(&self, node: usize, patience: Duration, most: Duration) -> Result<(Health, Mark)> {
        let who = Who::from(&Access::public(Scope([0; 16]), false));
        let request = Request::new(None, who, 0, Ask::Health);
        let (of_view, begun) = (&self.view.node(node), self.world.elapsed());
        let failed = of_view.health.lock().failed_probes();
        let patience = patience.max(probe_patience(failed, of_view.pace.reach_since(Duration::ZERO))).min(most);
        let answer = self.link.call(node, encode(&request).expose(), patience).map_err(|Failure(error)| error)?;
        self.answered(node, &request.ask, begun);
        let Answer { mark, verdict, epoch, .. } = decode(answer.expose())?;
        match verdict {
            Verdict::Done(Reply::Health(health)) => Ok((health, Mark { changes: mark, epoch })),
            _ => Err(self.odd(node)),
        }
    }

    /// Tells nodes something that they need not know: no answer is waited for longer than a healthy node takes, none is asked for.
    pub(super) fn tell(&self, token: TokenId, access: &Access, ask: &dyn Fn() -> Ask) {
        self.glance(self.world.elapsed());
        for (node, _) in self.view.nodes() {
            self.tell_one(token, access, ask(), node);
        }
    }

    /// The same for one node. One that hears it too late may only be far: whether it is gone shows when an answer is needed.
    pub(super) fn tell_one(&self, token: TokenId, access: &Access, ask: Ask, node: usize) {
        let (of_view, begun) = (&self.view.node(node), self.world.elapsed());
        // The end of a login is told all the same.
        let is_spared = of_view.is_deaf(begun) && !matches!(ask, Ask::Logout);
        let health = *of_view.health.lock();
        // Whoever tells waits for it, and forgetting something is worth no wait for a node that may be gone.
        let is_worth_it = !(matches!(health, Believed::Silent(_)) && matches!(ask, Ask::Forget { .. }));
        if is_spared || !health.is_up() || !is_worth_it {
            return;
        }
        // Without a name of its own a child has nothing to tell.
        let Ok(mut request) = self.complete(Call::new(Some(token), access, ask, &[])) else { return };
        request.alone = Some(self.view.is_alone(node));
        // Short-lived applications count as well: what they have not told goes with their farewell.
        request.tally = matches!(request.ask, Ask::Leave).then(|| self.belongings.last_tally()).flatten();
        let Ok(encoded) = framed(&request) else { return };
        let patience = telling_patience(&request.ask, of_view.pace.reach(begun));
        match self.link.call(node, encoded.expose(), patience) {
            Ok(answer) => {
                self.answered(node, &request.ask, begun);
                // Whatever it says, there is nothing to be done about it.
                drop(self.read(node, &mut request, &answer));
            }
            Err(Failure(_)) => of_view.was_deaf(self.world.elapsed()),
        }
        if let Some(tally) = request.tally.take() {
            self.belongings.not_told(tally);
        }
    }
}
