//! Modes that work block by block, whatever the cipher: electronic codebook, cipher block chaining, PKCS #7 padding,
//! wrapping by encryption, derivation by encryption.

use std::sync::Arc;

use subtle::{ConstantTimeEq, ConstantTimeGreater, ConstantTimeLess};
use zeroize::Zeroize;

use super::key::{Material, Prepared};
use super::{Cipher, Key, Mechanism, Params, Shape, Step};
use crate::error::{Code, Error, Result, refuse};
use crate::faults::{self, Fault};
use crate::secret::Secret;

/// A block cipher under one key, with blocks of `B` bytes. Input and output have the same number of blocks.
pub trait BlockCipher<const B: usize>: Material {
    /// Each block for itself.
    fn ecb_encrypt(&self, input: &[[u8; B]], out: &mut [[u8; B]]);
    /// Each block for itself.
    fn ecb_decrypt(&self, input: &[[u8; B]], out: &mut [[u8; B]]);
    /// `chain` is the vector, then the last ciphertext block.
    fn cbc_encrypt(&self, chain: &mut [u8; B], input: &[[u8; B]], out: &mut [[u8; B]]);
    /// `chain` is the vector, then the last ciphertext block.
    fn cbc_decrypt(&self, chain: &mut [u8; B], input: &[[u8; B]], out: &mut [[u8; B]]);
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Plaintext in.
    Encrypt,
    /// Ciphertext in.
    Decrypt,
}

impl Direction {
    /// The code for input whose length cannot be right.
    pub fn length_code(self) -> Code {
        match self {
            Direction::Encrypt => Code::DataLenRange,
            Direction::Decrypt => Code::EncryptedDataLenRange,
        }
    }
}

/// A block mode: chained or not, padded or not.
pub struct Mode<const B: usize> {
    /// The vector of cipher block chaining; `None` for electronic codebook.
    pub chain: Option<[u8; B]>,
    /// PKCS #7 padding (RFC 5652, 6.3).
    pub padded: bool,
}

/// An encryption or decryption in a block mode.
pub struct BlockOperation<C, const B: usize> {
    key: Prepared<C>,
    direction: Direction,
    mode: Mode<B>,
    /// Input that waits for the rest of its block, or for the news whether it is the last.
    pending: [u8; B],
    filled: usize,
}

impl<C: BlockCipher<B>, const B: usize> BlockOperation<C, B> {
    /// Nothing taken yet.
    pub fn new(key: Arc<Key>, direction: Direction, mode: Mode<B>) -> Result<Self> {
        Ok(Self { key: Prepared::of(key)?, direction, mode, pending: [0; B], filled: 0 })
    }

    /// Whether the last block must wait until it is known to be the last.
    fn holds_back(&self) -> bool {
        self.mode.padded && self.direction == Direction::Decrypt
    }

    fn run(&mut self, input: &[[u8; B]], out: &mut [[u8; B]]) {
        match (self.direction, &mut self.mode.chain) {
            (Direction::Encrypt, None) => self.key.ecb_encrypt(input, out),
            (Direction::Encrypt, Some(chain)) => self.key.cbc_encrypt(chain, input, out),
            (Direction::Decrypt, None) => self.key.ecb_decrypt(input, out),
            (Direction::Decrypt, Some(chain)) => self.key.cbc_decrypt(chain, input, out),
        }
    }

    fn run_pending(&mut self, out: &mut [u8; B]) {
        let pending = self.pending;
        self.run(&[pending], std::slice::from_mut(out));
        self.filled = 0;
    }

    fn incomplete(&self, rest: usize) -> Error {
        refuse(self.direction.length_code(), format!("the input ends {rest} bytes into a block of {B}"))
    }
}

impl<C: BlockCipher<B>, const B: usize> Cipher for BlockOperation<C, B> {
    fn shape(&self) -> Shape {
        Shape::Blocks { size: B as u64, padded: self.mode.padded, decrypts: self.direction == Direction::Decrypt }
    }

