//! Big numbers: unsigned, of any length, wiped when dropped.

use std::cmp::Ordering;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};

use aws_lc_sys as lc;

use super::fault::fault;
use crate::error::{Code, Result};

/// An unsigned number. Time of an operation depends on the lengths only where its description says so.
pub struct Number(NonNull<lc::BIGNUM>);

// SAFETY: the handle owns its number, which has no tie to the thread that made it.
unsafe impl Send for Number {}
// SAFETY: through a shared reference the number is only read.
unsafe impl Sync for Number {}

impl Number {
    /// From big-endian bytes; none at all is zero.
    pub fn from_be(bytes: &[u8]) -> Result<Self> {
        // SAFETY: `bytes` is valid for reads of its own length; a NULL result asks for a new number, which we own.
        Self::own(unsafe { lc::BN_bin2bn(bytes.as_ptr(), bytes.len(), ptr::null_mut()) })
    }

    /// A small number.
    pub fn from_word(word: u64) -> Result<Self> {
        Self::from_be(&word.to_be_bytes())
    }

    /// Big-endian, without leading zeros; zero is empty. Secret if the number is.
    pub fn to_be(&self) -> Vec<u8> {
        // SAFETY: the number is live.
        unsafe { bytes_of(self.as_ptr()) }
    }

    /// Big-endian with leading zeros so that `out` is full. Constant time. `false` if the number is too long.
    #[must_use]
    pub fn write_be(&self, out: &mut [u8]) -> bool {
        // SAFETY: `out` is valid for writes of its own length, which the library checks.
        unsafe { lc::BN_bn2bin_padded(out.as_mut_ptr(), out.len(), self.as_ptr()) == 1 }
    }

    /// Length in bits.
    pub fn bits(&self) -> usize {
        // SAFETY: the number is live.
        unsafe { lc::BN_num_bits(self.as_ptr()) as usize }
    }

    /// Whether it is odd.
    pub fn is_odd(&self) -> bool {
        // SAFETY: the number is live.
        unsafe { lc::BN_is_odd(self.as_ptr()) == 1 }
    }

    /// Whether it is this small number.
    pub fn is_word(&self, word: u64) -> bool {
        // SAFETY: the number is live.
        unsafe { lc::BN_is_word(self.as_ptr(), word) == 1 }
    }

    /// The remainder by a small number. Not constant time.
    pub fn modulo_word(&self, word: u64) -> u64 {
        assert!(word != 0, "a remainder needs a divisor");
        // SAFETY: the number is live; the divisor is not zero.
        unsafe { lc::BN_mod_word(self.as_ptr(), word) }
    }

    /// The difference to a smaller word.
    pub fn minus_word(&self, word: u64) -> Result<Self> {
        let result = self.duplicate()?;
        // SAFETY: `result` is live and ours alone.
        done(unsafe { lc::BN_sub_word(result.0.as_ptr(), word) })?;
        Ok(result)
    }

    /// The sum.
    pub fn plus(&self, other: &Self) -> Result<Self> {
        let result = Self::new()?;
        // SAFETY: all handles are live; the result is none of the operands.
        done(unsafe { lc::BN_add(result.0.as_ptr(), self.as_ptr(), other.as_ptr()) })?;
        Ok(result)
    }

    /// The product.
    pub fn times(&self, other: &Self) -> Result<Self> {
        let (result, scratch) = (Self::new()?, Scratch::new()?);
        // SAFETY: all handles are live; the result is none of the operands.
        done(unsafe { lc::BN_mul(result.0.as_ptr(), self.as_ptr(), other.as_ptr(), scratch.0.as_ptr()) })?;
        Ok(result)
    }

