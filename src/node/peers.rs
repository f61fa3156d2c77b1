//! How members of a group reach one another: TLS connections, kept for the next request.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use crate::error::{Code, Doing, Result, refuse};
use crate::log::raft::{Member, NodeId, Peers, Way, Ways};
use crate::secret::Secret;
use crate::sys::signals::Blocked;
use crate::wire::{Address, Connection, Hello, Identity, Kept, Name, Places, Prompt, WORTH_IT_FOR};

/// The kind of frame that carries what members ask of one another.
pub const PEER_KIND: u8 = 2;

/// First byte of an answer that is one.
pub const ANSWERED: u8 = 1;
/// First byte of an answer that is a refusal in words.
pub const REFUSED: u8 = 0;

/// Connections that are made aside to one member at the same time at most; who wants a further one waits.
const ASIDE_MAX: usize = 64;

/// The way to the other members.
pub struct PeerWires {
    dialer: Arc<Dialer>,
    by_loop: bool,
    places: Mutex<HashMap<NodeId, (String, Arc<Place>)>>,
}

/// Makes connections.
struct Dialer {
    identity: RwLock<Identity>,
    hello: Hello,
    places: Places,
}

/// What there is to one member.
#[derive(Default)]
struct Place {
    idle: Kept,
    /// How many connections are being made aside.
    aside: AtomicUsize,
}

impl PeerWires {
    /// Nothing is connected yet. `by_loop`: whether the group's loop may have connections.
    pub fn new(identity: Identity, hello: Hello, by_loop: bool) -> Self {
        let identity = RwLock::new(identity);
        let dialer = Arc::new(Dialer { identity, hello, places: Places::default() });
        Self { dialer, by_loop, places: Mutex::default() }
    }

    /// New connections show another certificate.
    pub fn set_identity(&self, identity: Identity) {
        *self.dialer.identity.write() = identity;
    }

    /// What there is to a member; connections to an address that it has left are closed.
    fn place(&self, to: NodeId, address: &str) -> Arc<Place> {
        let mut places = self.places.lock();
        let place = places.entry(to).or_default();
        if place.0 != address {
            *place = (address.to_string(), Arc::default());
        }
        place.1.clone()
    }
}

impl Dialer {
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

    /// The same, for as long as it is worth waiting for: a member that stands still takes a connection, and says nothing.
    fn connect_while(
        self: &Arc<Self>,
        (to, address, place): (NodeId, &str, &Arc<Place>),
        (patience, is_worth_it): (Duration, &dyn Fn() -> bool),
    ) -> Result<Connection> {
        let deadline = Instant::now() + patience;
        let left = || deadline.saturating_duration_since(Instant::now());
        let goes_on = || !left().is_zero() && is_worth_it();
        let given_up = || refuse(Code::DeviceError, format!("node {to} at {address} takes no connection"));
        let aside = loop {
            match Aside::take(place) {
                Some(aside) => break aside,
                None if goes_on() => std::thread::sleep(left().min(WORTH_IT_FOR)),
                None => return Err(given_up()),
            }
        };
        let ((tell, told), dialer, at, patience) = (mpsc::channel(), self.clone(), address.to_string(), left());
        let dial = move || {
            let _aside = aside;
            let connected = dialer.connect(to, &at, patience);
            // Whoever has given up does not want it any more.
            let _ = tell.send(connected);
        };
        {
            // It may be the application's thread that waits, in whose process the node is.
            let _blocked = Blocked::here();
            let thread = std::thread::Builder::new().name("dial".into()).spawn(dial);
            if thread.is_err() {
                return self.connect(to, address, left());
            }
        }
        loop {
            match told.recv_timeout(left().min(WORTH_IT_FOR)) {
                Ok(connected) => return connected,
                Err(RecvTimeoutError::Timeout) if goes_on() => {}
                Err(_) => return Err(given_up()),
            }
        }
    }
}

/// The right to make a connection aside.
struct Aside(Arc<Place>);

