//! What the log promises, seen from outside.
