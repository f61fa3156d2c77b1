//! How long a node takes for each kind of work, from what was measured (RFC 6298): pure.

use std::time::Duration;

use parking_lot::Mutex;

use crate::token::message::Ask;

/// Work of about the same length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Nothing is computed or waited for: the way there and back.
    Nothing,
    /// A key is used.
    Use,
    /// The leader is asked where the log stands.
    LookUp,
}

impl Work {
    /// What a request is; `None` for changes, which wait for the log, for PINs, which are slow on purpose, and for parts of a stream.
    pub fn of(ask: &Ask) -> Option<Self> {
        match ask {
            Ask::Start { .. } | Ask::Health => Some(Work::Nothing),
            Ask::Run { .. } | Ask::Digest { .. } | Ask::Wrap { .. } => Some(Work::Use),
            Ask::Tokens | Ask::Describe | Ask::Find { .. } | Ask::Read { .. } | Ask::Size { .. } => Some(Work::LookUp),
            _ => None,
        }
    }
}

/// A node that was asked nothing for so long is measured anew: a bad moment is not held against it for ever.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// A node gets at least so long before another one is asked as well: more than a busy machine takes to wake a thread.
const HEAD_START_MIN: Duration = Duration::from_millis(20);
/// And at most so long, however slow it was.
const HEAD_START_MAX: Duration = Duration::from_millis(250);
/// While nothing is known of it: a connection must be made first.
const HEAD_START_UNKNOWN: Duration = Duration::from_millis(60);
/// Head starts are multiples of this, so that a socket's waiting time is seldom set anew.
const HEAD_START_STEP_MILLISECONDS: u64 = 10;

/// TCP, TLS, hello, request.
const ROUND_TRIPS_TO_ANSWER: u32 = 4;

/// What was measured of one node.
#[derive(Default)]
pub struct Pace([Mutex<Option<Measured>>; 3]);

#[derive(Clone, Copy)]
struct Measured {
    smoothed: Duration,
    deviation: Duration,
    at: Duration,
}

impl Pace {
    /// Takes in how long a request took; for one that was given up, how long it had been waited for.
    pub fn took(&self, work: Work, time: Duration, now: Duration) {
        let mut kept = self.0[work as usize].lock();
        *kept = Some(match *kept {
            Some(Measured { smoothed, deviation, at }) if now.saturating_sub(at) < FORGOTTEN_AFTER => Measured {
                smoothed: smoothed - smoothed / 8 + time / 8,
                deviation: deviation - deviation / 4 + time.abs_diff(smoothed) / 4,
                at: now,
            },
            _ => Measured { smoothed: time, deviation: time / 2, at: now },
        });
    }

    /// The smoothed way there and back; `None` when it was not measured lately.
    pub fn round_trip(&self, now: Duration) -> Option<Duration> {
        let kept = *self.0[Work::Nothing as usize].lock();
        kept.filter(|kept| now.saturating_sub(kept.at) < FORGOTTEN_AFTER).map(|kept| kept.smoothed)
    }

    /// Within which time a connection to it is made and a request over it answered, nearly always, by what was measured lately: near nodes and far ones differ
    /// a thousandfold.
    pub fn reach(&self, now: Duration) -> Option<Duration> {
        self.reach_since(now.saturating_sub(FORGOTTEN_AFTER))
    }

    /// The same by what was measured since then.
    pub fn reach_since(&self, then: Duration) -> Option<Duration> {
        let lately = |kept: &Mutex<Option<Measured>>| kept.lock().filter(|kept| kept.at >= then);
        // The work that took least says most of the way.
        let least = self.0.iter().filter_map(lately).min_by_key(|kept| kept.smoothed)?;
        Some((least.smoothed * ROUND_TRIPS_TO_ANSWER).max(least.smoothed + least.deviation * 4))
    }

    /// How long such work is left to this node alone: longer than it has taken nearly always.
    pub fn head_start(&self, work: Work) -> Duration {
        let kept = *self.0[work as usize].lock();
        let expected = kept.map_or(HEAD_START_UNKNOWN, |kept| kept.smoothed + kept.deviation * 4);
        let steps = (expected.as_millis() as u64).div_ceil(HEAD_START_STEP_MILLISECONDS);
        Duration::from_millis(steps * HEAD_START_STEP_MILLISECONDS).clamp(HEAD_START_MIN, HEAD_START_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn head_starts_follow_what_was_measured_within_their_bounds() {
        // What was measured, in milliseconds, and the head start after it.
        let cases: [(&[u64], u64); 6] = [
            (&[], 60),
            (&[0, 0, 0], 20),
            (&[3; 40], 20),
            (&[30; 40], 30),
            (&[20, 60, 20, 60, 20, 60, 20, 60], 130),
            (&[2000; 5], 250),
        ];
        for (times, expected) in cases {
            let pace = Pace::default();
            times.iter().enumerate().for_each(|(at, time)| pace.took(Work::Use, ms(*time), ms(at as u64)));
            let (got, off) = (pace.head_start(Work::Use), ms(20));
            assert!(got.abs_diff(ms(expected)) <= off, "{times:?}: {got:?}, about {expected} ms was expected");
            assert_eq!(pace.head_start(Work::LookUp), HEAD_START_UNKNOWN, "each kind of work by itself");
        }
    }

    #[test]
    fn a_node_that_was_silent_gets_longer_each_time_and_soon_as_short_as_before() {
        let pace = Pace::default();
        (0..20).for_each(|at| pace.took(Work::Use, Duration::from_micros(100), ms(at)));
        let mut before = pace.head_start(Work::Use);
        assert_eq!(before, HEAD_START_MIN);
        let mut all = before;
        for at in 20..22 {
            pace.took(Work::Use, before, ms(at));
            let now = pace.head_start(Work::Use);
            assert!(now > before);
            (before, all) = (now, all + now);
        }
        assert!(all < ms(150), "three silences cost {all:?}");
        (22..52).for_each(|at| pace.took(Work::Use, Duration::from_micros(100), ms(at)));
        assert_eq!(pace.head_start(Work::Use), HEAD_START_MIN);
    }

    #[test]
    fn how_far_a_node_is_follows_from_the_least_that_was_measured_lately() {
        let pace = Pace::default();
        assert_eq!(pace.reach(ms(0)), None);
        (0..40).for_each(|at| pace.took(Work::Use, ms(900), ms(at)));
        (0..40).for_each(|at| pace.took(Work::LookUp, ms(200), ms(at)));
        let reach = pace.reach(ms(40)).unwrap();
        assert!(reach >= ms(800) && reach <= ms(900), "{reach:?}");
        assert_eq!(pace.reach(ms(61_000)), None, "it may have moved");
    }

    #[test]
    fn a_bad_moment_is_forgotten() {
        let pace = Pace::default();
        pace.took(Work::Nothing, ms(400), ms(0));
        assert_eq!(pace.round_trip(ms(59_999)), Some(ms(400)));
        assert_eq!(pace.round_trip(ms(60_000)), None);
        pace.took(Work::Nothing, ms(1), ms(60_000));
        assert_eq!(pace.round_trip(ms(60_001)), Some(ms(1)), "nothing of it is left");
    }
}
