//! The only rules for Init, single, Update and Final (PKCS#11 3.1, 5.2 and 5.8 to 5.15).
//!
//! An operation is taken out of its cell for each call and put back only where the standard says that it goes on: after a
//! successful Update, a query for a length, a buffer that was too small. Every error and every panic leaves the cell idle.

use super::output::{Filled, Output};
use crate::error::{Code, Error, Result, refuse};
use crate::faults::{self, Fault};
use crate::mechanism::Step;
use crate::token::{Permit, PermitSlot, Started};

/// One kind of operation of one session.
#[derive(Default)]
pub(super) enum Cell<O> {
    /// Nothing was started, or it is over.
    #[default]
    Idle,
    /// Init was called, and since then at most questions for lengths.
    Ready(Running<O>),
    /// At least one Update was called.
    Streaming(Running<O>),
}

/// A started operation.
pub(super) struct Running<O> {
    operation: O,
    proof: Proof,
}

/// The context-specific login that a key with `CKA_ALWAYS_AUTHENTICATE` asks for.
enum Proof {
    NotNeeded,
    /// Not yet given. `since` tells the order in which operations were started.
    Missing {
        since: u64,
        slot: PermitSlot,
    },
    /// Spent with the operation.
    Given,
}

/// How an operation stands after a call that succeeded.
pub(super) enum Next<O> {
    /// As if the call had not been made.
    Unchanged(O),
    /// It has taken a part.
    Streams(O),
    /// It is over.
    Ends,
}

impl<O> Cell<O> {
    /// Init. `turn` tells the order of starts.
    ///
    /// Errors: `OperationActive`; what `start` says, and the cell stays idle.
    pub fn start(&mut self, turn: u64, start: impl FnOnce() -> Result<Started<O>>) -> Result<()> {
        if !matches!(self, Cell::Idle) && !faults::on(Fault::SecondInitIsTaken) {
            return Err(refuse(Code::OperationActive, "this session runs such an operation already: finish or cancel it first"));
        }
        let Started { operation, authenticate } = start()?;
        let proof = authenticate.map_or(Proof::NotNeeded, |slot| Proof::Missing { since: turn, slot });
        *self = Cell::Ready(Running { operation, proof });
        Ok(())
    }

    /// Init without a mechanism: ends what runs (PKCS#11 3.0, 5.8.1 and its like). Errors: `ArgumentsBad` if nothing runs.
    pub fn abandon(&mut self) -> Result<()> {
        match std::mem::take(self) {
            Cell::Idle => {
                Err(refuse(Code::ArgumentsBad, "the mechanism is NULL, and no such operation runs that this could end"))
            }
            _ => Ok(()),
        }
    }

    /// One call on the running operation. All other methods that run one are made of this.
    ///
    /// Errors: `OperationNotInitialized` (also for [`Step::Single`] after an Update: it cannot end an operation in parts),
    /// `UserNotLoggedIn` without the context-specific login that the key asks for; what `run` says. Each ends the operation.
    pub fn step<T>(&mut self, call: Step, run: impl FnOnce(O) -> Result<(Next<O>, T)>) -> Result<T> {
        let (running, streaming) = match std::mem::take(self) {
            Cell::Idle => return Err(not_initialised()),
            Cell::Ready(running) => (running, false),
            Cell::Streaming(_) if call == Step::Single => {
                return Err(refuse(
                    Code::OperationNotInitialized,
                    "the single-part call came after an Update: the operation is ended",
                ));
            }
            Cell::Streaming(running) => (running, true),
        };
        let Running { operation, proof } = running;
        if matches!(proof, Proof::Missing { .. }) {
            return Err(refuse(
                Code::UserNotLoggedIn,
                "the key asks for a context-specific login before each use (CKA_ALWAYS_AUTHENTICATE)",
            ));
        }
        let (next, answer) = run(operation)?;
        *self = match next {
            Next::Ends => Cell::Idle,
            Next::Unchanged(operation) if !streaming => Cell::Ready(Running { operation, proof }),
            Next::Unchanged(operation) | Next::Streams(operation) => Cell::Streaming(Running { operation, proof }),
        };
        Ok(answer)
    }

    /// Single or Final without output: always ends the operation.
    pub fn end(&mut self, call: Step, run: impl FnOnce(O) -> Result<()>) -> Result<()> {
        self.step(call, |operation| Ok((Next::Ends, run(operation)?)))
    }

    /// Single or Final with output of a length known before.
    pub fn end_with_output(
        &mut self,
        call: Step,
        len: impl FnOnce(&O) -> usize,
        out: Output<'_>,
        run: impl FnOnce(O, &mut [u8]) -> Result<usize>,
    ) -> Result<Filled> {
        self.step(call, |operation| match out.room(len(&operation)) {
            Ok(buffer) => Ok((Next::Ends, Filled::Length(run(operation, buffer)?))),
            Err(Filled::TooSmall(len)) if faults::on(Fault::SmallBufferEnds) => Ok((Next::Ends, Filled::TooSmall(len))),
            Err(answer) => Ok((Next::Unchanged(operation), answer)),
        })
    }

    /// Update without output.
    pub fn update(&mut self, run: impl FnOnce(&mut O) -> Result<()>) -> Result<()> {
        self.step(Step::Update, |mut operation| {
            run(&mut operation)?;
            Ok((Next::Streams(operation), ()))
        })
    }

    /// The running operation, to be looked at. Errors: `OperationNotInitialized`.
    pub fn look(&self) -> Result<&O> {
        match self {
            Cell::Ready(running) | Cell::Streaming(running) => Ok(&running.operation),
            Cell::Idle => Err(not_initialised()),
        }
    }

    /// Puts a restored operation in, in the place of whatever ran.
    pub fn restore(&mut self, operation: O) {
        *self = Cell::Streaming(Running { operation, proof: Proof::NotNeeded });
    }
}

/// A cell, whatever kind of operation it is for.
pub(super) trait AnyCell {
    /// Whether an operation runs.
    fn is_running(&self) -> bool;
    /// Ends it, whatever it was doing.
    fn cancel(&mut self);
    /// When it was started, if it still waits for a context-specific login.
    fn waiting_since(&self) -> Option<u64>;
    /// Gives it the login that it waits for.
    fn permit(&mut self, permit: Permit);
}

impl<O> AnyCell for Cell<O> {
    fn is_running(&self) -> bool {
        !matches!(self, Cell::Idle)
    }

    fn cancel(&mut self) {
        *self = Cell::Idle;
    }

    fn waiting_since(&self) -> Option<u64> {
        match self {
            Cell::Ready(Running { proof: Proof::Missing { since, .. }, .. }) => Some(*since),
            _ => None,
        }
    }

    fn permit(&mut self, permit: Permit) {
        if let Cell::Ready(running) = self
            && let Proof::Missing { slot, .. } = std::mem::replace(&mut running.proof, Proof::Given)
        {
            slot.give(permit);
        }
    }
}

fn not_initialised() -> Error {
    let code = if faults::on(Fault::NothingRunsCode) { Code::ArgumentsBad } else { Code::OperationNotInitialized };
    refuse(code, "no such operation was started in this session")
}
