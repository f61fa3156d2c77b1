//! Models of concurrency: files of the module, as they are, over locks and atomics of a scheduler (shuttle) that goes on with any thread at any
//! of them. `cargo test --test models` tries some ten thousand orders of each model; `-- --orders N` tries N. A failure names its schedule.
//!
//! Each model has a twin that is known to be wrong, in which a failure must be found: or the model sees nothing.

// The files' own tests, and what of them a model does not call, are not used here.
#![allow(dead_code, unused_imports)]

mod cache;
mod connections;
mod fork;
mod letting_go;
mod numbering;
mod queue;
mod sync;
mod table;
#[path = "together.rs"]
mod together_model;
#[path = "../pools/words.rs"]
mod words;

// What the files find in the crate that they are of.
use connections::client;
use fork::sys;
use hsmpool::{error, faults, mechanism, object, secret, token};
use table::sessions;

/// Few requests are kept and under way, and few hands there are, so that threads meet.
mod limits {
    pub use hsmpool::limits::*;

    pub const REQUEST_STEPS: u64 = 1;
    pub const REQUESTS_KEPT_PER_CLIENT: u64 = 2;
    pub const HANDS_PER_TOKEN: usize = 2;
    pub const MAKINGS_UNDER_WAY_MAX: usize = 1;
}

#[path = "../../src/partition/ephemeral.rs"]
mod ephemeral;
#[path = "../../src/ffi/gate.rs"]
mod gate;
#[path = "../../src/session/handle.rs"]
mod handle;
#[path = "../../src/partition/hands.rs"]
mod hands;
#[path = "../../src/wire/kept.rs"]
mod kept;
#[path = "../../src/pool/numbers.rs"]
mod numbers;
#[path = "../../src/partition/ready.rs"]
mod ready;
#[path = "../../src/pool/together.rs"]
mod together;
#[path = "../../src/store/turnstile.rs"]
mod turnstile;

use std::panic::{catch_unwind, set_hook, take_hook};
use std::process::ExitCode;
use std::time::Instant;

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};
use words::{are_for_others, number};

/// Orders of each model that are tried without a word: half by chance, half with few changes of thread at chosen places.
const ORDERS_DEFAULT: usize = 4_000;
/// A gate is made on it, unoptimised.
const STACK_BYTES: usize = 1 << 20;
/// Changes of thread in the second half.
const CHANGES: usize = 3;

/// What may happen in any order.
struct Model {
    name: &'static str,
    works: fn(),
    /// The same with one mistake.
    fails: fn(),
}

const MODELS: [Model; 11] = [
    Model { name: "the cache of opened keys, and a destruction", works: cache::works, fails: cache::fails },
    Model { name: "keys at hand, and a change", works: letting_go::change_works, fails: letting_go::change_fails },
    Model { name: "keys at hand, and a destruction", works: letting_go::destruction_works, fails: letting_go::destruction_fails },
    Model { name: "a login at hand, and a logout", works: letting_go::logout_works, fails: letting_go::logout_fails },
    Model { name: "the queue of writers of the store", works: queue::works, fails: queue::fails },
    Model { name: "the table of handles, and the end of a session", works: table::works, fails: table::fails },
    Model { name: "the numbers of an application's changes", works: numbering::works, fails: numbering::fails },
    Model { name: "calls that go together", works: together_model::works, fails: together_model::fails },
    Model { name: "kept connections, and a restart", works: connections::works, fails: connections::fails },
    Model { name: "the gate, and a fork under calls", works: fork::works, fails: fork::fails },
    Model { name: "the gate of a forked child", works: fork::child_works, fails: fork::child_fails },
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if are_for_others(&words, "models", &["--orders"]) {
        return ExitCode::SUCCESS;
    }
    let orders = number(&words, "--orders").map_or(ORDERS_DEFAULT, |orders| orders as usize);
    for Model { name, works, fails } in MODELS {
        let begun = Instant::now();
        try_orders(orders, works);
        let took = begun.elapsed().as_secs_f64();
        if !is_found(fails, orders) {
            println!("{name}: its mistake is not found in {orders} orders");
            return ExitCode::FAILURE;
        }
        println!("{name}: {orders} orders in {took:.1} s, and its mistake is found");
    }
    ExitCode::SUCCESS
}

fn try_orders(orders: usize, model: fn()) {
    fn run(scheduler: impl Scheduler + 'static, model: fn()) {
        let mut config = Config::new();
        config.stack_size = STACK_BYTES;
        Runner::new(scheduler, config).run(model);
    }
    run(RandomScheduler::new(orders / 2), model);
    run(PctScheduler::new(CHANGES, orders / 2), model);
}

fn is_found(fails: fn(), orders: usize) -> bool {
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let found = catch_unwind(|| try_orders(orders, fails)).is_err();
    set_hook(hook);
    found
}
