//! What came with 3.0 to 3.2: interfaces and their tables, C_LoginUser, C_SessionCancel, messages.

use std::ffi::CStr;
use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::case::{Case, Level, Outcome, Stop};
use crate::context::{Context, Session};
use crate::crypt::{Deed, must};
use crate::module::Rv;
use crate::template::Mechanism;
use crate::{answers, check, ck, ck_3_0, ck_3_2};

/// The chapter's cases.
pub const CASES: &[Case] = &[
    Case {
        id: "interface/list",
        level: Level::Must,
        section: "3.1, 5.4.5 C_GetInterfaceList",
        says: "C_GetInterfaceList works before C_Initialize, by the two-call rule, and lists at least one interface `PKCS 11`, each with a \
               table.",
        run: list,
    },
    Case {
        id: "interface/list-too-small",
        level: Level::Must,
        section: "3.1, 5.4.5 C_GetInterfaceList",
        says: "A list that is too small is CKR_BUFFER_TOO_SMALL, and the count says how many there are.",
        run: list_too_small,
    },
    Case {
        id: "interface/default",
        level: Level::Must,
        section: "3.1, 5.4.6 C_GetInterface",
        says: "With NULL name and version C_GetInterface gives the module's default interface.",
        run: default,
    },
    Case {
        id: "interface/each-listed",
        level: Level::Must,
        section: "3.1, 5.4.6 C_GetInterface",
        says: "Every listed interface is found again by its name and version, with the same table.",
        run: each_listed,
    },
    Case {
        id: "interface/unknown",
        level: Level::Must,
        section: "3.1, 5.4.6 C_GetInterface",
        says: "A name, version or flag that no interface has is CKR_FUNCTION_FAILED or CKR_ARGUMENTS_BAD, not some other interface.",
        run: unknown,
    },
    Case {
        id: "interface/2.40-table",
        level: Level::Must,
        section: "3.1, 5.4.4 C_GetFunctionList; 3.0, 5.4.6",
        says: "C_GetFunctionList gives a table of version 2.x, for applications that know no other, and every entry points to a function.",
        run: table_2_40,
    },
    Case {
        id: "interface/3.0-table",
        level: Level::Must,
        section: "3.1, 5.1, 5.4.6",
        says: "A table of version 3.x has all 92 functions: what is not supported is a function that answers CKR_FUNCTION_NOT_SUPPORTED.",
        run: table_3_0,
    },
    Case {
        id: "interface/3.2-table",
        level: Level::Must,
        section: "3.2, 5.1, 5.4.6",
        says: "A table of version 3.2 has all 104 functions.",
        run: table_3_2,
    },
    Case {
        id: "interface/info-version",
        level: Level::Should,
        section: "3.1, 5.4.3 C_GetInfo",
        says: "cryptokiVersion is one that the module has an interface for.",
        run: info_version,
    },
    Case {
        id: "interface/login-user",
        level: Level::Must,
        section: "3.1, 5.6.9 C_LoginUser",
        says: "C_LoginUser logs in as C_Login does, with a user name, or is not supported.",
        run: login_user,
    },
    Case {
        id: "interface/session-cancel",
        level: Level::Must,
        section: "3.1, 5.6.5 C_SessionCancel",
        says: "C_SessionCancel ends the operations that its flags name, and no other, and leaves the session usable.",
        run: session_cancel,
    },
    Case {
        id: "interface/null-mechanism-cancels",
        level: Level::Must,
        section: "3.1, 5.8.1 C_EncryptInit and its like",
        says: "Since 3.0 an Init function with a NULL mechanism ends the running operation.",
        run: null_mechanism_cancels,
    },
    Case {
        id: "interface/message-encrypt",
        level: Level::Must,
        section: "3.1, 5.9 message-based encryption, 5.11",
        says: "CKF_MESSAGE_ENCRYPT of AES-GCM means that C_EncryptMessage works, many messages after one Init, and that C_DecryptMessage gives \
               the plaintext back and refuses a changed tag.",
        run: message_encrypt,
    },
    Case {
        id: "interface/message-without-init",
        level: Level::Must,
        section: "3.1, 5.9, 5.11, 5.14, 5.16",
        says: "Message functions without their Init answer CKR_OPERATION_NOT_INITIALIZED, or are not supported.",
        run: message_without_init,
    },
    Case {
        id: "interface/validation-flags",
        level: Level::Must,
        section: "3.2, 5.6 C_GetSessionValidationFlags",
        says: "C_GetSessionValidationFlags answers with flags, or is not supported; a NULL place is CKR_ARGUMENTS_BAD.",
        run: validation_flags,
    },
];

