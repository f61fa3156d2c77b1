//! Operations in parts whose state is here. The client can send all parts again, to another partition, so losing one costs a replay.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::error::{Code, Result, refuse};
use crate::limits::{STREAMS_MAX, STREAMS_PER_CLIENT_MAX};
use crate::mechanism::{Cipher, Signer, Verifier};
use crate::token::Scope;

/// Names a stream: the application and its random number.
pub type StreamId = (Scope, [u8; 16]);

/// The state of one operation.
pub enum Running {
    /// `C_SignUpdate`, `C_SignFinal`.
    Sign(Box<dyn Signer>),
    /// `C_VerifyUpdate`, `C_VerifyFinal`.
    Verify(Box<dyn Verifier>),
    /// Encryption and decryption.
    Cipher(Box<dyn Cipher>),
}

struct Kept {
    running: Running,
    /// Parts taken so far.
    taken: u64,
    last: Duration,
}

/// Every running stream.
#[derive(Default)]
pub struct Streams(Mutex<HashMap<StreamId, Kept>>);

impl Streams {
    /// Takes a stream out, if it stands after so many parts: a call in progress holds it alone.
    pub fn take(&self, id: StreamId, after: u64) -> Option<Running> {
        let kept = self.0.lock().remove(&id)?;
        (kept.taken == after).then_some(kept.running)
    }

    /// Puts it back. Errors: `TokenResourceExceeded` when the client, or all together, run too many.
    pub fn keep(&self, id: StreamId, running: Running, taken: u64, now: Duration) -> Result<()> {
        let mut all = self.0.lock();
        let own = all.keys().filter(|(scope, _)| *scope == id.0).take(STREAMS_PER_CLIENT_MAX).count();
        if all.len() >= STREAMS_MAX || own >= STREAMS_PER_CLIENT_MAX {
            return Err(refuse(
                Code::TokenResourceExceeded,
                format!("{own} operations in parts of this application run at this node: finish some first"),
            ));
        }
        all.insert(id, Kept { running, taken, last: now });
        Ok(())
    }

    /// Gives a stream up.
    pub fn drop_one(&self, id: StreamId) {
        self.0.lock().remove(&id);
    }

    /// Gives all streams of an application up.
    pub fn drop_of(&self, scope: Scope) {
        self.0.lock().retain(|(owner, _), _| *owner != scope);
    }

    /// Gives streams up that nobody has touched for so long.
    pub fn drop_idle(&self, now: Duration, idle: Duration) {
        self.0.lock().retain(|_, kept| now.saturating_sub(kept.last) < idle);
    }

    /// How many run.
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }
}
