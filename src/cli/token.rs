//! `hsmpool token`: list, make, delete tokens; set PINs.

use std::sync::Arc;

use clap::Subcommand;
use serde_json::json;

use super::told::{say, tell};
use super::{confirm, pin};
use crate::assemble;
use crate::error::{Code, Error, Result, refuse};
use crate::limits::TOKEN_LABEL_BYTES;
use crate::token::{Access, Admin, Description, PinState, Role, Scope, Token};
use crate::world::{Real, World};

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  hsmpool token init --label demo\n  hsmpool token list")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// What is answered is printed as JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Lists the tokens of the store, or of the pool that the configuration names
    #[command(after_help = "Examples:\n  hsmpool token list\n  HSMPOOL_CONF=/tmp/pool/hsmpool.toml hsmpool token list --json")]
    List,
    /// Makes a token and sets the user's PIN
    #[command(after_help = "Example: hsmpool token init --label demo --so-pin 12345678 --pin 123456")]
    Init {
        /// The new token's label, at most 32 bytes
        #[arg(long, value_parser = new_label)]
        label: String,
        /// The SO's PIN; asked for when absent
        #[arg(long)]
        so_pin: Option<String>,
        /// The user's PIN; asked for when absent
        #[arg(long)]
        pin: Option<String>,
    },
    /// Deletes a token with everything that it holds
    #[command(after_help = "Example: hsmpool token delete demo")]
    Delete {
        /// The token's label or serial number
        token: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// The SO sets a new user PIN, which also unlocks the user
    #[command(after_help = "Example: hsmpool token reset-pin demo --so-pin 12345678 --pin 654321")]
    ResetPin {
        /// The token's label or serial number
        token: String,
        /// The SO's PIN; asked for when absent
        #[arg(long)]
        so_pin: Option<String>,
        /// The new user PIN; asked for when absent
        #[arg(long)]
        pin: Option<String>,
    },
}

/// Each run is an application of its own: a pool answers a request that it has answered before, and knows it by scope and number.
pub(super) fn scope() -> Result<Scope> {
    let mut scope = [0; 16];
    Real.fill_random(&mut scope)?;
    Ok(Scope(scope))
}

pub(super) fn run(arguments: Arguments) -> Result<()> {
    let admin = &*assemble::admin(&assemble::configuration()?)?;
    let (text, description) = match arguments.command {
        Command::List => return list(admin, arguments.json),
        Command::Init { label, so_pin, pin } => init(admin, &label, so_pin.as_deref(), pin.as_deref())?,
        Command::Delete { token, yes } => delete(admin, &token, yes)?,
        Command::ResetPin { token, so_pin, pin } => reset_pin(admin, &token, so_pin.as_deref(), pin.as_deref())?,
    };
    tell(arguments.json, text, &json!({ "label": label(&description), "serial": serial(&description) }));
    Ok(())
}

fn list(admin: &dyn Admin, as_json: bool) -> Result<()> {
    let mut rows = Vec::new();
    for token in admin.tokens()? {
        let description = token.describe()?;
        let public = token.find(&Access::public(scope()?, false), &Default::default())?.len();
        rows.push((description, public));
    }
    if as_json {
        let tokens: Vec<_> = rows
            .iter()
            .map(|(token, public)| {
                json!({ "label": label(token), "serial": serial(token), "policy": format!("{:?}", token.policy).to_lowercase(),
                        "user_pin": state(token.user_pin_set, token.user_pin), "so_pin": state(true, token.so_pin), "public_objects": public })
            })
            .collect();
        say(format_args!("{:#}", json!({ "tokens": tokens })));
        return Ok(());
    }
    say(format_args!("{:<32} {:<16} {:<10} {:<10} PUBLIC OBJECTS", "LABEL", "SERIAL", "POLICY", "USER PIN"));
    for (token, public) in rows {
        let policy = format!("{:?}", token.policy).to_lowercase();
        let user_pin = state(token.user_pin_set, token.user_pin);
        say(format_args!("{:<32} {:<16} {policy:<10} {user_pin:<10} {public}", label(&token), serial(&token)));
    }
    Ok(())
}

