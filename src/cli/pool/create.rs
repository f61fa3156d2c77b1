//! `hsmpool pool create`.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use clap::builder::NonEmptyStringValueParser;
use clap::error::ErrorKind;
use serde_json::json;

use super::layout::{CERTIFICATE_DAYS, Layout, NewNode, host_and_port, write_new};
use super::local;
use super::reach::Operator;
use super::source::{Copied, Source};
use crate::cli::told::tell;
use crate::config::PolicyName;
use crate::config::pool::{NodeFile, PoolId};
use crate::error::{Code, Error, Result, refuse};
use crate::log::raft::Member;
use crate::node::Operate;
use crate::partition::make_root_key;
use crate::wire::Name;
use crate::wire::pki::Authority;
use crate::world::{Real, World};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    plan: Plan,
    /// Sets up and starts the whole pool on this machine, for trying
    #[arg(long, value_name = "DIR", required_unless_present = "directory")]
    local: Option<PathBuf>,
    /// Only lays the files out, to be carried to the nodes' machines
    #[arg(long = "dir", value_name = "DIR", conflicts_with = "local")]
    directory: Option<PathBuf>,
}

/// What a new pool is to be.
#[derive(Clone, clap::Args)]
pub struct Plan {
    /// The zones, one node in each: three or more, an odd number
    #[arg(long, value_delimiter = ',', required = true, value_parser = NonEmptyStringValueParser::new())]
    pub zones: Vec<String>,
    /// Where a zone's node listens: clients connect to this port, other nodes to the next one, operations is the one after that
    #[arg(long = "address", value_name = "ZONE=HOST:PORT")]
    pub addresses: Vec<String>,
    /// An embedded store that becomes the first partition, with its tokens, object ids and serial numbers; it is copied, and must not be in use
    #[arg(long, value_name = "STORE")]
    pub from: Option<PathBuf>,
    /// The root key of that store; otherwise the one that the configuration names for it, or that lies beside it
    #[arg(long, value_name = "FILE", requires = "from")]
    pub root_key_file: Option<PathBuf>,
    /// The policy of new tokens: compatible (SoftHSM's defaults, with their risks), default, strict
    #[arg(long, value_name = "NAME", default_value_t = PolicyName::Default)]
    pub policy: PolicyName,
}

pub fn run(arguments: &Arguments, as_json: bool) -> Result<()> {
    let (directory, is_local) = match (&arguments.local, &arguments.directory) {
        (Some(local), _) => (local, true),
        (None, Some(directory)) => (directory, false),
        (None, None) => return Err(refuse(Code::ArgumentsBad, "--local DIR or --dir DIR is needed")),
    };
    if let Err(wrong) = plan_is_good(&arguments.plan, is_local) {
        // A wrong command line, as clap tells of others.
        clap::Error::raw(ErrorKind::ValueValidation, format!("{wrong}\n")).exit();
    }
    let (layout, copied) = begin(directory, &arguments.plan, is_local)?;
    let mut value = summary(&layout)?;
    value["from"] = json!(copied.as_ref().map(Copied::to_json));
    let before = copied.map(|copied| format!("{copied}\n")).unwrap_or_default();
    if !is_local {
        tell(as_json, before + &next_steps(&layout), &value);
        return Ok(());
    }
    start(&layout).map_err(|error| undo(&layout, error))?;
    let text = format!(
        "{before}The pool runs: {} nodes in {1}.\n  export HSMPOOL_CONF={1}/hsmpool.toml\n  hsmpool pool status --dir {1}",
        arguments.plan.zones.len(),
        layout.directory.display()
    );
    tell(as_json, text, &value);
    Ok(())
}

/// Starts the nodes of a new pool on this machine, and makes them one group.
fn start(layout: &Layout) -> Result<()> {
    let operator = Operator::shown(layout)?;
    for node in layout.nodes()? {
        local::start_one(layout, &node)?;
    }
    form(layout, &operator)
}

/// A pool that could not be started or formed: its nodes are stopped and its files go, so that the same command can be given again.
fn undo(layout: &Layout, error: Error) -> Error {
    let (mut left, directory) = (None, layout.directory.display());
    for node in layout.nodes().unwrap_or_default() {
        let stopped = local::just_started(layout, &node).map_or(Ok(()), |pid| local::stop_one(layout, &node, pid));
        left = left.or(stopped.err());
    }
    if let Some(cause) = left {
        let told = format!(
            "the pool was not made ({error}), and a node of it still runs: when it has ended (`hsmpool pool stop --local {directory}`), remove {directory}"
        );
        return refuse(error.code(), told).because(cause);
    }
    layout.clear();
    match layout.directory.exists() {
        false => refuse(error.code(), "the pool was not made, and nothing of it is left").because(error),
        true => {
            refuse(error.code(), format!("the pool was not made, and {directory} could not be removed: do so")).because(error)
        }
    }
}

