//! What the partition keeps in memory about one token: its facts, its logins, its ready keys, its session objects.
//!
//! Facts and ready keys are copies of rows. As long as the log's version stands they are good; when it has moved (this or another process
//! committed something), the store's marks are read, and only a copy whose mark has moved is compared with its row.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::RwLock;

use super::ephemeral::Ephemeral;
use super::hands::{Hands, Near};
use super::nonces::Nonces;
use super::ready::ReadyKeys;
use super::seal::{Key32, ObjectSeals, authenticate};
use super::{Partition, SoTurns};
use crate::error::{Code, Result, refuse};
use crate::log::Version;
use crate::object::policy::Policy;
use crate::store::{Marks, TokenRow, UserRow};
use crate::sys::process::PerProcess;
use crate::token::{Access, LoginId, Role, Scope, TokenId};

/// In-memory state of one token.
pub(super) struct TokenState {
    pub id: TokenId,
    /// Itself.
    me: Weak<TokenState>,
    /// Whether it is the one that all share.
    is_kept: AtomicBool,
    known: RwLock<Option<Arc<Known>>>,
    pub hands: Hands<Known>,
    pub logins: RwLock<HashMap<LoginId, Arc<Login>>>,
    pub ready: ReadyKeys,
    pub ephemeral: Ephemeral,
    pub nonces: Nonces,
    /// Who tries the SO's PIN after many wrong ones.
    pub so_turns: PerProcess<SoTurns>,
}

/// What was read last.
pub(super) struct Known {
    /// As long as the log has this version, nothing has changed.
    version: Version,
    /// Read after the version and before the facts, or when the facts were still good: what is opened from now on is kept under them.
    pub marks: Marks,
    pub facts: Arc<Facts>,
}

/// The rows of the token and its PIN holders, as of one moment.
pub(super) struct Facts {
    pub row: TokenRow,
    pub policy: Policy,
    /// Seals public objects.
    pub public: Arc<ObjectSeals>,
    pub so: Option<UserRow>,
    pub user: Option<UserRow>,
}

/// One proven PIN.
pub(super) struct Login {
    pub scope: Scope,
    pub role: Role,
    /// The PIN's generation that this login is good for: a later one, set by somebody else, ends it.
    pub generation: AtomicU64,
    /// The token's generation when it was proven.
    pub token_generation: u64,
    pub token_key: Key32,
    /// Who proved it, as the connection told; empty in the embedded token.
    pub client: Arc<str>,
    /// When its latest ticket was issued, in seconds since 1970.
    pub issued: AtomicU64,
    /// Seals private objects.
    pub seals: ObjectSeals,
}

impl Facts {
    /// The PIN holder of a role.
    pub fn holder(&self, role: Role) -> Option<&UserRow> {
        match role {
            Role::SecurityOfficer => self.so.as_ref(),
            Role::User => self.user.as_ref(),
        }
    }
}

/// The number of a role in the store.
pub(super) fn role_number(role: Role) -> u8 {
    match role {
        Role::SecurityOfficer => 0,
        Role::User => 1,
    }
}

