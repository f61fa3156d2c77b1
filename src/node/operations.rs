//! Health, metrics and events of a node over plain HTTP: for the machines that watch it. Nothing secret, nothing that changes anything.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::http::{Http, TEXT, respond};
use super::metrics::Levels;
use super::server::Server;
use crate::error::{Code, Doing, Result};
use crate::token::message::{Duty, Health};

/// The operations port of one node.
pub struct Operations(Http);

/// Followers of events at once: others find room beside them.
const FOLLOWERS_MAX: usize = crate::limits::WATCHERS_MAX / 2;
/// How often a follower without events is written to, so that a dead one is noticed.
const FOLLOWER_BREATH: Duration = Duration::from_secs(10);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const LINES: &str = "application/x-ndjson";

impl Operations {
    /// Listens, until it is dropped. Errors: `Configuration` when the address cannot be had.
    pub fn listen(address: &str, server: Arc<Server>) -> Result<Self> {
        let followers = AtomicUsize::new(0);
        let http = Http::listen(address, move |path, to| answer(path, to, &server, &followers));
        Ok(Self(http.doing(Code::Configuration, format!("listen.operations: cannot listen on {address}"))?))
    }

    /// Where it listens: the port, when 0 was asked for.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.address()
    }
}

fn answer(path: &str, to: &mut dyn Write, server: &Server, followers: &AtomicUsize) -> io::Result<()> {
    match path {
        "/live" => respond(to, 200, TEXT, "live\n"),
        "/ready" => {
            let (status, told) = readiness(&server.health());
            respond(to, status, TEXT, &told)
        }
        "/metrics" => match server.metrics().text(levels(server)) {
            Ok(all) => respond(to, 200, OPEN_METRICS, &all),
            Err(cause) => respond(to, 500, TEXT, &format!("{cause}\n")),
        },
        "/events" => follow(to, server, followers),
        _ => respond(to, 404, TEXT, "/live /ready /metrics /events\n"),
    }
}

fn levels(server: &Server) -> Levels {
    let (health, (applications, streams)) = (server.health(), server.load());
    Levels {
        applied: health.changes_applied(),
        in_contact: health.in_contact,
        lease: health.duty == Some(Duty::Ordinary),
        key_use_left: match health.duty {
            Some(Duty::Isolated(left)) => left,
            Some(Duty::Stopped | Duty::Expelled) => 0,
            _ => server.metrics().isolated_use(),
        },
        is_leader: health.leader == Some(health.node),
        applications,
        streams,
    }
}

/// Who routes traffic must know that a node takes no changes, even where it goes on with keys.
fn readiness(health: &Health) -> (u16, String) {
    match health.duty {
        _ if !health.serves => (503, "draining\n".to_string()),
        Some(Duty::Isolated(left)) => {
            let told = "degraded: isolated, no contact to a quorum: no changes, and keys are used for";
            (503, format!("{told} {left} s still\n"))
        }
        Some(Duty::Stopped) => (503, "stopped: isolated for longer than isolated_use: keys are not used\n".to_string()),
        Some(Duty::Expelled) => (503, "expelled: the group goes on without this node\n".to_string()),
        Some(Duty::Behind) => (503, "behind: the node catches up with its group\n".to_string()),
        Some(Duty::Ordinary) | None => (200, "ready\n".to_string()),
    }
}

/// Events as lines of JSON, for as long as the follower listens.
fn follow(to: &mut dyn Write, server: &Server, followers: &AtomicUsize) -> io::Result<()> {
    let others = followers.fetch_add(1, Ordering::AcqRel);
    let ended = match others < FOLLOWERS_MAX {
        // Who follows goes away by closing the connection, which ends the writing.
        true => write_events(to, server),
        false => respond(to, 503, TEXT, "too many follow the events already\n"),
    };
    followers.fetch_sub(1, Ordering::AcqRel);
    ended
}

/// One line an event, each sent at once: a response whose end is the end of the connection (RFC 9112, 6.3).
fn write_events(to: &mut dyn Write, server: &Server) -> io::Result<()> {
    write!(to, "HTTP/1.1 200 OK\r\nContent-Type: {LINES}\r\nConnection: close\r\n\r\n")?;
    let mut seen = 0;
    while !server.events().have_ended() {
        let events = server.events().after(seen, FOLLOWER_BREATH);
        let health = server.health();
        for event in &events {
            seen = event.number;
            writeln!(to, "{}", event.to_json(health.node, &health.zone))?;
        }
        if events.is_empty() {
            // An empty line: whoever is gone is noticed by the write.
            writeln!(to)?;
        }
        to.flush()?;
    }
    Ok(())
}
