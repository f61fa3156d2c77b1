//! `hsmpool pool status`.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::layout::Layout;
use super::reach::{Operator, refuses};
use crate::cli::told::{Ended, tell};
use crate::config::pool::NodeFile;
use crate::error::Result;
use crate::node::{Counted, MemberStatus, NodeStatus};
use crate::token::message::Duty;

/// A certificate that ends within so many days is pointed out.
const ENDS_SOON_DAYS: i64 = 30;

pub fn run(directory: &Path, as_json: bool) -> Result<Ended> {
    let layout = Layout::open(directory)?;
    let operator = Operator::shown(&layout)?;
    let nodes = operator.statuses(layout.nodes()?);
    let nodes: Vec<Seen> = nodes.into_iter().map(|(node, status)| Seen { node, status }).collect();
    let picture = Picture::of(&nodes, &layout.directory.display().to_string(), operator.fault());
    let newest = nodes.iter().filter_map(Seen::status).map(|status| status.health.applied).max().unwrap_or(0);
    let all: Vec<_> = nodes.iter().map(|seen| to_json(seen, &picture, newest)).collect();
    let mut text = match picture.trouble {
        Some(Trouble::Unknown(_)) => format!("pool {}: nobody knows how its nodes are\n", layout.pool),
        _ => format!("pool {}: {} of {} nodes are well\n", layout.pool, picture.healthy, picture.members.len()),
    };
    text += &format!(
        "{:<5} {:<10} {:<9} {:>9} {:>5} {:>8} {:<17} ADDRESS",
        "NODE", "ZONE", "ROLE", "APPLIED", "LAG", "CLIENTS", "HEALTH"
    );
    let lines = nodes.iter().map(|seen| line(seen, &picture, newest));
    for line in lines.chain(nodes.iter().filter_map(Seen::told)).chain(picture.warnings.iter().cloned()) {
        text += "\n";
        text += &line;
    }
    let quorum = match picture.trouble {
        None => Some(true),
        Some(Trouble::NoQuorum(_)) => Some(false),
        Some(Trouble::Unknown(_)) => None,
    };
    let json = json!({
        "pool": layout.pool.to_string(), "healthy": picture.healthy, "members": picture.members.len(),
        "quorum": quorum, "trouble": picture.trouble.as_ref().map(Trouble::told), "warnings": picture.warnings,
        "availability": availability(&nodes), "nodes": all,
    });
    tell(as_json, text, &json);
    let Some(trouble) = picture.trouble else { return Ok(Ended::Well) };
    eprintln!("hsmpool: {}", trouble.told());
    Ok(match trouble {
        Trouble::NoQuorum(_) => Ended::NoQuorum,
        Trouble::Unknown(_) => Ended::Failed,
    })
}

/// A node whose directory is here, and what it says.
struct Seen {
    node: NodeFile,
    status: Result<NodeStatus>,
}

impl Seen {
    fn status(&self) -> Option<&NodeStatus> {
        self.status.as_ref().ok()
    }

    /// Whether it was not told how it is, although it may be well.
    fn refuses(&self) -> bool {
        self.status.as_ref().is_err_and(refuses)
    }

    /// Why it did not say how it is.
    fn told(&self) -> Option<String> {
        self.status.as_ref().err().map(ToString::to_string)
    }

    fn is_well(&self) -> bool {
        self.status().is_some_and(|status| status.health.is_useful() && status.health.in_contact && status.poisoned.is_none())
    }
}

/// The group, as those know it who are in contact with a quorum of it.
struct Picture {
    /// Its name and members; those of the files where nobody is in contact.
    group: Option<[u8; 16]>,
    members: Vec<Place>,
    healthy: usize,
    trouble: Option<Trouble>,
    warnings: Vec<String>,
}

/// Why nobody may count on changes, with the next step.
#[derive(Debug)]
enum Trouble {
    /// They are not taken now.
    NoQuorum(String),
    /// This operator was not told.
    Unknown(String),
}

impl Trouble {
    fn told(&self) -> &str {
        let (Trouble::NoQuorum(told) | Trouble::Unknown(told)) = self;
        told
    }
}

struct Place {
    node: u64,
    zone: String,
    votes: bool,
}

