//! Schedules: what strikes whom, and when; pure functions of a name, a seed and a length.

use std::fmt;
use std::time::Duration;

use super::dice::Dice;

/// What happens to a zone's node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// `SIGKILL`; started again when it is over.
    Kill,
    /// `SIGTERM`, and started again at once.
    Restart,
    /// `SIGSTOP`; `SIGCONT` when it is over.
    Pause,
    /// Stopped most of the time, in short pieces.
    Stutter,
    /// The zone's line carries little.
    Throttle,
    /// The zone's line is long.
    Delay,
    /// Nothing gets in or out of the zone.
    CutBoth,
    /// Nothing gets in.
    CutIn,
    /// Nothing gets out.
    CutOut,
    /// No byte is free on the node's disk.
    FillDisk,
    /// A node is added, promoted, made leader, and removed.
    Members,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Kill => "killed",
            Fault::Restart => "restarted",
            Fault::Pause => "silent",
            Fault::Stutter => "stuttering",
            Fault::Throttle => "throttled",
            Fault::Delay => "late",
            Fault::CutBoth => "cut off",
            Fault::CutIn => "cut off inwards",
            Fault::CutOut => "cut off outwards",
            Fault::FillDisk => "disk full",
            Fault::Members => "members change",
        })
    }
}

/// Who is struck.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Zones, by their numbers.
    Zones(Vec<usize>),
    /// Whichever zone has the leader by then.
    Leader,
}

/// One blow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blow {
    /// How long all is well before it.
    pub calm: Duration,
    /// What.
    pub fault: Fault,
    /// Whom.
    pub whom: Whom,
    /// For how long.
    pub lasts: Duration,
}

/// A ready schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Name {
    /// One zone is killed and stays down
    ZoneDown,
    /// Each zone in turn, every one at least once, is killed and comes back
    ZoneBack,
    /// Zones get slow: a throttled line with --namespaces, a stuttering process without
    ZoneSlow,
    /// Zones fall silent: the process is stopped in its tracks, its connections stay open
    ZoneSilent,
    /// Zones, the leader's first, are cut off from the others (needs --namespaces)
    CutBoth,
    /// Nothing gets into a zone, the leader's first, but what it sends gets out (needs --namespaces)
    CutIn,
    /// Nothing gets out of a zone, the leader's first, but it hears the others (needs --namespaces)
    CutOut,
    /// The leader is killed, again and again
    LeaderLost,
    /// Each node in turn is stopped in order and started again
    RollingRestart,
    /// A node's disk is full (needs root)
    DiskFull,
    /// Two of three zones are killed and come back: changes wait, keys are used on
    QuorumLost,
    /// A node is added, promoted, made leader and removed
    Members,
    /// Nodes are killed over and over, now and then all at once, and come back at once: as many times as fit, or --kills
    Kills,
    /// Each packet from and to a zone is 100 ms late (needs --namespaces)
    ZoneLate,
    /// All of these that can be, one after the other, each on a pool of its own
    All,
}

impl Name {
    /// Whether zones must have networks of their own.
    pub fn needs_namespaces(self) -> bool {
        matches!(self, Name::CutBoth | Name::CutIn | Name::CutOut | Name::ZoneLate)
    }

