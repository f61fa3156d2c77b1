//! Zones fail whole: what a membership must look like, and when a write is safe, so that the loss of any one zone loses nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::types::{Membership, NodeId};

/// The zone that holds a quorum of voters in these zones, one for each voter: its loss stops the group, and it could commit alone.
pub fn zone_with_quorum<'a>(zones: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut weights: BTreeMap<&str, usize> = BTreeMap::new();
    for zone in zones {
        *weights.entry(zone).or_default() += 1;
    }
    let voters: usize = weights.values().sum();
    weights.into_iter().find(|(_, weight)| weight * 2 > voters).map(|(zone, _)| zone)
}

/// A zone that holds a quorum of these voters although others have voters too. Voters in one zone only, as in a pool that is being made, are no offence.
pub fn overweight(membership: &Membership, voters: &BTreeSet<NodeId>) -> Option<String> {
    let zones = || voters.iter().map(|voter| zone(membership, *voter));
    let heavy = zone_with_quorum(zones())?;
    zones().any(|other| other != heavy).then(|| heavy.to_owned())
}

/// The zone of all these voters, where those of now are of several: its loss would stop the group, as that of none does yet.
pub fn only_zone_left(membership: &Membership, voters: &BTreeSet<NodeId>) -> Option<String> {
    let left: BTreeSet<&str> = voters.iter().map(|voter| zone(membership, *voter)).collect();
    let shrinks = membership.voter_ids().any(|voter| !left.contains(zone(membership, voter)));
    left.first().filter(|_| shrinks && left.len() == 1).map(|zone| (*zone).to_owned())
}

/// Whether every quorum of the voters has members of two zones, so that what is committed is in two zones.
pub fn quorums_span_two(membership: &Membership) -> bool {
    membership.get_joint_config().iter().all(|voters| {
        let zones: BTreeSet<&str> = voters.iter().map(|voter| zone(membership, *voter)).collect();
        zones.len() > 1 && overweight(membership, voters).is_none()
    })
}

/// Whether an entry that these members have on disk would survive the loss of any one zone, as far as the group has members in another zone
/// of the leader's region. Members in other regions follow at their own pace and do not count.
pub fn survives(membership: &Membership, leader: NodeId, holders: &BTreeSet<NodeId>) -> bool {
    let region = membership.get_node(&leader).map(|member| member.region.as_str());
    let near = |node: &&NodeId| membership.get_node(node).map(|member| member.region.as_str()) == region;
    let zones_of = |nodes: &mut dyn Iterator<Item = &NodeId>| -> BTreeSet<String> {
        nodes.filter(near).map(|node| zone(membership, *node).to_owned()).collect()
    };
    let there_are = zones_of(&mut membership.nodes().map(|(node, _)| node)).len();
    let held_in = zones_of(&mut holders.iter()).len();
    held_in >= there_are.min(2)
}

/// A member without a record counts as a zone without a name.
fn zone(membership: &Membership, node: NodeId) -> &str {
    membership.get_node(&node).map_or("", |member| member.zone.as_str())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::{only_zone_left, overweight, quorums_span_two, survives};
    use crate::log::raft::types::{Member, Membership};

    /// Members 1, 2, … in these zones, all of them voters; a zone that starts with "far" is in another region.
    fn members(zones: &[&str]) -> (Membership, BTreeSet<u64>) {
        let nodes: BTreeMap<u64, Member> = (1..).zip(zones.iter().map(|zone| member(zone))).collect();
        let voters: BTreeSet<u64> = nodes.keys().copied().collect();
        (Membership::new(vec![voters.clone()], nodes).unwrap(), voters)
    }

    fn member(zone: &str) -> Member {
        let region = if zone.starts_with("far") { "far" } else { "near" };
        Member { zone: zone.into(), region: region.into(), address: String::new() }
    }

    #[test]
    fn no_zone_may_hold_a_quorum_once_there_are_two() {
        let cases: [(&[&str], Option<&str>); 8] = [
            (&["a"], None),
            (&["a", "a", "a"], None),
            (&["a", "b"], None),
            (&["a", "b", "c"], None),
            (&["a", "a", "b"], Some("a")),
            (&["b", "a", "b", "c"], None),
            (&["a", "b", "b", "b"], Some("b")),
            (&["a", "a", "b", "b", "c"], None),
        ];
        for (zones, expected) in cases {
            let (membership, voters) = members(zones);
            assert_eq!(overweight(&membership, &voters).as_deref(), expected, "{zones:?}");
            assert_eq!(quorums_span_two(&membership), expected.is_none() && zones.contains(&"b"), "{zones:?}");
        }
    }

    #[test]
    fn one_zone_is_all_that_is_left_only_where_there_were_several() {
        let left = |zones: &[&str], voters: &[u64]| only_zone_left(&members(zones).0, &voters.iter().copied().collect());
        assert_eq!(left(&["a", "b"], &[2]).as_deref(), Some("b"));
        assert_eq!(left(&["a", "a", "b"], &[1, 2]).as_deref(), Some("a"));
        assert_eq!(left(&["a", "b", "c"], &[1, 2]), None);
        assert_eq!(left(&["a", "a"], &[1]), None, "it was of one zone before");
    }

    #[test]
    fn a_write_survives_when_two_zones_of_the_region_have_it() {
        let cases: [(&[&str], &[u64], bool); 7] = [
            (&["a", "a"], &[1, 2], true),
            (&["a", "a", "b"], &[1, 2], false),
            (&["a", "a", "b"], &[1, 3], true),
            (&["a", "a", "b"], &[2, 3], true),
            (&["a", "b", "c"], &[2, 3], true),
            (&["a", "a", "far"], &[1, 2], true),
            (&["a", "b", "far"], &[1, 3], false),
        ];
        for (zones, holders, expected) in cases {
            let (membership, _) = members(zones);
            let holders = holders.iter().copied().collect();
            assert_eq!(survives(&membership, 1, &holders), expected, "{zones:?} {holders:?}");
        }
    }
}
