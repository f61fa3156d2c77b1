//! The side that answers: a thread a connection.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustls::{ServerConnection, StreamOwned};

use super::Address;
use super::channel::{Channel, Closer, Socket};
use super::frame::{HELLO, REFUSED, Reader, until, whole};
use super::hello::{Hello, Purpose};
use super::identity::{Identity, Peer};
use super::revoked::{Serial, Shown};
use crate::error::{Code, Doing, Error, Result, refuse};
use crate::limits::{CLIENT_CONNECTIONS_MAX, CONNECTIONS_MAX, FRAME_MAX_BYTES, HELLO_MAX_BYTES, STRANGERS_MAX};
use crate::secret::Secret;
use crate::sys::process::Unshared;
use crate::sys::socket;

/// What answers.
pub trait Service: Send + Sync + 'static {
    /// Begins a conversation with this peer, for this purpose. Errors: it may not; the other side is told.
    fn admit(&self, peer: &Peer, purpose: Purpose) -> Result<Box<dyn Conversation>>;

    /// Whether a user of this machine has any business here, which is known before it says a word. Errors: none; it is told.
    fn knows(&self, user: u32) -> Result<()> {
        let _ = user;
        Ok(())
    }
}

/// One connection's requests.
pub trait Conversation {
    /// The answer to one request; `None` ends the connection (a kind that is not known).
    fn answer(&self, kind: u8, payload: &Secret) -> Option<Secret>;
}

/// Within this time a connection has said who it is, however it goes about it; and a frame that has begun is whole, if nothing comes any more.
const FRAME_PATIENCE: Duration = Duration::from_secs(10);
/// A handshake and a hello on a busy machine.
const UNHURRIED: Duration = Duration::from_secs(1);
/// Who is turned away has so long to read why.
const TURNED_AWAY_PATIENCE: Duration = Duration::from_secs(1);
/// The number of a hello, which is the first frame.
const HELLO_NUMBER: u64 = 1;

/// How many connections there may be, and how long it may take them to say who they are.
#[derive(Clone, Copy)]
pub(super) struct Room {
    pub connections: usize,
    pub strangers: usize,
    /// The rest is for nodes and operators.
    pub clients: usize,
    /// And for other clients.
    pub of_one_client: usize,
    pub greeting: Duration,
    /// Whoever has taken longer gives way to others: where many come at once, those who have nearly said it stay.
    pub unhurried: Duration,
}

const ROOM: Room = Room {
    connections: CONNECTIONS_MAX,
    strangers: STRANGERS_MAX,
    clients: CLIENT_CONNECTIONS_MAX,
    of_one_client: CLIENT_CONNECTIONS_MAX / 4 * 3,
    greeting: FRAME_PATIENCE,
    unhurried: UNHURRIED,
};
/// Connection threads parse, look up and sign; nothing of that recurses.
const STACK_BYTES: usize = 1 << 20;

/// A listening socket with its connections.
pub struct Listener {
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
    socket: Bound,
    address: Address,
}

enum Bound {
    Tcp(Unshared<TcpListener>),
    Unix(Unshared<UnixListener>),
}

struct Shared {
    service: Arc<dyn Service>,
    identity: RwLock<Option<Identity>>,
    hello: Hello,
    room: Room,
    stops: AtomicBool,
    /// In the order in which they came.
    connections: Mutex<BTreeMap<u64, Guest>>,
    ended: Condvar,
    next: AtomicU64,
}

/// One connection.
struct Guest {
    closer: Closer,
    since: Instant,
    /// Who it is and what for, once it has said so and may be here.
    who: Option<(Peer, Purpose)>,
    /// Its certificate, by then; none over a Unix socket.
    certificates: Vec<Serial>,
}

impl Listener {
    /// Listens. A Unix socket is made with `mode`; a dead one of that name is replaced, a living one is not.
    ///
    /// Errors: `Configuration`: the address is taken or cannot be had; TCP without an identity.
    pub fn bind(
        address: &Address,
        identity: Option<Identity>,
        hello: Hello,
        mode: u32,
        service: Arc<dyn Service>,
    ) -> Result<Self> {
        Self::bind_with(ROOM, address, identity, hello, mode, service)
    }

