//! A thread that does one thing after the other for a task of the loop. tokio's own pool of threads wakes one while it holds the lock that the
//! woken one wants; here there is nothing to wait for.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::ground;

type Work = Box<dyn FnOnce() + Send>;

/// The way to the thread, which ends when the last one of these is dropped. In a simulation there is none, and work runs as the ground has it.
#[derive(Clone)]
pub struct Hand {
    queue: Option<mpsc::UnboundedSender<Work>>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Hand {
    /// Starts the thread. A panic ends it, as nobody knows what stands on the disk then.
    pub fn start(name: &str) -> io::Result<Self> {
        let (mut queue, mut thread) = (None, None);
        if ground::current().is_none() {
            let (sender, mut works) = mpsc::unbounded_channel::<Work>();
            let run = move || {
                while let Some(work) = works.blocking_recv() {
                    work();
                }
            };
            thread = ground::thread(name, run)?;
            queue = Some(sender);
        }
        Ok(Self { queue, thread: Arc::new(Mutex::new(thread)) })
    }

    /// Runs something on the thread, after what was given to it before. Error: it has panicked.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let Some(queue) = &self.queue else {
            return ground::beside_the_loop(work).await;
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
    use super::Hand;

    #[test]
    fn work_is_done_in_its_order_and_a_thread_that_panicked_is_an_error() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let hand = Hand::start("hand").unwrap();
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
}
