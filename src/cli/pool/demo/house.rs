//! Where a demonstration takes place: its files, its pool and its application, all of which are gone when it is dropped.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::tool::{self, Tool};
use super::unhex;
use crate::cli::module;
use crate::cli::pool::layout::Layout;
use crate::cli::pool::reach::Operator;
use crate::cli::pool::{create, local};
use crate::config::PolicyName;
use crate::error::{Code, Doing, Result, refuse};
use crate::sys::process::{Signal, signal};

/// How long the token and its key may take to be made.
const MAKING: Duration = Duration::from_secs(60);
/// How long the application may take to end when it is asked to.
pub const ENDING: Duration = Duration::from_secs(40);
/// How long a killed process may take to be gone: it must not write into a directory that is being removed.
const DYING: Duration = Duration::from_secs(5);
pub const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// The module reads its configuration from the file that this names.
pub const CONFIGURATION: &str = "HSMPOOL_CONF";

/// See the room's sentence.
pub struct House {
    pub directory: PathBuf,
    /// The module that the application loads.
    pub module: PathBuf,
    keeps: bool,
    layout: Option<Layout>,
    application: Option<Child>,
    pub tool: Option<Tool>,
}

impl House {
    /// In a directory that stays, or in a temporary one. Errors: `Configuration`.
    pub fn build(kept: Option<&Path>) -> Result<Self> {
        let module = module::own()?;
        let directory = match kept {
            Some(directory) => directory.to_path_buf(),
            None => std::env::temp_dir().join(format!("hsmpool-demo-{}", std::process::id())),
        };
        let doing = || format!("making {}", directory.display());
        if fs::read_dir(&directory).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(refuse(Code::Configuration, format!("{} is not empty: name a new directory", directory.display())));
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).doing(Code::Configuration, doing())?;
        let directory = directory.canonicalize().doing(Code::Configuration, doing())?;
        Ok(Self { directory, module, keeps: kept.is_some(), layout: None, application: None, tool: None })
    }

    /// A token in an embedded store, with a key; returns its public point.
    pub fn make_token(&self) -> Result<Vec<u8>> {
        let (store, configuration) = (self.directory.join("store"), self.directory.join("hsmpool.toml"));
        let text = format!("# The embedded token that the pool was grown from.\nstore.directory = {store:?}\n");
        fs::write(&configuration, text).doing(Code::Configuration, format!("writing {}", configuration.display()))?;
        let mut child = self.start("make", &configuration)?;
        wait(&mut child, MAKING, "the token and its key to be made")?;
        let output = child.wait_with_output().doing(Code::FunctionFailed, "reading what the application says")?;
        let told: serde_json::Value = serde_json::from_slice(&output.stdout)
            .doing(Code::FunctionFailed, format!("making the token failed; {} says why", self.log().display()))?;
        Ok(unhex(told["point"].as_str().unwrap_or_default()))
    }

    /// The store becomes a pool of three zones, and runs.
    pub fn grow(&mut self, zones: &[String]) -> Result<Layout> {
        let directory = self.directory.join("pool");
        let store = self.directory.join("store");
        let plan = create::Plan {
            zones: zones.to_vec(),
            addresses: Vec::new(),
            from: Some(store),
            root_key_file: None,
            policy: PolicyName::Default,
        };
        let (layout, _) = create::begin(&directory, &plan, true)?;
        // From here on there are processes to be ended.
        self.layout = Some(layout.clone());
        for node in layout.nodes()? {
            local::start_one(&layout, &node)?;
        }
        create::form(&layout, &Operator::of(&layout)?)?;
        Ok(layout)
    }

    /// Starts the application on the pool.
    pub fn start_application(&mut self) -> Result<&mut Child> {
        let child = self.start("work", &self.directory.join("pool/hsmpool.toml"))?;
        Ok(self.application.insert(child))
    }

    /// Starts the second application, if there is one, on the pool and the key with this public point.
    pub fn start_tool(&mut self, point: &[u8]) -> Result<Option<&Tool>> {
        let configuration = self.directory.join("pool/hsmpool.toml");
        self.tool = Tool::begin(self.directory.join(tool::NAME), &self.module, configuration, point)?;
        Ok(self.tool.as_ref())
    }

    /// Where the application's errors are.
    pub fn log(&self) -> PathBuf {
        self.directory.join("application.log")
    }

    fn start(&self, job: &str, configuration: &Path) -> Result<Child> {
        let log = fs::File::create(self.log()).doing(Code::Configuration, format!("making {}", self.log().display()))?;
        let own = std::env::current_exe().doing(Code::Configuration, "finding this program")?;
        Command::new(own)
            .args(["demo-worker", job])
            .env(CONFIGURATION, configuration)
            .env("HSMPOOL_MODULE", &self.module)
            .env_remove("SOFTHSM2_CONF")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // Ctrl-C is for us: we end the application.
            .process_group(0)
            .spawn()
            .doing(Code::FunctionFailed, "starting the application")
    }

    /// Lets the applications come to their ends. Errors: `FunctionFailed`.
    pub fn end_application(&mut self) -> Result<()> {
        if let Some(tool) = &mut self.tool {
            tool.end();
        }
        let Some(mut child) = self.application.take() else { return Ok(()) };
        drop(child.stdin.take());
        wait(&mut child, ENDING, "the application to end")
    }

    fn end(&mut self) -> Result<()> {
        // Where it still works, it is ended at once.
        drop(self.tool.take());
        if let Some(mut child) = self.application.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(layout) = &self.layout {
            for node in layout.nodes()? {
                match local::running(layout, &node) {
                    Some(pid) if self.keeps => local::stop_one(layout, &node, pid)?,
                    Some(pid) => {
                        signal(pid, Signal::Kill).doing(Code::DeviceError, format!("ending process {pid}"))?;
                        let deadline = Instant::now() + DYING;
                        while local::running(layout, &node).is_some() && Instant::now() < deadline {
                            std::thread::sleep(LOOK_AGAIN);
                        }
                    }
                    None => {}
                }
            }
        }
        if !self.keeps {
            fs::remove_dir_all(&self.directory).doing(Code::Configuration, format!("removing {}", self.directory.display()))?;
        }
        Ok(())
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("hsmpool: cleaning up: {error}");
        }
    }
}

/// Waits for a child to end well. Errors: `FunctionFailed`, also when it does not end in time: it is ended then.
fn wait(child: &mut Child, patience: Duration, what: &str) -> Result<()> {
    let deadline = Instant::now() + patience;
    loop {
        match child.try_wait().doing(Code::FunctionFailed, format!("waiting for {what}"))? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => {
                return Err(refuse(Code::FunctionFailed, format!("waited for {what}, and the process ended with {status}")));
            }
            None if Instant::now() > deadline => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(refuse(Code::FunctionFailed, format!("waited {} s for {what}", patience.as_secs())));
            }
            None => std::thread::sleep(LOOK_AGAIN),
        }
    }
}
