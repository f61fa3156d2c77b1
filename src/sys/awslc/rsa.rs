//! RSA keys: made once with their Montgomery contexts, then shared between threads.

use std::ptr::{self, NonNull};

use aws_lc_sys as lc;

use super::bignum::{Number, bytes_of};
use super::fault::{fault, forget};
use crate::error::{Code, Doing, Result, refuse};

/// A digest that the library computes inside a padding (PSS, OAEP).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is what its name says")]
pub enum PaddingHash {
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
    Sha512_224,
    Sha512_256,
    Sha3_224,
    Sha3_256,
    Sha3_384,
    Sha3_512,
}

impl PaddingHash {
    fn description(self) -> *const lc::EVP_MD {
        // SAFETY: each function returns a static of the library and has no precondition.
        unsafe {
            match self {
                Self::Md5 => lc::EVP_md5(),
                Self::Sha1 => lc::EVP_sha1(),
                Self::Sha224 => lc::EVP_sha224(),
                Self::Sha256 => lc::EVP_sha256(),
                Self::Sha384 => lc::EVP_sha384(),
                Self::Sha512 => lc::EVP_sha512(),
                Self::Sha512_224 => lc::EVP_sha512_224(),
                Self::Sha512_256 => lc::EVP_sha512_256(),
                Self::Sha3_224 => lc::EVP_sha3_224(),
                Self::Sha3_256 => lc::EVP_sha3_256(),
                Self::Sha3_384 => lc::EVP_sha3_384(),
                Self::Sha3_512 => lc::EVP_sha3_512(),
            }
        }
    }
}

/// Block formatting of RFC 8017.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// PKCS #1 v1.5: block type 1 for signatures, 2 for encryption.
    Pkcs1,
    /// None: the input is as long as the modulus.
    None,
}

impl Padding {
    fn number(self) -> i32 {
        match self {
            Padding::Pkcs1 => lc::RSA_PKCS1_PADDING,
            Padding::None => lc::RSA_NO_PADDING,
        }
    }
}

/// PSS (RFC 8017, 8.1): hash, mask generation hash, salt length in bytes.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "each is what its name says")]
pub struct Pss {
    pub hash: PaddingHash,
    pub mask: PaddingHash,
    pub salt_len: u32,
}

/// The numbers of a private key, big-endian.
#[derive(Clone, Copy)]
#[allow(missing_docs, reason = "each is what its name says")]
pub struct PrivateNumbers<'a> {
    pub modulus: &'a [u8],
    pub public_exponent: &'a [u8],
    pub private_exponent: &'a [u8],
    /// Absent for a key that is known by its exponents only: slower, and less can be checked.
    pub crt: Option<CrtNumbers<'a>>,
}

/// What the Chinese remainder theorem needs, big-endian.
#[derive(Clone, Copy)]
#[allow(missing_docs, reason = "each is what its name says")]
pub struct CrtNumbers<'a> {
    pub prime_1: &'a [u8],
    pub prime_2: &'a [u8],
    pub exponent_1: &'a [u8],
    pub exponent_2: &'a [u8],
    pub coefficient: &'a [u8],
}

/// Which number of a key.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "each is what its name says")]
pub enum Part {
    Modulus,
    PublicExponent,
    PrivateExponent,
    Prime1,
    Prime2,
    Exponent1,
    Exponent2,
    Coefficient,
}

/// An RSA key, public or private.
pub struct Rsa {
    key: NonNull<lc::RSA>,
    /// The same key behind the generic handle that OAEP is reached through.
    envelope: NonNull<lc::EVP_PKEY>,
    size: usize,
}

// SAFETY: the handles own the key (by reference count), which has no tie to the thread that made it.
unsafe impl Send for Rsa {}
// SAFETY: after construction only functions are called that rsa.h and evp.h declare non-mutating, whatever their
// pointers' constness; the library guards its lazily made contexts and the blinding cache by a lock of the key.
unsafe impl Sync for Rsa {}

