//! Changes of a pool's members.

use std::collections::BTreeSet;
use std::path::Path;

use super::Place;
use super::create::{free_ports, member};
use super::layout::{Layout, NewNode, host_and_port};
use super::local;
use super::reach::Operator;
use crate::cli::confirm;
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
}

/// The numbers that nodes had are never used again: the highest one is noted, and survives the node's removal.
pub fn next_number(layout: &Layout) -> Result<u64> {
    let file = layout.join("last-node");
    let noted: u64 = std::fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let highest = layout.nodes()?.iter().map(|node| node.node).max().unwrap_or(0);
    let next = noted.max(highest) + 1;
    std::fs::write(&file, format!("{next}\n")).doing(Code::Configuration, format!("writing {}", file.display()))?;
    Ok(next)
}

pub fn add_node(arguments: &AddNode) -> Result<()> {
    let layout = Layout::open(&arguments.place.directory)?;
    let before = layout.nodes()?;
    let (host, port) = match &arguments.address {
        Some(place) => host_and_port(place)?,
        None => ("127.0.0.1".to_string(), free_ports()?),
    };
    let policy = before.first().map_or(PolicyName::Default, |node| node.policy);
    let node = NewNode { number: next_number(&layout)?, zone: arguments.zone.clone(), host, port, policy };
    layout.add_node(&node)?;
    layout.write_pool_file(None)?;
    let file = one(&layout, node.number)?;
    let operator = Operator::of(&layout)?;
    if arguments.address.is_none() {
        local::start_one(&layout, &file)?;
        operator.wait(&file, "serving", |status| status.health.serves)?;
    }
    operator.ask_any(&before, &Operate::AddLearner { node: node.number, member: member(&file) })?;
    println!(
        "node {} of zone {} follows; `hsmpool pool promote --dir {} {}` lets it vote",
        node.number,
        node.zone,
        layout.directory.display(),
        node.number
    );
    Ok(())
}

fn one(layout: &Layout, number: u64) -> Result<NodeFile> {
    let found = layout.nodes()?.into_iter().find(|node| node.node == number);
    found.ok_or_else(|| refuse(Code::ArgumentsBad, format!("{} holds no node {number}", layout.directory.display())))
}

pub fn remove_node(directory: &Path, number: u64, yes: bool) -> Result<()> {
    let layout = Layout::open(directory)?;
    let node = one(&layout, number)?;
    if !yes {
        confirm::typed(&format!("Remove node {number} of zone {}, with its copy of the keys?", node.zone), "yes")?;
    }
    let others: Vec<NodeFile> = layout.nodes()?.into_iter().filter(|other| other.node != number).collect();
    Operator::of(&layout)?.ask_any(&others, &Operate::Remove { node: number })?;
    if let Some(pid) = local::running(&layout, &node) {
        local::stop_one(&layout, &node, pid)?;
    }
    let (from, to) = (layout.node(number), layout.join(&format!("removed-node{number}")));
    std::fs::rename(&from, &to).doing(Code::Configuration, format!("moving {} away", from.display()))?;
    layout.write_pool_file(None)?;
    println!("node {number} is removed; its files are in {}: destroy them", to.display());
    Ok(())
}

pub fn promote(directory: &Path, number: u64, force: bool) -> Result<()> {
    let layout = Layout::open(directory)?;
    let (nodes, operator) = (layout.nodes()?, Operator::of(&layout)?);
    let mut voters: BTreeSet<u64> = BTreeSet::from([number]);
    let status = nodes.iter().find_map(|node| operator.status(node).ok().filter(|status| status.health.in_contact));
    let status = status.ok_or_else(|| refuse(Code::DeviceError, "no node of the pool is in contact with a quorum"))?;
    voters.extend(status.members.iter().filter(|member| member.votes).map(|member| member.node));
    operator.ask_any(&nodes, &Operate::ChangeVoters { voters, force })?;
    println!("node {number} votes");
    Ok(())
}

pub fn transfer_leader(directory: &Path, number: u64) -> Result<()> {
    let layout = Layout::open(directory)?;
    let node = one(&layout, number)?;
    let operator = Operator::of(&layout)?;
    operator.ask_any(&layout.nodes()?, &Operate::TransferLeader { to: number })?;
    operator.wait(&node, "leading", |status| status.health.leader == Some(number))?;
    println!("node {number} leads");
    Ok(())
}

pub fn force_new(directory: &Path, number: u64, yes: bool) -> Result<()> {
    let layout = Layout::open(directory)?;
    let node = one(&layout, number)?;
    if let Some(pid) = local::running(&layout, &node) {
        return Err(refuse(Code::ArgumentsBad, format!("node {number} runs (process {pid}): stop it first")));
    }
    let (nodes, operator) = (layout.nodes()?, Operator::of(&layout)?);
    let mut answering = Vec::new();
    for other in nodes.iter().filter(|other| other.node != number) {
        match operator.status(other) {
            Ok(status) => answering
                .push(format!("node {} of zone {} has applied {} changes", other.node, other.zone, status.health.applied)),
            Err(_) => println!("node {} of zone {} does not answer", other.node, other.zone),
        }
    }
    if !answering.is_empty() {
        println!("These still answer, and would be left behind: {}", answering.join("; "));
    }
    println!(
        "Node {number} goes on alone with the changes that are on its own disk. Lost is what only the others had: the changes that were\n\
         acknowledged since it was last in contact. The others must come back as new nodes, with their data removed."
    );
    if !yes {
        confirm::typed(&format!("Begin anew from node {number}?"), "yes")?;
    }
    Group::force_new(&node.directory, number, member(&node))?;
    println!("done: start node {number}, then add nodes in other zones and promote them");
    Ok(())
}
