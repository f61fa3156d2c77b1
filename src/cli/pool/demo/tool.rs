//! The demonstration's second application, which knows nothing of hsmpool: OpenSC's `pkcs11-tool`, started anew for each signature, as
//! scripts use it. Each signature is verified as soon as it is made.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::house::{CONFIGURATION, LOOK_AGAIN};
use super::message;
use super::proof::Verifier;
use super::worker::{KEY_ID, LABEL, PIN};
use crate::error::{Code, Doing, Result, refuse};

/// The program, looked for on `PATH`.
pub const NAME: &str = "pkcs11-tool";
/// Where it finds the PIN: what stands on a command line can be read by every user of the machine.
const PIN_VARIABLE: &str = "DEMO_PIN";
/// Between two of its runs: the demonstration's processors are for the pool.
const PAUSE: Duration = Duration::from_millis(250);
/// How long one run may take before it counts as failed and is ended; the demonstration waits for the last one.
const RUN_MAX: Duration = Duration::from_secs(20);
/// So many failures in a row are told, and no more are made: a wrong PIN again and again would lock the token.
const FAILURES_MAX: u64 = 5;

/// What came of it so far.
#[derive(Clone, Default)]
pub struct Tally {
    pub signatures: u64,
    pub failed: u64,
    /// Signatures that were made, and are none.
    pub wrong: u64,
    /// The longest run: a process that starts, loads the module, logs in, signs and ends.
    pub longest: Duration,
    pub error: Option<String>,
    pub verified_by: String,
}

impl Tally {
    pub fn is_good(&self) -> bool {
        (self.failed, self.wrong, self.signatures > 0) == (0, 0, true)
    }
}

/// It at work, until it is dropped: then its process is ended at once.
pub struct Tool {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    tally: Mutex<Tally>,
    /// No further run begins.
    ends: AtomicBool,
    /// The run that goes on is ended.
    ends_now: AtomicBool,
}

/// What its thread works with.
struct Work {
    program: PathBuf,
    module: PathBuf,
    configuration: PathBuf,
    /// Where it runs, and its files are.
    directory: PathBuf,
    verifier: Verifier,
    shared: Arc<Shared>,
}

impl Tool {
    /// Begins to sign with the key whose public point this is; `None` where the program is not installed.
    ///
    /// Errors: `Configuration`, `FunctionFailed`, `HostMemory`.
    pub fn begin(directory: PathBuf, module: &Path, configuration: PathBuf, point: &[u8]) -> Result<Option<Self>> {
        let Some(program) = find(&std::env::var_os("PATH").unwrap_or_default()) else { return Ok(None) };
        fs::create_dir(&directory).doing(Code::Configuration, format!("making {}", directory.display()))?;
        let verifier = Verifier::new(point, &directory)?;
        let shared = Arc::<Shared>::default();
        shared.tally.lock().verified_by = verifier.by.clone();
        let work = Work { program, module: module.to_path_buf(), configuration, directory, verifier, shared: shared.clone() };
        let thread = std::thread::Builder::new().name(NAME.into()).spawn(move || work.go_on());
        Ok(Some(Self { shared, thread: Some(thread.doing(Code::HostMemory, "cannot start a thread")?) }))
    }

    /// Where what comes of it can be read while it works.
    pub fn watch(&self) -> impl Fn() -> Tally + use<> {
        let shared = self.shared.clone();
        move || shared.tally.lock().clone()
    }

    /// Lets the run that goes on come to its end, within `RUN_MAX`.
    pub fn end(&mut self) {
        self.shared.ends.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so, and its tally lacks what it did not do.
            let _ = thread.join();
        }
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        self.shared.ends_now.store(true, Ordering::Release);
        self.end();
    }
}

/// The program's file in these directories.
fn find(path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path).map(|directory| directory.join(NAME)).find(|file| file.is_file())
}

impl Work {
    fn go_on(self) {
        let mut in_a_row = 0;
        for number in 1.. {
            if self.shared.ends.load(Ordering::Acquire) || in_a_row == FAILURES_MAX {
                return;
            }
            let begun = Instant::now();
            let done = self.sign(number);
            let mut tally = self.shared.tally.lock();
            tally.longest = tally.longest.max(begun.elapsed());
            match done {
                Ok(Some(is_right)) => {
                    tally.signatures += 1;
                    tally.wrong += u64::from(!is_right);
                    in_a_row = 0;
                }
                Ok(None) => return,
                Err(error) => {
                    tally.failed += 1;
                    tally.error = Some(error.to_string());
                    in_a_row += 1;
                }
            }
            drop(tally);
            std::thread::sleep(PAUSE);
        }
    }