    fn unpads(&self) -> bool {
        self.holds_back()
    }

    fn check(&self, step: Step, input: usize) -> Result<()> {
        let (rest, is_whole) = match step {
            Step::Update => return Ok(()),
            Step::Single => (input % B, input.is_multiple_of(B)),
            // A padded decryption holds its last block back.
            Step::Final => (self.filled, self.filled == if self.holds_back() { B } else { 0 }),
        };
        let pads = self.mode.padded && self.direction == Direction::Encrypt;
        if is_whole || pads { Ok(()) } else { Err(self.incomplete(rest)) }
    }

    fn update_len(&self, input: usize) -> usize {
        let total = self.filled.saturating_add(input);
        let ready = if self.holds_back() { total.saturating_sub(1) } else { total };
        ready / B * B
    }

    fn update(&mut self, mut input: &[u8], out: &mut [u8]) -> Result<usize> {
        let len = self.update_len(input.len());
        let mut out = &mut out[..len].as_chunks_mut::<B>().0[..];
        if self.filled > 0 && !out.is_empty() {
            let (head, rest) = input.split_at(B - self.filled);
            self.pending[self.filled..].copy_from_slice(head);
            let (first, others) = out.split_first_mut().expect("there is room for a block");
            self.run_pending(first);
            (input, out) = (rest, others);
        }
        let (blocks, rest) = input.split_at(out.len() * B);
        self.run(blocks.as_chunks().0, out);
        self.pending[self.filled..self.filled + rest.len()].copy_from_slice(rest);
        self.filled += rest.len();
        Ok(len)
    }

    fn finish_len(&self) -> usize {
        if self.mode.padded { B } else { 0 }
    }

    fn finish(mut self: Box<Self>, out: &mut [u8]) -> Result<usize> {
        self.check(Step::Final, 0)?;
        match (self.mode.padded, self.direction) {
            (false, _) => Ok(0),
            (true, Direction::Encrypt) => {
                let pad = B - self.filled;
                self.pending[B - pad..].fill(pad as u8);
                self.run_pending(out.first_chunk_mut().expect("the caller gives room for a block"));
                Ok(B)
            }
            (true, Direction::Decrypt) => {
                let mut last = [0; B];
                self.run_pending(&mut last);
                let len = unpadded_len(&last).or_else(|| faults::on(Fault::CbcPaddingUnchecked).then_some(0));
                let told = faults::on(Fault::CbcPaddingTold) && last[B - 1] == 0;
                let code = if told { Code::EncryptedDataLenRange } else { Code::EncryptedDataInvalid };
                if let Some(len) = len {
                    out[..len].copy_from_slice(&last[..len]);
                }
                last.zeroize();
                len.ok_or_else(|| refuse(code, "the padding is wrong"))
            }
        }
    }

    fn single_len(&self, input: usize) -> usize {
        match (self.mode.padded, self.direction) {
            (true, Direction::Encrypt) => (input / B).saturating_add(1).saturating_mul(B),
            _ => input,
        }
    }

    fn single(mut self: Box<Self>, input: &[u8], out: &mut [u8]) -> Result<usize> {
        // Told before anything is written.
        self.check(Step::Single, input.len())?;
        let len = self.update(input, out)?;
        Ok(len + self.finish(&mut out[len..])?)
    }
}

impl<C, const B: usize> Drop for BlockOperation<C, B> {
    fn drop(&mut self) {
        self.pending.zeroize();
    }
}

/// How many bytes of the block are not padding, or `None` if the padding is wrong. Every byte is looked at, and the
/// time does not depend on them (Vaudenay, EUROCRYPT 2002).
fn unpadded_len<const B: usize>(block: &[u8; B]) -> Option<usize> {
    let pad = block[B - 1];
    let mut good = pad.ct_gt(&0) & !pad.ct_gt(&(B as u8));
    for (distance, byte) in block.iter().rev().enumerate() {
        let is_padding = (distance as u8).ct_lt(&pad);
        good &= byte.ct_eq(&pad) | !is_padding;
    }
    bool::from(good).then(|| B - usize::from(pad))
}

