//! Which members the one that leads hears of, and which lag: whoever is gone cannot say so.
//!
//! A leader tells once whom it hears of, as soon as it knows; then each change. What it has told ends with its leadership: the next leader tells anew.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::limits::{MEMBER_LAGS_ENTRIES, MEMBER_SILENT_MILLISECONDS};
use crate::log::raft::GroupStatus;

/// One late heartbeat is no news, and so is one that came.
const SILENT: Duration = Duration::from_millis(MEMBER_SILENT_MILLISECONDS);

/// Another member, as the leader sees it at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Where it stands.
    pub zone: String,
    /// How long ago it was heard of; `None`: not since this leadership began.
    pub heard: Option<Duration>,
    /// The entries before this index are on its disk.
    pub held: u64,
}

/// All other members, as the leader sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The leadership.
    pub term: u64,
    /// The entries before this index are committed.
    pub committed: u64,
    /// The others.
    pub members: BTreeMap<u64, Sight>,
}

impl View {
    /// `None`: this member does not lead.
    pub fn of(status: &GroupStatus) -> Option<Self> {
        if status.leader != Some(status.node) {
            return None;
        }
        let others = status.voters.iter().chain(&status.learners).filter(|(node, _)| **node != status.node);
        let sight = |node: &u64| status.held_before.get(node).copied().unwrap_or(0);
        let members = others.map(|(node, member)| {
            let heard = status.heard_ago.get(node).copied();
            (*node, Sight { zone: member.zone.clone(), heard, held: sight(node) })
        });
        Some(Self { term: status.term, committed: status.committed_before, members: members.collect() })
    }
}

/// What is counted of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberLevel {
    /// Its number.
    pub node: u64,
    /// Its zone.
    pub zone: String,
    /// Whether it is heard of; `None`: that is not known yet.
    pub reachable: Option<bool>,
    /// Committed entries that it has not told to have.
    pub lag: u64,
}

/// What was told, and what is about to be.
#[derive(Default)]
pub struct Heard {
    term: u64,
    members: BTreeMap<u64, Known>,
    /// Whether it was told in this leadership whom the leader hears of.
    introduced: bool,
    looked: Duration,
}

/// What is known of one member.
struct Known {
    zone: String,
    /// As it was told; `None`: not yet.
    is_heard: Option<bool>,
    lags: bool,
    /// Since when the leader has looked without a pause: its own sleep is no silence of others.
    watched: Duration,
    /// Since when it has been otherwise than `is_heard`, and than `lags`, without a break.
    otherwise: Option<Duration>,
    other_lag: Option<Duration>,
    held: u64,
    /// When more came onto its disk, or there was no more.
    moved: Duration,
}

