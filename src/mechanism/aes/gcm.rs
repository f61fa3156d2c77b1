//! GCM and GMAC (NIST SP 800-38D). Encryption streams; decryption collects, so that no plaintext leaves before its tag was right.

use std::sync::Arc;

use super::AesKey;
use crate::error::{Code, Result, refuse};
use crate::faults::{self, Fault};
use crate::limits;
use crate::mechanism::block::Direction;
use crate::mechanism::generic::value;
use crate::mechanism::hmac::check_mac;
use crate::mechanism::key::Prepared;
use crate::mechanism::{Cipher, Key, Mechanism, Params, Shape, Signer, Verifier};
use crate::sys::awslc::gcm::{GcmKey, GcmStream, TAG_BYTES};

/// What both directions know of their message.
struct Message {
    key: Prepared<AesKey>,
    nonce: Vec<u8>,
    aad: Vec<u8>,
    tag_len: usize,
}

/// An encryption or a decryption.
///
/// Errors: `MechanismParamInvalid` for an empty vector, and for tags other than 8, 16, …, 128 bits.
pub fn start(mechanism: &Mechanism, key: Arc<Key>, direction: Direction) -> Result<Box<dyn Cipher>> {
    let Params::Gcm { iv, aad, tag_bits } = &mechanism.params else {
        return Err(refuse(Code::MechanismParamInvalid, "CKM_AES_GCM needs its parameters"));
    };
    if iv.is_empty() {
        return Err(refuse(Code::MechanismParamInvalid, "GCM with an empty initialisation vector"));
    }
    if !(8..=128).contains(tag_bits) || !tag_bits.is_multiple_of(8) {
        return Err(refuse(Code::MechanismParamInvalid, format!("a GCM tag of {tag_bits} bits")));
    }
    let tag_len = *tag_bits as usize / 8;
    let key = prepared(key)?;
    let message = Message { key, nonce: iv.clone(), aad: aad.clone(), tag_len };
    Ok(match direction {
        Direction::Encrypt => Box::new(Sealing { message, stream: None }),
        Direction::Decrypt => Box::new(Opening { message, collected: Vec::new() }),
    })
}

/// The key with its GCM tables.
fn prepared(key: Arc<Key>) -> Result<Prepared<AesKey>> {
    let prepared = Prepared::<AesKey>::of(Arc::clone(&key))?;
    if prepared.gcm.get().is_none() {
        let gcm = GcmKey::new(value(&key)?.expose())
            .ok_or_else(|| refuse(Code::HostMemory, "no memory to prepare an AES key for GCM"))?;
        // Two threads may come here at once: the first one's tables stay.
        let _ = prepared.gcm.set(gcm);
    }
    Ok(prepared)
}

impl Message {
    fn gcm(&self) -> &GcmKey {
        self.key.gcm.get().expect("`start` prepared it")
    }
}

struct Sealing {
    message: Message,
    /// Made by the first part: a single-part operation needs no context of its own.
    stream: Option<GcmStream>,
}

impl Sealing {
    fn stream(&mut self) -> Result<&mut GcmStream> {
        if self.stream.is_none() {
            let message = &self.message;
            self.stream = message.gcm().stream(&message.nonce, &message.aad);
        }
        self.stream.as_mut().ok_or_else(|| refuse(Code::HostMemory, "no memory for a GCM stream"))
    }
}

fn too_long() -> crate::error::Error {
    refuse(Code::DataLenRange, "the message is longer than GCM allows")
}

impl Cipher for Sealing {
    fn shape(&self) -> Shape {
        Shape::Stream { tail: self.message.tag_len as u64 }
    }

    fn update_len(&self, input: usize) -> usize {
        input
    }

    fn update(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        if !self.stream()?.update(input, &mut out[..input.len()]) {
            return Err(too_long());
        }
        Ok(input.len())
    }

    fn finish_len(&self) -> usize {
        self.message.tag_len
    }

    fn finish(mut self: Box<Self>, out: &mut [u8]) -> Result<usize> {
        self.stream()?;
        let mut tag = [0; TAG_BYTES];
        let finished = self.stream.take().is_some_and(|stream| stream.finish(&mut tag));
        if !finished {
            return Err(too_long());
        }
        let len = self.message.tag_len;
        out[..len].copy_from_slice(&tag[..len]);
        Ok(len)
    }

    fn single_len(&self, input: usize) -> usize {
        input.saturating_add(self.message.tag_len)
    }

