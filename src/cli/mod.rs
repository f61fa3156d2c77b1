//! The command line: one file a command.
//!
//! Knows: assemble, ck, config, error, history, limits, log, mechanism, node, object, partition, secret, store, sys, token, wire, world.
//! Crates: clap, clap_complete, cryptoki, parking_lot, pkcs8, rpassword, rustls, sd-notify, serde_json, signal-hook.

mod check;
mod config_show;
mod confirm;
mod daemon;
mod docs;
mod import_softhsm;
mod keyconv;
mod mechanisms;
mod module;
mod node_check;
mod pem;
mod pin;
mod pool;
mod progress;
mod token;
mod told;
mod util;
mod util_import;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::sys::process;
use told::{EXIT_CODES, Ended, finish, say, sentence};

/// hsmpool: a PKCS#11 token, embedded in the applications that load libhsmpool.so
#[derive(Parser)]
#[command(
    name = "hsmpool",
    version,
    after_help = format!(
        "Examples:\n  hsmpool demo\n  hsmpool token init --label demo\n  hsmpool import-softhsm /var/lib/softhsm/tokens\n  \
           hsmpool pool create --local /tmp/pool --zones a,b,c\n  hsmpool pool status --dir /tmp/pool\n\n{EXIT_CODES}"
    )
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
    /// Checks a node of a pool
    Node(node_check::Arguments),
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
    /// A line between zones of a rehearsal
    #[command(hide = true)]
    ChaosLine(pool::chaos::LineArguments),
    /// Shows what the pool is for: a zone is killed and comes back while an application signs, and no call fails
    Demo(pool::demo::Arguments),
    /// The application of the demonstration
    #[command(hide = true)]
    DemoWorker(pool::demo::WorkArguments),
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
    #[command(after_help = "Example: hsmpool completions bash > ~/.local/share/bash-completion/completions/hsmpool")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Takes softhsm2-util's place: every flag, the same output lines (also when called by that name)
    #[command(
        name = "softhsm2-util",
        disable_help_flag = true,
        after_help = "Example: hsmpool softhsm2-util --init-token --free --label demo --so-pin 12345678 --pin 123456"
    )]
    SoftHsm2Util {
        /// softhsm2-util's own arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Takes softhsm2-keyconv's place: BIND .private files to PKCS#8 (also when called by that name)
    #[command(
        name = "softhsm2-keyconv",
        disable_help_flag = true,
        after_help = "Example: hsmpool softhsm2-keyconv --in Kexample.org.+013+12345.private --out key.pem"
    )]
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
    let command = Arguments::parse_from(&arguments).command;
    let as_json = command.answers_in_json();
    let done = match command {
        Command::Token(arguments) => token::run(arguments),
        Command::Pool(arguments) => return finish("hsmpool", as_json, pool::run(arguments)),
        Command::Node(arguments) => return finish("hsmpool", as_json, node_check::run(&arguments)),
        Command::Demo(arguments) => return finish("hsmpool", as_json, pool::demo::run(&arguments)),
        Command::DemoWorker(arguments) => pool::demo::work(&arguments),
        Command::Cert(arguments) => pool::cert::run(arguments),
        Command::Chaos(arguments) => pool::chaos::run(&arguments),
        Command::ChaosWorker(arguments) => pool::chaos::run_worker(arguments),
        Command::ChaosLine(arguments) => pool::chaos::run_line(&arguments),
        Command::ImportSofthsm(arguments) => import_softhsm::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Mechanisms(arguments) => mechanisms::run(&arguments),
        Command::Config(arguments) => config_show::run(&arguments),
        Command::Docs(arguments) => docs::run(&arguments),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut self::Arguments::command(), "hsmpool", &mut script);
            say(String::from_utf8_lossy(&script).trim_end());
            Ok(())
        }
        Command::SoftHsm2Util { arguments } => return util::main(&arguments),
        Command::SoftHsm2Keyconv { arguments } => return keyconv::main(&arguments),
    };
    finish("hsmpool", as_json, done.map(|()| Ended::Well))
}

