//! What the library, its slots, tokens and mechanisms say about themselves, and how tokens are made.

use super::sessions::Session;
use super::{Identity, Library, MechanismFilter};
use crate::ck::{EFFECTIVELY_INFINITE, MechanismType, UNAVAILABLE_INFORMATION};
use crate::error::{Code, Error, Result, refuse};
use crate::faults::{self, Fault};
use crate::limits::{PIN_LEN_MAX_BYTES, PIN_LEN_MIN_BYTES};
use crate::mechanism::table;
use crate::secret::Secret;
use crate::token::{Description, PinState, Role};
use crate::world::utc_time;

// `CKF_*` of sessions, slots and tokens (PKCS#11 3.1, chapter 3).
pub(super) const RW_SESSION: u64 = 0x2;
pub(super) const SERIAL_SESSION: u64 = 0x4;
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

// `CKS_*`.
const RO_PUBLIC_SESSION: u64 = 0;
const RO_USER_FUNCTIONS: u64 = 1;
const RW_PUBLIC_SESSION: u64 = 2;
const RW_USER_FUNCTIONS: u64 = 3;
const RW_SO_FUNCTIONS: u64 = 4;

/// `CK_INFO`, strings padded with blanks.
#[allow(missing_docs, reason = "each is what its name says")]
pub struct LibraryInfo {
    pub manufacturer: [u8; 32],
    pub description: [u8; 32],
    pub version: (u8, u8),
}

/// `CK_SLOT_INFO`.
#[allow(missing_docs, reason = "each is what its name says")]
pub struct SlotInfo {
    pub description: [u8; 64],
    pub manufacturer: [u8; 32],
    pub flags: u64,
    pub hardware: (u8, u8),
    pub firmware: (u8, u8),
}

/// `CK_TOKEN_INFO`.
#[allow(missing_docs, reason = "each is what its name says")]
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
#[allow(missing_docs, reason = "each is what its name says")]
pub struct SessionInfo {
    pub slot: u64,
    pub state: u64,
    pub flags: u64,
}

/// `CK_MECHANISM_INFO`.
#[allow(missing_docs, reason = "each is what its name says")]
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
    version: (number(env!("CARGO_PKG_VERSION_MAJOR")), number(env!("CARGO_PKG_VERSION_MINOR"))),
};

const SOFTHSM: Names = Names {
    manufacturer: "SoftHSM",
    library: "Implementation of PKCS11",
    slot: "SoftHSM slot ID",
    token_manufacturer: "SoftHSM project",
    model: "SoftHSM v2",
    version: (2, 6),
};

/// A part of our version. Does not compile for one above 255.
const fn number(digits: &str) -> u8 {
    let (digits, mut at, mut number) = (digits.as_bytes(), 0, 0);
    while at < digits.len() {
        number = number * 10 + (digits[at] - b'0');
        at += 1;
    }
    number
}

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
    ///
    /// Errors: what the store says.
    pub fn slot_list(&self, _token_present: bool, refresh: bool) -> Result<Vec<u64>> {
        // Every slot has a token, the spare one an uninitialised one: `token_present` filters nothing.
        if refresh {
            self.slots.refresh(&*self.admin)?;
        }
        Ok(self.slots.ids())
    }

    /// `C_GetSlotInfo`. Errors: `SlotIdInvalid`.
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

    /// `C_GetTokenInfo`. Errors: `SlotIdInvalid`; what the store says.
    pub fn token_info(&self, slot: u64) -> Result<TokenInfo> {
        let slot = self.slots.get(slot)?;
        let names = self.names();
        let description = slot.token().map(|token| token.describe()).transpose()?;
        Ok(TokenInfo {
            label: description.as_ref().map_or([b' '; 32], |token| token.label),
            manufacturer: padded(names.token_manufacturer),
            model: padded(names.model),
            serial: description.as_ref().map_or([b' '; 16], |token| token.serial),
            flags: token_flags(description.as_ref()),
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

    /// `C_GetMechanismList`: in alphabetical order of names, or as a configured list has them, as with SoftHSM. Errors: `SlotIdInvalid`.
    pub fn mechanism_list(&self, slot: u64) -> Result<Vec<MechanismType>> {
        self.slots.get(slot)?;
        if let MechanismFilter::Only(kinds) = &self.settings.mechanisms {
            return Ok(kinds.iter().copied().filter(|kind| table::find(*kind).is_some()).collect());
        }
        let kinds = table::all().iter().map(|row| row.kind);
        let mut kinds: Vec<_> = kinds.filter(|kind| self.settings.mechanisms.allows(*kind)).collect();
        kinds.sort_by_key(|kind| kind.name());
        Ok(kinds)
    }

    /// `C_GetMechanismInfo`. Errors: `SlotIdInvalid`, `MechanismInvalid`.
    pub fn mechanism_info(&self, slot: u64, kind: MechanismType) -> Result<MechanismInfo> {
        self.slots.get(slot)?;
        let row = self.row(kind)?;
        Ok(MechanismInfo { key_size_min: row.sizes.0, key_size_max: row.sizes.1, flags: row.flags() })
    }

    /// `C_InitToken`.
    ///
    /// Errors: `SlotIdInvalid`, `SessionExists`, `PinIncorrect` (also for a PIN of a wrong length: SoftHSM's code, which scripts
    /// know), `PinLocked`; what the store says.
    pub fn init_token(&self, slot: u64, so_pin: &Secret, label: [u8; 32]) -> Result<()> {
        let slot = self.slots.get(slot)?;
        let _gate = slot.close_gate();
        let initialising = slot.begin_initialisation()?;
        let token = self.admin.init_token(slot.token_id(), so_pin, label).map_err(|error| match error.code() {
            Code::PinLenRange => Error::new(Code::PinIncorrect, "the SO PIN has a wrong length").because(error),
            _ => error,
        })?;
        let id = token.describe()?.id;
        slot.set_public();
        self.objects.forget_if(slot.id(), |_| true);
        self.slots.settle(&slot, initialising, id, token);
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

impl SessionInfo {
    pub(super) fn of(session: &Session) -> Self {
        let state = match (session.slot.role(), session.read_write) {
            (None, false) => RO_PUBLIC_SESSION,
            (Some(Role::User), false) => RO_USER_FUNCTIONS,
            (None, true) => RW_PUBLIC_SESSION,
            (Some(Role::User), true) => RW_USER_FUNCTIONS,
            (Some(Role::SecurityOfficer), _) => RW_SO_FUNCTIONS,
        };
        let flags = SERIAL_SESSION | if session.read_write { RW_SESSION } else { 0 };
        Self { slot: session.slot.id(), state, flags }
    }
}

/// The flags of a token; `None` is one that is not initialised.
fn token_flags(token: Option<&Description>) -> u64 {
    let always = RNG | LOGIN_REQUIRED | RESTORE_KEY_NOT_NEEDED;
    let Some(token) = token else { return always | SO_PIN_LOCKED | SO_PIN_TO_BE_CHANGED };
    let user = if token.user_pin_set { USER_PIN_INITIALIZED } else { 0 };
    let so_pin = pin_flags(token.so_pin, [SO_PIN_COUNT_LOW, SO_PIN_FINAL_TRY, SO_PIN_LOCKED]);
    let user_pin = pin_flags(token.user_pin, [USER_PIN_COUNT_LOW, USER_PIN_FINAL_TRY, USER_PIN_LOCKED]);
    always | TOKEN_INITIALIZED | user | so_pin | user_pin
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
    let mut padded = [if faults::on(Fault::TextsEndWithNul) { 0 } else { b' ' }; N];
    for (to, from) in padded.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    padded
}
