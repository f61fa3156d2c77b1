//! Attacks: what somebody with a login, or with a ciphertext, must not get out of a token.

mod attributes;
mod hostile;
mod numbers;
mod oracles;
mod wrapping;

use crate::case::Case;

/// The chapter's cases.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    [wrapping::CASES, attributes::CASES, oracles::CASES, numbers::CASES, hostile::CASES].into_iter().flatten()
}
