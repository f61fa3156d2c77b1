//! A PKCS#11 module, loaded by path, and its function table.
//!
//! The suite calls through raw pointers on purpose: hostile arguments are part of what it tests. [`Module::call`] style
//! helpers in [`crate::session`] are for the cases that behave.

use std::path::Path;

use cryptoki_sys::{CK_C_GetFunctionList, CK_FUNCTION_LIST, CK_FUNCTION_LIST_PTR, CK_RV, CKR_OK};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

/// A loaded module. It is never unloaded: the process that runs a case ends instead.
pub struct Module {
    library: Library,
    functions: CK_FUNCTION_LIST,
}

/// Calls a function of the 2.40 table; a NULL entry counts as `CKR_FUNCTION_NOT_SUPPORTED`.
#[macro_export]
macro_rules! ck {
    ($module:expr, $function:ident $(, $argument:expr)* $(,)?) => {
        match $module.functions().$function {
            // SAFETY: the table came from the module's own C_GetFunctionList; what the arguments point to is the case's business.
            Some(function) => $crate::module::Rv(unsafe { function($($argument),*) }),
            None => $crate::module::Rv(cryptoki_sys::CKR_FUNCTION_NOT_SUPPORTED),
        }
    };
}

/// A return value that prints as its name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Rv(pub CK_RV);

impl Rv {
    /// `CKR_OK`.
    pub const OK: Rv = Rv(CKR_OK);
}

impl std::fmt::Debug for Rv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match crate::names::rv(self.0) {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#x}", self.0),
        }
    }
}

impl std::fmt::Display for Rv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

impl Module {
    /// Loads the module and fetches its 2.40 table; nothing is initialised.
    pub fn load(path: &Path) -> Result<Self, String> {
        // SAFETY: loading runs the module's constructors; whoever names a module to be tested accepts that.
        let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map_err(|error| error.to_string())?;
        // SAFETY: the symbol has this type in every version of the standard.
        let get: CK_C_GetFunctionList =
            unsafe { library.get(b"C_GetFunctionList\0") }.map(|symbol| *symbol).map_err(|error| error.to_string())?;
        let get = get.ok_or("C_GetFunctionList is NULL")?;
        let mut list: CK_FUNCTION_LIST_PTR = std::ptr::null_mut();
        // SAFETY: the pointer is ours and writable.
        let rv = Rv(unsafe { get(&mut list) });
        if rv != Rv::OK || list.is_null() {
            return Err(format!("C_GetFunctionList answered {rv}"));
        }
        // SAFETY: the module promises a table that outlives it; CK_FUNCTION_LIST is packed on no platform that we build for.
        Ok(Self { library, functions: unsafe { *list } })
    }

    /// The 2.40 table.
    pub fn functions(&self) -> &CK_FUNCTION_LIST {
        &self.functions
    }

    /// A symbol by name, for the functions of 3.x; `None` where the module does not export it.
    ///
    /// # Safety
    /// `T` must be the function's type (an `Option<unsafe extern "C" fn …>`).
    pub unsafe fn symbol<T: Copy>(&self, name: &str) -> Option<T> {
        // SAFETY: the caller promises the type.
        unsafe { self.library.get::<T>(name.as_bytes()) }.ok().map(|symbol| *symbol)
    }
}
