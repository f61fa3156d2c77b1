//! Keys: what is remembered of how they came to be, what templates may say, what each key may be used for, and their numbers.

mod history;
mod numbers;
mod templates;
mod uses;
mod wrapping;

use cryptoki_sys::{CK_KEY_TYPE, CKA_EXTRACTABLE, CKA_SENSITIVE};

use crate::case::Case;
use crate::template::Template;

/// The chapter's cases.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    [history::CASES, templates::CASES, uses::CASES, wrapping::CASES, numbers::CASES].into_iter().flatten()
}

/// A session key of a type whose value can be read.
fn readable(key_type: CK_KEY_TYPE) -> Template {
    Template::secret_key(key_type, &[]).flag(CKA_SENSITIVE, false).flag(CKA_EXTRACTABLE, true)
}

/// One row of a part of the chapter.
macro_rules! case {
    ($name:literal, $level:ident, $section:literal, $says:literal, $run:expr) => {
        crate::case::Case {
            id: concat!("key/", $name),
            level: crate::case::Level::$level,
            section: concat!("3.1, ", $section),
            says: $says,
            run: $run,
        }
    };
}
use case;
