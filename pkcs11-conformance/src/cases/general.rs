//! General-purpose functions: `C_Initialize`, `C_Finalize`, `C_GetInfo`, `C_GetFunctionList`.

use std::ptr;

use cryptoki_sys::{CK_C_INITIALIZE_ARGS, CK_INFO, CK_VOID_PTR};

use crate::case::{Case, Level, Outcome};
use crate::context::Context;
use crate::{answers, check, ck};

/// The chapter's cases.
pub const CASES: &[Case] = &[
    Case {
        id: "general/initialize-twice",
        level: Level::Must,
        section: "3.1, 5.4.1 C_Initialize",
        says: "A second C_Initialize in one process, without C_Finalize between, answers CKR_CRYPTOKI_ALREADY_INITIALIZED: \
               libraries that share a process rely on it to know that another one was first.",
        run: initialize_twice,
    },
    Case {
        id: "general/initialize-reserved",
        level: Level::Must,
        section: "3.1, 5.4.1 C_Initialize",
        says: "pReserved must be NULL; any other value answers CKR_ARGUMENTS_BAD.",
        run: initialize_reserved,
    },
    Case {
        id: "general/finalize-reserved",
        level: Level::Must,
        section: "3.1, 5.4.2 C_Finalize",
        says: "pReserved of C_Finalize must be NULL; any other value answers CKR_ARGUMENTS_BAD.",
        run: finalize_reserved,
    },
    Case {
        id: "general/not-initialized",
        level: Level::Must,
        section: "3.1, 5.4 General-purpose functions",
        says: "Before C_Initialize every function but C_GetFunctionList and C_GetInterface* answers CKR_CRYPTOKI_NOT_INITIALIZED.",
        run: not_initialized,
    },
];

fn initialize_twice(context: &Context) -> Outcome {
    answers!(context.initialize(), [CKR_OK], "C_Initialize");
    answers!(context.initialize(), [CKR_CRYPTOKI_ALREADY_INITIALIZED], "a second C_Initialize");
    answers!(context.finalize(), [CKR_OK], "C_Finalize");
    answers!(context.initialize(), [CKR_OK], "C_Initialize after C_Finalize");
    Ok(())
}

fn initialize_reserved(context: &Context) -> Outcome {
    let mut something = 1_u8;
    let mut arguments = CK_C_INITIALIZE_ARGS { pReserved: ptr::from_mut(&mut something).cast(), ..Default::default() };
    let arguments: CK_VOID_PTR = ptr::from_mut(&mut arguments).cast();
    answers!(ck!(context.module, C_Initialize, arguments), [CKR_ARGUMENTS_BAD], "C_Initialize with a reserved argument");
    Ok(())
}

fn finalize_reserved(context: &Context) -> Outcome {
    answers!(context.initialize(), [CKR_OK], "C_Initialize");
    let mut something = 1_u8;
    let reserved: CK_VOID_PTR = ptr::from_mut(&mut something).cast();
    answers!(ck!(context.module, C_Finalize, reserved), [CKR_ARGUMENTS_BAD], "C_Finalize with a reserved argument");
    Ok(())
}

fn not_initialized(context: &Context) -> Outcome {
    let mut info = CK_INFO::default();
    answers!(ck!(context.module, C_GetInfo, &mut info), [CKR_CRYPTOKI_NOT_INITIALIZED], "C_GetInfo");
    answers!(ck!(context.module, C_Finalize, ptr::null_mut()), [CKR_CRYPTOKI_NOT_INITIALIZED], "C_Finalize");
    let mut count = 0;
    let rv = ck!(context.module, C_GetSlotList, 0, ptr::null_mut(), &mut count);
    answers!(rv, [CKR_CRYPTOKI_NOT_INITIALIZED], "C_GetSlotList");
    check!(count == 0, "C_GetSlotList wrote a count without being initialised");
    Ok(())
}
