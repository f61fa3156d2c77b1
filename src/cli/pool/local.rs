//! Nodes that run on this machine, for trying: started, found and stopped by the files in the pool's directory.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::layout::Layout;
use super::reach::Operator;
use crate::config::pool::NodeFile;
use crate::error::{Code, Doing, Result, refuse};
use crate::sys::process::{Signal, signal};

/// How long a node may take to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

pub fn start(directory: &Path, zone: Option<&str>) -> Result<()> {
    let layout = Layout::open(directory)?;
    let operator = Operator::of(&layout)?;
    for node in chosen(&layout, zone)? {
        if let Some(pid) = running(&layout, &node) {
            println!("node {} of zone {} runs already (process {pid})", node.node, node.zone);
            continue;
        }
        start_one(&layout, &node)?;
        operator.wait(&node, "serving", |status| status.health.serves)?;
        println!("node {} of zone {} runs", node.node, node.zone);
    }
    Ok(())
}

pub fn stop(directory: &Path, zone: Option<&str>) -> Result<()> {
    let layout = Layout::open(directory)?;
    for node in chosen(&layout, zone)? {
        match running(&layout, &node) {
            Some(pid) => {
                stop_one(&layout, &node, pid)?;
                println!("node {} of zone {} is stopped", node.node, node.zone);
            }
            None => println!("node {} of zone {} does not run", node.node, node.zone),
        }
    }
    Ok(())
}

fn chosen(layout: &Layout, zone: Option<&str>) -> Result<Vec<NodeFile>> {
    let mut nodes = layout.nodes()?;
    nodes.retain(|node| zone.is_none_or(|zone| node.zone == zone));
    match (nodes.is_empty(), zone) {
        (true, Some(zone)) => {
            Err(refuse(Code::ArgumentsBad, format!("no node of {} is in zone {zone}", layout.directory.display())))
        }
        _ => Ok(nodes),
    }
}

/// Starts the daemon that stands beside this command, with its log in the node's directory.
pub fn start_one(layout: &Layout, node: &NodeFile) -> Result<()> {
    let daemon = daemon()?;
    start_by(Command::new(&daemon), layout, node)
}

/// As `start_one`, by a command that only lacks the daemon's arguments.
pub fn start_by(mut daemon: Command, layout: &Layout, node: &NodeFile) -> Result<()> {
    let directory = layout.node(node.node);
    let log = directory.join("log");
    let open = || {
        OpenOptions::new().create(true).append(true).open(&log).doing(Code::Configuration, format!("opening {}", log.display()))
    };
    let child = daemon
        .arg("--config")
        .arg(directory.join("hsmpoold.toml"))
        .stdin(Stdio::null())
        .stdout(open()?)
        .stderr(open()?)
        // What ends the terminal's programs does not end the pool.
        .process_group(0)
        .spawn()
        .doing(Code::Configuration, format!("starting node {}", node.node))?;
    fs::write(directory.join("pid"), child.id().to_string()).doing(Code::Configuration, "noting the process")
}

/// Where the daemon is. Errors: `Configuration`.
pub fn daemon() -> Result<PathBuf> {
    let own = std::env::current_exe().doing(Code::Configuration, "finding hsmpoold")?;
    let daemon = own.with_file_name("hsmpoold");
    if daemon.is_file() {
        return Ok(daemon);
    }
    Err(refuse(Code::Configuration, format!("{} is missing: it is installed beside hsmpool", daemon.display())))
}

/// The process of a node, if it runs.
pub fn running(layout: &Layout, node: &NodeFile) -> Option<u32> {
    let directory = layout.node(node.node);
    let pid: u32 = fs::read_to_string(directory.join("pid")).ok()?.trim().parse().ok()?;
    // The number may be another program's by now.
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let own = directory.join("hsmpoold.toml");
    command.split(|byte| *byte == 0).any(|argument| argument == own.as_os_str().as_encoded_bytes()).then_some(pid)
}

pub fn stop_one(layout: &Layout, node: &NodeFile, pid: u32) -> Result<()> {
    signal(pid, Signal::Terminate).doing(Code::DeviceError, format!("stopping node {} (process {pid})", node.node))?;
    let deadline = Instant::now() + STOP_PATIENCE;
    while running(layout, node).is_some() {
        if Instant::now() > deadline {
            return Err(refuse(Code::DeviceError, format!("node {} (process {pid}) does not stop", node.node)));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
