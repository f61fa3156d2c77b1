//! AES of AWS-LC under one key: the modes whose speed or proof is AWS-LC's, and the two key wraps.
//!
//! Lengths are in the types: whole blocks are slices of arrays, and each output has the length of its input.

use std::mem::MaybeUninit;

use aws_lc_sys as lc;
use zeroize::Zeroize;

/// Bytes in a block.
pub const BLOCK_BYTES: usize = 16;

/// One block.
pub type Block = [u8; BLOCK_BYTES];

/// A key schedule for encryption, which counter, output and cipher feedback modes use in both directions.
pub struct EncryptKey(lc::AES_KEY);

/// A key schedule for decryption.
pub struct DecryptKey(lc::AES_KEY);

/// Makes a schedule with one of AWS-LC's two functions; `None` unless the key has 16, 24 or 32 bytes.
fn schedule(key: &[u8], set: unsafe extern "C" fn(*const u8, u32, *mut lc::AES_KEY) -> i32) -> Option<lc::AES_KEY> {
    if !matches!(key.len(), 16 | 24 | 32) {
        return None;
    }
    let mut schedule = MaybeUninit::<lc::AES_KEY>::zeroed();
    // SAFETY: `key` holds as many bits as are announced; the function writes into the structure that it is given.
    let done = unsafe { set(key.as_ptr(), key.len() as u32 * 8, schedule.as_mut_ptr()) };
    assert_eq!(done, 0, "AES takes every key of 16, 24 or 32 bytes");
    // SAFETY: all bytes were zero, which is a valid `AES_KEY`, before the function filled it.
    Some(unsafe { schedule.assume_init() })
}

fn wipe(schedule: &mut lc::AES_KEY) {
    schedule.rd_key.zeroize();
    schedule.rounds.zeroize();
}

/// Where a feedback mode stands between two calls.
#[derive(Clone)]
pub struct Feedback {
    /// The shift register.
    pub register: Block,
    /// Bytes of it that are used up.
    pub used: u8,
}

impl EncryptKey {
    /// `None` unless the key has 16, 24 or 32 bytes.
    pub fn new(key: &[u8]) -> Option<Self> {
        schedule(key, lc::AES_set_encrypt_key).map(Self)
    }

    /// Cipher block chaining (NIST SP 800-38A, 6.2); `chain` is the vector, then the last ciphertext block.
    pub fn cbc_encrypt(&self, chain: &mut Block, input: &[Block], out: &mut [Block]) {
        assert_eq!(input.len(), out.len(), "the caller gives room for as many blocks as come in");
        let len = input.len() * BLOCK_BYTES;
        // SAFETY: `input` and `out` hold `len` bytes, a whole number of blocks, and do not overlap; `chain` is a block.
        unsafe {
            lc::AES_cbc_encrypt(
                input.as_ptr().cast(),
                out.as_mut_ptr().cast(),
                len,
                &self.0,
                chain.as_mut_ptr(),
                lc::AES_ENCRYPT,
            );
        }
    }

    /// Counter mode over whole blocks with a big-endian counter of 128 bits, which is left at its next value.
    pub fn ctr(&self, counter: &mut Block, input: &[Block], out: &mut [Block]) {
        assert_eq!(input.len(), out.len(), "the caller gives room for as many blocks as come in");
        let (mut key_stream, mut used) = ([0; BLOCK_BYTES], 0);
        let len = input.len() * BLOCK_BYTES;
        // SAFETY: `input` and `out` hold `len` bytes and do not overlap; counter and key stream are blocks; `used` is below 16.
        unsafe {
            lc::AES_ctr128_encrypt(
                input.as_ptr().cast(),
                out.as_mut_ptr().cast(),
                len,
                &self.0,
                counter.as_mut_ptr(),
                key_stream.as_mut_ptr(),
                &mut used,
            );
        }
        key_stream.zeroize();
    }

    /// Output feedback (NIST SP 800-38A, 6.4), both directions.
    pub fn ofb(&self, state: &mut Feedback, input: &[u8], out: &mut [u8]) {
        self.feedback(state, input, out, |input, out, len, key, register, used| {
            // SAFETY: `feedback` passes pointers to `len` bytes each, a live key, a block and a position below 16.
            unsafe { lc::AES_ofb128_encrypt(input, out, len, key, register, used) }
        });
    }

    /// Cipher feedback by blocks (NIST SP 800-38A, 6.3, s = 128).
    pub fn cfb128(&self, state: &mut Feedback, encrypt: bool, input: &[u8], out: &mut [u8]) {
        self.feedback(state, input, out, |input, out, len, key, register, used| {
            // SAFETY: as in `ofb`.
            unsafe { lc::AES_cfb128_encrypt(input, out, len, key, register, used, direction(encrypt)) }
        });
    }

    /// Cipher feedback by bytes (NIST SP 800-38A, 6.3, s = 8).
    pub fn cfb8(&self, state: &mut Feedback, encrypt: bool, input: &[u8], out: &mut [u8]) {
        self.feedback(state, input, out, |input, out, len, key, register, used| {
            // SAFETY: as in `ofb`; this mode leaves no byte of the register half used, so `used` stays 0.
            unsafe { lc::AES_cfb8_encrypt(input, out, len, key, register, used, direction(encrypt)) }
        });
    }

