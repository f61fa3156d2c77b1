//! A store of its own for each test, and the environment that points programs at it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Run, build_id, tools};

/// Label of the token that `Token::initialised` makes.
pub const LABEL: &str = "demo";
/// Its user PIN.
pub const PIN: &str = "123456";
/// Its security officer's PIN.
pub const SO_PIN: &str = "12345678";

/// A PKCS#11 module under test.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Module {
    /// The `.so` of this build.
    Ours,
    /// SoftHSM, whose place ours takes: what passes there must pass here.
    SoftHsm,
    /// SoftHSM with its SQLite backend, which Debian's package leaves out: built from its source.
    SoftHsmDatabase,
}

impl Module {
    /// Where the module's file is; for ours after its build id has been compared with this source tree's.
    pub fn path(self) -> PathBuf {
        match self {
            Self::Ours => build_id::module_file(),
            Self::SoftHsm => tools::file_of_package("/usr/lib/softhsm/libsofthsm2.so", "softhsm2"),
            Self::SoftHsmDatabase => tools::foreign("softhsm_db").join("libsofthsm2.so"),
        }
    }
}

/// One test's token: a directory with a store, a configuration and room for files; gone when the test has passed.
pub struct Token {
    pub module: Module,
    directory: PathBuf,
    style: Style,
}

/// Whose configuration the store has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// `softhsm2.conf`, which both modules understand.
    SoftHsm,
    /// `hsmpool.toml`, with nothing in it but where the store is.
    Hsmpool,
    /// `hsmpool.toml` that names a pool of three zones, whose nodes run on this machine.
    Pool,
}

impl Token {
    /// A store without tokens, configured by `SOFTHSM2_CONF`, which both modules understand.
    pub fn fresh(module: Module) -> Self {
        Self::configured(module, "")
    }

    /// As `fresh`, with further lines in `softhsm2.conf`.
    pub fn configured(module: Module, lines: &str) -> Self {
        let token = Self::in_new_directory(module, Style::SoftHsm);
        token.configure(lines);
        token
    }

    /// Our module with its own defaults: an `hsmpool.toml` that says only where the store is, and these further lines.
    pub fn by_default(lines: &str) -> Self {
        let token = Self::in_new_directory(Module::Ours, Style::Hsmpool);
        token.configure(lines);
        token
    }

    /// Our module over a pool that is still to be made, in the directory `pool`, and is stopped at the end.
    pub fn over_a_pool_to_be() -> Self {
        let token = Self::in_new_directory(Module::Ours, Style::Pool);
        token.configure("");
        token
    }

    /// Our module over a pool of three zones on this machine, which is stopped at the end. `more` goes to the command that makes it.
    pub fn over_a_pool(more: &str) -> Self {
        let token = Self::over_a_pool_to_be();
        token.local_pool("create --zones a,b,c").words(more).ok().says("The pool runs: 3 nodes");
        token
    }

    /// `hsmpool pool …` on the pool in this directory.
    pub fn local_pool(&self, words: &str) -> Run {
        let (name, rest) = words.split_once(' ').unwrap_or((words, ""));
        self.hsmpool("pool").args([name, "--local"]).arg(self.file("pool")).words(rest)
    }

    /// The command line of the same build.
    pub fn hsmpool(&self, words: &str) -> Run {
        self.run_file(&Module::Ours.path().with_file_name("hsmpool")).words(words)
    }