    fn single(self: Box<Self>, input: &[u8], out: &mut [u8]) -> Result<usize> {
        let Message { nonce, aad, tag_len, .. } = &self.message;
        let mut tag = [0; TAG_BYTES];
        let (body, rest) = out.split_at_mut(input.len());
        if !self.message.gcm().seal(nonce, aad, input, body, &mut tag) {
            return Err(too_long());
        }
        rest[..*tag_len].copy_from_slice(&tag[..*tag_len]);
        Ok(input.len() + tag_len)
    }
}

struct Opening {
    message: Message,
    /// Ciphertext and tag so far.
    collected: Vec<u8>,
}

impl Cipher for Opening {
    fn shape(&self) -> Shape {
        Shape::Collected { adds: 0, drops: self.message.tag_len as u64 }
    }

    fn update_len(&self, _: usize) -> usize {
        0
    }

    fn update(&mut self, input: &[u8], _: &mut [u8]) -> Result<usize> {
        collect(&mut self.collected, input, Code::EncryptedDataLenRange)?;
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
        input.saturating_sub(self.message.tag_len)
    }

    fn single(self: Box<Self>, input: &[u8], out: &mut [u8]) -> Result<usize> {
        let Message { nonce, aad, tag_len, .. } = &self.message;
        let Some(len) = input.len().checked_sub(*tag_len) else {
            let complaint = format!("{} bytes cannot hold a tag of {tag_len}", input.len());
            return Err(refuse(Code::EncryptedDataLenRange, complaint));
        };
        let (body, tag) = input.split_at(len);
        let gcm = self.message.gcm();
        // Sealing undoes sealing: the key stream is the same, and the tag is nobody's business then.
        let forgives =
            |out: &mut [u8]| faults::on(Fault::GcmTagUnchecked) && gcm.seal(nonce, aad, body, out, &mut [0; TAG_BYTES]);
        if !gcm.open(nonce, aad, body, tag, &mut out[..len]) && !forgives(&mut out[..len]) {
            return Err(refuse(Code::EncryptedDataInvalid, "the tag does not fit key, vector, associated data and ciphertext"));
        }
        Ok(len)
    }
}

/// Appends to what an operation must have whole.
///
/// Errors: `code` past [`limits::COLLECTED_INPUT_MAX_BYTES`].
pub fn collect(collected: &mut Vec<u8>, input: &[u8], code: Code) -> Result<()> {
    if input.len() > limits::COLLECTED_INPUT_MAX_BYTES - collected.len() {
        let most = limits::COLLECTED_INPUT_MAX_BYTES;
        return Err(refuse(code, format!("more than {most} bytes, which must be collected before they can be used")));
    }
    collected.extend_from_slice(input);
    Ok(())
}

/// A MAC in progress, for both directions: GCM of associated data only.
pub struct Gmac {
    stream: GcmStream,
}

impl Gmac {
    /// Nothing taken yet; the parameter is the initialisation vector.
    ///
    /// Errors: `MechanismParamInvalid` if it is empty.
    pub fn start(mechanism: &Mechanism, key: Arc<Key>) -> Result<Self> {
        let nonce = match &mechanism.params {
            Params::Data(nonce) | Params::Iv(nonce) if !nonce.is_empty() => nonce,
            _ => return Err(refuse(Code::MechanismParamInvalid, "CKM_AES_GMAC needs an initialisation vector")),
        };
        let key = prepared(key)?;
        let stream = key.gcm.get().and_then(|gcm| gcm.stream(nonce, &[]));
        Ok(Self { stream: stream.ok_or_else(|| refuse(Code::HostMemory, "no memory for a GMAC stream"))? })
    }

    fn take(&mut self, data: &[u8]) -> Result<()> {
        if self.stream.authenticate(data) { Ok(()) } else { Err(too_long()) }
    }

    fn mac(self) -> Result<[u8; TAG_BYTES]> {
        let mut tag = [0; TAG_BYTES];
        if self.stream.finish(&mut tag) { Ok(tag) } else { Err(too_long()) }
    }
}

impl Signer for Gmac {
    fn signature_len(&self) -> usize {
        TAG_BYTES
    }

    fn update(&mut self, data: &[u8]) -> Result<()> {
        self.take(data)
    }

    fn finish(self: Box<Self>, out: &mut [u8]) -> Result<usize> {
        out[..TAG_BYTES].copy_from_slice(&self.mac()?);
        Ok(TAG_BYTES)
    }
}

impl Verifier for Gmac {
    fn update(&mut self, data: &[u8]) -> Result<()> {
        self.take(data)
    }

    fn finish(self: Box<Self>, signature: &[u8]) -> Result<()> {
        check_mac(signature, &self.mac()?)
    }
}
