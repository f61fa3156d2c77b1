//! How members of a group reach one another: TLS connections, kept for the next request.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use crate::error::{Code, Result, refuse};
use crate::limits::IDLE_CONNECTIONS_MAX;
use crate::log::raft::{Member, NodeId, Peers};
use crate::wire::{Address, Connection, Hello, Identity, Name};

/// The kind of frame that carries what members ask of one another.
pub const PEER_KIND: u8 = 2;

/// First byte of an answer that is one.
pub const ANSWERED: u8 = 1;
/// First byte of an answer that is a refusal in words.
pub const REFUSED: u8 = 0;

/// The way to the other members.
pub struct PeerWires {
    identity: RwLock<Identity>,
    hello: Hello,
    idle: Mutex<HashMap<NodeId, (String, Vec<Connection>)>>,
}

impl PeerWires {
    /// Nothing is connected yet.
    pub fn new(identity: Identity, hello: Hello) -> Self {
        Self { identity: RwLock::new(identity), hello, idle: Mutex::default() }
    }

    /// New connections show another certificate.
    pub fn set_identity(&self, identity: Identity) {
        *self.identity.write() = identity;
    }

    fn kept(&self, to: NodeId, address: &str) -> Option<Connection> {
        let mut idle = self.idle.lock();
        let (at, connections) = idle.get_mut(&to)?;
        if at != address {
            connections.clear();
        }
        connections.pop()
    }

    fn keep(&self, to: NodeId, address: &str, connection: Connection) {
        let mut idle = self.idle.lock();
        let (at, connections) = idle.entry(to).or_default();
        if at != address {
            *at = address.to_string();
            connections.clear();
        }
        if connections.len() < IDLE_CONNECTIONS_MAX {
            connections.push(connection);
        }
    }

    fn connect(&self, to: NodeId, address: &str, patience: Duration) -> Result<Connection> {
        let address: Address = address.parse()?;
        let identity = self.identity.read().clone();
        let connection = Connection::open(&address, Some(&identity), &self.hello, patience)?;
        match connection.peer() {
            Some(Name::Node(node)) if *node == to => Ok(connection),
            other => {
                Err(refuse(Code::DeviceError, format!("{address} is to be node {to}, and is {other:?}: correct the addresses")))
            }
        }
    }
}

impl Peers for PeerWires {
    fn call(&self, to: NodeId, member: &Member, request: Vec<u8>, deadline: Duration) -> Result<Vec<u8>> {
        let end = Instant::now() + deadline;
        loop {
            let kept = self.kept(to, &member.address);
            let is_fresh = kept.is_none();
            let mut connection = match kept {
                Some(connection) => connection,
                None => self.connect(to, &member.address, end.saturating_duration_since(Instant::now()))?,
            };
            match connection.call(PEER_KIND, &request, end.saturating_duration_since(Instant::now())) {
                Ok(answer) => {
                    self.keep(to, &member.address, connection);
                    return match answer.expose().split_first() {
                        Some((&ANSWERED, answer)) => Ok(answer.to_vec()),
                        Some((_, told)) => Err(refuse(Code::DeviceError, String::from_utf8_lossy(told).into_owned())),
                        None => Err(refuse(Code::DeviceError, format!("node {to} gave an empty answer"))),
                    };
                }
                // The other node was restarted since: members' requests may arrive twice.
                Err(failure) if !failure.timed_out && !is_fresh => {}
                Err(failure) => return Err(failure.error),
            }
        }
    }
}
