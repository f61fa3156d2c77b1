//! Connections to the nodes: one for each caller at a time, kept for the next. No thread of ours runs in the application.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::call::{Failure, Link};
use crate::error::{Code, refuse};
use crate::limits::IDLE_CONNECTIONS_MAX;
use crate::secret::Secret;
use crate::sys::process::PerProcess;
use crate::token::message::FRAME_KIND;
use crate::wire::{self, Address, Connection, Hello, Identity, Purpose};

/// The way to each node of a view.
pub struct Wires {
    nodes: Vec<Vec<Address>>,
    identity: Option<Identity>,
    hello: Hello,
    /// A forked child begins without any: the parent goes on with its own.
    idle: PerProcess<Vec<Mutex<Vec<Connection>>>>,
}

impl Wires {
    /// `nodes`: the addresses of each node, in the order in which they are tried. Nothing is connected yet.
    pub fn new(pool: [u8; 16], nodes: Vec<Vec<Address>>, identity: Option<Identity>) -> Self {
        let count = nodes.len();
        let idle = PerProcess::new(move || (0..count).map(|_| Mutex::default()).collect());
        Self { nodes, identity, hello: Hello::new(pool, Purpose::Client, 0), idle }
    }

    fn connect(&self, node: usize, patience: Duration) -> Result<Connection, Failure> {
        let deadline = Instant::now() + patience;
        let mut last = None;
        for address in &self.nodes[node] {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            match Connection::open(address, self.identity.as_ref(), &self.hello, left) {
                Ok(connection) => return Ok(connection),
                Err(error) => last = Some(error),
            }
        }
        Err(Failure(last.unwrap_or_else(|| refuse(Code::DeviceError, "the node could not be reached in time"))))
    }
}

impl Link for Wires {
    fn call(&self, node: usize, request: &[u8], patience: Duration) -> Result<Secret, Failure> {
        let deadline = Instant::now() + patience;
        let idle = &self.idle.get()[node];
        loop {
            let kept = idle.lock().pop();
            let is_fresh = kept.is_none();
            let left = deadline.saturating_duration_since(Instant::now());
            let mut connection = match kept {
                Some(connection) => connection,
                None => self.connect(node, left)?,
            };
            let left = deadline.saturating_duration_since(Instant::now());
            match connection.call(FRAME_KIND, request, left) {
                Ok(answer) => {
                    let mut idle = idle.lock();
                    if idle.len() < IDLE_CONNECTIONS_MAX {
                        idle.push(connection);
                    }
                    return Ok(answer);
                }
                // The node was restarted since, or a firewall forgot the connection: a new one tells which. Requests may be sent twice.
                Err(wire::Failure { timed_out: false, .. }) if !is_fresh => {}
                Err(failure) => {
                    if !failure.timed_out {
                        // Others that are kept lead to the same end.
                        idle.lock().clear();
                    }
                    return Err(Failure(failure.error));
                }
            }
        }
    }
}
