//! What C_Initialize makes and C_Finalize ends: the library, and how it behaves towards its host.

use std::sync::Arc;

use super::gate::Guest;
use crate::assemble::{Opened, Peer};
use crate::error::Sink;
use crate::session::Library;

/// An initialised module.
pub struct Module {
    /// What the C functions call.
    pub library: Library,
    /// How mechanism parameters are judged.
    pub dialect: Dialect,
    /// Where failed calls are explained.
    pub log: Sink,
    carries_on_after_fork: bool,
    /// Last: it is stopped when nothing uses it any more.
    _peer: Option<Arc<Peer>>,
}

/// Which of two answers a mechanism parameter gets where the standard and SoftHSM differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// The standard's.
    Standard,
    /// SoftHSM's: its applications and its own test suite expect it where its configuration file governs.
    SoftHsm,
}

impl From<Opened> for Module {
    fn from(opened: Opened) -> Self {
        Self {
            library: opened.library,
            dialect: if opened.softhsm_codes { Dialect::SoftHsm } else { Dialect::Standard },
            log: opened.log,
            carries_on_after_fork: opened.carries_on_after_fork,
            _peer: opened.peer,
        }
    }
}

impl Guest for Module {
    fn carries_on_after_fork(&self) -> bool {
        self.carries_on_after_fork
    }
}
