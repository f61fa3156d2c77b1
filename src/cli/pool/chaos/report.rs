//! What a rehearsal found, in numbers: pure functions of what the workers told.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::record::{Class, Op, Outcome, Record};
use super::schedule::{Fault, Name};
use super::waits::{BACK_PROMISED_MILLISECONDS, Blows, KEY_USE_PROMISED_MILLISECONDS, Times, Wait, waits};
use super::work::REGISTER_LOOKERS_CLIENT;
use crate::history::{Action, Call, Verdict, check};

/// Steps of search for each object's history.
const SEARCH_STEPS_MAX: u64 = 5_000_000;

/// More blows than these are counted, not told one by one.
pub const STRIKES_TOLD: usize = 24;
/// So many of the slowest calls are told one by one.
const SLOWEST_TOLD: usize = 12;

/// One blow as it was dealt. Times are nanoseconds of the machine's clock.
#[derive(Clone, Debug)]
pub struct Strike {
    /// What.
    pub fault: Fault,
    /// Which zones.
    pub zones: Vec<usize>,
    /// The zone that had the leader right before, if there was one.
    pub leader: Option<usize>,
    /// From when.
    pub begun: u64,
    /// When it was taken back.
    pub healed: u64,
    /// When all nodes were well again.
    pub well: u64,
    /// Nodes that ended by themselves under it, and were started again as a supervisor would.
    pub gave_up: usize,
}

/// What was run.
#[derive(Clone, Debug)]
pub struct Run {
    /// The schedule.
    pub name: Name,
    /// Its seed.
    pub seed: u64,
    /// The zones' names.
    pub zones: Vec<String>,
    /// Whether they had networks of their own.
    pub spaces: bool,
    /// When the work began and ended.
    pub begun: u64,
    /// See `begun`.
    pub ended: u64,
    /// Each client's zone.
    pub clients: BTreeMap<u32, usize>,
    /// The blows.
    pub strikes: Vec<Strike>,
    /// Everything that went wrong with the pool itself: a node that did not come back.
    pub troubles: Vec<String>,
}

/// How long calls took.
pub struct Stall {
    /// Under which fault; `None`: all was well.
    pub fault: Option<Fault>,
    /// Whether the clients stood in the struck zone.
    pub struck: bool,
    /// Which calls.
    pub class: Class,
    /// Their times, ascending, in nanoseconds.
    pub times: Vec<u64>,
}

impl Stall {
    /// A quantile over calls in milliseconds, `per_mille` of 1000. A blow delays one call of each worker: what it cost is told by [`Wait`].
    pub fn at(&self, per_mille: usize) -> f64 {
        quantile(&self.times, per_mille)
    }
}

/// A quantile of ascending times, in milliseconds; `per_mille` of 1000. 0 if there are none.
pub fn quantile(times: &[u64], per_mille: usize) -> f64 {
    let place = (times.len() * per_mille).div_ceil(1000).saturating_sub(1);
    times.get(place).map_or(0.0, |nanoseconds| millis(*nanoseconds))
}

/// Everything.
pub struct Report {
    /// What was run.
    pub run: Run,
    /// What the workers told.
    pub records: Vec<Record>,
    /// Calls that failed.
    pub failed: Vec<Record>,
    /// Wrong answers, lost and doubled objects.
    pub wrong: Vec<Record>,
    /// Objects that were acknowledged and counted.
    pub counted: usize,
    /// The checker's verdict.
    pub verdict: Verdict,
    /// How many calls it judged.
    pub judged: usize,
    /// Look-ups that it was spared: of clients that were cut off from the quorum.
    pub exempt: usize,
    /// Times of calls.
    pub stalls: Vec<Stall>,
    /// The longest wait under each blow.
    pub waits: Vec<Wait>,
}

