//! The only way to change the store: proposals become committed changes, in one order.
//!
//! Knows: error, faults, limits, store, sys.
//! Crates: futures-util, minicbor, openraft, parking_lot, rand_core, tokio.

mod decide;
mod dedup;
#[cfg(test)]
mod power_tests;
pub mod raft;
mod solo;
#[cfg(test)]
mod tests;

pub use crate::store::{Committed, Proposal, RequestId};
pub use solo::Solo;

use crate::error::Result;
use crate::store::Outcome;

/// An order of changes.
pub trait Log: Send + Sync {
    /// Gives the proposal its place in the order, makes it durable, applies it, and returns what apply answered. A request id that has been
    /// applied already gets its first answer and changes nothing; `Outcome::Conflict` is never recorded.
    ///
    /// A client numbers its requests upwards, takes each number right before it proposes, and has at most
    /// [`REQUESTS_KEPT_PER_CLIENT`](crate::limits::REQUESTS_KEPT_PER_CLIENT) of them under way. Errors: `DeviceError`: an id further back than that, whose
    /// answer is forgotten, or the store could not be written; `DeviceMemory`: the disk is full.
    fn propose(&self, proposal: Proposal) -> Result<Outcome>;

    /// Returns when all that was committed anywhere before this call is applied here; a single member's log has applied it already, and so with the
    /// functions below. Errors: `DeviceError`: no quorum within the call's deadline.
    fn barrier(&self) -> Result<()> {
        Ok(())
    }

    /// How many changes a group has applied here: the same number is the same state on every member. 0 for a single member.
    fn mark(&self) -> u64 {
        0
    }

    /// Returns when so many changes are applied here. Errors: `DeviceError`: not within the call's deadline.
    fn reach(&self, _mark: u64) -> Result<()> {
        Ok(())
    }

    /// Whether a living quorum was heard of within [`SERVING_LEASE_MILLISECONDS`](crate::limits::SERVING_LEASE_MILLISECONDS): directly, or by its leader.
    fn in_contact(&self) -> bool {
        true
    }

    /// Returns when every member in contact has applied all that this one has; one out of contact is waited for as long as it may go on
    /// serving, [`SERVING_LEASE_MILLISECONDS`](crate::limits::SERVING_LEASE_MILLISECONDS). Errors: `DeviceError`: a member in contact lags past the call's
    /// deadline.
    fn spread(&self) -> Result<()> {
        Ok(())
    }

    /// The state of the store, for caches: whatever was read after a version was taken is still true while the version is equal. Costs a few
    /// loads: no system call, no lock, no SQL.
    fn version(&self) -> Version;
}

/// A state of the store, comparable within one process.
#[derive(Clone, Copy, Debug)]
pub struct Version(Option<[u64; 6]>);

impl Version {
    /// Equal to no version, not even itself: what is read now must not be kept.
    pub const UNSETTLED: Self = Self(None);

    /// The version that `stamp` stands for.
    pub fn settled(stamp: [u64; 6]) -> Self {
        Self(Some(stamp))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.0.is_some() && self.0 == other.0
    }
}
