//! The pool that is struck: its nodes, where they run, and how each blow is dealt and healed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::schedule::{Fault, Whom};
use super::spaces::{Spaces, run, tool};
use crate::cli::pool::create::{FreePorts, form, lay_out, member};
use crate::cli::pool::layout::{Layout, NewNode, write_new};
use crate::cli::pool::local;
use crate::cli::pool::reach::Operator;
use crate::config::PolicyName;
use crate::config::pool::{NodeFile, PoolId};
use crate::error::{Code, Doing, Result, refuse};
use crate::node::Operate;
use crate::sys::process::{Signal, signal};
use crate::world::{Real, World};

/// How long the pool may take to be well again.
const WELL_PATIENCE: Duration = Duration::from_secs(40);
/// After so long without a process a node has ended.
const SURELY_GONE: Duration = Duration::from_millis(500);
/// Size of the disk that is filled.
const DISK: &str = "48m";
/// A stuttering process stands still for so long, and then runs for so long.
const STILL: Duration = Duration::from_millis(80);
const RUNS: Duration = Duration::from_millis(20);

/// Where and how the pool runs.
pub struct Options {
    /// The pool's directory; made if it is not there.
    pub directory: PathBuf,
    /// Zones of a new pool.
    pub zones: Vec<String>,
    /// Whether each zone has a network of its own.
    pub spaces: bool,
    /// Whether its line can be made long.
    pub lines: bool,
    /// The zone whose node gets a small disk.
    pub disk: Option<usize>,
}

/// A running pool.
pub struct Stage {
    layout: Layout,
    operator: Operator,
    /// The zones' names.
    pub zones: Vec<String>,
    nodes: Vec<NodeFile>,
    spaces: Option<Spaces>,
    disk: Option<PathBuf>,
    stutters: Vec<(Arc<AtomicBool>, JoinHandle<()>)>,
    /// The pool was there before, and goes on afterwards.
    is_guest: bool,
}

impl Stage {
    /// Makes and starts a pool, or takes one that is there.
    pub fn set(options: &Options) -> Result<Self> {
        if options.directory.join("pool.toml").is_file() {
            return Self::visit(options);
        }
        let mut id = [0; 16];
        Real.fill_random(&mut id)?;
        let spaces = options.spaces.then(|| Spaces::create(options.zones.len(), options.lines)).transpose()?;
        let layout = Layout::create(&options.directory, PoolId(id))?;
        let (mut new, mut ports) = (Vec::new(), FreePorts::new()?);
        for (at, zone) in options.zones.iter().enumerate() {
            let (host, port) = match &spaces {
                Some(spaces) => (spaces.address(at), 7100),
                None => ("127.0.0.1".to_string(), ports.take()?),
            };
            new.push(NewNode {
                number: at as u64 + 1,
                zone: zone.clone(),
                host,
                port,
                policy: PolicyName::Default,
                is_carried: false,
            });
        }
        lay_out(&layout, &new, None)?;
        let (nodes, operator) = (layout.nodes()?, Operator::beside(&layout)?);
        let zones = options.zones.clone();
        let mut stage = Self { layout, operator, zones, nodes, spaces, disk: None, stutters: Vec::new(), is_guest: false };
        if let Some(zone) = options.disk {
            stage.make_disk(zone)?;
        }
        for node in &stage.nodes {
            stage.start(node)?;
        }
        form(&stage.layout, &stage.operator)?;
        for zone in 0..stage.zones.len() {
            stage.write_configuration(zone)?;
        }
        Ok(stage)
    }

    fn visit(options: &Options) -> Result<Self> {
        let told = |what: &str| {
            let place = options.directory.display();
            refuse(Code::ArgumentsBad, format!("{place} holds a pool already, which can have no {what}: name a new directory"))
        };
        if options.spaces {
            return Err(told("networks of its own"));
        }
        if options.disk.is_some() {
            return Err(told("small disk"));
        }
        let layout = Layout::open(&options.directory)?;
        let (nodes, operator) = (layout.nodes()?, Operator::of(&layout)?);
        let mut zones: Vec<String> = Vec::new();
        for node in &nodes {
            if !zones.contains(&node.zone) {
                zones.push(node.zone.clone());
            }
        }
        let stage = Self { layout, operator, zones, nodes, spaces: None, disk: None, stutters: Vec::new(), is_guest: true };
        for node in stage.nodes.iter().filter(|node| local::running(&stage.layout, node).is_none()) {
            stage.start(node)?;
        }
        stage.wait_well(false, &AtomicBool::new(false))?;
        for zone in 0..stage.zones.len() {
            stage.write_configuration(zone)?;
        }
        Ok(stage)
    }

