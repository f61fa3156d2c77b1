//! How long clients waited under each blow, and whether that was within the times that are promised.
//!
//! A worker makes one call after the other: a blow delays one call of each of them, which quantiles over thousands of calls leave out. So what
//! counts is the longest wait under each blow.

use std::collections::BTreeMap;

use super::record::{Class, Outcome, Record};
use super::report::{Run, Strike, is_struck, quantile};
use super::schedule::Fault;

/// While one zone of three or more is lost, no use of a key takes longer.
pub const KEY_USE_PROMISED_MILLISECONDS: u64 = 100;
/// Nor does anybody wait longer for a write or a look-up.
pub const BACK_PROMISED_MILLISECONDS: u64 = 2000;

/// The longest that one client waited under one blow.
pub struct Wait {
    /// Which blow, by its place.
    pub strike: usize,
    /// Whether the client stood in the struck zone.
    pub struck: bool,
    /// For calls of which kind.
    pub class: Class,
    /// In nanoseconds.
    pub longest: u64,
}

/// From when to when one client waited.
struct Asked {
    client: u32,
    class: Class,
    begun: u64,
    answered: u64,
}

/// Each wait of each client: from its first asking since it was last answered, so that calls that fail count together with those that follow.
/// What a client does in between that is of another kind (a destruction takes a lease) is no part of it. `records` are in the order in which
/// they begun.
fn asked(run: &Run, records: &[Record]) -> Vec<Asked> {
    let (mut all, mut open) = (Vec::new(), BTreeMap::new());
    for record in records.iter().filter(|record| run.clients.contains_key(&record.client)) {
        let (client, class) = (record.client, record.op.class());
        let begun = *open.entry((client, class)).or_insert(record.begun);
        if !matches!(record.outcome, Outcome::Failed(_) | Outcome::Begun) {
            open.remove(&(client, class));
            all.push(Asked { client, class, begun, answered: record.ended });
        }
    }
    // Who was never answered waited up to the end.
    all.extend(open.into_iter().map(|((client, class), begun)| Asked { client, class, begun, answered: run.ended.max(begun) }));
    all
}

/// The longest wait under each blow: of uses, look-ups and writes, in the struck zone and elsewhere.
pub fn waits(run: &Run, records: &[Record]) -> Vec<Wait> {
    let mut longest: BTreeMap<(usize, bool, Class), u64> = BTreeMap::new();
    let asked = asked(run, records);
    for it in asked.iter().filter(|it| matches!(it.class, Class::Use | Class::Look | Class::Write)) {
        // One blow comes when the one before it is over.
        let first = run.strikes.partition_point(|strike| strike.well < it.begun);
        let last = run.strikes.partition_point(|strike| strike.begun <= it.answered);
        for strike in first..last {
            let most = longest.entry((strike, is_struck(run, &run.strikes[strike], it.client), it.class)).or_default();
            *most = (*most).max(it.answered.saturating_sub(it.begun));
        }
    }
    longest.into_iter().map(|((strike, struck, class), longest)| Wait { strike, struck, class, longest }).collect()
}

/// The longest waits of blows of a kind, ascending.
pub struct Blows<'r> {
    run: &'r Run,
    waits: &'r [Wait],
}

impl<'r> Blows<'r> {
    pub fn new(run: &'r Run, waits: &'r [Wait]) -> Self {
        Self { run, waits }
    }

    /// One for each blow of this fault (`None`: of any) under which somebody there asked for such calls.
    pub fn of(&self, fault: Option<Fault>, struck: bool, class: Class) -> Vec<u64> {
        let is_of = |wait: &&Wait| {
            let is_fault = fault.is_none_or(|fault| self.run.strikes[wait.strike].fault == fault);
            is_fault && wait.struck == struck && wait.class == class
        };
        let mut longest: Vec<u64> = self.waits.iter().filter(is_of).map(|wait| wait.longest).collect();
        longest.sort_unstable();
        longest
    }

    /// Under one blow.
    pub fn under(&self, strike: usize, struck: bool, class: Class) -> Option<u64> {
        let is_it = |wait: &&Wait| wait.strike == strike && wait.struck == struck && wait.class == class;
        self.waits.iter().find(is_it).map(|wait| wait.longest)
    }
}

/// What became of the promised times.
pub struct Times {
    /// So many blows struck one zone of three or more: for those the times are promised.
    pub blows: usize,
    /// The longest use of a key under one of them, in milliseconds.
    pub key_use: f64,
    /// The longest that anybody waited for a write or a look-up who was not cut off from the quorum, in milliseconds.
    pub back: f64,
}

impl Times {
    pub fn new(run: &Run, waits: &[Wait]) -> Self {
        let is_promised = |strike: &Strike| strike.zones.len() == 1 && run.zones.len() >= 3;
        let longest = |is_of: &dyn Fn(&Wait) -> bool| {
            let of = waits.iter().filter(|wait| is_promised(&run.strikes[wait.strike]) && is_of(wait));
            quantile(&[of.map(|wait| wait.longest).max().unwrap_or(0)], 1000)
        };
        Self {
            blows: run.strikes.iter().filter(|strike| is_promised(strike)).count(),
            key_use: longest(&|wait| wait.class == Class::Use),
            back: longest(&|wait| {
                wait.class != Class::Use && !(wait.struck && is_behind_its_line(run.strikes[wait.strike].fault))
            }),
        }
    }

    /// Whether they were met; `None` if nothing was promised, as no blow struck one zone alone.
    pub fn are_met(&self) -> Option<bool> {
        let is_within = |longest: f64, promised: u64| longest < promised as f64;
        let are_met = is_within(self.key_use, KEY_USE_PROMISED_MILLISECONDS) && is_within(self.back, BACK_PROMISED_MILLISECONDS);
        (self.blows > 0).then_some(are_met)
    }