/// An event: its kind, and a sentence.
pub type Told = (&'static str, String);

impl Heard {
    /// What there is to tell. `now` goes on, whatever the wall clock does; `view`: `None` where another one leads.
    pub fn look(&mut self, now: Duration, view: Option<&View>) -> Vec<Told> {
        let paused = now.saturating_sub(self.looked) > SILENT / 2;
        self.looked = now;
        let Some(view) = view else {
            self.members.clear();
            self.introduced = false;
            return Vec::new();
        };
        if view.term != self.term {
            (self.term, self.introduced) = (view.term, false);
            self.members.clear();
        }
        let mut told = self.forget_others(view);
        for (node, sight) in &view.members {
            let known = self.members.entry(*node).or_insert_with(|| Known::new(sight, now));
            known.zone.clone_from(&sight.zone);
            if paused {
                known.begin_again(now);
            }
            let name = format!("node {node} of zone {}", known.zone);
            told.extend(known.hear(now, sight).map(|what| ("heard", format!("{name} {what}"))));
            told.extend(known.lag(now, sight, view.committed).map(|what| ("lag", format!("{name} {what}"))));
        }
        told.extend(self.introduce());
        told
    }

    /// What is counted of the members.
    pub fn levels(&self, view: Option<&View>) -> Vec<MemberLevel> {
        let Some(view) = view else { return Vec::new() };
        let level = |(node, known): (&u64, &Known)| {
            let lag = view.members.get(node).map_or(0, |sight| view.committed.saturating_sub(sight.held));
            MemberLevel { node: *node, zone: known.zone.clone(), reachable: known.is_heard, lag }
        };
        self.members.iter().map(level).collect()
    }

    /// Those that are members no more.
    fn forget_others(&mut self, view: &View) -> Vec<Told> {
        let mut told = Vec::new();
        self.members.retain(|node, known| {
            let stays = view.members.contains_key(node);
            if !stays && known.is_heard == Some(false) {
                told.push(("heard", format!("node {node} of zone {} was not heard of, and is no member any more", known.zone)));
            }
            stays
        });
        told
    }

    /// Once all is known: who read what the leader before had told knows by this what of it still holds.
    fn introduce(&mut self) -> Option<Told> {
        if self.introduced || self.members.is_empty() || self.members.values().any(|known| known.is_heard.is_none()) {
            return None;
        }
        self.introduced = true;
        let heard = self.members.iter().filter(|(_, known)| known.is_heard == Some(true));
        let names: Vec<String> = heard.map(|(node, known)| format!("node {node} of zone {}", known.zone)).collect();
        (!names.is_empty()).then(|| ("heard", format!("the leader hears of {}", names.join(", "))))
    }
}

impl Known {
    fn new(sight: &Sight, now: Duration) -> Self {
        Self {
            zone: sight.zone.clone(),
            is_heard: None,
            lags: false,
            watched: now,
            otherwise: None,
            other_lag: None,
            held: sight.held,
            moved: now,
        }
    }

    fn begin_again(&mut self, now: Duration) {
        (self.watched, self.moved, self.otherwise, self.other_lag) = (now, now, None, None);
    }

    fn hear(&mut self, now: Duration, sight: &Sight) -> Option<&'static str> {
        let watched = now.saturating_sub(self.watched);
        let is_silent = sight.heard.is_none_or(|ago| ago >= SILENT) && watched >= SILENT;
        let is_there = sight.heard.is_some_and(|ago| ago < SILENT);
        match self.is_heard {
            // Nothing was told of it: that it is there goes without saying.
            None if is_there => self.is_heard = Some(true),
            None | Some(true) if is_silent => {
                (self.is_heard, self.otherwise) = (Some(false), None);
                return Some("is not heard of");
            }
            // A single sign of life may be the last one.
            Some(false) if lasts(&mut self.otherwise, is_there, now) => {
                (self.is_heard, self.otherwise) = (Some(true), None);
                return Some("is heard of again");
            }
            _ => {}
        }
        None
    }

    /// One that is silent lags, which goes without saying: no more is told of it.
    fn lag(&mut self, now: Duration, sight: &Sight, committed: u64) -> Option<String> {
        let lag = committed.saturating_sub(sight.held);
        if sight.held > self.held || lag == 0 {
            self.moved = now;
        }
        self.held = sight.held;
        if self.is_heard != Some(true) {
            (self.moved, self.other_lag) = (now, None);
            return None;
        }
        // One that has just died stands still a little before it is known to be silent.
        if sight.heard.is_none_or(|ago| ago >= SILENT / 2) {
            self.other_lag = None;
            return None;
        }
        let stands = now.saturating_sub(self.moved) >= SILENT;
        let is_other = if self.lags { lag <= MEMBER_LAGS_ENTRIES / 4 && !stands } else { lag > MEMBER_LAGS_ENTRIES || stands };
        let has_lasted = lasts(&mut self.other_lag, is_other, now);
        // One that stands has done so for as long already.
        let is_news = has_lasted || (stands && !self.lags);
        if !is_news {
            return None;
        }
        (self.lags, self.other_lag) = (!self.lags, None);
        Some(match self.lags {
            true => format!("lags; committed entries that it lacks: {lag}"),
            false => "has caught up".to_string(),
        })
    }
}

