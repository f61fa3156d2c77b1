//! Where sentences for people go: the system's log, standard error, or a file. Small on purpose: a module has no business with a
//! logging framework of its own in somebody else's process.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use super::{Config, LogTarget};
use crate::error::{Code, Doing, Level, Result, Sink};
use crate::sys::syslog;

/// The sink that the configuration asks for. A line that cannot be written is lost: nothing else could be told of it.
///
/// Errors: `Configuration` when the log file cannot be opened.
pub fn sink(config: &Config) -> Result<Sink> {
    let loudest = config.log_level;
    let write: Sink = match &config.log_target {
        LogTarget::Syslog => Box::new(|level, line| syslog::tell(level, &format!("hsmpool: {line}"))),
        LogTarget::Stderr => Box::new(|level, line| drop(writeln!(std::io::stderr(), "{}", formatted(level, line)))),
        LogTarget::File(path) => {
            let file = OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                .open(path)
                .doing(Code::Configuration, format!("opening the log file {}", path.display()))?;
            // One write call a line: lines of several processes do not mix.
            Box::new(move |level, line| drop((&file).write_all(format!("{}\n", formatted(level, line)).as_bytes())))
        }
    };
    Ok(Box::new(move |level, line| {
        if level <= loudest {
            write(level, line);
        }
    }))
}

fn formatted(level: Level, line: &dyn Display) -> String {
    let word = match level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Info => "info",
        Level::Debug => "debug",
    };
    format!("hsmpool[{}] {word}: {line}", std::process::id())
}
