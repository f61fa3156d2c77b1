//! What a worker tells of each call: one line, written when the call has returned, and for changes one before it begins.

use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::error::{Code, Doing, Result, refuse};
use crate::sys::process::machine_time;

/// What kind of call it is: stalls are told for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Uses of keys.
    Use,
    /// Look-ups: searches, attributes.
    Look,
    /// Changes of the token.
    Write,
    /// Destructions, which return when no zone can use the object any more.
    Destroy,
    /// Logins and logouts.
    Login,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Use, Self::Look, Self::Write, Self::Destroy, Self::Login];
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Class::Use => "key use",
            Class::Look => "look-up",
            Class::Write => "write",
            Class::Destroy => "destroy",
            Class::Login => "login",
        })
    }
}

macro_rules! operations {
    ($($Name:ident = $text:literal, $class:ident;)*) => {
        /// What was called.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "each is what its name says")]
        pub enum Op {
            $($Name,)*
        }

        impl Op {
            /// The word in the record.
            pub fn word(self) -> &'static str {
                match self {
                    $(Op::$Name => $text,)*
                }
            }

            fn of(word: &str) -> Option<Self> {
                match word {
                    $($text => Some(Op::$Name),)*
                    _ => None,
                }
            }

            /// Its kind.
            pub fn class(self) -> Class {
                match self {
                    $(Op::$Name => Class::$class,)*
                }
            }
        }
    };
}

operations! {
    Sign = "sign", Use;
    Verify = "verify", Use;
    Encrypt = "encrypt", Use;
    UseSessionKey = "use-session-key", Use;
    MakeSessionKey = "make-session-key", Use;
    DropSessionKey = "drop-session-key", Use;
    FindSessionKey = "find-session-key", Look;
    Login = "login", Login;
    Logout = "logout", Login;
    Find = "find", Look;
    Get = "get", Look;
    Create = "create", Write;
    Set = "set", Write;
    Destroy = "destroy", Destroy;
    // Objects that are counted at the end: the value is how many of them there must be.
    Keep = "keep", Write;
    Discard = "discard", Destroy;
    Count = "count", Look;
}

/// How a call went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As asked. A look-up's value is what it saw.
    Done,
    /// The object was told not to be there.
    Gone,
    /// The call failed.
    Failed(String),
    /// The call succeeded with a wrong answer.
    Wrong(String),
    /// It has begun, and nothing more is known.
    Begun,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Which worker.
    pub client: u32,
    /// What.
    pub op: Op,
    /// The object's name, or nothing.
    pub object: String,
    /// The value that was written or read.
    pub value: u64,
    /// When it began, in nanoseconds of the machine's clock.
    pub begun: u64,
    /// When it returned.
    pub ended: u64,
    /// How it went.
    pub outcome: Outcome,
}

/// Nanoseconds of the clock that all processes of the machine share.
pub fn now() -> u64 {
    u64::try_from(machine_time().as_nanos()).unwrap_or(u64::MAX)
}

impl Record {
    fn line(&self) -> String {
        let (word, told) = match &self.outcome {
            Outcome::Done => ("done", ""),
            Outcome::Gone => ("gone", ""),
            Outcome::Failed(told) => ("failed", told.as_str()),
            Outcome::Wrong(told) => ("wrong", told.as_str()),
            Outcome::Begun => ("begun", ""),
        };
        let told = told.replace(['\t', '\n'], " ");
        let object = if self.object.is_empty() { "-" } else { &self.object };
        format!("{}\t{}\t{object}\t{}\t{}\t{}\t{word}\t{told}\n", self.client, self.op.word(), self.value, self.begun, self.ended)
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split('\t');
        let mut next = || fields.next();
        let client = next()?.parse().ok()?;
        let op = Op::of(next()?)?;
        let object = next()?.trim_start_matches('-').to_string();
        let (value, begun, ended) = (next()?.parse().ok()?, next()?.parse().ok()?, next()?.parse().ok()?);
        let (word, told) = (next()?, next()?.to_string());
        let outcome = match word {
            "done" => Outcome::Done,
            "gone" => Outcome::Gone,
            "failed" => Outcome::Failed(told),
            "wrong" => Outcome::Wrong(told),
            "begun" => Outcome::Begun,
            _ => return None,
        };
        Some(Self { client, op, object, value, begun, ended, outcome })
    }
}

