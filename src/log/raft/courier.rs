//! How the loop itself asks one other member, one request after the other: it sends what the socket takes, and is told by the kernel when an
//! answer is there. A thread that waits for the answer in its place costs two switches more a request, in the way of every write.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::io::Interest;

use super::ground;
use super::group::Way;
use super::pulse::Pulse;
use crate::error::{Code, Doing, Error, Result, refuse};
use crate::limits::IDLE_CONNECTION_TRUSTED_SECONDS;
use crate::sys::watch::Watch;

/// The way to one other member that the last request went by, and when, kept for the next one.
#[derive(Default)]
pub struct Courier(Mutex<Option<(Live, Instant)>>);

/// A way, and what tells when it is ready.
struct Live {
    way: Box<dyn Way>,
    watch: Watch,
}

impl Courier {
    /// Sends a request and waits for its answer, on the loop; `read` reads it. `at_hand` gives a way that may have died unnoticed; `open` makes one, on a thread that may
    /// wait. A way that has died (the other side was restarted), or by which nothing comes while the member's `pulse` shows that others reach it (the network
    /// was cut for a while), is replaced, so the request may arrive again.
    pub async fn ask<T>(
        &self,
        request: &[u8],
        (patience, pulse): (Duration, &Pulse),
        at_hand: impl FnOnce() -> Option<Box<dyn Way>>,
        open: impl Fn() -> Result<Box<dyn Way>> + Clone + Send + 'static,
        read: impl Fn(&[u8]) -> Result<T>,
    ) -> Result<T> {
        let deadline = ground::now() + patience;
        let asked = ground::timeout_at(deadline, self.ask_by_any(request, pulse, at_hand, open, read)).await;
        asked.unwrap_or_else(|| Err(refuse(Code::DeviceError, format!("no answer within {patience:?}"))))
    }

    async fn ask_by_any<T>(
        &self,
        request: &[u8],
        pulse: &Pulse,
        at_hand: impl FnOnce() -> Option<Box<dyn Way>>,
        open: impl Fn() -> Result<Box<dyn Way>> + Clone + Send + 'static,
        read: impl Fn(&[u8]) -> Result<T>,
    ) -> Result<T> {
        if let Some(live) = self.idle()
            && let Some(Ok(answer)) = pulse.unless_overtaken(self.ask_by(live, request, &read)).await
        {
            return answer;
        }
        if let Some(way) = at_hand()
            && let Ok(live) = Live::new(way)
            && let Some(Ok(answer)) = pulse.unless_overtaken(self.ask_by(live, request, &read)).await
        {
            return answer;
        }
        // Connecting waits for a second, too, before it tries again what was lost.
        match pulse.unless_overtaken(self.ask_by_new(request, open.clone(), &read)).await {
            Some(answer) => answer,
            None => self.ask_by_new(request, open, &read).await,
        }
    }

    async fn ask_by_new<T>(
        &self,
        request: &[u8],
        open: impl FnOnce() -> Result<Box<dyn Way>> + Send + 'static,
        read: &impl Fn(&[u8]) -> Result<T>,
    ) -> Result<T> {
        let opened = ground::aside(open).await;
        let opened = opened.doing(Code::DeviceError, "connecting to another member broke off").and_then(|opened| opened)?;
        self.ask_by(Live::new(opened)?, request, read).await?
    }

    /// The answer, a refusal included. Error: the way is lost.
    async fn ask_by<T>(&self, mut live: Live, request: &[u8], read: &impl Fn(&[u8]) -> Result<T>) -> Result<Result<T>> {
        let exchange = async { Ok(live.exchange(request).await?.and_then(|answer| read(&answer))) };
        // Whoever panics here would take along the task that sends entries to this member.
        let exchanged = AssertUnwindSafe(exchange).catch_unwind().await;
        let answer = exchanged.unwrap_or_else(|_| Err(refuse(Code::DeviceError, "asking another member panicked")))?;
        *self.0.lock() = Some((live, ground::now()));
        Ok(answer)
    }

    /// The way that was used last, unless even that is too long ago. Whoever breaks off a request has taken its way along.
    fn idle(&self) -> Option<Live> {
        let (live, used) = self.0.lock().take()?;
        (ground::since(used) < Duration::from_secs(IDLE_CONNECTION_TRUSTED_SECONDS)).then_some(live)
    }
}

