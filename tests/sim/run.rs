//! One run: a pool begins, bad things happen to it, then none do, and it must be whole.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use hsmpool::error;
use hsmpool::log::Log as _;
use hsmpool::log::raft::{Group, GroupStatus, NodeId};
use hsmpool::sys::vfs::memory::{Dice, Loss};

use crate::cast::{Cast, Casting};
use crate::judge::Judge;
use crate::scheduler::{Owner, Scheduler};
use crate::world::{World, member};

/// Who forms the group and changes it.
pub const OPERATOR: Owner = 50;
/// Where the group begins.
pub const FIRST_NODE: NodeId = 1;
/// The node of the zone that does not burn.
const SURVIVOR: NodeId = 3;
/// How long bad things happen.
const BAD: Duration = Duration::from_secs(20);
/// How long clients go on when they have stopped.
const GOOD: Duration = Duration::from_secs(5);
/// By then everybody must be answered and all members equal.
const HEALED: Duration = Duration::from_secs(60);
/// The number of the last kind of trouble.
const TROUBLES: u64 = 17;
/// How long a pool is given to have a leader again.
const SERVES: Duration = Duration::from_secs(4);
/// How long a destruction is waited for.
const A_REVOCATION_COMES: Duration = Duration::from_secs(4);
/// How long a node stays cut off afterwards: longer than it takes to find out that it is.
const AFTER_A_REVOCATION: Duration = Duration::from_secs(3);
const STEPS_MAX: u64 = 5_000_000;
const MILLISECOND: Duration = Duration::from_millis(1);

/// What came of a run.
pub struct Report {
    pub hash: u64,
    pub steps: u64,
    pub entries: usize,
    pub answered: u64,
    pub broken: Option<String>,
    pub trace: Vec<String>,
}

struct Run {
    world: Arc<World>,
    cast: Arc<dyn Cast>,
    judge: Judge,
    dice: Dice,
    /// Nodes that are down, and when they come back.
    down: Vec<(NodeId, Duration)>,
    /// A node that was added, and how far its life has come.
    guest: Option<(NodeId, u8)>,
    guests: u64,
    /// When what is gone was looked at.
    looked: Duration,
    /// Whether all that happens is aimed at destructions.
    is_aimed: bool,
    /// Of the three nodes that begin.
    zones: [&'static str; 3],
}

/// One zone has a quorum, and is lost for good in the end: what was acknowledged must be in the other one.
const ONE_BURNS: [&str; 3] = ["a", "a", "b"];
/// One run of so many.
const BURNS_EVERY: u64 = 4;
/// In one of so many, all that happens is aimed at destructions.
const AIMED_EVERY: u64 = 3;
/// How often destroyed objects are looked for on all nodes.
const LOOK_EVERY: Duration = Duration::from_millis(40);

/// Plays a seed.
pub fn play(seed: u64, casting: Casting, shows: bool) -> Report {
    let scheduler = Scheduler::new(seed, shows);
    let world = World::new(scheduler.clone());
    let cast = casting(world.clone());
    let mut dice = Dice::new(seed ^ 0xbad);
    let zones = if dice.roll(BURNS_EVERY) == 0 { ONE_BURNS } else { ["a", "b", "c"] };
    let is_aimed = seed.is_multiple_of(AIMED_EVERY);
    let (judge, looked) = (Judge::default(), Duration::ZERO);
    let mut run =
        Run { world: world.clone(), cast, judge, dice, down: Vec::new(), guest: None, guests: 0, looked, is_aimed, zones };
    let played = catch_unwind(AssertUnwindSafe(|| run.all()));
    let panicked = played.is_err().then(|| "a panic, told above".to_string());
    let broken = run.world.net().broken.clone().or(panicked);
    let report = Report {
        hash: scheduler.hash(),
        steps: scheduler.steps(),
        entries: run.judge.entries(),
        answered: run.cast.answered(),
        broken,
        trace: scheduler.trace(),
    };
    world.end();
    report
}

impl Run {
    fn all(&mut self) {
        self.begin();
        self.cast.clone().begin();
        let ends = self.world.scheduler.now() + BAD;
        while self.world.scheduler.now() < ends && self.sound() {
            let calm = Duration::from_millis(50 + self.dice.roll(1200));
            self.until(calm, |_| false);
            self.bring_back(false);
            self.trouble();
        }
        if self.zones == ONE_BURNS {
            return self.burn();
        }
        self.heal();
        self.until(GOOD, |_| false);
        self.cast.end();
        self.settle("after the troubles");
        if self.sound() {
            self.power_fails_everywhere();
            self.settle("after a power failure of all");
        }
    }

