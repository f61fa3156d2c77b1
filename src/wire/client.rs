//! The side that asks: one request at a time over a connection.

use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::Address;
use super::channel::Channel;
use super::frame::{HELLO, REFUSED, Reader, until, whole};
use super::hello::Hello;
use super::identity::{Identity, NODE_DNS_NAME, Name};
use crate::error::{Code, Error, Result, refuse};
use crate::secret::Secret;
use crate::sys::socket;

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
    timeout: Duration,
    place: String,
    peer: Option<Name>,
}

impl Connection {
    /// Connects and says hello. A Unix socket needs no certificate.
    ///
    /// Errors: `DeviceError`: not reachable in time, not a node of this pool, no common version; `Configuration`: TCP without a certificate.
    pub fn open(address: &Address, identity: Option<&Identity>, hello: &Hello, patience: Duration) -> Result<Self> {
        let deadline = Instant::now() + patience;
        let failed = |cause: io::Error| refuse(Code::DeviceError, format!("cannot connect to {address}")).because(cause);
        let channel = match address {
            Address::Unix(path) => Channel::Unix(UnixStream::connect(path).map_err(failed)?),
            Address::Tcp(place) => {
                let identity = identity.ok_or_else(|| {
                    refuse(Code::Configuration, format!("{address} is reached by TLS, which needs [certificates]"))
                })?;
                let tcp = connect(place, deadline).map_err(failed)?;
                let name = ServerName::try_from(NODE_DNS_NAME).expect("a constant that is a name");
                let tls = ClientConnection::new(identity.client.clone(), name)
                    .map_err(|cause| refuse(Code::DeviceError, format!("cannot begin TLS with {address}")).because(cause))?;
                Channel::Client(Box::new(StreamOwned::new(tls, tcp)))
            }
        };
        let place = address.to_string();
        let mut connection = Self { channel, reader: Reader::default(), number: 0, timeout: Duration::ZERO, place, peer: None };
        connection.greet(identity, hello, deadline)?;
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
        }
        hello.agree(&Hello::decode(payload.expose())?).map(drop)
    }

    /// What the other side's certificate says; none over a Unix socket.
    pub fn peer(&self) -> Option<&Name> {
        self.peer.as_ref()
    }

    /// Sends a request and waits for its answer.
    pub fn call(&mut self, kind: u8, payload: &[u8], patience: Duration) -> std::result::Result<Secret, Failure> {
        let (answer, payload) = self.exchange(kind, payload, Instant::now() + patience)?;
        if answer == kind {
            return Ok(payload);
        }
        let told = match answer {
            REFUSED => String::from_utf8_lossy(payload.expose()).into_owned(),
            other => format!("an answer of kind {other} to a request of kind {kind}"),
        };
        let error = refuse(Code::DeviceError, format!("{}: {told}", self.place));
        Err(Failure { sent: true, timed_out: false, error })
    }

    fn exchange(&mut self, kind: u8, payload: &[u8], deadline: Instant) -> std::result::Result<(u8, Secret), Failure> {
        let mut sent = false;
        let answer = self.try_exchange(kind, payload, deadline, &mut sent);
        answer.map_err(|cause| Failure {
            sent,
            timed_out: matches!(cause.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock),
            error: refuse(Code::DeviceError, format!("no answer from {}", self.place)).because(cause),
        })
    }

    fn try_exchange(&mut self, kind: u8, payload: &[u8], deadline: Instant, sent: &mut bool) -> io::Result<(u8, Secret)> {
        let left = deadline.saturating_duration_since(Instant::now());
        // Setting it costs a system call; an old value that is longer only wakes us later, and one of another order is replaced.
        if left > self.timeout * 2 || left < self.timeout / 2 {
            self.channel.set_timeout(left)?;
            self.timeout = left;
        }
        self.number += 1;
        let frame = whole(kind, self.number, payload)?;
        *sent = true;
        self.channel.write_all(frame.expose())?;
        self.channel.flush()?;
        let Some((header, payload)) = self.reader.next(&mut self.channel, until(deadline))? else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        if header.number != self.number {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "an answer to another request"));
        }
        Ok((header.kind, payload))
    }
}

fn connect(place: &str, deadline: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in place.to_socket_addrs()? {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(tcp) => {
                tcp.set_nodelay(true)?;
                tcp.set_read_timeout(Some(left))?;
                tcp.set_write_timeout(Some(left))?;
                socket::keep_alive(&tcp)?;
                return Ok(tcp);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