/// The largest public exponent, in bits, that the library takes without being told that it is large.
const PUBLIC_EXPONENT_COMMON_MAX_BITS: usize = 33;

impl Rsa {
    /// A public key. Errors: `KeySizeRange` for numbers that cannot be one (even, too long, exponent 1).
    pub fn public(modulus: &[u8], exponent: &[u8]) -> Result<Self> {
        let (n, e) = (Number::from_be(modulus)?, Number::from_be(exponent)?);
        // SAFETY: both numbers are live; the library copies and checks them; the key is ours.
        let key = unsafe {
            if e.bits() > PUBLIC_EXPONENT_COMMON_MAX_BITS {
                lc::RSA_new_public_key_large_e(n.as_ptr(), e.as_ptr())
            } else {
                lc::RSA_new_public_key(n.as_ptr(), e.as_ptr())
            }
        };
        Self::own(key, "the numbers are no RSA public key")
    }

    /// A private key; every number that is there is checked against the others.
    ///
    /// Errors: `KeySizeRange` for numbers that do not fit each other.
    pub fn private(numbers: &PrivateNumbers<'_>) -> Result<Self> {
        let n = Number::from_be(numbers.modulus)?;
        let e = Number::from_be(numbers.public_exponent)?;
        let d = Number::from_be(numbers.private_exponent)?;
        let Some(crt) = numbers.crt else {
            // SAFETY: the numbers are live; the library copies and checks them; the key is ours.
            let key = unsafe { lc::RSA_new_private_key_no_crt(n.as_ptr(), e.as_ptr(), d.as_ptr()) };
            return Self::own(key, "the numbers are no RSA private key");
        };
        let (p, q) = (Number::from_be(crt.prime_1)?, Number::from_be(crt.prime_2)?);
        let (dp, dq) = (Number::from_be(crt.exponent_1)?, Number::from_be(crt.exponent_2)?);
        let qinv = Number::from_be(crt.coefficient)?;
        let make =
            if e.bits() > PUBLIC_EXPONENT_COMMON_MAX_BITS { lc::RSA_new_private_key_large_e } else { lc::RSA_new_private_key };
        // SAFETY: the numbers are live; the library copies and checks them; the key is ours.
        let key =
            unsafe { make(n.as_ptr(), e.as_ptr(), d.as_ptr(), p.as_ptr(), q.as_ptr(), dp.as_ptr(), dq.as_ptr(), qinv.as_ptr()) };
        Self::own(key, "the numbers of the RSA private key do not fit each other")
    }

    /// Whether [`Rsa::generate`] finds such keys: the library rounds the length down to a multiple of 128 bits.
    pub fn generates(bits: u32, exponent: &[u8]) -> bool {
        bits.is_multiple_of(128) && exponent.len() <= 4
    }

    /// A new key pair (FIPS 186-5, appendix A.1.3). `bits` is a multiple of 128, the exponent odd and at most 32 bits long.
    ///
    /// Errors: `KeySizeRange` for other sizes, `FunctionFailed`.
    pub fn generate(bits: u32, exponent: &[u8]) -> Result<Self> {
        let e = Number::from_be(exponent)?;
        if !Self::generates(bits, exponent) || bits > i32::MAX as u32 {
            return Err(refuse(Code::KeySizeRange, format!("an RSA modulus of {bits} bits cannot be generated")));
        }
        // SAFETY: no precondition.
        let rsa = Self::shell(unsafe { lc::RSA_new() }, "an RSA key could not be made")?;
        // SAFETY: the key is live and ours alone, the exponent is live, no callback is given; the size fits.
        let made = unsafe { lc::RSA_generate_key_ex(rsa.as_ptr(), bits as i32, e.as_ptr(), ptr::null_mut()) };
        if made != 1 {
            // SAFETY: the key is ours and freed once.
            unsafe { lc::RSA_free(rsa.as_ptr()) };
            return Err(fault(Code::FunctionFailed, "the RSA key could not be generated"));
        }
        Self::own(rsa.as_ptr(), "the generated RSA key is refused")
    }

