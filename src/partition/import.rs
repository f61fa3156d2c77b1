//! Tokens that come from elsewhere (SoftHSM), with every attribute as it was.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::Partition;
use super::admin::Birth;
use super::object::Call;
use super::seal::ObjectSeals;
use super::state::Login;
use crate::ck::AttributeType;
use crate::error::{Code, Error, Result, refuse};
use crate::mechanism::encoding;
use crate::object::policy::Policy;
use crate::object::{Object, ObjectId, Template, Value, template};
use crate::secret::Secret;
use crate::store::{Change, Outcome};
use crate::token::{Access, LoginId, Role, Scope, TokenId};

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
}

impl Partition {
    /// Brings a token over under the compatible policy: all of it, or nothing. Returns how many objects it has now.
    ///
    /// Errors: `TokenWriteProtected` when a token with this serial number is there already; what the components' checks say.
    pub fn import(self: &Arc<Self>, token: ImportedToken) -> Result<usize> {
        if self.store.tokens()?.iter().any(|other| other.serial == token.serial) {
            let serial = String::from_utf8_lossy(&token.serial).into_owned();
            return Err(refuse(
                Code::TokenWriteProtected,
                format!("the store has a token with serial number {serial} already: delete it first"),
            ));
        }
        let mut id = [0; 16];
        self.world.fill_random(&mut id)?;
        let id = TokenId(id);
        let birth = Birth {
            id,
            serial: token.serial,
            label: token.label,
            policy: Policy::Compatible,
            generation: 1,
            expected_generation: None,
        };
        let imported = self.give_birth(birth, None, &token.so_pin).and_then(|token_key| {
            if let Some(pin) = &token.user_pin {
                let user = self.holder_row(id, Role::User, 0, pin, &token_key)?;
                expect_done(self.propose(Change::SetUser { user, expected_generation: None })?)?;
            }
            let login = Login {
                scope: Scope(id.0),
                role: Role::User,
                generation: AtomicU64::new(0),
                token_generation: 1,
                seals: ObjectSeals::new(&token_key)?,
                token_key,
                client: Arc::from(""),
                issued: AtomicU64::new(0),
            };
            self.import_objects(id, login, token.objects)
        });
        if imported.is_err() {
            // What we made ourselves a moment ago and nobody knows; if even this fails the first error says more.
            let _ = self.propose(Change::DeleteToken { token: id });
        }
        imported
    }

    fn import_objects(&self, token: TokenId, login: Login, objects: Vec<Template>) -> Result<usize> {
        let state = self.state(token);
        let scope = login.scope;
        let login_id = LoginId(token.0);
        state.logins.write().insert(login_id, Arc::new(login));
        let access = Access { scope, role: Some(Role::User), login: Some(login_id), ticket: Arc::from([]), write: true };
        let rows = Call::new(self, &state, &access, None).and_then(|call| {
            let rows = objects
                .into_iter()
                .enumerate()
                .map(|(at, attributes)| self.import_object(&call, attributes).map_err(|e| in_object(at, e)));
            rows.collect::<Result<Vec<_>>>()
        });
        self.leave(&state, scope);
        let rows = rows?;
        let count = rows.len();
        if count > 0 {
            expect_done(self.propose(Change::CreateObjects { token, token_generation: 1, objects: rows })?)?;
        }
        Ok(count)
    }

    fn import_object(&self, call: &Call<'_>, given: Template) -> Result<crate::store::ObjectRow> {
        let mut attributes = template::for_import(given)?;
        encoding::complete(&mut attributes)?;
        let mut id = [0; 16];
        self.world.fill_random(&mut id)?;
        let id = ObjectId(id);
        attributes.set(AttributeType::UNIQUE_ID, Value::Bytes(id.to_string().into_bytes()));
        call.row(&Object { id, version: 1, attributes })
    }
}

fn in_object(at: usize, error: Error) -> Error {
    Error::new(error.code(), format!("object {} of the token cannot be imported", at + 1)).because(error)
}

fn expect_done(outcome: Outcome) -> Result<()> {
    match outcome {
        Outcome::Done => Ok(()),
        _ => Err(refuse(Code::FunctionFailed, "somebody else changed the token while it was imported")),
    }
}