impl Aside {
    fn take(place: &Arc<Place>) -> Option<Self> {
        let has_room = |count: usize| (count < ASIDE_MAX).then_some(count + 1);
        place.aside.fetch_update(Ordering::Relaxed, Ordering::Relaxed, has_room).ok()?;
        Some(Self(place.clone()))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        self.0.aside.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Peers for PeerWires {
    fn call(&self, to: NodeId, member: &Member, request: Vec<u8>, deadline: Duration) -> Result<Vec<u8>> {
        let connect = |patience| self.dialer.connect(to, &member.address, patience);
        answered(to, &self.place(to, &member.address).idle.call(PEER_KIND, &request, deadline, connect)?)
    }

    fn call_while(&self, to: NodeId, member: &Member, request: Vec<u8>, wait: (Duration, &dyn Fn() -> bool)) -> Result<Vec<u8>> {
        let place = self.place(to, &member.address);
        let connect = |patience| self.dialer.connect_while((to, &member.address, &place), (patience, wait.1));
        answered(to, &place.idle.call_while(PEER_KIND, &request, wait, connect)?)
    }

    fn ways(&self) -> Option<&dyn Ways> {
        if self.by_loop { Some(self) } else { None }
    }
}

impl Ways for PeerWires {
    /// Heartbeats keep a connection idle: with it the first change after a pause need not wait for a handshake.
    fn at_hand(&self, to: NodeId, member: &Member) -> Option<Box<dyn Way>> {
        let prompt = Prompt::new(self.place(to, &member.address).idle.take()?).ok()?;
        Some(Box::new(PeerWay { to, prompt }))
    }

    fn open(&self, to: NodeId, member: &Member, patience: Duration) -> Result<Box<dyn Way>> {
        let connection = self.dialer.connect(to, &member.address, patience)?;
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::net::TcpListener;

    use super::*;
    use crate::store::tests::fixtures::Directory;
    use crate::wire::Purpose;
    use crate::wire::pki::Authority;

    const POOL: [u8; 16] = [3; 16];

    fn wires(directory: &Directory) -> PeerWires {
        let authority = Authority::create(&directory.path().join("ca"), POOL).unwrap();
        let files = authority.issue(&Name::Node(1), 10, &directory.path().join("node")).unwrap();
        let identity = Identity::read(POOL, &files.ca, &files.certificate, &files.key).unwrap();
        PeerWires::new(identity, Hello::new(POOL, Purpose::Peer, 1), true)
    }

    fn member(address: String) -> Member {
        Member { zone: "b".into(), region: "r".into(), address }
    }

    #[test]
    fn a_handshake_with_a_member_that_stands_still_is_left_when_it_is_worth_nothing_any_more() {
        let directory = Directory::new();
        let wires = wires(&directory);
        // Its queue takes connections, and nobody reads from them.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let member = member(format!("tcp:{}", silent.local_addr().unwrap()));
        let (begun, looks, patience) = (Instant::now(), Cell::new(0), Duration::from_secs(20));
        let is_worth_it = || {
            looks.set(looks.get() + 1);
            looks.get() < 3
        };
        assert!(wires.call_while(2, &member, vec![1], (patience, &is_worth_it)).is_err());
        assert!(looks.get() == 3 && begun.elapsed() < patience / 2, "{} looks, {:?}", looks.get(), begun.elapsed());
        let place = wires.place(2, &member.address);
        let aside = || place.aside.load(Ordering::Relaxed);
        assert_eq!(aside(), 1, "the handshake goes on by itself");
        // Where as many are under way as may be, one more waits for its turn.
        let others: Vec<Aside> = std::iter::from_fn(|| Aside::take(&place)).collect();
        assert_eq!((others.len(), aside()), (ASIDE_MAX - 1, ASIDE_MAX));
        let (begun, patience) = (Instant::now(), Duration::from_millis(120));
        assert!(wires.call_while(2, &member, vec![1], (patience, &|| true)).is_err());
        assert!(begun.elapsed() >= patience && aside() == ASIDE_MAX, "{:?}", begun.elapsed());
        silent.set_nonblocking(true).unwrap();
        assert!(silent.accept().is_ok() && silent.accept().is_err(), "only the first has connected");
        // Its connection is closed, so the handshake ends.
        drop(others);
        let until = Instant::now() + Duration::from_secs(10);
        while aside() > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(aside(), 0);
    }
}
