//! A PKCS#11 module, loaded by path, and its function table.
//!
//! The suite calls through raw pointers on purpose: hostile arguments are part of what it tests. [`Module::call`] style
//! helpers in [`crate::session`] are for the cases that behave.

use std::path::Path;

use crate::use_keys::Transform;
use cryptoki_sys::{
    CK_C_GetFunctionList, CK_C_GetInterface, CK_FUNCTION_LIST, CK_FUNCTION_LIST_3_0, CK_FUNCTION_LIST_3_2, CK_FUNCTION_LIST_PTR,
    CK_INTERFACE, CK_INTERFACE_PTR, CK_RV, CK_VERSION, CKR_OK,
};
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
            Some(function) => {
                // SAFETY: the table came from the module's own C_GetFunctionList; what the arguments point to is the case's business.
                let rv = $crate::module::Rv(unsafe { function($($argument),*) });
                $crate::provoked::record(stringify!($function), rv)
            }
            None => $crate::provoked::record_missing(stringify!($function)),
        }
    };
}

/// Calls a function that came with 3.0: `ck_3_0!(module, C_LoginUser, …)`. `None` where the module shows no 3.x table; a NULL
/// entry counts as `CKR_FUNCTION_NOT_SUPPORTED`.
#[macro_export]
macro_rules! ck_3_0 {
    ($module:expr, $function:ident $(, $argument:expr)* $(,)?) => {
        $crate::ck_table!($module.functions_3_0(), $function $(, $argument)*)
    };
}

/// Calls a function that came with 3.2, as [`ck_3_0`] does for 3.0.
#[macro_export]
macro_rules! ck_3_2 {
    ($module:expr, $function:ident $(, $argument:expr)* $(,)?) => {
        $crate::ck_table!($module.functions_3_2(), $function $(, $argument)*)
    };
}

/// What `ck_3_0!` and `ck_3_2!` share.
#[doc(hidden)]
#[macro_export]
macro_rules! ck_table {
    ($table:expr, $function:ident $(, $argument:expr)*) => {
        match $table {
            None => {
                $crate::provoked::record_missing(stringify!($function));
                None
            }
            Some(table) => Some(match table.$function {
                Some(function) => {
                    // SAFETY: the table came from the module's own C_GetInterface; what the arguments point to is the case's business.
                    let rv = $crate::module::Rv(unsafe { function($($argument),*) });
                    $crate::provoked::record(stringify!($function), rv)
                }
                None => $crate::provoked::record_missing(stringify!($function)),
            }),
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
        let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map_err(|error| with_cause(&error))?;
        // SAFETY: the symbol has this type in every version of the standard.
        let get: CK_C_GetFunctionList =
            unsafe { library.get(b"C_GetFunctionList\0") }.map(|symbol| *symbol).map_err(|error| with_cause(&error))?;
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

    /// Which function of the table this is, for functions that are passed around as pointers.
    pub fn transform_name(&self, function: Transform) -> &'static str {
        let table = &self.functions;
        let known = [
            ("C_Encrypt", table.C_Encrypt),
            ("C_EncryptUpdate", table.C_EncryptUpdate),
            ("C_Decrypt", table.C_Decrypt),
            ("C_DecryptUpdate", table.C_DecryptUpdate),
            ("C_Digest", table.C_Digest),
            ("C_Sign", table.C_Sign),
            ("C_SignRecover", table.C_SignRecover),
            ("C_VerifyRecover", table.C_VerifyRecover),
            ("C_DigestEncryptUpdate", table.C_DigestEncryptUpdate),
            ("C_DecryptDigestUpdate", table.C_DecryptDigestUpdate),
            ("C_SignEncryptUpdate", table.C_SignEncryptUpdate),
            ("C_DecryptVerifyUpdate", table.C_DecryptVerifyUpdate),
        ];
        let same = |entry: &Option<Transform>| entry.is_some_and(|entry| std::ptr::fn_addr_eq(entry, function));
        known.iter().find(|(_, entry)| same(entry)).map_or("another function", |(name, _)| name)
    }

    /// The table of the newest 3.x interface, as far as 3.0 defines it; `None` where the module has none.
    pub fn functions_3_0(&self) -> Option<&CK_FUNCTION_LIST_3_0> {
        let interface = self.newest()?;
        // SAFETY: a table of version 3.x begins with what 3.0 defines, and modules promise that it outlives them.
        unsafe { interface.pFunctionList.cast::<CK_FUNCTION_LIST_3_0>().as_ref() }
    }

    /// The table of a 3.2 interface; `None` where the module has none.
    pub fn functions_3_2(&self) -> Option<&CK_FUNCTION_LIST_3_2> {
        let interface = self.interface(Some(CK_VERSION { major: 3, minor: 2 }))?;
        // SAFETY: the interface was asked for by this version, so its table has this form.
        unsafe { interface.pFunctionList.cast::<CK_FUNCTION_LIST_3_2>().as_ref() }
    }

    fn newest(&self) -> Option<CK_INTERFACE> {
        [2, 1, 0].into_iter().find_map(|minor| self.interface(Some(CK_VERSION { major: 3, minor })))
    }

    /// `C_GetInterface` for the name `PKCS 11` and a version; `None` where the module exports no such function or refuses.
    pub fn interface(&self, version: Option<CK_VERSION>) -> Option<CK_INTERFACE> {
        // SAFETY: the symbol has this type since 3.0.
        let get = unsafe { self.symbol::<CK_C_GetInterface>("C_GetInterface") }??;
        let mut name = *b"PKCS 11\0";
        let mut version = version;
        let wanted = version.as_mut().map_or(std::ptr::null_mut(), std::ptr::from_mut);
        let mut interface: CK_INTERFACE_PTR = std::ptr::null_mut();
        // SAFETY: name and version are ours and live through the call, and so is the place for the answer.
        let rv = crate::provoked::record("C_GetInterface", Rv(unsafe { get(name.as_mut_ptr(), wanted, &mut interface, 0) }));
        // SAFETY: on success the module promises an interface that outlives it.
        if rv == Rv::OK { unsafe { interface.as_ref() }.copied() } else { None }
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

/// An error and what caused it: which file, which symbol.
fn with_cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}
