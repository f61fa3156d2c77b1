//! AES four blocks to a vector, thirty-two in flight: counter mode and the decryption of chained blocks.
//!
//! The plain twins are AWS-LC's counter mode, and RustCrypto's block decryption followed by an exclusive or: a processor
//! without VAES and AVX-512 has no [`WideKey`], and the caller takes those.

use crate::sys::awslc::aes::Block;

#[cfg(target_arch = "x86_64")]
pub use x86::WideKey;

/// No kernel for this architecture.
#[cfg(not(target_arch = "x86_64"))]
pub enum WideKey {}

#[cfg(not(target_arch = "x86_64"))]
impl WideKey {
    /// Always `None`.
    pub fn new(_: &[u8]) -> Option<Self> {
        None
    }

    /// Cannot be called.
    pub fn ctr(&self, _: &mut Block, _: &[Block], _: &mut [Block]) {
        match *self {}
    }

    /// Cannot be called.
    pub fn cbc_decrypt(&self, _: &mut Block, _: &[Block], _: &mut [Block]) {
        match *self {}
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m512i, _mm_aesimc_si128, _mm_aeskeygenassist_si128, _mm_cvtsi128_si32, _mm_loadu_si128, _mm_set_epi8, _mm_set1_epi32,
        _mm_storeu_si128, _mm512_add_epi64, _mm512_aesdec_epi128, _mm512_aesdeclast_epi128, _mm512_aesenc_epi128,
        _mm512_aesenclast_epi128, _mm512_alignr_epi64, _mm512_broadcast_i32x4, _mm512_mask_storeu_epi64,
        _mm512_maskz_loadu_epi64, _mm512_set_epi64, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_xor_si512,
    };

    use zeroize::Zeroize;

    use super::Block;

    /// Round keys for both directions.
    pub struct WideKey {
        encrypt: [Block; ROUND_KEYS_MAX],
        decrypt: [Block; ROUND_KEYS_MAX],
        rounds: usize,
    }

    /// AES-256 has fourteen rounds, and a key before the first.
    const ROUND_KEYS_MAX: usize = 15;
    /// Blocks in a vector.
    const LANES: usize = 4;
    /// Vectors in flight: enough to hide the latency of a round.
    const FLIGHT: usize = 8;

    impl WideKey {
        /// `None` unless the processor has VAES and AVX-512, and the key 16, 24 or 32 bytes.
        pub fn new(key: &[u8]) -> Option<Self> {
            let able = is_x86_feature_detected!("aes")
                && is_x86_feature_detected!("vaes")
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw");
            if !able || !matches!(key.len(), 16 | 24 | 32) {
                return None;
            }
            let mut wide =
                Self { encrypt: [[0; 16]; ROUND_KEYS_MAX], decrypt: [[0; 16]; ROUND_KEYS_MAX], rounds: key.len() / 4 + 6 };
            // SAFETY: the processor has AES instructions, as was just checked.
            unsafe {
                expand(key, wide.encrypt[..=wide.rounds].as_flattened_mut());
                invert(&wide.encrypt[..=wide.rounds], &mut wide.decrypt[..=wide.rounds]);
            }
            Some(wide)
        }

        /// Counter mode with a big-endian counter of 128 bits, which is left at its next value.
        pub fn ctr(&self, counter: &mut Block, input: &[Block], out: &mut [Block]) {
            assert_eq!(input.len(), out.len(), "the caller gives room for as many blocks as come in");
            let first = u128::from_be_bytes(*counter);
            *counter = first.wrapping_add(input.len() as u128).to_be_bytes();
            // The kernel counts in the low half only.
            let until_carry = usize::try_from((1 << 64) - u128::from(first as u64)).unwrap_or(usize::MAX);
            let (input, later_input) = input.split_at(until_carry.min(input.len()));
            let (out, later_out) = out.split_at_mut(input.len());
            self.count(first, input, out);
            if !later_input.is_empty() {
                self.count(first.wrapping_add(input.len() as u128), later_input, later_out);
            }
        }

        fn count(&self, first: u128, input: &[Block], out: &mut [Block]) {
            // SAFETY: `new` found the features that the kernels are compiled for.
            unsafe {
                match self.rounds {
                    10 => count::<10>(&self.encrypt, first, input, out),
                    12 => count::<12>(&self.encrypt, first, input, out),
                    _ => count::<14>(&self.encrypt, first, input, out),
                }
            }
        }

        /// Decryption of cipher block chaining; `chain` is the vector, then the last ciphertext block.
        pub fn cbc_decrypt(&self, chain: &mut Block, input: &[Block], out: &mut [Block]) {
            assert_eq!(input.len(), out.len(), "the caller gives room for as many blocks as come in");
            // SAFETY: `new` found the features that the kernels are compiled for.
            unsafe {
                match self.rounds {
                    10 => unchain::<10>(&self.decrypt, chain, input, out),
                    12 => unchain::<12>(&self.decrypt, chain, input, out),
                    _ => unchain::<14>(&self.decrypt, chain, input, out),
                }
            }
            *chain = input.last().copied().unwrap_or(*chain);
        }
    }