    /// Length of the modulus, hence of blocks and signatures, in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Length of the modulus in bits.
    pub fn bits(&self) -> usize {
        // SAFETY: the key is live.
        unsafe { lc::RSA_bits(self.key.as_ptr()) as usize }
    }

    /// A number of the key, big-endian without leading zeros, if the key has it. All but the first two are secret.
    pub fn part(&self, part: Part) -> Option<Vec<u8>> {
        let key = self.key.as_ptr();
        // SAFETY: the key is live, so what it hands out is live or NULL.
        unsafe {
            let number = match part {
                Part::Modulus => lc::RSA_get0_n(key),
                Part::PublicExponent => lc::RSA_get0_e(key),
                Part::PrivateExponent => lc::RSA_get0_d(key),
                Part::Prime1 => lc::RSA_get0_p(key),
                Part::Prime2 => lc::RSA_get0_q(key),
                Part::Exponent1 => lc::RSA_get0_dmp1(key),
                Part::Exponent2 => lc::RSA_get0_dmq1(key),
                Part::Coefficient => lc::RSA_get0_iqmp(key),
            };
            (!number.is_null()).then(|| bytes_of(number))
        }
    }

    /// The private operation over a padded input; writes [`Rsa::size`] bytes to the front of `out`.
    ///
    /// Errors: `DataInvalid` for an input that does not fit, or (unpadded) is not below the modulus.
    pub fn sign(&self, padding: Padding, input: &[u8], out: &mut [u8]) -> Result<usize> {
        let mut written = 0;
        // SAFETY: the key is live; each pointer goes with the length of its own slice.
        let done = unsafe {
            lc::RSA_sign_raw(
                self.key.as_ptr(),
                &mut written,
                out.as_mut_ptr(),
                out.len(),
                input.as_ptr(),
                input.len(),
                padding.number(),
            )
        };
        if done == 1 { Ok(written) } else { Err(fault(Code::DataInvalid, "the RSA private operation refused its input")) }
    }

    /// What a signature was made over, its padding checked and removed. `None` if the signature is wrong.
    /// `out` is at least [`Rsa::size`] bytes long.
    pub fn recover(&self, padding: Padding, signature: &[u8], out: &mut [u8]) -> Option<usize> {
        let mut written = 0;
        // SAFETY: the key is live; each pointer goes with the length of its own slice.
        let done = unsafe {
            lc::RSA_verify_raw(
                self.key.as_ptr(),
                &mut written,
                out.as_mut_ptr(),
                out.len(),
                signature.as_ptr(),
                signature.len(),
                padding.number(),
            )
        };
        if done == 1 {
            return Some(written);
        }
        forget();
        None
    }

    /// The public operation over a padded input; writes [`Rsa::size`] bytes to the front of `out`.
    ///
    /// Errors: `DataInvalid` for an input that does not fit, or (unpadded) is not below the modulus.
    pub fn encrypt(&self, padding: Padding, input: &[u8], out: &mut [u8]) -> Result<usize> {
        let mut written = 0;
        // SAFETY: the key is live; each pointer goes with the length of its own slice.
        let done = unsafe {
            lc::RSA_encrypt(
                self.key.as_ptr(),
                &mut written,
                out.as_mut_ptr(),
                out.len(),
                input.as_ptr(),
                input.len(),
                padding.number(),
            )
        };
        if done == 1 { Ok(written) } else { Err(fault(Code::DataInvalid, "the RSA public operation refused its input")) }
    }

