//! `hsmpool pool create`.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::layout::{CERTIFICATE_DAYS, Layout, NewNode, host_and_port, write_new};
use super::local;
use super::reach::Operator;
use crate::cli::told::tell;
use crate::config::PolicyName;
use crate::config::pool::{NodeFile, PoolId};
use crate::error::{Code, Doing, Result, refuse};
use crate::log::raft::Member;
use crate::node::{MemberStatus, Operate};
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
#[derive(clap::Args)]
pub struct Plan {
    /// The zones, one node in each: three or more, an odd number
    #[arg(long, value_delimiter = ',', required = true)]
    pub zones: Vec<String>,
    /// Where a zone's node listens: clients connect to this port, other nodes to the next one, operations is the one after that
    #[arg(long = "address", value_name = "ZONE=HOST:PORT")]
    pub addresses: Vec<String>,
    /// An embedded store that becomes the first partition, with its tokens, object ids and serial numbers; it is copied, and must not be in use
    #[arg(long, value_name = "STORE")]
    pub from: Option<PathBuf>,
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
    if !is_local {
        let layout = begin(directory, &arguments.plan, false)?;
        tell(as_json, next_steps(&layout), &summary(&layout)?);
        return Ok(());
    }
    let layout = begin(directory, &arguments.plan, true)?;
    let operator = Operator::shown(&layout)?;
    for node in layout.nodes()? {
        local::start_one(&layout, &node)?;
    }
    form(&layout, &operator)?;
    let text = format!(
        "The pool runs: {} nodes in {1}.\n  export HSMPOOL_CONF={1}/hsmpool.toml\n  hsmpool pool status --dir {1}",
        arguments.plan.zones.len(),
        layout.directory.display()
    );
    tell(as_json, text, &summary(&layout)?);
    Ok(())
}

/// Lays the files of a new pool out.
pub fn begin(directory: &Path, plan: &Plan, is_local: bool) -> Result<Layout> {
    let zones = &plan.zones;
    let different: BTreeSet<&String> = zones.iter().collect();
    if zones.len() < 3 || zones.len().is_multiple_of(2) || different.len() != zones.len() {
        return Err(refuse(
            Code::ArgumentsBad,
            "a pool has three or more different zones, an odd number of them: then it outlives the loss of one (--zones a,b,c)",
        ));
    }
    let nodes = new_nodes(plan, is_local)?;
    let mut id = [0; 16];
    Real.fill_random(&mut id)?;
    let layout = Layout::create(directory, PoolId(id))?;
    lay_out(&layout, &nodes, plan.from.as_deref())?;
    Ok(layout)
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
           3. keep {0}/ca and {0}/root.key in a safe: without the root key no node can be read",
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
        nodes.push(NewNode { number: at as u64 + 1, zone: zone.clone(), host, port, policy: plan.policy });
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
pub fn lay_out(layout: &Layout, nodes: &[NewNode], from: Option<&Path>) -> Result<()> {
    let authority = Authority::create(&layout.join("ca"), layout.pool.0)?;
    authority.issue(&Name::Operator("operator".to_string()), CERTIFICATE_DAYS, &layout.join("operator"))?;
    authority.issue(&Name::Client { name: "app".to_string(), tokens: None }, CERTIFICATE_DAYS, &layout.join("client"))?;
    match from {
        Some(store) => take_root_key(store, &layout.join("root.key"))?,
        None => make_root_key(&layout.join("root.key"), &Real)?,
    }
    for node in nodes {
        layout.add_node(node)?;
    }
    if let (Some(store), Some(first)) = (from, nodes.first()) {
        crate::store::Store::open(store)?.copy_into(&layout.node(first.number).join("data"))?;
    }
    write_new(
        &layout.join("hsmpool.toml"),
        "# The pool beside this file stands behind the module.\n[pool]\nfile = \"pool.toml\"\n",
        0o644,
    )?;
    layout.write_pool_file(None)
}

fn take_root_key(store: &Path, to: &Path) -> Result<()> {
    let key = store.join("hsmpool.key");
    let text = std::fs::read_to_string(&key)
        .doing(Code::Configuration, format!("reading {}: a store without a root key cannot become a pool", key.display()))?;
    write_new(to, &text, 0o600)
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
            status.members.iter().filter(|member| member.votes).map(|member: &MemberStatus| member.node).collect::<BTreeSet<_>>()
                == voters
                && status.health.in_contact
                && status.health.is_useful()
        })?;
    }
    Ok(())
}

/// A node as the group knows it.
pub fn member(node: &NodeFile) -> Member {
    let address = node.listen.advertise.clone().unwrap_or_else(|| node.listen.peers.clone());
    Member { zone: node.zone.clone(), region: node.region.clone(), address }
}
