//! Keys that cases ask for by kind: generated where the module can, made from known values else.

use cryptoki_sys::*;

use crate::case::Stop;
use crate::context::Session;
use crate::crypt::must;
use crate::template::{Mechanism, Template};

/// A key pair's handles.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// The public key.
    pub public: CK_OBJECT_HANDLE,
    /// The private key.
    pub private: CK_OBJECT_HANDLE,
}

/// An EC curve as `CKA_EC_PARAMS` names it.
#[derive(Clone, Copy, Debug)]
pub struct Curve {
    /// Its usual name.
    pub name: &'static str,
    /// DER of its object identifier.
    pub oid: &'static [u8],
    /// Bytes of a coordinate.
    pub bytes: usize,
}

/// NIST P-256.
pub const P256: Curve = Curve { name: "P-256", oid: &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7], bytes: 32 };
/// NIST P-384.
pub const P384: Curve = Curve { name: "P-384", oid: &[6, 5, 0x2b, 0x81, 4, 0, 34], bytes: 48 };
/// NIST P-521.
pub const P521: Curve = Curve { name: "P-521", oid: &[6, 5, 0x2b, 0x81, 4, 0, 35], bytes: 66 };
/// Ed25519 by the object identifier of RFC 8410.
pub const ED25519: Curve = Curve { name: "Ed25519", oid: &[6, 3, 0x2b, 0x65, 0x70], bytes: 32 };
/// X25519 by the object identifier of RFC 8410.
pub const X25519: Curve = Curve { name: "X25519", oid: &[6, 3, 0x2b, 0x65, 0x6e], bytes: 32 };

/// Boolean attributes that are set, as a template.
pub fn uses(kinds: &[CK_ATTRIBUTE_TYPE]) -> Template {
    kinds.iter().fold(Template::new().flag(CKA_TOKEN, false), |template, kind| template.flag(*kind, true))
}

/// A readable secret key that may leave the token, of known value.
pub fn known_secret(key_type: CK_KEY_TYPE, value: &[u8], kinds: &[CK_ATTRIBUTE_TYPE]) -> Template {
    Template::secret_key(key_type, kinds)
        .flag(CKA_SENSITIVE, false)
        .flag(CKA_EXTRACTABLE, true)
        .flag(CKA_PRIVATE, true)
        .bytes(CKA_VALUE, value)
}

impl Session<'_> {
    /// An RSA key pair for the given uses.
    pub fn rsa_pair(&self, bits: CK_ULONG, public: &[CK_ATTRIBUTE_TYPE], private: &[CK_ATTRIBUTE_TYPE]) -> Result<Pair, Stop> {
        self.need(CKM_RSA_PKCS_KEY_PAIR_GEN)?;
        let public = uses(public).ulong(CKA_MODULUS_BITS, bits).bytes(CKA_PUBLIC_EXPONENT, [1, 0, 1]);
        let made = self.generate_pair(&Mechanism::new(CKM_RSA_PKCS_KEY_PAIR_GEN), &public, &uses(private));
        let (public, private) = must(made, "C_GenerateKeyPair of an RSA key pair")?;
        Ok(Pair { public, private })
    }

    /// An EC key pair for the given uses.
    pub fn ec_pair(&self, curve: Curve, public: &[CK_ATTRIBUTE_TYPE], private: &[CK_ATTRIBUTE_TYPE]) -> Result<Pair, Stop> {
        let kind = match curve.name {
            "Ed25519" => CKM_EC_EDWARDS_KEY_PAIR_GEN,
            "X25519" => CKM_EC_MONTGOMERY_KEY_PAIR_GEN,
            _ => CKM_EC_KEY_PAIR_GEN,
        };
        self.need(kind)?;
        let public = uses(public).bytes(CKA_EC_PARAMS, curve.oid);
        let made = self.generate_pair(&Mechanism::new(kind), &public, &uses(private));
        let (public, private) = must(made, &format!("C_GenerateKeyPair of a {} key pair", curve.name))?;
        Ok(Pair { public, private })
    }

    /// A generic secret of known value.
    pub fn secret(&self, value: &[u8], kinds: &[CK_ATTRIBUTE_TYPE]) -> Result<CK_OBJECT_HANDLE, Stop> {
        must(self.create(known_secret(CKK_GENERIC_SECRET, value, kinds)), "C_CreateObject of a generic secret")
    }

    /// An AES key of known value.
    pub fn known_aes(&self, value: &[u8], kinds: &[CK_ATTRIBUTE_TYPE]) -> Result<CK_OBJECT_HANDLE, Stop> {
        must(self.create(known_secret(CKK_AES, value, kinds)), "C_CreateObject of an AES key")
    }

    /// `CKA_EC_POINT` without the OCTET STRING around it.
    pub fn point(&self, public: CK_OBJECT_HANDLE) -> Result<Vec<u8>, Stop> {
        let der = must(self.attribute(public, CKA_EC_POINT), "reading CKA_EC_POINT")?;
        Ok(match der.as_slice() {
            [4, len, rest @ ..] if usize::from(*len) == rest.len() => rest.to_vec(),
            [4, 0x81, len, rest @ ..] if usize::from(*len) == rest.len() => rest.to_vec(),
            raw => raw.to_vec(),
        })
    }
}

/// DER of an OCTET STRING, as `CKA_EC_POINT` wants it.
pub fn octet_string(content: &[u8]) -> Vec<u8> {
    let mut der = match content.len() {
        short @ ..0x80 => vec![4, short as u8],
        long => vec![4, 0x81, long as u8],
    };
    der.extend(content);
    der
}
