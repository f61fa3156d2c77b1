//! Holds any PKCS#11 module against the standard. It knows nothing of the module but its file.

#![warn(missing_docs)]
#![allow(clippy::macro_metavars_in_unsafe, reason = "`ck!` is made to take what a case points to, hostile pointers included")]

pub mod case;
pub mod cases;
pub mod context;
pub mod crypt;
pub mod expectation;
pub mod known;
pub mod known_keys;
pub mod listed;
pub mod module;
pub mod names;
pub mod newer_calls;
pub mod numbers;
pub mod provoked;
pub mod report;
pub mod run;
pub mod sample_keys;
pub mod setup;
pub mod template;
pub mod use_keys;
