//! Tokens that come from elsewhere (SoftHSM), with every attribute as it was.

use super::Partition;
use super::admin::Birth;
use super::object::sealed_row;
use super::seal::ObjectSeals;
use crate::ck::AttributeType;
use crate::error::{Code, Error, Result, refuse};
use crate::mechanism::encoding;
use crate::object::policy::Policy;
use crate::object::{Object, ObjectId, Template, Value, template};
use crate::secret::Secret;
use crate::store::{Change, ObjectRow, Outcome};
use crate::token::{Role, TokenId};

/// A token as it was found elsewhere.
pub struct ImportedToken {
    /// Padded with blanks.
    pub label: [u8; 32],
    /// 16 characters; kept, so that URIs go on working.
    pub serial: [u8; 16],
    /// The SO's PIN, which stays the same.
    pub so_pin: Secret,
    /// The user's PIN, if one was set.
    pub user_pin: Option<Secret>,
    /// Complete attributes of each object, `CKA_LOCAL` and its like included.
    pub objects: Vec<Template>,
    /// An object that this version cannot keep (a key type that it does not have) is left out; otherwise the token is refused.
    pub skip_unsupported: bool,
}

/// What an import brought.
pub struct Imported {
    /// Objects that the token has now.
    pub objects: usize,
    /// Why each other one was left out.
    pub left_out: Vec<Error>,
}

/// The keys that an imported token's objects are sealed with.
struct Seals {
    public: ObjectSeals,
    private: ObjectSeals,
}

impl Partition {
    /// Brings a token over under the compatible policy: all of it, or nothing, by one change.
    ///
    /// Errors: `TokenWriteProtected` when a token with this serial number is there already; what the components' checks say, naming the
    /// object.
    pub fn import(&self, from: ImportedToken) -> Result<Imported> {
        let mut id = [0; 16];
        self.world.fill_random(&mut id)?;
        let id = TokenId(id);
        let birth = Birth { id, serial: from.serial, label: from.label, policy: Policy::Compatible, generation: 1 };
        if self.store.tokens()?.iter().any(|other| other.serial == from.serial) {
            return Err(there_already(&birth));
        }
        let born = self.conceive(&birth, &from.so_pin)?;
        let user = from.user_pin.as_ref().map(|pin| self.holder_row(id, Role::User, 0, pin, &born.token_key)).transpose()?;
        let seals = Seals { public: ObjectSeals::new(&born.public_key)?, private: ObjectSeals::new(&born.token_key)? };
        let mut objects = Vec::new();
        let mut left_out = Vec::new();
        for (at, given) in from.objects.into_iter().enumerate() {
            match self.import_object(id, &seals, given).map_err(|error| in_object(at, error)) {
                Ok(row) => objects.push(row),
                Err(error) if from.skip_unsupported => left_out.push(error),
                Err(error) => return Err(error),
            }
        }
        let count = objects.len();
        match self.propose(Change::ImportToken { token: born.token, so: born.so, user, objects })? {
            Outcome::Done => Ok(Imported { objects: count, left_out }),
            _ => Err(there_already(&birth)),
        }
    }

    fn import_object(&self, token: TokenId, seals: &Seals, given: Template) -> Result<ObjectRow> {
        let mut attributes = template::for_import(given)?;
        encoding::complete(&mut attributes)?;
        let mut id = [0; 16];
        self.world.fill_random(&mut id)?;
        let id = ObjectId(id);
        attributes.set(AttributeType::UNIQUE_ID, Value::Bytes(id.to_string().into_bytes()));
        let object = Object { id, version: 1, attributes };
        let seals = if object.is_private() { &seals.private } else { &seals.public };
        sealed_row(&*self.world, seals, token, &object)
    }
}

fn there_already(birth: &Birth) -> Error {
    let serial = String::from_utf8_lossy(&birth.serial);
    refuse(Code::TokenWriteProtected, format!("the store has a token with serial number {serial} already: delete it first"))
}

fn in_object(at: usize, error: Error) -> Error {
    Error::new(error.code(), format!("object {} of the token cannot be imported", at + 1)).because(error)
}
