//! The cases, one file a chapter. To add one: write a function and its row in the chapter's `CASES`.

mod codes;
mod combined;
mod concurrency;
mod general;
mod interface;
mod key;
mod mechanism;
mod object;
mod operation;
mod security;
mod session;
mod standing;
mod token;
mod vector;

use crate::case::Case;

/// Every case, chapter by chapter.
pub fn all() -> impl Iterator<Item = &'static Case> {
    let chapters = [
        general::CASES,
        token::CASES,
        session::CASES,
        object::CASES,
        operation::CASES,
        combined::CASES,
        codes::CASES,
        standing::CASES,
        concurrency::CASES,
        interface::CASES,
    ];
    chapters.into_iter().flatten().chain(mechanism::cases()).chain(key::cases()).chain(security::cases()).chain(vector::cases())
}
