//! Which bytes are a public key on an Edwards curve that signatures can rest on.

use crate::error::Result;
use crate::sys::awslc::bignum::Number;

/// 2^255 - 19.
const FIELD_25519: [u8; 32] = {
    let mut prime = [0xff; 32];
    prime[0] = 0x7f;
    prime[31] = 0xed;
    prime
};

/// The constant `d` of edwards25519 (RFC 8032, 5.1).
const D_25519: [u8; 32] = [
    0x52, 0x03, 0x6c, 0xee, 0x2b, 0x6f, 0xfe, 0x73, 0x8c, 0xc7, 0x40, 0x79, 0x77, 0x79, 0xe8, 0x98, 0x00, 0x70, 0x0a, 0x4d, 0x41,
    0x41, 0xd8, 0xab, 0x75, 0xeb, 0x4d, 0xca, 0x13, 0x59, 0x78, 0xa3,
];

/// 2^448 - 2^224 - 1.
const FIELD_448: [u8; 56] = {
    let mut prime = [0xff; 56];
    prime[27] = 0xfe;
    prime
};

/// The y coordinate of an encoded point: all bits but the top one, which is the sign of x.
fn coordinate(encoded: &[u8]) -> Result<Number> {
    let mut y = encoded.to_vec();
    if let Some(last) = y.last_mut() {
        *last &= 0x7f;
    }
    y.reverse();
    Number::from_be(&y)
}

/// Whether the bytes are the canonical form of a point on edwards25519 whose order is not 1, 2, 4 or 8.
pub(super) fn is_sound_25519(point: &[u8]) -> Result<bool> {
    let (y, field, d) = (coordinate(point)?, Number::from_be(&FIELD_25519)?, Number::from_be(&D_25519)?);
    // y = 0 has order 4, y = 1 order 1, y = -1 order 2.
    if y >= field.minus_word(1)? || y.is_word(0) || y.is_word(1) {
        return Ok(false);
    }
    let one = Number::from_word(1)?;
    let y2 = y.times_modulo(&y, &field)?;
    let dy2 = d.times_modulo(&y2, &field)?;
    // Doubling a point of order 8 gives y = 0, so x² = -y², and the curve's equation becomes d y⁴ + 2 y² = 1.
    let order_8 = dy2.times(&y2)?.plus(&y2.plus(&y2)?)?.divided_by(&field)?.1;
    if order_8 == one {
        return Ok(false);
    }
    // x² = (y² - 1) / (d y² + 1) must be a square, hence the product too (Euler's criterion).
    let numerator = y2.plus(&field.minus_word(1)?)?;
    let product = numerator.times_modulo(&dy2.plus(&one)?, &field)?;
    Ok(product.power(&field.shifted_right(1)?, &field)? == one)
}

/// Whether the bytes could be the canonical form of a point on edwards448: unused bits are zero, y is below the prime. The
/// library decodes others too.
pub(super) fn is_canonical_448(point: &[u8]) -> Result<bool> {
    Ok(coordinate(point)? < Number::from_be(&FIELD_448)?)
}

/// Whether the bytes are the canonical form of a point on edwards448 in the large subgroup.
pub(super) fn is_sound_448(point: &[u8]) -> Result<bool> {
    if !is_canonical_448(point)? {
        return Ok(false);
    }
    let Ok(point) = point.try_into() else { return Ok(false) };
    Ok(ed448_goldilocks::VerifyingKey::from_bytes(point).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mechanism::edwards::curve::Curve;
    use crate::mechanism::testing::hex;

    #[test]
    fn the_constant_d_is_minus_121665_by_121666() {
        let (field, d) = (Number::from_be(&FIELD_25519).unwrap(), Number::from_be(&D_25519).unwrap());
        let sum = d.times(&Number::from_word(121666).unwrap()).unwrap().plus(&Number::from_word(121665).unwrap()).unwrap();
        assert!(sum.divided_by(&field).unwrap().1.is_word(0));
    }

    #[test]
    fn points_of_small_order_and_off_the_curve_are_unsound() {
        for unsound in [
            "0100000000000000000000000000000000000000000000000000000000000000",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "0000000000000000000000000000000000000000000000000000000000000080",
            "0000000000000000000000000000000000000000000000000000000000000000",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
            // y = p and y = p + 1: not canonical.
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            // y = 2 has no x.
            "0200000000000000000000000000000000000000000000000000000000000000",
        ] {
            assert!(!is_sound_25519(&hex(unsound)).unwrap(), "{unsound}");
        }
        let y = |low: u8, high: u8| [&[low][..], &[high; 55], &[0]].concat();
        let mut minus_one = y(0xfe, 0xff);
        minus_one[28] = 0xfe;
        let mut prime = y(0xff, 0xff);
        prime[28] = 0xfe;
        for unsound in [y(0, 0), y(1, 0), minus_one, prime, y(0xff, 0xff), [&[1; 56][..], &[1]].concat(), vec![0; 56]] {
            assert!(!is_sound_448(&unsound).unwrap(), "{unsound:x?}");
        }
    }

    #[test]
    fn public_keys_are_sound() {
        for curve in [Curve::Ed25519, Curve::Ed448, Curve::X25519, Curve::X448] {
            for seed in 0..20 {
                assert!(curve.is_sound(&curve.public(&vec![seed; curve.key_len()])).unwrap(), "{curve:?}");
            }
        }
    }
}
