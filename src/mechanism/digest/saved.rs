//! The state of a digest as bytes, for `C_GetOperationState`: version, chaining words, length, pending input; all big-endian.
//!
//! SHA-3 cannot be saved: the library does not give its state away.

use super::sha512::Sha512;
use super::{Hash, Hasher, State};
use crate::ck::MechanismType;
use crate::error::{Code, Result, refuse};
use crate::mechanism::Digester;
use crate::sys::awslc::digest::{Md5, Midway, Sha1, Sha224, Sha256};

const VERSION: u8 = 1;

pub fn save(hasher: &Hasher) -> Option<Vec<u8>> {
    match &hasher.state {
        State::Md5(state) => Some(save_narrow(state.midway())),
        State::Sha1(state) => Some(save_narrow(state.midway())),
        State::Sha224(state) => Some(save_narrow(state.midway())),
        State::Sha256(state) => Some(save_narrow(state.midway())),
        State::Sha512(state) => {
            let (words, length, pending) = state.midway();
            let mut bytes = vec![VERSION];
            words.iter().for_each(|word| bytes.extend(word.to_be_bytes()));
            bytes.extend(length.to_be_bytes());
            bytes.extend(pending);
            Some(bytes)
        }
        State::Sha3(_) | State::Spent => None,
    }
}

fn save_narrow<const WORDS: usize>(midway: Midway<'_, WORDS>) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    midway.words.iter().for_each(|word| bytes.extend(word.to_be_bytes()));
    bytes.extend(midway.length.to_be_bytes());
    bytes.extend(midway.pending);
    bytes
}

/// A digest of this mechanism that carries on where [`Digester::save`] left off.
///
/// Errors: `SavedStateInvalid`.
pub fn restore(kind: MechanismType, saved: &[u8]) -> Result<Box<dyn Digester>> {
    let restored = match (Hash::of(kind), saved.split_first()) {
        (Some(hash), Some((&VERSION, state))) => read(hash, state).map(|state| Hasher { hash, state }),
        _ => None,
    };
    match restored {
        Some(hasher) => Ok(Box::new(hasher)),
        None => Err(refuse(Code::SavedStateInvalid, format!("{} bytes are no saved state of {kind}", saved.len()))),
    }
}

fn read(hash: Hash, state: &[u8]) -> Option<State> {
    match hash {
        Hash::Md5 => Md5::resume(read_narrow(state)?).map(State::Md5),
        Hash::Sha1 => Sha1::resume(read_narrow(state)?).map(State::Sha1),
        Hash::Sha224 => Sha224::resume(read_narrow(state)?).map(State::Sha224),
        Hash::Sha256 => Sha256::resume(read_narrow(state)?).map(State::Sha256),
        Hash::Sha384 | Hash::Sha512 | Hash::Sha512_224 | Hash::Sha512_256 => {
            let (words, rest) = state.split_first_chunk::<64>()?;
            let (length, pending) = rest.split_first_chunk()?;
            let mut read = [0; 8];
            for (word, bytes) in read.iter_mut().zip(words.as_chunks().0) {
                *word = u64::from_be_bytes(*bytes);
            }
            Sha512::resume(read, u128::from_be_bytes(*length), pending).map(State::Sha512)
        }
        Hash::Sha3_224 | Hash::Sha3_256 | Hash::Sha3_384 | Hash::Sha3_512 => None,
    }
}

fn read_narrow<const WORDS: usize>(state: &[u8]) -> Option<Midway<'_, WORDS>> {
    let (words, rest) = state.split_at_checked(4 * WORDS)?;
    let (length, pending) = rest.split_first_chunk()?;
    let mut read = [0; WORDS];
    for (word, bytes) in read.iter_mut().zip(words.as_chunks().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    Some(Midway { words: read, length: u64::from_be_bytes(*length), pending })
}
