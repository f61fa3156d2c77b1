//! The log as openraft wants it: readable as soon as it is handed over, told when it is on the disk.
//!
//! The latest entries are in memory; older ones are read by the thread that writes, which alone may open the file.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::time::Instant;

use futures_util::Stream;
use futures_util::stream::unfold;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use parking_lot::Mutex;

use super::codec;
use super::disk::{Disk, Told, Write};
use super::types::{Entry, LogId, Payload, Types, Vote};
use crate::error::{Code, Result, refuse};
use crate::limits::{APPEND_MAX_BYTES, LOG_TAIL_MAX_BYTES};
use crate::store::{Journal, JournalFact};

/// The log of one member. Clones are the same log.
#[derive(Clone)]
pub struct LogStore {
    tail: Arc<Mutex<Tail>>,
    disk: Disk,
}

/// What is known of the log without reading it.
#[derive(Default)]
pub struct Tail {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    last: Option<LogId>,
    /// The latest entries, without a gap up to `last`.
    entries: BTreeMap<u64, Entry>,
    bytes: usize,
    /// How many bytes it has been given since it was loaded.
    given: u64,
    /// Entries before this index are on the disk, and may be forgotten here.
    flushed_before: u64,
}

/// Roughly what an entry costs in memory.
pub fn weight(entry: &Entry) -> usize {
    const FRAME_BYTES: usize = 128;
    match &entry.payload {
        Payload::Blank => FRAME_BYTES,
        Payload::Normal(command) => FRAME_BYTES + command.0.len(),
        Payload::Membership(membership) => FRAME_BYTES * (1 + membership.nodes().count()),
    }
}

impl Tail {
    /// Reads what a journal holds, and that it has no gap.
    pub fn load(journal: &Journal) -> Result<Self> {
        let id = |name| -> Result<Option<LogId>> {
            let bytes = journal.fact(name)?;
            bytes.map(|bytes| codec::decode::<codec::LogIdRow>(&bytes, "a fact of the log")?.read()).transpose()
        };
        let vote = journal.fact(JournalFact::Vote)?;
        let vote = vote.map(|bytes| codec::decode::<codec::VoteRow>(&bytes, "the vote")?.read()).transpose()?;
        let purged = id(JournalFact::Purged)?;
        let mut tail = Self { vote, committed: id(JournalFact::Committed)?, purged, last: purged, ..Self::default() };
        // What was to be dropped may be there in part.
        let beyond = |(_, last): &(u64, u64)| purged.is_none_or(|purged| *last > purged.index);
        let Some((first, last)) = journal.ends()?.filter(beyond) else {
            tail.forget_beyond_the_log();
            return Ok(tail);
        };
        let expected = purged.map_or(0, |purged| purged.index + 1);
        if first > expected {
            let told = format!("the log lacks the entries from {expected} to {first}");
            return Err(refuse(Code::StoreRefused, told + "; remove this member and add it as a new one"));
        }
        for (_, bytes) in journal.read(last..last + 1, usize::MAX)? {
            tail.push(codec::decode_entry(&bytes)?);
        }
        tail.flushed_before = last + 1;
        tail.forget_beyond_the_log();
        Ok(tail)
    }

    /// The committed place is written with whatever is written next, and a quorum of others can commit an entry that is still on its way to this disk:
    /// after a power failure it may stand beyond the log's end. All that is here is committed then; the rest is learnt from the leader.
    fn forget_beyond_the_log(&mut self) {
        let index = |id: Option<LogId>| id.map(|id| id.index);
        if index(self.committed) > index(self.last) {
            self.committed = self.last;
        }
    }

    /// The last entry's place.
    pub fn last(&self) -> Option<LogId> {
        self.last
    }

    /// The last entry that is known to be committed.
    pub fn committed(&self) -> Option<LogId> {
        self.committed
    }

    /// The vote.
    pub fn vote(&self) -> Option<Vote> {
        self.vote
    }

    fn push(&mut self, entry: Entry) {
        self.last = Some(entry.log_id);
        self.bytes += weight(&entry);
        self.given += weight(&entry) as u64;
        if let Some(old) = self.entries.insert(entry.log_id.index, entry) {
            self.bytes -= weight(&old);
        }
        while self.bytes > LOG_TAIL_MAX_BYTES {
            match self.entries.first_key_value() {
                Some((first, _)) if *first < self.flushed_before => self.pop_first(),
                _ => break,
            }
        }
    }

    fn pop_first(&mut self) {
        if let Some((_, old)) = self.entries.pop_first() {
            self.bytes -= weight(&old);
        }
    }

    fn truncate_after(&mut self, last: Option<LogId>) {
        let gone = self.entries.split_off(&last.map_or(0, |id| id.index + 1));
        self.bytes -= gone.values().map(weight).sum::<usize>();
        self.last = self.last.min(last).max(self.purged);
    }

    fn purge(&mut self, upto: LogId) {
        while self.entries.first_key_value().is_some_and(|(first, _)| *first <= upto.index) {
            self.pop_first();
        }
        self.purged = self.purged.max(Some(upto));
        self.last = self.last.max(Some(upto));
    }

    /// The entries of a range that are in memory, and which part of it, before them, is not.
    fn read(&self, start: u64, end: u64, max_bytes: usize) -> Found {
        let start = start.max(self.purged.map_or(0, |purged| purged.index + 1));
        let end = end.min(self.last.map_or(0, |last| last.index + 1));
        if start >= end {
            return Found::Here(Vec::new());
        }
        match self.entries.first_key_value() {
            Some((first, _)) if *first <= start => {
                let mut bytes = 0;
                let fits = |entry: &&Entry| {
                    let is_first = bytes == 0;
                    bytes += weight(entry);
                    is_first || bytes <= max_bytes
                };
                Found::Here(self.entries.range(start..end).map(|(_, entry)| entry).take_while(fits).cloned().collect())
            }
            first => Found::OnDisk(start, first.map_or(end, |(first, _)| end.min(*first))),
        }
    }
}