    fn sound(&self) -> bool {
        self.world.net().broken.is_none()
    }

    /// Goes on until something is so, or time is over, or a promise is broken. Tells whether it is so.
    fn until(&mut self, at_most: Duration, mut so: impl FnMut(&Self) -> bool) -> bool {
        let ends = self.world.scheduler.now() + at_most;
        let mut looked = self.world.scheduler.now();
        // Time passes only if there is something to wait for.
        let alarm = self.world.scheduler.wait(at_most);
        self.world.scheduler.task(crate::scheduler::WORLD, alarm);
        while self.sound() {
            let now = self.world.scheduler.now();
            if now >= looked + 5 * MILLISECOND {
                looked = now;
                if so(self) {
                    return true;
                }
                self.judge.look(&self.world);
                self.look_at_what_is_gone();
            }
            if now >= ends {
                return false;
            }
            if !self.world.scheduler.step() {
                self.world.fail("nobody has anything to do".into());
            }
            for (owner, seen) in self.world.scheduler.seen() {
                let found = self.judge.saw(owner, seen);
                self.judged(found);
            }
            if self.world.scheduler.steps() > STEPS_MAX {
                self.world.fail(format!("not done after {STEPS_MAX} steps"));
            }
        }
        false
    }

    /// Every now and then.
    fn look_at_what_is_gone(&mut self) {
        let now = self.world.scheduler.now();
        if now < self.looked + LOOK_EVERY {
            return;
        }
        self.looked = now;
        let nodes: Vec<NodeId> = self.world.net().nodes.keys().copied().collect();
        for node in nodes {
            let Some(running) = self.world.running(node) else { continue };
            let found = self.world.scheduler.by_clock_of(node, || self.cast.look(node, &running));
            self.judged(found);
        }
    }

    fn judged(&self, found: Result<(), String>) {
        if let Err(told) = found {
            self.world.fail(told);
        }
    }

    fn begin(&mut self) {
        for (node, zone) in (1..).zip(self.zones) {
            self.world.add(node, zone);
        }
        self.until(Duration::from_secs(5), |run| (1..=3).all(|node| run.world.running(node).is_some()));
        let (world, cast, zones) = (self.world.clone(), self.cast.clone(), self.zones);
        self.world.scheduler.thread(OPERATOR, move || {
            let Some(first) = world.running(FIRST_NODE) else { return };
            let formed = || -> error::Result<()> {
                first.group.begin()?;
                first.group.add_learner(2, member(zones[1]))?;
                first.group.add_learner(3, member(zones[2]))?;
                first.group.change_voters(BTreeSet::from([1, 2, 3]), true)?;
                cast.found()
            };
            match formed() {
                Ok(()) => world.scheduler.note("the group is formed".into()),
                Err(error) => world.fail(format!("the group cannot be formed: {error}")),
            }
        });
        let formed = |run: &Self| run.world.running(3).is_some_and(|node| run.cast.is_founded(&node));
        if !self.until(Duration::from_secs(30), formed) && self.sound() {
            self.world.fail("the group was not formed in time".into());
        }
    }

    fn a_node(&mut self) -> NodeId {
        let nodes: Vec<NodeId> = self.world.net().nodes.keys().copied().collect();
        nodes[self.dice.roll(nodes.len() as u64) as usize]
    }

