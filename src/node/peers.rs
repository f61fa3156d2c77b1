//! How members of a group reach one another: TLS connections, kept for the next request.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use crate::error::{Code, Doing, Result, refuse};
use crate::log::raft::{Member, NodeId, Peers, Way, Ways};
use crate::secret::Secret;
use crate::wire::{Address, Connection, Hello, Identity, Kept, Name, Places, Prompt};

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
    by_loop: bool,
    places: Places,
    idle: Mutex<HashMap<NodeId, (String, Arc<Kept>)>>,
}

impl PeerWires {
    /// Nothing is connected yet. `by_loop`: whether the group's loop may have connections.
    pub fn new(identity: Identity, hello: Hello, by_loop: bool) -> Self {
        Self { identity: RwLock::new(identity), hello, by_loop, places: Places::default(), idle: Mutex::default() }
    }

    /// New connections show another certificate.
    pub fn set_identity(&self, identity: Identity) {
        *self.identity.write() = identity;
    }

    /// The connections to a member; those to an address that it has left are closed.
    fn kept(&self, to: NodeId, address: &str) -> Arc<Kept> {
        let mut idle = self.idle.lock();
        let place = idle.entry(to).or_default();
        if place.0 != address {
            *place = (address.to_string(), Arc::default());
        }
        place.1.clone()
    }

    fn connect(&self, to: NodeId, address: &str, patience: Duration) -> Result<Connection> {
        let address: Address = address.parse()?;
        let identity = self.identity.read().clone();
        let connection = Connection::open_by(&self.places, &address, Some(&identity), &self.hello, patience)?;
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
        let kept = self.kept(to, &member.address);
        let answer = kept.call(PEER_KIND, &request, deadline, |patience| self.connect(to, &member.address, patience))?;
        answered(to, &answer)
    }

    fn ways(&self) -> Option<&dyn Ways> {
        if self.by_loop { Some(self) } else { None }
    }
}

impl Ways for PeerWires {
    /// Heartbeats keep a connection idle: with it the first change after a pause need not wait for a handshake.
    fn at_hand(&self, to: NodeId, member: &Member) -> Option<Box<dyn Way>> {
        let prompt = Prompt::new(self.kept(to, &member.address).take()?).ok()?;
        Some(Box::new(PeerWay { to, prompt }))
    }

    fn open(&self, to: NodeId, member: &Member, patience: Duration) -> Result<Box<dyn Way>> {
        let connection = self.connect(to, &member.address, patience)?;
        let prompt = Prompt::new(connection).doing(Code::DeviceError, format!("the connection to {}", member.address))?;
        Ok(Box::new(PeerWay { to, prompt }))
    }
}

/// A connection to one member that the loop has.
struct PeerWay {
    to: NodeId,
    prompt: Prompt,
}

impl Way for PeerWay {
    fn socket(&self) -> BorrowedFd<'_> {
        self.prompt.socket()
    }

    fn begin(&mut self, request: &[u8]) -> Result<()> {
        self.prompt.begin(PEER_KIND, request).map_err(|failure| failure.error)
    }

    fn send(&mut self) -> Result<bool> {
        self.prompt.send().map_err(|failure| failure.error)
    }

    fn receive(&mut self) -> Result<Option<Result<Vec<u8>>>> {
        let answer = self.prompt.receive().map_err(|failure| failure.error)?;
        Ok(answer.map(|answer| answered(self.to, &answer)))
    }
}

fn answered(node: NodeId, answer: &Secret) -> Result<Vec<u8>> {
    match answer.expose().split_first() {
        Some((&ANSWERED, answer)) => Ok(answer.to_vec()),
        Some((_, told)) => Err(refuse(Code::DeviceError, String::from_utf8_lossy(told).into_owned())),
        None => Err(refuse(Code::DeviceError, format!("node {node} gave an empty answer"))),
    }
}
