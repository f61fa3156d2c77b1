//! What follows from some numbers of an RSA key: primes from exponents, CRT numbers from primes, and one known flaw.
//!
//! This runs once, when a key comes in. It is not constant time; use of the key is.

use crate::error::{Code, Result, refuse};
use crate::sys::awslc::bignum::Number;

/// Public exponents that keys without one are tried with.
const PUBLIC_EXPONENTS_COMMON: [u64; 7] = [65537, 3, 17, 5, 257, 7, 35];

/// Bases for the search of a square root of one. Each fails with probability one half at most.
const BASES: [u64; 40] = [
    2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127,
    131, 137, 139, 149, 151, 157, 163, 167, 173,
];

/// The public exponent of a key that is known by modulus and private exponent, if it is a common one.
///
/// Errors: `TemplateIncomplete`.
pub(super) fn public_exponent(modulus: &Number, private: &Number) -> Result<Vec<u8>> {
    let two = Number::from_word(2)?;
    for word in PUBLIC_EXPONENTS_COMMON {
        let candidate = Number::from_word(word)?;
        if two.power(&candidate.times(private)?, modulus)? == two {
            return Ok(candidate.to_be());
        }
    }
    Err(refuse(Code::TemplateIncomplete, "CKA_PUBLIC_EXPONENT is missing, and it is none of the common ones"))
}

/// The other prime. Errors: `AttributeValueInvalid` if `prime` does not divide the modulus.
pub(super) fn cofactor(modulus: &Number, prime: &Number) -> Result<Number> {
    if prime.is_word(0) {
        return Err(refuse(Code::AttributeValueInvalid, "a prime of the RSA key is zero"));
    }
    let (other, rest) = modulus.divided_by(prime)?;
    if rest.is_word(0) {
        Ok(other)
    } else {
        Err(refuse(Code::AttributeValueInvalid, "the RSA modulus is not a multiple of the prime"))
    }
}

/// Both primes from the exponents (FIPS 186-5 refers to SP 800-56B, appendix C.1): the larger first.
///
/// Errors: `AttributeValueInvalid` if the exponents do not belong to the modulus.
pub(super) fn primes(modulus: &Number, public: &Number, private: &Number) -> Result<(Number, Number)> {
    let inconsistent = || refuse(Code::AttributeValueInvalid, "the RSA exponents do not belong to the modulus");
    let multiple = public.times(private)?;
    if multiple.is_word(0) || !multiple.is_odd() {
        return Err(inconsistent());
    }
    let multiple = multiple.minus_word(1)?;
    if multiple.is_word(0) {
        return Err(inconsistent());
    }
    let twos = multiple.trailing_zeros();
    let odd = multiple.shifted_right(twos)?;
    let minus_one = modulus.minus_word(1)?;
    for base in BASES {
        let mut root = Number::from_word(base)?.power(&odd, modulus)?;
        for _ in 0..twos {
            if root.is_word(1) || root == minus_one {
                break;
            }
            let square = root.times_modulo(&root, modulus)?;
            if square.is_word(1) {
                // A square root of one that is neither 1 nor -1 shares one prime with the modulus on each side.
                let prime = root.minus_word(1)?.gcd(modulus)?;
                let other = cofactor(modulus, &prime)?;
                return Ok(if prime > other { (prime, other) } else { (other, prime) });
            }
            root = square;
        }
    }
    Err(inconsistent())
}

/// `d mod (p-1)`, `d mod (q-1)` and `q^-1 mod p`.
///
/// Errors: `AttributeValueInvalid` for primes that cannot be any.
pub(super) fn crt(prime_1: &Number, prime_2: &Number, exponent: &Number) -> Result<[Number; 3]> {
    let three = Number::from_word(3)?;
    if !prime_1.is_odd() || !prime_2.is_odd() || *prime_1 < three || *prime_2 < three {
        return Err(refuse(Code::AttributeValueInvalid, "a prime of the RSA key is even or too small"));
    }
    let (_, exponent_1) = exponent.divided_by(&prime_1.minus_word(1)?)?;
    let (_, exponent_2) = exponent.divided_by(&prime_2.minus_word(1)?)?;
    // Fermat: the inverse is the power p - 2.
    let coefficient = prime_2.power(&prime_1.minus_word(2)?, prime_1)?;
    Ok([exponent_1, exponent_2, coefficient])
}

/// Small primes for which keys of the flawed generator are powers of 65537 (Nemec et al., "The Return of
/// Coppersmith's Attack", 2017): its primes are `k * M + 65537^a mod M`, where `M` has at least these factors.
const ROCA_PRIMES: [u64; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127,
    131, 137, 139, 149, 151, 157, 163, 167,
];

/// Whether the modulus looks as if the flawed generator had made it. A sound one does with a chance of about 2^-27.
pub(super) fn has_roca_fingerprint(modulus: &Number) -> bool {
    ROCA_PRIMES.iter().all(|prime| {
        let wanted = modulus.modulo_word(*prime);
        let mut power = 1;
        loop {
            if power == wanted {
                return true;
            }
            power = power * 65537 % prime;
            if power == 1 {
                return false;
            }
        }
    })
}
