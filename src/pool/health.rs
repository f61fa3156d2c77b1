//! What is believed of one node, from what was seen: a pure state machine over times.
//!
//! A node is left after one failure, since another one can answer, or after [`SILENCES_TO_LEAVE`] calls in a row that another node answered
//! while it was silent; it is taken back after [`PROBES_TO_RETURN`] good probes in a row, so that one that comes and goes does not draw
//! calls to it each time. Probes are spaced with growing distance.

use std::time::Duration;

/// Good probes in a row after which a node is used again.
pub const PROBES_TO_RETURN: u32 = 2;
/// Calls in a row that it was silent to, while others answered, after which a node is left: once is a busy machine.
pub const SILENCES_TO_LEAVE: u32 = 3;
/// Distance of the first probe from the failure; doubles with each bad one.
const PROBE_FIRST: Duration = Duration::from_millis(100);
/// Longest distance between probes.
const PROBE_MAX: Duration = Duration::from_secs(5);

/// What is believed of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Calls go to it.
    #[default]
    Up,
    /// Calls go to it still, but it was silent to the last ones.
    Silent(u32),
    /// It failed; it is looked at now and then.
    Down {
        /// Probes that failed since.
        failed: u32,
        /// Good probes in a row.
        good: u32,
        /// When to look next.
        next: Duration,
    },
}

impl Health {
    /// A call or a probe failed. `jitter` is 0 to 255.
    pub fn failed(self, now: Duration, jitter: u8) -> Self {
        let failed = match self {
            Health::Up | Health::Silent(_) => 0,
            Health::Down { failed, .. } => failed.saturating_add(1),
        };
        let distance = PROBE_MAX.min(PROBE_FIRST * 2_u32.saturating_pow(failed.min(16)));
        // Between three quarters and the whole of it, so that many clients do not look at the same moment.
        let distance = distance - distance / 4 * u32::from(jitter) / 255;
        Health::Down { failed, good: 0, next: now + distance }
    }

    /// Another node answered while it was silent. `jitter` is 0 to 255.
    pub fn overtaken(self, now: Duration, jitter: u8) -> Self {
        match self {
            Health::Up => Health::Silent(1),
            Health::Silent(before) if before + 1 < SILENCES_TO_LEAVE => Health::Silent(before + 1),
            Health::Silent(_) => self.failed(now, jitter),
            Health::Down { .. } => self,
        }
    }

    /// It answered a call.
    pub fn answered(self) -> Self {
        match self {
            Health::Silent(_) => Health::Up,
            other => other,
        }
    }

    /// A probe found it well.
    pub fn probed_well(self, now: Duration) -> Self {
        match self {
            Health::Down { good, .. } if good + 1 >= PROBES_TO_RETURN => Health::Up,
            Health::Down { failed, good, .. } => Health::Down { failed, good: good + 1, next: now + PROBE_FIRST },
            other => other,
        }
    }

    /// Whether it is time to look. The looker moves `next`, so that others do not look too.
    pub fn claim_probe(&mut self, now: Duration) -> bool {
        match self {
            Health::Down { next, .. } if *next <= now => {
                *next = now + PROBE_MAX;
                true
            }
            _ => false,
        }
    }

    /// Looks at it that failed since it did.
    pub fn failed_probes(self) -> u32 {
        if let Health::Down { failed, .. } = self { failed } else { 0 }
    }

    /// Whether calls go to it.
    pub fn is_up(self) -> bool {
        !matches!(self, Health::Down { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn one_failure_takes_a_node_out_and_two_good_probes_bring_it_back() {
        let mut health = Health::Up.failed(at(1000), 0);
        assert!(!health.is_up());
        assert!(!health.claim_probe(at(1099)));
        assert!(health.claim_probe(at(1100)));
        assert!(!health.claim_probe(at(1101)), "one looks, the others go elsewhere");
        health = health.probed_well(at(1110));
        assert!(!health.is_up());
        health = health.probed_well(at(1210));
        assert!(health.is_up());
    }

    #[test]
    fn silences_in_a_row_take_a_node_out_and_one_answer_ends_the_row() {
        // Each letter is an event: silent, answered; and whether calls still go there after all of them.
        for (events, is_up) in [("", true), ("ss", true), ("sss", false), ("ssass", true), ("ssasss", false), ("sssa", false)] {
            let seen = |health: Health, event| match event {
                's' => health.overtaken(at(0), 0),
                _ => health.answered(),
            };
            assert_eq!(events.chars().fold(Health::Up, seen).is_up(), is_up, "{events}");
        }
        let left = Health::Silent(SILENCES_TO_LEAVE - 1).overtaken(at(50), 0);
        assert_eq!(left, Health::Down { failed: 0, good: 0, next: at(150) });
        assert_eq!(left.overtaken(at(60), 0), left, "who comes later has found out nothing new");
    }

    #[test]
    fn a_bad_probe_starts_the_count_anew_and_the_distance_grows_to_its_bound() {
        let mut health = Health::Up.failed(at(0), 0).probed_well(at(100)).failed(at(200), 0);
        assert_eq!(health, Health::Down { failed: 1, good: 0, next: at(400) });
        assert_eq!((health.failed_probes(), Health::Silent(2).failed_probes()), (1, 0));
        for _ in 0..40 {
            health = health.failed(at(0), 0);
        }
        assert_eq!(health, Health::Down { failed: 41, good: 0, next: PROBE_MAX });
        assert_eq!(Health::Up.failed(at(0), 255), Health::Down { failed: 0, good: 0, next: at(75) });
    }
}
