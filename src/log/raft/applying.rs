//! What a member has applied to its store, and what of it reads see.
//!
//! A transaction costs a member more than what one new object adds to it. So new objects are applied, and whoever made them is answered, in a
//! transaction that stays open for a moment: the log has them on the disks of a quorum, and has them applied again if this process dies. A read that may have to
//! see them has the transaction put down first. Where nobody waits for an answer, as at all members but the one that leads, they are not even applied
//! before somebody waits for that, or others have come: many at once cost less. Any other change is put down before anybody hears of it: it may take something away, and copies
//! of what it took away are found out by what the store shows ([`crate::store::Marks`]). A new object concerns nobody who does not look for it.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::codec;
use super::ground::{self, Ground, Seen};
use super::progress::{Mark, Progress, Waited};
use super::storage::weight;
use super::types::{Applied, Entry, LogId, Payload, SnapshotMeta, StoredMembership};
use crate::error::{Code, Result, refuse};
use crate::faults::{self, Fault};
use crate::limits::{APPLY_OPEN_MAX_BYTES, APPLY_OPEN_MAX_CHANGES, APPLY_OPEN_MAX_MILLISECONDS};
use crate::log::decide::decide;
use crate::store::{Batch, CheckedCopy, Store, Trouble};

/// The loop itself holds no more at once: what they make is looked at, and it has others to answer.
const HELD_AT_ONCE_MAX: usize = 16;

/// The store of one member, and how far it has applied the log.
pub struct Applying {
    store: Arc<Store>,
    progress: Arc<Progress>,
    standing: Mutex<Standing>,
    due: Mutex<Due>,
    /// Why nothing is applied any more: what was open is lost to this store.
    failed: OnceLock<String>,
    /// The store cannot be written from now on.
    #[cfg(test)]
    pub broken: std::sync::atomic::AtomicBool,
    /// The store hangs as long as somebody holds this.
    #[cfg(test)]
    pub stuck: Mutex<()>,
}

/// Where a member stands in the log, what is open included.
struct Standing {
    applied: Option<LogId>,
    membership: StoredMembership,
    /// Entries that have come, and are not applied yet: each makes new objects, or nothing.
    held: Vec<Entry>,
    held_bytes: usize,
    /// How long the entries are that were applied in the open transaction.
    open_bytes: usize,
}

/// When the open transaction must be put down.
#[derive(Default)]
struct Due {
    opened: Option<Instant>,
    /// Whether somebody is going to see to it.
    is_seen_to: bool,
}

impl Applying {
    /// Goes on where the store stands.
    pub fn new(store: Arc<Store>, progress: Arc<Progress>) -> Result<Self> {
        let (applied, membership) = codec::standing(&store.place()?)?;
        progress.set_members(&membership);
        let (changes, _) = store.set_hash()?;
        progress.show(Mark { before: before(applied), changes });
        let standing = Mutex::new(Standing { applied, membership, held: Vec::new(), held_bytes: 0, open_bytes: 0 });
        Ok(Self {
            store,
            progress,
            standing,
            due: Mutex::default(),
            failed: OnceLock::new(),
            #[cfg(test)]
            broken: false.into(),
            #[cfg(test)]
            stuck: Mutex::default(),
        })
    }

    /// The store.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// How far it has come.
    #[cfg(test)]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The last entry that was applied, or is held to be applied before any other; and the last membership.
    pub fn standing(&self) -> (Option<LogId>, StoredMembership) {
        let standing = self.standing.lock();
        let held = standing.held.last().map(|entry| entry.log_id);
        (held.or(standing.applied), standing.membership.clone())
    }

    /// Holds entries for which nobody waits, if that is all that there is to do, and waits for nothing. Otherwise they come back, to be applied.
    pub fn hold(&self, entries: Vec<Entry>) -> std::result::Result<(), Vec<Entry>> {
        let standing = if entries.len() <= HELD_AT_ONCE_MAX { self.standing.try_lock() } else { None };
        match standing {
            Some(mut standing) if self.failed().is_none() && entries.iter().all(only_makes) => {
                self.hold_in(&mut standing, entries)
            }
            _ => Err(entries),
        }
    }

    /// The same of those that only make objects; they come back when no more can be held.
    fn hold_in(&self, standing: &mut Standing, entries: Vec<Entry>) -> std::result::Result<(), Vec<Entry>> {
        let more: usize = entries.iter().map(weight).sum();
        if standing.held.len() + entries.len() >= APPLY_OPEN_MAX_CHANGES as usize
            || standing.held_bytes + more >= APPLY_OPEN_MAX_BYTES
        {
            return Err(entries);
        }
        standing.held_bytes += more;
        standing.held.extend(entries);
        self.due.lock().opened.get_or_insert_with(ground::now);
        let last = standing.held.last().map(|entry| entry.log_id);
        let most = self.progress.mark().changes + standing.held.len() as u64;
        self.progress.hold(Mark { before: before(last.or(standing.applied)), changes: most });
        Ok(())
    }

