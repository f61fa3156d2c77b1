//! Proof of login.

use std::sync::Arc;

use minicbor::{Decode, Encode};
use once_cell::sync::OnceCell;

/// Whose PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Role {
    /// `CKU_SO`.
    #[n(0)]
    SecurityOfficer,
    /// `CKU_USER`.
    #[n(1)]
    User,
}

/// The application: a random id made by each `C_Initialize`. Session objects and logins belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Scope(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub [u8; 16],
);

/// A random id of one login; dead after logout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct LoginId(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub [u8; 16],
);

/// Who asks. Made public by [`Access::public`], and by a token's `login` otherwise.
#[derive(Clone)]
pub struct Access {
    /// The application.
    pub scope: Scope,
    /// Who is logged in; `None` is the public.
    pub role: Option<Role>,
    /// The login, if any.
    pub login: Option<LoginId>,
    /// What another partition needs to accept the login. Empty where there is one partition.
    pub ticket: Arc<[u8]>,
    /// Whether token objects may be created, changed and destroyed (the session is read-write).
    pub write: bool,
}

impl Access {
    /// Nobody is logged in.
    pub fn public(scope: Scope, write: bool) -> Self {
        Self { scope, role: None, login: None, ticket: Arc::from([]), write }
    }

    /// The same proof, through a session that may or may not write.
    pub fn with_write(&self, write: bool) -> Self {
        Self { write, ..self.clone() }
    }

    /// Whether private objects are visible: only the user sees them (PKCS#11 3.1, 4.4).
    pub fn sees_private(&self) -> bool {
        self.role == Some(Role::User)
    }
}

/// Proof of one context-specific login: spent by one operation.
pub struct Permit {
    proof: Arc<[u8]>,
}

impl Permit {
    /// For token implementations, after they have verified the PIN.
    pub fn granted() -> Self {
        Self { proof: Arc::from([]) }
    }

    /// The PIN was verified elsewhere: `proof` is what convinces a partition.
    pub fn proven_by(proof: Arc<[u8]>) -> Self {
        Self { proof }
    }

    /// What convinces a partition; empty where the permit was granted in this process.
    pub fn proof(&self) -> &Arc<[u8]> {
        &self.proof
    }
}

/// Where an operation that waits for a [`Permit`] is given it.
#[derive(Clone, Default)]
pub struct PermitSlot(Arc<OnceCell<Permit>>);

impl PermitSlot {
    /// Puts the permit in; a second one is of no use and dropped.
    pub fn give(&self, permit: Permit) {
        let _ = self.0.set(permit);
    }

    /// The permit, once it was given.
    pub fn permit(&self) -> Option<&Permit> {
        self.0.get()
    }
}
