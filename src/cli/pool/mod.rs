//! `hsmpool pool`: make a pool, look at it, change it.

pub(super) mod cert;
mod change;
pub(super) mod chaos;
mod create;
pub(super) mod demo;
mod layout;
mod local;
mod picture;
mod reach;
mod revoke;
mod source;
mod status;
mod survivor;

use std::path::PathBuf;

use clap::Subcommand;

pub(super) use layout::SOCKET_PATH_MAX_BYTES;

use super::told::{EXIT_CODES, Ended, tell};
use crate::error::Result;

#[derive(clap::Args)]
#[command(after_help = format!("Examples:\n  hsmpool pool create --local /tmp/pool --zones a,b,c\n  hsmpool pool status --dir /tmp/pool\n\n{EXIT_CODES}"))]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// What is answered is printed as JSON
    #[arg(long, global = true)]
    pub(in crate::cli) json: bool,
}

/// Where a pool's files are.
#[derive(clap::Args, Clone)]
struct Place {
    /// The directory that `hsmpool pool create` made
    #[arg(long = "dir", alias = "local", value_name = "DIR")]
    directory: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Makes a pool: authority, certificates, root key, a directory for each node; with --local it runs on this machine at once
    #[command(
        after_help = "Examples:\n  hsmpool pool create --local /tmp/pool --zones a,b,c\n  hsmpool pool create --local /tmp/pool --zones a,b,c --from ~/.local/share/hsmpool\n  \
                      hsmpool pool create --dir pool --zones a,b,c --address a=10.0.1.5:7100 --address b=10.0.2.5:7100 --address c=10.0.3.5:7100"
    )]
    Create(create::Arguments),
    /// Makes one group of the nodes that `create --dir` has laid out, once all of them run
    #[command(after_help = "Example: hsmpool pool form --dir pool")]
    Form {
        #[command(flatten)]
        place: Place,
    },
    /// Starts the nodes of a local pool, those that do not run elsewhere
    #[command(after_help = "Examples:\n  hsmpool pool start --local /tmp/pool\n  hsmpool pool start --local /tmp/pool --zone b")]
    Start {
        #[command(flatten)]
        place: Place,
        /// Only the node of this zone
        #[arg(long)]
        zone: Option<String>,
    },
    /// Stops the nodes that run on this machine and were started by `hsmpool pool start`
    #[command(after_help = "Examples:\n  hsmpool pool stop --local /tmp/pool\n  hsmpool pool stop --local /tmp/pool --zone b")]
    Stop {
        #[command(flatten)]
        place: Place,
        /// Only the node of this zone
        #[arg(long)]
        zone: Option<String>,
    },
    /// Shows zones, roles, applied changes and lag, health and clients; ends with 3 when no quorum is well, with 1 when no node tells this operator
    #[command(
        after_help = "Examples:\n  hsmpool pool status --dir /tmp/pool\n  hsmpool pool status --dir /tmp/pool --json | jq '.nodes[].health'"
    )]
    Status {
        #[command(flatten)]
        place: Place,
    },
    /// Adds a node, which follows without a vote until it is promoted
    #[command(
        after_help = "Examples:\n  hsmpool pool add-node --local /tmp/pool --zone b\n  hsmpool pool add-node --dir pool --zone b --address 10.0.2.6:7100\n  \
                      hsmpool pool add-node --dir pool --zone b --address 10.0.2.6:7100 --peer"
    )]
    AddNode(change::AddNode),
    /// Removes a node and revokes its certificate; its number is never used again
    #[command(after_help = "Example: hsmpool pool remove-node --dir /tmp/pool 4")]
    RemoveNode {
        #[command(flatten)]
        place: Place,
        /// The node's number
        node: u64,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Even where one zone would then hold a quorum of the voters: the pool then stops when that zone is lost
        #[arg(long)]
        force: bool,
    },
    /// Lets a node that follows vote
    #[command(after_help = "Example: hsmpool pool promote --dir /tmp/pool 4")]
    Promote {
        #[command(flatten)]
        place: Place,
        /// The node's number
        node: u64,
        /// Even where one zone would then hold a quorum
        #[arg(long)]
        force: bool,
    },
    /// Lets another node lead
    #[command(after_help = "Example: hsmpool pool transfer-leader --dir /tmp/pool 2")]
    TransferLeader {
        #[command(flatten)]
        place: Place,
        /// The node's number
        node: u64,
    },
    /// After a quorum was lost for good: a survivor goes on alone
    #[command(
        after_help = "Examples:\n  sudo -u hsmpool hsmpool pool force-new --config /etc/hsmpool/hsmpoold.toml    # on the survivor's machine\n  \
                      hsmpool pool force-new --dir /tmp/pool 2    # its files are in the pool's directory\n\n\
                      Before it asks, it tells what the survivor has on its disk, and when it was last in contact. With more than one survivor look at\n\
                      each, type something else than yes, and begin anew from the one whose log is the longest."
    )]
    ForceNew(survivor::Arguments),
}

pub(super) fn run(arguments: Arguments) -> Result<Ended> {
    let json = arguments.json;
    match arguments.command {
        Command::Create(arguments) => create::run(&arguments, json)?,
        Command::Form { place } => {
            let layout = layout::Layout::open(&place.directory)?;
            create::form(&layout, &reach::Operator::shown(&layout)?)?;
            let nodes: Vec<u64> = layout.nodes()?.iter().map(|node| node.node).collect();
            tell(json, "the pool is formed", &serde_json::json!({ "pool": layout.pool.to_string(), "voters": nodes }));
        }
        Command::Start { place, zone } => local::start(&place.directory, zone.as_deref(), json)?,
        Command::Stop { place, zone } => local::stop(&place.directory, zone.as_deref(), json)?,
        Command::Status { place } => return status::run(&place.directory, json),
        Command::AddNode(arguments) => change::add_node(&arguments, json)?,
        Command::RemoveNode { place, node, yes, force } => change::remove_node(&place.directory, node, (yes, force), json)?,
        Command::Promote { place, node, force } => change::promote(&place.directory, node, force, json)?,
        Command::TransferLeader { place, node } => change::transfer_leader(&place.directory, node, json)?,
        Command::ForceNew(arguments) => survivor::run(&arguments, json)?,
    }
    Ok(Ended::Well)
}
