//! A thread that does one thing after the other for a task of the loop. tokio's own pool of threads wakes one while it holds the lock that the
//! woken one wants; here there is nothing to wait for.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{mpsc, oneshot};

use super::ground;

type Work = Box<dyn FnOnce() + Send>;

/// Threads that run, for whoever must not leave before them.
#[derive(Default)]
pub struct Running {
    threads: Mutex<usize>,
    fewer: Condvar,
}

impl Running {
    /// Counts one thread, until what this returns is dropped on it.
    fn one(self: &Arc<Self>) -> OneOf {
        *self.threads.lock() += 1;
        OneOf(self.clone())
    }

    /// Waits until none runs, but not for longer than that: a look-up of a name has no deadline.
    pub fn wait(&self, longest: Duration) {
        let mut threads = self.threads.lock();
        self.fewer.wait_while_for(&mut threads, |threads| *threads > 0, longest);
    }
}

struct OneOf(Arc<Running>);

impl Drop for OneOf {
    fn drop(&mut self) {
        *self.0.threads.lock() -= 1;
        self.0.fewer.notify_all();
    }
}

/// What its work waits for.
#[derive(Clone, Copy)]
pub enum For {
    /// This member's disk.
    Disk,
    /// Other members.
    Others,
}

/// The way to the thread, which ends when the last one of these is dropped. In a simulation there is none, and work runs as the ground has it.
#[derive(Clone)]
pub struct Hand {
    waits_for: For,
    queue: Option<mpsc::UnboundedSender<Work>>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Hand {
    /// Starts the thread. A panic ends the one that waits for the disk, as nobody knows what stands there; whoever asked others has no answer, and
    /// the thread goes on.
    pub fn start(name: &str, waits_for: For, running: &Arc<Running>) -> io::Result<Self> {
        let (mut queue, mut thread) = (None, None);
        if ground::current().is_none() {
            let (sender, mut works) = mpsc::unbounded_channel::<Work>();
            let counted = running.one();
            let run = move || {
                let _counted = counted;
                while let Some(work) = works.blocking_recv() {
                    match waits_for {
                        For::Disk => work(),
                        // The panic has been reported by itself.
                        For::Others => drop(catch_unwind(AssertUnwindSafe(work))),
                    }
                }
            };
            thread = ground::thread(name, run)?;
            queue = Some(sender);
        }
        Ok(Self { waits_for, queue, thread: Arc::new(Mutex::new(thread)) })
    }

    /// Runs something on the thread, after what was given to it before. Error: it has panicked.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let Some(queue) = &self.queue else {
            return match self.waits_for {
                For::Disk => ground::beside_the_loop(work).await,
                For::Others => ground::aside(work).await,
            };
        };
        let (done, answer) = oneshot::channel();
        // Who waited may have gone.
        let work = Box::new(move || drop(done.send(work())));
        queue.send(work).map_err(|gone| io::Error::other(format!("a thread of the group has ended: {gone}")))?;
        answer.await.map_err(io::Error::other)
    }

    /// The thread, to be waited for once all of these are dropped.
    pub fn thread(&self) -> Option<JoinHandle<()>> {
        self.thread.lock().take()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::{For, Hand, Running};

    #[test]
    fn work_is_done_in_its_order_and_a_thread_that_panicked_is_an_error() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let hand = Hand::start("hand", For::Disk, &Arc::default()).unwrap();
        let thread = hand.thread().unwrap();
        let (told, heard) = std::sync::mpsc::channel();
        runtime.block_on(async {
            for number in 0..3 {
                let told = told.clone();
                assert_eq!(hand.run(move || told.send(number).map(|()| number)).await.unwrap(), Ok(number));
            }
            assert!(hand.run(|| panic!("on purpose")).await.is_err());
            assert!(hand.run(|| ()).await.is_err());
        });
        drop((hand, told));
        assert!(thread.join().is_err());
        assert_eq!(heard.iter().collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn a_call_to_others_that_panics_costs_that_call_only_and_the_thread_is_waited_for() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let running = Arc::new(Running::default());
        let hand = Hand::start("hand", For::Others, &running).unwrap();
        runtime.block_on(async {
            assert!(hand.run(|| panic!("on purpose")).await.is_err());
            assert_eq!(hand.run(|| 7).await.unwrap(), 7);
        });
        let begun = Instant::now();
        running.wait(Duration::from_millis(20));
        assert!(begun.elapsed() >= Duration::from_millis(20), "it still runs");
        drop(hand);
        running.wait(Duration::from_secs(60));
        assert_eq!(*running.threads.lock(), 0);
    }
}
