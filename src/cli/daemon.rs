//! `hsmpoold`: runs one node until it is told to stop.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::node_check::{self, Depth};
use super::told::{Ended, finish, sentence, tell};
use crate::assemble;
use crate::config::pool::NodeFile;
use crate::error::{Code, Doing, Level, Result, Sink, refuse};
use crate::node::Node;
use crate::sys::process;

/// hsmpoold: one node of a replicated HSM pool
#[derive(Parser)]
#[command(
    name = "hsmpoold",
    version,
    after_help = "Examples:\n  hsmpoold --config /etc/hsmpool/hsmpoold.toml --check --json\n  hsmpoold --config /etc/hsmpool/hsmpoold.toml\n\n\
                  Signals: SIGTERM stops it (clients are sent elsewhere, leadership is handed over, answers go out), SIGHUP reads the certificate\n\
                  files again. Log lines go to standard error.\n\n\
                  Exit codes: 0 stopped as asked, 1 refused or failed (the reason is on standard error), 2 the command line is wrong."
)]
pub(super) struct Arguments {
    /// The node's configuration file
    #[arg(long, default_value = "/etc/hsmpool/hsmpoold.toml")]
    config: PathBuf,
    /// Says what is wrong with configuration, certificate, permissions, root key and addresses, and ends; `hsmpool node check` reads the database too
    #[arg(long)]
    check: bool,
    /// What --check finds is printed as JSON
    #[arg(long, requires = "check")]
    json: bool,
}

pub(super) fn main(arguments: &[OsString]) -> ExitCode {
    let arguments = Arguments::parse_from(arguments);
    let done = match arguments.check {
        true => check(&arguments.config, arguments.json),
        false => run(&arguments).map(|()| Ended::Well),
    };
    finish("hsmpoold", arguments.json, done)
}

fn run(arguments: &Arguments) -> Result<()> {
    let file = NodeFile::read(&arguments.config)?;
    process::keep_memory_private().doing(Code::Configuration, "keeping the process's memory private")?;
    // Before the first thread, so that none of them is interrupted.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).doing(Code::HostMemory, "waiting for signals")?;
    let node = Arc::new(assemble::node(&file)?);
    let failed = Arc::new(AtomicBool::new(false));
    watch(&node, &failed, signals.handle())?;
    // Where there is no systemd nobody listens, and nothing is lost.
    let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Ready]);
    eprintln!("hsmpoold: node {} of zone {} serves {}", file.node, file.zone, places(&node));
    for signal in signals.forever() {
        match signal {
            SIGHUP => match node.read_certificates() {
                Ok(()) => eprintln!("hsmpoold: the certificates were read again"),
                Err(error) => eprintln!("hsmpoold: the old certificates stay: {}", sentence(&error)),
            },
            _ => break,
        }
    }
    let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Stopping]);
    node.stop();
    match failed.load(Ordering::Acquire) {
        true => Err(refuse(Code::DeviceError, "the node's log or store failed: it must be started anew")),
        false => Ok(()),
    }
}

/// What `hsmpool node check` looks at, but for the database, which is the daemon's while it runs.
fn check(config: &Path, as_json: bool) -> Result<Ended> {
    let rows = node_check::check(config, Depth::WithoutStore);
    let text: Vec<String> = rows.iter().map(node_check::line).collect();
    tell(as_json, text.join("\n"), &node_check::value(config, &rows));
    match node_check::can_run(&rows) {
        true => Ok(Ended::Well),
        // A program gets one value, as of `hsmpool node check`.
        false if as_json => Ok(Ended::Failed),
        false => Err(refuse(Code::Configuration, format!("with {} the node cannot run", config.display()))),
    }
}

fn places(node: &Node) -> String {
    node.addresses().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Events to standard error; the watchdog is fed; a node whose log failed ends, so that a supervisor starts it anew.
fn watch(node: &Arc<Node>, failed: &Arc<AtomicBool>, signals: signal_hook::iterator::Handle) -> Result<()> {
    let log: Sink = Box::new(|level, line| {
        if level <= Level::Info {
            eprintln!("hsmpoold: {line}");
        }
    });
    let (weak, failed) = (Arc::downgrade(node), failed.clone());
    node.watch(log, move || {
        let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Watchdog]);
        let Some(node) = weak.upgrade() else { return };
        node.take_renewed();
        if node.poisoned().is_some() && !failed.swap(true, Ordering::AcqRel) {
            signals.close();
        }
    })
}
