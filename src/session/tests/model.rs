//! Operations against a small model of the standard's rules, over random sequences of calls.

use super::*;
use crate::session::fake::toys::{BLOCK_BYTES, ciphertext, turned};

/// Marsaglia's xorshift64: a seed replays a sequence.
pub(super) struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// What a decryption with padding should do, told in terms of what the caller sees.
#[derive(Debug, PartialEq)]
enum Model {
    Idle,
    /// Input taken, output given.
    Running {
        started: bool,
        input: Vec<u8>,
        given: usize,
    },
    /// The result, by which call (Single?) it was made, and of which input.
    Done {
        result: Vec<u8>,
        single: Option<Vec<u8>>,
    },
}

#[derive(Debug, PartialEq)]
enum Answer {
    Bytes(Vec<u8>),
    Told(Filled),
    Refused(Code),
}

/// Room that a caller offers: `None` asks for the length.
type Room = Option<usize>;

fn plaintext(encrypted: &[u8]) -> Option<Vec<u8>> {
    let mut plain = turned(encrypted);
    let pad = usize::from(*plain.last()?);
    let fits = encrypted.len().is_multiple_of(BLOCK_BYTES) && (1..=BLOCK_BYTES).contains(&pad);
    plain.truncate(plain.len() - pad.min(plain.len()));
    fits.then_some(plain)
}

impl Model {
    fn init(&mut self) -> Option<Code> {
        if *self != Model::Idle {
            return Some(Code::OperationActive);
        }
        *self = Model::Running { started: false, input: Vec::new(), given: 0 };
        None
    }

    fn update(&mut self, part: &[u8], room: Room) -> Answer {
        let Model::Running { started, input, given } = self else { return self.refuse(Code::OperationNotInitialized) };
        let ready = (input.len() + part.len()).saturating_sub(1) / BLOCK_BYTES * BLOCK_BYTES;
        match room {
            None => return Answer::Told(Filled::Length(ready - *given)),
            Some(room) if room < ready - *given => return Answer::Told(Filled::TooSmall(ready - *given)),
            Some(_) => {}
        }
        *started = true;
        input.extend_from_slice(part);
        let bytes = turned(&input[*given..ready]);
        *given = ready;
        Answer::Bytes(bytes)
    }

    /// Single with its input, or Final.
    fn end(&mut self, single: Option<&[u8]>, room: Room) -> Answer {
        let (all, given, bound) = match (&*self, single) {
            (Model::Running { started: false, .. }, Some(input)) => (input.to_vec(), 0, input.len()),
            (Model::Running { input, given, .. }, None) => (input.clone(), *given, BLOCK_BYTES),
            (Model::Done { single: by, .. }, single) if by.as_deref() == single => return self.give(room),
            _ => return self.refuse(Code::OperationNotInitialized),
        };
        let Some(room) = room else { return Answer::Told(Filled::Length(bound)) };
        match plaintext(&all) {
            None => self.refuse(Code::EncryptedDataInvalid),
            Some(plain) => {
                *self = Model::Done { result: plain[given..].to_vec(), single: single.map(<[u8]>::to_vec) };
                self.give(Some(room))
            }
        }
    }

    fn give(&mut self, room: Room) -> Answer {
        let Model::Done { result, .. } = self else { panic!("there is no result") };
        let len = result.len();
        match room {
            None => Answer::Told(Filled::Length(len)),
            Some(room) if room < len => Answer::Told(Filled::TooSmall(len)),
            Some(_) => {
                let bytes = std::mem::take(result);
                *self = Model::Idle;
                Answer::Bytes(bytes)
            }
        }
    }

    fn refuse(&mut self, code: Code) -> Answer {
        *self = Model::Idle;
        Answer::Refused(code)
    }
}

