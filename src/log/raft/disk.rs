//! The thread that writes the log: one writer, many entries to one sync, answers in the order of the writes.
//!
//! An error ends it for good: what is on the disk is uncertain then, and a sync that failed is never tried again. Everything that was queued,
//! and everything after, gets the error; openraft stops, and the member is poisoned.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use openraft::storage::IOFlushed;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::codec;
use super::ground::{self, Ground};
use super::types::{Entry, LogId, Types, Vote};
use crate::error::{Code, Doing, Result};
use crate::faults::{self, Fault};
use crate::limits::{APPEND_MAX_BYTES, JOURNAL_QUEUE_MAX, JOURNAL_QUEUE_MAX_BYTES, LOG_DROPPED_AT_ONCE_ENTRIES};
use crate::store::{Journal, JournalFact, JournalWrite, Trouble};

/// Permits are counted in units of this many bytes.
const PERMIT_BYTES: usize = 1024;

/// What is asked of the writing thread.
pub enum Write {
    /// Entries, and whom to tell when they are on the disk; the permit stands for their bytes.
    Append(Vec<Entry>, Told, Flushed, OwnedSemaphorePermit),
    /// A vote.
    Vote(Vote, Done<()>),
    /// Has what [`Disk::commit`] was told written, unless another write has taken it along.
    Committed(Option<Done<()>>),
    /// Drops the entries from an index on.
    DropFrom(u64, Done<()>),
    /// Drops the entries up to one. Nobody waits for it.
    Purge(LogId),
    /// Another fact.
    Set(JournalFact, Vec<u8>, Done<()>),
    /// Reads entries that are no longer in memory; at least one, and not much more than [`APPEND_MAX_BYTES`].
    Read(Range<u64>, Done<Vec<Entry>>),
    /// Ends the thread.
    End,
    /// From now on the disk refuses to sync.
    #[cfg(test)]
    Break,
    /// The disk hangs until the other end is gone.
    #[cfg(test)]
    Hang(std::sync::mpsc::Receiver<()>),
}

/// Who waits for entries to be on the disk. It is told so also when the thread has ended with them, or before it was given them: a member whose log is not
/// written must not go on as if it were slow.
pub struct Told(Option<IOFlushed<Types>>);

impl Told {
    /// By this.
    pub fn by(callback: IOFlushed<Types>) -> Self {
        Self(Some(callback))
    }

    fn tell(mut self, result: io::Result<()>) {
        if let Some(callback) = self.0.take() {
            callback.io_completed(result);
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if let Some(callback) = self.0.take() {
            callback.io_completed(Err(ended(&"entries were not written")));
        }
    }
}

/// Whom to tell.
pub type Done<T> = oneshot::Sender<io::Result<T>>;
/// Called when entries are on the disk.
pub type Flushed = Box<dyn FnOnce() + Send>;

/// The way to the writing thread, which closes the journal when it is told to, or when the last one of these is dropped.
#[derive(Clone)]
pub struct Disk {
    queue: Arc<Queue>,
    bytes: Arc<Semaphore>,
    committed: Arc<Mutex<Committed>>,
    writing: Arc<Mutex<Option<Instant>>>,
}

/// What is to be written, in its order. How much it is bounded by [`Disk::room`].
struct Queue {
    to_thread: mpsc::UnboundedSender<Write>,
    /// What the thread has not been given yet.
    waiting: Mutex<Vec<Write>>,
}

impl Queue {
    /// Gives the thread one more write, after those that wait.
    fn send(&self, write: Write) -> io::Result<()> {
        let mut waiting = self.waiting.lock();
        waiting.push(write);
        self.give(&mut waiting)
    }

    /// Leaves one for [`Queue::send_waiting`]. Error: the thread has ended.
    fn leave(&self, write: Write) -> io::Result<()> {
        if self.to_thread.is_closed() {
            return self.send(write);
        }
        self.waiting.lock().push(write);
        Ok(())
    }

    /// Gives it those that wait.
    fn send_waiting(&self) {
        // Who waits for one that is refused has been told.
        let _ = self.give(&mut self.waiting.lock());
    }

