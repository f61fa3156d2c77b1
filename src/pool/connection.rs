//! Connections to the nodes: one for each caller at a time, kept for the next. No thread of ours runs in the application.

use std::time::{Duration, Instant};

use super::call::{Failure, Link};
use crate::error::{self, Code, refuse};
use crate::secret::Secret;
use crate::sys::process::PerProcess;
use crate::token::message::FRAME_KIND;
use crate::wire::{Address, Connection, Hello, Identity, Kept, Purpose};

/// The way to each node of a view.
pub struct Wires {
    nodes: Vec<Vec<Address>>,
    identity: Option<Identity>,
    hello: Hello,
    /// A forked child begins without any: the parent goes on with its own.
    idle: PerProcess<Vec<Kept>>,
}

impl Wires {
    /// `nodes`: the addresses of each node, in the order in which they are tried. Nothing is connected yet.
    pub fn new(pool: [u8; 16], nodes: Vec<Vec<Address>>, identity: Option<Identity>) -> Self {
        let count = nodes.len();
        let idle = PerProcess::new(move || (0..count).map(|_| Kept::default()).collect());
        Self { nodes, identity, hello: Hello::new(pool, Purpose::Client, 0), idle }
    }

    fn connect(&self, node: usize, patience: Duration) -> error::Result<Connection> {
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
        Err(last.unwrap_or_else(|| refuse(Code::DeviceError, "the node could not be reached in time")))
    }
}

impl Link for Wires {
    fn call(&self, node: usize, request: &[u8], patience: Duration) -> Result<Secret, Failure> {
        let kept = &self.idle.get()[node];
        kept.call(FRAME_KIND, request, patience, |patience| self.connect(node, patience)).map_err(Failure)
    }
}
