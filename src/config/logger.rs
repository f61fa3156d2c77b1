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
        None | Some(LogTarget::Syslog) => Box::new(|level, line| syslog::tell(level, &format!("hsmpool: {}", one_line(line)))),
        Some(LogTarget::Stderr) => Box::new(|level, line| drop(std::io::stderr().write_all(formatted(level, line).as_bytes()))),
        Some(LogTarget::File(path)) => {
            let file = OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                .open(path)
                .doing(Code::Configuration, format!("opening the log file {}", path.display()))?;
            Box::new(move |level, line| drop((&file).write_all(formatted(level, line).as_bytes())))
        }
    };
    Ok(Box::new(move |level, line| {
        if level <= loudest {
            write(level, line);
        }
    }))
}

/// A whole line, so that it takes one write call: lines of several processes do not mix.
fn formatted(level: Level, line: &dyn Display) -> String {
    let word = match level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Info => "info",
        Level::Debug => "debug",
    };
    format!("hsmpool[{}] {word}: {}\n", std::process::id(), one_line(line))
}

/// Labels and file names are the application's: none of them may begin a line of its own, or speak to a terminal.
fn one_line(line: &dyn Display) -> String {
    line.to_string().chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, load};

    #[test]
    fn a_file_gets_whole_lines_of_the_wanted_levels_and_is_its_owners() {
        use std::os::unix::fs::PermissionsExt;

        let path = std::env::temp_dir().join(format!("hsmpool-logger-{}", std::process::id()));
        let mut config = load(&Environment::default()).unwrap();
        (config.log_level, config.log_target) = (Level::Info, Some(LogTarget::File(path.clone())));
        let log = sink(&config).unwrap();
        log(Level::Error, &"first");
        log(Level::Debug, &"not wanted");
        log(Level::Info, &"label \"a\nhsmpool[1] error: forged\x1b[2J\"");
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::remove_file(&path).unwrap();
        let me = std::process::id();
        let expected =
            [format!("hsmpool[{me}] error: first"), format!("hsmpool[{me}] info: label \"a?hsmpool[1] error: forged?[2J\"")];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_log_file_that_cannot_be_opened_is_named() {
        let mut config = load(&Environment::default()).unwrap();
        config.log_target = Some(LogTarget::File("/nowhere/at/all.log".into()));
        let error = sink(&config).err().unwrap();
        assert_eq!(error.code(), Code::Configuration);
        assert!(error.to_string().contains("/nowhere/at/all.log"), "{error}");
    }
}