    /// What an application of a zone is configured with.
    pub fn configuration(&self, zone: usize) -> PathBuf {
        self.layout.join(&format!("chaos-{}.toml", self.zones[zone]))
    }

    fn write_configuration(&self, zone: usize) -> Result<()> {
        let name = format!("chaos-pool-{}.toml", self.zones[zone]);
        for file in [self.layout.join(&name), self.configuration(zone)] {
            // Left by an earlier rehearsal.
            let _ = fs::remove_file(file);
        }
        // A Unix socket would lead past the cuts.
        let text = self.layout.pool_text(Some(&self.zones[zone]), self.spaces.is_none())?;
        write_new(&self.layout.join(&name), &text, 0o644)?;
        write_new(&self.configuration(zone), &format!("[pool]\nfile = \"{name}\"\n"), 0o644)
    }

    /// Leaves a pool that was there before as it was: without the rehearsal's token and files.
    pub fn leave(&self, label: &str) -> Result<()> {
        if !self.is_guest {
            return Ok(());
        }
        // An operator removes a token; its certificate counts over TCP only.
        let text = self.layout.pool_text(None, false)?.replace("\"client.", "\"operator.");
        let (pool, own) = (self.layout.join("chaos-pool-operator.toml"), self.layout.join("chaos-operator.toml"));
        fs::write(&pool, text).doing(Code::Configuration, format!("writing {}", pool.display()))?;
        fs::write(&own, "[pool]\nfile = \"chaos-pool-operator.toml\"\n").doing(Code::Configuration, "writing beside it")?;
        let program = std::env::current_exe().doing(Code::Configuration, "finding this program")?;
        let mut delete = Command::new(program);
        delete.args(["token", "delete", label, "--yes"]).env("HSMPOOL_CONF", &own).env_remove("SOFTHSM2_CONF");
        let output = delete.output().doing(Code::Configuration, "removing the rehearsal's token")?;
        for zone in 0..self.zones.len() {
            let _ = fs::remove_file(self.layout.join(&format!("chaos-pool-{}.toml", self.zones[zone])));
            let _ = fs::remove_file(self.configuration(zone));
        }
        let _ = (fs::remove_file(pool), fs::remove_file(own));
        match output.status.success() {
            true => Ok(()),
            false => Err(refuse(
                Code::DeviceError,
                format!("the token {label:?} stays in the pool: {}", String::from_utf8_lossy(&output.stderr).trim()),
            )),
        }
    }

    /// A command that runs a program as an application in a zone.
    pub fn application(&self, zone: usize, program: &Path) -> Result<Command> {
        let mut command = match &self.spaces {
            Some(spaces) => spaces.command(zone, program)?,
            None => Command::new(program),
        };
        command.env("HSMPOOL_CONF", self.configuration(zone)).env_remove("SOFTHSM2_CONF");
        Ok(command)
    }

    fn start(&self, node: &NodeFile) -> Result<()> {
        let daemon = local::daemon()?;
        let command = match &self.spaces {
            Some(spaces) => spaces.command(self.zone_of(node), &daemon)?,
            None => Command::new(&daemon),
        };
        local::start_by(command, &self.layout, node)
    }

    fn zone_of(&self, node: &NodeFile) -> usize {
        self.zones.iter().position(|zone| *zone == node.zone).unwrap_or(0)
    }

    fn pid(&self, node: &NodeFile) -> Result<u32> {
        local::running(&self.layout, node)
            .ok_or_else(|| refuse(Code::DeviceError, format!("node {} of zone {} does not run", node.node, node.zone)))
    }

    fn tell(&self, node: &NodeFile, what: Signal) -> Result<()> {
        signal(self.pid(node)?, what).doing(Code::DeviceError, format!("sending a signal to node {}", node.node))
    }

    fn of_zone(&self, zone: usize) -> Vec<NodeFile> {
        self.nodes.iter().filter(|node| node.zone == self.zones[zone]).cloned().collect()
    }

    /// Which zones a blow will strike, and which one has the leader by now.
    pub fn resolve(&self, whom: &Whom) -> Result<(Vec<usize>, Option<usize>)> {
        let leader = self.leader();
        match (whom, leader) {
            (Whom::Zones(zones), _) => Ok((zones.clone(), leader)),
            (Whom::Leader, Some(zone)) => Ok((vec![zone], leader)),
            (Whom::Leader, None) => Err(refuse(Code::DeviceError, "the pool has no leader")),
        }
    }

