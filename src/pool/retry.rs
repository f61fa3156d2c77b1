//! When to try again, how long to wait for one node, and when to give up: pure.

use std::time::Duration;

use crate::ck::{AttributeType, MechanismType, ObjectClass};
use crate::limits::{CALL_DEADLINE_SECONDS, ELECTION_MAX_MILLISECONDS, SERVING_LEASE_MILLISECONDS};
use crate::object::Template;
use crate::token::message::Ask;

/// How long a whole call may take.
pub const CALL_DEADLINE: Duration = Duration::from_secs(CALL_DEADLINE_SECONDS);

/// Whether the request may go to several nodes at once: it changes nothing, and what it uses up is named; or the log carries out once what it changes.
pub fn may_race(ask: &Ask) -> bool {
    let is_safe = matches!(
        ask,
        Ask::Start { .. }
            | Ask::Run { .. }
            | Ask::Digest { .. }
            | Ask::Wrap { .. }
            | Ask::Tokens
            | Ask::Describe
            | Ask::Find { .. }
            | Ask::Read { .. }
            | Ask::Size { .. }
    );
    is_safe || ask.changes()
}

/// A node is waited for no longer than this before another one is asked, unless a healthy one may take longer: it may have lost power after it took the request, and a call
/// that waits for it would fail though the pool is well again.
const PATIENCE_MAX: Duration = Duration::from_secs(CALL_DEADLINE_SECONDS / 6);

/// How long a look at a node takes: more than a near one needs.
const PROBE: Duration = Duration::from_millis(40);
/// And how long at most, however far it is.
const PROBE_MAX: Duration = Duration::from_secs(1);
/// How long a connection is made in the first round of a race for what a node does by itself.
pub const CONNECTING: Duration = Duration::from_millis(45);
/// The same for a change, which is in less of a hurry.
pub const CONNECTING_TO_CHANGE: Duration = Duration::from_millis(250);
/// And in later rounds.
const CONNECTING_MAX: Duration = Duration::from_secs(1);
/// A leader that falls silent has a successor by then. Who waits for it meanwhile is well, and not given up.
pub const SUCCESSION: Duration = Duration::from_millis(2000);
const _: () = assert!(SUCCESSION.as_millis() as u64 >= 2 * ELECTION_MAX_MILLISECONDS);

/// How long a look at a node may take that failed to answer so many before, and of which is known within which time it answers. Of a silent node of which
/// nothing is known most looks are short, since the call that looks waits for it; each second one takes four times as long, each fourth sixteen times and
/// each eighth as long as any: so one that is far is found again.
pub fn probe_patience(failed: u32, reach: Option<Duration>) -> Duration {
    let doublings = match reach {
        // It may have come back by a longer way.
        Some(_) if failed % 8 == 7 => return PROBE_MAX,
        Some(_) => failed.min(2),
        None => 2 * failed.saturating_add(1).trailing_zeros().min(3),
    };
    PROBE_MAX.min(PROBE.max(reach.unwrap_or_default()) * 2_u32.pow(doublings))
}

/// How long a call waits at most for its look at a node that failed. Uses of keys are promised not to take long while a node is silent, so they leave patient
/// looks to other calls.
pub fn probe_most(ask: &Ask, reach: Option<Duration>) -> Duration {
    if ask.uses_a_key() { PROBE.max(reach.unwrap_or_default()) } else { PROBE_MAX }
}

/// How long a node is told what it need not know: no longer than a healthy one takes, however far it is.
pub fn telling_patience(ask: &Ask, reach: Option<Duration>) -> Duration {
    patience(ask, 0).max(PROBE_MAX.min(reach.unwrap_or_default()))
}

/// How long a connection may take to be made in a race, where it takes so long at most in the first round unless it is known to be farther: meanwhile no other
/// node is asked or heard.
pub fn connecting_patience(round: u32, first: Duration, reach: Option<Duration>) -> Duration {
    (first * 2_u32.saturating_pow(round.min(12))).min(CONNECTING_MAX).max(reach.unwrap_or_default())
}

