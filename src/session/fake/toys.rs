//! Toy mechanisms. An input of `fail` fails with `DataInvalid`, one of `boom` panics.

use crate::error::{Code, Result, refuse};
use crate::mechanism::{Cipher, Recover, Shape, Signer, Step, Verifier};

/// Bytes of a toy signature.
pub(crate) const SIGNATURE_BYTES: usize = 8;
/// Bytes of a toy cipher's block.
pub(crate) const BLOCK_BYTES: usize = 4;

fn look(input: &[u8]) -> Result<()> {
    match input {
        b"fail" => Err(refuse(Code::DataInvalid, "the toy was told to fail")),
        b"boom" => panic!("the toy was told to panic"),
        _ => Ok(()),
    }
}

/// Signs with the sum of the message's bytes.
#[derive(Default)]
pub(crate) struct Sum(u64);

/// What [`Sum`] signs a message with.
pub(crate) fn signature(message: &[u8]) -> [u8; SIGNATURE_BYTES] {
    message.iter().map(|byte| u64::from(*byte)).sum::<u64>().to_be_bytes()
}

impl Signer for Sum {
    fn signature_len(&self) -> usize {
        SIGNATURE_BYTES
    }

    fn update(&mut self, data: &[u8]) -> Result<()> {
        look(data)?;
        self.0 += data.iter().map(|byte| u64::from(*byte)).sum::<u64>();
        Ok(())
    }

    fn finish(self: Box<Self>, out: &mut [u8]) -> Result<usize> {
        out[..SIGNATURE_BYTES].copy_from_slice(&self.0.to_be_bytes());
        Ok(SIGNATURE_BYTES)
    }
}

impl Verifier for Sum {
    fn update(&mut self, data: &[u8]) -> Result<()> {
        Signer::update(self, data)
    }

    fn finish(self: Box<Self>, signature: &[u8]) -> Result<()> {
        match signature.len() {
            SIGNATURE_BYTES if signature == self.0.to_be_bytes() => Ok(()),
            SIGNATURE_BYTES => Err(refuse(Code::SignatureInvalid, "the toy's signature is wrong")),
            len => Err(refuse(Code::SignatureLenRange, format!("a toy's signature has not {len} bytes"))),
        }
    }
}

/// The input with its bits turned over: its own inverse.
pub(crate) fn turned(input: &[u8]) -> Vec<u8> {
    input.iter().map(|byte| byte ^ 0xff).collect()
}

/// Turns the input over, and gives it back.
pub(crate) struct Turn;

impl Recover for Turn {
    fn output_len(&self, input: usize) -> usize {
        input
    }

    fn single(self: Box<Self>, input: &[u8], out: &mut [u8]) -> Result<usize> {
        look(input)?;
        out[..input.len()].copy_from_slice(&turned(input));
        Ok(input.len())
    }
}

/// A block cipher that turns bits over, padded as PKCS #7 says, or not at all.
pub(crate) struct Blocks {
    encrypts: bool,
    padded: bool,
    pending: Vec<u8>,
}

/// What [`Blocks`] encrypts a plaintext to.
pub(crate) fn ciphertext(plaintext: &[u8]) -> Vec<u8> {
    let pad = BLOCK_BYTES - plaintext.len() % BLOCK_BYTES;
    turned(&[plaintext, &vec![pad as u8; pad]].concat())
}

impl Blocks {
    pub fn encrypting(padded: bool) -> Self {
        Self { encrypts: true, padded, pending: Vec::new() }
    }

    pub fn decrypting(padded: bool) -> Self {
        Self { encrypts: false, padded, pending: Vec::new() }
    }
}

impl Cipher for Blocks {
    fn shape(&self) -> Shape {
        Shape::Blocks { size: BLOCK_BYTES as u64, padded: self.padded, decrypts: !self.encrypts }
    }

    fn unpads(&self) -> bool {
        self.padded && !self.encrypts
    }

    fn check(&self, step: Step, input: usize) -> Result<()> {
        match step {
            Step::Single if !self.padded && !input.is_multiple_of(BLOCK_BYTES) => {
                Err(refuse(Code::DataLenRange, "the toy takes whole blocks"))
            }
            _ => Ok(()),
        }
    }

    fn update_len(&self, input: usize) -> usize {
        let held_back = usize::from(self.unpads());
        (self.pending.len() + input).saturating_sub(held_back) / BLOCK_BYTES * BLOCK_BYTES
    }

    fn update(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        look(input)?;
        let len = self.update_len(input.len());
        self.pending.extend_from_slice(input);
        let done: Vec<u8> = self.pending.drain(..len).collect();
        out[..len].copy_from_slice(&turned(&done));
        Ok(len)
    }

    fn finish_len(&self) -> usize {
        if self.padded { BLOCK_BYTES } else { 0 }
    }

    fn finish(self: Box<Self>, out: &mut [u8]) -> Result<usize> {
        match (self.encrypts, self.padded) {
            (_, false) if self.pending.is_empty() => Ok(0),
            (_, false) => Err(refuse(Code::DataLenRange, "the toy takes whole blocks")),
            (true, true) => {
                out[..BLOCK_BYTES].copy_from_slice(&ciphertext(&self.pending));
                Ok(BLOCK_BYTES)
            }
            (false, true) => {
                let block = turned(&self.pending);
                let pad = block.last().copied().map_or(0, usize::from);
                if block.len() != BLOCK_BYTES || !(1..=BLOCK_BYTES).contains(&pad) {
                    return Err(refuse(Code::EncryptedDataInvalid, "the toy's padding is wrong"));
                }
                let len = BLOCK_BYTES - pad;
                out[..len].copy_from_slice(&block[..len]);
                Ok(len)
            }
        }
    }

    fn single_len(&self, input: usize) -> usize {
        match (self.encrypts, self.padded) {
            (true, true) => (input / BLOCK_BYTES + 1) * BLOCK_BYTES,
            _ => input,
        }
    }

    fn single(mut self: Box<Self>, input: &[u8], out: &mut [u8]) -> Result<usize> {
        let len = self.update(input, out)?;
        Ok(len + self.finish(&mut out[len..])?)
    }
}
