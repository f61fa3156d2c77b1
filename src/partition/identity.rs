//! PINs: proving, changing, counting the wrong ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::origin::{Origin, Step};
use super::seal::{Key32, ObjectSeals, unwrap_under_pin, wrap_under_pin};
use super::state::{Facts, Login, TokenState, role_number};
use super::{Partition, Place};
use crate::error::{Code, Error, Result, refuse};
use crate::faults::{self, Fault};
use crate::limits::{
    CALL_DEADLINE_SECONDS, PIN_LEN_MAX_BYTES, PIN_LEN_MIN_BYTES, SO_DELAY_MAX_MILLISECONDS, SO_TURN_MAX_MILLISECONDS,
};
use crate::secret::Secret;
use crate::store::{Change, Outcome, Sealed, UserRow};
use crate::token::{Access, LoginId, PinState, Role, Scope, TokenId};

/// From this many wrong SO PINs on, each further one waits; the SO is never locked for good.
const SO_DELAY_FROM_ATTEMPTS: u32 = 10;
/// The longest such wait. They are served one after the other, so it is also what a guess costs at a node, however many connections guess: half a guess a
/// second, 43,200 a day, from each node of a pool. A longer one would slow guesses down by as much again, and shut out the SO, whose module asks another
/// node when one is silent.
const SO_DELAY_MAX: Duration = Duration::from_millis(SO_DELAY_MAX_MILLISECONDS);
/// How long a client waits for others' attempts; then its module asks another node.
const SO_TURN_MAX: Duration = Duration::from_millis(SO_TURN_MAX_MILLISECONDS);
/// How often it looks whether it is its turn: a thousand connections that do so need little of a processor.
const SO_TURN_PAUSE: Duration = Duration::from_millis(20);

/// How often to look whether a PIN that looks locked does so still, and the pause in between: 1.5 s, which is longer than looking at one takes on a machine
/// that has much else to do.
const UNDECIDED_LOOKS: u32 = 100;
const LOOK_AGAIN: Duration = Duration::from_millis(15);
/// Under a request, whose changes have names, those for counting an attempt: its own, and of changes that no request makes which proves a PIN.
const STEPS_OF_ATTEMPTS: [Step; 5] =
    [Step::ReserveAttempt, Step::CreateObjects, Step::ReplaceObject, Step::DeleteObject, Step::DeleteToken];

/// The same for the note that its PIN was wrong: then there is no change of a PIN.
const DECIDED: Step = Step::SetUser;

/// What the flags of `C_GetTokenInfo` say about a PIN holder.
pub(super) fn pin_state(holder: Option<&UserRow>) -> PinState {
    match holder {
        None => PinState::Good,
        Some(user) if user.attempts_max > 0 && user.attempts >= user.attempts_max => PinState::Locked,
        Some(user) if user.attempts_max > 0 && user.attempts + 1 == user.attempts_max => PinState::FinalTry,
        Some(user) if user.attempts > 0 => PinState::CountLow,
        Some(_) => PinState::Good,
    }
}

/// Errors: `PinLenRange`.
pub(super) fn check_pin_len(pin: &Secret) -> Result<()> {
    if (PIN_LEN_MIN_BYTES..=PIN_LEN_MAX_BYTES).contains(&pin.len()) || faults::on(Fault::PinLengthUnchecked) {
        return Ok(());
    }
    Err(refuse(Code::PinLenRange, format!("a PIN has {PIN_LEN_MIN_BYTES} to {PIN_LEN_MAX_BYTES} bytes")))
}

/// A PIN that was right.
pub(super) struct Proven {
    pub token_key: Key32,
    /// As of after the attempt was counted.
    pub facts: Arc<Facts>,
    /// The PIN's.
    pub generation: u64,
}

fn replaced() -> Error {
    refuse(Code::PinIncorrect, "the PIN has been replaced by another one at this moment")
}

/// What a PIN's wrapping is bound to.
fn pin_aad(token: TokenId, role: Role, generation: u64) -> [u8; 25] {
    let mut aad = [0; 25];
    aad[..16].copy_from_slice(&token.0);
    aad[16] = role_number(role);
    aad[17..].copy_from_slice(&generation.to_be_bytes());
    aad
}

