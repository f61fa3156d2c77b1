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
const DAY_SECONDS: i64 = 24 * 3600;
/// Of the column of the table, where no health needs more.
const HEALTH_WIDTH: usize = 17;

pub fn run(directory: &Path, as_json: bool) -> Result<Ended> {
    let layout = Layout::open(directory)?;
    let operator = Operator::shown(&layout)?;
    let nodes = operator.statuses(layout.nodes()?);
    let nodes: Vec<Seen> = nodes.into_iter().map(|(node, status)| Seen { node, status }).collect();
    let picture = Picture::of(&nodes, &layout.directory.display().to_string(), operator.fault());
    let newest = nodes.iter().filter_map(Seen::status).map(|status| status.health.applied).max().unwrap_or(0);
    let all: Vec<_> = nodes.iter().map(|seen| to_json(seen, &picture, newest)).collect();
    let rows: Vec<Row> = nodes.iter().map(|seen| Row::of(seen, &picture, newest, now())).collect();
    let width = rows.iter().map(|row| row.health.chars().count()).fold(HEALTH_WIDTH, usize::max);
    let mut text = match picture.trouble {
        Some(Trouble::Unknown(_)) => format!("pool {}: nobody knows how its nodes are\n", layout.pool),
        _ => format!("pool {}: {} of {} nodes are well\n", layout.pool, picture.healthy, picture.members.len()),
    };
    text += &format!(
        "{:<5} {:<10} {:<9} {:>9} {:>5} {:>8} {:<width$} ADDRESS",
        "NODE", "ZONE", "ROLE", "APPLIED", "LAG", "CLIENTS", "HEALTH"
    );
    let lines = rows.iter().map(|row| row.line(width));
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

/// In seconds since 1970, as certificates tell their ends.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64
}

/// Whole days until the node's certificate ends: 0 on its last one, and below where it has ended.
fn certificate_days(status: &NodeStatus, now: i64) -> i64 {
    status.certificate_ends.saturating_sub(now).div_euclid(DAY_SECONDS)
}

/// What there is to say of the node's certificate beside the node's health, which it does not change.
fn ends_soon(status: &NodeStatus, now: i64) -> Option<String> {
    match certificate_days(status, now) {
        ..0 => Some("certificate has ended".to_string()),
        0 => Some("certificate ends within a day".to_string()),
        1 => Some("certificate ends in 1 day".to_string()),
        days @ ..ENDS_SOON_DAYS => Some(format!("certificate ends in {days} days")),
        _ => None,
    }
}

/// Seconds for which a node that is cut off uses keys still.
fn left(status: &NodeStatus) -> Option<u64> {
    match status.health.duty {
        Some(Duty::Isolated(left)) => Some(left),
        Some(Duty::Stopped | Duty::Expelled) => Some(0),
        _ => None,
    }
}

/// A node's row of the table.
struct Row<'a> {
    node: &'a NodeFile,
    role: &'static str,
    /// Applied changes, lag, clients; of a node that does not answer none is known.
    numbers: [Option<u64>; 3],
    health: String,
    address: String,
}

impl<'a> Row<'a> {
    fn of(seen: &'a Seen, picture: &Picture, newest: u64, now: i64) -> Self {
        let node = &seen.node;
        let mut health = health_in(seen, picture).to_string();
        let (mut role_of, mut numbers) = ("-", [None; 3]);
        if let Some(status) = seen.status() {
            if let Some(left) = left(status).filter(|_| health == "isolated") {
                health += &format!(" ({left} s)");
            }
            if let Some(ends) = ends_soon(status, now) {
                health += &format!(", {ends}");
            }
            role_of = role(node, status);
            let lag = newest.saturating_sub(status.health.applied);
            numbers = [status.health.changes_applied(), lag, status.applications].map(Some);
        }
        let address = node.listen.clients.last().map_or("", String::as_str);
        let address = if is_peer(seen) { format!("{address} (in an application)") } else { address.to_string() };
        Self { node, role: role_of, numbers, health, address }
    }

    fn line(&self, width: usize) -> String {
        let Self { node, role, health, address, .. } = self;
        let [applied, lag, clients] = self.numbers.map(|number| number.map_or("-".to_string(), |number| number.to_string()));
        format!("{:<5} {:<10} {role:<9} {applied:>9} {lag:>5} {clients:>8} {health:<width$} {address}", node.node, node.zone)
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
            "certificate_ends": status.certificate_ends, "certificate_ends_in_days": certificate_days(status, now()), "poisoned": status.poisoned, "isolated_seconds_left": left(status),
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
    use super::super::picture::tests::{GROUP, answers};
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn row_of(duty: Duty, ends: i64) -> String {
        let mut nodes = [1, 2, 3].map(|number| answers(number, Duty::Ordinary, &[1, 2, 3], GROUP));
        nodes[0] = answers(1, duty, &[1, 2, 3], GROUP);
        if let Ok(status) = &mut nodes[0].status {
            status.certificate_ends = ends;
        }
        let picture = Picture::of(&nodes, "pool", None);
        Row::of(&nodes[0], &picture, 0, NOW).line(HEALTH_WIDTH)
    }

    #[test]
    fn a_certificate_that_ends_soon_is_told_beside_the_health_and_not_in_its_place() {
        let days = |days: i64| NOW + days * DAY_SECONDS;
        let cases = [
            (Duty::Ordinary, days(ENDS_SOON_DAYS), "well             "),
            (Duty::Ordinary, days(ENDS_SOON_DAYS) - 1, "well, certificate ends in 29 days"),
            (Duty::Ordinary, days(1), "well, certificate ends in 1 day"),
            (Duty::Ordinary, days(1) - 1, "well, certificate ends within a day"),
            (Duty::Ordinary, days(0) - 1, "well, certificate has ended"),
            (Duty::Ordinary, i64::MIN, "well, certificate has ended"),
            (Duty::Behind, days(12), "behind, certificate ends in 12 days"),
            (Duty::Isolated(9), days(12), "isolated (9 s), certificate ends in 12 days"),
        ];
        for (duty, ends, told) in cases {
            let row = row_of(duty, ends);
            assert!(row.contains(&format!(" {told} ")), "{duty:?}, {ends}: {row}");
        }
    }

    #[test]
    fn programs_read_the_health_and_the_days_apart() {
        let mut seen = answers(1, Duty::Ordinary, &[1], GROUP);
        if let Ok(status) = &mut seen.status {
            status.certificate_ends = now() + 12 * DAY_SECONDS + DAY_SECONDS / 2;
        }
        let json = to_json(&seen, &Picture::of(std::slice::from_ref(&seen), "pool", None), 0);
        assert_eq!((&json["health"], &json["certificate_ends_in_days"]), (&"well".into(), &12.into()), "{json:#}");
    }
}