    impl Drop for WideKey {
        fn drop(&mut self) {
            self.encrypt.zeroize();
            self.decrypt.zeroize();
        }
    }

    /// FIPS 197, 5.2, word by word; the substitution is the processor's, so that no table is looked up.
    #[target_feature(enable = "aes")]
    fn expand(key: &[u8], out: &mut [u8]) {
        // The instruction's lowest word is the substituted second word of its operand.
        let substituted = |word: u32| _mm_cvtsi128_si32(_mm_aeskeygenassist_si128::<0>(_mm_set1_epi32(word as i32))) as u32;
        let key_words = key.len() / 4;
        let (words, _) = out.as_chunks_mut::<4>();
        words[..key_words].copy_from_slice(key.as_chunks().0);
        let mut round_constant = 1_u32;
        for at in key_words..words.len() {
            let mut word = u32::from_le_bytes(words[at - 1]);
            if at.is_multiple_of(key_words) {
                // Little-endian: the standard's rotation to the left is one to the right here.
                word = substituted(word).rotate_right(8) ^ round_constant;
                round_constant = if round_constant == 0x80 { 0x1b } else { round_constant << 1 };
            } else if key_words == 8 && at % 8 == 4 {
                word = substituted(word);
            }
            words[at] = (word ^ u32::from_le_bytes(words[at - key_words])).to_le_bytes();
        }
    }

    /// The equivalent inverse cipher's keys (FIPS 197, 5.3.5): in reverse, all but the outer ones through InvMixColumns.
    #[target_feature(enable = "aes")]
    fn invert(encrypt: &[Block], decrypt: &mut [Block]) {
        for (at, (key, inverse)) in encrypt.iter().rev().zip(decrypt.iter_mut()).enumerate() {
            let outer = at == 0 || at == encrypt.len() - 1;
            // SAFETY: both pointers are to 16 bytes; neither load nor store needs alignment.
            unsafe {
                let key = _mm_loadu_si128(key.as_ptr().cast());
                _mm_storeu_si128(inverse.as_mut_ptr().cast(), if outer { key } else { _mm_aesimc_si128(key) });
            }
        }
    }