pub fn millis(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

/// What has to be counted at the end: name, least, most; then registers that are looked at once more.
pub fn expected(records: &[Record]) -> String {
    let mut bounds: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let mut registers = BTreeSet::new();
    for record in records {
        match (record.op, &record.outcome) {
            (Op::Keep, Outcome::Done) => drop(bounds.insert(&record.object, (record.value, record.value))),
            (Op::Keep, _) => drop(bounds.insert(&record.object, (0, record.value))),
            (Op::Discard, Outcome::Done) => drop(bounds.insert(&record.object, (0, 0))),
            (Op::Discard, Outcome::Gone) => {}
            (Op::Discard, _) => bounds.entry(&record.object).or_default().0 = 0,
            (Op::Create, _) => drop(registers.insert(&record.object)),
            _ => {}
        }
    }
    let mut text = String::new();
    for (name, (least, most)) in bounds {
        let _ = writeln!(text, "{name}\t{least}\t{most}");
    }
    for register in registers {
        let _ = writeln!(text, "{register}");
    }
    text
}

impl Report {
    /// Judges what was told.
    pub fn new(run: Run, mut records: Vec<Record>) -> Self {
        records.sort_by_key(|record| record.begun);
        let failed = records.iter().filter(|record| matches!(record.outcome, Outcome::Failed(_))).cloned().collect();
        // Nobody else destroys an object that is kept.
        let is_wrong = |record: &&Record| {
            matches!(record.outcome, Outcome::Wrong(_)) || (record.op == Op::Discard && record.outcome == Outcome::Gone)
        };
        let wrong = records.iter().filter(is_wrong).cloned().collect();
        let counted = records.iter().filter(|record| record.op == Op::Count).count();
        let (history, exempt) = history(&run, &records);
        let verdict = check(&history, SEARCH_STEPS_MAX);
        let (stalls, waits) = (stalls(&run, &records), waits(&run, &records));
        Self { run, failed, wrong, counted, verdict, judged: history.len(), exempt, stalls, waits, records }
    }

    /// Whether the pool kept what it promises.
    pub fn is_good(&self) -> bool {
        self.failed.is_empty()
            && self.wrong.is_empty()
            && self.verdict == Verdict::Linearizable
            && self.run.troubles.is_empty()
            && self.counted > 0
    }

    /// The longest waits, blow by blow.
    pub fn blows(&self) -> Blows<'_> {
        Blows::new(&self.run, &self.waits)
    }

    /// What became of the promised times.
    pub fn times(&self) -> Times {
        Times::new(&self.run, &self.waits)
    }

    /// How many calls of a kind were made.
    pub fn calls(&self, class: Class) -> usize {
        self.records.iter().filter(|record| record.op.class() == class).count()
    }

    /// How many counted objects were lost, and how many were there too often.
    pub fn lost_and_doubled(&self) -> (usize, usize) {
        let count = |word: &str| {
            let told = |record: &&Record| matches!(&record.outcome, Outcome::Wrong(told) if told.starts_with(word));
            self.wrong.iter().filter(told).count()
        };
        let gone = self.wrong.iter().filter(|record| record.outcome == Outcome::Gone).count();
        (count("lost") + gone, count("doubled") + self.wrong.iter().filter(|record| is_undead(record)).count())
    }

    /// Seconds since the work began.
    pub fn second(&self, nanoseconds: u64) -> f64 {
        nanoseconds.saturating_sub(self.run.begun) as f64 / 1e9
    }

    /// One line about a call that is no good.
    pub fn complaint(&self, record: &Record) -> String {
        let told = match &record.outcome {
            Outcome::Failed(told) | Outcome::Wrong(told) => told.as_str(),
            Outcome::Gone => "lost: it was told to be gone",
            Outcome::Done | Outcome::Begun => "",
        };
        let zone = self.run.clients.get(&record.client).map_or("-", |zone| self.run.zones[*zone].as_str());
        format!(
            "at {:.3} s, client {} of zone {zone}, {} {} ({:.0} ms): {told}",
            self.second(record.begun),
            record.client,
            record.op.word(),
            record.object,
            millis(record.ended.saturating_sub(record.begun))
        )
    }

    /// The slowest calls, slowest first.
    pub fn slowest(&self) -> Vec<&Record> {
        let mut records: Vec<&Record> = self.records.iter().collect();
        records.sort_by_key(|record| std::cmp::Reverse(record.ended.saturating_sub(record.begun)));
        records.truncate(SLOWEST_TOLD);
        records
    }

    /// The verdict in words.
    pub fn verdict(&self) -> String {
        match &self.verdict {
            Verdict::Linearizable => "linearizable".to_string(),
            Verdict::Unknown(objects) => format!("not found out within the bound for {}", objects.join(", ")),
            Verdict::Violated(violation) => {
                let odd = &violation.odd;
                format!("NOT linearizable: {}, at {:.3} s: {}", violation.object, self.second(odd.begun), violation)
            }
        }
    }

    /// Everything but the calls themselves.
    pub fn to_json(&self) -> Value {
        let (lost, doubled) = self.lost_and_doubled();
        let calls: BTreeMap<String, usize> = Class::ALL.iter().map(|class| (class.to_string(), self.calls(*class))).collect();
        let history = match &self.verdict {
            Verdict::Violated(violation) => violation.calls.iter().map(ToString::to_string).collect(),
            _ => Vec::new(),
        };
        json!({
            "schedule": self.run.name.to_string(), "seed": self.run.seed, "namespaces": self.run.spaces, "good": self.is_good(),
            "seconds": self.second(self.run.ended), "calls": calls, "failed_calls": self.failed.len(),
            "counted_objects": self.counted, "lost": lost, "doubled": doubled, "wrong_answers": self.wrong.len(),
            "linearizability": { "verdict": self.verdict(), "calls_judged": self.judged, "exempt_look_ups": self.exempt, "odd_history": history },
            "complaints": self.failed.iter().chain(&self.wrong).map(|record| self.complaint(record)).collect::<Vec<_>>(),
            "slowest": self.slowest().into_iter().map(|record| self.complaint(record)).collect::<Vec<_>>(),
            "troubles": self.run.troubles, "promised_times": self.times_in_json(), "strikes": self.strikes_in_json(),
            "stalls": self.stalls_in_json(), "longest_waits": self.waits_in_json(),
        })
    }

    fn times_in_json(&self) -> Value {
        let times = self.times();
        json!({ "met": times.are_met(), "blows": times.blows, "longest_key_use_ms": times.key_use,
                "promised_key_use_ms": KEY_USE_PROMISED_MILLISECONDS, "longest_write_or_look_up_ms": times.back,
                "promised_write_or_look_up_ms": BACK_PROMISED_MILLISECONDS })
    }

    fn strikes_in_json(&self) -> Vec<Value> {
        let name = |zone: &usize| self.run.zones[*zone].as_str();
        let strike = |strike: &Strike| {
            json!({ "fault": strike.fault.to_string(), "zones": strike.zones.iter().map(name).collect::<Vec<_>>(),
                    "leader": strike.leader.as_ref().map(name), "begun_s": self.second(strike.begun),
                    "healed_s": self.second(strike.healed), "well_s": self.second(strike.well), "nodes_that_gave_up": strike.gave_up })
        };
        self.run.strikes.iter().map(strike).collect()
    }

    fn stalls_in_json(&self) -> Vec<Value> {
        let stall = |stall: &Stall| {
            json!({ "fault": stall.fault.map_or_else(|| "none".to_string(), |fault| fault.to_string()),
                    "clients": place(stall.struck), "calls": stall.class.to_string(), "count": stall.times.len(),
                    "p50_ms": stall.at(500), "p99_ms": stall.at(990), "p999_ms": stall.at(999), "max_ms": stall.at(1000) })
        };
        self.stalls.iter().map(stall).collect()
    }

    fn waits_in_json(&self) -> Vec<Value> {
        let wait = |wait: &Wait| {
            json!({ "strike": wait.strike, "fault": self.run.strikes[wait.strike].fault.to_string(), "clients": place(wait.struck),
                    "calls": wait.class.to_string(), "longest_ms": millis(wait.longest) })
        };
        self.waits.iter().map(wait).collect()
    }
}