fn not_there(name: &str) -> Stop {
    Stop::Skip(format!("the module exports no {name}: it is one of 2.40"))
}

fn not_exported(name: &'static str) -> Stop {
    crate::provoked::record_missing(name);
    not_there(name)
}

fn get_list(context: &Context) -> Result<unsafe extern "C" fn(CK_INTERFACE_PTR, CK_ULONG_PTR) -> CK_RV, Stop> {
    // SAFETY: the symbol has this type since 3.0.
    let function = unsafe { context.module.symbol::<CK_C_GetInterfaceList>("C_GetInterfaceList") };
    function.flatten().ok_or_else(|| not_exported("C_GetInterfaceList"))
}

fn listed(context: &Context, place: CK_INTERFACE_PTR, count: CK_ULONG_PTR) -> Result<Rv, Stop> {
    let function = get_list(context)?;
    // SAFETY: the function is the module's own; what the arguments point to is the case's business.
    Ok(crate::provoked::record("C_GetInterfaceList", Rv(unsafe { function(place, count) })))
}

pub(super) fn interfaces(context: &Context) -> Result<Vec<CK_INTERFACE>, Stop> {
    let mut count = 0;
    context.ok(listed(context, null_mut(), &mut count)?, "C_GetInterfaceList for the count")?;
    let empty = CK_INTERFACE { pInterfaceName: null_mut(), pFunctionList: null_mut(), flags: 0 };
    let mut list = vec![empty; count as usize];
    context.ok(listed(context, list.as_mut_ptr(), &mut count)?, "C_GetInterfaceList")?;
    list.truncate(count as usize);
    Ok(list)
}

fn asked(
    context: &Context,
    name: CK_UTF8CHAR_PTR,
    version: CK_VERSION_PTR,
    flags: CK_FLAGS,
) -> Result<(Rv, CK_INTERFACE_PTR), Stop> {
    // SAFETY: the symbol has this type since 3.0.
    let function = unsafe { context.module.symbol::<CK_C_GetInterface>("C_GetInterface") };
    let function = function.flatten().ok_or_else(|| not_exported("C_GetInterface"))?;
    let mut interface = null_mut();
    // SAFETY: the function is the module's own; name and version are the case's.
    let rv = crate::provoked::record("C_GetInterface", Rv(unsafe { function(name, version, &mut interface, flags) }));
    Ok((rv, interface))
}

fn version_of(interface: &CK_INTERFACE) -> Result<CK_VERSION, Stop> {
    check!(!interface.pFunctionList.is_null(), "an interface has no table");
    // SAFETY: every table starts with its version.
    Ok(unsafe { *interface.pFunctionList.cast::<CK_VERSION>() })
}

fn name_of(interface: &CK_INTERFACE) -> Result<String, Stop> {
    check!(!interface.pInterfaceName.is_null(), "an interface has no name");
    // SAFETY: names of interfaces end with NUL.
    Ok(unsafe { CStr::from_ptr(interface.pInterfaceName.cast()) }.to_string_lossy().into_owned())
}

fn list(context: &Context) -> Outcome {
    let interfaces = interfaces(context)?;
    let mut standard = 0;
    for interface in &interfaces {
        version_of(interface)?;
        standard += usize::from(name_of(interface)? == "PKCS 11");
    }
    check!(standard > 0, "none of {} interfaces is called `PKCS 11`", interfaces.len());
    answers!(listed(context, null_mut(), null_mut())?, [CKR_ARGUMENTS_BAD], "C_GetInterfaceList without a count");
    Ok(())
}

