//! How a read waits: awake for a moment when the other side has been prompt lately, then asleep.
//!
//! To fall asleep and to be woken costs more than a signature, twice in each request: once at the node and once at the application.

use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::sys::socket::read_now;

/// How long a read stays awake: an idle virtual processor is woken and has signed within that time, so that one end that is awake wakes up the other.
const AWAKE: Duration = Duration::from_micros(100);
/// A wait that took so long asleep may be one that is mostly waking up: it is worth trying.
const PROMPT: Duration = Duration::from_millis(1);
/// After a vain wait awake, so many that end promptly are slept through: trying costs a microsecond a wait then.
const SLEEPS: u32 = 128;

/// What is known of the other side's promptness.
pub struct Attention {
    /// Prompt waits that are still slept through; none: a wait begins awake.
    sleeps: u32,
}

impl Default for Attention {
    fn default() -> Self {
        Self { sleeps: 1 }
    }
}

impl Attention {
    /// Reads as `socket` does.
    ///
    /// Whoever has been slow, by what it computes or because others want the processor, is waited for asleep: being awake would cost them time.
    pub fn read<S: AsFd>(&mut self, socket: &S, out: &mut [u8]) -> io::Result<usize>
    where
        for<'a> &'a S: Read,
    {
        let begun = Instant::now();
        // The processor is not given away in between: one that computes all the time would have it for milliseconds, where who wakes up has it at once.
        while self.sleeps == 0 {
            let answer = read_now(socket.as_fd(), out);
            let is_vain = begun.elapsed() > AWAKE;
            if is_vain {
                self.sleeps = SLEEPS;
            }
            match answer {
                Err(error) if error.kind() == ErrorKind::WouldBlock && is_vain => return (&*socket).read(out),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                answer => return answer,
            }
        }
        let answer = (&*socket).read(out);
        if begun.elapsed() < PROMPT {
            self.sleeps -= 1;
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// A pair of which one end is read, and has been given what it waits for so promptly that it stays awake.
    fn awake() -> (UnixStream, UnixStream, Attention) {
        let (here, mut there) = UnixStream::pair().unwrap();
        let mut attention = Attention::default();
        // The machine may take the processor away for longer, but not each time.
        let became = (0..10_000).any(|_| {
            there.write_all(b"x").unwrap();
            assert_eq!(attention.read(&here, &mut [0; 8]).unwrap(), 1);
            attention.sleeps == 0
        });
        assert!(became, "bytes that were there already are prompt");
        (here, there, attention)
    }

    #[test]
    fn what_comes_late_is_read_asleep_and_the_prompt_are_waited_for_awake_again() {
        let (here, mut there, mut attention) = awake();
        let writes = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(30));
            there.write_all(b"late").unwrap();
            there
        });
        let mut bytes = [0; 8];
        assert_eq!(attention.read(&here, &mut bytes).unwrap(), 4);
        assert_eq!(&bytes[..4], b"late");
        let mut there = writes.join().unwrap();
        attention.sleeps = SLEEPS;
        let mut reads = 0;
        while attention.sleeps > 0 {
            there.write_all(b"x").unwrap();
            attention.read(&here, &mut bytes).unwrap();
            reads += 1;
        }
        assert!(reads >= SLEEPS);
    }

    #[test]
    fn a_wait_that_is_bounded_ends_and_is_not_prompt() {
        let (here, _there, mut attention) = awake();
        here.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let begun = Instant::now();
        assert_eq!(attention.read(&here, &mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(begun.elapsed() >= Duration::from_millis(19) && attention.sleeps == SLEEPS);
    }

    #[test]
    fn an_end_is_seen_awake_and_asleep() {
        let (here, there, mut attention) = awake();
        drop(there);
        assert_eq!(attention.read(&here, &mut [0; 8]).unwrap(), 0);
        for sleeps in [0, SLEEPS] {
            let (here, _there, mut attention) = awake();
            attention.sleeps = sleeps;
            let closer = here.try_clone().unwrap();
            let ends = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(10));
                closer.shutdown(Shutdown::Read).unwrap();
            });
            assert_eq!(attention.read(&here, &mut [0; 8]).unwrap(), 0);
            ends.join().unwrap();
        }
    }
}