impl Picture {
    /// `fault`: what is wrong with the operator's certificate.
    fn of(nodes: &[Seen], directory: &str, fault: Option<String>) -> Self {
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
        let well: BTreeSet<u64> = nodes.iter().filter(|seen| seen.is_well()).map(|seen| seen.node.node).collect();
        let healthy = members.iter().filter(|member| well.contains(&member.node)).count();
        let mut picture = Self { group: best.map(|status| status.group), members, healthy, trouble: None, warnings: Vec::new() };
        picture.trouble = picture
            .lack_of_quorum(nodes, &well, directory, fault.as_deref())
            .or_else(|| picture.lack_of_zones(&well, directory).map(Trouble::NoQuorum));
        if let (Some(fault), None | Some(Trouble::NoQuorum(_))) = (fault, &picture.trouble) {
            picture.warnings.push(fault);
        }
        picture.warnings(nodes, directory);
        picture
    }

    /// Changes need a quorum of the voters. What is told first is what explains most: only when nothing else does, nodes are gone.
    fn lack_of_quorum(&self, nodes: &[Seen], well: &BTreeSet<u64>, directory: &str, fault: Option<&str>) -> Option<Trouble> {
        let voters: BTreeSet<u64> = self.members.iter().filter(|member| member.votes).map(|member| member.node).collect();
        let of_voters = |is: &dyn Fn(&Seen) -> bool| {
            nodes.iter().filter(|seen| voters.contains(&seen.node.node) && (well.contains(&seen.node.node) || is(seen))).count()
        };
        let is_quorum = |count: usize| count * 2 > voters.len();
        if is_quorum(of_voters(&|_| false)) {
            return None;
        }
        if is_quorum(of_voters(&Seen::refuses)) {
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
        let told = match is_quorum(of_voters(&runs)) {
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
        let mut voters = self.members.iter().filter(|member| member.votes);
        if let (Some(alone), None, true) = (voters.next(), voters.next(), self.group.is_some()) {
            self.warnings.push(format!(
                "only node {} votes: what is acknowledged is on its disk alone. Add nodes in other zones and promote them (`hsmpool pool add-node --dir \
                 {directory}`)",
                alone.node
            ));
        }
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

    /// Whether those in contact know the group without this node.
    fn is_left_behind(&self, seen: &Seen) -> bool {
        let is_member = self.members.iter().any(|member| member.node == seen.node.node);
        let is_of_another =
            seen.status().zip(self.group).is_some_and(|(status, group)| status.group != group && status.group != [0; 16]);
        self.group.is_some() && (!is_member || is_of_another)
    }
}

pub fn role(node: &NodeFile, status: &NodeStatus) -> &'static str {
    let votes = status.members.iter().any(|member| member.node == node.node && member.votes);
    let follows = status.members.iter().any(|member| member.node == node.node);
    match (status.health.leader == Some(node.node), votes, follows) {
        (true, ..) => "leader",
        (_, true, _) => "voter",
        (_, _, true) => "learner",
        _ => "none",
    }
}

pub fn health(status: &NodeStatus) -> &'static str {
    match status.health.duty {
        _ if status.poisoned.is_some() => "failed",
        Some(Duty::Expelled) => "expelled",
        Some(Duty::Stopped) => "stopped",
        Some(Duty::Isolated(_)) => "isolated",
        Some(Duty::Behind) => "behind",
        _ if !status.health.serves => "draining",
        None if !status.health.in_contact => "isolated",
        _ if ends_soon(status) => "cert ends",
        _ => "well",
    }
}

/// The same, as those in contact with the group see it.
fn health_in(seen: &Seen, picture: &Picture) -> &'static str {
    let is_left_behind = picture.is_left_behind(seen);
    match seen.status().map(health) {
        None | Some("well") if is_left_behind => "left behind",
        None if seen.refuses() => "refuses",
        None => "down",
        Some(health) => health,
    }
}

fn ends_soon(status: &NodeStatus) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
    status.certificate_ends - now < ENDS_SOON_DAYS * 24 * 3600
}

