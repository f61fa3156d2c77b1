//! Several threads ask over kept connections while the other side is restarted: no connection is used by two at once, each gets its own answer, and
//! only a restart during a call may fail it.

use std::sync::Arc;
use std::time::Duration;

use hsmpool::error::{Code, refuse};
use shuttle::sync::atomic::{AtomicU64, Ordering};
use shuttle::thread;

use crate::kept::Kept;

/// A connection to a side that can be restarted.
pub mod client {
    use std::sync::Arc;
    use std::time::Instant;

    use hsmpool::error::{Code, Error, refuse};
    use hsmpool::secret::Secret;
    use shuttle::sync::atomic::{AtomicU64, Ordering};

    pub struct Failure {
        pub sent: bool,
        pub timed_out: bool,
        pub error: Error,
    }

    pub struct Connection {
        pub lives: Arc<AtomicU64>,
        /// The life of the other side that it was made to.
        pub made_in: u64,
        pub asked: Option<Vec<u8>>,
    }

    impl Connection {
        fn alive(&self) -> Result<(), Failure> {
            match self.lives.load(Ordering::SeqCst) == self.made_in {
                true => Ok(()),
                false => Err(Failure { sent: true, timed_out: false, error: refuse(Code::DeviceError, "reset") }),
            }
        }

        pub fn send(&mut self, _kind: u8, request: &[u8], _deadline: Instant) -> Result<(), Failure> {
            assert!(self.asked.is_none(), "a connection is used by two at once");
            self.alive()?;
            self.asked = Some(request.to_vec());
            Ok(())
        }

        pub fn receive(&mut self, _until: Instant) -> Result<Option<Secret>, Failure> {
            self.alive()?;
            Ok(self.asked.take().map(Secret::new))
        }

        pub fn silence(&self) -> Failure {
            Failure { sent: true, timed_out: true, error: refuse(Code::DeviceError, "silent") }
        }
    }
}

use client::Connection;

fn play(remembers: bool) {
    let (kept, lives) = (Arc::new(Kept::default()), Arc::new(AtomicU64::new(0)));
    let askers = [1, 2].map(|asker: u8| {
        let (kept, lives) = (kept.clone(), lives.clone());
        thread::spawn(move || {
            for round in 0..2 {
                let (before, request) = (lives.load(Ordering::SeqCst), [asker, round]);
                let connect = |_| {
                    let made_in = lives.load(Ordering::SeqCst);
                    Ok(Connection { lives: lives.clone(), made_in: if remembers { made_in } else { 0 }, asked: None })
                };
                match kept.call(1, &request, Duration::from_secs(60), connect) {
                    Ok(answer) => assert_eq!(answer.expose(), request, "another call's answer"),
                    Err(error) => {
                        assert_eq!(error.code(), Code::DeviceError);
                        assert_ne!(lives.load(Ordering::SeqCst), before, "a call failed though nothing happened: {error}");
                    }
                }
            }
        })
    });
    lives.fetch_add(1, Ordering::SeqCst);
    askers.into_iter().for_each(|asker| asker.join().unwrap());
}

pub fn works() {
    play(true);
}

/// New connections that are as dead as the old ones.
pub fn fails() {
    play(false);
}
