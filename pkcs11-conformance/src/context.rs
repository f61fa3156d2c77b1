//! What a case works with: the module, a token made for it, sessions that close themselves.

use std::cell::Cell;
use std::path::PathBuf;
use std::ptr;

use cryptoki_sys::*;
use serde::{Deserialize, Serialize};

use crate::case::Stop;
use crate::ck;
use crate::module::{Module, Rv};

/// Which module, and which token of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// The module's file.
    pub module: PathBuf,
    /// `pReserved` of `C_Initialize`, for modules that take their configuration there (NSS).
    pub init_args: Option<String>,
    /// Label of the token to be used, blanks trimmed.
    pub token_label: String,
    /// The SO's PIN.
    pub so_pin: String,
    /// The user's PIN.
    pub pin: String,
    /// Whether tokens may be made and emptied by cases.
    pub may_init: bool,
}

/// The surroundings of one case.
pub struct Context {
    /// The loaded module; not initialised yet.
    pub module: Module,
    /// Which token.
    pub settings: Settings,
    initialised: Cell<bool>,
}

impl Context {
    /// Loads the module.
    pub fn new(settings: Settings) -> Result<Self, String> {
        Ok(Self { module: Module::load(&settings.module)?, settings, initialised: Cell::new(false) })
    }

    /// `C_Initialize` with OS locking.
    pub fn initialize(&self) -> Rv {
        let reserved = self.settings.init_args.as_ref().map(|text| std::ffi::CString::new(text.as_str()).unwrap_or_default());
        let mut arguments = CK_C_INITIALIZE_ARGS {
            CreateMutex: None,
            DestroyMutex: None,
            LockMutex: None,
            UnlockMutex: None,
            flags: CKF_OS_LOCKING_OK as CK_FLAGS,
            pReserved: reserved.as_ref().map_or(ptr::null_mut(), |text| text.as_ptr().cast_mut().cast()),
        };
        let rv = ck!(self.module, C_Initialize, ptr::from_mut(&mut arguments).cast());
        self.initialised.set(rv == Rv::OK);
        rv
    }

    /// `C_Finalize`.
    pub fn finalize(&self) -> Rv {
        self.initialised.set(false);
        ck!(self.module, C_Finalize, ptr::null_mut())
    }

    /// Every slot that the module lists.
    pub fn slots(&self, token_present: bool) -> Result<Vec<CK_SLOT_ID>, Stop> {
        let present = if token_present { CK_TRUE } else { CK_FALSE };
        let mut count: CK_ULONG = 0;
        self.ok(ck!(self.module, C_GetSlotList, present, ptr::null_mut(), &mut count), "C_GetSlotList for the count")?;
        let mut slots = vec![0; count as usize];
        self.ok(ck!(self.module, C_GetSlotList, present, slots.as_mut_ptr(), &mut count), "C_GetSlotList")?;
        slots.truncate(count as usize);
        Ok(slots)
    }

    /// What the module says of a slot's token.
    pub fn token_info(&self, slot: CK_SLOT_ID) -> Result<CK_TOKEN_INFO, Stop> {
        let mut info = CK_TOKEN_INFO::default();
        self.ok(ck!(self.module, C_GetTokenInfo, slot, &mut info), "C_GetTokenInfo")?;
        Ok(info)
    }

    /// The slot of the token that the suite was given.
    pub fn slot(&self) -> Result<CK_SLOT_ID, Stop> {
        self.slot_labelled(&self.settings.token_label)?
            .ok_or_else(|| Stop::Fail(format!("no slot has the token {:?} any more", self.settings.token_label)))
    }

    /// The first initialised token with this label.
    pub fn slot_labelled(&self, label: &str) -> Result<Option<CK_SLOT_ID>, Stop> {
        for slot in self.slots(true)? {
            let info = self.token_info(slot)?;
            let initialised = info.flags & CKF_TOKEN_INITIALIZED as CK_FLAGS != 0;
            if initialised && info.label.trim_ascii_end() == label.as_bytes() {
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }

    /// A slot whose token is not initialised; a skip where there is none or the suite may not make tokens.
    pub fn spare_slot(&self) -> Result<CK_SLOT_ID, Stop> {
        if !self.settings.may_init {
            return Err(Stop::Skip("tokens may not be made on this module".into()));
        }
        for slot in self.slots(true)? {
            if self.token_info(slot)?.flags & CKF_TOKEN_INITIALIZED as CK_FLAGS == 0 {
                return Ok(slot);
            }
        }
        Err(Stop::Skip("the module shows no uninitialised token".into()))
    }

    /// Makes a token that no other case uses, with the suite's PINs, and returns its slot.
    pub fn own_token(&self, label: &str) -> Result<CK_SLOT_ID, Stop> {
        if !self.initialised.get() {
            self.ok(self.initialize(), "C_Initialize")?;
        }
        let spare = self.spare_slot()?;
        let label = format!("{label}-{}", std::process::id());
        crate::setup::init_token(self, spare, &label)?;
        self.slot_labelled(&label)?.ok_or_else(|| Stop::Fail(format!("no slot shows the token {label:?} that was made")))
    }

    /// Initialises the module and opens a public session on the suite's token.
    pub fn session(&self, read_write: bool) -> Result<Session<'_>, Stop> {
        if !self.initialised.get() {
            self.ok(self.initialize(), "C_Initialize")?;
        }
        self.session_on(self.slot()?, read_write)
    }

    /// Opens a session on any slot.
    pub fn session_on(&self, slot: CK_SLOT_ID, read_write: bool) -> Result<Session<'_>, Stop> {
        let flags = CKF_SERIAL_SESSION | if read_write { CKF_RW_SESSION } else { 0 };
        let mut handle = 0;
        self.ok(ck!(self.module, C_OpenSession, slot, flags as CK_FLAGS, ptr::null_mut(), None, &mut handle), "C_OpenSession")?;
        Ok(Session { context: self, handle })
    }

    /// A read-write session with the user logged in: what most cases start from.
    pub fn user_session(&self) -> Result<Session<'_>, Stop> {
        let session = self.session(true)?;
        match session.login(CKU_USER as CK_USER_TYPE, &self.settings.pin) {
            Rv::OK | Rv(CKR_USER_ALREADY_LOGGED_IN) => Ok(session),
            rv => Err(Stop::Fail(format!("C_Login as user answered {rv}"))),
        }
    }

    /// Fails the case unless the call succeeded.
    pub fn ok(&self, rv: Rv, what: &str) -> Result<(), Stop> {
        if rv == Rv::OK { Ok(()) } else { Err(Stop::Fail(format!("{what} answered {rv}"))) }
    }
}

/// A session that closes itself.
pub struct Session<'a> {
    /// Where it belongs.
    pub context: &'a Context,
    /// The module's number for it.
    pub handle: CK_SESSION_HANDLE,
}

impl Session<'_> {
    /// `C_Login`.
    pub fn login(&self, user: CK_USER_TYPE, pin: &str) -> Rv {
        let mut pin = pin.as_bytes().to_vec();
        ck!(self.context.module, C_Login, self.handle, user, pin.as_mut_ptr(), pin.len() as CK_ULONG)
    }

    /// `C_Logout`.
    pub fn logout(&self) -> Rv {
        ck!(self.context.module, C_Logout, self.handle)
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // A case may have closed it, or finalised the module, on purpose: then this answers an error that means nothing.
        let _ = ck!(self.context.module, C_CloseSession, self.handle);
    }
}
