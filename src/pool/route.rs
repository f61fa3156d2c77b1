//! Which nodes to ask, in which order: pure.

use std::time::Duration;

use super::view::View;

/// Round trips below this are equal, and so are those between it and twice as much, and so on: calls do not wander for the sake of a little.
const EQUAL_BELOW: Duration = Duration::from_micros(250);

/// The nodes in the order in which they are asked: those that are up before those that are not, of these the ones that do what they are asked all the same
/// (nobody else is there, or they were not looked at twice yet) before the others, then those that hear of a quorum, the own zone before others, in it the node of this process, then by measured round trip; one that was not measured lately comes first, to be measured. `preferred` (the node that holds a stream) comes first if
/// it is up.
pub fn candidates(view: &View, preferred: Option<usize>, now: Duration) -> Vec<usize> {
    let present: Vec<usize> = view.nodes().map(|(at, _)| at).collect();
    let turn = |node: usize| present.iter().position(|at| *at == node).map(|place| view.turn_of(place, present.len()));
    let mut order = present.clone();
    // It may have left the pool, and drains until its streams have ended.
    order.extend(preferred.filter(|at| !present.contains(at) && view.node(*at).health.lock().is_up()));
    order.sort_by_cached_key(|at| {
        let node = &view.node(*at);
        let is_up = node.health.lock().is_up();
        let is_of_use = is_up || node.does_again();
        let far = node.pace.round_trip(now).map_or(0, distance);
        let is_away = (node.place.zone != view.zone, view.nearest != Some(*at));
        (!is_up, !is_of_use, preferred != Some(*at), node.is_isolated(now), is_away, far, turn(*at))
    });
    order
}

