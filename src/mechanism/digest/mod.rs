//! Message digests: MD5, SHA-1, SHA-2, SHA-3 (PKCS#11 3.1, 6.16 to 6.31), and the hashes that other families build on.

mod saved;
mod sha512;

use std::fmt;

use self::sha512::Sha512;
use super::table::{Input, Row};
use super::{Digester, Mechanism, Verbs};
use crate::ck::MechanismType;
use crate::error::{Code, Result, refuse};
use crate::sys::awslc::digest::{Md5, Sha1, Sha3, Sha3Size, Sha224, Sha256};
use crate::sys::awslc::wipe;

pub use self::saved::restore;

macro_rules! hashes {
    ($($Hash:ident: $OUTPUT:literal of $BLOCK:literal,)*) => {
        /// A hash function that we have.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "each is what its name says")]
        pub enum Hash {
            $($Hash,)*
        }

        impl Hash {
            /// All of them.
            pub const ALL: &'static [Hash] = &[$(Hash::$Hash),*];

            /// Length of the digest in bytes.
            pub const fn output_len(self) -> usize {
                match self { $(Hash::$Hash => $OUTPUT,)* }
            }

            /// Length of a block in bytes, as HMAC needs it (for SHA-3 the rate).
            pub const fn block_len(self) -> usize {
                match self { $(Hash::$Hash => $BLOCK,)* }
            }
        }
    };
}

hashes! {
    Md5: 16 of 64,
    Sha1: 20 of 64,
    Sha224: 28 of 64,
    Sha256: 32 of 64,
    Sha384: 48 of 128,
    Sha512: 64 of 128,
    Sha512_224: 28 of 128,
    Sha512_256: 32 of 128,
    Sha3_224: 28 of 144,
    Sha3_256: 32 of 136,
    Sha3_384: 48 of 104,
    Sha3_512: 64 of 72,
}

impl Hash {
    /// The longest digest in bytes.
    pub const OUTPUT_MAX_BYTES: usize = 64;
    /// The longest block in bytes.
    pub const BLOCK_MAX_BYTES: usize = 144;

    /// The hash that a digest mechanism (`CKM_SHA256`, …) names.
    pub fn of(kind: MechanismType) -> Option<Self> {
        Self::ALL.iter().copied().find(|hash| hash.mechanism() == kind)
    }

    /// The digest mechanism of the hash.
    pub const fn mechanism(self) -> MechanismType {
        match self {
            Hash::Md5 => MechanismType::MD5,
            Hash::Sha1 => MechanismType::SHA_1,
            Hash::Sha224 => MechanismType::SHA224,
            Hash::Sha256 => MechanismType::SHA256,
            Hash::Sha384 => MechanismType::SHA384,
            Hash::Sha512 => MechanismType::SHA512,
            Hash::Sha512_224 => MechanismType::SHA512_224,
            Hash::Sha512_256 => MechanismType::SHA512_256,
            Hash::Sha3_224 => MechanismType::SHA3_224,
            Hash::Sha3_256 => MechanismType::SHA3_256,
            Hash::Sha3_384 => MechanismType::SHA3_384,
            Hash::Sha3_512 => MechanismType::SHA3_512,
        }
    }

    /// A digest in progress that has taken nothing yet.
    pub fn start(self) -> Hasher {
        let state = match self {
            Hash::Md5 => State::Md5(Md5::new()),
            Hash::Sha1 => State::Sha1(Sha1::new()),
            Hash::Sha224 => State::Sha224(Sha224::new()),
            Hash::Sha256 => State::Sha256(Sha256::new()),
            Hash::Sha384 => State::Sha512(Sha512::new(&sha512::SHA384)),
            Hash::Sha512 => State::Sha512(Sha512::new(&sha512::SHA512)),
            Hash::Sha512_224 => State::Sha512(Sha512::new(&sha512::SHA512_224)),
            Hash::Sha512_256 => State::Sha512(Sha512::new(&sha512::SHA512_256)),
            Hash::Sha3_224 => State::Sha3(Sha3::new(Sha3Size::Bits224)),
            Hash::Sha3_256 => State::Sha3(Sha3::new(Sha3Size::Bits256)),
            Hash::Sha3_384 => State::Sha3(Sha3::new(Sha3Size::Bits384)),
            Hash::Sha3_512 => State::Sha3(Sha3::new(Sha3Size::Bits512)),
        };
        Hasher { hash: self, state }
    }

    /// The digest of the parts, one after the other.
    pub fn digest(self, parts: &[&[u8]]) -> Digest {
        let mut hasher = self.start();
        parts.iter().for_each(|part| hasher.update(part));
        hasher.finish_here()
    }
}

