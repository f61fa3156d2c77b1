//! Time and randomness: what a simulation replaces.
//!
//! Knows: error.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::Result;

/// The world outside the process, as far as decisions depend on it.
pub trait World: Send + Sync {
    /// Wall-clock time since the Unix epoch.
    fn now(&self) -> Duration;
    /// Fills the slice with random bytes that are fit for keys.
    fn fill_random(&self, out: &mut [u8]) -> Result<()>;
}

/// Wall-clock time of this machine; zero before 1970.
pub fn wall_clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
