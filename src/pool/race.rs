//! The same request to several nodes, one after the other, while those before are silent. It may be carried out by more than one of them.

use std::time::{Duration, Instant};

use super::call::Failure;
use crate::error::{Code, Error, refuse};
use crate::secret::Secret;

/// A node that may be asked.
#[derive(Clone, Copy, Debug)]
pub struct Entrant {
    /// Its number in the view.
    pub node: usize,
    /// How long it may be silent before the next one is asked as well.
    pub head_start: Duration,
    /// How long a connection to it may take to be made.
    pub connecting: Duration,
}

/// Who is asked, and for how long.
pub struct Race<'a> {
    /// In the order in which they are asked. The first one always is.
    pub entrants: &'a [Entrant],
    /// After this time nobody is waited for any more.
    pub patience: Duration,
    /// Once all are asked, nobody is waited for who got as long as this and his head start.
    pub last: Duration,
    /// Whether one more may be asked. Asked anew after a moment if not.
    pub may_ask: &'a dyn Fn() -> bool,
    /// Whether an answer is one, and does not send elsewhere: then others that were asked are waited for.
    pub is_final: &'a dyn Fn(&Secret) -> bool,
}

/// What came of a node that did not win.
pub enum Lost {
    /// It cannot answer.
    Failed(Error),
    /// It was silent for so long.
    Silent(Duration),
}

/// How a race ended.
#[derive(Default)]
pub struct Finish {
    /// Who answered what, and how long after the race's begin it was asked.
    pub won: Option<(usize, Secret, Duration)>,
    /// The others that were asked.
    pub lost: Vec<(usize, Lost)>,
}

/// What is heard of a node in a race.
pub enum Heard {
    /// Its answer.
    Answer(Secret),
    /// It cannot answer.
    Failed(Error),
    /// The connection that was kept to it had ended, which says nothing of the node: it is to be asked anew.
    Stale,
}

/// Where a race is run: how one request goes out to several nodes, and on which clock they are waited for.
pub trait Track {
    /// The time.
    fn now(&self) -> Instant;
    /// Sends the request to a node, to which a connection is made until `by`. Error: it cannot be reached.
    fn start(&mut self, node: usize, by: Instant) -> Result<(), Error>;
    /// Waits for any node that was started, and forgets it. `None`: it is time, or nothing whole has come yet.
    fn wait(&mut self, until: Instant) -> Option<(usize, Heard)>;
}

/// Runs a race.
pub fn run(race: &Race<'_>, track: &mut dyn Track) -> Finish {
    let begun = track.now();
    let mut course = Course { race, track, begun, ends: begun + race.patience, running: Vec::new(), lost: Vec::new() };
    let won = course.run();
    let Course { running, mut lost, track, .. } = course;
    let now = track.now();
    let silent = |(entrant, since): (Entrant, Instant)| (entrant.node, Lost::Silent(now.saturating_duration_since(since)));
    lost.extend(running.into_iter().map(silent));
    Finish { won, lost }
}

/// How long it takes at least until it is asked again whether one more node may be asked.
const ASK_AGAIN: Duration = Duration::from_millis(5);

/// How long it is looked whether something has come already.
const AT_HAND: Duration = Duration::from_millis(1);

/// A race under way.
struct Course<'a> {
    race: &'a Race<'a>,
    track: &'a mut dyn Track,
    begun: Instant,
    ends: Instant,
    /// Nodes that were asked and have not answered, and since when.
    running: Vec<(Entrant, Instant)>,
    lost: Vec<(usize, Lost)>,
}

impl Course<'_> {
    fn run(&mut self) -> Option<(usize, Secret, Duration)> {
        let mut waiting = self.race.entrants.iter();
        let mut next_start = self.begun;
        let mut is_first = true;
        loop {
            let now = self.track.now();
            let ends = if waiting.len() > 0 { self.ends } else { self.last_end() };
            let is_over = now >= ends;
            if !is_over && waiting.len() > 0 && (now >= next_start || self.running.is_empty()) {
                if is_first || (self.race.may_ask)() {
                    let entrant = waiting.next()?;
                    is_first = false;
                    // Who cannot be asked needs no head start.
                    if self.start(*entrant) {
                        next_start = self.track.now() + entrant.head_start;
                    } else {
                        next_start = self.track.now();
                        // Nobody was listened to meanwhile.
                        if let Some(won) = self.at_hand() {
                            return Some(won);
                        }
                    }
                    continue;
                }
                next_start = now + ASK_AGAIN;
            }
            if is_over || self.running.is_empty() {
                return self.at_hand();
            }
            let until = if waiting.len() > 0 { next_start.min(ends) } else { ends };
            let before = self.lost.len();
            if let Some(won) = self.wait(until) {
                return Some(won);
            }
            if self.lost.len() > before {
                next_start = self.track.now();
            }
        }
    }

    /// What has come already.
    fn at_hand(&mut self) -> Option<(usize, Secret, Duration)> {
        loop {
            let (running, now) = (self.running.len(), self.track.now());
            let heard = if running > 0 { self.wait(now + AT_HAND) } else { None };
            if heard.is_some() || self.running.len() == running {
                return heard;
            }
        }
    }

    /// Until when those are waited for that were asked, when there is nobody else to ask.
    fn last_end(&self) -> Instant {
        let had = self.running.iter().map(|(entrant, since)| *since + entrant.head_start.max(self.race.last)).max();
        had.map_or(self.ends, |had| had.min(self.ends))
    }

    /// Sends the request to one more node. Whether it could be sent.
    fn start(&mut self, entrant: Entrant) -> bool {
        let since = self.track.now();
        match self.track.start(entrant.node, self.ends.min(since + entrant.connecting)) {
            Ok(()) => self.running.push((entrant, since)),
            Err(error) => {
                self.lost.push((entrant.node, Lost::Failed(error)));
                return false;
            }
        }
        true
    }

    /// Waits for an answer of any. `None` also when one of them has failed.
    fn wait(&mut self, until: Instant) -> Option<(usize, Secret, Duration)> {
        let (node, heard) = self.track.wait(until)?;
        let at = self.running.iter().position(|(other, _)| other.node == node)?;
        let (entrant, since) = self.running.remove(at);
        match heard {
            Heard::Answer(answer) if self.running.is_empty() || (self.race.is_final)(&answer) => {
                return Some((node, answer, since - self.begun));
            }
            Heard::Answer(_) => {
                let told = "it sends its clients elsewhere";
                self.lost.push((node, Lost::Failed(refuse(Code::DeviceError, told))));
            }
            Heard::Stale => drop(self.start(entrant)),
            Heard::Failed(error) => self.lost.push((node, Lost::Failed(error))),
        }
        None
    }
}

