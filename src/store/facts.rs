//! A sum over all facts of the store, kept up to date by each change, so that a row put back, dropped or swapped behind our back
//! changes it.
//!
//! Each fact (token and generation; user, generation and attempts; object and version) is hashed to 2048 bits, and the sum modulo
//! 2^2048 is kept: adding and removing a fact cost the same whatever the store holds. What a row contains besides is authenticated by
//! the partition's seal, which is bound to the same id and version. 2048 bits, because a sum modulo 2^256 is solved by lattice reduction: who
//! knows some hundred old rows finds others with the same sum. Here the attack's dimension is out of reach.
//!
//! The sum has no key: who can write the file can write a sum that fits. It is the partition that authenticates it.

use sha2::{Digest, Sha256};

use crate::object::{ObjectId, TokenId};

/// Bytes of the sum.
pub const SUM_BYTES: usize = 256;
const WORDS: usize = SUM_BYTES / 8;

/// One durable fact, as far as the sum is concerned.
#[derive(Clone, Copy, Debug)]
pub enum Fact {
    /// A token in one generation.
    Token(TokenId, u64),
    /// A holder of a PIN: token, role, generation, attempts.
    User(TokenId, u8, u64, u32),
    /// An object in one version.
    Object(TokenId, ObjectId, u64),
}

impl Fact {
    /// The fact as bytes: each kind has its own first byte and one fixed length.
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Token(token, generation) => [&[1], &token.0[..], &generation.to_be_bytes()].concat(),
            Self::User(token, role, generation, attempts) => {
                [&[2], &token.0[..], &[*role], &generation.to_be_bytes(), &attempts.to_be_bytes()].concat()
            }
            Self::Object(token, id, version) => [&[3], &token.0[..], &id.0[..], &version.to_be_bytes()].concat(),
        }
    }

    /// 2048 bits: the hashes of the fact under eight counters, as little-endian words.
    fn expand(&self) -> [u64; WORDS] {
        let fact = self.encode();
        let mut words = [0; WORDS];
        for (counter, four) in (0u8..).zip(words.chunks_exact_mut(4)) {
            let hash = Sha256::new().chain_update([counter]).chain_update(&fact).finalize();
            for (word, bytes) in four.iter_mut().zip(hash.as_chunks::<8>().0) {
                *word = u64::from_le_bytes(*bytes);
            }
        }
        words
    }
}

/// The sum of facts modulo 2^2048.
#[derive(Clone, PartialEq, Eq)]
pub struct Sum([u64; WORDS]);

impl Sum {
    /// The sum of no facts.
    pub const EMPTY: Self = Self([0; WORDS]);

    /// One more fact.
    pub fn add(&mut self, fact: Fact) {
        let mut carry = false;
        for (word, other) in self.0.iter_mut().zip(fact.expand()) {
            let (sum, first) = word.overflowing_add(other);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            (*word, carry) = (sum, first | second);
        }
    }

    /// A fact that is one no more.
    pub fn remove(&mut self, fact: Fact) {
        let mut borrow = false;
        for (word, other) in self.0.iter_mut().zip(fact.expand()) {
            let (rest, first) = word.overflowing_sub(other);
            let (rest, second) = rest.overflowing_sub(u64::from(borrow));
            (*word, borrow) = (rest, first | second);
        }
    }

    /// As stored: little-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// From the stored form; `None` unless it has [`SUM_BYTES`] bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<8>();
        let words: &[[u8; 8]; WORDS] = words.try_into().ok()?;
        rest.is_empty().then(|| Self(words.map(u64::from_le_bytes)))
    }

    /// The set hash: 32 bytes that stand for the sum.
    pub fn root(&self) -> [u8; 32] {
        Sha256::digest(self.to_bytes()).into()
    }
}

impl std::fmt::Debug for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.root()[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Fact, SUM_BYTES, Sum};
    use crate::object::{ObjectId, TokenId};

    fn fact(number: u64) -> Fact {
        Fact::Object(TokenId([1; 16]), ObjectId([2; 16]), number)
    }

    #[test]
    fn the_order_of_changes_leaves_no_trace() {
        let mut one = Sum::EMPTY;
        let mut other = Sum::EMPTY;
        (1..=20).for_each(|n| one.add(fact(n)));
        (1..=25).rev().for_each(|n| other.add(fact(n)));
        assert_ne!(one, other);
        (21..=25).for_each(|n| other.remove(fact(n)));
        assert_eq!(one, other);
        (1..=20).for_each(|n| one.remove(fact(n)));
        assert_eq!(one, Sum::EMPTY);
    }

    #[test]
    fn facts_of_different_kinds_or_values_differ() {
        let token = TokenId([1; 16]);
        let facts = [
            Fact::Token(token, 1),
            Fact::Token(token, 2),
            Fact::User(token, 0, 1, 0),
            Fact::User(token, 1, 1, 0),
            Fact::User(token, 1, 1, 1),
            fact(1),
            fact(2),
        ];
        let roots: std::collections::HashSet<[u8; 32]> = facts
            .iter()
            .map(|fact| {
                let mut sum = Sum::EMPTY;
                sum.add(*fact);
                sum.root()
            })
            .collect();
        assert_eq!(roots.len(), facts.len());
    }

    #[test]
    fn carries_run_through_all_words() {
        let mut sum = Sum([u64::MAX; 32]);
        let before = sum.clone();
        sum.add(fact(1));
        assert_ne!(sum, before);
        sum.remove(fact(1));
        assert_eq!(sum, before);
    }

    #[test]
    fn the_stored_form_has_one_length() {
        let mut sum = Sum::EMPTY;
        sum.add(fact(9));
        assert_eq!(Sum::from_bytes(&sum.to_bytes()), Some(sum.clone()));
        assert_eq!(Sum::from_bytes(&sum.to_bytes()[1..]), None);
        assert_eq!(Sum::from_bytes(&[0; SUM_BYTES + 1]), None);
    }
}