    /// One bad thing, or the end of one.
    fn trouble(&mut self) {
        let node = self.a_node();
        let everybody: Vec<Owner> = self.world.net().nodes.keys().copied().chain(self.cast.everybody()).collect();
        let other = everybody[self.dice.roll(everybody.len() as u64) as usize];
        let note = |text: String| self.world.scheduler.note(text);
        let trouble = if self.is_aimed { TROUBLES - self.dice.roll(2) } else { self.dice.roll(TROUBLES + 1) };
        match trouble {
            0 => {
                note(format!("cut from {node} to {other}"));
                self.world.net().cuts.insert((node, other));
            }
            1 => {
                // From the other nodes only, now and then: then its clients see what it does by itself.
                let (nodes, whom) = (self.world.net().nodes.len(), self.dice.roll(2));
                let others = if whom == 0 { &everybody[..] } else { &everybody[..nodes] };
                note(format!("cut off {node} from {} others", others.len() - 1));
                self.world.net().cuts.extend(others.iter().flat_map(|other| [(node, *other), (*other, node)]));
            }
            2 | 3 => {
                note("all links work".into());
                self.world.net().cuts.clear();
            }
            4 => {
                let mut net = self.world.net();
                (net.lost, net.doubled) = (self.dice.roll(200), self.dice.roll(100));
                net.late = (self.dice.roll(300), self.dice.roll(1500));
            }
            5 => {
                let mut net = self.world.net();
                (net.lost, net.doubled, net.late) = (0, 0, (0, 0));
            }
            6 | 7 => self.crash(node),
            8 => {
                let after = self.dice.roll(40);
                note(format!("power of node {node} fails after {after} operations"));
                self.with_disk(node, |disk| disk.fail_after(after));
            }
            9 => {
                let syncs = self.dice.roll(5);
                note(format!("a sync of node {node} fails after {syncs}"));
                self.with_disk(node, |disk| disk.fail_sync_after(syncs));
            }
            10 => {
                let room = self.dice.roll(60_000) as usize;
                note(format!("the disk of node {node} has room for {room} bytes"));
                self.with_disk(node, |disk| disk.limit(Some(disk.used() + room)));
            }
            11 => {
                let time = Duration::from_millis(100 + self.dice.roll(4000));
                note(format!("node {node} stands still for {time:?}"));
                self.world.scheduler.pause(node, time);
            }
            12 | 13 if self.zones != ONE_BURNS => self.guest(),
            14 => self.operate(move |group| group.transfer_leader(node)),
            15 => {
                let forward = Duration::from_secs(self.dice.roll(120));
                note(format!("the wall clock of node {node} is {forward:?} fast"));
                self.world.net().set_forward.insert(node, forward);
            }
            16 => self.revoke_elsewhere(node),
            TROUBLES => self.lose_power_after_a_revocation(node),
            _ => {}
        }
        self.world.look_who_is_alone();
        self.replace_poisoned();
    }

    /// For what is aimed at a destruction, all must be well: nobody destroys anything without a quorum.
    fn mend(&mut self) {
        self.end_troubles_of_links();
        self.bring_back(true);
        let serves = |run: &Self| run.leader().is_some();
        self.until(SERVES, serves);
    }

    /// A node is cut off from the others, but not from its clients, until something was destroyed elsewhere, and for as long again as keys are used then.
    fn revoke_elsewhere(&mut self, node: NodeId) {
        self.mend();
        self.world.scheduler.note(format!("cut off {node} until something is destroyed elsewhere"));
        self.cut_from_nodes(node);
        self.until_a_revocation();
        let long = AFTER_A_REVOCATION + Duration::from_millis(self.dice.roll(4000));
        self.until(long, |_| false);
    }

    /// A node loses power right after a destruction was told as done, and comes back cut off from the others, but not from its clients.
    fn lose_power_after_a_revocation(&mut self, node: NodeId) {
        self.mend();
        if !self.until_a_revocation() {
            return;
        }
        self.world.scheduler.note(format!("node {node} loses power right after a destruction, and comes back cut off"));
        self.lose_power(node, Loss::Everything);
        self.cut_from_nodes(node);
        self.down.push((node, self.world.scheduler.now()));
        self.bring_back(false);
        self.until(AFTER_A_REVOCATION, |_| false);
    }

    fn cut_from_nodes(&self, node: NodeId) {
        self.world.cut_from_nodes(node);
        self.world.look_who_is_alone();
    }

    /// Waits until a destruction returns; false: none did soon.
    fn until_a_revocation(&mut self) -> bool {
        let before = self.cast.revoked();
        self.until(A_REVOCATION_COMES, |run| run.cast.revoked() > before)
    }

    fn with_disk(&self, node: NodeId, work: impl FnOnce(&hsmpool::sys::vfs::memory::Disk)) {
        let disk = self.world.net().nodes.get(&node).map(|node| node.disk.clone());
        if let Some(disk) = disk {
            work(&disk);
        }
    }

    fn crash(&mut self, node: NodeId) {
        if self.down.iter().any(|(down, _)| *down == node) {
            return;
        }
        let loss = match self.dice.roll(4) {
            0 => Loss::Everything,
            1 => Loss::Nothing,
            _ => Loss::Some(self.dice.next()),
        };
        self.world.scheduler.note(format!("node {node} crashes, its disk loses {loss:?}"));
        self.lose_power(node, loss);
        let back = self.world.scheduler.now() + Duration::from_millis(self.dice.roll(5000));
        self.down.push((node, back));
    }