    /// The zone of the leader, by the first node that knows one.
    fn leader(&self) -> Option<usize> {
        let leader = self.nodes.iter().find_map(|node| self.operator.status(node).ok()?.health.leader);
        self.nodes.iter().find(|node| Some(node.node) == leader).map(|node| self.zone_of(node))
    }

    /// Whether a node of the zone has ended.
    pub fn has_ended(&self, zone: usize) -> bool {
        self.of_zone(zone).iter().any(|node| local::has_ended(&self.layout, node))
    }

    /// Deals a blow to a zone.
    pub fn strike(&mut self, zone: usize, fault: Fault) -> Result<()> {
        match fault {
            Fault::CutBoth | Fault::CutIn | Fault::CutOut | Fault::Throttle | Fault::Delay => {
                return self.spaces()?.strike(zone, fault);
            }
            Fault::FillDisk => return self.fill_disk(),
            Fault::Members => return self.change_members(zone),
            _ => {}
        }
        for node in self.of_zone(zone) {
            match fault {
                Fault::Kill => {
                    self.tell(&node, Signal::Kill)?;
                    self.wait_gone(&node)?;
                }
                Fault::Pause => self.tell(&node, Signal::Pause)?,
                Fault::Stutter => {
                    let pid = self.pid(&node)?;
                    self.stutters.push(stutter(pid));
                }
                Fault::Restart => {
                    let pid = self.pid(&node)?;
                    local::stop_one(&self.layout, &node, pid)?;
                    self.start(&node)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes a blow back.
    pub fn heal(&mut self, zone: usize, fault: Fault) -> Result<()> {
        match fault {
            Fault::CutBoth | Fault::CutIn | Fault::CutOut | Fault::Throttle | Fault::Delay => {
                return self.spaces()?.heal(zone, fault);
            }
            Fault::Stutter => self.end_stutters(),
            Fault::FillDisk => {
                if let Some(disk) = &self.disk {
                    fs::remove_file(disk.join("ballast")).doing(Code::Configuration, "emptying the disk")?;
                }
            }
            _ => {}
        }
        for node in self.of_zone(zone) {
            match fault {
                Fault::Pause => self.tell(&node, Signal::Resume)?,
                Fault::Kill => self.start(&node)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn spaces(&mut self) -> Result<&mut Spaces> {
        self.spaces.as_mut().ok_or_else(|| refuse(Code::ArgumentsBad, "cutting a zone off needs --namespaces"))
    }

    fn wait_gone(&self, node: &NodeFile) -> Result<()> {
        let deadline = Instant::now() + WELL_PATIENCE;
        // Its files, and with them its claim to the directory, are closed after its arguments have gone.
        while !local::has_ended(&self.layout, node) {
            if Instant::now() > deadline {
                return Err(refuse(Code::DeviceError, format!("node {} does not end", node.node)));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Waits until every node serves, hears of its leader and lacks nothing; `supervised`: one that has ended is started again. Gives how many were.
    ///
    /// Errors: `DeviceError`, naming the node that does not.
    pub fn wait_well(&self, supervised: bool, stop: &AtomicBool) -> Result<usize> {
        let (deadline, mut started) = (Instant::now() + WELL_PATIENCE, 0);
        for node in &self.nodes {
            let mut gone = None;
            loop {
                // A process that is just becoming the daemon cannot be told from one that is not there.
                let since = match local::running(&self.layout, node) {
                    Some(_) => None,
                    None => Some(gone.unwrap_or_else(Instant::now)),
                };
                gone = since;
                if since.is_some_and(|since| since.elapsed() > SURELY_GONE) {
                    if !supervised {
                        return Err(refuse(Code::DeviceError, format!("node {} of zone {} has ended", node.node, node.zone)));
                    }
                    self.start(node)?;
                    (gone, started) = (None, started + 1);
                }
                let status = self.operator.status(node);
                if status.as_ref().is_ok_and(|status| status.health.is_well() && status.health.leader.is_some()) {
                    break;
                }
                if Instant::now() > deadline || stop.load(Ordering::Acquire) {
                    let told = format!("node {} of zone {} is not well again", node.node, node.zone);
                    return Err(match status {
                        Ok(_) => refuse(Code::DeviceError, told),
                        Err(cause) => refuse(Code::DeviceError, told).because(cause),
                    });
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(started)
    }

    fn make_disk(&mut self, zone: usize) -> Result<()> {
        if !crate::sys::user::is_root() {
            return Err(refuse(Code::Configuration, "disk-full needs root: it mounts a small disk for the node"));
        }
        for node in self.of_zone(zone) {
            let place = self.layout.node(node.node).join("data");
            fs::create_dir_all(&place).doing(Code::Configuration, format!("making {}", place.display()))?;
            let options = format!("size={DISK},mode=0700");
            let words = ["-t", "tmpfs", "-o", &options, "none"].map(Into::into);
            run(&tool("mount", "mount")?, &[&words[..], &[place.clone().into_os_string()]].concat())?;
            self.disk = Some(place);
        }
        Ok(())
    }

    /// Not a byte is left.
    fn fill_disk(&self) -> Result<()> {
        let disk = self.disk.as_ref().ok_or_else(|| refuse(Code::ArgumentsBad, "no node has a small disk"))?;
        let file = disk.join("ballast");
        let mut ballast = File::create(&file).doing(Code::Configuration, format!("making {}", file.display()))?;
        for piece in [1 << 20, 4096, 1] {
            while ballast.write_all(&vec![0; piece]).is_ok() {}
        }
        Ok(())
    }

    /// A node comes, votes, leads, and goes.
    fn change_members(&mut self, zone: usize) -> Result<()> {
        let number = crate::cli::pool::change::next_number(&self.layout, &self.operator, &self.nodes)?;
        let (host, port) = match &self.spaces {
            Some(spaces) => (spaces.address(zone), 7200),
            None => ("127.0.0.1".to_string(), FreePorts::new()?.take()?),
        };
        let policy = self.nodes.first().map_or(PolicyName::Default, |node| node.policy);
        self.layout.add_node(&NewNode { number, zone: self.zones[zone].clone(), host, port, policy, is_carried: false })?;
        let before = std::mem::replace(&mut self.nodes, self.layout.nodes()?);
        let new = self.nodes.iter().find(|node| node.node == number).cloned();
        let new = new.ok_or_else(|| refuse(Code::Configuration, "the new node has no directory"))?;
        self.start(&new)?;
        self.operator.wait(&new, "serving", |status| status.health.serves)?;
        self.operator.ask_any(&before, &Operate::AddLearner { node: number, member: member(&new) })?;
        let mut voters: BTreeSet<u64> = before.iter().map(|node| node.node).collect();
        voters.insert(number);
        self.operator.ask_any(&before, &Operate::ChangeVoters { voters, force: false })?;
        self.operator.ask_any(&before, &Operate::TransferLeader { to: number })?;
        self.operator.wait(&new, "leading", |status| status.health.leader == Some(number))?;
        let heir = before.first().map_or(1, |node| node.node);
        self.operator.ask_any(&before, &Operate::TransferLeader { to: heir })?;
        self.operator.ask_any(&before, &Operate::Remove { node: number })?;
        let pid = self.pid(&new)?;
        local::stop_one(&self.layout, &new, pid)?;
        let (from, to) = (self.layout.node(number), self.layout.join(&format!("removed-node{number}")));
        fs::rename(&from, &to).doing(Code::Configuration, format!("moving {} away", from.display()))?;
        self.nodes = before;
        Ok(())
    }

    fn end_stutters(&mut self) {
        for (stop, thread) in self.stutters.drain(..) {
            stop.store(true, Ordering::Release);
            // It sends signals and sleeps: there is nothing in it that could panic.
            let _ = thread.join();
        }
    }
}

/// Stops a process most of the time, until it is told to stop that.
fn stutter(pid: u32) -> (Arc<AtomicBool>, JoinHandle<()>) {
    let stop = Arc::new(AtomicBool::new(false));
    let told = stop.clone();
    let thread = std::thread::spawn(move || {
        while !told.load(Ordering::Acquire) {
            // One that has ended needs no signals.
            let _ = signal(pid, Signal::Pause);
            std::thread::sleep(STILL);
            let _ = signal(pid, Signal::Resume);
            std::thread::sleep(RUNS);
        }
    });
    (stop, thread)
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.end_stutters();
        for node in self.layout.nodes().unwrap_or_default() {
            let Some(pid) = local::running(&self.layout, &node) else { continue };
            // One that is stopped in its tracks must go on to be able to end, or to be left as it was.
            let _ = signal(pid, Signal::Resume);
            if !self.is_guest {
                let _ = signal(pid, Signal::Kill);
                let _ = self.wait_gone(&node);
            }
        }
        if let Some(disk) = &self.disk {
            let unmounted =
                tool("umount", "mount").and_then(|umount| run(&umount, &["-l".into(), disk.clone().into_os_string()]));
            if let Err(error) = unmounted {
                eprintln!("hsmpool: {error}");
            }
        }
    }
}