fn new_label(text: &str) -> std::result::Result<String, String> {
    match text.len() {
        1..=TOKEN_LABEL_BYTES => Ok(text.to_string()),
        len => Err(format!("a label has 1 to {TOKEN_LABEL_BYTES} bytes, this one has {len}")),
    }
}

fn init(admin: &dyn Admin, label: &str, so_pin: Option<&str>, user_pin: Option<&str>) -> Result<(String, Description)> {
    let (so_pin, user_pin) = (pin::get(so_pin, "SO PIN", true)?, pin::get(user_pin, "User PIN", true)?);
    let mut padded = [b' '; TOKEN_LABEL_BYTES];
    padded[..label.len()].copy_from_slice(label.as_bytes());
    // A change that was sent and not answered may be made all the same, when there is a quorum again.
    let token =
        admin.init_token(None, &so_pin, padded).map_err(|error| unsure(error, label, "the token may be made nevertheless"))?;
    let set_pin = || -> Result<()> {
        let so = token.login(&scope()?, Role::SecurityOfficer, &so_pin)?;
        token.init_pin(&so, &user_pin)?;
        token.logout(&so)
    };
    set_pin().map_err(|error| unsure(error, label, "the token is made, and whether its user has a PIN is not known"))?;
    let description = token.describe()?;
    Ok((format!("token {label:?} made, serial number {}", serial(&description)), description))
}

/// Where nobody could say whether it was done: what may have been, and how to find out.
fn unsure(error: Error, label: &str, what: &str) -> Error {
    match error.code() {
        Code::DeviceError => Error::new(
            Code::DeviceError,
            format!(
                "{what}: `hsmpool token list` shows it, `hsmpool token reset-pin {label:?}` sets the user's PIN, and \
                 `hsmpool token delete {label:?}` removes it"
            ),
        )
        .because(error),
        _ => error,
    }
}

fn delete(admin: &dyn Admin, name: &str, yes: bool) -> Result<(String, Description)> {
    let (token, description) = find(admin, name)?;
    if !yes {
        let (question, serial) = (format!("Delete token {:?} with all its keys?", label(&description)), serial(&description));
        confirm::typed(&question, &serial)?;
    }
    drop(token);
    admin.delete_token(description.id)?;
    Ok((format!("token {:?} deleted", label(&description)), description))
}

fn reset_pin(admin: &dyn Admin, name: &str, so_pin: Option<&str>, user_pin: Option<&str>) -> Result<(String, Description)> {
    let (token, description) = find(admin, name)?;
    let so = token.login(&scope()?, Role::SecurityOfficer, &pin::get(so_pin, "SO PIN", false)?)?;
    token.init_pin(&so, &pin::get(user_pin, "User PIN", true)?)?;
    token.logout(&so)?;
    Ok((format!("user PIN of token {:?} set", label(&description)), description))
}

/// The one token with this label or serial number. Errors: `TokenNotPresent`; `ArgumentsBad` when there are several.
fn find(admin: &dyn Admin, name: &str) -> Result<(Arc<dyn Token>, Description)> {
    let mut found = Vec::new();
    for token in admin.tokens()? {
        let description = token.describe()?;
        if label(&description) == name || serial(&description) == name {
            found.push((token, description));
        }
    }
    match (found.pop(), found.is_empty()) {
        (Some(one), true) => Ok(one),
        (Some(_), false) => {
            Err(refuse(Code::ArgumentsBad, format!("several tokens have the label {name:?}: name one by its serial number")))
        }
        (None, _) => Err(refuse(
            Code::TokenNotPresent,
            format!("no token has the label or serial number {name:?}: see `hsmpool token list`"),
        )),
    }
}

pub(super) fn label(token: &Description) -> String {
    String::from_utf8_lossy(token.label.trim_ascii_end()).into_owned()
}

pub(super) fn serial(token: &Description) -> String {
    String::from_utf8_lossy(token.serial.trim_ascii_end()).into_owned()
}

fn state(set: bool, state: PinState) -> &'static str {
    match state {
        _ if !set => "not set",
        PinState::Good => "good",
        PinState::CountLow => "count low",
        PinState::FinalTry => "final try",
        PinState::Locked => "locked",
    }
}
