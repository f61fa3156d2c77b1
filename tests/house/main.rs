//! Pools in one process, with faults from a seed: real modules, partitions and nodes, and a network that loses what it likes.

#[path = "../pools/faults.rs"]
mod faults;
#[path = "../pools/house.rs"]
#[allow(dead_code, reason = "each program uses a part of it")]
mod house;
mod uses;
mod writes;
