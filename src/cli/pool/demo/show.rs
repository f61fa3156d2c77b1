//! The demonstration's middle: the application works, zones are killed and come back at their times, and all of it is seen.

use std::io::{BufRead, BufReader, IsTerminal};
use std::process::ChildStdout;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::Value;

use super::house::{ENDING, House};
use super::picture::{CURVE_STEPS, Scene, Screen, Zone, picture};
use super::proof::Sample;
use super::tool::{NAME, Tally, Tool};
use super::{REPORT_EVERY, unhex};
use crate::cli::pool::layout::Layout;
use crate::cli::pool::reach::Operator;
use crate::cli::pool::{local, status};
use crate::config::pool::NodeFile;
use crate::error::{Code, Doing, Error, Result, refuse};
use crate::node::NodeStatus;
use crate::sys::process::{Signal, signal};

/// What happens when, in percent of the application's time.
const ACTS: [(u32, Act); 4] = [(15, Act::KillHome), (40, Act::BringBack), (58, Act::KillLeader), (83, Act::BringBack)];
/// How long a zone is dead at least, in percent of the application's time.
const DEAD_PERCENT: u32 = 20;
/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often nodes are asked how they are.
const LOOK_AGAIN: Duration = Duration::from_millis(150);
/// Reports of the application that make one step of the curve of calls.
const REPORTS_A_STEP: usize = 5;
/// Where there is no terminal, a line is printed so often.
const LINE_EVERY: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    /// The zone that the application stands in.
    KillHome,
    /// The zone of whichever node leads.
    KillLeader,
    BringBack,
}

/// A zone that was killed.
pub struct Killed {
    pub zone: String,
    pub led: bool,
    pub at: Duration,
    /// When it was well again.
    pub well_at: Option<Duration>,
}

/// What there is to tell at the end.
pub struct Shown {
    pub killed: Vec<Killed>,
    pub samples: Vec<Sample>,
    /// The application's last report.
    pub last: Value,
    /// What the second application did, where there is one.
    pub tool: Option<Tally>,
    pub took: Duration,
    pub is_interrupted: bool,
}

/// A running demonstration.
pub struct Show<'a> {
    layout: Layout,
    nodes: Vec<Watched>,
    tool: Option<Box<dyn Fn() -> Tally>>,
    reports: Receiver<Value>,
    interrupted: &'a AtomicBool,
    begun: Instant,
    scene: Scene,
    view: View,
    steps: usize,
    calls_at_step: (u64, Instant),
    shown: Shown,
}

/// How it is seen.
enum View {
    Picture(Screen),
    Lines { next: Duration },
    Silent,
}

struct Watched {
    file: NodeFile,
    status: Arc<Mutex<Option<NodeStatus>>>,
    /// Since when it is dead on purpose.
    is_killed: bool,
}

impl<'a> Show<'a> {
    /// Starts the application and looks at it and at the nodes. Errors: `FunctionFailed`.
    pub fn begin(house: &mut House, layout: &Layout, is_silent: bool, interrupted: &'a AtomicBool) -> Result<Self> {
        let operator = Arc::new(Operator::of(layout)?);
        let nodes = layout.nodes()?.into_iter().map(|file| watch(&operator, file)).collect::<Result<_>>()?;
        let stdout = house.start_application()?.stdout.take();
        let stdout = stdout.ok_or_else(|| refuse(Code::FunctionFailed, "the application has no output"))?;
        let view = match (is_silent, std::io::stdout().is_terminal()) {
            (true, _) => View::Silent,
            (_, true) => View::Picture(Screen::default()),
            _ => View::Lines { next: LINE_EVERY },
        };
        let tool = house.tool.as_ref().map(Tool::watch).map(|watch| Box::new(watch) as Box<dyn Fn() -> Tally>);
        let (killed, samples, took) = (Vec::new(), Vec::new(), Duration::ZERO);
        let shown = Shown { killed, samples, last: Value::Null, tool: None, took, is_interrupted: false };
        let mut show = Self {
            layout: layout.clone(),
            nodes,
            tool,
            reports: reports(stdout)?,
            interrupted,
            begun: Instant::now(),
            scene: Scene::default(),
            view,
            steps: 0,
            calls_at_step: (0, Instant::now()),
            shown,
        };
        show.wait_for("the application's first signature", |show| show.shown.last["signatures"].as_u64() > Some(0))?;
        show.begun = Instant::now();
        Ok(show)
    }

