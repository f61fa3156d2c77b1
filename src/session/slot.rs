//! Slots: one for each initialised token, and a spare one, listed last, whose token waits to be initialised.
//!
//! A slot's number is cut from the serial number, so it is the same in every process (SoftHSM's rule; 31 bits, because
//! Java reads it as a signed number). A token initialised in the spare slot keeps that number until `C_Finalize`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};

use super::{Identity, Library};
use crate::ck::{EFFECTIVELY_INFINITE, MechanismType, UNAVAILABLE_INFORMATION};
use crate::error::{Code, Error, Result, refuse};
use crate::limits::{PIN_LEN_MAX_BYTES, PIN_LEN_MIN_BYTES};
use crate::mechanism::table;
use crate::secret::Secret;
use crate::token::{Access, Admin, PinState, Role, Scope, Token, TokenId};
use crate::world::utc_time;

// `CKF_*` of sessions, slots and tokens (PKCS#11 3.1, chapter 3).
pub(super) const RW_SESSION: u64 = 0x2;
pub(super) const SERIAL_SESSION: u64 = 0x4;
pub(super) const FIND_OBJECTS: u64 = 0x40;
const TOKEN_PRESENT: u64 = 0x1;
const REMOVABLE_DEVICE: u64 = 0x2;
const RNG: u64 = 0x1;
const LOGIN_REQUIRED: u64 = 0x4;
const USER_PIN_INITIALIZED: u64 = 0x8;
const RESTORE_KEY_NOT_NEEDED: u64 = 0x20;
const TOKEN_INITIALIZED: u64 = 0x400;
const USER_PIN_COUNT_LOW: u64 = 0x1_0000;
const USER_PIN_FINAL_TRY: u64 = 0x2_0000;
const USER_PIN_LOCKED: u64 = 0x4_0000;
const SO_PIN_COUNT_LOW: u64 = 0x10_0000;
const SO_PIN_FINAL_TRY: u64 = 0x20_0000;
const SO_PIN_LOCKED: u64 = 0x40_0000;
const SO_PIN_TO_BE_CHANGED: u64 = 0x80_0000;

/// One slot.
pub(super) struct Slot {
    id: u64,
    token: RwLock<Option<(TokenId, Arc<dyn Token>)>>,
    /// Held by a login or logout for its whole length, so that two of them do not cross.
    pub login_gate: Mutex<()>,
    login: RwLock<Option<LoggedIn>>,
    so: AtomicBool,
}

struct LoggedIn {
    read: Arc<Access>,
    write: Arc<Access>,
}

impl Slot {
    fn new(id: u64, token: Option<(TokenId, Arc<dyn Token>)>) -> Arc<Self> {
        Arc::new(Self {
            id,
            token: RwLock::new(token),
            login_gate: Mutex::default(),
            login: RwLock::default(),
            so: AtomicBool::new(false),
        })
    }

    pub fn id(&self) -> u64 {
        self.id
    }

    pub fn token(&self) -> Option<Arc<dyn Token>> {
        self.token.read().as_ref().map(|(_, token)| token.clone())
    }

    fn token_id(&self) -> Option<TokenId> {
        self.token.read().as_ref().map(|(id, _)| *id)
    }

    /// Who asks, through a session that may or may not write.
    pub fn access(&self, scope: Scope, write: bool) -> Arc<Access> {
        match &*self.login.read() {
            Some(login) if write => login.write.clone(),
            Some(login) => login.read.clone(),
            None => Arc::new(Access::public(scope, write)),
        }
    }

    pub fn role(&self) -> Option<Role> {
        self.login.read().as_ref().and_then(|login| login.read.role)
    }

    pub fn so_is_in(&self) -> bool {
        self.so.load(Ordering::Acquire)
    }

    pub fn set_login(&self, access: Option<&Access>) {
        let logged_in =
            access.map(|access| LoggedIn { read: Arc::new(access.with_write(false)), write: Arc::new(access.with_write(true)) });
        self.so.store(access.is_some_and(|access| access.role == Some(Role::SecurityOfficer)), Ordering::Release);
        *self.login.write() = logged_in;
    }

