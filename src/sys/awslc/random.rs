//! Random bytes from AWS-LC's generator: fork-safe, seeded by the kernel, one state a thread.
//!
//! There is no pool of bytes drawn ahead, though short draws would be faster: the library notices forks, and copies of a
//! suspended machine where the kernel tells of them; bytes in a pool would have to be as clever.

use crate::error::{Code, Result, refuse};

/// Fills `out` with random bytes.
///
/// Not to be called while the process ends: the library's destructor holds every thread's generator for ever.
///
/// Errors: `RandomNoRng`, after which nothing in `out` may be used.
pub fn fill(out: &mut [u8]) -> Result<()> {
    if out.is_empty() {
        return Ok(());
    }
    // SAFETY: `out` is valid for writes of its own length; the library keeps no pointer to it.
    let done = unsafe { aws_lc_sys::RAND_bytes(out.as_mut_ptr(), out.len()) };
    if done == 1 { Ok(()) } else { Err(refuse(Code::RandomNoRng, "the crypto library's random generator failed")) }
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn two_draws_differ_and_nothing_is_left_unwritten() {
        let mut first = [0; 4096];
        let mut second = [0; 4096];
        fill(&mut first).unwrap();
        fill(&mut second).unwrap();
        assert_ne!(first, second);
        assert!(first.chunks(64).all(|chunk| chunk.iter().any(|byte| *byte != 0)));
        fill(&mut []).unwrap();
    }
}
