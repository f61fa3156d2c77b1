//! What a pool's nodes say of it, put together: how many are well, whether changes are taken, and what its operator should know.

use std::collections::BTreeSet;

use super::reach::refuses;
use crate::config::pool::NodeFile;
use crate::error::Result;
use crate::log::raft::{Turnover, zone_with_quorum};
use crate::node::{MemberStatus, NodeStatus};

/// A node whose directory is here, and what it says.
pub struct Seen {
    pub node: NodeFile,
    pub status: Result<NodeStatus>,
}

impl Seen {
    pub fn status(&self) -> Option<&NodeStatus> {
        self.status.as_ref().ok()
    }

    /// Whether it was not told how it is, although it may be well.
    pub fn refuses(&self) -> bool {
        self.status.as_ref().is_err_and(refuses)
    }

    /// Why it did not say how it is.
    pub fn told(&self) -> Option<String> {
        self.status.as_ref().err().map(ToString::to_string)
    }

    fn is_well(&self) -> bool {
        self.status().is_some_and(|status| status.health.is_useful() && status.health.in_contact && status.poisoned.is_none())
    }
}

/// The group, as those know it who are in contact with a quorum of it.
pub struct Picture {
    /// Its name and members; those of the files where nobody is in contact.
    group: Option<[u8; 16]>,
    pub members: Vec<Place>,
    /// A change of its voters that is not through.
    pub turnover: Option<Turnover>,
    pub healthy: usize,
    pub trouble: Option<Trouble>,
    pub warnings: Vec<String>,
}

/// Why nobody may count on changes, with the next step.
#[derive(Debug)]
pub enum Trouble {
    /// They are not taken now.
    NoQuorum(String),
    /// This operator was not told.
    Unknown(String),
}

impl Trouble {
    pub fn told(&self) -> &str {
        let (Trouble::NoQuorum(told) | Trouble::Unknown(told)) = self;
        told
    }
}

pub struct Place {
    node: u64,
    zone: String,
    votes: bool,
}

impl Picture {
    /// `fault`: what is wrong with the operator's certificate.
    pub fn of(nodes: &[Seen], directory: &str, fault: Option<String>) -> Self {
        let in_contact = || nodes.iter().filter(|seen| seen.is_well()).filter_map(Seen::status);
        // Whoever leads knows best; a longer list of changes comes next.
        let best =
            in_contact().max_by_key(|status| (status.term, status.health.leader == Some(status.health.node), status.committed));
        let members: Vec<Place> = match best {
            Some(status) => {
                let place =
                    |member: &MemberStatus| Place { node: member.node, zone: member.member.zone.clone(), votes: member.votes };
                status.members.iter().map(place).collect()
            }
            None => {
                let place = |seen: &Seen| Place { node: seen.node.node, zone: seen.node.zone.clone(), votes: true };
                nodes.iter().map(place).collect()
            }
        };
        // Where nobody is in contact, it may be such a change that has no quorum.
        let newest = || nodes.iter().filter_map(Seen::status).max_by_key(|status| (status.term, status.committed));
        let turnover = best.or_else(newest).and_then(|status| status.turnover.clone());
        let well: BTreeSet<u64> = nodes.iter().filter(|seen| seen.is_well()).map(|seen| seen.node.node).collect();
        let healthy = members.iter().filter(|member| well.contains(&member.node)).count();
        let group = best.map(|status| status.group);
        let mut picture = Self { group, members, turnover, healthy, trouble: None, warnings: Vec::new() };
        picture.trouble = picture
            .lack_of_quorum(nodes, &well, directory, fault.as_deref())
            .or_else(|| picture.lack_of_zones(&well, directory).map(Trouble::NoQuorum));
        if let (Some(fault), None | Some(Trouble::NoQuorum(_))) = (fault, &picture.trouble) {
            picture.warnings.push(fault);
        }
        picture.warnings(nodes, directory);
        picture
    }

    /// Changes need a quorum of each of these.
    fn voters(&self) -> Vec<BTreeSet<u64>> {
        match &self.turnover {
            Some(Turnover { before, after }) => vec![before.clone(), after.clone()],
            None => vec![self.members.iter().filter(|member| member.votes).map(|member| member.node).collect()],
        }
    }

