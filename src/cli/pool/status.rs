//! `hsmpool pool status`.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::layout::Layout;
use super::reach::Operator;
use crate::cli::told::{Ended, tell};
use crate::config::pool::NodeFile;
use crate::error::{Error, Result};
use crate::node::NodeStatus;

/// A certificate that ends within so many days is pointed out.
const ENDS_SOON_DAYS: i64 = 30;

pub fn run(directory: &Path, as_json: bool) -> Result<Ended> {
    let layout = Layout::open(directory)?;
    let nodes = Operator::shown(&layout)?.statuses(layout.nodes()?);
    let newest =
        nodes.iter().filter_map(|(_, status)| status.as_ref().ok()).map(|status| status.health.applied).max().unwrap_or(0);
    let healthy = nodes.iter().filter(|(_, status)| status.as_ref().is_ok_and(is_well)).count();
    let is_quorum = is_quorum(&nodes);
    let all: Vec<_> = nodes.iter().map(|(node, status)| to_json(node, status, newest)).collect();
    let mut text = format!("pool {}: {healthy} of {} nodes are well\n", layout.pool, nodes.len());
    text += &format!(
        "{:<5} {:<10} {:<9} {:>9} {:>5} {:>8} {:<10} ADDRESS",
        "NODE", "ZONE", "ROLE", "APPLIED", "LAG", "CLIENTS", "HEALTH"
    );
    for (node, status) in &nodes {
        text += "\n";
        text += &line(node, status, newest);
    }
    tell(as_json, text, &json!({ "pool": layout.pool.to_string(), "healthy": healthy, "quorum": is_quorum, "nodes": all }));
    if is_quorum {
        return Ok(Ended::Well);
    }
    eprintln!(
        "hsmpool: no quorum of the pool's nodes is well: keys can be used, changes are not taken. Start the nodes that are down; \
         one that is gone for good: `hsmpool pool force-new --help`"
    );
    Ok(Ended::NoQuorum)
}

/// Whether more than half of those who vote are well. Who votes is what the newest of those in contact says; before there is a group, all.
fn is_quorum(nodes: &[(NodeFile, Result<NodeStatus>)]) -> bool {
    let told = nodes.iter().filter_map(|(_, status)| status.as_ref().ok()).max_by_key(|status| (is_well(status), status.applied));
    let votes = |node: u64| {
        told.is_none_or(|status| {
            status.members.iter().any(|member| member.votes && member.node == node) || status.members.is_empty()
        })
    };
    let voters = nodes.iter().filter(|(node, _)| votes(node.node));
    let well = voters.clone().filter(|(_, status)| status.as_ref().is_ok_and(is_well)).count();
    well * 2 > voters.count()
}

fn is_well(status: &NodeStatus) -> bool {
    status.health.serves && status.health.in_contact && status.poisoned.is_none()
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
    match (status.poisoned.is_some(), status.health.serves, status.health.in_contact) {
        (true, ..) => "failed",
        (_, false, _) => "draining",
        (_, _, false) => "isolated",
        _ if ends_soon(status) => "cert ends",
        _ => "well",
    }
}

fn ends_soon(status: &NodeStatus) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
    status.certificate_ends - now < ENDS_SOON_DAYS * 24 * 3600
}

fn line(node: &NodeFile, status: &Result<NodeStatus>, newest: u64) -> String {
    let address = node.listen.clients.last().map_or("", String::as_str);
    match status {
        Ok(status) => format!(
            "{:<5} {:<10} {:<9} {:>9} {:>5} {:>8} {:<10} {address}",
            node.node,
            node.zone,
            role(node, status),
            status.health.applied,
            newest.saturating_sub(status.health.applied),
            status.applications,
            health(status)
        ),
        Err(_) => {
            format!("{:<5} {:<10} {:<9} {:>9} {:>5} {:>8} {:<10} {address}", node.node, node.zone, "-", "-", "-", "-", "down")
        }
    }
}

fn to_json(node: &NodeFile, status: &Result<NodeStatus>, newest: u64) -> serde_json::Value {
    let base = json!({ "node": node.node, "zone": node.zone, "region": node.region, "addresses": node.listen.clients });
    let more = match status {
        Ok(status) => json!({
            "role": role(node, status), "health": health(status), "applied": status.health.applied,
            "lag": newest.saturating_sub(status.health.applied), "term": status.term, "leader": status.health.leader,
            "log_applied": status.applied, "log_committed": status.committed, "applications": status.applications,
            "connections": status.connections, "version": status.version, "contact_age_ms": status.contact_age,
            "certificate_ends": status.certificate_ends, "poisoned": status.poisoned,
        }),
        Err(error) => json!({ "health": "down", "told": chain(error) }),
    };
    match (base, more) {
        (serde_json::Value::Object(mut base), serde_json::Value::Object(more)) => {
            base.extend(more);
            serde_json::Value::Object(base)
        }
        (base, _) => base,
    }
}

fn chain(error: &Error) -> String {
    error.to_string()
}
