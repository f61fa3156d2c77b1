//! DES and triple DES of AWS-LC under one key, block by block and chained.

use aws_lc_sys as lc;
use zeroize::Zeroize;

/// Bytes in a block.
pub const BLOCK_BYTES: usize = 8;

/// One block.
pub type Block = [u8; BLOCK_BYTES];

/// Key schedules of one, two or three DES keys.
pub struct DesKey {
    schedules: [lc::DES_key_schedule; 3],
    single: bool,
}

impl DesKey {
    /// From 8 bytes (DES), 16 (triple DES with the first key again as the third) or 24; `None` for any other length.
    /// Parity bits are ignored, weak keys are taken: which key to use is the caller's business.
    pub fn new(key: &[u8]) -> Option<Self> {
        let (keys, rest) = key.as_chunks::<BLOCK_BYTES>();
        let chosen = match keys {
            _ if !rest.is_empty() => return None,
            [one] => [one, one, one],
            [one, two] => [one, two, one],
            [one, two, three] => [one, two, three],
            _ => return None,
        };
        let schedules = chosen.map(|key| {
            let mut schedule = lc::DES_key_schedule::default();
            let mut block = lc::DES_cblock { bytes: *key };
            // SAFETY: the function reads one block and fills one schedule.
            unsafe { lc::DES_set_key_unchecked(&block, &mut schedule) };
            block.bytes.zeroize();
            schedule
        });
        Some(Self { schedules, single: keys.len() == 1 })
    }

    /// Whether a key of 8 bytes with its parity set is weak or half weak (its own inverse, or another's).
    pub fn is_weak(key: &Block) -> bool {
        let block = lc::DES_cblock { bytes: *key };
        // SAFETY: the function reads one block.
        unsafe { lc::DES_is_weak_key(&block) != 0 }
    }

    /// Each block for itself (electronic codebook).
    pub fn ecb(&self, encrypt: bool, input: &[Block], out: &mut [Block]) {
        assert_eq!(input.len(), out.len(), "the caller gives room for as many blocks as come in");
        let [one, two, three] = &self.schedules;
        for (input, out) in input.iter().zip(out) {
            let (from, to) = (input.as_ptr().cast(), out.as_mut_ptr().cast());
            // SAFETY: both pointers are to one block each (`DES_cblock` is 8 bytes without alignment); the schedules are live.
            unsafe {
                match self.single {
                    true => lc::DES_ecb_encrypt(from, to, one, direction(encrypt)),
                    false => lc::DES_ecb3_encrypt(from, to, one, two, three, direction(encrypt)),
                }
            }
        }
    }

    /// Cipher block chaining; `chain` is the vector, then the last ciphertext block.
    pub fn cbc(&self, encrypt: bool, chain: &mut Block, input: &[Block], out: &mut [Block]) {
        assert_eq!(input.len(), out.len(), "the caller gives room for as many blocks as come in");
        let [one, two, three] = &self.schedules;
        let (from, to, len) = (input.as_ptr().cast(), out.as_mut_ptr().cast(), input.len() * BLOCK_BYTES);
        let chain = chain.as_mut_ptr().cast();
        // SAFETY: `from` and `to` are `len` bytes, a whole number of blocks, and do not overlap; `chain` is one block.
        unsafe {
            match self.single {
                true => lc::DES_ncbc_encrypt(from, to, len, one, chain, direction(encrypt)),
                false => lc::DES_ede3_cbc_encrypt(from, to, len, one, two, three, chain, direction(encrypt)),
            }
        }
    }
}

fn direction(encrypt: bool) -> i32 {
    if encrypt { lc::DES_ENCRYPT } else { lc::DES_DECRYPT }
}

impl Drop for DesKey {
    fn drop(&mut self) {
        self.schedules.iter_mut().for_each(|schedule| schedule.subkeys.zeroize());
    }
}
