//! Encryption and decryption.
//!
//! Where padding is removed, the true length of the output shows only at the end, and callers rightly pass buffers of the
//! plaintext's length, which is below the bound. Then the work is done into a buffer of ours; a result that does not fit waits
//! for the next call, which must be the same one with the same input.

use super::operation::{Cell, Next};
use super::{Filled, Library, Output};
use crate::error::{Code, Error, Result, refuse};
use crate::mechanism::digest::Hash;
use crate::mechanism::{Cipher, Mechanism, Step};
use crate::secret::Secret;
use crate::token::Started;

/// What a cell for encryption or decryption holds.
pub(super) enum Ciphering {
    Running(Box<dyn Cipher>),
    /// Done; the caller's buffer was too small for the result.
    Done(Box<Held>),
}

/// A result that waits for a buffer.
pub(super) struct Held {
    output: Secret,
    by: Step,
    /// SHA-256 of the input that made it: other input must not get this result.
    input: Hashed,
}

type Hashed = [u8; 32];

fn other_call() -> Error {
    refuse(Code::OperationNotInitialized, "the operation is done, and not the call whose buffer was too small came again")
}

/// Update. `then` sees what came out.
pub(super) fn part(
    cell: &mut Cell<Ciphering>,
    input: &[u8],
    out: Output<'_>,
    then: impl FnOnce(&[u8]) -> Result<()>,
) -> Result<Filled> {
    cell.step(Step::Update, |ciphering| {
        let Ciphering::Running(mut cipher) = ciphering else { return Err(other_call()) };
        cipher.check(Step::Update, input.len())?;
        match out.room(cipher.update_len(input.len())) {
            Err(answer) => Ok((Next::Unchanged(Ciphering::Running(cipher)), answer)),
            Ok(buffer) => {
                let len = cipher.update(input, buffer)?;
                then(&buffer[..len])?;
                Ok((Next::Streams(Ciphering::Running(cipher)), Filled::Length(len)))
            }
        }
    })
}

/// Single and Final (whose `input` is empty).
fn conclude(cell: &mut Cell<Ciphering>, call: Step, input: &[u8], out: Output<'_>) -> Result<Filled> {
    cell.step(call, |ciphering| match ciphering {
        Ciphering::Running(cipher) => run(cipher, call, input, out),
        Ciphering::Done(held) if held.by == call && held.input == hashed(input) => Ok(give(held, out)),
        Ciphering::Done(_) => Err(other_call()),
    })
}

fn run(cipher: Box<dyn Cipher>, call: Step, input: &[u8], out: Output<'_>) -> Result<(Next<Ciphering>, Filled)> {
    cipher.check(call, input.len())?;
    let bound = if call == Step::Single { cipher.single_len(input.len()) } else { cipher.finish_len() };
    match out {
        Output::Buffer(buffer) if cipher.unpads() && buffer.len() < bound => {
            let mut output = Secret::zeroed(bound);
            let len = work(cipher, call, input, output.expose_mut())?;
            output.truncate(len);
            Ok(give(Box::new(Held { output, by: call, input: hashed(input) }), Output::Buffer(buffer)))
        }
        out => match out.room(bound) {
            Ok(buffer) => Ok((Next::Ends, Filled::Length(work(cipher, call, input, buffer)?))),
            Err(answer) => Ok((Next::Unchanged(Ciphering::Running(cipher)), answer)),
        },
    }
}

fn work(cipher: Box<dyn Cipher>, call: Step, input: &[u8], buffer: &mut [u8]) -> Result<usize> {
    if call == Step::Single { cipher.single(input, buffer) } else { cipher.finish(buffer) }
}

fn give(held: Box<Held>, out: Output<'_>) -> (Next<Ciphering>, Filled) {
    let len = held.output.len();
    match out.room(len) {
        Err(answer) => (Next::Unchanged(Ciphering::Done(held)), answer),
        Ok(buffer) => {
            buffer[..len].copy_from_slice(held.output.expose());
            (Next::Ends, Filled::Length(len))
        }
    }
}

fn hashed(input: &[u8]) -> Hashed {
    let digest = Hash::Sha256.digest(&[input]);
    std::array::from_fn(|at| digest.as_ref()[at])
}

fn running(started: Started<Box<dyn Cipher>>) -> Started<Ciphering> {
    Started { operation: Ciphering::Running(started.operation), authenticate: started.authenticate }
}

impl Library {
    /// `C_EncryptInit`. `None` ends the running encryption (PKCS#11 3.0).
    pub fn encrypt_init(&self, session: u64, mechanism: Option<Mechanism>, key: u64) -> Result<()> {
        self.init(
            session,
            mechanism,
            key,
            |cells| &mut cells.encrypt,
            |token, access, mechanism, key| token.encrypt(access, mechanism, key).map(running),
        )
    }

    /// `C_Encrypt`.
    pub fn encrypt(&self, session: u64, data: &[u8], out: Output<'_>) -> Result<Filled> {
        conclude(&mut self.session(session)?.lock().cells.encrypt, Step::Single, data, out)
    }

    /// `C_EncryptUpdate`.
    pub fn encrypt_update(&self, session: u64, data: &[u8], out: Output<'_>) -> Result<Filled> {
        part(&mut self.session(session)?.lock().cells.encrypt, data, out, |_| Ok(()))
    }

    /// `C_EncryptFinal`.
    pub fn encrypt_final(&self, session: u64, out: Output<'_>) -> Result<Filled> {
        conclude(&mut self.session(session)?.lock().cells.encrypt, Step::Final, &[], out)
    }

    /// `C_DecryptInit`. `None` ends the running decryption (PKCS#11 3.0).
    pub fn decrypt_init(&self, session: u64, mechanism: Option<Mechanism>, key: u64) -> Result<()> {
        self.init(
            session,
            mechanism,
            key,
            |cells| &mut cells.decrypt,
            |token, access, mechanism, key| token.decrypt(access, mechanism, key).map(running),
        )
    }

    /// `C_Decrypt`.
    pub fn decrypt(&self, session: u64, data: &[u8], out: Output<'_>) -> Result<Filled> {
        conclude(&mut self.session(session)?.lock().cells.decrypt, Step::Single, data, out)
    }

    /// `C_DecryptUpdate`.
    pub fn decrypt_update(&self, session: u64, data: &[u8], out: Output<'_>) -> Result<Filled> {
        part(&mut self.session(session)?.lock().cells.decrypt, data, out, |_| Ok(()))
    }

    /// `C_DecryptFinal`.
    pub fn decrypt_final(&self, session: u64, out: Output<'_>) -> Result<Filled> {
        conclude(&mut self.session(session)?.lock().cells.decrypt, Step::Final, &[], out)
    }
}
