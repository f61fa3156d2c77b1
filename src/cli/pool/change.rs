//! Changes of a pool's members.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;

use super::Place;
use super::create::{FreePorts, member};
use super::layout::{Layout, NewNode, host_and_port};
use super::local;
use super::reach::Operator;
use crate::cli::confirm;
use crate::cli::progress::Progress;
use crate::cli::told::tell;
use crate::config::PolicyName;
use crate::config::pool::NodeFile;
use crate::error::{Code, Doing, Result, refuse};
use crate::log::raft::Group;
use crate::node::Operate;

#[derive(clap::Args)]
pub(super) struct AddNode {
    #[command(flatten)]
    place: Place,
    /// The new node's zone
    #[arg(long)]
    zone: String,
    /// Where it listens; without it the node runs on this machine and is started at once
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
    /// It runs in the process of an application, which starts and stops it
    #[arg(long)]
    peer: bool,
}

/// The numbers that nodes had are never used again: the highest one is noted, and survives the node's removal.
pub fn next_number(layout: &Layout) -> Result<u64> {
    note_number(layout, highest_number(layout)? + 1)
}

fn highest_number(layout: &Layout) -> Result<u64> {
    let noted = std::fs::read_to_string(layout.join("last-node")).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    Ok(layout.nodes()?.iter().map(|node| node.node).max().unwrap_or(0).max(noted))
}

fn note_number(layout: &Layout, number: u64) -> Result<u64> {
    let file = layout.join("last-node");
    std::fs::write(&file, format!("{number}\n")).doing(Code::Configuration, format!("writing {}", file.display()))?;
    Ok(number)
}

pub fn add_node(arguments: &AddNode, as_json: bool) -> Result<()> {
    let layout = Layout::open(&arguments.place.directory)?;
    let before = layout.nodes()?;
    let (host, port) = match &arguments.address {
        Some(place) => host_and_port(place)?,
        None => ("127.0.0.1".to_string(), FreePorts::new()?.take()?),
    };
    let policy = before.first().map_or(PolicyName::Default, |node| node.policy);
    let node = NewNode { number: next_number(&layout)?, zone: arguments.zone.clone(), host, port, policy };
    layout.add_node(&node)?;
    layout.write_pool_file(None)?;
    if arguments.peer {
        layout.add_application(node.number, &node.zone)?;
    }
    let file = one(&layout, node.number)?;
    let operator = Operator::shown(&layout)?;
    let is_local = arguments.address.is_none() && !arguments.peer;
    if is_local {
        local::start_one(&layout, &file)?;
        operator.wait(&file, "serving", |status| status.health.serves)?;
    }
    operator.ask_any(&before, &Operate::AddLearner { node: node.number, member: member(&file) })?;
    if is_local {
        operator.wait_until_caught_up(&file, &before)?;
    }
    let (number, zone) = (node.number, &node.zone);
    let text = format!("node {number} of zone {zone} follows{}", what_now(&layout, arguments, number));
    let json =
        json!({ "node": number, "zone": zone, "runs": is_local, "peer": arguments.peer, "directory": layout.node(number) });
    tell(as_json, text, &json);
    Ok(())
}

/// What is left to people.
fn what_now(layout: &Layout, arguments: &AddNode, number: u64) -> String {
    let promote = format!("`hsmpool pool promote --dir {} {number}` lets it vote", layout.directory.display());
    let (carry, at) = match &arguments.address {
        None => (String::new(), layout.node(number).display().to_string()),
        Some(_) => (format!("carry {} to its machine, ", layout.node(number).display()), format!("node{number}")),
    };
    match (arguments.peer, &arguments.address) {
        (true, _) => format!(
            " once its application runs: {carry}start the application with HSMPOOL_CONF={at}/hsmpool.toml; then {promote}.\n\
             Other modules find it by the new pool.toml"
        ),
        (false, None) => format!("; {promote}"),
        (false, Some(_)) => format!(
            " once it runs: {carry}start `hsmpoold --config {at}/hsmpoold.toml` there; then {promote}.\nModules find it by the new pool.toml"
        ),
    }
}

fn one(layout: &Layout, number: u64) -> Result<NodeFile> {
    let found = layout.nodes()?.into_iter().find(|node| node.node == number);
    found.ok_or_else(|| refuse(Code::ArgumentsBad, format!("{} holds no node {number}", layout.directory.display())))
}

