//! The state of a digest as bytes that the application keeps (`C_GetOperationState`, `C_SetOperationState`).
//!
//! version 1 | mechanism (8 bytes, big-endian) | the digest's own state | first 8 bytes of SHA-256 over all before.
//! The checksum tells damage from data; it is no authentication, and a digest's state needs none: it is the caller's own input.

use super::{Filled, Library, Output};
use crate::ck::MechanismType;
use crate::error::{Code, Result, refuse};
use crate::mechanism::digest::{Hash, restore};

const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 8;

impl Library {
    /// `C_GetOperationState`. Errors: `OperationNotInitialized`, `StateUnsaveable` (anything but a digest).
    pub fn operation_state(&self, session: u64, out: Output<'_>) -> Result<Filled> {
        let session = self.session(session)?;
        let cells = session.cells.lock();
        let others =
            cells.sign.is_running() || cells.verify.is_running() || cells.encrypt.is_running() || cells.decrypt.is_running();
        if others {
            return Err(refuse(Code::StateUnsaveable, "only the state of a digest can be saved"));
        }
        let digest = cells.digest.look()?;
        let (Some(kind), Some(state)) = (cells.digest_kind, digest.save()) else {
            return Err(refuse(Code::StateUnsaveable, "the state of this digest cannot be saved"));
        };
        let mut blob = vec![VERSION];
        blob.extend_from_slice(&kind.0.to_be_bytes());
        blob.extend_from_slice(&state);
        let checksum = checksum(&blob);
        blob.extend_from_slice(&checksum);
        Ok(match out {
            Output::Query => Filled::Length(blob.len()),
            Output::Buffer(buffer) => match buffer.get_mut(..blob.len()) {
                None => Filled::TooSmall(blob.len()),
                Some(place) => {
                    place.copy_from_slice(&blob);
                    Filled::Length(blob.len())
                }
            },
        })
    }

    /// `C_SetOperationState`: replaces whatever digest was running. Errors: `SavedStateInvalid`, `KeyNotNeeded`.
    pub fn set_operation_state(&self, session: u64, state: &[u8], encryption_key: u64, authentication_key: u64) -> Result<()> {
        let session = self.session(session)?;
        let invalid = || refuse(Code::SavedStateInvalid, "these bytes are no saved state of an operation");
        let (blob, sum) = state.split_at_checked(state.len().saturating_sub(CHECKSUM_BYTES)).ok_or_else(invalid)?;
        let (kind, inner) = blob.strip_prefix(&[VERSION]).and_then(|rest| rest.split_first_chunk()).ok_or_else(invalid)?;
        if sum != checksum(blob) {
            return Err(invalid());
        }
        if encryption_key != 0 || authentication_key != 0 {
            return Err(refuse(Code::KeyNotNeeded, "a digest has no key"));
        }
        let kind = MechanismType(u64::from_be_bytes(*kind));
        let digest = restore(kind, inner)?;
        let mut cells = session.cells.lock();
        cells.digest.restore(digest);
        cells.digest_kind = Some(kind);
        Ok(())
    }
}

fn checksum(blob: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let digest = Hash::Sha256.digest(&[blob]);
    std::array::from_fn(|at| digest.as_ref()[at])
}