fn list_too_small(context: &Context) -> Outcome {
    let all = interfaces(context)?.len() as CK_ULONG;
    let mut none = CK_INTERFACE { pInterfaceName: null_mut(), pFunctionList: null_mut(), flags: 0 };
    let mut count = 0;
    answers!(listed(context, &mut none, &mut count)?, [CKR_BUFFER_TOO_SMALL], "C_GetInterfaceList with room for none");
    check!(count == all, "the count is told as {count}, and there are {all}");
    check!(none.pInterfaceName.is_null(), "C_GetInterfaceList wrote into a list that was too small");
    Ok(())
}

pub(super) fn default(context: &Context) -> Outcome {
    let (rv, interface) = asked(context, null_mut(), null_mut(), 0)?;
    answers!(rv, [CKR_OK], "C_GetInterface of the default");
    check!(!interface.is_null(), "C_GetInterface answered CKR_OK and gave no interface");
    // SAFETY: not NULL, and the module promises that it lasts.
    version_of(unsafe { &*interface })?;
    Ok(())
}

fn each_listed(context: &Context) -> Outcome {
    for interface in interfaces(context)? {
        let (name, mut version) = (name_of(&interface)?, version_of(&interface)?);
        let (rv, found) = asked(context, interface.pInterfaceName, &mut version, 0)?;
        answers!(rv, [CKR_OK], "C_GetInterface of {name} {}.{}", version.major, version.minor);
        // SAFETY: the module promises an interface that lasts.
        let same = unsafe { found.as_ref() }.is_some_and(|found| found.pFunctionList == interface.pFunctionList);
        check!(same, "C_GetInterface of {name} {}.{} gives another table than the list", version.major, version.minor);
    }
    Ok(())
}

fn unknown(context: &Context) -> Outcome {
    let mut name = *b"PKCS 99\0";
    let (rv, _) = asked(context, name.as_mut_ptr(), null_mut(), 0)?;
    answers!(rv, [CKR_FUNCTION_FAILED, CKR_ARGUMENTS_BAD], "C_GetInterface of PKCS 99");
    let mut name = *b"PKCS 11\0";
    let (rv, _) = asked(context, name.as_mut_ptr(), &mut CK_VERSION { major: 9, minor: 9 }, 0)?;
    answers!(rv, [CKR_FUNCTION_FAILED, CKR_ARGUMENTS_BAD], "C_GetInterface of version 9.9");
    Ok(())
}

/// Fails where a table has a NULL among its first `functions` entries.
fn whole(table: *const std::ffi::c_void, functions: usize, what: &str) -> Outcome {
    // SAFETY: the table has a version, padded to a pointer, and then this many pointers in the version that it claims.
    let entries = unsafe { std::slice::from_raw_parts(table.cast::<usize>().add(1), functions) };
    let missing = entries.iter().filter(|entry| **entry == 0).count();
    check!(missing == 0, "{missing} of the {functions} functions of the {what} table are NULL");
    Ok(())
}

fn table_2_40(context: &Context) -> Outcome {
    let mut table = null_mut();
    answers!(ck!(context.module, C_GetFunctionList, &mut table), [CKR_OK], "C_GetFunctionList of the table");
    let version = context.module.functions().version;
    check!(version.major == 2, "C_GetFunctionList gives a table of version {}.{}", version.major, version.minor);
    whole(table.cast(), 68, "2.40")
}

fn table_3_0(context: &Context) -> Outcome {
    let table = context.module.functions_3_0().ok_or_else(|| not_there("interface of 3.x"))?;
    check!(table.version.major == 3, "the 3.x interface's table says version {}.{}", table.version.major, table.version.minor);
    whole(std::ptr::from_ref(table).cast(), 92, "3.0")
}

