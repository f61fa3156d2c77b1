//! The command line: one file a command.
//!
//! Knows: assemble, ck, config, error, history, limits, log, mechanism, node, object, partition, secret, store, sys, token, wire, world.
//! Crates: clap, clap_complete, cryptoki, pkcs8, rpassword, sd-notify, serde_json, signal-hook.

mod check;
mod config_show;
mod confirm;
mod daemon;
mod docs;
mod import_softhsm;
mod keyconv;
mod mechanisms;
mod module;
mod pem;
mod pin;
mod pool;
mod token;
mod util;
mod util_import;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::error::{Error, Result};
use crate::sys::process;

/// hsmpool: a PKCS#11 token, embedded in the applications that load libhsmpool.so
#[derive(Parser)]
#[command(
    name = "hsmpool",
    version,
    after_help = "Examples:\n  hsmpool token init --label demo\n  hsmpool softhsm2-util --show-slots\n  hsmpool import-softhsm /var/lib/softhsm/tokens\n  hsmpool check\n\n\
                  Exit codes: 0 done, 1 refused or failed (the reason is on standard error), 2 the command line is wrong."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lists, makes, deletes tokens and sets their PINs
    Token(token::Arguments),
    /// Makes a replicated pool, shows it, changes it
    Pool(pool::Arguments),
    /// Issues and renews certificates of a pool's authority
    Cert(pool::cert::Arguments),
    /// Rehearses the loss of zones on a local pool, under load, and tells what the applications noticed
    #[command(
        after_help = "Examples:\n  hsmpool chaos zone-back\n  hsmpool chaos leader-lost --seed 7 --seconds 30 --html report.html\n  sudo hsmpool chaos all --namespaces --json -\n\n\
                      Exit codes: 0 no call failed, nothing acknowledged was lost or doubled, and what was seen is linearizable; 1 otherwise."
    )]
    Chaos(pool::chaos::Arguments),
    /// An application of a rehearsal
    #[command(hide = true)]
    ChaosWorker(pool::chaos::WorkArguments),
    /// Brings SoftHSM's tokens over, with all attributes, serial numbers and PINs
    ImportSofthsm(import_softhsm::Arguments),
    /// Reads the whole store and checks that it fits together
    Check(check::Arguments),
    /// Lists the mechanisms that are offered
    Mechanisms(mechanisms::Arguments),
    /// Shows which configuration file is read, and what holds
    Config(config_show::Arguments),
    /// Prints reference documentation that is made from the code's own tables
    Docs(docs::Arguments),
    /// Prints a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Takes softhsm2-util's place: every flag, the same output lines (also when called by that name)
    #[command(name = "softhsm2-util", disable_help_flag = true)]
    SoftHsm2Util {
        /// softhsm2-util's own arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Takes softhsm2-keyconv's place: BIND .private files to PKCS#8 (also when called by that name)
    #[command(name = "softhsm2-keyconv", disable_help_flag = true)]
    SoftHsm2Keyconv {
        /// softhsm2-keyconv's own arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

/// Runs `hsmpoold` with its arguments (the program's name first).
pub fn daemon(arguments: Vec<OsString>) -> ExitCode {
    daemon::main(&arguments)
}

/// Runs the command that the arguments (the program's name first) ask for.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    process::end_at_closed_pipes();
    let name = arguments.first().map(Path::new).and_then(Path::file_name).unwrap_or_default();
    if name == "softhsm2-util" {
        return util::main(&arguments[1..]);
    }
    if name == "softhsm2-keyconv" {
        return keyconv::main(&arguments[1..]);
    }
    let done = match Arguments::parse_from(&arguments).command {
        Command::Token(arguments) => token::run(arguments),
        Command::Pool(arguments) => pool::run(arguments),
        Command::Cert(arguments) => pool::cert::run(arguments),
        Command::Chaos(arguments) => pool::chaos::run(&arguments),
        Command::ChaosWorker(arguments) => pool::chaos::run_worker(arguments),
        Command::ImportSofthsm(arguments) => import_softhsm::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Mechanisms(arguments) => mechanisms::run(&arguments),
        Command::Config(arguments) => config_show::run(&arguments),
        Command::Docs(arguments) => docs::run(&arguments),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut self::Arguments::command(), "hsmpool", &mut std::io::stdout());
            Ok(())
        }
        Command::SoftHsm2Util { arguments } => return util::main(&arguments),
        Command::SoftHsm2Keyconv { arguments } => return keyconv::main(&arguments),
    };
    finish(done)
}

fn finish(done: Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hsmpool: {}", sentence(&error));
            ExitCode::FAILURE
        }
    }
}

fn sentence(error: &Error) -> String {
    format!("{error} ({})", error.code())
}
