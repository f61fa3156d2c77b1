//! The log of a single member: append and apply in one SQLite transaction, shared by all processes of the machine.

use std::sync::Arc;

use super::decide::decide;
use super::{Log, Version};
use crate::error::Result;
use crate::store::{Outcome, Proposal, Store};

/// A log without other members.
pub struct Solo {
    store: Arc<Store>,
}

impl Solo {
    /// Orders the changes of `store`.
    pub fn new(store: Arc<Store>) -> Self {
        Self { store }
    }
}

impl Log for Solo {
    fn propose(&self, proposal: Proposal) -> Result<Outcome> {
        self.store.write(|batch| decide(batch, proposal))?.told()
    }

    fn version(&self) -> Version {
        self.store.stamp().map_or(Version::UNSETTLED, Version::settled)
    }
}
