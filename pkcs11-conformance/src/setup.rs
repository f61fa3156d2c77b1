//! The suite's own token: made in a child process, because some modules show a new token only to the next one.

use std::time::{SystemTime, UNIX_EPOCH};

use cryptoki_sys::{CK_ULONG, CK_USER_TYPE, CKU_SO};

use crate::case::Stop;
use crate::ck;
use crate::context::{Context, Settings};
use crate::module::Rv;
use crate::run::{Plan, SETTINGS_VARIABLE};

/// Makes a token with a label that no other run has, and points the plan at it.
pub fn make_token(plan: &mut Plan) -> Result<(), String> {
    let moment = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() % 100_000_000;
    plan.settings.token_label = format!("conformance-{}-{moment}", std::process::id());
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = plan.start(&program, &["__setup"])?.wait_with_output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match output.status.code() {
        Some(0) => Ok(()),
        Some(UNUSABLE) => Err(format!("the module cannot be used: {said}")),
        _ => Err(format!("no token could be made on the module ({said}): name one by --token-label, with --so-pin and --pin")),
    }
}

/// The child's exit code where the module does not load or initialise: another token would not help.
const UNUSABLE: i32 = 2;

/// The child's side. Returns the exit code.
pub fn child() -> i32 {
    let settings = std::env::var(SETTINGS_VARIABLE).map_err(|error| error.to_string());
    let settings = settings.and_then(|text| serde_json::from_str::<Settings>(&text).map_err(|error| error.to_string()));
    let context = match settings.and_then(Context::new) {
        Ok(context) => context,
        Err(reason) => return told(&reason, UNUSABLE),
    };
    match context.initialize() {
        Rv::OK => {}
        rv => return told(&format!("C_Initialize answered {rv}"), UNUSABLE),
    }
    match make(&context) {
        Ok(()) => 0,
        Err(Stop::Fail(reason) | Stop::Skip(reason) | Stop::Deviation(reason)) => told(&reason, 1),
    }
}

fn told(reason: &str, code: i32) -> i32 {
    println!("{reason}");
    code
}

fn make(context: &Context) -> Result<(), Stop> {
    let slot = context.spare_slot()?;
    init_token(context, slot, &context.settings.token_label)
}

/// `C_InitToken`, then the user's PIN.
pub fn init_token(context: &Context, slot: u64, label: &str) -> Result<(), Stop> {
    let mut padded = [b' '; 32];
    padded[..label.len().min(32)].copy_from_slice(&label.as_bytes()[..label.len().min(32)]);
    let mut so_pin = context.settings.so_pin.clone().into_bytes();
    let rv = ck!(context.module, C_InitToken, slot, so_pin.as_mut_ptr(), so_pin.len() as CK_ULONG, padded.as_mut_ptr());
    context.ok(rv, "C_InitToken")?;
    // The slot's number may have changed with the token: look for the label.
    let slot = context.slot_labelled(label)?.unwrap_or(slot);
    let session = context.session_on(slot, true)?;
    context.ok(session.login(CKU_SO as CK_USER_TYPE, &context.settings.so_pin), "C_Login as SO")?;
    let mut pin = context.settings.pin.clone().into_bytes();
    let rv = ck!(context.module, C_InitPIN, session.handle, pin.as_mut_ptr(), pin.len() as CK_ULONG);
    context.ok(rv, "C_InitPIN")?;
    match session.logout() {
        Rv::OK => Ok(()),
        rv => Err(Stop::Fail(format!("C_Logout answered {rv}"))),
    }
}