/// A digest: up to [`Hash::OUTPUT_MAX_BYTES`] bytes, wiped when dropped (it may be a MAC's inner value or a derived key).
#[derive(Clone)]
pub struct Digest {
    bytes: [u8; Hash::OUTPUT_MAX_BYTES],
    len: usize,
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl std::ops::Deref for Digest {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_ref()
    }
}

impl Drop for Digest {
    fn drop(&mut self) {
        wipe(&mut self.bytes);
    }
}

/// A hash in progress, as a value: it can be copied midway. Its state is wiped when dropped.
#[derive(Clone)]
pub struct Hasher {
    hash: Hash,
    state: State,
}

#[derive(Clone)]
enum State {
    Md5(Md5),
    Sha1(Sha1),
    Sha224(Sha224),
    Sha256(Sha256),
    Sha512(Sha512),
    Sha3(Sha3),
    /// Finished.
    Spent,
}

impl Hasher {
    /// Which hash it is.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// Takes more of the message.
    pub fn update(&mut self, data: &[u8]) {
        match &mut self.state {
            State::Md5(state) => state.update(data),
            State::Sha1(state) => state.update(data),
            State::Sha224(state) => state.update(data),
            State::Sha256(state) => state.update(data),
            State::Sha512(state) => state.update(data),
            State::Sha3(state) => state.update(data),
            State::Spent => spent(),
        }
    }

    /// The digest.
    pub fn finish(mut self) -> Digest {
        self.finish_here()
    }

    /// The digest, without moving the state: each move would leave a copy. Nothing may be asked of it afterwards.
    pub(super) fn finish_here(&mut self) -> Digest {
        let mut digest = Digest { bytes: [0; Hash::OUTPUT_MAX_BYTES], len: self.hash.output_len() };
        match &mut self.state {
            State::Md5(state) => state.finish(front(&mut digest)),
            State::Sha1(state) => state.finish(front(&mut digest)),
            State::Sha224(state) => state.finish(front(&mut digest)),
            State::Sha256(state) => state.finish(front(&mut digest)),
            State::Sha512(state) => state.finish(&mut digest.bytes[..digest.len]),
            State::Sha3(state) => state.finish(&mut digest.bytes),
            State::Spent => spent(),
        }
        self.state = State::Spent;
        digest
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} in progress", self.hash)
    }
}

fn spent() -> ! {
    unreachable!("a digest that is finished is asked for nothing")
}

fn front<const N: usize>(digest: &mut Digest) -> &mut [u8; N] {
    digest.bytes.first_chunk_mut().expect("no digest is longer than OUTPUT_MAX_BYTES")
}

impl Digester for Hasher {
    fn output_len(&self) -> usize {
        self.hash.output_len()
    }

    fn update(&mut self, data: &[u8]) -> Result<()> {
        self.update(data);
        Ok(())
    }

    fn finish(mut self: Box<Self>, out: &mut [u8]) -> Result<()> {
        let digest = self.finish_here();
        out[..digest.len()].copy_from_slice(&digest);
        Ok(())
    }

    fn save(&self) -> Option<Vec<u8>> {
        saved::save(self)
    }
}

fn start(mechanism: &Mechanism) -> Result<Box<dyn Digester>> {
    match Hash::of(mechanism.kind) {
        Some(hash) => Ok(Box::new(hash.start())),
        None => Err(refuse(Code::MechanismInvalid, format!("{} is no digest", mechanism.kind))),
    }
}

const fn row(hash: Hash) -> Row {
    Row { kind: hash.mechanism(), input: Input::Stream, verbs: Verbs { digest: Some(start), ..Verbs::NONE }, ..Row::BASE }
}

