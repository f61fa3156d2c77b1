//! Values of other rooms as CBOR, for `#[cbor(with = "codec::…")]`.

/// Secrets, as byte strings.
pub mod secret {
    use crate::secret::Secret;
    use minicbor::decode::{Decoder, Error as DecodeError};
    use minicbor::encode::{Encoder, Error as EncodeError, Write};

    pub fn encode<C, W: Write>(value: &Secret, out: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        out.bytes(value.expose()).map(drop)
    }

    pub fn decode<C>(input: &mut Decoder<'_>, _: &mut C) -> Result<Secret, DecodeError> {
        input.bytes().map(Secret::copy_of)
    }
}

/// Templates, as byte strings of their own encoding.
pub mod template {
    use crate::object::Template;
    use crate::object::encode as object;
    use minicbor::decode::{Decoder, Error as DecodeError};
    use minicbor::encode::{Encoder, Error as EncodeError, Write};

    pub fn encode<C, W: Write>(value: &Template, out: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        out.bytes(object::encode(value).expose()).map(drop)
    }

    pub fn decode<C>(input: &mut Decoder<'_>, _: &mut C) -> Result<Template, DecodeError> {
        let at = input.position();
        object::decode(input.bytes()?).map_err(|cause| DecodeError::custom(cause).at(at))
    }
}

/// One attribute value, as the template that holds it alone.
pub mod value {
    use crate::ck::AttributeType;
    use crate::object::encode as object;
    use crate::object::{Template, Value};
    use minicbor::decode::{Decoder, Error as DecodeError};
    use minicbor::encode::{Encoder, Error as EncodeError, Write};

    pub fn encode<C, W: Write>(value: &Value, out: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        let alone = Template::from_iter([(AttributeType::VALUE, value.duplicate())]);
        out.bytes(object::encode(&alone).expose()).map(drop)
    }

    pub fn decode<C>(input: &mut Decoder<'_>, _: &mut C) -> Result<Value, DecodeError> {
        let at = input.position();
        let alone = object::decode(input.bytes()?).map_err(|cause| DecodeError::custom(cause).at(at))?;
        alone.into_iter().next().map(|(_, value)| value).ok_or_else(|| DecodeError::message("no value").at(at))
    }
}