    /// Applies entries. The answers are in their order; whoever waits for one may be told of it. Where nobody does, entries may be held, and there are no answers.
    pub fn apply(&self, mut entries: Vec<Entry>, is_waited_for: bool) -> Result<Vec<Applied>> {
        let mut standing = self.standing.lock();
        self.check_sound()?;
        if !is_waited_for && entries.iter().all(only_makes) {
            match self.hold_in(&mut standing, entries) {
                Ok(()) => return Ok(Vec::new()),
                Err(too_many) => entries = too_many,
            }
        }
        self.apply_held(&mut standing)?;
        let applied = self.apply_to(&mut standing, &entries);
        self.noting_failure(applied)
    }

    fn apply_held(&self, standing: &mut Standing) -> Result<()> {
        self.check_sound()?;
        let held = std::mem::take(&mut standing.held);
        standing.held_bytes = 0;
        if held.is_empty() {
            return Ok(());
        }
        let applied = self.apply_to(standing, &held);
        self.noting_failure(applied).map(drop)
    }

    /// Waits until entries are applied up to a point; false: not before the deadline, or never. Who waits applies what is held, if that may be enough.
    pub fn wait(&self, deadline: Instant, passed: impl Fn(Mark) -> bool) -> bool {
        loop {
            match self.progress.wait(deadline, &passed) {
                Waited::Passed => return true,
                Waited::Late => return false,
                // Whoever has the store may be held up by its disk.
                Waited::Held => {
                    let standing = self.standing.try_lock_until(deadline);
                    if standing.is_some_and(|mut standing| self.apply_held(&mut standing).is_err()) {
                        return false;
                    }
                    if ground::now() >= deadline {
                        return passed(self.progress.mark());
                    }
                }
            }
        }
    }

    /// After a failure nothing more is applied, and nothing is open.
    fn noting_failure<T>(&self, done: Result<T>) -> Result<T> {
        if let Err(error) = &done {
            self.fail(&error.to_string());
        }
        done
    }

    fn fail(&self, told: &str) {
        // The first failure is the cause of the others.
        let _ = self.failed.set(told.to_owned());
        self.due.lock().opened = None;
        self.progress.end();
    }

