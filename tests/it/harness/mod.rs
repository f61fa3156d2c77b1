//! What every test stands on: the module under test, a store of its own, programs with a deadline.
//!
//! Each promise is a function over a `Token`, and `promises!` makes three tests of it: on our module, over a pool, and on SoftHSM.
//! The third proves the test: what passes on neither module says nothing about us.

mod build_id;
mod child;
mod run;
mod token;
mod tools;

pub use child::{Jobs, child, full, loaded_module, module_of_job};
pub use run::{Output, Run, Server, free_port, tell, wait_until};
pub use token::{LABEL, Module, PIN, SO_PIN, Token};
pub use tools::{file_of_package, foreign, library_directory, program};

/// Declares each function as three tests, each with a fresh initialised token: on our module embedded, on the same module over a pool of three
/// zones, and on SoftHSM.
macro_rules! promises {
    ($($(#[$attribute:meta])* $name:ident),+ $(,)?) => {
        mod ours {
            $(#[test] $(#[$attribute])* fn $name() { super::$name(&crate::harness::Token::initialised(crate::harness::Module::Ours)) })+
        }
        mod over_a_pool {
            $(#[test] $(#[$attribute])* fn $name() { super::$name(&crate::harness::Token::initialised_over_a_pool()) })+
        }
        mod softhsm {
            $(#[test] $(#[$attribute])* fn $name() { super::$name(&crate::harness::Token::initialised(crate::harness::Module::SoftHsm)) })+
        }
    };
}
pub(crate) use promises;

/// As `promises!`, and once more on our module as it is without any configuration, under its own policy.
macro_rules! promises_everywhere {
    ($($name:ident),+ $(,)?) => {
        crate::harness::promises!($($name),+);
        mod ours_by_default {
            $(#[test] fn $name() {
                let token = crate::harness::Token::by_default("");
                token.initialise(crate::harness::LABEL);
                super::$name(&token)
            })+
        }
    };
}
pub(crate) use promises_everywhere;

/// As `promises!`, for what SoftHSM does not promise: on our module alone, embedded and over a pool.
macro_rules! our_promises {
    ($($(#[$attribute:meta])* $name:ident),+ $(,)?) => {
        mod ours_alone {
            $(#[test] $(#[$attribute])* fn $name() { super::$name(&crate::harness::Token::initialised(crate::harness::Module::Ours)) })+
        }
        mod ours_alone_over_a_pool {
            $(#[test] $(#[$attribute])* fn $name() { super::$name(&crate::harness::Token::initialised_over_a_pool()) })+
        }
    };
}
pub(crate) use our_promises;
