//! Pools in one process, with faults from a seed: real modules, partitions and nodes, and a network that loses what it likes.

mod faults;
mod house;
mod uses;
mod writes;
