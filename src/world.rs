//! Time and randomness: what a simulation replaces.
//!
//! Knows: error, sys.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::Result;
use crate::sys::awslc::random;

/// The world outside the process, as far as decisions depend on it.
pub trait World: Send + Sync {
    /// Wall-clock time since the Unix epoch.
    fn now(&self) -> Duration;
    /// Fills the slice with random bytes that are fit for keys.
    fn fill_random(&self, out: &mut [u8]) -> Result<()>;
}

/// This machine's clock and the crypto library's generator.
pub struct Real;

impl World for Real {
    fn now(&self) -> Duration {
        // A clock set before 1970 counts as 1970.
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn fill_random(&self, out: &mut [u8]) -> Result<()> {
        random::fill(out)
    }
}