    /// The private operation without any padding: [`Rsa::size`] bytes in, as many out. Constant time.
    ///
    /// Errors: `EncryptedDataInvalid` for an input of another length, of 0, 1, or not below the modulus less one.
    pub fn decrypt_raw(&self, input: &[u8], out: &mut [u8]) -> Result<()> {
        let mut written = 0;
        // SAFETY: the key is live; each pointer goes with the length of its own slice.
        let done = unsafe {
            lc::RSA_decrypt(
                self.key.as_ptr(),
                &mut written,
                out.as_mut_ptr(),
                out.len(),
                input.as_ptr(),
                input.len(),
                lc::RSA_NO_PADDING,
            )
        };
        if done == 1 {
            return Ok(());
        }
        Err(fault(Code::EncryptedDataInvalid, "the RSA ciphertext is out of range"))
    }

    /// A PSS signature over a digest of the hash's own length; [`Rsa::size`] bytes.
    ///
    /// Errors: `DataLenRange` if digest and salt do not fit the modulus.
    pub fn sign_pss(&self, pss: &Pss, digest: &[u8], out: &mut [u8]) -> Result<usize> {
        let mut written = 0;
        // SAFETY: the key is live; each pointer goes with the length of its own slice; the library checks the digest's length.
        let done = unsafe {
            lc::RSA_sign_pss_mgf1(
                self.key.as_ptr(),
                &mut written,
                out.as_mut_ptr(),
                out.len(),
                digest.as_ptr(),
                digest.len(),
                pss.hash.description(),
                pss.mask.description(),
                pss.salt_len()?,
            )
        };
        if done == 1 { Ok(written) } else { Err(fault(Code::DataLenRange, "the PSS encoding does not fit the RSA key")) }
    }

    /// Whether a PSS signature belongs to the digest.
    pub fn verify_pss(&self, pss: &Pss, digest: &[u8], signature: &[u8]) -> Result<bool> {
        // SAFETY: the key is live; each pointer goes with the length of its own slice.
        let valid = unsafe {
            lc::RSA_verify_pss_mgf1(
                self.key.as_ptr(),
                digest.as_ptr(),
                digest.len(),
                pss.hash.description(),
                pss.mask.description(),
                pss.salt_len()?,
                signature.as_ptr(),
                signature.len(),
            )
        };
        if valid != 1 {
            forget();
        }
        Ok(valid == 1)
    }

    /// OAEP encryption (RFC 8017, 7.1.1); writes [`Rsa::size`] bytes.
    ///
    /// Errors: `DataLenRange` if the input does not fit.
    pub fn encrypt_oaep(&self, oaep: &Oaep<'_>, input: &[u8], out: &mut [u8]) -> Result<usize> {
        let context = OaepContext::new(self, oaep, lc::EVP_PKEY_encrypt_init)?;
        let mut written = out.len();
        // SAFETY: the context is live and initialised for encryption; each pointer goes with the length of its own slice.
        let done =
            unsafe { lc::EVP_PKEY_encrypt(context.0.as_ptr(), out.as_mut_ptr(), &mut written, input.as_ptr(), input.len()) };
        if done == 1 { Ok(written) } else { Err(fault(Code::DataLenRange, "the plaintext does not fit OAEP with this key")) }
    }

    /// OAEP decryption in constant time; `None` for anything that is wrong, without a reason (Manger's attack).
    /// `out` is at least [`Rsa::size`] bytes long.
    pub fn decrypt_oaep(&self, oaep: &Oaep<'_>, input: &[u8], out: &mut [u8]) -> Result<Option<usize>> {
        let context = OaepContext::new(self, oaep, lc::EVP_PKEY_decrypt_init)?;
        let mut written = out.len();
        // SAFETY: the context is live and initialised for decryption; each pointer goes with the length of its own slice.
        let done =
            unsafe { lc::EVP_PKEY_decrypt(context.0.as_ptr(), out.as_mut_ptr(), &mut written, input.as_ptr(), input.len()) };
        if done == 1 {
            return Ok(Some(written));
        }
        forget();
        Ok(None)
    }

