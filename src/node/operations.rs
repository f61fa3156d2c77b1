//! Health, metrics and events of a node over plain HTTP: for the machines that watch it. Nothing secret, nothing that changes anything.

use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tiny_http::{Header, Method, Response, Server as Http};

use super::metrics::Levels;
use super::server::Server;
use crate::error::{Code, Doing, Result, refuse};
use crate::sys::process::Shield;
use crate::token::message::{Duty, Health};

/// The operations port of one node.
pub struct Operations {
    shield: Option<Shield>,
    http: Arc<Http>,
    stops: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Followers of events at once.
const FOLLOWERS_MAX: usize = 64;
/// How often a follower without events is written to, so that a dead one is noticed.
const FOLLOWER_BREATH: Duration = Duration::from_secs(10);

const TEXT: &str = "text/plain; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const LINES: &str = "application/x-ndjson";

impl Operations {
    /// Listens. Errors: `Configuration` when the address cannot be had.
    pub fn listen(address: &str, server: Arc<Server>) -> Result<Self> {
        let doing = || format!("listen.operations: cannot listen on {address}");
        let listener = TcpListener::bind(address).doing(Code::Configuration, doing())?;
        // A child that kept it would keep the port.
        let shield = Some(Shield::over(&listener));
        let http =
            Http::from_listener(listener, None).map_err(|cause| refuse(Code::Configuration, format!("{}: {cause}", doing())))?;
        let (http, stops) = (Arc::new(http), Arc::new(AtomicBool::new(false)));
        let (of_thread, stop) = (http.clone(), stops.clone());
        let followers = Arc::new(AtomicUsize::new(0));
        let serve = move || {
            for request in of_thread.incoming_requests() {
                if stop.load(Ordering::Acquire) {
                    return;
                }
                // A watcher that goes away while it is answered is no trouble of ours.
                let _ = answer(request, &server, &followers);
            }
        };
        let thread = std::thread::Builder::new().name("operations".into()).spawn(serve);
        let thread = thread.map_err(|cause| refuse(Code::HostMemory, "cannot start a thread").because(cause))?;
        Ok(Self { shield, http, stops, thread: Some(thread) })
    }
}

impl Drop for Operations {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::Release);
        self.shield = None;
        self.http.unblock();
        if let Some(thread) = self.thread.take() {
            // It ends by itself; what it panicked of was printed.
            let _ = thread.join();
        }
    }
}

fn answer(request: tiny_http::Request, server: &Arc<Server>, followers: &Arc<AtomicUsize>) -> std::io::Result<()> {
    if *request.method() != Method::Get {
        return request.respond(text(405, TEXT, "only GET\n"));
    }
    let health = server.health();
    match request.url() {
        "/live" => request.respond(text(200, TEXT, "live\n")),
        "/ready" => {
            let (status, told) = readiness(&health);
            request.respond(text(status, TEXT, &told))
        }
        "/metrics" => {
            let (applications, streams) = server.load();
            let is_leader = health.leader == Some(health.node);
            let levels = Levels {
                applied: health.applied,
                in_contact: health.in_contact,
                lease: health.duty == Some(Duty::Ordinary),
                key_use_left: match health.duty {
                    Some(Duty::Isolated(left)) => left,
                    Some(Duty::Stopped | Duty::Expelled) => 0,
                    _ => server.metrics().isolated_use(),
                },
                is_leader,
                applications,
                streams,
            };
            match server.metrics().text(levels) {
                Ok(all) => request.respond(text(200, OPEN_METRICS, &all)),
                Err(cause) => request.respond(text(500, TEXT, &format!("{cause}\n"))),
            }
        }
        "/events" => follow(request, server.clone(), followers.clone()),
        _ => request.respond(text(404, TEXT, "/live /ready /metrics /events\n")),
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

fn text(status: u16, kind: &'static str, body: &str) -> Response<std::io::Cursor<Vec<u8>>> {
    let header = Header::from_bytes("Content-Type", kind).expect("a constant that is a header");
    Response::from_string(body).with_status_code(status).with_header(header)
}

/// Events as lines of JSON, for as long as the follower listens, on a thread of its own.
fn follow(request: tiny_http::Request, server: Arc<Server>, followers: Arc<AtomicUsize>) -> std::io::Result<()> {
    if followers.fetch_add(1, Ordering::AcqRel) >= FOLLOWERS_MAX {
        followers.fetch_sub(1, Ordering::AcqRel);
        return request.respond(text(503, TEXT, "too many follow the events already\n"));
    }
    let work = move || {
        // Who follows goes away by closing the connection, which ends the writing.
        let _ = write_events(request.into_writer(), &server);
        followers.fetch_sub(1, Ordering::AcqRel);
    };
    std::thread::Builder::new().name("events".into()).spawn(work).map(drop)
}

/// One line an event, each sent at once: a response whose end is the end of the connection (RFC 9112, 6.3).
fn write_events(mut to: Box<dyn Write + Send>, server: &Server) -> std::io::Result<()> {
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