/// The initialisation vector of a mechanism.
///
/// Errors: `MechanismParamInvalid` unless it has exactly `B` bytes.
pub fn vector<const B: usize>(mechanism: &Mechanism) -> Result<[u8; B]> {
    let iv = match &mechanism.params {
        Params::Iv(iv) | Params::CbcEncryptData { iv, .. } => iv.as_slice(),
        _ => &[],
    };
    // The sentence is made when it is needed: this is on the way of every operation.
    let wrong = || refuse(Code::MechanismParamInvalid, format!("{} needs a vector of {B} bytes", mechanism.kind));
    iv.first_chunk().filter(|_| iv.len() == B).copied().ok_or_else(wrong)
}

/// Wraps by encryption. Where the mechanism takes whole blocks only, the key is followed by zero bytes (PKCS#11 3.1, 6.13.5).
pub fn wrap(cipher: Box<dyn Cipher>, block: Option<usize>, inner: &Secret) -> Result<Vec<u8>> {
    let mut padded = Secret::zeroed(inner.len().next_multiple_of(block.unwrap_or(1)));
    padded.expose_mut()[..inner.len()].copy_from_slice(inner.expose());
    let mut out = vec![0; cipher.single_len(padded.len())];
    let len = cipher.single(padded.expose(), &mut out)?;
    out.truncate(len);
    Ok(out)
}

/// Unwraps by decryption. Whatever is wrong inside is one error, so that nobody can ask an oracle.
///
/// Errors: `WrappedKeyLenRange` for a length that cannot be right, else `WrappedKeyInvalid`.
pub fn unwrap(cipher: Box<dyn Cipher>, wrapped: &[u8]) -> Result<Secret> {
    let mut inner = Secret::zeroed(cipher.single_len(wrapped.len()));
    match cipher.single(wrapped, inner.expose_mut()) {
        Ok(0) => Err(refuse(Code::WrappedKeyInvalid, "the wrapped key holds no key")),
        Ok(len) => {
            inner.truncate(len);
            Ok(inner)
        }
        Err(error) if error.code() == Code::EncryptedDataLenRange => {
            Err(refuse(Code::WrappedKeyLenRange, "the wrapped key has a wrong length").because(error))
        }
        Err(error) => Err(refuse(Code::WrappedKeyInvalid, "the wrapped key cannot be unwrapped").because(error)),
    }
}

/// Derivation by encryption of the caller's data (PKCS#11 3.1, 6.27): the ciphertext.
///
/// Errors: `MechanismParamInvalid` unless the data is one or more whole blocks.
pub fn encrypt_data<C: BlockCipher<B>, const B: usize>(mechanism: &Mechanism, key: Arc<Key>) -> Result<Secret> {
    let (data, chain) = match &mechanism.params {
        Params::Data(data) => (data, None),
        Params::CbcEncryptData { data, .. } => (data, Some(vector::<B>(mechanism)?)),
        _ => return Err(refuse(Code::MechanismParamInvalid, format!("{} needs data", mechanism.kind))),
    };
    if data.is_empty() || !data.len().is_multiple_of(B) {
        let complaint = format!("{} needs data in blocks of {B} bytes, not {} bytes", mechanism.kind, data.len());
        return Err(refuse(Code::MechanismParamInvalid, complaint));
    }
    let mode = Mode { chain, padded: false };
    let operation = Box::new(BlockOperation::<C, B>::new(key, Direction::Encrypt, mode)?);
    let mut value = Secret::zeroed(data.len());
    operation.single(data, value.expose_mut())?;
    Ok(value)
}
