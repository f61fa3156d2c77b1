//! How the length of a cipher's output follows from that of its input: all that a caller without the key must know.

use minicbor::{Decode, Encode};

use super::Step;
use super::block::Direction;
use crate::error::{Code, Result, refuse};

/// The rule of one cipher operation. Field numbers are for ever: shapes are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Shape {
    /// Every part gives as many bytes as it has; the end gives `tail` more.
    #[n(0)]
    Stream {
        /// Bytes at the end (a tag).
        #[n(0)]
        tail: u64,
    },
    /// Whole blocks come out; a padded decryption holds its last one back.
    #[n(1)]
    Blocks {
        /// Bytes of a block.
        #[n(0)]
        size: u64,
        /// PKCS #7.
        #[n(1)]
        padded: bool,
        /// Which way.
        #[n(2)]
        decrypts: bool,
    },
    /// Nothing comes out before the end, then the input with a tag more or less.
    #[n(2)]
    Collected {
        /// Bytes more.
        #[n(0)]
        adds: u64,
        /// Bytes less.
        #[n(1)]
        drops: u64,
    },
    /// Nothing comes out before the end, then at most `output_max` bytes.
    #[n(3)]
    Whole {
        /// Most input, in bytes.
        #[n(0)]
        input_max: u64,
        /// Most output, in bytes.
        #[n(1)]
        output_max: u64,
        /// Whether the output can be shorter.
        #[n(2)]
        unpads: bool,
    },
}

impl Shape {
    /// As [`Cipher::unpads`](super::Cipher::unpads).
    pub fn unpads(self) -> bool {
        match self {
            Shape::Blocks { padded, decrypts, .. } => padded && decrypts,
            Shape::Whole { unpads, .. } => unpads,
            _ => false,
        }
    }

    /// Whether input is collected to be used at once.
    pub fn collects(self) -> bool {
        matches!(self, Shape::Collected { .. } | Shape::Whole { .. })
    }

    /// As [`Cipher::check`](super::Cipher::check), after `taken` bytes. Errors: `DataLenRange`, `EncryptedDataLenRange`.
    pub fn check(self, step: Step, taken: usize, input: usize) -> Result<()> {
        let Shape::Blocks { size, padded, decrypts } = self else { return Ok(()) };
        let rest = taken.saturating_add(input) % (size.max(1) as usize);
        if step == Step::Update || rest == 0 && !(padded && decrypts && taken + input == 0) || padded && !decrypts {
            return Ok(());
        }
        let direction = if decrypts { Direction::Decrypt } else { Direction::Encrypt };
        Err(refuse(direction.length_code(), format!("the input ends {rest} bytes into a block of {size}")))
    }

    /// As [`Cipher::update_len`](super::Cipher::update_len), after `taken` bytes.
    pub fn update_len(self, taken: usize, input: usize) -> usize {
        match self {
            Shape::Stream { .. } => input,
            Shape::Blocks { size, .. } => {
                let size = size.max(1) as usize;
                let out = |total: usize| if self.unpads() { total.saturating_sub(1) / size * size } else { total / size * size };
                out(taken.saturating_add(input)) - out(taken)
            }
            Shape::Collected { .. } | Shape::Whole { .. } => 0,
        }
    }

    /// As [`Cipher::finish_len`](super::Cipher::finish_len), after `taken` bytes.
    pub fn finish_len(self, taken: usize) -> usize {
        match self {
            Shape::Stream { tail } => tail as usize,
            Shape::Blocks { size, padded, .. } => {
                if padded {
                    size as usize
                } else {
                    0
                }
            }
            Shape::Collected { .. } | Shape::Whole { .. } => self.single_len(taken),
        }
    }

    /// As [`Cipher::single_len`](super::Cipher::single_len).
    pub fn single_len(self, input: usize) -> usize {
        match self {
            Shape::Stream { tail } => input.saturating_add(tail as usize),
            Shape::Blocks { size, padded: true, decrypts: false } => {
                let size = size.max(1) as usize;
                (input / size).saturating_add(1).saturating_mul(size)
            }
            Shape::Blocks { .. } => input,
            Shape::Collected { adds, drops } => input.saturating_add(adds as usize).saturating_sub(drops as usize),
            Shape::Whole { output_max, .. } => output_max as usize,
        }
    }

    /// What is refused before it is collected. Errors: `DataLenRange`.
    pub fn check_collected(self, total: usize) -> Result<()> {
        match self {
            Shape::Whole { input_max, .. } if total as u64 > input_max => Err(refuse(
                Code::DataLenRange,
                format!("the input has more than the {input_max} bytes that this key and mechanism take"),
            )),
            _ => Ok(()),
        }
    }
}