    /// What is told first is what explains most: only when nothing else does, nodes are gone.
    fn lack_of_quorum(&self, nodes: &[Seen], well: &BTreeSet<u64>, directory: &str, fault: Option<&str>) -> Option<Trouble> {
        let has_quorum = |is: &dyn Fn(&Seen) -> bool| {
            let counts = nodes.iter().filter(|seen| well.contains(&seen.node.node) || is(seen)).map(|seen| seen.node.node);
            let counts: BTreeSet<u64> = counts.collect();
            self.voters().iter().all(|voters| voters.intersection(&counts).count() * 2 > voters.len())
        };
        if has_quorum(&|_| false) {
            return None;
        }
        if has_quorum(&Seen::refuses) {
            let told = fault.unwrap_or("the nodes refuse this operator: each says above why");
            return Some(Trouble::Unknown(format!("the nodes were not asked how they are, so that nobody knows: {told}")));
        }
        let answers: Vec<&NodeStatus> = nodes.iter().filter_map(Seen::status).collect();
        if !answers.is_empty() && answers.iter().all(|status| status.group == [0; 16]) {
            return Some(Trouble::NoQuorum(format!(
                "the nodes that answer are of no group yet: when all of them run, `hsmpool pool form --dir {directory}` makes them one"
            )));
        }
        let runs = |seen: &Seen| {
            seen.status().is_some_and(|status| {
                status.poisoned.is_none() && status.expelled.is_none() && status.health.serves && !self.is_left_behind(seen)
            })
        };
        let told = match has_quorum(&runs) {
            true => {
                "a quorum of the nodes runs, and has not found together or caught up yet: wait a few seconds and look again. If it stays so, they do \
                 not reach one another at listen.peers"
            }
            false => {
                "no quorum of the pool's nodes is well: keys can be used for as long as isolated_use says, changes are not taken. Start \
                 the nodes that are down; one that is gone for good: `hsmpool pool force-new --help`"
            }
        };
        Some(Trouble::NoQuorum(told.to_string()))
    }

    /// Changes need members of two zones, where there are two.
    fn lack_of_zones(&self, well: &BTreeSet<u64>, directory: &str) -> Option<String> {
        let zones =
            |places: &mut dyn Iterator<Item = &Place>| -> BTreeSet<String> { places.map(|place| place.zone.clone()).collect() };
        let all = zones(&mut self.members.iter());
        let there = zones(&mut self.members.iter().filter(|member| well.contains(&member.node)));
        let gone: Vec<String> =
            self.members.iter().filter(|member| !well.contains(&member.node)).map(|member| member.node.to_string()).collect();
        (all.len() > 1 && there.len() < 2).then(|| {
            format!(
                "changes wait: they need members of two zones, and only zone {} answers; bring back node {}, or remove it with `hsmpool pool remove-node --dir {directory} NODE` if it is gone for good",
                there.into_iter().collect::<String>(),
                gone.join(", ")
            )
        })
    }

    fn warnings(&mut self, nodes: &[Seen], directory: &str) {
        self.warnings.extend(self.turnover.as_ref().map(half_way));
        self.warnings.extend(self.heavy_zone(directory));
        self.warnings.extend(behind_in_revocations(nodes, directory));
        for member in self.members.iter().filter(|member| !nodes.iter().any(|seen| seen.node.node == member.node)) {
            self.warnings.push(format!(
                "node {0} of zone {1} is a member, and its directory is not in {directory}, so that it was not asked; one that is no more goes by \
                 `hsmpool pool remove-node --dir {directory} {0}`",
                member.node, member.zone
            ));
        }
        for seen in nodes {
            let (number, zone) = (seen.node.node, &seen.node.zone);
            if self.is_left_behind(seen) {
                self.warnings.push(format!(
                    "node {number} of zone {zone} is no member of the group: it was left behind by force-new, or was never added; remove it with `hsmpool pool remove-node --dir {directory} {number}`, and its data"
                ));
            }
            let Some(status) = seen.status() else { continue };
            for missed in status.unreached.iter().flatten() {
                self.warnings.push(format!(
                    "node {missed} had not applied a revocation when node {number} acknowledged it: cut off, it may use the key for as long as its isolated_use"
                ));
            }
            if let Some(why) = &status.expelled {
                self.warnings.push(format!("node {number} uses no key: {why}"));
            }
        }
    }

