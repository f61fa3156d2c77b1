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
pub use dedup::is_remembered;
pub use solo::Solo;

use std::fmt;
use std::time::Duration;

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

    /// The same, of a request that was first sent when there were `since` changes. Where a group has made so many since that it may have forgotten the
    /// answer, nothing is done: a request that was carried out then would be carried out once more. Errors: `DeviceError` then, and as those of `propose`.
    fn propose_since(&self, proposal: Proposal, _since: u64) -> Result<Outcome> {
        self.propose(proposal)
    }

    /// Returns when a change that is applied here is as safe as [`Log::propose`] makes one before it answers: somebody else may have proposed it,
    /// and wait for that still. `proposal` has the change's request id, and is answered, not applied. Errors: as those of `propose`.
    fn confirm(&self, _proposal: Proposal) -> Result<()> {
        Ok(())
    }

    /// Returns when reads see all that was committed anywhere before this call; a single member's log has applied it already, and so with the
    /// functions below. Errors: `DeviceError`: no quorum within the call's deadline.
    fn barrier(&self) -> Result<()> {
        Ok(())
    }

    /// How many changes a group has applied here: the same number is the same state on every member. 0 for a single member.
    fn mark(&self) -> u64 {
        0
    }

    /// Names the group that [`Log::mark`] counts the changes of: one that was formed anew may have lost some, and counts on from less. `None` for a single member, and for a
    /// member of no group yet.
    fn epoch(&self) -> Option<u64> {
        None
    }

    /// As [`Log::mark`], and new objects besides that have come and are applied before whoever has to see them is answered. At most so many: one that is refused
    /// counts here until then.
    fn at_hand(&self) -> u64 {
        self.mark()
    }

    /// How many of those that are applied reads of the store see. The others have made new objects, and nothing else.
    fn shown(&self) -> u64 {
        self.mark()
    }

    /// Lets reads see all that is applied here. Tells whether there was anything that they did not see. Errors: `DeviceError`: the store cannot be written.
    fn show(&self) -> Result<bool> {
        Ok(false)
    }

    /// Returns when so many changes are applied here. Errors: `DeviceError`: not within the call's deadline, or, soon, the group has not made so many, or does not say.
    fn reach(&self, _mark: u64) -> Result<()> {
        Ok(())
    }

    /// What this member may do now. Costs a look at a clock.
    fn standing(&self) -> Standing {
        Standing::Ordinary
    }

    /// Whether this member holds its serving lease for so long still: until then nothing that uses a key has to wait.
    fn serves_for(&self, _time: Duration) -> bool {
        self.standing() == Standing::Ordinary
    }

    /// Returns when every other member has applied all that this one has, or can no longer hold a serving lease that began before: in
    /// [`SERVING_LEASE_MILLISECONDS`](crate::limits::SERVING_LEASE_MILLISECONDS) and a margin at most, less what has passed since the change was applied
    /// here. What came of it is in the status of the group. Errors: `DeviceError`: this member is being shut down.
    fn spread(&self, _applied_ago: Duration) -> Result<()> {
        Ok(())
    }

    /// The state of the store, for caches: whatever was read after a version was taken is still true while the version is equal. Costs a few
    /// loads: no system call, no lock, no SQL.
    fn version(&self) -> Version;
}

/// What a member may do, by how long ago it knew all that its group had committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It holds its serving lease: a single member always does.
    Ordinary,
    /// The group lives, and this member lacks changes of it, maybe a revocation: others serve meanwhile.
    Behind,
    /// No living quorum is heard of. Keys are used for so long still.
    Isolated {
        /// How long.
        left: Duration,
    },
    /// No living quorum is heard of, for longer than keys may be used without one.
    Stopped,
    /// The group goes on without this member: it was removed, or the group was formed anew.
    Expelled,
}

impl Standing {
    /// Whether keys may be used.
    pub fn uses_keys(self) -> bool {
        matches!(self, Self::Ordinary | Self::Isolated { .. })
    }

    /// Whether a living quorum is heard of.
    pub fn in_contact(self) -> bool {
        matches!(self, Self::Ordinary | Self::Behind)
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ordinary => write!(f, "it holds its serving lease"),
            Self::Behind => write!(f, "it is behind its group and catches up: keys are used elsewhere meanwhile"),
            Self::Isolated { left } => {
                let left = left.as_secs();
                write!(
                    f,
                    "it is isolated, as no living quorum is heard of: keys are used for {left} s still, changes are not taken"
                )
            }
            Self::Stopped => {
                write!(
                    f,
                    "it has been isolated for longer than isolated_use: keys are not used until a living quorum is heard of"
                )
            }
            Self::Expelled => write!(f, "its group goes on without it: it was removed, or the group was formed anew"),
        }
    }
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