/// Which doubling of [`EQUAL_BELOW`] a round trip is in, from 1 on.
fn distance(round_trip: Duration) -> u32 {
    let times = (round_trip.as_micros() / EQUAL_BELOW.as_micros()) as u64;
    u64::BITS - times.leading_zeros() + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::health::Health;
    use crate::pool::pace::Work;
    use crate::pool::view::Place;

    const NOW: Duration = Duration::from_secs(100);

    fn view(zones: &[&str]) -> View {
        let place = |zone: &&str| Place { zone: (*zone).to_string(), name: String::new() };
        View::new("b".to_string(), zones.iter().map(place).collect())
    }

    /// Zones of the nodes (the application is in `b`), their round trips in microseconds, which are down, the preferred one, whose turn it is,
    /// and the order.
    type Case = (&'static [&'static str], &'static [Option<u64>], &'static [usize], Option<usize>, usize, &'static [usize]);

    const CASES: &[Case] = &[
        // The own zone comes first, then the nearest.
        (&["a", "b", "c"], &[Some(3000), Some(9000), Some(1000)], &[], None, 0, &[1, 2, 0]),
        // The preferred one comes before all that are up, and no earlier.
        (&["a", "b", "c"], &[Some(3000), Some(100), Some(1000)], &[], Some(0), 0, &[0, 1, 2]),
        (&["a", "b", "c"], &[Some(3000), Some(100), Some(1000)], &[0], Some(0), 0, &[1, 2, 0]),
        // One that failed comes last, and is not given up.
        (&["a", "b", "c"], &[None, None, None], &[1], None, 0, &[0, 2, 1]),
        (&["a", "b", "c"], &[None, None, None], &[0, 1, 2], None, 0, &[1, 0, 2]),
        // Several of the own zone: the nearest of them, before all others.
        (&["b", "b", "a", "b"], &[Some(2100), Some(300), Some(100), Some(1100)], &[], None, 0, &[1, 3, 0, 2]),
        // One that was not measured lately is measured.
        (&["b", "b", "a"], &[Some(100), None, None], &[], None, 0, &[1, 0, 2]),
        // Nearly equal ones are shared by turns.
        (&["b", "b", "b", "a"], &[Some(90), Some(200), Some(120), Some(80)], &[], None, 0, &[0, 1, 2, 3]),
        (&["b", "b", "b", "a"], &[Some(90), Some(200), Some(120), Some(80)], &[], None, 1, &[1, 2, 0, 3]),
        (&["b", "b", "b", "a"], &[Some(90), Some(200), Some(120), Some(80)], &[], None, 2, &[2, 0, 1, 3]),
        // The whole own zone is down: the nearest other one.
        (&["b", "b", "a", "c"], &[Some(90), Some(90), Some(5000), Some(900)], &[0, 1], None, 0, &[3, 2, 0, 1]),
    ];

    #[test]
    fn nodes_are_asked_in_the_order_of_the_table() {
        for (zones, round_trips, down, preferred, turn, expected) in CASES {
            let view = view(zones);
            view.take_turn(*turn);
            for ((_, node), round_trip) in view.nodes().zip(*round_trips) {
                if let Some(micros) = round_trip {
                    node.pace.took(Work::Nothing, Duration::from_micros(*micros), NOW);
                }
            }
            for at in *down {
                let mut health = view.node(*at).health.lock();
                *health = health.failed(NOW, 0);
            }
            assert_eq!(candidates(&view, *preferred, NOW), *expected, "{zones:?} {round_trips:?} {down:?} {preferred:?} {turn}");
        }
    }

    #[test]
    fn a_node_that_was_slow_once_is_tried_again_and_judged_by_what_it_is_now() {
        let view = view(&["b", "b"]);
        view.node(0).pace.took(Work::Nothing, Duration::from_millis(80), NOW);
        view.node(1).pace.took(Work::Nothing, Duration::from_millis(1), NOW);
        assert_eq!(candidates(&view, None, NOW), [1, 0]);
        let later = NOW + Duration::from_secs(61);
        view.node(1).pace.took(Work::Nothing, Duration::from_millis(1), later);
        assert_eq!(candidates(&view, None, later), [0, 1], "it is measured again");
        view.node(0).pace.took(Work::Nothing, Duration::from_micros(200), later);
        assert_eq!(candidates(&view, None, later), [0, 1], "and found to be well");
    }

    #[test]
    fn where_all_have_failed_the_one_that_does_something_again_is_asked_first() {
        let (view, later) = (view(&["b", "a", "c"]), NOW + Duration::from_millis(1));
        view.nodes().for_each(|(_, node)| node.fail(NOW, 0));
        view.node(0).told_isolated(later);
        assert_eq!(candidates(&view, None, later), [1, 2, 0], "one that is cut off knows least");
        view.node(0).did(later);
        assert_eq!(candidates(&view, None, later), [0, 1, 2], "but it is there");
        view.node(0).fail(later, 0);
        assert_eq!(candidates(&view, None, later), [1, 2, 0]);
        view.node(0).did(later + Duration::from_millis(1));
        *view.node(2).health.lock() = Health::Up;
        assert_eq!(candidates(&view, None, later), [2, 0, 1], "one that is well comes before all");
        assert!(view.is_alone(2) && view.are_alone(&[2]) && !view.are_alone(&[2, 0]));
    }

    #[test]
    fn a_node_that_has_left_the_pool_is_asked_for_its_streams_only_and_while_it_is_up() {
        let (view, place) = (view(&["b", "a"]), |zone: &str| Place { zone: zone.to_string(), name: String::new() });
        view.take(vec![(1, place("a")), (2, place("b"))]);
        assert_eq!(candidates(&view, None, NOW), [2, 1]);
        view.take(vec![(2, place("b")), (3, place("b"))]);
        let first = |turn| {
            view.take_turn(turn);
            candidates(&view, None, NOW)[0]
        };
        assert_eq!([4, 5, 6, 7].map(first), [2, 3, 2, 3], "those that are there are shared evenly");
        view.take(vec![(1, place("a")), (2, place("b"))]);
        assert_eq!(candidates(&view, Some(0), NOW), [0, 2, 1]);
        view.node(0).fail(NOW, 0);
        assert_eq!(candidates(&view, Some(0), NOW), [2, 1]);
    }

    #[test]
    fn a_node_that_is_cut_off_comes_after_those_that_are_not_for_a_while() {
        let view = view(&["a", "b", "c"]);
        view.node(1).told_isolated(NOW);
        assert_eq!(candidates(&view, None, NOW).last(), Some(&1));
        assert_eq!(candidates(&view, Some(1), NOW)[0], 1, "it holds the stream's state");
        assert_eq!(candidates(&view, None, NOW + Duration::from_secs(3))[0], 1);
    }
}