impl Live {
    fn new(way: Box<dyn Way>) -> Result<Self> {
        let watch = Watch::new(way.socket()).doing(Code::DeviceError, "the loop cannot watch a connection to another member")?;
        Ok(Self { way, watch })
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<Result<Vec<u8>>> {
        let Self { way, watch } = self;
        way.begin(request)?;
        // At first without a look whether it can: nothing else is under way, so that it nearly always can.
        if !way.send()? {
            let sent = watch.when(Interest::WRITABLE, || -> std::result::Result<_, Trouble> { Ok(way.send()?.then_some(())) });
            sent.await.map_err(Trouble::told)?;
        }
        let answer = watch.when(Interest::READABLE, || -> std::result::Result<_, Trouble> { Ok(way.receive()?) });
        answer.await.map_err(Trouble::told)
    }
}

/// Why an exchange ended.
enum Trouble {
    Way(Error),
    Loop(std::io::Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Way(error)
    }
}

impl From<std::io::Error> for Trouble {
    fn from(cause: std::io::Error) -> Self {
        Self::Loop(cause)
    }
}

impl Trouble {
    fn told(self) -> Error {
        match self {
            Self::Way(error) => error,
            Self::Loop(cause) => refuse(Code::DeviceError, "the loop watches no sockets any more").because(cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::os::fd::{AsFd, BorrowedFd};
    use std::os::unix::net::UnixStream;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::{Either, select};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// Carries single bytes.
    struct Bytes(UnixStream, u8);

    fn told(cause: std::io::Error) -> Error {
        refuse(Code::DeviceError, "lost").because(cause)
    }

    /// Swallows what is sent.
    struct Mute(Box<dyn Way>);

    impl Way for Mute {
        fn socket(&self) -> BorrowedFd<'_> {
            self.0.socket()
        }

        fn begin(&mut self, _: &[u8]) -> Result<()> {
            Ok(())
        }

        fn send(&mut self) -> Result<bool> {
            Ok(true)
        }

        fn receive(&mut self) -> Result<Option<Result<Vec<u8>>>> {
            self.0.receive()
        }
    }

    impl Way for Bytes {
        fn socket(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }

        fn begin(&mut self, request: &[u8]) -> Result<()> {
            self.1 = request[0];
            Ok(())
        }

        fn send(&mut self) -> Result<bool> {
            match self.0.write(&[self.1]) {
                Err(cause) if cause.kind() == ErrorKind::WouldBlock => Ok(false),
                sent => sent.map(|_| true).map_err(told),
            }
        }

        fn receive(&mut self) -> Result<Option<Result<Vec<u8>>>> {
            let mut byte = [0];
            match self.0.read(&mut byte) {
                Ok(0) => Err(told(ErrorKind::UnexpectedEof.into())),
                Err(cause) if cause.kind() == ErrorKind::WouldBlock => Ok(None),
                Ok(_) if byte[0] == 101 => Ok(Some(Err(refuse(Code::DeviceError, "refused in words")))),
                Ok(_) if byte[0] == 201 => panic!("on purpose"),
                got => got.map(|_| Some(Ok(byte.to_vec()))).map_err(told),
            }
        }
    }

    /// The other side of each way that was opened: adds one to each byte, and hangs up after so many; 9 is never answered.
    fn other_side(answers: usize, opened: Arc<AtomicUsize>) -> impl Fn() -> Result<Box<dyn Way>> + Clone + Send {
        move || {
            let (here, mut there) = UnixStream::pair().unwrap();
            here.set_nonblocking(true).unwrap();
            opened.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || {
                let mut byte = [0];
                for _ in 0..answers {
                    while there.read_exact(&mut byte).is_ok() && byte[0] == 9 {}
                    std::thread::sleep(Duration::from_millis(5));
                    // Who asked may have gone.
                    let _ = there.write_all(&[byte[0] + 1]);
                }
            });
            Ok(Box::new(Bytes(here, 0)))
        }
    }

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    async fn ask(
        courier: &Courier,
        byte: u8,
        patience: Duration,
        open: impl Fn() -> Result<Box<dyn Way>> + Clone + Send + 'static,
    ) -> Result<u8> {
        courier.ask(&[byte], (patience, &Pulse::default()), || None, open, |answer| Ok(answer[0])).await
    }

    #[test]
    fn requests_go_by_one_way_until_it_is_lost_and_then_by_another() {
        let (courier, opened) = (Courier::default(), Arc::new(AtomicUsize::new(0)));
        let open = other_side(2, opened.clone());
        run(async {
            for number in 1..=5 {
                assert_eq!(ask(&courier, number, PATIENCE, open.clone()).await.unwrap(), number + 1);
            }
        });
        assert_eq!(opened.load(Ordering::SeqCst), 3, "two requests each");
    }

    #[test]
    fn a_request_that_is_not_answered_in_time_takes_its_way_along() {
        let (courier, opened) = (Courier::default(), Arc::new(AtomicUsize::new(0)));
        let open = other_side(5, opened.clone());
        run(async {
            assert_eq!(ask(&courier, 1, PATIENCE, open.clone()).await.unwrap(), 2);
            let late = ask(&courier, 9, Duration::from_millis(50), open.clone()).await.unwrap_err();
            assert_eq!(late.code(), Code::DeviceError);
            assert!(late.to_string().contains("no answer within 50ms"), "{late}");
            // An answer that still came would be taken for the next one's.
            assert_eq!(ask(&courier, 3, PATIENCE, open.clone()).await.unwrap(), 4);
        });
        assert_eq!(opened.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_way_by_which_nothing_comes_is_left_once_the_member_answers_by_others() {
        let (courier, opened, pulse) = (Courier::default(), Arc::new(AtomicUsize::new(0)), Pulse::default());
        let (silent, answering) = (other_side(5, opened.clone()), other_side(5, opened.clone()));
        let count = opened.clone();
        // The first two ways are those of before the cut and of within it: what is asked by them is never answered.
        let open = move || {
            let is_cut = count.load(Ordering::SeqCst) < 2;
            if is_cut { silent().map(|way| Box::new(Mute(way)) as Box<dyn Way>) } else { answering() }
        };
        let hand = open.clone();
        let answer = run(async {
            let asked = courier.ask(&[1], (PATIENCE, &pulse), || hand().ok(), open, |answer| Ok(answer[0]));
            let beats = async {
                loop {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    pulse.answered(ground::now());
                }
            };
            match select(pin!(asked), pin!(beats)).await {
                Either::Left((answer, _)) => answer,
                Either::Right(((), _)) => unreachable!("beats never end"),
            }
        });
        assert_eq!((answer.unwrap(), opened.load(Ordering::SeqCst)), (2, 3));
    }

    #[test]
    fn a_refusal_is_an_answer_and_a_panic_costs_its_way_only() {
        let (courier, opened) = (Courier::default(), Arc::new(AtomicUsize::new(0)));
        let open = other_side(5, opened.clone());
        run(async {
            let refused = ask(&courier, 100, PATIENCE, open.clone()).await.unwrap_err();
            assert!(refused.to_string().contains("refused in words"));
            assert_eq!(ask(&courier, 1, PATIENCE, open.clone()).await.unwrap(), 2);
            assert_eq!(opened.load(Ordering::SeqCst), 1);
            let panicked = ask(&courier, 200, PATIENCE, open.clone()).await.unwrap_err();
            assert!(panicked.to_string().contains("panicked"), "{panicked}");
            assert_eq!(ask(&courier, 1, PATIENCE, open.clone()).await.unwrap(), 2);
        });
    }

    #[test]
    fn one_that_was_at_hand_is_taken_and_if_it_is_dead_a_new_one() {
        for answers in [0, 1] {
            let (courier, opened) = (Courier::default(), Arc::new(AtomicUsize::new(0)));
            let (hand, new) = (other_side(answers, opened.clone()), other_side(1, opened.clone()));
            let answer =
                run(courier.ask(&[1], (PATIENCE, &Pulse::default()), || hand().ok(), new, |answer| Ok(answer[0]))).unwrap();
            assert_eq!((answer, opened.load(Ordering::SeqCst)), (2, 2 - answers));
        }
    }

    #[test]
    fn what_cannot_be_read_costs_no_way_and_who_cannot_be_reached_is_an_error() {
        let (courier, opened) = (Courier::default(), Arc::new(AtomicUsize::new(0)));
        run(async {
            let open = other_side(2, opened.clone());
            let foreign = |_: &[u8]| -> Result<u8> { Err(refuse(Code::DeviceError, "foreign bytes")) };
            let told = courier.ask(&[1], (PATIENCE, &Pulse::default()), || None, open.clone(), foreign).await.unwrap_err();
            assert!(told.to_string().contains("foreign bytes"));
            assert_eq!(ask(&courier, 1, PATIENCE, open).await.unwrap(), 2);
            assert_eq!(opened.load(Ordering::SeqCst), 1);
            let gone = || Err(refuse(Code::DeviceError, "nobody listens"));
            assert!(ask(&Courier::default(), 1, PATIENCE, gone).await.unwrap_err().to_string().contains("nobody listens"));
        });
    }
}
