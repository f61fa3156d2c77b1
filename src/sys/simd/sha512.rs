//! The block function of SHA-384, SHA-512 and SHA-512/t (FIPS 180-4, 6.4.2).
//!
//! With AVX-512 the message schedules of two blocks are computed side by side; the rounds, which depend on one another,
//! stay in general registers. The plain twin is RustCrypto's, which chooses among its own at run time.

/// Bytes in a block.
pub const BLOCK_BYTES: usize = 128;

/// Folds blocks into the chaining words.
pub fn compress(words: &mut [u64; 8], blocks: &[[u8; BLOCK_BYTES]]) {
    #[cfg(target_arch = "x86_64")]
    if x86::is_available() {
        // SAFETY: the processor has the features that the function is compiled for.
        return unsafe { x86::compress(words, blocks) };
    }
    compress_plain(words, blocks);
}

/// The plain twin.
fn compress_plain(words: &mut [u64; 8], blocks: &[[u8; BLOCK_BYTES]]) {
    sha2::block_api::compress512(words, blocks);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m128i, __m256i, _mm_loadu_si128, _mm_set_epi8, _mm_storeu_si128, _mm256_add_epi64, _mm256_alignr_epi8,
        _mm256_broadcastsi128_si256, _mm256_castsi128_si256, _mm256_castsi256_si128, _mm256_extracti128_si256,
        _mm256_inserti128_si256, _mm256_ror_epi64, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_srli_epi64,
        _mm256_ternarylogic_epi64,
    };

    use super::BLOCK_BYTES;

    pub fn is_available() -> bool {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
    }

    /// The message words of two blocks, two words in each half: the lower half is the first block's.
    type Schedule = [__m256i; 8];

    /// Message words with their constants added, in pairs as they are stored.
    type Sums = [[[u64; 2]; 8]; 5];

    #[target_feature(enable = "avx512f,avx512vl,bmi1,bmi2")]
    pub fn compress(words: &mut [u64; 8], blocks: &[[u8; BLOCK_BYTES]]) {
        let (mut first_sums, mut second_sums) = ([[[0; 2]; 8]; 5], [[[0; 2]; 8]; 5]);
        for pair in blocks.chunks(2) {
            // A block without a partner is scheduled twice and used once.
            let (first, second) = (&pair[0], pair.last().expect("chunks are never empty"));
            let mut schedule = load(first, second);
            let mut state = *words;
            for sixteen in 0..4 {
                let (first, second) = (&mut first_sums[sixteen], &mut second_sums[sixteen]);
                for at in 0..8 {
                    add_constants(schedule[at], &K[sixteen][at], &mut first[at], &mut second[at]);
                    extend(&mut schedule, at);
                }
                sixteen_rounds(&mut state, first);
            }
            for at in 0..8 {
                add_constants(schedule[at], &K[4][at], &mut first_sums[4][at], &mut second_sums[4][at]);
            }
            sixteen_rounds(&mut state, &first_sums[4]);
            add(words, &state);
            if pair.len() == 2 {
                let mut state = *words;
                for sums in &second_sums {
                    sixteen_rounds(&mut state, sums);
                }
                add(words, &state);
            }
        }
    }

    fn add(words: &mut [u64; 8], state: &[u64; 8]) {
        words.iter_mut().zip(state).for_each(|(word, state)| *word = word.wrapping_add(*state));
    }

    #[target_feature(enable = "avx512f,avx512vl")]
    #[inline]
    fn load(first: &[u8; BLOCK_BYTES], second: &[u8; BLOCK_BYTES]) -> Schedule {
        let swap = _mm256_broadcastsi128_si256(_mm_set_epi8(8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
        let mut schedule = [_mm256_setzero_si256(); 8];
        let parts = first.as_chunks::<16>().0.iter().zip(second.as_chunks::<16>().0);
        for (words, (first, second)) in schedule.iter_mut().zip(parts) {
            // SAFETY: both pointers are to 16 bytes; the loads need no alignment.
            let (first, second) = unsafe { (_mm_loadu_si128(first.as_ptr().cast()), _mm_loadu_si128(second.as_ptr().cast())) };
            *words = _mm256_shuffle_epi8(_mm256_inserti128_si256::<1>(_mm256_castsi128_si256(first), second), swap);
        }
        schedule
    }

    /// Message words with their constants, as the rounds take them.
    #[target_feature(enable = "avx512f,avx512vl")]
    #[inline]
    fn add_constants(words: __m256i, constants: &[u64; 2], first: &mut [u64; 2], second: &mut [u64; 2]) {
        // SAFETY: the pointer is to 16 bytes; the load needs no alignment.
        let constants = unsafe { _mm_loadu_si128(constants.as_ptr().cast()) };
        let sums = _mm256_add_epi64(words, _mm256_broadcastsi128_si256(constants));
        store(first, _mm256_castsi256_si128(sums));
        store(second, _mm256_extracti128_si256::<1>(sums));
    }

    #[target_feature(enable = "avx512f,avx512vl")]
    #[inline]
    fn store(words: &mut [u64; 2], vector: __m128i) {
        // SAFETY: the pointer is to 16 bytes; the store needs no alignment.
        unsafe { _mm_storeu_si128(words.as_mut_ptr().cast(), vector) };
    }

    /// Replaces the two oldest words of each block by the next two.
    #[target_feature(enable = "avx512f,avx512vl")]
    #[inline]
    fn extend(schedule: &mut Schedule, at: usize) {
        let ago = |pairs: usize| schedule[(at + 8 - pairs) % 8];
        let (w16, w2) = (schedule[at], ago(1));
        let w15 = _mm256_alignr_epi8::<8>(ago(7), w16);
        let w7 = _mm256_alignr_epi8::<8>(ago(3), ago(4));
        // 0x96 is the truth table of a three-fold exclusive or.
        let sigma0 = _mm256_ternarylogic_epi64::<0x96>(
            _mm256_ror_epi64::<1>(w15),
            _mm256_ror_epi64::<8>(w15),
            _mm256_srli_epi64::<7>(w15),
        );
        let sigma1 =
            _mm256_ternarylogic_epi64::<0x96>(_mm256_ror_epi64::<19>(w2), _mm256_ror_epi64::<61>(w2), _mm256_srli_epi64::<6>(w2));
        schedule[at] = _mm256_add_epi64(_mm256_add_epi64(w16, w7), _mm256_add_epi64(sigma0, sigma1));
    }

    /// One round; the roles of the eight words move on by one, which the caller does by renaming.
    macro_rules! round {
        ($a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident, $sum:expr) => {
            let sigma1 = $e.rotate_right(14) ^ $e.rotate_right(18) ^ $e.rotate_right(41);
            let choice = ($e & $f) ^ (!$e & $g);
            let step = $h.wrapping_add($sum).wrapping_add(sigma1).wrapping_add(choice);
            let sigma0 = $a.rotate_right(28) ^ $a.rotate_right(34) ^ $a.rotate_right(39);
            let majority = ($a & $b) | ($c & ($a | $b));
            $d = $d.wrapping_add(step);
            $h = step.wrapping_add(sigma0).wrapping_add(majority);
        };
    }

    /// Always inlined, and written out: so it gets the features of its caller, and becomes one run of instructions with the
    /// schedule's, which is worth a sixth of the speed.
    #[inline(always)]
    fn sixteen_rounds(state: &mut [u64; 8], sums: &[[u64; 2]; 8]) {
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
        round!(a b c d e f g h, sums[0][0]);
        round!(h a b c d e f g, sums[0][1]);
        round!(g h a b c d e f, sums[1][0]);
        round!(f g h a b c d e, sums[1][1]);
        round!(e f g h a b c d, sums[2][0]);
        round!(d e f g h a b c, sums[2][1]);
        round!(c d e f g h a b, sums[3][0]);
        round!(b c d e f g h a, sums[3][1]);
        round!(a b c d e f g h, sums[4][0]);
        round!(h a b c d e f g, sums[4][1]);
        round!(g h a b c d e f, sums[5][0]);
        round!(f g h a b c d e, sums[5][1]);
        round!(e f g h a b c d, sums[6][0]);
        round!(d e f g h a b c, sums[6][1]);
        round!(c d e f g h a b, sums[7][0]);
        round!(b c d e f g h a, sums[7][1]);
        *state = [a, b, c, d, e, f, g, h];
    }

    /// FIPS 180-4, 4.2.3: the first 64 bits of the fractional parts of the cube roots of the first eighty primes.
    #[rustfmt::skip]
    static K: Sums = [
        [
            [0x428a2f98d728ae22, 0x7137449123ef65cd], [0xb5c0fbcfec4d3b2f, 0xe9b5dba58189dbbc],
            [0x3956c25bf348b538, 0x59f111f1b605d019], [0x923f82a4af194f9b, 0xab1c5ed5da6d8118],
            [0xd807aa98a3030242, 0x12835b0145706fbe], [0x243185be4ee4b28c, 0x550c7dc3d5ffb4e2],
            [0x72be5d74f27b896f, 0x80deb1fe3b1696b1], [0x9bdc06a725c71235, 0xc19bf174cf692694],
        ],
        [
            [0xe49b69c19ef14ad2, 0xefbe4786384f25e3], [0x0fc19dc68b8cd5b5, 0x240ca1cc77ac9c65],
            [0x2de92c6f592b0275, 0x4a7484aa6ea6e483], [0x5cb0a9dcbd41fbd4, 0x76f988da831153b5],
            [0x983e5152ee66dfab, 0xa831c66d2db43210], [0xb00327c898fb213f, 0xbf597fc7beef0ee4],
            [0xc6e00bf33da88fc2, 0xd5a79147930aa725], [0x06ca6351e003826f, 0x142929670a0e6e70],
        ],
        [
            [0x27b70a8546d22ffc, 0x2e1b21385c26c926], [0x4d2c6dfc5ac42aed, 0x53380d139d95b3df],
            [0x650a73548baf63de, 0x766a0abb3c77b2a8], [0x81c2c92e47edaee6, 0x92722c851482353b],
            [0xa2bfe8a14cf10364, 0xa81a664bbc423001], [0xc24b8b70d0f89791, 0xc76c51a30654be30],
            [0xd192e819d6ef5218, 0xd69906245565a910], [0xf40e35855771202a, 0x106aa07032bbd1b8],
        ],
        [
            [0x19a4c116b8d2d0c8, 0x1e376c085141ab53], [0x2748774cdf8eeb99, 0x34b0bcb5e19b48a8],
            [0x391c0cb3c5c95a63, 0x4ed8aa4ae3418acb], [0x5b9cca4f7763e373, 0x682e6ff3d6b2b8a3],
            [0x748f82ee5defb2fc, 0x78a5636f43172f60], [0x84c87814a1f0ab72, 0x8cc702081a6439ec],
            [0x90befffa23631e28, 0xa4506cebde82bde9], [0xbef9a3f7b2c67915, 0xc67178f2e372532b],
        ],
        [
            [0xca273eceea26619c, 0xd186b8c721c0c207], [0xeada7dd6cde0eb1e, 0xf57d4f7fee6ed178],
            [0x06f067aa72176fba, 0x0a637dc5a2c898a6], [0x113f9804bef90dae, 0x1b710b35131c471b],
            [0x28db77f523047d84, 0x32caab7b40c72493], [0x3c9ebe0a15c9bebc, 0x431d67c49c100d4c],
            [0x4cc5d4becb3e42b6, 0x597f299cfc657e2a], [0x5fcb6fab3ad6faec, 0x6c44198c4a475817],
        ],
    ];
}

#[cfg(test)]
mod tests {
    use super::{BLOCK_BYTES, compress, compress_plain};

    #[test]
    fn the_kernel_agrees_with_its_plain_twin() {
        let mut seed = 1_u64;
        let mut next = || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            seed ^ seed >> 29
        };
        for count in 0..12 {
            let blocks: Vec<[u8; BLOCK_BYTES]> = (0..count).map(|_| std::array::from_fn(|_| next() as u8)).collect();
            let mut words = std::array::from_fn(|_| next());
            let mut plain = words;
            compress(&mut words, &blocks);
            compress_plain(&mut plain, &blocks);
            assert_eq!(words, plain, "{count} blocks");
        }
    }
}