    /// Error: the thread has ended. Whoever waits for one of these is told by its end.
    fn give(&self, waiting: &mut Vec<Write>) -> io::Result<()> {
        let mut given = Ok(());
        for write in waiting.drain(..) {
            given = self.to_thread.send(write).map_err(|lost| ended(&lost));
        }
        given
    }
}

/// Up to where the log is known to be committed.
#[derive(Default)]
struct Committed {
    /// Not written yet.
    unwritten: Option<LogId>,
    /// Whether it is going to be written, at the latest after [`COMMITTED_WAITS`].
    is_due: bool,
}

/// How long the committed place waits for a write that takes it along. A sync of its own would keep the next entry waiting; what is lost with it
/// after a power failure is learnt from the leader.
const COMMITTED_WAITS: Duration = Duration::from_millis(20);

impl Disk {
    /// Starts the thread.
    pub fn start(journal: Journal) -> Result<(Self, Option<JoinHandle<()>>)> {
        let (to_thread, writes) = mpsc::unbounded_channel();
        let queue = Arc::new(Queue { to_thread, waiting: Mutex::default() });
        let committed = Arc::<Mutex<Committed>>::default();
        let writing = Arc::<Mutex<Option<Instant>>>::default();
        let writer =
            Writer { journal, committed: committed.clone(), writing: writing.clone(), purges_before: None, failed: None };
        let thread = match ground::current() {
            None => {
                let thread = std::thread::Builder::new().name("raft-log".into()).spawn(move || run(writer, writes));
                Some(thread.doing(Code::HostMemory, "cannot start the thread that writes the log")?)
            }
            Some(ground) => {
                ground.spawn(Box::pin(run_simulated(ground.clone(), writer, writes)));
                None
            }
        };
        let bytes = Arc::new(Semaphore::new(JOURNAL_QUEUE_MAX_BYTES / PERMIT_BYTES));
        Ok((Self { queue, bytes, committed, writing }, thread))
    }

    /// Since when the thread is at what it does; `None`: there is nothing to do.
    pub fn writing_since(&self) -> Option<Instant> {
        *self.writing.lock()
    }

    /// Waits until there is room for so many bytes.
    pub async fn room(&self, bytes: usize) -> io::Result<OwnedSemaphorePermit> {
        let permits = (bytes / PERMIT_BYTES + 1).min(JOURNAL_QUEUE_MAX_BYTES / PERMIT_BYTES);
        let permits = u32::try_from(permits).expect("the bound is some ten thousand permits");
        self.bytes.clone().acquire_many_owned(permits).await.map_err(io::Error::other)
    }

    /// Queues a write.
    pub fn send(&self, write: Write) -> io::Result<()> {
        self.queue.send(write)
    }

    /// Queues a write after the other things that the loop has to do now. Sending the same to other members is one of them, and takes longer; but a thread that is
    /// woken may have the loop's processor at once.
    pub fn send_after_others(&self, write: Write) -> io::Result<()> {
        if ground::current().is_some() {
            return self.send(write);
        }
        self.queue.leave(write)?;
        let queue = self.queue.clone();
        ground::spawn(Box::pin(async move {
            tokio::task::yield_now().await;
            queue.send_waiting();
        }));
        Ok(())
    }

    /// Has the committed place written, with the next write or soon.
    pub fn commit(&self, place: LogId) {
        let mut committed = self.committed.lock();
        committed.unwritten = Some(place);
        if !std::mem::replace(&mut committed.is_due, true) {
            let disk = self.clone();
            ground::spawn(Box::pin(async move {
                ground::sleep_until(ground::now() + COMMITTED_WAITS).await;
                disk.committed.lock().is_due = false;
                // If the thread has ended, it has written it.
                let _ = disk.send(Write::Committed(None));
            }));
        }
    }

    /// Waits until the committed place is on the disk.
    pub async fn keep_committed(&self) -> io::Result<()> {
        self.ask(|done| Write::Committed(Some(done))).await
    }

    /// Ends the thread, once what is queued is written.
    pub fn close(&self) {
        // If it has ended already, that is as well.
        let _ = self.send(Write::End);
    }

