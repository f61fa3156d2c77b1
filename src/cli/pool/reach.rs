//! How the commands talk to nodes: as an operator, over whichever address answers.

use std::time::{Duration, Instant};

use super::layout::Layout;
use crate::assemble;
use crate::config::pool::{Certificates, NodeFile};
use crate::error::{Code, Error, Result, refuse};
use crate::node::{NodeStatus, OPERATE_KIND, Operate, Operated};
use crate::token::message::{decode, encode};
use crate::wire::{Connection, Hello, Identity, Purpose};

/// How long a command waits for one node: changes of the group wait for a quorum.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it takes at most to find out whether a node is there.
const GREETING: Duration = Duration::from_secs(2);

/// An operator of a pool.
pub struct Operator {
    hello: Hello,
    identity: Option<Identity>,
    sockets_only: bool,
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
        Ok(Self { hello: Hello::new(layout.pool.0, Purpose::Operator, 0), identity, sockets_only: false })
    }

    /// One who reaches nodes by their Unix sockets and in no other way: their other addresses are not of this machine's network.
    pub fn beside(layout: &Layout) -> Result<Self> {
        Ok(Self { sockets_only: true, ..Self::of(layout)? })
    }

    /// Asks one node. Errors: `DeviceError`: it does not answer; what it refuses.
    pub fn ask(&self, node: &NodeFile, operate: &Operate) -> Result<Operated> {
        let mut last = None;
        for address in node.listen.clients.iter().filter(|address| !self.sockets_only || address.starts_with("unix:")) {
            let opened =
                address.parse().and_then(|address| Connection::open(&address, self.identity.as_ref(), &self.hello, GREETING));
            match opened {
                Ok(mut connection) => {
                    let answer =
                        connection.call(OPERATE_KIND, encode(operate).expose(), PATIENCE).map_err(|failure| failure.error)?;
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
        for node in nodes {
            match self.ask(node, operate) {
                Ok(_) => return Ok(()),
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

    /// Waits until `is_so` holds of a node. Errors: `DeviceError`, naming what was waited for.
    pub fn wait(&self, node: &NodeFile, what: &str, is_so: impl Fn(&NodeStatus) -> bool) -> Result<NodeStatus> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status(node);
            match status {
                Ok(status) if is_so(&status) => return Ok(status),
                _ if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(50)),
                Ok(_) => {
                    return Err(refuse(
                        Code::DeviceError,
                        format!("node {} is not {what} after {} s", node.node, PATIENCE.as_secs()),
                    ));
                }
                Err(error) => return Err(error),
            }
        }
    }
}
