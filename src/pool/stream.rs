//! One use of a key at a partition: whole, or in parts that can be replayed to another one.

use std::sync::Arc;

use super::call::{Call, Outcome, Pool};
use super::token::named;
use crate::error::{Code, Result, refuse};
use crate::limits::{REQUEST_INPUT_MAX_BYTES, REQUEST_PART_MAX_BYTES, STREAM_REPLAY_MAX_BYTES};
use crate::secret::Secret;
use crate::token::message::{Ask, Blob, Reply, Use, Verb};
use crate::token::{Access, PermitSlot, TokenId};

/// A started use.
pub struct Remote {
    pool: Arc<Pool>,
    token: TokenId,
    access: Access,
    what: Use,
    slot: Option<PermitSlot>,
}

impl Remote {
    pub fn new(pool: Arc<Pool>, token: TokenId, access: Access, what: Use, slot: Option<PermitSlot>) -> Self {
        Self { pool, token, access, what, slot }
    }

    /// Where the permit is put that the key asks for.
    pub fn slot(&self) -> Option<PermitSlot> {
        self.slot.clone()
    }

    fn use_with_permit(&self) -> Use {
        let proof = self.slot.as_ref().and_then(PermitSlot::permit).map(|permit| permit.proof().to_vec());
        Use { permit: Blob(proof.unwrap_or_default()), ..self.what.clone() }
    }

    /// Whether so much input goes in one request. Errors: `EncryptedDataLenRange`, `DataLenRange`.
    pub fn check_fits(&self, input: usize) -> Result<()> {
        if input <= REQUEST_INPUT_MAX_BYTES {
            return Ok(());
        }
        let code = if self.what.verb == Verb::Decrypt { Code::EncryptedDataLenRange } else { Code::DataLenRange };
        let told = "that a pool takes for an operation whose input goes to a node at once";
        Err(refuse(code, format!("the input has more than the {REQUEST_INPUT_MAX_BYTES} bytes {told}")))
    }

    /// The whole use of an operation that has parts: in parts where one request does not take it.
    pub fn whole_or_in_parts(&self, input: &[u8], signature: &[u8]) -> Result<Secret> {
        if self.check_fits(input.len()).is_ok() {
            return self.whole(input, false, signature);
        }
        let mut stream = self.stream()?;
        // Whoever is told that it failed has no operation left that could be given up later.
        stream.part(self, input, true, signature).inspect_err(|_| stream.abandon(self))
    }

    /// The whole use at once. `hashed`: the input is the digest. Errors: as [`Remote::check_fits`].
    pub fn whole(&self, input: &[u8], hashed: bool, signature: &[u8]) -> Result<Secret> {
        self.check_fits(input.len())?;
        let what = self.use_with_permit();
        let names = named(&what);
        let ask = Ask::Run { what, input: Secret::copy_of(input), hashed, signature: signature.to_vec() };
        let use_number = Some(self.pool.belongings.next_use());
        let call = Call { use_number, ..Call::new(Some(self.token), &self.access, ask, &names) };
        match self.pool.ask(call)? {
            Reply::Bytes(output) => Ok(output),
            _ => Err(self.pool.odd(0)),
        }
    }

    /// Begins a use in parts.
    pub fn stream(&self) -> Result<Stream> {
        let mut id = [0; 16];
        self.pool.world.fill_random(&mut id)?;
        Ok(Stream { id, parts: Vec::new(), sent: 0, bytes: 0, given: 0, node: None })
    }
}

/// What has been sent of a use in parts.
pub struct Stream {
    id: [u8; 16],
    /// All parts, as they were sent; empty once they were too many to be kept.
    parts: Vec<Secret>,
    sent: u64,
    bytes: usize,
    /// Output that the caller has.
    given: usize,
    /// Where the state is.
    node: Option<usize>,
}

/// How often a stream is moved for one part before its partitions are too unsteady to go on.
const MOVES_MAX: usize = 16;

