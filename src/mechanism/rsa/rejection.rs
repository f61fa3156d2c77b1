//! PKCS #1 v1.5 decryption that cannot be used as an oracle: a wrong padding gives a plaintext, not an error
//! (draft-irtf-cfrg-rsa-guidance, "implicit rejection").
//!
//! The false plaintext is a function of the private key and the ciphertext, so that asking twice tells nothing. What
//! is secret (where the message begins, whether the padding was right) steers no branch and no memory address; only the
//! length that comes out is visible, as it must be.

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq, ConstantTimeLess};
use zeroize::Zeroizing;

use super::Prepared;
use crate::error::{Code, Doing, Result, refuse};
use crate::faults::{self, Fault};
use crate::sys::awslc::sealing::hmac_sha256;

/// 00, 02 and at least eight bytes of padding stand before the zero that ends it.
const SEPARATOR_MIN: u32 = 10;
/// Candidates for the false message's length; the last that fits is taken.
const LENGTH_CANDIDATES: usize = 128;

/// Writes the message to the front of `out`, which takes the longest there can be; returns its length.
///
/// Errors: `EncryptedDataInvalid` for a ciphertext that is no number in range (which everybody can see);
/// `KeyTypeInconsistent` for a public key.
pub(super) fn decrypt(material: &Prepared, ciphertext: &[u8], out: &mut [u8]) -> Result<usize> {
    let Some(secret) = &material.rejection else {
        return Err(refuse(Code::KeyTypeInconsistent, "decryption takes a private key"));
    };
    let size = material.key.size();
    let mut block = Zeroizing::new(vec![0; size]);
    material.key.decrypt_raw(ciphertext, &mut block)?;
    if faults::on(Fault::Pkcs1PaddingTold) && block[1] != 2 {
        return Err(refuse(Code::EncryptedDataInvalid, "the block is not of type 2"));
    }

    let key = Zeroizing::new(hmac_sha256(secret, ciphertext)?);
    let false_block = expand(&key, b"message", size)?;
    let false_start = size as u32 - false_length(&key, size)?;

    let (good, true_start) = unpad(&block);
    let start = u32::conditional_select(&false_start, &true_start, good);
    for (byte, other) in block.iter_mut().zip(false_block.iter()) {
        *byte = u8::conditional_select(other, byte, good);
    }
    shift_left(&mut block, start);
    let len = size - start as usize;
    out[..len].copy_from_slice(&block[..len]);
    Ok(len)
}

/// Whether `00 02 padding 00` is right, and where the message begins then.
fn unpad(block: &[u8]) -> (Choice, u32) {
    let mut good = block[0].ct_eq(&0) & block[1].ct_eq(&2);
    let mut separator = 0;
    let mut found = Choice::from(0);
    for (at, byte) in block.iter().enumerate().skip(2) {
        let zero = byte.ct_eq(&0);
        separator.conditional_assign(&(at as u32), zero & !found);
        found |= zero;
    }
    good &= found & !separator.ct_lt(&SEPARATOR_MIN);
    (good, separator.wrapping_add(1))
}

/// Length of the false message: any that a true one could have.
fn false_length(key: &[u8; 32], size: usize) -> Result<u32> {
    let bound = size as u32 - SEPARATOR_MIN;
    let mask = u32::MAX >> bound.leading_zeros();
    let candidates = expand(key, b"length", 2 * LENGTH_CANDIDATES)?;
    let mut length = 0;
    for pair in candidates.chunks_exact(2) {
        let candidate = u32::from(u16::from_be_bytes([pair[0], pair[1]])) & mask;
        length.conditional_assign(&candidate, candidate.ct_lt(&bound));
    }
    Ok(length)
}

/// The guidance's pseudo-random function: HMAC-SHA-256 over counter, label and the output's length in bits.
fn expand(key: &[u8; 32], label: &[u8], len: usize) -> Result<Zeroizing<Vec<u8>>> {
    let bits = u16::try_from(len * 8).doing(Code::KeySizeRange, "the RSA modulus is too long for implicit rejection")?;
    let mut out = Zeroizing::new(vec![0; len]);
    for (counter, chunk) in out.chunks_mut(32).enumerate() {
        let message = [&(counter as u16).to_be_bytes()[..], label, &bits.to_be_bytes()].concat();
        chunk.copy_from_slice(&hmac_sha256(key, &message)?[..chunk.len()]);
    }
    Ok(out)
}

/// Moves what begins at `by` to the front; what ends up behind it is of no meaning.
fn shift_left(block: &mut [u8], by: u32) {
    for bit in 0..usize::BITS - (block.len() - 1).leading_zeros() {
        let step = 1 << bit;
        let set = Choice::from((by >> bit & 1) as u8);
        for at in 0..block.len() - step {
            block[at] = u8::conditional_select(&block[at], &block[at + step], set);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_padding_is_right_only_with_eight_bytes_and_a_separator() {
        let block = |padding: usize| {
            let mut block = vec![0, 2];
            block.resize(2 + padding, 0xff);
            block.extend([0, 7, 8]);
            block
        };
        let (good, start) = unpad(&block(8));
        assert!(bool::from(good) && start == 11);
        let (good, start) = unpad(&block(20));
        assert!(bool::from(good) && start == 23);
        assert!(!bool::from(unpad(&block(7)).0), "padding too short");
        let mut wrong = block(8);
        wrong[1] = 1;
        assert!(!bool::from(unpad(&wrong).0), "wrong type");
        let mut wrong = block(8);
        wrong[0] = 1;
        assert!(!bool::from(unpad(&wrong).0), "wrong first byte");
        assert!(!bool::from(unpad(&[&[0, 2][..], &[0xff; 30]].concat()).0), "no separator");
    }

    #[test]
    fn shifting_moves_any_start_to_the_front() {
        for len in [2, 3, 16, 33, 64] {
            for by in 0..=len {
                let mut block: Vec<u8> = (0..len as u8).collect();
                shift_left(&mut block, by as u32);
                assert!(block[..len - by].iter().enumerate().all(|(at, byte)| usize::from(*byte) == at + by));
            }
        }
    }

    #[test]
    fn false_lengths_cover_the_true_range() {
        let size = 64;
        let lengths: std::collections::BTreeSet<u32> =
            (0..2000u32).map(|n| false_length(&hmac_sha256(&[1; 32], &n.to_be_bytes()).unwrap(), size).unwrap()).collect();
        let expected: std::collections::BTreeSet<u32> = (0..size as u32 - SEPARATOR_MIN).collect();
        assert_eq!(lengths, expected);
    }
}
