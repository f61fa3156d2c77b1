//! Operations over one whole input, or over its digest, behind the streaming traits.

use super::digest::{Hash, Hasher};
use super::{Cipher, Shape, Signer, Verifier};
use crate::error::{Code, Result, refuse};
use crate::faults::{self, Fault};
use crate::limits;
use crate::secret::Secret;

/// A signature over one input: the digest of a message, or a message itself.
pub(super) trait SignOnce: Send {
    /// As [`Signer::signature_len`].
    fn signature_len(&self) -> usize;
    /// Writes the signature to the front of `out`; returns its length.
    fn sign(&self, input: &[u8], out: &mut [u8]) -> Result<usize>;
}

/// A verification over one input.
pub(super) trait VerifyOnce: Send {
    /// `SignatureInvalid` or `SignatureLenRange` when it does not match.
    fn verify(&self, input: &[u8], signature: &[u8]) -> Result<()>;
}

/// An encryption or decryption of one input.
pub(super) trait TransformOnce: Send {
    /// Whether the output's length shows only at the end.
    const UNPADS: bool;
    /// The longest output.
    fn output_max(&self) -> usize;
    /// Writes the output to the front of `out` (at least `output_max()` long); returns its length.
    fn transform(&self, input: &[u8], out: &mut [u8]) -> Result<usize>;
}

/// Hashes what comes, then applies `once` to the digest.
pub(super) struct OverDigest<S> {
    hasher: Hasher,
    once: S,
}

impl<S> OverDigest<S> {
    pub(super) fn new(hash: Hash, once: S) -> Box<Self> {
        Box::new(Self { hasher: hash.start(), once })
    }
}

impl<S: SignOnce> Signer for OverDigest<S> {
    fn signature_len(&self) -> usize {
        self.once.signature_len()
    }

    fn update(&mut self, data: &[u8]) -> Result<()> {
        self.hasher.update(data);
        Ok(())
    }

    fn finish(mut self: Box<Self>, out: &mut [u8]) -> Result<usize> {
        self.once.sign(&self.hasher.finish_here(), out)
    }

    fn hash(&self) -> Option<Hash> {
        Some(self.hasher.hash())
    }

    fn finish_digest(self: Box<Self>, digest: &[u8], out: &mut [u8]) -> Result<usize> {
        check_digest_len(self.hasher.hash(), digest)?;
        self.once.sign(digest, out)
    }
}

impl<S: VerifyOnce> Verifier for OverDigest<S> {
    fn update(&mut self, data: &[u8]) -> Result<()> {
        self.hasher.update(data);
        Ok(())
    }

    fn finish(mut self: Box<Self>, signature: &[u8]) -> Result<()> {
        self.once.verify(&self.hasher.finish_here(), signature)
    }

    fn hash(&self) -> Option<Hash> {
        Some(self.hasher.hash())
    }

    fn finish_digest(self: Box<Self>, digest: &[u8], signature: &[u8]) -> Result<()> {
        check_digest_len(self.hasher.hash(), digest)?;
        self.once.verify(digest, signature)
    }
}

fn check_digest_len(hash: Hash, digest: &[u8]) -> Result<()> {
    if digest.len() == hash.output_len() {
        return Ok(());
    }
    Err(refuse(Code::DataLenRange, format!("the digest has {} bytes, not {}", digest.len(), hash.output_len())))
}

/// Collects what comes up to a limit, then applies `once`.
pub(super) struct OverWhole<S> {
    collected: Secret,
    limit: usize,
    too_long: Code,
    once: S,
}

impl<S> OverWhole<S> {
    /// For messages of any length.
    pub(super) fn unbounded(once: S) -> Box<Self> {
        Self::new(limits::COLLECTED_INPUT_MAX_BYTES, Code::DataLenRange, once)
    }

    /// For inputs of at most `limit` bytes; a longer one is refused with `too_long`.
    pub(super) fn new(limit: usize, too_long: Code, once: S) -> Box<Self> {
        Box::new(Self { collected: Secret::default(), limit, too_long, once })
    }

    fn check(&self, total: usize) -> Result<()> {
        if total <= self.limit {
            return Ok(());
        }
        Err(refuse(self.too_long, format!("the input has more than the {} bytes that this key and mechanism take", self.limit)))
    }

    fn collect(&mut self, data: &[u8]) -> Result<()> {
        self.check(self.collected.len().saturating_add(data.len()))?;
        self.collected.extend(data);
        Ok(())
    }
}

impl<S: SignOnce> Signer for OverWhole<S> {
    fn signature_len(&self) -> usize {
        self.once.signature_len()
    }

    fn update(&mut self, data: &[u8]) -> Result<()> {
        self.collect(data)
    }

    fn finish(self: Box<Self>, out: &mut [u8]) -> Result<usize> {
        self.once.sign(self.collected.expose(), out)
    }

    fn single(self: Box<Self>, data: &[u8], out: &mut [u8]) -> Result<usize> {
        self.check(data.len())?;
        self.once.sign(data, out)
    }
}

impl<S: VerifyOnce> Verifier for OverWhole<S> {
    fn update(&mut self, data: &[u8]) -> Result<()> {
        self.collect(data)
    }

    fn finish(self: Box<Self>, signature: &[u8]) -> Result<()> {
        self.once.verify(self.collected.expose(), signature)
    }

    fn single(self: Box<Self>, data: &[u8], signature: &[u8]) -> Result<()> {
        self.check(data.len())?;
        self.once.verify(data, signature)
    }
}

impl<S: TransformOnce> Cipher for OverWhole<S> {
    fn shape(&self) -> Shape {
        Shape::Whole { input_max: self.limit as u64, output_max: self.once.output_max() as u64, unpads: S::UNPADS }
    }

    fn unpads(&self) -> bool {
        S::UNPADS
    }

    fn update_len(&self, _input: usize) -> usize {
        0
    }

    fn update(&mut self, input: &[u8], _out: &mut [u8]) -> Result<usize> {
        self.collect(input).map(|()| 0)
    }

    fn finish_len(&self) -> usize {
        self.once.output_max()
    }

    fn finish(self: Box<Self>, out: &mut [u8]) -> Result<usize> {
        self.once.transform(self.collected.expose(), out)
    }

    fn single_len(&self, _input: usize) -> usize {
        self.once.output_max()
    }

    fn single(self: Box<Self>, input: &[u8], out: &mut [u8]) -> Result<usize> {
        self.check(input.len())?;
        self.once.transform(input, out)
    }
}

/// `SignatureLenRange` unless the signature is as long as it must be.
pub(super) fn check_signature_len(signature: &[u8], expected: usize) -> Result<()> {
    if signature.len() == expected {
        return Ok(());
    }
    Err(refuse(Code::SignatureLenRange, format!("the signature has {} bytes, not {expected}", signature.len())))
}

/// `SignatureInvalid` unless it is valid.
pub(super) fn check_valid(valid: bool) -> Result<()> {
    if valid || faults::on(Fault::AnySignatureIsGood) {
        Ok(())
    } else {
        Err(refuse(Code::SignatureInvalid, "the signature does not belong to the data and the key"))
    }
}
