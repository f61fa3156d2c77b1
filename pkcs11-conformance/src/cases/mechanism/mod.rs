//! Mechanisms: what the token claims of each is what it does, no less and no more.

mod list;
mod parameters;
mod parts;
mod sizes;
mod unclaimed;
mod variants;
mod works;

use cryptoki_sys::{CK_FLAGS, CK_MECHANISM_INFO};

use crate::case::Case;

/// The chapter's cases.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    [list::CASES, works::CASES, parts::CASES, unclaimed::CASES, sizes::CASES, parameters::CASES, variants::CASES]
        .into_iter()
        .flatten()
}

/// Whether the token claims a use.
fn claims(info: &CK_MECHANISM_INFO, flag: u64) -> bool {
    info.flags & flag as CK_FLAGS != 0
}
