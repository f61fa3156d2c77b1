//! Tokens of a pool: listed, made, removed.

use std::sync::Arc;

use super::call::{Call, Pool};
use super::token::PooledToken;
use crate::error::Result;
use crate::secret::Secret;
use crate::token::message::{Ask, Reply};
use crate::token::{Access, Admin, Scope, Token, TokenId};

/// A pool as the library holds it.
pub struct PooledAdmin {
    pool: Arc<Pool>,
    scope: Scope,
}

impl PooledAdmin {
    /// `scope` names this process in requests about all tokens. Errors: `RandomNoRng`.
    pub fn new(pool: Arc<Pool>) -> Result<Self> {
        let mut scope = [0; 16];
        pool.world.fill_random(&mut scope)?;
        Ok(Self { pool, scope: Scope(scope) })
    }

    fn ask(&self, ask: Ask) -> Result<Reply> {
        let access = &Access::public(self.scope, true);
        self.pool.ask(Call::new(None, access, ask, &[]))
    }

    fn token(&self, id: TokenId) -> Arc<dyn Token> {
        Arc::new(PooledToken::new(self.pool.clone(), id))
    }
}

impl Admin for PooledAdmin {
    fn tokens(&self) -> Result<Vec<Arc<dyn Token>>> {
        match self.ask(Ask::Tokens)? {
            Reply::Tokens(ids) => Ok(ids.into_iter().map(|id| self.token(id)).collect()),
            _ => Err(self.pool.odd(0)),
        }
    }

    fn init_token(&self, existing: Option<TokenId>, so_pin: &Secret, label: [u8; 32]) -> Result<Arc<dyn Token>> {
        match self.ask(Ask::InitToken { existing, so_pin: so_pin.duplicate(), label })? {
            Reply::Token(id) => Ok(self.token(id)),
            _ => Err(self.pool.odd(0)),
        }
    }

    fn delete_token(&self, token: TokenId) -> Result<()> {
        self.ask(Ask::DeleteToken { token }).map(drop)
    }
}
