//! `hsmpool cert revoke`: takes certificates back, and brings the list of them to those who go by it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::Place;
use super::layout::Layout;
use super::reach::{Operator, refuses};
use crate::cli::node_check::day;
use crate::cli::told::tell;
use crate::config::pool::NodeFile;
use crate::error::{Code, Doing, Error, Result, refuse};
use crate::node::{NodeStatus, Operate};
use crate::wire::pki::{Authority, List, Revocation, replace};
use crate::wire::{Certificate, Name, Peer, name_in_file};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    whose: Whose,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Whose {
    /// All certificates of these applications that were issued until now
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// All of this operator that were issued until now
    #[arg(long, value_name = "NAME")]
    operator: Option<String>,
    /// All of this node that were issued until now
    #[arg(long, value_name = "NODE")]
    node: Option<u64>,
    /// Only the one in this file (PEM)
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, as_json: bool) -> Result<()> {
    let layout = Layout::open(&arguments.place.directory)?;
    let authority = Authority::open(&layout.join("ca"), layout.pool.0)?;
    let (certificates, is_whole) = match &arguments.whose {
        Whose { certificate: Some(file), .. } => (vec![in_file(&layout, &authority, file)?], true),
        Whose { client: Some(name), .. } => of_name(&layout, &authority, &Name::Client { name: name.clone(), tokens: None })?,
        Whose { operator: Some(name), .. } => of_name(&layout, &authority, &Name::Operator(name.clone()))?,
        Whose { node, .. } => of_name(&layout, &authority, &Name::Node(node.unwrap_or_default()))?,
    };
    // Before the list is signed: a node whose certificate is revoked now is told of it like the others.
    let (nodes, operator) = (layout.nodes()?, Operator::shown(&layout)?);
    let pool = layout.pool.0;
    is_the_newest(&layout, &authority, &operator, &believed(&nodes, &certificates, &pool), &nodes)?;
    let revocation = authority.revoke(&certificates)?;
    let rows = spread(&layout, &authority, &operator, &revocation, &nodes)?;
    let mut lines: Vec<String> = certificates.iter().map(|it| format!("{} is revoked", shown(it, &pool))).collect();
    if revocation.added.is_empty() {
        lines.push("they were before: the list is the same".to_string());
    }
    lines.push(format!("list {} is {}", revocation.number, revocation.list.display()));
    lines.extend(rows.iter().map(Row::line));
    lines.extend(what_now(&layout, &certificates, &revocation, is_whole));
    let mut value = told_of(&revocation, &rows);
    value["certificates"] = certificates.iter().map(|it| value_of(it, &pool)).collect();
    value["complete"] = json!(is_whole);
    tell(as_json, lines.join("\n"), &value);
    Ok(())
}

/// Errors: `Configuration`: it cannot be read, is another pool's or authority's, or has ended.
fn in_file(layout: &Layout, authority: &Authority, file: &Path) -> Result<Certificate> {
    name_in_file(file, &layout.pool.0)?;
    let certificate = authority.certificate_in(file)?;
    if certificate.ends <= now() {
        let told = format!("{} has ended on {}, and nobody takes it any more", file.display(), day(certificate.ends));
        return Err(refuse(Code::Configuration, told));
    }
    Ok(certificate)
}

/// Those of a name that have not ended, and whether these are all. Errors: `ArgumentsBad`: there are none.
fn of_name(layout: &Layout, authority: &Authority, name: &Name) -> Result<(Vec<Certificate>, bool)> {
    let (mut all, is_whole) = authority.issued()?;
    // Earlier versions kept no record; what they issued may lie here all the same.
    for certificate in lying_here(layout, authority) {
        if !all.contains(&certificate) {
            all.push(certificate);
        }
    }
    all.retain(|certificate| {
        certificate.ends > now() && certificate.name(&layout.pool.0).is_some_and(|other| is_one(name, &other))
    });
    if all.is_empty() {
        let whose = Peer::Certificate(name.clone());
        let told =
            format!("{whose} has no certificate of this authority that is good: --certificate FILE revokes one by its file");
        return Err(refuse(Code::ArgumentsBad, told));
    }
    Ok((all, is_whole))
}

/// Whichever tokens it may see.
fn is_one(name: &Name, other: &Name) -> bool {
    match (name, other) {
        (Name::Client { name, .. }, Name::Client { name: other, .. }) => name == other,
        _ => name == other,
    }
}