impl Partition {
    /// A PIN holder's row: the token key under the PIN, and that under the root key.
    pub(super) fn holder_row(
        &self,
        token: TokenId,
        role: Role,
        generation: u64,
        pin: &Secret,
        token_key: &Key32,
    ) -> Result<UserRow> {
        let aad = pin_aad(token, role, generation);
        let place = self.stretching.get().enter(&*self.world)?;
        let under_pin = wrap_under_pin(&*self.world, pin, &aad, token_key)?;
        drop(place);
        Ok(UserRow {
            token,
            role: role_number(role),
            generation,
            wrapped: Sealed::from_ciphertext(self.settings.root_key.wrap(&*self.world, &aad, &under_pin)?),
            attempts: 0,
            attempts_max: if role == Role::User { self.settings.pin_attempts_max } else { 0 },
        })
    }

    /// Proves a PIN. The attempt is on disk before the PIN is looked at, so that guesses in parallel, or a kill in time, do not beat the count; and it is looked
    /// at by what holds after the attempt, as a partition that is a little behind would else take a PIN that was replaced.
    ///
    /// Errors: `PinIncorrect`, `PinLocked`, `UserPinNotInitialized`.
    pub(super) fn prove_pin(&self, origin: Option<&Origin>, state: &TokenState, role: Role, pin: &Secret) -> Result<Proven> {
        let (token, not_set) = (state.id, || refuse(Code::UserPinNotInitialized, "the SO has not set the user's PIN yet"));
        self.on_duty()?;
        if state.facts(self)?.holder(role).is_none() {
            return Err(not_set());
        }
        let (reserved, _attempt) = match faults::on(Fault::WrongPinsAreNotCounted) {
            true => (Outcome::Attempt { attempts: 1 }, None),
            false => self.reserve_attempt(origin, token, role)?,
        };
        let attempts = match reserved {
            Outcome::Attempt { attempts } => attempts,
            Outcome::Locked if faults::on(Fault::LockedPinIsTaken) => 0,
            Outcome::Locked => {
                return Err(refuse(Code::PinLocked, "the PIN is locked after too many wrong ones: the SO sets a new one"));
            }
            _ => return Err(refuse(Code::TokenNotPresent, "the token has been deleted or initialised again")),
        };
        let turn = match role {
            Role::SecurityOfficer => self.so_turn(origin, state, attempts)?,
            Role::User => None,
        };
        let facts = state.facts(self)?;
        let holder = facts.holder(role).ok_or_else(not_set)?;
        let aad = pin_aad(token, role, holder.generation);
        let under_pin = self.settings.root_key.unwrap(&aad, holder.wrapped.as_bytes())?;
        let place = self.stretching.get().enter(&*self.world)?;
        self.refuse_decided(origin)?;
        let proven = unwrap_under_pin(pin, &aad, under_pin.expose())?;
        drop((place, turn));
        let Some(token_key) = proven else {
            self.note_decided(origin, token)?;
            return Err(refuse(Code::PinIncorrect, format!("wrong PIN; {attempts} wrong in a row")));
        };
        let generation = holder.generation;
        match self.propose_for(origin, Change::ClearAttempts { token, role: role_number(role), generation })? {
            Outcome::Conflict => Err(replaced()),
            Outcome::Gone => Err(refuse(Code::TokenNotPresent, "the token has been deleted or initialised again")),
            _ => Ok(Proven { token_key, facts, generation }),
        }
    }

