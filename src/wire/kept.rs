//! Connections to one other side that are kept for the next request.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::client::Connection;
use crate::error::Result;
use crate::limits::IDLE_CONNECTIONS_MAX;
use crate::secret::Secret;

/// Idle connections to one place.
#[derive(Default)]
pub struct Kept(Mutex<Vec<Connection>>);

impl Kept {
    /// Sends a request over an idle connection, or a new one, and waits for the answer.
    ///
    /// An idle connection may have died unnoticed (the other side was restarted, a firewall forgot it): then the request goes out again over
    /// another one, so it may arrive twice. Errors: `DeviceError`; what `connect` says.
    pub fn call(
        &self,
        kind: u8,
        request: &[u8],
        patience: Duration,
        connect: impl Fn(Duration) -> Result<Connection>,
    ) -> Result<Secret> {
        let deadline = Instant::now() + patience;
        let left = || deadline.saturating_duration_since(Instant::now());
        loop {
            let idle = self.lock().pop();
            let is_fresh = idle.is_none();
            let mut connection = match idle {
                Some(connection) => connection,
                None => connect(left())?,
            };
            match connection.call(kind, request, left()) {
                Ok(answer) => {
                    let mut kept = self.lock();
                    if kept.len() < IDLE_CONNECTIONS_MAX {
                        kept.push(connection);
                    }
                    return Ok(answer);
                }
                Err(failure) if !failure.timed_out && !is_fresh => {}
                Err(failure) => {
                    // Others that are kept lead to the same end.
                    self.lock().clear();
                    return Err(failure.error);
                }
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