    /// Every single one.
    pub fn singles() -> impl Iterator<Item = Name> {
        use clap::ValueEnum;
        Name::value_variants().iter().copied().filter(|name| *name != Name::All)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use clap::ValueEnum;
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

/// After the last blow.
pub const TAIL: Duration = Duration::from_millis(1500);
/// What coming back takes, for planning only: the next blow waits until all are well.
const RECOVERY_MILLISECONDS: u64 = 1500;

/// One of so many kills is of all nodes, and one of so many of two.
const ALL_KILLED_EVERY: u64 = 12;

/// Kills at any moment of whatever nodes do, so many of them.
pub fn kills(seed: u64, zones: usize, count: u64) -> Vec<Blow> {
    let dice = &mut Dice::new(seed, Name::Kills as u64);
    let one = |_| {
        let killed = match dice.below(ALL_KILLED_EVERY) {
            0 => zones,
            1 => zones.min(2),
            _ => 1,
        };
        let (calm, lasts) = (dice.between(0, 250), dice.between(0, 150));
        let whom = Whom::Zones(dice.order(zones)[..killed].to_vec());
        Blow { calm: Duration::from_millis(calm), fault: Fault::Kill, whom, lasts: Duration::from_millis(lasts) }
    };
    (0..count).map(one).collect()
}

/// The blows of a schedule that lasts about so long. `spaces`: zones have networks of their own.
pub fn plan(name: Name, seed: u64, zones: usize, length: Duration, spaces: bool) -> Vec<Blow> {
    let dice = &mut Dice::new(seed, name as u64);
    let total = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    let lone = |calm: u64, fault: Fault, zones: Vec<usize>, lasts: u64| Blow {
        calm: Duration::from_millis(calm),
        fault,
        whom: Whom::Zones(zones),
        lasts: Duration::from_millis(lasts),
    };
    let tail = u64::try_from(TAIL.as_millis()).unwrap_or(0);
    match name {
        Name::ZoneDown => vec![lone(2000, Fault::Kill, vec![dice.place(zones)], total.saturating_sub(2000 + tail).max(2000))],
        Name::QuorumLost => {
            let order = dice.order(zones);
            let lost = zones.div_ceil(2);
            series(total, 6000, 1, |calm| {
                let lasts = dice.between(2500, 4000);
                lone(calm, Fault::Kill, order[..lost].to_vec(), lasts)
            })
        }
        Name::RollingRestart => {
            let order = dice.order(zones);
            order.into_iter().map(|zone| lone(dice.between(700, 1300), Fault::Restart, vec![zone], 0)).collect()
        }
        Name::Kills => kills(seed, zones, (total.saturating_sub(tail) / (400 + RECOVERY_MILLISECONDS)).max(1)),
        Name::Members => vec![lone(1500, Fault::Members, vec![dice.place(zones)], 0)],
        Name::LeaderLost => series(total, 3500, 1, |calm| {
            let lasts = dice.between(1000, 2500);
            Blow { whom: Whom::Leader, ..lone(calm, Fault::Kill, Vec::new(), lasts) }
        }),
        // A file system of its own is made for the one zone.
        Name::DiskFull => {
            let zone = dice.place(zones);
            series(total, 5500, 1, |calm| lone(calm, Fault::FillDisk, vec![zone], dice.between(2000, 3500)))
        }
        Name::CutBoth | Name::CutIn | Name::CutOut => {
            let fault = match name {
                Name::CutIn => Fault::CutIn,
                Name::CutOut => Fault::CutOut,
                _ => Fault::CutBoth,
            };
            let mut turn = dice.order(zones).into_iter().cycle();
            // What a leader does that is cut off is another matter than a follower's, and is not left to the dice.
            let mut whom = std::iter::once(Whom::Leader).chain(std::iter::from_fn(|| Some(Whom::Zones(vec![turn.next()?]))));
            series(total, 4000, 2, |calm| {
                let lasts = dice.between(1500, 3000);
                Blow { whom: whom.next().unwrap_or(Whom::Leader), ..lone(calm, fault, Vec::new(), lasts) }
            })
        }
        _ => {
            let (fault, least) = match name {
                Name::ZoneBack => (Fault::Kill, zones as u64),
                Name::ZoneSlow if spaces => (Fault::Throttle, 1),
                Name::ZoneSlow => (Fault::Stutter, 1),
                Name::ZoneLate => (Fault::Delay, 1),
                _ => (Fault::Pause, 1),
            };
            let mut turn = dice.order(zones).into_iter().cycle();
            series(total, 4000, least, |calm| lone(calm, fault, vec![turn.next().unwrap_or(0)], dice.between(1500, 3000)))
        }
    }
}

/// As many blows as fit, at least so many, each of about so long with the calm before it; what comes back is given time.
fn series(total: u64, each: u64, least: u64, mut blow: impl FnMut(u64) -> Blow) -> Vec<Blow> {
    let count = (total.saturating_sub(2000) / (each + RECOVERY_MILLISECONDS)).max(least);
    (0..count).map(|at| blow(if at == 0 { 1500 } else { 1000 })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(15);

    #[test]
    fn the_same_seed_plans_the_same_and_another_one_differently() {
        for name in Name::singles() {
            assert_eq!(plan(name, 7, 3, LENGTH, true), plan(name, 7, 3, LENGTH, true), "{name}");
        }
        let differs = |name| (1..20).any(|seed| plan(name, seed, 3, LENGTH, true) != plan(name, 0, 3, LENGTH, true));
        assert!(Name::singles().all(differs));
    }

    #[test]
    fn however_short_it_is_each_zone_is_killed_and_the_leader_is_cut_off() {
        for seed in 0..50 {
            let planned = |name| plan(name, seed, 3, Duration::from_secs(8), true).into_iter().map(|blow| blow.whom);
            let killed: Vec<Whom> = planned(Name::ZoneBack).collect();
            assert!((0..3).all(|zone| killed.contains(&Whom::Zones(vec![zone]))), "{killed:?}");
            for name in [Name::CutBoth, Name::CutIn, Name::CutOut] {
                let cut: Vec<Whom> = planned(name).collect();
                assert!(cut[0] == Whom::Leader && matches!(cut[1], Whom::Zones(_)), "{cut:?}");
            }
        }
    }

    #[test]
    fn blows_fit_into_the_length_and_leave_a_quorum_unless_it_is_the_point() {
        for name in Name::singles() {
            for seed in 0..50 {
                let plan = plan(name, seed, 3, LENGTH, true);
                assert!(!plan.is_empty());
                let spent: Duration = plan.iter().map(|blow| blow.calm + blow.lasts).sum();
                assert!(spent + TAIL <= LENGTH, "{name}: {spent:?}");
                for blow in plan {
                    let Whom::Zones(zones) = blow.whom else { continue };
                    let is_right = match name {
                        Name::QuorumLost => zones.len() == 2,
                        Name::Kills => (1..=3).contains(&zones.len()),
                        _ => zones.len() == 1,
                    };
                    assert!(is_right, "{name}: {zones:?}");
                    assert!(zones.iter().all(|zone| *zone < 3));
                }
            }
        }
    }
}
