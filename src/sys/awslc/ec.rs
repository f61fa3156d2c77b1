//! Keys and points on the library's named curves over prime fields, all of cofactor 1.

use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

use aws_lc_sys as lc;

use super::bignum::{Number, bytes_of};
use super::fault::{fault, forget};
use crate::error::{Code, Result, refuse};

/// A curve of the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is what its name says")]
pub enum Curve {
    P224,
    P256,
    P384,
    P521,
    Secp256k1,
    BrainpoolP224r1,
    BrainpoolP256r1,
    BrainpoolP320r1,
    BrainpoolP384r1,
    BrainpoolP512r1,
}

impl Curve {
    /// All of them.
    pub const ALL: &'static [Curve] = &[
        Curve::P224,
        Curve::P256,
        Curve::P384,
        Curve::P521,
        Curve::Secp256k1,
        Curve::BrainpoolP224r1,
        Curve::BrainpoolP256r1,
        Curve::BrainpoolP320r1,
        Curve::BrainpoolP384r1,
        Curve::BrainpoolP512r1,
    ];

    /// Length of the field's prime, and of the group's order, in bits.
    pub const fn bits(self) -> usize {
        match self {
            Curve::P224 | Curve::BrainpoolP224r1 => 224,
            Curve::P256 | Curve::Secp256k1 | Curve::BrainpoolP256r1 => 256,
            Curve::BrainpoolP320r1 => 320,
            Curve::P384 | Curve::BrainpoolP384r1 => 384,
            Curve::BrainpoolP512r1 => 512,
            Curve::P521 => 521,
        }
    }

    /// Length of a coordinate, and of a scalar, in bytes.
    pub const fn bytes(self) -> usize {
        self.bits().div_ceil(8)
    }

    /// The curve that explicit parameters (SEC 1, `ECParameters`) describe, if it is one of ours.
    pub fn from_explicit(der: &[u8]) -> Option<Self> {
        let mut input = MaybeUninit::uninit();
        // SAFETY: `der` outlives the reader, which is initialised before use; a group that comes back is a static of
        // the library for every curve that it knows.
        let name = unsafe {
            lc::CBS_init(input.as_mut_ptr(), der.as_ptr(), der.len());
            let mut input = input.assume_init();
            let group = lc::EC_KEY_parse_parameters(&mut input);
            if group.is_null() || lc::CBS_len(&input) != 0 {
                forget();
                return None;
            }
            lc::EC_GROUP_get_curve_name(group)
        };
        Self::ALL.iter().copied().find(|curve| curve.number() == name)
    }

    fn number(self) -> i32 {
        match self {
            Curve::P224 => lc::NID_secp224r1,
            Curve::P256 => lc::NID_X9_62_prime256v1,
            Curve::P384 => lc::NID_secp384r1,
            Curve::P521 => lc::NID_secp521r1,
            Curve::Secp256k1 => lc::NID_secp256k1,
            Curve::BrainpoolP224r1 => lc::NID_brainpoolP224r1,
            Curve::BrainpoolP256r1 => lc::NID_brainpoolP256r1,
            Curve::BrainpoolP320r1 => lc::NID_brainpoolP320r1,
            Curve::BrainpoolP384r1 => lc::NID_brainpoolP384r1,
            Curve::BrainpoolP512r1 => lc::NID_brainpoolP512r1,
        }
    }

    /// The library's static description.
    fn group(self) -> Result<*const lc::EC_GROUP> {
        // SAFETY: no precondition; named groups are statics that are never freed.
        let group = unsafe { lc::EC_GROUP_new_by_curve_name(self.number()) };
        if group.is_null() {
            return Err(fault(Code::CurveNotSupported, "the crypto library lacks the curve"));
        }
        Ok(group)
    }
}

/// A point on a curve, not the one at infinity.
pub struct Point {
    curve: Curve,
    point: NonNull<lc::EC_POINT>,
}

// SAFETY: the handle owns its point, which has no tie to the thread that made it.
unsafe impl Send for Point {}
// SAFETY: through a shared reference the point is only read.
unsafe impl Sync for Point {}

impl Point {
    /// From the encoding of SEC 1, 2.3.3: uncompressed (04) or compressed (02, 03).
    ///
    /// Errors: `PublicKeyInvalid` for any other form, a wrong length, a point off the curve or at infinity.
    pub fn parse(curve: Curve, encoded: &[u8]) -> Result<Self> {
        if !matches!(encoded.first(), Some(2..=4)) {
            return Err(refuse(Code::PublicKeyInvalid, "the point is neither uncompressed nor compressed"));
        }
        let point = Self::blank(curve)?;
        // SAFETY: group and point are live and belong together; the pointer goes with the slice's length.
        let done = unsafe {
            lc::EC_POINT_oct2point(curve.group()?, point.point.as_ptr(), encoded.as_ptr(), encoded.len(), ptr::null_mut())
        };
        if done == 1 { Ok(point) } else { Err(fault(Code::PublicKeyInvalid, "the point is not on the curve")) }
    }

