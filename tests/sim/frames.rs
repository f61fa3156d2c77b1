//! What the wire makes of messages, but for TLS: each side's first words, and frames that come in pieces, within their bounds.

use std::io::{self, Read};

use hsmpool::secret::Secret;
use hsmpool::wire::frame::{HELLO, Reader, whole};
use hsmpool::wire::{Hello, Purpose};

use crate::scheduler::Scheduler;

/// The simulated pool's id.
const POOL: [u8; 16] = [0x5e; 16];
/// What a piece of a stream has at most: from less than a header to more than what is read at once.
const PIECE_MAX_BYTES: u64 = 40_000;

/// Bytes that come in pieces.
struct Pieces<'a> {
    bytes: &'a [u8],
    scheduler: &'a Scheduler,
}

impl Read for Pieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        // As often small as large.
        let most = 1 + self.scheduler.roll(PIECE_MAX_BYTES) / (1 + self.scheduler.roll(PIECE_MAX_BYTES / 100));
        let len = (most as usize).min(self.bytes.len()).min(out.len());
        out[..len].copy_from_slice(&self.bytes[..len]);
        self.bytes = &self.bytes[len..];
        Ok(len)
    }
}

/// What comes out at the other end of a stream of frames. Errors: what a connection would end with.
fn through(scheduler: &Scheduler, frames: &[(u8, &[u8])]) -> io::Result<Vec<Secret>> {
    let mut bytes = Vec::new();
    for (number, (kind, payload)) in (0..).zip(frames) {
        bytes.extend_from_slice(whole(*kind, number, payload)?.expose());
    }
    let (mut from, mut reader) = (Pieces { bytes: &bytes, scheduler }, Reader::default());
    let mut came = Vec::new();
    // These bytes never keep anybody waiting.
    while let Some((header, payload)) = reader.next(&mut from, |_| Err(io::ErrorKind::TimedOut.into()))? {
        let expected = frames.get(came.len()).map(|(kind, payload)| (*kind, came.len() as u64, payload.len()));
        if Some((header.kind, header.number, header.len)) != expected {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{header:?} came instead of {expected:?}")));
        }
        came.push(payload);
    }
    match came.len() == frames.len() {
        true => Ok(came),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// What arrives of a message, or of its answer. A new connection's first words go before it. Errors: what the connection would end with.
pub fn carried(scheduler: &Scheduler, kind: u8, purpose: Purpose, payload: &[u8]) -> Result<Secret, String> {
    let hello = |node| Hello::new(POOL, purpose, node);
    let (ours, first) = (hello(0), hello(1).encode());
    let mut came = through(scheduler, &[(HELLO, &first), (kind, payload)]).map_err(|error| error.to_string())?;
    let theirs = Hello::decode(came.remove(0).expose()).map_err(|error| error.to_string())?;
    ours.agree(&theirs).map_err(|error| error.to_string())?;
    Ok(came.remove(0))
}