impl Stream {
    /// Sends one more part, and gives what comes out of it.
    ///
    /// Errors: `DeviceError` when the partition was lost and what was sent is more than is kept for a replay.
    pub fn part(&mut self, remote: &Remote, input: &[u8], ends: bool, signature: &[u8]) -> Result<Secret> {
        let mut output = Secret::default();
        let mut pieces: Vec<&[u8]> = input.chunks(REQUEST_PART_MAX_BYTES).collect();
        if pieces.is_empty() {
            pieces.push(&[]);
        }
        let last = pieces.len() - 1;
        for (at, piece) in pieces.into_iter().enumerate() {
            let ends = ends && at == last;
            output.extend(self.piece(remote, piece, ends, signature)?.expose());
        }
        Ok(output)
    }

    fn piece(&mut self, remote: &Remote, input: &[u8], ends: bool, signature: &[u8]) -> Result<Secret> {
        let output = match self.send(remote, self.sent, input, ends, signature, self.node)? {
            Some(output) => output,
            None => self.replay(remote, input, ends, signature)?,
        };
        self.given += output.len();
        self.sent += 1;
        self.bytes += input.len();
        if self.bytes <= STREAM_REPLAY_MAX_BYTES {
            self.parts.push(Secret::copy_of(input));
        } else {
            self.parts = Vec::new();
        }
        Ok(output)
    }

    /// One request; `None` when the node does not have the state.
    fn send(
        &mut self,
        remote: &Remote,
        after: u64,
        input: &[u8],
        ends: bool,
        signature: &[u8],
        prefer: Option<usize>,
    ) -> Result<Option<Secret>> {
        let what = remote.use_with_permit();
        let names = named(&what);
        let (stream, input, signature) = (self.id, Secret::copy_of(input), signature.to_vec());
        let ask = Ask::Part { what, stream, after, input, ends, signature };
        // The stream's own number names its nonce, wherever it is replayed.
        let use_number = Some(u64::from_be_bytes(std::array::from_fn(|at| self.id[at])));
        let call = Call { prefer, use_number, ..Call::new(Some(remote.token), &remote.access, ask, &names) };
        match remote.pool.send(call)? {
            Outcome::Done(Reply::Bytes(output), node) => {
                self.node = Some(node);
                Ok(Some(output))
            }
            Outcome::Done(_, node) => Err(remote.pool.odd(node)),
            Outcome::StreamLost(node) => {
                self.node = Some(node);
                Ok(None)
            }
        }
    }

    /// Sends everything again, to where the state was found missing, and drops what the caller has.
    fn replay(&mut self, remote: &Remote, input: &[u8], ends: bool, signature: &[u8]) -> Result<Secret> {
        if self.parts.len() as u64 != self.sent {
            return Err(refuse(
                Code::DeviceError,
                format!(
                    "the partition that ran this operation is lost, and of its input of {} bytes no more than {STREAM_REPLAY_MAX_BYTES} \
                     are kept for a replay: start it again",
                    self.bytes
                ),
            ));
        }
        let parts = std::mem::take(&mut self.parts);
        let answer = self.replay_parts(remote, &parts, input, ends, signature);
        self.parts = parts;
        answer
    }

    fn replay_parts(&mut self, remote: &Remote, parts: &[Secret], input: &[u8], ends: bool, signature: &[u8]) -> Result<Secret> {
        'moves: for _ in 0..MOVES_MAX {
            let mut skipped = 0;
            for (after, part) in parts.iter().enumerate() {
                match self.send(remote, after as u64, part.expose(), false, &[], self.node)? {
                    Some(output) => skipped += output.len(),
                    None => continue 'moves,
                }
            }
            if skipped != self.given {
                return Err(refuse(Code::DeviceError, "another partition gives another result for the same operation"));
            }
            if let Some(output) = self.send(remote, parts.len() as u64, input, ends, signature, self.node)? {
                return Ok(output);
            }
        }
        Err(refuse(Code::DeviceError, format!("the operation was moved {MOVES_MAX} times between partitions without getting on")))
    }

    /// Gives the state at the partition up.
    pub fn abandon(&self, remote: &Remote) {
        if let Some(node) = self.node {
            let (pool, stream) = (&remote.pool, self.id);
            pool.tell_one(remote.token, &remote.access, Ask::Drop { stream }, node);
        }
    }
}
