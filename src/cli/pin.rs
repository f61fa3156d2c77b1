//! PINs: from the command line, or asked for on the terminal.

use crate::error::{Code, Doing, Result, refuse};
use crate::limits::{PIN_LEN_MAX_BYTES, PIN_LEN_MIN_BYTES};
use crate::secret::Secret;

/// The PIN that was given, or one that is asked for; twice where it is a new one, until both agree.
///
/// `name`: "SO PIN", "User PIN".
pub(super) fn get(given: Option<&str>, name: &str, new: bool) -> Result<Secret> {
    if let Some(pin) = given {
        // Before anything is made with it: a token without its user's PIN is half a token.
        if new && !(PIN_LEN_MIN_BYTES..=PIN_LEN_MAX_BYTES).contains(&pin.len()) {
            let told = format!("the {} must have {PIN_LEN_MIN_BYTES} to {PIN_LEN_MAX_BYTES} characters", lower(name));
            return Err(refuse(Code::PinLenRange, told));
        }
        return Ok(Secret::copy_of(pin.as_bytes()));
    }
    loop {
        println!("=== {name} ({PIN_LEN_MIN_BYTES}-{PIN_LEN_MAX_BYTES} characters) ===");
        let pin = ask(&format!("Please enter {}: ", lower(name)))?;
        if !(PIN_LEN_MIN_BYTES..=PIN_LEN_MAX_BYTES).contains(&pin.len()) {
            eprintln!("ERROR: The length of the PIN is out of range.");
            continue;
        }
        if !new || pin.same_as(ask(&format!("Please reenter {}: ", lower(name)))?.expose()) {
            return Ok(pin);
        }
        eprintln!("ERROR: The entered PINs are not equal.");
    }
}

fn ask(prompt: &str) -> Result<Secret> {
    let pin = rpassword::prompt_password(prompt)
        .doing(Code::PinIncorrect, "no PIN was given, and there is no terminal to ask for one")?;
    Ok(Secret::new(pin.into_bytes()))
}

fn lower(name: &str) -> String {
    match name.strip_prefix("User") {
        Some(rest) => format!("user{rest}"),
        None => name.to_owned(),
    }
}

/// As text, which the safe face of the C ABI wants.
pub(super) fn text(pin: &Secret) -> Result<&str> {
    std::str::from_utf8(pin.expose()).map_err(|error| refuse(Code::PinInvalid, "the PIN is not UTF-8").because(error))
}
