//! How the commands talk to nodes: as an operator, over whichever address answers.

use std::error::Error as StdError;
use std::io;
use std::time::{Duration, Instant};

use super::layout::Layout;
use super::local;
use crate::assemble;
use crate::cli::progress::Progress;
use crate::config::pool::{Certificates, NodeFile};
use crate::error::{Code, Error, Result, refuse};
use crate::node::{NodeStatus, OPERATE_KIND, Operate, Operated};
use crate::token::message::{decode, encode};
use crate::wire::{Address, Connection, Hello, Identity, Name, Purpose, fault_of};

/// How long a command waits for one node: changes of the group wait for a quorum.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it asks all nodes, one after another, for one change.
const PATIENCE_WITH_ALL: Duration = Duration::from_secs(60);
/// How long a node may take to say how it is.
const PATIENCE_FOR_STATUS: Duration = Duration::from_secs(5);
/// How long it takes at most to find out whether a node is there.
const GREETING: Duration = Duration::from_secs(2);
/// How long nodes that have just been started may take to find together, before a change is asked for.
pub const PATIENCE_FOR_CONTACT: Duration = Duration::from_secs(10);
/// How often a node is asked whether it is as it should be.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// An operator of a pool.
pub struct Operator {
    layout: Layout,
    hello: Hello,
    identity: Option<Identity>,
    /// What is wrong with the certificate, if anything is, and the way out.
    fault: Option<String>,
    sockets_only: bool,
    progress: Progress,
}

impl Operator {
    /// With the operator's certificate; a local node's Unix socket needs none, so that one that is missing or bad matters only where it is asked for.
    pub fn of(layout: &Layout) -> Result<Self> {
        let (identity, fault) = certificate(layout);
        let hello = Hello::new(layout.pool.0, Purpose::Operator, 0);
        Ok(Self { layout: layout.clone(), hello, identity, fault, sockets_only: false, progress: Progress::default() })
    }

    /// One who reaches nodes by their Unix sockets and in no other way: their other addresses are not of this machine's network.
    pub fn beside(layout: &Layout) -> Result<Self> {
        Ok(Self { sockets_only: true, ..Self::of(layout)? })
    }

    /// As `of`, and what it waits for is shown on the terminal.
    pub fn shown(layout: &Layout) -> Result<Self> {
        Ok(Self { progress: Progress::shown(), ..Self::of(layout)? })
    }

    /// The line on the terminal.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// What is wrong with the operator's certificate, if anything is, and the way out.
    pub fn fault(&self) -> Option<String> {
        self.fault.clone()
    }

    /// Asks one node. Errors: `DeviceError`: it does not answer; what it refuses.
    pub fn ask(&self, node: &NodeFile, operate: &Operate) -> Result<Operated> {
        let patience = match operate {
            Operate::Status => PATIENCE_FOR_STATUS,
            _ => PATIENCE,
        };
        self.ask_within(node, operate, patience)
    }

    fn ask_within(&self, node: &NodeFile, operate: &Operate, patience: Duration) -> Result<Operated> {
        let mut last = None;
        for address in node.listen.clients.iter().filter(|address| !self.sockets_only || address.starts_with("unix:")) {
            match self.open(node, address) {
                Ok(mut connection) => {
                    let answer = connection.call(OPERATE_KIND, encode(operate).expose(), patience);
                    let answer = answer.map_err(|failure| match failure.sent {
                        true => unanswered(node, operate, patience).because(failure.error),
                        false => failure.error,
                    })?;
                    return match decode(answer.expose())? {
                        Operated::Refused(refusal) => Err(Error::from(refusal)),
                        operated => Ok(operated),
                    };
                }
                Err(error) => last = Some(error),
            }
        }
        let told = format!("node {} of zone {} does not answer", node.node, node.zone);
        Err(last.map_or_else(
            || refuse(Code::DeviceError, told.clone()),
            |cause| Error::new(Code::DeviceError, told.clone()).because(cause),
        ))
    }