    pub fn session_info(&self, read_write: bool) -> SessionInfo {
        let state = match (self.role(), read_write) {
            (None, false) => 0,
            (Some(Role::User), false) => 1,
            (None, true) => 2,
            (Some(Role::User), true) => 3,
            (Some(Role::SecurityOfficer), _) => 4,
        };
        SessionInfo { slot: self.id, state, flags: SERIAL_SESSION | if read_write { RW_SESSION } else { 0 } }
    }
}

/// All slots of an application.
pub(super) struct Slots(RwLock<Vec<Arc<Slot>>>);

impl Slots {
    pub fn new(admin: &dyn Admin) -> Result<Self> {
        let slots = Self(RwLock::default());
        slots.refresh(admin)?;
        Ok(slots)
    }

    pub fn all(&self) -> Vec<Arc<Slot>> {
        self.0.read().clone()
    }

    /// Errors: `SlotIdInvalid`.
    pub fn get(&self, id: u64) -> Result<Arc<Slot>> {
        self.0
            .read()
            .iter()
            .find(|slot| slot.id == id)
            .cloned()
            .ok_or_else(|| refuse(Code::SlotIdInvalid, format!("{id} is no slot")))
    }

    /// Tokens that were made elsewhere get slots, those that were deleted lose theirs, and there is a spare slot at the end.
    pub fn refresh(&self, admin: &dyn Admin) -> Result<()> {
        let tokens = admin.tokens()?;
        let mut described = Vec::with_capacity(tokens.len());
        for token in tokens {
            match token.describe() {
                Ok(description) => described.push((description, token)),
                // Deleted since it was listed.
                Err(error) if error.code() == Code::TokenNotPresent => {}
                Err(error) => return Err(error),
            }
        }
        let mut slots = self.0.write();
        slots.retain(|slot| slot.token_id().is_none_or(|id| described.iter().any(|(description, _)| description.id == id)));
        let spare = slots.iter().position(|slot| slot.token_id().is_none()).map(|at| slots.remove(at));
        for (description, token) in described {
            if slots.iter().any(|slot| slot.token_id() == Some(description.id)) {
                continue;
            }
            let taken = |id: u64| slots.iter().any(|slot| slot.id == id);
            let id = free_from(slot_number(&description.serial), taken);
            slots.push(Slot::new(id, Some((description.id, token))));
        }
        let taken = |id: u64| slots.iter().any(|slot| slot.id == id);
        let spare = match spare.filter(|spare| !taken(spare.id)) {
            Some(spare) if spare.id == slots.len() as u64 => spare,
            _ => Slot::new(free_from(slots.len() as u64, taken), None),
        };
        slots.push(spare);
        Ok(())
    }
}

/// The last 8 hexadecimal digits of the serial number, without the highest bit. Other serials (imported ones) are hashed to 31 bits.
fn slot_number(serial: &[u8; 16]) -> u64 {
    let digits = std::str::from_utf8(&serial[8..]).ok().and_then(|text| u64::from_str_radix(text, 16).ok());
    let number = digits.unwrap_or_else(|| serial.iter().fold(5381, |hash: u64, byte| hash.wrapping_mul(33) ^ u64::from(*byte)));
    number & 0x7fff_ffff
}

fn free_from(first: u64, taken: impl Fn(u64) -> bool) -> u64 {
    (first..).find(|id| !taken(*id)).unwrap_or(first)
}

/// `CK_INFO`, strings padded with blanks.
#[allow(missing_docs)]
pub struct LibraryInfo {
    pub manufacturer: [u8; 32],
    pub description: [u8; 32],
    pub version: (u8, u8),
}

/// `CK_SLOT_INFO`.
#[allow(missing_docs)]
pub struct SlotInfo {
    pub description: [u8; 64],
    pub manufacturer: [u8; 32],
    pub flags: u64,
    pub hardware: (u8, u8),
    pub firmware: (u8, u8),
}