    /// Quotient and remainder. Not constant time.
    pub fn divided_by(&self, divisor: &Self) -> Result<(Self, Self)> {
        let (quotient, remainder, scratch) = (Self::new()?, Self::new()?, Scratch::new()?);
        // SAFETY: all handles are live and distinct; division by zero is an error of the library, not undefined.
        done(unsafe {
            lc::BN_div(quotient.0.as_ptr(), remainder.0.as_ptr(), self.as_ptr(), divisor.as_ptr(), scratch.0.as_ptr())
        })?;
        Ok((quotient, remainder))
    }

    /// Shifted right by so many bits.
    pub fn shifted_right(&self, bits: i32) -> Result<Self> {
        assert!(bits >= 0, "a shift to the right");
        let result = Self::new()?;
        // SAFETY: both handles are live.
        done(unsafe { lc::BN_rshift(result.0.as_ptr(), self.as_ptr(), bits) })?;
        Ok(result)
    }

    /// How many low bits are zero; the number is not zero.
    pub fn trailing_zeros(&self) -> i32 {
        // SAFETY: the number is live.
        unsafe { lc::BN_count_low_zero_bits(self.as_ptr()) }
    }

    /// The greatest common divisor. Constant time.
    pub fn gcd(&self, other: &Self) -> Result<Self> {
        let (result, scratch) = (Self::new()?, Scratch::new()?);
        // SAFETY: all handles are live and distinct.
        done(unsafe { lc::BN_gcd(result.0.as_ptr(), self.as_ptr(), other.as_ptr(), scratch.0.as_ptr()) })?;
        Ok(result)
    }

    /// `self ^ exponent mod modulus` for an odd modulus; constant time in the exponent.
    ///
    /// Errors: `FunctionFailed` for an even modulus.
    pub fn power(&self, exponent: &Self, modulus: &Self) -> Result<Self> {
        let (result, scratch) = (Self::new()?, Scratch::new()?);
        let (_, base) = self.divided_by(modulus)?;
        // SAFETY: all handles are live; a NULL context makes the library set one up for the modulus itself.
        done(unsafe {
            lc::BN_mod_exp_mont_consttime(
                result.0.as_ptr(),
                base.as_ptr(),
                exponent.as_ptr(),
                modulus.as_ptr(),
                scratch.0.as_ptr(),
                ptr::null(),
            )
        })?;
        Ok(result)
    }

    /// `self * other mod modulus`. Not constant time.
    pub fn times_modulo(&self, other: &Self, modulus: &Self) -> Result<Self> {
        Ok(self.times(other)?.divided_by(modulus)?.1)
    }

    /// Whether it is prime, with an error below 2^-80 even for numbers chosen to deceive.
    pub fn is_prime(&self) -> Result<bool> {
        let scratch = Scratch::new()?;
        let mut prime = 0;
        // SAFETY: the handles are live, the answer is a place of ours, no callback is given.
        done(unsafe {
            lc::BN_primality_test(&mut prime, self.as_ptr(), PRIMALITY_ROUNDS, scratch.0.as_ptr(), 1, ptr::null_mut())
        })?;
        Ok(prime == 1)
    }

    /// A new random prime of so many bits, the two highest of which are set, so that a product of two has as many bits as both together.
    pub fn random_prime(bits: i32) -> Result<Self> {
        let result = Self::new()?;
        // SAFETY: the handle is live and ours alone; no remainder is asked for, no callback is given.
        done(unsafe { lc::BN_generate_prime_ex(result.0.as_ptr(), bits, 0, ptr::null(), ptr::null(), ptr::null_mut()) })?;
        Ok(result)
    }

    /// A second owner.
    pub fn duplicate(&self) -> Result<Self> {
        // SAFETY: the number is live; the copy is ours.
        Self::own(unsafe { lc::BN_dup(self.as_ptr()) })
    }

    pub(super) fn as_ptr(&self) -> *const lc::BIGNUM {
        self.0.as_ptr()
    }

    /// Gives the number to a library structure that frees it.
    pub(super) fn into_raw(self) -> *mut lc::BIGNUM {
        ManuallyDrop::new(self).0.as_ptr()
    }