/// What a call costs a healthy node, at most: beyond it another node is asked; in a [race](may_race), where others have been asked meanwhile,
/// connections are given up and all are asked anew. Each round doubles it up to a bound, so that a pool that is slow as a whole is waited for, and asks
/// no node more often than it can answer.
pub fn patience(ask: &Ask, round: u32) -> Duration {
    let first = match ask {
        Ask::Health => PROBE,
        Ask::Part { .. } | Ask::Drop { .. } | Ask::Forget { .. } => Duration::from_millis(75),
        Ask::Start { .. } | Ask::Run { .. } | Ask::Digest { .. } | Ask::Wrap { .. } => Duration::from_millis(300),
        // All nodes are asked in such a race, and they wait for the leader.
        Ask::Tokens | Ask::Describe | Ask::Find { .. } | Ask::Read { .. } | Ask::Size { .. } => SUCCESSION,
        Ask::Generate { mechanism, .. } | Ask::GeneratePair { mechanism, .. } => match mechanism.kind {
            // A search for primes takes as long as it takes.
            MechanismType::RSA_PKCS_KEY_PAIR_GEN
            | MechanismType::RSA_X9_31_KEY_PAIR_GEN
            | MechanismType::DSA_PARAMETER_GEN
            | MechanismType::DH_PKCS_PARAMETER_GEN => Duration::from_secs(8),
            _ => Duration::from_millis(500),
        },
        // A PIN is stretched on purpose, and others may be in front.
        Ask::Login { .. } | Ask::Authenticate { .. } => Duration::from_millis(1500),
        // They return when every member has applied them, or can serve no longer: asked again sooner, the wait would begin anew.
        Ask::Destroy { .. } | Ask::SetPin { .. } | Ask::InitPin { .. } | Ask::InitToken { .. } | Ask::DeleteToken { .. } => {
            Duration::from_millis(SERVING_LEASE_MILLISECONDS + 1500)
        }
        Ask::Logout
        | Ask::Leave
        | Ask::Inherit { .. }
        | Ask::Create { .. }
        | Ask::Copy { .. }
        | Ask::Update { .. }
        | Ask::Unwrap { .. }
        | Ask::Derive { .. }
        | Ask::Make { .. } => Duration::from_millis(500),
    };
    first.max(PATIENCE_MAX).min(first * 2_u32.saturating_pow(round.min(12)))
}

/// A change that takes a node microseconds, if it is of session objects.
pub fn is_quick(ask: &Ask) -> bool {
    match ask {
        Ask::Generate { mechanism, .. } => is_random(mechanism.kind),
        Ask::GeneratePair { mechanism, .. } => is_curve(mechanism.kind),
        Ask::Create { template } => takes_no_mathematics(template),
        Ask::Copy { .. } | Ask::Update { .. } | Ask::Destroy { .. } => true,
        _ => false,
    }
}

/// Keys that are random bytes; others are stretched passwords, or primes.
pub fn is_random(kind: MechanismType) -> bool {
    matches!(
        kind,
        MechanismType::AES_KEY_GEN
            | MechanismType::GENERIC_SECRET_KEY_GEN
            | MechanismType::DES2_KEY_GEN
            | MechanismType::DES3_KEY_GEN
            | MechanismType::CHACHA20_KEY_GEN
    )
}

/// Pairs on elliptic curves; others are made of primes.
pub fn is_curve(kind: MechanismType) -> bool {
    matches!(
        kind,
        MechanismType::EC_KEY_PAIR_GEN | MechanismType::EC_EDWARDS_KEY_PAIR_GEN | MechanismType::EC_MONTGOMERY_KEY_PAIR_GEN
    )
}

/// Other objects' numbers are checked when they are created, which may take milliseconds.
pub fn takes_no_mathematics(template: &Template) -> bool {
    let class = template.ulong(AttributeType::CLASS).map(ObjectClass);
    class.is_some_and(|class| matches!(class, ObjectClass::SECRET_KEY | ObjectClass::DATA | ObjectClass::CERTIFICATE))
}