/// Lays the files of a new pool out: all of them, or none. What comes from a store is told.
pub fn begin(directory: &Path, plan: &Plan, is_local: bool) -> Result<(Layout, Option<Copied>)> {
    let nodes = new_nodes(plan, is_local)?;
    let root_key_file = plan.root_key_file.as_deref();
    let source = plan.from.as_deref().map(|store| Source::open(store, root_key_file)).transpose()?;
    let mut id = [0; 16];
    Real.fill_random(&mut id)?;
    let layout = Layout::create(directory, PoolId(id))?;
    match lay_out(&layout, &nodes, source) {
        Ok(copied) => Ok((layout, copied)),
        Err(error) => {
            layout.clear();
            Err(error)
        }
    }
}

/// Whether zones and addresses fit together. Errors: what is wrong, in words.
fn plan_is_good(plan: &Plan, is_local: bool) -> std::result::Result<(), String> {
    let zones = &plan.zones;
    let different: BTreeSet<&String> = zones.iter().collect();
    if zones.len() < 3 || zones.len().is_multiple_of(2) || different.len() != zones.len() {
        let told =
            "a pool has three or more different zones, an odd number of them: then it outlives the loss of one (--zones a,b,c)";
        return Err(told.to_string());
    }
    let (mut places, mut placed): (Vec<(String, &str)>, BTreeSet<&str>) = Default::default();
    for address in &plan.addresses {
        let (zone, place) = address.split_once('=').ok_or_else(|| format!("--address {address} is not ZONE=HOST:PORT"))?;
        if !zones.iter().any(|known| known == zone) {
            return Err(format!("--address {address}: zone {zone:?} is not among --zones {}", zones.join(",")));
        }
        if !placed.insert(zone) {
            return Err(format!("--address {address}: zone {zone} has an address already, and one node"));
        }
        let (host, port) = host_and_port(place).map_err(|error| error.to_string())?;
        let new = NewNode { number: 0, zone: zone.to_string(), host, port, policy: plan.policy, is_carried: !is_local };
        for place in new.places() {
            if let Some((_, other)) = places.iter().find(|(known, _)| *known == place) {
                return Err(format!(
                    "--address {address} meets {other} at {place}: a node uses three ports from the named one on"
                ));
            }
            places.push((place, address));
        }
    }
    let missing = zones.iter().find(|zone| !placed.contains(zone.as_str()));
    match missing.filter(|_| !is_local) {
        Some(zone) => Err(format!("--address {zone}=HOST:PORT is missing")),
        None => Ok(()),
    }
}

fn summary(layout: &Layout) -> Result<serde_json::Value> {
    let one = |node: &NodeFile| json!({ "node": node.node, "zone": node.zone, "addresses": node.listen.clients });
    let nodes: Vec<_> = layout.nodes()?.iter().map(one).collect();
    let configuration = layout.join("hsmpool.toml");
    Ok(json!({ "pool": layout.pool.to_string(), "directory": layout.directory, "configuration": configuration, "nodes": nodes }))
}

fn next_steps(layout: &Layout) -> String {
    format!(
        "The pool's files are in {0}. Now:\n  \
           1. carry each nodeN/ to its machine and start `hsmpoold --config nodeN/hsmpoold.toml` there\n  \
           2. here: hsmpool pool form --dir {0}\n  \
           3. keep {0}/ca/ca.key and {0}/root.key in a safe, with a copy of the rest of {0}/ca: without the root key no node can be read",
        layout.directory.display()
    )
}

fn new_nodes(plan: &Plan, is_local: bool) -> Result<Vec<NewNode>> {
    let (mut nodes, mut ports) = (Vec::new(), FreePorts::new()?);
    for (at, zone) in plan.zones.iter().enumerate() {
        let given = plan
            .addresses
            .iter()
            .find_map(|address| address.split_once('=').filter(|(of, _)| of == zone).map(|(_, place)| place));
        let (host, port) = match given {
            Some(place) => host_and_port(place)?,
            None if is_local => ("127.0.0.1".to_string(), ports.take()?),
            None => return Err(refuse(Code::ArgumentsBad, format!("--address {zone}=HOST:PORT is missing"))),
        };
        let (number, zone) = (at as u64 + 1, zone.clone());
        nodes.push(NewNode { number, zone, host, port, policy: plan.policy, is_carried: !is_local });
    }
    Ok(nodes)
}