    /// A zone that can stop the group, if there is one.
    fn heavy_zone(&self, directory: &str) -> Option<String> {
        self.group?;
        let to_be = self.voters().pop()?;
        let voters: Vec<&Place> = self.members.iter().filter(|member| to_be.contains(&member.node)).collect();
        let zone = zone_with_quorum(voters.iter().map(|voter| voter.zone.as_str()))?;
        let in_it: BTreeSet<u64> = voters.iter().filter(|voter| voter.zone == zone).map(|voter| voter.node).collect();
        let what = match (&voters[..], voters.len() == in_it.len()) {
            ([alone], _) => format!("only node {} votes", alone.node),
            (_, true) => format!("all that vote are in zone {zone} ({})", named(&in_it)),
            (_, false) => format!("zone {zone} holds a quorum of the voters ({})", named(&in_it)),
        };
        let danger = match self.members.iter().all(|member| member.zone == zone) {
            true => format!("what is acknowledged is in zone {zone} alone, and lost with it"),
            false => format!("without zone {zone} no change is taken"),
        };
        Some(format!(
            "{what}: {danger}. Add nodes in other zones (`hsmpool pool add-node --dir {directory} --zone ZONE`) and promote them, or those that follow there \
             (`hsmpool pool promote --dir {directory} NODE`), until no zone has more than half of the voters"
        ))
    }

    /// Whether those in contact know the group without this node.
    pub fn is_left_behind(&self, seen: &Seen) -> bool {
        let is_member = self.members.iter().any(|member| member.node == seen.node.node);
        let is_of_another =
            seen.status().zip(self.group).is_some_and(|(status, group)| status.group != group && status.group != [0; 16]);
        self.group.is_some() && (!is_member || is_of_another)
    }
}

/// Nodes that let those in whom others shut out.
fn behind_in_revocations(nodes: &[Seen], directory: &str) -> Option<String> {
    let lists = || nodes.iter().filter_map(|seen| Some((seen.node.node, seen.status()?.revocations)));
    let newest = lists().filter_map(|(_, number)| number).max()?;
    // The first list is empty: who has none lacks nothing.
    let behind: BTreeSet<u64> = lists().filter(|(_, number)| number.unwrap_or(1) < newest).map(|(node, _)| node).collect();
    (!behind.is_empty()).then(|| {
        format!(
            "{} by an older list of revoked certificates than list {newest}, or by none, so that who was revoked is let in there: copy {directory}/ca/crl.pem \
             to its machine, as certificates.crl of hsmpoold.toml, and send the daemon SIGHUP",
            if behind.len() == 1 { format!("{} goes", named(&behind)) } else { format!("{} go", named(&behind)) }
        )
    })
}

/// A change of the voters that is not through.
fn half_way(turnover: &Turnover) -> String {
    format!(
        "a change of the voters is not through: voted have {}, and {} are to vote. Until it is, changes need a quorum of both. The leader ends it within \
         seconds; if it stays so, bring back those of both that are down",
        named(&turnover.before),
        named(&turnover.after)
    )
}

