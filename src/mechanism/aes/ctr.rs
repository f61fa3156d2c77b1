//! Counter mode (NIST SP 800-38A, 6.5) with a counter of any width.

use std::sync::Arc;

use zeroize::Zeroize;

use super::AesKey;
use crate::error::{Code, Result, refuse};
use crate::faults::{self, Fault};
use crate::mechanism::block::Direction;
use crate::mechanism::key::Prepared;
use crate::mechanism::{Cipher, Key, Mechanism, Params, Shape, Step};
use crate::sys::awslc::aes::{BLOCK_BYTES, Block};

struct Ctr {
    key: Prepared<AesKey>,
    direction: Direction,
    counter: Block,
    /// Blocks that may still be made before the counter would come round and repeat the key stream.
    left: u128,
    key_stream: Block,
    /// Bytes of `key_stream` that are used up; all of them at the start.
    used: usize,
}

/// An encryption or decryption, which are the same.
pub fn start(mechanism: &Mechanism, key: Arc<Key>, direction: Direction) -> Result<Box<dyn Cipher>> {
    let Params::Ctr { counter_bits, block } = mechanism.params else {
        return Err(refuse(Code::MechanismParamInvalid, "CKM_AES_CTR needs its counter"));
    };
    let counter = u128::from_be_bytes(block);
    let left = match counter_bits {
        // 2^128 blocks are one too many for the type, and for everybody.
        128 => (u128::MAX - counter).saturating_add(1),
        1..128 => (1 << counter_bits) - (counter & ((1 << counter_bits) - 1)),
        _ => return Err(refuse(Code::MechanismParamInvalid, format!("a counter of {counter_bits} bits"))),
    };
    let key = Prepared::of(key)?;
    Ok(Box::new(Ctr { key, direction, counter: block, left, key_stream: [0; BLOCK_BYTES], used: BLOCK_BYTES }))
}

impl Ctr {
    /// Blocks left after so much more input.
    fn left_after(&self, input: usize) -> Result<u128> {
        let fresh = input.saturating_sub(BLOCK_BYTES - self.used).div_ceil(BLOCK_BYTES);
        self.left
            .checked_sub(fresh as u128)
            .or_else(|| faults::on(Fault::CounterRepeats).then_some(0))
            .ok_or_else(|| refuse(self.direction.length_code(), "the counter would come round and repeat the key stream"))
    }

    /// Uses up what is left of the key stream; says how many bytes that were.
    fn mask(&mut self, input: &[u8], out: &mut [u8]) -> usize {
        let key_stream = &self.key_stream[self.used..];
        for ((out, input), mask) in out.iter_mut().zip(input).zip(key_stream) {
            *out = input ^ mask;
        }
        let taken = input.len().min(key_stream.len());
        self.used += taken;
        taken
    }
}

impl Cipher for Ctr {
    fn shape(&self) -> Shape {
        Shape::Stream { tail: 0 }
    }

    fn check(&self, _: Step, input: usize) -> Result<()> {
        self.left_after(input).map(drop)
    }

    fn update_len(&self, input: usize) -> usize {
        input
    }

    fn update(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        let len = input.len();
        self.left = self.left_after(len)?;
        let out = &mut out[..len];
        let taken = self.mask(input, out);
        let (blocks, rest) = input[taken..].as_chunks();
        let (out_blocks, out_rest) = out[taken..].as_chunks_mut();
        if !blocks.is_empty() {
            self.key.ctr(&mut self.counter, blocks, out_blocks);
        }
        if !rest.is_empty() {
            let mut next = [[0; BLOCK_BYTES]];
            self.key.ctr(&mut self.counter, &[[0; BLOCK_BYTES]], &mut next);
            self.key_stream = next[0];
            self.used = 0;
            self.mask(rest, out_rest);
        }
        Ok(len)
    }

    fn finish_len(&self) -> usize {
        0
    }

    fn finish(self: Box<Self>, _: &mut [u8]) -> Result<usize> {
        Ok(0)
    }

    fn single_len(&self, input: usize) -> usize {
        input
    }

    fn single(mut self: Box<Self>, input: &[u8], out: &mut [u8]) -> Result<usize> {
        self.update(input, out)
    }
}

impl Drop for Ctr {
    fn drop(&mut self) {
        self.key_stream.zeroize();
    }
}