/// A race for links that can only wait for one node at a time.
pub fn one_by_one(race: &Race<'_>, call: impl Fn(usize, Duration) -> Result<Secret, Failure>) -> Finish {
    let mut finish = Finish::default();
    for (at, Entrant { node, .. }) in race.entrants.iter().enumerate() {
        if at > 0 && !(race.may_ask)() {
            break;
        }
        match call(*node, race.patience) {
            Ok(answer) => {
                finish.won = Some((*node, answer, Duration::ZERO));
                break;
            }
            Err(Failure(error)) => finish.lost.push((*node, Lost::Failed(error))),
        }
    }
    finish
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// What becomes of a node that is asked.
    #[derive(Clone, Copy)]
    enum Fate {
        Answers(Duration),
        Silent,
        Unreached,
    }
    use Fate::{Answers, Silent, Unreached};

    /// A clock that only waiting moves.
    struct Played<'a> {
        now: Instant,
        fates: &'a [Fate],
        out: Vec<(usize, Instant)>,
    }

    impl Track for Played<'_> {
        fn now(&self) -> Instant {
            self.now
        }

        fn start(&mut self, node: usize, by: Instant) -> Result<(), Error> {
            match self.fates[node] {
                Answers(after) => self.out.push((node, self.now + after)),
                Silent => self.out.push((node, self.now + ms(1_000_000))),
                Unreached => {
                    self.now = by;
                    return Err(refuse(Code::DeviceError, "it takes no connection"));
                }
            }
            Ok(())
        }

        fn wait(&mut self, until: Instant) -> Option<(usize, Heard)> {
            let first = self.out.iter().copied().min_by_key(|(_, due)| *due).filter(|(_, due)| *due <= until);
            self.now = self.now.max(first.map_or(until, |(_, due)| due));
            let (node, _) = first?;
            self.out.retain(|(other, _)| *other != node);
            Some((node, Heard::Answer(Secret::default())))
        }
    }

    #[test]
    fn a_node_that_takes_no_connection_costs_that_and_no_head_start_and_the_last_have_their_time() {
        // Head start, time for the last ones, patience and time to connect; who won, and after how long.
        let revocation = (ms(3500), ms(2000), ms(14_000), ms(875));
        let change = (ms(500), ms(2000), ms(2000), ms(250));
        let look = (ms(20), ms(2000), ms(2000), ms(75));
        for ((head_start, last, patience, connecting), fates, won, took) in [
            (revocation, [Silent, Unreached, Answers(ms(100))], Some(2), 3500 + 875 + 100),
            (revocation, [Silent, Unreached, Unreached], None, 3500 + 875 + 875),
            (revocation, [Silent, Unreached, Silent], None, 3500 + 875 + 3500),
            (revocation, [Answers(ms(4000)), Silent, Silent], Some(0), 4000),
            // Who answers while no connection to another can be made is heard.
            (revocation, [Answers(ms(4000)), Unreached, Unreached], Some(0), 3500 + 875),
            (revocation, [Answers(ms(5200)), Unreached, Unreached], Some(0), 3500 + 875 + 875),
            (change, [Silent, Silent, Answers(ms(10))], Some(2), 1010),
            (change, [Silent, Answers(ms(900)), Silent], Some(1), 1400),
            (change, [Silent, Silent, Silent], None, 2000),
            (change, [Unreached, Unreached, Answers(ms(1400))], Some(2), 250 + 250 + 1400),
            (change, [Unreached, Unreached, Unreached], None, 750),
            (look, [Silent, Silent, Silent], None, 2000),
            (look, [Unreached, Silent, Answers(ms(1500))], Some(2), 75 + 20 + 1500),
        ] {
            let begun = Instant::now();
            let entrants = [0, 1, 2].map(|node| Entrant { node, head_start, connecting });
            let mut played = Played { now: begun, fates: &fates, out: Vec::new() };
            let finish = run(&Race { entrants: &entrants, patience, last, may_ask: &|| true, is_final: &|_| true }, &mut played);
            let (late, took) = ((played.now - begun).saturating_sub(ms(took)), ms(took));
            assert_eq!(finish.won.map(|(node, ..)| node), won);
            // To look whether something has come takes a moment.
            assert!(late <= AT_HAND * 4 && played.now - begun >= took, "{took:?}, and {late:?}");
        }
    }
}
