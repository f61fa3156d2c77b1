//! The state of a digest as bytes that the application keeps (`C_GetOperationState`, `C_SetOperationState`).
//!
//! version 1 | mechanism (8 bytes, big-endian) | the digest's own state | first 8 bytes of SHA-256 over all before.
//! The checksum tells damage from data; it is no authentication, and a digest's state needs none: it is the caller's own input.

use super::digest::Digest;
use super::operation::AnyCell;
use super::{Filled, Library, Output};
use crate::ck::MechanismType;
use crate::error::{Code, Result, refuse};
use crate::mechanism::digest::{Hash, restore};

const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 8;

impl Library {
    /// `C_GetOperationState`.
    ///
    /// Errors: `OperationNotInitialized`; `StateUnsaveable` when anything but a digest runs, for a digest that a key has gone
    /// into (its state would show the key), and for one whose state the crypto library keeps to itself.
    pub fn operation_state(&self, session: u64, out: Output<'_>) -> Result<Filled> {
        let session = self.session(session)?;
        let cells = &mut session.lock().cells;
        let running = cells.all().iter().filter(|(_, cell)| cell.is_running()).count();
        if running > usize::from(cells.digest.is_running()) {
            return Err(refuse(Code::StateUnsaveable, "only the state of a digest can be saved"));
        }
        let digest = cells.digest.look()?;
        if digest.keyed {
            return Err(refuse(Code::StateUnsaveable, "a key has been digested, and the state would show it"));
        }
        let Some(state) = digest.state.save() else {
            return Err(refuse(Code::StateUnsaveable, format!("the state of {} cannot be saved", digest.kind)));
        };
        let mut blob = vec![VERSION];
        blob.extend_from_slice(&digest.kind.0.to_be_bytes());
        blob.extend_from_slice(&state);
        let checksum = checksum(&blob);
        blob.extend_from_slice(&checksum);
        Ok(out.put(&blob))
    }

    /// `C_SetOperationState`: replaces whatever digest was running.
    ///
    /// Errors: `SavedStateInvalid`; `KeyNotNeeded` when a key is given; `MechanismInvalid` for one that is not offered here.
    pub fn set_operation_state(&self, session: u64, state: &[u8], encryption_key: u64, authentication_key: u64) -> Result<()> {
        let session = self.session(session)?;
        let invalid = || refuse(Code::SavedStateInvalid, "these bytes are no saved state of an operation");
        let (blob, sum) = state.split_last_chunk::<CHECKSUM_BYTES>().ok_or_else(invalid)?;
        let (kind, inner) = blob.strip_prefix(&[VERSION]).and_then(|rest| rest.split_first_chunk()).ok_or_else(invalid)?;
        if *sum != checksum(blob) {
            return Err(invalid());
        }
        if encryption_key != 0 || authentication_key != 0 {
            return Err(refuse(Code::KeyNotNeeded, "a digest has no key"));
        }
        let kind = MechanismType(u64::from_be_bytes(*kind));
        self.row(kind)?;
        let state = restore(kind, inner)?;
        session.lock().cells.digest.restore(Digest { kind, state, keyed: false });
        Ok(())
    }
}

fn checksum(blob: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let digest = Hash::Sha256.digest(&[blob]);
    std::array::from_fn(|at| digest.as_ref()[at])
}
