//! Runs cases, each in a process of its own with a time limit, so that a crash or a hang is a result and not the end.

use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::case::{Case, Verdict};
use crate::cases;
use crate::context::{Context, Settings};
use crate::provoked::{self, Provoked};

/// The environment variable through which a child gets its [`Settings`].
pub const SETTINGS_VARIABLE: &str = "PKCS11_CONFORMANCE_SETTINGS";
/// The line that carries a child's verdict starts with this; modules may print what they like before it.
const MARK: &str = "pkcs11-conformance-verdict:";
/// Starts the line by which a case says what it is about to try; the last one tells where a crash or a hang happened.
const STEP: &str = "pkcs11-conformance-step:";
/// How often a running child is looked at.
const POLL: Duration = Duration::from_millis(2);

/// What became of one case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CaseResult {
    /// [`Case::id`].
    pub id: String,
    /// The end.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Wall-clock time in milliseconds.
    pub millis: u64,
    /// Which return values each function gave. Nothing is known of a case that crashed or hung.
    #[serde(default)]
    pub provoked: Provoked,
}

/// What a child tells at its end.
#[derive(Serialize, Deserialize)]
struct Told {
    #[serde(flatten)]
    verdict: Verdict,
    #[serde(default)]
    provoked: Provoked,
}

/// Says what the case is about to try, so that a crash or a hang can be told by it.
pub fn step(what: &str) {
    println!("\n{STEP}{what}");
}

/// How cases are run.
pub struct Plan {
    /// For every child.
    pub settings: Settings,
    /// Environment of every child, over our own.
    pub environment: Vec<(String, String)>,
    /// Children at once.
    pub jobs: usize,
    /// Longest life of a child.
    pub limit: Duration,
}

impl Plan {
    /// Runs the cases and returns their results in the cases' order. `progress` hears of each end as it comes.
    pub fn run(&self, cases: &[&'static Case], progress: &(dyn Fn(&CaseResult) + Sync)) -> Result<Vec<CaseResult>, String> {
        let program = std::env::current_exe().map_err(|error| format!("this program's own path: {error}"))?;
        let next = AtomicUsize::new(0);
        let results: Vec<Mutex<Option<CaseResult>>> = cases.iter().map(|_| Mutex::new(None)).collect();
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(|| {
                    while let Some((case, place)) = {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        cases.get(at).zip(results.get(at))
                    } {
                        let result = self.run_one(&program, case);
                        progress(&result);
                        *place.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(result);
                    }
                });
            }
        });
        Ok(results.into_iter().filter_map(|place| place.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())).collect())
    }

    fn run_one(&self, program: &PathBuf, case: &Case) -> CaseResult {
        let started = Instant::now();
        let told = self.start(program, &["__case", case.id]).and_then(|child| self.watch(child, started));
        let told = told.unwrap_or_else(|reason| Told { verdict: Verdict::Crash(reason), provoked: Provoked::new() });
        let millis = started.elapsed().as_millis() as u64;
        CaseResult { id: case.id.into(), verdict: told.verdict, millis, provoked: told.provoked }
    }

    /// Starts a child of this program.
    pub fn start(&self, program: &PathBuf, arguments: &[&str]) -> Result<Child, String> {
        let settings = serde_json::to_string(&self.settings).map_err(|error| error.to_string())?;
        Command::new(program)
            .args(arguments)
            .env(SETTINGS_VARIABLE, settings)
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|error| format!("the process of the case could not be started: {error}"))
    }

    fn watch(&self, mut child: Child, started: Instant) -> Result<Told, String> {
        // The pipe is read by a thread, so that a talkative module cannot block on it.
        let mut pipe = child.stdout.take().ok_or("the child has no output")?;
        let reader = std::thread::spawn(move || {
            let mut text = Vec::new();
            // What was read before an error is all that there is.
            let _ = pipe.by_ref().take(1 << 20).read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let status = self.wait(&mut child, started)?;
        let text = reader.join().map_err(|_| "the reader of the child's output panicked")?;
        if let Some(told) = text.lines().rev().find_map(reported).filter(|_| status.is_some()) {
            return Ok(told);
        }
        let at =
            text.lines().rev().find_map(|line| line.strip_prefix(STEP)).map_or(String::new(), |step| format!(", at: {step}"));
        let verdict = match status {
            Some(status) => Verdict::Crash(describe_end(status) + &at),
            None => Verdict::Hang(format!("not done after {} s{at}", self.limit.as_secs())),
        };
        Ok(Told { verdict, provoked: Provoked::new() })
    }

    /// The child's end; `None` where the limit had to end it, together with the processes that it forked.
    fn wait(&self, child: &mut Child, started: Instant) -> Result<Option<ExitStatus>, String> {
        loop {
            if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
                return Ok(Some(status));
            }
            if started.elapsed() > self.limit {
                // SAFETY: plain system call; the child leads a process group of its own and is not reaped yet.
                unsafe { libc::killpg(child.id() as libc::pid_t, libc::SIGKILL) };
                child.wait().map_err(|error| error.to_string())?;
                return Ok(None);
            }
            std::thread::sleep(POLL);
        }
    }
}

fn reported(line: &str) -> Option<Told> {
    serde_json::from_str(line.strip_prefix(MARK)?).ok()
}

fn describe_end(status: ExitStatus) -> String {
    match status.signal() {
        Some(signal) => format!("ended by signal {signal}"),
        None => format!("the process ended by itself with code {} before the case was over", status.code().unwrap_or(-1)),
    }
}

/// The child's side: runs one case and reports. Returns the exit code.
pub fn child(id: &str) -> i32 {
    let told = Told { verdict: child_verdict(id), provoked: provoked::taken() };
    match serde_json::to_string(&told) {
        Ok(text) => println!("\n{MARK}{text}"),
        Err(error) => eprintln!("the verdict cannot be written: {error}"),
    }
    // Leave without unloading: a module's destructors have a case of their own.
    0
}

fn child_verdict(id: &str) -> Verdict {
    let Some(case) = cases::all().find(|case| case.id == id) else { return Verdict::Crash(format!("no case is called {id}")) };
    let settings = std::env::var(SETTINGS_VARIABLE).map_err(|error| error.to_string());
    let settings = settings.and_then(|text| serde_json::from_str::<Settings>(&text).map_err(|error| error.to_string()));
    match settings.and_then(Context::new) {
        Ok(context) => (case.run)(&context).into(),
        Err(reason) => Verdict::Crash(format!("the module could not be loaded: {reason}")),
    }
}
