//! A stream of bytes to the other side, whatever carries it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, ServerConnection, StreamOwned};

use super::attention::Attention;
use crate::sys::process::Unshared;

/// A socket whose end raises no signal: a host that has not set `SIGPIPE` aside would die of it. The standard library asks for that with each
/// `write`, but not with `write_vectored`, which is therefore not passed on.
pub struct Socket<S> {
    inner: Unshared<S>,
    /// None: nothing waits.
    attention: Option<Attention>,
    /// Until when everything has come and gone: however little comes each time, and whoever reads. None: each read waits as it was told.
    deadline: Option<Instant>,
}

/// A socket that can be told how long it waits.
pub trait Waits: AsFd {
    /// For bytes to come.
    fn wait_to_read(&self, time: Duration) -> io::Result<()>;
    /// For bytes to go.
    fn wait_to_write(&self, time: Duration) -> io::Result<()>;
}

impl Waits for TcpStream {
    fn wait_to_read(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))
    }

    fn wait_to_write(&self, time: Duration) -> io::Result<()> {
        self.set_write_timeout(Some(time))
    }
}

impl Waits for UnixStream {
    fn wait_to_read(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))
    }

    fn wait_to_write(&self, time: Duration) -> io::Result<()> {
        self.set_write_timeout(Some(time))
    }
}

/// Errors: `TimedOut` from that moment on.
fn left_until(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

impl<S: AsFd> Socket<S> {
    /// Takes the connection over.
    pub fn new(stream: S) -> Self {
        Self { inner: Unshared::new(stream), attention: Some(Attention::default()), deadline: None }
    }
}

impl<S: Waits> Read for Socket<S>
where
    for<'a> &'a S: Read,
{
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if let Some(deadline) = self.deadline {
            self.inner.wait_to_read(left_until(deadline)?)?;
        }
        match &mut self.attention {
            Some(attention) => attention.read(&*self.inner, out),
            None => (&*self.inner).read(out),
        }
    }
}

impl<S: Waits> Write for Socket<S>
where
    for<'a> &'a S: Write,
{
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(deadline) = self.deadline {
            self.inner.wait_to_write(left_until(deadline)?)?;
        }
        (&*self.inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.inner).flush()
    }
}

/// What carries the bytes.
pub enum Channel {
    /// A socket of this machine.
    Unix(Socket<UnixStream>),
    /// TLS, the connecting side.
    Client(Box<StreamOwned<ClientConnection, Socket<TcpStream>>>),
    /// TLS, the accepting side.
    Server(Box<StreamOwned<ServerConnection, Socket<TcpStream>>>),
}

impl Channel {
    /// How long one read waits.
    pub fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        // Zero would mean for ever.
        let timeout = Some(timeout.max(Duration::from_millis(1)));
        match self {
            Channel::Unix(socket) => socket.inner.set_read_timeout(timeout),
            Channel::Client(tls) => tls.sock.inner.set_read_timeout(timeout),
            Channel::Server(tls) => tls.sock.inner.set_read_timeout(timeout),
        }
    }

    /// How long one write waits.
    pub fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
        let timeout = Some(timeout.max(Duration::from_millis(1)));
        match self {
            Channel::Unix(socket) => socket.inner.set_write_timeout(timeout),
            Channel::Client(tls) => tls.sock.inner.set_write_timeout(timeout),
            Channel::Server(tls) => tls.sock.inner.set_write_timeout(timeout),
        }
    }

    /// How long one read or write waits.
    pub fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.set_read_timeout(timeout).and_then(|()| self.set_write_timeout(timeout))
    }

    /// Until when all reads and writes are done, those of a handshake too; `None`: each waits as it is told from now on.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        match self {
            Channel::Unix(socket) => socket.deadline = deadline,
            Channel::Client(tls) => tls.sock.deadline = deadline,
            Channel::Server(tls) => tls.sock.deadline = deadline,
        }
    }

    /// From now on a read or write that would wait is `WouldBlock`.
    pub fn never_wait(&mut self) -> io::Result<()> {
        match self {
            Channel::Unix(socket) => {
                socket.attention = None;
                socket.inner.set_nonblocking(true)
            }
            Channel::Client(tls) => {
                tls.sock.attention = None;
                tls.sock.inner.set_nonblocking(true)
            }
            Channel::Server(tls) => {
                tls.sock.attention = None;
                tls.sock.inner.set_nonblocking(true)
            }
        }
    }

    /// What the kernel knows it by.
    pub fn socket(&self) -> BorrowedFd<'_> {
        match self {
            Channel::Unix(socket) => socket.inner.as_fd(),
            Channel::Client(tls) => tls.sock.inner.as_fd(),
            Channel::Server(tls) => tls.sock.inner.as_fd(),
        }
    }
}

/// Ends a connection from another thread.
pub enum Closer {
    /// A socket of this machine.
    Unix(Unshared<UnixStream>),
    /// TCP.
    Tcp(Unshared<TcpStream>),
}

impl Closer {
    /// Ends it, whatever is under way.
    pub fn end(&self) {
        // As below.
        let _ = match self {
            Closer::Unix(socket) => socket.shutdown(Shutdown::Both),
            Closer::Tcp(socket) => socket.shutdown(Shutdown::Both),
        };
    }

    /// Wakes a reader; what is being written goes out.
    pub fn stop_reading(&self) {
        // A connection that is gone already needs no end.
        let _ = match self {
            Closer::Unix(socket) => socket.shutdown(Shutdown::Read),
            Closer::Tcp(socket) => socket.shutdown(Shutdown::Read),
        };
    }
}

impl Read for Channel {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Channel::Unix(socket) => socket.read(out),
            Channel::Client(tls) => tls.read(out),
            Channel::Server(tls) => tls.read(out),
        }
    }
}

impl Write for Channel {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Channel::Unix(socket) => socket.write(bytes),
            Channel::Client(tls) => tls.write(bytes),
            Channel::Server(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Channel::Unix(socket) => socket.flush(),
            Channel::Client(tls) => tls.flush(),
            Channel::Server(tls) => tls.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::sys::process::end_at_closed_pipes;
    use crate::sys::process::tests::in_child;

    #[test]
    fn a_write_to_a_connection_that_is_gone_fails_and_raises_no_signal() {
        assert!(in_child(|| {
            end_at_closed_pipes();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut tcp = Socket::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
            drop(listener.accept().unwrap());
            // The first ones may be on their way before it shows.
            let mut writes = (0..1000).map(|_| tcp.write_vectored(&[io::IoSlice::new(&[0; 64])]));
            writes.any(|written| written.is_err_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe))
        }));
    }
}
