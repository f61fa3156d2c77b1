//! `hsmpool cert`: certificates of a pool's own authority.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Subcommand;
use serde_json::json;

use super::layout::{CERTIFICATE_DAYS, Layout};
use super::reach::Operator;
use super::{Place, revoke};
use crate::cli::told::tell;
use crate::config::pool::NodeFile;
use crate::error::{Code, Result, refuse};
use crate::node::Operate;
use crate::wire::pki::Authority;
use crate::wire::{Name, name_in_file};

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  hsmpool cert issue --dir pool --client web\n  hsmpool cert rotate --dir pool\n  hsmpool cert revoke --dir pool --client web"
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// What is answered is printed as JSON
    #[arg(long, global = true)]
    pub(in crate::cli) json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Issues a certificate for applications, or for an operator
    #[command(
        after_help = "Examples:\n  hsmpool cert issue --dir pool --client web --token tls-keys\n  hsmpool cert issue --dir pool --operator alice --days 30"
    )]
    Issue(Issue),
    /// Renews the certificates of nodes, and lets those that run show the new ones at once; or that of applications or an operator
    #[command(after_help = "Examples:\n  hsmpool cert rotate --dir pool\n  hsmpool cert rotate --dir pool --node 2\n  \
                      hsmpool cert rotate --dir pool --operator operator\n  hsmpool cert rotate --dir pool --client web")]
    Rotate(Rotate),
    /// Takes certificates back: nodes shut out whoever shows one, also over connections that are open. Those that are issued later are good
    #[command(after_help = "Examples:\n  hsmpool cert revoke --dir pool --client web          # its key was stolen\n  \
                      hsmpool cert revoke --dir pool --operator alice\n  hsmpool cert revoke --dir pool --node 2\n  \
                      hsmpool cert revoke --dir pool --certificate web.pem\n\n\
                      The list is DIR/ca/crl.pem. Nodes whose files are in DIR take it at once; for others the\n\
                      command says what to copy. It may be given again, until all nodes go by the list.")]
    Revoke(revoke::Arguments),
}

#[derive(clap::Args)]
struct Issue {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    whom: Whom,
    /// A token that these applications may see, by label or serial number; may be repeated. Without it they see all
    #[arg(long = "token", value_name = "TOKEN", conflicts_with = "operator")]
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
    /// In place of nodes: the certificate of these applications, which stay held to the same tokens
    #[arg(long, value_name = "NAME", conflicts_with_all = ["node", "operator"])]
    client: Option<String>,
    /// In place of nodes: the certificate of this operator; `operator` is the one of the pool's directory
    #[arg(long, value_name = "NAME", conflicts_with = "node")]
    operator: Option<String>,
    /// Renews FILE.pem and FILE.key, where they are not in the pool's directory
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How long the new ones are good for
    #[arg(long, default_value_t = CERTIFICATE_DAYS, value_parser = clap::value_parser!(u64).range(1..=3650))]
    days: u64,
}

pub fn run(arguments: Arguments) -> Result<()> {
    match arguments.command {
        Command::Issue(issued) => issue(issued, arguments.json),
        Command::Rotate(rotated) if rotated.client.is_some() || rotated.operator.is_some() => renew(&rotated, arguments.json),
        Command::Rotate(rotated) => rotate(&rotated, arguments.json),
        Command::Revoke(revoked) => revoke::run(&revoked, arguments.json),
    }
}

fn issue(arguments: Issue, as_json: bool) -> Result<()> {
    let layout = Layout::open(&arguments.place.directory)?;
    let name = match (arguments.whom.client, arguments.whom.operator) {
        (Some(name), _) => Name::Client { name, tokens: (!arguments.tokens.is_empty()).then_some(arguments.tokens) },
        (None, operator) => Name::Operator(operator.unwrap_or_default()),
    };
    let (Name::Client { name: own, .. } | Name::Operator(own)) = &name else { return Ok(()) };
    let file = arguments.out.unwrap_or_else(|| layout.join(own));
    let key = PathBuf::from(format!("{}.key", file.display()));
    if key.exists() {
        let told = format!("{} is there already: `hsmpool cert rotate` renews it, --out names other files", key.display());
        return Err(refuse(Code::Configuration, told));
    }
    issue_as(&layout, &name, arguments.days, &file, as_json)
}

