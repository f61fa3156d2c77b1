//! Histories whose verdict is known: bad ones are refused, whatever is made by a sequence of calls is taken.

use super::{Action, Call, Verdict, check};

const STEPS: u64 = 1_000_000;

fn call(client: u32, begun: u64, ended: u64, action: Action) -> Call {
    Call { client, object: "o".to_string(), action, begun, ended: Some(ended) }
}

fn open(client: u32, begun: u64, action: Action) -> Call {
    Call { ended: None, ..call(client, begun, begun, action) }
}

fn set(value: u64) -> Action {
    Action::Set { value, done: true }
}

const GONE: Action = Action::Destroy { done: true };

#[track_caller]
fn is_taken(history: &[Call]) {
    assert_eq!(check(history, STEPS), Verdict::Linearizable);
}

#[track_caller]
fn is_refused(history: &[Call], odd: Action) {
    match check(history, STEPS) {
        Verdict::Violated(violation) => assert_eq!(violation.odd.action, odd, "{violation}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stale_read_is_refused() {
    let history = |read| [call(1, 0, 1, Action::Create(7)), call(1, 2, 3, set(8)), call(2, 4, 5, read)];
    is_taken(&history(Action::Get(Some(8))));
    is_refused(&history(Action::Get(Some(7))), Action::Get(Some(7)));
    is_refused(&[call(1, 0, 1, Action::Create(7)), call(2, 2, 3, Action::Find(false))], Action::Find(false));
}

#[test]
fn a_read_beside_a_write_sees_either_and_then_no_older_one() {
    let history = |first, second| {
        [
            call(1, 0, 1, Action::Create(7)),
            call(1, 2, 9, set(8)),
            call(2, 3, 4, Action::Get(Some(first))),
            call(3, 5, 6, Action::Get(Some(second))),
        ]
    };
    for (first, second) in [(7, 7), (7, 8), (8, 8)] {
        is_taken(&history(first, second));
    }
    is_refused(&history(8, 7), Action::Get(Some(7)));
}

#[test]
fn a_lost_write_is_refused() {
    is_refused(&[call(1, 0, 1, Action::Create(7)), call(2, 2, 3, Action::Get(None))], Action::Get(None));
    let lost =
        [call(1, 0, 1, Action::Create(7)), call(1, 2, 3, set(8)), call(2, 2, 3, set(9)), call(1, 4, 5, Action::Get(Some(7)))];
    is_refused(&lost, Action::Get(Some(7)));
}

#[test]
fn an_object_made_twice_or_taken_away_twice_is_refused() {
    is_refused(&[call(1, 0, 1, Action::Create(7)), call(2, 2, 3, Action::Create(7))], Action::Create(7));
    is_refused(&[call(1, 0, 1, Action::Create(7)), call(1, 2, 3, GONE), call(2, 4, 5, GONE)], GONE);
    // Of two that try at once, one is told that it is gone.
    let late = Action::Destroy { done: false };
    is_taken(&[call(1, 0, 1, Action::Create(7)), call(1, 2, 5, GONE), call(2, 3, 4, late)]);
}

#[test]
fn what_is_destroyed_stays_so() {
    let destroyed = [call(1, 0, 1, Action::Create(7)), call(1, 2, 3, GONE)];
    for odd in [Action::Get(Some(7)), Action::Find(true), set(8)] {
        is_refused(&[&destroyed[..], &[call(2, 4, 5, odd)]].concat(), odd);
    }
    // Seen gone, then there again.
    let back = [
        call(1, 0, 1, Action::Create(7)),
        call(1, 2, 9, GONE),
        call(2, 3, 4, Action::Find(false)),
        call(2, 5, 6, Action::Find(true)),
    ];
    is_refused(&back, Action::Find(true));
    is_taken(&[&destroyed[..], &[call(2, 4, 5, Action::Get(None))]].concat());
}

#[test]
fn a_call_without_an_answer_may_have_happened_at_any_time_since_or_never() {
    let history = |rest: &[Call]| [&[call(1, 0, 1, Action::Create(7)), open(1, 2, set(8))], rest].concat();
    let (old, new) = (Action::Get(Some(7)), Action::Get(Some(8)));
    is_taken(&history(&[]));
    is_taken(&history(&[call(2, 10, 11, old)]));
    is_taken(&history(&[call(2, 10, 11, old), call(2, 20, 21, new)]));
    is_refused(&history(&[call(2, 10, 11, new), call(2, 20, 21, old)]), old);
    // Not before it began.
    is_refused(&[call(1, 0, 1, Action::Create(7)), call(2, 2, 3, new), open(1, 4, set(8))], new);
    is_taken(&[open(1, 0, Action::Create(7)), call(2, 1, 2, Action::Find(false)), call(2, 3, 4, Action::Find(true))]);
}

#[test]
fn each_object_is_judged_by_itself() {
    let other = Call { object: "p".to_string(), ..call(1, 0, 1, Action::Find(false)) };
    is_taken(&[call(1, 0, 1, Action::Create(7)), other.clone()]);
    let Verdict::Violated(violation) = check(&[call(1, 0, 1, Action::Find(true)), other], STEPS) else { panic!("taken") };
    assert_eq!(violation.object, "o");
}

#[test]
fn a_search_that_is_too_long_is_given_up() {
    let mut history = vec![call(99, 0, 1, Action::Create(99)), call(99, 200, 201, Action::Get(Some(99)))];
    history.extend((0..40).map(|client| call(client, 2, 100, set(u64::from(client)))));
    assert_eq!(check(&history, 1000), Verdict::Unknown(vec!["o".to_string()]));
}

/// Numbers from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// A history that happened: each call takes effect at one moment of a sequence, and lasts from somewhat before to somewhat after.
fn happened(dice: &mut Dice) -> Vec<Call> {
    let mut state: Option<u64> = None;
    let mut free_from = [0_u64; 5];
    let mut history = Vec::new();
    for moment in 1..=120_u64 {
        let now = moment * 10;
        let client = dice.below(5) as usize;
        if free_from[client] >= now {
            continue;
        }
        let action = match (dice.below(6), state) {
            (0, None) => Action::Create(moment),
            (0, Some(_)) if dice.below(3) == 0 => Action::Destroy { done: true },
            (1, None) => Action::Destroy { done: false },
            (1 | 2, seen) => Action::Set { value: moment, done: seen.is_some() },
            (3, seen) => Action::Find(seen.is_some()),
            (_, seen) => Action::Get(seen),
        };
        match action {
            Action::Create(value) | Action::Set { value, done: true } => state = Some(value),
            Action::Destroy { done: true } => state = None,
            _ => {}
        }
        let begun = free_from[client].max(now - dice.below(60).min(now)) + 1;
        let ended = now + dice.below(60) + 1;
        free_from[client] = ended;
        let is_lost = dice.below(20) == 0;
        let action = match action {
            // Nobody was told how it went.
            Action::Set { value, .. } if is_lost => Action::Set { value, done: true },
            other => other,
        };
        let looks = matches!(action, Action::Get(_) | Action::Find(_) | Action::Destroy { done: false });
        let ended = (!is_lost || looks).then_some(ended);
        history.push(Call { ended, ..call(client as u32, begun.min(now), now, action) });
    }
    history
}

#[test]
fn whatever_has_happened_is_taken() {
    for seed in 0..400 {
        let history = happened(&mut Dice(seed));
        assert_eq!(check(&history, STEPS), Verdict::Linearizable, "seed {seed}");
    }
}

#[test]
fn what_was_seen_is_not_changed_unnoticed() {
    let (mut made, mut refused) = (0, 0);
    for seed in 0..400 {
        let dice = &mut Dice(seed);
        let mut history = happened(dice);
        let looks = |call: &Call| matches!(call.action, Action::Get(_) | Action::Find(_));
        let places: Vec<usize> = (0..history.len()).filter(|at| looks(&history[*at])).collect();
        let place = places[dice.below(places.len() as u64) as usize];
        history[place].action = match history[place].action {
            Action::Get(Some(value)) => Action::Get(Some(value + 1)),
            Action::Get(None) => Action::Get(Some(1)),
            Action::Find(seen) => Action::Find(!seen),
            other => other,
        };
        made += 1;
        refused += usize::from(matches!(check(&history, STEPS), Verdict::Violated(_)));
    }
    // A look beside a creation or destruction may have seen either.
    assert!(refused * 10 > made * 8, "{refused} of {made} changed histories were refused");
}