    /// The same with other bounds.
    pub(super) fn bind_with(
        room: Room,
        address: &Address,
        identity: Option<Identity>,
        hello: Hello,
        mode: u32,
        service: Arc<dyn Service>,
    ) -> Result<Self> {
        let doing = || format!("listening on {address}");
        let (socket, address) = match address {
            Address::Tcp(_) if identity.is_none() => {
                return Err(refuse(Code::Configuration, format!("{address} needs [certificates]")));
            }
            Address::Tcp(place) => {
                let listener = TcpListener::bind(place).doing(Code::Configuration, doing())?;
                let bound = listener.local_addr().doing(Code::Configuration, doing())?;
                (Bound::Tcp(Unshared::new(listener)), Address::Tcp(bound.to_string()))
            }
            Address::Unix(path) => {
                (Bound::Unix(Unshared::new(bind_unix(path, mode).doing(Code::Configuration, doing())?)), address.clone())
            }
        };
        let shared = Arc::new(Shared {
            service,
            identity: RwLock::new(identity),
            hello,
            room,
            stops: AtomicBool::new(false),
            connections: Mutex::default(),
            ended: Condvar::new(),
            next: AtomicU64::new(0),
        });
        let accepting = accept_on_a_thread(&socket, shared.clone()).doing(Code::HostMemory, doing())?;
        Ok(Self { shared, accepting: Some(accepting), socket, address })
    }

    /// Where it listens: the port, when 0 was asked for.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// New connections are greeted with another certificate; those whose own one is revoked by now end.
    pub fn set_identity(&self, identity: Identity) {
        let revoked = identity.revoked.clone();
        *self.shared.identity.write().unwrap_or_else(PoisonError::into_inner) = Some(identity);
        // None gets an answer any more, as each looks for itself; but one that asks for nothing would be here until its certificate ends.
        let connections = self.shared.lock();
        connections.values().filter(|guest| revoked.holds(&guest.certificates)).for_each(|guest| guest.closer.end());
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.shared.lock().len()
    }

