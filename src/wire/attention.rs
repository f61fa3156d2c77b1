//! How a read waits: awake for a moment when the other side has been prompt lately, then asleep.
//!
//! To fall asleep and to be woken costs more than a signature, twice in each request: once at the node and once at the application.

use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::sys::socket::read_now;

/// How long a read stays awake.
const AWAKE: Duration = Duration::from_micros(50);
/// A wait that took so long asleep, its waking up included, would have ended within [`AWAKE`].
const PROMPT: Duration = Duration::from_micros(120);

/// What is known of the other side's promptness.
#[derive(Default)]
pub struct Attention {
    is_prompt: bool,
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
        while self.is_prompt {
            match read_now(socket.as_fd(), out) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                answer => return answer,
            }
            self.is_prompt = begun.elapsed() < AWAKE;
            std::thread::yield_now();
        }
        let answer = Read::read(&mut &*socket, out);
        self.is_prompt = begun.elapsed() < PROMPT;
        answer
    }
}