impl TokenState {
    /// One that is not kept yet.
    pub fn new(id: TokenId) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            id,
            me: me.clone(),
            is_kept: AtomicBool::new(false),
            known: RwLock::new(None),
            hands: Hands::default(),
            logins: RwLock::default(),
            ready: ReadyKeys::default(),
            ephemeral: Ephemeral::default(),
            nonces: Nonces::default(),
            so_turns: PerProcess::new(SoTurns::default),
        })
    }

    pub fn set_kept(&self, is_kept: bool) {
        self.is_kept.store(is_kept, Ordering::Release);
    }

    /// The store shows the token: from now on this is its one state.
    ///
    /// Errors: `DeviceError`: it has another one already, as it came into the store while two looked for it.
    fn be_kept(&self, partition: &Partition) -> Result<()> {
        if self.is_kept.load(Ordering::Acquire) {
            return Ok(());
        }
        let kept = self.me.upgrade().map(|me| partition.keep_state(me));
        match kept.is_some_and(|kept| std::ptr::eq(&*kept, self)) {
            true => Ok(()),
            false => Err(refuse(Code::DeviceError, "the token came here at this moment: try again")),
        }
    }

    /// The token's facts as of now.
    ///
    /// Errors: `TokenNotPresent` when it has been deleted; `StoreRefused` when its row was bent.
    pub fn facts(&self, partition: &Partition) -> Result<Arc<Facts>> {
        self.known(partition).map(|known| known.facts.clone())
    }

    /// The same, with the marks that objects opened from now on are kept under.
    pub fn known(&self, partition: &Partition) -> Result<Near<Known>> {
        let now = partition.log.version();
        if let Some(known) = self.hands.known(|known| known.version == now) {
            return Ok(known);
        }
        let known = self.known.read().clone().filter(|known| known.version == now);
        let known = known.map_or_else(|| self.know_anew(partition, now), Ok)?;
        Ok(self.hands.learn(known.clone(), |id| known.marks.of(id)))
    }

    /// Reads what has changed until `now`, or until later.
    fn know_anew(&self, partition: &Partition, now: Version) -> Result<Arc<Known>> {
        // Before the facts: what changes in between makes these marks old, not the facts.
        let marks = partition.store.marks()?;
        let fresh = match self.facts_at(&marks) {
            Some(facts) => facts,
            None => Arc::new(self.read_facts(partition).inspect_err(|error| {
                if error.code() == Code::TokenNotPresent {
                    partition.let_go(self);
                }
            })?),
        };
        self.be_kept(partition)?;
        let mut known = self.known.write();
        if let Some(old) = &*known
            && old.facts.row.generation != fresh.row.generation
        {
            self.put_away();
        }
        let fresh = Arc::new(Known { version: now, marks, facts: fresh });
        *known = Some(fresh.clone());
        Ok(fresh)
    }

    /// Initialised again, or deleted: nothing of the old life may be used.
    pub fn put_away(&self) {
        self.ready.clear();
        self.logins.write().clear();
        self.ephemeral.clear();
        self.nonces.clear();
        self.hands.let_all_go();
    }

    /// The same, and nothing is known of the token any more.
    pub fn end(&self) {
        *self.known.write() = None;
        self.put_away();
    }

    /// The facts that were read last, if no token or user was changed since.
    fn facts_at(&self, marks: &Marks) -> Option<Arc<Facts>> {
        let known = self.known.read();
        let known = known.as_ref().filter(|known| known.marks.administration() == marks.administration())?;
        Some(known.facts.clone())
    }

    fn read_facts(&self, partition: &Partition) -> Result<Facts> {
        let Some((row, users)) = partition.store.token_and_users(self.id)? else {
            return Err(refuse(Code::TokenNotPresent, "the token has been deleted from the store"));
        };
        let known = self.known.read().as_ref().map(|known| known.facts.clone());
        let public = match known.filter(|facts| facts.row.generation == row.generation && facts.row.mac == row.mac) {
            Some(facts) => facts.public.clone(),
            None => Arc::new(open_token(partition, &row)?),
        };
        let holder = |role| users.iter().find(|user| user.role == role_number(role)).cloned();
        Ok(Facts { policy: policy_of(row.policy)?, public, so: holder(Role::SecurityOfficer), user: holder(Role::User), row })
    }

    /// The login that `access` proves, if it is still good.
    ///
    /// Errors: `UserNotLoggedIn`.
    pub fn login_of(&self, access: &Access, facts: &Facts) -> Result<Arc<Login>> {
        let login = access.login.and_then(|id| self.logins.read().get(&id).cloned());
        login
            .filter(|login| {
                login.scope == access.scope
                    && Some(login.role) == access.role
                    && login.token_generation == facts.row.generation
                    && facts
                        .holder(login.role)
                        .is_some_and(|holder| holder.generation == login.generation.load(Ordering::Acquire))
            })
            .ok_or_else(|| refuse(Code::UserNotLoggedIn, "this call needs a login that is still good"))
    }
}

/// The bytes of a token's row that its MAC covers.
pub(super) fn token_row_bytes(row: &TokenRow) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    bytes.extend_from_slice(&row.id.0);
    bytes.extend_from_slice(&row.serial);
    bytes.extend_from_slice(&row.label);
    bytes.push(row.policy);
    bytes.extend_from_slice(&row.generation.to_be_bytes());
    bytes.extend_from_slice(&row.public_key);
    bytes
}

/// The number of a policy in the store.
pub(super) fn policy_number(policy: Policy) -> u8 {
    match policy {
        Policy::Compatible => 0,
        Policy::Default => 1,
        Policy::Strict => 2,
    }
}

fn policy_of(number: u8) -> Result<Policy> {
    [Policy::Compatible, Policy::Default, Policy::Strict].into_iter().find(|policy| policy_number(*policy) == number).ok_or_else(
        || {
            refuse(
                Code::StoreRefused,
                format!("the store names token policy {number}, which this version does not know: use a newer module"),
            )
        },
    )
}

/// Unwraps the public-object key and checks the row with it.
fn open_token(partition: &Partition, row: &TokenRow) -> Result<ObjectSeals> {
    let key = partition.settings.root_key.unwrap(&row.id.0, &row.public_key)?;
    let key = Key32::from_bytes(key.expose())
        .ok_or_else(|| refuse(Code::StoreRefused, "the token's public-object key is damaged: restore the store from a backup"))?;
    let mac = authenticate(&partition.settings.root_key.authentication(&key)?, &token_row_bytes(row))?;
    if !crate::secret::Secret::copy_of(&mac).same_as(&row.mac) {
        return Err(refuse(
            Code::StoreRefused,
            "the token's row in the store is not what was written: restore the store from a backup",
        ));
    }
    ObjectSeals::new(&key)
}
