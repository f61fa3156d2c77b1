//! What each side says first. Fields have numbers: old and new versions skip what they do not know.

use minicbor::{Decode, Encode};

use crate::error::{Code, Doing, Result, refuse};

/// The newest set of messages that this version speaks, and the oldest that it still understands.
pub const MINOR: u32 = MAKE_MINOR;
/// See [`MINOR`].
pub const MINOR_OLDEST: u32 = 1;

/// The first set of messages in which several calls that make objects go in one request.
pub const MAKE_MINOR: u32 = 2;

/// What the connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Purpose {
    /// A module's requests.
    #[n(0)]
    Client,
    /// Another node of the group.
    #[n(1)]
    Peer,
    /// An operator's command.
    #[n(2)]
    Operator,
}

/// The first payload of each side.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// The pool's id.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub pool: [u8; 16],
    /// What for.
    #[n(1)]
    pub purpose: Purpose,
    /// The newest minor version that is spoken.
    #[n(2)]
    pub minor: u32,
    /// The oldest one that is understood.
    #[n(3)]
    pub minor_oldest: u32,
    /// The node's number; 0 for clients.
    #[n(4)]
    pub node: u64,
    /// The program's version, for people.
    #[n(5)]
    pub version: String,
}

impl Hello {
    /// This version's.
    pub fn new(pool: [u8; 16], purpose: Purpose, node: u64) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_string();
        Self { pool, purpose, minor: MINOR, minor_oldest: MINOR_OLDEST, node, version }
    }

    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        minicbor::to_vec(self).expect("writing to a vector cannot fail, and our encoders do not")
    }

    /// Errors: `DeviceError` for what is no hello.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        minicbor::decode(bytes).doing(Code::DeviceError, "reading the other side's hello")
    }

    /// The newest minor version that both speak. Errors: `DeviceError`: another pool, no common version.
    pub fn agree(&self, other: &Hello) -> Result<u32> {
        if self.pool != other.pool {
            return Err(refuse(Code::DeviceError, "the other side belongs to another pool"));
        }
        let common = self.minor.min(other.minor);
        if common < self.minor_oldest.max(other.minor_oldest) {
            let told = format!(
                "no common version: here {} to {}, there {} to {} ({})",
                self.minor_oldest, self.minor, other.minor_oldest, other.minor, other.version
            );
            return Err(refuse(Code::DeviceError, told));
        }
        Ok(common)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spoken(minor_oldest: u32, minor: u32) -> Hello {
        Hello { minor, minor_oldest, ..Hello::new([1; 16], Purpose::Client, 0) }
    }

    #[test]
    fn the_newest_common_version_is_chosen() {
        assert_eq!(spoken(1, 3).agree(&spoken(2, 5)).unwrap(), 3);
        assert_eq!(spoken(2, 5).agree(&spoken(1, 3)).unwrap(), 3);
        assert!(spoken(4, 5).agree(&spoken(1, 3)).is_err());
        assert!(spoken(1, 1).agree(&Hello::new([2; 16], Purpose::Client, 0)).is_err());
    }

    #[test]
    fn fields_of_a_later_version_are_skipped() {
        let mut later = Hello::new([1; 16], Purpose::Peer, 3).encode();
        // An array of one more element: a map-like struct with an unknown field 6.
        assert_eq!(later[0], 0x86);
        later[0] = 0x87;
        later.extend_from_slice(&[0x63, b'n', b'e', b'w']);
        assert_eq!(Hello::decode(&later).unwrap(), Hello::new([1; 16], Purpose::Peer, 3));
        for len in 0..later.len() - 4 {
            let mut cut = later[..len].to_vec();
            if let Some(first) = cut.first_mut() {
                *first = 0x86;
            }
            assert!(Hello::decode(&cut).is_err(), "{len} bytes");
        }
    }
}