fn issue_as(layout: &Layout, name: &Name, days: u64, file: &Path, as_json: bool) -> Result<()> {
    let (Name::Client { name: own, .. } | Name::Operator(own)) = name else { return Ok(()) };
    let issued = Authority::open(&layout.join("ca"), layout.pool.0)?.issue(name, days, file)?;
    let text = format!("{}\n{}\ngood for {days} days", issued.certificate.display(), issued.key.display());
    let value = json!({ "name": own, "certificate": issued.certificate, "key": issued.key, "ca": issued.ca, "days": days });
    tell(as_json, text, &value);
    Ok(())
}

/// A new certificate in place of one that is here, for the same applications or operator, with the same tokens.
fn renew(arguments: &Rotate, as_json: bool) -> Result<()> {
    let layout = Layout::open(&arguments.place.directory)?;
    let (own, usual) = match (&arguments.client, &arguments.operator) {
        (Some(client), _) => (client, "client"),
        (None, Some(operator)) => (operator, "operator"),
        (None, None) => return Ok(()),
    };
    let is_meant = |name: &Name| match name {
        Name::Client { name, .. } => arguments.client.as_ref() == Some(name),
        Name::Operator(name) => arguments.operator.as_ref() == Some(name),
        Name::Node(_) => false,
    };
    let files = arguments.out.clone().map_or_else(|| vec![layout.join(own), layout.join(usual)], |file| vec![file]);
    for file in files {
        let certificate = PathBuf::from(format!("{}.pem", file.display()));
        if !certificate.exists() {
            continue;
        }
        let name = name_in_file(&certificate, &layout.pool.0)?;
        if is_meant(&name) {
            return issue_as(&layout, &name, arguments.days, &file, as_json);
        }
    }
    let told = format!(
        "no certificate of {usual} {own} is in {}: --out names its files, `hsmpool cert issue` makes one",
        layout.directory.display()
    );
    Err(refuse(Code::Configuration, told))
}

fn rotate(arguments: &Rotate, as_json: bool) -> Result<()> {
    let layout = Layout::open(&arguments.place.directory)?;
    let nodes: Vec<NodeFile> =
        layout.nodes()?.into_iter().filter(|node| arguments.node.is_none_or(|wanted| wanted == node.node)).collect();
    if nodes.is_empty() {
        return Err(refuse(Code::ArgumentsBad, format!("{} holds no such node", layout.directory.display())));
    }
    let (authority, operator) = (Authority::open(&layout.join("ca"), layout.pool.0)?, Operator::shown(&layout)?);
    let (mut lines, mut rows) = (Vec::new(), Vec::new());
    for node in &nodes {
        let files = layout.node(node.node);
        let issued = authority.issue(&Name::Node(node.node), arguments.days, &files.join("node"))?;
        operator.progress().now(&format!("node {} of zone {}: reading its new certificate", node.node, node.zone));
        let shown = show(&operator, node, arguments.days);
        let state = match &shown {
            Ok(true) => "shown",
            Ok(false) => "to be copied",
            Err(_) => "at the next start",
        };
        let told = match shown {
            Ok(true) => format!("shows its new certificate, good for {} days", arguments.days),
            Ok(false) => format!(
                "still shows its old certificate: copy {} and its key to the node's machine, and send the daemon SIGHUP",
                issued.certificate.display()
            ),
            Err(error) => format!(
                "has a new certificate for its next start, on another machine once {} and its key are copied there; it does not answer now ({error})",
                issued.certificate.display()
            ),
        };
        rows.push(json!({ "node": node.node, "zone": node.zone, "certificate": issued.certificate, "state": state }));
        lines.push(format!("node {} of zone {} {told}", node.node, node.zone));
    }
    operator.progress().rest();
    tell(as_json, lines.join("\n"), &json!({ "days": arguments.days, "nodes": rows }));
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
