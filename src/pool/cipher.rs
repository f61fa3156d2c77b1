//! Encryption and decryption with a key that is elsewhere.

use super::sign::{collect, give};
use super::stream::{Remote, Stream};
use crate::error::Result;
use crate::mechanism::{Cipher, Shape, Step};
use crate::secret::Secret;

/// A cipher whose state is a partition's.
pub struct RemoteCipher {
    remote: Remote,
    shape: Shape,
    /// Input so far, in bytes.
    taken: usize,
    collected: Secret,
    stream: Option<Stream>,
    over: bool,
}

impl RemoteCipher {
    /// Nothing is sent yet.
    pub fn new(remote: Remote, shape: Shape) -> Self {
        Self { remote, shape, taken: 0, collected: Secret::default(), stream: None, over: false }
    }
}

impl Cipher for RemoteCipher {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn unpads(&self) -> bool {
        self.shape.unpads()
    }

    fn check(&self, step: Step, input: usize) -> Result<()> {
        self.shape.check(step, self.taken, input)
    }

    fn update_len(&self, input: usize) -> usize {
        self.shape.update_len(self.taken, input)
    }

    fn update(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        if self.shape.collects() {
            self.shape.check_collected(self.taken.saturating_add(input.len()))?;
            collect(&self.remote, &mut self.collected, input)?;
            self.taken += input.len();
            return Ok(0);
        }
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => none.insert(self.remote.stream()?),
        };
        let output = stream.part(&self.remote, input, false, &[])?;
        self.taken += input.len();
        give(&output, out)
    }

    fn finish_len(&self) -> usize {
        self.shape.finish_len(self.taken)
    }

    fn finish(mut self: Box<Self>, out: &mut [u8]) -> Result<usize> {
        self.over = true;
        let output = match &mut self.stream {
            Some(stream) => stream.part(&self.remote, &[], true, &[])?,
            None => self.remote.whole(self.collected.expose(), false, &[])?,
        };
        give(&output, out)
    }

    fn single_len(&self, input: usize) -> usize {
        self.shape.single_len(input)
    }

    fn single(mut self: Box<Self>, input: &[u8], out: &mut [u8]) -> Result<usize> {
        self.over = true;
        self.shape.check_collected(input.len())?;
        let output = match self.shape.collects() {
            true => self.remote.whole(input, false, &[])?,
            false => self.remote.whole_or_in_parts(input, &[])?,
        };
        give(&output, out)
    }
}

impl Drop for RemoteCipher {
    fn drop(&mut self) {
        // Given up before its end: nothing is left at the partition.
        if let Some(stream) = self.stream.as_ref().filter(|_| !self.over) {
            stream.abandon(&self.remote);
        }
    }
}
