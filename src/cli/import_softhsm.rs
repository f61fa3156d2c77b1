//! `hsmpool import-softhsm`: SoftHSM's tokens, with all that they hold.

use std::path::PathBuf;

use serde_json::json;

use super::pin;
use super::told::say;
use crate::assemble;
use crate::error::{Code, Result, refuse};
use crate::partition::{ImportedToken, LocalAdmin};
use crate::secret::Secret;
use crate::store::softhsm::{self, SoftHsmToken};
use crate::token::Admin;

#[derive(clap::Args)]
#[command(
    after_help = "PINs stay the same; both are needed, since the token's key is wrapped anew under each. The SoftHSM directory is only read.\n\n\
                        Example: hsmpool import-softhsm /var/lib/softhsm/tokens --token demo --so-pin 12345678 --pin 123456"
)]
pub(super) struct Arguments {
    /// SoftHSM's token directory (`directories.tokendir`)
    directory: PathBuf,
    /// Only the token with this label or serial number
    #[arg(long)]
    token: Option<String>,
    /// The SO's PIN; asked for when absent
    #[arg(long)]
    so_pin: Option<String>,
    /// The user's PIN; asked for when absent
    #[arg(long)]
    pin: Option<String>,
    /// Leave out objects that cannot be kept here (GOST keys) and say so, instead of refusing the token
    #[arg(long)]
    skip_unsupported: bool,
    /// Only says what would be imported
    #[arg(long)]
    dry_run: bool,
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let tokens = softhsm::tokens(&arguments.directory)?;
    let chosen: Vec<&SoftHsmToken> = tokens.iter().filter(|token| is_chosen(token, arguments.token.as_deref())).collect();
    if chosen.is_empty() {
        return Err(refuse(
            Code::TokenNotPresent,
            format!(
                "{} holds no token{}",
                arguments.directory.display(),
                match &arguments.token {
                    Some(name) => format!(" with the label or serial number {name:?}"),
                    None => " of SoftHSM".to_owned(),
                }
            ),
        ));
    }
    let mut done = Vec::new();
    for token in chosen {
        let imported = if arguments.dry_run { None } else { Some(import(token, arguments)?) };
        let (label, serial) = (text(&token.label), text(&token.serial));
        if !arguments.json {
            match &imported {
                None => say(format_args!(
                    "token {label:?} (serial number {serial}): {} objects would be imported",
                    token.object_count()
                )),
                Some((count, _)) => say(format_args!(
                    "token {label:?} (serial number {serial}): {count} of {} objects imported",
                    token.object_count()
                )),
            }
        }
        let (count, left_out) = imported.unwrap_or_default();
        for line in &left_out {
            eprintln!("left out: {line}");
        }
        done.push(
            json!({ "label": label, "serial": serial, "objects": token.object_count(), "imported": count, "left_out": left_out }),
        );
    }
    if arguments.json {
        say(format_args!("{:#}", json!({ "dry_run": arguments.dry_run, "tokens": done })));
    }
    Ok(())
}

fn is_chosen(token: &SoftHsmToken, name: Option<&str>) -> bool {
    name.is_none_or(|name| text(&token.label) == name || text(&token.serial) == name)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned()
}

/// How many objects, and which attributes were left out.
fn import(token: &SoftHsmToken, arguments: &Arguments) -> Result<(usize, Vec<String>)> {
    let so_pin = pin::get(arguments.so_pin.as_deref(), "SO PIN", false)?;
    if !token.is_so_pin(&so_pin) {
        return Err(refuse(Code::PinIncorrect, format!("the SO PIN is not that of token {:?}", text(&token.label))));
    }
    let user_pin = token.has_user_pin().then(|| pin::get(arguments.pin.as_deref(), "User PIN", false)).transpose()?;
    let opened = token.open(&so_pin, user_pin.as_ref())?;
    let partition = assemble::partition(&assemble::configuration()?)?;
    let imported = ImportedToken {
        label: token.label,
        serial: token.serial,
        so_pin: so_pin.duplicate(),
        user_pin: user_pin.as_ref().map(Secret::duplicate),
        objects: opened.objects,
        skip_unsupported: arguments.skip_unsupported,
    };
    let imported = partition.import(imported)?;
    // Seen as an application sees it, before success is told.
    LocalAdmin(partition).tokens()?.iter().try_for_each(|token| token.describe().map(drop))?;
    let mut left_out = opened.left_out;
    left_out.extend(imported.left_out.iter().map(|error| error.to_string()));
    Ok((imported.objects, left_out))
}