/// Certificates in the pool's directory and those of its nodes, also of removed ones.
fn lying_here(layout: &Layout, authority: &Authority) -> Vec<Certificate> {
    let inside = |directory: &Path| -> Vec<PathBuf> {
        fs::read_dir(directory).map(|entries| entries.flatten().map(|entry| entry.path()).collect()).unwrap_or_default()
    };
    let top = inside(&layout.directory);
    let below: Vec<PathBuf> = top.iter().filter(|path| path.is_dir()).flat_map(|directory| inside(directory)).collect();
    let files = top.iter().chain(&below).filter(|path| path.extension().is_some_and(|it| it == "pem"));
    files.filter_map(|file| authority.certificate_in(file).ok()).collect()
}

/// Whether the authority's list holds all that was revoked, as far as those that were `asked` and the copies here tell: from a directory that was restored from
/// an older copy a list would be signed that lets in again who was revoked since.
///
/// Errors: `Configuration`: the list is older than another one, differs from one of its number, or is gone, and nodes have one.
pub fn is_the_newest(
    layout: &Layout,
    authority: &Authority,
    operator: &Operator,
    asked: &[NodeFile],
    nodes: &[NodeFile],
) -> Result<()> {
    let file = authority.list();
    let own = file.exists().then(|| authority.list_in(&file)).transpose()?;
    let copies: Vec<PathBuf> = nodes.iter().map(|node| place(layout, node)).filter(|copy| copy.is_file()).collect();
    // What is no list of this authority counts for no node either, and is replaced.
    let lists: Vec<(&PathBuf, List)> = copies.iter().filter_map(|copy| Some((copy, authority.list_in(copy).ok()?))).collect();
    let statuses = operator.statuses(asked.to_vec());
    let told = statuses.iter().filter_map(|(node, status)| Some((node, status.as_ref().ok()?.revocations?)));
    let elsewhere = told.map(|(node, number)| (number, format!("certificates.crl of node {} of zone {}", node.node, node.zone)));
    // Of equals the last is taken: a file that is here is at hand.
    let here = lists.iter().map(|(copy, list)| (list.number, copy.display().to_string()));
    let newest = elsewhere.chain(here).max_by_key(|(number, _)| *number);
    let (shown, newest) = (file.display(), newest.or_else(|| Some((0, copies.first()?.display().to_string()))));
    let told = match (&own, newest) {
        (None, Some((_, whose))) => format!("{shown} is missing: put it back, or the newest copy that a node has ({whose})"),
        (Some(own), Some((number, whose))) if number > own.number => format!(
            "{shown} is list {} of revoked certificates, and {whose} is list {number}: this directory is an older copy. Copy that list over {shown} first: what was revoked since would be forgotten",
            own.number
        ),
        (Some(own), _) => match lists.iter().find(|(_, list)| list.number == own.number && list != own) {
            Some((copy, _)) => format!(
                "{shown} and {} are both list {}, and revoke other certificates: copy one of them over the other, and then revoke what only the other held",
                copy.display(),
                own.number
            ),
            None => return Ok(()),
        },
        (None, None) => return Ok(()),
    };
    Err(refuse(Code::Configuration, told))
}

/// Those whose word counts: who has a node's key could claim any number, and so keep its certificate from being revoked.
fn believed(nodes: &[NodeFile], certificates: &[Certificate], pool: &[u8; 16]) -> Vec<NodeFile> {
    let names: Vec<Name> = certificates.iter().filter_map(|certificate| certificate.name(pool)).collect();
    nodes.iter().filter(|node| !names.contains(&Name::Node(node.node))).cloned().collect()
}

/// Where a node's list lies here: in its directory and nowhere else, whatever its own configuration says. That is another user's, maybe, who would have these
/// commands write where she may not.
fn place(layout: &Layout, node: &NodeFile) -> PathBuf {
    let directory = layout.node(node.node);
    let is_inside = |file: &&PathBuf| {
        let parent = file.parent().and_then(|parent| parent.canonicalize().ok());
        parent.is_some() && parent == directory.canonicalize().ok()
    };
    let named = node.certificates.crl.as_ref().filter(is_inside).and_then(|file| file.file_name());
    directory.join(named.unwrap_or("crl.pem".as_ref()))
}

/// What a node made of the list.
pub struct Row {
    node: u64,
    zone: String,
    state: State,
}