/// Where clients stood.
pub fn place(struck: bool) -> &'static str {
    if struck { "struck zone" } else { "elsewhere" }
}

fn is_undead(record: &Record) -> bool {
    matches!(&record.outcome, Outcome::Wrong(told) if told.ends_with("after their destruction"))
}

/// The blow that a call overlaps with, if any.
fn strike_of<'r>(run: &'r Run, record: &Record) -> Option<&'r Strike> {
    run.strikes.iter().find(|strike| record.begun <= strike.well && record.ended >= strike.begun)
}

/// Whether a client stands in a struck zone.
pub fn is_struck(run: &Run, strike: &Strike, client: u32) -> bool {
    run.clients.get(&client).is_some_and(|zone| strike.zones.contains(zone))
}

/// Whether the client's node had no quorum during the call: then look-ups are answered from what the node has.
fn is_isolated(run: &Run, record: &Record) -> bool {
    strike_of(run, record).is_some_and(|strike| match strike.fault {
        Fault::CutBoth | Fault::CutIn | Fault::CutOut => is_struck(run, strike, record.client),
        _ => strike.zones.len() * 2 > run.zones.len(),
    })
}

/// What the checker judges, and how many look-ups it is spared.
fn history(run: &Run, records: &[Record]) -> (Vec<Call>, usize) {
    let (mut calls, mut exempt) = (Vec::new(), 0);
    for record in records.iter().filter(|record| record.object.starts_with('r')) {
        let (done, gone) = (record.outcome == Outcome::Done, record.outcome == Outcome::Gone);
        let is_open = !done && !gone;
        let action = match record.op {
            Op::Create => Action::Create(record.value),
            Op::Set => Action::Set { value: record.value, done: !gone },
            Op::Destroy => Action::Destroy { done: !gone },
            // A look that failed has seen nothing.
            Op::Get | Op::Find if is_open => continue,
            Op::Get => Action::Get(done.then_some(record.value)),
            Op::Find => Action::Find(done),
            _ => continue,
        };
        if matches!(record.op, Op::Get | Op::Find) && record.client != REGISTER_LOOKERS_CLIENT && is_isolated(run, record) {
            exempt += 1;
            continue;
        }
        let ended = (!is_open).then_some(record.ended);
        calls.push(Call { client: record.client, object: record.object.clone(), action, begun: record.begun, ended });
    }
    (calls, exempt)
}

