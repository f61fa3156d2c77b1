//! openraft's own tests of a log and a state machine, on ours.

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};

use crate::log::raft::applying::Applying;
use crate::log::raft::disk::Disk;
use crate::log::raft::machine::Machine;
use crate::log::raft::storage::{LogStore, Tail};
use crate::log::raft::types::Types;
use crate::store::tests::fixtures::Directory;
use crate::store::{Journal, Store};

struct Builder;

impl StoreBuilder<Types, LogStore, Machine, Directory> for Builder {
    async fn build(&self) -> Result<(Directory, LogStore, Machine), StorageError<Types>> {
        let directory = Directory::new();
        let journal = Journal::open(directory.path()).unwrap();
        let tail = Tail::load(&journal).unwrap();
        let (disk, _) = Disk::start(journal).unwrap();
        let store = Arc::new(Store::open(directory.path()).unwrap());
        store.replicate().unwrap();
        let machine = Machine::new(Arc::new(Applying::new(store, Arc::default()).unwrap()), Arc::default()).unwrap();
        Ok((directory, LogStore::new(tail, disk), machine))
    }
}

#[test]
fn log_and_state_machine_pass_openraft_s_suite() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(Suite::test_all(Builder)).unwrap();
    runtime.block_on(Suite::<Types, LogStore, Machine, Builder, Directory>::transfer_snapshot(&Builder)).unwrap();
}
