//! The only rules for Init, single, Update and Final: an operation is taken out of its cell for each call and put back
//! only where the standard says that it goes on. Failure and panic leave the cell idle.

use super::output::{Filled, Output};
use crate::error::{Code, Error, Result, refuse};
use crate::mechanism::Cipher;
use crate::secret::Secret;
use crate::token::{Permit, Started};

/// One kind of operation of one session.
#[derive(Default)]
pub(super) enum Cell<O> {
    /// Nothing was started.
    #[default]
    Idle,
    /// Init was called; nothing else yet.
    Ready(Running<O>),
    /// At least one Update was called.
    Streaming(Running<O>),
    /// A decryption is done, and its caller's buffer was too short: the result waits (see [`finish_cipher`]).
    Held(Held),
}

/// A started operation.
pub(super) struct Running<O> {
    pub operation: O,
    /// It still needs its own context-specific login.
    pub authenticate: bool,
}

/// A result that was too long for the caller's buffer.
pub(super) struct Held {
    output: Secret,
    input_len: usize,
    by: Step,
}

/// Which call made a result.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Single,
    Final,
}

fn not_initialised() -> Error {
    refuse(Code::OperationNotInitialized, "no such operation was started in this session")
}

impl<O> Cell<O> {
    /// Init. Errors: `OperationActive`.
    pub fn start(&mut self, start: impl FnOnce() -> Result<Started<O>>) -> Result<()> {
        if !matches!(self, Cell::Idle) {
            return Err(refuse(Code::OperationActive, "this session runs such an operation already: finish it first"));
        }
        let Started { operation, authenticate } = start()?;
        *self = Cell::Ready(Running { operation, authenticate });
        Ok(())
    }

    /// Ends it, whatever it was doing.
    pub fn cancel(&mut self) {
        *self = Cell::Idle;
    }

    /// Init without a mechanism: ends what runs (PKCS#11 3.1, 5.8.1 and its like).
    ///
    /// Errors: `ArgumentsBad` when nothing runs. Then the NULL was a mistake, as it always was in 2.40.
    pub fn abandon(&mut self) -> Result<()> {
        if matches!(self, Cell::Idle) {
            return Err(refuse(Code::ArgumentsBad, "no mechanism is named, and no operation runs that could be ended"));
        }
        self.cancel();
        Ok(())
    }

    /// Whether it waits for a context-specific login.
    pub fn wants_permit(&self) -> bool {
        matches!(self, Cell::Ready(Running { authenticate: true, .. }))
    }

    /// Spends a permit on the operation that waits for it.
    pub fn spend(&mut self, _permit: Permit) {
        if let Cell::Ready(running) = self {
            running.authenticate = false;
        }
    }

    /// Takes the operation for a call that allows no Update before.
    fn take_ready(&mut self) -> Result<O> {
        match std::mem::take(self) {
            Cell::Ready(running) => authenticated(running),
            _ => Err(not_initialised()),
        }
    }

    fn take(&mut self) -> Result<O> {
        match std::mem::take(self) {
            Cell::Ready(running) | Cell::Streaming(running) => authenticated(running),
            _ => Err(not_initialised()),
        }
    }

    fn put_ready(&mut self, operation: O) {
        *self = Cell::Ready(Running { operation, authenticate: false });
    }

    fn put_streaming(&mut self, operation: O) {
        *self = Cell::Streaming(Running { operation, authenticate: false });
    }

    /// Single part, without output: always ends the operation.
    pub fn single<T>(&mut self, run: impl FnOnce(O) -> Result<T>) -> Result<T> {
        run(self.take_ready()?)
    }

    /// Single part with output of a length known before.
    pub fn single_out(
        &mut self,
        len: impl FnOnce(&O) -> usize,
        out: Output<'_>,
        run: impl FnOnce(O, &mut [u8]) -> Result<usize>,
    ) -> Result<Filled> {
        let operation = self.take_ready()?;
        match room(out, len(&operation)) {
            Ok(buffer) => run(operation, buffer).map(Filled::Length),
            Err(answer) => {
                self.put_ready(operation);
                Ok(answer)
            }
        }
    }

    /// Update without output: an error ends the operation.
    pub fn update(&mut self, run: impl FnOnce(&mut O) -> Result<()>) -> Result<()> {
        let mut operation = self.take()?;
        run(&mut operation)?;
        self.put_streaming(operation);
        Ok(())
    }

    /// Update with output of a length known before.
    pub fn update_out(
        &mut self,
        len: impl FnOnce(&O) -> usize,
        out: Output<'_>,
        run: impl FnOnce(&mut O, &mut [u8]) -> Result<usize>,
    ) -> Result<Filled> {
        let untouched = matches!(self, Cell::Ready(_));
        let mut operation = self.take()?;
        let answer = match room(out, len(&operation)) {
            Ok(buffer) => Filled::Length(run(&mut operation, buffer)?),
            Err(answer) if untouched => {
                self.put_ready(operation);
                return Ok(answer);
            }
            Err(answer) => answer,
        };
        self.put_streaming(operation);
        Ok(answer)
    }