fn table_3_2(context: &Context) -> Outcome {
    let table = context.module.functions_3_2().ok_or_else(|| not_there("interface of 3.2"))?;
    let version = table.version;
    check!(
        (version.major, version.minor) == (3, 2),
        "the 3.2 interface's table says version {}.{}",
        version.major,
        version.minor
    );
    whole(std::ptr::from_ref(table).cast(), 104, "3.2")
}

fn info_version(context: &Context) -> Outcome {
    answers!(context.initialize(), [CKR_OK], "C_Initialize");
    let mut info = CK_INFO::default();
    answers!(ck!(context.module, C_GetInfo, &mut info), [CKR_OK], "C_GetInfo");
    let (major, minor) = (info.cryptokiVersion.major, info.cryptokiVersion.minor);
    if major >= 3 {
        let there = context.module.interface(Some(info.cryptokiVersion)).is_some();
        check!(there, "C_GetInfo says {major}.{minor}, and there is no such interface");
    } else {
        let own = context.module.functions().version;
        check!((own.major, own.minor) == (major, minor), "C_GetInfo says {major}.{minor}, its table {}.{}", own.major, own.minor);
    }
    Ok(())
}

/// Skips the case where a function of 3.x is not there or not supported.
pub(super) fn supported(answer: Option<Rv>, name: &str) -> Result<Rv, Stop> {
    match answer {
        None => Err(Stop::Skip(format!("the module has no table with {name}"))),
        Some(Rv(CKR_FUNCTION_NOT_SUPPORTED)) => Err(Stop::Skip(format!("{name} is not supported"))),
        Some(rv) => Ok(rv),
    }
}

pub(super) fn login_by_name(session: &Session<'_>, pin: &str) -> Result<Rv, Stop> {
    let (mut pin, mut name) = (pin.as_bytes().to_vec(), *b"user");
    let (module, pin_len) = (&session.context.module, pin.len() as CK_ULONG);
    let user = CKU_USER as CK_USER_TYPE;
    let answer = ck_3_0!(module, C_LoginUser, session.handle, user, pin.as_mut_ptr(), pin_len, name.as_mut_ptr(), 4);
    supported(answer, "C_LoginUser")
}

fn login_user(context: &Context) -> Outcome {
    let session = context.session(true)?;
    let rv = login_by_name(&session, &format!("{}x", context.settings.pin))?;
    answers!(rv, [CKR_PIN_INCORRECT, CKR_USER_TYPE_INVALID, CKR_ARGUMENTS_BAD], "C_LoginUser with a wrong PIN");
    // A token of one user has an empty name; one of many needs the name of one of them, which the suite cannot know.
    match login_by_name(&session, &context.settings.pin)? {
        Rv::OK => {}
        rv => return Err(Stop::Skip(format!("the token's user is not called `user`: {rv}"))),
    }
    let rv = login_by_name(&session, &context.settings.pin)?;
    answers!(rv, [CKR_USER_ALREADY_LOGGED_IN], "C_LoginUser once more");
    answers!(session.logout(), [CKR_OK], "C_Logout after C_LoginUser");
    Ok(())
}

fn session_cancel(context: &Context) -> Outcome {
    let session = context.user_session()?;
    supported(ck_3_0!(context.module, C_SessionCancel, session.handle, 0), "C_SessionCancel")?;
    let key = session.known_aes(&[1; 16], &[CKA_ENCRYPT])?;
    let cipher = Mechanism::with(CKM_AES_CBC, &[0; 16]);
    context.ok(session.init(Deed::Encrypt, &cipher, key), "C_EncryptInit")?;
    context.ok(ck!(context.module, C_FindObjectsInit, session.handle, null_mut(), 0), "C_FindObjectsInit")?;
    let rv = supported(ck_3_0!(context.module, C_SessionCancel, session.handle, CKF_ENCRYPT), "C_SessionCancel")?;
    answers!(rv, [CKR_OK], "C_SessionCancel of an encryption");
    let rv = session.finish(Deed::Encrypt, &[0; 16]).err().unwrap_or(Rv::OK);
    answers!(rv, [CKR_OPERATION_NOT_INITIALIZED], "C_Encrypt after C_SessionCancel");
    answers!(ck!(context.module, C_FindObjectsFinal, session.handle), [CKR_OK], "C_FindObjectsFinal, which was not cancelled");
    must(session.whole(Deed::Encrypt, &cipher, key, &[0; 16]), "C_Encrypt after C_SessionCancel and a new Init")?;
    let rv = supported(ck_3_0!(context.module, C_SessionCancel, 0, CKF_ENCRYPT), "C_SessionCancel")?;
    answers!(rv, [CKR_SESSION_HANDLE_INVALID], "C_SessionCancel of session 0");
    Ok(())
}

