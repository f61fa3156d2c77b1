//! What follows from some numbers of an RSA key: primes from exponents, CRT numbers from primes, and one known flaw.
//!
//! This runs once, when a key comes in. It is not constant time; use of the key is.

use crate::error::{Code, Result, refuse};
use crate::secret::Secret;
use crate::sys::awslc::bignum::Number;
use crate::sys::awslc::rsa::{CrtNumbers, PrivateNumbers, Rsa};

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

/// Pairs of primes that are tried before something must be wrong.
const PAIRS_MAX: u32 = 1000;
/// High bits in which the primes of a key must differ (FIPS 186-5, appendix A.1.3, step 5.4).
const DIFFERING_BITS: i32 = 100;

/// A new key of any length, for those that the library does not find by itself: its primes, and what follows from them.
///
/// Errors: `FunctionFailed`.
pub(super) fn generate(bits: i32, exponent: &[u8]) -> Result<Rsa> {
    let public = Number::from_be(exponent)?;
    let word = exponent.iter().fold(0, |word: u64, byte| word << 8 | u64::from(*byte));
    for _ in 0..PAIRS_MAX {
        let (prime_1, prime_2) = (Number::random_prime(bits - bits / 2)?, Number::random_prime(bits / 2)?);
        let high = bits / 2 - DIFFERING_BITS;
        if prime_1.shifted_right(high)? == prime_2.shifted_right(high)? {
            continue;
        }
        // The exponent counts modulo the least common multiple.
        let (less_1, less_2) = (prime_1.minus_word(1)?, prime_2.minus_word(1)?);
        let (period, _) = less_1.times(&less_2)?.divided_by(&less_1.gcd(&less_2)?)?;
        let Some(private) = inverse(word, &public, &period)? else { continue };
        if private.bits() <= bits as usize / 2 {
            continue;
        }
        let modulus = prime_1.times(&prime_2)?;
        let (prime_1, prime_2) = if prime_1 > prime_2 { (prime_1, prime_2) } else { (prime_2, prime_1) };
        let rest = crt(&prime_1, &prime_2, &private)?;
        let [modulus, private, prime_1, prime_2] = [&modulus, &private, &prime_1, &prime_2].map(secret_bytes);
        let [exponent_1, exponent_2, coefficient] = rest.each_ref().map(secret_bytes);
        let crt = CrtNumbers {
            prime_1: prime_1.expose(),
            prime_2: prime_2.expose(),
            exponent_1: exponent_1.expose(),
            exponent_2: exponent_2.expose(),
            coefficient: coefficient.expose(),
        };
        return Rsa::private(&PrivateNumbers {
            modulus: modulus.expose(),
            public_exponent: exponent,
            private_exponent: private.expose(),
            crt: Some(crt),
        });
    }
    Err(refuse(Code::FunctionFailed, "no primes were found for the RSA key"))
}

fn secret_bytes(number: &Number) -> Secret {
    Secret::new(number.to_be())
}

/// `word^-1 mod period`, where `public` is `word`: `(1 + k * period) / word` for the `k` that makes it whole. `None`: there is none.
fn inverse(word: u64, public: &Number, period: &Number) -> Result<Option<Number>> {
    let (mut before, mut now) = ((i128::from(word), 0), (i128::from(period.modulo_word(word)), 1));
    while now.0 != 0 {
        let quotient = before.0 / now.0;
        (before, now) = (now, (before.0 - quotient * now.0, before.1 - quotient * now.1));
    }
    if before.0 != 1 {
        return Ok(None);
    }
    let factor = (-before.1).rem_euclid(i128::from(word)) as u64;
    let multiple = period.times(&Number::from_word(factor)?)?.plus(&Number::from_word(1)?)?;
    let (private, rest) = multiple.divided_by(public)?;
    Ok(Some(private).filter(|_| rest.is_word(0)))
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
