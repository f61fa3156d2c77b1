//! Nodes that run on this machine, for trying: started, found and stopped by the files in the pool's directory.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::layout::Layout;
use super::reach::Operator;
use crate::cli::told::tell;
use crate::config::pool::NodeFile;
use crate::error::{Code, Doing, Error, Result, refuse};
use crate::sys::process::{Signal, signal};

/// How long a node may take to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(20);
/// How long a process that was started may take to become the node's.
const START_PATIENCE: Duration = Duration::from_secs(2);
/// So many of the last lines of a node's log are told when it has ended by itself.
const LAST_LINES: usize = 5;

pub fn start(directory: &Path, zone: Option<&str>, as_json: bool) -> Result<()> {
    let layout = Layout::open(directory)?;
    let operator = Operator::shown(&layout)?;
    let (mut lines, mut rows) = (Vec::new(), Vec::new());
    for node in chosen(&layout, zone)? {
        let before = running(&layout, &node);
        if layout.is_peer(node.node) {
            lines.push(format!("node {} of zone {} runs in its application's process, which starts it", node.node, node.zone));
            continue;
        }
        if before.is_none() {
            if operator.status(&node).is_ok() {
                lines.push(format!("node {} of zone {} runs already, and was not started here", node.node, node.zone));
                rows.push(json!({ "node": node.node, "zone": node.zone, "process": null, "started": false, "answers": true }));
                continue;
            }
            start_one(&layout, &node)?;
            operator.wait_for_own(&node, "serving", |status| status.health.serves)?;
        }
        lines.push(match before {
            Some(pid) => format!("node {} of zone {} runs already (process {pid})", node.node, node.zone),
            None => format!("node {} of zone {} runs", node.node, node.zone),
        });
        let process = before.or_else(|| running(&layout, &node));
        rows.push(json!({ "node": node.node, "zone": node.zone, "process": process, "started": before.is_none() }));
    }
    tell(as_json, lines.join("\n"), &json!({ "nodes": rows }));
    Ok(())
}

pub fn stop(directory: &Path, zone: Option<&str>, as_json: bool) -> Result<()> {
    let layout = Layout::open(directory)?;
    let operator = Operator::shown(&layout)?;
    let progress = operator.progress();
    let (mut lines, mut rows) = (Vec::new(), Vec::new());
    let mut failed: Result<()> = Ok(());
    for node in chosen(&layout, zone)? {
        let before = running(&layout, &node);
        if layout.is_peer(node.node) {
            lines.push(format!("node {} of zone {} runs in its application's process, and is left alone", node.node, node.zone));
            continue;
        }
        if let Some(pid) = before {
            progress.now(&format!("node {} of zone {} drains: clients are sent elsewhere", node.node, node.zone));
            let stopped = stop_one(&layout, &node, pid);
            if stopped.is_err() {
                // The others are stopped all the same.
                failed = failed.and(stopped);
                continue;
            }
        }
        let answers = before.is_none() && operator.status(&node).is_ok();
        let did = match (before.is_some(), answers) {
            (true, _) => "is stopped",
            (false, true) => "runs elsewhere",
            (false, false) => "does not run here",
        };
        lines.push(format!("node {} of zone {} {did}", node.node, node.zone));
        rows.push(json!({ "node": node.node, "zone": node.zone, "stopped": before.is_some(), "answers": answers }));
        if answers {
            failed = failed.and(Err(elsewhere(&node)));
        }
    }
    progress.rest();
    // A program gets one value: what was done, or why not all was.
    if failed.is_err() && as_json {
        return failed;
    }
    tell(as_json, lines.join("\n"), &json!({ "nodes": rows }));
    failed
}

fn elsewhere(node: &NodeFile) -> Error {
    let (number, zone) = (node.node, &node.zone);
    let told = format!("node {number} of zone {zone} answers, and was not started by `hsmpool pool start` here");
    refuse(Code::ArgumentsBad, format!("{told}: stop it where it runs (`systemctl stop hsmpoold`)"))
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
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    is_of(layout, node, &arguments).then_some(pid)
}

/// The process of a node that may have been started at this moment: for a while it has no arguments yet, by which it is known.
pub fn just_started(layout: &Layout, node: &NodeFile) -> Option<u32> {
    let (deadline, has_process) = (Instant::now() + START_PATIENCE, layout.node(node.node).join("pid").is_file());
    loop {
        let found = running(layout, node);
        if found.is_some() || !has_process || has_ended(layout, node) || Instant::now() >= deadline {
            return found;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process with these arguments (proc(5), `cmdline`) is a node's.
fn is_of(layout: &Layout, node: &NodeFile, arguments: &[u8]) -> bool {
    let own = layout.node(node.node).join("hsmpoold.toml");
    arguments.split(|byte| *byte == 0).any(|argument| argument == own.as_os_str().as_encoded_bytes())
}

/// Whether a node that was started here has ended since.
pub fn has_ended(layout: &Layout, node: &NodeFile) -> bool {
    let Ok(pid) = fs::read_to_string(layout.node(node.node).join("pid")) else { return false };
    let of_process = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", pid.trim()));
    let Ok(stat) = of_process("stat") else { return true };
    // The state stands after the program's name, in parentheses (proc(5)): a corpse that nobody has collected yet.
    let is_dead = stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['Z', 'X']));
    // One that has only just been started has no arguments for a moment, and so has one that becomes another program (`ip netns exec` does): they are
    // looked at once. Other arguments are another program's.
    let is_another = of_process("cmdline").is_ok_and(|found| !found.is_empty() && !is_of(layout, node, found.as_bytes()));
    is_dead || is_another
}

/// What is told of a node that has ended: the last that it said.
pub fn ended(layout: &Layout, node: &NodeFile) -> Error {
    let log = layout.node(node.node).join("log");
    let text = fs::read_to_string(&log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n  ");
    refuse(
        Code::DeviceError,
        format!("the process of node {} of zone {} has ended; the end of {}:\n  {last}\n", node.node, node.zone, log.display()),
    )
}

pub fn stop_one(layout: &Layout, node: &NodeFile, pid: u32) -> Result<()> {
    signal(pid, Signal::Terminate).doing(Code::DeviceError, format!("stopping node {} (process {pid})", node.node))?;
    let deadline = Instant::now() + STOP_PATIENCE;
    while running(layout, node).is_some() {
        if Instant::now() > deadline {
            return Err(refuse(
                Code::DeviceError,
                format!(
                    "node {} (process {pid}) still runs {} s after it was asked to stop: see {}, or end it with kill -9 {pid}",
                    node.node,
                    STOP_PATIENCE.as_secs(),
                    layout.node(node.node).join("log").display()
                ),
            ));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