    fn in_new_directory(module: Module, style: Style) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("hsmpool-it-{}-{number}", std::process::id()));
        std::fs::create_dir_all(directory.join("tokens")).expect("the temporary directory is writable");
        Self { module, directory, style }
    }

    /// Writes the configuration anew.
    pub fn configure(&self, lines: &str) {
        let tokens = self.file("tokens");
        let text = match self.style {
            Style::SoftHsm => {
                let backend = if self.module == Module::SoftHsmDatabase { "db" } else { "file" };
                format!(
                    "directories.tokendir = {}\nobjectstore.backend = {backend}\nlog.level = ERROR\n{lines}",
                    tokens.display()
                )
            }
            Style::Hsmpool => format!("store.directory = {tokens:?}\n{lines}"),
            Style::Pool => format!("pool.file = \"pool/pool.toml\"\n{lines}"),
        };
        std::fs::write(self.configuration(), text).expect("the test directory is writable");
    }

    /// A token labelled `LABEL` with both PINs set, made by a real client.
    pub fn initialised(module: Module) -> Self {
        let token = Self::fresh(module);
        token.initialise(LABEL);
        token
    }

    /// The same over a pool, with the policy and the children of forks that a SoftHSM configuration means.
    pub fn initialised_over_a_pool() -> Self {
        let token = Self::over_a_pool("--policy compatible");
        token.configure("library.reset_on_fork = false\n");
        token.initialise(LABEL);
        token
    }

    /// Makes one more token in the store.
    pub fn initialise(&self, label: &str) {
        let module = self.module.path();
        if self.module == Module::SoftHsmDatabase {
            // softhsm2-util reads the configuration too, and Debian's knows no such backend.
            let run = || self.run("pkcs11-tool").arg("--module").arg(&module);
            run().args(["--init-token", "--slot-index", "0", "--label", label, "--so-pin", SO_PIN]).ok();
            run()
                .args(["--init-pin", "--token-label", label, "--login", "--login-type", "so"])
                .args(["--so-pin", SO_PIN, "--pin", PIN])
                .ok();
            return;
        }
        let arguments = ["--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", SO_PIN];
        self.run("softhsm2-util").arg("--module").arg(module).args(arguments).ok();
    }

    /// A path inside the test's directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).expect("the test directory is writable");
        }
        std::fs::write(&path, contents).unwrap_or_else(|error| panic!("cannot write {path:?}: {error}"));
        path
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        let path = self.file(name);
        std::fs::read(&path).unwrap_or_else(|error| panic!("cannot read {path:?}: {error}"))
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn configuration(&self) -> PathBuf {
        self.file(match self.style {
            Style::SoftHsm => "softhsm2.conf",
            Style::Hsmpool | Style::Pool => "hsmpool.toml",
        })
    }

    /// A program in the test's directory, with the store's configuration in its environment and no other.
    pub fn run(&self, program: &str) -> Run {
        self.run_file(&tools::program(program))
    }

    /// As `run`, as an ordinary user who owns the directory: what root starts is put into a user namespace of its own.
    pub fn run_as_ordinary_user(&self, program: &str) -> Run {
        // SAFETY: asks for a number and changes nothing.
        if unsafe { libc::geteuid() } == 0 {
            self.run("unshare").words("--user --map-user=1000 --map-group=1000 --").arg(tools::program(program))
        } else {
            self.run(program)
        }
    }

    /// As `run`, for a program given by its path.
    pub fn run_file(&self, program: &Path) -> Run {
        let (ours, other) = match self.style {
            Style::SoftHsm => ("SOFTHSM2_CONF", "HSMPOOL_CONF"),
            Style::Hsmpool | Style::Pool => ("HSMPOOL_CONF", "SOFTHSM2_CONF"),
        };
        Run::new(program, &self.directory)
            .env(ours, self.configuration())
            .without_env(other)
            .env("HOME", &self.directory)
            .env("LC_ALL", "C.UTF-8")
            .without_env("HSMPOOL_LOG")
            .without_env("XDG_CONFIG_HOME")
    }

    /// pkcs11-tool on this token's module.
    pub fn pkcs11_tool(&self) -> Run {
        self.run("pkcs11-tool").arg("--module").arg(self.module.path())
    }

    /// pkcs11-tool, logged in as the user of the token.
    pub fn as_user(&self) -> Run {
        self.pkcs11_tool().args(["--token-label", LABEL, "--login", "--pin", PIN])
    }

    pub fn openssl(&self, words: &str) -> Run {
        self.run("openssl").words(words)
    }

    /// An OpenSSL configuration that binds the pkcs11 engine to this token's module, as a user would write it.
    pub fn engine_configuration(&self) -> PathBuf {
        let engine = tools::file_of_package(tools::library_directory().join("engines-3/pkcs11.so"), "libengine-pkcs11-openssl");
        let text = format!(
            "openssl_conf = init\n[init]\nengines = engines\n[engines]\npkcs11 = pkcs11\n[pkcs11]\nengine_id = pkcs11\n\
             dynamic_path = {}\nMODULE_PATH = {}\ninit = 0\n[req]\ndistinguished_name = name\n[name]\n",
            engine.display(),
            self.module.path().display()
        );
        self.write("engine.cnf", text)
    }

    /// OpenSSL with that configuration.
    pub fn openssl_engine(&self, words: &str) -> Run {
        self.run("openssl").env("OPENSSL_CONF", self.engine_configuration()).words(words)
    }

    /// An RFC 7512 URI of an object on the token, with the PIN inside.
    pub fn uri(&self, object: &str, kind: &str) -> String {
        format!("pkcs11:token={LABEL};object={object};type={kind};pin-value={PIN}")
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if self.style == Style::Pool {
            self.local_pool("stop").end_somehow();
        }
        if std::thread::panicking() {
            eprintln!("the failed test's files stay in {}", self.directory.display());
        } else {
            // What cannot be removed is left to the system's own cleaning of temporary files.
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}