fn stalls(run: &Run, records: &[Record]) -> Vec<Stall> {
    let mut times: BTreeMap<(Option<Fault>, bool, Class), Vec<u64>> = BTreeMap::new();
    for record in records.iter().filter(|record| record.outcome != Outcome::Begun && record.op != Op::Count) {
        let strike = strike_of(run, record);
        let struck = strike.is_some_and(|strike| is_struck(run, strike, record.client));
        let key = (strike.map(|strike| strike.fault), struck, record.op.class());
        times.entry(key).or_default().push(record.ended.saturating_sub(record.begun));
    }
    let sorted = |mut times: Vec<u64>| {
        times.sort_unstable();
        times
    };
    times.into_iter().map(|((fault, struck, class), times)| Stall { fault, struck, class, times: sorted(times) }).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn record(client: u32, op: Op, object: &str, value: u64, (begun, ended): (u64, u64), outcome: Outcome) -> Record {
        Record { client, op, object: object.to_string(), value, begun, ended, outcome }
    }

    fn run() -> Run {
        let strike =
            Strike { fault: Fault::CutBoth, zones: vec![0], leader: None, begun: 100, healed: 200, well: 250, gave_up: 0 };
        Run {
            name: Name::CutBoth,
            seed: 1,
            zones: ["a", "b", "c"].map(String::from).to_vec(),
            spaces: true,
            begun: 0,
            ended: 400,
            clients: BTreeMap::from([(1, 0), (2, 1)]),
            strikes: vec![strike],
            troubles: Vec::new(),
        }
    }

    /// A good report of a blow to zone a, in which client 1 stands, and these calls.
    pub fn report<const N: usize>(more: [Record; N]) -> Report {
        let good = [
            record(1, Op::Create, "r0.1", 7, (2, 3), Outcome::Done),
            record(2, Op::Get, "r0.1", 7, (4, 5), Outcome::Done),
            record(REGISTER_LOOKERS_CLIENT, Op::Count, "k1", 1, (300, 301), Outcome::Done),
        ];
        Report::new(run(), good.into_iter().chain(more).collect())
    }

    #[test]
    fn what_was_acknowledged_is_counted_and_what_is_unknown_may_be_there_or_not() {
        let records = [
            record(1, Op::Keep, "k1", 2, (0, 1), Outcome::Done),
            record(1, Op::Keep, "k2", 1, (0, 1), Outcome::Failed("x".into())),
            record(1, Op::Keep, "k3", 1, (0, 1), Outcome::Done),
            record(1, Op::Discard, "k3", 0, (2, 3), Outcome::Done),
            record(1, Op::Keep, "k4", 1, (0, 1), Outcome::Done),
            record(1, Op::Discard, "k4", 0, (2, 3), Outcome::Begun),
            record(1, Op::Create, "r0.1", 7, (2, 3), Outcome::Done),
        ];
        assert_eq!(expected(&records), "k1\t2\t2\nk2\t0\t1\nk3\t0\t0\nk4\t0\t1\nr0.1\n");
    }

    #[test]
    fn a_rehearsal_is_good_only_without_any_complaint() {
        let judged = |more: Record| report([more]);
        assert!(judged(record(1, Op::Sign, "", 0, (5, 6), Outcome::Done)).is_good());
        assert!(!judged(record(1, Op::Sign, "", 0, (5, 6), Outcome::Failed("x".into()))).is_good());
        assert!(!judged(record(2, Op::Find, "r0.1", 0, (6, 7), Outcome::Gone)).is_good());
        let lost = judged(record(9999, Op::Count, "k2", 0, (302, 303), Outcome::Wrong("lost: 0 of 1 are there".into())));
        assert_eq!((lost.is_good(), lost.lost_and_doubled()), (false, (1, 0)));
        let undead = Outcome::Wrong("1 are there after their destruction".into());
        assert_eq!(judged(record(9999, Op::Count, "k2", 1, (302, 303), undead)).lost_and_doubled(), (0, 1));
        assert_eq!(judged(record(1, Op::Discard, "k2", 0, (5, 6), Outcome::Gone)).lost_and_doubled(), (1, 0));
    }

    #[test]
    fn only_a_client_that_is_cut_off_may_see_what_is_old() {
        let old = |client| {
            let records = vec![
                record(2, Op::Create, "r0.1", 7, (2, 3), Outcome::Done),
                record(2, Op::Set, "r0.1", 8, (110, 120), Outcome::Done),
                record(client, Op::Get, "r0.1", 7, (150, 151), Outcome::Done),
            ];
            let report = Report::new(run(), records);
            (report.verdict == Verdict::Linearizable, report.exempt)
        };
        assert_eq!((old(1), old(2)), ((true, 1), (false, 0)));
    }

    #[test]
    fn stalls_are_told_by_fault_and_place() {
        let mut records = vec![record(2, Op::Keep, "k1", 1, (10, 20), Outcome::Done)];
        records.push(record(1, Op::Keep, "k2", 1, (110, 120), Outcome::Done));
        records.push(record(2, Op::Keep, "k3", 1, (90, 230), Outcome::Done));
        records.push(record(2, Op::Keep, "k4", 1, (300, 301), Outcome::Done));
        let report = Report::new(run(), records);
        let told: Vec<_> = report.stalls.iter().map(|stall| (stall.fault, stall.struck, stall.times.clone())).collect();
        let cut = Some(Fault::CutBoth);
        assert_eq!(told, [(None, false, vec![1, 10]), (cut, false, vec![140]), (cut, true, vec![10])]);
        assert_eq!((report.stalls[0].at(500), report.stalls[0].at(1000)), (1e-6, 1e-5));
    }
}
