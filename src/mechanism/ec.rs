//! ECDSA and ECDH over named curves.
