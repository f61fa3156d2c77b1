//! The `hsmpool` command.

fn main() {}
