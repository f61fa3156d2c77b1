//! The rules that can be broken.

use std::sync::LazyLock;

static CHOSEN: LazyLock<String> = LazyLock::new(|| std::env::var("STAND_IN_FAULT").unwrap_or_default());

/// Whether this rule is broken in this process.
pub fn on(name: &str) -> bool {
    *CHOSEN == name
}
