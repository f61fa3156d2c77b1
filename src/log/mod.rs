//! The only way to change the store: proposals become committed changes, in one order.
//!
//! Knows: error, limits, object, store, world.