/// Whether it is so and has been for long enough.
fn lasts(since: &mut Option<Duration>, is_so: bool, now: Duration) -> bool {
    if !is_so {
        *since = None;
        return false;
    }
    now.saturating_sub(*since.get_or_insert(now)) >= SILENT
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEAT: Duration = Duration::from_millis(200);

    /// A leader that looks each beat, and what it has told.
    #[derive(Default)]
    struct Leader {
        heard: Heard,
        now: Duration,
        term: u64,
        committed: u64,
        /// When each was heard of last, and what it holds.
        others: BTreeMap<u64, (Option<Duration>, u64)>,
    }

    impl Leader {
        fn of(others: &[u64]) -> Self {
            let others = others.iter().map(|node| (*node, (None, 0))).collect();
            Self { now: Duration::from_secs(1000), term: 1, others, ..Self::default() }
        }

        fn view(&self) -> View {
            let zone = |node: u64| char::from(b'a' + node as u8 - 1).to_string();
            let members = self.others.iter().map(|(node, (heard, held))| {
                let heard = heard.map(|at| self.now - at);
                (*node, Sight { zone: zone(*node), heard, held: *held })
            });
            View { term: self.term, committed: self.committed, members: members.collect() }
        }

        /// For so long only these answer, and have all that is committed.
        fn run(&mut self, time: Duration, answer: &[u64]) -> Vec<String> {
            let (end, mut told) = (self.now + time, Vec::new());
            while self.now < end {
                self.now += BEAT;
                for node in answer {
                    self.others.insert(*node, (Some(self.now), self.committed));
                }
                told.extend(self.look());
            }
            told
        }

        fn look(&mut self) -> Vec<String> {
            let view = self.view();
            self.heard.look(self.now, Some(&view)).into_iter().map(|(kind, told)| format!("{kind}: {told}")).collect()
        }

        fn reachable(&self) -> Vec<Option<bool>> {
            self.heard.levels(Some(&self.view())).into_iter().map(|level| level.reachable).collect()
        }
    }

    const ALL: &str = "heard: the leader hears of node 2 of zone b, node 3 of zone c";

    #[test]
    fn a_member_that_falls_silent_and_comes_back_is_told_once_each_and_a_late_heartbeat_is_not() {
        let mut leader = Leader::of(&[2, 3]);
        assert_eq!(leader.run(3 * SILENT, &[2, 3]), [ALL]);
        for _ in 0..10 {
            assert!(leader.run(SILENT - 2 * BEAT, &[2]).is_empty(), "it is late");
            assert!(leader.run(BEAT, &[2, 3]).is_empty(), "and comes");
        }
        assert!(leader.run(SILENT - BEAT, &[2]).is_empty());
        assert_eq!(leader.reachable(), [Some(true), Some(true)]);
        assert_eq!(leader.run(10 * SILENT, &[2]), ["heard: node 3 of zone c is not heard of"]);
        assert_eq!(leader.reachable(), [Some(true), Some(false)]);
        // One sign of life, and silence again: it was not back.
        assert!(leader.run(BEAT, &[2, 3]).is_empty());
        assert!(leader.run(3 * SILENT, &[2]).is_empty());
        assert!(leader.run(SILENT, &[2, 3]).is_empty());
        assert_eq!(leader.run(2 * SILENT, &[2, 3]), ["heard: node 3 of zone c is heard of again"]);
        assert_eq!(leader.reachable(), [Some(true), Some(true)]);
    }

    #[test]
    fn who_leads_anew_tells_whom_it_has_never_heard_of_and_of_whom_it_has() {
        let mut leader = Leader::of(&[1, 3]);
        assert!(leader.run(SILENT, &[3]).is_empty());
        assert_eq!(leader.reachable(), [None, Some(true)], "not known yet");
        let told = leader.run(SILENT, &[3]);
        assert_eq!(told, ["heard: node 1 of zone a is not heard of", "heard: the leader hears of node 3 of zone c"]);
        // Another leads, and then this one again: what it told is void.
        assert!(leader.heard.look(leader.now, None).is_empty());
        assert!(leader.heard.levels(None).is_empty());
        leader.term = 3;
        leader.others = BTreeMap::from([(1, (None, 0)), (3, (None, 0))]);
        assert_eq!(leader.run(2 * SILENT, &[1, 3]), ["heard: the leader hears of node 1 of zone a, node 3 of zone c"]);
        // The same without a look between the two leaderships.
        leader.term = 5;
        leader.others = BTreeMap::from([(1, (None, 0)), (3, (None, 0))]);
        assert_eq!(leader.run(3 * SILENT, &[1]).len(), 2);
    }

    #[test]
    fn a_leader_that_stood_still_itself_does_not_take_the_others_for_gone() {
        let mut leader = Leader::of(&[2, 3]);
        leader.run(3 * SILENT, &[2, 3]);
        leader.now += 100 * SILENT;
        assert!(leader.look().is_empty());
        assert!(leader.run(3 * SILENT, &[2, 3]).is_empty());
        leader.now += 100 * SILENT;
        assert_eq!(leader.run(3 * SILENT, &[2]), ["heard: node 3 of zone c is not heard of"], "it has looked long enough since");
    }

    #[test]
    fn one_that_is_removed_is_told_of_no_more() {
        let mut leader = Leader::of(&[2, 3]);
        leader.run(3 * SILENT, &[2, 3]);
        leader.run(3 * SILENT, &[2]);
        leader.others.remove(&3);
        let told = leader.run(3 * SILENT, &[2]);
        assert_eq!(told, ["heard: node 3 of zone c was not heard of, and is no member any more"]);
        leader.others.remove(&2);
        assert!(leader.run(3 * SILENT, &[]).is_empty(), "one that was well has nothing to be told");
        assert!(leader.reachable().is_empty());
    }

    /// Node 2 is heard of and holds what `held` says of the time and of what is committed, which grows by 100 a beat as long as `grows`.
    fn lag(leader: &mut Leader, time: Duration, grows: bool, held: impl Fn(u64) -> u64) -> Vec<String> {
        let (end, mut told) = (leader.now + time, Vec::new());
        while leader.now < end {
            leader.now += BEAT;
            leader.committed += if grows { 100 } else { 0 };
            leader.others.insert(2, (Some(leader.now), held(leader.committed)));
            told.extend(leader.look());
        }
        told
    }

    #[test]
    fn a_member_that_lags_is_told_and_one_that_has_entries_under_way_is_not() {
        let mut leader = Leader::of(&[2]);
        leader.committed = 100_000;
        assert_eq!(lag(&mut leader, 2 * SILENT, false, |all| all), ["heard: the leader hears of node 2 of zone b"]);
        // All the time some are under way; none is a standstill.
        assert!(lag(&mut leader, 5 * SILENT, true, |all| all - MEMBER_LAGS_ENTRIES).is_empty());
        assert!(lag(&mut leader, SILENT / 2, true, |all| all - 2 * MEMBER_LAGS_ENTRIES).is_empty(), "a short while");
        assert!(lag(&mut leader, SILENT, true, |all| all).is_empty());
        let told = lag(&mut leader, 5 * SILENT, true, |all| all - 2 * MEMBER_LAGS_ENTRIES);
        assert_eq!(told, [format!("lag: node 2 of zone b lags; committed entries that it lacks: {}", 2 * MEMBER_LAGS_ENTRIES)]);
        assert_eq!(leader.heard.levels(Some(&leader.view()))[0].lag, 2 * MEMBER_LAGS_ENTRIES);
        assert!(lag(&mut leader, 5 * SILENT, true, |all| all - MEMBER_LAGS_ENTRIES / 2).is_empty(), "not yet");
        assert_eq!(lag(&mut leader, 5 * SILENT, true, |all| all - 10), ["lag: node 2 of zone b has caught up"]);
    }

    #[test]
    fn a_member_that_takes_nothing_at_all_lags_by_a_single_entry() {
        let mut leader = Leader::of(&[2]);
        leader.committed = 100;
        lag(&mut leader, 2 * SILENT, false, |all| all);
        assert!(lag(&mut leader, SILENT - BEAT, false, |_| 99).is_empty());
        assert_eq!(
            lag(&mut leader, 2 * SILENT, false, |_| 99),
            ["lag: node 2 of zone b lags; committed entries that it lacks: 1"]
        );
        assert_eq!(lag(&mut leader, 3 * SILENT, false, |all| all), ["lag: node 2 of zone b has caught up"]);
        // One that dies lags at once, which is told by its silence.
        assert!(lag(&mut leader, 2 * BEAT, true, |_| 100).is_empty());
        assert_eq!(leader.run(5 * SILENT, &[]), ["heard: node 2 of zone b is not heard of"]);
    }
}