    /// Errors: `DeviceError`: nobody answers there, or another node does. `Configuration`: it takes a certificate, which is missing.
    fn open(&self, node: &NodeFile, address: &str) -> Result<Connection> {
        let address: Address = address.parse()?;
        if matches!(address, Address::Tcp(_)) && self.identity.is_none() {
            return Err(refuse(Code::Configuration, format!("{address} takes the operator's certificate, which cannot be used")));
        }
        let connection = Connection::open(&address, self.identity.as_ref(), &self.hello, GREETING)?;
        match connection.peer() {
            Some(Name::Node(other)) if *other != node.node => {
                Err(refuse(Code::DeviceError, format!("node {other} answers at its address {address}")))
            }
            _ => Ok(connection),
        }
    }

    /// Asks whichever node answers: they find their leader themselves. Errors: what all of them said.
    pub fn ask_any(&self, nodes: &[NodeFile], operate: &Operate) -> Result<()> {
        let mut told = Vec::new();
        let deadline = Instant::now() + PATIENCE_WITH_ALL;
        for node in nodes {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.progress.now(&format!("node {}: {}", node.node, aim(operate)));
            match self.ask_within(node, operate, PATIENCE.min(left)) {
                Ok(_) => {
                    self.progress.rest();
                    return Ok(());
                }
                // The pool has answered, and another node would say the same.
                Err(error) if error.code() != Code::DeviceError => return Err(error),
                Err(error) => told.push(error.to_string()),
            }
        }
        self.progress.rest();
        let why =
            self.is_up(nodes, Duration::ZERO).err().map_or_else(|| format!("{} failed", aim(operate)), |error| error.to_string());
        Err(refuse(Code::DeviceError, format!("{why}:\n  {}", told.join("\n  "))))
    }

    /// Whether changes can be asked for, at the latest after so long: nodes that have just been started need a moment to find together.
    ///
    /// Errors: `DeviceError`: no node answers, or none that does is in contact with a quorum.
    pub fn is_up(&self, nodes: &[NodeFile], patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        let statuses = loop {
            let statuses = self.statuses(nodes.to_vec());
            let mut answers = statuses.iter().filter_map(|(_, status)| status.as_ref().ok()).peekable();
            if answers.peek().is_none() || Instant::now() >= deadline {
                break statuses;
            }
            if answers.any(|status| status.health.in_contact) {
                return Ok(());
            }
            self.progress.now("the pool: waiting until its nodes have found together");
            std::thread::sleep(LOOK_AGAIN);
        };
        self.progress.rest();
        self.why_not_up(&statuses)
    }

    fn why_not_up(&self, statuses: &[(NodeFile, Result<NodeStatus>)]) -> Result<()> {
        let mut answers = statuses.iter().filter_map(|(_, status)| status.as_ref().ok()).peekable();
        let is_silent = answers.peek().is_none();
        if answers.any(|status| status.health.in_contact) {
            return Ok(());
        }
        let directory = self.layout.directory.display();
        let told = match (self.fault(), is_silent) {
            (Some(fault), true) if statuses.iter().any(|(_, status)| status.as_ref().is_err_and(refuses)) => fault,
            (_, true) => format!(
                "the pool is not running: start it (`hsmpool pool start --dir {directory}`, on other machines `systemctl start hsmpoold`)"
            ),
            _ => format!("the pool takes no changes now, and `hsmpool pool status --dir {directory}` says why"),
        };
        Err(refuse(Code::DeviceError, told))
    }

    /// How a node is. Errors: `DeviceError`.
    pub fn status(&self, node: &NodeFile) -> Result<NodeStatus> {
        match self.ask(node, &Operate::Status)? {
            Operated::Status(status) if status.health.node == node.node => Ok(*status),
            Operated::Status(status) => {
                let (number, zone, other) = (node.node, &node.zone, status.health.node);
                Err(refuse(
                    Code::DeviceError,
                    format!("node {number} of zone {zone} is down: node {other} answers at its address"),
                ))
            }
            _ => Err(refuse(Code::DeviceError, format!("node {} gave another answer than asked for", node.node))),
        }
    }

    /// How all nodes are, asked at the same time.
    pub fn statuses(&self, nodes: Vec<NodeFile>) -> Vec<(NodeFile, Result<NodeStatus>)> {
        std::thread::scope(|scope| {
            let asked: Vec<_> = nodes.into_iter().map(|node| (node.clone(), scope.spawn(move || self.status(&node)))).collect();
            let told = |(node, thread): (NodeFile, std::thread::ScopedJoinHandle<'_, Result<NodeStatus>>)| {
                let status = thread.join().unwrap_or_else(|_| Err(refuse(Code::DeviceError, "asking a node ended in a panic")));
                (node, status)
            };
            asked.into_iter().map(told).collect()
        })
    }

