//! Bytes that must not be seen: wiped when dropped, compared in constant time, never printed, encoded or cloned by accident.
//!
//! Knows: nothing.
//! Crates: subtle, zeroize.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Least room of one that grows: most requests and answers fit.
const GROWN_MIN_BYTES: usize = 256;

/// A secret of any length. It has no `Debug`, `Clone`, `PartialEq` or encoder on purpose.
#[derive(Default)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over; the vector's own memory is wiped when the secret is dropped.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A copy of bytes that somebody else keeps (and wipes).
    pub fn copy_of(bytes: &[u8]) -> Self {
        Self::new(bytes.to_vec())
    }

    /// `len` zero bytes, to be filled through [`Secret::expose_mut`].
    pub fn zeroed(len: usize) -> Self {
        Self::new(vec![0; len])
    }

    /// The bytes themselves: for cryptography only.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes themselves, to be written.
    pub fn expose_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it holds no byte at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A second owner, on purpose and visibly.
    pub fn duplicate(&self) -> Self {
        Self(self.0.clone())
    }

    /// Equality in time that depends on the lengths only.
    pub fn same_as(&self, other: &[u8]) -> bool {
        self.0.ct_eq(other).into()
    }

    /// Adds bytes at the end. Grown by hand: a vector that grows by itself leaves unwiped copies behind.
    pub fn extend(&mut self, bytes: &[u8]) {
        let total = self.0.len() + bytes.len();
        if total > self.0.capacity() {
            // What is written piece by piece, as requests are, would else be moved and wiped at each doubling from the first byte on.
            let mut larger = Zeroizing::new(Vec::with_capacity(total.next_power_of_two().max(GROWN_MIN_BYTES)));
            larger.extend_from_slice(&self.0);
            // The old bytes are wiped with their owner.
            self.0 = larger;
        }
        self.0.extend_from_slice(bytes);
    }

    /// Shortens it, wiping what is cut off.
    pub fn truncate(&mut self, len: usize) {
        if len < self.0.len() {
            use zeroize::Zeroize;
            self.0[len..].zeroize();
            self.0.truncate(len);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn equality_looks_at_every_byte_and_the_length() {
        let secret = Secret::copy_of(b"1234");
        assert!(secret.same_as(b"1234"));
        assert!(!secret.same_as(b"1235"));
        assert!(!secret.same_as(b"12345"));
        assert!(!secret.same_as(b""));
    }
}
