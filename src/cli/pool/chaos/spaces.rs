//! One network namespace for each zone, on a bridge in one more: made, cut, throttled and removed by `ip` and `tc`; lines that get long are a process each.
//!
//! Nothing of it shows in the machine's own network: names carry this process's number, addresses exist in the namespaces only.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::line::Line;
use super::schedule::Fault;
use crate::error::{Code, Doing, Result, refuse};

/// How every namespace of ours begins; the process's number follows.
const PREFIX: &str = "hsmpool-chaos-";
/// Each zone's own link.
const LINK: &str = "eth0";
/// What a throttled zone sends at most.
const THROTTLED: &str = "256kbit";
/// How late each packet is on a long line, each way.
const LATE: Duration = Duration::from_millis(100);
/// "Every packet is dropped", as a program of the kernel's packet filter: the one classifier that every kernel with `clsact` has. It
/// judges IP only: addresses go on being resolved, so that the zone is silent, not refused.
const DROP: &str = "1,6 0 0 2";

/// The namespaces of one rehearsal. Gone when it is dropped.
pub struct Spaces {
    zones: Vec<String>,
    /// The zones' lines, where they can be made long.
    lines: Vec<Line>,
}

/// A program, looked up along `PATH` and the administrator's directories. Errors: `Configuration`, with the package to install.
pub fn tool(name: &str, package: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let found = places.map(|place| place.join(name)).find(|file| file.is_file());
    found.ok_or_else(|| refuse(Code::Configuration, format!("{name} is missing: install the package {package}")))
}

/// Runs a program to its success. Errors: `Configuration`, with what it said.
pub fn run<A: AsRef<OsStr>>(program: &Path, arguments: &[A]) -> Result<String> {
    let told = || {
        let words: Vec<_> = arguments.iter().map(|word| word.as_ref().to_string_lossy()).collect();
        format!("{} {}", program.display(), words.join(" "))
    };
    let output = Command::new(program).args(arguments).output().doing(Code::Configuration, format!("running {}", told()))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => {
            Err(refuse(Code::Configuration, format!("{} failed: {}", told(), String::from_utf8_lossy(&output.stderr).trim())))
        }
    }
}

fn ip(words: &str) -> Result<String> {
    run(&tool("ip", "iproute2")?, &words.split_whitespace().collect::<Vec<_>>())
}

/// Traffic control. The filter's program is one argument.
fn tc(words: &str, more: &[&str]) -> Result<String> {
    run(&tool("tc", "iproute2")?, &words.split_whitespace().chain(more.iter().copied()).collect::<Vec<_>>())
}

impl Spaces {
    /// Makes a namespace for each zone; `lines`: its line can be made long. Errors: `Configuration`: not root, or a program is missing.
    pub fn create(zones: usize, lines: bool) -> Result<Self> {
        if !crate::sys::user::is_root() {
            return Err(refuse(Code::Configuration, "--namespaces needs root: it makes network namespaces"));
        }
        tool("tc", "iproute2")?;
        sweep()?;
        let own = std::process::id();
        // Held from the first one on: whatever exists when a later step fails is removed.
        let mut made = Self { zones: Vec::new(), lines: Vec::new() };
        let hub = made.hub();
        ip(&format!("netns add {hub}"))?;
        ip(&format!("-n {hub} link add name br0 type bridge"))?;
        ip(&format!("-n {hub} link set br0 up"))?;
        for zone in 0..zones {
            let name = format!("{PREFIX}{own}-z{zone}");
            ip(&format!("netns add {name}"))?;
            made.zones.push(name.clone());
            match lines {
                false => drop(ip(&format!("link add {LINK} netns {name} type veth peer name port{zone} netns {hub}"))?),
                true => {
                    let (near, far) = (format!("near{zone}"), format!("port{zone}"));
                    made.lines.push(Line::start(|program| inside(&hub, program), &near, &far)?);
                    ip(&format!("-n {hub} link set {near} netns {name} name {LINK}"))?;
                }
            }
            ip(&format!("-n {hub} link set port{zone} master br0"))?;
            ip(&format!("-n {hub} link set port{zone} up"))?;
            ip(&format!("-n {name} addr add {}/24 dev {LINK}", made.address(zone)))?;
            ip(&format!("-n {name} link set {LINK} up"))?;
            ip(&format!("-n {name} link set lo up"))?;
            tc(&format!("-n {name} qdisc add dev {LINK} clsact"), &[])?;
        }
        Ok(made)
    }

    fn hub(&self) -> String {
        format!("{PREFIX}{}-hub", std::process::id())
    }

    /// Where a zone's programs listen.
    pub fn address(&self, zone: usize) -> String {
        format!("10.99.0.{}", zone + 1)
    }

    /// A command that runs a program inside a zone.
    pub fn command(&self, zone: usize, program: &Path) -> Result<Command> {
        inside(&self.zones[zone], program)
    }

    fn is_late(&mut self, zone: usize, late: Duration) -> Result<()> {
        self.lines[zone].is_late(late)
    }

    /// Cuts a zone off, throttles it, or makes its line long.
    pub fn strike(&mut self, zone: usize, fault: Fault) -> Result<()> {
        let name = &self.zones[zone];
        let cut = |way: &str| {
            let words = format!("-n {name} filter add dev {LINK} {way} protocol ip prio 1 bpf da bytecode");
            tc(&words, &[DROP]).map(drop_text)
        };
        match fault {
            Fault::CutBoth => cut("ingress").and_then(|()| cut("egress")),
            Fault::CutIn => cut("ingress"),
            Fault::CutOut => cut("egress"),
            Fault::Throttle => {
                tc(&format!("-n {name} qdisc add dev {LINK} root tbf rate {THROTTLED} burst 8kb latency 400ms"), &[])
                    .map(drop_text)
            }
            Fault::Delay => self.is_late(zone, LATE),
            _ => Ok(()),
        }
    }

    /// Takes it back.
    pub fn heal(&mut self, zone: usize, fault: Fault) -> Result<()> {
        let name = &self.zones[zone];
        let open = |way: &str| tc(&format!("-n {name} filter del dev {LINK} {way} protocol ip prio 1"), &[]).map(drop_text);
        match fault {
            Fault::CutBoth => open("ingress").and_then(|()| open("egress")),
            Fault::CutIn => open("ingress"),
            Fault::CutOut => open("egress"),
            Fault::Throttle => tc(&format!("-n {name} qdisc del dev {LINK} root"), &[]).map(drop_text),
            Fault::Delay => self.is_late(zone, Duration::ZERO),
            _ => Ok(()),
        }
    }
}

fn drop_text(_: String) {}

/// A command that runs a program inside a namespace.
fn inside(space: &str, program: &Path) -> Result<Command> {
    let mut command = Command::new(tool("ip", "iproute2")?);
    command.args(["netns", "exec", space]).arg(program);
    Ok(command)
}

impl Drop for Spaces {
    fn drop(&mut self) {
        for name in self.zones.iter().chain([&self.hub()]) {
            if let Err(error) = ip(&format!("netns del {name}")) {
                eprintln!("hsmpool: {error}");
            }
        }
    }
}

/// Removes what a rehearsal left that was killed itself.
fn sweep() -> Result<()> {
    for line in ip("netns list")?.lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()).and_then(|pid| pid.parse::<u32>().ok());
        if process.is_some_and(|pid| fs::metadata(format!("/proc/{pid}")).is_err()) {
            ip(&format!("netns del {name}"))?;
        }
    }
    Ok(())
}