    /// Queues a write and waits for its answer.
    pub async fn ask<T>(&self, write: impl FnOnce(Done<T>) -> Write) -> io::Result<T> {
        let (done, answer) = oneshot::channel();
        self.send(write(done))?;
        answer.await.unwrap_or_else(|lost| Err(ended(&lost)))
    }
}

fn ended(cause: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("the thread that writes the log has ended: {cause}"))
}

/// Writes what has been queued, all of it at once.
struct Writer {
    journal: Journal,
    committed: Arc<Mutex<Committed>>,
    /// Since when it is at what it does.
    writing: Arc<Mutex<Option<Instant>>>,
    /// Entries before this index are to be dropped.
    purges_before: Option<u64>,
    /// Why nothing is written any more.
    failed: Option<String>,
}

impl Writer {
    /// Writes a batch in one transaction, then answers each. Tells whether that was the end.
    fn write(&mut self, batch: &mut Vec<Write>) -> bool {
        let ended = batch.iter().any(|write| matches!(write, Write::End));
        #[cfg(test)]
        if batch.iter().any(|write| matches!(write, Write::Break)) {
            use crate::sys::vfs::fault::{self, Action, Operation};
            fault::arm(Action::Fail(Operation::Sync, 5), 0);
        }
        #[cfg(test)]
        for write in batch.iter() {
            if let Write::Hang(until) = write {
                // The other end sends nothing.
                let _ = until.recv();
            }
        }
        let is_write = batch.iter().any(|write| !matches!(write, Write::Read(..) | Write::Committed(_) | Write::End));
        let takes_along = is_write || batch.iter().any(|write| matches!(write, Write::Committed(_) | Write::End));
        let committed = if takes_along { self.committed.lock().unwritten.take() } else { None };
        let purged = |write: &Write| if let Write::Purge(id) = write { Some(id.index + 1) } else { None };
        self.purges_before = batch.iter().filter_map(purged).max().max(self.purges_before);
        if (is_write || committed.is_some()) && self.failed.is_none() {
            let purges_before = &mut self.purges_before;
            let written = self.journal.write(|journal| {
                batch.iter().try_for_each(|write| put(journal, write))?;
                // A part with each write, as nobody is to wait for all of them. What is left at a stop is left to the next purge.
                if let Some(before) = *purges_before
                    && journal.drop_before(before, LOG_DROPPED_AT_ONCE_ENTRIES)?
                {
                    *purges_before = None;
                }
                committed.map_or(Ok(()), |id| journal.set(JournalFact::Committed, &codec::encode(&codec::LogIdRow::from(id))))
            });
            self.failed = written.err().map(|error| error.to_string());
        }
        for write in batch.drain(..) {
            let result = self.failed.as_ref().map_or(Ok(()), |told| Err(io::Error::other(told.clone())));
            tell(&self.journal, write, result);
        }
        ended
    }
}

fn run(mut writer: Writer, mut writes: mpsc::UnboundedReceiver<Write>) {
    let mut batch = Vec::new();
    while writes.blocking_recv_many(&mut batch, JOURNAL_QUEUE_MAX) > 0 {
        *writer.writing.lock() = Some(Instant::now());
        let has_ended = writer.write(&mut batch);
        *writer.writing.lock() = None;
        if has_ended {
            break;
        }
    }
}

/// The same as a task: what is queued while the disk is busy is written together.
async fn run_simulated(ground: Arc<dyn Ground>, mut writer: Writer, mut writes: mpsc::UnboundedReceiver<Write>) {
    let mut batch = Vec::new();
    while writes.recv_many(&mut batch, JOURNAL_QUEUE_MAX).await > 0 {
        ground::disk_time(&*ground).await;
        if writer.write(&mut batch) {
            break;
        }
    }
}

