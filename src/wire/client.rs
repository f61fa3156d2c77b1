//! The side that asks: one request at a time over a connection.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::Address;
use super::channel::{Channel, Socket};
use super::frame::{HELLO, REFUSED, Reader, until, whole};
use super::hello::Hello;
use super::identity::{Identity, NODE_DNS_NAME, Name};
use super::places::{Places, first_of};
use super::revoked::Shown;
use crate::error::{Code, Error, Result, refuse};
use crate::secret::Secret;
use crate::sys::socket;

/// The shortest that a read or a write waits: none at all would be without end.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// Why there is no answer. The request may have been carried out, unless `sent` is false.
pub struct Failure {
    /// Whether the request can have reached the other side.
    pub sent: bool,
    /// Whether the other side was silent for too long, rather than gone.
    pub timed_out: bool,
    /// What happened.
    pub error: Error,
}

/// One connection. After a failure it is dead.
pub struct Connection {
    channel: Channel,
    reader: Reader,
    number: u64,
    /// Of the last request.
    kind: u8,
    /// How long one read waits, and one write; `None`: it was not said yet.
    waits: [Option<Duration>; 2],
    place: String,
    peer: Option<Name>,
    /// The other side's certificate; none over a Unix socket.
    shown: Option<Shown>,
    minor: u32,
}

impl Connection {
    /// Connects and says hello. A Unix socket needs no certificate.
    ///
    /// Errors: `DeviceError`: not reachable in time, not a node of this pool, no common version; `Configuration`: TCP without a certificate.
    pub fn open(address: &Address, identity: Option<&Identity>, hello: &Hello, patience: Duration) -> Result<Self> {
        Self::open_by(&Places::default(), address, identity, hello, patience)
    }

    /// The same, going by what is known of names.
    pub fn open_by(
        places: &Places,
        address: &Address,
        identity: Option<&Identity>,
        hello: &Hello,
        patience: Duration,
    ) -> Result<Self> {
        let deadline = Instant::now() + patience;
        let failed = |cause: io::Error| refuse(Code::DeviceError, format!("cannot connect to {address}")).because(cause);
        let place = match address {
            Address::Tcp(place) => place,
            Address::Unix(path) => {
                let channel = Channel::Unix(Socket::new(socket::connect_unix(path, patience).map_err(failed)?));
                return Self::begin(address, channel, identity, hello, deadline);
            }
        };
        let identity = identity
            .ok_or_else(|| refuse(Code::Configuration, format!("{address} is reached by TLS, which needs [certificates]")))?;
        let all = places.of(place, patience).map_err(failed)?;
        let opened = first_of(&all, deadline, |at, patience| {
            let deadline = Instant::now() + patience;
            let tcp = connect(at, patience).map_err(failed)?;
            let name = ServerName::try_from(NODE_DNS_NAME).expect("a constant that is a name");
            let tls = ClientConnection::new(identity.client.clone(), name)
                .map_err(|cause| refuse(Code::DeviceError, format!("cannot begin TLS with {address}")).because(cause))?;
            let channel = Channel::Client(Box::new(StreamOwned::new(tls, Socket::new(tcp))));
            Self::begin(address, channel, Some(identity), hello, deadline)
        });
        places.tried(place, opened.as_ref().and_then(|opened| opened.as_ref().ok()).map(|(at, _)| all[*at]));
        let opened = opened.unwrap_or_else(|| Err(failed(io::ErrorKind::TimedOut.into())));
        opened.map(|(_, connection)| connection)
    }

    fn begin(
        address: &Address,
        mut channel: Channel,
        identity: Option<&Identity>,
        hello: &Hello,
        deadline: Instant,
    ) -> Result<Self> {
        // The handshake, in which reads and writes come as they come, too.
        channel.set_deadline(Some(deadline));
        let (place, reader) = (address.to_string(), Reader::default());
        let mut connection =
            Self { channel, reader, number: 0, kind: HELLO, waits: [None; 2], place, peer: None, shown: None, minor: 0 };
        connection.greet(identity, hello, deadline)?;
        connection.channel.set_deadline(None);
        connection.waits = [None; 2];
        Ok(connection)
    }