pub fn remove_node(directory: &Path, number: u64, yes: bool, as_json: bool) -> Result<()> {
    let layout = Layout::open(directory)?;
    let node = one(&layout, number)?;
    if !yes {
        confirm::typed(&format!("Remove node {number} of zone {}, with its copy of the keys?", node.zone), "yes")?;
    }
    let others: Vec<NodeFile> = layout.nodes()?.into_iter().filter(|other| other.node != number).collect();
    let operator = Operator::shown(&layout)?;
    operator.ask_any(&others, &Operate::Remove { node: number })?;
    if let Some(pid) = local::running(&layout, &node) {
        operator.progress().now(&format!("node {number} of zone {} drains", node.zone));
        local::stop_one(&layout, &node, pid)?;
    }
    note_number(&layout, highest_number(&layout)?)?;
    let (from, to) = (layout.node(number), layout.join(&format!("removed-node{number}")));
    std::fs::rename(&from, &to).doing(Code::Configuration, format!("moving {} away", from.display()))?;
    layout.write_pool_file(None)?;
    operator.progress().rest();
    let text = format!("node {number} is removed; its files are in {}: destroy them", to.display());
    tell(as_json, text, &json!({ "node": number, "zone": node.zone, "files": to }));
    Ok(())
}

pub fn promote(directory: &Path, number: u64, force: bool, as_json: bool) -> Result<()> {
    let layout = Layout::open(directory)?;
    let (nodes, operator) = (layout.nodes()?, Operator::shown(&layout)?);
    let mut voters: BTreeSet<u64> = BTreeSet::from([number]);
    let statuses = operator.statuses(nodes.clone());
    let status = statuses.into_iter().filter_map(|(_, status)| status.ok()).find(|status| status.health.in_contact);
    let status = status.ok_or_else(|| {
        let told = "no node of the pool is in contact with a quorum, and only a quorum can give a vote";
        refuse(Code::DeviceError, format!("{told}: start the nodes that `hsmpool pool status` calls down"))
    })?;
    voters.extend(status.members.iter().filter(|member| member.votes).map(|member| member.node));
    // A vote of one that lags or does not run makes a quorum harder to have.
    if let Some(node) = nodes.iter().find(|node| node.node == number && !force) {
        let others: Vec<NodeFile> = nodes.iter().filter(|other| other.node != number).cloned().collect();
        operator.wait_until_caught_up(node, &others)?;
    }
    operator.ask_any(&nodes, &Operate::ChangeVoters { voters: voters.clone(), force })?;
    tell(as_json, format!("node {number} votes"), &json!({ "node": number, "voters": voters }));
    Ok(())
}

pub fn transfer_leader(directory: &Path, number: u64, as_json: bool) -> Result<()> {
    let layout = Layout::open(directory)?;
    let node = one(&layout, number)?;
    let operator = Operator::shown(&layout)?;
    operator.ask_any(&layout.nodes()?, &Operate::TransferLeader { to: number })?;
    operator.wait(&node, "leading", |status| status.health.leader == Some(number))?;
    tell(as_json, format!("node {number} leads"), &json!({ "leader": number }));
    Ok(())
}

pub fn force_new(directory: &Path, number: u64, yes: bool, as_json: bool) -> Result<()> {
    let layout = Layout::open(directory)?;
    let node = one(&layout, number)?;
    if let Some(pid) = local::running(&layout, &node) {
        return Err(refuse(Code::ArgumentsBad, format!("node {number} runs (process {pid}): stop it first")));
    }
    let others: Vec<NodeFile> = layout.nodes()?.into_iter().filter(|other| other.node != number).collect();
    let (mut warnings, mut rows) = (Vec::new(), Vec::new());
    for (other, status) in Operator::shown(&layout)?.statuses(others) {
        let applied = status.ok().map(|status| status.health.applied);
        warnings.push(match applied {
            Some(applied) => format!(
                "node {} of zone {} still answers, has applied {applied} changes, and would be left behind",
                other.node, other.zone
            ),
            None => format!("node {} of zone {} does not answer", other.node, other.zone),
        });
        rows.push(json!({ "node": other.node, "zone": other.zone, "applied": applied }));
    }
    warnings.push(format!(
        "Node {number} goes on alone with the changes that are on its own disk. Lost is what only the others had: the changes that were\n\
         acknowledged since it was last in contact. The others must come back as new nodes, with their data removed."
    ));
    // What is asked is read by people, whatever form the answer has.
    match as_json {
        true => eprintln!("{}", warnings.join("\n")),
        false => println!("{}", warnings.join("\n")),
    }
    if !yes {
        confirm::typed(&format!("Begin anew from node {number}?"), "yes")?;
    }
    let progress = Progress::shown();
    progress.now(&format!("node {number}: beginning a new group from its log"));
    Group::force_new(&node.directory, number, member(&node))?;
    progress.rest();
    let text = format!("done: start node {number}, then add nodes in other zones and promote them");
    tell(as_json, text, &json!({ "node": number, "left_behind": rows }));
    Ok(())
}
