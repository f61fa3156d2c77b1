//! Who uses the group in a run: programs that talk to its log, or applications that use it as a pool of tokens.

use std::ops::Range;
use std::sync::Arc;

use hsmpool::error::Result;
use hsmpool::log::raft::NodeId;

use crate::scheduler::Owner;
use crate::world::{Running, World};

/// Those who use the group, and what they know of what they were promised.
pub trait Cast: Send + Sync {
    /// Makes what they begin with, on a thread of the operator's, when the group is formed.
    fn found(&self) -> Result<()>;
    /// Whether a node has all of that.
    fn is_founded(&self, node: &Running) -> bool;
    /// Their numbers.
    fn everybody(&self) -> Range<Owner>;
    /// Everybody begins.
    fn begin(self: Arc<Self>);
    /// Nobody begins anything new.
    fn end(&self);
    /// How many have something under way.
    fn left(&self) -> usize;
    /// Calls that were answered.
    fn answered(&self) -> u64;
    /// Destructions that have returned.
    fn revoked(&self) -> u64;
    /// Looks whether a node may use what was destroyed last, whatever happens to it. Error: the promise that is broken.
    fn look(&self, id: NodeId, node: &Running) -> std::result::Result<(), String>;
    /// Looks at what a node has when all is quiet. Error: the promise that is broken.
    fn check(&self, node: &Running) -> std::result::Result<(), String>;
    /// Looks at all that was seen, when nobody has anything under way. Error: the promise that is broken.
    fn judge(&self) -> std::result::Result<(), String>;
}

/// Makes the cast of a world.
pub type Casting = fn(Arc<World>) -> Arc<dyn Cast>;