/// `CK_TOKEN_INFO`.
#[allow(missing_docs)]
pub struct TokenInfo {
    pub label: [u8; 32],
    pub manufacturer: [u8; 32],
    pub model: [u8; 16],
    pub serial: [u8; 16],
    pub flags: u64,
    pub session_count_max: u64,
    pub session_count: u64,
    pub rw_session_count_max: u64,
    pub rw_session_count: u64,
    pub pin_len_max: u64,
    pub pin_len_min: u64,
    pub memory: u64,
    pub hardware: (u8, u8),
    pub firmware: (u8, u8),
    /// `YYYYMMDDhhmmss00`.
    pub utc_time: [u8; 16],
}

/// `CK_SESSION_INFO` (no device error is ever pending).
#[allow(missing_docs)]
pub struct SessionInfo {
    pub slot: u64,
    pub state: u64,
    pub flags: u64,
}

/// `CK_MECHANISM_INFO`.
#[allow(missing_docs)]
pub struct MechanismInfo {
    pub key_size_min: u64,
    pub key_size_max: u64,
    pub flags: u64,
}

/// What each identity calls things.
struct Names {
    manufacturer: &'static str,
    library: &'static str,
    slot: &'static str,
    token_manufacturer: &'static str,
    model: &'static str,
    version: (u8, u8),
}

const OURS: Names = Names {
    manufacturer: "hsmpool",
    library: "hsmpool PKCS#11 provider",
    slot: "hsmpool slot",
    token_manufacturer: "hsmpool",
    model: "hsmpool",
    version: (0, 1),
};

const SOFTHSM: Names = Names {
    manufacturer: "SoftHSM",
    library: "Implementation of PKCS11",
    slot: "SoftHSM slot ID",
    token_manufacturer: "SoftHSM project",
    model: "SoftHSM v2",
    version: (2, 6),
};

