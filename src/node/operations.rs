//! Health, metrics and events of a node over plain HTTP: for the machines that watch it. Nothing secret, nothing that changes anything.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::http::{Asked, Http, TEXT};
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
        let http = Http::listen(address, move |asked, to| answer(asked, to, &server, &followers));
        Ok(Self(http.doing(Code::Configuration, format!("listen.operations: cannot listen on {address}"))?))
    }

    /// Where it listens: the port, when 0 was asked for.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.address()
    }
}

/// What a query says is for `/events` only: probes add to a path what they like.
fn answer(asked: &Asked<'_>, to: &mut dyn Write, server: &Server, followers: &AtomicUsize) -> io::Result<()> {
    match asked.path {
        "/live" => asked.respond(to, 200, TEXT, "live\n"),
        "/ready" => {
            let (status, told) = readiness(&server.health());
            asked.respond(to, status, TEXT, &told)
        }
        "/metrics" => match server.metrics().text(levels(server)) {
            Ok(all) => asked.respond(to, 200, OPEN_METRICS, &all),
            Err(cause) => asked.respond(to, 500, TEXT, &format!("{cause}\n")),
        },
        "/events" => match server.events().begin(asked.query) {
            Ok(after) => follow(asked, to, server, followers, after),
            Err(told) => asked.respond(to, 400, TEXT, &told),
        },
        _ => asked.respond(to, 404, TEXT, "/live /ready /metrics /events\n"),
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
fn follow(asked: &Asked<'_>, to: &mut dyn Write, server: &Server, followers: &AtomicUsize, after: u64) -> io::Result<()> {
    if !asked.with_body {
        return write_head(to);
    }
    let others = followers.fetch_add(1, Ordering::AcqRel);
    let ended = match others < FOLLOWERS_MAX {
        // Who follows goes away by closing the connection, which ends the writing.
        true => write_events(to, server, after),
        false => asked.respond(to, 503, TEXT, "too many follow the events already\n"),
    };
    followers.fetch_sub(1, Ordering::AcqRel);
    ended
}

/// Of a response whose end is the end of the connection (RFC 9112, 6.3).
fn write_head(to: &mut dyn Write) -> io::Result<()> {
    write!(to, "HTTP/1.1 200 OK\r\nContent-Type: {LINES}\r\nConnection: close\r\n\r\n")
}

/// One line an event, each sent at once, after the one with this number.
fn write_events(to: &mut dyn Write, server: &Server, after: u64) -> io::Result<()> {
    write_head(to)?;
    let mut seen = after;
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

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read};
    use std::net::TcpStream;

    use super::*;
    use crate::node::tests::server;
    use crate::store::tests::fixtures::Directory;

    /// What is answered, as it comes.
    fn ask(at: SocketAddr, method: &str, target: &str) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "{method} {target} HTTP/1.1\r\nHost: node\r\n\r\n").unwrap();
        BufReader::new(stream)
    }

    /// Head and body of an answer that ends.
    fn whole(at: SocketAddr, method: &str, target: &str) -> (String, String) {
        let mut answer = String::new();
        ask(at, method, target).read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_string(), body.to_string())
    }

    #[test]
    fn a_probe_adds_what_it_likes_to_a_path_and_may_want_the_head_alone() {
        let directory = Directory::new();
        let port = Operations::listen("127.0.0.1:0", Arc::new(server(&directory).0)).unwrap();
        let at = port.address().unwrap();
        for (path, status, body) in [
            ("/live", 200, "live\n"),
            ("/live?probe=1", 200, "live\n"),
            ("/ready?a=b&c=%2e%2e/", 200, "ready\n"),
            ("/metrics?x=y", 200, "# EOF\n"),
            ("/metrics/?x=y", 404, "/live /ready /metrics /events\n"),
            ("/?/live", 404, "/live /ready /metrics /events\n"),
            ("/events?after=1", 400, "without them all that are kept are told\n"),
        ] {
            let (head, told) = whole(at, "GET", path);
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")) && told.ends_with(body), "{path}: {head}\n{told}");
            assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", told.len())), "{path}: {head}");
            let (alone, nothing) = whole(at, "HEAD", path);
            assert_eq!((alone, nothing.as_str()), (head, ""), "{path}");
        }
        let (head, nothing) = whole(at, "HEAD", "/events");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson") && nothing.is_empty(), "{head}");
    }

    #[test]
    fn a_follower_that_connects_again_is_told_what_it_has_not_seen() {
        let directory = Directory::new();
        let server = Arc::new(server(&directory).0);
        let port = Operations::listen("127.0.0.1:0", server.clone()).unwrap();
        let at = port.address().unwrap();
        (1..=3).for_each(|number| server.tell("leader", format!("event {number}")));
        let events = |target: &str, count: usize| -> Vec<serde_json::Value> {
            let lines = ask(at, "GET", target).lines().map(|line| line.unwrap()).filter(|line| line.starts_with('{'));
            lines.take(count).map(|line| serde_json::from_str(&line).unwrap()).collect()
        };
        let seen = events("/events", 2);
        assert_eq!((&seen[0]["told"], &seen[1]["number"]), (&"event 1".into(), &2.into()));
        let life = seen[1]["life"].as_str().unwrap();
        assert_eq!(events(&format!("/events?life={life}&after=2"), 1)[0]["told"], "event 3");
        assert_eq!(events("/events?life=1&after=2", 1)[0]["told"], "event 1", "another life's");
        let (head, told) = whole(at, "GET", &format!("/events?life={life}&after=4"));
        assert!(head.starts_with("HTTP/1.1 400 ") && told.contains("the newest event of this life is 3"), "{head}\n{told}");
        // One that has seen all waits for the next.
        let mut waits = ask(at, "GET", &format!("/events?life={life}&after=3")).lines();
        server.tell("leader", "event 4".to_string());
        let next = waits.find_map(|line| Some(line.unwrap()).filter(|line| line.starts_with('{'))).unwrap();
        assert!(next.contains("event 4"), "{next}");
        server.events().end();
    }
}
