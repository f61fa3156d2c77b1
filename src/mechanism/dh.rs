//! Diffie–Hellman over a prime field.