    fn new() -> Result<Self> {
        // SAFETY: no precondition; the result is ours.
        Self::own(unsafe { lc::BN_new() })
    }

    /// Takes over a number that the library made, or its failure.
    pub(super) fn own(number: *mut lc::BIGNUM) -> Result<Self> {
        NonNull::new(number).map(Self).ok_or_else(|| fault(Code::HostMemory, "a big number could not be made"))
    }
}

/// Rounds of Miller–Rabin for candidates that an adversary may have chosen (FIPS 186-5, appendix B: error 4^-64).
const PRIMALITY_ROUNDS: i32 = 64;

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        // SAFETY: both numbers are live.
        unsafe { lc::BN_equal_consttime(self.as_ptr(), other.as_ptr()) == 1 }
    }
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        // SAFETY: both numbers are live.
        unsafe { lc::BN_ucmp(self.as_ptr(), other.as_ptr()) }.cmp(&0)
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        // SAFETY: the number is ours and freed once; the library wipes it first.
        unsafe { lc::BN_clear_free(self.0.as_ptr()) };
    }
}

/// The library's pool of temporary numbers.
pub(super) struct Scratch(pub(super) NonNull<lc::BN_CTX>);

impl Scratch {
    pub(super) fn new() -> Result<Self> {
        // SAFETY: no precondition; the result is ours.
        let scratch = unsafe { lc::BN_CTX_new() };
        NonNull::new(scratch).map(Self).ok_or_else(|| fault(Code::HostMemory, "scratch space could not be made"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: the context is ours and freed once.
        unsafe { lc::BN_CTX_free(self.0.as_ptr()) };
    }
}

/// Big-endian, without leading zeros.
///
/// # Safety
/// `number` is live.
pub(super) unsafe fn bytes_of(number: *const lc::BIGNUM) -> Vec<u8> {
    // SAFETY: the caller promises a live number; the buffer is exactly as long as the number.
    unsafe {
        let mut bytes = vec![0; lc::BN_num_bytes(number) as usize];
        lc::BN_bn2bin(number, bytes.as_mut_ptr());
        bytes
    }
}

fn done(answer: std::ffi::c_int) -> Result<()> {
    if answer == 1 { Ok(()) } else { Err(fault(Code::FunctionFailed, "arithmetic on big numbers failed")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(word: u64) -> Number {
        Number::from_word(word).unwrap()
    }

    #[test]
    fn arithmetic_of_small_numbers() {
        assert!(number(1 << 40).times(&number(3)).unwrap() == number(3 << 40));
        let (quotient, remainder) = number(1000).divided_by(&number(7)).unwrap();
        assert!(quotient == number(142) && remainder == number(6));
        assert!(number(84).gcd(&number(36)).unwrap() == number(12));
        assert!(number(3).power(&number(20), &number(1009)).unwrap() == number(3u64.pow(20) % 1009));
        assert!(number(96).shifted_right(number(96).trailing_zeros()).unwrap() == number(3));
        assert!(number(65537).is_prime().unwrap() && !number(65539 * 65537).is_prime().unwrap());
        assert!(number(5) < number(6) && number(7).minus_word(7).unwrap().is_word(0));
        assert_eq!(number(1_000_003).modulo_word(10), 3);
        number(1).divided_by(&number(0)).err().unwrap();
    }

    #[test]
    fn bytes_have_no_leading_zero_unless_asked_for() {
        let number = Number::from_be(&[0, 0, 1, 2]).unwrap();
        assert_eq!(number.to_be(), [1, 2]);
        let mut padded = [9; 4];
        assert!(number.write_be(&mut padded));
        assert_eq!(padded, [0, 0, 1, 2]);
        assert!(!number.write_be(&mut [0; 1]));
        assert!(Number::from_be(&[]).unwrap().to_be().is_empty());
    }
}
