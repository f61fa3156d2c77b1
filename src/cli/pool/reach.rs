//! How the commands talk to nodes: as an operator, over whichever address answers.

use std::time::{Duration, Instant};

use super::layout::Layout;
use super::local;
use crate::assemble;
use crate::cli::progress::Progress;
use crate::config::pool::{Certificates, NodeFile};
use crate::error::{Code, Error, Result, refuse};
use crate::node::{NodeStatus, OPERATE_KIND, Operate, Operated};
use crate::token::message::{decode, encode};
use crate::wire::{Connection, Hello, Identity, Purpose};

/// How long a command waits for one node: changes of the group wait for a quorum.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it asks all nodes, one after another, for one change.
const PATIENCE_WITH_ALL: Duration = Duration::from_secs(60);
/// How long a node may take to say how it is.
const PATIENCE_FOR_STATUS: Duration = Duration::from_secs(5);
/// How long it takes at most to find out whether a node is there.
const GREETING: Duration = Duration::from_secs(2);
/// How often a node is asked whether it is as it should be.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// An operator of a pool.
pub struct Operator {
    layout: Layout,
    hello: Hello,
    identity: Option<Identity>,
    sockets_only: bool,
    progress: Progress,
}

impl Operator {
    /// With the operator's certificate, if it is there; a local node's Unix socket needs none. Errors: `Configuration`.
    pub fn of(layout: &Layout) -> Result<Self> {
        let files = Certificates {
            ca: layout.join("ca/ca.pem"),
            certificate: layout.join("operator.pem"),
            key: layout.join("operator.key"),
        };
        let identity = files.key.is_file().then(|| assemble::identity(layout.pool, &files)).transpose()?;
        let hello = Hello::new(layout.pool.0, Purpose::Operator, 0);
        Ok(Self { layout: layout.clone(), hello, identity, sockets_only: false, progress: Progress::default() })
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
            let opened =
                address.parse().and_then(|address| Connection::open(&address, self.identity.as_ref(), &self.hello, GREETING));
            match opened {
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

    /// Asks whichever node answers: they find their leader themselves. Errors: the last node's.
    pub fn ask_any(&self, nodes: &[NodeFile], operate: &Operate) -> Result<()> {
        let mut last = refuse(Code::Configuration, "the pool's directory holds no node");
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
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// How a node is. Errors: `DeviceError`.
    pub fn status(&self, node: &NodeFile) -> Result<NodeStatus> {
        match self.ask(node, &Operate::Status)? {
            Operated::Status(status) => Ok(status),
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
        let deadline = Instant::now() + PATIENCE;
        self.progress.now(&format!("node {} of zone {}: waiting until it is {what}", node.node, node.zone));
        loop {
            let status = self.status(node);
            match status {
                Ok(status) if is_so(&status) => {
                    self.progress.rest();
                    return Ok(status);
                }
                Err(error) if local::has_ended(&self.layout, node) => return Err(local::ended(&self.layout, node).because(error)),
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