    fn greet(&mut self, identity: Option<&Identity>, hello: &Hello, deadline: Instant) -> Result<()> {
        let (kind, payload) = self.exchange(HELLO, &hello.encode(), deadline).map_err(|failure| failure.error)?;
        if kind == REFUSED {
            let told = String::from_utf8_lossy(payload.expose()).into_owned();
            return Err(refuse(Code::DeviceError, format!("{} refuses the connection: {told}", self.place)));
        }
        if let (Channel::Client(tls), Some(identity)) = (&self.channel, identity) {
            let name = identity.name(tls.conn.peer_certificates())?;
            if !matches!(name, Name::Node(_)) {
                return Err(refuse(Code::DeviceError, format!("{} shows a certificate that is no node's", self.place)));
            }
            self.peer = Some(name);
            self.shown = Some(Shown::of(tls.conn.peer_certificates(), &identity.revoked)?);
        }
        self.minor = hello.agree(&Hello::decode(payload.expose())?)?;
        Ok(())
    }

    /// The newest set of messages that both sides speak.
    pub fn minor(&self) -> u32 {
        self.minor
    }

    /// What the other side's certificate says; none over a Unix socket.
    pub fn peer(&self) -> Option<&Name> {
        self.peer.as_ref()
    }

    /// Sends a request and waits for its answer.
    pub fn call(&mut self, kind: u8, payload: &[u8], patience: Duration) -> std::result::Result<Secret, Failure> {
        let deadline = Instant::now() + patience;
        self.send(kind, payload, deadline)?;
        match self.receive(deadline)? {
            Some(answer) => Ok(answer),
            None => Err(self.silence()),
        }
    }

    /// Sends a request. Its answer is what [`Connection::receive`] gives next.
    pub fn send(&mut self, kind: u8, payload: &[u8], deadline: Instant) -> std::result::Result<(), Failure> {
        let mut sent = false;
        self.try_send(kind, payload, deadline, &mut sent).map_err(|cause| self.failure(sent, cause))
    }

    /// The answer to what was sent; `None` when it is not whole by then, and may still come.
    pub fn receive(&mut self, deadline: Instant) -> std::result::Result<Option<Secret>, Failure> {
        self.wait_until(Wait::Read, deadline).map_err(|cause| self.failure(true, cause))?;
        self.answer(until(deadline))
    }

    /// The same; `goes_on` is asked whether to read on when nothing comes.
    fn answer(&mut self, goes_on: impl FnMut(bool) -> io::Result<()>) -> std::result::Result<Option<Secret>, Failure> {
        let Some((answer, payload)) = self.frame(goes_on)? else { return Ok(None) };
        if answer == self.kind {
            return Ok(Some(payload));
        }
        let told = match answer {
            REFUSED => String::from_utf8_lossy(payload.expose()).into_owned(),
            other => format!("an answer of kind {other} to a request of kind {}", self.kind),
        };
        let error = refuse(Code::DeviceError, format!("{}: {told}", self.place));
        Err(Failure { sent: true, timed_out: false, error })
    }