    /// The disk goes first: a store that is closed in good order folds its log back, and nothing would be left to lose.
    fn lose_power(&self, node: NodeId, loss: Loss) {
        self.with_disk(node, |disk| disk.fail_after(0));
        self.world.stop(node);
        self.with_disk(node, |disk| disk.crash(loss));
    }

    /// Nodes come back when it is time; `all` at once.
    fn bring_back(&mut self, all: bool) {
        let now = self.world.scheduler.now();
        let (back, down): (Vec<_>, Vec<_>) = self.down.drain(..).partition(|(_, when)| all || *when <= now);
        self.down = down;
        for (node, _) in back {
            // Nothing is open on it: all that this does is that nothing is planned for it any more.
            self.with_disk(node, |disk| {
                disk.limit(None);
                disk.crash(Loss::Nothing);
            });
            self.world.start(node);
        }
    }

    /// A member whose disk has failed has stopped; its daemon ends, and is started again.
    fn replace_poisoned(&mut self) {
        let nodes: Vec<NodeId> = self.world.net().nodes.keys().copied().collect();
        for node in nodes {
            let poisoned = self.world.running(node).is_some_and(|running| running.group.status().poisoned.is_some());
            let stuck = {
                let net = self.world.net();
                net.nodes.get(&node).is_some_and(|node| node.running.is_none() && !node.starts)
            };
            if poisoned || (stuck && !self.down.iter().any(|(down, _)| *down == node)) {
                self.crash(node);
            }
        }
    }

    /// A fourth member comes, votes, and goes for good.
    fn guest(&mut self) {
        match self.guest {
            None => {
                self.guests += 1;
                let node = 3 + self.guests;
                self.world.scheduler.note(format!("node {node} comes"));
                self.world.add(node, "d");
                self.operate(move |group| group.add_learner(node, member("d")));
                self.guest = Some((node, 0));
            }
            Some((node, 0)) => {
                self.world.scheduler.note(format!("node {node} is to vote"));
                self.operate(move |group| group.change_voters(BTreeSet::from([1, 2, 3, node]), false));
                self.guest = Some((node, 1));
            }
            Some((node, _)) => {
                self.world.scheduler.note(format!("node {node} is to go"));
                self.operate(move |group| group.remove(node));
            }
        }
    }

    /// Lets somebody ask one of the nodes for a change of the group.
    fn operate(&mut self, work: impl Fn(&Group) -> error::Result<()> + Send + Sync + 'static) {
        let (node, world) = (self.a_node(), self.world.clone());
        self.world.scheduler.clone().thread(OPERATOR, move || {
            let done = world
                .call(OPERATOR, node, Duration::from_secs(8), move |running| work(&running.group).map_err(|it| it.to_string()));
            world.scheduler.note(format!("the group was to be changed: {done:?}"));
        });
    }

    fn end_troubles_of_links(&self) {
        {
            let mut net = self.world.net();
            net.cuts.clear();
            (net.lost, net.doubled, net.late) = (0, 0, (0, 0));
        }
        self.world.look_who_is_alone();
    }

    /// From now on nothing bad happens.
    fn heal(&mut self) {
        self.world.scheduler.note("nothing bad happens any more".into());
        self.end_troubles_of_links();
        let nodes: Vec<NodeId> = self.world.net().nodes.keys().copied().collect();
        for node in nodes {
            self.with_disk(node, |disk| disk.limit(None));
            if !self.down.iter().any(|(down, _)| *down == node) {
                // Whatever was planned for its disk is not to happen any more.
                self.crash(node);
            }
        }
        self.bring_back(true);
    }