/// Ports for nodes on this machine, three in a row for each. They lie below those that the kernel gives to outgoing connections, one of
/// which could take a port before its node listens there.
pub struct FreePorts {
    next: u16,
}

impl FreePorts {
    const FIRST: u16 = 10_000;
    const TRIPLES: u16 = 7_000;

    /// Begins anywhere, so that pools that are made at the same time do not meet.
    pub fn new() -> Result<Self> {
        let mut turn = [0; 2];
        Real.fill_random(&mut turn)?;
        Ok(Self { next: u16::from_ne_bytes(turn) % Self::TRIPLES })
    }

    /// The first of three ports that nobody uses now and that were not given before. Errors: `Configuration` when there are none.
    pub fn take(&mut self) -> Result<u16> {
        for _ in 0..Self::TRIPLES {
            let first = Self::FIRST + 3 * self.next;
            self.next = (self.next + 1) % Self::TRIPLES;
            if (first..first + 3).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
                return Ok(first);
            }
        }
        Err(refuse(Code::Configuration, "no three free ports in a row were found on this machine"))
    }
}

/// Everything but the running.
pub fn lay_out(layout: &Layout, nodes: &[NewNode], from: Option<Source>) -> Result<Option<Copied>> {
    let authority = Authority::create(&layout.join("ca"), layout.pool.0)?;
    authority.issue(&Name::Operator("operator".to_string()), CERTIFICATE_DAYS, &layout.join("operator"))?;
    authority.issue(&Name::Client { name: "app".to_string(), tokens: None }, CERTIFICATE_DAYS, &layout.join("client"))?;
    match &from {
        Some(source) => source.copy_root_key(&layout.join("root.key"))?,
        None => make_root_key(&layout.join("root.key"), &Real)?,
    }
    for node in nodes {
        layout.add_node(node)?;
    }
    write_new(
        &layout.join("hsmpool.toml"),
        "# The pool beside this file stands behind the module.\n[pool]\nfile = \"pool.toml\"\n",
        0o644,
    )?;
    layout.write_pool_file()?;
    // Last, so that little time is left in which somebody opens the store.
    let first = nodes.first().map(|node| layout.node(node.number).join("data"));
    from.zip(first).map(|(source, data)| source.copy_into(&data)).transpose()
}

/// The first node begins a group; the others follow it, and vote once they have caught up.
pub fn form(layout: &Layout, operator: &Operator) -> Result<()> {
    let nodes = layout.nodes()?;
    let Some((first, others)) = nodes.split_first() else { return Ok(()) };
    for node in &nodes {
        operator.wait(node, "serving", |status| status.health.serves)?;
    }
    operator.ask(first, &Operate::Begin)?;
    operator.wait(first, "leading", |status| status.health.leader == Some(first.node))?;
    for node in others {
        operator.ask(first, &Operate::AddLearner { node: node.node, member: member(node) })?;
    }
    let voters: BTreeSet<u64> = nodes.iter().map(|node| node.node).collect();
    operator.ask(first, &Operate::ChangeVoters { voters: voters.clone(), force: false })?;
    for node in &nodes {
        operator.wait(node, "a voter that has caught up", |status| {
            status.turnover.is_none() && status.voters_to_be() == voters && status.health.in_contact && status.health.is_useful()
        })?;
    }
    Ok(())
}