    /// Final without output: always ends the operation.
    pub fn finish<T>(&mut self, run: impl FnOnce(O) -> Result<T>) -> Result<T> {
        run(self.take()?)
    }

    /// Final with output of a length known before.
    pub fn finish_out(
        &mut self,
        len: impl FnOnce(&O) -> usize,
        out: Output<'_>,
        run: impl FnOnce(O, &mut [u8]) -> Result<usize>,
    ) -> Result<Filled> {
        let untouched = matches!(self, Cell::Ready(_));
        let operation = self.take()?;
        match room(out, len(&operation)) {
            Ok(buffer) => run(operation, buffer).map(Filled::Length),
            Err(answer) => {
                match untouched {
                    true => self.put_ready(operation),
                    false => self.put_streaming(operation),
                }
                Ok(answer)
            }
        }
    }

    /// The running operation, to be looked at (saving its state). Errors: `OperationNotInitialized`.
    pub fn look(&self) -> Result<&O> {
        match self {
            Cell::Ready(running) | Cell::Streaming(running) => Ok(&running.operation),
            _ => Err(not_initialised()),
        }
    }

    /// Puts a restored operation in, as if Update had been called.
    pub fn restore(&mut self, operation: O) {
        self.put_streaming(operation);
    }

    /// Whether an operation is there, for functions that need two at once.
    pub fn is_running(&self) -> bool {
        matches!(self, Cell::Ready(_) | Cell::Streaming(_))
    }
}

fn authenticated<O>(running: Running<O>) -> Result<O> {
    if running.authenticate {
        return Err(refuse(
            Code::UserNotLoggedIn,
            "the key asks for a context-specific login before each use (CKA_ALWAYS_AUTHENTICATE)",
        ));
    }
    Ok(running.operation)
}

/// The buffer if it is long enough; otherwise what the caller is told.
fn room(out: Output<'_>, len: usize) -> std::result::Result<&mut [u8], Filled> {
    match out {
        Output::Query => Err(Filled::Length(len)),
        Output::Buffer(buffer) if buffer.len() < len => Err(Filled::TooSmall(len)),
        Output::Buffer(buffer) => Ok(buffer),
    }
}

type BoxedCipher = Box<dyn Cipher>;

/// `C_Encrypt`, `C_Decrypt`, and their Final (`input` is empty then).
///
/// Where padding is removed, the length shows only at the end, and callers rightly pass buffers of the plaintext's
/// length. Then the work is done into a buffer of ours, and a result that does not fit waits for the next call.
pub(super) fn finish_cipher(cell: &mut Cell<BoxedCipher>, step: Step, input: &[u8], out: Output<'_>) -> Result<Filled> {
    if let Cell::Held(held) = cell {
        if held.by != step || held.input_len != input.len() {
            cell.cancel();
            return Err(refuse(
                Code::OperationNotInitialized,
                "the operation is done, and another call than the one whose buffer was too short came",
            ));
        }
        let Cell::Held(held) = std::mem::take(cell) else { return Err(not_initialised()) };
        return deliver(cell, held, out);
    }
    let unpads = cell.look().is_ok_and(|cipher| cipher.unpads());
    if !unpads || matches!(out, Output::Query) {
        return match step {
            Step::Single => cell.single_out(|c| c.single_len(input.len()), out, |c, buffer| c.single(input, buffer)),
            Step::Final => cell.finish_out(|c| c.finish_len(), out, |c, buffer| c.finish(buffer)),
        };
    }
    let cipher = match step {
        Step::Single => cell.take_ready()?,
        Step::Final => cell.take()?,
    };
    let bound = if step == Step::Single { cipher.single_len(input.len()) } else { cipher.finish_len() };
    if let Output::Buffer(buffer) = out {
        if buffer.len() >= bound {
            let len = if step == Step::Single { cipher.single(input, buffer)? } else { cipher.finish(buffer)? };
            return Ok(Filled::Length(len));
        }
        let mut output = Secret::zeroed(bound);
        let len =
            if step == Step::Single { cipher.single(input, output.expose_mut())? } else { cipher.finish(output.expose_mut())? };
        output.truncate(len);
        return deliver(cell, Held { output, input_len: input.len(), by: step }, Output::Buffer(buffer));
    }
    Err(not_initialised())
}

fn deliver(cell: &mut Cell<BoxedCipher>, held: Held, out: Output<'_>) -> Result<Filled> {
    let len = held.output.len();
    match room(out, len) {
        Ok(buffer) => {
            buffer[..len].copy_from_slice(held.output.expose());
            Ok(Filled::Length(len))
        }
        Err(answer) => {
            *cell = Cell::Held(held);
            Ok(answer)
        }
    }
}
