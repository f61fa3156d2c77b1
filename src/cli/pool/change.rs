//! Changes of a pool's members.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::Place;
use super::create::{FreePorts, member};
use super::layout::{Layout, NewNode, host_and_port, taken};
use super::local;
use super::reach::{Operator, PATIENCE_FOR_CONTACT};
use super::revoke;
use crate::cli::confirm;
use crate::cli::told::tell;
use crate::config::PolicyName;
use crate::config::pool::NodeFile;
use crate::error::{Code, Doing, Error, Result, refuse};
use crate::node::{NodeStatus, Operate};
use crate::wire::pki::Authority;

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

/// The numbers that nodes had are never used again: the highest one is noted, and survives the node's removal. A member's files need not be here: its number
/// is known by those that answer.
pub fn next_number(layout: &Layout, operator: &Operator, nodes: &[NodeFile]) -> Result<u64> {
    let statuses = operator.statuses(nodes.to_vec());
    let members = statuses.iter().filter_map(|(_, status)| status.as_ref().ok()).flat_map(|status| &status.members);
    let highest = members.map(|member| member.node).max().unwrap_or(0).max(highest_number(layout)?);
    let directory = layout.node(highest + 1);
    if directory.exists() {
        let told = format!("{} is there already: move it away, node {} is to be made there", directory.display(), highest + 1);
        return Err(refuse(Code::ArgumentsBad, told));
    }
    note_number(layout, highest + 1)
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
    let mut node =
        NewNode { number: 0, zone: arguments.zone.clone(), host, port, policy, is_carried: arguments.address.is_some() };
    if let Some((other, place)) = taken(&node.places(), &before) {
        let told = format!(
            "node {} of zone {} is at {place}: a new node needs three ports of its own from the named one on",
            other.node, other.zone
        );
        return Err(refuse(Code::ArgumentsBad, told));
    }
    let operator = Operator::shown(&layout)?;
    operator.is_up(&before, PATIENCE_FOR_CONTACT)?;
    node.number = next_number(&layout, &operator, &before)?;
    let coming = Coming { layout: &layout, operator: &operator, before: &before, number: node.number };
    let is_local = arguments.address.is_none() && !arguments.peer;
    let file = coming.lay_out(&node, arguments.peer).map_err(|error| coming.undo(error, None))?;
    coming.follow(&file, is_local).map_err(|error| coming.undo(error, Some(&file)))?;
    if is_local {
        // It follows by now, and goes on doing so however long its copy takes.
        operator.wait_until_caught_up(&file, &before)?;
    }
    let (number, zone) = (node.number, &node.zone);
    let text = format!("node {number} of zone {zone} follows{}", what_now(&layout, arguments, number));
    let json =
        json!({ "node": number, "zone": zone, "runs": is_local, "peer": arguments.peer, "directory": layout.node(number) });
    tell(as_json, text, &json);
    Ok(())
}

/// A node on its way into the pool: it gets there, or nothing of it is left.
struct Coming<'a> {
    layout: &'a Layout,
    operator: &'a Operator,
    /// The nodes that were there before.
    before: &'a [NodeFile],
    number: u64,
}

impl Coming<'_> {
    fn lay_out(&self, node: &NewNode, is_peer: bool) -> Result<NodeFile> {
        // Else the new node would let in who was revoked; where the list is missing it would be begun anew.
        let authority = Authority::open(&self.layout.join("ca"), self.layout.pool.0)?;
        revoke::is_the_newest(self.layout, &authority, self.operator, self.before, self.before)?;
        self.layout.add_node(node)?;
        self.layout.write_pool_file()?;
        if is_peer {
            self.layout.add_application(node.number, &node.zone)?;
        }
        one(self.layout, node.number)
    }

    fn follow(&self, file: &NodeFile, is_local: bool) -> Result<()> {
        if is_local {
            local::start_one(self.layout, file)?;
            self.operator.wait_for_own(file, "serving", |status| status.health.serves)?;
        }
        self.operator.ask_any(self.before, &Operate::AddLearner { node: self.number, member: member(file) }).map(drop)
    }

    /// Takes back what was done before `error`, and says what could not be. `file`: of the node, if others may have been asked to take it in.
    fn undo(&self, error: Error, file: Option<&NodeFile>) -> Error {
        let number = self.number;
        // Whoever did not answer may have done it all the same; but a member of this number elsewhere is another one.
        if file.is_some_and(|file| self.is_taken_in(file))
            && let Err(cause) = self.operator.ask_any(self.before, &Operate::Remove { node: number })
        {
            let told = format!(
                "node {number} could not be added and follows all the same ({error}): `hsmpool pool remove-node --dir {} {number}`",
                self.layout.directory.display()
            );
            return refuse(error.code(), told).because(cause);
        }
        match self.clear() {
            Ok(()) => refuse(error.code(), format!("node {number} was not added, and nothing of it is left")).because(error),
            Err(cause) => {
                refuse(error.code(), format!("node {number} was not added ({error}), and its files are left")).because(cause)
            }
        }
    }

    fn is_taken_in(&self, file: &NodeFile) -> bool {
        let statuses = self.operator.statuses(self.before.to_vec());
        let mut members = statuses.iter().filter_map(|(_, status)| status.as_ref().ok()).flat_map(|status| &status.members);
        members.any(|known| known.node == self.number && known.member == member(file))
    }

    fn clear(&self) -> Result<()> {
        if let Ok(file) = one(self.layout, self.number)
            && let Some(pid) = local::running(self.layout, &file)
        {
            local::stop_one(self.layout, &file, pid)?;
        }
        let directory = self.layout.node(self.number);
        if directory.exists() {
            let doing = format!("removing {}", directory.display());
            std::fs::remove_dir_all(&directory).doing(Code::Configuration, doing)?;
        }
        self.layout.write_pool_file()
    }
}