    /// One signature, and whether it is right; `None` where it was to be ended.
    fn sign(&self, number: u64) -> Result<Option<bool>> {
        let (input, output) = (self.directory.join("message"), self.directory.join("signature"));
        fs::write(&input, message(number)).doing(Code::FunctionFailed, format!("writing {}", input.display()))?;
        // That of the run before must not be taken for this one's.
        let _ = fs::remove_file(&output);
        let log = self.directory.join("log");
        let doing = || format!("making {}", log.display());
        let said = File::create(&log).doing(Code::FunctionFailed, doing())?;
        let said_too = said.try_clone().doing(Code::FunctionFailed, doing())?;
        let mut child = Command::new(&self.program)
            .arg("--module")
            .arg(&self.module)
            .args(["--token-label", LABEL, "--login", "--pin", &format!("env:{PIN_VARIABLE}")])
            .args(["--sign", "--id", KEY_ID, "--mechanism", "ECDSA-SHA256", "--signature-format", "rs"])
            .args([OsStr::new("--input-file"), input.as_ref(), OsStr::new("--output-file"), output.as_ref()])
            .env(PIN_VARIABLE, PIN)
            .env(CONFIGURATION, &self.configuration)
            .env_remove("SOFTHSM2_CONF")
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(said)
            .stderr(said_too)
            // Ctrl-C is for us: we end it.
            .process_group(0)
            .spawn()
            .doing(Code::FunctionFailed, format!("starting {}", self.program.display()))?;
        if !self.ends_well(&mut child, &log)? {
            return Ok(None);
        }
        let signature = fs::read(&output).doing(Code::FunctionFailed, format!("reading the signature that {NAME} made"))?;
        self.verifier.is_right(&message(number), &signature).map(Some)
    }

    /// False where it was ended, since the demonstration is.
    fn ends_well(&self, child: &mut Child, log: &Path) -> Result<bool> {
        let deadline = Instant::now() + RUN_MAX;
        loop {
            match child.try_wait().doing(Code::FunctionFailed, format!("waiting for {NAME}"))? {
                Some(status) if status.success() => return Ok(true),
                Some(status) => {
                    let said = fs::read(log).unwrap_or_default();
                    let said = String::from_utf8_lossy(&said);
                    let said: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
                    return Err(refuse(Code::FunctionFailed, format!("{NAME} ended with {status}: {}", said.join("; "))));
                }
                None if self.shared.ends_now.load(Ordering::Acquire) => {
                    put_away(child);
                    return Ok(false);
                }
                None if Instant::now() > deadline => {
                    put_away(child);
                    return Err(refuse(Code::FunctionFailed, format!("{NAME} took more than {} s", RUN_MAX.as_secs())));
                }
                None => std::thread::sleep(LOOK_AGAIN),
            }
        }
    }
}

fn put_away(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Gone with the test.
    struct Place(PathBuf);

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// A tool in a directory of its own, whose program is this script.
    fn scripted(name: &str, script: &str) -> (Place, Tool) {
        let directory = std::env::temp_dir().join(format!("hsmpool-tool-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let program = directory.join(NAME);
        // Renamed into its place: no other thread's child has it open for writing when it is started.
        let draft = directory.join("draft");
        fs::write(&draft, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o700)).unwrap();
        fs::rename(&draft, &program).unwrap();
        let shared = Arc::<Shared>::default();
        let verifier = Verifier::new(&[4; 65], &directory).unwrap();
        let (module, configuration) = (directory.join("none"), directory.join("none"));
        let place = Place(directory.clone());
        let work = Work { program, module, configuration, directory, verifier, shared: shared.clone() };
        (place, Tool { shared, thread: Some(std::thread::spawn(move || work.go_on())) })
    }

    fn tally(tool: &Tool) -> Tally {
        tool.watch()()
    }

    fn wait_for(tool: &Tool, is_so: impl Fn(&Tally) -> bool) -> Tally {
        let begun = Instant::now();
        while !is_so(&tally(tool)) {
            assert!(begun.elapsed() < Duration::from_secs(30));
            std::thread::sleep(LOOK_AGAIN);
        }
        tally(tool)
    }

    #[test]
    fn a_failure_is_counted_with_what_it_said_and_not_repeated_for_ever() {
        let (_place, mut tool) = scripted("fails", "echo 'CKR_PIN_INCORRECT' >&2; exit 1");
        let told = wait_for(&tool, |tally| tally.failed == FAILURES_MAX);
        tool.thread.take().unwrap().join().unwrap();
        assert!(!told.is_good() && told.error.unwrap().contains("CKR_PIN_INCORRECT"));
        assert_eq!(tally(&tool).failed, FAILURES_MAX);
    }

    #[test]
    fn what_is_no_signature_of_the_message_is_wrong_and_the_pin_is_on_no_command_line() {
        // The last argument is the output's name. A command line with the PIN in it fails.
        let (_place, mut tool) =
            scripted("wrong", "case \"$*\" in *123456*) exit 1;; esac; for last; do :; done; head -c 64 /dev/zero >\"$last\"");
        wait_for(&tool, |tally| tally.signatures > 0 || tally.failed > 0);
        tool.end();
        let told = tally(&tool);
        assert!((told.failed, told.wrong) == (0, told.signatures) && !told.is_good(), "{:?}", told.error);
    }

    #[test]
    fn its_process_is_ended_with_it() {
        let (_place, tool) = scripted("hangs", "exec sleep 600");
        let begun = Instant::now();
        std::thread::sleep(Duration::from_millis(100));
        drop(tool);
        assert!(begun.elapsed() < RUN_MAX / 2);
    }

    #[test]
    fn it_is_looked_for_in_every_directory_of_the_path() {
        assert_eq!(find(OsStr::new("/nowhere:/nor/here")), None);
        let directory = std::env::temp_dir().join(format!("hsmpool-tool-path-{}", std::process::id()));
        let _place = Place(directory.clone());
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(NAME), "").unwrap();
        assert_eq!(find(&std::env::join_paths([Path::new("/nowhere"), &directory]).unwrap()), Some(directory.join(NAME)));
    }
}
