//! Cryptographic mechanisms: one row each, found by number; a row's functions say what the mechanism can do.
//!
//! A family's file holds the rows, the material that it prepares from a key, and the code. Nothing here knows
//! sessions, handles or storage.
//!
//! Knows: ck, error, faults, limits, object, secret, sys.
//! Crates: aes, ecdsa, ed448-goldilocks, k256, minicbor, once_cell, subtle, x448, zeroize.

mod aes;
mod block;
mod cmac;
mod der;
mod des;
mod dh;
pub mod digest;
mod dsa;
mod ec;
mod edwards;
pub mod encoding;
pub mod generic;
mod hmac;
mod key;
pub mod params;
mod rsa;
mod shape;
#[cfg(test)]
mod symmetric_vectors;
pub mod table;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod vectors;
mod whole;

pub use key::{Key, Material};
pub use params::{Mechanism, Params};
pub use shape::Shape;

use std::any::Any;
use std::sync::Arc;

use self::digest::Hash;
use crate::error::{Code, Error, Result, refuse};
use crate::object::Template;
use crate::object::policy::{Decrypt, Derive, Encrypt, Permitted, Sign, SignRecover, Unwrap, Verify, VerifyRecover, Wrap};
use crate::secret::Secret;

/// A message digest in progress.
pub trait Digester: Send {
    /// Length of the digest in bytes.
    fn output_len(&self) -> usize;
    /// Takes more of the message.
    fn update(&mut self, data: &[u8]) -> Result<()>;
    /// Writes `output_len()` bytes to the front of `out`, which is at least that long.
    fn finish(self: Box<Self>, out: &mut [u8]) -> Result<()>;
    /// The state as bytes, for `C_GetOperationState`; `None` where it cannot be saved.
    fn save(&self) -> Option<Vec<u8>> {
        None
    }
    /// The digest as its maker knows it, where that is more than a digest.
    fn as_any(&mut self) -> Option<&mut dyn Any> {
        None
    }
}

/// A signature or MAC in progress.
pub trait Signer: Send {
    /// The longest that the signature can be, in bytes; known before any input.
    fn signature_len(&self) -> usize;
    /// Takes more of the message.
    /// Fails with `FunctionNotSupported`-like codes only where the standard allows no multi-part form.
    fn update(&mut self, data: &[u8]) -> Result<()>;
    /// Writes the signature to the front of `out` (at least `signature_len()` long); returns its length.
    fn finish(self: Box<Self>, out: &mut [u8]) -> Result<usize>;
    /// Everything at once; no `update` has happened.
    fn single(mut self: Box<Self>, data: &[u8], out: &mut [u8]) -> Result<usize> {
        self.update(data)?;
        self.finish(out)
    }
    /// The hash that comes before the key is needed: it can be computed anywhere.
    fn hash(&self) -> Option<Hash> {
        None
    }
    /// As [`Signer::finish`], over a digest by [`Signer::hash`] in the place of the message. Errors: `DataLenRange`.
    fn finish_digest(self: Box<Self>, _digest: &[u8], _out: &mut [u8]) -> Result<usize> {
        Err(takes_no_digest())
    }
}

/// A verification in progress.
pub trait Verifier: Send {
    /// Takes more of the message.
    fn update(&mut self, data: &[u8]) -> Result<()>;
    /// `SignatureInvalid` or `SignatureLenRange` when it does not match.
    fn finish(self: Box<Self>, signature: &[u8]) -> Result<()>;
    /// Everything at once; no `update` has happened.
    fn single(mut self: Box<Self>, data: &[u8], signature: &[u8]) -> Result<()> {
        self.update(data)?;
        self.finish(signature)
    }
    /// As [`Signer::hash`].
    fn hash(&self) -> Option<Hash> {
        None
    }
    /// As [`Verifier::finish`], over a digest in the place of the message. Errors: `DataLenRange`.
    fn finish_digest(self: Box<Self>, _digest: &[u8], _signature: &[u8]) -> Result<()> {
        Err(takes_no_digest())
    }
}

fn takes_no_digest() -> Error {
    refuse(Code::DataInvalid, "this mechanism takes the message itself, not its digest")
}

/// Signing or verification with message recovery: single-part only.
pub trait Recover: Send {
    /// The longest output for an input of this length.
    fn output_len(&self, input: usize) -> usize;
    /// Writes to the front of `out`; returns the length.
    fn single(self: Box<Self>, input: &[u8], out: &mut [u8]) -> Result<usize>;
}

/// Which call an operation is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Everything at once.
    Single,
    /// One more part.
    Update,
    /// What is left.
    Final,
}

