//! `softhsm2-util`: its flags, its output lines, its exit codes, on our module or any other.
//!
//! Scripts parse the lines on standard output, so they are SoftHSM's to the letter; errors say more than SoftHSM's.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use cryptoki::context::Pkcs11;
use cryptoki::session::UserType;
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::AuthPin;

use super::{module, pin, sentence, util_import};
use crate::assemble;
use crate::error::{Code, Doing, Result, refuse};
use crate::partition::LocalAdmin;
use crate::secret::Secret;
use crate::token::Admin;

/// SoftHSM's release whose tool this one stands in for.
const VERSION: &str = "2.6.1";

const USAGE: &str = "Support tool for PKCS#11
Usage: softhsm2-util [ACTION] [OPTIONS]
Action:
  --show-slots              lists all slots
  --init-token              initialises a token; with --slot, --token, --serial or --free, and --label, --so-pin, --pin
  --import <path>           imports a key pair (PKCS#8), or with --import-type or --aes something else; with --slot, --token
                            or --serial, and --label, --id, --pin, --file-pin, --no-public-key
  --delete-token            deletes a token with everything in it; with --token or --serial
  --show-config <key>       prints a setting; default-pkcs11-lib is the module's path
  -h, --help                shows this text
  -v, --version             shows the version
Options:
  --aes                     the file is a raw AES key (as --import-type aes)
  --file-pin <PIN>          the password of an encrypted PKCS#8 file
  --force                   imports even if the ID is in use
  --free                    the first uninitialised token
  --id <hex>                the object's ID
  --import-type <type>      keypair (PKCS#8), aes (raw key) or cert (X.509 in PEM)
  --label <text>            the token's or the object's label
  --module <path>           another PKCS#11 module
  --no-public-key           imports the private key only
  --pin <PIN>               the user's PIN
  --serial <number>         the token with this serial number
  --slot <number>           the token in this slot
  --so-pin <PIN>            the SO's PIN
  --token <label>           the token with this label
Examples:
  softhsm2-util --init-token --free --label demo --so-pin 12345678 --pin 123456
  softhsm2-util --show-slots";

#[derive(Parser, Default)]
#[command(
    disable_help_flag = true,
    disable_version_flag = true,
    no_binary_name = true,
    infer_long_args = true,
    args_override_self = true
)]
pub(super) struct Flags {
    #[arg(long)]
    show_slots: bool,
    #[arg(long)]
    init_token: bool,
    #[arg(long)]
    pub import: Option<PathBuf>,
    #[arg(long)]
    delete_token: bool,
    #[arg(long)]
    show_config: Option<String>,
    #[arg(long, short)]
    help: bool,
    #[arg(long, short)]
    version: bool,
    #[arg(long)]
    pub aes: bool,
    #[arg(long)]
    pub file_pin: Option<String>,
    #[arg(long)]
    pub force: bool,
    #[arg(long)]
    free: bool,
    #[arg(long)]
    pub id: Option<String>,
    #[arg(long)]
    pub import_type: Option<String>,
    #[arg(long)]
    pub label: Option<String>,
    #[arg(long)]
    module: Option<PathBuf>,
    #[arg(long)]
    pub no_public_key: bool,
    #[arg(long)]
    pub pin: Option<String>,
    #[arg(long)]
    serial: Option<String>,
    #[arg(long, value_parser = slot_number)]
    slot: Option<u64>,
    #[arg(long)]
    so_pin: Option<String>,
    #[arg(long)]
    token: Option<String>,
}

fn slot_number(text: &str) -> std::result::Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|error| error.to_string())
}