    /// Takes over the one reference to `key`.
    fn own(key: *mut lc::RSA, refusal: &'static str) -> Result<Self> {
        let key = Self::shell(key, refusal)?;
        // SAFETY: no precondition; the result is ours.
        let Some(envelope) = NonNull::new(unsafe { lc::EVP_PKEY_new() }) else {
            // SAFETY: the key is ours and freed once.
            unsafe { lc::RSA_free(key.as_ptr()) };
            return Err(fault(Code::HostMemory, "an RSA key could not be made"));
        };
        // SAFETY: both handles are live; the envelope takes a reference of its own, and cannot fail for a live key.
        let size = unsafe {
            lc::EVP_PKEY_set1_RSA(envelope.as_ptr(), key.as_ptr());
            lc::RSA_size(key.as_ptr()) as usize
        };
        Ok(Self { key, envelope, size })
    }

    fn shell(key: *mut lc::RSA, refusal: &'static str) -> Result<NonNull<lc::RSA>> {
        NonNull::new(key).ok_or_else(|| fault(Code::KeySizeRange, refusal))
    }
}

impl Drop for Rsa {
    fn drop(&mut self) {
        // SAFETY: both references are ours and given up once; the library wipes the numbers with the last one.
        unsafe {
            lc::EVP_PKEY_free(self.envelope.as_ptr());
            lc::RSA_free(self.key.as_ptr());
        }
    }
}

impl Pss {
    fn salt_len(&self) -> Result<i32> {
        i32::try_from(self.salt_len).doing(Code::MechanismParamInvalid, "the PSS salt is too long")
    }
}

/// OAEP (RFC 8017, 7.1): hash, mask generation hash, label.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "each is what its name says")]
pub struct Oaep<'a> {
    pub hash: PaddingHash,
    pub mask: PaddingHash,
    pub label: &'a [u8],
}

/// One use of a key with OAEP.
struct OaepContext(NonNull<lc::EVP_PKEY_CTX>);

impl OaepContext {
    fn new(key: &Rsa, oaep: &Oaep<'_>, start: unsafe extern "C" fn(*mut lc::EVP_PKEY_CTX) -> std::ffi::c_int) -> Result<Self> {
        let failed = || fault(Code::HostMemory, "an OAEP context could not be made");
        // SAFETY: the envelope is live; the context takes a reference of its own and is ours.
        let context = NonNull::new(unsafe { lc::EVP_PKEY_CTX_new(key.envelope.as_ptr(), ptr::null_mut()) }).ok_or_else(failed)?;
        let this = Self(context);
        // SAFETY: the context is live; the digest descriptions are statics of the library.
        let ready = unsafe {
            start(context.as_ptr()) == 1
                && lc::EVP_PKEY_CTX_set_rsa_padding(context.as_ptr(), lc::RSA_PKCS1_OAEP_PADDING) == 1
                && lc::EVP_PKEY_CTX_set_rsa_oaep_md(context.as_ptr(), oaep.hash.description()) == 1
                && lc::EVP_PKEY_CTX_set_rsa_mgf1_md(context.as_ptr(), oaep.mask.description()) == 1
        };
        if ready && this.set_label(oaep.label) { Ok(this) } else { Err(failed()) }
    }

    fn set_label(&self, label: &[u8]) -> bool {
        if label.is_empty() {
            return true;
        }
        // SAFETY: the copy is as long as the label; the context takes it over if it accepts it, else it is freed here.
        unsafe {
            let copy = lc::OPENSSL_memdup(label.as_ptr().cast(), label.len());
            if copy.is_null() {
                return false;
            }
            let taken = lc::EVP_PKEY_CTX_set0_rsa_oaep_label(self.0.as_ptr(), copy.cast(), label.len()) == 1;
            if !taken {
                lc::OPENSSL_free(copy);
            }
            taken
        }
    }
}

impl Drop for OaepContext {
    fn drop(&mut self) {
        // SAFETY: the context is ours and freed once.
        unsafe { lc::EVP_PKEY_CTX_free(self.0.as_ptr()) };
    }
}
