//! `hsmpool pool status`.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::layout::Layout;
use super::reach::Operator;
use crate::cli::told::{Ended, tell};
use crate::config::pool::NodeFile;
use crate::error::Result;
use crate::node::{Counted, MemberStatus, NodeStatus};
use crate::token::message::Duty;

/// A certificate that ends within so many days is pointed out.
const ENDS_SOON_DAYS: i64 = 30;

pub fn run(directory: &Path, as_json: bool) -> Result<Ended> {
    let layout = Layout::open(directory)?;
    let nodes = Operator::shown(&layout)?.statuses(layout.nodes()?);
    let nodes: Vec<Seen> = nodes.into_iter().map(|(node, status)| Seen { node, status }).collect();
    let picture = Picture::of(&nodes);
    let newest = nodes.iter().filter_map(Seen::status).map(|status| status.health.applied).max().unwrap_or(0);
    let all: Vec<_> = nodes.iter().map(|seen| to_json(seen, &picture, newest)).collect();
    let mut text = format!("pool {}: {} of {} nodes are well\n", layout.pool, picture.healthy, picture.members.len());
    text += &format!(
        "{:<5} {:<10} {:<9} {:>9} {:>5} {:>8} {:<17} ADDRESS",
        "NODE", "ZONE", "ROLE", "APPLIED", "LAG", "CLIENTS", "HEALTH"
    );
    for seen in &nodes {
        text += "\n";
        text += &line(seen, &picture, newest);
    }
    for warning in &picture.warnings {
        text += "\n";
        text += warning;
    }
    let json = json!({
        "pool": layout.pool.to_string(), "healthy": picture.healthy, "members": picture.members.len(),
        "quorum": picture.trouble.is_none(), "trouble": picture.trouble, "warnings": picture.warnings,
        "availability": availability(&nodes), "nodes": all,
    });
    tell(as_json, text, &json);
    match picture.trouble {
        None => Ok(Ended::Well),
        Some(trouble) => {
            eprintln!("hsmpool: {trouble}");
            Ok(Ended::NoQuorum)
        }
    }
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
    /// Why changes are not taken.
    trouble: Option<String>,
    warnings: Vec<String>,
}

struct Place {
    node: u64,
    zone: String,
    votes: bool,
}

impl Picture {
    fn of(nodes: &[Seen]) -> Self {
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
        picture.trouble = picture.trouble(&well);
        picture.warnings(nodes);
        picture
    }

    /// Changes need a quorum of the voters, and members of two zones, where there are two.
    fn trouble(&self, well: &BTreeSet<u64>) -> Option<String> {
        let voters: Vec<&Place> = self.members.iter().filter(|member| member.votes).collect();
        let answering = voters.iter().filter(|voter| well.contains(&voter.node)).count();
        if answering * 2 <= voters.len() {
            let told = "no quorum of the pool's nodes is well: keys can be used for as long as isolated_use says, changes are not taken. Start \
                 the nodes that are down; one that is gone for good: `hsmpool pool force-new --help`";
            return Some(told.to_string());
        }
        let zones =
            |places: &mut dyn Iterator<Item = &Place>| -> BTreeSet<String> { places.map(|place| place.zone.clone()).collect() };
        let all = zones(&mut self.members.iter());
        let there = zones(&mut self.members.iter().filter(|member| well.contains(&member.node)));
        let gone: Vec<String> =
            self.members.iter().filter(|member| !well.contains(&member.node)).map(|member| member.node.to_string()).collect();
        (all.len() > 1 && there.len() < 2).then(|| {
            format!(
                "changes wait: they need members of two zones, and only zone {} answers; bring back node {}, or remove it with `hsmpool pool remove-node` if it is gone for good",
                there.into_iter().collect::<String>(),
                gone.join(", ")
            )
        })
    }

    fn warnings(&mut self, nodes: &[Seen]) {
        for seen in nodes {
            let (number, zone) = (seen.node.node, &seen.node.zone);
            if self.is_left_behind(seen) {
                self.warnings.push(format!(
                    "node {number} of zone {zone} is no member of the group: it was left behind by force-new, or was never added; remove it with `hsmpool pool remove-node {number}`, and its data"
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