/// Runs it. Exit codes: 0, and 1 for usage and errors alike, as SoftHSM's.
pub(super) fn main(arguments: &[OsString]) -> ExitCode {
    let flags = match Flags::try_parse_from(arguments) {
        Ok(flags) => flags,
        Err(error) => {
            eprintln!("ERROR: {}", error.render().to_string().lines().next().unwrap_or_default().trim_start_matches("error: "));
            println!("{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    if flags.version {
        println!("{VERSION}");
        return ExitCode::SUCCESS;
    }
    if flags.help {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match act(&flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ERROR: {}", sentence(&error));
            ExitCode::FAILURE
        }
    }
}

fn act(flags: &Flags) -> Result<()> {
    let actions = [flags.show_slots, flags.init_token, flags.import.is_some(), flags.delete_token, flags.show_config.is_some()];
    if actions.iter().filter(|asked| **asked).count() != 1 {
        println!("{USAGE}");
        return Err(refuse(Code::ArgumentsBad, "name exactly one action"));
    }
    if flags.delete_token {
        return delete_token(flags);
    }
    let path = match &flags.module {
        Some(path) => path.clone(),
        None => module::own()?,
    };
    if let Some(key) = &flags.show_config {
        return show_config(key, &path);
    }
    let pkcs11 = module::open(&path)?;
    if flags.show_slots {
        show_slots(&pkcs11)
    } else if flags.init_token {
        init_token(flags, pkcs11, &path)
    } else {
        let slot = find_slot(flags, &pkcs11)?;
        util_import::import(flags, &pkcs11, slot)
    }
}

fn show_config(key: &str, module: &std::path::Path) -> Result<()> {
    if key != "default-pkcs11-lib" {
        return Err(refuse(Code::ArgumentsBad, format!("{key:?} is no setting; default-pkcs11-lib is one")));
    }
    println!("{}", module.display());
    Ok(())
}

const ASKING: &str = "asking the module for its slots";

fn show_slots(pkcs11: &Pkcs11) -> Result<()> {
    println!("Available slots:");
    for slot in pkcs11.get_all_slots().doing(Code::FunctionFailed, ASKING)? {
        let info = pkcs11.get_slot_info(slot).doing(Code::FunctionFailed, ASKING)?;
        println!("Slot {}", slot.id());
        println!("    Slot info:");
        println!("        Description:      {:<64}", info.slot_description());
        println!("        Manufacturer ID:  {:<32}", info.manufacturer_id());
        println!("        Hardware version: {}", info.hardware_version());
        println!("        Firmware version: {}", info.firmware_version());
        println!("        Token present:    {}", yes_no(info.token_present()));
        if !info.token_present() {
            continue;
        }
        let token = pkcs11.get_token_info(slot).doing(Code::FunctionFailed, ASKING)?;
        println!("    Token info:");
        println!("        Manufacturer ID:  {:<32}", token.manufacturer_id());
        println!("        Model:            {:<16}", token.model());
        println!("        Hardware version: {}", token.hardware_version());
        println!("        Firmware version: {}", token.firmware_version());
        println!("        Serial number:    {:<16}", token.serial_number());
        println!("        Initialized:      {}", yes_no(token.token_initialized()));
        println!("        User PIN init.:   {}", yes_no(token.user_pin_initialized()));
        println!("        Label:            {:<32}", token.label());
    }
    Ok(())
}

fn yes_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

/// The slot that --slot, --free, --serial and --token name, told in SoftHSM's words.
fn find_slot(flags: &Flags, pkcs11: &Pkcs11) -> Result<Slot> {
    let slots = pkcs11.get_all_slots().doing(Code::FunctionFailed, ASKING)?;
    if let Some(id) = flags.slot {
        let found = slots.into_iter().find(|slot| slot.id() == id);
        return found.ok_or_else(|| refuse(Code::SlotIdInvalid, format!("The given slot {id} does not exist.")));
    }
    let mut matching = Vec::new();
    for slot in slots {
        let token = pkcs11.get_token_info(slot).doing(Code::FunctionFailed, ASKING)?;
        if flags.free {
            if !token.token_initialized() {
                println!("Slot {} has a free/uninitialized token.", slot.id());
                return Ok(slot);
            }
        } else if is_named(flags, &token) {
            matching.push(slot);
        }
    }
    let what = match (&flags.serial, &flags.token) {
        _ if flags.free => return Err(refuse(Code::TokenNotPresent, "Could not find a free/uninitialized token.")),
        (None, None) => {
            return Err(refuse(
                Code::ArgumentsBad,
                "A slot or token must be supplied. Use --slot <number>, --serial <serial>, or --token <label>",
            ));
        }
        (Some(_), None) => "serial",
        (None, Some(_)) => "token label",
        (Some(_), Some(_)) => "serial and token label",
    };
    for slot in &matching {
        println!("Found slot {} with matching {what}.", slot.id());
    }
    match matching[..] {
        [slot] => Ok(slot),
        [] => Err(refuse(Code::TokenNotPresent, "Could not find a slot/token using --serial, or --token")),
        _ => Err(refuse(Code::ArgumentsBad, "Found multiple matching slots/tokens.")),
    }
}

fn is_named(flags: &Flags, token: &TokenInfo) -> bool {
    let fits = |wanted: &Option<String>, own: &str| wanted.as_ref().is_none_or(|wanted| wanted == own.trim_end());
    (flags.serial.is_some() || flags.token.is_some())
        && token.token_initialized()
        && fits(&flags.serial, token.serial_number())
        && fits(&flags.token, token.label())
}

fn init_token(flags: &Flags, pkcs11: Pkcs11, path: &std::path::Path) -> Result<()> {
    let slot = find_slot(flags, &pkcs11)?;
    let label = flags
        .label
        .as_deref()
        .ok_or_else(|| refuse(Code::ArgumentsBad, "A label for the token must be supplied. Use --label <text>"))?;
    if label.len() > 32 {
        return Err(refuse(Code::ArgumentsBad, "The token label must not have a length greater than 32 chars."));
    }
    let so_pin = auth(&pin::get(flags.so_pin.as_deref(), "SO PIN", true)?)?;
    let user_pin = auth(&pin::get(flags.pin.as_deref(), "User PIN", true)?)?;
    pkcs11.init_token(slot, &so_pin, label).doing(Code::FunctionFailed, "Could not initialize the token")?;
    let serial = {
        let session = pkcs11.open_rw_session(slot).doing(Code::FunctionFailed, "Could not open a session with the library")?;
        session.login(UserType::So, Some(&so_pin)).doing(Code::FunctionFailed, "Could not log in on the token")?;
        session.init_pin(&user_pin).doing(Code::FunctionFailed, "Could not initialize the user PIN")?;
        pkcs11.get_token_info(slot).doing(Code::FunctionFailed, ASKING)?.serial_number().to_owned()
    };
    // A token's own slot number shows after the module has been initialised again.
    pkcs11.finalize().doing(Code::FunctionFailed, "finalising the module")?;
    let pkcs11 = module::open(path)?;
    for now in pkcs11.get_all_slots().doing(Code::FunctionFailed, ASKING)? {
        if pkcs11.get_token_info(now).doing(Code::FunctionFailed, ASKING)?.serial_number() == serial {
            match now.id() == slot.id() {
                true => println!("The token has been initialized on slot {}", now.id()),
                false => println!("The token has been initialized and is reassigned to slot {}", now.id()),
            }
            return Ok(());
        }
    }
    println!("The token has been initialized.");
    Ok(())
}

/// A PIN for the safe face of the C ABI.
pub(super) fn auth(pin: &Secret) -> Result<AuthPin> {
    Ok(AuthPin::new(pin::text(pin)?.to_owned().into()))
}

/// Works on the store itself, as SoftHSM's does on its directory.
fn delete_token(flags: &Flags) -> Result<()> {
    if flags.serial.is_none() && flags.token.is_none() {
        return Err(refuse(Code::ArgumentsBad, "A token must be supplied. Use --serial <serial> or --token <label>"));
    }
    let config = assemble::configuration()?;
    let admin = LocalAdmin(assemble::partition(&config)?);
    let mut matching = Vec::new();
    for token in admin.tokens()? {
        let description = token.describe()?;
        let fits = |wanted: &Option<String>, own: String| wanted.as_ref().is_none_or(|wanted| *wanted == own);
        if fits(&flags.serial, super::token::serial(&description)) && fits(&flags.token, super::token::label(&description)) {
            matching.push(description);
        }
    }
    let what = match (&flags.serial, &flags.token) {
        (Some(_), Some(_)) => "serial and token label",
        (Some(_), None) => "serial",
        _ => "token label",
    };
    match &matching[..] {
        [one] => {
            let place = config.store_dir.join(super::token::serial(one));
            println!("Found token ({}) with matching {what}.", super::token::serial(one));
            admin.delete_token(one.id)?;
            println!("The token ({}) has been deleted.", place.display());
            Ok(())
        }
        [] => Err(refuse(Code::TokenNotPresent, "Could not find a token using --serial or --token.")),
        _ => Err(refuse(Code::ArgumentsBad, "Found multiple matching tokens.")),
    }
}