/// A node as the group knows it.
pub fn member(node: &NodeFile) -> Member {
    let address = node.listen.advertise.clone().unwrap_or_else(|| node.listen.peers.clone());
    Member { zone: node.zone.clone(), region: node.region.clone(), address }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::store::tests::fixtures::Directory;

    fn plan(zones: &str, addresses: &[&str]) -> Plan {
        Plan {
            zones: zones.split(',').map(str::to_string).collect(),
            addresses: addresses.iter().map(ToString::to_string).collect(),
            from: None,
            root_key_file: None,
            policy: PolicyName::Default,
        }
    }

    #[test]
    fn a_plan_that_does_not_fit_together_is_told_in_words() {
        let all = ["a=h1:7100", "b=h2:7100", "c=h3:7100"];
        assert_eq!(plan_is_good(&plan("a,b,c", &all), false), Ok(()));
        assert_eq!(plan_is_good(&plan("a,b,c", &[]), true), Ok(()));
        for (zones, addresses, word) in [
            ("a,b", &all[..2], "odd number"),
            ("a,b,b", &all[..2], "different zones"),
            ("a,b,c", &all[..2], "--address c=HOST:PORT is missing"),
            ("a,b,c", &[all[0], all[1], all[2], "d=h4:7100"], "\"d\" is not among --zones a,b,c"),
            ("a,b,c", &[all[0], all[1], "h3:7100"], "is not ZONE=HOST:PORT"),
            ("a,b,c", &[all[0], all[1], all[2], "a=h4:7100"], "zone a has an address already"),
            ("a,b,c", &[all[0], all[1], "c=H1:7102"], "meets a=h1:7100 at h1:7102"),
        ] {
            let told = plan_is_good(&plan(zones, addresses), false).unwrap_err();
            assert!(told.contains(word), "{told}");
        }
    }

    #[test]
    fn a_local_pool_that_cannot_be_formed_leaves_neither_nodes_nor_files() {
        let directory = Directory::new();
        let pool = directory.path().join("pool");
        let (layout, _) = begin(&pool, &plan("a,b,c", &[]), true).unwrap();
        let nodes = layout.nodes().unwrap();
        // Something that goes on until it is told to end, as a node does; the third could not be started.
        let endless = || {
            let mut command = std::process::Command::new("sh");
            command.args(["-c", "while :; do sleep 0.1; done"]);
            command
        };
        for node in &nodes[..2] {
            local::start_by(endless(), &layout, node).unwrap();
        }
        let pids: Vec<u32> = nodes.iter().filter_map(|node| local::just_started(&layout, node)).collect();
        assert_eq!(pids.len(), 2);
        let told = undo(&layout, refuse(Code::DeviceError, "the port is taken")).to_string();
        assert!(told.contains("nothing of it is left") && told.contains("the port is taken"), "{told}");
        assert!(!pool.exists(), "no debris");
        let is_alive = |pid: &u32| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|found| !found.is_empty());
        assert!(!pids.iter().any(is_alive), "none goes on");
        begin(&pool, &plan("a,b,c", &[]), true).unwrap();
    }

    #[test]
    fn what_was_written_before_a_failure_is_gone_after_it() {
        let directory = Directory::new();
        let (store, pool) = (directory.path().join("store"), directory.path().join("pool"));
        let mut wrong = plan("a,b,c", &["a=h1:7100", "b=h2:7100", "c=h3:7100"]);
        wrong.from = Some(store.clone());
        let told = |wrong: &Plan| begin(&pool, wrong, false).map(|_| ()).unwrap_err().to_string();
        std::fs::create_dir(&store).unwrap();
        assert!(told(&wrong).contains("holds no store"), "{}", told(&wrong));
        assert_eq!(std::fs::read_dir(&store).unwrap().count(), 0, "nothing was made in it");
        drop(Store::open(&store).unwrap());
        assert!(told(&wrong).contains("root key"), "{}", told(&wrong));
        make_root_key(&store.join("hsmpool.key"), &Real).unwrap();
        let used = Store::open(&store).unwrap();
        assert!(told(&wrong).contains("is in use"), "{}", told(&wrong));
        drop(used);
        // A node's store, as a backup has it.
        let data = directory.path().join("data");
        let node = Plan { from: Some(data.clone()), ..wrong.clone() };
        Store::open(&data).unwrap().replicate().unwrap();
        assert!(told(&node).contains("is of a pool's node") && told(&node).contains("force-new"), "{}", told(&node));
        assert!(!pool.exists(), "no debris");
        wrong.policy = PolicyName::Strict;
        let (layout, copied) = begin(&pool, &wrong, false).unwrap();
        assert_eq!(copied.unwrap().to_json()["tokens"], 0);
        assert!(layout.join("node1/data/hsmpool.db").is_file());
        assert_eq!(
            std::fs::read(layout.join("root.key")).unwrap(),
            std::fs::read(store.join("hsmpool.key")).unwrap(),
            "the store's own root key"
        );
        assert!(told(&wrong).contains("is not empty"));
        assert!(layout.join("pool.toml").is_file(), "somebody else's pool stays");
    }
}
