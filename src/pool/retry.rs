//! When to try again, how long to wait for one node, and when to give up: pure.

use std::time::Duration;

use crate::ck::MechanismType;
use crate::limits::{CALL_DEADLINE_SECONDS, SERVING_LEASE_MILLISECONDS};
use crate::token::message::Ask;

/// How long a whole call may take.
pub const CALL_DEADLINE: Duration = Duration::from_secs(CALL_DEADLINE_SECONDS);

/// Whether the request may go to several nodes at once: it changes nothing, and what it uses up is named.
pub fn may_race(ask: &Ask) -> bool {
    matches!(
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
    )
}

/// A node is waited for no longer than this, unless a healthy one may take longer: it may have lost power after it took the request, and a call
/// that waits for it would fail though the pool is well again.
const PATIENCE_MAX: Duration = Duration::from_secs(CALL_DEADLINE_SECONDS / 6);

/// What a call costs a healthy node, at most: beyond it another node is asked; in a [race](may_race), where others have been asked meanwhile,
/// connections are given up and all are asked anew. Each round doubles it up to a bound, so that a pool that is slow as a whole is waited for, and asks
/// no node more often than it can answer.
pub fn patience(ask: &Ask, round: u32) -> Duration {
    let first = match ask {
        Ask::Health => Duration::from_millis(40),
        Ask::Part { .. } | Ask::Drop { .. } | Ask::Forget { .. } => Duration::from_millis(75),
        Ask::Start { .. } | Ask::Run { .. } | Ask::Digest { .. } | Ask::Wrap { .. } => Duration::from_millis(300),
        Ask::Tokens | Ask::Describe | Ask::Find { .. } | Ask::Read { .. } | Ask::Size { .. } => Duration::from_millis(500),
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

/// The pause after a round in which no node answered. `jitter` is 0 to 255.
pub fn pause(round: u32, jitter: u8) -> Duration {
    let longest = Duration::from_millis(500).min(Duration::from_millis(5) * 2_u32.saturating_pow(round.min(8)));
    longest / 2 + longest / 2 * u32::from(jitter) / 255
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_doubles_up_to_a_bound_that_leaves_time_to_ask_others() {
        assert_eq!(patience(&Ask::Logout, 0), Duration::from_millis(500));
        assert_eq!(patience(&Ask::Logout, 1), Duration::from_millis(1000));
        assert_eq!(patience(&Ask::Logout, 31), PATIENCE_MAX);
        assert!(PATIENCE_MAX * 4 < CALL_DEADLINE);
    }

    #[test]
    fn pauses_grow_and_are_bounded() {
        assert_eq!(pause(0, 255), Duration::from_millis(5));
        assert!(pause(0, 0) >= Duration::from_micros(2500));
        assert_eq!(pause(40, 255), Duration::from_millis(500));
    }
}
