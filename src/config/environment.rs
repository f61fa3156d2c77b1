//! What the configuration depends on besides its file, as a value: variables, the home directory, who runs the process.

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;

use super::Style;
use crate::sys::user;

/// What the configuration depends on.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `HSMPOOL_CONF`.
    pub hsmpool_conf: Option<PathBuf>,
    /// `SOFTHSM2_CONF`.
    pub softhsm2_conf: Option<PathBuf>,
    /// `HSMPOOL_LOG`: a level, over what the file says; to standard error unless the file names a target.
    pub hsmpool_log: Option<String>,
    /// `HOME`, or the home directory of the password file.
    pub home: Option<PathBuf>,
    /// Whether the process runs as root.
    pub root: bool,
    /// `/etc`, elsewhere in tests.
    pub etc: PathBuf,
}

/// A configuration file, and how it was found.
pub(super) struct Found {
    pub path: PathBuf,
    pub style: Style,
    /// The variable that names it.
    pub variable: Option<&'static str>,
}

impl Environment {
    /// This process's own.
    ///
    /// A program that runs with more rights than its caller (set-user-id, file capabilities) heeds no variable: the caller could
    /// otherwise have it write its log over any file, or use a store of the caller's.
    pub fn of_process() -> Self {
        match user::has_raised_rights() {
            true => Self::of_variables(|_| None),
            false => Self::of_variables(|name| std::env::var_os(name)),
        }
    }

    fn of_variables(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        // SoftHSM takes an empty HOME for none; the others are treated alike.
        let set = |name| variable(name).filter(|value| !value.is_empty());
        Self {
            hsmpool_conf: set("HSMPOOL_CONF").map(PathBuf::from),
            softhsm2_conf: set("SOFTHSM2_CONF").map(PathBuf::from),
            hsmpool_log: set("HSMPOOL_LOG").map(|level| level.to_string_lossy().into_owned()),
            home: set("HOME").map(PathBuf::from).or_else(user::home_of_password_file),
            root: user::is_root(),
            etc: PathBuf::from("/etc"),
        }
    }

    /// Where the store is when nothing says: `/var/lib/hsmpool` for root, `~/.local/share/hsmpool` for others.
    pub(super) fn default_store(&self) -> PathBuf {
        match &self.home {
            Some(home) if !self.root => home.join(".local/share/hsmpool"),
            _ => PathBuf::from("/var/lib/hsmpool"),
        }
    }

    /// The configuration file that counts. One that a variable names counts even if it is not there: the error then says so.
    pub(super) fn find(&self) -> Option<Found> {
        let in_home = |path| self.home.as_ref().map(|home| home.join(path));
        let named =
            |path: &Option<PathBuf>, style, variable| path.clone().map(|path| Found { path, style, variable: Some(variable) });
        let placed = |path: Option<PathBuf>, style| {
            let counts = |path: &PathBuf| match style {
                Style::Hsmpool => path.is_file(),
                // SoftHSM passes over what it may not read; Debian's own file is for the group softhsm only.
                Style::SoftHsm => path.is_file() && File::open(path).is_ok(),
            };
            path.filter(counts).map(|path| Found { path, style, variable: None })
        };
        named(&self.hsmpool_conf, Style::Hsmpool, "HSMPOOL_CONF")
            .or_else(|| placed(in_home(".config/hsmpool/hsmpool.toml"), Style::Hsmpool))
            .or_else(|| placed(Some(self.etc.join("hsmpool/hsmpool.toml")), Style::Hsmpool))
            .or_else(|| named(&self.softhsm2_conf, Style::SoftHsm, "SOFTHSM2_CONF"))
            .or_else(|| placed(in_home(".config/softhsm2/softhsm2.conf"), Style::SoftHsm))
            .or_else(|| placed(Some(self.etc.join("softhsm/softhsm2.conf")), Style::SoftHsm))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_variables_are_as_if_unset() {
        let environment = Environment::of_variables(|_| Some(OsString::new()));
        assert_eq!((environment.hsmpool_conf, environment.softhsm2_conf, environment.hsmpool_log), (None, None, None));
        assert_eq!(environment.home, user::home_of_password_file());
        let environment = Environment::of_variables(|name| Some(name.into()));
        assert_eq!(environment.hsmpool_conf, Some("HSMPOOL_CONF".into()));
        assert_eq!(environment.softhsm2_conf, Some("SOFTHSM2_CONF".into()));
        assert_eq!(environment.hsmpool_log, Some("HSMPOOL_LOG".into()));
        assert_eq!(environment.home, Some("HOME".into()));
    }
}
