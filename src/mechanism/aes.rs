//! AES: block modes, AEAD, MACs, key wrap, derivation by encryption.
