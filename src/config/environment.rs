//! What the configuration depends on besides its file, as a value: variables, the home directory, who runs the process.

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;

use parking_lot::Mutex;

use super::Style;
use crate::sys::process::ForkWord;
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
    /// Whether the process runs as root, or did so when its parent was asked (see [`Environment::of_process`]).
    pub root: bool,
    /// `/etc`, elsewhere in tests.
    pub etc: PathBuf,
    /// The four variables that were read, as they are: what a forked child is compared by.
    pub variables: [Option<OsString>; 4],
}

/// What [`Environment::of_process`] reads.
const VARIABLES: [&str; 4] = ["HSMPOOL_CONF", "SOFTHSM2_CONF", "HSMPOOL_LOG", "HOME"];

/// Which of them is the home: the last one.
const HOME: usize = 3;

/// What was read last in this process, or in the one that forked it.
static SEEN: Mutex<Option<Seen>> = Mutex::new(None);

struct Seen {
    by: ForkWord,
    environment: Environment,
    /// Whether it is the parent's.
    is_inherited: bool,
}

impl Seen {
    /// What counts: `own`, or what the parent has seen, in a child whose variables are the same or all gone. Keeps it for children.
    fn keep(seen: &mut Option<Self>, own: Environment) -> Environment {
        let counts = |parent: &Environment| {
            // Who becomes another user may well have that one's home.
            let last = if parent.root && !own.root { HOME } else { VARIABLES.len() };
            let (own, parent) = (&own.variables[..last], &parent.variables[..last]);
            own.iter().all(Option::is_none) || own == parent
        };
        let is_of_parent = |seen: &Self| seen.is_inherited || !seen.by.same_process();
        let of_parent = seen.take().filter(|seen| is_of_parent(seen) && counts(&seen.environment));
        let is_inherited = of_parent.is_some();
        let environment = of_parent.map_or(own, |parent| parent.environment);
        *seen = Some(Self { by: ForkWord::new(), environment: environment.clone(), is_inherited });
        environment
    }
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
    ///
    /// A forked child that has none of the variables, or the same, has its parent's: servers clear the environment of their workers (nginx does), have them
    /// serve as another user, and in another directory, and a worker that initialises the module anew means the token that its master has found.
    pub fn of_process() -> Self {
        let own = Self::of_variables(|name| std::env::var_os(name).filter(|_| !user::has_raised_rights()));
        SEEN.try_lock().map_or_else(|| own.clone(), |mut seen| Seen::keep(&mut seen, own.clone()))
    }

    fn of_variables(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        // SoftHSM takes an empty HOME for none; the others are treated alike.
        let set = |name| variable(name).filter(|value| !value.is_empty());
        // The child of a process that is elsewhere by now means the same file.
        let file = |name| set(name).map(|path| std::path::absolute(&path).unwrap_or_else(|_| path.into()));
        Self {
            hsmpool_conf: file("HSMPOOL_CONF"),
            softhsm2_conf: file("SOFTHSM2_CONF"),
            hsmpool_log: set("HSMPOOL_LOG").map(|level| level.to_string_lossy().into_owned()),
            home: set("HOME").map(PathBuf::from).or_else(user::home_of_password_file),
            root: user::is_root(),
            etc: PathBuf::from("/etc"),
            variables: VARIABLES.map(variable),
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
    use crate::sys::process::tests::in_child;

    #[test]
    fn empty_variables_are_as_if_unset() {
        let environment = Environment::of_variables(|_| Some(OsString::new()));
        assert_eq!((environment.hsmpool_conf, environment.softhsm2_conf, environment.hsmpool_log), (None, None, None));
        assert_eq!(environment.home, user::home_of_password_file());
        let environment = Environment::of_variables(|name| Some(name.into()));
        let here = |name| std::env::current_dir().ok().map(|here| here.join(name));
        assert_eq!(environment.hsmpool_conf, here("HSMPOOL_CONF"));
        assert_eq!(environment.softhsm2_conf, here("SOFTHSM2_CONF"));
        assert_eq!(environment.hsmpool_log, Some("HSMPOOL_LOG".into()));
        assert_eq!(environment.home, Some("HOME".into()));
    }

    #[test]
    fn a_child_with_its_parents_variables_or_none_means_its_parents_files() {
        let named = |name: &str| {
            let conf = |variable: &str| (variable == "HSMPOOL_CONF").then(|| name.into());
            Environment { hsmpool_conf: Some(name.into()), root: name == "parent", ..Environment::of_variables(conf) }
        };
        let cleared = || Environment::of_variables(|_| None);
        let mut seen = None;
        Seen::keep(&mut seen, named("first"));
        Seen::keep(&mut seen, named("parent"));
        let mut in_a_child = |own: Environment, expected: &str| {
            in_child(|| {
                let is_kept =
                    |kept: Environment| kept.hsmpool_conf == Some(expected.into()) && kept.root == (expected == "parent");
                // The second time as well.
                is_kept(Seen::keep(&mut seen, own.clone())) && is_kept(Seen::keep(&mut seen, own))
            })
        };
        assert!(in_a_child(cleared(), "parent"));
        // Elsewhere, and somebody else.
        let moved = Environment { hsmpool_conf: Some("/elsewhere/parent".into()), root: false, ..named("parent") };
        assert!(in_a_child(moved, "parent"));
        assert!(in_a_child(named("own"), "own"), "another one was set: it is meant");
        assert_eq!(Seen::keep(&mut seen, cleared()).hsmpool_conf, None, "nobody forked");
    }
}
