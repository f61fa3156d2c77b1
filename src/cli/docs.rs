//! `hsmpool docs`: pages that are made from the code's own tables, so that they cannot be wrong.

use std::fmt::Write;

use super::mechanisms::{sorted, verbs};
use super::told::say;
use crate::config::table as config_table;
use crate::error::Result;
use crate::object::table as object_table;

#[derive(clap::Args)]
#[command(after_help = "Example: hsmpool docs configuration")]
pub(super) struct Arguments {
    /// Which page
    page: Page,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Page {
    /// docs/configuration.md
    Configuration,
    /// docs/compatibility.md
    Compatibility,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let page = match arguments.page {
        Page::Configuration => configuration(),
        Page::Compatibility => compatibility(),
    };
    say(page.strip_suffix('\n').unwrap_or(&page));
    Ok(())
}

/// The text of docs/configuration.md.
fn configuration() -> String {
    format!(
        "# Configuration\n\n<!-- made by `hsmpool docs configuration` -->\n\n\
         None is needed. The first of these files that is found is read, and no other:\n\n\
         1. the file that `HSMPOOL_CONF` names,\n2. `~/.config/hsmpool/hsmpool.toml`,\n3. `/etc/hsmpool/hsmpool.toml`,\n\
         4. the file that `SOFTHSM2_CONF` names,\n5. `~/.config/softhsm2/softhsm2.conf`,\n6. `/etc/softhsm/softhsm2.conf`.\n\n\
         The first three are TOML, read strictly: an unknown key is an error that names file, line and key. The others are SoftHSM's files, read as\n\
         leniently as SoftHSM reads them: what it ignores is a warning in the log. `hsmpool config` shows which file is read and what holds.\n\n\
         ```toml\n[store]\ndirectory = \"/srv/keys\"\n\n[token]\npolicy = \"strict\"\n\n[log]\nlevel = \"INFO\"\nfile = \"/var/log/hsmpool.log\"\n```\n\n\
         {}\n\
         `HSMPOOL_LOG` (`error`, `warning`, `info`, `debug`) overrides the level, and logs to standard error unless the file names another place.\n\n\
         A program that runs with more rights than its caller (set-user-id, file capabilities) heeds none of these variables, nor `HOME`.\n\n\
         A mistake in the configuration makes `C_Initialize` answer `CKR_HSMPOOL_CONFIGURATION` (`0xc8500001`), a store that is refused `CKR_HSMPOOL_STORE_REFUSED` (`0xc8500002`);\n\
         the log says what to do. At the level `debug` it also says which file was read, and where the store is.\n",
        config_table::markdown() + "\n## Files of a pool\n" + &crate::config::pool::markdown()
    )
}

/// The text of docs/compatibility.md.
fn compatibility() -> String {
    let mut text = String::from(
        "# Compatibility\n\n<!-- made by `hsmpool docs compatibility` -->\n\n## Functions\n\n\
         All 68 functions of PKCS#11 2.40 work. Of 3.0 and 3.2, `C_GetInterface`, `C_GetInterfaceList`, `C_SessionCancel` and `C_LoginUser` (with an\n\
         empty name) work; the others answer `CKR_FUNCTION_NOT_SUPPORTED`.\n\n## Mechanisms\n\n",
    );
    let rows = sorted();
    let _ = writeln!(
        text,
        "{} mechanisms. Key sizes as `C_GetMechanismInfo` tells them.\n\n| mechanism | key size | can |\n| --- | --- | --- |",
        rows.len()
    );
    for row in rows {
        let _ = writeln!(text, "| `{}` | {}–{} | {} |", row.kind, row.sizes.0, row.sizes.1, verbs(row).join(", "));
    }
    let _ = writeln!(text, "\n## Attributes\n\n{}", object_table::markdown());
    text.push_str(include_str!("../../docs/softhsm-differences.md"));
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_pages_in_docs_are_the_ones_that_the_tables_make() {
        let check = |path: &str, page: String| {
            let kept = std::fs::read_to_string(format!("{}/docs/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap_or_default();
            assert!(kept == page, "docs/{path} is stale: write it anew with `hsmpool docs`");
        };
        check("configuration.md", super::configuration());
        check("compatibility.md", super::compatibility());
    }
}
