//! Identifiers of other rooms as CBOR, for `#[cbor(with = "codec::…")]`.

use crate::ck::AttributeType;
use crate::object::{ObjectId, TokenId};

/// 128 bits that are stored as a byte string.
pub trait Id {
    /// The bits of an id.
    fn bits(&self) -> &[u8; 16];
    /// The id of some bits.
    fn of_bits(bits: [u8; 16]) -> Self;
}

impl Id for ObjectId {
    fn bits(&self) -> &[u8; 16] {
        &self.0
    }
    fn of_bits(bits: [u8; 16]) -> Self {
        Self(bits)
    }
}

impl Id for TokenId {
    fn bits(&self) -> &[u8; 16] {
        &self.0
    }
    fn of_bits(bits: [u8; 16]) -> Self {
        Self(bits)
    }
}

/// Ids, as byte strings of 16 bytes.
pub mod id {
    use minicbor::bytes::ByteArray;
    use minicbor::decode::{Decoder, Error as DecodeError};
    use minicbor::encode::{Encoder, Error as EncodeError, Write};

    use super::Id;

    pub fn encode<T: Id, C, W: Write>(value: &T, out: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        out.bytes(value.bits())?;
        Ok(())
    }

    pub fn decode<T: Id, C>(input: &mut Decoder<'_>, _: &mut C) -> Result<T, DecodeError> {
        let bits: ByteArray<16> = input.decode()?;
        Ok(T::of_bits(bits.into()))
    }
}

/// Attribute types, as numbers.
pub mod number {
    use minicbor::decode::{Decoder, Error as DecodeError};
    use minicbor::encode::{Encoder, Error as EncodeError, Write};

    use super::AttributeType;

    pub fn encode<C, W: Write>(value: &AttributeType, out: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        out.u64(value.0)?;
        Ok(())
    }

    pub fn decode<C>(input: &mut Decoder<'_>, _: &mut C) -> Result<AttributeType, DecodeError> {
        input.u64().map(AttributeType)
    }
}