enum State {
    Taken,
    /// Its files are on another machine.
    ToBeCopied(u64, PathBuf),
    /// It goes by no list.
    NotNamed(PathBuf),
    Silent(Error, PathBuf),
    /// It goes by a list that this directory does not know.
    Newer(u64),
    /// The list could not be put there.
    Unwritten(Error, PathBuf),
}

impl Row {
    pub fn is_taken(&self) -> bool {
        matches!(self.state, State::Taken)
    }

    pub fn line(&self) -> String {
        let told = match &self.state {
            State::Taken => "goes by it".to_string(),
            State::ToBeCopied(number, file) => format!(
                "still goes by list {number}: copy {} to the node's machine, as its certificates.crl, and send the daemon SIGHUP",
                file.display()
            ),
            State::NotNamed(file) => format!(
                "goes by no list: let {} lie beside its hsmpoold.toml as crl.pem, add crl = \"crl.pem\" there under [certificates], and restart it",
                file.display()
            ),
            State::Silent(error, file) => format!(
                "does not tell whether it goes by it ({error}): it reads the list at its next start, on another machine once {} is copied there",
                file.display()
            ),
            State::Newer(number) => {
                format!(
                    "goes by list {number}, a newer one: copy that (its certificates.crl) over ca/crl.pem here, and revoke again"
                )
            }
            State::Unwritten(error, file) => format!(
                "does not go by it, as {} could not be written ({error}): see to that, and give this command again",
                file.display()
            ),
        };
        format!("node {} of zone {} {told}", self.node, self.zone)
    }

    fn value(&self) -> Value {
        let (state, file) = match &self.state {
            State::Taken => ("taken", None),
            State::ToBeCopied(_, file) => ("to be copied", Some(file)),
            State::NotNamed(file) => ("not named", Some(file)),
            State::Silent(_, file) => ("at the next start", Some(file)),
            State::Newer(_) => ("newer", None),
            State::Unwritten(_, file) => ("not written", Some(file)),
        };
        json!({ "node": self.node, "zone": self.zone, "state": state, "file": file })
    }
}

/// Puts the list where the nodes' files are, and lets those that run read it.
fn spread(
    layout: &Layout,
    authority: &Authority,
    operator: &Operator,
    revocation: &Revocation,
    nodes: &[NodeFile],
) -> Result<Vec<Row>> {
    // Whoever refuses these commands for that goes by this list: no earlier one holds their certificate.
    let is_own = authority.certificate_in(&layout.join("operator.pem")).is_ok_and(|own| revocation.added.contains(&own));
    let list = fs::read(&revocation.list).doing(Code::Configuration, format!("reading {}", revocation.list.display()))?;
    let mut rows = Vec::new();
    for node in nodes {
        let file = place(layout, node);
        let written = replace(&file, &list, 0o644);
        operator.progress().now(&format!("node {} of zone {}: reading the list of revoked certificates", node.node, node.zone));
        let state = match (read(operator, node).map(|status| status.revocations), written) {
            (Ok(Some(number)), _) if number == revocation.number => State::Taken,
            (Ok(Some(number)), _) if number > revocation.number => State::Newer(number),
            (Err(error), Ok(())) if is_own && is_for_revocation(operator, node, &error) => State::Taken,
            (_, Err(error)) => State::Unwritten(error, file),
            (Ok(Some(number)), Ok(())) => State::ToBeCopied(number, file),
            (Ok(None), Ok(())) => State::NotNamed(file),
            (Err(error), Ok(())) => State::Silent(error, file),
        };
        rows.push(Row { node: node.node, zone: node.zone.clone(), state });
    }
    operator.progress().rest();
    Ok(rows)
}

fn read(operator: &Operator, node: &NodeFile) -> Result<NodeStatus> {
    operator.ask(node, &Operate::ReadCertificates)?;
    operator.status(node)
}

/// Whether a node refuses these commands' certificate as one that was revoked. The reason does not always arrive: the connection may be reset before.
fn is_for_revocation(operator: &Operator, node: &NodeFile, error: &Error) -> bool {
    says_revoked(error) || refuses(error) && (0..5).any(|_| operator.status(node).is_err_and(|error| says_revoked(&error)))
}

/// By TLS's alert, or on a connection that was open; a list that a node does not take is another matter.
fn says_revoked(error: &Error) -> bool {
    let told = format!("{error} {error:?}").to_lowercase();
    told.contains("certificaterevoked") || told.contains("has been revoked")
}

