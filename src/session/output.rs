//! Where a variable-length result goes: "how long" and "too small" in one place (PKCS#11 3.1, 5.2).

use crate::faults::{self, Fault};

/// The caller's place for a result.
pub enum Output<'a> {
    /// The buffer pointer was NULL: only the length is asked for.
    Query,
    /// A buffer of the length that the caller gave.
    Buffer(&'a mut [u8]),
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// So many bytes were written, or (for a query) would be at most.
    Length(usize),
    /// `CKR_BUFFER_TOO_SMALL`: so many are needed. Nothing was written, the operation goes on.
    TooSmall(usize),
}

impl<'a> Output<'a> {
    /// The buffer if `len` bytes fit; otherwise what the caller is told.
    pub(super) fn room(self, len: usize) -> Result<&'a mut [u8], Filled> {
        match self {
            Output::Query if faults::on(Fault::QueryTellsTooLittle) => Err(Filled::Length(len.saturating_sub(1))),
            Output::Query => Err(Filled::Length(len)),
            Output::Buffer(buffer) if buffer.len() < len => Err(Filled::TooSmall(len)),
            Output::Buffer(buffer) => Ok(buffer),
        }
    }

    /// Gives a finished result to the caller, if it fits.
    pub(super) fn put(self, result: &[u8]) -> Filled {
        match self.room(result.len()) {
            Err(answer) => answer,
            Ok(buffer) => {
                buffer[..result.len()].copy_from_slice(result);
                Filled::Length(result.len())
            }
        }
    }
}