fn put(journal: &JournalWrite<'_>, write: &Write) -> std::result::Result<(), Trouble> {
    match write {
        Write::Append(entries, ..) => {
            entries.iter().try_for_each(|entry| journal.put(entry.log_id.index, &codec::encode_entry(entry)))
        }
        Write::Vote(..) if faults::on(Fault::VoteNotKept) => Ok(()),
        Write::Vote(vote, _) => journal.set(JournalFact::Vote, &codec::encode(&codec::VoteRow::from(*vote))),
        Write::DropFrom(index, _) => journal.drop_from(*index),
        Write::Purge(id) => journal.set(JournalFact::Purged, &codec::encode(&codec::LogIdRow::from(*id))),
        Write::Set(name, bytes, _) => journal.set(*name, bytes),
        Write::Read(..) | Write::Committed(_) | Write::End => Ok(()),
        #[cfg(test)]
        Write::Break | Write::Hang(_) => Ok(()),
    }
}

/// Answers a write. Who asked may have gone: nobody needs the answer then.
fn tell(journal: &Journal, write: Write, result: io::Result<()>) {
    match write {
        Write::Append(_, callback, flushed, permit) => {
            if result.is_ok() {
                flushed();
            }
            drop(permit);
            callback.tell(result);
        }
        Write::Vote(_, done) | Write::DropFrom(_, done) | Write::Set(_, _, done) | Write::Committed(Some(done)) => {
            drop(done.send(result));
        }
        Write::Read(range, done) => drop(done.send(result.and_then(|()| read(journal, range)))),
        Write::Committed(None) | Write::Purge(_) | Write::End => {}
        #[cfg(test)]
        Write::Break | Write::Hang(_) => {}
    }
}

fn read(journal: &Journal, range: Range<u64>) -> io::Result<Vec<Entry>> {
    let rows = journal.read(range, APPEND_MAX_BYTES).map_err(io::Error::other)?;
    rows.iter().map(|(_, bytes)| codec::decode_entry(bytes).map_err(io::Error::other)).collect()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use openraft::alias::OneshotReceiverOf;
    use openraft::type_config::TypeConfigExt;

    use super::*;

    fn queue() -> (Queue, mpsc::UnboundedReceiver<Write>) {
        let (to_thread, writes) = mpsc::unbounded_channel();
        (Queue { to_thread, waiting: Mutex::default() }, writes)
    }

    fn place(write: Option<Write>) -> u64 {
        let Some(Write::Purge(id)) = write else { panic!("nothing is lost") };
        id.index
    }

    fn purge(index: u64) -> Write {
        Write::Purge(LogId { leader_id: openraft::impls::leader_id_adv::LeaderId { term: 1, node_id: 1 }, index })
    }

    #[test]
    fn what_waits_for_others_keeps_its_place() {
        let (queue, mut writes) = queue();
        queue.leave(purge(1)).unwrap();
        queue.leave(purge(2)).unwrap();
        assert!(writes.try_recv().is_err());
        queue.send(purge(3)).unwrap();
        assert_eq!([1, 2, 3].map(|_| place(writes.try_recv().ok())), [1, 2, 3]);
        queue.leave(purge(4)).unwrap();
        queue.send_waiting();
        assert_eq!(place(writes.try_recv().ok()), 4);
        queue.send_waiting();
        assert!(writes.try_recv().is_err());
        drop(writes);
        assert!(queue.leave(purge(5)).is_err() && queue.send(purge(6)).is_err());
        assert!(queue.waiting.lock().is_empty());
    }

    #[test]
    fn whoever_waits_for_entries_hears_of_the_end_of_the_thread() {
        let append = || {
            let (done, heard) = Types::oneshot();
            let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
            (Write::Append(Vec::new(), Told::by(IOFlushed::signal(done)), Box::new(|| ()), permit), heard)
        };
        let is_told = |heard: OneshotReceiverOf<Types, io::Result<()>>| matches!(heard.now_or_never(), Some(Ok(Err(_))));
        let (queue, mut writes) = queue();
        // One that the thread has in its hands when it panics, one that is queued, one that waits, and one that comes too late.
        let [(first, in_hand), (second, queued), (third, waiting), (fourth, late)] = [(); 4].map(|()| append());
        queue.send(first).unwrap();
        let taken = writes.try_recv().unwrap();
        queue.send(second).unwrap();
        queue.leave(third).unwrap();
        drop((taken, writes));
        assert!(is_told(in_hand) && is_told(queued));
        queue.send_waiting();
        assert!(is_told(waiting));
        assert!(queue.leave(fourth).is_err() && is_told(late));
    }
}