/// Digest mechanisms.
pub const ROWS: &[Row] = &[
    row(Hash::Md5),
    row(Hash::Sha1),
    row(Hash::Sha224),
    row(Hash::Sha256),
    row(Hash::Sha384),
    row(Hash::Sha512),
    row(Hash::Sha512_224),
    row(Hash::Sha512_256),
    row(Hash::Sha3_224),
    row(Hash::Sha3_256),
    row(Hash::Sha3_384),
    row(Hash::Sha3_512),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// FIPS 180-4, RFC 1321 and FIPS 202 examples: the digest of "abc".
    #[test]
    fn digests_of_abc_are_the_standards_examples() {
        let known = [
            (Hash::Md5, "900150983cd24fb0d6963f7d28e17f72"),
            (Hash::Sha1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (Hash::Sha224, "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"),
            (Hash::Sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (Hash::Sha384, "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7"),
            (
                Hash::Sha512,
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                 2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            ),
            (Hash::Sha512_224, "4634270f707b6a54daae7530460842e20e37ed265ceee9a43e8924aa"),
            (Hash::Sha512_256, "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23"),
            (Hash::Sha3_224, "e642824c3f8cf24ad09234ee7d3c766fc9a3a5168d0c94ad73b46fdf"),
            (Hash::Sha3_256, "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532"),
            (Hash::Sha3_384, "ec01498288516fc926459f58e2c6ad8df9b473cb0fc08c2596da7cf0e49be4b298d88cea927ac7f539f1edf228376d25"),
            (
                Hash::Sha3_512,
                "b751850b1a57168a5693cd924b6b096e08f621827444f70d884f5d0240d2712e\
                 10e116e9192af3c91a7ec57647e3934057340b4cf408d5a56592f8274eec53f0",
            ),
        ];
        assert_eq!(known.len(), Hash::ALL.len());
        for (hash, expected) in known {
            assert_eq!(hex(&hash.digest(&[b"abc"])), expected, "{hash:?}");
            assert_eq!(Hash::of(hash.mechanism()), Some(hash));
            assert_eq!(expected.len(), 2 * hash.output_len());
        }
        assert_eq!(Hash::of(MechanismType::AES_CBC), None);
    }

    /// The SHA-2 family against RustCrypto's own padding and counting, around every block boundary.
    #[test]
    fn every_length_agrees_with_another_implementation() {
        use sha2::Digest as _;
        let data: Vec<u8> = (0..700).map(|i| (i * 7 + 3) as u8).collect();
        for len in 0..data.len() {
            let data = &data[..len];
            assert_eq!(*Hash::Sha224.digest(&[data]), *sha2::Sha224::digest(data), "{len}");
            assert_eq!(*Hash::Sha256.digest(&[data]), *sha2::Sha256::digest(data), "{len}");
            assert_eq!(*Hash::Sha384.digest(&[data]), *sha2::Sha384::digest(data), "{len}");
            assert_eq!(*Hash::Sha512.digest(&[data]), *sha2::Sha512::digest(data), "{len}");
            assert_eq!(*Hash::Sha512_224.digest(&[data]), *sha2::Sha512_224::digest(data), "{len}");
            assert_eq!(*Hash::Sha512_256.digest(&[data]), *sha2::Sha512_256::digest(data), "{len}");
        }
    }

    #[test]
    fn parts_give_the_digest_of_the_whole_and_a_copy_goes_its_own_way() {
        let data: Vec<u8> = (0..600).map(|i| (i * 13 + 1) as u8).collect();
        for hash in Hash::ALL {
            let whole = hash.digest(&[&data]);
            for split in [0, 1, 63, 64, 65, 71, 127, 128, 129, 256, 599, 600] {
                let mut hasher = hash.start();
                hasher.update(&data[..split]);
                let mut copy = hasher.clone();
                copy.update(b"something else");
                hasher.update(&data[split..]);
                assert_eq!(*hasher.finish(), *whole, "{hash:?} split at {split}");
                assert_eq!(*copy.finish(), *hash.digest(&[&data[..split], b"something else"]));
            }
        }
    }

    #[test]
    fn a_saved_state_carries_on_and_a_damaged_one_is_refused() {
        let data: Vec<u8> = (0..300).map(|i| (i * 5) as u8).collect();
        for hash in Hash::ALL {
            for split in [0, 1, 64, 100, 128, 200, 300] {
                let mut hasher = hash.start();
                hasher.update(&data[..split]);
                let Some(saved) = Digester::save(&hasher) else {
                    assert!(format!("{hash:?}").starts_with("Sha3"), "{hash:?} can be saved");
                    continue;
                };
                let mut restored = restore(hash.mechanism(), &saved).unwrap();
                restored.update(&data[split..]).unwrap();
                let mut out = [0; Hash::OUTPUT_MAX_BYTES];
                restored.finish(&mut out).unwrap();
                assert_eq!(out[..hash.output_len()], *hash.digest(&[&data]), "{hash:?} split at {split}");

                for damaged in [&saved[..saved.len() - 1], &[&saved[..], &[0]].concat(), &[]] {
                    let refused = restore(hash.mechanism(), damaged).err().expect("a wrong length is refused");
                    assert_eq!(refused.code(), Code::SavedStateInvalid);
                }
            }
        }
        assert_eq!(restore(MechanismType::SHA3_256, &[0; 80]).err().expect("not saveable").code(), Code::SavedStateInvalid);
    }
}