impl Library {
    fn names(&self) -> &'static Names {
        match self.settings.identity {
            Identity::Hsmpool => &OURS,
            Identity::SoftHsm => &SOFTHSM,
        }
    }

    /// `C_GetInfo`.
    pub fn info(&self) -> LibraryInfo {
        let names = self.names();
        LibraryInfo { manufacturer: padded(names.manufacturer), description: padded(names.library), version: names.version }
    }

    /// `C_GetSlotList`. `refresh` (the call that asks for the count) looks for tokens that others made.
    pub fn slot_list(&self, _token_present: bool, refresh: bool) -> Result<Vec<u64>> {
        // Every slot has a token, the spare one an uninitialised one: `token_present` filters nothing.
        if refresh {
            self.slots.refresh(&*self.admin)?;
        }
        Ok(self.slots.all().iter().map(|slot| slot.id()).collect())
    }

    /// `C_GetSlotInfo`.
    pub fn slot_info(&self, slot: u64) -> Result<SlotInfo> {
        let slot = self.slots.get(slot)?;
        let names = self.names();
        let removable = if self.settings.removable { REMOVABLE_DEVICE } else { 0 };
        Ok(SlotInfo {
            description: padded(&format!("{} 0x{:x}", names.slot, slot.id())),
            manufacturer: padded(names.token_manufacturer),
            flags: TOKEN_PRESENT | removable,
            hardware: names.version,
            firmware: names.version,
        })
    }

    /// `C_GetTokenInfo`.
    pub fn token_info(&self, slot: u64) -> Result<TokenInfo> {
        let slot = self.slots.get(slot)?;
        let names = self.names();
        let description = slot.token().map(|token| token.describe()).transpose()?;
        let always = RNG | LOGIN_REQUIRED | RESTORE_KEY_NOT_NEEDED;
        let flags = match &description {
            None => always | SO_PIN_LOCKED | SO_PIN_TO_BE_CHANGED,
            Some(token) => {
                let user = if token.user_pin_set { USER_PIN_INITIALIZED } else { 0 };
                let so_pin = pin_flags(token.so_pin, [SO_PIN_COUNT_LOW, SO_PIN_FINAL_TRY, SO_PIN_LOCKED]);
                let user_pin = pin_flags(token.user_pin, [USER_PIN_COUNT_LOW, USER_PIN_FINAL_TRY, USER_PIN_LOCKED]);
                always | TOKEN_INITIALIZED | user | so_pin | user_pin
            }
        };
        Ok(TokenInfo {
            label: description.as_ref().map_or([b' '; 32], |token| token.label),
            manufacturer: padded(names.token_manufacturer),
            model: padded(names.model),
            serial: description.as_ref().map_or([b' '; 16], |token| token.serial),
            flags,
            session_count_max: EFFECTIVELY_INFINITE,
            session_count: UNAVAILABLE_INFORMATION,
            rw_session_count_max: EFFECTIVELY_INFINITE,
            rw_session_count: UNAVAILABLE_INFORMATION,
            pin_len_max: PIN_LEN_MAX_BYTES as u64,
            pin_len_min: PIN_LEN_MIN_BYTES as u64,
            memory: UNAVAILABLE_INFORMATION,
            hardware: names.version,
            firmware: names.version,
            utc_time: utc_time(self.world.now().as_secs()),
        })
    }

    /// `C_GetMechanismList`: in alphabetical order of names, as SoftHSM has it.
    pub fn mechanism_list(&self, slot: u64) -> Result<Vec<MechanismType>> {
        self.slots.get(slot)?;
        let mut kinds: Vec<_> =
            table::all().iter().map(|row| row.kind).filter(|kind| self.settings.mechanisms.allows(*kind)).collect();
        kinds.sort_by_key(|kind| kind.name());
        Ok(kinds)
    }

    /// `C_GetMechanismInfo`. Errors: `MechanismInvalid`.
    pub fn mechanism_info(&self, slot: u64, kind: MechanismType) -> Result<MechanismInfo> {
        self.slots.get(slot)?;
        let row = table::find(kind)
            .filter(|_| self.settings.mechanisms.allows(kind))
            .ok_or_else(|| refuse(Code::MechanismInvalid, format!("{kind} is not offered")))?;
        Ok(MechanismInfo { key_size_min: row.sizes.0, key_size_max: row.sizes.1, flags: row.flags() })
    }

    /// `C_InitToken`.
    ///
    /// Errors: `SessionExists`, `PinIncorrect` (also a PIN of a wrong length: SoftHSM's code, which scripts know), `PinLocked`.
    pub fn init_token(&self, slot: u64, so_pin: &Secret, label: [u8; 32]) -> Result<()> {
        let slot = self.slots.get(slot)?;
        if !self.sessions_of(&slot).is_empty() {
            return Err(refuse(Code::SessionExists, "close all sessions of the slot before its token is initialised"));
        }
        let _gate = slot.login_gate.lock();
        let token = self.admin.init_token(slot.token_id(), so_pin, label).map_err(|error| match error.code() {
            Code::PinLenRange => Error::new(Code::PinIncorrect, "the SO PIN has a wrong length").because(error),
            _ => error,
        })?;
        let id = token.describe()?.id;
        slot.set_login(None);
        self.objects.forget_if(slot.id(), |_| true);
        *slot.token.write() = Some((id, token));
        Ok(())
    }

    /// `C_WaitForSlotEvent`: slots do not come and go. Errors: `NoEvent`; `FunctionNotSupported` for a call that would block for ever.
    pub fn wait_for_slot_event(&self, block: bool) -> Result<u64> {
        match block {
            true => Err(refuse(Code::FunctionNotSupported, "no slot event will ever come")),
            false => Err(refuse(Code::NoEvent, "no slot event has come")),
        }
    }
}

fn pin_flags(state: PinState, [count_low, final_try, locked]: [u64; 3]) -> u64 {
    match state {
        PinState::Good => 0,
        PinState::CountLow => count_low,
        PinState::FinalTry => count_low | final_try,
        PinState::Locked => locked,
    }
}

/// Padded with blanks, cut where it is too long.
fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut padded = [b' '; N];
    for (to, from) in padded.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    padded
}
