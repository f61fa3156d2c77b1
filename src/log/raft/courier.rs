//! How the loop itself asks one other member, one request after the other: it sends what the socket takes, and is told by the kernel when an
//! answer is there. A thread that waits for the answer in its place costs two switches more a request, in the way of every write.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use parking_lot::Mutex;

use super::ground;
use super::group::Way;
use crate::error::{Code, Doing, Error, Result, refuse};
use crate::limits::IDLE_CONNECTION_TRUSTED_SECONDS;
use crate::sys::watch::Watch;

/// The way to one other member, kept for the next request.
#[derive(Default)]
pub struct Courier(Mutex<Kept>);

#[derive(Default)]
enum Kept {
    /// None yet, or it is under way.
    #[default]
    Nothing,
    /// One that the last request went by.
    Idle(Live, Instant),
    /// There are none of these here.
    Never,
}

/// A way, and what tells when it is ready.
struct Live {
    way: Box<dyn Way>,
    watch: Watch,
}

/// What came of a request.
pub enum Carried {
    /// The answer, or why there is none.
    Asked(Result<Vec<u8>>),
    /// Another carrier must be found.
    NoWay,
}

impl Courier {
    /// Sends a request and waits for its answer, on the loop. `open` makes a way, a fresh one or any, on a thread that may wait.
    ///
    /// An idle way may have died unnoticed (the other side was restarted): then the request goes out again by another one, so it may arrive twice.
    pub async fn ask(
        &self,
        request: &[u8],
        patience: Duration,
        open: impl Fn(bool, Duration) -> Result<Option<Box<dyn Way>>> + Clone + Send + 'static,
    ) -> Carried {
        // A simulation's members have no sockets.
        if ground::current().is_some() || matches!(*self.0.lock(), Kept::Never) {
            return Carried::NoWay;
        }
        let deadline = ground::now() + patience;
        let asked = ground::timeout_at(deadline, self.ask_by_any(request, patience, open)).await;
        asked.unwrap_or_else(|| Carried::Asked(Err(refuse(Code::DeviceError, format!("no answer within {patience:?}")))))
    }

    async fn ask_by_any(
        &self,
        request: &[u8],
        patience: Duration,
        open: impl Fn(bool, Duration) -> Result<Option<Box<dyn Way>>> + Clone + Send + 'static,
    ) -> Carried {
        if let Some(live) = self.idle()
            && let Ok(answer) = self.ask_by(live, request).await
        {
            return Carried::Asked(answer);
        }
        let mut last = None;
        for is_fresh in [false, true] {
            let open = open.clone();
            let opened = ground::aside(move || open(is_fresh, patience)).await;
            let opened = opened.doing(Code::DeviceError, "connecting to another member broke off").and_then(|opened| opened);
            let live = match opened.map(|way| way.map(Live::new)) {
                Ok(Some(Ok(live))) => live,
                Ok(None) => {
                    *self.0.lock() = Kept::Never;
                    return Carried::NoWay;
                }
                Ok(Some(Err(error))) | Err(error) => return Carried::Asked(Err(error)),
            };
            match self.ask_by(live, request).await {
                Ok(answer) => return Carried::Asked(answer),
                Err(error) => last = Some(error),
            }
        }
        Carried::Asked(Err(last.expect("both have failed")))
    }

    /// The answer, a refusal included. Error: the way is lost.
    async fn ask_by(&self, mut live: Live, request: &[u8]) -> Result<Result<Vec<u8>>> {
        // Whoever panics here would take along the task that sends entries to this member.
        let exchanged = AssertUnwindSafe(live.exchange(request)).catch_unwind().await;
        let panicked = |_| Err(refuse(Code::DeviceError, "asking another member panicked"));
        let answer = exchanged.unwrap_or_else(panicked)?;
        *self.0.lock() = Kept::Idle(live, ground::now());
        Ok(answer)
    }

    /// The way that was used last, unless even that is too long ago. Whoever breaks off a request has taken its way along.
    fn idle(&self) -> Option<Live> {
        match std::mem::take(&mut *self.0.lock()) {
            Kept::Idle(live, used) if ground::since(used) < Duration::from_secs(IDLE_CONNECTION_TRUSTED_SECONDS) => Some(live),
            _ => None,
        }
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
            let sent = watch.when_writable(|| -> std::result::Result<_, Trouble> { Ok(way.send()?.then_some(())) });
            sent.await.map_err(Trouble::told)?;
        }
        let answer = watch.when_readable(|| -> std::result::Result<_, Trouble> { Ok(way.receive()?) });
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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// Carries single bytes.
    struct Bytes(UnixStream, u8);