    /// Waits until `is_so` holds of a node. Errors: `DeviceError`, naming what was waited for, and where its log is.
    pub fn wait(&self, node: &NodeFile, what: &str, is_so: impl Fn(&NodeStatus) -> bool) -> Result<NodeStatus> {
        self.wait_until(node, what, false, is_so)
    }

    /// The same for a node whose process this command has just started: that it has ended counts for more than who answers in its place.
    pub fn wait_for_own(&self, node: &NodeFile, what: &str, is_so: impl Fn(&NodeStatus) -> bool) -> Result<NodeStatus> {
        self.wait_until(node, what, true, is_so)
    }

    fn wait_until(&self, node: &NodeFile, what: &str, is_own: bool, is_so: impl Fn(&NodeStatus) -> bool) -> Result<NodeStatus> {
        let deadline = Instant::now() + PATIENCE;
        self.progress.now(&format!("node {} of zone {}: waiting until it is {what}", node.node, node.zone));
        loop {
            let status = self.status(node);
            if (is_own || status.is_err()) && local::has_ended(&self.layout, node) {
                let ended = local::ended(&self.layout, node);
                return Err(match status {
                    Ok(_) => ended,
                    Err(error) => ended.because(error),
                });
            }
            match status {
                Ok(status) if is_so(&status) => {
                    self.progress.rest();
                    return Ok(status);
                }
                _ if Instant::now() < deadline => std::thread::sleep(LOOK_AGAIN),
                status => {
                    let told = format!("node {} of zone {} is not {what} after {} s", node.node, node.zone, PATIENCE.as_secs());
                    return Err(late(told, status));
                }
            }
        }
    }

