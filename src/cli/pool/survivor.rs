//! `hsmpool pool force-new`: a survivor goes on alone.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::create::member;
use super::layout::Layout;
use super::reach::Operator;
use crate::assemble;
use crate::cli::confirm;
use crate::cli::progress::Progress;
use crate::cli::told::tell;
use crate::config::pool::NodeFile;
use crate::error::{Code, Doing, Result, refuse};
use crate::log::raft::{Group, Heard, Survey};
use crate::node::peers::PeerWires;
use crate::sys::claim::Claim;
use crate::sys::user;
use crate::wire::{Hello, Purpose};

/// How long another node may take to say whether it leads a living quorum.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The directory that `hsmpool pool create` made, where the survivor's files are in it
    #[arg(long = "dir", alias = "local", value_name = "DIR", required_unless_present = "config", requires = "node")]
    directory: Option<PathBuf>,
    /// The number of the survivor, whose daemon is stopped
    #[arg(required_unless_present = "config")]
    node: Option<u64>,
    /// The survivor's own configuration, on its machine
    #[arg(long, value_name = "FILE", conflicts_with_all = ["directory", "node"])]
    config: Option<PathBuf>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Even though another node is in contact with a living quorum, whose later changes would be lost
    #[arg(long)]
    although_quorum_lives: bool,
}

/// Another node, as far as it can be asked.
struct Other {
    node: u64,
    zone: String,
    applied: Option<u64>,
    /// Whether a quorum is there without the survivor.
    lives: bool,
    told: String,
}

pub(super) fn run(arguments: &Arguments, as_json: bool) -> Result<()> {
    let (node, layout) = survivor(arguments)?;
    let _claim = claim(&node)?;
    let survey = Group::survey(&node.directory, node.node)?;
    let others = others(&node, layout.as_ref(), &survey)?;
    let warnings = warnings(&node, &survey, &others);
    // What is asked is read by people, whatever form the answer has.
    match as_json {
        true => eprintln!("{warnings}"),
        false => println!("{warnings}"),
    }
    if let Some(other) = others.iter().find(|other| other.lives && !arguments.although_quorum_lives) {
        let told = format!(
            "node {} of zone {} is in contact with a living quorum: start node {} again, and it catches up. --although-quorum-lives does it all the same",
            other.node, other.zone, node.node
        );
        return Err(refuse(Code::FunctionRejected, told));
    }
    if !arguments.yes {
        confirm::typed(&format!("Begin anew from node {}?", node.node), "yes")?;
    }
    let progress = Progress::shown();
    progress.now(&format!("node {}: beginning a new group from its log", node.node));
    Group::force_new(&node.directory, node.node, member(&node))?;
    progress.rest();
    let text = format!("done: start node {}, then remove the others, add nodes in other zones and promote them", node.node);
    tell(as_json, text, &to_json(&survey, &others));
    Ok(())
}

fn survivor(arguments: &Arguments) -> Result<(NodeFile, Option<Layout>)> {
    if let Some(config) = &arguments.config {
        return Ok((NodeFile::read(config)?, None));
    }
    let (Some(directory), Some(number)) = (&arguments.directory, arguments.node) else {
        return Err(refuse(Code::ArgumentsBad, "--config FILE, or --dir DIR and the node's number, is needed"));
    };
    let layout = Layout::open(directory)?;
    let found = layout.nodes()?.into_iter().find(|node| node.node == number);
    let none = || refuse(Code::ArgumentsBad, format!("{} holds no node {number}", layout.directory.display()));
    Ok((found.ok_or_else(none)?, Some(layout)))
}

/// The right to the node's files, which its process has while it runs, wherever it was started from.
fn claim(node: &NodeFile) -> Result<Claim> {
    let (number, directory) = (node.node, node.directory.display());
    let log = node.directory.join("log.db");
    if !log.is_file() {
        let told = format!("node {number} has no log in {directory}: it ran on another machine, or never");
        let there = "on its own machine: `hsmpool pool force-new --config /etc/hsmpool/hsmpoold.toml`";
        return Err(refuse(Code::ArgumentsBad, format!("{told}; {there}")));
    }
    let owner = log.metadata().doing(Code::StoreRefused, format!("looking at {}", log.display()))?.uid();
    if owner != user::id() {
        let told =
            format!("{directory} belongs to user {owner}, and files that another one makes in it keep the node from starting");
        return Err(refuse(Code::ArgumentsBad, format!("{told}: run this as that user (`sudo -u '#{owner}' hsmpool …`)")));
    }
    let claim = Claim::take(&node.directory).doing(Code::StoreRefused, format!("claiming {directory}"))?;
    let runs =
        || refuse(Code::ArgumentsBad, format!("node {number} runs on this machine: stop it first (`systemctl stop hsmpoold`)"));
    claim.ok_or_else(runs)
}

