//! CMAC (NIST SP 800-38B) over any block cipher.

use std::sync::Arc;

use subtle::{ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroize;

use super::block::BlockCipher;
use super::hmac::{check_mac, mac_len};
use super::key::Prepared;
use super::{Key, Mechanism, Signer, Verifier};
use crate::error::Result;

/// Blocks that are chained at once; the ciphertext that nobody needs goes to the stack.
const BATCH: usize = 64;

/// A MAC in progress, for both directions.
pub struct Cmac<C, const B: usize> {
    key: Prepared<C>,
    chain: [u8; B],
    /// The last block waits until it is known to be the last.
    pending: [u8; B],
    filled: usize,
    len: usize,
}

impl<C: BlockCipher<B>, const B: usize> Cmac<C, B> {
    /// Nothing taken yet; the length is what a `_GENERAL` mechanism's parameter says.
    ///
    /// Errors: `MechanismParamInvalid`, and those of the key's preparation.
    pub fn new(mechanism: &Mechanism, key: Arc<Key>) -> Result<Self> {
        let len = mac_len(mechanism, B)?;
        Ok(Self { key: Prepared::of(key)?, chain: [0; B], pending: [0; B], filled: 0, len })
    }

    fn take(&mut self, mut data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let (head, rest) = data.split_at(data.len().min(B - self.filled));
        self.pending[self.filled..self.filled + head.len()].copy_from_slice(head);
        self.filled += head.len();
        data = rest;
        if data.is_empty() {
            return;
        }
        self.chain(&[self.pending]);
        let (blocks, rest) = data.split_at((data.len() - 1) / B * B);
        self.chain(blocks.as_chunks().0);
        self.pending[..rest.len()].copy_from_slice(rest);
        self.filled = rest.len();
    }

    fn chain(&mut self, blocks: &[[u8; B]]) {
        let mut unneeded = [[0; B]; BATCH];
        for batch in blocks.chunks(BATCH) {
            self.key.cbc_encrypt(&mut self.chain, batch, &mut unneeded[..batch.len()]);
        }
    }

    fn mac(&mut self) -> [u8; B] {
        let mut mask = [[0; B]];
        self.key.ecb_encrypt(&[[0; B]], &mut mask);
        let mut mask = doubled(mask[0]);
        if self.filled < B {
            mask = doubled(mask);
            self.pending[self.filled] = 0x80;
            self.pending[self.filled + 1..].fill(0);
        }
        self.pending.iter_mut().zip(&mask).for_each(|(byte, mask)| *byte ^= mask);
        mask.zeroize();
        self.chain(&[self.pending]);
        self.chain
    }
}

/// Multiplication by x in GF(2^(8 B)), most significant bit first, in constant time.
fn doubled<const B: usize>(block: [u8; B]) -> [u8; B] {
    let carry = (block[0] >> 7).ct_eq(&1);
    let mut doubled = block;
    for (at, byte) in doubled.iter_mut().enumerate() {
        *byte = block[at] << 1 | block.get(at + 1).map_or(0, |next| next >> 7);
    }
    // The field's polynomial: x^128 + x^7 + x^2 + x + 1, or x^64 + x^4 + x^3 + x + 1.
    let reduction = if B == 16 { 0x87 } else { 0x1b };
    doubled[B - 1] ^= u8::conditional_select(&0, &reduction, carry);
    doubled
}

impl<C: BlockCipher<B>, const B: usize> Signer for Cmac<C, B> {
    fn signature_len(&self) -> usize {
        self.len
    }

    fn update(&mut self, data: &[u8]) -> Result<()> {
        self.take(data);
        Ok(())
    }

    fn finish(mut self: Box<Self>, out: &mut [u8]) -> Result<usize> {
        let len = self.len;
        out[..len].copy_from_slice(&self.mac()[..len]);
        Ok(len)
    }
}

impl<C: BlockCipher<B>, const B: usize> Verifier for Cmac<C, B> {
    fn update(&mut self, data: &[u8]) -> Result<()> {
        self.take(data);
        Ok(())
    }

    fn finish(mut self: Box<Self>, signature: &[u8]) -> Result<()> {
        let len = self.len;
        check_mac(signature, &self.mac()[..len])
    }
}

impl<C, const B: usize> Drop for Cmac<C, B> {
    fn drop(&mut self) {
        self.chain.zeroize();
        self.pending.zeroize();
    }
}
