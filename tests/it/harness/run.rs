//! Programs, each with a deadline, an environment of its own and its output kept for the failure message.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Long enough for a JVM on two busy cores; a hang is still told apart within the minute-scale budget of the suite.
const DEADLINE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(5);

/// A program about to be run.
pub struct Run {
    command: Command,
    said: OsString,
    input: Option<Vec<u8>>,
    directory: PathBuf,
    deadline: Duration,
}

/// What a program said, and how it ended.
pub struct Output {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    said: OsString,
}

impl Output {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard output and standard error as text.
    pub fn all(&self) -> String {
        format!("{}{}", self.text(), String::from_utf8_lossy(&self.stderr))
    }

    /// Panics unless both streams together contain the text.
    #[track_caller]
    pub fn says(self, expected: &str) -> Self {
        assert!(self.all().contains(expected), "{:?} does not say {expected:?}:\n{}", self.said, self.all());
        self
    }

    /// Panics if the streams contain the text.
    #[track_caller]
    pub fn never_says(self, unwanted: &str) -> Self {
        assert!(!self.all().contains(unwanted), "{:?} says {unwanted:?}:\n{}", self.said, self.all());
        self
    }
}

impl Run {
    /// `directory` becomes the working directory and holds the captured output.
    pub fn new(program: &Path, directory: &Path) -> Self {
        let mut command = Command::new(program);
        command.current_dir(directory);
        Self { command, said: program.into(), input: None, directory: directory.into(), deadline: DEADLINE }
    }

    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, arguments: I) -> Self {
        for argument in arguments {
            self = self.arg(argument);
        }
        self
    }

    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.said.push(" ");
        self.said.push(argument.as_ref());
        self.command.arg(argument);
        self
    }

    /// Arguments separated by spaces: for those that contain none.
    pub fn words(self, words: &str) -> Self {
        self.args(words.split_whitespace())
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn without_env(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs it to success; panics with everything that it said otherwise.
    #[track_caller]
    pub fn ok(self) -> Output {
        let output = self.end();
        assert!(output.status.success(), "{:?} ended with {}:\n{}", output.said, output.status, output.all());
        output
    }

    /// Runs it to a refusal of its own: an exit code other than 0, not a signal.
    #[track_caller]
    pub fn fails(self) -> Output {
        let output = self.end();
        let refused = output.status.code().is_some_and(|code| code != 0);
        assert!(refused, "{:?} should have refused, and ended with {}:\n{}", output.said, output.status, output.all());
        output
    }

    /// Runs it to its end, whatever that is; panics only when the deadline passes.
    #[track_caller]
    pub fn end(self) -> Output {
        self.spawn().wait()
    }

    /// Runs it to its end, and kills it at the deadline: for clean-up, which must not panic.
    pub fn end_somehow(self) {
        let mut server = self.spawn();
        // One that still runs is killed with the server.
        let _ = server.ended_in_time();
    }

    /// Starts it and leaves it running until the `Server` is dropped.
    pub fn spawn(mut self) -> Server {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let stream = |kind: &str| self.directory.join(format!("run-{number}.{kind}"));
        let (stdout, stderr) = (stream("stdout"), stream("stderr"));
        // Files, not pipes: a program that says more than a pipe holds must not wait for us.
        self.command.stdout(File::create(&stdout).expect("the test directory is writable"));
        self.command.stderr(File::create(&stderr).expect("the test directory is writable"));
        self.command.stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("cannot start {:?}: {error}", self.said));
        if let (Some(input), Some(mut pipe)) = (self.input, child.stdin.take()) {
            // A program may end without reading its input; its exit code then says why.
            let _ = pipe.write_all(&input);
        }
        Server { child, stdout, stderr, said: self.said, deadline: Instant::now() + self.deadline }
    }
}

/// A running program of ours; ended when dropped.
pub struct Server {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    said: OsString,
    deadline: Instant,
}

impl Server {
    /// `kill -9`, and the corpse collected.
    pub fn kill(&mut self) {
        // It may have ended by itself; either way it is gone after the wait.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end (SIGTERM) and waits for that.
    pub fn terminate(mut self) -> Output {
        // SAFETY: the pid is of a child that we have not waited for, so it cannot be anybody else's.
        unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM) };
        let mut status = None;
        wait_until("the program ends at SIGTERM", || {
            status = self.child.try_wait().expect("a child of ours can be waited for");
            status.is_some()
        });
        self.output(status.expect("the wait above ended with a status"))
    }

    /// Waits for it to end by itself; panics when the deadline of its run passes.
    #[track_caller]
    pub fn wait(mut self) -> Output {
        match self.ended_in_time() {
            Some(status) => self.output(status),
            None => panic!("{:?} still runs at its deadline:\n{}", self.said, self.said_so_far()),
        }
    }

    fn ended_in_time(&mut self) -> Option<ExitStatus> {
        loop {
            let status = self.child.try_wait().expect("a child of ours can be waited for");
            if status.is_some() || Instant::now() > self.deadline {
                return status;
            }
            std::thread::sleep(POLL);
        }
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours can be waited for").is_some()
    }

    pub fn said_so_far(&self) -> String {
        let read = |path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
        format!("{}{}", read(&self.stdout), read(&self.stderr))
    }

    fn output(&self, status: ExitStatus) -> Output {
        let read = |path| std::fs::read(path).expect("the captured output is there");
        Output { status, stdout: read(&self.stdout), stderr: read(&self.stderr), said: self.said.clone() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Polls until the condition holds; panics with the sentence after a bounded time.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < DEADLINE, "waited {DEADLINE:?} until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A loopback port that nobody uses now, nor the two after it, which a node takes as well. They lie below those that the kernel gives to
/// outgoing connections: none of those takes it before the server listens. No port is given twice by one process.
pub fn free_port() -> u16 {
    static TURN: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 31_000;
    const TRIPLES: u32 = 580;
    // Test processes that run at the same time begin at different places.
    let start = std::process::id().wrapping_mul(97);
    let port = |_| (FIRST + 3 * (start.wrapping_add(TURN.fetch_add(1, Ordering::Relaxed)) % TRIPLES)) as u16;
    let is_free = |port: &u16| (*port..port + 3).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
    (0..TRIPLES).map(port).find(is_free).expect("loopback has a free port")
}

/// A line for whoever reads the tests' output: what is printed by a test that passes is kept back.
pub fn tell(line: &str) {
    writeln!(std::io::stderr(), "{line}").expect("the tests have an output");
}
