//! Tokens: listed, made, emptied, removed.

use std::collections::HashSet;
use std::sync::Arc;

use super::Partition;
use super::identity::check_pin_len;
use super::origin::{Origin, Place, Step};
use super::seal::{Key32, authenticate};
use super::state::{TokenState, policy_number, token_row_bytes};
use super::token::LocalToken;
use crate::error::{Code, Result, refuse};
use crate::limits::TOKENS_MAX;
use crate::object::policy::Policy;
use crate::secret::Secret;
use crate::store::{Change, Outcome, TokenRow, UserRow};
use crate::token::{Admin, Role, Token, TokenId};

/// The partition as the library holds it.
pub struct LocalAdmin(pub Arc<Partition>);

impl Admin for LocalAdmin {
    fn tokens(&self) -> Result<Vec<Arc<dyn Token>>> {
        let rows = self.0.store.tokens()?;
        Ok(rows.into_iter().map(|row| self.0.token(row.id) as Arc<dyn Token>).collect())
    }

    fn init_token(&self, existing: Option<TokenId>, so_pin: &Secret, label: [u8; 32]) -> Result<Arc<dyn Token>> {
        check_pin_len(so_pin)?;
        let id = match existing {
            Some(id) => self.0.empty_token(None, id, so_pin, label)?,
            None => self.0.new_token(None, so_pin, label)?,
        };
        Ok(self.0.token(id))
    }

    fn delete_token(&self, token: TokenId) -> Result<()> {
        self.0.remove_token(None, token)
    }
}

/// Everything that `C_InitToken` decides about a token.
pub(super) struct Birth {
    pub id: TokenId,
    pub serial: [u8; 16],
    pub label: [u8; 32],
    pub policy: Policy,
    pub generation: u64,
}

/// A token that is not written down yet.
pub(super) struct Born {
    pub token: TokenRow,
    pub so: UserRow,
    pub token_key: Key32,
    pub public_key: Key32,
}

impl Partition {
    /// `C_InitToken` for a client. Errors: as [`Admin::init_token`].
    pub fn init_token_for(
        self: &Arc<Self>,
        origin: &Origin,
        existing: Option<TokenId>,
        so_pin: &Secret,
        label: [u8; 32],
    ) -> Result<TokenId> {
        check_pin_len(so_pin)?;
        match existing {
            Some(id) => self.empty_token(Some(origin), id, so_pin, label),
            None => self.new_token(Some(origin), so_pin, label),
        }
    }

    /// Removes a token with all that it holds. Errors: `TokenNotPresent`.
    pub fn remove_token(&self, origin: Option<&Origin>, token: TokenId) -> Result<()> {
        if self.did_for_good(origin, Step::DeleteToken)? {
            return self.spread(origin);
        }
        match self.propose_for(origin, Change::DeleteToken { token })? {
            Outcome::Done => {
                // Logins and keys that calls under way still have are out of reach for others.
                let state = self.states.read().get(&token).cloned();
                if let Some(state) = state {
                    self.let_go(&state);
                }
                self.spread(origin)
            }
            _ => Err(refuse(Code::TokenNotPresent, "the token has been deleted already")),
        }
    }

    /// One state for each token, shared by all who use it.
    pub fn token(self: &Arc<Self>, id: TokenId) -> Arc<LocalToken> {
        Arc::new(LocalToken::new(self.clone(), self.state(id)))
    }

    /// A token, to carry out one request of a client.
    pub fn token_on_behalf(self: &Arc<Self>, id: TokenId, origin: Origin) -> LocalToken {
        LocalToken::new(self.clone(), self.state(id)).on_behalf(origin)
    }

    /// The state of a token. One of a token that the store does not show is kept for nobody else: anybody can make up ids, and fill the memory with their
    /// states. It is good for nothing until the store shows the token after all; where the store cannot be read, the calls say why.
    pub(super) fn state(&self, id: TokenId) -> Arc<TokenState> {
        if let Some(state) = self.states.read().get(&id) {
            return state.clone();
        }
        let state = TokenState::new(id);
        match self.store.token(id) {
            Ok(Some(_)) => self.keep_state(state),
            _ => state,
        }
    }

    /// The one state of a token that the store has shown: this one, unless another one came first.
    pub(super) fn keep_state(&self, state: Arc<TokenState>) -> Arc<TokenState> {
        self.let_deleted_go();
        let mut states = self.states.write();
        let kept = states.entry(state.id).or_insert(state).clone();
        // Under the lock, as it is taken back under it.
        kept.set_kept(true);
        kept
    }

