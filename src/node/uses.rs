//! Uses of keys as requests ask for them: whole, or a part at a time.

use super::streams::Running;
use crate::error::{Code, Result, refuse};
use crate::limits::INPUT_MAX_BYTES;
use crate::mechanism::digest::{Hash, restore};
use crate::mechanism::{Cipher, Mechanism, Step};
use crate::partition::LocalToken;
use crate::secret::Secret;
use crate::token::message::{Blob, Digested, Use, Verb, encode};
use crate::token::{Access, Started, Token};

/// A hash over a use, but for its permit, and over what comes with it.
pub(super) fn hash_of(what: &Use, parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Hash::Sha256.start();
    let named = encode(&Use { permit: Blob::default(), ..what.clone() });
    for part in [named.expose()].iter().chain(parts) {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let hash = hash.finish();
    std::array::from_fn(|at| hash[at])
}

/// Spends the permit of a use whose key asks for one; it is bound to the use and to `parts`, which are what it is spent on.
fn permitted<O>(token: &LocalToken, access: &Access, what: &Use, started: Started<O>, parts: &[&[u8]]) -> Result<O> {
    if started.authenticate.is_some() {
        token.spend(access, what, hash_of(what, parts))?;
    }
    Ok(started.operation)
}

/// One whole use. Gives the signature, the text, or nothing (a verification).
pub(super) fn whole(
    token: &LocalToken,
    access: &Access,
    what: &Use,
    input: &[u8],
    hashed: bool,
    signature: &[u8],
) -> Result<Secret> {
    let (mechanism, key, purpose) = (&what.mechanism, what.key, &[input, signature]);
    Ok(match what.verb {
        Verb::Sign => {
            let signer = permitted(token, access, what, token.sign(access, mechanism, key)?, purpose)?;
            fill(signer.signature_len(), |out| match hashed {
                true => signer.finish_digest(input, out),
                false => signer.single(input, out),
            })?
        }
        Verb::Verify => {
            let verifier = permitted(token, access, what, token.verify(access, mechanism, key)?, purpose)?;
            match hashed {
                true => verifier.finish_digest(input, signature)?,
                false => verifier.single(input, signature)?,
            }
            Secret::default()
        }
        Verb::SignRecover | Verb::VerifyRecover => {
            let started = match what.verb {
                Verb::SignRecover => token.sign_recover(access, mechanism, key)?,
                _ => token.verify_recover(access, mechanism, key)?,
            };
            let recover = permitted(token, access, what, started, purpose)?;
            fill(recover.output_len(input.len()), |out| recover.single(input, out))?
        }
        Verb::Encrypt | Verb::Decrypt => {
            let cipher = permitted(token, access, what, cipher(token, access, what)?, purpose)?;
            cipher.check(Step::Single, input.len())?;
            fill(cipher.single_len(input.len()), |out| cipher.single(input, out))?
        }
    })
}

fn cipher(token: &LocalToken, access: &Access, what: &Use) -> Result<Started<Box<dyn Cipher>>> {
    match what.verb {
        Verb::Encrypt => token.encrypt(access, &what.mechanism, what.key),
        _ => token.decrypt(access, &what.mechanism, what.key),
    }
}

/// Starts an operation in parts: `first` is the first one, which comes again as it was.
pub(super) fn start(token: &LocalToken, access: &Access, what: &Use, stream: &[u8], first: &[u8]) -> Result<Running> {
    let (mechanism, key, purpose) = (&what.mechanism, what.key, &[stream, first]);
    Ok(match what.verb {
        Verb::Sign => Running::Sign(permitted(token, access, what, token.sign(access, mechanism, key)?, purpose)?),
        Verb::Verify => Running::Verify(permitted(token, access, what, token.verify(access, mechanism, key)?, purpose)?),
        Verb::Encrypt | Verb::Decrypt => Running::Cipher(permitted(token, access, what, cipher(token, access, what)?, purpose)?),
        Verb::SignRecover | Verb::VerifyRecover => {
            return Err(refuse(Code::ArgumentsBad, "an operation with message recovery has no parts"));
        }
    })
}

/// One part: what the operation has become, and what came out.
pub(super) fn step(running: Running, input: &[u8], ends: bool, signature: &[u8]) -> Result<(Option<Running>, Secret)> {
    match running {
        Running::Sign(mut signer) => {
            signer.update(input)?;
            match ends {
                true => Ok((None, fill(signer.signature_len(), |out| signer.finish(out))?)),
                false => Ok((Some(Running::Sign(signer)), Secret::default())),
            }
        }
        Running::Verify(mut verifier) => {
            verifier.update(input)?;
            match ends {
                true => verifier.finish(signature).map(|()| (None, Secret::default())),
                false => Ok((Some(Running::Verify(verifier)), Secret::default())),
            }
        }
        Running::Cipher(mut cipher) => {
            let mut output = fill(cipher.update_len(input.len()), |out| cipher.update(input, out))?;
            if !ends {
                return Ok((Some(Running::Cipher(cipher)), output));
            }
            cipher.check(Step::Final, 0)?;
            let last = fill(cipher.finish_len(), |out| cipher.finish(out))?;
            output.extend(last.expose());
            Ok((None, output))
        }
    }
}

/// A buffer of so many bytes, filled, and cut to what came.
fn fill(len: usize, work: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<Secret> {
    if len > INPUT_MAX_BYTES {
        return Err(refuse(Code::DataLenRange, "the result would be longer than any input may be"));
    }
    let mut out = Secret::zeroed(len);
    let len = work(out.expose_mut())?;
    out.truncate(len);
    Ok(out)
}

pub(super) fn digest(
    token: &LocalToken,
    access: &Access,
    mechanism: &Mechanism,
    state: Option<&Blob>,
    parts: &[Digested],
) -> Result<Secret> {
    let mut digest = match state {
        Some(state) => restore(mechanism.kind, &state.0)?,
        None => token.digest(mechanism)?,
    };
    for part in parts {
        match part {
            Digested::Bytes(bytes) => digest.update(bytes.expose())?,
            Digested::Key(key) => token.digest_key(access, *key, &mut *digest)?,
        }
    }
    let len = digest.output_len();
    fill(len, |out| digest.finish(out).map(|()| len))
}
