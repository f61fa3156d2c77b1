//! `hsmpool cert`: certificates of a pool's own authority.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Subcommand;

use super::Place;
use super::layout::{CERTIFICATE_DAYS, Layout};
use super::reach::Operator;
use crate::config::pool::NodeFile;
use crate::error::{Code, Result, refuse};
use crate::node::Operate;
use crate::wire::Name;
use crate::wire::pki::Authority;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Issues a certificate for applications, or for an operator
    #[command(
        after_help = "Examples:\n  hsmpool cert issue --dir pool --client web --token tls-keys\n  hsmpool cert issue --dir pool --operator alice --days 30"
    )]
    Issue(Issue),
    /// Renews the certificates of nodes, and lets those that run show the new ones at once
    #[command(after_help = "Example: hsmpool cert rotate --dir pool")]
    Rotate(Rotate),
}

#[derive(clap::Args)]
struct Issue {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    whom: Whom,
    /// A token that these applications may see, by label or serial number; may be repeated. Without it they see all
    #[arg(long = "token", value_name = "TOKEN", requires = "client")]
    tokens: Vec<String>,
    /// How long it is good for
    #[arg(long, default_value_t = CERTIFICATE_DAYS, value_parser = clap::value_parser!(u64).range(1..=3650))]
    days: u64,
    /// Writes FILE.pem and FILE.key; by default the name, in the pool's directory
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Whom {
    /// The name of the applications: their logins go together
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// The name of a person or program that changes the pool
    #[arg(long, value_name = "NAME")]
    operator: Option<String>,
}

#[derive(clap::Args)]
struct Rotate {
    #[command(flatten)]
    place: Place,
    /// Only this node
    #[arg(long)]
    node: Option<u64>,
    /// How long the new ones are good for
    #[arg(long, default_value_t = CERTIFICATE_DAYS, value_parser = clap::value_parser!(u64).range(1..=3650))]
    days: u64,
}

pub fn run(arguments: Arguments) -> Result<()> {
    match arguments.command {
        Command::Issue(arguments) => issue(arguments),
        Command::Rotate(arguments) => rotate(&arguments),
    }
}

fn issue(arguments: Issue) -> Result<()> {
    let layout = Layout::open(&arguments.place.directory)?;
    let name = match (arguments.whom.client, arguments.whom.operator) {
        (Some(name), _) => Name::Client { name, tokens: (!arguments.tokens.is_empty()).then_some(arguments.tokens) },
        (None, operator) => Name::Operator(operator.unwrap_or_default()),
    };
    let (Name::Client { name: own, .. } | Name::Operator(own)) = &name else { return Ok(()) };
    let file = arguments.out.unwrap_or_else(|| layout.join(own));
    let key = PathBuf::from(format!("{}.key", file.display()));
    if key.exists() {
        return Err(refuse(Code::Configuration, format!("{} is there already: name other files by --out", key.display())));
    }
    let issued = Authority::open(&layout.join("ca"), layout.pool.0)?.issue(&name, arguments.days, &file)?;
    println!("{}\n{}\ngood for {} days", issued.certificate.display(), issued.key.display(), arguments.days);
    Ok(())
}

fn rotate(arguments: &Rotate) -> Result<()> {
    let layout = Layout::open(&arguments.place.directory)?;
    let nodes: Vec<NodeFile> =
        layout.nodes()?.into_iter().filter(|node| arguments.node.is_none_or(|wanted| wanted == node.node)).collect();
    if nodes.is_empty() {
        return Err(refuse(Code::ArgumentsBad, format!("{} holds no such node", layout.directory.display())));
    }
    let (authority, operator) = (Authority::open(&layout.join("ca"), layout.pool.0)?, Operator::of(&layout)?);
    for node in &nodes {
        let files = layout.node(node.node);
        let issued = authority.issue(&Name::Node(node.node), arguments.days, &files.join("node"))?;
        let told = match show(&operator, node, arguments.days) {
            Ok(true) => format!("shows its new certificate, good for {} days", arguments.days),
            Ok(false) => format!(
                "still shows its old certificate: copy {} and its key to the node's machine, and send the daemon SIGHUP",
                issued.certificate.display()
            ),
            Err(error) => format!("has a new certificate for its next start; it does not answer now ({error})"),
        };
        println!("node {} of zone {} {told}", node.node, node.zone);
    }
    Ok(())
}

/// Lets the node read its files, and tells whether what it shows is what was issued a moment ago.
fn show(operator: &Operator, node: &NodeFile, days: u64) -> Result<bool> {
    operator.ask(node, &Operate::ReadCertificates)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let ends = u64::try_from(operator.status(node)?.certificate_ends).unwrap_or_default();
    // Issued a minute ago at most, for so many days from then.
    Ok((ends + 60 >= now + days * 24 * 3600) && ends <= now + days * 24 * 3600 + 60)
}