    /// Which curve it is on.
    pub fn curve(&self) -> Curve {
        self.curve
    }

    /// `04 || x || y`.
    pub fn to_uncompressed(&self) -> Result<Vec<u8>> {
        // SAFETY: the point is live and on its curve.
        unsafe { uncompressed(self.curve, self.point.as_ptr()) }
    }

    fn blank(curve: Curve) -> Result<Self> {
        // SAFETY: the group is live; the result is ours.
        let point = unsafe { lc::EC_POINT_new(curve.group()?) };
        let point = NonNull::new(point).ok_or_else(|| fault(Code::HostMemory, "a point could not be made"))?;
        Ok(Self { curve, point })
    }
}

impl Drop for Point {
    fn drop(&mut self) {
        // SAFETY: the point is ours and freed once.
        unsafe { lc::EC_POINT_free(self.point.as_ptr()) };
    }
}

/// A public or a private key on a curve.
pub struct EcKey {
    curve: Curve,
    key: NonNull<lc::EC_KEY>,
}

// SAFETY: the handle owns its key, which has no tie to the thread that made it.
unsafe impl Send for EcKey {}
// SAFETY: after construction only functions are called that take the key as const, which ec_key.h declares safe for
// concurrent use.
unsafe impl Sync for EcKey {}

impl EcKey {
    /// A key for verification.
    pub fn public(point: &Point) -> Result<Self> {
        let this = Self::blank(point.curve)?;
        // SAFETY: key and point are live; the library copies the point.
        let done = unsafe { lc::EC_KEY_set_public_key(this.key.as_ptr(), point.point.as_ptr()) };
        if done == 1 { Ok(this) } else { Err(fault(Code::PublicKeyInvalid, "the public key is refused")) }
    }

    /// A key for signing and agreement, from the big-endian scalar.
    ///
    /// Errors: `KeySizeRange` for 0 or a scalar that is not below the group's order.
    pub fn private(curve: Curve, scalar: &[u8]) -> Result<Self> {
        let this = Self::blank(curve)?;
        let scalar = Number::from_be(scalar)?;
        // SAFETY: key and number are live; the library copies and checks the number.
        let done = unsafe { lc::EC_KEY_set_private_key(this.key.as_ptr(), scalar.as_ptr()) };
        if done == 1 {
            Ok(this)
        } else {
            Err(fault(Code::KeySizeRange, "the private key is not in the range of the curve's order"))
        }
    }

    /// A new key pair.
    pub fn generate(curve: Curve) -> Result<Self> {
        let this = Self::blank(curve)?;
        // SAFETY: the key is live and ours alone.
        let done = unsafe { lc::EC_KEY_generate_key(this.key.as_ptr()) };
        if done == 1 { Ok(this) } else { Err(fault(Code::FunctionFailed, "the EC key could not be generated")) }
    }

    /// Which curve it is on.
    pub fn curve(&self) -> Curve {
        self.curve
    }

    /// The public point as `04 || x || y`, computed from the scalar where it is not stored.
    pub fn public_point(&self) -> Result<Vec<u8>> {
        // SAFETY: the key is live, so what it hands out is live or NULL, and belongs to its curve.
        unsafe {
            let public = lc::EC_KEY_get0_public_key(self.key.as_ptr());
            if !public.is_null() {
                return uncompressed(self.curve, public);
            }
            let scalar = lc::EC_KEY_get0_private_key(self.key.as_ptr());
            let point = Point::blank(self.curve)?;
            let done =
                lc::EC_POINT_mul(self.curve.group()?, point.point.as_ptr(), scalar, ptr::null(), ptr::null(), ptr::null_mut());
            if done == 1 {
                point.to_uncompressed()
            } else {
                Err(fault(Code::FunctionFailed, "the public point could not be computed"))
            }
        }
    }

    /// The private scalar, big-endian without leading zeros, if there is one. Secret.
    pub fn scalar(&self) -> Option<Vec<u8>> {
        // SAFETY: the key is live, so what it hands out is live or NULL.
        unsafe {
            let scalar = lc::EC_KEY_get0_private_key(self.key.as_ptr());
            (!scalar.is_null()).then(|| bytes_of(scalar))
        }
    }