fn named(nodes: &BTreeSet<u64>) -> String {
    let numbers: Vec<String> = nodes.iter().map(u64::to_string).collect();
    format!("node{} {}", if numbers.len() == 1 { "" } else { "s" }, numbers.join(", "))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::status::health_in;
    use super::*;
    use crate::config::pool::{Certificates, Listen};
    use crate::error::{Code, Error, refuse};
    use crate::log::raft::Member;
    use crate::token::message::{Duty, Health};

    fn file(number: u64) -> NodeFile {
        let certificates = Certificates { ca: "ca".into(), certificate: "pem".into(), key: "key".into(), crl: None };
        let listen =
            Listen { clients: vec![format!("tcp:h{number}:7100")], peers: String::new(), advertise: None, operations: None };
        NodeFile {
            pool: crate::config::pool::PoolId([7; 16]),
            node: number,
            zone: format!("z{number}"),
            region: String::new(),
            directory: "data".into(),
            root_key_file: None,
            listen,
            certificates,
            unix_users: Default::default(),
            policy: crate::config::PolicyName::Default,
            pin_attempts_max: 10,
            webhooks: Vec::new(),
            webhook_ca: "ca".into(),
            isolated_use: 3600,
        }
    }

    pub fn answers(number: u64, duty: Duty, voters: &[u64], group: [u8; 16]) -> Seen {
        let member = |node: &u64| MemberStatus {
            node: *node,
            member: Member { zone: format!("z{node}"), region: String::new(), address: String::new() },
            votes: true,
            held: None,
        };
        let in_contact = matches!(duty, Duty::Ordinary | Duty::Behind);
        let health = Health {
            node: number,
            zone: format!("z{number}"),
            serves: true,
            in_contact,
            leader: None,
            applied: 5,
            duty: Some(duty),
            changes: None,
        };
        let status = NodeStatus {
            health,
            term: 1,
            members: voters.iter().map(member).collect(),
            applied: 9,
            committed: 9,
            contact_age: None,
            applications: 0,
            connections: 0,
            poisoned: None,
            version: String::new(),
            certificate_ends: i64::MAX,
            group,
            unreached: None,
            expelled: None,
            availability: None,
            peer: None,
            turnover: None,
            revocations: None,
        };
        Seen { node: file(number), status: Ok(status) }
    }

    fn silent(number: u64, cause: Error) -> Seen {
        let told = format!("node {number} of zone z{number} does not answer");
        Seen { node: file(number), status: Err(refuse(Code::DeviceError, told).because(cause)) }
    }

    fn dead(number: u64) -> Seen {
        let cause = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        silent(number, refuse(Code::DeviceError, "cannot connect").because(cause))
    }

    fn shut_out(number: u64) -> Seen {
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateExpired);
        silent(number, refuse(Code::DeviceError, "no answer").because(std::io::Error::other(alert)))
    }

    pub const GROUP: [u8; 16] = [9; 16];

    #[test]
    fn what_explains_most_is_told_and_only_a_pool_that_is_gone_is_begun_anew() {
        let (all, fault) = ([1, 2, 3], "operator.pem has ended: issue a new one");
        let are = |duty: Duty, group| all.map(|number| answers(number, duty, if group == GROUP { &all } else { &[] }, group));
        let cases: [(&str, Vec<Seen>, Option<&str>, &str); 6] = [
            ("refused", all.map(shut_out).into(), Some(fault), "nobody knows: operator.pem has ended"),
            ("refused by its own look", all.map(shut_out).into(), None, "each says above why"),
            ("never formed", are(Duty::Stopped, [0; 16]).into(), None, "pool form --dir pool"),
            ("just started", are(Duty::Behind, GROUP).into(), None, "wait a few seconds"),
            ("cut off from one another", are(Duty::Isolated(9), GROUP).into(), None, "listen.peers"),
            ("dead", all.map(dead).into(), Some(fault), "force-new"),
        ];
        for (what, nodes, fault, word) in cases {
            let picture = Picture::of(&nodes, "pool", fault.map(str::to_string));
            let told = picture.trouble.as_ref().map(Trouble::told).unwrap_or_default();
            assert!(told.contains(word), "{what}: {told}");
            assert_eq!(told.contains("force-new"), what == "dead", "{what}: {told}");
            assert_eq!(matches!(picture.trouble, Some(Trouble::Unknown(_))), what.starts_with("refused"), "{what}");
        }
        let nodes = are(Duty::Ordinary, GROUP);
        let picture = Picture::of(&nodes, "pool", Some(fault.to_string()));
        assert!(picture.trouble.is_none() && picture.warnings == [fault], "{:?}", picture.warnings);
    }

    #[test]
    fn a_minority_and_a_lost_quorum_are_told_apart_from_a_refusal() {
        let nodes = [answers(1, Duty::Isolated(9), &[1, 2, 3], GROUP), dead(2), dead(3)];
        assert!(Picture::of(&nodes, "pool", None).trouble.unwrap().told().contains("force-new"));
        assert_eq!(health_in(&nodes[1], &Picture::of(&nodes, "pool", None)), "down");
        assert_eq!(health_in(&shut_out(2), &Picture::of(&nodes, "pool", None)), "refuses");
    }

    #[test]
    fn a_member_without_files_is_named() {
        let nodes = [1, 2].map(|number| answers(number, Duty::Ordinary, &[1, 2, 4], GROUP));
        let picture = Picture::of(&nodes, "/p", None);
        assert!(picture.trouble.is_none() && picture.warnings.concat().contains("node 4 of zone z4 is a member"));
    }

    #[test]
    fn a_lone_voter_is_warned_of() {
        let picture = Picture::of(&[answers(3, Duty::Ordinary, &[3], GROUP), dead(1)], "/p", None);
        let told = picture.warnings.concat();
        assert!(picture.trouble.is_none() && told.contains("only node 3 votes"), "{told}");
        assert!(told.contains("`hsmpool pool remove-node --dir /p 1`"), "{told}");
    }

    /// A pool whose members 1, 2, … are in these zones; those of a zone that ends with `-` do not vote.
    fn pool_in(zones: &[&str]) -> Vec<Seen> {
        let all: Vec<u64> = (1..).zip(zones).map(|(number, _)| number).collect();
        let mut nodes: Vec<Seen> = all.iter().map(|number| answers(*number, Duty::Ordinary, &all, GROUP)).collect();
        for status in nodes.iter_mut().filter_map(|seen| seen.status.as_mut().ok()) {
            for (member, zone) in status.members.iter_mut().zip(zones) {
                member.votes = !zone.ends_with('-');
                member.member.zone = zone.trim_end_matches('-').to_string();
            }
        }
        nodes
    }

    /// The zones of a pool's members, and two things that the warning says, if there is one.
    type Case = (&'static [&'static str], Option<(&'static str, &'static str)>);

    #[test]
    fn a_zone_that_holds_a_quorum_of_the_voters_is_warned_of() {
        let (alone, stops) = ("is in zone a alone, and lost with it", "without zone a no change is taken");
        let cases: [Case; 11] = [
            (&["a"], Some(("only node 1 votes", alone))),
            (&["a", "a-"], Some(("only node 1 votes", alone))),
            (&["a", "b-", "c-"], Some(("only node 1 votes", stops))),
            (&["a", "a"], Some(("all that vote are in zone a (nodes 1, 2)", alone))),
            (&["a", "a", "a"], Some(("all that vote are in zone a (nodes 1, 2, 3)", alone))),
            (&["a", "a", "b-"], Some(("all that vote are in zone a (nodes 1, 2)", stops))),
            (&["b", "a", "a"], Some(("zone a holds a quorum of the voters (nodes 2, 3)", stops))),
            (&["a", "b"], None),
            (&["a", "a", "b", "b"], None),
            (&["a", "a", "b", "b", "c"], None),
            (&["a", "b", "c", "a-", "a-"], None),
        ];
        for (zones, expected) in cases {
            let warnings = Picture::of(&pool_in(zones), "/p", None).warnings;
            let Some((what, danger)) = expected else {
                assert!(warnings.is_empty(), "{zones:?}: {warnings:?}");
                continue;
            };
            let [told] = &warnings[..] else { panic!("{zones:?}: {warnings:?}") };
            for word in [what, danger, "add-node --dir /p --zone ZONE", "promote --dir /p NODE"] {
                assert!(told.contains(word), "{zones:?}: {word}: {told}");
            }
        }
        // Of a pool that nobody is in contact with nobody knows who votes.
        let picture = Picture::of(&[dead(1)], "/p", None);
        assert!(picture.warnings.is_empty(), "{:?}", picture.warnings);
    }

    #[test]
    fn a_change_of_the_voters_that_is_not_through_is_warned_of_and_needs_a_quorum_of_both() {
        let turnover = || Turnover { before: [1].into(), after: [1, 2, 3].into() };
        let mut nodes = pool_in(&["a", "b", "c"]);
        for status in nodes.iter_mut().filter_map(|seen| seen.status.as_mut().ok()) {
            status.turnover = Some(turnover());
        }
        let picture = Picture::of(&nodes, "/p", None);
        let [told] = &picture.warnings[..] else { panic!("{:?}", picture.warnings) };
        assert!(told.contains("voted have node 1, and nodes 1, 2, 3 are to vote"), "{told}");
        assert!(picture.trouble.is_none() && picture.turnover == Some(turnover()));
        // Two of three are no quorum as long as node 1 alone is one of the old voters.
        nodes[0] = dead(1);
        let picture = Picture::of(&nodes, "/p", None);
        assert!(matches!(picture.trouble, Some(Trouble::NoQuorum(_))), "{:?}", picture.trouble);
        // It is shown too where nobody is in contact any more.
        for status in nodes.iter_mut().filter_map(|seen| seen.status.as_mut().ok()) {
            status.health.in_contact = false;
        }
        assert_eq!(Picture::of(&nodes, "/p", None).turnover, Some(turnover()));
    }

    #[test]
    fn nodes_that_go_by_an_older_list_of_revoked_certificates_are_named() {
        let warned = |numbers: [Option<u64>; 3]| {
            let seen = |(at, number): (usize, &Option<u64>)| {
                let mut seen = answers(at as u64 + 1, Duty::Ordinary, &[1, 2, 3], GROUP);
                seen.status.as_mut().unwrap().revocations = *number;
                seen
            };
            behind_in_revocations(&numbers.iter().enumerate().map(seen).collect::<Vec<_>>(), "pool").unwrap_or_default()
        };
        for (numbers, told) in [
            ([None, None, None], ""),
            ([Some(4), Some(4), Some(4)], ""),
            ([Some(1), None, Some(1)], ""),
            ([Some(4), Some(3), Some(4)], "node 2 goes by an older list of revoked certificates than list 4"),
            ([Some(2), None, Some(1)], "nodes 2, 3 go by"),
        ] {
            let warning = warned(numbers);
            assert!(warning.starts_with(told) && warning.is_empty() == told.is_empty(), "{numbers:?}: {warning}");
        }
    }
}
