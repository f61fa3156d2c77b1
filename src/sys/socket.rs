//! What the standard library does not offer of sockets.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A connection on which nothing comes for so long is asked whether it is alive: often enough for firewalls that forget idle connections.
const KEEP_ALIVE_IDLE_SECONDS: libc::c_int = 30;
const KEEP_ALIVE_INTERVAL_SECONDS: libc::c_int = 10;
const KEEP_ALIVE_PROBES: libc::c_int = 3;
/// What was sent and not acknowledged for so long ends the connection; by itself the kernel would go on for a quarter of an hour.
const UNACKNOWLEDGED_MAX_MILLISECONDS: libc::c_int = 30_000;

fn set(descriptor: RawFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the option is an int, and the kernel reads no more than `len` bytes of one that is alive during the call.
    let answer = unsafe { libc::setsockopt(descriptor, level, name, (&raw const value).cast(), len) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Notices a dead other side within about a minute, and keeps the way open.
pub fn keep_alive(tcp: &TcpStream) -> io::Result<()> {
    let descriptor = tcp.as_raw_fd();
    set(descriptor, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
    set(descriptor, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, KEEP_ALIVE_IDLE_SECONDS)?;
    set(descriptor, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, KEEP_ALIVE_INTERVAL_SECONDS)?;
    set(descriptor, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, KEEP_ALIVE_PROBES)?;
    set(descriptor, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, UNACKNOWLEDGED_MAX_MILLISECONDS)
}

/// Reads what is there already. Errors: `WouldBlock` when nothing is.
pub fn read_now(socket: BorrowedFd<'_>, out: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `out.len()` bytes, all of them within `out`, which nobody else has during the call.
    let got = unsafe { libc::recv(socket.as_raw_fd(), out.as_mut_ptr().cast(), out.len(), libc::MSG_DONTWAIT) };
    if got < 0 { Err(io::Error::last_os_error()) } else { Ok(got.cast_unsigned()) }
}

/// Waits until one of the sockets can be read (or has failed), at most so long; gives the first such by its place. A signal ends the wait early.
pub fn wait_readable(sockets: &[BorrowedFd<'_>], time: Duration) -> Option<usize> {
    let watch = |socket: &BorrowedFd<'_>| libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut watched: Vec<libc::pollfd> = sockets.iter().map(watch).collect();
    // Rounded up: a wait of less than a millisecond is none, and the caller would spin.
    let milliseconds = libc::c_int::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX);
    // SAFETY: the array is alive during the call and has as many elements as is said; the descriptors are open as long as they are borrowed.
    let ready = unsafe { libc::poll(watched.as_mut_ptr(), watched.len() as libc::nfds_t, milliseconds) };
    if ready > 0 { watched.iter().position(|socket| socket.revents != 0) } else { None }
}

/// Connects to a Unix socket, at most so long: a listener that stands still, its queue full, would be waited for without end.
pub fn connect_unix(path: &Path, time: Duration) -> io::Result<UnixStream> {
    // SAFETY: plain numbers, for which zeros are a value.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() >= address.sun_path.len() {
        let told =
            format!("a socket's path has at most {} bytes, {} has {}", address.sun_path.len() - 1, path.display(), bytes.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, told));
    }
    for (to, from) in address.sun_path.iter_mut().zip(bytes) {
        *to = from.cast_signed() as libc::c_char;
    }
    // SAFETY: takes numbers only.
    let raw = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else has.
    let stream = unsafe { UnixStream::from_raw_fd(raw) };
    // It bounds connecting as well (socket(7), SO_SNDTIMEO); nothing would be without bound.
    let time = Some(time.max(Duration::from_millis(1)));
    stream.set_write_timeout(time)?;
    // Whoever reads before it says how long it waits does not wait for ever either.
    stream.set_read_timeout(time)?;
    let len = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    // SAFETY: the address is alive during the call, and of this length.
    match unsafe { libc::connect(raw, (&raw const address).cast(), len) } {
        0 => Ok(stream),
        _ => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::WouldBlock => Err(io::ErrorKind::TimedOut.into()),
            error => Err(error),
        },
    }
}

/// The user at the other end of a Unix socket, as the kernel noted it when the connection was made.
pub fn peer_user(stream: &UnixStream) -> io::Result<u32> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: both pointers are to live values of the types that this option writes, and `len` is the first one's size.
    let answer = unsafe {
        libc::getsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, (&raw mut credentials).cast(), &raw mut len)
    };
    if answer == 0 { Ok(credentials.uid) } else { Err(io::Error::last_os_error()) }
}

/// Wakes a thread that waits in `accept`: its call fails.
pub fn stop_listening(descriptor: RawFd) {
    // SAFETY: takes a number only; on one that is no listening socket the call fails, which changes nothing.
    unsafe { libc::shutdown(descriptor, libc::SHUT_RDWR) };
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixListener;
    use std::time::Instant;

    use super::*;

    #[test]
    fn the_socket_that_can_be_read_or_has_ended_is_found_and_none_is_waited_for_in_vain() {
        let pair = || UnixStream::pair().unwrap();
        let ((one, _silent), (two, mut speaks), (three, ends)) = (pair(), pair(), pair());
        let begun = Instant::now();
        assert_eq!(wait_readable(&[one.as_fd(), two.as_fd()], Duration::from_millis(20)), None);
        assert!(begun.elapsed() >= Duration::from_millis(20));
        speaks.write_all(b"word").unwrap();
        assert_eq!(wait_readable(&[one.as_fd(), two.as_fd()], Duration::from_secs(30)), Some(1));
        drop(ends);
        assert_eq!(wait_readable(&[one.as_fd(), three.as_fd()], Duration::from_secs(30)), Some(1));
    }

    #[test]
    fn a_connection_has_keepalives_and_gives_up_what_nobody_acknowledges() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        keep_alive(&tcp).unwrap();
        let get = |level, name| {
            let (mut value, mut len) = (0 as libc::c_int, size_of::<libc::c_int>() as libc::socklen_t);
            // SAFETY: both pointers are to live values, and `len` is the size of the first.
            let rv = unsafe { libc::getsockopt(tcp.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut len) };
            assert_eq!(rv, 0);
            value
        };
        assert_eq!(get(libc::SOL_SOCKET, libc::SO_KEEPALIVE), 1);
        assert_eq!(get(libc::IPPROTO_TCP, libc::TCP_KEEPIDLE), 30);
        assert_eq!(get(libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT), 30_000);
    }

    #[test]
    fn a_listener_that_takes_nobody_any_more_is_not_waited_for_without_end() {
        let path = std::env::temp_dir().join(format!("hsmpool-queue-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        // SAFETY: takes numbers only; the shortest queue there is.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
        let mut waiting = Vec::new();
        let failed = loop {
            assert!(waiting.len() < 10, "a queue of none has an end");
            match connect_unix(&path, Duration::from_millis(20)) {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
        };
        assert!(!waiting.is_empty() && failed.kind() == ErrorKind::TimedOut, "{failed}");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(connect_unix(&path, Duration::from_secs(9)).unwrap_err().kind(), ErrorKind::NotFound);
        let long = Path::new("/").join("x".repeat(200));
        assert_eq!(connect_unix(&long, Duration::from_secs(9)).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
