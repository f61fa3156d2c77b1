//! The block function of SHA-384, SHA-512 and SHA-512/t (FIPS 180-4, 6.4.2).

/// Bytes in a block.
pub const BLOCK_BYTES: usize = 128;

/// Folds blocks into the chaining words.
pub fn compress(words: &mut [u64; 8], blocks: &[[u8; BLOCK_BYTES]]) {
    sha2::block_api::compress512(words, blocks);
}