/// Where a worker writes.
pub struct Recorder {
    file: BufWriter<File>,
    client: u32,
}

impl Recorder {
    /// Errors: `Configuration`.
    pub fn create(file: &Path, client: u32) -> Result<Self> {
        let opened = File::create(file).doing(Code::Configuration, format!("making {}", file.display()))?;
        Ok(Self { file: BufWriter::new(opened), client })
    }

    /// Makes a call and records it.
    pub fn call<T>(
        &mut self,
        (op, object, value): (Op, &str, u64),
        call: impl FnOnce() -> cryptoki::error::Result<T>,
    ) -> Result<Option<T>> {
        self.judge((op, object, value), call, |_| (value, Outcome::Done))
    }

    /// As `call`; `judge` tells what the answer is worth.
    pub fn judge<T>(
        &mut self,
        (op, object, value): (Op, &str, u64),
        call: impl FnOnce() -> cryptoki::error::Result<T>,
        judge: impl FnOnce(&T) -> (u64, Outcome),
    ) -> Result<Option<T>> {
        let begun = now();
        let mut record =
            Record { client: self.client, op, object: object.to_string(), value, begun, ended: begun, outcome: Outcome::Begun };
        if matches!(op.class(), Class::Write | Class::Destroy) {
            // Whatever becomes of this process: the call may have happened.
            self.write(&record)?;
            self.flush()?;
        }
        let answer = call();
        record.ended = now();
        let is_gone = |error: &cryptoki::error::Error| {
            use cryptoki::error::{Error, RvError};
            matches!(error, Error::Pkcs11(RvError::ObjectHandleInvalid | RvError::KeyHandleInvalid, _))
        };
        (record.value, record.outcome) = match &answer {
            Ok(answer) => judge(answer),
            Err(error) if is_gone(error) && !object.is_empty() => (value, Outcome::Gone),
            Err(error) => (value, Outcome::Failed(error.to_string())),
        };
        self.write(&record)?;
        Ok(answer.ok())
    }

    fn write(&mut self, record: &Record) -> Result<()> {
        self.file.write_all(record.line().as_bytes()).doing(Code::Configuration, "recording a call")
    }

    /// Errors: `Configuration`.
    pub fn flush(&mut self) -> Result<()> {
        self.file.flush().doing(Code::Configuration, "recording calls")
    }
}

/// All calls that a worker told of. A change that has begun stands there once: with its outcome, if there is one.
pub fn read(file: &Path) -> Result<Vec<Record>> {
    let text = std::fs::read_to_string(file).doing(Code::Configuration, format!("reading {}", file.display()))?;
    let mut records: Vec<Record> = Vec::new();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    for line in whole.lines() {
        let told = || refuse(Code::Configuration, format!("{}: {line:?} is no record", file.display()));
        let record = Record::parse(line).ok_or_else(told)?;
        // A worker does one thing at a time.
        if records.last().is_some_and(|last| last.outcome == Outcome::Begun) {
            records.pop();
        }
        records.push(record);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_a_change_without_an_answer_stays() {
        let file = std::env::temp_dir().join(format!("hsmpool-record-{}", std::process::id()));
        let mut recorder = Recorder::create(&file, 3).unwrap();
        recorder.call((Op::Create, "a", 5), || Ok(())).unwrap();
        recorder.judge((Op::Get, "a", 0), || Ok(6), |seen| (*seen, Outcome::Done)).unwrap();
        let failed = || Err::<(), _>(cryptoki::error::Error::NotSupported);
        recorder.call((Op::Sign, "", 0), failed).unwrap();
        recorder.flush().unwrap();
        let begun = Record { op: Op::Set, object: "a".into(), outcome: Outcome::Begun, ..read(&file).unwrap()[0].clone() };
        recorder.write(&begun).unwrap();
        recorder.flush().unwrap();
        let read = read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(
            read.iter().map(|record| (record.op, record.value)).collect::<Vec<_>>(),
            [(Op::Create, 5), (Op::Get, 6), (Op::Sign, 0), (Op::Set, 5)]
        );
        assert!(matches!(&read[2].outcome, Outcome::Failed(told) if !told.is_empty()));
        assert_eq!((read[0].client, read[3].outcome.clone()), (3, Outcome::Begun));
        assert!(read[0].ended >= read[0].begun);
    }
}
