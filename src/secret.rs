//! Bytes that must not be seen: wiped when dropped, compared in constant time, never printed, encoded or cloned by accident.
//!
//! Knows: sys.
//! Crates: subtle.

use subtle::ConstantTimeEq;

use crate::sys::awslc::wipe;

/// Least room of one that grows: most requests and answers fit.
const GROWN_MIN_BYTES: usize = 256;

/// A secret of any length. It has no `Debug`, `Clone`, `PartialEq` or encoder on purpose.
#[derive(Default)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes the bytes over; the vector's own memory is wiped when the secret is dropped.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
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
        Self::copy_of(&self.0)
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
            let mut larger = Self::new(Vec::with_capacity(total.next_power_of_two().max(GROWN_MIN_BYTES)));
            larger.0.extend_from_slice(&self.0);
            // The old bytes are wiped with their owner.
            *self = larger;
        }
        self.0.extend_from_slice(bytes);
    }

    /// Shortens it, wiping what is cut off.
    pub fn truncate(&mut self, len: usize) {
        if len < self.0.len() {
            wipe(&mut self.0[len..]);
            self.0.truncate(len);
        }
    }

    /// Wipes all of the vector's memory: beyond its length, too, there may be what its first owner had.
    fn wipe(&mut self) {
        self.0.resize(self.0.capacity(), 0);
        wipe(&mut self.0);
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.wipe();
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

    #[test]
    fn all_of_its_memory_is_wiped_and_stays_where_it_is() {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend([7; 64]);
        bytes.truncate(3);
        let mut secret = Secret::new(bytes);
        let place = secret.expose().as_ptr();
        secret.wipe();
        // No longer than its memory, so that it has not moved.
        assert_eq!((secret.expose().as_ptr(), secret.expose()), (place, &[0; 64][..]));
    }

    #[test]
    fn it_grows_and_shrinks_like_any_vector() {
        let (mut secret, mut like) = (Secret::default(), Vec::<u8>::new());
        for len in [0, 1, 3, 250, 2, 1, 999, 5000] {
            let more: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            secret.extend(&more);
            like.extend(&more);
            assert_eq!(secret.expose(), like);
        }
        secret.truncate(9000);
        secret.truncate(300);
        assert_eq!(secret.expose(), &like[..300]);
    }
}