    /// One sentence.
    pub fn told(&self) -> String {
        let verdict = match self.are_met() {
            Some(true) => "met",
            Some(false) => "NOT met",
            None => return "promised times: none, as no blow struck one zone of three alone".to_string(),
        };
        format!(
            "promised times: {verdict} under {} blows to one zone. Longest key use {:.1} ms (promised: under {KEY_USE_PROMISED_MILLISECONDS}), longest wait for a write or look-up {:.1} ms (under {BACK_PROMISED_MILLISECONDS})",
            self.blows, self.key_use, self.back
        )
    }
}

/// Whether who stands in the struck zone is cut off from the quorum together with its node, or far away from it: it waits for its line.
fn is_behind_its_line(fault: Fault) -> bool {
    matches!(fault, Fault::CutBoth | Fault::CutIn | Fault::CutOut | Fault::Throttle | Fault::Delay)
}

#[cfg(test)]
mod tests {
    use super::super::record::Op;
    use super::super::schedule::Name;
    use super::*;

    const MILLISECOND: u64 = 1_000_000;

    fn record(client: u32, op: Op, (begun, ended): (u64, u64), outcome: Outcome) -> Record {
        let (begun, ended) = (begun * MILLISECOND, ended * MILLISECOND);
        Record { client, op, object: String::new(), value: 0, begun, ended, outcome }
    }

    /// Two blows to zone a: from 1 s to 2 s, and from 3 s to 4 s. Client 1 is in it, client 2 is not.
    fn run(fault: Fault, zones: Vec<usize>) -> Run {
        let strike = |begun: u64| {
            let [begun, healed, well] = [0, 500, 1000].map(|after| (begun + after) * MILLISECOND);
            Strike { fault, zones: zones.clone(), leader: None, begun, healed, well, gave_up: 0 }
        };
        Run {
            name: Name::ZoneBack,
            seed: 1,
            zones: ["a", "b", "c"].map(String::from).to_vec(),
            spaces: true,
            begun: 0,
            ended: 6000 * MILLISECOND,
            clients: BTreeMap::from([(1, 0), (2, 1)]),
            strikes: vec![strike(1000), strike(3000)],
            troubles: Vec::new(),
        }
    }

    fn told(run: &Run, records: &[Record]) -> Vec<(usize, bool, Class, u64)> {
        waits(run, records).iter().map(|wait| (wait.strike, wait.struck, wait.class, wait.longest / MILLISECOND)).collect()
    }

    #[test]
    fn one_slow_call_among_thousands_shows_as_the_longest_of_its_blow() {
        let quick = |at| record(2, Op::Sign, (at, at), Outcome::Done);
        let mut records: Vec<Record> = (0..5000).map(quick).collect();
        records.push(record(1, Op::Sign, (1500, 1790), Outcome::Done));
        records.sort_by_key(|record| record.begun);
        let run = run(Fault::Kill, vec![0]);
        let waits = waits(&run, &records);
        let blows = Blows::new(&run, &waits);
        assert_eq!(blows.of(None, true, Class::Use), [290 * MILLISECOND]);
        assert_eq!(blows.of(Some(Fault::Kill), false, Class::Use), [0, 0]);
        assert_eq!((blows.under(0, true, Class::Use), blows.under(1, true, Class::Use)), (Some(290 * MILLISECOND), None));
    }

    #[test]
    fn a_wait_is_one_client_s_and_goes_on_over_calls_that_fail() {
        let records = [
            // Another client's writes make nobody's wait shorter.
            record(1, Op::Keep, (1100, 1900), Outcome::Done),
            record(2, Op::Keep, (1200, 1201), Outcome::Done),
            record(2, Op::Keep, (1300, 1310), Outcome::Failed("x".into())),
            record(2, Op::Discard, (1310, 1400), Outcome::Done),
            record(2, Op::Keep, (1400, 1450), Outcome::Done),
            record(2, Op::Get, (3500, 3501), Outcome::Failed("x".into())),
            // The last count is no application's.
            record(9999, Op::Get, (3500, 5900), Outcome::Done),
        ];
        let expected = [
            (0, false, Class::Write, 150),
            (0, true, Class::Write, 800),
            // It was never answered: up to the end.
            (1, false, Class::Look, 2500),
        ];
        assert_eq!(told(&run(Fault::Kill, vec![0]), &records), expected);
    }

    #[test]
    fn promised_times_are_met_under_both_limits_and_not_at_them() {
        let times = |fault, zones: Vec<usize>, use_takes: u64, write_takes: u64| {
            let run = run(fault, zones);
            let records = [
                record(1, Op::Sign, (1000, 1000 + use_takes), Outcome::Done),
                record(1, Op::Keep, (1100, 1100 + write_takes), Outcome::Done),
            ];
            Times::new(&run, &waits(&run, &records)).are_met()
        };
        assert_eq!(times(Fault::Kill, vec![0], 99, 1999), Some(true));
        assert_eq!(times(Fault::Kill, vec![0], 100, 1), Some(false));
        assert_eq!(times(Fault::Kill, vec![0], 1, 2000), Some(false));
        assert_eq!(times(Fault::CutBoth, vec![0], 1, 2000), Some(true), "its writes wait for the quorum");
        assert_eq!(times(Fault::CutBoth, vec![0], 100, 1), Some(false), "keys are used all the same");
        assert_eq!(times(Fault::Kill, vec![0, 1], 100, 2000), None, "nothing is promised when two zones are lost");
    }
}