    /// Runs all acts, for so long at least, and lets the application end.
    pub fn run(mut self, house: &mut House, time: Duration) -> Result<Shown> {
        for (percent, act) in ACTS {
            let due = match (act, self.shown.killed.last()) {
                // Also where a kill came late, since zones were slow to be well, the zone is dead for a while.
                (Act::BringBack, Some(killed)) => (time * percent / 100).max(killed.at + time * DEAD_PERCENT / 100),
                _ => time * percent / 100,
            };
            self.wait_until(due)?;
            match act {
                Act::BringBack => self.bring_back()?,
                Act::KillHome | Act::KillLeader => {
                    self.wait_for("all zones to be well", Self::all_are_well)?;
                    self.kill(act)?;
                }
            }
        }
        self.wait_for("all zones to be well", Self::all_are_well)?;
        self.wait_until(time)?;
        if self.interrupted.load(Ordering::Acquire) {
            // Whoever interrupts does not wait for one more signature.
            house.tool = None;
        }
        house.end_application()?;
        self.drain_to_the_end()?;
        self.shown.tool = self.tool.as_ref().map(|tally| tally());
        self.look();
        self.draw();
        self.shown.took = self.begun.elapsed();
        self.shown.is_interrupted = self.interrupted.load(Ordering::Acquire);
        Ok(self.shown)
    }

    fn wait_until(&mut self, due: Duration) -> Result<()> {
        while self.begun.elapsed() < due && !self.interrupted.load(Ordering::Acquire) {
            self.step()?;
        }
        Ok(())
    }