/// An encryption or a decryption in progress.
///
/// [`Cipher::shape`] says the same to who holds no key.
///
/// `*_len` are upper bounds that depend on lengths only; they are exact unless [`Cipher::unpads`].
/// The session hands a buffer of at least the bound (its own, wiped, where the caller's is shorter and the mechanism unpads).
pub trait Cipher: Send {
    /// How its output's length follows from its input's.
    fn shape(&self) -> Shape;
    /// Whether the true output length shows only at the end (padding is removed).
    fn unpads(&self) -> bool {
        false
    }
    /// Whether a call can take so much input as it comes: asked before a caller is told how long the output would be.
    ///
    /// Errors: what the call itself would answer.
    fn check(&self, _step: Step, _input: usize) -> Result<()> {
        Ok(())
    }
    /// Bound for `update` with `input` more bytes.
    fn update_len(&self, input: usize) -> usize;
    /// Takes input, writes output to the front of `out`; returns its length. `input` and `out` never overlap.
    fn update(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize>;
    /// Bound for `finish`.
    fn finish_len(&self) -> usize;
    /// Writes what is left.
    fn finish(self: Box<Self>, out: &mut [u8]) -> Result<usize>;
    /// Bound for `single`.
    fn single_len(&self, input: usize) -> usize;
    /// Everything at once; no `update` has happened.
    fn single(self: Box<Self>, input: &[u8], out: &mut [u8]) -> Result<usize>;
}

/// What generation made: attributes to be merged into the new object(s).
pub struct GeneratedPair {
    /// For the public key (`CKA_MODULUS`, `CKA_EC_POINT`, …).
    pub public: Template,
    /// For the private key.
    pub private: Template,
}

/// What a derivation asks for beyond the base key.
pub struct Wanted<'a> {
    /// `CKA_KEY_TYPE` of the new key (never absent: the partition fills in `CKK_GENERIC_SECRET`).
    pub key_type: crate::ck::KeyType,
    /// `CKA_VALUE_LEN` of the template, or the fixed length of the key type.
    pub value_len: Option<usize>,
    /// The second key of `CKM_CONCATENATE_BASE_AND_KEY` and its like, resolved and permitted by the partition.
    pub other: Option<&'a Key>,
}

/// What a mechanism can do: each entry that is there is advertised as a `CKF_*` flag, and works.
#[derive(Clone, Copy)]
#[allow(missing_docs, clippy::type_complexity)] // Each signature is spelt out once, here.
pub struct Verbs {
    pub digest: Option<fn(&Mechanism) -> Result<Box<dyn Digester>>>,
    pub sign: Option<fn(&Mechanism, Permitted<Sign, Arc<Key>>) -> Result<Box<dyn Signer>>>,
    pub verify: Option<fn(&Mechanism, Permitted<Verify, Arc<Key>>) -> Result<Box<dyn Verifier>>>,
    pub sign_recover: Option<fn(&Mechanism, Permitted<SignRecover, Arc<Key>>) -> Result<Box<dyn Recover>>>,
    pub verify_recover: Option<fn(&Mechanism, Permitted<VerifyRecover, Arc<Key>>) -> Result<Box<dyn Recover>>>,
    pub encrypt: Option<fn(&Mechanism, Permitted<Encrypt, Arc<Key>>) -> Result<Box<dyn Cipher>>>,
    pub decrypt: Option<fn(&Mechanism, Permitted<Decrypt, Arc<Key>>) -> Result<Box<dyn Cipher>>>,
    /// Secret key or domain parameters; the template is the caller's, checked. Returns attributes to merge.
    pub generate: Option<fn(&Mechanism, &Template) -> Result<Template>>,
    /// Templates: the caller's public and private, checked.
    pub generate_pair: Option<fn(&Mechanism, &Template, &Template) -> Result<GeneratedPair>>,
    /// The bytes are already in the wrapped form's inner encoding (`table::wrap_input`): value, or PKCS#8 for private keys.
    pub wrap: Option<fn(&Mechanism, Permitted<Wrap, Arc<Key>>, &Secret) -> Result<Vec<u8>>>,
    /// Gives back the inner encoding. One error code for everything that is wrong inside.
    pub unwrap: Option<fn(&Mechanism, Permitted<Unwrap, Arc<Key>>, &[u8]) -> Result<Secret>>,
    /// The value of a new secret key.
    pub derive: Option<fn(&Mechanism, Permitted<Derive, Arc<Key>>, &Wanted<'_>) -> Result<Secret>>,
}

impl Verbs {
    /// Nothing: to be completed with `..Verbs::NONE`.
    pub const NONE: Verbs = Verbs {
        digest: None,
        sign: None,
        verify: None,
        sign_recover: None,
        verify_recover: None,
        encrypt: None,
        decrypt: None,
        generate: None,
        generate_pair: None,
        wrap: None,
        unwrap: None,
        derive: None,
    };
}
