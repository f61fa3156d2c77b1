//! `hsmpool check`: the whole store, read and compared.

use crate::assemble;
use crate::error::Result;
use crate::store::Store;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let config = assemble::configuration()?;
    let store = Store::open(&config.store_dir)?;
    let report = store.check()?;
    // Opening the tokens checks the root key and the rows that stand in clear.
    let partition = assemble::partition(&config)?;
    let tokens = crate::token::Admin::tokens(&crate::partition::LocalAdmin(partition))?;
    for token in &tokens {
        token.describe()?;
    }
    if arguments.json {
        println!(
            "{:#}",
            serde_json::json!({ "file": store.path(), "sound": true, "tokens": tokens.len(), "report": format!("{report:?}") })
        );
    } else {
        println!("{}: sound; {report:?}", store.path().display());
    }
    Ok(())
}
