//! `hsmpool check`: the whole store, read and compared.

use serde_json::json;

use super::told::say;
use super::{pin, token};
use crate::assemble;
use crate::error::{Code, Result, refuse};
use crate::partition::{LocalAdmin, LocalToken};
use crate::store::{CheckReport, Store};
use crate::token::{Access, Admin, Role, Token};

#[derive(clap::Args)]
#[command(
    after_help = "Without PINs, private objects are only compared in their sealed form. Example: hsmpool check --token demo"
)]
pub(super) struct Arguments {
    /// Open the private objects of this token too: its label or serial number
    #[arg(long)]
    token: Option<String>,
    /// That token's user PIN; asked for when absent
    #[arg(long, requires = "token")]
    pin: Option<String>,
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let config = assemble::configuration()?;
    let store = Store::open(&config.store_dir)?;
    let report = store.check()?;
    let partition = assemble::partition(&config)?;
    let admin = LocalAdmin(partition.clone());
    let (mut opened, mut is_named) = (0, arguments.token.is_none());
    for one in admin.tokens()? {
        // Tells whether the root key is the right one, and whether the rows that stand in clear are as they were written.
        let description = one.describe()?;
        let local = partition.token(description.id);
        let name = arguments.token.as_deref();
        let wanted =
            name.is_some_and(|name| [token::label(&description), token::serial(&description)].contains(&name.to_owned()));
        is_named |= wanted;
        opened += match wanted {
            true => check_private(&local, arguments.pin.as_deref())?,
            false => local.check(&Access::public(token::scope()?, false))?,
        };
    }
    if !is_named {
        return Err(refuse(Code::TokenNotPresent, "no token has this label or serial number: see `hsmpool token list`"));
    }
    print(&store, &report, opened, arguments.json);
    Ok(())
}

fn check_private(token: &LocalToken, given: Option<&str>) -> Result<usize> {
    let access = token.login(&token::scope()?, Role::User, &pin::get(given, "User PIN", false)?)?;
    let opened = token.check(&access);
    token.logout(&access)?;
    opened
}

fn print(store: &Store, report: &CheckReport, opened: usize, as_json: bool) {
    let CheckReport { tokens, users, objects, applied, set_hash } = report;
    let hash: String = set_hash.iter().map(|byte| format!("{byte:02x}")).collect();
    if as_json {
        let counts = json!({ "tokens": tokens, "users": users, "objects": objects, "opened": opened, "changes": applied });
        say(format_args!("{:#}", json!({ "file": store.path(), "sound": true, "counts": counts, "set_hash": hash })));
        return;
    }
    say(format_args!("{}: sound", store.path().display()));
    say(format_args!(
        "tokens: {tokens}, PINs: {users}, objects: {objects} (opened: {opened}), changes since the store was made: {applied}"
    ));
    say(format_args!("set hash: {hash}"));
}
