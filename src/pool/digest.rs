//! Digests are computed here; one that a key goes into moves to the partition with its key.

use std::any::Any;
use std::sync::Arc;

use super::call::{Call, Pool};
use crate::error::{Code, Result, refuse};
use crate::limits::REQUEST_INPUT_MAX_BYTES;
use crate::mechanism::{Digester, Mechanism};
use crate::object::ObjectId;
use crate::secret::Secret;
use crate::token::message::{Ask, Blob, Digested, Reply};
use crate::token::{Access, TokenId};

/// A digest of a pooled token.
pub struct RemoteDigest {
    pool: Arc<Pool>,
    token: TokenId,
    mechanism: Mechanism,
    output_len: usize,
    state: State,
}

enum State {
    /// No key has gone in. `taken` is kept where the state cannot be saved; `None` once it is too long.
    Local { digest: Box<dyn Digester>, taken: Option<Secret> },
    /// Everything from the first key on, for the partition.
    Keyed { access: Access, start: Option<Blob>, parts: Vec<Digested>, bytes: usize },
}

impl RemoteDigest {
    /// Nothing taken yet.
    pub fn new(pool: Arc<Pool>, token: TokenId, mechanism: Mechanism, digest: Box<dyn Digester>) -> Self {
        let output_len = digest.output_len();
        let taken = digest.save().is_none().then(Secret::default);
        Self { pool, token, mechanism, output_len, state: State::Local { digest, taken } }
    }

    /// `C_DigestKey`. Errors: `KeyIndigestible`, `KeyHandleInvalid` (at once); `DataLenRange` for too much input before the key.
    pub fn take_key(&mut self, access: &Access, key: ObjectId) -> Result<()> {
        // Whether the key can be digested shows now, not at the end.
        let parts = vec![Digested::Key(key)];
        ask(&self.pool, self.token, &self.mechanism, access, None, parts)?;
        if let State::Local { digest, taken } = &mut self.state {
            let (start, taken) = match (digest.save(), taken.take()) {
                (Some(state), _) => (Some(Blob(state)), Secret::default()),
                (None, Some(taken)) => (None, taken),
                (None, None) => {
                    let told = format!("more than {REQUEST_INPUT_MAX_BYTES} bytes were digested before the key");
                    return Err(refuse(Code::DataLenRange, told));
                }
            };
            let (bytes, parts) = (taken.len(), vec![Digested::Bytes(taken)]);
            self.state = State::Keyed { access: access.clone(), start, parts, bytes };
        }
        if let State::Keyed { parts, .. } = &mut self.state {
            parts.push(Digested::Key(key));
        }
        Ok(())
    }
}

fn ask(
    pool: &Pool,
    token: TokenId,
    mechanism: &Mechanism,
    access: &Access,
    state: Option<Blob>,
    parts: Vec<Digested>,
) -> Result<Secret> {
    let key = |part: &Digested| match part {
        Digested::Key(id) => Some(*id),
        Digested::Bytes(_) => None,
    };
    let names: Vec<ObjectId> = parts.iter().filter_map(key).collect();
    let ask = Ask::Digest { mechanism: mechanism.clone(), state, parts };
    match pool.ask(Call::new(Some(token), access, ask, &names))? {
        Reply::Bytes(digest) => Ok(digest),
        _ => Err(pool.odd(0)),
    }
}

impl Digester for RemoteDigest {
    fn output_len(&self) -> usize {
        self.output_len
    }

    fn update(&mut self, data: &[u8]) -> Result<()> {
        match &mut self.state {
            State::Local { digest, taken } => {
                if let Some(kept) = taken {
                    match kept.len().saturating_add(data.len()) <= REQUEST_INPUT_MAX_BYTES {
                        true => kept.extend(data),
                        false => *taken = None,
                    }
                }
                digest.update(data)
            }
            State::Keyed { parts, bytes, .. } => {
                *bytes = bytes.saturating_add(data.len());
                if *bytes > REQUEST_INPUT_MAX_BYTES {
                    let told =
                        format!("of a digest with a key in it at most {REQUEST_INPUT_MAX_BYTES} bytes go to a node at once");
                    return Err(refuse(Code::DataLenRange, told));
                }
                match parts.last_mut() {
                    Some(Digested::Bytes(last)) => last.extend(data),
                    _ => parts.push(Digested::Bytes(Secret::copy_of(data))),
                }
                Ok(())
            }
        }
    }

    fn finish(self: Box<Self>, out: &mut [u8]) -> Result<()> {
        match self.state {
            State::Local { digest, .. } => digest.finish(out),
            State::Keyed { access, start, parts, .. } => {
                let digest = ask(&self.pool, self.token, &self.mechanism, &access, start, parts)?;
                super::sign::give(&digest, out).map(drop)
            }
        }
    }

    fn save(&self) -> Option<Vec<u8>> {
        match &self.state {
            State::Local { digest, .. } => digest.save(),
            State::Keyed { .. } => None,
        }
    }

    fn as_any(&mut self) -> Option<&mut dyn Any> {
        Some(self)
    }
}