    fn feedback(
        &self,
        state: &mut Feedback,
        input: &[u8],
        out: &mut [u8],
        call: impl Fn(*const u8, *mut u8, usize, *const lc::AES_KEY, *mut u8, *mut i32),
    ) {
        assert_eq!(input.len(), out.len(), "the caller gives room for as many bytes as come in");
        let mut used = i32::from(state.used);
        call(input.as_ptr(), out.as_mut_ptr(), input.len(), &self.0, state.register.as_mut_ptr(), &mut used);
        state.used = used as u8 % BLOCK_BYTES as u8;
    }

    /// AES Key Wrap (RFC 3394): 8 bytes more than `key`, whose length is a multiple of 8 and at least 16; else `None`.
    pub fn wrap(&self, iv: &[u8; 8], key: &[u8]) -> Option<Vec<u8>> {
        let mut out = vec![0; key.len() + 8];
        // SAFETY: `iv` holds 8 bytes, `key` its own length, `out` 8 bytes more; the function checks the length.
        let len = unsafe { lc::AES_wrap_key(&self.0, iv.as_ptr(), out.as_mut_ptr(), key.as_ptr(), key.len()) };
        (usize::try_from(len) == Ok(out.len())).then_some(out)
    }

    /// AES Key Wrap with Padding (RFC 5649) of 1 to 2^31 bytes; else `None`.
    pub fn wrap_padded(&self, key: &[u8]) -> Option<Vec<u8>> {
        let mut out = vec![0; key.len().next_multiple_of(8) + 8];
        let mut len = 0;
        // SAFETY: `key` and `out` hold as many bytes as is said; the function writes no more than that.
        let done = unsafe { lc::AES_wrap_key_padded(&self.0, out.as_mut_ptr(), &mut len, out.len(), key.as_ptr(), key.len()) };
        (done == 1 && len == out.len()).then_some(out)
    }
}

fn direction(encrypt: bool) -> i32 {
    if encrypt { lc::AES_ENCRYPT } else { lc::AES_DECRYPT }
}

impl DecryptKey {
    /// `None` unless the key has 16, 24 or 32 bytes.
    pub fn new(key: &[u8]) -> Option<Self> {
        schedule(key, lc::AES_set_decrypt_key).map(Self)
    }

    /// Undoes [`EncryptKey::cbc_encrypt`]; `chain` is the vector, then the last ciphertext block.
    pub fn cbc_decrypt(&self, chain: &mut Block, input: &[Block], out: &mut [Block]) {
        assert_eq!(input.len(), out.len(), "the caller gives room for as many blocks as come in");
        let len = input.len() * BLOCK_BYTES;
        // SAFETY: `input` and `out` hold `len` bytes, a whole number of blocks, and do not overlap; `chain` is a block.
        unsafe {
            lc::AES_cbc_encrypt(
                input.as_ptr().cast(),
                out.as_mut_ptr().cast(),
                len,
                &self.0,
                chain.as_mut_ptr(),
                lc::AES_DECRYPT,
            );
        }
    }

    /// Undoes [`EncryptKey::wrap`] into `out`, 8 bytes shorter than `wrapped`; false (and `out` wiped) if the integrity check fails.
    pub fn unwrap(&self, iv: &[u8; 8], wrapped: &[u8], out: &mut [u8]) -> bool {
        assert_eq!(wrapped.len(), out.len() + 8, "the caller gives room for the key");
        // SAFETY: `iv` holds 8 bytes, `wrapped` its own length, `out` 8 bytes less; the function checks the length.
        let len = unsafe { lc::AES_unwrap_key(&self.0, iv.as_ptr(), out.as_mut_ptr(), wrapped.as_ptr(), wrapped.len()) };
        let good = usize::try_from(len) == Ok(out.len());
        if !good {
            out.zeroize();
        }
        good
    }

    /// Undoes [`EncryptKey::wrap_padded`] into `out`, 8 bytes shorter than `wrapped`; gives the key's length, or
    /// `None` (and `out` wiped) if the integrity check fails.
    pub fn unwrap_padded(&self, wrapped: &[u8], out: &mut [u8]) -> Option<usize> {
        assert_eq!(wrapped.len(), out.len() + 8, "the caller gives room for the key");
        assert!(wrapped.len().is_multiple_of(8) && wrapped.len() >= 16, "the caller has checked the wrapped length");
        let mut len = 0;
        // SAFETY: `wrapped` and `out` hold as many bytes as is said; the function writes no more than that.
        let done =
            unsafe { lc::AES_unwrap_key_padded(&self.0, out.as_mut_ptr(), &mut len, out.len(), wrapped.as_ptr(), wrapped.len()) };
        if done != 1 || len > out.len() {
            out.zeroize();
            return None;
        }
        Some(len)
    }
}

impl Drop for EncryptKey {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

impl Drop for DecryptKey {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}
