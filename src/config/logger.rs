//! Where sentences for people go: the system's log, standard error, or a file. Small on purpose: a module has no business with a
//! logging framework of its own in somebody else's process.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::IntoRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

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
            let file = LogFile::open(path).doing(Code::Configuration, format!("opening the log file {}", path.display()))?;
            Box::new(move |level, line| file.add(&formatted(level, line)))
        }
    };
    Ok(Box::new(move |level, line| {
        if level <= loudest {
            write(level, line);
        }
    }))
}

/// A log file. A host may close all descriptors that it does not know, and the number of this one may then be another file's, even the store's.
struct LogFile {
    path: PathBuf,
    /// Taken out when it is dropped.
    file: Option<File>,
    /// The device and the number that it has there.
    identity: (u64, u64),
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let identity = identity(&file)?;
        Ok(Self { path: path.to_path_buf(), file: Some(file), identity })
    }

    fn own(&self) -> Option<&File> {
        self.file.as_ref().filter(|file| identity(file).is_ok_and(|now| now == self.identity))
    }

    fn add(&self, line: &str) {
        // Whom would a line be told that cannot be written?
        match self.own() {
            Some(mut file) => drop(file.write_all(line.as_bytes())),
            None => drop(OpenOptions::new().append(true).open(&self.path).and_then(|mut file| file.write_all(line.as_bytes()))),
        }
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        if self.own().is_none() {
            // The number is somebody else's to close.
            let _ = self.file.take().map(IntoRawFd::into_raw_fd);
        }
    }
}

fn identity(file: &File) -> io::Result<(u64, u64)> {
    file.metadata().map(|found| (found.dev(), found.ino()))
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
    fn a_file_that_has_the_log_s_number_by_now_gets_no_line() {
        use std::os::fd::AsRawFd;

        let name = |what: &str| std::env::temp_dir().join(format!("hsmpool-logger-{what}-{}", std::process::id()));
        let (path, other) = (name("log"), name("other"));
        let log = LogFile::open(&path).unwrap();
        std::fs::write(&other, "theirs").unwrap();
        let raw = log.file.as_ref().unwrap().as_raw_fd();
        assert!(crate::sys::process::tests::in_child(|| {
            crate::sys::process::tests::close(raw);
            let mut theirs = Vec::new();
            while theirs.last().is_none_or(|file: &File| file.as_raw_fd() < raw) {
                theirs.push(OpenOptions::new().append(true).open(&other).unwrap());
            }
            log.add("a line\n");
            drop(log);
            theirs.last().is_some_and(|file| file.as_raw_fd() == raw && file.metadata().is_ok())
        }));
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "theirs");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a line\n");
        [path, other].iter().for_each(|file| std::fs::remove_file(file).unwrap());
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
