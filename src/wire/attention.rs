//! How a read waits: awake for a moment when the other side has been prompt lately, then asleep.
//!
//! To fall asleep and to be woken costs more than a signature, twice in each request: once at the node and once at the application.

use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::sys::socket::read_now;

/// How long a read stays awake: an idle virtual processor is woken and has signed within that time, TLS included, so that one end that is awake wakes up
/// the other, and two that are asleep do not keep each other so.
const AWAKE: Duration = Duration::from_micros(200);
/// A wait that took so long asleep may be one that is mostly waking up: it is worth trying.
const PROMPT: Duration = Duration::from_millis(1);
/// After a vain wait awake, so many that end promptly are slept through: few at first, as somebody else may have had the processor for a moment;
/// twice as many after the next one, as the other side may be slow. With the most, trying costs one or two microseconds a wait.
const SLEEPS_MIN: u32 = 2;
const SLEEPS_MAX: u32 = 128;
/// After as many that were not vain, half as many are slept through next time.
const PROMPT_WAITS: u32 = 32;

/// What is known of the other side's promptness.
pub struct Attention {
    /// Prompt waits that are still slept through; none: a wait begins awake.
    sleeps: u32,
    /// So many are slept through after the next vain wait.
    price: u32,
    /// Waits awake that were not vain, since the price was changed.
    prompt: u32,
}

impl Default for Attention {
    fn default() -> Self {
        Self { sleeps: 1, price: SLEEPS_MIN, prompt: 0 }
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
                (self.sleeps, self.price, self.prompt) = (self.price, (2 * self.price).min(SLEEPS_MAX), 0);
            }
            match answer {
                Err(error) if error.kind() == ErrorKind::WouldBlock && is_vain => return (&*socket).read(out),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                answer => {
                    self.was_prompt();
                    return answer;
                }
            }
        }
        let answer = (&*socket).read(out);
        if begun.elapsed() < PROMPT {
            self.sleeps -= 1;
        }
        answer
    }

    fn was_prompt(&mut self) {
        self.prompt += 1;
        if self.prompt == PROMPT_WAITS {
            (self.price, self.prompt) = ((self.price / 2).max(SLEEPS_MIN), 0);
        }
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
        let price = attention.price;
        assert_eq!(attention.read(&here, &mut bytes).unwrap(), 4);
        assert_eq!(&bytes[..4], b"late");
        assert_eq!((attention.sleeps, attention.price), (price, 2 * price));
        let mut there = writes.join().unwrap();
        let mut reads = 0;
        while attention.sleeps > 0 {
            there.write_all(b"x").unwrap();
            attention.read(&here, &mut bytes).unwrap();
            reads += 1;
        }
        assert!(reads >= price);
    }

    #[test]
    fn who_is_slow_again_and_again_is_slept_through_and_who_is_prompt_again_is_not() {
        let (here, mut there, mut attention) = awake();
        let mut prices = Vec::new();
        for _ in 0..10 {
            attention.sleeps = 0;
            here.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
            assert!(attention.read(&here, &mut [0; 8]).is_err());
            prices.push(attention.sleeps);
        }
        assert!(prices.is_sorted() && prices[0] <= 4 && prices.ends_with(&[SLEEPS_MAX; 3]), "{prices:?}");
        // The machine may take the processor away, but not each time.
        let forgave = (0..100_000).any(|_| {
            there.write_all(b"x").unwrap();
            assert_eq!(attention.read(&here, &mut [0; 8]).unwrap(), 1);
            attention.price == SLEEPS_MIN
        });
        assert!(forgave, "{}", attention.price);
    }

    #[test]
    fn a_wait_that_is_bounded_ends_and_is_not_prompt() {
        let (here, _there, mut attention) = awake();
        here.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let begun = Instant::now();
        assert_eq!(attention.read(&here, &mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(begun.elapsed() >= Duration::from_millis(19) && attention.sleeps >= SLEEPS_MIN);
    }

    #[test]
    fn an_end_is_seen_awake_and_asleep() {
        let (here, there, mut attention) = awake();
        drop(there);
        assert_eq!(attention.read(&here, &mut [0; 8]).unwrap(), 0);
        for sleeps in [0, SLEEPS_MAX] {
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
