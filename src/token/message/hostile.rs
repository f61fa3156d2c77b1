//! Targets of fuzzers: requests as a node reads them, and answers as a module does.

use minicbor::{Decode, Encode};

use super::{Answer, Request, decode, encode};
use crate::error::Error;
use crate::mechanism::Step;
use crate::token::{Access, Description, Reading};

/// Whatever is read is what its own encoding says.
fn stable<T: Encode<()> + for<'b> Decode<'b, ()>>(bytes: &[u8]) -> Option<T> {
    let value: T = decode(bytes).ok()?;
    let once = encode(&value);
    match decode::<T>(once.expose()) {
        Ok(again) => assert!(encode(&again).expose() == once.expose(), "it is read to another value than was written"),
        Err(error) => panic!("what was written cannot be read: {error}"),
    }
    Some(value)
}

/// A request.
pub fn requests(bytes: &[u8]) {
    if let Some(request) = stable::<Request>(bytes) {
        let access = Access::from(&request.who);
        assert!(access.ticket.len() == request.who.ticket.0.len());
    }
}

/// An answer, and what the module makes of it.
pub fn answers(bytes: &[u8]) {
    use super::{Reply, Verdict};
    match stable::<Answer>(bytes).map(|answer| answer.verdict) {
        Some(Verdict::Refused(refusal)) => drop(Error::from(refusal)),
        Some(Verdict::Done(Reply::Described(described))) => drop(Description::from(described)),
        Some(Verdict::Done(Reply::Readings(readings))) => readings.into_iter().map(Reading::from).for_each(drop),
        Some(Verdict::Done(Reply::Started(begun))) => {
            if let Some(shape) = begun.shape {
                // Lengths are asked for before any input is sent.
                let lens = [0, 1, 15, 16, 17, 1 << 20];
                for len in lens {
                    let _ = (shape.update_len(len, len), shape.finish_len(len), shape.single_len(len), shape.unpads());
                    let _ = (shape.check(Step::Final, len, len), shape.check_collected(len), shape.collects());
                }
            }
        }
        _ => {}
    }
}