/// Seconds for which a node that is cut off uses keys still.
fn left(status: &NodeStatus) -> Option<u64> {
    match status.health.duty {
        Some(Duty::Isolated(left)) => Some(left),
        Some(Duty::Stopped | Duty::Expelled) => Some(0),
        _ => None,
    }
}

fn line(seen: &Seen, picture: &Picture, newest: u64) -> String {
    let node = &seen.node;
    let address = node.listen.clients.last().map_or("", String::as_str);
    let address = if is_peer(seen) { format!("{address} (in an application)") } else { address.to_string() };
    let health = health_in(seen, picture);
    match seen.status() {
        Some(status) => {
            let health = match left(status).filter(|_| health == "isolated") {
                Some(left) => format!("{health} ({left} s)"),
                None => health.to_string(),
            };
            format!(
                "{:<5} {:<10} {:<9} {:>9} {:>5} {:>8} {:<17} {address}",
                node.node,
                node.zone,
                role(node, status),
                status.health.changes_applied(),
                newest.saturating_sub(status.health.applied),
                status.applications,
                health
            )
        }
        None => {
            format!("{:<5} {:<10} {:<9} {:>9} {:>5} {:>8} {health:<17} {address}", node.node, node.zone, "-", "-", "-", "-")
        }
    }
}

fn is_peer(seen: &Seen) -> bool {
    seen.status().is_some_and(|status| status.peer == Some(true))
}

fn to_json(seen: &Seen, picture: &Picture, newest: u64) -> serde_json::Value {
    let node = &seen.node;
    let base = json!({
        "node": node.node, "zone": node.zone, "region": node.region, "addresses": node.listen.clients,
        "health": health_in(seen, picture),
    });
    let more = match &seen.status {
        Ok(status) => json!({
            "role": role(node, status), "peer": is_peer(seen), "applied": status.health.changes_applied(),
            "lag": newest.saturating_sub(status.health.applied), "term": status.term, "leader": status.health.leader,
            "log_applied": status.applied, "log_committed": status.committed, "applications": status.applications,
            "connections": status.connections, "version": status.version, "contact_age_ms": status.contact_age,
            "certificate_ends": status.certificate_ends, "poisoned": status.poisoned, "isolated_seconds_left": left(status),
            "unreached": status.unreached, "expelled": status.expelled, "availability": status.availability.map(counted),
        }),
        Err(error) => json!({ "told": error.to_string() }),
    };
    match (base, more) {
        (serde_json::Value::Object(mut base), serde_json::Value::Object(more)) => {
            base.extend(more);
            serde_json::Value::Object(base)
        }
        (base, _) => base,
    }
}

/// What one node counted, and the share of calls of modules that did not fail.
fn counted(counted: Counted) -> serde_json::Value {
    let Counted { module_calls, module_failed, module_retried, requests, sent_elsewhere } = counted;
    json!({
        "module_calls": module_calls, "module_failed": module_failed, "module_retried": module_retried,
        "requests": requests, "sent_elsewhere": sent_elsewhere, "failed_share": share(module_failed, module_calls),
    })
}

/// `None` of no calls at all.
fn share(failed: u64, calls: u64) -> Option<f64> {
    (calls > 0).then(|| failed as f64 / calls as f64)
}

/// All nodes together: each call of a module was told to one of them.
fn availability(nodes: &[Seen]) -> serde_json::Value {
    let all = nodes.iter().filter_map(Seen::status).filter_map(|status| status.availability);
    counted(all.fold(Counted::default(), |sum, one| Counted {
        module_calls: sum.module_calls + one.module_calls,
        module_failed: sum.module_failed + one.module_failed,
        module_retried: sum.module_retried + one.module_retried,
        requests: sum.requests + one.requests,
        sent_elsewhere: sum.sent_elsewhere + one.sent_elsewhere,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::pool::{Certificates, Listen};
    use crate::error::{Code, Error, refuse};
    use crate::log::raft::Member;
    use crate::token::message::Health;

    fn file(number: u64) -> NodeFile {
        let certificates = Certificates { ca: "ca".into(), certificate: "pem".into(), key: "key".into() };
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

    fn answers(number: u64, duty: Duty, voters: &[u64], group: [u8; 16]) -> Seen {
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

    const GROUP: [u8; 16] = [9; 16];

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
}
