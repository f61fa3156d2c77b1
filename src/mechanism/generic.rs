//! Generic secrets: generation, concatenation.