/// What is left to people.
fn what_now(layout: &Layout, certificates: &[Certificate], revocation: &Revocation, is_whole: bool) -> Vec<String> {
    let (mut lines, directory) = (Vec::new(), layout.directory.display());
    let first = certificates.first().and_then(|certificate| certificate.name(&layout.pool.0));
    let rotate = |whose: String| format!("`hsmpool cert rotate --dir {directory} --{whose}` makes a new one");
    match first {
        Some(Name::Node(number)) => {
            if layout.node(number).exists() {
                lines.push(format!("node {number} is shut out until it shows another one: {}", rotate(format!("node {number}"))));
            }
            let list = revocation.list.display();
            lines.push(format!("applications: copy {list} to their machines, as certificates.crl of their pool.toml"));
        }
        Some(Name::Client { name, .. }) => {
            lines.push(format!(
                "applications that are still to use the pool need another one: {}",
                rotate(format!("client {name}"))
            ));
        }
        Some(Name::Operator(name)) => {
            let is_own =
                name_in_file(&layout.join("operator.pem"), &layout.pool.0).is_ok_and(|own| own == Name::Operator(name.clone()));
            let whom = if is_own { "these commands need" } else { "who is still to change the pool needs" };
            lines.push(format!("{whom} another one: {}", rotate(format!("operator {name}"))));
        }
        None => {}
    }
    if !is_whole {
        let told = "what earlier versions issued is not recorded: of such certificates those whose files are here are revoked, others are by";
        lines.push(format!("{told} `hsmpool cert revoke --dir {directory} --certificate FILE`"));
    }
    lines
}

/// Takes back what a removed node has, where the authority is at hand: what its disk was, a thief may have. Text and value for who removed it.
pub fn of_removed(layout: &Layout, operator: &Operator, number: u64, others: &[NodeFile]) -> (String, Value) {
    let (directory, name) = (layout.directory.display(), Name::Node(number));
    let by_hand = format!("`hsmpool cert revoke --dir {directory} --node {number}`");
    if !layout.join("ca/ca.key").exists() {
        return (format!("its certificate is good until it ends: where ca/ca.key is, {by_hand} takes it back"), Value::Null);
    }
    let revoked = Authority::open(&layout.join("ca"), layout.pool.0).and_then(|authority| {
        is_the_newest(layout, &authority, operator, others, others)?;
        let (certificates, _) = of_name(layout, &authority, &name)?;
        let revocation = authority.revoke(&certificates)?;
        let rows = spread(layout, &authority, operator, &revocation, others)?;
        Ok((revocation, rows))
    });
    match revoked {
        Ok((revocation, rows)) => {
            let mut lines =
                vec![format!("its certificate is revoked, by list {} ({})", revocation.number, revocation.list.display())];
            lines.extend(rows.iter().filter(|row| !row.is_taken()).map(Row::line));
            (lines.join("\n"), told_of(&revocation, &rows))
        }
        Err(error) => (format!("its certificate was not revoked ({error}): {by_hand} takes it back"), Value::Null),
    }
}

fn told_of(revocation: &Revocation, rows: &[Row]) -> Value {
    let nodes: Vec<Value> = rows.iter().map(Row::value).collect();
    json!({ "crl": revocation.list, "number": revocation.number, "added": revocation.added.len(), "nodes": nodes })
}

fn whose(certificate: &Certificate, pool: &[u8; 16]) -> String {
    certificate.name(pool).map_or_else(|| certificate.uri.clone(), |name| Peer::Certificate(name).to_string())
}

fn shown(certificate: &Certificate, pool: &[u8; 16]) -> String {
    format!(
        "{}: the certificate {}, which ends on {},",
        whose(certificate, pool),
        certificate.shown_serial(),
        day(certificate.ends)
    )
}

fn value_of(certificate: &Certificate, pool: &[u8; 16]) -> Value {
    json!({ "name": whose(certificate, pool), "serial": certificate.shown_serial(), "ends": certificate.ends })
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed())
}

#[cfg(test)]
mod tests {
    use super::super::create::{Plan, begin};
    use super::*;
    use crate::config::PolicyName;
    use crate::store::tests::fixtures::Directory;

    fn pool(directory: &Directory) -> (Layout, Authority) {
        let zones = ["a", "b", "c"].map(str::to_string).to_vec();
        let plan = Plan { zones, addresses: Vec::new(), from: None, root_key_file: None, policy: PolicyName::Default };
        let (layout, _) = begin(&directory.path().join("pool"), &plan, true).unwrap();
        let authority = Authority::open(&layout.join("ca"), layout.pool.0).unwrap();
        (layout, authority)
    }

