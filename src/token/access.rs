//! Proof of login.

use std::sync::Arc;

/// Whose PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// `CKU_SO`.
    SecurityOfficer,
    /// `CKU_USER`.
    User,
}

/// The application: a random id made by each `C_Initialize`. Session objects and logins belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scope(pub [u8; 16]);

/// A random id of one login; dead after logout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LoginId(pub [u8; 16]);

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
    _spent_once: (),
}

impl Permit {
    /// For token implementations, after they have verified the PIN.
    pub fn granted() -> Self {
        Self { _spent_once: () }
    }
}
