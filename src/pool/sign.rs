//! Signing and verifying with a key that is elsewhere: the message is hashed here where the mechanism hashes, collected where it takes
//! the message whole, and sent in parts where the state is a key's (MACs).

use super::stream::{Remote, Stream};
use crate::error::{Code, Result, refuse};
use crate::mechanism::digest::{Hash, Hasher};
use crate::mechanism::{Recover, Signer, Verifier};
use crate::secret::Secret;
use crate::token::message::Begun;

/// Where the message goes.
enum Message {
    Hashed(Hasher),
    Collected(Secret),
    Sent(Option<Stream>),
}

impl Message {
    fn new(begun: &Begun) -> Result<Self> {
        match begun.hash {
            Some(kind) => match Hash::of(kind) {
                Some(hash) => Ok(Message::Hashed(hash.start())),
                None => {
                    Err(refuse(Code::DeviceError, format!("the partition asks for a digest by {kind}, which is not known here")))
                }
            },
            None if begun.streams => Ok(Message::Sent(None)),
            None => Ok(Message::Collected(Secret::default())),
        }
    }

    fn update(&mut self, remote: &Remote, data: &[u8]) -> Result<()> {
        match self {
            Message::Hashed(hasher) => hasher.update(data),
            Message::Collected(collected) => collect(remote, collected, data)?,
            Message::Sent(stream) => {
                let stream = match stream {
                    Some(stream) => stream,
                    None => stream.insert(remote.stream()?),
                };
                stream.part(remote, data, false, &[])?;
            }
        }
        Ok(())
    }

    fn finish(self, remote: &Remote, signature: &[u8]) -> Result<Secret> {
        match self {
            Message::Hashed(hasher) => remote.whole(&hasher.finish(), true, signature),
            Message::Collected(collected) => remote.whole(collected.expose(), false, signature),
            Message::Sent(None) => remote.whole(&[], false, signature),
            Message::Sent(Some(mut stream)) => stream.part(remote, &[], true, signature),
        }
    }

    fn single(self, remote: &Remote, data: &[u8], signature: &[u8]) -> Result<Secret> {
        match self {
            Message::Hashed(mut hasher) => {
                hasher.update(data);
                remote.whole(&hasher.finish(), true, signature)
            }
            Message::Collected(_) => remote.whole(data, false, signature),
            Message::Sent(_) => remote.whole_or_in_parts(data, signature),
        }
    }

    /// An operation that is given up leaves nothing at the partition.
    fn abandon(&self, remote: &Remote) {
        if let Message::Sent(Some(stream)) = self {
            stream.abandon(remote);
        }
    }
}

/// Keeps input that a node gets at the end. Errors: as [`Remote::check_fits`].
pub(super) fn collect(remote: &Remote, collected: &mut Secret, data: &[u8]) -> Result<()> {
    remote.check_fits(collected.len().saturating_add(data.len()))?;
    collected.extend(data);
    Ok(())
}

/// Puts a result into the caller's buffer.
pub(super) fn give(result: &Secret, out: &mut [u8]) -> Result<usize> {
    let Some(place) = out.get_mut(..result.len()) else {
        return Err(refuse(Code::DeviceError, "the partition's result is longer than it said"));
    };
    place.copy_from_slice(result.expose());
    Ok(result.len())
}

/// A signature by a key that is elsewhere.
pub struct RemoteSigner {
    remote: Remote,
    message: Option<Message>,
    signature_len: usize,
}

impl RemoteSigner {
    /// Errors: `DeviceError` for a partition that asks for what is not known here.
    pub fn new(remote: Remote, begun: &Begun) -> Result<Self> {
        Ok(Self { remote, message: Some(Message::new(begun)?), signature_len: begun.output_max as usize })
    }
}

/// The message of an operation that is not over: it is taken out when the operation ends.
const PRESENT: &str = "an operation that is over is not called again";

impl Signer for RemoteSigner {
    fn signature_len(&self) -> usize {
        self.signature_len
    }

    fn update(&mut self, data: &[u8]) -> Result<()> {
        self.message.as_mut().expect(PRESENT).update(&self.remote, data)
    }

    fn finish(mut self: Box<Self>, out: &mut [u8]) -> Result<usize> {
        let message = self.message.take().expect(PRESENT);
        give(&message.finish(&self.remote, &[])?, out)
    }

    fn single(mut self: Box<Self>, data: &[u8], out: &mut [u8]) -> Result<usize> {
        let message = self.message.take().expect(PRESENT);
        give(&message.single(&self.remote, data, &[])?, out)
    }
}

impl Drop for RemoteSigner {
    fn drop(&mut self) {
        if let Some(message) = &self.message {
            message.abandon(&self.remote);
        }
    }
}

/// A verification with a key that is elsewhere.
pub struct RemoteVerifier {
    remote: Remote,
    message: Option<Message>,
}

impl RemoteVerifier {
    /// Errors: as [`RemoteSigner::new`].
    pub fn new(remote: Remote, begun: &Begun) -> Result<Self> {
        Ok(Self { remote, message: Some(Message::new(begun)?) })
    }
}

impl Verifier for RemoteVerifier {
    fn update(&mut self, data: &[u8]) -> Result<()> {
        self.message.as_mut().expect(PRESENT).update(&self.remote, data)
    }

    fn finish(mut self: Box<Self>, signature: &[u8]) -> Result<()> {
        let message = self.message.take().expect(PRESENT);
        message.finish(&self.remote, signature).map(drop)
    }

    fn single(mut self: Box<Self>, data: &[u8], signature: &[u8]) -> Result<()> {
        let message = self.message.take().expect(PRESENT);
        message.single(&self.remote, data, signature).map(drop)
    }
}

impl Drop for RemoteVerifier {
    fn drop(&mut self) {
        if let Some(message) = &self.message {
            message.abandon(&self.remote);
        }
    }
}

/// Signing or verifying with message recovery, with a key that is elsewhere.
pub struct RemoteRecover {
    remote: Remote,
    output_len: usize,
}

impl RemoteRecover {
    /// A started operation.
    pub fn new(remote: Remote, begun: &Begun) -> Self {
        Self { remote, output_len: begun.output_max as usize }
    }
}

impl Recover for RemoteRecover {
    fn output_len(&self, _input: usize) -> usize {
        self.output_len
    }

    fn single(self: Box<Self>, input: &[u8], out: &mut [u8]) -> Result<usize> {
        give(&self.remote.whole(input, false, &[])?, out)
    }
}