    fn client(name: &str, token: Option<&str>) -> Name {
        Name::Client { name: name.to_string(), tokens: token.map(|token| vec![token.to_string()]) }
    }

    fn found(layout: &Layout, authority: &Authority, name: &Name) -> (usize, bool) {
        of_name(layout, authority, name).map_or((0, true), |(certificates, is_whole)| (certificates.len(), is_whole))
    }

    #[test]
    fn all_of_a_name_are_meant_whichever_tokens_they_see_and_wherever_their_files_are() {
        let directory = Directory::new();
        let (layout, authority) = pool(&directory);
        authority.issue(&client("web", Some("tls")), 9, &layout.join("web")).unwrap();
        authority.issue(&client("web", None), 9, &directory.path().join("elsewhere")).unwrap();
        authority.issue(&client("web", Some("tls")), 9, &layout.join("web")).unwrap();
        authority.issue(&Name::Operator("web".to_string()), 9, &layout.join("other")).unwrap();
        authority.issue(&client("webs", None), 9, &layout.join("webs")).unwrap();
        assert_eq!(found(&layout, &authority, &client("web", None)), (3, true));
        assert_eq!(found(&layout, &authority, &Name::Operator("web".to_string())), (1, true));
        assert_eq!(found(&layout, &authority, &Name::Node(2)), (1, true));
        let nobody = of_name(&layout, &authority, &client("nobody", None)).unwrap_err();
        assert!(nobody.code() == Code::ArgumentsBad && nobody.to_string().contains("client nobody"), "{nobody}");
        // A pool of an earlier version: what lies here is found, and that there may be more is said.
        fs::remove_file(layout.join("ca/issued")).unwrap();
        assert_eq!(found(&layout, &authority, &client("web", None)), (1, false));
        assert_eq!(found(&layout, &authority, &Name::Node(2)), (1, false));
    }

    #[test]
    fn a_file_names_a_certificate_of_this_authority_that_is_good() {
        let directory = Directory::new();
        let (layout, authority) = pool(&directory);
        let other = Authority::create(&directory.path().join("other"), layout.pool.0).unwrap();
        let good = authority.issue(&client("web", None), 9, &layout.join("web")).unwrap();
        let foreign = other.issue(&client("web", None), 9, &directory.path().join("web")).unwrap();
        assert_eq!(in_file(&layout, &authority, &good.certificate).unwrap().name(&layout.pool.0), Some(client("web", None)));
        for (file, word) in [
            (foreign.certificate, "another authority"),
            (good.key, "reading the certificate"),
            (layout.join("ca/ca.pem"), "what it is for"),
        ] {
            let told = in_file(&layout, &authority, &file).unwrap_err().to_string();
            assert!(told.contains(word), "{word}: {told}");
        }
    }

    #[test]
    fn the_list_is_put_where_the_nodes_files_are_and_is_not_begun_anew_beside_theirs() {
        let directory = Directory::new();
        let (layout, authority) = pool(&directory);
        let (nodes, operator) = (layout.nodes().unwrap(), Operator::beside(&layout).unwrap());
        let (certificates, _) = of_name(&layout, &authority, &Name::Node(2)).unwrap();
        let revocation = authority.revoke(&certificates).unwrap();
        let rows = spread(&layout, &authority, &operator, &revocation, &nodes).unwrap();
        let list = fs::read(&revocation.list).unwrap();
        assert!(rows.len() == 3 && rows.iter().all(|row| matches!(row.state, State::Silent(..))), "none runs");
        for number in 1..=3 {
            assert_eq!(fs::read(layout.node(number).join("crl.pem")).unwrap(), list);
        }
        let checked = crate::assemble::identity(layout.pool, &nodes[1].certificates).unwrap();
        assert!(checked.is_revoked() && checked.revocations() == Some(2));
        let now = what_now(&layout, &certificates, &revocation, true).join("\n");
        assert!(now.contains("cert rotate") && now.contains("--node 2`") && now.contains("pool.toml"), "{now}");
        let others: Vec<NodeFile> = nodes.iter().filter(|node| node.node != 3).cloned().collect();
        let (told, value) = of_removed(&layout, &operator, 3, &others);
        assert!(told.contains("by list 3") && value["number"] == 3 && value["added"] == 1, "{told} {value}");
        fs::remove_file(layout.join("ca/crl.pem")).unwrap();
        let told = is_the_newest(&layout, &authority, &operator, &nodes, &nodes).unwrap_err().to_string();
        assert!(told.contains("ca/crl.pem is missing") && told.contains("node2/crl.pem"), "{told}");
        let (told, _) = of_removed(&layout, &operator, 1, &others);
        assert!(told.contains("was not revoked") && told.contains("--node 1"), "{told}");
        fs::remove_file(layout.join("ca/ca.key")).unwrap();
        let (told, value) = of_removed(&layout, &operator, 1, &others);
        assert!(told.contains("until it ends") && value.is_null(), "{told}");
    }

