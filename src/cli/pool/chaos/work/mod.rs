//! Workers: applications that use the pool through the module, each a process of its own, and tell of each call.

mod changes;
mod prepare;
mod uses;

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cryptoki::context::Pkcs11;
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;

use super::dice::Dice;
use super::record::Recorder;
use crate::cli::module;
use crate::error::{Code, Doing, Result, refuse};

pub use prepare::REGISTER_LOOKERS_CLIENT;

/// PINs of the token that a rehearsal makes for itself.
const SO_PIN: &str = "chaos-so-pin";
const USER_PIN: &str = "chaos-user-pin";
/// What a worker says when its session is open and its keys are found.
pub const READY: &str = "ready";

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Makes the token and its keys
    Prepare,
    /// Uses keys, of the token and of the session
    Uses,
    /// Logs in again and again
    Logins,
    /// Makes, reads, alters and destroys objects
    Changes,
    /// Counts at the end what was acknowledged
    Check,
}

impl Role {
    /// As on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Role::Prepare => "prepare",
            Role::Uses => "uses",
            Role::Logins => "logins",
            Role::Changes => "changes",
            Role::Check => "check",
        }
    }
}

/// A worker's arguments, which the rehearsal gives.
#[derive(clap::Args)]
pub struct Arguments {
    #[arg(long)]
    role: Role,
    /// The token's label
    #[arg(long)]
    label: String,
    /// Where it tells of its calls
    #[arg(long)]
    out: PathBuf,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Its number among all workers
    #[arg(long, default_value_t = 0)]
    client: u32,
    /// Its number among those that change objects, and how many those are
    #[arg(long, default_value_t = 0)]
    own: u32,
    #[arg(long, default_value_t = 1)]
    changers: u32,
    /// When the rehearsal began, on the machine's clock
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// Mean pause between two calls
    #[arg(long, default_value_t = 2000)]
    pace_micros: u64,
    /// What to count, one to a line: name, least, most
    #[arg(long)]
    expected: Option<PathBuf>,
    /// The module
    #[arg(long)]
    module: Option<PathBuf>,
}

/// A worker at work.
struct Worker {
    arguments: Arguments,
    dice: Dice,
    recorder: Recorder,
    stop: Arc<AtomicBool>,
}

impl Worker {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Acquire)
    }

    /// Waits a moment: applications do other things too.
    fn pause(&mut self) {
        let micros = self.dice.between(0, 2 * self.arguments.pace_micros);
        std::thread::sleep(Duration::from_micros(micros));
    }
}

/// Works until standard input ends: with whoever started it.
pub fn run(arguments: Arguments) -> Result<()> {
    let path = arguments.module.clone().map_or_else(module::own, Ok)?;
    let pkcs11 = module::open(&path)?;
    if arguments.role == Role::Prepare {
        return prepare::prepare(&pkcs11, &arguments.label);
    }
    let session = user_session(&pkcs11, &arguments.label)?;
    let stop = Arc::new(AtomicBool::new(false));
    let (dice, recorder) =
        (Dice::new(arguments.seed, 1000 + u64::from(arguments.client)), Recorder::create(&arguments.out, arguments.client)?);
    let mut worker = Worker { arguments, dice, recorder, stop: stop.clone() };
    let role = worker.arguments.role;
    if role != Role::Check {
        std::thread::spawn(move || {
            // An error is an end, too.
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            stop.store(true, Ordering::Release);
        });
    }
    match role {
        Role::Uses => uses::use_keys(&mut worker, &session)?,
        Role::Logins => uses::log_in(&mut worker, &session)?,
        Role::Changes => changes::work(&mut worker, &session)?,
        Role::Check | Role::Prepare => prepare::check(&mut worker, &session)?,
    }
    worker.recorder.flush()
}

fn user_session(pkcs11: &Pkcs11, label: &str) -> Result<Session> {
    const DOING: &str = "opening a session with the rehearsal's token";
    for slot in pkcs11.get_slots_with_initialized_token().doing(Code::FunctionFailed, DOING)? {
        if pkcs11.get_token_info(slot).doing(Code::FunctionFailed, DOING)?.label() == label {
            let session = pkcs11.open_rw_session(slot).doing(Code::FunctionFailed, DOING)?;
            session.login(UserType::User, Some(&pin(USER_PIN))).doing(Code::FunctionFailed, "logging in")?;
            return Ok(session);
        }
    }
    Err(refuse(Code::TokenNotPresent, format!("the pool shows no token {label}")))
}

fn pin(text: &str) -> AuthPin {
    AuthPin::new(text.to_string().into())
}