/// The pause after a round in which no node answered. `jitter` is 0 to 255.
pub fn pause(round: u32, jitter: u8) -> Duration {
    let longest = Duration::from_millis(500).min(Duration::from_millis(5) * 2_u32.saturating_pow(round.min(8)));
    longest / 2 + longest / 2 * u32::from(jitter) / 255
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{SO_DELAY_MAX_MILLISECONDS, SO_TURN_MAX_MILLISECONDS};
    use crate::mechanism::{Mechanism, Params};
    use crate::secret::Secret;
    use crate::token::Role;

    #[test]
    fn patience_doubles_up_to_a_bound_that_leaves_time_to_ask_others() {
        assert_eq!(patience(&Ask::Logout, 0), Duration::from_millis(500));
        assert_eq!(patience(&Ask::Logout, 1), Duration::from_millis(1000));
        assert_eq!(patience(&Ask::Logout, 31), PATIENCE_MAX);
        assert!(PATIENCE_MAX * 4 < CALL_DEADLINE);
    }

    #[test]
    fn looks_at_a_node_are_as_patient_as_it_is_far_and_find_a_far_one_of_which_nothing_is_known() {
        let ms = Duration::from_millis;
        let unknown: Vec<Duration> = (0..8).map(|failed| probe_patience(failed, None)).collect();
        assert_eq!(unknown, [40, 160, 40, 640, 40, 160, 40, 1000].map(ms));
        assert!(unknown.iter().sum::<Duration>() < ms(500) * 8, "a node that is dead costs little");
        assert_eq!(probe_patience(15, Some(ms(4))), PROBE_MAX, "it may be farther now");
        for failed in [0, 1, 2, 100, u32::MAX - 1] {
            let near = probe_patience(failed, Some(ms(4)));
            assert!(near >= PROBE && near <= PROBE * 4, "{failed}: {near:?}");
            let far = probe_patience(failed, Some(ms(800)));
            assert!(far >= ms(800) && far <= PROBE_MAX, "{failed}: {far:?}");
            assert!(probe_patience(failed, Some(ms(90_000))) == PROBE_MAX);
        }
    }

    #[test]
    fn far_nodes_are_told_and_connected_to_as_long_as_that_takes() {
        let (ms, forget) = (Duration::from_millis, Ask::Forget { ids: Vec::new() });
        for (reach, telling, connecting) in [(None, 75, 45), (Some(10), 75, 45), (Some(200), 200, 200), (Some(9000), 1000, 9000)]
        {
            assert_eq!(telling_patience(&forget, reach.map(ms)), ms(telling));
            assert_eq!(connecting_patience(0, CONNECTING, reach.map(ms)), ms(connecting));
        }
        assert_eq!(
            connecting_patience(3, CONNECTING, None),
            ms(360),
            "in later rounds one that is far is reached, of which nothing is known"
        );
    }

    #[test]
    fn connections_are_made_for_a_second_at_most_unless_a_node_is_known_to_be_farther() {
        let ms = Duration::from_millis;
        let cases = [(0, None, 250), (1, None, 500), (2, None, 1000), (9, None, 1000), (u32::MAX, Some(1500), 1500)];
        for (round, reach, expected) in cases {
            assert_eq!(connecting_patience(round, CONNECTING_TO_CHANGE, reach.map(ms)), ms(expected));
        }
    }

    #[test]
    fn a_use_of_a_key_waits_for_no_long_look_and_other_calls_do() {
        let mechanism = Mechanism { kind: MechanismType::SHA256, params: Params::None };
        let (ms, used) = (Duration::from_millis, Ask::Digest { mechanism, state: None, parts: Vec::new() });
        for (reach, of_use) in [(None, 40), (Some(4), 40), (Some(120), 120)] {
            assert_eq!(probe_most(&used, reach.map(ms)), ms(of_use));
            assert_eq!(probe_most(&Ask::Tokens, reach.map(ms)), PROBE_MAX);
        }
    }

    #[test]
    fn who_may_wait_for_a_new_leader_is_waited_for() {
        assert_eq!(patience(&Ask::Tokens, 0), SUCCESSION);
        // A race is four times as long as its first head start.
        assert!(patience(&Ask::Make { makings: Vec::new() }, 0) * 4 >= SUCCESSION);
    }

    #[test]
    fn an_so_who_is_delayed_is_waited_for() {
        let login = Ask::Login { role: Role::SecurityOfficer, pin: Secret::copy_of(b"so-pin") };
        // The shortest that a race waits for a node: its head start, and a succession.
        let shortest = patience(&login, 0) + SUCCESSION;
        assert!(shortest >= Duration::from_millis(SO_DELAY_MAX_MILLISECONDS + 1000), "{shortest:?}");
        // And the longest, where others come first.
        assert!(patience(&login, 31) >= Duration::from_millis(SO_TURN_MAX_MILLISECONDS + SO_DELAY_MAX_MILLISECONDS));
    }

    #[test]
    fn pauses_grow_and_are_bounded() {
        assert_eq!(pause(0, 255), Duration::from_millis(5));
        assert!(pause(0, 0) >= Duration::from_micros(2500));
        assert_eq!(pause(40, 255), Duration::from_millis(500));
    }
}