    /// After many wrong ones in a row the SO's PIN is looked at after a wait, and by one at a time: waits in parallel would slow nobody down. The attempt
    /// is counted before, so that whoever comes meanwhile waits as well.
    ///
    /// Errors: `DeviceError`: others' attempts took too long; `PinIncorrect`: the request's PIN was wrong when it arrived before.
    fn so_turn<'a>(&self, origin: Option<&Origin>, state: &'a TokenState, attempts: u32) -> Result<Option<Place<'a>>> {
        let Some(past) = attempts.checked_sub(SO_DELAY_FROM_ATTEMPTS).filter(|past| *past > 0) else { return Ok(None) };
        // Who has no module that asks again waits as long as a call may take.
        let patience = origin.map_or(Duration::from_secs(CALL_DEADLINE_SECONDS), |_| SO_TURN_MAX);
        let turn = state.so_turns.get().enter_within(&*self.world, patience, SO_TURN_PAUSE)?;
        // A request that comes again takes nobody's time.
        self.refuse_decided(origin)?;
        self.world.sleep(SO_DELAY_MAX.min(Duration::from_millis(100 << past.min(10))));
        Ok(Some(turn))
    }

    /// Whether a PIN that was proven is the one that holds still, as far as this partition knows: if it is on duty, no call that replaced it has returned.
    /// Errors: `PinIncorrect`: it is not.
    pub(super) fn holds_still(&self, state: &TokenState, role: Role, proven: &Proven) -> Result<()> {
        self.on_duty()?;
        match state.facts(self)?.holder(role) {
            Some(holder) if holder.generation == proven.generation => Ok(()),
            _ => Err(replaced()),
        }
    }

    /// Has the log remember that the request's PIN was wrong. Its attempt is counted once, however often it arrives: with another PIN each time it would
    /// else be a guess each time.
    fn note_decided(&self, origin: Option<&Origin>, token: TokenId) -> Result<()> {
        if let Some(name) = origin.and_then(|origin| origin.numbered(DECIDED)) {
            // Changes nothing, as nobody has that role, and is answered so.
            self.propose_as(origin, Some(name), Change::ReserveAttempt { token, role: u8::MAX })?;
        }
        Ok(())
    }

    /// Errors: `PinIncorrect`: the request's PIN was wrong when it arrived before.
    fn refuse_decided(&self, origin: Option<&Origin>) -> Result<()> {
        let Some(name) = origin.and_then(|origin| origin.numbered(DECIDED)) else { return Ok(()) };
        match self.store.answer(name)? {
            Some(Outcome::Gone) => Err(refuse(Code::PinIncorrect, "wrong PIN, as when this request arrived before")),
            _ => Ok(()),
        }
    }

    /// Counts an attempt. Each counts as a wrong one until it is decided, so where many are under way at once the PIN may look locked although it is
    /// not. Of the user's few are under way here: the place among them comes with the answer. Where others are, in other processes or at other
    /// partitions, this waits for the first right one, which ends the count.
    fn reserve_attempt(&self, origin: Option<&Origin>, token: TokenId, role: Role) -> Result<(Outcome, Option<Place<'_>>)> {
        let reserve = || Change::ReserveAttempt { token, role: role_number(role) };
        if role == Role::SecurityOfficer {
            // Never locked, but kept waiting, with no place taken from others.
            return Ok((self.propose_for(origin, reserve())?, None));
        }
        let mut names = origin.map(|origin| STEPS_OF_ATTEMPTS.iter().map(|step| origin.numbered(*step)));
        loop {
            let place = self.attempts.get().enter(&*self.world)?;
            let name = match &mut names {
                None => None,
                Some(names) => match names.next() {
                    Some(name) => name,
                    None => return Ok((Outcome::Locked, None)),
                },
            };
            self.may_change(origin)?;
            let reserved = self.propose_as(origin, name, reserve())?;
            if reserved != Outcome::Locked {
                return Ok((reserved, Some(place)));
            }
            drop(place);
            if faults::on(Fault::LockedPinIsTaken) || !self.is_unlocked_soon(token, role)? {
                return Ok((reserved, None));
            }
        }
    }

    /// Waits until a PIN that looks locked does no more; false: it is.
    fn is_unlocked_soon(&self, token: TokenId, role: Role) -> Result<bool> {
        for _ in 0..UNDECIDED_LOOKS {
            self.world.sleep(LOOK_AGAIN);
            let Some((_, users)) = self.store.token_and_users(token)? else { return Ok(true) };
            let holder = users.iter().find(|user| user.role == role_number(role));
            if pin_state(holder) != PinState::Locked {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// `C_Login`.
    pub(super) fn login(
        &self,
        origin: Option<&Origin>,
        state: &TokenState,
        scope: &Scope,
        role: Role,
        pin: &Secret,
    ) -> Result<Access> {
        let Proven { token_key, facts, generation } = self.prove_pin(origin, state, role, pin)?;
        let mut id = [0; 16];
        self.world.fill_random(&mut id)?;
        let login = Login {
            scope: *scope,
            role,
            generation: AtomicU64::new(generation),
            token_generation: facts.row.generation,
            seals: ObjectSeals::new(&token_key)?,
            token_key,
            client: origin.map_or_else(|| Arc::from(""), |origin| origin.client.clone()),
            issued: AtomicU64::new(0),
        };
        let id = LoginId(id);
        let ticket = self.ticket(state.id, id, &login)?;
        state.logins.write().insert(id, Arc::new(login));
        Ok(Access { scope: *scope, role: Some(role), login: Some(id), ticket, write: false })
    }

    /// `C_Logout`. Whoever names another's login ends nothing.
    pub(super) fn logout(&self, origin: Option<&Origin>, state: &TokenState, access: &Access) {
        let Some(id) = access.login.filter(|_| self.is_own_login(state, access, origin)) else { return };
        self.end_ticket(id);
        let mut logins = state.logins.write();
        logins.remove(&id);
        let user_left = logins.values().any(|login| login.role == Role::User);
        drop(logins);
        if !faults::on(Fault::LogoutKeepsPrivateObjects) {
            state.ephemeral.forget_private(access.scope);
        }
        if !user_left {
            state.ready.forget_private();
        }
        state.hands.let_all_go();
    }

    /// `C_Finalize`: the application's logins and session objects are gone.
    pub(super) fn leave(&self, state: &TokenState, scope: Scope) {
        let mut logins = state.logins.write();
        logins.retain(|_, login| login.scope != scope);
        let user_left = logins.values().any(|login| login.role == Role::User);
        drop(logins);
        state.ephemeral.leave(scope);
        if !user_left {
            state.ready.forget_private();
        }
        state.hands.let_all_go();
    }

    /// `C_SetPIN`.
    pub(super) fn set_pin(
        &self,
        origin: Option<&Origin>,
        state: &TokenState,
        access: &Access,
        old: &Secret,
        new: &Secret,
    ) -> Result<()> {
        let role = access.role.unwrap_or(Role::User);
        check_pin_len(new)?;
        if self.did_for_good(origin, Step::SetUser)? {
            return self.spread(origin);
        }
        let Proven { token_key, generation, .. } = self.prove_pin(origin, state, role, old)?;
        let user = self.holder_row(state.id, role, generation + 1, new, &token_key)?;
        self.replace_holder(origin, state, access, user, Some(generation))
    }

    /// `C_InitPIN`.
    pub(super) fn init_pin(&self, origin: Option<&Origin>, state: &TokenState, access: &Access, new: &Secret) -> Result<()> {
        if self.did_for_good(origin, Step::SetUser)? {
            return self.spread(origin);
        }
        let facts = state.facts(self)?;
        let login = state.login_of(access, &facts)?;
        if login.role != Role::SecurityOfficer && !faults::on(Fault::UserInitsPin) {
            return Err(refuse(Code::UserNotLoggedIn, "only the SO sets the user's PIN"));
        }
        check_pin_len(new)?;
        let old = facts.holder(Role::User).map(|holder| holder.generation);
        let user = self.holder_row(state.id, Role::User, old.map_or(0, |generation| generation + 1), new, &login.token_key)?;
        self.replace_holder(origin, state, access, user, old)
    }

    /// The application that changed a PIN stays logged in; every other login with the old one ends.
    fn replace_holder(
        &self,
        origin: Option<&Origin>,
        state: &TokenState,
        access: &Access,
        user: UserRow,
        expected: Option<u64>,
    ) -> Result<()> {
        let (role, generation) = (user.role, user.generation);
        match self.propose_for(origin, Change::SetUser { user, expected_generation: expected })? {
            Outcome::Done => {}
            Outcome::Conflict => {
                return Err(refuse(Code::FunctionFailed, "somebody else changed the PIN at the same time: try again"));
            }
            _ => return Err(refuse(Code::TokenNotPresent, "the token has been deleted or initialised again")),
        }
        if let Some(login) = access.login.and_then(|id| state.logins.read().get(&id).cloned())
            && role_number(login.role) == role
        {
            login.generation.store(generation, Ordering::Release);
        }
        // Logins with the old PIN are over everywhere before the caller hears of it.
        self.spread(origin)
    }
}
