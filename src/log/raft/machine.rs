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

use super::applying::Applying;
use super::copies::Copies;
use super::ground;
use super::hand::Hand;
use super::types::{Entry, LogId, Snapshot, SnapshotMeta, StoredMembership, Types};
use crate::error::{Code, Doing, Result};
use crate::limits::APPLY_MAX_ENTRIES;
use crate::store::{CheckedCopy, Store};
use crate::sys::files;

/// What drafts are of: a copy for another member, and one of another member's.
pub const DRAFTS: [&str; 2] = ["copy", "arriving"];

/// Whether a file has a draft's name: what it is, of which process, and which one of that.
fn is_draft(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let parts: Vec<&str> = name.split('-').collect();
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    matches!(parts[..], [what, process, number] if DRAFTS.contains(&what) && is_number(process) && is_number(number))
}

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

    /// Removes what a process has left that was killed. The caller alone has drafts in the directory. One that cannot be removed takes room, and nothing else.
    pub fn remove_all(dir: &Path) {
        let all = files::list(dir).unwrap_or_default();
        for draft in all.iter().filter(|path| is_draft(path)) {
            let _ = files::remove(draft);
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
    applying: Arc<Applying>,
    copies: Arc<Copies>,
    snapshot: Arc<Mutex<Option<SnapshotMeta>>>,
    applier: Hand,
}

impl Machine {
    /// The state machine over a store that this process replicates.
    pub fn new(applying: Arc<Applying>, copies: Arc<Copies>) -> Result<Self> {
        let applier = Hand::start("raft-store").doing(Code::HostMemory, "cannot start the thread that applies the log")?;
        Ok(Self { applying, copies, snapshot: Arc::default(), applier })
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

    /// Has what is left open put down when it is time.
    fn see_to_it(&self) {
        if !self.applying.is_left_open() {
            return;
        }
        let machine = self.clone();
        ground::spawn(Box::pin(async move {
            while let Some(late) = machine.applying.late() {
                ground::sleep_until(late).await;
                // A reader may have put it down, and another one been opened.
                if machine.applying.late().is_some_and(|late| ground::now() >= late) {
                    let applying = machine.applying.clone();
                    // If it fails nothing is open any more, and `Group::end_if_failed` ends the member.
                    if machine.applier.run(move || applying.put_down()).await.is_err() {
                        break;
                    }
                }
            }
        }));
    }

    fn install(&self, meta: &SnapshotMeta, copy: &CheckedCopy) -> Result<()> {
        self.applying.install(meta, copy)?;
        *self.snapshot.lock() = Some(meta.clone());
        Ok(())
    }

    /// Takes over the store of a member in the same process.
    fn install_own(&self, meta: &SnapshotMeta, store: &Store) -> Result<()> {
        let dir = self.applying.store().path().parent().unwrap_or(Path::new("/"));
        let draft = Draft::new(dir, DRAFTS[0]).doing(Code::DeviceError, "cannot make room for a copy of a store")?;
        let place = store.copy_to(draft.path())?;
        self.install(meta, &CheckedCopy::of(draft.path(), &place)?)
    }

    /// Makes everything applied so far durable, so that the log need not keep it.
    fn settle(&self) -> Result<SnapshotMeta> {
        let meta = self.applying.settle()?;
        *self.snapshot.lock() = Some(meta.clone());
        Ok(meta)
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Carried;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok(self.applying.standing())
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
            let is_waited_for = responders.iter().any(Option::is_some);
            if !is_waited_for && !some.is_empty() {
                some = match self.applying.hold(some) {
                    Ok(()) => Vec::new(),
                    Err(some) => some,
                };
                self.see_to_it();
            }
            if !some.is_empty() {
                // Who waits is told from here: by way of the loop it would be woken later.
                let applying = self.applying.clone();
                let apply = move || -> Result<()> {
                    let answers = applying.apply(some, is_waited_for)?;
                    for (responder, answer) in responders.into_iter().zip(answers) {
                        if let Some(responder) = responder {
                            responder.send(answer);
                        }
                    }
                    Ok(())
                };
                self.applier.run(apply).await?.map_err(io::Error::other)?;
                self.see_to_it();
            }
        }
        Ok(())
    }

    /// The log is cut at a snapshot, so none is made while somebody needs the entries after the last one.
    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Self> {
        let may_cut = force || !self.copies.hold_the_log();
        may_cut.then(|| self.clone())
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
        Ok(meta.map(|meta| Snapshot { meta, snapshot: Carried::Own(self.applying.store().clone()) }))
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    type SnapshotData = Carried;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let meta = self.off_loop(Self::settle).await?;
        Ok(Snapshot { meta, snapshot: Carried::Own(self.applying.store().clone()) })
    }
}