    /// Where bytes of an answer come in.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.channel.socket()
    }

    fn exchange(&mut self, kind: u8, payload: &[u8], deadline: Instant) -> std::result::Result<(u8, Secret), Failure> {
        self.send(kind, payload, deadline)?;
        self.wait_until(Wait::Read, deadline).map_err(|cause| self.failure(true, cause))?;
        match self.frame(until(deadline))? {
            Some(answer) => Ok(answer),
            None => Err(self.silence()),
        }
    }

    /// The failure of one that did not answer in time.
    pub fn silence(&self) -> Failure {
        self.failure(true, io::ErrorKind::TimedOut.into())
    }

    fn failure(&self, sent: bool, cause: io::Error) -> Failure {
        Failure {
            sent,
            timed_out: is_silence(&cause),
            error: refuse(Code::DeviceError, format!("no answer from {}", self.place)).because(cause),
        }
    }

    fn try_send(&mut self, kind: u8, payload: &[u8], deadline: Instant, sent: &mut bool) -> io::Result<()> {
        self.check_good()?;
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.wait_until(Wait::Write, deadline)?;
        self.number += 1;
        self.kind = kind;
        let frame = whole(kind, self.number, payload)?;
        *sent = true;
        self.channel.write_all(frame.expose())?;
        self.channel.flush()
    }

    /// Errors: the other side's certificate has ended, or was revoked, since the connection was made.
    fn check_good(&mut self) -> io::Result<()> {
        match self.shown.as_mut().and_then(Shown::fault) {
            Some(fault) => Err(io::Error::other(format!("its certificate {fault}"))),
            None => Ok(()),
        }
    }

    fn frame(&mut self, goes_on: impl FnMut(bool) -> io::Result<()>) -> std::result::Result<Option<(u8, Secret)>, Failure> {
        match self.reader.next(&mut self.channel, goes_on) {
            Ok(Some((header, payload))) if header.number == self.number => Ok(Some((header.kind, payload))),
            Ok(Some(_)) => Err(self.failure(true, io::Error::new(io::ErrorKind::InvalidData, "an answer to another request"))),
            Ok(None) => Err(self.failure(true, io::ErrorKind::UnexpectedEof.into())),
            Err(cause) if is_silence(&cause) => Ok(None),
            Err(cause) => Err(self.failure(true, cause)),
        }
    }

    /// Lets reads, or writes, wait about so long: for a moment at least, so that what has come is taken in.
    fn wait_until(&mut self, what: Wait, deadline: Instant) -> io::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now()).max(WAIT_MIN);
        // Setting it costs a system call; an old value that is a little longer only wakes us later.
        if self.waits[what as usize].is_some_and(|old| left + left / 2 >= old && left <= old * 2) {
            return Ok(());
        }
        match what {
            Wait::Read => self.channel.set_read_timeout(left)?,
            Wait::Write => self.channel.set_write_timeout(left)?,
        }
        self.waits[what as usize] = Some(left);
        Ok(())
    }
}

/// A connection of a loop, which must not wait: whatever would, says so, and goes on when the socket is ready.
pub struct Prompt {
    connection: Connection,
    /// A request, and how much of it has gone out.
    leaving: (Secret, usize),
}

impl Prompt {
    /// Takes over a connection that has said hello.
    pub fn new(mut connection: Connection) -> io::Result<Self> {
        connection.channel.never_wait()?;
        Ok(Self { connection, leaving: (Secret::default(), 0) })
    }

    /// What becomes ready.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.connection.socket()
    }

    /// Begins a request, once the last one is answered: [`Prompt::send`] sends it.
    pub fn begin(&mut self, kind: u8, payload: &[u8]) -> std::result::Result<(), Failure> {
        self.connection.check_good().map_err(|cause| self.connection.failure(false, cause))?;
        self.connection.number += 1;
        self.connection.kind = kind;
        let frame = whole(kind, self.connection.number, payload).map_err(|cause| self.connection.failure(false, cause))?;
        self.leaving = (frame, 0);
        Ok(())
    }

    /// Sends as much of the request as the socket takes; whether that was all.
    pub fn send(&mut self) -> std::result::Result<bool, Failure> {
        let (frame, sent) = &mut self.leaving;
        let mut send = || {
            while *sent < frame.expose().len() {
                match self.connection.channel.write(&frame.expose()[*sent..]) {
                    // TLS has as much under way as it keeps.
                    Ok(0) => self.connection.channel.flush()?,
                    Ok(more) => *sent += more,
                    Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                    Err(cause) => return Err(cause),
                }
            }
            self.connection.channel.flush()
        };
        match send() {
            Ok(()) => {
                self.leaving = (Secret::default(), 0);
                Ok(true)
            }
            Err(cause) if is_silence(&cause) => Ok(false),
            Err(cause) => Err(self.connection.failure(true, cause)),
        }
    }

    /// The answer, if it has come.
    pub fn receive(&mut self) -> std::result::Result<Option<Secret>, Failure> {
        self.connection.answer(|_| Err(io::ErrorKind::WouldBlock.into()))
    }
}

/// What a connection waits for.
#[derive(Clone, Copy)]
enum Wait {
    Read,
    Write,
}

fn is_silence(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

fn connect(address: &SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect_timeout(address, patience)?;
    tcp.set_nodelay(true)?;
    socket::keep_alive(&tcp)?;
    Ok(tcp)
}