enum Found {
    Here(Vec<Entry>),
    OnDisk(u64, u64),
}

impl LogStore {
    /// The log of a member whose journal says `tail`.
    pub fn new(tail: Tail, disk: Disk) -> Self {
        Self { tail: Arc::new(Mutex::new(tail)), disk }
    }

    /// Lets the writing thread end, once what is queued is written.
    pub fn close(&self) {
        self.disk.close();
    }

    /// How many bytes of entries it has been given since this member started.
    pub fn given(&self) -> u64 {
        self.tail.lock().given
    }

    /// Entries before this index are on the disk.
    pub fn flushed_before(&self) -> u64 {
        self.tail.lock().flushed_before
    }

    /// Since when the writing thread is at what it does, if it does something.
    pub fn writing_since(&self) -> Option<Instant> {
        self.disk.writing_since()
    }

    /// Holds the writing thread up until the other end is dropped.
    #[cfg(test)]
    pub fn hang_disk(&self, until: std::sync::mpsc::Receiver<()>) {
        self.disk.send(Write::Hang(until)).unwrap();
    }

    /// Lets every sync of the log fail from now on.
    #[cfg(test)]
    pub async fn break_disk(&self) {
        self.disk.send(Write::Break).unwrap();
    }

    /// Has the committed place on the disk when this returns: after a power failure the member applies up to it before it does anything else.
    pub async fn keep_committed(&self) -> io::Result<()> {
        self.disk.keep_committed().await
    }

    /// Writes a fact beside the log; durable when this returns.
    pub async fn set(&self, name: JournalFact, bytes: Vec<u8>) -> io::Result<()> {
        self.disk.ask(|done| Write::Set(name, bytes, done)).await
    }

    /// Some entries from `start` on, before `end`: at least one if there is one.
    async fn some(&self, start: u64, end: u64, max_bytes: usize) -> io::Result<Vec<Entry>> {
        let found = self.tail.lock().read(start, end, max_bytes);
        let (from, to) = match found {
            Found::Here(entries) => return Ok(entries),
            Found::OnDisk(from, to) => (from, to),
        };
        let entries = self.disk.ask(|done| Write::Read(from..to, done)).await?;
        let purged_before = self.tail.lock().purged.map_or(0, |purged| purged.index + 1);
        if entries.first().is_some_and(|first| first.log_id.index != from) && from >= purged_before {
            return Err(io::Error::other(format!("the log lacks the entry {from}, which nobody has dropped")));
        }
        // A log that begins with a snapshot has nothing on the disk before its first entry.
        match (entries.is_empty(), self.tail.lock().read(to, end, max_bytes)) {
            (true, Found::Here(entries)) => Ok(entries),
            _ => Ok(entries),
        }
    }
}

/// A range's first index and the one after its last.
fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<Entry>> {
        let (mut next, end) = bounds(&range);
        let mut entries = Vec::new();
        while next < end {
            let some = self.some(next, end, usize::MAX).await?;
            let Some(last) = some.last() else { break };
            next = last.log_id.index + 1;
            entries.extend(some);
        }
        Ok(entries)
    }

    async fn entries_stream<R>(&mut self, range: R) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = bounds(&range);
        let log = self.clone();
        Box::pin(unfold((log, start, Vec::new().into_iter()), move |(log, next, mut ready)| async move {
            if let Some(entry) = ready.next() {
                return Some((Ok(entry), (log, next, ready)));
            }
            if next >= end {
                return None;
            }
            match log.some(next, end, APPEND_MAX_BYTES).await {
                Ok(some) => {
                    let next = some.last()?.log_id.index + 1;
                    let mut ready = some.into_iter();
                    ready.next().map(|entry| (Ok(entry), (log, next, ready)))
                }
                Err(error) => Some((Err(error), (log, end, Vec::new().into_iter()))),
            }
        }))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.some(start, end, APPEND_MAX_BYTES).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.tail.lock().vote)
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let tail = self.tail.lock();
        Ok(LogState { last_purged_log_id: tail.purged, last_log_id: tail.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.tail.lock().vote = Some(*vote);
        self.disk.ask(|done| Write::Vote(*vote, done)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.tail.lock().committed = committed;
        if let Some(place) = committed {
            self.disk.commit(place);
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.tail.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let permit = self.disk.room(entries.iter().map(weight).sum()).await?;
        {
            let mut tail = self.tail.lock();
            entries.iter().for_each(|entry| tail.push(entry.clone()));
        }
        let (tail, end) = (self.tail.clone(), entries.last().map_or(0, |last| last.log_id.index + 1));
        let flushed = Box::new(move || {
            let mut tail = tail.lock();
            tail.flushed_before = tail.flushed_before.max(end);
        });
        self.disk.send_after_others(Write::Append(entries, Told::by(callback), flushed, permit))
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let from = last.map_or(0, |id| id.index + 1);
        self.tail.lock().truncate_after(last);
        self.disk.ask(|done| Write::DropFrom(from, done)).await?;
        let mut tail = self.tail.lock();
        tail.flushed_before = tail.flushed_before.min(from);
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.tail.lock().purge(upto);
        self.disk.send(Write::Purge(upto))
    }
}
