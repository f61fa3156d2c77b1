//! A PKCS#11 module loaded by path, as an application loads it: shared by the integration tests and the benchmark.
//!
//! Thin on purpose: each method is one call of the C ABI (or the two calls of the length protocol), so that a test shows
//! what the module did and not what a helper made of it. The caller keeps sessions within the life of their `Loaded`.

#![allow(dead_code, reason = "each user takes the calls that it needs")]

use std::ffi::c_void;
use std::path::Path;

use cryptoki_sys::*;

mod mechanism;
mod session;
mod template;

pub use mechanism::Mechanism;
pub use session::Session;
pub use template::Template;

/// A return value other than `CKR_OK`, or what the module answered.
pub type Result<T> = std::result::Result<T, Rv>;

/// A `CK_RV` that prints as its number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Rv(pub CK_RV);

impl std::fmt::Debug for Rv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CK_RV {:#x}", self.0)
    }
}

/// `CKR_OK` is `Ok`, everything else the refusal.
pub fn check(rv: CK_RV) -> Result<()> {
    if rv == CKR_OK { Ok(()) } else { Err(Rv(rv)) }
}

/// Calls a function of the module's list by name; a missing one is the module's defect and panics with its name.
macro_rules! call {
    ($loaded:expr, $function:ident ( $($argument:expr),* )) => {{
        let function = $loaded.functions().$function.expect(concat!(stringify!($function), " is in the function list"));
        // SAFETY: the list came from the loaded module, and the pointers that we pass are valid for the lengths beside them.
        $crate::abi::check(unsafe { function($($argument),*) })
    }};
}
pub(crate) use call;

/// A module in this process.
pub struct Loaded {
    functions: *const CK_FUNCTION_LIST,
    library: libloading::Library,
}

// SAFETY: the list is constant data of the module, and PKCS#11 modules take calls from any thread after C_Initialize with
// CKF_OS_LOCKING_OK, which `initialize` sets.
unsafe impl Send for Loaded {}
// SAFETY: as above.
unsafe impl Sync for Loaded {}

/// What `C_GetTokenInfo` says, as far as the tests look at it.
pub struct TokenFacts {
    pub label: String,
    pub flags: CK_FLAGS,
}

impl Loaded {
    /// Loads the module and takes its 2.40 function list.
    pub fn open(path: &Path) -> Self {
        // SAFETY: the module under test runs its initialisers in our process; that is what is being tested.
        let library = unsafe { libloading::Library::new(path) }.unwrap_or_else(|error| panic!("cannot load {path:?}: {error}"));
        let mut functions = std::ptr::null_mut();
        // SAFETY: the symbol has this type in every PKCS#11 module, and the out pointer is valid.
        let rv = unsafe {
            let entry = library.get::<unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV>(b"C_GetFunctionList\0");
            entry.unwrap_or_else(|error| panic!("{path:?}: {error}"))(&mut functions)
        };
        assert_eq!(rv, CKR_OK, "C_GetFunctionList of {path:?}");
        assert!(!functions.is_null(), "C_GetFunctionList of {path:?} gave no list");
        Self { functions, library }
    }

    /// The 2.40 function list.
    pub fn functions(&self) -> &CK_FUNCTION_LIST {
        // SAFETY: checked for null in `open`; the list lives as long as the library, which we hold.
        unsafe { &*self.functions }
    }

    /// Whether the module exports a symbol of this name.
    pub fn exports(&self, name: &str) -> bool {
        // SAFETY: only the address is looked up; nothing is called or read through it.
        unsafe { self.library.get::<*const c_void>(name.as_bytes()) }.is_ok()
    }

    /// `C_Initialize` as multi-threaded applications call it: with the system's locks.
    pub fn initialize(&self) -> Result<()> {
        let mut arguments = CK_C_INITIALIZE_ARGS { flags: CKF_OS_LOCKING_OK, ..Default::default() };
        call!(self, C_Initialize((&raw mut arguments).cast::<c_void>()))
    }

    pub fn finalize(&self) -> Result<()> {
        call!(self, C_Finalize(std::ptr::null_mut()))
    }

    /// The slots with a token present, uninitialised ones included.
    pub fn slots(&self) -> Result<Vec<CK_SLOT_ID>> {
        let mut count = 0;
        call!(self, C_GetSlotList(CK_TRUE, std::ptr::null_mut(), &mut count))?;
        let mut slots = vec![0; count as usize];
        call!(self, C_GetSlotList(CK_TRUE, slots.as_mut_ptr(), &mut count))?;
        slots.truncate(count as usize);
        Ok(slots)
    }

    pub fn token_facts(&self, slot: CK_SLOT_ID) -> Result<TokenFacts> {
        let mut info = CK_TOKEN_INFO::default();
        call!(self, C_GetTokenInfo(slot, &mut info))?;
        Ok(TokenFacts { label: String::from_utf8_lossy(&info.label).trim_end().to_owned(), flags: info.flags })
    }

    /// The slot of the initialised token with this label.
    pub fn slot_labelled(&self, label: &str) -> Result<CK_SLOT_ID> {
        for slot in self.slots()? {
            if self.token_facts(slot)?.label == label {
                return Ok(slot);
            }
        }
        panic!("no token is labelled {label}")
    }

    pub fn mechanisms(&self, slot: CK_SLOT_ID) -> Result<Vec<CK_MECHANISM_TYPE>> {
        let mut count = 0;
        call!(self, C_GetMechanismList(slot, std::ptr::null_mut(), &mut count))?;
        let mut kinds = vec![0; count as usize];
        call!(self, C_GetMechanismList(slot, kinds.as_mut_ptr(), &mut count))?;
        kinds.truncate(count as usize);
        Ok(kinds)
    }

    /// Initialises the spare token with a label, an SO PIN and a user PIN, as `softhsm2-util --init-token --free` does.
    pub fn make_token(&self, label: &str, so_pin: &str, pin: &str) -> Result<()> {
        let spare = *self.slots()?.last().expect("a spare slot is always listed");
        let mut padded = [b' '; 32];
        padded[..label.len()].copy_from_slice(label.as_bytes());
        let mut so_pin_bytes = so_pin.as_bytes().to_vec();
        call!(self, C_InitToken(spare, so_pin_bytes.as_mut_ptr(), so_pin.len() as CK_ULONG, padded.as_mut_ptr()))?;
        // SoftHSM moves a new token to its final slot only at the next C_Initialize.
        self.finalize()?;
        self.initialize()?;
        let session = self.open_session(self.slot_labelled(label)?)?;
        session.login(CKU_SO, so_pin)?;
        let mut pin_bytes = pin.as_bytes().to_vec();
        call!(self, C_InitPIN(session.handle(), pin_bytes.as_mut_ptr(), pin.len() as CK_ULONG))?;
        session.logout()
    }

    /// A read/write session.
    pub fn open_session(&self, slot: CK_SLOT_ID) -> Result<Session<'_>> {
        let mut handle = 0;
        call!(self, C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, std::ptr::null_mut(), None, &mut handle))?;
        Ok(Session::new(self, handle))
    }

    /// A read/write session of the user, logged in (or already so through another session).
    pub fn user_session(&self, label: &str, pin: &str) -> Result<Session<'_>> {
        let session = self.open_session(self.slot_labelled(label)?)?;
        match session.login(CKU_USER, pin) {
            Ok(()) | Err(Rv(CKR_USER_ALREADY_LOGGED_IN)) => Ok(session),
            Err(refused) => Err(refused),
        }
    }
}
