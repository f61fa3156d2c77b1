//! The curves of RFC 8032 and RFC 7748 by the names that `CKA_EC_PARAMS` gives them, and what holds for each.

use zeroize::Zeroizing;

use super::sound;
use crate::error::{Code, Doing, Result, refuse};
use crate::mechanism::der::{self, Reader, tag};
use crate::sys::awslc::curve25519;

/// Which curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mechanism) enum Curve {
    Ed25519,
    X25519,
    Ed448,
    X448,
}

/// A curve's names.
struct Named {
    curve: Curve,
    /// RFC 8410: contents of the object identifier.
    oid: &'static [u8],
    /// What GnuPG used before there was an RFC, and tokens made for it still do.
    oid_gnu: Option<&'static [u8]>,
    names: [&'static str; 2],
}

const NAMED: [Named; 4] = [
    Named {
        curve: Curve::Ed25519,
        oid: &[0x2b, 0x65, 0x70],
        oid_gnu: Some(&[0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01]),
        names: ["edwards25519", "Ed25519"],
    },
    Named {
        curve: Curve::X25519,
        oid: &[0x2b, 0x65, 0x6e],
        oid_gnu: Some(&[0x2b, 0x06, 0x01, 0x04, 0x01, 0x97, 0x55, 0x01, 0x05, 0x01]),
        names: ["curve25519", "X25519"],
    },
    Named { curve: Curve::Ed448, oid: &[0x2b, 0x65, 0x71], oid_gnu: None, names: ["edwards448", "Ed448"] },
    Named { curve: Curve::X448, oid: &[0x2b, 0x65, 0x6f], oid_gnu: None, names: ["curve448", "X448"] },
];

/// How pkcs11-tool 0.23 spells curve25519: a PrintableString that claims one byte more than it has.
const MISSPELT_X25519: &[u8] = b"\x13\x0bcurve25519";
/// The same as it should be.
const NAMED_X25519: &[u8] = b"\x13\x0acurve25519";

/// `CKA_EC_PARAMS` as they are kept: as they came, but for one misspelling.
pub(super) fn spelt(params: &[u8]) -> &[u8] {
    if params == MISSPELT_X25519 { NAMED_X25519 } else { params }
}

impl Curve {
    /// What `CKA_EC_PARAMS` means: an object identifier or a name.
    ///
    /// Errors: `CurveNotSupported`; `DomainParamsInvalid` for what is no such DER.
    pub(super) fn parse(params: &[u8]) -> Result<Self> {
        const WRONG: &str = "CKA_EC_PARAMS is not the DER of EC parameters";
        let mut reader = Reader::new(spelt(params));
        let (found, contents) = reader.any().doing(Code::DomainParamsInvalid, WRONG)?;
        reader.finish().doing(Code::DomainParamsInvalid, WRONG)?;
        let known = match found {
            tag::OBJECT_IDENTIFIER => {
                NAMED.iter().find(|named| named.oid == contents || named.oid_gnu.is_some_and(|oid| oid == contents))
            }
            tag::PRINTABLE_STRING => {
                NAMED.iter().find(|named| named.names.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(contents)))
            }
            tag::SEQUENCE | tag::NULL => None,
            _ => return Err(refuse(Code::DomainParamsInvalid, WRONG)),
        };
        let known = known.map(|named| named.curve);
        known.ok_or_else(|| refuse(Code::CurveNotSupported, "CKA_EC_PARAMS names no Edwards or Montgomery curve that we have"))
    }

    /// The curve of an RFC 8410 object identifier (contents).
    pub(in crate::mechanism) fn of_oid(oid: &[u8]) -> Option<Self> {
        NAMED.iter().find(|named| named.oid == oid).map(|named| named.curve)
    }

    fn oid(self) -> &'static [u8] {
        let named = NAMED.iter().find(|named| named.curve == self);
        named.expect("every curve has a row").oid
    }

    /// Whether keys on it agree, and do not sign.
    pub(super) fn is_montgomery(self) -> bool {
        matches!(self, Self::X25519 | Self::X448)
    }

    /// Length of a public key, and of a private one, in bytes.
    pub(super) fn key_len(self) -> usize {
        match self {
            Self::Ed25519 | Self::X25519 => curve25519::KEY_BYTES,
            Self::Ed448 => ed448_goldilocks::PUBLIC_KEY_LENGTH,
            Self::X448 => x448::X448_BASEPOINT_BYTES.len(),
        }
    }

    /// Length of a signature in bytes; of no meaning for a Montgomery curve.
    pub(super) fn signature_len(self) -> usize {
        2 * self.key_len()
    }

    /// The public key of a private one, which has [`Curve::key_len`] bytes.
    pub(super) fn public(self, private: &[u8]) -> Vec<u8> {
        const FITS: &str = "private keys are checked for their length";
        match self {
            Self::Ed25519 => {
                let expanded = Zeroizing::new(curve25519::expand(private.try_into().expect(FITS)));
                expanded[curve25519::KEY_BYTES..].to_vec()
            }
            Self::X25519 => curve25519::x25519_public(private.try_into().expect(FITS)).to_vec(),
            Self::Ed448 => ed448_goldilocks::SigningKey::try_from(private).expect(FITS).verifying_key().to_bytes().to_vec(),
            Self::X448 => x448::x448_unchecked(private.try_into().expect(FITS), x448::X448_BASEPOINT_BYTES).to_vec(),
        }
    }

    /// The shared secret of a private key and a peer's public key, both of [`Curve::key_len`] bytes; `None` if the peer's
    /// point is of small order (RFC 7748, 6).
    pub(super) fn shared(self, private: &[u8], peer: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Self::X25519 => curve25519::x25519(private.try_into().ok()?, peer.try_into().ok()?).map(|secret| secret.to_vec()),
            Self::X448 => x448::x448(private.try_into().ok()?, peer.try_into().ok()?).map(|secret| secret.to_vec()),
            Self::Ed25519 | Self::Ed448 => None,
        }
        .map(Zeroizing::new)
        .filter(|secret| secret.iter().fold(0, |all, byte| all | byte) != 0)
    }

    /// Whether a public key is a point on the curve, in its canonical form, and not of small order.
    pub(super) fn is_sound(self, public: &[u8]) -> Result<bool> {
        match self {
            Self::Ed25519 => sound::is_sound_25519(public),
            Self::Ed448 => sound::is_sound_448(public),
            // A point of small order makes every shared secret zero.
            Self::X25519 | Self::X448 => Ok(self.shared(&vec![9; self.key_len()], public).is_some()),
        }
    }

    /// `AlgorithmIdentifier` (RFC 8410, 3).
    pub(super) fn algorithm(self) -> Zeroizing<Vec<u8>> {
        der::sequence(&[&self.params()])
    }

    /// The object identifier as `CKA_EC_PARAMS`.
    pub(super) fn params(self) -> Zeroizing<Vec<u8>> {
        der::oid(self.oid())
    }
}
