//! Connections to one other side that are kept for the next request.

use std::time::{Duration, Instant};

use super::client::{Connection, Failure};
use crate::error::Result;
use crate::limits::{IDLE_CONNECTION_TRUSTED_SECONDS, IDLE_CONNECTIONS_MAX};
use crate::secret::Secret;
use crate::sync::standard::{Mutex, MutexGuard, PoisonError};

/// So long an answer is waited for before it is asked again whether it is worth waiting for.
pub const WORTH_IT_FOR: Duration = Duration::from_millis(50);

/// Idle connections to one place.
#[derive(Default)]
pub struct Kept(Mutex<Vec<(Connection, Instant)>>);

/// A connection on which a request is under way.
pub struct Flight {
    connection: Connection,
    /// Whether it was made for this request.
    is_fresh: bool,
}

/// What became of waiting for an answer.
pub enum Landed {
    /// The answer.
    Answer(Secret),
    /// Nothing yet: the same flight may be waited for again.
    Silent(Box<Flight>),
    /// There will be none. `stale`: the connection was an idle one that had died unnoticed, and another one may do.
    Failed {
        /// Why.
        failure: Failure,
        /// See above.
        stale: bool,
    },
}

impl Flight {
    /// The connection, to wait for several at once.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
}

impl Kept {
    /// Sends a request over an idle connection, or a new one, and waits for the answer.
    ///
    /// An idle connection may have died unnoticed (the other side was restarted): then the request goes out again over another one, so it
    /// may arrive twice. Errors: `DeviceError`; what `connect` says.
    pub fn call(
        &self,
        kind: u8,
        request: &[u8],
        patience: Duration,
        connect: impl Fn(Duration) -> Result<Connection>,
    ) -> Result<Secret> {
        let deadline = Instant::now() + patience;
        let send = || self.send(kind, request, deadline, &connect);
        self.call_by(send, |flight| self.receive(flight, deadline))
    }

    /// The same for as long as it is worth waiting for, which is asked time and again while the answer is waited for. `connect` asks by itself.
    pub fn call_while(
        &self,
        kind: u8,
        request: &[u8],
        (patience, is_worth_it): (Duration, &dyn Fn() -> bool),
        connect: impl Fn(Duration) -> Result<Connection>,
    ) -> Result<Secret> {
        let deadline = Instant::now() + patience;
        let goes_on = || Instant::now() < deadline && is_worth_it();
        let send = || self.send(kind, request, deadline, &connect);
        let receive = |flight| {
            let mut landed = self.receive(flight, deadline.min(Instant::now() + WORTH_IT_FOR));
            while goes_on() {
                let Landed::Silent(flight) = landed else { break };
                landed = self.receive(*flight, deadline.min(Instant::now() + WORTH_IT_FOR));
            }
            landed
        };
        self.call_by(send, receive)
    }

    fn call_by(&self, send: impl Fn() -> Result<Flight>, receive: impl Fn(Flight) -> Landed) -> Result<Secret> {
        loop {
            match receive(send()?) {
                Landed::Answer(answer) => return Ok(answer),
                Landed::Failed { stale: true, .. } => {}
                Landed::Failed { failure, .. } => return Err(failure.error),
                Landed::Silent(flight) => {
                    // Others that are kept lead to the same silence.
                    self.clear();
                    return Err(flight.connection.silence().error);
                }
            }
        }
    }

    /// Sends a request over an idle connection, or over a new one. Errors: what `connect` says; `DeviceError`.
    pub fn send(
        &self,
        kind: u8,
        request: &[u8],
        deadline: Instant,
        connect: &impl Fn(Duration) -> Result<Connection>,
    ) -> Result<Flight> {
        loop {
            let idle = self.take();
            let is_fresh = idle.is_none();
            let mut connection = match idle {
                Some(connection) => connection,
                None => connect(deadline.saturating_duration_since(Instant::now()))?,
            };
            match connection.send(kind, request, deadline) {
                Ok(()) => return Ok(Flight { connection, is_fresh }),
                Err(failure) => {
                    self.clear();
                    if failure.timed_out || is_fresh {
                        return Err(failure.error);
                    }
                }
            }
        }
    }

    /// Waits for the answer until then; its connection is kept.
    pub fn receive(&self, mut flight: Flight, until: Instant) -> Landed {
        match flight.connection.receive(until) {
            Ok(Some(answer)) => {
                let mut kept = self.lock();
                if kept.len() < IDLE_CONNECTIONS_MAX {
                    kept.push((flight.connection, Instant::now()));
                }
                Landed::Answer(answer)
            }
            Ok(None) => Landed::Silent(Box::new(flight)),
            Err(failure) => {
                // What ended this one has ended the others.
                self.clear();
                Landed::Failed { failure, stale: !flight.is_fresh }
            }
        }
    }

    /// Closes all idle connections.
    pub fn clear(&self) {
        let closed = std::mem::take(&mut *self.lock());
        drop(closed);
    }

    /// Takes away the connection that was used last, unless even that is too long ago: on the way somebody may have forgotten it without a word, and
    /// finding out costs more than a new one.
    pub fn take(&self) -> Option<Connection> {
        let mut kept = self.lock();
        let (connection, used) = kept.pop()?;
        if used.elapsed() < Duration::from_secs(IDLE_CONNECTION_TRUSTED_SECONDS) {
            return Some(connection);
        }
        let closed = std::mem::take(&mut *kept);
        drop(kept);
        drop((connection, closed));
        None
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Connection, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
