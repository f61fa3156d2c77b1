//! Tests of the store, and the fixtures that rooms above share.

pub mod fixtures;
mod promises;
