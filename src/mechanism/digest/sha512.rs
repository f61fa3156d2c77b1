//! SHA-384, SHA-512 and SHA-512/t over the block function of `sys::simd`: padding, counting, initial values.

use zeroize::Zeroize;

use crate::sys::awslc::wipe;
use crate::sys::simd::sha512::{BLOCK_BYTES, compress};

/// Initial value of SHA-384 (FIPS 180-4, 5.3.4).
pub const SHA384: [u64; 8] = [
    0xcbbb9d5dc1059ed8,
    0x629a292a367cd507,
    0x9159015a3070dd17,
    0x152fecd8f70e5939,
    0x67332667ffc00b31,
    0x8eb44a8768581511,
    0xdb0c2e0d64f98fa7,
    0x47b5481dbefa4fa4,
];
/// Initial value of SHA-512 (FIPS 180-4, 5.3.5).
pub const SHA512: [u64; 8] = [
    0x6a09e667f3bcc908,
    0xbb67ae8584caa73b,
    0x3c6ef372fe94f82b,
    0xa54ff53a5f1d36f1,
    0x510e527fade682d1,
    0x9b05688c2b3e6c1f,
    0x1f83d9abfb41bd6b,
    0x5be0cd19137e2179,
];
/// Initial value of SHA-512/224 (FIPS 180-4, 5.3.6.1).
pub const SHA512_224: [u64; 8] = [
    0x8c3d37c819544da2,
    0x73e1996689dcd4d6,
    0x1dfab7ae32ff9c82,
    0x679dd514582f9fcf,
    0x0f6d2b697bd44da8,
    0x77e36f7304c48942,
    0x3f9d85a86a1d36c8,
    0x1112e6ad91d692a1,
];
/// Initial value of SHA-512/256 (FIPS 180-4, 5.3.6.2).
pub const SHA512_256: [u64; 8] = [
    0x22312194fc2bf72c,
    0x9f555fa3c84c64c2,
    0x2393b86b6f53b151,
    0x963877195940eabd,
    0x96283ee2a88effe3,
    0xbe5e1e2553863992,
    0x2b0199fc2c85b8aa,
    0x0eb72ddc81c52ca2,
];

/// A digest of this family in progress; which one is the choice of initial value and of output length.
#[derive(Clone)]
pub struct Sha512 {
    words: [u64; 8],
    /// Bytes taken so far.
    length: u128,
    pending: [u8; BLOCK_BYTES],
}

impl Sha512 {
    /// Nothing taken yet.
    pub fn new(initial: &[u64; 8]) -> Self {
        Self { words: *initial, length: 0, pending: [0; BLOCK_BYTES] }
    }

    /// Carries on from where another stood; `None` if the pending bytes are not as many as the length says.
    pub fn resume(words: [u64; 8], length: u128, pending: &[u8]) -> Option<Self> {
        if length >> 125 != 0 || (length % BLOCK_BYTES as u128) as usize != pending.len() {
            return None;
        }
        let mut resumed = Self { words, length, pending: [0; BLOCK_BYTES] };
        resumed.pending[..pending.len()].copy_from_slice(pending);
        Some(resumed)
    }

    /// Where it stands: chaining words, bytes taken, input that does not fill a block yet.
    pub fn midway(&self) -> (&[u64; 8], u128, &[u8]) {
        (&self.words, self.length, &self.pending[..self.filled()])
    }

    fn filled(&self) -> usize {
        (self.length % BLOCK_BYTES as u128) as usize
    }

    /// Takes more of the message.
    pub fn update(&mut self, mut data: &[u8]) {
        let filled = self.filled();
        self.length += data.len() as u128;
        if filled > 0 {
            let taken = data.len().min(BLOCK_BYTES - filled);
            let (head, rest) = data.split_at(taken);
            self.pending[filled..filled + taken].copy_from_slice(head);
            if filled + taken < BLOCK_BYTES {
                return;
            }
            compress(&mut self.words, std::slice::from_ref(&self.pending));
            data = rest;
        }
        let (blocks, rest) = data.as_chunks::<BLOCK_BYTES>();
        if !blocks.is_empty() {
            compress(&mut self.words, blocks);
        }
        self.pending[..rest.len()].copy_from_slice(rest);
    }

    /// Writes as many bytes of the digest as `out` takes, at most 64.
    pub fn finish(&mut self, out: &mut [u8]) {
        let filled = self.filled();
        let bits = self.length * 8;
        let mut tail = [[0; BLOCK_BYTES]; 2];
        let bytes = tail.as_flattened_mut();
        bytes[..filled].copy_from_slice(&self.pending[..filled]);
        bytes[filled] = 0x80;
        // The length takes the last 16 bytes of a block.
        let used = if filled < BLOCK_BYTES - 16 { 1 } else { 2 };
        bytes[used * BLOCK_BYTES - 16..used * BLOCK_BYTES].copy_from_slice(&bits.to_be_bytes());
        compress(&mut self.words, &tail[..used]);
        wipe(tail.as_flattened_mut());
        for (part, word) in out.chunks_mut(8).zip(&self.words) {
            part.copy_from_slice(&word.to_be_bytes()[..part.len()]);
        }
    }
}

impl Drop for Sha512 {
    /// The state of a MAC is as good as its key.
    fn drop(&mut self) {
        self.words.zeroize();
        wipe(&mut self.pending);
    }
}