    fn wait_for(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) && !self.interrupted.load(Ordering::Acquire) {
            if Instant::now() > deadline {
                return Err(refuse(Code::DeviceError, format!("waited {} s for {what}", PATIENCE.as_secs())));
            }
            self.step()?;
        }
        Ok(())
    }

    /// A tenth of a second of everything.
    fn step(&mut self) -> Result<()> {
        let deadline = Instant::now() + REPORT_EVERY;
        loop {
            match self.reports.try_recv() {
                Ok(report) => self.take(report),
                Err(TryRecvError::Empty) if Instant::now() >= deadline => break,
                Err(TryRecvError::Empty) => std::thread::sleep(REPORT_EVERY / 10),
                Err(TryRecvError::Disconnected) => return Err(self.application_ended()),
            }
        }
        self.look();
        self.draw();
        Ok(())
    }

    fn application_ended(&self) -> Error {
        let told = self.shown.last["error"].as_str().map_or(String::new(), |error| format!("; its last error: {error}"));
        refuse(Code::FunctionFailed, format!("the application has ended by itself{told}"))
    }

    fn take(&mut self, mut report: Value) {
        if let Some(number) = report["sample"]["number"].as_u64() {
            let signature = unhex(report["sample"]["signature"].as_str().unwrap_or_default());
            self.shown.samples.push(Sample { number, signature });
        }
        let number = |name: &str| report[name].as_u64().unwrap_or_default();
        (self.scene.calls, self.scene.failed, self.scene.objects) = (number("calls"), number("failed"), number("objects"));
        self.scene.key_use = Duration::from_micros(number("key_use_micros"));
        self.scene.change = Duration::from_micros(number("change_micros"));
        self.steps += 1;
        if self.steps.is_multiple_of(REPORTS_A_STEP) {
            let (calls, at) = self.calls_at_step;
            let rate = (self.scene.calls - calls) as f64 / at.elapsed().as_secs_f64().max(0.001);
            self.scene.curve.push_back(rate as u64);
            self.scene.curve.drain(..self.scene.curve.len().saturating_sub(CURVE_STEPS));
            self.calls_at_step = (self.scene.calls, Instant::now());
        }
        report["sample"] = Value::Null;
        self.shown.last = report;
    }

    fn look(&mut self) {
        self.scene.elapsed = self.begun.elapsed();
        self.scene.tool = self.tool.as_ref().map(|tally| tally()).map(|tally| (tally.signatures, tally.failed));
        let home = self.nodes.first().map(|node| node.file.zone.clone()).unwrap_or_default();
        let zone = |node: &Watched| {
            let status = node.status.lock();
            let status = status.as_ref().filter(|_| !node.is_killed);
            Zone {
                name: node.file.zone.clone(),
                node: node.file.node,
                is_home: node.file.zone == home,
                role: status.map_or("-", |status| status::role(&node.file, status)),
                health: match status {
                    Some(status) => status::health(status),
                    None if node.is_killed => "killed",
                    None => "starts",
                },
                applied: status.map(|status| status.health.applied),
            }
        };
        self.scene.zones = self.nodes.iter().map(zone).collect();
        let well: Vec<String> =
            self.scene.zones.iter().filter(|zone| zone.health == "well").map(|zone| zone.name.clone()).collect();
        let back = |killed: &&mut Killed| killed.well_at.is_none() && well.contains(&killed.zone);
        if let Some(killed) = self.shown.killed.last_mut().filter(back) {
            killed.well_at = Some(self.begun.elapsed());
            let zone = killed.zone.clone();
            self.tell(format!("zone {zone} has caught up and is well"));
        }
    }

    fn draw(&mut self) {
        match &mut self.view {
            View::Picture(screen) => screen.draw(&picture(&self.scene, true)),
            View::Lines { next } if self.scene.elapsed >= *next => {
                *next = self.scene.elapsed + LINE_EVERY;
                let zones: Vec<_> = self.scene.zones.iter().map(|zone| format!("{} {}", zone.name, zone.health)).collect();
                let (at, calls, failed) = (self.scene.elapsed.as_secs_f32(), self.scene.calls, self.scene.failed);
                let tool = self.scene.tool;
                let tool = tool
                    .map_or(String::new(), |(signatures, failed)| format!("; {NAME}: {signatures} signatures, {failed} failed"));
                println!("{at:>5.1} s  zones: {}; {calls} calls, {failed} failed{tool}", zones.join(", "));
            }
            View::Lines { .. } | View::Silent => {}
        }
    }

    fn tell(&mut self, event: String) {
        let at = self.begun.elapsed();
        if let View::Lines { .. } = self.view {
            println!("{:>5.1} s  {event}", at.as_secs_f32());
        }
        self.scene.events.push((at, event));
    }

    fn all_are_well(&self) -> bool {
        let is_well = |zone: &Zone| zone.health == "well";
        self.scene.zones.len() == self.nodes.len() && self.scene.zones.iter().all(is_well)
    }

    fn kill(&mut self, act: Act) -> Result<()> {
        if self.interrupted.load(Ordering::Acquire) {
            return Ok(());
        }
        let leads =
            |node: &Watched| node.status.lock().as_ref().is_some_and(|status| status.health.leader == Some(node.file.node));
        let at = match act {
            Act::KillLeader => self.nodes.iter().position(leads).unwrap_or_default(),
            _ => 0,
        };
        let led = leads(&self.nodes[at]);
        let node = &mut self.nodes[at];
        let (zone, number) = (node.file.zone.clone(), node.file.node);
        let pid = local::running(&self.layout, &node.file)
            .ok_or_else(|| refuse(Code::DeviceError, format!("node {number} of zone {zone} does not run")))?;
        signal(pid, Signal::Kill).doing(Code::DeviceError, format!("killing node {number}"))?;
        node.is_killed = true;
        *node.status.lock() = None;
        let why = match (act, led) {
            (Act::KillHome, _) => "; the application stands in it",
            (_, true) => "; its node led",
            _ => "",
        };
        self.shown.killed.push(Killed { zone: zone.clone(), led, at: self.begun.elapsed(), well_at: None });
        self.tell(format!("zone {zone} is killed (SIGKILL to process {pid}){why}"));
        self.look();
        Ok(())
    }

    fn bring_back(&mut self) -> Result<()> {
        if self.interrupted.load(Ordering::Acquire) {
            return Ok(());
        }
        for at in 0..self.nodes.len() {
            let node = &mut self.nodes[at];
            if std::mem::take(&mut node.is_killed) {
                local::start_one(&self.layout, &node.file)?;
                let told = format!("zone {} is started again", node.file.zone);
                self.tell(told);
            }
        }
        // What was seen before it died says nothing of it now.
        self.look();
        Ok(())
    }

    fn drain_to_the_end(&mut self) -> Result<()> {
        let deadline = Instant::now() + ENDING;
        loop {
            match self.reports.try_recv() {
                Ok(report) => self.take(report),
                Err(TryRecvError::Disconnected) => return Ok(()),
                Err(TryRecvError::Empty) if Instant::now() > deadline => {
                    return Err(refuse(Code::FunctionFailed, "the application's output does not end"));
                }
                Err(TryRecvError::Empty) => std::thread::sleep(REPORT_EVERY / 10),
            }
        }
    }
}

/// Asks a node how it is, on a thread of its own, until nobody wants to know any more.
fn watch(operator: &Arc<Operator>, file: NodeFile) -> Result<Watched> {
    let status = Arc::<Mutex<Option<NodeStatus>>>::default();
    let (operator, told, node) = (operator.clone(), Arc::downgrade(&status), file.clone());
    let work = move || {
        while let Some(status) = told.upgrade() {
            let now = operator.status(&node).ok();
            *status.lock() = now;
            drop(status);
            std::thread::sleep(LOOK_AGAIN);
        }
    };
    std::thread::Builder::new().name("watch".into()).spawn(work).doing(Code::HostMemory, "cannot start a thread")?;
    Ok(Watched { file, status, is_killed: false })
}

/// The application's reports, line by line; the channel ends with them.
fn reports(stdout: ChildStdout) -> Result<Receiver<Value>> {
    let (sender, receiver) = channel();
    let work = move || {
        let lines = BufReader::new(stdout).lines().map_while(std::result::Result::ok);
        for report in lines.filter_map(|line| serde_json::from_str(&line).ok()) {
            if sender.send(report).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("reports".into()).spawn(work).doing(Code::HostMemory, "cannot start a thread")?;
    Ok(receiver)
}