    /// ECDSA over a digest, of which the leftmost bits count that the order has; writes `r || s`, each as long as the order.
    pub fn sign(&self, digest: &[u8], out: &mut [u8]) -> Result<usize> {
        let half = self.curve.bytes();
        let (r_out, s_out) = out[..2 * half].split_at_mut(half);
        // SAFETY: the key is live; the pointer goes with the slice's length; the signature is ours until freed below.
        unsafe {
            let signature = lc::ECDSA_do_sign(digest.as_ptr(), digest.len(), self.key.as_ptr());
            if signature.is_null() {
                return Err(fault(Code::FunctionFailed, "ECDSA signing failed"));
            }
            let (mut r, mut s) = (ptr::null(), ptr::null());
            lc::ECDSA_SIG_get0(signature, &mut r, &mut s);
            let fits =
                lc::BN_bn2bin_padded(r_out.as_mut_ptr(), half, r) == 1 && lc::BN_bn2bin_padded(s_out.as_mut_ptr(), half, s) == 1;
            lc::ECDSA_SIG_free(signature);
            assert!(fits, "r and s are below the order");
        }
        Ok(2 * half)
    }

    /// Whether `r || s`, each as long as the order, is a signature over the digest.
    pub fn verify(&self, digest: &[u8], signature: &[u8]) -> Result<bool> {
        let (r, s) = signature.split_at(signature.len() / 2);
        let (r, s) = (Number::from_be(r)?, Number::from_be(s)?);
        // SAFETY: the signature takes both numbers over and is freed once; the key is live; the pointer goes with the length.
        let valid = unsafe {
            let parsed = lc::ECDSA_SIG_new();
            if parsed.is_null() {
                return Err(fault(Code::HostMemory, "a signature could not be made"));
            }
            lc::ECDSA_SIG_set0(parsed, r.into_raw(), s.into_raw());
            let valid = lc::ECDSA_do_verify(digest.as_ptr(), digest.len(), parsed, self.key.as_ptr());
            lc::ECDSA_SIG_free(parsed);
            valid == 1
        };
        if !valid {
            forget();
        }
        Ok(valid)
    }

    /// The x coordinate of the shared point (SEC 1, 3.3.1), [`Curve::bytes`] long. Secret.
    ///
    /// Errors: `PublicKeyInvalid` for a peer's point on another curve.
    pub fn agree(&self, peer: &Point) -> Result<Vec<u8>> {
        let mut shared = vec![0; self.curve.bytes()];
        // SAFETY: key and point are live; the library writes at most the given length; no derivation function is given.
        let written = unsafe {
            lc::ECDH_compute_key(shared.as_mut_ptr().cast(), shared.len(), peer.point.as_ptr(), self.key.as_ptr(), None)
        };
        if usize::try_from(written).is_ok_and(|written| written == shared.len()) {
            Ok(shared)
        } else {
            Err(fault(Code::PublicKeyInvalid, "the key agreement refused the peer's point"))
        }
    }

    fn blank(curve: Curve) -> Result<Self> {
        let failed = || fault(Code::HostMemory, "an EC key could not be made");
        // SAFETY: no precondition; the result is ours.
        let key = NonNull::new(unsafe { lc::EC_KEY_new() }).ok_or_else(failed)?;
        let this = Self { curve, key };
        // SAFETY: the key is live and has no group yet; the group is a static.
        let done = unsafe { lc::EC_KEY_set_group(key.as_ptr(), curve.group()?) };
        if done == 1 { Ok(this) } else { Err(failed()) }
    }
}

impl Drop for EcKey {
    fn drop(&mut self) {
        // SAFETY: the key is ours and freed once; the library wipes the scalar.
        unsafe { lc::EC_KEY_free(self.key.as_ptr()) };
    }
}

/// `04 || x || y`.
///
/// # Safety
/// `point` is live and on `curve`.
unsafe fn uncompressed(curve: Curve, point: *const lc::EC_POINT) -> Result<Vec<u8>> {
    let mut encoded = vec![0; 1 + 2 * curve.bytes()];
    // SAFETY: the caller promises the point; the pointer goes with the buffer's length.
    let written = unsafe {
        lc::EC_POINT_point2oct(
            curve.group()?,
            point,
            lc::point_conversion_form_t::POINT_CONVERSION_UNCOMPRESSED,
            encoded.as_mut_ptr(),
            encoded.len(),
            ptr::null_mut(),
        )
    };
    if written == encoded.len() { Ok(encoded) } else { Err(fault(Code::FunctionFailed, "the point has no encoding")) }
}