    /// Waits until a node has applied what the others have applied by now. Errors: `DeviceError` when it gets no further for a while.
    pub fn wait_until_caught_up(&self, node: &NodeFile, others: &[NodeFile]) -> Result<()> {
        let goal = others.iter().filter_map(|other| self.status(other).ok()).map(|status| status.applied).max().unwrap_or(0);
        let (mut best, mut deadline) = (0, Instant::now() + PATIENCE);
        loop {
            let status = self.status(node);
            let applied = status.as_ref().map_or(0, |status| status.applied);
            if applied >= goal && status.is_ok() {
                self.progress.rest();
                return Ok(());
            }
            self.progress.now(&format!("node {} of zone {} catches up: entry {applied} of {goal}", node.node, node.zone));
            if applied > best {
                (best, deadline) = (applied, Instant::now() + PATIENCE);
            }
            if Instant::now() > deadline {
                let told = format!(
                    "node {} of zone {} has entry {applied} of {goal}, and got no further for {} s: is it running, and reached at \
                     listen.peers?",
                    node.node,
                    node.zone,
                    PATIENCE.as_secs()
                );
                return Err(late(told, status));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

/// The operator's certificate, as far as it can be read; what is wrong with it, and the way out.
fn certificate(layout: &Layout) -> (Option<Identity>, Option<String>) {
    let (certificate, key) = (layout.join("operator.pem"), layout.join("operator.key"));
    let files = Certificates { ca: layout.join("ca/ca.pem"), certificate, key, crl: layout.crl() };
    let (directory, shown) = (layout.directory.display(), files.certificate.display());
    let issue = format!(
        "issue a new one, once operator.pem and operator.key are moved away: `hsmpool cert issue --dir {directory} --operator operator`"
    );
    if let Some(missing) = [&files.certificate, &files.key].into_iter().find(|file| !file.is_file()) {
        return (None, Some(format!("the operator's {} is missing: {issue}", missing.display())));
    }
    let identity = match assemble::identity(layout.pool, &files) {
        Ok(identity) => identity,
        Err(error) => return (None, Some(unusable(layout, files, &error, &issue))),
    };
    let fault = match (identity.own_name(), fault_of(&files.certificate, &files.ca, files.crl.as_deref())) {
        (Ok(Name::Operator(name)), Ok(Some(fault))) => Some(format!(
            "the operator's certificate {shown} is refused: {fault}. `hsmpool cert rotate --dir {directory} --operator {name}` makes a new one"
        )),
        (Ok(Name::Operator(_)), Ok(None)) => None,
        (Ok(Name::Operator(_)), Err(error)) | (Err(error), _) => Some(format!("{shown}: {error}: {issue}")),
        (Ok(other), _) => Some(format!("{shown} is for {}, which is no operator: {issue}", other.uri(&layout.pool.0))),
    };
    (Some(identity), fault)
}

/// Why the operator's certificate cannot be used: the list of revoked certificates that it goes with may be at fault, and no new certificate mends that.
fn unusable(layout: &Layout, files: Certificates, error: &Error, issue: &str) -> String {
    let with_list = files.crl.clone();
    match with_list.filter(|_| assemble::identity(layout.pool, &Certificates { crl: None, ..files }).is_ok()) {
        Some(list) => format!(
            "the list of revoked certificates {} is {}: copy the newest there, the authority's own (its ca/crl.pem) or a node's (certificates.crl of its hsmpoold.toml)",
            list.display(),
            if list.exists() { format!("of no use ({error})") } else { "missing".to_string() }
        ),
        None => format!("the operator's certificate cannot be used ({error}): {issue}"),
    }
}

/// Whether a node was reached and did not want to talk, or could not be asked for want of a certificate: then nobody knows how it is.
pub fn refuses(error: &Error) -> bool {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        let own = error.downcast_ref::<Error>();
        // Who is refused at the end of a handshake may find the connection reset before the reason arrives.
        let broke_off = |error: &io::Error| {
            error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
                || matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
        };
        if own.is_some_and(|own| own.code() == Code::Configuration || own.to_string().contains("refuses the connection"))
            || error.downcast_ref::<io::Error>().is_some_and(broke_off)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// What was waited for in vain, with what the node said last, if that was an error.
fn late(told: String, status: Result<NodeStatus>) -> Error {
    let error = refuse(Code::DeviceError, told);
    match status {
        Ok(_) => error,
        Err(cause) => error.because(cause),
    }
}

fn unanswered(node: &NodeFile, operate: &Operate, patience: Duration) -> Error {
    let told = format!(
        "node {} of zone {} gave no answer within {} s ({}); it may be done nevertheless: see `hsmpool pool status`",
        node.node,
        node.zone,
        patience.as_secs(),
        aim(operate)
    );
    refuse(Code::DeviceError, told)
}

/// What is asked for, in words.
fn aim(operate: &Operate) -> String {
    match operate {
        Operate::Status => "telling how it is".to_string(),
        Operate::Begin => "beginning a group".to_string(),
        Operate::AddLearner { node, .. } => format!("letting node {node} follow"),
        Operate::ChangeVoters { voters, .. } => format!("letting nodes {voters:?} vote"),
        Operate::Remove { node } => format!("removing node {node}"),
        Operate::TransferLeader { to } => format!("letting node {to} lead"),
        Operate::ReadCertificates => "reading its certificates again".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::create::{Plan, begin};
    use super::*;
    use crate::config::PolicyName;
    use crate::store::tests::fixtures::Directory;

    #[test]
    fn a_list_that_is_missing_is_told_as_that_and_not_as_the_certificates_fault() {
        let directory = Directory::new();
        let zones = ["a", "b", "c"].map(str::to_string).to_vec();
        let plan = Plan { zones, addresses: Vec::new(), from: None, root_key_file: None, policy: PolicyName::Default };
        let (layout, _) = begin(&directory.path().join("pool"), &plan, true).unwrap();
        layout.write_pool_file().unwrap();
        let fault = || certificate(&layout).1;
        assert_eq!(fault(), None);
        let list = layout.join("ca/crl.pem");
        fs::write(&list, "half of it").unwrap();
        let told = fault().unwrap();
        assert!(told.contains("crl.pem is of no use") && told.contains("holds no list"), "{told}");
        fs::remove_file(&list).unwrap();
        let told = fault().unwrap();
        assert!(told.contains("crl.pem is missing") && told.contains("a node's") && !told.contains("cert issue"), "{told}");
        fs::remove_file(layout.join("ca/ca.pem")).unwrap();
        assert!(fault().unwrap().contains("cert issue"));
    }
}