    /// Takes no new connection, lets answers go out, and waits for connections to end, at most so long. Returns whether all have.
    pub fn stop(&mut self, patience: Duration) -> bool {
        self.shared.stops.store(true, Ordering::Release);
        match &self.socket {
            Bound::Tcp(listener) => socket::stop_listening(listener.as_raw_fd()),
            Bound::Unix(listener) => socket::stop_listening(listener.as_raw_fd()),
        }
        if let Some(accepting) = self.accepting.take() {
            // What it panicked of was printed; it holds nothing.
            let _ = accepting.join();
        }
        if let (Bound::Unix(_), Address::Unix(path)) = (&self.socket, &self.address) {
            // Who comes now is told that nobody listens, not left waiting.
            let _ = std::fs::remove_file(path);
        }
        let deadline = Instant::now() + patience;
        let mut connections = self.shared.lock();
        connections.values().for_each(|guest| guest.closer.stop_reading());
        while !connections.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.ended.wait_timeout(connections, left);
            connections = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.accepting.is_some() {
            self.stop(Duration::ZERO);
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Guest>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a connection on a thread of its own, if there is room for one more.
    fn begin(self: &Arc<Self>, accepted: Accepted) {
        // No descriptor for it: the connection ends here.
        let Ok(closer) = accepted.closer() else { return };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        {
            let mut connections = self.lock();
            let is_full = connections.len() >= self.room.connections
                || connections.values().filter(|guest| guest.who.is_none()).count() >= self.room.strangers;
            if is_full && !drop_oldest_stranger(&mut connections, self.room.unhurried) {
                return;
            }
            connections.insert(number, Guest { closer, since: Instant::now(), who: None, certificates: Vec::new() });
        }
        let shared = self.clone();
        let work = move || {
            let _ended = Ended { shared: &shared, number };
            // Whoever breaks off a connection has its reasons; the other side was told what we could tell.
            let _ = shared.converse(number, accepted);
        };
        let begun = std::thread::Builder::new().name("connection".into()).stack_size(STACK_BYTES).spawn(work);
        if begun.is_err() {
            self.lock().remove(&number);
        }
    }

    fn converse(&self, number: u64, accepted: Accepted) -> io::Result<()> {
        let deadline = Instant::now() + self.room.greeting;
        let (mut channel, user) = self.channel(accepted)?;
        channel.set_deadline(Some(deadline));
        if let Some(Err(error)) = user.map(|user| self.service.knows(user)) {
            return turn_away(&mut channel, &error);
        }
        let mut reader = Reader::default();
        reader.take_up_to(HELLO_MAX_BYTES);
        let Some((header, payload)) = reader.next(&mut channel, until(deadline))? else { return Ok(()) };
        // The handshake is over now, so the certificate is known.
        let greeted = self.greet(&channel, user, header.kind, payload.expose());
        let mut greeted = match greeted.and_then(|greeted| Ok(self.seat(number, &greeted)?.then_some(greeted))) {
            Ok(Some(greeted)) => greeted,
            // It was dropped for the sake of others.
            Ok(None) => return Ok(()),
            Err(error) => return send(&mut channel, REFUSED, header.number, error.to_string().as_bytes()),
        };
        // The handshake may have gone by the list before; whoever brings a newer one from now on finds the connection among the others.
        if let Some(fault) = greeted.shown.as_mut().and_then(Shown::fault) {
            return send(&mut channel, REFUSED, header.number, not_good(fault).as_bytes());
        }
        send(&mut channel, HELLO, header.number, &self.hello.encode())?;
        channel.set_deadline(None);
        channel.set_timeout(FRAME_PATIENCE)?;
        reader.take_up_to(FRAME_MAX_BYTES);
        self.answer_all(&mut channel, &mut reader, &mut greeted)
    }

    /// Keeps a place for who has said who it is; false: it has none any more. Errors: clients have all that is for them.
    fn seat(&self, number: u64, greeted: &Greeted) -> Result<bool> {
        let (mut guests, who) = (self.lock(), greeted.who.clone());
        if who.1 == Purpose::Client {
            let clients = || guests.values().filter_map(|guest| guest.who.as_ref()).filter(|(_, purpose)| *purpose == who.1);
            let (all, own) = (clients().count(), clients().filter(|(peer, _)| *peer == who.0).count());
            if own >= self.room.of_one_client || all >= self.room.clients {
                let told = format!(
                    "{} has {own} of {all} connections of clients here; one may have {} of {}: let threads share them, or ask another node",
                    who.0, self.room.of_one_client, self.room.clients
                );
                return Err(refuse(Code::DeviceError, told));
            }
        }
        let Some(guest) = guests.get_mut(&number) else { return Ok(false) };
        guest.certificates = greeted.shown.as_ref().map(|shown| shown.certificates().to_vec()).unwrap_or_default();
        guest.who = Some(who);
        Ok(true)
    }

    /// Answers requests until one side ends the connection, or the other side's certificate is good no more.
    fn answer_all(&self, channel: &mut Channel, reader: &mut Reader, greeted: &mut Greeted) -> io::Result<()> {
        while !self.stops.load(Ordering::Acquire) {
            // Silence between two frames is nobody's fault; in the midst of one it is somebody's.
            let mut since: Option<Instant> = None;
            let goes_on = |under_way: bool| match since {
                _ if !under_way => Ok(()),
                None => {
                    since = Some(Instant::now());
                    Ok(())
                }
                Some(since) if since.elapsed() < FRAME_PATIENCE => Ok(()),
                Some(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
            };
            let Some((header, payload)) = reader.next(channel, goes_on)? else { return Ok(()) };
            if let Some(fault) = greeted.shown.as_mut().and_then(Shown::fault) {
                return send(channel, REFUSED, header.number, not_good(fault).as_bytes());
            }
            let Some(answer) = greeted.conversation.answer(header.kind, &payload) else {
                let told = format!("requests of kind {} are not known here", header.kind);
                return send(channel, REFUSED, header.number, told.as_bytes());
            };
            send(channel, header.kind, header.number, answer.expose())?;
        }
        Ok(())
    }

    /// The channel, and the user at the other end of a Unix socket; TLS tells later who is there.
    fn channel(&self, accepted: Accepted) -> io::Result<(Channel, Option<u32>)> {
        match accepted {
            Accepted::Unix(stream) => {
                let user = socket::peer_user(&stream)?;
                Ok((Channel::Unix(Socket::new(stream)), Some(user)))
            }
            Accepted::Tcp(stream) => {
                stream.set_nodelay(true)?;
                socket::keep_alive(&stream)?;
                let identity = self.identity.read().unwrap_or_else(PoisonError::into_inner).clone();
                let identity = identity.ok_or(io::ErrorKind::PermissionDenied)?;
                let tls = ServerConnection::new(identity.server.clone()).map_err(io::Error::other)?;
                Ok((Channel::Server(Box::new(StreamOwned::new(tls, Socket::new(stream)))), None))
            }
        }
    }

    /// Who is there and what for. Errors: what the other side is told.
    fn greet(&self, channel: &Channel, user: Option<u32>, kind: u8, payload: &[u8]) -> Result<Greeted> {
        if kind != HELLO {
            return Err(refuse(Code::DeviceError, "the first frame is no hello"));
        }
        let theirs = Hello::decode(payload)?;
        self.hello.agree(&theirs)?;
        let (peer, shown) = match (channel, user) {
            (Channel::Server(tls), _) => {
                let identity = self.identity.read().unwrap_or_else(PoisonError::into_inner).clone();
                let identity: Identity = identity.ok_or_else(|| Error::new(Code::Configuration, "no certificate"))?;
                let chain = tls.conn.peer_certificates();
                (Peer::Certificate(identity.name(chain)?), Some(Shown::of(chain, &identity.revoked)?))
            }
            (_, Some(user)) => (Peer::Unix(user), None),
            (_, None) => return Err(refuse(Code::DeviceError, "nobody is there")),
        };
        let conversation = self.service.admit(&peer, theirs.purpose)?;
        Ok(Greeted { who: (peer, theirs.purpose), shown, conversation })
    }
}

/// Who has said who it is and what for, and may be here.
struct Greeted {
    who: (Peer, Purpose),
    /// None over a Unix socket.
    shown: Option<Shown>,
    conversation: Box<dyn Conversation>,
}

fn not_good(fault: &str) -> String {
    format!("the certificate that this connection goes by {fault}")
}

/// Ends the connection that has taken longest to say who it is, if that was long; whether there was such a one.
fn drop_oldest_stranger(connections: &mut BTreeMap<u64, Guest>, unhurried: Duration) -> bool {
    let mut strangers = connections.iter().filter(|(_, guest)| guest.who.is_none());
    let oldest = strangers.next().filter(|(_, guest)| guest.since.elapsed() >= unhurried).map(|(number, _)| *number);
    let Some(dropped) = oldest.and_then(|number| connections.remove(&number)) else { return false };
    dropped.closer.end();
    true
}

/// Tells somebody who has no business here why. Nothing that it says is looked at: it is taken in so that it can read its refusal, which a closed socket would
/// keep from it.
fn turn_away(channel: &mut Channel, why: &Error) -> io::Result<()> {
    channel.set_deadline(Some(Instant::now() + TURNED_AWAY_PATIENCE));
    send(channel, REFUSED, HELLO_NUMBER, why.to_string().as_bytes())?;
    let (mut taken, mut bytes) = (0, [0; 1024]);
    while taken < HELLO_MAX_BYTES {
        match channel.read(&mut bytes)? {
            0 => return Ok(()),
            more => taken += more,
        }
    }
    Ok(())
}

/// Counts a connection out, however it ended.
struct Ended<'a> {
    shared: &'a Shared,
    number: u64,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.shared.lock().remove(&self.number);
        self.shared.ended.notify_all();
    }
}

enum Accepted {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Accepted {
    fn closer(&self) -> io::Result<Closer> {
        Ok(match self {
            Accepted::Unix(stream) => Closer::Unix(Unshared::new(stream.try_clone()?)),
            Accepted::Tcp(stream) => Closer::Tcp(Unshared::new(stream.try_clone()?)),
        })
    }
}

fn send(channel: &mut Channel, kind: u8, number: u64, payload: &[u8]) -> io::Result<()> {
    channel.write_all(whole(kind, number, payload)?.expose())?;
    channel.flush()
}

fn accept_on_a_thread(socket: &Bound, shared: Arc<Shared>) -> io::Result<JoinHandle<()>> {
    let accept: Box<dyn Fn() -> io::Result<Accepted> + Send> = match socket {
        Bound::Tcp(listener) => {
            let listener = Unshared::new(listener.try_clone()?);
            Box::new(move || listener.accept().map(|(stream, _)| Accepted::Tcp(stream)))
        }
        Bound::Unix(listener) => {
            let listener = Unshared::new(listener.try_clone()?);
            Box::new(move || listener.accept().map(|(stream, _)| Accepted::Unix(stream)))
        }
    };
    let work = move || {
        while !shared.stops.load(Ordering::Acquire) {
            match accept() {
                Ok(accepted) => shared.begin(accepted),
                // No descriptors, no memory: they may come back.
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    };
    std::thread::Builder::new().name("accept".into()).spawn(work)
}

fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    if path.exists() {
        if UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"));
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}
