//! The child processes: each takes one figure of one subject and prints it.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Barrier, OnceLock};
use std::time::{Duration, Instant};

use cryptoki_sys::{CKK_AES, CKM_ECDSA, CKO_PRIVATE_KEY};

use crate::Subject;
use crate::abi::{Loaded, Mechanism};
use crate::options::Options;
use crate::raw;
use crate::rows::{self, Kind, Prepare, ROWS, Repeat, Row};
use crate::store::{self, LABEL, PIN};

const WORK: &str = "HSMPOOL_BENCH_WORK";
const MODULE: &str = "HSMPOOL_BENCH_MODULE";
const FIGURE_MS: &str = "HSMPOOL_BENCH_MS";
const OBJECTS: &str = "HSMPOOL_BENCH_OBJECTS";
const TOKENS: &str = "HSMPOOL_BENCH_TOKENS";
const PROCESSOR_TIME: &str = "HSMPOOL_BENCH_PROCESSOR_TIME";

/// The work that has the raw library sign beside a creator of the module.
pub const RAW_BESIDE_CREATOR: &str = "raw beside a creator";

/// The work of a child, when this process is one.
pub fn asked_for() -> Option<String> {
    std::env::var(WORK).ok()
}

/// Has a child do the work and gives its figure.
pub fn ask(subject: &Subject, work: &str, options: &Options) -> Option<f64> {
    let mut command = command(work);
    command.env(FIGURE_MS, options.figure_ms.to_string()).env(OBJECTS, options.objects.to_string());
    if options.processor_time {
        command.env(PROCESSOR_TIME, "1");
    }
    if let Subject::Module { path, store } = subject {
        let configuration = store.directory().join("softhsm2.conf");
        command.env(MODULE, path).env("SOFTHSM2_CONF", configuration).env("HOME", store.directory()).env_remove("HSMPOOL_CONF");
        command.env(TOKENS, store.tokens());
    }
    if let Subject::Pool { path, configuration } = subject {
        command.env(MODULE, path).env("HSMPOOL_CONF", configuration);
    }
    let output = command.stderr(Stdio::inherit()).output().expect("this program can be started again");
    assert!(output.status.success(), "{work} on {} failed", subject.name());
    String::from_utf8(output.stdout).expect("a figure is text").trim().parse().ok()
}

fn command(work: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a running program has a file"));
    command.env(WORK, work).stdin(Stdio::null());
    command
}

/// A child's main function.
pub fn run(work: &str) {
    match (work, module()) {
        ("fill", Some(module)) => {
            module.initialize().expect("initialises");
            let tokens = std::env::var_os(TOKENS).map(PathBuf::from).unwrap_or_default();
            store::fill(&module, &tokens, number(OBJECTS));
            println!("1");
        }
        ("create until killed", Some(module)) => create_until_killed(&module),
        (RAW_BESIDE_CREATOR, _) => println!("{}", beside_creator(&mut *raw::ecdsa_sign(raw::Curve::P256))),
        (name, module) => {
            let row = ROWS.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("no row {name}"));
            println!("{}", module.map_or_else(|| raw_figure(row), |module| module_figure(row, module)));
        }
    }
}

fn module() -> Option<Loaded> {
    std::env::var_os(MODULE).map(|path| Loaded::open(&PathBuf::from(path)))
}

fn number(variable: &str) -> usize {
    std::env::var(variable).expect("set by the parent").parse().expect("the parent writes numbers")
}

fn figure_time() -> Duration {
    Duration::from_millis(number(FIGURE_MS) as u64)
}

/// A point in time: the wall clock's or, where that was asked for, how long this process has had a processor.
fn now() -> Duration {
    static CLOCK: OnceLock<libc::clockid_t> = OnceLock::new();
    let clock = *CLOCK.get_or_init(|| match std::env::var_os(PROCESSOR_TIME) {
        Some(_) => libc::CLOCK_PROCESS_CPUTIME_ID,
        None => libc::CLOCK_MONOTONIC,
    });
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place is ours, and both clocks are there on every Linux.
    assert_eq!(unsafe { libc::clock_gettime(clock, &mut time) }, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn raw_figure(row: &Row) -> f64 {
    let raw = row.raw.expect("only rows with a raw side are asked for");
    match row.kind {
        Kind::Scaling(_) => rate(2, || raw()) / rate(1, || raw()),
        Kind::Call(_) => median_call_us(&mut *raw()),
        _ => 1e6 / rate(1, || raw()),
    }
}

fn module_figure(row: &Row, module: Loaded) -> f64 {
    if let Kind::ColdStart = row.kind {
        drop(module);
        return cold_start_ms();
    }
    module.initialize().expect("initialises");
    if let Kind::Initialize = row.kind {
        module.finalize().expect("finalises");
        let again = || -> Repeat<'_> {
            Box::new(|| {
                module.initialize().expect("initialises");
                module.finalize().expect("finalises");
            })
        };
        return 1e6 / rate(1, again);
    }
    let login = module.user_session(LABEL, PIN).expect("logs in");
    match row.kind {
        Kind::Operation(work) => 1e6 / repeat_rate(&mut *work(&login), figure_time()),
        Kind::Call(work) => median_call_us(&mut *work(&login)),
        Kind::Scaling(work) => threads_rate(&module, 2, work) / threads_rate(&module, 1, work),
        Kind::Rate(threads, work) => threads_rate(&module, threads, work),
        Kind::BesideCreator => beside_creator(&mut *rows::p256_sign(&login)),
        Kind::ColdStart | Kind::Initialize => unreachable!("taken above"),
    }
}

/// Operations a second of so many threads together, each with its own repeat.
fn rate<'r>(threads: usize, make: impl Fn() -> Repeat<'r> + Sync) -> f64 {
    let window = Window::new(threads);
    together(threads, || window.rate(&mut *make()))
}

