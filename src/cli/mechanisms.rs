//! `hsmpool mechanisms`: what is offered, from the table itself.

use super::told::say;
use crate::ck::flags;
use crate::error::Result;
use crate::mechanism::table::{self, Row};

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  hsmpool mechanisms\n  hsmpool mechanisms --json | jq -r '.mechanisms[].name'")]
pub(super) struct Arguments {
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Names of a mechanism's flags.
pub(super) const VERBS: &[(u64, &str)] = &[
    (flags::DIGEST, "digest"),
    (flags::SIGN, "sign"),
    (flags::VERIFY, "verify"),
    (flags::SIGN_RECOVER, "sign-recover"),
    (flags::VERIFY_RECOVER, "verify-recover"),
    (flags::ENCRYPT, "encrypt"),
    (flags::DECRYPT, "decrypt"),
    (flags::GENERATE, "generate"),
    (flags::GENERATE_KEY_PAIR, "generate-pair"),
    (flags::WRAP, "wrap"),
    (flags::UNWRAP, "unwrap"),
    (flags::DERIVE, "derive"),
];

/// What a mechanism can do, in words.
pub(super) fn verbs(row: &Row) -> Vec<&'static str> {
    VERBS.iter().filter(|(flag, _)| row.flags() & flag != 0).map(|(_, word)| *word).collect()
}

/// All rows in alphabetical order of name.
pub(super) fn sorted() -> Vec<&'static Row> {
    let mut rows = table::all().to_vec();
    rows.sort_by_key(|row| row.kind.name());
    rows
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.json {
        let rows: Vec<_> = sorted()
            .iter()
            .map(|row| serde_json::json!({ "name": row.kind.name(), "number": row.kind.0, "min": row.sizes.0, "max": row.sizes.1, "can": verbs(row) }))
            .collect();
        say(format_args!("{:#}", serde_json::json!({ "mechanisms": rows })));
        return Ok(());
    }
    for row in sorted() {
        say(format_args!("{:<34} {:>5}–{:<9} {}", row.kind.to_string(), row.sizes.0, row.sizes.1, verbs(row).join(" ")));
    }
    Ok(())
}