fn null_mechanism_cancels(context: &Context) -> Outcome {
    if context.module.functions_3_0().is_none() {
        return Err(not_there("interface of 3.x"));
    }
    let session = context.user_session()?;
    let key = session.known_aes(&[1; 16], &[CKA_ENCRYPT])?;
    context.ok(session.init(Deed::Encrypt, &Mechanism::with(CKM_AES_CBC, &[0; 16]), key), "C_EncryptInit")?;
    let rv = ck!(context.module, C_EncryptInit, session.handle, null_mut(), 0);
    answers!(rv, [CKR_OK, CKR_OPERATION_CANCEL_FAILED], "C_EncryptInit with a NULL mechanism");
    if rv == Rv::OK {
        let rv = session.finish(Deed::Encrypt, &[0; 16]).err().unwrap_or(Rv::OK);
        answers!(rv, [CKR_OPERATION_NOT_INITIALIZED], "C_Encrypt after the cancellation");
    }
    Ok(())
}

fn message_parameters(iv: &mut [u8; 12], tag: &mut [u8; 16]) -> CK_GCM_MESSAGE_PARAMS {
    CK_GCM_MESSAGE_PARAMS {
        pIv: iv.as_mut_ptr(),
        ulIvLen: 12,
        ulIvFixedBits: 0,
        ivGenerator: CKG_NO_GENERATE,
        pTag: tag.as_mut_ptr(),
        ulTagBits: 128,
    }
}

fn message_encrypt(context: &Context) -> Outcome {
    let session = context.user_session()?;
    session.need(CKM_AES_GCM)?;
    let (module, handle) = (&context.module, session.handle);
    let mut info = CK_MECHANISM_INFO::default();
    context.ok(ck!(module, C_GetMechanismInfo, context.slot()?, CKM_AES_GCM, &mut info), "C_GetMechanismInfo")?;
    let key = session.known_aes(&[1; 16], &[CKA_ENCRYPT, CKA_DECRYPT])?;
    let mut mechanism = CK_MECHANISM { mechanism: CKM_AES_GCM, pParameter: null_mut(), ulParameterLen: 0 };
    let rv = supported(ck_3_0!(module, C_MessageEncryptInit, handle, &mut mechanism, key), "C_MessageEncryptInit")?;
    if info.flags & CKF_MESSAGE_ENCRYPT == 0 {
        return Err(Stop::Skip("CKM_AES_GCM does not claim CKF_MESSAGE_ENCRYPT".into()));
    }
    answers!(rv, [CKR_OK], "C_MessageEncryptInit");
    let rv = ck_3_0!(module, C_MessageDecryptInit, handle, &mut mechanism, key).unwrap_or(Rv::OK);
    answers!(rv, [CKR_OK], "C_MessageDecryptInit");
    let size = size_of::<CK_GCM_MESSAGE_PARAMS>() as CK_ULONG;
    for round in 0..3 {
        let (mut iv, mut tag, mut plain, mut sealed, mut open) = ([round; 12], [0; 16], [round; 20], [0; 64], [0; 64]);
        let (mut len, mut parameters) = (64, message_parameters(&mut iv, &mut tag));
        let place = std::ptr::from_mut(&mut parameters).cast();
        let (from, to) = (plain.as_mut_ptr(), sealed.as_mut_ptr());
        let rv = ck_3_0!(module, C_EncryptMessage, handle, place, size, null_mut(), 0, from, 20, to, &mut len).unwrap_or(Rv::OK);
        answers!(rv, [CKR_OK], "C_EncryptMessage {round}");
        check!(len == 20, "C_EncryptMessage of 20 bytes told {len}");
        let out = open.as_mut_ptr();
        let mut len = 64;
        let rv = ck_3_0!(module, C_DecryptMessage, handle, place, size, null_mut(), 0, to, 20, out, &mut len).unwrap_or(Rv::OK);
        answers!(rv, [CKR_OK], "C_DecryptMessage {round}");
        check!(open[..20] == plain, "C_DecryptMessage gave another plaintext back");
        tag[0] ^= 1;
        let mut parameters = message_parameters(&mut iv, &mut tag);
        let place = std::ptr::from_mut(&mut parameters).cast();
        let mut len = 64;
        let rv = ck_3_0!(module, C_DecryptMessage, handle, place, size, null_mut(), 0, to, 20, out, &mut len).unwrap_or(Rv::OK);
        answers!(rv, [CKR_AEAD_DECRYPT_FAILED, CKR_ENCRYPTED_DATA_INVALID], "C_DecryptMessage with a changed tag");
    }
    answers!(ck_3_0!(module, C_MessageEncryptFinal, handle).unwrap_or(Rv::OK), [CKR_OK], "C_MessageEncryptFinal");
    Ok(())
}