/// Whether any node that answers has this one among its group's members.
fn is_member(operator: &Operator, nodes: &[NodeFile], number: u64) -> bool {
    let statuses = operator.statuses(nodes.to_vec());
    let mut members = statuses.iter().filter_map(|(_, status)| status.as_ref().ok()).flat_map(|status| &status.members);
    members.any(|member| member.node == number)
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
             Other modules, running ones too, find it by the new pool.toml"
        ),
        (false, None) => format!("; {promote}"),
        (false, Some(_)) => format!(
            " once it runs: {carry}start `hsmpoold --config {at}/hsmpoold.toml` there; then {promote}.\nModules, running ones too, find it by the new pool.toml"
        ),
    }
}

fn one(layout: &Layout, number: u64) -> Result<NodeFile> {
    let found = layout.nodes()?.into_iter().find(|node| node.node == number);
    found.ok_or_else(|| refuse(Code::ArgumentsBad, format!("{} holds no node {number}", layout.directory.display())))
}

pub fn remove_node(directory: &Path, number: u64, (yes, force): (bool, bool), as_json: bool) -> Result<()> {
    let layout = Layout::open(directory)?;
    let others: Vec<NodeFile> = layout.nodes()?.into_iter().filter(|other| other.node != number).collect();
    let operator = Operator::shown(&layout)?;
    let node = match one(&layout, number) {
        Ok(node) => node,
        // Its files may be lost, and it a member all the same.
        Err(_) if is_member(&operator, &others, number) => {
            if !yes {
                confirm::typed(&format!("Remove node {number}, whose files are not here?"), "yes")?;
            }
            remove(&operator, &others, number, force)?;
            let (told, revoked) = revoke::of_removed(&layout, &operator, number, &others);
            let text = format!("node {number} is removed; its files were not here\n{told}");
            tell(as_json, text, &json!({ "node": number, "files": null, "revoked": revoked }));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    if !yes {
        confirm::typed(&format!("Remove node {number} of zone {}, with its copy of the keys?", node.zone), "yes")?;
    }
    remove(&operator, &others, number, force)?;
    // At once, and told in any case: the same command again would not come here, as the node is no member any more.
    let (told, revoked) = revoke::of_removed(&layout, &operator, number, &others);
    let to = put_away(&layout, &operator, &node).map_err(|error| {
        let told = format!("node {number} is removed; {told}\nits files could not be put away");
        refuse(error.code(), told).because(error)
    })?;
    operator.progress().rest();
    let text = format!("node {number} is removed; its files are in {}: destroy them\n{told}", to.display());
    tell(as_json, text, &json!({ "node": number, "zone": node.zone, "files": to, "revoked": revoked }));
    Ok(())
}

/// Stops a node that was removed, and moves its files to where they are destroyed.
fn put_away(layout: &Layout, operator: &Operator, node: &NodeFile) -> Result<PathBuf> {
    let number = node.node;
    if let Some(pid) = local::running(layout, node) {
        operator.progress().now(&format!("node {number} of zone {} drains", node.zone));
        local::stop_one(layout, node, pid)?;
    }
    note_number(layout, highest_number(layout)?)?;
    let (from, to) = (layout.node(number), layout.join(&format!("removed-node{number}")));
    std::fs::rename(&from, &to).doing(Code::Configuration, format!("moving {} away", from.display()))?;
    layout.write_pool_file()?;
    Ok(to)
}

/// By force its vote goes first, whichever zone then holds a quorum: one that does not vote may always go.
fn remove(operator: &Operator, others: &[NodeFile], number: u64, force: bool) -> Result<()> {
    if force {
        let mut voters = in_contact(operator, others)?.voters_to_be();
        if voters.remove(&number) {
            operator.ask_any(others, &Operate::ChangeVoters { voters, force })?;
        }
    }
    operator.ask_any(others, &Operate::Remove { node: number }).map(drop)
}

/// What a node that is in contact with the quorum tells of the pool. Errors: `DeviceError`: none is.
fn in_contact(operator: &Operator, nodes: &[NodeFile]) -> Result<NodeStatus> {
    let statuses = operator.statuses(nodes.to_vec());
    let status = statuses.into_iter().filter_map(|(_, status)| status.ok()).find(|status| status.health.in_contact);
    status.ok_or_else(|| refuse(Code::DeviceError, "the quorum was lost at this moment: see `hsmpool pool status`"))
}

pub fn promote(directory: &Path, number: u64, force: bool, as_json: bool) -> Result<()> {
    let layout = Layout::open(directory)?;
    let (nodes, operator) = (layout.nodes()?, Operator::shown(&layout)?);
    operator.is_up(&nodes, PATIENCE_FOR_CONTACT)?;
    let status = in_contact(&operator, &nodes)?;
    if !status.members.iter().any(|member| member.node == number) {
        let told = format!("node {number} is no member of the pool, and only one that follows can be given a vote");
        return Err(refuse(Code::ArgumentsBad, format!("{told}: `hsmpool pool add-node` adds one")));
    }
    let mut voters = status.voters_to_be();
    voters.insert(number);
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