/// Asks the others by the survivor's own certificate, and as an operator where there is one.
fn others(node: &NodeFile, layout: Option<&Layout>, survey: &Survey) -> Result<Vec<Other>> {
    let progress = Progress::shown();
    progress.now("asking the other nodes");
    let heard = match assemble::identity(node.pool, &node.certificates) {
        Ok(identity) => {
            let peers = PeerWires::new(identity, Hello::new(node.pool.0, Purpose::Peer, node.node), false);
            survey.ask_others(&peers, PATIENCE)
        }
        // A survivor's certificate may be what is broken; its log is not.
        Err(error) => {
            let silent = || Heard::Silent(refuse(Code::Configuration, error.to_string()));
            survey.others.keys().map(|other| (*other, silent())).collect()
        }
    };
    let mut others: BTreeMap<u64, Other> = BTreeMap::new();
    for (number, heard) in heard {
        let zone = survey.others.get(&number).map_or(String::new(), |member| member.zone.clone());
        let told = told(&heard);
        let lives = matches!(heard, Heard::Leads);
        others.insert(number, Other { node: number, zone, applied: None, lives, told });
    }
    let Some(layout) = layout else { return Ok(others.into_values().collect()) };
    let laid_out: Vec<NodeFile> = layout.nodes()?.into_iter().filter(|other| other.node != node.node).collect();
    for (file, status) in Operator::of(layout)?.statuses(laid_out) {
        let silent = "does not answer".to_string();
        let other = Other { node: file.node, zone: file.zone, applied: None, lives: false, told: silent };
        let other = others.entry(file.node).or_insert(other);
        if let Ok(status) = status {
            other.applied = Some(status.health.applied);
            // A node of another group, which has left this one behind, is no sign of life of the survivor's.
            other.lives |= status.health.in_contact && status.group == survey.group;
            other.told = format!("still answers, has applied {} changes, and would be left behind", status.health.applied);
        }
    }
    Ok(others.into_values().collect())
}

fn told(heard: &Heard) -> String {
    match heard {
        Heard::Silent(error) => format!("does not answer ({error})"),
        Heard::Leads => "leads a living quorum, and would be left behind".to_string(),
        Heard::Waits => "still answers, leads no quorum, and would be left behind".to_string(),
        Heard::Apart(told) => format!("answers, and is of no use: {told}"),
    }
}

fn warnings(node: &NodeFile, survey: &Survey, others: &[Other]) -> String {
    let mut lines: Vec<String> =
        others.iter().map(|other| format!("node {} of zone {} {}", other.node, other.zone, other.told)).collect();
    let contact = survey.contact_age.map_or("at a time that nobody knows".to_string(), |age| format!("{} ago", in_words(age)));
    lines.push(format!(
        "Node {} of zone {} has {} entries of the log on its disk, of which {} are known to be committed, and {} changes in its store; it was last in \
         contact with a quorum {contact}.",
        node.node, node.zone, survey.held_before, survey.committed_before, survey.changes
    ));
    lines.push(format!(
        "Node {} goes on alone with what is on its own disk. Lost is what only the others had: the changes that were acknowledged since it was\n\
         last in contact. The others must come back as new nodes, with their data removed. Where another node has survived too, stop it, run this\n\
         there as well, and go on with the one that has more entries of the log.",
        node.node
    ));
    lines.join("\n")
}

/// The two largest units of a time.
fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

fn to_json(survey: &Survey, others: &[Other]) -> serde_json::Value {
    let row = |other: &Other| json!({ "node": other.node, "zone": other.zone, "applied": other.applied, "lives": other.lives });
    json!({
        "node": survey.node, "log_entries": survey.held_before, "log_committed": survey.committed_before, "changes": survey.changes,
        "contact_age_seconds": survey.contact_age.map(|age| age.as_secs()),
        "left_behind": others.iter().map(row).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_by_their_two_largest_units() {
        for (seconds, words) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min 0 s"),
            (3599, "59 min 59 s"),
            (3600, "1 h 0 min"),
            (86_399, "23 h 59 min"),
            (86_400, "1 d 0 h"),
            (200_000, "2 d 7 h"),
        ] {
            assert_eq!(in_words(Duration::from_secs(seconds)), words);
        }
    }

    #[test]
    fn a_survivor_is_named_by_its_configuration_or_by_directory_and_number() {
        use clap::Parser;
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            arguments: Arguments,
        }
        let is_good = |words: &str| Line::try_parse_from(format!("force-new {words}").trim().split(' ')).is_ok();
        for (words, good) in [
            ("--config f", true),
            ("--dir d 3", true),
            ("--dir d 3 --yes --although-quorum-lives", true),
            ("--dir d", false),
            ("3", false),
            ("", false),
            ("--config f 3", false),
            ("--config f --dir d", false),
        ] {
            assert_eq!(is_good(words), good, "{words}");
        }
    }
}
