//! What fuzzers and tests do with this room: bytes become templates, mechanism parameters and sequences of calls, all of which must
//! end with a code, never with a panic and never with a byte outside the caller's memory. The library behind is real, its token is not.

mod calls;
mod dice;
mod mechanism;
mod template;
mod token;

use std::sync::Arc;

use parking_lot::Mutex;

use super::module::{Dialect, Module};
use super::tables::GATE;
use super::{params, template as door};
use crate::assemble::Opened;
use crate::ck::AttributeType;
use crate::error::{Code, Error, Level, Result};
use crate::object::{Template, Value};
use crate::session::{Library, Settings};
use crate::token::Reading;
use crate::world::Real;

pub use calls::calls;
use dice::{Arena, Dice};
pub use token::{LABEL_THAT_PANICS, PIN};

/// The process has one gate, so whoever puts a library there is alone.
static ALONE: Mutex<()> = Mutex::new(());
/// What was last told at the level of our own mistakes.
static LAST_MISTAKE: Mutex<String> = Mutex::new(String::new());

/// Runs `work` alone, while no library is there. It may put one there itself.
pub fn uninitialised<R>(work: impl FnOnce() -> R) -> R {
    let _alone = ALONE.lock();
    GATE.clear();
    let done = work();
    GATE.clear();
    done
}

/// Runs `work` alone, with a library that has one token.
///
/// Errors: those of making the library.
pub fn initialised<R>(work: impl FnOnce() -> R) -> Result<R> {
    uninitialised(|| initialise().map(|()| work()))
}

/// Puts a library there, as C_Initialize does. Errors: `CryptokiAlreadyInitialized`, those of making the library.
pub fn initialise() -> Result<()> {
    GATE.fill(|| open(false).map(Module::from))
}

/// The last mistake of our own that the log was told.
pub fn last_mistake() -> String {
    LAST_MISTAKE.lock().clone()
}

/// What C_Initialize opens in tests.
pub fn open(carries_on_after_fork: bool) -> Result<Opened> {
    let library = Library::new(Arc::<token::FakeAdmin>::default(), Arc::new(Real), Settings::default())?;
    let log = |level, line: &dyn std::fmt::Display| {
        if level == Level::Error {
            *LAST_MISTAKE.lock() = line.to_string();
        }
    };
    Ok(Opened { library, log: Box::new(log), carries_on_after_fork, softhsm_codes: false, peer: None })
}

/// A target: templates. What is read from a template can be read back through it, and nothing is written past a value's end.
pub fn templates(bytes: &[u8]) {
    let (mut dice, mut arena) = (Dice::new(bytes), Arena::default());
    let entries = template::entries(&mut dice, &mut arena, 2);
    let (start, count) = template::array(&entries, &mut arena);
    // SAFETY: every pointer is NULL or of the arena, with the length that it has there or one that is refused.
    let outcomes = unsafe { [door::read(start, count, Dialect::Standard), door::read_search(start, count)] };
    for outcome in outcomes {
        match outcome {
            Ok(template) => read_back(&template, &mut dice),
            Err(error) => assert_code(
                &error,
                &[Code::ArgumentsBad, Code::AttributeTypeInvalid, Code::AttributeValueInvalid, Code::TemplateInconsistent],
            ),
        }
    }
}

fn read_back(template: &Template, dice: &mut Dice<'_>) {
    let mut arena = Arena::default();
    let mut readings = Vec::new();
    let mut wanted = Vec::new();
    for (kind, value) in template.iter() {
        let (start, len) = match dice.byte() {
            0..=63 => (std::ptr::null_mut(), dice.length()),
            _ => {
                // Zeros, so that entries within are NULL.
                let len = dice.below(100);
                (arena.put(vec![0; len]), len as u64)
            }
        };
        wanted.push(cryptoki_sys::CK_ATTRIBUTE { type_: kind.0, pValue: start.cast(), ulValueLen: len });
        readings.push(match dice.byte() {
            0..=15 => Reading::Sensitive,
            16..=31 => Reading::Absent,
            _ => Reading::Value(value.duplicate()),
        });
    }
    let (start, _) = template::array(&wanted, &mut arena);
    // SAFETY: every pointer is NULL or of this arena, with its length.
    let answered = unsafe { door::answer(&readings, &wanted, start) };
    if let Err(error) = answered {
        assert_code(&error, &[Code::AttributeSensitive, Code::AttributeTypeInvalid, Code::BufferTooSmall]);
    }
}

/// A target: mechanism parameters, of every kind.
pub fn parameters(bytes: &[u8]) {
    let (mut dice, mut arena) = (Dice::new(bytes), Arena::default());
    let mechanism = mechanism::mechanism(&mut dice, &mut arena, |_| true);
    for dialect in [Dialect::Standard, Dialect::SoftHsm] {
        // SAFETY: every pointer is NULL or of the arena, with the length that it has there or one that is refused.
        if let Err(error) = unsafe { params::mechanism(&raw const mechanism, dialect) } {
            assert_code(&error, &[Code::ArgumentsBad, Code::MechanismInvalid, Code::MechanismParamInvalid]);
        }
    }
}

fn assert_code(error: &Error, allowed: &[Code]) {
    assert!(allowed.contains(&error.code()), "this is no answer to malformed input: {error:?}");
}

/// A template that makes a usable secret key of any type.
fn secret_key(key_type: crate::ck::KeyType, value: Vec<u8>) -> Template {
    let mut template: Template = [
        AttributeType::ENCRYPT,
        AttributeType::DECRYPT,
        AttributeType::SIGN,
        AttributeType::VERIFY,
        AttributeType::WRAP,
        AttributeType::UNWRAP,
        AttributeType::DERIVE,
    ]
    .into_iter()
    .map(|kind| (kind, Value::Bool(true)))
    .collect();
    template.set(AttributeType::CLASS, Value::Ulong(crate::ck::ObjectClass::SECRET_KEY.0));
    template.set(AttributeType::KEY_TYPE, Value::Ulong(key_type.0));
    template.set(AttributeType::VALUE, Value::Secret(crate::secret::Secret::new(value)));
    template
}
