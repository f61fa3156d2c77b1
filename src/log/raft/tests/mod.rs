//! What a group promises, with three members in one process and a network that can be cut.

mod suite;
