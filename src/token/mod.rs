//! The waist: what a token promises, whatever stands behind it, as two traits of verbs over complete requests.
//!
//! Knows: ck, error, mechanism, object, secret.
//! Crates: minicbor, once_cell.

mod access;
pub mod message;

pub use access::{Access, LoginId, Permit, PermitSlot, Role, Scope};

use std::sync::Arc;

use crate::ck::AttributeType;
use crate::error::Result;
use crate::mechanism::{Cipher, Digester, Mechanism, Recover, Signer, Verifier};
pub use crate::object::TokenId;
use crate::object::policy::Policy;
use crate::object::{ObjectId, Template, Value};
use crate::secret::Secret;

/// What `C_GetTokenInfo` tells about an initialised token.
#[derive(Clone, Debug)]
pub struct Description {
    /// Its name for ever.
    pub id: TokenId,
    /// Padded with blanks.
    pub label: [u8; 32],
    /// 16 hexadecimal digits; constant whatever stands behind the token.
    pub serial: [u8; 16],
    /// Whether a user PIN has been set.
    pub user_pin_set: bool,
    /// State of the SO's PIN.
    pub so_pin: PinState,
    /// State of the user's PIN.
    pub user_pin: PinState,
    /// How strict it is.
    pub policy: Policy,
}

/// How many wrong PINs there were, as the `CKF_*_PIN_*` flags tell it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum PinState {
    /// No wrong PIN since the last right one.
    #[default]
    #[n(0)]
    Good,
    /// At least one (`COUNT_LOW`).
    #[n(1)]
    CountLow,
    /// One more wrong PIN locks (`FINAL_TRY`).
    #[n(2)]
    FinalTry,
    /// Locked.
    #[n(3)]
    Locked,
}

/// An object as a session keeps it behind a handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Its name for ever.
    pub id: ObjectId,
    /// `CKA_TOKEN`: it outlives the session.
    pub token: bool,
    /// `CKA_PRIVATE`: its handle dies at logout.
    pub private: bool,
}

/// An operation that `Init` started.
pub struct Started<O> {
    /// The operation itself.
    pub operation: O,
    /// `CKA_ALWAYS_AUTHENTICATE`: each use needs a [`Permit`] of its own first, put in here.
    pub authenticate: Option<PermitSlot>,
}

/// What reading one attribute gave.
#[derive(Debug)]
pub enum Reading {
    /// Its value.
    Value(Value),
    /// It may not be revealed (`CKR_ATTRIBUTE_SENSITIVE`).
    Sensitive,
    /// The object has no such attribute (`CKR_ATTRIBUTE_TYPE_INVALID`).
    Absent,
}

/// What a token promises. Each request is complete: nothing about it is remembered between two calls but what
/// `access` proves, so it may be sent again, to another partition.
///
/// Errors name the code that the C caller gets. Where an object is not visible to `access` (private, not logged in;
/// another application's session object; destroyed) the answer is `ObjectHandleInvalid`, or `KeyHandleInvalid` for keys in use.
pub trait Token: Send + Sync {
    /// Label, serial, PIN states.
    fn describe(&self) -> Result<Description>;

    /// Proves a PIN. Errors: `PinIncorrect`, `PinLocked`, `UserPinNotInitialized`.
    fn login(&self, scope: &Scope, role: Role, pin: &Secret) -> Result<Access>;
    /// Ends a login; its private session objects are gone.
    fn logout(&self, access: &Access) -> Result<()>;
    /// Proves the PIN of the logged-in role once more, for one use of one key (`CKU_CONTEXT_SPECIFIC`).
    fn authenticate(&self, access: &Access, pin: &Secret) -> Result<Permit>;
    /// Changes the PIN of the role of `access` (public: the user's). Errors: `PinIncorrect`, `PinLenRange`, `PinLocked`.
    fn set_pin(&self, access: &Access, old: &Secret, new: &Secret) -> Result<()>;
    /// The SO sets the user's PIN, and unlocks it. Errors: `UserNotLoggedIn` unless SO; `PinLenRange`.
    fn init_pin(&self, access: &Access, new: &Secret) -> Result<()>;

