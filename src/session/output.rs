//! Where a variable-length result goes: "how long" and "too small" in one place (PKCS#11 3.1, 5.2).

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