    /// Why nothing is applied any more, if so.
    pub fn failed(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    fn check_sound(&self) -> Result<()> {
        self.failed().map_or(Ok(()), |told| Err(refuse(Code::DeviceError, told)))
    }

    fn apply_to(&self, standing: &mut Standing, entries: &[Entry]) -> Result<Vec<Applied>> {
        let _guard = Guard(self);
        #[cfg(test)]
        drop(self.stuck.lock());
        if let (Some(last), Some(first)) = (standing.applied, entries.first())
            && first.log_id.index != last.index + 1
        {
            let (first, due) = (first.log_id.index, last.index + 1);
            return Err(refuse(Code::DeviceError, format!("entry {first} comes where {due} is due; start this member anew")));
        }
        let (mut applied, mut membership) = (standing.applied, standing.membership.clone());
        let (mut changed, mut memberships) = (Vec::new(), Vec::new());
        let ground = ground::current();
        let (answers, changes, facts) = self.store.write_on(|batch| {
            let mut answers = Vec::with_capacity(entries.len());
            for entry in entries {
                let before = batch.applied();
                answers.push(apply(&self.store, batch, entry, &mut membership)?);
                applied = Some(entry.log_id);
                changed.push(batch.applied() > before);
                if matches!(entry.payload, Payload::Membership(_)) {
                    memberships.push(membership.clone());
                }
            }
            if !faults::on(Fault::PlaceNotRecorded) {
                batch.set_place(codec::place(applied, &membership));
            }
            Ok((answers, batch.applied(), ground.as_ref().map(|_| batch.set_hash())))
        })?;
        let mark = Mark { before: before(applied), changes };
        let only_makes = entries.iter().all(only_makes) || faults::on(Fault::RevocationsStayOpen);
        standing.open_bytes += entries.iter().map(weight).sum::<usize>();
        let is_small =
            changes - self.progress.shown().changes < APPLY_OPEN_MAX_CHANGES && standing.open_bytes < APPLY_OPEN_MAX_BYTES;
        let is_open = only_makes && is_small;
        if is_open {
            self.due.lock().opened.get_or_insert_with(ground::now);
        } else {
            self.commit(standing)?;
        }
        // One after the other: who comes and goes within them was a member.
        memberships.iter().for_each(|membership| self.progress.set_members(membership));
        standing.applied = applied;
        standing.membership = membership;
        if let Some(ground) = ground {
            tell(&*ground, entries, &changed, facts)?;
        }
        if is_open {
            self.progress.take(mark)
        } else {
            self.progress.show(mark)
        }
        Ok(answers)
    }

    fn commit(&self, standing: &mut Standing) -> Result<()> {
        self.due.lock().opened = None;
        standing.open_bytes = 0;
        #[cfg(test)]
        if self.broken.load(std::sync::atomic::Ordering::Acquire) {
            return Err(refuse(Code::DeviceMemory, "the disk is full, on purpose"));
        }
        self.store.put_down()
    }

    /// Lets reads see all that has been applied. Tells whether there was anything that they did not see.
    pub fn put_down(&self) -> Result<bool> {
        if self.progress.is_shown() {
            return Ok(false);
        }
        self.put_down_of(&mut self.standing.lock())
    }

    /// The same, if the store is free by then. Error: `DeviceError`: it is not.
    pub fn put_down_by(&self, deadline: Instant) -> Result<bool> {
        if self.progress.is_shown() {
            return Ok(false);
        }
        let late = || refuse(Code::DeviceError, "the store of this member is not written in time: its disk may hang");
        let mut standing = self.standing.try_lock_until(deadline).ok_or_else(late)?;
        self.put_down_of(&mut standing)
    }

    fn put_down_of(&self, standing: &mut Standing) -> Result<bool> {
        if self.progress.is_shown() {
            return Ok(false);
        }
        self.apply_held(standing)?;
        let _guard = Guard(self);
        self.noting_failure(self.commit(standing))?;
        self.progress.show(self.progress.mark());
        Ok(true)
    }

    /// Whether the caller must see to it that [`Applying::late`] is asked until that is none.
    pub fn is_left_open(&self) -> bool {
        let mut due = self.due.lock();
        due.opened.is_some() && !std::mem::replace(&mut due.is_seen_to, true)
    }

    /// When what is open must be put down at the latest; `None`: nothing is open, and who asked need not ask again.
    pub fn late(&self) -> Option<Instant> {
        let mut due = self.due.lock();
        due.is_seen_to = due.opened.is_some();
        due.opened.map(|opened| opened + Duration::from_millis(APPLY_OPEN_MAX_MILLISECONDS))
    }

    /// Makes everything applied so far durable, so that the log need not keep it.
    pub fn settle(&self) -> Result<SnapshotMeta> {
        let mut standing = self.standing.lock();
        self.put_down_of(&mut standing)?;
        if !faults::on(Fault::PurgeBeforeDurable) {
            self.store.settle()?;
        }
        Ok(SnapshotMeta { last_log_id: standing.applied, last_membership: standing.membership.clone() })
    }

    /// Replaces all by another member's copy.
    pub fn install(&self, meta: &SnapshotMeta, copy: &CheckedCopy) -> Result<()> {
        let mut standing = self.standing.lock();
        self.put_down_of(&mut standing)?;
        let changes = self.store.install(copy)?;
        self.progress.forget_who_left();
        self.progress.set_members(&meta.last_membership);
        standing.applied = meta.last_log_id;
        standing.membership = meta.last_membership.clone();
        self.progress.show(Mark { before: before(meta.last_log_id), changes });
        Ok(())
    }
}

/// Notes a panic of whoever has it, which ends all as a failure does: it takes entries along, or what was open.
struct Guard<'a>(&'a Applying);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("applying the log panicked");
        }
    }
}

fn before(applied: Option<LogId>) -> u64 {
    applied.map_or(0, |id| id.index + 1)
}

/// Whether an entry can do nothing but make new objects.
fn only_makes(entry: &Entry) -> bool {
    match &entry.payload {
        Payload::Blank => true,
        Payload::Normal(command) => codec::only_makes(command),
        Payload::Membership(_) => false,
    }
}

/// Applies one entry within a transaction.
fn apply(
    store: &Store,
    batch: &mut Batch<'_>,
    entry: &Entry,
    membership: &mut StoredMembership,
) -> std::result::Result<Applied, Trouble> {
    match &entry.payload {
        Payload::Blank => Ok(Applied(None)),
        // Every member must do the same with it, so one that cannot read it, being older, must stop.
        Payload::Normal(command) => {
            let proposal = codec::proposal(command)?;
            let client = proposal.request.client;
            let decision = decide(batch, proposal)?;
            if let Some(highest) = batch.highest(client)? {
                store.note_number(client, highest);
            }
            Ok(Applied(Some(decision)))
        }
        Payload::Membership(new) => {
            *membership = StoredMembership::new(Some(entry.log_id), new.clone());
            Ok(Applied(None))
        }
    }
}

/// Tells a simulation what was applied.
fn tell(ground: &dyn Ground, entries: &[Entry], changed: &[bool], facts: Option<[u8; 32]>) -> Result<()> {
    for (entry, changed) in entries.iter().zip(changed) {
        let request = match &entry.payload {
            Payload::Normal(command) => Some(codec::proposal(command)?.request),
            Payload::Blank | Payload::Membership(_) => None,
        };
        let is_last = entries.last().is_some_and(|last| last.log_id == entry.log_id);
        let LogId { leader_id, index } = entry.log_id;
        let facts = facts.filter(|_| is_last);
        let leader = (leader_id.term, leader_id.node_id);
        ground.see(Seen::Applied { index, leader, request, changed: *changed, facts });
    }
    Ok(())
}
