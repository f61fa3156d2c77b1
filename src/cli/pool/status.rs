//! `hsmpool pool status`.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::layout::Layout;
use super::picture::{Picture, Seen, Trouble};
use super::reach::Operator;
use crate::cli::told::{Ended, tell};
use crate::config::pool::NodeFile;
use crate::error::Result;
use crate::node::{Counted, NodeStatus};
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
        "voters_change": picture.turnover.as_ref().map(|turnover| json!({ "before": turnover.before, "after": turnover.after })),
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
pub fn health_in(seen: &Seen, picture: &Picture) -> &'static str {
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
            "certificate_ends": status.certificate_ends, "revocations": status.revocations, "poisoned": status.poisoned, "isolated_seconds_left": left(status),
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