fn really(room: Room, call: impl FnOnce(Output<'_>) -> Result<Filled>) -> Answer {
    let mut buffer = vec![0; room.unwrap_or(0)];
    match call(if room.is_some() { Output::Buffer(&mut buffer) } else { Output::Query }) {
        Err(error) => Answer::Refused(error.code()),
        Ok(Filled::Length(len)) if room.is_some() => Answer::Bytes(buffer[..len].to_vec()),
        Ok(told) => Answer::Told(told),
    }
}

#[test]
fn decryption_follows_the_model() {
    let house = House::new();
    let session = house.user();
    let (library, key) = (&house.library, house.object(session, &[]));
    let messages = [ciphertext(b""), ciphertext(b"abc"), ciphertext(b"abcdefgh"), b"odd".to_vec(), turned(b"bad\x09")];
    for seed in 1..=300 {
        let (mut dice, mut model) = (Dice(seed), Model::Idle);
        for step in 0..200 {
            let message = &messages[dice.below(messages.len())];
            let part = &message[..dice.below(message.len() + 1)];
            let room = [None, Some(dice.below(9)), Some(16)][dice.below(3)];
            let (expected, answer) = match dice.below(6) {
                0 | 1 => {
                    let mechanism = Some(plain(MechanismType::AES_CBC_PAD));
                    assert_eq!(code(library.decrypt_init(session, mechanism, key)), model.init(), "seed {seed}, step {step}");
                    continue;
                }
                2 => (model.end(Some(message), room), really(room, |out| library.decrypt(session, message, out))),
                3 | 4 => (model.update(part, room), really(room, |out| library.decrypt_update(session, part, out))),
                _ => (model.end(None, room), really(room, |out| library.decrypt_final(session, out))),
            };
            assert_eq!(answer, expected, "seed {seed}, step {step}: room {room:?}, message {message:?}, part {part:?}");
        }
        library.session_cancel(session, u64::MAX).unwrap();
    }
}

#[test]
fn signing_follows_the_model() {
    let house = House::new();
    let session = house.user();
    let (library, key) = (&house.library, house.object(session, &[]));
    for seed in 1..=300 {
        // The bytes that were fed; `None` is idle.
        let (mut dice, mut fed): (_, Option<Vec<u8>>) = (Dice(seed), None);
        let mut streaming = false;
        for step in 0..200 {
            let part: &[u8] = [&b"abc"[..], b"", b"fail"][dice.below(3)];
            let room = [None, Some(7), Some(8)][dice.below(3)];
            let call = dice.below(5);
            let single = call == 1;
            let expected = match (call, &mut fed) {
                (0, Some(_)) => Answer::Refused(Code::OperationActive),
                (0, None) => {
                    (fed, streaming) = (Some(Vec::new()), false);
                    Answer::Bytes(Vec::new())
                }
                (4, idle) => match idle.take() {
                    None => Answer::Refused(Code::ArgumentsBad),
                    Some(_) => Answer::Bytes(Vec::new()),
                },
                (_, None) => Answer::Refused(Code::OperationNotInitialized),
                (1, _) if streaming => Answer::Refused(Code::OperationNotInitialized),
                (1 | 3, _) if room != Some(8) => {
                    Answer::Told(if room.is_none() { Filled::Length(8) } else { Filled::TooSmall(8) })
                }
                (1 | 2, _) if part == b"fail" => Answer::Refused(Code::DataInvalid),
                (2, Some(fed)) => {
                    fed.extend_from_slice(part);
                    streaming = true;
                    Answer::Bytes(Vec::new())
                }
                (_, Some(fed)) => Answer::Bytes(fake::toys::signature(if single { part } else { fed }).to_vec()),
            };
            if call != 0 && (matches!(expected, Answer::Refused(_)) || (call != 2 && matches!(expected, Answer::Bytes(_)))) {
                fed = None;
            }
            let quiet =
                |answer: Result<()>| answer.map_or_else(|error| Answer::Refused(error.code()), |()| Answer::Bytes(Vec::new()));
            let answer = match call {
                0 => quiet(library.sign_init(session, Some(plain(MechanismType::AES_CMAC)), key)),
                1 => really(room, |out| library.sign(session, part, out)),
                2 => quiet(library.sign_update(session, part)),
                3 => really(room, |out| library.sign_final(session, out)),
                _ => quiet(library.sign_init(session, None, 0)),
            };
            assert_eq!(answer, expected, "seed {seed}, step {step}: call {call}, room {room:?}, part {part:?}");
        }
        library.session_cancel(session, u64::MAX).unwrap();
    }
}
