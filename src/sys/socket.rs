//! What the standard library does not offer of sockets.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

/// A connection on which nothing comes for so long is asked whether it is alive: often enough for firewalls that forget idle connections.
const KEEP_ALIVE_IDLE_SECONDS: libc::c_int = 30;
const KEEP_ALIVE_INTERVAL_SECONDS: libc::c_int = 10;
const KEEP_ALIVE_PROBES: libc::c_int = 3;

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
    set(descriptor, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, KEEP_ALIVE_PROBES)
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
