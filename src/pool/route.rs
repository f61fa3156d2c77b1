//! Which nodes to ask, in which order: pure.

use super::view::View;

/// The nodes in the order in which they are asked: those that are up before those that are not, the own zone before others, then by
/// measured round trip. `preferred` (the node that holds a stream) comes first if it is up.
pub fn candidates(view: &View, preferred: Option<usize>) -> Vec<usize> {
    let mut order: Vec<usize> = (0..view.nodes.len()).collect();
    order.sort_by_key(|at| {
        let node = &view.nodes[*at];
        let is_up = node.health.lock().is_up();
        (!is_up, preferred != Some(*at), node.place.zone != view.zone, node.round_trip())
    });
    order
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::pool::view::Place;

    fn view() -> View {
        let place = |zone: &str| Place { zone: zone.to_string(), name: String::new() };
        View::new("b".to_string(), ["a", "b", "c"].map(place).to_vec())
    }

    #[test]
    fn the_own_zone_comes_first_then_the_nearest() {
        let view = view();
        view.nodes[0].measured(Duration::from_millis(3));
        view.nodes[2].measured(Duration::from_millis(1));
        assert_eq!(candidates(&view, None), [1, 2, 0]);
        assert_eq!(candidates(&view, Some(0)), [0, 1, 2]);
    }

    #[test]
    fn a_node_that_failed_comes_last_but_is_not_given_up() {
        let view = view();
        let mut health = view.nodes[1].health.lock();
        *health = health.failed(Duration::ZERO, 0);
        drop(health);
        assert_eq!(candidates(&view, Some(1)).last(), Some(&1));
    }
}