    /// Objects that match every attribute of the template, visible to `access`. An empty template matches all.
    fn find(&self, access: &Access, template: &Template) -> Result<Vec<Reference>>;
    /// Attributes of one object, in the order asked for.
    fn read(&self, access: &Access, id: ObjectId, wanted: &[AttributeType]) -> Result<Vec<Reading>>;
    /// Bytes that the object takes in the store.
    fn size(&self, access: &Access, id: ObjectId) -> Result<u64>;

    /// `C_CreateObject`.
    fn create(&self, access: &Access, template: Template) -> Result<Reference>;
    /// `C_CopyObject`.
    fn copy(&self, access: &Access, id: ObjectId, changes: Template) -> Result<Reference>;
    /// `C_SetAttributeValue`: all or nothing.
    fn update(&self, access: &Access, id: ObjectId, changes: Template) -> Result<Reference>;
    /// `C_DestroyObject`. When it returns, no partition in contact uses the object any more.
    fn destroy(&self, access: &Access, id: ObjectId) -> Result<()>;
    /// Drops session objects of a closed session.
    fn forget(&self, scope: &Scope, ids: &[ObjectId]);
    /// Ends an application: its session objects and logins are gone.
    fn leave(&self, scope: &Scope);

    /// `C_GenerateKey` (also domain parameters).
    fn generate(&self, access: &Access, mechanism: &Mechanism, template: Template) -> Result<Reference>;
    /// `C_GenerateKeyPair`: public, private. Both are there, or neither.
    fn generate_pair(
        &self,
        access: &Access,
        mechanism: &Mechanism,
        public: Template,
        private: Template,
    ) -> Result<(Reference, Reference)>;
    /// `C_WrapKey`.
    fn wrap(&self, access: &Access, mechanism: &Mechanism, wrapping: ObjectId, key: ObjectId) -> Result<Vec<u8>>;
    /// `C_UnwrapKey`.
    fn unwrap(
        &self,
        access: &Access,
        mechanism: &Mechanism,
        unwrapping: ObjectId,
        wrapped: &[u8],
        template: Template,
    ) -> Result<Reference>;
    /// `C_DeriveKey`.
    fn derive(&self, access: &Access, mechanism: &Mechanism, base: ObjectId, template: Template) -> Result<Reference>;

    /// `C_SignInit`.
    fn sign(&self, access: &Access, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Signer>>>;
    /// `C_VerifyInit`.
    fn verify(&self, access: &Access, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Verifier>>>;
    /// `C_SignRecoverInit`.
    fn sign_recover(&self, access: &Access, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Recover>>>;
    /// `C_VerifyRecoverInit`.
    fn verify_recover(&self, access: &Access, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Recover>>>;
    /// `C_EncryptInit`.
    fn encrypt(&self, access: &Access, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Cipher>>>;
    /// `C_DecryptInit`.
    fn decrypt(&self, access: &Access, mechanism: &Mechanism, key: ObjectId) -> Result<Started<Box<dyn Cipher>>>;
    /// `C_DigestInit`.
    fn digest(&self, mechanism: &Mechanism) -> Result<Box<dyn Digester>>;
    /// `C_DigestKey`: feeds a secret key's value to the digest. Errors: `KeyIndigestible`, `KeyHandleInvalid`.
    fn digest_key(&self, access: &Access, key: ObjectId, digest: &mut dyn Digester) -> Result<()>;

    /// `C_GenerateRandom`.
    fn random(&self, out: &mut [u8]) -> Result<()>;
}

/// The tokens that stand behind one library, and how they are made.
pub trait Admin: Send + Sync {
    /// Every initialised token, in the order in which they were made. Cheap; sees tokens that other processes made.
    fn tokens(&self) -> Result<Vec<Arc<dyn Token>>>;
    /// `C_InitToken`: a new token, or (`Some`) an existing one emptied, which keeps its id and serial.
    /// Errors: `PinIncorrect` (the SO PIN of the existing token), `PinLocked`, `PinLenRange`.
    fn init_token(&self, existing: Option<TokenId>, so_pin: &Secret, label: [u8; 32]) -> Result<Arc<dyn Token>>;
    /// Removes a token with all that it holds (`softhsm2-util --delete-token`).
    fn delete_token(&self, token: TokenId) -> Result<()>;
}
