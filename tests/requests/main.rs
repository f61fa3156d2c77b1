//! Requests as they come to the nodes of a pool: sent again, altered, overheard, of other versions. In one process: real partitions and nodes,
//! and a way to them that each test makes.

mod children;
mod digests;
#[path = "../pools/faults.rs"]
#[allow(dead_code, reason = "each program uses a part of it")]
mod faults;
#[path = "../pools/house.rs"]
#[allow(dead_code, reason = "each program uses a part of it")]
mod house;
mod long;
mod security;
mod storm;
mod together;
mod versions;
