//! The store as openraft's state machine: committed entries are applied many to a transaction, and a snapshot is a copy of the whole store.
//!
//! A snapshot costs nothing until it is sent: the store itself is durable, so "building" one only makes it so up to now, and the log may be cut.
//! What is sent is a copy as of the sending, which is never older than the snapshot that openraft has in mind.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use futures_util::{Stream, TryStreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder};
use parking_lot::Mutex;

use super::ground::{Ground, Seen};
use super::hand::{For, Hand};
use super::progress::{Mark, Progress};
use super::types::{Applied, Entry, LogId, Payload, Snapshot, SnapshotMeta, StoredMembership, Types};
use super::{codec, ground};
use crate::error::{Code, Doing, Result};
use crate::faults::{self, Fault};
use crate::limits::APPLY_MAX_ENTRIES;
use crate::log::decide::decide;
use crate::store::{Batch, CheckedCopy, Store, Trouble};
use crate::sys::files;

/// A file that goes when it is dropped.
#[derive(Debug)]
pub struct Draft(PathBuf);

impl Draft {
    /// A name in `dir` that no other draft has; there is no such file yet.
    pub fn new(dir: &Path, what: &str) -> io::Result<Self> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let path = dir.join(format!("{what}-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)));
        match files::remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(Self(path)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = files::remove(&self.0);
    }
}

/// What a snapshot carries.
pub enum Carried {
    /// Whatever this member's store holds when it is sent.
    Own(Arc<Store>),
    /// Another member's copy, and the file that it is in.
    Received(CheckedCopy, Draft),
}

/// The state machine of one member.
#[derive(Clone)]
pub struct Machine {
    store: Arc<Store>,
    progress: Arc<Progress>,
    standing: Arc<Mutex<(Option<LogId>, StoredMembership)>>,
    snapshot: Arc<Mutex<Option<SnapshotMeta>>>,
    applier: Hand,
}

impl Machine {
    /// The state machine over a store that this process replicates.
    pub fn new(store: Arc<Store>, progress: Arc<Progress>) -> Result<Self> {
        let applier = Hand::start("raft-store", For::Disk, &Arc::default())
            .doing(Code::HostMemory, "cannot start the thread that applies the log")?;
        let standing = codec::standing(&store.place()?)?;
        progress.set_members(&standing.1);
        let (changes, _) = store.set_hash()?;
        progress.set(Mark { before: standing.0.map_or(0, |id| id.index + 1), changes });
        Ok(Self { store, progress, standing: Arc::new(Mutex::new(standing)), snapshot: Arc::default(), applier })
    }

    /// The thread that applies, to be waited for once the machine is dropped.
    pub fn thread(&self) -> Option<JoinHandle<()>> {
        self.applier.thread()
    }

    /// Runs what waits for the disk on a thread that may wait.
    async fn off_loop<T: Send + 'static>(&self, work: impl FnOnce(&Self) -> Result<T> + Send + 'static) -> io::Result<T> {
        let machine = self.clone();
        ground::beside_the_loop(move || work(&machine)).await?.map_err(io::Error::other)
    }

    /// Applies entries in one transaction. The answers are in their order.
    fn apply_all(&self, entries: &[Entry]) -> Result<Vec<Applied>> {
        let (mut applied, mut membership) = self.standing.lock().clone();
        let (mut changed, mut memberships) = (Vec::new(), Vec::new());
        let (answers, changes) = self.store.write(|batch| {
            let mut answers = Vec::with_capacity(entries.len());
            for entry in entries {
                let before = batch.applied();
                answers.push(apply(batch, entry, &mut membership)?);
                applied = Some(entry.log_id);
                changed.push(batch.applied() > before);
                if matches!(entry.payload, Payload::Membership(_)) {
                    memberships.push(membership.clone());
                }
            }
            if !faults::on(Fault::PlaceNotRecorded) {
                batch.set_place(&codec::place(applied, &membership))?;
            }
            Ok((answers, batch.applied()))
        })?;
        // One after the other: who comes and goes within them was a member.
        memberships.iter().for_each(|membership| self.progress.set_members(membership));
        self.stand(applied, membership);
        if let Some(ground) = ground::current() {
            self.show(&*ground, entries, &changed)?;
        }
        self.progress.set(Mark { before: applied.map_or(0, |id| id.index + 1), changes });
        Ok(answers)
    }

    fn stand(&self, applied: Option<LogId>, membership: StoredMembership) {
        self.progress.set_members(&membership);
        *self.standing.lock() = (applied, membership);
    }

    /// Tells a simulation what was applied.
    fn show(&self, ground: &dyn Ground, entries: &[Entry], changed: &[bool]) -> Result<()> {
        let (_, facts) = self.store.set_hash()?;
        for (entry, changed) in entries.iter().zip(changed) {
            let request = match &entry.payload {
                Payload::Normal(command) => Some(codec::proposal(command)?.request),
                Payload::Blank | Payload::Membership(_) => None,
            };
            let is_last = entries.last().is_some_and(|last| last.log_id == entry.log_id);
            let LogId { leader_id, index } = entry.log_id;
            let facts = is_last.then_some(facts);
            let leader = (leader_id.term, leader_id.node_id);
            ground.see(Seen::Applied { index, leader, request, changed: *changed, facts });
        }
        Ok(())
    }

    fn install(&self, meta: &SnapshotMeta, copy: &CheckedCopy) -> Result<()> {
        let changes = self.store.install(copy)?;
        self.progress.forget_who_left();
        self.stand(meta.last_log_id, meta.last_membership.clone());
        *self.snapshot.lock() = Some(meta.clone());
        self.progress.set(Mark { before: meta.last_log_id.map_or(0, |id| id.index + 1), changes });
        Ok(())
    }

    /// Takes over the store of a member in the same process.
    fn install_own(&self, meta: &SnapshotMeta, store: &Store) -> Result<()> {
        let dir = self.store.path().parent().unwrap_or(Path::new("/"));
        let draft = Draft::new(dir, "copy").doing(Code::DeviceError, "cannot make room for a copy of a store")?;
        let place = store.copy_to(draft.path())?;
        self.install(meta, &CheckedCopy::of(draft.path(), &place)?)
    }

    /// Makes everything applied so far durable, so that the log need not keep it.
    fn settle(&self) -> Result<SnapshotMeta> {
        let (last_log_id, last_membership) = self.standing.lock().clone();
        if !faults::on(Fault::PurgeBeforeDurable) {
            self.store.settle()?;
        }
        let meta = SnapshotMeta { last_log_id, last_membership };
        *self.snapshot.lock() = Some(meta.clone());
        Ok(meta)
    }
}

/// Applies one entry within a transaction.
fn apply(batch: &mut Batch<'_>, entry: &Entry, membership: &mut StoredMembership) -> std::result::Result<Applied, Trouble> {
    match &entry.payload {
        Payload::Blank => Ok(Applied(None)),
        // Every member must do the same with it, so one that cannot read it, being older, must stop.
        Payload::Normal(command) => Ok(Applied(Some(decide(batch, codec::proposal(command)?)?))),
        Payload::Membership(new) => {
            *membership = StoredMembership::new(Some(entry.log_id), new.clone());
            Ok(Applied(None))
        }
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Carried;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok(self.standing.lock().clone())
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        let mut more = true;
        while more {
            let mut some: Vec<Entry> = Vec::new();
            let mut responders: Vec<Option<ApplyResponder<Types>>> = Vec::new();
            while some.len() < APPLY_MAX_ENTRIES {
                let Some((entry, responder)) = entries.try_next().await? else {
                    more = false;
                    break;
                };
                some.push(entry);
                responders.push(responder);
            }
            if !some.is_empty() {
                // Who waits is told from here: by way of the loop it would be woken later.
                let machine = self.clone();
                let apply = move || -> Result<()> {
                    let answers = machine.apply_all(&some)?;
                    for (responder, answer) in responders.into_iter().zip(answers) {
                        if let Some(responder) = responder {
                            responder.send(answer);
                        }
                    }
                    Ok(())
                };
                self.applier.run(apply).await?.map_err(io::Error::other)?;
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Carried) -> io::Result<()> {
        let meta = meta.clone();
        self.off_loop(move |machine| match snapshot {
            Carried::Received(copy, _draft) => machine.install(&meta, &copy),
            Carried::Own(store) => machine.install_own(&meta, &store),
        })
        .await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let meta = self.snapshot.lock().clone();
        Ok(meta.map(|meta| Snapshot { meta, snapshot: Carried::Own(self.store.clone()) }))
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    type SnapshotData = Carried;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let meta = self.off_loop(Self::settle).await?;
        Ok(Snapshot { meta, snapshot: Carried::Own(self.store.clone()) })
    }
}
