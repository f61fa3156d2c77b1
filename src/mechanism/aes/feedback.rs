//! Output and cipher feedback (NIST SP 800-38A, 6.3 and 6.4): streams without padding.

use std::sync::Arc;

use zeroize::Zeroize;

use super::AesKey;
use crate::ck::MechanismType;
use crate::error::{Code, Result, refuse};
use crate::mechanism::block::{self, Direction};
use crate::mechanism::key::Prepared;
use crate::mechanism::{Cipher, Key, Mechanism, Shape};
use crate::sys::awslc::aes::{EncryptKey, Feedback};

type Step = fn(&EncryptKey, &mut Feedback, bool, &[u8], &mut [u8]);

struct FeedbackOperation {
    key: Prepared<AesKey>,
    state: Feedback,
    encrypt: bool,
    step: Step,
}

/// An encryption or decryption.
pub fn start(mechanism: &Mechanism, key: Arc<Key>, direction: Direction) -> Result<Box<dyn Cipher>> {
    let step: Step = match mechanism.kind {
        MechanismType::AES_OFB => |key, state, _, input, out| key.ofb(state, input, out),
        MechanismType::AES_CFB8 => EncryptKey::cfb8,
        MechanismType::AES_CFB128 => EncryptKey::cfb128,
        _ => return Err(refuse(Code::MechanismInvalid, format!("{} is no mode of AES that we have", mechanism.kind))),
    };
    let state = Feedback { register: block::vector(mechanism)?, used: 0 };
    Ok(Box::new(FeedbackOperation { key: Prepared::of(key)?, state, encrypt: direction == Direction::Encrypt, step }))
}

impl Cipher for FeedbackOperation {
    fn shape(&self) -> Shape {
        Shape::Stream { tail: 0 }
    }

    fn update_len(&self, input: usize) -> usize {
        input
    }

    fn update(&mut self, input: &[u8], out: &mut [u8]) -> Result<usize> {
        (self.step)(&self.key.serial, &mut self.state, self.encrypt, input, &mut out[..input.len()]);
        Ok(input.len())
    }

    fn finish_len(&self) -> usize {
        0
    }

    fn finish(self: Box<Self>, _: &mut [u8]) -> Result<usize> {
        Ok(0)
    }

    fn single_len(&self, input: usize) -> usize {
        input
    }

    fn single(mut self: Box<Self>, input: &[u8], out: &mut [u8]) -> Result<usize> {
        self.update(input, out)
    }
}

impl Drop for FeedbackOperation {
    fn drop(&mut self) {
        self.state.register.zeroize();
    }
}