    /// Zone a is lost for good, and power fails in the other one. Its node goes on alone, and has all that was acknowledged.
    fn burn(&mut self) {
        self.world.scheduler.note("zone a burns down".into());
        self.cast.everybody().for_each(|user| self.world.scheduler.kill(user));
        self.world.scheduler.kill(OPERATOR);
        for node in [1, 2, SURVIVOR] {
            self.lose_power(node, Loss::Everything);
        }
        self.world.net().nodes.retain(|node, _| *node == SURVIVOR);
        self.world.look_who_is_alone();
        self.down.clear();
        // What zone a alone had was never acknowledged: other entries may take its place.
        self.judge = Judge::default();
        let mut dir = None;
        self.with_disk(SURVIVOR, |disk| {
            disk.limit(None);
            dir = Some(disk.path());
        });
        let renamed = dir.map(|dir| Group::force_new(&dir, SURVIVOR, member(self.zones[2])));
        if let Some(Err(error)) = renamed {
            return self.world.fail(format!("the survivor cannot go on alone: {error}"));
        }
        self.world.start(SURVIVOR);
        let serves = |run: &Self| run.leader().is_some();
        if !self.until(HEALED, serves) && self.sound() {
            self.show_all();
            self.world.fail(format!("the survivor does not serve {HEALED:?} after it was alone"));
        }
        self.check(SURVIVOR, "after the loss of zone a");
    }

    /// Looks at one node, when all is quiet.
    fn check(&self, node: NodeId, when: &str) {
        let Some(running) = self.world.running(node) else { return };
        let checked = running.group.show().and_then(|_| running.store.check()).map(drop).map_err(|error| error.to_string());
        if let Err(told) = checked.and_then(|()| self.cast.check(&running)) {
            self.world.fail(format!("node {node} {when}: {told}"));
        }
    }

    /// Everybody loses what was not synced.
    fn power_fails_everywhere(&mut self) {
        let nodes: Vec<NodeId> = self.world.net().nodes.keys().copied().collect();
        self.world.scheduler.note("power fails everywhere".into());
        for node in &nodes {
            self.lose_power(*node, Loss::Everything);
        }
        nodes.into_iter().for_each(|node| self.world.start(node));
    }

    /// All members, as the leader knows them.
    fn members(&self) -> Option<Vec<NodeId>> {
        self.leader().map(|leads| leads.voters.keys().chain(leads.learners.keys()).copied().collect())
    }

    /// The leader, if it has applied an entry of its own: only then it knows what was committed before it.
    fn leader(&self) -> Option<GroupStatus> {
        let nodes: Vec<NodeId> = self.world.net().nodes.keys().copied().collect();
        let statuses = nodes.iter().filter_map(|node| self.world.running(*node)).map(|running| running.group.status());
        let leads = statuses.filter(|status| status.leader == Some(status.node)).max_by_key(|status| status.term)?;
        let last = self.judge.leader_before(leads.applied_before);
        (last == Some((leads.term, leads.node)) && leads.applied_before == leads.committed_before).then_some(leads)
    }

    /// Notes how every node is.
    fn show_all(&self) {
        let nodes: Vec<NodeId> = self.world.net().nodes.keys().copied().collect();
        for node in nodes {
            match self.world.running(node) {
                None => self.world.scheduler.note(format!("node {node} does not run")),
                Some(running) => {
                    let status = running.group.status();
                    let (voters, learners): (Vec<_>, Vec<_>) = (status.voters.keys().collect(), status.learners.keys().collect());
                    self.world.scheduler.note(format!(
                        "node {node}: leader {:?} term {} applied before {} committed before {} voters {voters:?} learners {learners:?} held {:?} poisoned {:?}",
                        status.leader, status.term, status.applied_before, status.committed_before, status.held_before, status.poisoned,
                    ));
                }
            }
        }
    }

    /// Waits until everybody is answered and all members hold the same, and checks that it is what was promised.
    fn settle(&mut self, when: &str) {
        let healed = |run: &Self| {
            let Some(members) = run.members() else { return false };
            let hashes: Option<Vec<_>> =
                members.iter().map(|node| run.world.running(*node).and_then(|it| it.store.set_hash().ok())).collect();
            let marks = hashes.as_ref().is_some_and(|hashes| hashes.iter().all(|hash| *hash == hashes[0]));
            let applied: Option<Vec<u64>> =
                members.iter().map(|node| run.world.running(*node).map(|it| it.group.status().applied_before)).collect();
            let level = applied.is_some_and(|applied| applied.iter().all(|mark| *mark == applied[0]));
            run.cast.left() == 0 && marks && level
        };
        if !self.until(HEALED, healed) && self.sound() {
            self.show_all();
            self.world.fail(format!("the pool is not healthy {HEALED:?} {when}; clients that wait: {}", self.cast.left()));
        }
        if !self.sound() {
            return;
        }
        self.members().unwrap_or_default().into_iter().for_each(|node| self.check(node, when));
        if let Err(told) = self.cast.judge() {
            self.world.fail(format!("{when}: {told}"));
        }
    }
}