    fn told(cause: std::io::Error) -> Error {
        refuse(Code::DeviceError, "lost").because(cause)
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
    fn other_side(
        answers: usize,
        opened: Arc<AtomicUsize>,
    ) -> impl Fn(bool, Duration) -> Result<Option<Box<dyn Way>>> + Clone + Send {
        move |_, _| {
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
            Ok(Some(Box::new(Bytes(here, 0))))
        }
    }

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    fn answer(carried: Carried) -> Result<u8> {
        let Carried::Asked(answer) = carried else { panic!("there was a way") };
        answer.map(|answer| answer[0])
    }

    #[test]
    fn requests_go_by_one_way_until_it_is_lost_and_then_by_another() {
        let (courier, opened) = (Courier::default(), Arc::new(AtomicUsize::new(0)));
        let open = other_side(2, opened.clone());
        run(async {
            for number in 1..=5 {
                assert_eq!(answer(courier.ask(&[number], PATIENCE, open.clone()).await).unwrap(), number + 1);
            }
        });
        assert_eq!(opened.load(Ordering::SeqCst), 3, "two requests each");
    }

    #[test]
    fn a_request_that_is_not_answered_in_time_takes_its_way_along() {
        let (courier, opened) = (Courier::default(), Arc::new(AtomicUsize::new(0)));
        let open = other_side(5, opened.clone());
        run(async {
            assert_eq!(answer(courier.ask(&[1], PATIENCE, open.clone()).await).unwrap(), 2);
            let late = answer(courier.ask(&[9], Duration::from_millis(50), open.clone()).await).unwrap_err();
            assert_eq!(late.code(), Code::DeviceError);
            assert!(late.to_string().contains("no answer within 50ms"), "{late}");
            // An answer that still came would be taken for the next one's.
            assert_eq!(answer(courier.ask(&[3], PATIENCE, open.clone()).await).unwrap(), 4);
        });
        assert_eq!(opened.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_refusal_is_an_answer_and_a_panic_costs_its_way_only() {
        let (courier, opened) = (Courier::default(), Arc::new(AtomicUsize::new(0)));
        let open = other_side(5, opened.clone());
        run(async {
            let refused = answer(courier.ask(&[100], PATIENCE, open.clone()).await).unwrap_err();
            assert!(refused.to_string().contains("refused in words"));
            assert_eq!(answer(courier.ask(&[1], PATIENCE, open.clone()).await).unwrap(), 2);
            assert_eq!(opened.load(Ordering::SeqCst), 1);
            let panicked = answer(courier.ask(&[200], PATIENCE, open.clone()).await).unwrap_err();
            assert!(panicked.to_string().contains("panicked"), "{panicked}");
            assert_eq!(answer(courier.ask(&[1], PATIENCE, open.clone()).await).unwrap(), 2);
        });
    }

    #[test]
    fn one_that_was_at_hand_and_is_dead_is_replaced_by_a_fresh_one() {
        let (courier, opened) = (Courier::default(), Arc::new(AtomicUsize::new(0)));
        let (dead, living) = (other_side(0, opened.clone()), other_side(1, opened.clone()));
        let open = move |is_fresh, patience| if is_fresh { living(is_fresh, patience) } else { dead(is_fresh, patience) };
        assert_eq!(answer(run(courier.ask(&[1], PATIENCE, open))).unwrap(), 2);
        assert_eq!(opened.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn who_cannot_be_reached_is_an_error_and_where_there_is_no_way_nobody_looks_again() {
        let courier = Courier::default();
        run(async {
            let gone = |_, _| Err(refuse(Code::DeviceError, "nobody listens"));
            assert!(answer(courier.ask(&[1], PATIENCE, gone).await).unwrap_err().to_string().contains("nobody listens"));
            assert!(matches!(courier.ask(&[1], PATIENCE, |_, _| Ok(None)).await, Carried::NoWay));
            let opened = Arc::new(AtomicUsize::new(0));
            assert!(matches!(courier.ask(&[1], PATIENCE, other_side(1, opened.clone())).await, Carried::NoWay));
            assert_eq!(opened.load(Ordering::SeqCst), 0);
        });
    }
}
