//! Calls that go together in one request.

use minicbor::{Decode, Encode};

use super::{Ask, codec};
use crate::mechanism::Mechanism;
use crate::object::Template;

/// One call among those of [`Ask::Make`].
#[derive(Encode, Decode)]
pub struct Making {
    /// Its number in the request, below [`MAKINGS_MAX`](crate::limits::MAKINGS_MAX): what it makes is named by it, and stays so named when others
    /// are left out.
    #[n(0)]
    pub number: u32,
    /// What it makes.
    #[n(1)]
    pub what: New,
}

/// A call that makes objects and uses none: three of [`Ask`]'s, in a type of their own, as one request within another could be nested without end.
#[derive(Encode, Decode)]
#[allow(missing_docs, reason = "each is what its name says")]
pub enum New {
    #[n(0)]
    Created {
        #[cbor(n(0), with = "codec::template")]
        template: Template,
    },
    #[n(1)]
    Generated {
        #[n(0)]
        mechanism: Mechanism,
        #[cbor(n(1), with = "codec::template")]
        template: Template,
    },
    #[n(2)]
    Pair {
        #[n(0)]
        mechanism: Mechanism,
        #[cbor(n(1), with = "codec::template")]
        public: Template,
        #[cbor(n(2), with = "codec::template")]
        private: Template,
    },
}

impl New {
    /// How many objects it makes.
    pub fn count(&self) -> usize {
        match self {
            New::Created { .. } | New::Generated { .. } => 1,
            New::Pair { .. } => 2,
        }
    }
}

impl From<New> for Ask {
    fn from(new: New) -> Self {
        match new {
            New::Created { template } => Ask::Create { template },
            New::Generated { mechanism, template } => Ask::Generate { mechanism, template },
            New::Pair { mechanism, public, private } => Ask::GeneratePair { mechanism, public, private },
        }
    }
}
