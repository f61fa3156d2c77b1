//! CCM (NIST SP 800-38C). The length comes first in it, so both directions collect their message.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::gcm::collect;
use crate::error::{Code, Result, refuse};
use crate::limits;
use crate::mechanism::block::Direction;
use crate::mechanism::generic::value;
use crate::mechanism::{Cipher, Key, Mechanism, Params, Shape};
use crate::sys::awslc::gcm::{ccm_open, ccm_seal};

struct Ccm {
    key: Arc<Key>,
    direction: Direction,
    nonce: Vec<u8>,
    aad: Vec<u8>,
    tag_len: usize,
    /// The length of the plaintext as the caller announced it.
    announced: u64,
    collected: Zeroizing<Vec<u8>>,
}

/// An encryption or a decryption.
///
/// Errors: `MechanismParamInvalid` unless the nonce has 7 to 13 bytes and the MAC 4, 6, …, 16.
pub fn start(mechanism: &Mechanism, key: Arc<Key>, direction: Direction) -> Result<Box<dyn Cipher>> {
    let Params::Ccm { data_len, nonce, aad, mac_len } = &mechanism.params else {
        return Err(refuse(Code::MechanismParamInvalid, "CKM_AES_CCM needs its parameters"));
    };
    if !(7..=13).contains(&nonce.len()) {
        return Err(refuse(Code::MechanismParamInvalid, format!("a CCM nonce of {} bytes", nonce.len())));
    }
    if !matches!(mac_len, 4 | 6 | 8 | 10 | 12 | 14 | 16) {
        return Err(refuse(Code::MechanismParamInvalid, format!("a CCM MAC of {mac_len} bytes")));
    }
    // What the nonce leaves of a block, less the flags, holds the message's length.
    let length_bits = 8 * (15 - nonce.len() as u32);
    let fits = length_bits >= u64::BITS || *data_len >> length_bits == 0;
    if !fits || *data_len > limits::COLLECTED_INPUT_MAX_BYTES as u64 {
        return Err(refuse(Code::MechanismParamInvalid, format!("a CCM message of {data_len} bytes")));
    }
    // Refuses a wrong key now, not at the end.
    let len = value(&key)?.len();
    if !matches!(len, 16 | 24 | 32) {
        return Err(refuse(Code::KeySizeRange, format!("an AES key of {len} bytes")));
    }
    Ok(Box::new(Ccm {
        key,
        direction,
        nonce: nonce.clone(),
        aad: aad.clone(),
        tag_len: *mac_len as usize,
        announced: *data_len,
        collected: Zeroizing::default(),
    }))
}

impl Ccm {
    fn seal(&self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        if input.len() as u64 != self.announced {
            let complaint = format!("{} bytes of data, announced as {}", input.len(), self.announced);
            return Err(refuse(Code::DataLenRange, complaint));
        }
        let len = input.len() + self.tag_len;
        let (body, tag) = out[..len].split_at_mut(input.len());
        if !ccm_seal(value(&self.key)?.expose(), &self.nonce, &self.aad, input, body, tag) {
            return Err(refuse(Code::DataLenRange, "the message is longer than CCM allows"));
        }
        Ok(len)
    }

    fn open(&self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        // Clients differ in whether they announce the ciphertext with or without its MAC.
        let given = input.len() as u64;
        let len = input.len().checked_sub(self.tag_len);
        let Some(len) = len.filter(|len| *len as u64 == self.announced || given == self.announced) else {
            let complaint = format!("{given} bytes of ciphertext and MAC, announced as {}", self.announced);
            return Err(refuse(Code::EncryptedDataLenRange, complaint));
        };
        let (body, tag) = input.split_at(len);
        if !ccm_open(value(&self.key)?.expose(), &self.nonce, &self.aad, body, tag, &mut out[..len]) {
            return Err(refuse(Code::EncryptedDataInvalid, "the MAC does not fit key, nonce, associated data and ciphertext"));
        }
        Ok(len)
    }
}

impl Cipher for Ccm {
    fn shape(&self) -> Shape {
        let tag = self.tag_len as u64;
        match self.direction {
            Direction::Encrypt => Shape::Collected { adds: tag, drops: 0 },
            Direction::Decrypt => Shape::Collected { adds: 0, drops: tag },
        }
    }

    fn update_len(&self, _: usize) -> usize {
        0
    }

    fn update(&mut self, input: &[u8], _: &mut [u8]) -> Result<usize> {
        let code = self.direction.length_code();
        if self.collected.is_empty() {
            // Room for all of it at once: a growing vector would leave copies of the plaintext behind.
            self.collected.reserve_exact(self.announced as usize + self.tag_len);
        }
        if (self.collected.len() + input.len()) as u64 > self.announced + self.tag_len as u64 {
            return Err(refuse(code, format!("more than the {} bytes that were announced", self.announced)));
        }
        collect(&mut self.collected, input, code)?;
        Ok(0)
    }

    fn finish_len(&self) -> usize {
        self.single_len(self.collected.len())
    }

    fn finish(mut self: Box<Self>, out: &mut [u8]) -> Result<usize> {
        let collected = std::mem::take(&mut self.collected);
        self.single(&collected, out)
    }

    fn single_len(&self, input: usize) -> usize {
        match self.direction {
            Direction::Encrypt => input.saturating_add(self.tag_len),
            Direction::Decrypt => input.saturating_sub(self.tag_len),
        }
    }

    fn single(self: Box<Self>, input: &[u8], out: &mut [u8]) -> Result<usize> {
        match self.direction {
            Direction::Encrypt => self.seal(input, out),
            Direction::Decrypt => self.open(input, out),
        }
    }
}