    /// Each lane of a vector gets the block.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn in_each_lane(block: &Block) -> __m512i {
        // SAFETY: the pointer is to 16 bytes; the load needs no alignment.
        _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(block.as_ptr().cast()) })
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn in_all_lanes<const ROUNDS: usize>(keys: &[Block; ROUND_KEYS_MAX]) -> [__m512i; ROUND_KEYS_MAX] {
        let mut wide = [_mm512_setzero_si512(); ROUND_KEYS_MAX];
        for (wide, key) in wide.iter_mut().zip(&keys[..=ROUNDS]) {
            *wide = in_each_lane(key);
        }
        wide
    }

    /// Loads up to four blocks; the lanes beyond are zero.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn load(blocks: &[Block]) -> __m512i {
        // SAFETY: the mask lets the load touch two words a block, which are there; masked words are not read.
        unsafe { _mm512_maskz_loadu_epi64(mask(blocks.len()), blocks.as_ptr().cast()) }
    }

    /// Stores up to four blocks.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn store(blocks: &mut [Block], vector: __m512i) {
        // SAFETY: the mask lets the store touch two words a block, which are there; masked words are not written.
        unsafe { _mm512_mask_storeu_epi64(blocks.as_mut_ptr().cast(), mask(blocks.len()), vector) };
    }

    /// Two words of 64 bits for each block.
    #[inline]
    fn mask(blocks: usize) -> u8 {
        0xff >> (8 - 2 * blocks.clamp(1, LANES))
    }

    #[target_feature(enable = "avx512f,avx512bw,vaes")]
    fn count<const ROUNDS: usize>(keys: &[Block; ROUND_KEYS_MAX], first: u128, input: &[Block], out: &mut [Block]) {
        let keys = in_all_lanes::<ROUNDS>(keys);
        let swap = _mm512_broadcast_i32x4(_mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
        let start = in_each_lane(&first.to_le_bytes());
        let mut counter = _mm512_add_epi64(start, _mm512_set_epi64(0, 3, 0, 2, 0, 1, 0, 0));
        let step = _mm512_set_epi64(0, LANES as i64, 0, LANES as i64, 0, LANES as i64, 0, LANES as i64);
        let (flights, rest) = input.as_chunks::<{ LANES * FLIGHT }>();
        let (out_flights, out_rest) = out.as_chunks_mut::<{ LANES * FLIGHT }>();
        for (input, out) in flights.iter().zip(out_flights) {
            let mut states = [counter; FLIGHT];
            for state in &mut states {
                *state = _mm512_xor_si512(_mm512_shuffle_epi8(counter, swap), keys[0]);
                counter = _mm512_add_epi64(counter, step);
            }
            for key in &keys[1..ROUNDS] {
                states.iter_mut().for_each(|state| *state = _mm512_aesenc_epi128(*state, *key));
            }
            for ((state, input), out) in states.iter().zip(input.chunks(LANES)).zip(out.chunks_mut(LANES)) {
                let key_stream = _mm512_aesenclast_epi128(*state, keys[ROUNDS]);
                store(out, _mm512_xor_si512(key_stream, load(input)));
            }
        }
        for (input, out) in rest.chunks(LANES).zip(out_rest.chunks_mut(LANES)) {
            let mut state = _mm512_xor_si512(_mm512_shuffle_epi8(counter, swap), keys[0]);
            counter = _mm512_add_epi64(counter, step);
            keys[1..ROUNDS].iter().for_each(|key| state = _mm512_aesenc_epi128(state, *key));
            store(out, _mm512_xor_si512(_mm512_aesenclast_epi128(state, keys[ROUNDS]), load(input)));
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,vaes")]
    fn unchain<const ROUNDS: usize>(keys: &[Block; ROUND_KEYS_MAX], chain: &Block, input: &[Block], out: &mut [Block]) {
        let keys = in_all_lanes::<ROUNDS>(keys);
        let mut before = in_each_lane(chain);
        let (flights, rest) = input.as_chunks::<{ LANES * FLIGHT }>();
        let (out_flights, out_rest) = out.as_chunks_mut::<{ LANES * FLIGHT }>();
        for (input, out) in flights.iter().zip(out_flights) {
            let mut states = [before; FLIGHT];
            for (state, input) in states.iter_mut().zip(input.chunks(LANES)) {
                *state = _mm512_xor_si512(load(input), keys[0]);
            }
            for key in &keys[1..ROUNDS] {
                states.iter_mut().for_each(|state| *state = _mm512_aesdec_epi128(*state, *key));
            }
            for ((state, input), out) in states.iter().zip(input.chunks(LANES)).zip(out.chunks_mut(LANES)) {
                let now = load(input);
                // The last block of the vector before, then the first three of this one.
                let masks = _mm512_alignr_epi64::<6>(now, before);
                store(out, _mm512_xor_si512(_mm512_aesdeclast_epi128(*state, keys[ROUNDS]), masks));
                before = now;
            }
        }
        for (input, out) in rest.chunks(LANES).zip(out_rest.chunks_mut(LANES)) {
            let now = load(input);
            let mut state = _mm512_xor_si512(now, keys[0]);
            keys[1..ROUNDS].iter().for_each(|key| state = _mm512_aesdec_epi128(state, *key));
            let masks = _mm512_alignr_epi64::<6>(now, before);
            store(out, _mm512_xor_si512(_mm512_aesdeclast_epi128(state, keys[ROUNDS]), masks));
            before = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::awslc::aes::EncryptKey;

    fn noise(len: usize, seed: u64) -> Vec<Block> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as u8
        };
        (0..len).map(|_| std::array::from_fn(|_| next())).collect()
    }

    /// Both keys, or nothing where the processor cannot.
    fn keys() -> impl Iterator<Item = (WideKey, EncryptKey)> {
        [16, 24, 32].into_iter().filter_map(|len| {
            let value = &noise(2, len as u64).as_flattened()[..len].to_vec();
            WideKey::new(value).zip(EncryptKey::new(value))
        })
    }

    #[test]
    fn counting_agrees_with_its_plain_twin_across_carries() {
        for (wide, plain) in keys() {
            for first in [0, 0xffff_fff0, u64::MAX as u128 - 20, (7 << 64) - 33, u128::MAX - 40, u128::MAX] {
                for len in [0, 1, 3, 4, 5, 31, 32, 33, 64, 100] {
                    let input = noise(len, 5);
                    let (mut out, mut expected) = (vec![[0; 16]; len], vec![[0; 16]; len]);
                    let (mut counter, mut plain_counter) = (first.to_be_bytes(), first.to_be_bytes());
                    wide.ctr(&mut counter, &input, &mut out);
                    plain.ctr(&mut plain_counter, &input, &mut expected);
                    assert_eq!(out, expected, "{len} blocks from {first:x}");
                    assert_eq!(counter, plain_counter);
                }
            }
        }
    }

    #[test]
    fn unchaining_undoes_chaining() {
        for (wide, plain) in keys() {
            for len in [0, 1, 2, 4, 7, 32, 33, 64, 99] {
                let input = noise(len, 9);
                let (mut sealed, mut out) = (vec![[0; 16]; len], vec![[0; 16]; len]);
                let (mut chain, mut back) = ([3; 16], [3; 16]);
                plain.cbc_encrypt(&mut chain, &input, &mut sealed);
                // In two calls, so that the chain is carried over.
                let half = len / 2;
                wide.cbc_decrypt(&mut back, &sealed[..half], &mut out[..half]);
                wide.cbc_decrypt(&mut back, &sealed[half..], &mut out[half..]);
                assert_eq!(out, input, "{len} blocks");
                assert_eq!(back, chain);
            }
        }
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        assert!(WideKey::new(&[0; 15]).is_none() && WideKey::new(&[]).is_none() && WideKey::new(&[0; 33]).is_none());
    }
}