impl Command {
    /// Whether `--json` was given to a command that answers so. `chaos --json FILE` names a file for its report.
    fn answers_in_json(&self) -> bool {
        match self {
            Command::Token(arguments) => arguments.json,
            Command::Pool(arguments) => arguments.json,
            Command::Node(arguments) => arguments.json,
            Command::Cert(arguments) => arguments.json,
            Command::Demo(arguments) => arguments.json,
            Command::ImportSofthsm(arguments) => arguments.json,
            Command::Check(arguments) => arguments.json,
            Command::Mechanisms(arguments) => arguments.json,
            Command::Config(arguments) => arguments.json,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every command below these that has none of its own below it.
    fn leaves(command: &clap::Command, path: &str, into: &mut Vec<(String, clap::Command)>) {
        let path = format!("{path} {}", command.get_name());
        match command.get_subcommands().count() {
            0 => into.push((path.trim().to_string(), command.clone())),
            _ => command.get_subcommands().for_each(|below| leaves(below, &path, into)),
        }
    }

    fn all() -> Vec<(String, clap::Command)> {
        let mut command = Arguments::command();
        // Hands options that hold everywhere down to the commands below.
        command.build();
        let mut found = Vec::new();
        leaves(&command, "", &mut found);
        found
    }

    #[test]
    fn every_command_that_answers_can_answer_in_json_and_shows_an_example() {
        let mut seen = 0;
        for (path, command) in all() {
            let of_a_group = ["token", "pool", "node", "cert"].iter().any(|group| path.starts_with(&format!("hsmpool {group} ")));
            if !(of_a_group || path == "hsmpool demo") || path.ends_with(" help") || path.contains(" help ") {
                continue;
            }
            assert!(command.get_arguments().any(|argument| argument.get_long() == Some("json")), "{path} has no --json");
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example") && help.contains(&path), "{path} shows no example of itself: {help}");
            seen += 1;
        }
        assert!(seen >= 17, "{seen} commands");
        let has_json = |command: &clap::Command| command.get_arguments().any(|argument| argument.get_long() == Some("json"));
        for name in ["check", "config", "mechanisms", "import-softhsm"] {
            let all = Arguments::command();
            assert!(all.find_subcommand(name).is_some_and(has_json), "{name} has no --json");
        }
        assert!(has_json(&daemon::Arguments::command()), "hsmpoold --check has no --json");
        let parsed = |line: &str| daemon::Arguments::try_parse_from(line.split(' ')).map(drop).map_err(|error| error.exit_code());
        assert_eq!(parsed("hsmpoold --check --json"), Ok(()));
        assert_eq!(parsed("hsmpoold --json"), Err(2), "a node that runs answers nothing");
    }

    #[test]
    fn every_command_and_group_that_is_shown_has_an_example() {
        fn look(command: &clap::Command, bare: &mut Vec<String>) {
            for below in command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help") {
                let help = below.get_after_help().map(ToString::to_string).unwrap_or_default();
                if !help.contains("Example") {
                    bare.push(below.get_name().to_string());
                }
                look(below, bare);
            }
        }
        let mut bare = Vec::new();
        look(&Arguments::command(), &mut bare);
        assert_eq!(bare, Vec::<String>::new());
    }

    #[test]
    fn json_is_answered_where_it_is_asked_for() {
        for (line, expected) in [
            ("token list --json", true),
            ("token --json list", true),
            ("pool status --dir pool --json", true),
            ("pool status --dir pool", false),
            ("cert rotate --dir pool --json", true),
            ("node check --json", true),
            ("config --json", true),
            ("docs configuration", false),
            ("chaos zone-back --json report.json", false),
        ] {
            let words = std::iter::once("hsmpool").chain(line.split(' '));
            assert_eq!(Arguments::try_parse_from(words).unwrap().command.answers_in_json(), expected, "{line}");
        }
        let parsed = |line: &str| Arguments::try_parse_from(line.split(' ')).map(drop).map_err(|error| error.exit_code());
        assert_eq!(parsed("hsmpool cert issue --dir pool --operator bob --token web"), Err(2), "an operator is held to no token");
        assert_eq!(parsed("hsmpool cert issue --dir pool --client bob --token web"), Ok(()));
        assert_eq!(parsed("hsmpool cert rotate --dir pool --client web --operator bob"), Err(2));
        assert_eq!(parsed(&format!("hsmpool token init --label {}", "x".repeat(33))), Err(2));
    }

    #[test]
    fn the_command_line_fits_together() {
        Arguments::command().debug_assert();
    }
}
