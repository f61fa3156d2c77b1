//! Durable sealed bytes on SQLite: one store, one directory, any number of processes.
//!
//! Knows: ck, error, limits, object, secret, sys, world.
//! Crates: minicbor, rusqlite.
