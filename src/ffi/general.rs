//! The module as a whole: initialisation, function lists, interfaces (PKCS#11 3.1, 5.4).

use std::ffi::c_void;

use cryptoki_sys::{
    CK_C_INITIALIZE_ARGS, CK_FLAGS, CK_FUNCTION_LIST_PTR_PTR, CK_INFO, CK_INFO_PTR, CK_INTERFACE_PTR, CK_INTERFACE_PTR_PTR,
    CK_RV, CK_ULONG_PTR, CK_UTF8CHAR_PTR, CK_VERSION, CK_VERSION_PTR, CK_VOID_PTR,
};

use super::memory::{self, Place};
use super::tables::{self, GATE, VERSION_3_2};
use super::{call, enter};
use crate::assemble;
use crate::error::{Code, Result, refuse};
use crate::faults::{self, Fault};

/// Opens what the configuration says. Mutex callbacks are accepted and not used: our locks are the system's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_Initialize(arguments: CK_VOID_PTR) -> CK_RV {
    enter("C_Initialize", || {
        if !arguments.is_null() {
            // SAFETY: the caller's promise; numbers and pointers.
            check_arguments(&unsafe { memory::read(arguments.cast::<InitializeArguments>(), "pInitArgs") }?)?;
        }
        tables::watch_forks();
        GATE.fill(|| assemble::open().map(Into::into))
    })
}

/// `CK_C_INITIALIZE_ARGS` with its callbacks as addresses: a caller may have put anything there.
#[derive(Clone, Copy)]
#[repr(C)]
struct InitializeArguments {
    mutex_callbacks: [*const c_void; 4],
    flags: CK_FLAGS,
    reserved: *const c_void,
}

const _: () = assert!(size_of::<InitializeArguments>() == size_of::<CK_C_INITIALIZE_ARGS>());

/// Errors: `ArgumentsBad` for something reserved, and for some but not all callbacks.
fn check_arguments(arguments: &InitializeArguments) -> Result<()> {
    if !arguments.reserved.is_null() && !faults::on(Fault::ReservedIsTaken) {
        return Err(refuse(Code::ArgumentsBad, "pReserved of CK_C_INITIALIZE_ARGS is not NULL"));
    }
    match arguments.mutex_callbacks.iter().filter(|callback| !callback.is_null()).count() {
        0 | 4 => Ok(()),
        _ if faults::on(Fault::SomeMutexesAreTaken) => Ok(()),
        some => Err(refuse(Code::ArgumentsBad, format!("{some} of the four mutex callbacks are given"))),
    }
}

/// Waits for calls in other threads, then ends all sessions.
#[unsafe(no_mangle)]
pub extern "C" fn C_Finalize(reserved: CK_VOID_PTR) -> CK_RV {
    enter("C_Finalize", || {
        if !reserved.is_null() {
            // Which of two things is wrong is asked in this order by SoftHSM's tests.
            GATE.with(|_| ()).ok_or_else(not_initialised)?;
            return Err(refuse(Code::ArgumentsBad, "pReserved is not NULL"));
        }
        let module = GATE.clear().ok_or_else(not_initialised)?;
        module.library.close();
        Ok(())
    })
}

/// What a function says before C_Initialize.
pub fn not_initialised() -> crate::error::Error {
    refuse(Code::CryptokiNotInitialized, "C_Initialize has not been called in this process")
}

/// Tells who we are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetInfo(info: CK_INFO_PTR) -> CK_RV {
    call("C_GetInfo", |module| {
        // SAFETY: the caller's promise.
        let place = unsafe { Place::at(info, "pInfo") }?;
        let info = module.library.info();
        place.put(CK_INFO {
            cryptokiVersion: VERSION_3_2,
            manufacturerID: info.manufacturer,
            flags: 0,
            libraryDescription: info.description,
            libraryVersion: CK_VERSION { major: info.version.0, minor: info.version.1 },
        });
        Ok(())
    })
}

/// Gives the functions of 2.40.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: CK_FUNCTION_LIST_PTR_PTR) -> CK_RV {
    enter("C_GetFunctionList", || {
        // SAFETY: the caller's promise.
        unsafe { Place::at(list, "ppFunctionList") }?.put(tables::function_list());
        Ok(())
    })
}

/// Lists the interfaces, the default one first.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetInterfaceList(interfaces: CK_INTERFACE_PTR, count: CK_ULONG_PTR) -> CK_RV {
    enter("C_GetInterfaceList", || {
        // SAFETY: the caller's promise.
        unsafe { memory::put_list(tables::interfaces(), interfaces, count) }
    })
}

/// Gives the first interface that has the name, the version and all the flags; NULL stands for any name, any version.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetInterface(
    name: CK_UTF8CHAR_PTR,
    version: CK_VERSION_PTR,
    interface: CK_INTERFACE_PTR_PTR,
    flags: CK_FLAGS,
) -> CK_RV {
    enter("C_GetInterface", || {
        // SAFETY: the caller's promise.
        let place = unsafe { Place::at(interface, "ppInterface") }?;
        // SAFETY: the caller's promise: a string that ends with a NUL.
        if !name.is_null() && !unsafe { is_our_name(name) } {
            return Err(refuse(Code::ArgumentsBad, "there is no interface of this name"));
        }
        let version = match version.is_null() {
            true => None,
            // SAFETY: the caller's promise; numbers.
            false => Some(unsafe { memory::read(version, "pVersion") }?),
        };
        let found = tables::interface(version.map(|version| (version.major, version.minor)), flags);
        let found = found.ok_or_else(|| refuse(Code::ArgumentsBad, "there is no interface of this version with these flags"))?;
        place.put(found);
        Ok(())
    })
}

/// # Safety
/// `name` points to a string that ends with a NUL.
unsafe fn is_our_name(name: *const u8) -> bool {
    let ours = tables::INTERFACE_NAME.to_bytes_with_nul();
    // SAFETY: looks at no byte behind the first that differs, hence at none behind the NUL.
    ours.iter().enumerate().all(|(at, byte)| unsafe { *name.add(at) } == *byte)
}