/// As `rate`, each thread with its own session.
fn threads_rate(module: &Loaded, threads: usize, work: Prepare) -> f64 {
    let window = Window::new(threads);
    together(threads, || {
        let session = module.user_session(LABEL, PIN).expect("a further session is logged in too");
        let mut work = work(&session);
        window.rate(&mut *work)
    })
}

fn together(threads: usize, one: impl Fn() -> f64 + Sync) -> f64 {
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(&one)).collect();
        running.into_iter().map(|thread| thread.join().expect("a measuring thread ends")).sum()
    })
}

/// The time in which many threads count, the same for all: with more threads than cores, a window for each would count the same moment many
/// times over.
struct Window {
    threads: Barrier,
    count: usize,
    begin: OnceLock<Instant>,
}

/// Operations that are shorter are counted in batches, so that reading the clock is not what is measured.
const SHORT: Duration = Duration::from_micros(20);

impl Window {
    fn new(count: usize) -> Self {
        Self { threads: Barrier::new(count), count, begin: OnceLock::new() }
    }

    /// This thread's share of the operations a second.
    fn rate(&self, work: &mut dyn FnMut()) -> f64 {
        work();
        let warm = Instant::now();
        work();
        let batch = if warm.elapsed() < SHORT { 64_u32 } else { 1 };
        self.threads.wait();
        if self.count == 1 {
            return repeat_rate(work, figure_time());
        }
        let (begin, mut done) = (*self.begin.get_or_init(Instant::now), 0_u64);
        loop {
            (0..batch).for_each(|_| work());
            if begin.elapsed() > figure_time() {
                return done as f64 / figure_time().as_secs_f64();
            }
            done += u64::from(batch);
        }
    }
}

/// The median of what calls take, each timed by itself.
fn median_call_us(work: &mut dyn FnMut()) -> f64 {
    let begin = now();
    while now() - begin < figure_time() / 10 {
        work();
    }
    let (begin, mut took) = (now(), Vec::new());
    let mut last = begin;
    while last - begin < figure_time() {
        work();
        let after = now();
        took.push(after - last);
        last = after;
    }
    took.sort_unstable();
    took[took.len() / 2].as_secs_f64() * 1e6
}

/// Operations a second; the clock is read about once in a hundredth of the time.
fn repeat_rate(work: &mut dyn FnMut(), time: Duration) -> f64 {
    let mut batch = 1_u32;
    loop {
        let begin = now();
        (0..batch).for_each(|_| work());
        if now() - begin > time / 100 || batch > 1 << 24 {
            break;
        }
        batch *= 2;
    }
    let (begin, mut done) = (now(), 0_u64);
    while now() - begin < time {
        (0..batch).for_each(|_| work());
        done += u64::from(batch);
    }
    done as f64 / (now() - begin).as_secs_f64()
}

fn beside_creator(sign: &mut dyn FnMut()) -> f64 {
    let alone = repeat_rate(sign, figure_time());
    let mut creator = Creator(command("create until killed").stdout(Stdio::piped()).spawn().expect("can be started again"));
    // The creator prints a line once it is at work.
    let mut line = [0; 1];
    let mut said = creator.0.stdout.take().expect("piped above");
    std::io::Read::read_exact(&mut said, &mut line).expect("the creator starts");
    repeat_rate(sign, figure_time()) / alone
}

/// Ended when dropped.
struct Creator(Child);

impl Drop for Creator {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone after the wait.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// For at most a minute: the parent kills it long before.
fn create_until_killed(module: &Loaded) {
    module.initialize().expect("initialises");
    let session = module.user_session(LABEL, PIN).expect("logs in");
    println!("creating");
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(60) {
        let key = store::secret(&session, "beside", CKK_AES);
        session.destroy(key).expect("destroys");
    }
}

fn cold_start_ms() -> f64 {
    let begin = now();
    let module = module().expect("the parent names the module");
    module.initialize().expect("initialises");
    let session = module.user_session(LABEL, PIN).expect("logs in");
    let key = store::find(&session, CKO_PRIVATE_KEY, "p256");
    session.sign(&Mechanism::plain(CKM_ECDSA), key, &[7; 32]).expect("signs");
    (now() - begin).as_secs_f64() * 1e3
}