fn message_without_init(context: &Context) -> Outcome {
    let session = context.user_session()?;
    let (module, at) = (&context.module, session.handle);
    let (mut data, mut len) = ([0; 64], 64);
    let (place, null) = (data.as_mut_ptr(), null_mut());
    let answers: [(&str, Option<Rv>); 8] = [
        ("C_EncryptMessage", ck_3_0!(module, C_EncryptMessage, at, null, 0, null.cast(), 0, place, 16, place, &mut len)),
        ("C_DecryptMessage", ck_3_0!(module, C_DecryptMessage, at, null, 0, null.cast(), 0, place, 16, place, &mut len)),
        ("C_SignMessage", ck_3_0!(module, C_SignMessage, at, null, 0, place, 16, place, &mut len)),
        ("C_VerifyMessage", ck_3_0!(module, C_VerifyMessage, at, null, 0, place, 16, place, 16)),
        ("C_MessageEncryptFinal", ck_3_0!(module, C_MessageEncryptFinal, at)),
        ("C_MessageDecryptFinal", ck_3_0!(module, C_MessageDecryptFinal, at)),
        ("C_MessageSignFinal", ck_3_0!(module, C_MessageSignFinal, at)),
        ("C_MessageVerifyFinal", ck_3_0!(module, C_MessageVerifyFinal, at)),
    ];
    for (name, answer) in answers {
        let rv = answer.ok_or_else(|| not_there("interface of 3.x"))?;
        answers!(rv, [CKR_OPERATION_NOT_INITIALIZED, CKR_FUNCTION_NOT_SUPPORTED], "{name} without its Init");
    }
    Ok(())
}

fn validation_flags(context: &Context) -> Outcome {
    let session = context.session(false)?;
    let mut flags = 0;
    let answer = ck_3_2!(context.module, C_GetSessionValidationFlags, session.handle, CKS_LAST_VALIDATION_OK, &mut flags);
    answers!(supported(answer, "C_GetSessionValidationFlags")?, [CKR_OK], "C_GetSessionValidationFlags");
    let answer = ck_3_2!(context.module, C_GetSessionValidationFlags, session.handle, CKS_LAST_VALIDATION_OK, null_mut());
    answers!(answer.unwrap_or(Rv::OK), [CKR_ARGUMENTS_BAD], "C_GetSessionValidationFlags without a place");
    Ok(())
}