    /// The token has been deleted: its state is out of reach for others, and who has it still finds nothing in it.
    pub(super) fn let_go(&self, state: &TokenState) {
        let mut states = self.states.write();
        if states.get(&state.id).is_some_and(|kept| std::ptr::eq(&**kept, state)) {
            states.remove(&state.id);
        }
        state.set_kept(false);
        drop(states);
        state.end();
    }

    /// Lets go what nobody has asked for since other partitions deleted it: there are more states than tokens can be.
    fn let_deleted_go(&self) {
        if self.states.read().len() < TOKENS_MAX {
            return;
        }
        // Before the rows are read: a token that is made meanwhile is none of these.
        let kept: Vec<_> = self.states.read().values().cloned().collect();
        let Ok(rows) = self.store.tokens() else { return };
        let there: HashSet<TokenId> = rows.into_iter().map(|row| row.id).collect();
        kept.iter().filter(|state| !there.contains(&state.id)).for_each(|state| self.let_go(state));
    }

    fn new_token(&self, origin: Option<&Origin>, so_pin: &Secret, label: [u8; 32]) -> Result<TokenId> {
        if self.did_for_good(origin, Step::InitToken)? {
            return self.new_id(origin, Place::Alone(0)).map(TokenId);
        }
        let tokens = self.store.tokens()?;
        if tokens.len() >= TOKENS_MAX {
            return Err(refuse(Code::PastLimit, format!("the store holds {TOKENS_MAX} tokens already")));
        }
        let mut id = [0; 16];
        let mut serial = [0; 16];
        for at in 0.. {
            id = self.new_id(origin, Place::Alone(at))?;
            hex(&id[..8], &mut serial);
            // The slot number is cut from the serial's end, so that must be unique too.
            if !tokens.iter().any(|other| other.serial[8..] == serial[8..]) {
                break;
            }
        }
        let id = TokenId(id);
        let policy = self.settings.policy;
        let born = self.conceive(&Birth { id, serial, label, policy, generation: 1 }, so_pin)?;
        self.give_birth(origin, born, None)?;
        Ok(id)
    }

    fn empty_token(&self, origin: Option<&Origin>, id: TokenId, so_pin: &Secret, label: [u8; 32]) -> Result<TokenId> {
        if self.did_for_good(origin, Step::InitToken)? {
            self.spread(origin)?;
            return Ok(id);
        }
        let state = self.state(id);
        let proven = self.prove_pin(origin, &state, Role::SecurityOfficer, so_pin)?;
        let (facts, row) = (&proven.facts, &proven.facts.row);
        let birth = Birth { id, serial: row.serial, label, policy: facts.policy, generation: row.generation + 1 };
        let born = self.conceive(&birth, so_pin)?;
        // The change does not name the PIN that allows it, and making the keys took a while.
        match self.holds_still(&state, Role::SecurityOfficer, &proven) {
            // Another partition has carried out this request meanwhile.
            Err(_) if self.did_for_good(origin, Step::InitToken)? => {}
            other => {
                other?;
                self.give_birth(origin, born, Some(row.generation))?;
            }
        }
        // Whoever reads the new life first puts the old one away; nobody else may come for long.
        drop(state.facts(self));
        self.spread(origin)?;
        Ok(id)
    }

    fn give_birth(&self, origin: Option<&Origin>, born: Born, expected_generation: Option<u64>) -> Result<()> {
        let Born { token, so, .. } = born;
        match self.propose_for(origin, Change::InitToken { token, so, expected_generation })? {
            Outcome::Done => Ok(()),
            _ => Err(refuse(Code::FunctionFailed, "somebody else initialised the token at the same time: try again")),
        }
    }

    /// Draws the token's keys; writes nothing.
    pub(super) fn conceive(&self, birth: &Birth, so_pin: &Secret) -> Result<Born> {
        let root = &self.settings.root_key;
        let token_key = Key32::random(&*self.world)?;
        let public_key = Key32::random(&*self.world)?;
        let mut row = TokenRow {
            id: birth.id,
            serial: birth.serial,
            label: birth.label,
            policy: policy_number(birth.policy),
            generation: birth.generation,
            public_key: root.wrap(&*self.world, &birth.id.0, public_key.expose())?,
            mac: Vec::new(),
        };
        row.mac = authenticate(&root.authentication(&public_key)?, &token_row_bytes(&row))?.to_vec();
        let so = self.holder_row(birth.id, Role::SecurityOfficer, birth.generation, so_pin, &token_key)?;
        Ok(Born { token: row, so, token_key, public_key })
    }
}

/// Lower-case hexadecimal digits.
fn hex(bytes: &[u8], out: &mut [u8; 16]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}
