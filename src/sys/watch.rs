//! Sockets that tokio's loop watches.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::process::Unshared;

/// Tells when a socket is ready. It has a descriptor of its own for the same socket, so that it stays what is watched.
pub struct Watch(AsyncFd<Descriptor>);

struct Descriptor(Unshared<OwnedFd>);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Watch {
    /// Has the calling task's loop watch a socket, which does not wait. Errors: it watches none, or no descriptor is left.
    pub fn new(socket: BorrowedFd<'_>) -> io::Result<Self> {
        let own = Descriptor(Unshared::new(socket.try_clone_to_owned()?));
        // SAFETY: the descriptor is open, is this one's alone, and is neither replaced nor closed before the loop watches it no more.
        let watched = unsafe { AsyncFd::register(own) };
        Ok(Self(watched?))
    }

    /// Tries something when the socket is ready, until it has a result.
    pub async fn when<T, E: From<io::Error>>(
        &self,
        ready: Interest,
        mut step: impl FnMut() -> Result<Option<T>, E>,
    ) -> Result<T, E> {
        loop {
            let mut ready = self.0.ready(ready).await?;
            if let Some(done) = step()? {
                return Ok(done);
            }
            ready.clear_ready();
        }
    }
}
