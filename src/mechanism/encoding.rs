//! Keys as DER, and what follows from a key's components.