    #[test]
    fn who_is_refused_as_revoked_is_told_from_a_list_that_is() {
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRevoked);
        assert!(says_revoked(&refuse(Code::DeviceError, "node 1 does not answer").because(alert)));
        assert!(!says_revoked(&refuse(Code::Configuration, "the list of revoked certificates has number 1")));
    }

    #[test]
    fn nothing_is_signed_from_an_older_copy_of_the_directory() {
        let directory = Directory::new();
        let (layout, authority) = pool(&directory);
        let (nodes, operator) = (layout.nodes().unwrap(), Operator::beside(&layout).unwrap());
        let revoke = |number: u64| {
            let (certificates, _) = of_name(&layout, &authority, &Name::Node(number)).unwrap();
            authority.revoke(&certificates).unwrap()
        };
        let told = || is_the_newest(&layout, &authority, &operator, &nodes, &nodes).map_err(|error| error.to_string());
        let list = layout.join("ca/crl.pem");
        let first = fs::read(&list).unwrap();
        let revocation = revoke(2);
        spread(&layout, &authority, &operator, &revocation, &nodes).unwrap();
        told().unwrap();
        fs::write(&list, first).unwrap();
        let older = told().unwrap_err();
        assert!(
            older.contains("crl.pem is list 1") && older.contains("is list 2") && older.contains("/node3/crl.pem"),
            "{older}"
        );
        assert_eq!(revoke(3).number, 2, "another one of this number");
        let other = told().unwrap_err();
        assert!(other.contains("both list 2") && other.contains("/node1/crl.pem"), "{other}");
        fs::copy(layout.node(1).join("crl.pem"), &list).unwrap();
        told().unwrap();
        // What is no list stops nobody.
        fs::write(layout.node(1).join("crl.pem"), "half of it").unwrap();
        told().unwrap();
    }

    #[test]
    fn a_node_has_no_file_written_outside_its_directory_and_one_that_cannot_be_written_stops_no_other() {
        let directory = Directory::new();
        let (layout, authority) = pool(&directory);
        let (mut nodes, operator) = (layout.nodes().unwrap(), Operator::beside(&layout).unwrap());
        fs::create_dir(layout.node(1).join("sub")).unwrap();
        std::os::unix::fs::symlink(&layout.directory, layout.node(1).join("link")).unwrap();
        let mut place_of = |named: &str| {
            nodes[0].certificates.crl = Some(layout.node(1).join(named));
            place(&layout, &nodes[0])
        };
        for outside in ["../web.pem", "../node2/crl.pem", "link/web.pem", "sub/crl.pem", "/etc/cron.d/x", ".."] {
            assert_eq!(place_of(outside), layout.node(1).join("crl.pem"), "{outside}");
        }
        for inside in ["list.pem", "sub/../list.pem"] {
            assert_eq!(place_of(inside), layout.node(1).join("list.pem"), "{inside}");
        }
        fs::create_dir(layout.node(2).join("crl.pem.new")).unwrap();
        let (certificates, _) = of_name(&layout, &authority, &Name::Node(1)).unwrap();
        assert_eq!(believed(&nodes, &certificates, &layout.pool.0).iter().map(|node| node.node).collect::<Vec<_>>(), [2, 3]);
        let revocation = authority.revoke(&certificates).unwrap();
        let rows = spread(&layout, &authority, &operator, &revocation, &nodes).unwrap();
        assert!(rows[1].line().contains("node2/crl.pem could not be written") && !rows[1].is_taken(), "{}", rows[1].line());
        assert_eq!(fs::read(layout.node(3).join("crl.pem")).unwrap(), fs::read(&revocation.list).unwrap());
    }
}
